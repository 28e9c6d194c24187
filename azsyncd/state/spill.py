"""The plan in flight, on disk, so that a plan for 400,000 users needs no memory (decision 5).

Not a queue: it is dropped at start-up and whenever its objects are planned anew.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from azsyncd.model.changes import Change
from azsyncd.plan.policy import GuardClass
from azsyncd.state import codec
from azsyncd.state.holds import Item


@dataclass(frozen=True, slots=True)
class Planned:
    """One change that is planned, with its place. `class_` is what the guard counts it in."""

    seq: int
    item: Item
    class_: str | None
    free: bool
    held: str | None

    @property
    def change(self) -> Change:
        return self.item.change


def clear(db: sqlite3.Connection, t: int) -> None:
    """Drop the plan of a target."""
    db.execute("DELETE FROM planned WHERE t = ?", (t,))


def drop(db: sqlite3.Connection, t: int, numbers: Iterable[int]) -> None:
    """These objects are planned anew."""
    db.executemany("DELETE FROM planned WHERE t = ? AND n = ?", [(t, n) for n in numbers])


def add(
    db: sqlite3.Connection,
    t: int,
    item: Item,
    *,
    class_: str | None,
    free: bool,
    held: str | None,
) -> None:
    """Plan a change. `held`: a withheld reason; it is counted, shown and not sent."""
    change = item.change
    db.execute(
        "INSERT INTO planned (t, phase, rank, gn, n, class, free, held, akey, change, people, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            t,
            int(change.phase),
            change.rank,
            item.gn,
            item.n,
            class_,
            int(free),
            held,
            item.akey,
            change.kind,
            change.people,
            codec.change_text(change),
        ),
    )


def _planned(row: sqlite3.Row) -> Planned:
    item = Item(row["n"], row["gn"], row["akey"], codec.change_of(row["body"]))
    return Planned(row["seq"], item, row["class"], bool(row["free"]), row["held"])


def chunk(db: sqlite3.Connection, t: int, size: int) -> list[Planned]:
    """The next changes that may be sent together: of one phase and rank, in order."""
    first = db.execute(
        "SELECT phase, rank FROM planned WHERE t = ? AND held IS NULL ORDER BY phase, rank LIMIT 1",
        (t,),
    ).fetchone()
    if first is None:
        return []
    rows = db.execute(
        "SELECT * FROM planned WHERE t = ? AND phase = ? AND rank = ? AND held IS NULL"
        " ORDER BY gn, n, seq LIMIT ?",
        (t, first["phase"], first["rank"], size),
    )
    return [_planned(row) for row in rows]


def sent(db: sqlite3.Connection, seqs: Iterable[int], value: bool = True) -> None:
    """These are on their way from now on; or (`value` False) none of them went out."""
    sql = "UPDATE planned SET sent = ? WHERE seq = ?"
    db.executemany(sql, [(int(value), seq) for seq in seqs])


def unanswered(db: sqlite3.Connection, t: int) -> list[Planned]:
    """What was on its way when a turn ended: whether it took effect is not known."""
    found = db.execute(
        "SELECT * FROM planned INDEXED BY planned_sent WHERE t = ? AND sent ORDER BY seq", (t,)
    )
    return [_planned(row) for row in found]


def keep_only(db: sqlite3.Connection, t: int, numbers: Iterable[int]) -> None:
    """Drop what is not about these objects, or about groups that they are to be put into."""
    db.execute(
        "WITH chosen (n) AS (SELECT value FROM json_each(:numbers)),"
        " needed (n) AS (SELECT gn FROM planned WHERE t = :t AND n IN (SELECT n FROM chosen))"
        " DELETE FROM planned WHERE t = :t"
        " AND n NOT IN (SELECT n FROM chosen) AND gn NOT IN (SELECT n FROM chosen)"
        " AND NOT (change IN ('create_group', 'adopt_group') AND n IN (SELECT n FROM needed))",
        {"t": t, "numbers": codec.dump(sorted(numbers))},
    )


def done(db: sqlite3.Connection, seq: int) -> None:
    """A change was sent, or will not be."""
    db.execute("DELETE FROM planned WHERE seq = ?", (seq,))


def counts(db: sqlite3.Connection, t: int) -> dict[str, int]:
    """How many changes are planned and would be sent, by kind."""
    rows = db.execute(
        "SELECT change, count(*) FROM planned WHERE t = ? AND held IS NULL GROUP BY change", (t,)
    )
    return {row[0]: row[1] for row in rows}


def is_held(db: sqlite3.Connection, t: int, n: int) -> bool:
    """Whether what makes somebody's account, or takes one over, is held."""
    sql = (
        "SELECT 1 FROM planned WHERE t = ? AND n = ? AND held IS NOT NULL"
        " AND change IN ('create', 'adopt') LIMIT 1"
    )
    return db.execute(sql, (t, n)).fetchone() is not None


def held_kinds(db: sqlite3.Connection, t: int) -> set[str]:
    """The kinds of the changes that are planned and held."""
    sql = "SELECT DISTINCT change FROM planned WHERE t = ? AND held IS NOT NULL"
    return {row[0] for row in db.execute(sql, (t,))}


def held_counts(db: sqlite3.Connection, t: int) -> dict[str, int]:
    """How many changes are planned and held, by reason."""
    rows = db.execute(
        "SELECT held, count(*) FROM planned WHERE t = ? AND held IS NOT NULL GROUP BY held", (t,)
    )
    return {row[0]: row[1] for row in rows}


def rows(db: sqlite3.Connection, t: int, limit: int | None = None) -> list[Planned]:
    """The plan in the order in which it would be sent."""
    found = db.execute(
        "SELECT * FROM planned WHERE t = ? ORDER BY phase, rank, gn, n, seq LIMIT ?",
        (t, -1 if limit is None else limit),
    )
    return [_planned(row) for row in found]


def last(db: sqlite3.Connection) -> int:
    """The newest change that is planned: what is planned from now on comes after it."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'planned'").fetchone()
    return 0 if row is None else int(row[0])


def of_class(
    db: sqlite3.Connection, t: int, class_: str, gn: int | None, after: int, limit: int
) -> list[Planned]:
    """So many changes of a class (and group), planned after a certain one, on which nobody has
    decided yet."""
    found = db.execute(
        "SELECT * FROM planned WHERE t = ? AND class = ? AND NOT free AND held IS NULL"
        " AND (? IS NULL OR gn = ?) AND seq > ? ORDER BY seq LIMIT ?",
        (t, class_, gn, gn, after, limit),
    )
    return [_planned(row) for row in found]


def outstanding(db: sqlite3.Connection, t: int, upto: int) -> Counter[tuple[str, int]]:
    """What earlier rounds were allowed and have not sent yet, by class and group (0: any): it is as
    good as spent."""
    found: Counter[tuple[str, int]] = Counter()
    rows = db.execute(
        "SELECT class, gn, sum(people) FROM planned WHERE t = ? AND seq <= ? AND class IS NOT NULL"
        " AND NOT free AND held IS NULL GROUP BY class, gn",
        (t, upto),
    )
    for class_, gn, number in rows:
        found[class_, 0] += number
        if class_ == GuardClass.REMOVE_MEMBER and gn:
            found[GuardClass.SHRINK_GROUP.value, gn] += number
    return found


def unheld(db: sqlite3.Connection, t: int, after: int, limit: int) -> list[Planned]:
    """The next changes, in the order in which they were planned, that would be sent."""
    found = db.execute(
        "SELECT * FROM planned WHERE t = ? AND held IS NULL AND seq > ? ORDER BY seq LIMIT ?",
        (t, after, limit),
    )
    return [_planned(row) for row in found]


def of_objects(db: sqlite3.Connection, t: int, numbers: Iterable[int]) -> Iterator[Planned]:
    """What is planned of these objects, held or not."""
    for n in numbers:
        for row in db.execute("SELECT * FROM planned WHERE t = ? AND n = ? ORDER BY seq", (t, n)):
            yield _planned(row)


def let_through(db: sqlite3.Connection, seqs: Iterable[int]) -> None:
    """A person has seen these changes and says: send them. They spend no allowance."""
    sql = "UPDATE planned SET held = NULL, free = 1 WHERE seq = ?"
    db.executemany(sql, [(seq,) for seq in seqs])


def renames(db: sqlite3.Connection, t: int) -> list[Planned]:
    """Every rename that is planned, held or not."""
    found = db.execute("SELECT * FROM planned WHERE t = ? AND change = 'rename' ORDER BY seq", (t,))
    return [_planned(row) for row in found]


def free_all(db: sqlite3.Connection, t: int, but: Iterable[str] = ()) -> None:
    """A person agreed to all that would be sent, `but` for some kinds: it spends no allowance."""
    db.execute(
        "UPDATE planned SET free = 1 WHERE t = ? AND held IS NULL"
        " AND change NOT IN (SELECT value FROM json_each(?))",
        (t, codec.dump(sorted(but))),
    )


def hold_steps(db: sqlite3.Connection, t: int, numbers: Iterable[int], reason: str) -> None:
    """Withhold the detours of renames that are withheld."""
    db.executemany(
        "UPDATE planned SET held = ? WHERE t = ? AND n = ? AND change = 'rename' AND class IS NULL",
        [(reason, t, n) for n in numbers],
    )


def hold(db: sqlite3.Connection, seqs: Iterable[int], reason: str) -> None:
    """Withhold these changes."""
    db.executemany("UPDATE planned SET held = ? WHERE seq = ?", [(reason, seq) for seq in seqs])


def hold_all(db: sqlite3.Connection, t: int, reason: str) -> int:
    """Withhold everything that would be sent; returns how many."""
    return db.execute(
        "UPDATE planned SET held = ? WHERE t = ? AND held IS NULL", (reason, t)
    ).rowcount
