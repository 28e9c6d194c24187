"""Whom `azsyncd unlink` let go: hands off, her and the account, until somebody links her again."""

from __future__ import annotations

import sqlite3

from azsyncd.clock import iso
from azsyncd.model.identities import ObjectId


def note(
    db: sqlite3.Connection, t: int, n: int, key: str | None, by: str, reason: str, now: float
) -> None:
    """An object, and the account that it had, are left alone from now on."""
    db.execute(
        "INSERT OR REPLACE INTO unlinked (t, n, key, by, reason, at) VALUES (?, ?, ?, ?, ?, ?)",
        (t, n, key or "", by, reason, now),
    )


def forget(db: sqlite3.Connection, t: int, n: int) -> bool:
    """She is linked again; whether she was let go."""
    return bool(db.execute("DELETE FROM unlinked WHERE t = ? AND n = ?", (t, n)).rowcount)


def reasons(db: sqlite3.Connection, t: int) -> dict[ObjectId, str]:
    """Who was let go, and why, in words."""
    rows = db.execute(
        "SELECT o.id, u.by, u.reason, u.at FROM unlinked u JOIN object o ON o.n = u.n"
        " WHERE u.t = ?",
        (t,),
    )
    return {
        ObjectId(row["id"]): f"unlinked by {row['by']} at {iso(row['at'])}"
        + (f": {row['reason']}" if row["reason"] else "")
        for row in rows
    }
