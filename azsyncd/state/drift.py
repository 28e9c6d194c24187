"""What was changed by hand in a product and is not put right yet (rule 22); and whether somebody
else writes there too: the journal knows what was put right and changed back."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

DAY = 86400.0
TIMES = 3
"""Whatever was put right so often in a day, and is different again, is somebody else's too."""

MANY = 3
"""So many objects of which that is true: it is the whole product."""

Key = tuple[int, str, int]
"""(object, change, group or 0)"""


def note(
    db: sqlite3.Connection, t: int, n: int, found: Collection[tuple[str, int]], now: float
) -> list[str]:
    """What of one object differs now, by (change, group); returns the changes found anew."""
    rows = db.execute("SELECT change, gn FROM drift WHERE t = ? AND n = ?", (t, n))
    known = {(row["change"], row["gn"]) for row in rows}
    fresh = sorted(set(found) - known)
    db.executemany(
        "DELETE FROM drift WHERE t = ? AND n = ? AND change = ? AND gn = ?",
        [(t, n, change, gn) for change, gn in known - set(found)],
    )
    db.executemany(
        "INSERT INTO drift VALUES (?, ?, ?, ?, ?)",
        [(t, n, change, gn, now) for change, gn in fresh],
    )
    return [change for change, _ in fresh]


def settled(db: sqlite3.Connection, t: int, n: int, change: str, gn: int) -> None:
    """It was put right: whatever is found next is found anew."""
    db.execute(
        "DELETE FROM drift WHERE t = ? AND n = ? AND change = ? AND gn = ?", (t, n, change, gn)
    )


def count(db: sqlite3.Connection, t: int) -> int:
    """How many differences stand in a target."""
    return int(db.execute("SELECT count(*) FROM drift WHERE t = ?", (t,)).fetchone()[0])


def fights(db: sqlite3.Connection, t: int, now: float) -> dict[Key, float]:
    """What was put right so often within a day that somebody else must be writing too, and from
    when on it may be tried once more."""
    rows = db.execute(
        "SELECT n, change, gn, min(at) AS first FROM journal INDEXED BY journal_at"
        " WHERE at > ? AND t = ? AND reason = 'drift' AND outcome = 'done' AND n != 0"
        " GROUP BY n, change, gn HAVING count(*) >= ?",
        (now - DAY, t, TIMES),
    )
    return {(row["n"], row["change"], row["gn"]): row["first"] + DAY for row in rows}


def is_contested(fighting: Collection[Key]) -> bool:
    """Whether it is the whole product."""
    return len({n for n, _, _ in fighting}) >= MANY
