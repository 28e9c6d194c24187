"""A turn that is left off, and what must not be forgotten with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from azsyncd.engine import explaining
from azsyncd.errors import TargetUnavailable
from azsyncd.plan.policy import (
    AccountRules,
    Entry,
    GroupScope,
    Policy,
    Scope,
    Stage,
    UserScope,
)
from azsyncd.state import targets

from .test_rules import read
from .world import SCOPE_RULES, World

Make = Callable[..., World]
UPN = "{}@fabrikam.example"
BY_GLOB = Scope(
    users=UserScope(members_of=(Entry(name="staff*"),)),
    groups=GroupScope(include=(Entry(name="atl-*"),)),
)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[World] = []

    def make(scope: Scope = SCOPE_RULES, **rules: Any) -> World:
        world = World(5, tmp_path / "state.db", policy=Policy(scope=scope, **rules))
        world.products = {"plain": world.products["plain"]}
        made.append(world)
        return world

    with capture_logs():
        yield make
        for world in made:
            world.close()


def people(world: World, *names: str, **properties: Any) -> list[str]:
    return [world.tenant.add_user(UPN.format(name), **properties) for name in names]


def active(world: World) -> set[str]:
    return {
        account.username.partition("@")[0]
        for account in world.products["plain"].held.values()
        if account.active
    }


def fail_once(world: World, method: str) -> None:
    """The next call of this kind is throttled: the turn ends there."""
    real, failed = world.products["plain"].faults, []

    async def faults(when: str, called: str) -> None:
        if when == "before" and called == method and not failed:
            failed.append(called)
            raise TargetUnavailable("429", target="plain")
        if real is not None:
            await real(when, called)

    world.products["plain"].faults = faults


def crash(world: World) -> None:
    """The engine dies where it stands, and starts again."""
    world.bury()


@pytest.mark.parametrize("trouble", ["throttled", "killed"])
def test_i1_a_group_that_came_into_scope_is_not_forgotten_with_the_turn(
    make: Make, trouble: str
) -> None:
    """Its members are in the slice because of it alone: nothing of their own has changed."""
    world = make(scope=BY_GLOB)
    names = [f"u{i}" for i in range(20)]
    ids = people(world, *names)
    world.tenant.add_group("staff", members=ids[:3])
    sales = world.tenant.add_group("sales", members=ids[3:])
    world.watch.entra_changed()
    world.live()
    fail_once(world, "create_account")
    world.tenant.update(sales, displayName="staff-sales")
    world.watch.entra_changed()
    if trouble == "killed":
        world.live(3.0)
        crash(world)
    world.live(3600.0)
    assert active(world) == set(names)


def test_rule_16_a_name_that_became_free_is_not_forgotten_with_the_turn(make: Make) -> None:
    world = make(accounts=AccountRules(username="{{ user.mailNickname }}"))
    a, b = people(world, "a", "b", mailNickname="x")
    (c,) = people(world, "c", mailNickname="c")
    world.tenant.add_group("staff", members=[a, b, c])
    world.watch.entra_changed()
    world.live()
    assert active(world) == {"c"}
    fail_once(world, "set_active")
    world.tenant.update(c, accountEnabled=False)
    world.tenant.update(a, mailNickname="y")
    world.watch.entra_changed()
    world.live(3600.0)
    assert active(world) == {"x", "y"}


def test_a_question_leaves_the_planner_as_it_was(make: Make) -> None:
    """What it learnt is taken back with its transaction, and so must be what it remembers."""
    world = make(scope=BY_GLOB)
    ids = people(world, "u0", "u1")
    world.tenant.add_group("staff", members=ids)
    world.watch.entra_changed()
    world.live()
    reconcile = world.targets["plain"]
    reconcile.planning.ready = False
    asked = read(world, lambda db: explaining.explain(db, [reconcile], "u0@fabrikam.example", None))
    assert asked["targets"]
    assert not reconcile.planning.ready


def test_a_target_gets_on_while_a_restored_user_is_verified(make: Make) -> None:
    """The database knows a revision that nobody was told of yet: no reason to plan for ever."""
    world = make()
    ids = people(world, "u0", "u1", "u2")
    world.tenant.add_group("staff", members=ids)
    world.watch.entra_changed()
    world.live()
    world.tenant.delete(ids[0])
    world.watch.entra_changed()
    world.live()
    reconcile = world.targets["plain"]
    drafts, real = [], reconcile._draft_newer

    async def draft(*given: Any) -> Any:
        drafts.append(given)
        assert len(drafts) < 100, "it spins"
        return await real(*given)

    reconcile._draft_newer = draft  # type: ignore[method-assign]
    before_graph = world.before_graph

    async def slow(url: str) -> None:
        if "memberOf" in url:
            reconcile.bell.ring("operator")
            await asyncio.sleep(600)
        await before_graph(url)

    world.before_graph = slow  # type: ignore[method-assign]
    world.tenant.restore(ids[0])
    world.tenant.update(ids[1], accountEnabled=False)
    world.watch.entra_changed()
    world.live(300.0)
    assert "u1" not in active(world)


def test_a_full_plan_that_is_asked_for_during_one_is_made(make: Make) -> None:
    """What the running one had read may be older than what asked."""
    world = make()
    world.tenant.add_group("staff", members=people(world, "u0", "u1"))
    world.watch.entra_changed()
    world.live()
    reconcile = world.targets["plain"]
    take, times = reconcile.take_inventory, []

    async def taking(tell: Any = None) -> None:
        await take(tell)
        times.append(world.clock.now())
        if len(times) == 1:
            await world.store.write(targets.all_due)

    reconcile.take_inventory = taking  # type: ignore[method-assign]

    async def full() -> None:
        await world.store.write(targets.all_due)
        reconcile.bell.ring("operator")
        await world.clock.sleep(30.0)
        reconcile.bell.ring("operator")
        await world.clock.sleep(30.0)

    world.loop.run_until_complete(full())
    assert len(times) == 2


def test_rule_02_who_is_disabled_is_shut_out_whatever_the_scope_is_in_doubt_of(make: Make) -> None:
    world = make()
    ids = people(world, "u0", "u1")
    staff = world.tenant.add_group("staff", members=ids)
    world.watch.entra_changed()
    world.live()
    world.tenant.update(staff, displayName="stuff")  # the scope's entry matches nothing now
    world.live()
    assert active(world) == {"u0", "u1"}
    world.tenant.update(ids[1], accountEnabled=False)
    world.watch.entra_changed()
    world.live(600.0)
    assert active(world) == {"u0"}


def test_rule_34_who_is_disabled_has_no_days_of_grace_for_leaving_the_scope_too(make: Make) -> None:
    """Off-boarding does both, and so does every group that asks for accountEnabled."""
    stages = (Stage(after="1s", do="keep"), Stage(after="30d", do="deactivate"))
    world = make(accounts=AccountRules(leavers=stages))
    ids = people(world, "stays", "both", "left", "disabled")
    staff = world.tenant.add_group("staff", members=ids)
    world.watch.entra_changed()
    world.live()
    world.tenant.update(ids[1], accountEnabled=False)
    world.tenant.remove_member(staff, ids[1])
    world.tenant.remove_member(staff, ids[2])
    world.tenant.update(ids[3], accountEnabled=False)
    world.watch.entra_changed()
    world.live(600.0)
    assert active(world) == {"stays", "left"}
