"""Small questions about the scope's entries and the objects that they name."""

from __future__ import annotations

import sqlite3

from azsyncd.model.identities import ObjectId


def user_called(db: sqlite3.Connection, name: str) -> int | None:
    """A user by folded UPN or object id."""
    row = db.execute(
        "SELECT n FROM object WHERE kind = 'user' AND (name = ?1 OR id = ?1) LIMIT 1", (name,)
    ).fetchone()
    return None if row is None else int(row["n"])


def id_of(db: sqlite3.Connection, n: int) -> ObjectId:
    """Entra's id of an object."""
    row = db.execute("SELECT id FROM object WHERE n = ?", (n,)).fetchone()
    return ObjectId(row["id"])


def entries_of(db: sqlite3.Connection, t: int, role: str, n: int) -> set[str]:
    """The entries of a role that this object has matched."""
    rows = db.execute(
        "SELECT entry FROM scope_match WHERE t = ? AND role = ? AND n = ?", (t, role, n)
    )
    return {row["entry"] for row in rows}


def has_matched(db: sqlite3.Connection, t: int, role: str, entry: str, n: int) -> bool:
    """Whether an entry has matched this object, as far as was decided."""
    row = db.execute(
        "SELECT 1 FROM scope_match WHERE t = ? AND role = ? AND entry = ? AND n = ?",
        (t, role, entry, n),
    ).fetchone()
    return row is not None


def forget_moves(db: sqlite3.Connection, t: int, n: int) -> set[str]:
    """A group is linked again: returns the names of the groups that it had left."""
    rows = db.execute(
        "DELETE FROM scope_match WHERE t = ? AND role = 'moved' AND n = ? RETURNING entry", (t, n)
    )
    return {row["entry"] for row in rows.fetchall()}


def is_named(db: sqlite3.Connection, t: int, role: str, entry: str) -> bool:
    """Whether anything is remembered of this entry."""
    sql = "SELECT 1 FROM scope_match WHERE t = ? AND role = ? AND entry = ? LIMIT 1"
    return db.execute(sql, (t, role, entry)).fetchone() is not None


def doubt(db: sqlite3.Connection, t: int) -> str | None:
    """Why a target's scope is in doubt (rule 11), as it was last planned; None if it is not."""
    row = db.execute(
        "SELECT entry FROM scope_match WHERE t = ? AND role = 'uncertain'", (t,)
    ).fetchone()
    return None if row is None else str(row["entry"])
