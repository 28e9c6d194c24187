"""One entry for every write: when, what, before and after, why, and what the product answered."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from azsyncd.model.changes import Change
from azsyncd.state import codec


@dataclass(frozen=True, slots=True)
class Entry:
    """A write and its outcome: done, rejected, or unknown (the answer was lost)."""

    at: float
    t: int
    run: str
    revision: int
    change: Change
    n: int
    gn: int
    name: str
    outcome: str
    answer: str
    cause: str
    seconds: float


def write(db: sqlite3.Connection, entry: Entry) -> None:
    """Append one entry."""
    change = entry.change
    before, after = codec.side_to_dict(change.before), codec.side_to_dict(change.after)
    db.execute(
        "INSERT INTO journal (at, t, run, revision, change, reason, n, gn, name, before, after,"
        " outcome, answer, cause, seconds, configuration) VALUES"
        " (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT max(id) FROM configuration))",
        (
            entry.at,
            entry.t,
            entry.run,
            entry.revision,
            change.kind,
            change.reason,
            entry.n,
            entry.gn,
            entry.name,
            codec.dump(before) if before else None,
            codec.dump(after) if after else None,
            entry.outcome,
            entry.answer,
            entry.cause,
            entry.seconds,
        ),
    )


def note(
    db: sqlite3.Connection,
    t: int,
    n: int,
    what: str,
    *,
    name: str,
    at: float,
    revision: int,
    cause: str,
    before: dict[str, object] | None = None,
    after: dict[str, object] | None = None,
) -> None:
    """Append what a person did, which is no write to a product: `link`, `unlink`."""
    db.execute(
        "INSERT INTO journal (at, t, run, revision, change, reason, n, name, before, after,"
        " outcome, cause, seconds) VALUES (?, ?, '', ?, ?, '', ?, ?, ?, ?, 'done', ?, 0)",
        (
            at,
            t,
            revision,
            what,
            n,
            name,
            codec.dump(before) if before else None,
            codec.dump(after) if after else None,
            cause,
        ),
    )


_ENTRIES = (
    "SELECT j.*, o.id AS object_id, tg.name AS target, c.digest AS config FROM journal j"
    " JOIN target tg ON tg.t = j.t LEFT JOIN object o ON o.n = j.n"
    " LEFT JOIN configuration c ON c.id = j.configuration"
)


def read(
    db: sqlite3.Connection,
    *,
    numbers: list[int] | None = None,
    t: int | None = None,
    run: str | None = None,
    since: float | None = None,
    limit: int = 1000,
) -> list[sqlite3.Row]:
    """The newest entries that fit, newest first."""
    where: list[str] = ["1"]
    values: list[float | str] = []
    if numbers is not None:
        where.append(f"j.n IN ({', '.join(str(int(n)) for n in numbers) or 'NULL'})")
    for column, value in (("j.t", t), ("j.run", run)):
        if value is not None:
            where.append(f"{column} = ?")
            values.append(value)
    if since is not None:
        where.append("j.at >= ?")
        values.append(since)
    return db.execute(
        f"{_ENTRIES} WHERE {' AND '.join(where)} ORDER BY j.id DESC LIMIT ?", (*values, limit)
    ).fetchall()


def prune(db: sqlite3.Connection, before: float) -> int:
    """Forget entries older than `state.history`."""
    return db.execute("DELETE FROM journal WHERE at < ?", (before,)).rowcount


def newest(db: sqlite3.Connection) -> int:
    """The number of the newest entry; 0 = there is none."""
    return int(db.execute("SELECT coalesce(max(id), 0) FROM journal").fetchone()[0])


def after(db: sqlite3.Connection, entry: int, limit: int) -> list[sqlite3.Row]:
    """The entries that followed one, oldest first, as `read` shows them."""
    return db.execute(f"{_ENTRIES} WHERE j.id > ? ORDER BY j.id LIMIT ?", (entry, limit)).fetchall()


def people_named(db: sqlite3.Connection, name: str) -> list[int]:
    """The objects whose entries carry this name (folded): also of people who are long gone."""
    rows = db.execute(
        "SELECT DISTINCT j.n FROM journal j JOIN object o ON o.n = j.n"
        " WHERE j.name = ? AND j.gn = 0 AND o.kind = 'user'",
        (name,),
    )
    return [row[0] for row in rows]


def forget(db: sqlite3.Connection, n: int, mark: str) -> int:
    """Blank the personal values of one person in every entry; how many had some. What was done,
    when and why stays (I12)."""
    db.execute("PRAGMA secure_delete = ON")  # nor shall they stay in pages that are free now
    return db.execute(
        "UPDATE journal SET name = :mark, before = NULL, after = NULL, answer = ''"
        " WHERE n = :n AND (name != :mark OR before IS NOT NULL OR after IS NOT NULL)",
        {"n": n, "mark": mark},
    ).rowcount
