"""Rules that concern the loops, one by one, in the simulated world without faults."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from azsyncd.engine import consent
from azsyncd.model.accounts import Account
from azsyncd.plan.policy import Budget, GuardRules, Mode, Policy
from azsyncd.state import holds, links, targets, waiting
from azsyncd.state.store import Connection

from .comparing import differences
from .watching import is_write
from .world import SCOPE_RULES, World

Make = Callable[..., World]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[World] = []

    def make(**rules: Any) -> World:
        world = World(5, tmp_path / "state.db", policy=Policy(scope=SCOPE_RULES, **rules))
        made.append(world)
        people = [world.tenant.add_user(f"u{i}@fabrikam.example") for i in range(8)]
        world.tenant.add_group("staff", members=people)
        world.tenant.add_group("atl-all", members=people)
        world.watch.entra_changed()
        return world

    with capture_logs():
        yield make
        for world in made:
            world.close()


def read(world: World, work: Callable[[Connection], Any]) -> Any:
    return world.loop.run_until_complete(world.store.read(work))


def write(world: World, work: Callable[[Connection], Any]) -> Any:
    return world.loop.run_until_complete(world.store.write(work))


def gets(world: World) -> int:
    return sum("GET" in line and "/users/delta" in line for line in world.trace)


# Reading --------------------------------------------------------------------------------------


def test_an_empty_round_after_a_notification_is_repeated_three_times(make: Make) -> None:
    world = make()
    world.live()
    world.pull._poll_seconds = 1e6
    world.live(40.0)
    before = gets(world)
    world.pull.ring("notification")
    world.live(10.0)
    assert gets(world) == before + 1
    world.live(10.0)  # after 15 s
    assert gets(world) == before + 2
    world.live(50.0)  # after 60 s
    assert gets(world) == before + 3
    world.live(300.0)  # after 5 min
    assert gets(world) == before + 4
    world.live(3000.0)
    assert gets(world) == before + 4


def test_a_ring_during_a_round_starts_one_more(make: Make) -> None:
    world = make()
    world.live()
    world.pull._poll_seconds = 1e6
    world.live(40.0)
    before = world.pull.rounds
    world.pull.ring("one")

    async def ring_again() -> None:
        while world.pull.bell.rung:
            await world.clock.sleep(0.0)
        for number in range(5):  # many are one
            world.pull.ring(f"again {number}")
        await world.clock.sleep(20.0)

    world.loop.run_until_complete(ring_again())
    assert world.pull.rounds == before + 2


@pytest.mark.parametrize("style", ["sync_state_not_found", "gone", "resync_required"])
def test_rule_04_a_dead_delta_link_leads_to_a_crawl_and_nothing_is_removed(
    make: Make, style: str
) -> None:
    world = make()
    world.live()
    crawls = world.pull.crawls
    world.feeds.expire(style=style)
    world.live()
    assert world.pull.crawls == crawls + 1
    assert differences(world) == []
    assert not world.watch.deactivations


def test_rule_04_pages_that_are_dead_for_ever_end_in_crawls_that_are_counted(make: Make) -> None:
    world = make()
    world.feeds.oddities.dead_pages = 10_000
    world.live(400.0)
    assert world.pull.state.failed_crawls >= 3
    assert not any(product.calls for product in world.products.values())
    world.feeds.oddities.dead_pages = 0
    world.live(400.0)
    assert world.pull.state.failed_crawls == 0
    assert differences(world) == []


def test_rule_07_an_implausible_crawl_opens_a_hold_and_removes_nobody(make: Make) -> None:
    world = make()
    world.live()
    world.feeds.oddities.limited["users"] = "ids"
    world.pull.owe_crawl("full")
    world.live()
    kinds = [hold.kind for hold in read(world, holds.listed)]
    assert kinds == [holds.SOURCE]
    assert not world.watch.deactivations
    world.feeds.oddities.limited.clear()
    world.pull.owe_crawl("full")
    world.live()
    assert read(world, holds.listed) == []
    assert differences(world) == []


def test_a_start_catches_up_although_nothing_changes(make: Make) -> None:
    world = make()
    world.live()
    name = world.targets["plain"]
    write(world, lambda db: targets.update(db, name.t, revision=0))
    product = world.products["plain"]
    stored = product.account("u1@fabrikam.example")
    assert stored is not None
    product.put(replace(stored, display_name="by hand"))
    write(world, targets.all_due)
    world.bury()
    world.live()
    assert differences(world) == []


# Order and pace --------------------------------------------------------------------------------


def writes(world: World, name: str) -> list[tuple[str, str]]:
    return [call for call in world.products[name].calls if is_write(call[0])]


def test_rule_28_what_was_touched_meanwhile_is_planned_anew(make: Make) -> None:
    """People are disabled while a first sync is being sent: their accounts are never made, but for
    those that were made before it was known."""
    world = make()
    staff = world.tenant.group("staff").id
    people = [world.tenant.add_user(f"p{i:03}@fabrikam.example") for i in range(150)]
    for person in people:
        world.tenant.add_member(staff, person)
    world.watch.entra_changed()

    chosen: list[int] = []

    def made(number: int) -> bool:
        return ("create_account", f"p{number:03}@fabrikam.example") in writes(world, "plain")

    async def disable_some_in_the_middle() -> None:
        await world.start()
        world.run_loops()
        while len(writes(world, "plain")) < 3:
            await world.clock.sleep(0.01)
        chosen.extend([number for number in range(150) if not made(number)][-60:])
        for number in chosen:
            world.tenant.update(people[number], accountEnabled=False)
        world.watch.entra_changed()
        world.pull.ring("notification")
        await world.clock.sleep(200.0)

    world.loop.run_until_complete(disable_some_in_the_middle())
    assert differences(world) == []
    never = {number for number in range(150) if not made(number)}
    assert never and never <= set(chosen)


def test_rule_29_one_membership_costs_one_write_and_the_revision_advances(make: Make) -> None:
    """However large the group; and whoever waits with a reason holds nobody up."""
    world = make()
    new = world.tenant.add_user("new@fabrikam.example")
    world.tenant.add_member(world.tenant.group("staff").id, new)
    # Two groups that want one name wait with that reason, for ever.
    world.tenant.add_group("atl-twin", members=[new])
    world.tenant.add_group("atl-twin", members=[new])
    world.watch.entra_changed()
    world.live()
    before = {name: len(writes(world, name)) for name in world.products}
    world.tenant.add_member(world.tenant.group("atl-all").id, new)
    world.watch.entra_changed()
    world.pull.ring("notification")
    world.live()
    for name, reconcile in world.targets.items():
        assert [method for method, _ in writes(world, name)[before[name] :]] == ["add_members"]
        row = read(world, lambda db, t=reconcile.t: targets.get(db, t))
        assert row.revision == world.pull.state.revision
        assert read(world, lambda db, t=reconcile.t: waiting.counts(db, t)) == {"conflict": 2}


# Consent --------------------------------------------------------------------------------------


def foreign(world: World, name: str, username: str) -> None:
    world.products[name].put(Account(username=username, email="x@x.org", display_name="X"))
    world.watch.hands_off(name)


def test_rule_26_a_first_contact_waits_in_one_hold_and_the_other_target_starts(make: Make) -> None:
    world = make()
    foreign(world, "plain", "u1@fabrikam.example")
    world.live()
    assert world.targets["plain"].state.state == "first_contact"
    assert not world.products["plain"].calls
    assert len(world.products["marked"].held) == 8
    world.tenant.add_member(
        world.tenant.group("staff").id, world.tenant.add_user("u9@fabrikam.example")
    )
    world.live(2000.0)
    found = read(world, holds.listed)
    assert [(hold.kind, hold.payload["counts"]["create"]) for hold in found] == [
        (holds.FIRST_CONTACT, 8)  # kept up to date, not one hold a plan
    ]
    turn = world.targets["plain"].turn(cause="sync", consent=True)
    world.loop.run_until_complete(turn)
    assert differences(world) == []
    assert read(world, holds.listed) == []


def test_rule_26_a_consent_outlasts_a_crash(make: Make) -> None:
    world = make(guard=GuardRules(update=Budget(count=0)))
    for number in range(8):
        foreign(world, "plain", f"u{number}@fabrikam.example")
    world.live()
    t = world.targets["plain"].t
    write(world, lambda db: targets.update(db, t, first_contact="consented"))
    world.targets["plain"].bell.ring("operator")
    world.loop.crash_in(60)
    assert world.live()  # it dies
    world.live(300.0)
    assert differences(world) == []  # eight changed addresses, and no allowance for any


@pytest.mark.parametrize("seen", ["in its hold", "before a crash"])
def test_rule_26_what_nobody_saw_is_not_consented_to(make: Make, seen: str) -> None:
    """An accident in Entra between the consent and the end of the first sync."""
    world = make(guard=GuardRules(disable=Budget(count=2)))
    world.products = {"plain": world.products["plain"]}
    for number in range(8):
        foreign(world, "plain", f"u{number}@fabrikam.example")
    world.live()
    (hold,) = read(world, holds.listed)
    t = world.targets["plain"].t
    write(world, lambda db: consent.agree(db, t, hold.payload["counts"]))
    if seen == "before a crash":
        world.targets["plain"].bell.ring("operator")
        world.loop.crash_in(80)
        assert world.live()  # it dies
        with closing(sqlite3.connect(world.path)) as db:
            found = db.execute("SELECT first_contact FROM target WHERE t = ?", (t,)).fetchone()
        assert found == ("consented",)
    for person in list(world.tenant.users())[:6]:
        world.tenant.update(person.id, accountEnabled=False)
    world.watch.entra_changed()
    world.live(300.0)
    opened = {each.kind: each.items for each in read(world, holds.listed)}
    assert opened == {"disable": 6}
    assert sum(each.active is not False for each in world.products["plain"].held.values()) == 8


# Modes ----------------------------------------------------------------------------------------


def test_rule_40_report_reads_and_keeps_no_link(make: Make) -> None:
    world = make(mode=Mode.REPORT)
    world.live()
    for name, product in world.products.items():
        assert not product.calls
        t = world.targets[name].t
        assert not read(world, lambda db, t=t: links.any_settled(db, t))
    assert read(world, holds.listed) == []


def test_rule_40_manual_waits_for_approval_and_then_writes(make: Make) -> None:
    world = make(mode=Mode.MANUAL)
    world.live()
    assert not any(product.calls for product in world.products.values())
    for hold in read(world, holds.listed):

        def approve(db: Connection, number: int = hold.id) -> None:
            holds.decide(db, number, "approved", "sim", "", world.clock.now())
            targets.all_due(db)

        write(world, approve)
    for target in world.targets.values():
        target.bell.ring("operator")
    world.live()
    assert differences(world) == []


def test_rule_40_additions_only_shuts_nobody_out(make: Make) -> None:
    world = make(mode=Mode.ADDITIONS_ONLY)
    world.live()
    assert differences(world) == []
    world.tenant.update(world.tenant.user("u1@fabrikam.example").id, accountEnabled=False)
    world.tenant.delete(world.tenant.user("u2@fabrikam.example").id)
    world.watch.entra_changed()
    world.live()
    assert not world.watch.deactivations


def test_rule_40_a_pause_writes_nothing_and_ends_by_itself(make: Make) -> None:
    world = make()
    world.live()
    until = world.clock.now() + 500.0

    def pause(db: Connection) -> None:
        for target in world.targets.values():
            targets.update(db, target.t, paused=f'{{"until": {until}}}')

    write(world, pause)
    before = {name: len(product.calls) for name, product in world.products.items()}
    world.tenant.update(world.tenant.user("u1@fabrikam.example").id, accountEnabled=False)
    world.watch.entra_changed()
    world.live(400.0)
    assert before == {name: len(product.calls) for name, product in world.products.items()}
    assert world.targets["plain"].state.state == "paused"
    world.live(200.0)
    assert differences(world) == []


# The guard ------------------------------------------------------------------------------------


def test_rule_36_what_does_not_fit_is_held_whole_and_the_rest_goes_on(make: Make) -> None:
    world = make(guard=GuardRules(disable=Budget(count=2)))
    world.live()
    for number in range(3):
        user = world.tenant.user(f"u{number}@fabrikam.example")
        world.tenant.update(user.id, accountEnabled=False)
    world.tenant.update(world.tenant.user("u5@fabrikam.example").id, displayName="New name")
    world.watch.entra_changed()
    world.live()
    assert not world.watch.deactivations
    for product in world.products.values():
        assert product.account("u5@fabrikam.example").display_name == "New name"  # type: ignore[union-attr]
    assert [(hold.kind, hold.items) for hold in read(world, holds.listed)] == [("disable", 3)] * 2


@pytest.mark.parametrize("jump", [-259200.0, 259200.0])
def test_i11_a_jumping_clock_neither_frees_allowance_nor_locks_it(make: Make, jump: float) -> None:
    world = make(guard=GuardRules(disable=Budget(count=1)))
    world.live()
    for number in range(2):
        user = world.tenant.user(f"u{number}@fabrikam.example")
        world.tenant.update(user.id, accountEnabled=False)
        world.watch.entra_changed()
        world.live()
        world.clock.jump(jump)
    assert len(world.watch.deactivations) == 2  # one in each product
    world.live(90_000.0)
    for target in world.targets.values():
        target.bell.ring("look")
    assert len(world.watch.deactivations) == 2  # held: a person decides
