"""What Entra says: users, groups and direct memberships, as of the last closed round (folding.py).

What changed is remembered by revision, in two ways: `object.touched` for the object itself, and
`affected` for "everything at or below this one may be in other groups now". From these two a
target computes its slice, however far behind it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from azsyncd.model.identities import (
    MANAGER,
    Group,
    MemberKind,
    MemberSeen,
    ObjectId,
    Presence,
    User,
)
from azsyncd.state import codec
from azsyncd.state.staging import CRAWL, crawl_number, cursors
from azsyncd.state.store import get_meta, set_meta

RESTORED, NEW = 1, 2
"""Whose groups are to be asked for: a user who was gone; or a user or group that nobody knew, which
may have been gone before the first crawl, and of which Graph announces no membership either.
https://learn.microsoft.com/en-us/graph/delta-query-groups"""

_MOST_ASKED = 200

ManagersOf = Mapping[ObjectId, ObjectId | None]
"""Each user's manager, None for nobody."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How much a crawl saw."""

    users: int
    groups: int
    edges: int
    bare: int = 0


def revision(db: sqlite3.Connection) -> int:
    """The mirror's revision: it advances when a pass changed something."""
    return int(get_meta(db, "revision", 0))


def has_proof(db: sqlite3.Connection) -> bool:
    """Whether all memberships are known: a complete crawl was accepted, and no round after it came
    without its words. Before that nothing is removed anywhere: she may be in a group in another
    way, too."""
    return get_meta(db, "crawl_accepted") is not None and not get_meta(db, "gaps", 0)


def verify(
    db: sqlite3.Connection,
    n: int,
    groups: Iterable[ObjectId],
    members: Iterable[MemberSeen] = (),
) -> None:
    """These are the object's direct groups, and a new group's members (rule 6). For a crawl that is
    being read this counts as what a round brings: it is newer than the crawl's pages. Of a new
    object nothing is taken away by it: what a round has brought may be newer than the answer."""
    wanted = {m for id_ in groups if (m := number_of(db, id_)) is not None}
    rows = db.execute(  # groups that are gone are not listed, and may be restored themselves
        "SELECT m.parent FROM member m JOIN object o ON o.n = m.parent"
        " WHERE m.child = ? AND o.presence = 'present'",
        (n,),
    )
    have = {int(row["parent"]) for row in rows}
    below = {
        m
        for each in members
        if each.kind is not MemberKind.OTHER and (m := number_of(db, each.id)) is not None
    }
    row = db.execute("SELECT kind, unverified FROM object WHERE n = ?", (n,)).fetchone()
    db.execute("UPDATE object SET unverified = 0 WHERE n = ?", (n,))
    if row["unverified"] == NEW:
        if wanted <= have and not below:
            return
        wanted |= have
    left = [(p, n) for p in have - wanted]
    found = [*((p, n) for p in wanted), *((n, m) for m in below)]
    crawling = bool(cursors(db, CRAWL))
    crawl = crawl_number(db) if crawling else int(get_meta(db, "crawl", 0))
    db.executemany("DELETE FROM member WHERE parent = ? AND child = ?", left)
    db.executemany(
        "INSERT INTO member VALUES (?, ?, ?)"
        " ON CONFLICT (parent, child) DO UPDATE SET crawl = max(crawl, excluded.crawl)",
        [(*pair, crawl) for pair in found],
    )
    if crawling:
        db.executemany("INSERT OR IGNORE INTO member_gone VALUES (?, ?)", left)
        db.executemany("DELETE FROM member_gone WHERE parent = ? AND child = ?", found)
    at_revision = revision(db) + 1
    db.execute("UPDATE object SET touched = ? WHERE n = ?", (at_revision, n))
    if row["kind"] == "group":
        db.execute("INSERT OR IGNORE INTO affected VALUES (?, ?)", (at_revision, n))
    set_meta(db, "revision", at_revision)


def unverified(db: sqlite3.Connection) -> list[tuple[int, ObjectId, str]]:
    """Whose groups are to be asked for, with their feed: the restored ones first, not too many at
    once."""
    rows = db.execute(
        "SELECT n, id, kind FROM object WHERE unverified AND presence = 'present'"
        " ORDER BY unverified, n LIMIT ?",
        (_MOST_ASKED,),
    )
    return [(row["n"], row["id"], f"{row['kind']}s") for row in rows]


def fills(db: sqlite3.Connection, n: int) -> bool:
    """Whether any member of a group is known."""
    return db.execute("SELECT 1 FROM member WHERE parent = ? LIMIT 1", (n,)).fetchone() is not None


def give_up_verifying(db: sqlite3.Connection, n: int | None = None) -> None:
    """Entra refuses to say. Of a new object, or of all of them, that is hardly a loss: few have
    been there before, and the next crawl shows their groups."""
    sql = "UPDATE object SET unverified = 0 WHERE unverified = :new AND (:n IS NULL OR n = :n)"
    db.execute(sql, {"new": NEW, "n": n})


def is_verified(row: sqlite3.Row) -> bool:
    """Whether what is known of a user's groups may take something away from her."""
    return bool(row["unverified"] != RESTORED)


def set_manager(db: sqlite3.Connection, n: int, manager: int) -> bool:
    """A user's manager by its number, 0 for nobody; returns whether that is news. Nobody is shown
    while the manager is soft-deleted, who may be restored: she stays known until somebody else is.
    """
    row = db.execute(
        "SELECT o.manager, m.presence FROM object o LEFT JOIN object m ON m.n = o.manager"
        " WHERE o.n = ?",
        (n,),
    ).fetchone()
    if not manager and row["presence"] == Presence.SOFT_DELETED:
        manager = row["manager"]
    db.execute("UPDATE object SET manager = ?, manager_due = 0 WHERE n = ?", (manager, n))
    return bool(row["manager"] != manager)


def owe_manager(db: sqlite3.Connection, n: int) -> None:
    """A user's manager is to be asked for."""
    db.execute("UPDATE object SET manager_due = 1 WHERE n = ?", (n,))


def owe_unread_managers(db: sqlite3.Connection) -> None:
    """Those of whoever is there and was in no listing are to be asked for."""
    db.execute(
        "UPDATE object SET manager_due = 1 WHERE kind = 'user' AND presence = 'present'"
        " AND properties IS NOT NULL AND manager IS NULL"
    )


def owe_reports(db: sqlite3.Connection, n: int) -> None:
    """Those of whoever has this manager are. (`manager > 0` is what the index is for.)"""
    db.execute("UPDATE object SET manager_due = 1 WHERE manager = ? AND manager > 0", (n,))


def forget_managers(db: sqlite3.Connection) -> None:
    """Nobody looks at managers any more: what is known of them would grow old."""
    db.execute(
        "UPDATE object SET manager = NULL, manager_due = 0 WHERE manager IS NOT NULL OR manager_due"
    )


def end_ghosts(db: sqlite3.Connection, crawl: int, at_revision: int) -> int:
    """Managers of whom no complete crawl has shown more than the id are nobody's: else their
    reports would be undecided for ever. Members of a group may still come. Returns how many."""
    cursor = db.execute(
        "UPDATE object SET presence = 'purged', touched = ? WHERE properties IS NULL"
        " AND kind = 'user' AND presence = 'present' AND crawl < ?"
        " AND n IN (SELECT manager FROM object WHERE manager > 0)"
        " AND NOT EXISTS (SELECT 1 FROM member WHERE child = n)",
        (at_revision, crawl),
    )
    return cursor.rowcount


def managers_due(db: sqlite3.Connection, before: int | None = None) -> list[tuple[int, ObjectId]]:
    """Whose managers are to be asked for, the newest first, not too many at once. `before`: those
    after this one alone."""
    rows = db.execute(
        "SELECT n, id FROM object WHERE manager_due AND presence = 'present'"
        " AND n < coalesce(?, 1 << 62) ORDER BY n DESC LIMIT ?",
        (before, _MOST_ASKED),
    )
    return [(row["n"], row["id"]) for row in rows]


def answer_managers(
    db: sqlite3.Connection, asked: Iterable[tuple[int, ObjectId]], answers: ManagersOf
) -> None:
    """These are their managers, as Entra says when asked. Whoever is left out stays due."""
    at_revision = revision(db) + 1
    changed = []
    for n, id_ in asked:
        if id_ not in answers:
            continue
        manager = answers[id_]
        if manager is not None:  # a round may not have brought her yet
            db.execute("INSERT OR IGNORE INTO object (id, kind) VALUES (?, 'user')", (manager,))
        if set_manager(db, n, (manager and number_of(db, manager)) or 0):
            changed.append((at_revision, n))
    if changed:
        db.executemany("UPDATE object SET touched = ? WHERE n = ?", changed)
        set_meta(db, "revision", at_revision)


def touch_reports(db: sqlite3.Connection, at_revision: int) -> None:
    """What is said of a user may depend on the user who is her manager."""
    db.execute(
        "UPDATE object SET touched = :revision WHERE manager > 0 AND touched != :revision"
        " AND manager IN (SELECT n FROM object WHERE touched = :revision AND kind = 'user')",
        {"revision": at_revision},
    )


# Reading ----------------------------------------------------------------------------------------


def user_of(db: sqlite3.Connection, row: sqlite3.Row) -> User:
    """A user from her row. Her manager is among her properties if that was read: the properties of
    one who is there, None for nobody."""
    properties = codec.load(row["properties"]) if row["properties"] else {}
    if properties and row["manager"] is not None:
        properties[MANAGER] = _manager_at(db, row["manager"])
    return User(
        id=row["id"],
        properties=properties,
        presence=Presence(row["presence"]),
        since=row["since"],
    )


def _manager_at(db: sqlite3.Connection, n: int) -> dict[str, object] | None:
    row = db.execute(
        "SELECT id, properties FROM object WHERE n = ? AND presence = 'present'", (n,)
    ).fetchone()
    if row is None:
        return None
    return {**(codec.load(row["properties"]) if row["properties"] else {}), "id": row["id"]}


def group_of(row: sqlite3.Row) -> Group:
    """A group from its row."""
    return Group(
        id=row["id"],
        properties=codec.load(row["properties"]) if row["properties"] else {},
        presence=Presence(row["presence"]),
        since=row["since"],
    )


def number_of(db: sqlite3.Connection, id_: str) -> int | None:
    """The database's own number of an object."""
    row = db.execute("SELECT n FROM object WHERE id = ?", (id_,)).fetchone()
    return None if row is None else int(row["n"])


def groups_above(db: sqlite3.Connection, n: int) -> tuple[set[ObjectId], set[ObjectId]]:
    """The groups that an object is a member of: (directly, at any depth). Cycles end themselves;
    a group that is gone passes nothing on."""
    rows = db.execute(
        "WITH RECURSIVE up (n, id) AS ("
        " SELECT m.parent, o.id FROM member m JOIN object o ON o.n = m.parent"
        "  WHERE m.child = :n AND o.presence = 'present'"
        " UNION"
        " SELECT m.parent, o.id FROM up JOIN member m ON m.child = up.n"
        "  JOIN object o ON o.n = m.parent WHERE o.presence = 'present')"
        " SELECT id, EXISTS (SELECT 1 FROM member WHERE parent = up.n AND child = :n) FROM up",
        {"n": n},
    ).fetchall()
    return {row[0] for row in rows if row[1]}, {row[0] for row in rows}


def users_below(db: sqlite3.Connection, numbers: Iterable[int]) -> Iterator[int]:
    """The users at or below these objects, whether or not groups in between are gone: what is
    planned again may be too much, never too little."""
    db.execute("CREATE TEMP TABLE IF NOT EXISTS below_seed (n INTEGER PRIMARY KEY)")
    db.execute("DELETE FROM below_seed")
    db.executemany("INSERT OR IGNORE INTO below_seed VALUES (?)", ((n,) for n in numbers))
    rows = db.execute(
        "WITH RECURSIVE down (n) AS ("
        " SELECT n FROM below_seed UNION"
        " SELECT m.child FROM down CROSS JOIN member m ON m.parent = down.n)"
        " SELECT down.n FROM down CROSS JOIN object o ON o.n = down.n WHERE o.kind = 'user'"
    ).fetchall()
    return (row[0] for row in rows)


def touched_since(db: sqlite3.Connection, since: int) -> tuple[list[int], list[int], list[int]]:
    """(users, groups, heads): what changed itself, and whatever has changed above its members."""
    rows = db.execute("SELECT n, kind FROM object WHERE touched > ?", (since,)).fetchall()
    heads = [r["n"] for r in db.execute("SELECT n FROM affected WHERE revision > ?", (since,))]
    users = [row["n"] for row in rows if row["kind"] == "user"]
    return users, [row["n"] for row in rows if row["kind"] == "group"], heads


def prune_affected(db: sqlite3.Connection, upto: int) -> None:
    """Every target has reached this revision."""
    db.execute("DELETE FROM affected WHERE revision <= ?", (upto,))


def sizes(db: sqlite3.Connection) -> Counts:
    """What the mirror holds now."""
    rows = dict(
        db.execute(
            "SELECT kind, count(*) FROM object WHERE presence = 'present'"
            " AND properties IS NOT NULL GROUP BY kind"
        ).fetchall()
    )
    edges = db.execute("SELECT count(*) FROM member").fetchone()[0]
    return Counts(rows.get("user", 0), rows.get("group", 0), int(edges))
