"""What each target holds and whose it is: inventories, links, memberships, and their counts."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azsyncd.model.accounts import Account, Mark, TargetGroup
from azsyncd.model.changes import Change, Kind, Phase, Reason, Waiting, Withheld
from azsyncd.model.identities import ObjectId
from azsyncd.model.links import LinkState, Origin
from azsyncd.state import facts, holds, links, marks, mirror, nesting, targets, waiting

from .making import NOW, crawl, database, give, give_group, group, n, round_, target, user

TENANT = (user("u1"), user("u2"), user("u3"), group("g1", "u1", "u2"), group("g2", "u3"))


@pytest.fixture
def db() -> sqlite3.Connection:
    db = database()
    crawl(db, *TENANT)
    return db


def seen(db: sqlite3.Connection, t: int, number: int, **members: list[str]) -> None:
    """An inventory that shows these groups with these members, by key."""
    for rows in members.values():
        for key in rows:
            targets.put_account(db, t, Account(username=f"{key}@x.org", key=key), number)
    for name, rows in members.items():
        targets.put_group(db, t, TargetGroup(name=name, key=name), number)
        targets.put_members(db, t, name, rows, number)
    targets.members_read(db, t, members, number)
    targets.close_inventory(db, t, number, NOW, complete=True)


# Inventories ------------------------------------------------------------------------------------


def test_what_an_inventory_did_not_show_is_gone_and_its_link_is_missing(
    db: sqlite3.Connection,
) -> None:
    t = target(db)
    seen(db, t, 1, g1=["k1", "k2"])
    a = targets.account_rows(db, t, "k1@x.org")[0]["a"]
    links.settle_account(db, t, n(db, "u1"), a, Origin.CREATED, Account(username="k1@x.org"))
    seen(db, t, 2, g1=["k2"])
    row = links.get(db, t, n(db, "u1"))
    assert row is not None and (row["a"], row["state"]) == (None, "missing")
    assert targets.account_rows(db, t, "k1@x.org") == []


def test_an_incomplete_listing_is_no_proof_of_absence(db: sqlite3.Connection) -> None:
    t = target(db)
    targets.put_account(db, t, Account(username="a", key="A"), 1)
    targets.close_inventory(db, t, 2, NOW, complete=False)
    assert len(targets.account_rows(db, t, "A")) == 1


def test_a_mark_that_a_reading_did_not_show_stays_known(db: sqlite3.Connection) -> None:
    t = target(db)
    targets.put_account(db, t, Account(username="a", key="A", mark=Mark("azsyncd", "u1")))
    targets.put_account(db, t, Account(username="a", key="A", email="a@x.org"))
    assert "azsyncd" in targets.account_rows(db, t, "a")[0]["body"]


def test_rule_21_who_is_shown_again_after_a_removal_is_inherited(db: sqlite3.Connection) -> None:
    t = target(db)
    a = give(db, t, "u1", key="k1")
    g = give_group(db, t, "g1", [a])
    links.edge_removed(db, g, a)
    assert links.edges_of(db, t, a) == {}
    seen(db, t, 1, g1=["k1"])
    assert links.edges_of(db, t, a)[ObjectId("g1")].inherited
    seen(db, t, 2, g1=[])
    assert links.edges_of(db, t, a) == {}


def test_rule_21_what_was_judged_once_stays(db: sqlite3.Connection) -> None:
    t = target(db)
    a = give(db, t, "u1", key="k1")
    give_group(db, t, "g1")
    seen(db, t, 1, g1=["k1"])
    assert links.edges_of(db, t, a)[ObjectId("g1")].ours is None
    links.judge_edges(db, t, a, {ObjectId("g1"): False})
    links.judge_edges(db, t, a, {ObjectId("g1"): True})
    assert links.edges_of(db, t, a)[ObjectId("g1")].ours is False


def test_a_group_that_two_want_is_adopted_by_neither_and_judged_for_neither(
    db: sqlite3.Connection,
) -> None:
    t = target(db)
    a = give(db, t, "u1", key="k1")
    seen(db, t, 1, shared=["k1"])
    facts.claim(db, t, n(db, "g1"), {"group": "shared"})
    assert set(links.edges_of(db, t, a)) == {"g1"}
    facts.claim(db, t, n(db, "g2"), {"group": "shared"})
    assert links.edges_of(db, t, a) == {}


def test_a_rename_in_a_product_whose_key_is_the_name_replaces_what_was_known_there(
    db: sqlite3.Connection,
) -> None:
    t = target(db)
    a = give(db, t, "u1", key="old")
    targets.put_account(db, t, Account(username="new", key="new"))
    targets.rekey_account(db, a, "new")
    assert [r["key"] for r in db.execute("SELECT key FROM account")] == ["new"]


def test_rule_20_the_members_of_administrators_groups_are_read(db: sqlite3.Connection) -> None:
    t = target(db)
    seen(db, t, 1, admins=["k1"], others=["k2"])
    assert targets.groups_to_read(db, t) == []
    assert [g.name for g in targets.groups_to_read(db, t, {"admins"})] == ["admins"]
    assert facts.user_facts(db, t, _base(db, "u1"), Account(username="k1@x.org"), {"admins"}).names
    found = facts.name_facts(db, t, n(db, "u1"), Account(username="k1@x.org"), {"admins"})
    assert found.under_name is not None and found.under_name.administers
    other = facts.name_facts(db, t, n(db, "u1"), Account(username="k2@x.org"), {"admins"})
    assert other.under_name is not None and not other.under_name.administers


def _base(db: sqlite3.Connection, id_: str) -> facts.UserBase:
    return next(iter(facts.bases(db, [n(db, id_)])))


def test_rule_24_the_last_active_administrator_is_known(db: sqlite3.Connection) -> None:
    t = target(db)
    one, two = give(db, t, "u1", key="k1"), give(db, t, "u2", key="k2")
    seen(db, t, 1, admins=["k1", "k2"])
    assert {one, two}

    def last(id_: str) -> bool:
        return facts.user_facts(db, t, _base(db, id_), None, {"admins"}).last_admin

    assert not last("u1") and not last("u2")
    round_(db, user("u2", accountEnabled=False))
    assert last("u1")  # who is about to be shut out does not count
    assert not last("u2")
    assert not facts.user_facts(db, t, _base(db, "u1"), None, ()).last_admin


# Links ------------------------------------------------------------------------------------------


def test_rule_18_one_link_per_account_and_per_object(db: sqlite3.Connection) -> None:
    t = target(db)
    a = give(db, t, "u1", key="k1")
    with pytest.raises(sqlite3.IntegrityError):
        db.execute(
            "INSERT INTO link (t, n, a, origin, state) VALUES (?, ?, ?, 'created', 'live')",
            (t, n(db, "u2"), a),
        )


def test_rule_18_a_pending_create_keeps_what_was_sent(db: sqlite3.Connection) -> None:
    t = target(db)
    links.begin_create(db, t, n(db, "u1"), '{"username":"u1"}')
    assert links.pending(db, t) == [(n(db, "u1"), "u1", "user", '{"username":"u1"}')]
    known = facts.user_facts(db, t, _base(db, "u1"), None, ())
    assert known.link is not None and known.link.state is LinkState.PENDING
    a = targets.put_account(db, t, Account(username="u1", key="k"))
    links.settle_account(db, t, n(db, "u1"), a, Origin.CREATED, Account(username="u1"))
    assert links.pending(db, t) == []


def test_rule_19_who_is_created_again_keeps_the_origin_and_forgets_the_lock(
    db: sqlite3.Connection,
) -> None:
    t = target(db)
    a = targets.put_account(db, t, Account(username="u1", key="k1"))
    links.settle_account(db, t, n(db, "u1"), a, Origin.ADOPTED, Account(username="u1"))
    links.deactivated(db, t, n(db, "u1"), True)
    targets.drop_account(db, a)
    links.begin_create(db, t, n(db, "u1"), "{}")
    b = targets.put_account(db, t, Account(username="u1", key="k2"))
    links.settle_account(db, t, n(db, "u1"), b, Origin.CREATED, Account(username="u1"))
    row = links.get(db, t, n(db, "u1"))
    assert row is not None and (row["origin"], row["deactivated"]) == ("adopted", 0)


def test_rule_23_who_takes_over_inherits_the_lock_and_is_looked_at_again(
    db: sqlite3.Connection,
) -> None:
    t = target(db)
    a = give(db, t, "u1", key="k1", active=False)
    links.deactivated(db, t, n(db, "u1"), True)
    links.settle_account(db, t, n(db, "u2"), a, Origin.ADOPTED, Account(username="u1"))
    assert links.get(db, t, n(db, "u1")) is None
    row = links.get(db, t, n(db, "u2"))
    assert row is not None and row["deactivated"] == 1
    assert n(db, "u2") in facts.slice_since(db, t, mirror.revision(db), NOW).users


def test_rule_34_since_when_she_is_gone_is_kept_until_she_returns(db: sqlite3.Connection) -> None:
    t = target(db)
    give(db, t, "u1")
    for at in (NOW, NOW + 5):
        links.leaver(db, t, n(db, "u1"), at, ())
    row = links.get(db, t, n(db, "u1"))
    assert row is not None and row["left_at"] == NOW
    links.leaver(db, t, n(db, "u1"), None, None)
    row = links.get(db, t, n(db, "u1"))
    assert row is not None and row["left_at"] is None


def test_rule_21_whoever_may_be_adopted_is_no_foreign_member(db: sqlite3.Connection) -> None:
    t = target(db)
    g = give_group(db, t, "g1", [give(db, t, "u1", key="k1")])
    seen(db, t, 1, g1=["k1", "k2", "k3"])
    assert [a.key for a in links.foreign_members(db, t, g)] == ["k2", "k3"]
    facts.claim(db, t, n(db, "u2"), {"username": "k2@x.org"})
    assert [a.key for a in links.foreign_members(db, t, g)] == ["k3"]


# The guard's bases ------------------------------------------------------------------------------

OPS = st.tuples(st.integers(0, 9), st.integers(1, 3), st.integers(1, 2), st.booleans())


@given(st.lists(OPS, max_size=25))
@settings(max_examples=60, deadline=None)
def test_rule_35_the_kept_sizes_are_what_counting_would_give(
    ops: list[tuple[int, int, int, bool]],
) -> None:
    db = database()
    crawl(db, *TENANT)
    t, other = target(db), target(db, "other")
    give_group(db, other, "g1", [give(db, other, "u1")])
    inventory = 0
    for what, u, g, flag in ops:
        key, name, who = f"k{u}", f"g{g}", n(db, f"u{u}")
        row = links.get(db, t, who)
        grow = links.get(db, t, n(db, name))
        a = row["a"] if row else None
        if what == 0:
            give(db, t, f"u{u}", key=key, active=flag)
        elif what == 1:
            give_group(db, t, name, [a] if a else [])
        elif what == 2 and a and grow and grow["g"]:
            links.edge_added(db, grow["g"], a)
        elif what == 3 and a and grow and grow["g"]:
            links.edge_removed(db, grow["g"], a)
        elif what == 4:
            inventory += 1
            seen(db, t, inventory, **{name: [key] if flag else []})
        elif what == 5 and a:
            targets.put_account(db, t, Account(username=key, key=key, active=flag))
        elif what == 6:
            links.drop(db, t, who)
        elif what == 7:
            links.drop(db, t, n(db, name))
        elif what == 8 and a:
            links.judge_edges(db, t, a, {ObjectId(name): flag})
        elif what == 9:
            links.begin_create(db, t, who, "{}")
        assert holds.now_sizes(db, t) == counted(db, t)
        for group_ in db.execute("SELECT g, n_members FROM target_group"):
            edges = "SELECT count(*) FROM edge WHERE g = ? AND NOT removed"
            assert db.execute(edges, (group_["g"],)).fetchone()[0] == group_["n_members"]
    assert holds.now_sizes(db, other) == (1, 1, 1)


def counted(db: sqlite3.Connection, t: int) -> tuple[int, int, int]:
    def one(sql: str) -> int:
        return int(db.execute(sql, (t,)).fetchone()[0])

    return (
        one("SELECT count(*) FROM link l JOIN account a ON a.a = l.a WHERE l.t = ? AND a.active"),
        one(
            "SELECT count(*) FROM edge e JOIN target_group g ON g.g = e.g"
            " WHERE g.t = ? AND e.ours AND NOT e.removed"
        ),
        one("SELECT count(*) FROM link WHERE t = ? AND g IS NOT NULL"),
    )


# What waits -------------------------------------------------------------------------------------


def change(id_: str = "u1", kind: Kind = Kind.UPDATE, group_id: str | None = None) -> Change:
    return Change(
        kind=kind,
        reason=Reason.CHANGED,
        object_id=ObjectId(id_),
        group_id=ObjectId(group_id) if group_id else None,
        phase=Phase.ACCOUNTS,
    )


def refuse(db: sqlite3.Connection, t: int, at: float, one: Change | None = None) -> float:
    return waiting.refused(db, t, n(db, "u1"), one or change(), "blocked", "no", "", at)


def test_i9_a_refused_change_waits_longer_each_time(db: sqlite3.Connection) -> None:
    """Through the planning in between, which replaces what waits."""
    t, at, waits = target(db), NOW, []
    for _ in range(8):
        until = refuse(db, t, at)
        waits.append(until - at)
        at = until
        waiting.replace_all(db, t, n(db, "u1"), [], at, {("update", 0)})
    assert waits == [60, 300, 900, 3600, 14400, 86400, 86400, 86400]


def test_success_ends_the_waiting(db: sqlite3.Connection) -> None:
    t = target(db)
    refuse(db, t, NOW)
    assert waiting.failing(db, t) == 1
    waiting.succeeded(db, t, n(db, "u1"), change())
    assert (waiting.failing(db, t), waiting.counts(db, t)) == (0, {})


def test_the_same_reason_keeps_since_when(db: sqlite3.Connection) -> None:
    t, who = target(db), n(db, "u1")
    entry = Waiting(object_id=ObjectId("u1"), reason=Withheld.CONFLICT, detail="x")
    for at in (NOW, NOW + 9):
        waiting.replace_all(db, t, who, [entry], at)
    assert waiting.listed(db, t)[0]["since"] == NOW


def test_what_is_not_even_tried_has_not_failed_and_waits_since_the_first_time(
    db: sqlite3.Connection,
) -> None:
    t = target(db)
    for at in (NOW, NOW + 9):
        waiting.untried(db, t, n(db, "u1"), change(), "licence", "no seat", "", at)
    (row,) = waiting.listed(db, t)
    assert (row["since"], row["retry_at"]) == (NOW, NOW + 9 + waiting.CONDITION_SECONDS)
    assert waiting.failing(db, t) == 0


@pytest.mark.parametrize("kind", [Kind.ADD_MEMBER, Kind.REMOVE_MEMBER])
def test_who_waited_for_a_group_goes_in_or_out_when_it_stands(
    db: sqlite3.Connection, kind: Kind
) -> None:
    t = target(db)
    joins = change("u1", kind, "g1")
    waiting.refused(db, t, n(db, "u1"), joins, "backing_off", "no group yet", "", NOW)
    assert facts.slice_since(db, t, 9, NOW).users == set()
    give_group(db, t, "g1")
    assert facts.slice_since(db, t, 9, NOW).users == {n(db, "u1")}


# Ownership marks --------------------------------------------------------------------------------


def marked(db: sqlite3.Connection, t: int, name: str, owner: str, instance: str = "me") -> int:
    account = Account(username=name, key=name, mark=Mark(instance, owner))
    return targets.put_account(db, t, account)


def test_accounts_are_found_by_the_mark_that_they_carry(db: sqlite3.Connection) -> None:
    t = target(db)
    marked(db, t, "old-name", "U1")
    marked(db, t, "else", "u2", "other")
    # A listing that does not show the mark does not take it away.
    targets.put_account(db, t, Account(username="old-name-2", key="old-name"), 1)
    base = next(facts.bases(db, [n(db, "u1")]))
    known = facts.user_facts(db, t, base, Account(username="u1@x.org"), ())
    assert [each.account.username for each in known.names.under_mark] == ["old-name-2"]
    assert facts.user_facts(db, t, base, None, ()).names.under_mark == known.names.under_mark
    assert marks.by_others(db, t, "me") == {"other": 1}
    assert marks.any_ours(db, t, "me") and not marks.any_ours(db, t, "another")


@pytest.mark.parametrize(
    ("adopt", "asked"),
    [
        ("username", {"mail"}),
        ("email", {"name"}),
        ("username_and_email", {"mail", "name"}),
        ("never", {"both", "mail", "name"}),
    ],
)
def test_only_those_are_asked_whom_adopt_would_leave_alone(
    db: sqlite3.Connection, adopt: str, asked: set[str]
) -> None:
    """u1's name is free; u2's stands with another address, u3's with hers."""
    t = target(db)
    for id_, name in (("u1", "free"), ("u2", "name"), ("u3", "both")):
        facts.claim(db, t, n(db, id_), {"username": name, "email": f"{id_}@x.org"})
    for name, mail in (("mail", "u1@x.org"), ("name", "else@x.org"), ("both", "u3@x.org")):
        targets.put_account(db, t, Account(username=name, email=mail, key=name))
    found = marks.to_ask(db, t, adopt)
    assert {account.username for _, account in found} == asked
    marks.asked(db, t, [(a, None) for a, _ in found])
    assert marks.to_ask(db, t, adopt) == []


# Groups in groups -------------------------------------------------------------------------------


def showed(db: sqlite3.Connection, t: int, number: int, *children: str) -> dict[str, Any]:
    """An inventory that shows g1 with these groups in it; and what is known then, by the lower."""
    nesting.put_children(db, t, "g1", children, number)
    facts = nesting.facts_of(db, t, ())
    told: dict[str, Any] = {below: ours for (_, below), ours in facts.standing.items()}
    return told | {below: "lost" for _, below in facts.lost}


def test_rule_21_whose_a_child_group_is_is_kept_over_inventories(db: sqlite3.Connection) -> None:
    t = target(db)
    g1, g2 = (give_group(db, t, each, []) for each in ("g1", "g2"))
    assert showed(db, t, 1) == {}
    assert showed(db, t, 2, "g2") == {"g2": None}
    nesting.judge(db, t, {(ObjectId("g1"), ObjectId("g2")): False})
    nesting.judge(db, t, {(ObjectId("g1"), ObjectId("g2")): True})  # it was settled before
    assert showed(db, t, 3, "g2") == {"g2": False}
    assert showed(db, t, 4) == {}
    nesting.added(db, g1, g2)
    assert showed(db, t, 5, "g2") == {"g2": True}
    assert showed(db, t, 6) == {"g2": "lost"}
    assert showed(db, t, 7, "g2") == {"g2": True}
    nesting.removed(db, t, g1, g2, NOW)
    assert nesting.stands(db, g1, g2) is None
    assert showed(db, t, 8, "g2") == {"g2": False}  # somebody has put it back
    targets.drop_group(db, g2)
    assert not nesting.any_known(db, t)


def test_rule_19_what_was_ours_of_a_group_that_is_let_go_is_nobodys(
    db: sqlite3.Connection,
) -> None:
    t = target(db)
    g1, g2 = (give_group(db, t, each, []) for each in ("g1", "g2"))
    nesting.added(db, g1, g2)
    assert nesting.stands(db, g1, g2) == "ours"
    links.drop(db, t, n(db, "g2"))
    assert nesting.stands(db, g1, g2) == "foreign"
    assert nesting.facts_of(db, t, ()).standing == {}


def test_i5_everybody_in_a_child_group_is_counted_once(db: sqlite3.Connection) -> None:
    t = target(db)
    one, two, three = (give(db, t, each) for each in ("u1", "u2", "u3"))
    g1 = give_group(db, t, "g1", [one, two])
    g2 = give_group(db, t, "g2", [two, three])
    assert nesting.people_below(db, t, ObjectId("g1")) == 2
    nesting.added(db, g1, g2)
    assert nesting.people_below(db, t, ObjectId("g1")) == 3
    assert nesting.people_below(db, t, ObjectId("g2")) == 2
