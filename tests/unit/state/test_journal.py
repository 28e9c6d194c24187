"""The journal: who is found in it, and what stays of somebody who is forgotten."""

from __future__ import annotations

import sqlite3

import pytest

from azsyncd.model.accounts import Account
from azsyncd.model.changes import Change, Kind, Phase, Reason
from azsyncd.model.identities import ObjectId
from azsyncd.state import journal

from .making import NOW, crawl, database, group, n, target, user


@pytest.fixture
def db() -> sqlite3.Connection:
    made = database()
    target(made)
    crawl(made, user("ujo"), user("uada"), group("gdev", "ujo", "uada"))
    return made


def write(
    db: sqlite3.Connection, who: str, kind: Kind = Kind.UPDATE, *, at: float = NOW, gn: int = 0
) -> None:
    change = Change(
        kind=kind,
        phase=Phase.ACCOUNTS,
        object_id=ObjectId(who),
        before=Account(username=f"{who}@x.org", display_name="Old"),
        after=Account(username=f"{who}@x.org", display_name="New"),
        reason=Reason.CHANGED,
    )
    entry = journal.Entry(
        at, 1, "r1", 1, change, n(db, who), gn, f"{who}@x.org", "done", "", "daemon", 0.1
    )
    journal.write(db, entry)


def test_an_entry_names_the_object_by_entras_id(db: sqlite3.Connection) -> None:
    """Not by a number of ours."""
    write(db, "ujo")
    assert [row["object_id"] for row in journal.read(db)] == ["ujo"]
    assert [row["object_id"] for row in journal.after(db, 0, 10)] == ["ujo"]


def test_what_follows_an_entry_comes_in_order(db: sqlite3.Connection) -> None:
    """Oldest first, and no more than asked for."""
    for _ in range(3):
        write(db, "ujo")
    assert [row["id"] for row in journal.after(db, 1, 10)] == [2, 3]
    assert [row["id"] for row in journal.after(db, 0, 2)] == [1, 2]
    assert journal.newest(db) == 3


def test_i12_whoever_is_forgotten_leaves_no_value_and_every_entry(db: sqlite3.Connection) -> None:
    """Her name, before and after go; when, what and why stay, and so does everybody else."""
    write(db, "ujo")
    write(db, "ujo", Kind.ADD_MEMBER, gn=n(db, "gdev"))
    write(db, "uada")
    assert journal.forget(db, n(db, "ujo"), "(forgotten)") == 2
    mine = [row for row in journal.read(db) if row["object_id"] == "ujo"]
    assert {(row["name"], row["before"], row["after"]) for row in mine} == {
        ("(forgotten)", None, None)
    }
    assert {row["change"] for row in mine} == {"update", "add_member"}
    assert all(row["at"] == NOW and row["cause"] == "daemon" for row in mine)
    (other,) = [row for row in journal.read(db) if row["object_id"] == "uada"]
    assert other["name"] == "uada@x.org" and "New" in other["after"]
    assert journal.forget(db, n(db, "ujo"), "(forgotten)") == 0


def test_people_are_found_by_a_name_that_they_had(db: sqlite3.Connection) -> None:
    """Also after Entra has forgotten it; groups and memberships are no people."""
    write(db, "ujo")
    assert journal.people_named(db, "ujo@x.org") == [n(db, "ujo")]
    assert journal.people_named(db, "gdev") == []
