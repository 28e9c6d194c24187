"""What was changed by hand in a product (rule 22): found by a full sync, counted once, put right or
only reported; and left alone where somebody else keeps writing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azsyncd.model.accounts import Account, Dialect, InvalidValue, differences, fold
from azsyncd.state import drift, waiting
from azsyncd.targets.bitbucket.wire import BitbucketDialect
from azsyncd.targets.cloud.wire import CloudDialect
from azsyncd.targets.confluence.wire import ConfluenceDialect
from azsyncd.targets.crowd.wire import CrowdDialect
from azsyncd.targets.jira.wire import JiraDialect
from azsyncd.targets.memory import ABLE, Memory, MemoryDialect

from .tenants import ROUNDS, SCOPE, Event, Set, World, policy

DAY = 86400.0
HERS = "n0@x.org"


class Found(World):
    """A world that counts what it is told of drift."""

    counted: Counter[str]

    def listen(self) -> Found:
        self.counted = Counter()
        self.reconcile.on_drift(lambda kind, number: self.counted.update({kind: number}))
        return self

    def full(self) -> None:
        self.turn(full=True)
        self.settle()

    def part_by_hand(self) -> None:
        account = self.product.account(HERS)
        assert account is not None
        self.product.held_groups["atl-0"].members.discard(str(account.key))

    def retitle_by_hand(self, name: str = HERS) -> None:
        account = self.product.account(name)
        assert account is not None
        self.product.held[str(account.key)] = replace(account, display_name="By hand")

    def reasons(self) -> list[tuple[str, str]]:
        rows = self.db.execute("SELECT change, reason FROM journal WHERE reason = 'drift'")
        return [tuple(row) for row in rows]


def found(**parts: Any) -> Found:
    world = Found(Set(policy(**parts), ABLE)).listen()
    world.turn()
    world.settle()
    assert not world.counted
    return world


def test_rule_22_a_membership_that_a_hand_ended_is_drift_and_is_put_back() -> None:
    world = found()
    world.part_by_hand()
    world.full()
    assert HERS in world.product.members_of("atl-0")
    assert world.counted == {"add_member": 1}
    assert world.reasons() == [("add_member", "drift")]
    assert drift.count(world.db, world.t) == 0
    world.full()
    assert world.counted == {"add_member": 1}
    world.part_by_hand()
    world.full()
    assert world.counted == {"add_member": 2}


def test_rule_22_drift_report_holds_all_of_it_back_and_counts_it_once() -> None:
    world = found(drift="report")
    world.part_by_hand()
    world.retitle_by_hand()
    calls = list(world.product.calls)
    for _ in range(3):
        world.full()
        world.reconcile = world.engine()  # across restarts too
        world.reconcile.on_drift(lambda kind, number: world.counted.update({kind: number}))
    assert world.product.calls == calls
    assert world.counted == {"add_member": 1, "update": 1}
    assert drift.count(world.db, world.t) == 2
    assert waiting.counts(world.db, world.t) == {"mode": 2}
    world.live([("part", 0, 3), ("title", 0, 7)])  # Entra changes: that is no drift
    world.settle()
    assert drift.count(world.db, world.t) == 0 and not world.reasons()
    world.live([("join", 0, 3)])
    world.settle()
    assert HERS in world.product.members_of("atl-0")  # wanted anew: nothing is held back


def test_rule_22_a_membership_that_comes_back_by_hand_is_ours_as_before() -> None:
    world = found(drift="report")
    world.part_by_hand()
    world.full()
    account = world.product.account(HERS)
    assert account is not None
    world.product.held_groups["atl-0"].members.add(str(account.key))
    world.full()
    assert drift.count(world.db, world.t) == 0
    world.live([("part", 0, 3)])
    world.settle()
    assert HERS not in world.product.members_of("atl-0")


def test_rule_22_what_is_changed_back_three_times_a_day_is_left_alone_for_a_day() -> None:
    world = found()
    for _ in range(3):
        world.part_by_hand()
        world.full()
        assert HERS in world.product.members_of("atl-0")
        world.clock.at += 3600.0
    world.part_by_hand()
    world.full()
    assert HERS not in world.product.members_of("atl-0")
    row = world.db.execute("SELECT * FROM waiting WHERE reason = 'mode'").fetchone()
    assert "somebody else writes to this product" in row["detail"] and row["hint"]
    world.retitle_by_hand()  # other things are still put right
    world.full()
    account = world.product.account(HERS)
    assert account is not None and account.display_name == "n0 x"
    world.reconcile = world.engine()
    world.settle()
    assert HERS not in world.product.members_of("atl-0")
    world.clock.at += DAY
    world.settle()
    assert HERS in world.product.members_of("atl-0")


def test_rule_22_where_somebody_fights_over_many_all_drift_is_only_reported() -> None:
    world = found()
    for _ in range(3):
        for number in range(3):
            world.retitle_by_hand(f"n{number}@x.org")
        world.full()
    world.part_by_hand()
    calls = list(world.product.calls)
    world.full()
    assert world.product.calls == calls
    fights = drift.fights(world.db, world.t, world.clock.at)
    assert len(fights) == 3 and drift.is_contested(fights)
    world.live([("title", 4, 9)])  # what Entra says goes on
    world.settle()
    account = world.product.account("n4@x.org")
    assert account is not None and account.display_name == "n4 9"


@pytest.mark.parametrize("mode", ["repair", "report"])
def test_rule_21_what_we_removed_and_is_shown_again_is_inherited_all_the_same(mode: str) -> None:
    world = found(drift=mode)
    world.live([("part", 0, 3)])
    world.settle()
    account = world.product.account(HERS)
    assert account is not None
    world.product.held_groups["atl-0"].members.add(str(account.key))
    world.full()
    assert waiting.counts(world.db, world.t) == {"unsupported": 1}
    assert not world.reasons()


# Spelling ----------------------------------------------------------------------------------------

DIALECTS = (
    JiraDialect, ConfluenceDialect, BitbucketDialect, CrowdDialect, CloudDialect, MemoryDialect,
)  # fmt: skip
TEXT = st.text(min_size=1, max_size=300) | st.from_regex(r"[ A-Z\u00c0-\u017fß]{1,30}@X\.org ?")


@given(st.sampled_from(DIALECTS), TEXT, TEXT, TEXT, TEXT)
def test_rule_22_what_a_product_makes_of_a_value_is_no_difference_from_it(
    dialect_of: type[Dialect], username: str, mail: str, name: str, value: str
) -> None:
    """What was stored is mapped to itself: else it would be found changed with every full sync."""
    dialect = dialect_of()
    asked = Account(
        username=username, email=mail, display_name=name, active=True, attributes={"a": value}
    )
    try:
        stored = dialect.account(asked)
    except InvalidValue:
        return
    again = dialect.account(stored)
    assert differences(stored, again) == () and fold(stored.username) == fold(again.username)
    assert differences(stored, dialect.account(asked)) == ()
    try:
        group = dialect.group(name)
    except InvalidValue:
        return
    assert fold(dialect.group(group)) == fold(group)


class Shouting(Memory):
    """A product that keeps names and addresses in capitals."""

    def put(self, account: Account, *groups: str) -> Account:
        loud = replace(account, username=account.username.upper(), email=str(account.email).upper())
        return super().put(loud, *groups)


@pytest.mark.parametrize("mode", ["repair", "report"])
def test_rule_22_another_spelling_is_no_drift(mode: str) -> None:
    world = Found(Set(policy(drift=mode), ABLE), Shouting(capabilities=ABLE)).listen()
    world.turn()
    world.settle()
    calls = list(world.product.calls)
    assert {"N0@X.ORG", "N3@X.ORG"} <= {a.username for a in world.product.held.values()}
    world.full()
    assert world.product.calls == calls and not world.counted


HANDS = st.lists(
    st.tuples(st.sampled_from(["part", "title", "lock"]), st.integers(0, 9), st.integers(0, 9)),
    min_size=1,
    max_size=6,
)


def looks(world: World) -> tuple[object, ...]:
    """What of the product is azsyncd's to say."""
    product = world.product
    accounts = sorted((a.username, a.display_name, a.active) for a in product.held.values())
    return accounts, {name: product.members_of(name) for name in sorted(product.held_groups)}


@given(ROUNDS, HANDS, st.sampled_from(["keep", "new_group"]))
def test_rule_22_whatever_hands_do_a_full_sync_puts_it_right(
    rounds: list[list[Event]], hands: list[tuple[str, int, int]], on_rename: str
) -> None:
    world = Found(Set(policy(groups={"on_rename": on_rename, "default": ("all",)}), ABLE)).listen()
    world.turn()
    for events in rounds:
        world.live(events)
        world.turn()
    world.settle()
    if world.tenant.teams[SCOPE].presence != "present":
        return  # nobody knows who is in scope: all is left as it is (rule 11)
    before = looks(world)
    product = world.product
    ours = {row["key"] for row in world.db.execute(
        "SELECT ac.key FROM account ac JOIN link l ON l.a = ac.a JOIN object o ON o.n = l.n"
        " WHERE l.left_at IS NULL AND ac.active AND o.presence = 'present'")}  # fmt: skip
    owned = {row["name"] for row in world.db.execute(
        "SELECT tg.name FROM target_group tg JOIN link l ON l.g = tg.g JOIN object o ON o.n = l.n"
        " WHERE o.presence = 'present' AND o.kind = 'group' OR tg.name = 'all'")}  # fmt: skip
    mine = sorted(ours & product.held.keys())
    for kind, a, b in hands if mine else ():
        key = mine[a % len(mine)]
        if kind == "title":
            product.held[key] = replace(product.held[key], display_name="By hand")
        elif kind == "lock":
            product.held[key] = replace(product.held[key], active=False)
        elif owned & product.held_groups.keys():
            names = sorted(owned & product.held_groups.keys())
            product.held_groups[names[b % len(names)]].members.discard(key)
    changed = looks(world) != before
    world.full()
    assert looks(world) == before
    assert bool(world.counted) is changed
    calls = list(product.calls)
    world.full()
    assert product.calls == calls and drift.count(world.db, world.t) == 0
