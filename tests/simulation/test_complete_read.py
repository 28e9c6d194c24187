"""Absence counts only when everything was read (rules 2, 7 and 11): removals wait, additions go
on, the reason is told, and a person can let it through."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from azsyncd.plan.policy import GuardRules, Policy
from azsyncd.sandbox.odata import Ask
from azsyncd.state import folding, holds, questions, targets, waiting
from azsyncd.state.store import Connection

from .comparing import differences
from .world import SCOPE_RULES, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Ten people at peace; the guard would let everything pass."""
    with capture_logs():
        guard = GuardRules(deactivate="unlimited", disable="unlimited", remove_member="unlimited")
        world = World(11, tmp_path / "state.db", policy=Policy(scope=SCOPE_RULES, guard=guard))
        people = [world.tenant.add_user(f"u{i}@fabrikam.example") for i in range(10)]
        world.tenant.add_group("staff", members=people)
        world.tenant.add_group("atl-all", members=people)
        world.watch.entra_changed()
        world.live()
        assert differences(world) == []
        yield world
        world.close()


def read(world: World, work: Any) -> Any:
    return world.loop.run_until_complete(world.store.read(work))


def lack(world: World, ids: set[str]) -> None:
    """Graph does not show these, on any page."""
    page = world.feeds.page

    def lacking(feed: str, ask: Ask) -> dict[str, Any]:
        body = page(feed, ask)
        return {**body, "value": [each for each in body["value"] if each["id"] not in ids]}

    world.feeds.page = lacking  # type: ignore[method-assign]


def lost(world: World) -> int:
    return len(world.watch.deactivations)


def test_rule_07_removals_wait_additions_go_on_and_a_person_lets_it_through(world: World) -> None:
    gone = {world.tenant.user(f"u{n}@fabrikam.example").id for n in range(4)}
    lack(world, gone)
    world.pull.owe_crawl("full")
    world.live()
    staff = world.tenant.group("staff").id
    world.tenant.add_member(staff, world.tenant.add_user("new@fabrikam.example"))
    world.watch.entra_changed()
    world.live()
    assert lost(world) == 0
    assert world.products["plain"].account("new@fabrikam.example") is not None
    (hold,) = read(world, holds.listed)
    assert hold.kind == holds.SOURCE
    number, why = read(world, questions.not_believed)
    assert number >= 4
    assert why.startswith("Entra showed 6 users, at the last complete reading there were 10: ")
    assert f"`azsyncd approve {hold.id}`" in why
    t = world.targets["plain"].t
    assert read(world, lambda db: questions.withheld(db, t))["source"] == number

    async def let_through() -> None:
        def approve(db: Connection) -> None:
            now = world.clock.now()
            folding.approve_sweep(db, int(hold.payload["crawl"]), now)
            questions.close_hold(db, hold.id, "approved", "jo", "they left", now)

        await world.store.write(approve)
        await world.refresh()

    world.watch.shut |= gone  # for Entra has said so, and somebody has believed it
    world.loop.run_until_complete(let_through())
    world.live()
    assert lost(world) == 8  # four, in each of the two products
    assert read(world, questions.not_believed) == (0, "")


@pytest.mark.parametrize("how", ["renamed", "deleted", "ambiguous"])
def test_rule_11_a_scope_that_matches_nothing_any_more_never_reads_as_nobody(
    world: World, how: str
) -> None:
    tenant = world.tenant
    staff = tenant.group("staff").id
    if how == "renamed":
        tenant.update(staff, displayName="people")
    elif how == "deleted":
        tenant.delete(staff)
    else:
        tenant.add_group("staff", members=[])
    world.watch.entra_changed()
    world.live()
    world.pull.owe_crawl("full")
    world.live()
    assert lost(world) == 0
    t = world.targets["plain"].t
    rows = read(world, lambda db: waiting.listed(db, t))
    told = {row["detail"] for row in rows if row["reason"] == "undecided"}
    if how == "ambiguous":  # whoever is below one of them stays; nobody is removed by it
        assert not told or any("ambiguous" in text for text in told)
    else:
        assert told
        assert all("matched a group once and matches none now" in text for text in told)


def test_rule_02_before_the_first_complete_reading_nothing_is_removed(
    tmp_path: Path,
) -> None:
    with capture_logs():
        world = World(12, tmp_path / "state.db", policy=Policy(scope=SCOPE_RULES))
        people = [world.tenant.add_user(f"u{i}@fabrikam.example") for i in range(4)]
        world.tenant.add_group("staff", members=people)
        world.watch.entra_changed()
        world.feeds.oddities.limited["groups"] = "ids"
        world.live()
        world.tenant.remove_member(world.tenant.group("staff").id, people[0])
        world.watch.entra_changed()
        world.live()
        assert lost(world) == 0
        assert not any(product.held for product in world.products.values())
        world.feeds.oddities.limited.clear()
        world.pull.owe_crawl("full")
        world.live()
        assert differences(world) == []
        world.close()


def test_rule_38_an_approval_is_for_a_day(world: World) -> None:
    """What of it was not written by then is held anew."""
    world.bury()
    world.policy = Policy(scope=SCOPE_RULES, guard=GuardRules(disable={"count": 0}))  # type: ignore[arg-type]
    world.live(1.0)
    user = world.tenant.user("u1@fabrikam.example")
    world.tenant.update(user.id, accountEnabled=False)
    world.watch.entra_changed()
    world.live()
    assert lost(world) == 0

    def decide(db: Connection) -> None:
        for hold in holds.listed(db):
            holds.decide(db, hold.id, "approved", "jo", "", world.clock.now())
        for target in world.targets.values():  # and nobody can be reached for a day
            targets.update(db, target.t, paused=f'{{"until": {world.clock.now() + 86500.0}}}')

    world.loop.run_until_complete(world.store.write(decide))
    world.live(87_000.0)
    world.pull.owe_crawl("full")
    for target in world.targets.values():
        world.loop.run_until_complete(
            world.store.write(lambda db, t=target.t: targets.owe_full(db, t))
        )
        target.bell.ring("operator")
    world.live()
    assert lost(world) == 0
    assert [hold.kind for hold in read(world, holds.listed)] == ["disable", "disable"]
