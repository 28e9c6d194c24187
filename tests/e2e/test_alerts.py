"""Who is told, by the unmodified daemon: alerts, heartbeat, the audit file, and forgetting."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.unit.engine.receiving import Received, mail_server, webhook

from .stage import Stage, staged

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as made:
        made.config["targets"].pop("crowd")
        made.write_config()
        yield made


def tell(stage: Stage, hook: Received, **more: Any) -> None:
    """Let the daemon tell this webhook."""
    secret = stage.folder / "secrets" / "hook"
    secret.write_text(f"{hook.url}\n")
    stage.config["alerts"] = [{"webhook": {"url": {"file": str(secret)}}}]
    stage.config |= more
    stage.write_config()


async def test_a_hold_is_told_on_the_edge_and_when_it_is_decided(stage: Stage) -> None:
    """Once, also across a restart; the address is in no log and no database."""
    async with webhook("/hook/s3cret-path?sig=s3cret-sig") as hook:
        tell(stage, hook)
        daemon = await stage.start()
        await stage.answers(daemon)
        await stage.until("told", lambda: hook.titles)
        (title,) = hook.titles
        assert title.startswith("opened jira: the first contact waits for a decision")
        assert await stage.stop(daemon) == 0
        daemon = await stage.start()
        # Not by the socket's file, which the first one may have left behind.
        await stage.until("started", lambda: stage.log.read_text().count("daemon.started") == 2)
        await stage.run("sync")
        await stage.until("over", lambda: len(hook.titles) == 2)
        assert hook.titles[1].startswith("recovered jira: the first contact")
        assert await stage.stop(daemon) == 0
        (card,) = hook.bodies[0]["attachments"]
        assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
        assert "azsyncd holds show" in hook.bodies[0]["text"]
    said = stage.log.read_bytes() + b"".join(
        file.read_bytes() for file in (stage.folder / "state").iterdir()
    )
    assert b"s3cret" not in said


async def test_a_rejected_file_is_told_and_so_is_a_good_one(stage: Stage) -> None:
    """By reload as by signal."""
    await stage.run("sync")
    async with webhook() as hook:
        tell(stage, hook)
        daemon = await stage.start()
        await stage.answers(daemon)
        good = stage.file.read_text()
        stage.file.write_text(good + "nonsense: 1\n")
        daemon.send_signal(signal.SIGHUP)
        await stage.until("told", lambda: hook.titles)
        stage.file.write_text(good)
        daemon.send_signal(signal.SIGHUP)
        await stage.until("over", lambda: len(hook.titles) == 2)
        assert [each.split()[0] for each in hook.titles] == ["opened", "recovered"]
        assert await stage.stop(daemon) == 0


async def test_what_cannot_be_delivered_waits_and_is_shown(stage: Stage) -> None:
    """In status and in the log; it arrives when the address answers again."""
    async with webhook() as hook:
        hook.status = 404
        tell(stage, hook)
        daemon = await stage.start()
        await stage.answers(daemon)
        await stage.until("undelivered", lambda: "alert.undelivered" in stage.log.read_text())
        status = (await stage.run("status", "--json", expect=1)).json
        (door,) = status["alerts"]
        assert door["waiting"] == 1 and "404" in door["error"]
        assert any(line.startswith("alerts: 1 not delivered") for line in status["problems"])
        hook.status = 200
        await stage.until("delivered", lambda: hook.titles)
        await stage.until("logged", lambda: "alert.delivered" in stage.log.read_text())
        assert await stage.stop(daemon) == 0
    assert "s3cret" not in stage.log.read_text()


async def test_alerts_test_sends_one_of_each_with_and_without_a_daemon(stage: Stage) -> None:
    """And says what does not go through."""
    async with webhook() as hook, mail_server() as box:
        tell(stage, hook)
        stage.config["alerts"].append(
            {"email": {"smtp": f"127.0.0.1:{box.port}", "tls": "none",
                       "from": "azsyncd@example.com", "to": ["it@example.com"]}}
        )  # fmt: skip
        secret = stage.folder / "secrets" / "beat"
        secret.write_text(hook.url.replace("/hook", "/beat"))
        stage.config["heartbeat"] = {"url": {"file": str(secret)}, "every": "1h"}
        stage.write_config()
        checked = await stage.run("check")
        assert "it@example.com" in checked.out and "s3cret" not in checked.out
        offline = (await stage.run("alerts", "test", "--json")).json
        kinds = {each["kind"] for each in offline}
        assert {"hold", "credential", "config_rejected", "digest", "heartbeat"} <= kinds
        assert all(each["ok"] for each in offline)
        assert {body["alerts"][0]["kind"] for body in hook.bodies} == kinds - {
            "digest", "heartbeat"}  # fmt: skip
        assert len(box.mails) == len(kinds) - 1
        daemon = await stage.start()
        await stage.answers(daemon)
        box.refuse["RCPT"] = "550 no such user"
        failed = await stage.run("alerts", "test", expect=1)
        assert "refuses every recipient (550)" in failed.out
        assert "it@example.com" not in failed.out
        assert await stage.stop(daemon) == 0


async def test_the_heart_beats_while_all_is_well(stage: Stage) -> None:
    """And not while Entra refuses us."""
    async with webhook("/beat") as hook:
        secret = stage.folder / "secrets" / "beat"
        secret.write_text(hook.url)
        stage.config["heartbeat"] = {"url": {"file": str(secret)}, "every": "10s"}
        stage.write_config()
        right = (stage.folder / "secrets" / "entra").read_text()
        (stage.folder / "secrets" / "entra").write_text("wrong\n")
        daemon = await stage.start()
        await stage.answers(daemon)
        await stage.until("refused", lambda: "AADSTS" in stage.log.read_text())
        assert hook.calls == []
        (stage.folder / "secrets" / "entra").write_text(right)
        await stage.run("reload")
        await stage.run("sync")
        await stage.until("a beat", lambda: hook.calls == ["GET /beat"])
        assert await stage.stop(daemon) == 0


async def test_every_write_is_in_the_audit_file_also_after_rotation(stage: Stage) -> None:
    """The same rows as in the history, by the daemon and by commands on their own."""
    file = stage.folder / "audit.jsonl"
    stage.config["audit"] = {"file": str(file)}
    stage.write_config()
    await stage.run("sync")
    history = (await stage.run("history", "--format", "json", "--limit", "100000")).json
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines and lines == history[::-1]
    file.rename(file.with_suffix(".1"))
    daemon = await stage.start()
    await stage.answers(daemon)
    jo = stage.world.employees()[3]
    stage.world.tenant.update(jo.id, displayName="Jo New")
    await stage.until("a line", lambda: file.exists() and jo.id in file.read_text())
    assert await stage.stop(daemon) == 0
    assert file.stat().st_mode & 0o777 == 0o640

    name = str(jo.properties["userPrincipalName"])
    told = (await stage.run("forget", name, "--json")).json
    assert told["object_id"] == jo.id and told["entries"] >= 2
    mine = (await stage.run("history", "--user", jo.id, "--format", "json")).json
    assert {row["name"] for row in mine} == {"(forgotten)"}
    assert all(row["before"] is row["after"] is None for row in mine)
    await stage.run("forget", "nobody@example.com", expect=1)


async def test_a_credential_that_ends_is_shown_then_a_problem_then_told(stage: Stage) -> None:
    """60 days before, 14 days before, and at its end; with the three steps each time."""
    await stage.run("sync")
    auth = stage.config["targets"]["jira"]["auth"]

    async def status(days: float, expect: int) -> str:
        auth["expires_on"] = str((datetime.now(UTC) + timedelta(days=days)).date())
        stage.write_config()
        problems = (await stage.run("status", "--json", expect=expect)).json["problems"]
        return "\n".join(problems)

    assert await status(70, 0) == ""
    assert "the credential of jira ends in" in await status(40, 0)
    near = await status(10, 1)
    assert "1. make a new token in jira; 2. put it into " in near
    assert str(stage.folder / "secrets" / "jira") in near and "3. azsyncd reload" in near
    assert "the credential of jira has ended" in await status(-3, 1)
    assert "failed   jira" in (await stage.run("check", expect=1)).out
    async with webhook() as hook:
        tell(stage, hook)
        daemon = await stage.start()
        await stage.answers(daemon)
        await stage.until("told", lambda: hook.titles)
        assert hook.titles[0].startswith("opened the credential of jira has ended")
        (stage.folder / "secrets" / "jira").touch()
        assert (
            "is newer than the one that azsyncd holds: azsyncd reload"
            in (await stage.run("status", expect=1)).out
        )
        assert await stage.stop(daemon) == 0
    assert stage.log.read_text().count("credential.ended") == 1


async def test_i12_killed_in_the_middle_the_audit_file_lacks_nothing(stage: Stage) -> None:
    """Lines may stand there twice then, and none is missing or torn."""
    file = stage.folder / "audit.jsonl"
    stage.config["audit"] = {"file": str(file)}
    stage.write_config()
    daemon = await stage.start()
    await stage.answers(daemon)
    syncing = asyncio.create_task(stage.run("sync", expect=None))
    await stage.until("writes", lambda: len(stage.world.products["jira"].writes) > 30)
    daemon.kill()
    await daemon.wait()
    await syncing
    written = file.read_text().count("\n") if file.exists() else 0
    await stage.run("sync")
    assert file.read_text().count("\n") > written
    history = (await stage.run("history", "--format", "json", "--limit", "100000")).json
    lines = [json.dumps(json.loads(line), sort_keys=True) for line in file.read_text().splitlines()]
    assert set(lines) == {json.dumps(row, sort_keys=True) for row in history}
