"""What Entra says, as remembered: rules 1 to 7, and who is concerned by a change."""

import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azsyncd.model.identities import ObjectId, Seen
from azsyncd.state import facts, folding, mirror, staging
from azsyncd.state.staging import CRAWL, ROUND
from azsyncd.state.store import set_meta

from .making import (
    DAY,
    NOW,
    SELECTED,
    above,
    bare,
    begin,
    crawl,
    database,
    dump,
    gone,
    group,
    members,
    n,
    presence,
    round_,
    row,
    stage,
    user,
)

TENANT = (user("u1"), user("u2"), user("u3"), group("g1", "u1", "u2"), group("g2", "g1", "u3"))


@pytest.fixture
def db() -> sqlite3.Connection:
    """A mirror after its first crawl."""
    db = database()
    assert crawl(db, *TENANT).proof
    return db


# Rounds -----------------------------------------------------------------------------------------


def test_rule_01_nothing_is_seen_of_a_round_before_it_closes(db: sqlite3.Connection) -> None:
    before, revision = dump(db), mirror.revision(db)
    begin(db, ROUND)
    staging.stage(db, ROUND, "groups", _page(members("g1", without=["u1"])))
    assert (dump(db), mirror.revision(db)) == (before, revision)
    staging.abandon(db, ROUND)
    assert round_(db).changed == 0


def _page(*seen: Seen) -> staging.Page:
    return staging.Page(seen, next_link="next")


def test_rule_01_links_and_facts_are_stored_together(db: sqlite3.Connection) -> None:
    closed = round_(db, user("u1", displayName="New"), now=NOW + 5)
    assert (closed.changed, closed.revision) == (1, 2)
    assert {link.issued_at for link in staging.links(db).values()} == {NOW + 5}
    assert staging.cursors(db, ROUND) == {}
    assert db.execute("SELECT count(*) FROM staged").fetchone()[0] == 0


def test_an_empty_round_changes_nothing_but_the_links(db: sqlite3.Connection) -> None:
    before = dump(db)
    assert round_(db).revision == 1
    assert dump(db) == before


def test_i4_a_round_again_changes_nothing(db: sqlite3.Connection) -> None:
    seen = (
        user("u1", displayName="New"),
        gone("u3"),
        members("g1", "u3", without=["u2"]),
        user("u4"),
    )
    round_(db, *seen)
    before, revision = dump(db), mirror.revision(db)
    assert round_(db, *seen).changed == 0
    assert (dump(db), mirror.revision(db)) == (before, revision)


@given(pages=st.integers(1, 6), twice=st.booleans(), data=st.data())
@settings(max_examples=30, deadline=None)
def test_pages_split_repeated_or_with_others_between_give_the_same(
    pages: int, twice: bool, data: st.DataObject
) -> None:
    """Objects may come in any order; the appearances of one object stay in theirs."""
    changes = [
        user("u1", displayName="One"),
        user("u1", displayName="Two"),
        gone("u3"),
        members("g1", without=["u2"]),
        members("g1", "u3"),
        user("u4", mail="U4@x.org"),
        group("g3", "g2", "u4", "d1"),
    ]
    one, other = database(), database()
    for each in (one, other):
        crawl(each, *TENANT)
    round_(one, *changes)
    shuffled: list[Seen] = []
    queues: dict[str, list[Seen]] = {}
    for seen in changes:
        queues.setdefault(seen.id, []).append(seen)
    while queues:
        id_ = data.draw(st.sampled_from(sorted(queues)))
        shuffled.append(queues[id_].pop(0))
        if not queues[id_]:
            del queues[id_]
    again = [each for seen in shuffled for each in ((seen, seen) if twice else (seen,))]
    round_(other, *again, pages=pages)
    assert dump(one) == dump(other)


def test_a_later_round_names_only_what_changed(db: sqlite3.Connection) -> None:
    round_(db, user("u1", mail="a@x.org"))
    round_(db, Seen(row(db, "u1")["id"], {"department": "IT"}))
    assert '"mail":"a@x.org"' in row(db, "u1")["properties"]
    assert '"department":"IT"' in row(db, "u1")["properties"]
    assert '"city":null' in row(db, "u1")["properties"]


def test_a_groups_former_name_is_remembered(db: sqlite3.Connection) -> None:
    round_(db, group("g1", name="atl-x"))
    assert (row(db, "g1")["former_name"], row(db, "g1")["name"]) == ("g1", "atl-x")
    round_(db, group("g1", name="atl-x"))
    assert row(db, "g1")["former_name"] == "g1"


# Gone -------------------------------------------------------------------------------------------


def test_rule_06_a_soft_delete_keeps_the_memberships_and_a_restore_is_verified(
    db: sqlite3.Connection,
) -> None:
    round_(db, gone("u1"), now=NOW + DAY)
    assert (presence(db, "u1"), row(db, "u1")["since"]) == ("soft_deleted", NOW + DAY)
    assert above(db, "u1") == {"g1", "g2"}
    round_(db, user("u1"))
    assert (presence(db, "u1"), row(db, "u1")["since"]) == ("present", None)
    assert mirror.unverified(db) == [(n(db, "u1"), "u1", "users")]
    mirror.verify(db, n(db, "u1"), ["g2"])  # type: ignore[list-item]
    assert above(db, "u1") == {"g2"}
    assert mirror.unverified(db) == []


def test_rule_06_who_was_gone_before_the_first_crawl_is_asked_for_her_groups(
    db: sqlite3.Connection,
) -> None:
    """Graph announces no membership of whoever is restored; and a new user looks the same. What a
    round has said of her may be newer than the answer, so nothing is taken away by it."""
    round_(db, user("u9"), group("g1", "u9"))
    assert mirror.unverified(db) == [(n(db, "u9"), "u9", "users")]
    assert next(facts.bases(db, [n(db, "u9")])).verified
    before = mirror.revision(db)
    mirror.verify(db, n(db, "u9"), ["g2"])  # type: ignore[list-item]
    assert above(db, "u9") == {"g1", "g2"} and mirror.revision(db) == before + 1
    round_(db, user("u10"))
    before = mirror.revision(db)
    mirror.verify(db, n(db, "u10"), [])
    assert mirror.unverified(db) == [] and mirror.revision(db) == before


def test_rule_06_verifying_leaves_the_memberships_in_deleted_groups(db: sqlite3.Connection) -> None:
    round_(db, gone("u1"), gone("g1"))
    round_(db, user("u1"))
    mirror.verify(db, n(db, "u1"), [])
    round_(db, group("g1"))
    assert above(db, "u1") == {"g1", "g2"}


def test_a_purge_ends_the_memberships(db: sqlite3.Connection) -> None:
    round_(db, gone("u1", "deleted"))
    assert presence(db, "u1") == "purged"
    assert above(db, "u1") == set()
    round_(db, gone("u1", "changed"))
    assert presence(db, "u1") == "purged"


def test_rule_06_a_soft_delete_becomes_a_purge_after_31_days(db: sqlite3.Connection) -> None:
    round_(db, gone("u1"), gone("g1"))
    assert round_(db, now=NOW + 30 * DAY).changed == 0
    closed = round_(db, now=NOW + 32 * DAY)
    assert (presence(db, "u1"), presence(db, "g1")) == ("purged", "purged")
    assert above(db, "u2") == set()
    users = set(mirror.users_below(db, mirror.touched_since(db, closed.revision - 1)[2]))
    assert n(db, "u2") in users


def test_a_group_that_is_gone_passes_nothing_on(db: sqlite3.Connection) -> None:
    round_(db, gone("g1"))
    assert above(db, "u1") == set()
    round_(db, group("g1"))
    assert above(db, "u1") == {"g1", "g2"}


def test_removed_of_whom_nobody_knows_is_nothing(db: sqlite3.Connection) -> None:
    assert round_(db, gone("u9"), gone("g9", "deleted")).changed == 0


def test_a_removed_member_of_whom_nobody_knows_is_nobody(db: sqlite3.Connection) -> None:
    """Graph names them in first rounds too; nothing would ever be read of them."""
    round_(db, members("g1", without=["u9"]))
    crawl(db, *TENANT[:3], group("g1", "u1", "u2", without=["u8"]), TENANT[4])
    assert mirror.number_of(db, "u9") is mirror.number_of(db, "u8") is None


def test_rule_03_a_stranger_removed_while_a_crawl_was_read_does_not_come_back() -> None:
    db = database()
    seen = _many(20)
    crawl(db, *seen)
    begin(db, CRAWL)
    stage(db, CRAWL, *seen, user("u99"), members("g1", "u99"))
    round_(db, members("g1", without=["u99"]))
    folding.fold_crawl(db, SELECTED, NOW)
    assert above(db, "u99") == set()


# Bare ids, strangers ----------------------------------------------------------------------------


def test_rule_07_bare_ids_never_overwrite_what_is_known(db: sqlite3.Connection) -> None:
    before = dump(db)
    round_(db, bare("u1"), bare("g1"))
    assert dump(db) == before
    assert not crawl(db, *(bare(seen.id) for seen in TENANT)).proof
    assert [each for each in dump(db) if len(each) > 2] == [
        each for each in before if len(each) > 2
    ]


def test_members_that_the_user_feed_has_not_delivered_are_legal(db: sqlite3.Connection) -> None:
    round_(db, members("g1", "u9"))
    assert row(db, "u9")["properties"] is None
    assert above(db, "u9") == {"g1", "g2"}
    closed = round_(db, user("u9"))
    assert mirror.touched_since(db, closed.revision - 1)[0] == [n(db, "u9")]


def test_devices_are_no_members(db: sqlite3.Connection) -> None:
    round_(db, members("g1", "d1"))
    assert mirror.number_of(db, "d1") is None


# Crawls -----------------------------------------------------------------------------------------


def _many(users: int, *, without: int = 0) -> list[Seen]:
    ids = [f"u{number}" for number in range(users)]
    kept = ids[without:]
    return [*(user(id_) for id_ in kept), group("g1", *kept)]


def test_rule_02_absence_from_a_complete_crawl_counts() -> None:
    db = database()
    crawl(db, *_many(10))
    closed = crawl(db, *_many(10, without=1), now=NOW + DAY)
    assert closed.proof
    assert (presence(db, "u0"), row(db, "u0")["since"]) == ("soft_deleted", NOW + DAY)
    assert above(db, "u0") == {"g1"}  # rule 6: Graph would not announce it again
    assert mirror.touched_since(db, closed.revision - 1)[0] == [n(db, "u0")]


def test_an_edge_that_a_crawl_did_not_show_is_gone() -> None:
    db = database()
    crawl(db, *_many(10))
    seen = _many(10)
    seen[-1] = group("g1", *(f"u{number}" for number in range(1, 10)))
    closed = crawl(db, *seen)
    assert closed.proof and above(db, "u0") == set() and presence(db, "u0") == "present"
    assert mirror.touched_since(db, closed.revision - 1)[2] == [n(db, "u0")]


@pytest.mark.parametrize(
    ("second", "doubt"),
    [
        (_many(100, without=21), "79 users"),
        ([user(f"u{number}") for number in range(100)], "0 groups"),
        ([*_many(100)[:-1], group("g1", "u1")], "1 memberships"),
        (
            [*_many(100)[:-1], group("g1", *(f"u{x}" for x in range(100))), bare("u200")],
            "1 objects",
        ),
        ([], "0 users"),
    ],
)
def test_rule_07_an_implausible_crawl_proves_nothing(second: list[Seen], doubt: str) -> None:
    db = database()
    assert crawl(db, *_many(100)).proof
    before = dump(db)
    closed = crawl(db, *second)
    assert not closed.proof and doubt in closed.doubt
    assert [each for each in dump(db) if each[0] != "u200"] == before
    assert mirror.has_proof(db)


def test_rule_07_a_first_crawl_with_none_of_a_kind_proves_nothing() -> None:
    db = database()
    assert not crawl(db, user("u1")).proof
    assert not mirror.has_proof(db)
    assert crawl(db, user("u1"), group("g1")).proof


def test_rule_07_what_rounds_have_told_of_is_no_reason_for_doubt() -> None:
    """One of two groups was deleted, and Entra said so; a full read shows one group less."""
    db = database()
    crawl(db, *_many(10), group("g2", "u1"))
    round_(db, gone("g2"))
    closed = crawl(db, *_many(10))
    assert closed.proof and closed.absent == 0


def test_rule_07_a_person_may_let_it_through() -> None:
    db = database()
    crawl(db, *_many(100))
    closed = crawl(db, *_many(100, without=50))
    assert closed.absent == 50
    changed = folding.approve_sweep(db, int(mirror.get_meta(db, "crawl")), NOW)
    assert changed == 50
    assert crawl(db, *_many(100, without=50)).proof


def test_rule_03_what_came_while_a_crawl_was_read_stays() -> None:
    """Rounds run between the pages of a crawl; what they brought is newer than its pages."""
    db = database()
    seen = _many(20)
    crawl(db, *seen)
    begin(db, CRAWL)
    stage(db, CRAWL, *seen)
    round_(
        db,
        user("u90"),
        user("u1", accountEnabled=False),
        gone("u2"),
        gone("u3", "deleted"),
        members("g1", "u90", without=["u4"]),
        group("g2", "u5"),
    )
    before = dump(db)
    closed = folding.fold_crawl(db, SELECTED, NOW)
    assert closed.proof
    assert dump(db) == before
    assert "u90" not in closed.doubt and presence(db, "u90") == "present"


def test_rule_03_a_member_that_was_removed_and_came_again_stays() -> None:
    db = database()
    seen = _many(20)
    crawl(db, *seen)
    begin(db, CRAWL)
    stage(db, CRAWL, *seen)
    round_(db, members("g1", without=["u4", "u5"]))
    round_(db, members("g1", "u4"))
    folding.fold_crawl(db, SELECTED, NOW)
    assert (above(db, "u4"), above(db, "u5")) == ({"g1"}, set())


def test_rule_04_a_new_crawl_does_not_trust_what_rounds_saw_during_one_that_failed() -> None:
    """The old links may have died since: only rounds during *this* crawl are newer than it."""
    db = database()
    seen = _many(20)
    crawl(db, *seen)
    begin(db, CRAWL)
    round_(db, user("u1", displayName="Once"))
    staging.forget_links(db)
    crawl(db, *seen[1:], user("u1", displayName="Now"))
    assert '"Now"' in row(db, "u1")["properties"]
    assert presence(db, "u0") == "soft_deleted"


def test_i4_a_crawl_again_changes_nothing(db: sqlite3.Connection) -> None:
    before, revision = dump(db), mirror.revision(db)
    assert crawl(db, *TENANT, *TENANT).changed == 0
    assert (dump(db), mirror.revision(db)) == (before, revision)


def test_rule_05_a_crawl_of_another_selection_leaves_the_rest_known(db: sqlite3.Connection) -> None:
    crawl(db, *TENANT, user("u1", city="Ulm"))
    begin(db, CRAWL)
    stage(db, CRAWL, *TENANT)
    folding.fold_crawl(db, {**SELECTED, "user": ("userPrincipalName", "faxNumber")}, NOW)
    properties = row(db, "u1")["properties"]
    assert '"city":"Ulm"' in properties and '"faxNumber":null' in properties


# Who is concerned -------------------------------------------------------------------------------


def concerned(db: sqlite3.Connection, since: int) -> set[str]:
    users, _, heads = mirror.touched_since(db, since)
    found = {*users, *mirror.users_below(db, heads)}
    return {str(db.execute("SELECT id FROM object WHERE n = ?", (x,)).fetchone()[0]) for x in found}


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (members("g1", "u3"), {"u3"}),
        (members("g1", without=["u1"]), {"u1"}),
        (members("g2", without=["g1"]), {"u1", "u2"}),
        (members("g1", "g2"), {"u1", "u2", "u3"}),  # a cycle
        (gone("g1"), {"u1", "u2"}),
        (gone("g1", "deleted"), {"u1", "u2"}),
        (gone("g2"), {"u1", "u2", "u3"}),
        (user("u1", city="Ulm"), {"u1"}),
        (group("g1", name="new"), set()),
    ],
)
def test_whoever_is_below_a_change_is_concerned(
    db: sqlite3.Connection, seen: Seen, expected: set[str]
) -> None:
    closed = round_(db, seen)
    assert concerned(db, closed.revision - 1) == expected


def test_cycles_end(db: sqlite3.Connection) -> None:
    round_(db, members("g1", "g2"))
    assert above(db, "u3") == {"g1", "g2"}
    assert above(db, "g1") == {"g1", "g2"}
    assert set(mirror.users_below(db, [n(db, "g2")])) == {n(db, u) for u in ("u1", "u2", "u3")}


IDS = st.sampled_from(["u1", "u2", "u3", "u4"])
GROUPS = st.sampled_from(["g1", "g2", "g3", "g4"])
EVENTS = st.one_of(
    st.builds(lambda g, m: members(g, m), GROUPS, st.one_of(IDS, GROUPS)),
    st.builds(lambda g, m: members(g, without=[m]), GROUPS, st.one_of(IDS, GROUPS)),
    st.builds(gone, st.one_of(IDS, GROUPS), st.sampled_from(["changed", "deleted"])),
    st.builds(user, IDS),
    st.builds(group, GROUPS),
)


@given(st.lists(st.lists(EVENTS, min_size=1, max_size=3), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_whose_groups_changed_is_always_concerned(history: list[list[Seen]]) -> None:
    """For any history: nobody's groups change without her being in the slice."""
    db = database()
    crawl(db, *(user(u) for u in ("u1", "u2", "u3", "u4")), group("g1"), group("g2"))
    for events in history:
        before = {u: (above(db, u), presence(db, u)) for u in ("u1", "u2", "u3", "u4")}
        since = mirror.revision(db)
        round_(db, *events)
        after = {u: (above(db, u), presence(db, u)) for u in before}
        assert {u for u in before if before[u] != after[u]} <= concerned(db, since)


def test_rule_07_a_round_without_words_leaves_gaps_until_the_next_crawl(
    db: sqlite3.Connection,
) -> None:
    """What it should have said is lost: she may be in a group in a way that nobody knows of."""
    assert mirror.has_proof(db)
    round_(db, bare("g1"))
    assert not mirror.has_proof(db)
    round_(db, user("u1", displayName="Other"))
    assert not mirror.has_proof(db)
    crawl(db, *TENANT)
    assert mirror.has_proof(db)


# What comes between a crawl's pages ---------------------------------------------------------------


def _restored_inside_a_crawl(confirmed: list[str]) -> sqlite3.Connection:
    """u1 is soft-deleted when a crawl reads her groups, restored while it goes on, and verified."""
    db = database()
    everybody = [f"u{i}" for i in range(1, 20)]
    crawl(db, *map(user, everybody), group("g1", *everybody), group("g2", *everybody))
    round_(db, gone("u1"))
    begin(db, CRAWL)
    rest = everybody[1:]
    stage(db, CRAWL, *map(user, rest), group("g1", *rest), group("g2", *everybody))
    round_(db, user("u1"))
    mirror.verify(db, n(db, "u1"), [ObjectId(each) for each in confirmed])
    return db


def test_rule_06_what_was_verified_during_a_crawl_is_not_absent_from_it() -> None:
    db = _restored_inside_a_crawl(["g1", "g2"])
    assert folding.fold_crawl(db, SELECTED, NOW).proof
    assert above(db, "u1") == {"g1", "g2"}


def test_rule_06_what_was_denied_during_a_crawl_does_not_come_back_with_its_pages() -> None:
    db = _restored_inside_a_crawl(["g1"])
    folding.fold_crawl(db, SELECTED, NOW)
    assert above(db, "u1") == {"g1"}


def test_rule_07_a_measure_of_nothing_makes_no_empty_crawl_believable() -> None:
    db = database()
    crawl(db, *[user(f"u{i}") for i in range(10)], group("g1", "u1"))
    set_meta(db, "crawl_counts", "[0,0,0]")
    assert not crawl(db).proof


def test_rule_07_what_is_approved_while_the_next_crawl_is_read_is_measured_whole() -> None:
    db = database()
    crawl(db, *_many(100))
    crawl(db, *_many(100, without=50))
    begin(db, CRAWL)
    round_(db, *_many(100, without=50))
    folding.approve_sweep(db, int(mirror.get_meta(db, "crawl")), NOW)
    assert mirror.get_meta(db, "crawl_counts") == "[50,1,50]"
