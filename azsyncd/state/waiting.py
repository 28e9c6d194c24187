"""What waits, and why: one list, replaced object by object each time an object is looked at."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping

from azsyncd.model.changes import Change, Waiting
from azsyncd.model.identities import ObjectId
from azsyncd.state import codec

RETRY_SECONDS = (60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 86400.0)
"""How long a refused object waits before it is tried again, by attempt."""


_KEY = "t = ? AND n = ? AND change = ? AND gn = ? AND akey = ?"

CONDITIONS = ("licence", "read_only")
CONDITION_SECONDS = 900.0
"""Conditions of the target, not of an object, are asked again now and then (rule 30)."""

NOT_YET_SECONDS = 3600.0
"""What waits for something else is looked at so often, in case that nobody wakes it."""


def replace_all(
    db: sqlite3.Connection,
    t: int,
    n: int,
    waiting: Iterable[Waiting],
    now: float,
    planned: Collection[tuple[str, int]] = (),
) -> None:
    """What waits of an object from now on. Attempts and since-when of the same entry are kept.

    `planned`: its changes, by (kind, group), that will be tried now. Their attempts are remembered
    until one succeeds.
    """
    old = {
        (row["change"], row["gn"]): row
        for row in db.execute("SELECT * FROM waiting WHERE t = ? AND n = ? AND akey = ''", (t, n))
    }
    db.execute("DELETE FROM waiting WHERE t = ? AND n = ? AND akey = ''", (t, n))
    if any(_is_due(row, now) for row in old.values()):
        _remember(db, old, planned, now)
    for entry in waiting:
        change = entry.change
        kind = change.kind.value if change else ""
        gn = _group_number(db, change.group_id) if change else 0
        before = old.get((kind, gn))
        same = before is not None and before["reason"] == entry.reason
        db.execute(
            "INSERT OR REPLACE INTO waiting VALUES (?, ?, ?, ?, '', ?, ?, ?, ?, ?, ?, ?)",
            (
                t,
                n,
                kind,
                gn,
                entry.reason,
                entry.detail,
                entry.hint,
                codec.change_text(change) if change else None,
                before["attempts"] if same and before is not None else 0,
                entry.retry_at,
                before["since"] if same and before is not None else now,
            ),
        )


def _is_due(row: sqlite3.Row, now: float) -> bool:
    return row["retry_at"] is not None and row["retry_at"] <= now


def _remember(
    db: sqlite3.Connection,
    old: Mapping[tuple[str, int], sqlite3.Row],
    planned: Collection[tuple[str, int]],
    now: float,
) -> None:
    for row in (row for key, row in old.items() if key in planned and row["attempts"]):
        later = RETRY_SECONDS[min(row["attempts"], len(RETRY_SECONDS)) - 1]
        values = {**dict(row), "retry_at": now + later}
        db.execute(
            "INSERT INTO waiting (t, n, change, gn, reason, detail, hint, body, attempts, retry_at,"
            " since) VALUES (:t, :n, :change, :gn, :reason, :detail, :hint, :body, :attempts,"
            " :retry_at, :since)",
            values,
        )


def foreign_of(db: sqlite3.Connection, t: int, n: int) -> dict[str, sqlite3.Row]:
    """The removals of foreign members from one group that were refused, by the account's key."""
    rows = db.execute("SELECT * FROM waiting WHERE t = ? AND n = ? AND akey != ''", (t, n))
    return {row["akey"]: row for row in rows}


def replace_foreign(
    db: sqlite3.Connection, t: int, n: int, waits: Collection[str], tried: Collection[str]
) -> None:
    """Whose removal from one group waits from now on, and whose is tried now: their attempts are
    remembered until one succeeds. All others of this group are forgotten."""
    for akey in foreign_of(db, t, n).keys() - waits:
        sql = "DELETE FROM waiting WHERE t = ? AND n = ? AND akey = ?"
        if akey in tried:
            sql = "UPDATE waiting SET retry_at = NULL WHERE t = ? AND n = ? AND akey = ?"
        db.execute(sql, (t, n, akey))


def forget_foreign(db: sqlite3.Connection, t: int) -> None:
    """No foreign member is removed here any more."""
    db.execute("DELETE FROM waiting WHERE t = ? AND akey != ''", (t,))


def forget(db: sqlite3.Connection, t: int, n: int) -> None:
    """What it waited with is gone."""
    db.execute("DELETE FROM waiting WHERE t = ? AND n = ?", (t, n))


def wake(db: sqlite3.Connection, t: int, n: int) -> None:
    """An object's account stands now: memberships that waited for it go in at once."""
    db.execute(
        "UPDATE waiting SET retry_at = 0 WHERE t = ? AND n = ? AND change = 'add_member'"
        " AND reason = 'backing_off'",
        (t, n),
    )


def wake_members(db: sqlite3.Connection, t: int, gn: int) -> None:
    """A group stands now: whoever waited for it goes in, or out, at once."""
    db.execute(
        "UPDATE waiting SET retry_at = 0 WHERE t = ? AND gn = ? AND gn != 0"
        " AND change IN ('add_member', 'remove_member') AND reason = 'backing_off'",
        (t, gn),
    )


def wake_removals(db: sqlite3.Connection, t: int, n: int, now: float) -> None:
    """Somebody came into a group: whatever was kept lest she be cut off is looked at again."""
    for whose in ("change = 'remove_child'", "n = ? AND change = 'remove_member'"):
        db.execute(
            f"UPDATE waiting SET retry_at = ? WHERE t = ? AND {whose}"
            " AND reason = 'backing_off' AND attempts > 0",
            (now, t, n)[: 2 + whose.count("?")],
        )


def wake_protected(db: sqlite3.Connection, t: int, now: float) -> None:
    """There may be another administrator now: whoever was kept as the last one is looked at."""
    db.execute(
        "UPDATE waiting SET retry_at = ? WHERE t = ? AND reason = 'protected'"
        " AND retry_at IS NOT NULL",
        (now, t),
    )


def refused(
    db: sqlite3.Connection,
    t: int,
    n: int,
    change: Change,
    reason: str,
    detail: str,
    hint: str,
    now: float,
) -> float:
    """A write was refused: the object waits longer with each attempt. Returns until when."""
    before = db.execute(f"SELECT attempts FROM waiting WHERE {_KEY}", _key(db, t, n, change))
    row = before.fetchone()
    attempts = (row["attempts"] if row else 0) + 1
    seconds = RETRY_SECONDS[min(attempts, len(RETRY_SECONDS)) - 1]
    if reason in CONDITIONS:
        seconds = CONDITION_SECONDS
    _put(db, t, n, change, (reason, detail, hint), attempts, now + seconds, now)
    return now + seconds


def untried(
    db: sqlite3.Connection,
    t: int,
    n: int,
    change: Change,
    reason: str,
    detail: str,
    hint: str,
    now: float,
) -> None:
    """A change was not sent: something that it needs is not there, or a condition of the target
    is known. It has not failed. Whoever waits for an account or a group is woken when that stands,
    and is looked at now and then all the same."""
    seconds = CONDITION_SECONDS if reason in CONDITIONS else NOT_YET_SECONDS
    _put(db, t, n, change, (reason, detail, hint), 0, now + seconds, now)


def _key(db: sqlite3.Connection, t: int, n: int, change: Change) -> tuple[int, int, str, int, str]:
    return t, n, change.kind.value, _group_number(db, change.group_id), change.akey


def _put(
    db: sqlite3.Connection,
    t: int,
    n: int,
    change: Change,
    why: tuple[str, str, str],
    attempts: int,
    retry_at: float,
    now: float,
) -> None:
    """`why`: reason, detail, hint. Since when it waits is kept."""
    db.execute(
        "INSERT INTO waiting VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " reason = excluded.reason, detail = excluded.detail, hint = excluded.hint,"
        " body = excluded.body, attempts = excluded.attempts, retry_at = excluded.retry_at",
        (*_key(db, t, n, change), *why, codec.change_text(change), attempts, retry_at, now),
    )


def attempts_of(db: sqlite3.Connection, t: int, n: int) -> dict[tuple[str, int], sqlite3.Row]:
    """What was tried of an object and refused, by (change, group)."""
    rows = db.execute(
        "SELECT * FROM waiting WHERE t = ? AND n = ? AND akey = '' AND attempts > 0", (t, n)
    )
    return {(row["change"], row["gn"]): row for row in rows}


def succeeded(db: sqlite3.Connection, t: int, n: int, change: Change) -> None:
    """It went through at last."""
    db.execute(
        f"DELETE FROM waiting WHERE {_KEY}",
        _key(db, t, n, change),
    )


def make_due(db: sqlite3.Connection, t: int, n: int, now: float) -> None:
    """Look at an object again as soon as possible."""
    updated = db.execute("UPDATE waiting SET retry_at = ? WHERE t = ? AND n = ?", (now, t, n))
    if not updated.rowcount:
        look_again(db, t, n, now)


def look_again(db: sqlite3.Connection, t: int, n: int, now: float) -> None:
    """Look at an object as soon as possible; what was refused of it waits for its own time."""
    db.execute(
        "INSERT OR REPLACE INTO waiting (t, n, change, reason, detail, retry_at, since)"
        " VALUES (?, ?, '', 'backing_off', ?, ?, ?)",
        (t, n, "to be looked at again", now, now),
    )


def make_due_again(db: sqlite3.Connection, t: int, n: int, now: float) -> None:
    """An operator asks for an object: what was refused of it is tried again at once."""
    db.execute(
        "UPDATE waiting SET retry_at = ? WHERE t = ? AND n = ? AND retry_at IS NOT NULL",
        (now, t, n),
    )


def make_all_due(db: sqlite3.Connection, t: int, now: float, reason: str | None = None) -> None:
    """An operator asks: whatever was refused is tried again at once."""
    db.execute(
        "UPDATE waiting SET retry_at = ? WHERE t = ? AND (retry_at IS NOT NULL OR reason = ?)",
        (now, t, reason),
    )


def counts(db: sqlite3.Connection, t: int) -> dict[str, int]:
    """How many entries wait, by reason."""
    rows = db.execute("SELECT reason, count(*) FROM waiting WHERE t = ? GROUP BY reason", (t,))
    return {row[0]: row[1] for row in rows}


def failing(db: sqlite3.Connection, t: int) -> int:
    """How many objects were refused and are tried again."""
    sql = "SELECT count(DISTINCT n) FROM waiting WHERE t = ? AND attempts > 0"
    return int(db.execute(sql, (t,)).fetchone()[0])


def next_try(db: sqlite3.Connection, t: int) -> float | None:
    """When the next of those that were refused is tried again."""
    sql = "SELECT min(retry_at) FROM waiting WHERE t = ? AND attempts > 0"
    found = db.execute(sql, (t,)).fetchone()[0]
    return None if found is None else float(found)


def listed(db: sqlite3.Connection, t: int, limit: int = 10_000) -> list[sqlite3.Row]:
    """Everything that waits in a target, with the object's id and name."""
    return db.execute(
        "SELECT w.*, o.id, o.name, g.name AS group_name FROM waiting w JOIN object o ON o.n = w.n"
        " LEFT JOIN object g ON g.n = w.gn WHERE w.t = ? ORDER BY w.reason, o.name LIMIT ?",
        (t, limit),
    ).fetchall()


def _group_number(db: sqlite3.Connection, group: ObjectId | None) -> int:
    if group is None:
        return 0
    row = db.execute("SELECT n FROM object WHERE id = ?", (group,)).fetchone()
    return int(row["n"]) if row else 0
