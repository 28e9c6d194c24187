"""Leavers over a year and a day, with restarts and returns in between (rules 33 and 34)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from azsyncd.model.accounts import Account
from azsyncd.plan.policy import Budget, GuardRules, Protect, Stage
from azsyncd.state import holds, questions, waiting
from azsyncd.targets.memory import ABLE, Memory

from .tenants import FREE, Set, World, policy

DAY = 86400.0
STAGES = (
    Stage(after=0.0, do="deactivate"),
    Stage(after=30 * DAY, do="strip_groups"),
    Stage(after=365 * DAY, do="delete"),
)
LATER = (Stage(after=30 * DAY, do="deactivate"), Stage(after=60 * DAY, do="delete"))
HERS = "n0@x.org"


def world_of(stages: Any = STAGES, guard: GuardRules = FREE) -> World:
    world = World(Set(policy(guard, accounts={"leavers": stages}), ABLE))
    world.turn()
    world.settle()
    return world


def days(world: World, number: float) -> None:
    """Time passes, and the daemon is started anew in the middle of it."""
    world.clock.at += number * DAY
    world.reconcile = world.engine()
    world.settle()


def hers(world: World) -> Account | None:
    return world.product.account(HERS)


def stands(world: World) -> tuple[bool, bool, bool]:
    """(there, active, in her group)"""
    account = hers(world)
    inside = HERS in world.product.members_of("atl-0")
    return account is not None, bool(account and account.active), inside


def test_rule_34_stages_are_counted_across_restarts() -> None:
    world = world_of()
    world.live([("part", 0, 0)])
    world.settle()
    assert stands(world) == (True, False, True)
    days(world, 29.9)
    assert stands(world) == (True, False, True)
    days(world, 0.2)
    assert stands(world) == (True, False, False)
    days(world, 334.8)
    assert stands(world) == (True, False, False)
    days(world, 0.2)
    assert stands(world) == (False, False, False)
    days(world, 30)
    assert waiting.counts(world.db, world.t) == {}
    assert world.product.needless == []


@pytest.mark.parametrize("passed", [1, 40, 364])
def test_rule_33_who_comes_back_has_everything_again_and_stages_begin_anew(passed: int) -> None:
    world = world_of()
    key = hers(world)
    world.live([("part", 0, 0)])
    world.settle()
    days(world, passed)
    world.live([("join", 0, 0)])
    world.settle()
    assert stands(world) == (True, True, True)
    again = hers(world)
    assert key is not None and again is not None and again.key == key.key
    days(world, 400)
    assert stands(world) == (True, True, True)
    world.live([("part", 0, 0)])
    world.settle()
    days(world, 29)
    assert stands(world) == (True, False, True)  # not counted from the first time


def test_rule_33_who_left_a_group_in_the_meantime_does_not_get_it_back() -> None:
    world = world_of()
    world.live([("part", 0, 0)])
    world.settle()
    days(world, 40)
    world.live([("part", 0, 3), ("join", 0, 5)])
    world.settle()
    world.live([("join", 0, 0)])
    world.settle()
    assert stands(world) == (True, True, False)
    assert HERS in world.product.members_of("atl-2")


def test_rule_33_an_explicit_removal_applies_to_leavers_too() -> None:
    world = world_of()
    world.live([("part", 0, 0)])
    world.settle()
    world.live([("part", 0, 3)])
    world.settle()
    assert stands(world) == (True, False, False)


def test_rule_34_a_soft_delete_shuts_at_once_and_waits_for_what_comes_later() -> None:
    world = world_of(LATER)
    world.live([("delete", 0, 0), ("part", 1, 0)])
    world.settle()
    assert stands(world) == (True, False, True)
    other = world.product.account("n1@x.org")
    assert other is not None and other.active  # she left the scope: her stage is not due
    world.live([("restore", 0, 0)])
    world.settle()
    assert stands(world) == (True, True, True)
    days(world, 31)
    other = world.product.account("n1@x.org")
    assert other is not None and not other.active


def test_rule_34_a_keep_policy_keeps_whoever_is_deleted() -> None:
    world = world_of("keep")
    world.live([("delete", 0, 0), ("part", 1, 0)])
    world.settle()
    days(world, 400)
    other = world.product.account("n1@x.org")
    assert stands(world) == (True, True, True) and other is not None and other.active


def test_rule_36_a_delete_waits_for_a_person_unless_the_file_allows_some() -> None:
    world = world_of(guard=GuardRules())
    world.live([("part", 0, 0)])
    world.settle()
    days(world, 366)
    assert stands(world) == (True, False, False)
    assert [(hold.kind, hold.items) for hold in holds.listed(world.db)] == [("delete", 1)]
    days(world, 5)
    assert hers(world) is not None
    world.live([("join", 0, 0)])  # she is back before anybody has decided
    world.settle()
    assert stands(world) == (True, True, True)
    assert [hold for hold in holds.listed(world.db) if hold.state == "open"] == []
    allowed = world_of(guard=GuardRules(delete=Budget(count=1)))
    allowed.live([("part", 0, 0)])
    allowed.settle()
    days(allowed, 366)
    assert hers(allowed) is None


def test_rule_33_a_rejoiner_after_the_delete_gets_an_account_of_her_own() -> None:
    world = world_of("delete")
    first = hers(world)
    world.live([("part", 0, 0)])
    world.settle()
    assert hers(world) is None
    world.live([("join", 0, 0)])
    world.settle()
    again = hers(world)
    assert stands(world) == (True, True, True)
    assert first is not None and again is not None and first.key != again.key


# Where an account cannot be deactivated ----------------------------------------------------------

STRIPS = replace(
    ABLE,
    deactivates_accounts=False,
    strips_accounts=True,
    licence_groups=frozenset({"licensed", "spared"}),
)


def stripping(guard: GuardRules = FREE) -> World:
    product = Memory(capabilities=STRIPS)
    key = product.put(
        Account(username=HERS, email=HERS, display_name="n0 x"), "licensed", "spared", "local"
    ).key
    product.granted.add(str(key))
    rules = policy(guard).model_copy(
        update={"protect": Protect(groups=("spared",)), "accounts": policy().accounts}
    )
    world = World(Set(rules, STRIPS), product)
    world.turn()
    world.settle()
    return world


def access(world: World) -> tuple[list[str], bool, int]:
    """(her groups, rights of her own, how many leavers are said to have access)"""
    product, account = world.product, hers(world)
    assert account is not None
    groups = [name for name in product.held_groups if HERS in product.members_of(name)]
    count = len(questions.leavers_with_access(world.db, world.t))
    return sorted(groups), account.key in product.granted, count


@pytest.mark.parametrize("how", [("part", 0, 0), ("disable", 0, 0), ("delete", 0, 0)])
def test_rule_32_rights_and_licences_go_whoever_gave_them_and_only_ours_comes_back(
    how: tuple[str, int, int],
) -> None:
    world = stripping()
    assert access(world) == (["atl-0", "licensed", "local", "spared"], True, 0)
    world.live([how])
    world.settle()
    assert access(world) == (["local", "spared"], False, 0)
    calls = list(world.product.calls)
    days(world, 2)
    world.turn(full=True)
    assert world.product.calls == calls  # once is enough
    account = hers(world)
    assert account is not None
    world.product.held_groups["licensed"].members.add(str(account.key))  # by hand
    world.turn(full=True)
    world.settle()
    assert access(world) == (["local", "spared"], False, 0)
    world.live(
        [{"part": ("join", 0, 0), "disable": ("enable", 0, 0)}.get(how[0], ("restore", 0, 0))]
    )
    world.settle()
    assert access(world)[0] == ["atl-0", "local", "spared"]
    world.live([how])  # and again
    world.settle()
    assert access(world)[0] == ["local", "spared"]
    strips = [call for call in world.product.calls if call[0] == "strip_account"]
    assert len(strips) == 3


def test_rule_32_a_strip_that_is_held_is_access_that_is_counted() -> None:
    world = stripping(FREE.model_copy(update={"deactivate": Budget(count=0)}))
    world.live([("part", 0, 0)])
    world.settle()
    assert access(world) == (["licensed", "local", "spared"], True, 1)
    assert [(hold.kind, hold.items) for hold in holds.listed(world.db)] == [("deactivate", 1)]
