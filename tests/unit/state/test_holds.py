"""What persons are asked, what they said, and what allowance is spent: rules 35 to 38."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest

from azsyncd.model.accounts import Account
from azsyncd.model.changes import Change, Kind, Phase, Reason
from azsyncd.model.identities import ObjectId
from azsyncd.plan.policy import GuardClass
from azsyncd.state import holds, spill
from azsyncd.state.holds import Item

from .making import DAY, NOW, crawl, database, give, give_group, group, n, target, user

ANA = Account(username="u1@x.org", active=True, key="A-u1", display_name="Ana")


@pytest.fixture
def db() -> sqlite3.Connection:
    db = database()
    crawl(db, user("u1"), user("u2"), user("u3"), group("g1", "u1", "u2", "u3"))
    return db


def shut(db: sqlite3.Connection, id_: str = "u1", account: Account = ANA) -> Item:
    change = Change(
        kind=Kind.DEACTIVATE,
        reason=Reason.LEFT_SCOPE,
        object_id=ObjectId(id_),
        before=account,
        after=replace(account, active=False),
        phase=Phase.DEACTIVATE,
    )
    return Item(n(db, id_), 0, "", change)


def update(db: sqlite3.Connection, id_: str = "u1", name: str = "Anna") -> Item:
    change = replace(shut(db, id_).change, kind=Kind.UPDATE, after=replace(ANA, display_name=name))
    return Item(n(db, id_), 0, "", change)


def opened(db: sqlite3.Connection, t: int, *ids: str) -> int:
    return holds.open_hold(db, t, "deactivate", "too many", NOW, [shut(db, i) for i in ids])


def said(db: sqlite3.Connection, t: int, item: Item, now: float = NOW) -> str | None:
    found = holds.decision_of(db, t, item, now)
    return found[0] if found else None


def test_rule_38_a_hold_is_a_frozen_set_of_items(db: sqlite3.Connection) -> None:
    t = target(db)
    hold = opened(db, t, "u1", "u2")
    found = holds.get(db, hold)
    assert found is not None and (found.items, found.state) == (2, "open")
    assert [row["id"] for row in holds.items(db, hold)] == ["u1", "u2"]
    assert said(db, t, shut(db)) == "open"
    assert said(db, t, shut(db, "u3")) is None
    assert said(db, target(db, "other"), shut(db)) is None


def test_rule_38_what_is_planned_differently_leaves_it(db: sqlite3.Connection) -> None:
    t = target(db)
    hold = holds.open_hold(db, t, "update", "", NOW, [update(db), update(db, "u2")])
    assert said(db, t, update(db)) == "open"
    assert said(db, t, update(db, name="Anne")) is None
    found = holds.get(db, hold)
    assert found is not None and found.items == 1


def test_rule_38_another_change_of_the_same_account_voids_nothing(db: sqlite3.Connection) -> None:
    """Whoever marries is renamed, and gets another display name, which needs no asking."""
    t = target(db)
    married = replace(ANA, display_name="Ana Ba", directory="d", email="ana.ba@x.org")
    rename = replace(shut(db).change, kind=Kind.RENAME, after=replace(ANA, username="anb"))
    then = replace(rename, before=married, after=replace(married, username="anb"))
    other = replace(then, after=replace(married, username="else"))
    delete = replace(shut(db).change, kind=Kind.DELETE, after=None)
    asleep = replace(delete, before=replace(ANA, active=False))
    items = [Item(n(db, "u1"), 0, "", each) for each in (rename, delete, shut(db).change)]
    holds.open_hold(db, t, "mixed", "", NOW, items)
    assert said(db, t, Item(n(db, "u1"), 0, "", then)) == "open"
    assert said(db, t, Item(n(db, "u1"), 0, "", asleep)) == "open"
    assert said(db, t, shut(db, account=married)) == "open"
    assert said(db, t, Item(n(db, "u1"), 0, "", other)) is None


def test_rule_38_what_is_no_longer_planned_leaves_it_and_an_empty_one_is_gone(
    db: sqlite3.Connection,
) -> None:
    t = target(db)
    hold = opened(db, t, "u1", "u2")
    holds.keep_only(db, t, n(db, "u1"), [])
    holds.keep_only(db, t, n(db, "u2"), [("deactivate", 0, "")])
    holds.close_empty(db, t)
    found = holds.get(db, hold)
    assert found is not None and (found.items, found.state) == (1, "open")
    holds.keep_only(db, t, n(db, "u2"), [("update", 0, "")])
    holds.close_empty(db, t)
    found = holds.get(db, hold)
    assert found is not None and found.state == "gone"


def test_rule_38_planning_a_group_leaves_the_hold_of_its_foreign_members_alone(
    db: sqlite3.Connection,
) -> None:
    t, g = target(db), n(db, "g1")
    foreign = Change(
        kind=Kind.REMOVE_MEMBER, reason=Reason.DRIFT, object_id=None,
        group_id=ObjectId("g1"), account_key="k", phase=Phase.REMOVE,
    )  # fmt: skip
    holds.open_hold(db, t, "remove_member", "", NOW, [Item(g, g, "k", foreign)])
    holds.keep_only(db, t, g, [])
    assert said(db, t, Item(g, g, "k", foreign)) == "open"
    holds.keep_only(db, t, g, [], foreign=True)
    assert said(db, t, Item(g, g, "k", foreign)) is None


def test_rule_38_an_approval_counts_for_24_hours_and_once(db: sqlite3.Connection) -> None:
    t = target(db)
    hold = opened(db, t, "u1", "u2")
    assert holds.decide(db, hold, "approved", "me", "ok", NOW) == [n(db, "u1"), n(db, "u2")]
    assert said(db, t, shut(db), NOW + DAY) == "approved"
    holds.used_up(db, t, shut(db))
    assert said(db, t, shut(db)) is None
    assert said(db, t, shut(db, "u2"), NOW + DAY + 1) is None
    found = holds.get(db, hold)
    assert found is not None and (found.decided_by, found.decision) == ("me", "ok")


def test_rule_38_approval_in_part_leaves_the_rest_open(db: sqlite3.Connection) -> None:
    t = target(db)
    hold = opened(db, t, "u1", "u2", "u3")
    some = holds.decide(db, hold, "approved", "me", "", NOW, [n(db, "u2"), 999])
    assert some == [n(db, "u2")]
    told = [said(db, t, shut(db, each)) for each in ("u1", "u2", "u3")]
    assert told == ["open", "approved", "open"]
    assert [found.items for found in holds.listed(db)] == [2]


def test_rule_38_a_rejection_is_kept_until_something_else_is_desired(
    db: sqlite3.Connection,
) -> None:
    t = target(db)
    hold = holds.open_hold(db, t, "update", "", NOW, [update(db)])
    holds.decide(db, hold, "rejected", "me", "no", NOW)
    assert said(db, t, update(db), NOW + 400 * DAY) == "rejected"
    holds.close_empty(db, t)
    assert said(db, t, update(db, name="B")) is None
    assert said(db, t, update(db)) is None


# Allowance --------------------------------------------------------------------------------------


def test_rule_37_what_is_spent_counts_until_it_leaves_the_window(db: sqlite3.Connection) -> None:
    t, g = target(db), n(db, "g1")
    for at, who in ((NOW, "u1"), (NOW + 5, "u2")):
        holds.spend(db, t, "deactivate", 0, n(db, who), 100, at)
        holds.spend(db, t, "shrink_group", g, n(db, who), 10, at)
    assert holds.spent(db, t, NOW - DAY) == {
        (GuardClass.DEACTIVATE, None): 2,
        (GuardClass.SHRINK_GROUP, "g1"): 2,
    }
    assert holds.spent(db, t, NOW)[GuardClass.DEACTIVATE, None] == 1
    assert holds.spent(db, t, NOW + 5) == {}
    assert holds.spent(db, target(db, "other"), 0) == {}


def test_rule_37_a_definite_refusal_gives_back_exactly_its_own(db: sqlite3.Connection) -> None:
    t = target(db)
    holds.spend(db, t, "deactivate", 0, n(db, "u1"), 100, NOW)
    holds.spend(db, t, "deactivate", 0, n(db, "u2"), 100, NOW)
    holds.give_back(db, t, "deactivate", 0, n(db, "u1"), NOW)
    assert holds.spent(db, t, 0) == {(GuardClass.DEACTIVATE, None): 1}


def test_i5_foreign_members_are_counted_one_by_one(db: sqlite3.Connection) -> None:
    t, g = target(db), n(db, "g1")
    for key in ("k1", "k2", "k3"):
        holds.spend(db, t, "remove_member", g, g, 10, NOW, key)
    assert holds.spent(db, t, 0) == {(GuardClass.REMOVE_MEMBER, None): 3}


def test_i5_a_child_group_is_counted_with_all_its_people(db: sqlite3.Connection) -> None:
    t, g = target(db), n(db, "g1")
    holds.spend(db, t, "remove_member", g, n(db, "u1"), 10, NOW, people=40)
    holds.spend(db, t, "shrink_group", g, n(db, "u1"), 10, NOW, people=40)
    assert holds.spent(db, t, 0) == {
        (GuardClass.REMOVE_MEMBER, None): 40,
        (GuardClass.SHRINK_GROUP, "g1"): 40,
    }
    change = replace(shut(db).change, kind=Kind.REMOVE_CHILD, group_id=ObjectId("g1"), people=30)
    item = Item(n(db, "u1"), g, "", change)
    spill.add(db, t, item, class_="remove_member", free=False, held=None)
    outstanding = spill.outstanding(db, t, spill.last(db))
    assert outstanding == {("remove_member", 0): 30, ("shrink_group", g): 30}


def test_rule_35_the_base_is_what_stood_there_when_the_window_began(
    db: sqlite3.Connection,
) -> None:
    t = target(db)
    give_group(db, t, "g1", [give(db, t, each) for each in ("u1", "u2")])
    assert holds.sizes(db, t, NOW - DAY, ["g1"]).members == {"g1": 2}  # type: ignore[list-item]
    assert holds.sizes(db, t, NOW - DAY, []).accounts == 2
    holds.spend(db, t, "disable", 0, n(db, "u1"), 900, NOW)
    holds.spend(db, t, "deactivate", 0, n(db, "u2"), 800, NOW + 5)
    holds.spend(db, t, "remove_member", n(db, "g1"), n(db, "u2"), 70, NOW)
    found = holds.sizes(db, t, NOW - DAY, [])
    assert (found.accounts, found.edges, found.groups) == (900, 70, 1)
    assert holds.sizes(db, t, NOW + 1, []).accounts == 800
    assert holds.sizes(db, t, NOW + 6, []).accounts == 2


def test_rule_37_the_window_never_moves_backwards(db: sqlite3.Connection) -> None:
    t = target(db)
    assert holds.latest_spent(db, t) == 0
    holds.spend(db, t, "disable", 0, n(db, "u1"), 900, NOW + 5)
    assert holds.latest_spent(db, t) == NOW + 5
    holds.prune_spent(db, t, NOW + 5)
    assert holds.spent(db, t, 0) == {}


# The plan in flight -----------------------------------------------------------------------------


def test_i5_what_earlier_slices_may_still_send_is_as_good_as_spent(db: sqlite3.Connection) -> None:
    t, g = target(db), n(db, "g1")
    removal = replace(shut(db).change, kind=Kind.REMOVE_MEMBER, group_id=ObjectId("g1"))
    for item, class_, free, held in (
        (shut(db), "deactivate", False, None),
        (shut(db, "u2"), "deactivate", True, None),
        (shut(db, "u3"), "deactivate", False, "guard"),
        (Item(n(db, "u1"), g, "", removal), "remove_member", False, None),
    ):
        spill.add(db, t, item, class_=class_, free=free, held=held)
    before = spill.last(db)
    spill.add(db, t, shut(db, "u3"), class_="deactivate", free=False, held=None)
    assert spill.outstanding(db, t, before) == {
        ("deactivate", 0): 1,
        ("remove_member", 0): 1,
        ("shrink_group", g): 1,
    }
    new = spill.of_class(db, t, "deactivate", None, before, 100)
    assert [planned.item.n for planned in new] == [n(db, "u3")]


def test_a_number_of_a_planned_change_is_never_used_again(db: sqlite3.Connection) -> None:
    t = target(db)
    for _ in range(2):
        spill.add(db, t, shut(db), class_=None, free=False, held=None)
        before = spill.last(db)
        spill.clear(db, t)
        assert spill.last(db) == before > 0


def test_a_chunk_is_of_one_phase_and_rank_and_leaves_out_what_is_held(
    db: sqlite3.Connection,
) -> None:
    t = target(db)
    first = replace(shut(db, "u2").change, phase=Phase.BLOCK)
    spill.add(db, t, shut(db), class_=None, free=False, held=None)
    spill.add(db, t, Item(n(db, "u2"), 0, "", first), class_=None, free=False, held=None)
    spill.add(db, t, Item(n(db, "u3"), 0, "", first), class_=None, free=False, held="guard")
    chunk = spill.chunk(db, t, 10)
    assert [planned.item.n for planned in chunk] == [n(db, "u2")]
    spill.done(db, chunk[0].seq)
    assert [planned.item.n for planned in spill.chunk(db, t, 10)] == [n(db, "u1")]
