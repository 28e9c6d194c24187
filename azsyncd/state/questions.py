"""What people ask about: counts for `status` and the metrics, accounts, and paths of membership."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from azsyncd.model.accounts import Account, fold
from azsyncd.state import codec, drift, holds, mirror, spill, waiting

_MOST = 100_000


@dataclass(frozen=True, slots=True)
class TargetCounts:
    """What a target holds: counted over whole tables."""

    accounts: int
    groups: int
    unexplained: int
    foreign_members: int


@dataclass(frozen=True, slots=True)
class Waits:
    """What waits in a target: the cost grows with what waits, not with what there is."""

    leavers_with_access: int
    drift: int
    failing: int
    holds: int
    withheld: dict[str, int]
    next_try: float | None  # when the next of those that were refused is tried again


def mirror_counts(db: sqlite3.Connection) -> tuple[int, int, int]:
    """(users, groups, memberships) that Entra has."""
    sizes = mirror.sizes(db)
    return sizes.users, sizes.groups, sizes.edges


def target_counts(db: sqlite3.Connection, t: int, ours: Iterable[str]) -> TargetCounts:
    """What a target holds. `ours`: accounts that azsyncd signs in as."""

    def one(sql: str) -> int:
        return int(db.execute(sql, (t,)).fetchone()[0])

    return TargetCounts(
        accounts=one("SELECT count(*) FROM link WHERE t = ? AND a IS NOT NULL"),
        groups=one("SELECT n_groups FROM target WHERE t = ?"),
        unexplained=unexplained(db, t, ours),
        foreign_members=one(
            "SELECT count(*) FROM link l JOIN edge e ON e.g = l.g"
            " WHERE l.t = ? AND e.ours = 0 AND NOT e.removed"
        ),
    )


def what_waits(db: sqlite3.Connection, t: int) -> Waits:
    """What waits in a target, and why."""
    open_ = "SELECT count(*) FROM hold WHERE t = ? AND state = 'open'"
    return Waits(
        leavers_with_access=len(leavers_with_access(db, t)),
        drift=drift.count(db, t),
        failing=waiting.failing(db, t),
        holds=int(db.execute(open_, (t,)).fetchone()[0]),
        withheld=withheld(db, t),
        next_try=waiting.next_try(db, t),
    )


_LEAVERS = """
FROM waiting w JOIN link l ON l.t = w.t AND l.n = w.n JOIN object o ON o.n = w.n
 WHERE w.t = ? AND w.change = 'deactivate'
   AND w.reason IN ('unsupported', 'blocked', 'read_only', 'protected')
   AND (EXISTS (SELECT 1 FROM edge e WHERE e.a = l.a AND NOT e.removed)
        OR EXISTS (SELECT 1 FROM waiting s WHERE s.t = w.t AND s.n = w.n AND s.change = 'strip')
        OR EXISTS (SELECT 1 FROM hold_item i JOIN hold h ON h.id = i.hold WHERE h.t = w.t
                    AND i.n = w.n AND i.change = 'strip' AND i.state IN ('open', 'rejected')))
"""


def leavers_with_access(db: sqlite3.Connection, t: int) -> list[str]:
    """The ids of those who should be inactive, cannot be, and still have rights or a group."""
    return [row[0] for row in db.execute(f"SELECT DISTINCT o.id {_LEAVERS} ORDER BY o.id", (t,))]


def unexplained(db: sqlite3.Connection, t: int, ours: Iterable[str]) -> int:
    """Accounts of a target that nobody in Entra explains, our own apart."""
    total = db.execute(
        "SELECT count(*) FROM account ac WHERE ac.t = ?"
        " AND NOT EXISTS (SELECT 1 FROM link l WHERE l.a = ac.a)",
        (t,),
    ).fetchone()[0]
    own = 0
    for name in set(ours):
        own += db.execute(
            "SELECT count(*) FROM account ac WHERE ac.t = ? AND ac.name = ?"
            " AND NOT EXISTS (SELECT 1 FROM link l WHERE l.a = ac.a)",
            (t, fold(name)),
        ).fetchone()[0]
    return int(total - own)


def same_accounts(db: sqlite3.Connection, t: int, other: int) -> tuple[int, int]:
    """Of the accounts of a target that we did not make there: how many stand in another target
    under the same name and address, and how many there are."""
    row = db.execute(
        "SELECT count(*) AS total, coalesce(sum(EXISTS (SELECT 1 FROM account c"
        "  WHERE c.t = :other AND c.name = ac.name AND c.mail IS ac.mail)), 0) AS same"
        " FROM account ac LEFT JOIN link l ON l.a = ac.a"
        " WHERE ac.t = :t AND coalesce(l.origin, '') != 'created'",
        {"t": t, "other": other},
    ).fetchone()
    return int(row["same"]), int(row["total"])


def behind(db: sqlite3.Connection, revision: int) -> int:
    """How many objects have changed since a revision."""
    row = db.execute("SELECT count(*) FROM object WHERE touched > ?", (revision,)).fetchone()
    return int(row[0])


def withheld(db: sqlite3.Connection, t: int) -> dict[str, int]:
    """What is planned and not sent, by reason: what waits, what holds keep, and the mode."""
    found = waiting.counts(db, t)
    rows = db.execute(
        "SELECT i.state, h.kind = ?, count(*) FROM hold_item i JOIN hold h ON h.id = i.hold"
        " WHERE h.t = ? AND i.state IN ('open', 'rejected') GROUP BY 1, 2",
        (holds.MANUAL, t),
    )
    manual = 0
    for state, by_mode, number in rows:
        if state == "open" and by_mode:
            manual = number
            continue
        reason = "guard" if state == "open" else "rejected"
        found[reason] = found.get(reason, 0) + number
    planned = spill.held_counts(db, t)
    # What `mode: manual` keeps is in its hold, and the latest of it in the plan as well.
    for reason, held in (("mode", manual), ("first_contact", 0)):
        if number := max(held, planned.get(reason, 0)):
            found[reason] = found.get(reason, 0) + number
    if number := not_believed(db)[0]:
        found["source"] = number
    return found


def is_doubted(db: sqlite3.Connection, n: int) -> bool:
    """Whether an object was absent when Entra was last read completely, and is not believed to be
    gone (rule 7)."""
    row = db.execute(
        "SELECT o.crawl, h.payload FROM object o, hold h WHERE o.n = ? AND o.presence = 'present'"
        " AND h.t IS NULL AND h.kind = 'source' AND h.state = 'open' ORDER BY h.id DESC LIMIT 1",
        (n,),
    ).fetchone()
    return row is not None and row["crawl"] < int(codec.load(row["payload"]).get("crawl", 0))


def not_believed(db: sqlite3.Connection) -> tuple[int, str]:
    """What Entra did not show when it was last read completely, and is not believed to be gone
    (rule 7): how many objects and memberships, and one line that says why and what to do."""
    row = db.execute(
        "SELECT id, detail, payload FROM hold WHERE t IS NULL AND kind = 'source'"
        " AND state = 'open' ORDER BY id DESC LIMIT 1"
    ).fetchone()
    if row is None:
        return 0, ""
    return int(codec.load(row["payload"]).get("items", 0)), (
        f"{row['detail']}: what it did not show is not removed anywhere; `azsyncd sync --full`"
        f" looks again, `azsyncd approve {row['id']}` lets it through"
    )


def open_holds(db: sqlite3.Connection) -> int:
    """How many holds wait for a person."""
    return int(db.execute("SELECT count(*) FROM hold WHERE state = 'open'").fetchone()[0])


def feed_ages(db: sqlite3.Connection) -> dict[str, float]:
    """When each stored deltaLink was issued."""
    return {row[0]: row[1] for row in db.execute("SELECT name, issued_at FROM feed")}


# Who ----------------------------------------------------------------------------------------------


def numbers_of(db: sqlite3.Connection, who: str, t: int | None = None) -> list[tuple[int, str]]:
    """(number, kind) of the objects that a person may mean: by id, UPN, mail, display name, or the
    name of an account or group in a target."""
    text = fold(who.strip())
    found = {
        row["n"]: row["kind"]
        for row in db.execute(
            "SELECT n, kind FROM object WHERE (id = :who OR name = :who OR mail = :who)"
            " AND kind != 'own' ORDER BY n LIMIT 50",
            {"who": text},
        )
    }
    if not found:
        sql = (
            "SELECT o.n, o.kind FROM {table} x JOIN link l ON l.{key} = x.{key}"
            " JOIN object o ON o.n = l.n AND o.kind != 'own'"
            " WHERE x.name = :who AND (:t IS NULL OR x.t = :t) LIMIT 50"
        )
        for table, key in (("account", "a"), ("target_group", "g")):
            rows = db.execute(sql.format(table=table, key=key), {"who": text, "t": t})
            found.update({row["n"]: row["kind"] for row in rows})
    if not found:
        rows = db.execute(
            "SELECT n, kind FROM object WHERE properties IS NOT NULL AND kind != 'own'"
            " AND lower(json_extract(properties, '$.displayName')) = :who LIMIT 50",
            {"who": text},
        )
        found.update({row["n"]: row["kind"] for row in rows})
    return sorted(found.items())


def path(db: sqlite3.Connection, n: int, group_id: str) -> list[str]:
    """The shortest chain of memberships from an object up to a group: display names, the group
    last; empty if there is none."""
    before: dict[int, int] = {}
    layer = [n]
    seen = {n}
    while layer:
        following = []
        for child in layer:
            rows = db.execute(
                "SELECT o.n, o.id FROM member m JOIN object o ON o.n = m.parent"
                " WHERE m.child = ? AND o.presence = 'present' ORDER BY o.n",
                (child,),
            )
            for row in rows:
                if row["n"] in seen:
                    continue
                seen.add(row["n"])
                before[row["n"]] = child
                if row["id"] == group_id:
                    return _names(db, row["n"], before)
                following.append(row["n"])
        layer = following
    return []


def _names(db: sqlite3.Connection, end: int, before: dict[int, int]) -> list[str]:
    chain = []
    at: int | None = end
    while at in before:
        row = db.execute("SELECT id, name, properties FROM object WHERE n = ?", (at,)).fetchone()
        shown = db.execute(
            "SELECT json_extract(properties, '$.displayName') FROM object WHERE n = ?", (at,)
        ).fetchone()[0]
        chain.append(str(shown or row["name"] or row["id"]))
        at = before[at]
    return chain[::-1]


# Accounts -----------------------------------------------------------------------------------------


def accounts(db: sqlite3.Connection, t: int, which: str | None) -> list[sqlite3.Row]:
    """The accounts of a target with what azsyncd knows of each. `which`: unexplained, adopted,
    conflict or failing; None = all."""
    where = {
        None: "1",
        "unexplained": "l.n IS NULL",
        "adopted": "l.origin = 'adopted'",
        "conflict": "w.reason = 'conflict'",
        "failing": "w.attempts > 0",
    }[which]
    if which in ("conflict", "failing"):
        return db.execute(
            "SELECT w.n, o.id, o.name AS upn, w.reason, w.detail, w.hint, ac.body, l.origin,"
            " l.state, max(w.attempts) AS attempts, min(w.retry_at) AS retry_at"
            " FROM waiting w JOIN object o ON o.n = w.n"
            " LEFT JOIN link l ON l.t = w.t AND l.n = w.n"
            " LEFT JOIN account ac ON ac.a = l.a"
            f" WHERE w.t = ? AND {where} GROUP BY w.n ORDER BY o.name LIMIT {_MOST}",
            (t,),
        ).fetchall()
    return db.execute(
        "SELECT l.n, o.id, o.name AS upn, '' AS reason, '' AS detail, '' AS hint, ac.body,"
        " l.origin, l.state, 0 AS attempts, NULL AS retry_at"
        " FROM account ac LEFT JOIN link l ON l.a = ac.a"
        " LEFT JOIN object o ON o.n = l.n"
        f" WHERE ac.t = ? AND {where} ORDER BY ac.name LIMIT {_MOST}",
        (t,),
    ).fetchall()


def all_accounts(db: sqlite3.Connection, t: int) -> list[Account]:
    """Every account of a target as it was last read."""
    rows = db.execute("SELECT body FROM account WHERE t = ? ORDER BY a", (t,))
    return [codec.account_from_dict(codec.load(row["body"])) for row in rows]


def under_mail(db: sqlite3.Connection, t: int, mail: str) -> str | None:
    """The username of an account that nobody has, and that has this address."""
    row = db.execute(
        "SELECT ac.body FROM account ac WHERE ac.t = ? AND ac.mail = ?"
        " AND NOT EXISTS (SELECT 1 FROM link l WHERE l.a = ac.a) LIMIT 1",
        (t, fold(mail)),
    ).fetchone()
    return None if row is None else str(codec.load(row["body"])["username"])


def strays(db: sqlite3.Connection, t: int, who: str) -> list[Account]:
    """The accounts of this username, key or address that nobody has."""
    rows = db.execute(
        "SELECT ac.body FROM account ac WHERE ac.t = :t"
        " AND (ac.name = :folded OR ac.key = :who OR ac.mail = :folded)"
        " AND NOT EXISTS (SELECT 1 FROM link l WHERE l.a = ac.a) ORDER BY ac.a LIMIT 20",
        {"t": t, "who": who, "folded": fold(who)},
    )
    return [codec.account_from_dict(codec.load(row["body"])) for row in rows]


def claimants(db: sqlite3.Connection, t: int, account: Account) -> list[str]:
    """Who wants the name or the address of an account, and has no account: UPNs."""
    rows = db.execute(
        "SELECT DISTINCT c.n FROM claim c WHERE c.t = :t"
        " AND ((c.field IN ('username', 'kept') AND c.key = :name)"
        "  OR (c.field = 'email' AND c.key = :mail))"
        " AND NOT EXISTS (SELECT 1 FROM link l WHERE l.t = c.t AND l.n = c.n AND l.a IS NOT NULL)"
        " ORDER BY c.n LIMIT 10",
        {"t": t, "name": fold(account.username), "mail": fold(account.email or "")},
    )
    return [name_of(db, row["n"]) for row in rows.fetchall()]


def group_counts(db: sqlite3.Connection, g: int) -> dict[str, int]:
    """The members of a product's group: ours, and others."""
    row = db.execute(
        "SELECT count(*) AS members, coalesce(sum(ours = 1), 0) AS ours FROM edge"
        " WHERE g = ? AND NOT removed",
        (g,),
    ).fetchone()
    return {"members": row["members"], "ours": row["ours"]}


def waiting_of(db: sqlite3.Connection, t: int, n: int) -> list[sqlite3.Row]:
    """What waits of one object."""
    return db.execute(
        "SELECT w.*, g.name AS group_name FROM waiting w LEFT JOIN object g ON g.n = w.gn"
        " WHERE w.t = ? AND w.n = ? ORDER BY w.change, w.gn",
        (t, n),
    ).fetchall()


def held_of(db: sqlite3.Connection, t: int, n: int) -> list[sqlite3.Row]:
    """What holds keep of one object."""
    return db.execute(
        "SELECT i.*, h.kind, h.detail FROM hold_item i JOIN hold h ON h.id = i.hold"
        " WHERE h.t = ? AND i.n = ? AND i.state IN ('open', 'rejected')",
        (t, n),
    ).fetchall()


def id_of(db: sqlite3.Connection, n: int) -> str:
    """The object id behind a number."""
    return str(db.execute("SELECT id FROM object WHERE n = ?", (n,)).fetchone()["id"])


def member_count(db: sqlite3.Connection, n: int) -> int:
    """The direct members of a group in Entra."""
    return int(db.execute("SELECT count(*) FROM member WHERE parent = ?", (n,)).fetchone()[0])


def name_of(db: sqlite3.Connection, n: int) -> str:
    """How to speak of an object: UPN or display name as Entra spells it."""
    row = db.execute(
        "SELECT id, coalesce(json_extract(properties, '$.userPrincipalName'),"
        " json_extract(properties, '$.displayName'), id) AS shown FROM object WHERE n = ?",
        (n,),
    ).fetchone()
    return "" if row is None else str(row["shown"])


# Decisions ----------------------------------------------------------------------------------------


def objects_of_hold(db: sqlite3.Connection, hold: int) -> list[int]:
    """The objects whose changes a hold keeps."""
    rows = db.execute("SELECT DISTINCT n FROM hold_item WHERE hold = ?", (hold,))
    return [row[0] for row in rows]


def close_hold(
    db: sqlite3.Connection, hold: int, state: str, by: str, reason: str, now: float
) -> None:
    """Decide about a hold that has no items (first contact, source)."""
    db.execute(
        "UPDATE hold SET state = ?, decided_by = ?, decided_at = ?, decision = ? WHERE id = ?",
        (state, by, now, reason, hold),
    )


def forget_rejections(
    db: sqlite3.Connection, *, hold: int | None, n: int | None
) -> list[tuple[int, int]]:
    """Take rejected items out of their holds; returns (target, object) of each."""
    rows = db.execute(
        "SELECT DISTINCT h.t, i.n FROM hold_item i JOIN hold h ON h.id = i.hold"
        " WHERE i.state = 'rejected' AND (:hold IS NULL OR h.id = :hold)"
        " AND (:n IS NULL OR i.n = :n)",
        {"hold": hold, "n": n},
    ).fetchall()
    db.execute(
        "DELETE FROM hold_item WHERE state = 'rejected' AND (:hold IS NULL OR hold = :hold)"
        " AND (:n IS NULL OR n = :n)",
        {"hold": hold, "n": n},
    )
    db.execute(
        "UPDATE hold SET state = 'gone' WHERE state = 'rejected'"
        " AND NOT EXISTS (SELECT 1 FROM hold_item i WHERE i.hold = hold.id)"
        " AND (kind NOT IN ('first_contact', 'source') OR id = :hold)",
        {"hold": hold},
    )
    return [(row["t"], row["n"]) for row in rows]


def lowest_revision(db: sqlite3.Connection, targets: Iterable[int]) -> int | None:
    """The revision that every one of these targets has reached."""
    rows = [
        db.execute("SELECT revision FROM target WHERE t = ?", (t,)).fetchone()[0] for t in targets
    ]
    return min(rows, default=None)
