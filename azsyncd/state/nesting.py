"""Groups in groups: as Entra has them, and as a target has them (rule 21, for groups).

A child group is ours as a membership is: if we put it there, or if it was there *and* wanted when
it was first seen. One that we took out and that is there again is somebody else's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from azsyncd.model.identities import ObjectId
from azsyncd.plan.nesting import NestingFacts, Pair

_NAMED = (
    "WITH named (g, id) AS ("
    " SELECT l.g, o.id FROM link l JOIN object o ON o.n = l.n WHERE l.t = :t AND l.g IS NOT NULL"
    " UNION ALL"
    " SELECT tg.g, o.id FROM claim c JOIN target_group tg ON tg.t = c.t AND tg.name = c.key"
    " JOIN object o ON o.n = c.n WHERE c.t = :t AND c.field = 'group'"
    " AND NOT EXISTS (SELECT 1 FROM link l WHERE l.g = tg.g)"
    " AND NOT EXISTS (SELECT 1 FROM link l WHERE l.t = :t AND l.n = c.n AND l.g IS NOT NULL)"
    " AND NOT EXISTS (SELECT 1 FROM claim r WHERE r.t = :t AND r.field = 'group'"
    "  AND r.key = c.key AND r.n != c.n))"
)
"""The target's groups by the objects that they are linked to, or about to be adopted by."""


# What is known ----------------------------------------------------------------------------------


def any_known(db: sqlite3.Connection, t: int) -> bool:
    """Whether any child group was ever seen or made in a target."""
    sql = "SELECT 1 FROM child WHERE p IN (SELECT g FROM target_group WHERE t = ?) LIMIT 1"
    return db.execute(sql, (t,)).fetchone() is not None


def facts_of(
    db: sqlite3.Connection, t: int, groups: Iterable[ObjectId], unsure: Iterable[ObjectId] = ()
) -> NestingFacts:
    """All that deciding about the nesting of these groups needs. `unsure`: groups whose first
    write waits for a person."""
    standing: dict[Pair, bool | None] = {}
    lost: set[Pair] = set()
    rows = db.execute(
        f"{_NAMED} SELECT p.id, c.id, ch.ours, ch.removed, ch.lost FROM child ch"
        " JOIN named p ON p.g = ch.p JOIN named c ON c.g = ch.c",
        {"t": t},
    )
    for above, below, ours, removed, gone in rows:
        if not removed:
            standing[above, below] = None if ours is None else bool(ours)
        elif gone:
            lost.add((above, below))
    refused = db.execute(
        "SELECT p.id, o.id FROM waiting w JOIN object o ON o.n = w.n JOIN object p ON p.n = w.gn"
        " WHERE w.t = ? AND w.change = 'add_child' AND w.attempts > 0"
        " AND w.reason != 'backing_off'",
        (t,),
    )
    unmade = db.execute(
        "SELECT o.id FROM waiting w JOIN object o ON o.n = w.n"
        " WHERE w.t = ? AND w.change IN ('create_group', 'adopt_group') AND w.attempts > 0"
        " AND w.reason != 'backing_off'",
        (t,),
    )
    return NestingFacts(
        asked=set(_asked(db, groups)),
        standing=standing,
        lost=lost,
        refused={(above, below) for above, below in refused},
        unsure={row[0] for row in unmade} | set(unsure),
    )


def _asked(db: sqlite3.Connection, groups: Iterable[ObjectId]) -> Iterable[Pair]:
    for id_ in groups:
        rows = db.execute(
            "SELECT p.id FROM object c JOIN member m ON m.child = c.n JOIN object p"
            " ON p.n = m.parent WHERE c.id = ? AND c.kind = 'group' AND c.presence = 'present'"
            " AND p.presence = 'present' AND p.n != c.n",
            (id_,),
        )
        for row in rows:
            yield ObjectId(row[0]), id_


def touched_since(db: sqlite3.Connection, since: int) -> set[int]:
    """The groups that went into another one, or out of it, since a revision."""
    rows = db.execute(
        "SELECT a.n FROM affected a JOIN object o ON o.n = a.n"
        " WHERE a.revision > ? AND o.kind = 'group'",
        (since,),
    )
    return {row[0] for row in rows}


def people_below(db: sqlite3.Connection, t: int, group: ObjectId) -> int:
    """How many accounts stand in the target's group of an object, or in those below it."""
    row = db.execute(
        "WITH RECURSIVE down (g) AS ("
        " SELECT l.g FROM link l JOIN object o ON o.n = l.n"
        "  WHERE l.t = ? AND o.id = ? AND l.g IS NOT NULL"
        " UNION SELECT ch.c FROM down JOIN child ch ON ch.p = down.g AND NOT ch.removed)"
        " SELECT count(DISTINCT e.a) FROM down JOIN edge e ON e.g = down.g AND NOT e.removed",
        (t, group),
    ).fetchone()
    return int(row[0])


# What was done and seen -------------------------------------------------------------------------


def judge(db: sqlite3.Connection, t: int, judged: Mapping[Pair, bool]) -> None:
    """Settle whose these are; what was settled before stays."""
    named = {row[1]: row[0] for row in db.execute(f"{_NAMED} SELECT g, id FROM named", {"t": t})}
    db.executemany(
        "UPDATE child SET ours = ? WHERE p = ? AND c = ? AND ours IS NULL",
        [(int(ours), named[above], named[below]) for (above, below), ours in judged.items()],
    )


def added(db: sqlite3.Connection, p: int, c: int) -> None:
    """We put a group into a group."""
    db.execute(
        "INSERT INTO child (p, c, ours) VALUES (?, ?, 1)"
        " ON CONFLICT (p, c) DO UPDATE SET ours = 1, removed = 0, lost = 0",
        (p, c),
    )


def removed(db: sqlite3.Connection, t: int, p: int, c: int, now: float) -> None:
    """We took it out again; the row stays until an inventory confirms it. What was a ring with it
    is none any more."""
    db.execute("UPDATE child SET removed = 1, lost = 0 WHERE p = ? AND c = ?", (p, c))
    db.execute(
        "UPDATE waiting SET retry_at = ? WHERE t = ? AND change = 'add_child'"
        " AND reason = 'unsupported' AND attempts = 0",
        (now, t),
    )


def stands(db: sqlite3.Connection, p: int | None, c: int | None) -> str | None:
    """`ours` or `foreign` if a group is shown as a child of a group, None if not."""
    row = db.execute(
        "SELECT ours FROM child WHERE p IS ? AND c IS ? AND NOT removed", (p, c)
    ).fetchone()
    return None if row is None else "ours" if row["ours"] else "foreign"


def put_children(
    db: sqlite3.Connection, t: int, above: str, children: Sequence[str], inventory: int
) -> None:
    """Note these child groups of a group, by key, as all that this inventory has seen in it."""
    row = db.execute("SELECT g FROM target_group WHERE t = ? AND key = ?", (t, above)).fetchone()
    if row is None:
        return
    db.executemany(
        "INSERT INTO child (p, c, inventory)"
        " SELECT ?, g, ? FROM target_group WHERE t = ? AND key = ?"
        " ON CONFLICT (p, c) DO UPDATE SET inventory = excluded.inventory,"
        " ours = iif(removed AND NOT lost, 0, ours), removed = 0, lost = 0",
        [(row["g"], inventory, t, child) for child in children],
    )
    gone = (row["g"], inventory)
    db.execute(
        "DELETE FROM child WHERE p = ? AND inventory < ?"
        " AND (ours IS NOT 1 OR (removed AND NOT lost))",
        gone,
    )
    db.execute(
        "UPDATE child SET removed = 1, lost = 1 WHERE p = ? AND inventory < ? AND NOT removed",
        gone,
    )


# Who depends on it ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ways:
    """By which ways people are in the groups of a target: the groups that stand in groups, now and
    without those that are about to be taken out."""

    now: Mapping[int, frozenset[int]]  # by the group below: those above
    later: Mapping[int, frozenset[int]]

    def without(self, g: int) -> Ways:
        """The same where a group is about to be gone: it leads nowhere."""
        return Ways(self.now, {c: above for c, above in self.later.items() if c != g})


def ways(db: sqlite3.Connection, t: int) -> Ways:
    """As the state knows them, and the plan that is being sent would leave them."""
    rows = db.execute(
        "SELECT u.g, d.g FROM planned pl JOIN link u ON u.t = pl.t AND u.n = pl.gn"
        " JOIN link d ON d.t = pl.t AND d.n = pl.n"
        " WHERE pl.t = ? AND pl.change = 'remove_child' AND pl.held IS NULL",
        (t,),
    )
    going = {(p, c) for p, c in rows}
    rows = db.execute(
        "SELECT ch.p, ch.c FROM child ch JOIN target_group tg ON tg.g = ch.p"
        " WHERE tg.t = ? AND NOT ch.removed",
        (t,),
    )
    now: dict[int, set[int]] = {}
    later: dict[int, set[int]] = {}
    for p, c in rows:
        now.setdefault(c, set()).add(p)
        if (p, c) not in going:
            later.setdefault(c, set()).add(p)
    return Ways(_frozen(now), _frozen(later))


def loses(
    db: sqlite3.Connection, t: int, n: int, a: int, by: Ways, g: int | None = None
) -> set[int]:
    """The target's groups that somebody would not be in any more, directly or through others, if
    all went that is planned to go, and her membership in `g`."""
    hers = {row["g"] for row in db.execute("SELECT g FROM edge WHERE a = ? AND NOT removed", (a,))}
    going = {
        row["g"]
        for row in db.execute(
            "SELECT l.g FROM planned pl JOIN link l ON l.t = pl.t AND l.n = pl.gn"
            " WHERE pl.t = ? AND pl.n = ? AND pl.change = 'remove_member' AND pl.held IS NULL",
            (t, n),
        )
    }
    return _up(by.now, hers) - _up(by.later, hers - going - {g})


def dependents(db: sqlite3.Connection, c: int) -> list[tuple[int, int]]:
    """(user, account) of everybody synced who stands in a group of the target, or below it."""
    rows = db.execute(
        "WITH RECURSIVE down (g) AS (SELECT ? UNION"
        " SELECT ch.c FROM down JOIN child ch ON ch.p = down.g AND NOT ch.removed)"
        " SELECT DISTINCT l.n, e.a FROM down JOIN edge e ON e.g = down.g AND NOT e.removed"
        " JOIN link l ON l.a = e.a WHERE l.left_at IS NULL ORDER BY l.n",
        (c,),
    )
    return [(row[0], row[1]) for row in rows]


def linked_to(db: sqlite3.Connection, groups: Iterable[int]) -> set[ObjectId]:
    """The objects that these groups of a target are linked to."""
    found = set()
    for g in groups:
        row = db.execute(
            "SELECT o.id FROM link l JOIN object o ON o.n = l.n WHERE l.g = ?", (g,)
        ).fetchone()
        if row is not None:
            found.add(ObjectId(row["id"]))
    return found


def _up(above_: Mapping[int, frozenset[int]], start: Iterable[int]) -> set[int]:
    seen: set[int] = set()
    todo = list(start)
    while todo:
        here = todo.pop()
        if here not in seen:
            seen.add(here)
            todo.extend(above_.get(here, ()))
    return seen


def _frozen(graph: Mapping[int, set[int]]) -> dict[int, frozenset[int]]:
    return {key: frozenset(values) for key, values in graph.items()}
