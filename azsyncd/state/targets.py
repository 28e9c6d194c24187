"""The targets that the state knows: whose it is, how far it is, and what stands there.

An inventory is numbered. While it is read, what is seen is written with the new number; when it is
complete, what still has an older number is gone. Linked accounts that are gone keep their link.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from azsyncd.model.accounts import Account, TargetGroup, fold
from azsyncd.state import codec


@dataclass(frozen=True, slots=True)
class TargetRow:
    """What is remembered of a target."""

    t: int
    name: str
    type: str
    fingerprint: str | None
    revision: int
    policy: str
    full_due: int
    inventory: int
    inventory_at: float | None
    first_contact: str
    agreed: dict[str, int] | None
    success_at: float | None
    paused: dict[str, Any] | None

    def is_paused(self, now: float) -> bool:
        """Whether a pause is in force (`now`: by the wall clock)."""
        if self.paused is None:
            return False
        until = self.paused.get("until")
        return until is None or until > now


def _row(row: sqlite3.Row) -> TargetRow:
    return TargetRow(
        row["t"],
        row["name"],
        row["type"],
        row["fingerprint"],
        row["revision"],
        row["policy"],
        row["full_due"],
        row["inventory"],
        row["inventory_at"],
        row["first_contact"],
        codec.load(row["agreed"]) if row["agreed"] else None,
        row["success_at"],
        codec.load(row["paused"]) if row["paused"] else None,
    )


def all_targets(db: sqlite3.Connection) -> list[TargetRow]:
    """Every target that the state knows."""
    sql = "SELECT * FROM target WHERE NOT detached ORDER BY t"
    return [_row(row) for row in db.execute(sql)]


def ensure(db: sqlite3.Connection, name: str, type_: str) -> TargetRow:
    """The target of this name, made if it is new."""
    db.execute("INSERT OR IGNORE INTO target (name, type) VALUES (?, ?)", (name, type_))
    # A name that was given up may be used again, for whatever product.
    db.execute(
        "UPDATE target SET detached = 0, type = ? WHERE name = ? AND detached", (type_, name)
    )
    return _row(db.execute("SELECT * FROM target WHERE name = ?", (name,)).fetchone())


def get(db: sqlite3.Connection, t: int) -> TargetRow:
    """One target."""
    return _row(db.execute("SELECT * FROM target WHERE t = ?", (t,)).fetchone())


def update(db: sqlite3.Connection, t: int, **columns: Any) -> None:
    """Set columns of a target's row."""
    names = ", ".join(f"{name} = :{name}" for name in columns)
    db.execute(f"UPDATE target SET {names} WHERE t = :t", {**columns, "t": t})


def owe_full(db: sqlite3.Connection, t: int) -> None:
    """A target is looked at as a whole, next time; also if it is being looked at right now."""
    db.execute("UPDATE target SET full_due = full_due + 1 WHERE t = ?", (t,))


def all_due(db: sqlite3.Connection) -> None:
    """The same for every target."""
    db.execute("UPDATE target SET full_due = full_due + 1")


def begin_full(db: sqlite3.Connection, t: int) -> int:
    """A full look begins, and is owed until it is done: returns what `end_full` is to be told."""
    sql = "UPDATE target SET full_due = max(1, full_due) WHERE t = ? RETURNING full_due"
    return int(db.execute(sql, (t,)).fetchone()[0])


def end_full(db: sqlite3.Connection, t: int, begun: int) -> None:
    """A full look is done. What was asked for after it had begun stays due."""
    db.execute("UPDATE target SET full_due = max(0, full_due - ?) WHERE t = ?", (begun, t))


# What stands there ------------------------------------------------------------------------------


def put_account(
    db: sqlite3.Connection, t: int, account: Account, inventory: int = 0, *, partly: bool = False
) -> int:
    """Note an account as just read or written; returns its number. A mark that this reading did
    not show stays known; and so do attributes, where listings show none (`partly`)."""
    key = account.key or fold(account.username)
    old = db.execute("SELECT a, body FROM account WHERE t = ? AND key = ?", (t, key)).fetchone()
    body = codec.account_to_dict(account)
    body["key"] = key
    if old is not None and "mark" not in body and (mark := codec.load(old["body"]).get("mark")):
        body["mark"] = mark
    if partly and old is not None and (shown := codec.load(old["body"]).get("attributes")):
        body.setdefault("attributes", shown)
    marked_by, marked_for = body.get("mark") or (None, None)
    values = (
        fold(account.username),
        fold(account.email) if account.email else None,
        int(account.active is not False),
        codec.dump(body),
        marked_by,
        fold(marked_for) if marked_for else None,
    )
    if old is not None:
        db.execute(
            "UPDATE account SET name = ?, mail = ?, active = ?, body = ?,"
            " marked_by = ?, marked_for = ?, inventory = max(inventory, ?)"
            " WHERE a = ?",
            (*values, inventory, old["a"]),
        )
        return int(old["a"])
    cursor = db.execute(
        "INSERT INTO account (name, mail, active, body, marked_by, marked_for, inventory, t, key)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*values, inventory, t, key),
    )
    return int(cursor.lastrowid or 0)


def rekey_account(db: sqlite3.Connection, a: int, key: str) -> None:
    """A product whose key is the name has renamed an account. What was known under the new key
    cannot stand there any more."""
    stale = db.execute(
        "SELECT a FROM account WHERE a != :a AND key = :key"
        " AND t = (SELECT t FROM account WHERE a = :a)",
        {"a": a, "key": key},
    ).fetchone()
    if stale is not None:
        drop_account(db, stale["a"])
    db.execute("UPDATE account SET key = ? WHERE a = ?", (key, a))


def drop_account(db: sqlite3.Connection, a: int) -> None:
    """An account is gone, and so are its memberships; a link that pointed to it is missing now."""
    db.execute("UPDATE link SET a = NULL, state = 'missing' WHERE a = ?", (a,))
    db.execute("DELETE FROM edge WHERE a = ?", (a,))
    db.execute("DELETE FROM account WHERE a = ?", (a,))


def put_group(db: sqlite3.Connection, t: int, group: TargetGroup, inventory: int = 0) -> int:
    """Note a group as just read or written; returns its number."""
    key = group.key or fold(group.name)
    body = codec.dump({**codec.group_to_dict(group), "key": key})
    row = db.execute(
        "INSERT INTO target_group (t, key, name, body, inventory) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (t, key) DO UPDATE SET name = excluded.name, body = excluded.body,"
        " inventory = max(inventory, excluded.inventory) RETURNING g",
        (t, key, fold(group.name), body, inventory),
    ).fetchone()
    return int(row["g"])


def drop_group(db: sqlite3.Connection, g: int) -> None:
    """A group is gone with its memberships; a link that pointed to it is missing now."""
    db.execute("UPDATE link SET g = NULL, state = 'missing' WHERE g = ?", (g,))
    db.execute("DELETE FROM edge WHERE g = ?", (g,))
    db.execute("DELETE FROM child WHERE p = ? OR c = ?", (g, g))
    db.execute("DELETE FROM target_group WHERE g = ?", (g,))


def put_members(
    db: sqlite3.Connection, t: int, group_key: str, members: Sequence[str], inventory: int
) -> None:
    """Note these members of a group as seen by this inventory. A membership that we had removed
    and that is there again comes from elsewhere: inherited (rule 21)."""
    row = db.execute(
        "SELECT g FROM target_group WHERE t = ? AND key = ?", (t, group_key)
    ).fetchone()
    if row is None:
        return
    db.executemany(
        "INSERT INTO edge (g, a, inventory)"
        " SELECT ?, a, ? FROM account WHERE t = ? AND key = ?"
        " ON CONFLICT (g, a) DO UPDATE SET inventory = excluded.inventory,"
        " inherited = inherited OR (removed AND NOT lost), removed = 0, lost = 0, unsure = 0",
        [(row["g"], inventory, t, member) for member in members],
    )


def members_read(db: sqlite3.Connection, t: int, groups: Iterable[str], inventory: int) -> None:
    """The members of these groups, by key, were read completely: what was not seen is gone, and
    what was ours of it is lost."""
    for key in groups:
        row = db.execute("SELECT g FROM target_group WHERE t = ? AND key = ?", (t, key)).fetchone()
        if row is not None:
            gone = (row["g"], inventory)
            # What was ours is remembered: somebody else has ended it (rule 22).
            db.execute(
                "DELETE FROM edge WHERE g = ? AND inventory < ?"
                " AND (ours IS NOT 1 OR unsure OR (removed AND NOT lost))",
                gone,
            )
            db.execute(
                "UPDATE edge SET removed = 1, lost = 1"
                " WHERE g = ? AND inventory < ? AND NOT removed",
                gone,
            )
            db.execute(
                "UPDATE target_group SET members_read = ? WHERE g = ?", (inventory, row["g"])
            )


def is_unread(db: sqlite3.Connection, t: int, group: str) -> bool:
    """Whether the last inventory did not read the members of the group of this name."""
    row = db.execute(
        "SELECT tg.members_read < t.inventory AS unread FROM target_group tg"
        " JOIN target t ON t.t = tg.t WHERE tg.t = ? AND tg.name = ?",
        (t, fold(group)),
    ).fetchone()
    return row is None or bool(row["unread"])


def unknown_keys(db: sqlite3.Connection, t: int, keys: Sequence[str]) -> list[str]:
    """Those of these that are no known account's."""
    sql = "SELECT 1 FROM account WHERE t = ? AND key = ?"
    return [key for key in keys if db.execute(sql, (t, key)).fetchone() is None]


def put_members_now(db: sqlite3.Connection, t: int, group_key: str, members: Sequence[str]) -> None:
    """These are all members of a group, read by themselves between two inventories."""
    number = int(db.execute("SELECT inventory FROM target WHERE t = ?", (t,)).fetchone()[0])
    put_members(db, t, group_key, members, number)
    members_read(db, t, [group_key], number)


def begin_inventory(db: sqlite3.Connection, t: int) -> int:
    """The number of a new inventory: what one that was broken off has seen proves nothing."""
    sql = (
        "UPDATE target SET inventory_begun = max(inventory, inventory_begun) + 1 WHERE t = ?"
        " RETURNING inventory_begun"
    )
    return int(db.execute(sql, (t,)).fetchone()[0])


def close_inventory(
    db: sqlite3.Connection, t: int, inventory: int, now: float, *, complete: bool
) -> None:
    """An inventory ended. Only a complete listing is a proof of absence (rule 2); where the
    product does not list everybody, accounts that were not seen stay as they are known."""
    if complete:
        gone = db.execute(
            "SELECT a FROM account WHERE t = ? AND inventory < ?", (t, inventory)
        ).fetchall()
        for row in gone:
            drop_account(db, row["a"])
    groups = db.execute(
        "SELECT g FROM target_group WHERE t = ? AND inventory < ?", (t, inventory)
    ).fetchall()
    for row in groups:
        drop_group(db, row["g"])
    update(db, t, inventory=inventory, inventory_at=now)


def groups_to_read(
    db: sqlite3.Connection, t: int, admin_groups: Collection[str] = ()
) -> list[TargetGroup]:
    """The groups whose members matter: linked ones, those that a wanted name would adopt, and the
    administrators' (names, folded): nobody in them is adopted (rule 20)."""
    rows = db.execute(
        "SELECT DISTINCT tg.body FROM target_group tg"
        " LEFT JOIN link l ON l.g = tg.g"
        " LEFT JOIN claim c ON c.t = tg.t AND c.field = 'group' AND c.key = tg.name"
        " WHERE tg.t = ? AND (l.n IS NOT NULL OR c.n IS NOT NULL"
        "  OR tg.name IN (SELECT value FROM json_each(?)))",
        (t, codec.dump(sorted(admin_groups))),
    )
    return [codec.group_from_dict(codec.load(row["body"])) for row in rows]


def group_row(db: sqlite3.Connection, t: int, name: str) -> sqlite3.Row | None:
    """The group that stands under a name."""
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM target_group WHERE t = ? AND name = ?", (t, fold(name))
    ).fetchone()
    return row


def account_rows(db: sqlite3.Connection, t: int, name: str) -> list[sqlite3.Row]:
    """The accounts that stand under a username."""
    return db.execute("SELECT * FROM account WHERE t = ? AND name = ?", (t, fold(name))).fetchall()
