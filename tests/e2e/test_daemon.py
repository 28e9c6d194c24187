"""The unmodified daemon and commands as processes, against servers over TLS."""

from __future__ import annotations

import asyncio
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from azsyncd.state.schema import VERSION

from .stage import SECRET, Stage, staged

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as made:
        yield made


def use_webhook(stage: Stage) -> None:
    """Let Graph call the daemon over TLS on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    pem = str(stage.authority.issue("hook"))
    stage.config["notifications"] = {
        "mode": "webhook",
        "public_url": f"https://127.0.0.1:{port}/notifications",
        "listen": f"127.0.0.1:{port}",
        "tls": {"certificate": pem, "private_key": pem},
    }
    stage.write_config()


async def test_a_change_in_entra_reaches_both_products(stage: Stage) -> None:
    """First contact, consent, everyday changes by notification alone, a clean end."""
    use_webhook(stage)
    stage.config["schedule"]["delta_poll"] = "1h"
    stage.write_config()
    daemon = await stage.start()
    await stage.answers(daemon)
    synced = (await stage.run("sync", "--json")).json
    assert synced["outcome"] == "converged"
    await stage.converged()
    tenant = stage.world.tenant
    jo, ada, bo = stage.world.employees()[3:6]
    tenant.update(jo.id, userPrincipalName="jo.renamed@fabrikam.example", displayName="Jo New")
    tenant.update(ada.id, accountEnabled=False)
    tenant.delete(bo.id)
    new = tenant.add_user("new.comer@fabrikam.example", displayName="New Comer", mail=None)
    tenant.add_member(stage.world.scope_group, new)
    tenant.add_member(stage.world.projects[0], new)
    await stage.converged(30)
    planned = (await stage.run("plan", "--format", "json", expect=None)).json
    assert planned["outcome"] == "withheld"  # the twins, two groups of one name
    assert await stage.stop(daemon) == 0
    assert stage.violations() == []
    assert "traceback" not in stage.log.read_text()


async def test_the_first_contact_waits_for_a_person(stage: Stage) -> None:
    """Rule 26: what stands there is adopted after somebody has agreed."""
    daemon = await stage.start()
    await stage.answers(daemon)
    before = {n: len(p.writes) for n, p in stage.world.products.items()}

    async def holds() -> list[dict[str, Any]]:
        return list((await stage.run("holds", "--json")).json)

    async with asyncio.timeout(30):
        while len(found := await holds()) < 2:
            await asyncio.sleep(0.2)
    assert {each["kind"] for each in found} == {"first_contact"}
    assert {n: len(p.writes) for n, p in stage.world.products.items()} == before
    assert (await stage.run("status", expect=3)).out
    for hold in found:
        await stage.run("approve", str(hold["id"]), "--reason", "seen")
    await stage.converged()
    assert await stage.stop(daemon) == 0


async def test_without_a_daemon_the_commands_work_by_themselves(stage: Stage) -> None:
    """check, plan (which writes nothing), sync, and then there is nothing to do."""
    await stage.run("check")
    await stage.run("plan", expect=2)
    assert all(not product.writes for product in stage.world.products.values())
    await stage.run("sync")
    assert stage.differences() == []
    writes = [len(product.writes) for product in stage.world.products.values()]
    await stage.run("sync", "--full")
    assert [len(product.writes) for product in stage.world.products.values()] == writes
    assert stage.violations() == []


async def test_what_a_command_saw_is_in_the_status(stage: Stage) -> None:
    """Without a daemon, too: a product that did not answer is no healthy one."""
    await stage.run("sync")
    stage.faults["jira"].add("error", status=503, times=None)
    await stage.run("sync", "--full", expect=1)
    status = (await stage.run("status", "--json", expect=1)).json
    assert {row["target"]: row["state"] for row in status["targets"]}["jira"] == "down"
    assert "503" in " ".join(status["problems"])
    stage.faults["jira"].clear()
    await stage.run("sync")
    await stage.run("status")


async def test_a_bad_file_changes_nothing_and_a_good_one_is_taken(stage: Stage) -> None:
    """SIGHUP and `reload`: build, then swap."""
    daemon = await stage.start()
    await stage.answers(daemon)
    await stage.run("sync")
    good = stage.file.read_text()
    stage.file.write_text(good.replace("delta_poll: 1s", "delta_poll: soon\nnonsense: 1"))
    rejected = await stage.run("reload", expect=78)
    assert "delta_poll" in rejected.err and "nonsense" in rejected.err
    daemon.send_signal(signal.SIGHUP)
    await stage.until("rejected", lambda: stage.log.read_text().count("config.rejected") >= 2)
    assert "rejected" in (await stage.run("status", expect=1)).out
    stage.file.write_text(good.replace("delta_poll: 1s", "delta_poll: 2s"))
    daemon.send_signal(signal.SIGHUP)
    await stage.until("reloaded", lambda: "config.reloaded" in stage.log.read_text())
    await stage.run("status")
    assert await stage.stop(daemon) == 0


async def test_rule_5_a_file_that_needs_more_waits_until_it_is_read(stage: Stage) -> None:
    """The old file stays in force while the new selection is crawled beside it."""
    stage.config["targets"].pop("crowd")
    stage.write_config()
    daemon = await stage.start()
    await stage.answers(daemon)
    await stage.run("sync")
    stage.config["targets"]["jira"]["accounts"] = {
        "attributes": {"street": "{{ user.streetAddress }}"}
    }
    stage.write_config()
    reloaded = await stage.run("reload", "--json")
    assert reloaded.json["outcome"] == "pending"
    await stage.until("in force", lambda: "config.reloaded" in stage.log.read_text())
    assert await stage.stop(daemon) == 0


async def test_a_managers_name_follows_her_to_the_product(stage: Stage) -> None:
    """Rule 5 for a relation: read before the file is in force; then by rounds and by full syncs."""
    stage.config["targets"].pop("crowd")
    stage.write_config()
    daemon = await stage.start()
    await stage.answers(daemon)
    await stage.run("sync")
    tenant, (boss, ann) = stage.world.tenant, stage.world.employees()[3:5]
    tenant.update(ann.id, manager=boss.id)
    stage.config["targets"]["jira"]["accounts"] = {
        "attributes": {"manager": "{{ user.manager.displayName }}"}
    }
    stage.write_config()
    assert (await stage.run("reload", "--json")).json["outcome"] == "pending"

    def shown() -> Any:
        account = stage.world.jira.people.person(ann.name)
        return account and account.properties.get("manager")

    await stage.until("read by the crawl", lambda: shown() == boss.properties["displayName"])
    tenant.update(boss.id, displayName="Somebody Else")
    await stage.until("her name is followed", lambda: shown() == "Somebody Else")
    stage.graph.oddities.unreliable_manager = stage.graph.oddities.hides_manager = True
    tenant.update(ann.id, manager=None)
    await stage.run("sync", "--full")
    await stage.until("the full sync notices", lambda: not shown())
    assert await stage.stop(daemon) == 0


async def test_sigint_and_a_second_daemon(stage: Stage) -> None:
    """The state belongs to one at a time; both ends are clean."""
    daemon = await stage.start()
    await stage.answers(daemon)
    second = await stage.start()
    async with asyncio.timeout(20):
        assert await second.wait() == 1
    assert "in use by another azsyncd" in stage.log.read_text()
    assert await stage.stop(daemon, signal.SIGINT) == 0
    assert not Path(stage.config["admin"]["socket"]).exists()


async def test_a_start_waits_for_a_command_that_works_by_itself(stage: Stage) -> None:
    """The command has the state for a while; the daemon does not give up at once."""
    for faults in stage.faults.values():
        faults.add("delay", seconds=0.5, times=4)
    syncing = asyncio.create_task(stage.run("sync"))
    lock = Path(stage.config["state"]["path"] + ".lock")
    await stage.until("the state is open", lock.exists)
    daemon = await stage.start()
    await syncing
    await stage.answers(daemon)
    await stage.run("status")
    assert await stage.stop(daemon) == 0


async def test_a_wrong_secret_is_one_clear_line_and_no_storm(stage: Stage) -> None:
    """What to do is said; the login service is asked a handful of times at most."""
    (stage.folder / "secrets" / "entra").write_text("wrong\n")
    daemon = await stage.start()
    await stage.answers(daemon)
    await stage.until("refused", lambda: "AADSTS7000215" in stage.log.read_text())
    await asyncio.sleep(2)
    status = await stage.run("status", expect=1)
    assert "7000215" in status.out and "Traceback" not in stage.log.read_text()
    assert stage.login.token_requests <= 4
    (stage.folder / "secrets" / "entra").write_text(SECRET + "\n")
    await stage.run("reload")
    await stage.run("sync")
    await stage.converged()
    assert await stage.stop(daemon) == 0


@pytest.mark.parametrize("what", ["newer", "foreign", "damaged", "tenant"])
async def test_a_state_that_is_not_ours_is_refused_and_untouched(stage: Stage, what: str) -> None:
    """A newer schema, another program's file, a damaged one, another tenant's."""
    await stage.run("sync")
    path = Path(stage.config["state"]["path"])
    code = 1
    if what == "newer":
        with sqlite3.connect(path) as db:
            db.execute(f"PRAGMA user_version = {VERSION + 1}")
        db.close()
    elif what == "foreign":
        for each in path.parent.glob("azsyncd.db*"):
            each.unlink()
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE theirs (x)")
        db.close()
    elif what == "damaged":
        path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    else:
        stage.config["entra"]["tenant_id"] = "99999999-2222-3333-4444-555555555555"
        stage.write_config()
        code = 78
    content = path.read_bytes()
    refused = await stage.run("status", expect=code)
    assert refused.err and "Traceback" not in refused.err
    daemon = await stage.start()
    async with asyncio.timeout(20):
        assert await daemon.wait() == code
    if what != "tenant":
        assert path.read_bytes() == content
