"""What waits, and why: one list, replaced object by object each time an object is looked at."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from azsyncd.model.changes import Change, Waiting
from azsyncd.model.identities import ObjectId
from azsyncd.state import codec

RETRY_SECONDS = (60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 86400.0)
"""How long a refused object waits before it is tried again, by attempt."""


def replace_all(
    db: sqlite3.Connection, t: int, n: int, waiting: Iterable[Waiting], now: float
) -> None:
    """What waits of an object from now on. Attempts and since-when of the same entry are kept."""
    old = {
        (row["change"], row["gn"]): row
        for row in db.execute("SELECT * FROM waiting WHERE t = ? AND n = ?", (t, n))
    }
    db.execute("DELETE FROM waiting WHERE t = ? AND n = ?", (t, n))
    for entry in waiting:
        change = entry.change
        kind = change.kind.value if change else ""
        gn = _group_number(db, change.group_id) if change else 0
        before = old.get((kind, gn))
        same = before is not None and before["reason"] == entry.reason
        db.execute(
            "INSERT OR REPLACE INTO waiting VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
    gn = _group_number(db, change.group_id)
    row = db.execute(
        "SELECT attempts, since FROM waiting WHERE t = ? AND n = ? AND change = ? AND gn = ?",
        (t, n, change.kind, gn),
    ).fetchone()
    attempts = (row["attempts"] if row else 0) + 1
    retry_at = now + RETRY_SECONDS[min(attempts, len(RETRY_SECONDS)) - 1]
    db.execute(
        "INSERT OR REPLACE INTO waiting VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            t,
            n,
            change.kind,
            gn,
            reason,
            detail,
            hint,
            codec.change_text(change),
            attempts,
            retry_at,
            row["since"] if row else now,
        ),
    )
    return retry_at


def attempts_of(db: sqlite3.Connection, t: int, n: int) -> dict[tuple[str, int], sqlite3.Row]:
    """What was tried of an object and refused, by (change, group)."""
    rows = db.execute("SELECT * FROM waiting WHERE t = ? AND n = ? AND attempts > 0", (t, n))
    return {(row["change"], row["gn"]): row for row in rows}


def succeeded(db: sqlite3.Connection, t: int, n: int, change: Change) -> None:
    """It went through at last."""
    db.execute(
        "DELETE FROM waiting WHERE t = ? AND n = ? AND change = ? AND gn = ?",
        (t, n, change.kind, _group_number(db, change.group_id)),
    )


def make_due(db: sqlite3.Connection, t: int, n: int, now: float) -> None:
    """Look at an object again as soon as possible."""
    updated = db.execute("UPDATE waiting SET retry_at = ? WHERE t = ? AND n = ?", (now, t, n))
    if not updated.rowcount:
        db.execute(
            "INSERT OR REPLACE INTO waiting (t, n, change, reason, detail, retry_at, since)"
            " VALUES (?, ?, '', 'backing_off', ?, ?, ?)",
            (t, n, "to be looked at again", now, now),
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
