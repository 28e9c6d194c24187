"""Loads what the planner is told, and works out who must be planned again (architecture.md, 5)."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from azsyncd.model.accounts import Account, fold
from azsyncd.model.identities import Group, ObjectId, Presence, User
from azsyncd.model.links import LinkState
from azsyncd.plan.facts import GroupFacts, GroupStanding, NameFacts, Standing, UserFacts
from azsyncd.state import codec, links, mirror


@dataclass(frozen=True, slots=True)
class UserBase:
    """A user and where she stands in Entra: all that a wish needs."""

    n: int
    user: User
    groups: frozenset[ObjectId]
    direct: frozenset[ObjectId]
    verified: bool


@dataclass(frozen=True, slots=True)
class Slice:
    """Who is planned again: numbers of users and of groups."""

    users: frozenset[int]
    groups: frozenset[int]

    def __or__(self, other: Slice) -> Slice:
        return Slice(self.users | other.users, self.groups | other.groups)


# Who --------------------------------------------------------------------------------------------


def slice_since(
    db: sqlite3.Connection, t: int, since: int, now: float, wall: float | None = None
) -> Slice:
    """Everybody touched since a revision, everybody at or below a changed nesting, and whoever
    waits and is due. `wall`: the clock of those who asked for a try, where it is ahead of `now`; a
    grace period never ends early for that (I11)."""
    users, groups, heads = mirror.touched_since(db, since)
    found = set(users) | set(mirror.users_below(db, heads))
    rows = db.execute(
        "SELECT DISTINCT w.n, o.kind FROM waiting w JOIN object o ON o.n = w.n"
        " WHERE w.t = ? AND w.retry_at <= iif(w.reason = 'grace', ?, ?)",
        (t, now, max(now, wall or now)),
    ).fetchall()
    found |= {row["n"] for row in rows if row["kind"] == "user"}
    due_groups = {row["n"] for row in rows if row["kind"] != "user"}
    return Slice(frozenset(found), frozenset(groups) | due_groups)


def owed(db: sqlite3.Connection, t: int) -> Slice:
    """Whoever was planned in a turn that ended early."""
    rows = db.execute(
        "SELECT w.n, o.kind FROM owed w JOIN object o ON o.n = w.n WHERE w.t = ?", (t,)
    ).fetchall()
    return Slice(
        frozenset(row["n"] for row in rows if row["kind"] == "user"),
        frozenset(row["n"] for row in rows if row["kind"] != "user"),
    )


def owe(db: sqlite3.Connection, t: int, numbers: Iterable[int]) -> None:
    """These are planned: until `settle`, the first slice of each turn is to have them."""
    db.executemany("INSERT OR IGNORE INTO owed VALUES (?, ?)", ((t, n) for n in numbers))


def settle(db: sqlite3.Connection, t: int) -> None:
    """Everybody is right, or waits with a reason."""
    db.execute("DELETE FROM owed WHERE t = ?", (t,))


def next_due(db: sqlite3.Connection, t: int) -> float | None:
    """When the next waiting object of a target is due."""
    row = db.execute("SELECT min(retry_at) FROM waiting WHERE t = ?", (t,)).fetchone()
    return None if row[0] is None else float(row[0])


def every(db: sqlite3.Connection, kind: str) -> list[int]:
    """The number of every user or every group, in the order of their first appearance; a product's
    own groups count as groups."""
    kinds = ("user", "user") if kind == "user" else ("group", "own")
    rows = db.execute("SELECT n FROM object WHERE kind IN (?, ?) ORDER BY n", kinds)
    return [row[0] for row in rows]


def concerned(db: sqlite3.Connection, t: int) -> set[int]:
    """Everybody whom a doubt about the scope concerns: who is linked, and who waits for it."""
    rows = db.execute(
        "SELECT n FROM link WHERE t = :t AND g IS NULL"
        " UNION SELECT n FROM waiting WHERE t = :t AND reason = 'undecided'",
        {"t": t},
    )
    return {row[0] for row in rows}


def named(db: sqlite3.Connection, who: str, kind: str) -> list[int]:
    """Objects by object id, UPN, mail or display name."""
    text = fold(who)
    rows = db.execute(
        "SELECT n FROM object WHERE kind = :kind AND (id = :who OR name = :who OR mail = :who)",
        {"kind": kind, "who": text},
    ).fetchall()
    return [row[0] for row in rows]


_OWNERS = {
    "username": (
        "SELECT l.n FROM account ac JOIN link l ON l.a = ac.a WHERE ac.t = ? AND ac.name = ?"
    ),
    "group": (
        "SELECT l.n FROM target_group tg JOIN link l ON l.g = tg.g WHERE tg.t = ? AND tg.name = ?"
    ),
}


def sharers(db: sqlite3.Connection, t: int, keys: Iterable[tuple[str, str]]) -> set[int]:
    """Whoever claims one of these (field, key), or has an account or group under it."""
    found: set[int] = set()
    for field, key in keys:
        rows = db.execute(
            "SELECT n FROM claim WHERE t = ? AND field = ? AND key = ?", (t, field, key)
        )
        found |= {row[0] for row in rows}
        if field in _OWNERS:
            found |= {row[0] for row in db.execute(_OWNERS[field], (t, key))}
    return found


# Claims -----------------------------------------------------------------------------------------


def claim(db: sqlite3.Connection, t: int, n: int, wanted: dict[str, str]) -> set[tuple[str, str]]:
    """Keep what an object wants to be called, by field; returns the keys that changed hands."""
    old = {
        row["field"]: row["key"]
        for row in db.execute(
            "SELECT field, key FROM claim WHERE t = ? AND n = ?"
            " AND field IN ('username', 'email', 'group', 'kept')",
            (t, n),
        )
    }
    if old == wanted:
        return set()
    changed = set(old.items()) ^ set(wanted.items())
    db.execute(
        "DELETE FROM claim WHERE t = ? AND n = ?"
        " AND field IN ('username', 'email', 'group', 'kept')",
        (t, n),
    )
    db.executemany(
        "INSERT INTO claim (t, field, n, key) VALUES (?, ?, ?, ?)",
        [(t, field, n, key) for field, key in wanted.items()],
    )
    return changed


def wake_claimants(db: sqlite3.Connection, t: int, field: str, name: str, now: float) -> None:
    """A name became free: whoever wants it is due (rule 16)."""
    db.execute(
        "UPDATE waiting SET retry_at = ? WHERE t = ? AND n IN"
        " (SELECT n FROM claim WHERE t = ? AND field = ? AND key = ?)",
        (now, t, t, field, fold(name)),
    )


# Users ------------------------------------------------------------------------------------------


def bases(db: sqlite3.Connection, numbers: Sequence[int]) -> Iterator[UserBase]:
    """These users, as far as a wish needs to know them."""
    for n in numbers:
        row = db.execute("SELECT * FROM object WHERE n = ? AND kind = 'user'", (n,)).fetchone()
        if row is None:
            continue
        direct, above = mirror.groups_above(db, n)
        yield UserBase(
            n, mirror.user_of(db, row), frozenset(above), frozenset(direct), mirror.is_verified(row)
        )


def user_facts(
    db: sqlite3.Connection,
    t: int,
    base: UserBase,
    wanted: Account | None,
    admin_groups: Collection[str],
    licence_groups: Collection[str] = (),
) -> UserFacts:
    """Everything that the planner needs about one user in one target. `admin_groups`: the names
    of the administrators' groups, folded; `licence_groups`: those whose members matter (rule 32).
    """
    row = links.get(db, t, base.n)
    account = link = None
    names = NameFacts()
    a: int | None = None
    if row is not None:
        account = account_at(db, row["a"])
        a = row["a"]
        link = links.account_link(row, base.user.id, account.key if account else None)
    if wanted is not None:
        have = fold(account.username) if account else None
        if have != fold(wanted.username):
            names = name_facts(db, t, base.n, wanted, admin_groups)
    if account is None:
        marked = _standings(db, t, "marked_for", fold(base.user.id), base.n, admin_groups)
        names = replace(names, under_mark=tuple(marked))
    return UserFacts(
        user=base.user,
        groups=base.groups,
        direct=base.direct,
        verified=base.verified,
        link=link,
        account=account,
        edges=links.edges_of(db, t, a) if a is not None else {},
        lost=links.lost_of(db, a) if a is not None else frozenset(),
        names=names,
        blocked=_refuses_to_deactivate(db, t, base.n),
        last_admin=0 if a is None else _last_admin_in(db, t, a, admin_groups),
        licensed=a is not None and is_in(db, a, licence_groups),
    )


def _refuses_to_deactivate(db: sqlite3.Connection, t: int, n: int) -> bool:
    """Whether the product refused it; a passing trouble of the server's is no refusal."""
    row = db.execute(
        "SELECT 1 FROM waiting WHERE t = ? AND n = ? AND change = 'deactivate' AND gn = 0"
        " AND reason = 'blocked' AND attempts > 0",
        (t, n),
    ).fetchone()
    return row is not None


def is_in(db: sqlite3.Connection, a: int, groups: Collection[str]) -> bool:
    """Whether an account is in one of these groups (names, folded), and could be taken out."""
    if not groups:
        return False
    rows = db.execute(
        "SELECT tg.name FROM edge e JOIN target_group tg ON tg.g = e.g"
        " WHERE e.a = ? AND NOT e.removed AND NOT e.inherited",
        (a,),
    )
    return any(row["name"] in groups for row in rows)


def _administers(db: sqlite3.Connection, a: int, admin_groups: Collection[str]) -> bool:
    """Whether an account is in one of these groups (names, folded), or below one."""
    if not admin_groups:
        return False
    rows = db.execute(
        "WITH RECURSIVE up (g) AS (SELECT g FROM edge WHERE a = ? AND NOT removed"
        " UNION SELECT c.p FROM up JOIN child c ON c.c = up.g WHERE NOT c.removed)"
        " SELECT tg.name FROM up JOIN target_group tg ON tg.g = up.g",
        (a,),
    )
    return any(row["name"] in admin_groups for row in rows)


_ADMINISTER = (
    "WITH RECURSIVE down (g) AS (SELECT g FROM target_group"
    "  WHERE t = :t AND name IN (SELECT value FROM json_each(:names)) AND g IS NOT :gone"
    " UNION SELECT c.c FROM down JOIN child c ON c.p = down.g WHERE NOT c.removed"
    "  AND c.c IS NOT :gone AND NOT (c.p IS :p AND c.c IS :c))"
    " SELECT e.g, e.a FROM down JOIN edge e ON e.g = down.g JOIN account ac ON ac.a = e.a"
)
"""The memberships of the groups with these names and of those below, without one that is gone and
without one that stands (as c) in another (p) no more."""


def _last_admin_in(db: sqlite3.Connection, t: int, a: int, admin_groups: Collection[str]) -> int:
    """In how many administrators' groups (or below) an account is, if nobody else would be left in
    any who can sign in (rule 24); 0 if somebody is. Of several who leave at once one is kept, and
    always the same one."""
    if not _administers(db, a, admin_groups):
        return 0
    known = {"t": t, "a": a, "names": codec.dump(sorted(admin_groups)), **_NOTHING_ENDS}
    other = db.execute(
        f"{_ADMINISTER} LEFT JOIN link l ON l.a = ac.a LEFT JOIN object o ON o.n = l.n"
        " WHERE e.a != :a AND NOT e.removed AND ac.active AND (e.a < :a OR l.n IS NULL"
        " OR (l.left_at IS NULL AND o.presence = 'present'"
        " AND coalesce(json_extract(o.properties, '$.accountEnabled'), 1))) LIMIT 1",
        known,
    ).fetchone()
    if other is not None:
        return 0
    sql = f"{_ADMINISTER} WHERE e.a = :a AND NOT e.removed"
    return len(db.execute(sql, known).fetchall())


_NOTHING_ENDS: dict[str, int | None] = {"gone": None, "p": None, "c": None}


def active_admins(
    db: sqlite3.Connection,
    t: int,
    admin_groups: Collection[str],
    *,
    gone: int | None = None,
    cut: tuple[int | None, int | None] = (None, None),
) -> set[tuple[int, int]]:
    """The memberships (group, account) of active accounts in these groups (names, folded) and in
    those below them; as it would be without the group `gone`, or if the group cut[1] did not stand
    in cut[0]."""
    names = codec.dump(sorted(admin_groups))
    rows = db.execute(
        f"{_ADMINISTER} WHERE NOT e.removed AND ac.active",
        {"t": t, "names": names, "gone": gone, "p": cut[0], "c": cut[1]},
    )
    return {(row["g"], row["a"]) for row in rows}


def account_at(db: sqlite3.Connection, a: int | None) -> Account | None:
    """An account by its number."""
    if a is None:
        return None
    row = db.execute("SELECT body FROM account WHERE a = ?", (a,)).fetchone()
    return codec.account_of(row["body"]) if row else None


def name_facts(
    db: sqlite3.Connection, t: int, n: int, wanted: Account, admin_groups: Collection[str]
) -> NameFacts:
    """Who else wants, and who has, the names that she wants."""
    key = fold(wanted.username)
    rivals = db.execute(
        "SELECT o.id FROM claim c JOIN object o ON o.n = c.n"
        " WHERE c.t = :t AND c.field = 'username' AND c.key = :key AND c.n != :n"
        " AND NOT EXISTS (SELECT 1 FROM link l JOIN account ac ON ac.a = l.a"
        "  WHERE l.t = :t AND l.n = c.n AND ac.name = :key) ORDER BY o.id",
        {"t": t, "key": key, "n": n},
    ).fetchall()
    named_ = _standings(db, t, "name", key, n, admin_groups)
    if named_ and named_[0].wants not in (None, key) and _stays(db, t, key):
        named_[0] = replace(named_[0], wants=None)
    by_mail, mail_rivals = [], []
    if wanted.email:
        mail = fold(wanted.email)
        by_mail = _standings(db, t, "mail", mail, n, admin_groups)
        mail_rivals = db.execute(
            "SELECT o.id FROM claim c JOIN object o ON o.n = c.n"
            " WHERE c.t = :t AND c.field = 'email' AND c.key = :mail AND c.n != :n"
            " AND NOT EXISTS (SELECT 1 FROM link l WHERE l.t = :t AND l.n = c.n"
            "  AND l.a IS NOT NULL) ORDER BY o.id",
            {"t": t, "mail": mail, "n": n},
        ).fetchall()
    return NameFacts(
        rivals=tuple(row["id"] for row in rivals),
        mail_rivals=tuple(row["id"] for row in mail_rivals),
        under_name=named_[0] if named_ else None,
        under_mail=tuple(by_mail),
    )


def _stays(db: sqlite3.Connection, t: int, key: str) -> bool:
    """Whether whoever has this name keeps it, because she will not get the one that she wants, nor
    whoever has that. In a ring each gets the next one's."""
    seen: set[str] = set()
    while key not in seen:
        seen.add(key)
        row = db.execute(
            "SELECT l.n, c.key FROM account ac LEFT JOIN link l ON l.a = ac.a"
            " LEFT JOIN claim c ON c.t = ac.t AND c.field = 'username' AND c.n = l.n"
            " WHERE ac.t = ? AND ac.name = ? ORDER BY ac.a LIMIT 1",
            (t, key),
        ).fetchone()
        if row is None:
            return False
        if row["key"] in (None, key):
            return True
        rival = db.execute(
            "SELECT 1 FROM claim c WHERE c.t = :t AND c.field = 'username' AND c.key = :key"
            " AND c.n != :n AND NOT EXISTS (SELECT 1 FROM link l JOIN account ac ON ac.a = l.a"
            "  WHERE l.t = :t AND l.n = c.n AND ac.name = :key) LIMIT 1",
            {"t": t, "key": row["key"], "n": row["n"]},
        ).fetchone()
        if rival is not None:
            return True
        key = row["key"]
    return False


def _standings(
    db: sqlite3.Connection, t: int, column: str, key: str, n: int, admin_groups: Collection[str]
) -> list[Standing]:
    rows = db.execute(
        "SELECT ac.a, ac.body, o.id, o.presence, o.properties, o.n, c.key AS wants,"
        " l.deactivated FROM account ac"
        " LEFT JOIN link l ON l.a = ac.a LEFT JOIN object o ON o.n = l.n"
        " LEFT JOIN claim c ON c.t = ac.t AND c.field = 'username' AND c.n = o.n"
        f" WHERE ac.t = ? AND ac.{column} = ? ORDER BY ac.a LIMIT 20",
        (t, key),
    ).fetchall()
    return [_standing(db, t, row, admin_groups) for row in rows if row["n"] != n]


def _standing(
    db: sqlite3.Connection, t: int, row: sqlite3.Row, admin_groups: Collection[str]
) -> Standing:
    account = codec.account_from_dict(codec.load(row["body"]))
    edges = links.edges_of(db, t, row["a"])
    administers = _administers(db, row["a"], admin_groups)
    if row["id"] is None:
        return Standing(account, administers=administers, edges=edges)
    presence = Presence(row["presence"])
    properties = codec.load(row["properties"]) if row["properties"] else {}
    return Standing(
        account,
        owner=row["id"],
        wants=row["wants"],
        gone=None if presence is Presence.PRESENT else presence.value,
        owner_employee=properties.get("employeeId"),
        deactivated=bool(row["deactivated"]),
        administers=administers,
        edges=edges,
    )


# Groups -----------------------------------------------------------------------------------------


def group_base(db: sqlite3.Connection, n: int) -> Group | None:
    """A group of the mirror, or a product's own."""
    row = db.execute("SELECT * FROM object WHERE n = ? AND kind != 'user'", (n,)).fetchone()
    return None if row is None or row["properties"] is None else mirror.group_of(row)


def group_facts(
    db: sqlite3.Connection, t: int, n: int, group: Group, wanted: str | None
) -> GroupFacts:
    """Everything that the planner needs about one group in one target."""
    row = links.get(db, t, n)
    standing = None
    if row is not None and row["g"] is not None:
        found = db.execute("SELECT body FROM target_group WHERE g = ?", (row["g"],)).fetchone()
        standing = codec.group_of(found["body"]) if found else None
    link = links.group_link(row, group.id, standing) if row is not None else None
    former = db.execute("SELECT former_name FROM object WHERE n = ?", (n,)).fetchone()
    facts = GroupFacts(
        group=group,
        link=link,
        standing=standing,
        former_name=former["former_name"],
        awaited=standing is not None and bool(_wanting(db, t, n, fold(standing.name))),
    )
    settled = link is not None and link.state is not LinkState.PENDING
    if wanted is None or (settled and standing and fold(standing.name) == fold(wanted)):
        return facts
    key = fold(wanted)
    holder = db.execute(
        "SELECT tg.body, o.id, o.n, o.presence, o.name FROM target_group tg"
        " LEFT JOIN link l ON l.g = tg.g LEFT JOIN object o ON o.n = l.n"
        " WHERE tg.t = ? AND tg.name = ? LIMIT 1",
        (t, key),
    ).fetchone()
    under = None
    if holder is not None and holder["n"] != n:
        gone = holder["presence"] not in (None, Presence.PRESENT)
        under = GroupStanding(
            codec.group_from_dict(codec.load(holder["body"])),
            holder["id"],
            holder["name"] or "",
            group_base(db, holder["n"]) if gone else None,
        )
    return replace(facts, rivals=_wanting(db, t, n, key), under_name=under)


def _wanting(db: sqlite3.Connection, t: int, n: int, key: str) -> tuple[ObjectId, ...]:
    """Which other groups want to be called so (folded), and are not."""
    rows = db.execute(
        "SELECT o.id FROM claim c JOIN object o ON o.n = c.n"
        " WHERE c.t = :t AND c.field = 'group' AND c.key = :key AND c.n != :n"
        " AND NOT EXISTS (SELECT 1 FROM link l JOIN target_group tg ON tg.g = l.g"
        "  WHERE l.t = :t AND l.n = c.n AND tg.name = :key) ORDER BY o.id",
        {"t": t, "key": key, "n": n},
    )
    return tuple(row["id"] for row in rows)


# Scope ------------------------------------------------------------------------------------------


def remembered(db: sqlite3.Connection, t: int, role: str) -> dict[str, set[int]]:
    """What the entries of a role have matched, by entry; 0 in a set: it matched at some time."""
    found: dict[str, set[int]] = {}
    rows = db.execute("SELECT entry, n FROM scope_match WHERE t = ? AND role = ?", (t, role))
    for row in rows:
        found.setdefault(row["entry"], set()).add(row["n"])
    return found


def remember(db: sqlite3.Connection, t: int, role: str, entry: str, n: int) -> None:
    """An entry matches an object (0: it has matched something)."""
    db.execute("INSERT OR IGNORE INTO scope_match VALUES (?, ?, ?, ?)", (t, role, entry, n))


def forget(db: sqlite3.Connection, t: int, role: str, entry: str, n: int | None = None) -> None:
    """An entry matches an object no more, or (None) has left the file."""
    if n is None:
        db.execute(
            "DELETE FROM scope_match WHERE t = ? AND role = ? AND entry = ?", (t, role, entry)
        )
    else:
        db.execute(
            "DELETE FROM scope_match WHERE t = ? AND role = ? AND entry = ? AND n = ?",
            (t, role, entry, n),
        )
