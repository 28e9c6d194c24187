"""What somebody was told already, and messages that are still on their way: both survive restarts,
so that nothing is told twice and nothing is lost while a mail server is down."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import astuple

from azsyncd.model.alerts import AlertKind, Known, Letter

KEEP_SECONDS = 3 * 86400.0
"""So long a message is tried: what is older helps nobody."""

PATIENCE = 3
"""So often a message that is refused itself is tried before the others."""

MOST = 200
"""Messages that wait for one door; then the oldest goes."""


def load(db: sqlite3.Connection) -> dict[str, Known]:
    """Everything that is known to be wrong, by key; of kinds that this version knows."""
    rows = db.execute(
        "SELECT key, kind, target, title, stage, since, told_at, reminded_at, gone_at FROM alert"
    )
    kinds = {kind.value: kind for kind in AlertKind}
    return {
        row["key"]: Known(**{**dict(row), "kind": kinds[row["kind"]]})
        for row in rows
        if row["kind"] in kinds
    }


def save(db: sqlite3.Connection, known: Iterable[Known]) -> None:
    """Remember these, and no others."""
    db.execute("DELETE FROM alert")
    db.executemany(
        "INSERT INTO alert (key, kind, target, title, stage, since, told_at, reminded_at, gone_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [astuple(each) for each in known],
    )


def post(db: sqlite3.Connection, doors: Iterable[str], body: str, at: float) -> None:
    """Put one message before each of these doors."""
    for door in doors:
        db.execute("INSERT INTO letter (door, at, body) VALUES (?, ?, ?)", (door, at, body))
        db.execute(
            "DELETE FROM letter WHERE door = ? AND id NOT IN"
            " (SELECT id FROM letter WHERE door = ? ORDER BY id DESC LIMIT ?)",
            (door, door, MOST),
        )


def next_letter(db: sqlite3.Connection, door: str) -> Letter | None:
    """The next message of a door, in their order."""
    row = db.execute(
        "SELECT id, at, body, attempts, error, failing_since FROM letter WHERE door = ?"
        " ORDER BY id LIMIT 1",
        (door,),
    ).fetchone()
    return None if row is None else Letter(**dict(row))


def delivered(db: sqlite3.Connection, letter: int) -> None:
    """It went through."""
    db.execute("DELETE FROM letter WHERE id = ?", (letter,))


def failed(
    db: sqlite3.Connection, letter: int, error: str, now: float, *, refused: bool = False
) -> None:
    """It did not, this time. `refused`: this very message; after some tries others may pass it."""
    db.execute(
        "UPDATE letter SET attempts = attempts + 1, error = ?,"
        " failing_since = coalesce(failing_since, ?) WHERE id = ?",
        (error, now, letter),
    )
    if not refused:
        return
    columns = "door, at, body, attempts, error, failing_since"
    moved = db.execute(
        f"INSERT INTO letter ({columns}) SELECT {columns} FROM letter"
        " WHERE id = ? AND attempts >= ?",
        (letter, PATIENCE),
    )
    if moved.rowcount:
        delivered(db, letter)


def drop_stale(db: sqlite3.Connection, doors: Iterable[str], now: float) -> int:
    """Forget what is too old, and what was meant for doors that are gone; how many."""
    known = list(doors)
    marks = ", ".join("?" * len(known))
    return db.execute(
        f"DELETE FROM letter WHERE at < ? OR door NOT IN ({marks})",
        (now - KEEP_SECONDS, *known),
    ).rowcount


def undelivered(db: sqlite3.Connection) -> dict[str, tuple[int, float, str]]:
    """By door that does not take them: how many wait, since when, and the last error."""
    rows = db.execute(
        "SELECT door, count(*) AS waiting, min(failing_since) AS since,"
        " (SELECT error FROM letter l WHERE l.door = letter.door AND l.error != ''"
        "  ORDER BY attempts DESC, id LIMIT 1) AS error"
        " FROM letter GROUP BY door HAVING max(attempts) > 0"
    )
    return {row["door"]: (row["waiting"], row["since"], row["error"]) for row in rows}


def written(db: sqlite3.Connection, since: float) -> dict[tuple[str, str], int]:
    """How many writes of each kind were done in each target since then."""
    rows = db.execute(
        "SELECT tg.name AS target, j.change, count(*) AS number FROM journal j"
        " JOIN target tg ON tg.t = j.t WHERE j.at >= ? AND j.outcome = 'done' GROUP BY 1, 2",
        (since,),
    )
    return {(row["target"], row["change"]): row["number"] for row in rows}
