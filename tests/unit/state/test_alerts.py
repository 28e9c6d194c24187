"""What alerts are remembered by, and who of those who left still has access."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest

from azsyncd.model.alerts import AlertKind, Known
from azsyncd.state import alerts, questions

from .making import NOW, crawl, database, give, give_group, group, n, target, user

KNOWN = Known("hold:jira|7", AlertKind.HOLD, "jira", "3 held", "", NOW, NOW + 1, None, NOW + 2)


@pytest.fixture
def db() -> sqlite3.Connection:
    made = database()
    target(made)
    crawl(made, user("ujo"), user("uada"), group("gdev", "ujo", "uada"))
    return made


def test_what_is_known_is_remembered_as_it_is(db: sqlite3.Connection) -> None:
    """And nothing else; a kind of a newer version is left out."""
    other = replace(KNOWN, key="entra|down", kind=AlertKind.ENTRA, target=None, told_at=None)
    alerts.save(db, [KNOWN, other])
    assert alerts.load(db) == {KNOWN.key: KNOWN, other.key: other}
    assert (KNOWN.area, other.area) == ("hold:jira", "entra")
    alerts.save(db, [KNOWN])
    db.execute(
        "INSERT INTO alert (key, kind, title, since) VALUES ('x|y', 'of_tomorrow', 't', 1.0)"
    )
    assert alerts.load(db) == {KNOWN.key: KNOWN}


def test_each_door_gets_its_own_copy(db: sqlite3.Connection) -> None:
    """One that is shut keeps no other one waiting."""
    alerts.post(db, ["a", "b"], "hello", NOW)
    first = alerts.next_letter(db, "a")
    assert first is not None
    alerts.failed(db, first.id, "shut", NOW + 5)
    alerts.failed(db, first.id, "still shut", NOW + 9)
    second = alerts.next_letter(db, "b")
    assert second is not None and (second.body, second.attempts) == ("hello", 0)
    alerts.delivered(db, second.id)
    assert alerts.next_letter(db, "b") is None
    assert alerts.undelivered(db) == {"a": (1, NOW + 5, "still shut")}


def waits(db: sqlite3.Connection, who: str, change: str, reason: str) -> None:
    db.execute(
        "INSERT INTO waiting (t, n, change, reason, detail, since) VALUES (1, ?, ?, ?, '', ?)",
        (n(db, who), change, reason, NOW),
    )


def test_rule_32_who_left_and_is_still_in_a_group_has_access(db: sqlite3.Connection) -> None:
    """Until there is no group left; whoever merely waits for another try is none of them."""
    jo, ada = give(db, 1, "ujo"), give(db, 1, "uada")
    g = give_group(db, 1, "gdev", [jo, ada])
    assert questions.leavers_with_access(db, 1) == []
    waits(db, "ujo", "deactivate", "unsupported")
    waits(db, "uada", "deactivate", "backing_off")
    assert questions.leavers_with_access(db, 1) == ["ujo"]
    assert questions.what_waits(db, 1).leavers_with_access == 1
    db.execute("DELETE FROM edge WHERE g = ? AND a = ?", (g, jo))
    assert questions.leavers_with_access(db, 1) == []
