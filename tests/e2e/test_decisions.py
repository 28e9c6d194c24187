"""What people decide, as they do it: kept plans, change windows, holds; against a real stage."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from azsyncd.sandbox.nodes import Node

from .stage import Stage, staged

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """Crowd alone, everything equal already."""
    async with staged(tmp_path, users=150) as made:
        del made.config["targets"]["jira"]
        del made.expected["jira"]
        made.write_config()
        await made.run("sync")
        assert made.differences() == []
        yield made


def set_target(stage: Stage, **settings: Any) -> None:
    stage.config["targets"]["crowd"].update(settings)
    stage.write_config()


def crowd_name(stage: Stage, user: Node) -> str | None:
    """The display name under which she stands in Crowd."""
    person = stage.world.crowd.people.person(str(user.properties["userPrincipalName"]))
    return None if person is None else person.display_name


def people(stage: Stage) -> list[Node]:
    """Those who have an account, in a stable order."""
    inside = {each.id for each in stage.world.tenant.transitive_members(stage.world.scope_group)}
    return [user for user in stage.world.employees() if user.id in inside
            and user.properties["accountEnabled"] and crowd_name(stage, user)]  # fmt: skip


async def eventually_held(stage: Stage, number: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(40):
        while len(found := (await stage.run("holds", "--json")).json) < number:
            await asyncio.sleep(0.2)
    return list(found)


async def test_a_kept_plan_is_written_although_a_hundred_others_have_changed(
    stage: Stage,
) -> None:
    """The one object of the file that has moved is listed; the hundred do not matter. Through the
    daemon, in a change window; then once more without a daemon."""
    set_target(stage, mode="manual")
    daemon = await stage.start()
    await stage.answers(daemon)
    tenant = stage.world.tenant
    everybody = people(stage)
    mine, others = everybody[:5], everybody[5:105]
    assert len(others) == 100
    for user in mine:
        tenant.update(user.id, displayName=f"Seen {user.id[:6]}")
    file = stage.folder / "plan.json"
    planned = await stage.run("plan", "--out", str(file), expect=3)
    assert f"5 changes kept: `azsyncd apply {file}`" in planned.out
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stage.config["targets"]["crowd"]["auth"]["password"]["file"] not in file.read_text()

    tenant.update(mine[2].id, displayName="Moved since")
    for user in others:
        tenant.update(user.id, displayName=f"Other {user.id[:6]}")
    applied = await stage.run("apply", str(file), expect=4)
    assert "crowd: ~ 4 update" in applied.out
    assert "! moved (1)" in applied.out
    moved = str(mine[2].properties["userPrincipalName"])
    assert moved in applied.out
    assert "display_name is 'Moved since' now" in applied.out
    for user in (*mine[:2], *mine[3:]):
        assert crowd_name(stage, user) == f"Seen {user.id[:6]}"
    assert crowd_name(stage, mine[2]) not in ("Moved since", f"Seen {mine[2].id[:6]}")
    assert not [u for u in others if str(crowd_name(stage, u)).startswith("Other ")]

    upn = str(mine[0].properties["userPrincipalName"])
    entries = (await stage.run("history", "--user", upn, "--format", "json")).json
    assert entries[0]["cause"].startswith("apply by uid ")
    assert await stage.stop(daemon) == 0

    planned = await stage.run("plan", "--out", str(file), "--format", "json", expect=3)
    kept = json.loads(file.read_text())["targets"][0]["changes"]
    assert len(kept) == 101
    assert "evidence" not in planned.out
    await stage.run("apply", str(file))
    assert stage.differences() == []
    again = await stage.run("apply", str(file), "--json")
    assert again.json["targets"][0]["already"] == 101
    assert stage.violations() == []


async def test_in_manual_mode_an_approval_writes_what_waits_and_nothing_more(
    stage: Stage,
) -> None:
    """Rule 40. A plan made when the hold stood already can be applied as well."""
    set_target(stage, mode="manual")
    daemon = await stage.start()
    await stage.answers(daemon)
    tenant = stage.world.tenant
    one, two, three = people(stage)[:3]
    for user in (one, two, three):
        tenant.update(user.id, displayName=f"Waits {user.id[:6]}")
    async with asyncio.timeout(40):
        while True:
            holds = (await stage.run("holds", "--json")).json
            if sum(hold["items"] for hold in holds) == 3:
                break
            await asyncio.sleep(0.2)
    assert {hold["kind"] for hold in holds} == {"manual"}
    upn = str(one.properties["userPrincipalName"])
    shown = {h["id"]: (await stage.run("holds", "show", str(h["id"]))).out for h in holds}
    hold = next(number for number, text in shown.items() if upn in text)
    await stage.run("approve", str(hold), "--only", upn, "--reason", "window of tonight")
    await stage.until("written", lambda: crowd_name(stage, one) == f"Waits {one.id[:6]}", 30)
    assert crowd_name(stage, two) != f"Waits {two.id[:6]}"
    entry, *_ = (await stage.run("history", "--user", upn, "--format", "json")).json
    assert " approved by uid " in entry["cause"]
    assert entry["cause"].endswith("(window of tonight)")
    versions = (await stage.run("config", "history", "--json")).json
    assert [entry["configuration"]] == [version["digest"][:12] for version in versions[:1]]
    assert versions[0]["by"] == "start"
    shown = await stage.run("config", "show", "--digest", entry["configuration"])
    assert "mode: manual" in shown.out
    file = stage.folder / "rest.json"
    await stage.run("plan", "--out", str(file), expect=None)
    await stage.run("apply", str(file))
    assert stage.differences() == []
    assert (await stage.run("holds", "--json")).json == []


async def test_rule_39_another_file_is_tried_before_it_is_brought_into_force(stage: Stage) -> None:
    """`plan --config NEW` and `reload --dry-run` say what it would do, and change nothing; after a
    reload the answer says what is held (rule 39)."""
    set_target(stage, guard={"deactivate": {"count": 5, "percent": 1}})
    daemon = await stage.start()
    await stage.answers(daemon)
    narrow = stage.folder / "narrow.yaml"
    old = yaml.safe_load(stage.file.read_text())
    new = {**old, "scope": {**old["scope"], "users": {"members_of": [{"name": "atl-*"}]}}}
    some = stage.world.tenant.add_group("Nearly nobody", members=[people(stage)[0].id])
    new["scope"]["users"] = {"members_of": [{"id": some}]}
    narrow.write_text(yaml.safe_dump(new))
    writes = stage.world.crowd.count()["writes"]
    planned = await stage.run("plan", "--config", str(narrow), "--format", "json", expect=None)
    target = planned.json["targets"][0]
    assert target["withheld"]["guard"] > 50
    budget = target["budgets"]["deactivate"]
    assert (budget["allowance"], budget["wanted"]) == (5, target["withheld"]["guard"])
    assert target["changes"].get("deactivate", 0) == 0
    unchanged = await stage.run("plan", "--format", "json", expect=None)
    assert unchanged.json["targets"][0]["withheld"].get("guard", 0) == 0

    stage.file.write_text(narrow.read_text())
    dry = await stage.run("reload", "--dry-run", "--json")
    assert dry.json["outcome"] == "valid"
    assert dry.json["plan"]["targets"][0]["withheld"]["guard"] == target["withheld"]["guard"]
    assert (await stage.run("holds", "--json")).json == []
    reloaded = await stage.run("reload")
    assert "in force" in reloaded.out
    assert f"{target['withheld']['guard']} guard" in reloaded.out
    (hold,) = await eventually_held(stage, 1)
    assert (hold["kind"], hold["items"]) == ("deactivate", target["withheld"]["guard"])
    assert stage.world.crowd.count()["writes"] == writes

    stage.write_config()  # the old file again: whoever left is back, and the hold is empty
    await stage.run("reload")
    async with asyncio.timeout(40):
        while (await stage.run("holds", "--json")).json:
            await asyncio.sleep(0.2)
    assert stage.world.crowd.count()["writes"] == writes


async def test_rule_38_a_hold_is_decided_about_in_part(stage: Stage) -> None:
    """`--expect` refuses another number, `--only` and `--except` choose, the rest is rejected and
    stays so in silence until it is released; who, when and why are told."""
    set_target(stage, guard={"disable": {"count": 2, "percent": 0}})
    daemon = await stage.start()
    await stage.answers(daemon)
    tenant = stage.world.tenant
    leavers = people(stage)[:5]
    names = [str(user.properties["userPrincipalName"]) for user in leavers]
    await stage.run("pause", "--reason", "five at once")
    for user in leavers:
        tenant.update(user.id, accountEnabled=False)
    await stage.run("sync", expect=None)
    await stage.run("resume")
    (hold,) = await eventually_held(stage, 1)
    assert (hold["kind"], hold["items"]) == ("disable", 5)
    number = str(hold["id"])
    wrong = await stage.run("approve", number, "--expect", "4", expect=1)
    assert "has 5 changes, not 4" in wrong.err
    await stage.run("approve", number, "--expect", "5", "--only", names[0], "--reason", "HR said")

    def inactive() -> list[str]:
        found = [stage.world.crowd.people.person(name) for name in names]
        return [n for n, p in zip(names, found, strict=True) if p is not None and not p.active]

    await stage.until("the one", lambda: inactive() == names[:1], 30)
    await stage.run("approve", number, "--except", names[3], names[4])
    await stage.until("three", lambda: inactive() == names[:3], 30)
    (rest,) = (await stage.run("holds", "--json")).json
    assert rest["items"] == 2
    await stage.run("reject", str(rest["id"]), "--reason", "on leave")
    (shown,) = [h for h in (await stage.run("holds", "--json")).json if h["state"] == "rejected"]
    assert shown["decision_reason"] == "on leave"
    assert shown["decided_by"].startswith("uid ")
    assert (await stage.run("status", "--json", expect=None)).json["holds"] == 0
    assert inactive() == names[:3]
    planned = await stage.run("plan", "--format", "json", expect=None)
    assert planned.json["targets"][0]["withheld"]["rejected"] == 2
    await stage.run("release", names[4])
    await stage.until(
        "released, and there is room", lambda: inactive() == names[:3] + names[4:], 30
    )
    spent = (await stage.run("status", "--json", expect=None)).json["targets"][0]["budgets"]
    assert spent["disable"]["spent"] == 1  # approved changes spent none (rule 37)
    entries = (await stage.run("history", "--user", names[0], "--format", "json")).json
    assert "approved" in entries[0]["cause"]


async def test_rule_07_an_incomplete_read_removes_nobody_and_says_why(stage: Stage) -> None:
    """A permission was taken away, and Graph answers 200 with bare ids: status and plan say so,
    and the next complete reading ends it."""
    daemon = await stage.start()
    await stage.answers(daemon)
    writes = stage.world.crowd.count()["writes"]
    stage.graph.oddities.limited["users"] = "ids"
    await stage.run("sync", "--full", expect=None)
    (hold,) = await eventually_held(stage, 1)
    assert (hold["kind"], hold["target"]) == ("source", None)
    status = await stage.run("status", expect=3)
    assert "a permission seems to be missing" in status.out
    assert f"`azsyncd approve {hold['id']}` lets it through" in status.out
    planned = await stage.run("plan", expect=None)
    assert "a permission seems to be missing" in planned.out
    assert stage.world.crowd.count()["writes"] == writes
    stage.graph.oddities.limited.clear()
    await stage.run("sync", "--full")
    assert (await stage.run("holds", "--json")).json == []
    assert stage.differences() == []
