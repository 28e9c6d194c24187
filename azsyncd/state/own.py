"""Groups of a product that stand for no group of Entra: the default groups, and what a group was
called before it moved to another name (`on_rename: new_group`).

Each is an object of a kind of its own, so that links, memberships, holds and the journal speak of
it as of any other group. No crawl ever sweeps it, and no round ever touches it.
"""

from __future__ import annotations

import sqlite3

from azsyncd.model.accounts import fold
from azsyncd.model.identities import ObjectId
from azsyncd.plan.facts import OWN
from azsyncd.state import codec, links

_FOR_EVER = 1 << 62
"""A crawl that never comes."""


def ensure(db: sqlite3.Connection, name: str) -> int:
    """The number of the own group of this name, made if it is new."""
    db.execute(
        "INSERT OR IGNORE INTO object (id, kind, properties, name, crawl)"
        " VALUES (?, 'own', ?, ?, ?)",
        (OWN + fold(name), codec.dump({"displayName": name}), fold(name), _FOR_EVER),
    )
    return int(_number(db, ObjectId(OWN + fold(name))) or 0)


def hand_over(db: sqlite3.Connection, t: int, n: int) -> int | None:
    """A group of Entra's gives up the group that it is linked to: that stands for itself from now
    on. Returns its number; None if there was nothing to give up."""
    row = db.execute(
        "SELECT tg.body FROM link l JOIN target_group tg ON tg.g = l.g WHERE l.t = ? AND l.n = ?",
        (t, n),
    ).fetchone()
    if row is None:
        return None
    m = ensure(db, codec.group_from_dict(codec.load(row["body"])).name)
    links.move(db, t, n, m)
    return m


def take_over(db: sqlite3.Connection, t: int, owner: ObjectId, n: int) -> int | None:
    """A group of Entra's has the group that stands under its name, with all that is ours in it.
    Returns the number of the owner, who has none any more."""
    m = _number(db, owner)
    if m is not None:
        links.move(db, t, m, n)
    return m


def stands(db: sqlite3.Connection, t: int, name: str) -> bool:
    """Whether the own group of this name (folded) stands in the product."""
    row = db.execute(
        "SELECT 1 FROM object o JOIN link l ON l.t = ? AND l.n = o.n AND l.g IS NOT NULL"
        " WHERE o.id = ?",
        (t, OWN + name),
    ).fetchone()
    return row is not None


def _number(db: sqlite3.Connection, id_: ObjectId) -> int | None:
    row = db.execute("SELECT n FROM object WHERE id = ?", (id_,)).fetchone()
    return None if row is None else int(row["n"])


def is_number(db: sqlite3.Connection, n: int) -> bool:
    """Whether this is the number of an own group."""
    sql = "SELECT 1 FROM object WHERE n = ? AND kind = 'own'"
    return db.execute(sql, (n,)).fetchone() is not None
