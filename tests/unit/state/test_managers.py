"""Who is whose manager, as remembered: what feeds say, what the listing says, what is asked for."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from azsyncd.model.identities import ObjectId, Seen
from azsyncd.state import facts, folding, mirror, staging
from azsyncd.state.staging import CRAWL

from .making import (
    MANAGED,
    NOW,
    SELECTED,
    begin_managed,
    crawl,
    database,
    gone,
    group,
    listed,
    managed_crawl,
    n,
    round_,
    row,
    stage,
    user,
)

PEOPLE = (user("u1"), user("u2"), user("boss"), user("ceo"), group("g1"))
LED = {"u1": "boss", "u2": None, "boss": "ceo", "ceo": None}


@pytest.fixture
def db() -> sqlite3.Connection:
    """A mirror after its first crawl with managers."""
    db = database()
    assert managed_crawl(db, *PEOPLE, managers=LED).proof
    return db


def later(db: sqlite3.Connection, *seen: Seen) -> folding.Closed:
    return round_(db, *seen, selected=MANAGED)


def manager(db: sqlite3.Connection, who: str) -> Any:
    """The manager's id, None for nobody, `unread`."""
    properties = next(facts.bases(db, [n(db, who)])).user.properties
    if "manager" not in properties:
        return "unread"
    found = properties["manager"]
    return found["id"] if isinstance(found, dict) else found


def due(db: sqlite3.Connection) -> list[str]:
    return [str(id_) for _, id_ in mirror.managers_due(db)]


def answer(db: sqlite3.Connection, who: str, manager: str | None) -> None:
    id_ = ObjectId(who)
    answers = {id_: None if manager is None else ObjectId(manager)}
    mirror.answer_managers(db, [(n(db, who), id_)], answers)


def touched(db: sqlite3.Connection, since: int) -> set[str]:
    return {
        str(db.execute("SELECT id FROM object WHERE n = ?", (found,)).fetchone()["id"])
        for found in facts.slice_since(db, 1, since, NOW).users
    }


def test_the_listing_tells_of_everybody(db: sqlite3.Connection) -> None:
    assert {who: manager(db, who) for who in LED} == LED
    assert due(db) == []
    assert set(staging.links(db)) == {"users", "groups"}  # a listing has no link to go on from
    assert "manager" not in row(db, "u1")["properties"]


def test_rule_05_without_the_listing_managers_are_unread() -> None:
    """And so they are for whoever a listing does not show: she is asked for."""
    db = database()
    crawl(db, *PEOPLE)
    assert [manager(db, who) for who in LED] == ["unread"] * 4
    assert due(db) == []
    managed_crawl(db, *PEOPLE, managers={"u1": "boss"})
    assert manager(db, "u2") == "unread"
    assert due(db) == ["ceo", "boss", "u2"]  # the newest first


def test_what_a_feed_says_acts_at_once(db: sqlite3.Connection) -> None:
    before = mirror.revision(db)
    later(db, user("u1", manager="ceo"))
    assert manager(db, "u1") == "ceo" and due(db) == []
    assert touched(db, before) == {"u1"}


def test_rule_02_nobody_in_a_feed_is_asked_for(db: sqlite3.Connection) -> None:
    """It may be late: the one who goes is not the one whom an answer has named since."""
    answer(db, "u1", "ceo")
    later(db, user("u1", manager=None))
    assert manager(db, "u1") == "ceo" and due(db) == ["u1"]
    answer(db, "u1", None)
    assert manager(db, "u1") is None and due(db) == []


def test_whoever_a_feed_tells_of_without_her_manager_is_asked_for(db: sqlite3.Connection) -> None:
    """What is known stays in force until she is answered for; news first."""
    later(db, user("u1", displayName="New"), user("u5"))
    assert due(db) == ["u5", "u1"]
    assert (manager(db, "u1"), manager(db, "u5")) == ("boss", "unread")
    before = mirror.revision(db)
    answer(db, "u1", "boss")
    assert mirror.revision(db) == before  # no news
    answer(db, "u5", "u9")  # of whom nobody has heard yet
    assert due(db) == [] and touched(db, before) == {"u5"}
    assert manager(db, "u5") == "u9"
    answer(db, "u1", None)
    assert manager(db, "u1") is None


def test_rule_02_nobody_in_a_listing_is_asked_for_once_more(db: sqlite3.Connection) -> None:
    """A listing that shows less than it should takes nobody's manager away."""
    managed_crawl(db, *PEOPLE, managers=dict.fromkeys(LED))
    assert {who: manager(db, who) for who in LED} == LED
    assert due(db) == ["boss", "u1"]
    answer(db, "u1", None)
    assert manager(db, "u1") is None


def test_rule_03_what_a_round_said_meanwhile_is_newer(db: sqlite3.Connection) -> None:
    """Than the listing of the crawl beside it."""
    begin_managed(db)
    stage(db, CRAWL, *PEOPLE)
    listed(db, {**LED, "u2": "boss"})
    later(db, user("u1", manager="ceo"))
    folding.fold_crawl(db, MANAGED, NOW)
    assert (manager(db, "u1"), manager(db, "u2")) == ("ceo", "boss")
    assert due(db) == ["u1"]


def test_rule_03_what_was_asked_meanwhile_is_newer_too(db: sqlite3.Connection) -> None:
    """And whoever is due is due still."""
    begin_managed(db)
    stage(db, CRAWL, *PEOPLE)
    listed(db, {**LED, "u9": "boss"})
    later(db, user("u1", displayName="New"), user("u2", displayName="New"), user("u9"))
    answer(db, "u1", None)
    folding.fold_crawl(db, MANAGED, NOW)
    assert manager(db, "u1") is None
    assert (manager(db, "u2"), manager(db, "u9")) == (None, "boss")
    assert set(due(db)) == {"u1", "u2", "u9"}


def test_a_manager_of_whom_nothing_is_ever_shown_is_nobody(db: sqlite3.Connection) -> None:
    """Else her reports would be undecided for ever."""
    managed_crawl(db, *PEOPLE, managers={**LED, "u1": "ghost"})
    assert manager(db, "u1") == "ghost"  # she may come with the next round
    before = mirror.revision(db)
    managed_crawl(db, *PEOPLE, managers={**LED, "u1": "ghost"})
    assert manager(db, "u1") is None and touched(db, before) >= {"u1"}
    later(db, user("ghost"))
    assert manager(db, "u1") == "ghost"


def test_managers_that_nobody_looks_at_are_forgotten(db: sqlite3.Connection) -> None:
    """They would be months old when somebody looks again."""
    crawl(db, *PEOPLE)
    managed_crawl(db, *PEOPLE, managers={"u2": "boss"})
    assert manager(db, "u1") == "unread" and "u1" in due(db)


def test_reports_are_planned_again_when_their_manager_changes(db: sqlite3.Connection) -> None:
    """One step down: what is said of them mentions nobody else."""
    before = mirror.revision(db)
    later(db, user("ceo", displayName="New", manager=None))
    assert touched(db, before) == {"ceo", "boss"}


def test_a_manager_who_is_gone_is_nobody_until_she_is_back(db: sqlite3.Connection) -> None:
    """Entra does not show her either, and shows her again when she is restored."""
    before = mirror.revision(db)
    later(db, gone("boss"))
    assert manager(db, "u1") is None and touched(db, before) == {"boss", "u1"}
    later(db, user("u1", displayName="New"))
    answer(db, "u1", None)
    before = mirror.revision(db)
    later(db, user("boss", manager="ceo"))
    assert manager(db, "u1") == "boss" and touched(db, before) == {"boss", "u1"}
    assert due(db) == ["u1"]  # whether that is still so
    later(db, gone("boss", "deleted"))
    answer(db, "u1", None)
    later(db, user("boss"))
    assert manager(db, "u1") is None


def test_rule_07_what_an_approved_absence_takes_away_reaches_reports(
    db: sqlite3.Connection,
) -> None:
    begin_managed(db)
    stage(db, CRAWL, user("u1"))
    listed(db, {"u1": "boss"})
    closed = folding.fold_crawl(db, MANAGED, NOW)
    assert not closed.proof and manager(db, "u1") == "boss"
    before = mirror.revision(db)
    folding.approve_sweep(db, staging.crawl_number(db), NOW)
    assert manager(db, "u1") is None and "u1" in touched(db, before)


def test_a_file_that_does_not_look_at_managers_asks_for_none(db: sqlite3.Connection) -> None:
    round_(db, user("u1", displayName="New"), selected=SELECTED)
    assert due(db) == []
