"""Which account is whose: links, and the ownership of memberships."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping

from azsyncd.model.accounts import Account, TargetGroup
from azsyncd.model.identities import ObjectId
from azsyncd.model.links import AccountLink, Edge, GroupLink, LinkState, Origin
from azsyncd.plan.facts import OWN
from azsyncd.state import codec, scopes, waiting


def account_link(row: sqlite3.Row, object_id: ObjectId, key: str | None) -> AccountLink:
    """A link from its row."""
    return AccountLink(
        object_id=object_id,
        origin=Origin(row["origin"]),
        state=LinkState(row["state"]),
        key=key,
        sent=codec.account_of(row["sent"]),
        written=codec.account_of(row["written"]),
        deactivated=bool(row["deactivated"]),
        left_at=row["left_at"],
        stripped=tuple(codec.load(row["stripped"])) if row["stripped"] else (),
    )


def group_link(row: sqlite3.Row, object_id: ObjectId, standing: TargetGroup | None) -> GroupLink:
    """A group's link from its row."""
    return GroupLink(
        object_id=object_id,
        origin=Origin(row["origin"]),
        state=LinkState(row["state"]),
        key=standing.key if standing else None,
        sent=codec.group_of(row["sent"]),
        name=standing.name if standing else "",
    )


def get(db: sqlite3.Connection, t: int, n: int) -> sqlite3.Row | None:
    """The link of an object."""
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM link WHERE t = ? AND n = ?", (t, n)
    ).fetchone()
    return row


def any_settled(db: sqlite3.Connection, t: int) -> bool:
    """Whether anything in this target is linked."""
    sql = "SELECT 1 FROM link WHERE t = ? AND state != 'pending' LIMIT 1"
    return db.execute(sql, (t,)).fetchone() is not None


def latest_left(db: sqlite3.Connection, t: int) -> float:
    """When somebody was last seen to leave: it is later now, whatever the clock says (I11)."""
    row = db.execute("SELECT max(left_at) FROM link WHERE t = ?", (t,)).fetchone()
    return float(row[0] or 0.0)


def owner_of(db: sqlite3.Connection, t: int, key: str | None) -> ObjectId | None:
    """Whose account it is."""
    row = db.execute(
        "SELECT o.id FROM account ac JOIN link l ON l.a = ac.a JOIN object o ON o.n = l.n"
        " WHERE ac.t = ? AND ac.key = ?",
        (t, key),
    ).fetchone()
    return None if row is None else row["id"]


def begin_create(db: sqlite3.Connection, t: int, n: int, sent: str) -> None:
    """Before a create is sent: "we may have made this" (rule 18). A link that was missing keeps
    its origin and is pending again."""
    db.execute(
        "INSERT INTO link (t, n, origin, state, sent) VALUES (?, ?, 'created', 'pending', ?)"
        " ON CONFLICT (t, n) DO UPDATE SET state = 'pending', sent = excluded.sent,"
        " a = NULL, g = NULL",
        (t, n, sent),
    )


def drop(db: sqlite3.Connection, t: int, n: int) -> None:
    """The link ends: a definite refusal of a create, a confirmed delete, unlink, rebind. What was
    ours of a group is nobody's now: it is judged again if the group is taken over again."""
    db.execute(
        "DELETE FROM edge WHERE lost AND g IN (SELECT g FROM link WHERE t = ? AND n = ?)", (t, n)
    )
    db.execute(
        "UPDATE edge SET ours = NULL WHERE g IN"
        " (SELECT g FROM link WHERE t = ? AND n = ? AND g IS NOT NULL)",
        (t, n),
    )
    db.execute(
        "DELETE FROM child WHERE lost AND (SELECT g FROM link WHERE t = ? AND n = ?) IN (p, c)",
        (t, n),
    )
    db.execute(
        "UPDATE child SET ours = NULL WHERE (SELECT g FROM link WHERE t = ? AND n = ?) IN (p, c)",
        (t, n),
    )
    db.execute("DELETE FROM link WHERE t = ? AND n = ?", (t, n))


def move(db: sqlite3.Connection, t: int, n: int, m: int) -> None:
    """The link of one object is another's now; whose each membership is stays as it is. What was
    taken out of the product's group in the guard's window goes with it, and what people were asked
    about it, or about what the other one had, was asked about another group (rule 38)."""
    db.execute("DELETE FROM link WHERE t = ? AND n = ?", (t, m))
    db.execute("UPDATE link SET n = ? WHERE t = ? AND n = ?", (m, t, n))
    db.execute("DELETE FROM spent WHERE t = ? AND class = 'shrink_group' AND gn = ?", (t, m))
    db.execute(
        "UPDATE spent SET gn = ? WHERE t = ? AND class = 'shrink_group' AND gn = ?", (m, t, n)
    )
    db.execute(
        "DELETE FROM hold_item WHERE gn IN (?, ?) AND hold IN (SELECT id FROM hold WHERE t = ?)",
        (n, m, t),
    )


def settle_account(
    db: sqlite3.Connection, t: int, n: int, a: int, origin: Origin, written: Account
) -> None:
    """The object has this account now. Nobody else can have it: the index says so. A link that
    was there before keeps its origin; whose account was made again has not left any more. Who
    takes an account over (rule 23) inherits that it was us who made it, and who deactivated it,
    and is looked at once more: the old owner's plan may have come between."""
    heritage = db.execute(
        "SELECT origin, deactivated FROM link WHERE a = ? AND n != ?", (a, n)
    ).fetchone()
    if heritage is not None:  # what the old owner waited with is nobody's
        db.execute(
            "DELETE FROM waiting WHERE t = ? AND n IN (SELECT n FROM link WHERE a = ? AND n != ?)",
            (t, a, n),
        )
    db.execute("DELETE FROM link WHERE a = ? AND n != ?", (a, n))
    db.execute(
        "INSERT INTO link (t, n, a, origin, state, written, deactivated)"
        " VALUES (?, ?, ?, ?, 'live', ?, ?)"
        " ON CONFLICT (t, n) DO UPDATE SET a = excluded.a, state = 'live', sent = NULL,"
        " written = excluded.written, deactivated = CASE WHEN link.a IS excluded.a"
        "  THEN link.deactivated ELSE excluded.deactivated END,"
        " left_at = CASE WHEN link.state != 'pending' THEN link.left_at END,"
        " stripped = CASE WHEN link.state != 'pending' THEN link.stripped END",
        (
            t,
            n,
            a,
            origin if heritage is None else heritage["origin"],
            codec.account_text(written),
            0 if heritage is None else heritage["deactivated"],
        ),
    )
    if heritage is not None:
        waiting.make_due(db, t, n, 0.0)
    waiting.wake(db, t, n)


def settle_group(
    db: sqlite3.Connection,
    t: int,
    n: int,
    g: int,
    origin: Origin,
    now: float,
    *,
    anew: bool = False,
) -> None:
    """The object has this group now, and nobody else, with all in it that is ours: whoever is in it
    is looked at again if another one had it, or if that was read only now (`anew`)."""
    last = db.execute("DELETE FROM link WHERE g = ? AND n != ? RETURNING n", (g, n)).fetchall()
    db.execute(
        "INSERT INTO link (t, n, g, origin, state) VALUES (?, ?, ?, ?, 'live')"
        " ON CONFLICT (t, n) DO UPDATE SET g = excluded.g, state = 'live', sent = NULL",
        (t, n, g, origin),
    )
    for name in scopes.forget_moves(db, t, n):  # what it left is not needed any more
        row = db.execute("SELECT n FROM object WHERE id = ?", (OWN + name,)).fetchone()
        if row is not None:
            waiting.look_again(db, t, row["n"], now)
    if last or anew:
        for each in {n, *(row["n"] for row in last), *holders(db, t, n)}:
            waiting.look_again(db, t, each, now)
    waiting.wake_members(db, t, n)


def written(db: sqlite3.Connection, t: int, n: int, account: Account) -> None:
    """The baseline's written side."""
    db.execute(
        "UPDATE link SET written = ?, state = 'live' WHERE t = ? AND n = ?",
        (codec.account_text(account), t, n),
    )


def deactivated(db: sqlite3.Connection, t: int, n: int, value: bool) -> None:
    """Remember whether it was us who deactivated (rule 22)."""
    db.execute("UPDATE link SET deactivated = ? WHERE t = ? AND n = ?", (int(value), t, n))


def missing(db: sqlite3.Connection, t: int, n: int) -> None:
    """Not found once: a second read by id decides (rule 19)."""
    db.execute("UPDATE link SET state = 'missing' WHERE t = ? AND n = ? AND state = 'live'", (t, n))


def unseen(db: sqlite3.Connection, t: int, inventory: int) -> list[Account]:
    """The linked accounts that this inventory has not shown so far, the longest unseen first."""
    rows = db.execute(
        "SELECT ac.body FROM link l JOIN account ac ON ac.a = l.a"
        " WHERE l.t = ? AND ac.inventory < ? ORDER BY ac.inventory, ac.a",
        (t, inventory),
    )
    return [codec.account_from_dict(codec.load(row["body"])) for row in rows]


def unseen_groups(db: sqlite3.Connection, t: int, inventory: int) -> list[TargetGroup]:
    """The linked groups that this inventory has not shown so far."""
    rows = db.execute(
        "SELECT tg.body FROM link l JOIN target_group tg ON tg.g = l.g"
        " WHERE l.t = ? AND tg.inventory < ? ORDER BY tg.g",
        (t, inventory),
    )
    return [codec.group_from_dict(codec.load(row["body"])) for row in rows]


def lost_accounts(db: sqlite3.Connection, t: int) -> list[tuple[int, ObjectId, Account]]:
    """(object, id, what we last knew) of every account that we lost sight of."""
    rows = db.execute(
        "SELECT l.n, o.id, l.written FROM link l JOIN object o ON o.n = l.n"
        " WHERE l.t = ? AND l.state = 'missing' AND l.a IS NULL AND l.written IS NOT NULL",
        (t,),
    ).fetchall()
    return [(r["n"], r["id"], codec.account_from_dict(codec.load(r["written"]))) for r in rows]


def found(db: sqlite3.Connection, t: int, n: int, a: int) -> None:
    """What we lost sight of stands there: all that was known of the link holds still."""
    db.execute("UPDATE link SET a = ?, state = 'live' WHERE t = ? AND n = ?", (a, t, n))


def leaver(
    db: sqlite3.Connection,
    t: int,
    n: int,
    left_at: float | None,
    stripped: Iterable[ObjectId] | None,
) -> None:
    """Since when the owner is a leaver (None: she is none), and what was stripped."""
    db.execute(
        "UPDATE link SET left_at = CASE WHEN ? IS NULL THEN NULL ELSE coalesce(left_at, ?) END"
        " WHERE t = ? AND n = ?",
        (left_at, left_at, t, n),
    )
    if stripped is not None:
        db.execute(
            "UPDATE link SET stripped = ? WHERE t = ? AND n = ?",
            (codec.dump(list(stripped)), t, n),
        )


def pending(db: sqlite3.Connection, t: int) -> list[tuple[int, ObjectId, str, str]]:
    """(object, id, kind, sent) of every link that waits to be settled."""
    rows = db.execute(
        "SELECT l.n, o.id, o.kind, l.sent FROM link l INDEXED BY link_pending"
        " JOIN object o ON o.n = l.n"
        " WHERE l.t = ? AND l.state = 'pending' ORDER BY l.n",
        (t,),
    )
    return [(row["n"], row["id"], row["kind"], row["sent"]) for row in rows]


# Memberships ------------------------------------------------------------------------------------


def edges_of(db: sqlite3.Connection, t: int, a: int) -> dict[ObjectId, Edge]:
    """The memberships of an account in groups that are linked, or that a wanted name of one
    object alone would adopt, by the object of the group."""
    rows = db.execute(
        "SELECT o.id, e.ours, e.inherited, e.unsure FROM edge e"
        " JOIN link l ON l.g = e.g JOIN object o ON o.n = l.n"
        " WHERE e.a = :a AND NOT e.removed"
        " UNION ALL"
        " SELECT o.id, e.ours, e.inherited, e.unsure FROM edge e"
        " JOIN target_group tg ON tg.g = e.g"
        " JOIN claim c ON c.t = :t AND c.field = 'group' AND c.key = tg.name"
        " JOIN object o ON o.n = c.n"
        " WHERE e.a = :a AND NOT e.removed"
        " AND NOT EXISTS (SELECT 1 FROM link l WHERE l.g = e.g)"
        " AND NOT EXISTS (SELECT 1 FROM link l WHERE l.t = :t AND l.n = c.n AND l.g IS NOT NULL)"
        " AND NOT EXISTS (SELECT 1 FROM claim r WHERE r.t = :t AND r.field = 'group'"
        "  AND r.key = c.key AND r.n != c.n)",
        {"a": a, "t": t},
    )
    return {
        id_: Edge(id_, None if ours is None else bool(ours), bool(inherited), bool(unsure))
        for id_, ours, inherited, unsure in rows
    }


def group_name(db: sqlite3.Connection, g: int) -> str:
    """The name of a target's group, folded."""
    return str(db.execute("SELECT name FROM target_group WHERE g = ?", (g,)).fetchone()["name"])


def group_number(db: sqlite3.Connection, t: int, group_id: ObjectId) -> int | None:
    """The target's group behind a group of Entra: linked, or about to be adopted by name."""
    row = db.execute(
        "SELECT l.g FROM link l JOIN object o ON o.n = l.n"
        " WHERE l.t = ? AND o.id = ? AND l.g IS NOT NULL",
        (t, group_id),
    ).fetchone()
    if row is None:
        row = db.execute(
            "SELECT tg.g FROM object o JOIN claim c ON c.t = :t AND c.field = 'group'"
            " AND c.n = o.n JOIN target_group tg ON tg.t = :t AND tg.name = c.key"
            " WHERE o.id = :id",
            {"t": t, "id": group_id},
        ).fetchone()
    return None if row is None else int(row[0])


def judge_edges(db: sqlite3.Connection, t: int, a: int, judged: Mapping[ObjectId, bool]) -> None:
    """Settle whose these memberships are; what was settled before stays."""
    for group_id, ours in judged.items():
        g = group_number(db, t, group_id)
        if g is not None:
            db.execute(
                "UPDATE edge SET ours = ? WHERE g = ? AND a = ? AND ours IS NULL", (int(ours), g, a)
            )


def edge_stands(db: sqlite3.Connection, g: int | None, a: int | None) -> str | None:
    """`ours` or `foreign` if an account is shown as a direct member of a group, None if not."""
    row = db.execute(
        "SELECT ours FROM edge WHERE g IS ? AND a IS ? AND NOT removed", (g, a)
    ).fetchone()
    return None if row is None else "ours" if row["ours"] else "foreign"


def let_go_edges(db: sqlite3.Connection, a: int) -> None:
    """The memberships of an account are nobody's of ours any more."""
    db.execute("UPDATE edge SET ours = 0 WHERE a = ? AND ours = 1", (a,))


def edge_added(db: sqlite3.Connection, g: int, a: int) -> None:
    """We put an account into a group."""
    db.execute(
        "INSERT INTO edge (g, a, ours) VALUES (?, ?, 1)"
        " ON CONFLICT (g, a) DO UPDATE SET ours = 1, removed = 0, lost = 0, unsure = 0",
        (g, a),
    )


def edge_unsure(db: sqlite3.Connection, g: int, a: int, *, added: bool) -> None:
    """The answer to a write of this membership was lost: it counts as standing for whoever does
    not want it, and as absent for whoever does. If we added it, it is ours."""
    if added:
        db.execute(
            "INSERT INTO edge (g, a, ours, unsure) VALUES (?, ?, 1, 1)"
            " ON CONFLICT (g, a) DO UPDATE SET unsure = 1, removed = 0, lost = 0,"
            " ours = iif(removed OR ours IS NULL, 1, ours)",
            (g, a),
        )
    else:
        db.execute("UPDATE edge SET unsure = 1 WHERE g = ? AND a = ? AND NOT removed", (g, a))


def edges_unsure(db: sqlite3.Connection, a: int) -> None:
    """The same of all memberships of an account."""
    db.execute("UPDATE edge SET unsure = 1 WHERE a = ? AND NOT removed", (a,))


def edge_removed(db: sqlite3.Connection, g: int, a: int) -> None:
    """We took an account out of a group. The row stays until an inventory confirms it."""
    db.execute("UPDATE edge SET removed = 1, lost = 0, unsure = 0 WHERE g = ? AND a = ?", (g, a))


def lost_of(db: sqlite3.Connection, a: int) -> frozenset[ObjectId]:
    """The groups that somebody else took an account out of, although the membership was ours."""
    rows = db.execute(
        "SELECT o.id FROM edge e JOIN link l ON l.g = e.g JOIN object o ON o.n = l.n"
        " WHERE e.a = ? AND e.lost",
        (a,),
    )
    return frozenset(row["id"] for row in rows)


def forget_lost(db: sqlite3.Connection, t: int, a: int, groups: Iterable[ObjectId]) -> None:
    """Nobody wants these memberships any more: if one is wanted again, that is new."""
    for group_id in groups:
        db.execute(
            "DELETE FROM edge WHERE a = ? AND lost AND g = ?", (a, group_number(db, t, group_id))
        )


def edges_stripped(db: sqlite3.Connection, t: int, a: int, groups: Collection[str]) -> None:
    """An account was taken out of every one of these groups (names, folded)."""
    db.execute(
        "UPDATE edge SET removed = 1 WHERE a = ? AND g IN (SELECT g FROM target_group"
        " WHERE t = ? AND name IN (SELECT value FROM json_each(?)))",
        (a, t, codec.dump(sorted(groups))),
    )


def holders(db: sqlite3.Connection, t: int, n: int) -> set[int]:
    """The users whose accounts are members of the group that is linked to an object, or about to be
    adopted for it."""
    group = db.execute("SELECT id FROM object WHERE n = ?", (n,)).fetchone()
    rows = db.execute(
        "SELECT l.n FROM edge e JOIN link l ON l.a = e.a WHERE e.g = ? AND NOT e.removed",
        (group_number(db, t, group["id"]),),
    )
    return {row[0] for row in rows}


def foreign_members(
    db: sqlite3.Connection, t: int, g: int, only: int | None = None
) -> list[Account]:
    """The members of a group who are linked to nobody (for `foreign_members: remove`), and whom
    nobody may be about to adopt, or to leave alone (excluded, undecided). `only`: this account."""
    one = "" if only is None else " AND e.a = :only"
    rows = db.execute(
        "SELECT ac.body FROM edge e JOIN account ac ON ac.a = e.a"
        " LEFT JOIN link l ON l.a = e.a"
        " WHERE e.g = :g AND NOT e.removed AND NOT e.inherited AND l.n IS NULL"
        f"{one}"
        " AND NOT EXISTS (SELECT 1 FROM claim c WHERE c.t = :t"
        "  AND c.field IN ('username', 'kept') AND c.key = ac.name)"
        " AND NOT EXISTS (SELECT 1 FROM claim c WHERE c.t = :t AND c.field = 'email'"
        "  AND c.key = ac.mail)"
        " AND NOT EXISTS (SELECT 1 FROM unlinked u WHERE u.t = :t AND u.key = ac.key)"
        " ORDER BY ac.key",
        {"g": g, "t": t, "only": only},
    )
    return [codec.account_from_dict(codec.load(row["body"])) for row in rows]
