"""What waits for a person, what persons decided, and what allowance is spent (rules 35 to 38)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from azsyncd.model.changes import Change
from azsyncd.model.identities import ObjectId
from azsyncd.plan.guard import Sizes, Spent
from azsyncd.plan.policy import GuardClass
from azsyncd.state import codec

APPROVAL_SECONDS = 86400.0
"""How long an approval covers its items."""

FIRST_CONTACT = "first_contact"
SOURCE = "source"
RENAMED_GROUP = "renamed_group"
MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Hold:
    """One hold; `payload` is free: counts for first contact, the crawl for source."""

    id: int
    t: int | None
    kind: str
    state: str
    opened_at: float
    detail: str
    payload: dict[str, Any]
    decided_by: str | None
    decided_at: float | None
    decision: str | None
    items: int


@dataclass(frozen=True, slots=True)
class Item:
    """One change of a hold, by the numbers that identify it."""

    n: int
    gn: int
    akey: str
    change: Change


def open_hold(
    db: sqlite3.Connection,
    t: int | None,
    kind: str,
    detail: str,
    now: float,
    items: Iterable[Item] = (),
    payload: Mapping[str, Any] | None = None,
) -> int:
    """Freeze these items until a person decides."""
    cursor = db.execute(
        "INSERT INTO hold (t, kind, opened_at, detail, payload) VALUES (?, ?, ?, ?, ?)",
        (t, kind, now, detail, codec.dump(dict(payload or {}))),
    )
    hold = int(cursor.lastrowid or 0)
    add_items(db, hold, items)
    return hold


def add_items(db: sqlite3.Connection, hold: int, items: Iterable[Item]) -> None:
    """Fill a hold while it is opened."""
    db.executemany(
        "INSERT OR REPLACE INTO hold_item (hold, n, change, gn, akey, digest, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (
                hold,
                item.n,
                item.change.kind,
                item.gn,
                item.akey,
                codec.change_digest(item.change),
                codec.change_text(item.change),
            )
            for item in items
        ],
    )


_HOLD = "SELECT h.*, (SELECT count(*) FROM hold_item i WHERE i.hold = h.id) AS items FROM hold h"


def _hold(row: sqlite3.Row) -> Hold:
    payload = codec.load(row["payload"])
    return Hold(
        row["id"],
        row["t"],
        row["kind"],
        row["state"],
        row["opened_at"],
        row["detail"],
        payload,
        row["decided_by"],
        row["decided_at"],
        row["decision"],
        row["items"] or int(payload.get("items", 0)),
    )


def get(db: sqlite3.Connection, hold: int) -> Hold | None:
    """One hold."""
    row = db.execute(f"{_HOLD} WHERE h.id = ?", (hold,)).fetchone()
    return None if row is None else _hold(row)


def listed(db: sqlite3.Connection, states: Sequence[str] = ("open",)) -> list[Hold]:
    """The holds in these states, oldest first."""
    marks = ", ".join("?" * len(states))
    rows = db.execute(f"{_HOLD} WHERE h.state IN ({marks}) ORDER BY h.id", tuple(states))
    return [_hold(row) for row in rows]


def unsettled(db: sqlite3.Connection) -> list[Hold]:
    """The holds that wait, those that were rejected, and what of an approval is not written yet."""
    rows = db.execute(
        f"{_HOLD} WHERE h.state IN ('open', 'rejected') OR h.state = 'approved'"
        " AND EXISTS (SELECT 1 FROM hold_item i WHERE i.hold = h.id) ORDER BY h.id"
    )
    return [_hold(row) for row in rows]


def standing(db: sqlite3.Connection, t: int | None, kind: str) -> Hold | None:
    """The open hold of a kind."""
    row = db.execute(
        f"{_HOLD} WHERE h.t IS ? AND h.kind = ? AND h.state = 'open' ORDER BY h.id DESC",
        (t, kind),
    ).fetchone()
    return None if row is None else _hold(row)


def latest(db: sqlite3.Connection, t: int | None, kind: str) -> Hold | None:
    """The newest hold of a kind, whatever became of it."""
    row = db.execute(
        f"{_HOLD} WHERE h.t IS ? AND h.kind = ? ORDER BY h.id DESC LIMIT 1", (t, kind)
    ).fetchone()
    return None if row is None else _hold(row)


def restate(db: sqlite3.Connection, hold: int, detail: str, payload: Mapping[str, Any]) -> None:
    """The counts of a hold, as they are now."""
    db.execute(
        "UPDATE hold SET detail = ?, payload = ? WHERE id = ?",
        (detail, codec.dump(dict(payload)), hold),
    )


def close_standing(
    db: sqlite3.Connection, t: int | None, kind: str, state: str, now: float | None = None
) -> None:
    """End the open holds of a kind: approved by what somebody asked for, or gone."""
    db.execute(
        "UPDATE hold SET state = ?, decided_at = coalesce(decided_at, ?)"
        " WHERE t IS ? AND kind = ? AND state = 'open'",
        (state, now, t, kind),
    )


def items(db: sqlite3.Connection, hold: int) -> list[sqlite3.Row]:
    """A hold's items with the names of object and group."""
    return db.execute(
        "SELECT i.*, o.id, o.name, g.name AS group_name FROM hold_item i"
        " LEFT JOIN object o ON o.n = i.n LEFT JOIN object g ON g.n = i.gn"
        " WHERE i.hold = ? ORDER BY o.name",
        (hold,),
    ).fetchall()


def decision_of(db: sqlite3.Connection, t: int, item: Item, now: float) -> tuple[str, int] | None:
    """What persons said of exactly this change: ('open' | 'approved' | 'rejected', hold); None if
    nobody was asked. An item that is planned differently now leaves its hold here."""
    rows = db.execute(
        "SELECT i.hold, i.digest, i.state, h.decided_at FROM hold_item i"
        " JOIN hold h ON h.id = i.hold WHERE i.n = ? AND i.change = ? AND i.gn = ? AND i.akey = ?"
        " AND h.t = ? ORDER BY i.hold DESC",
        (item.n, item.change.kind, item.gn, item.akey, t),
    ).fetchall()
    digest = codec.change_digest(item.change) if rows else ""
    found = None
    for row in rows:
        stale = row["digest"] != digest or (
            row["state"] == "approved" and (row["decided_at"] or 0) + APPROVAL_SECONDS < now
        )
        if stale:
            _leave(db, row["hold"], item)
        elif found is None:
            found = (row["state"], row["hold"])
    return found


def _leave(db: sqlite3.Connection, hold: int, item: Item) -> None:
    db.execute(
        "DELETE FROM hold_item WHERE hold = ? AND n = ? AND change = ? AND gn = ? AND akey = ?",
        (hold, item.n, item.change.kind, item.gn, item.akey),
    )


def keep_only(
    db: sqlite3.Connection,
    t: int,
    n: int,
    planned: Iterable[tuple[str, int, str]],
    *,
    foreign: bool = False,
) -> None:
    """An object was planned again: what of it is no longer planned leaves every hold (rule 38).
    `foreign`: it is a group, whose foreign members were planned."""
    rows = db.execute(
        "SELECT i.hold, i.change, i.gn, i.akey FROM hold_item i JOIN hold h ON h.id = i.hold"
        " WHERE i.n = ? AND h.t = ? AND (i.akey != '') = ?",
        (n, t, foreign),
    ).fetchall()
    if not rows:
        return
    wanted = set(planned)
    for row in rows:
        if (row["change"], row["gn"], row["akey"]) not in wanted:
            db.execute(
                "DELETE FROM hold_item WHERE hold = ? AND n = ? AND change = ? AND gn = ?"
                " AND akey = ?",
                (row["hold"], n, row["change"], row["gn"], row["akey"]),
            )


def held_by_kind(db: sqlite3.Connection, t: int) -> dict[str, int]:
    """How many changes the open holds of a target keep, by their kind."""
    rows = db.execute(
        "SELECT h.kind, count(*) FROM hold_item i JOIN hold h ON h.id = i.hold"
        " WHERE h.t = ? AND i.state = 'open' GROUP BY h.kind",
        (t,),
    )
    return dict(rows.fetchall())


def withdraw(db: sqlite3.Connection, t: int, kind: str) -> None:
    """Nothing waits in the open holds of this kind any more: what made them is over."""
    db.execute(
        "DELETE FROM hold_item WHERE state = 'open' AND hold IN"
        " (SELECT id FROM hold WHERE t = ? AND kind = ? AND state = 'open')",
        (t, kind),
    )
    close_empty(db, t)


def close_empty(db: sqlite3.Connection, t: int) -> None:
    """A hold whose last item has left is gone."""
    db.execute(
        "UPDATE hold SET state = 'gone' WHERE t = ? AND state IN ('open', 'approved')"
        " AND kind NOT IN (?, ?)"
        " AND NOT EXISTS (SELECT 1 FROM hold_item i WHERE i.hold = hold.id)",
        (t, FIRST_CONTACT, SOURCE),
    )


def decide(
    db: sqlite3.Connection,
    hold: int,
    state: str,
    by: str,
    reason: str,
    now: float,
    chosen: Iterable[int] | None = None,
) -> list[int]:
    """Approve or reject a hold, or only the items of the chosen objects; returns the objects.

    Approved in part: the approved items move into a hold of their own, which goes on under the
    number that the person knows in what the journal says; the rest stays open.
    """
    rows = db.execute("SELECT DISTINCT n FROM hold_item WHERE hold = ?", (hold,)).fetchall()
    everybody = [row["n"] for row in rows]
    picked = None if chosen is None else set(chosen)
    some = everybody if picked is None else [n for n in everybody if n in picked]
    if chosen is not None and len(some) < len(everybody):
        db.execute(
            "INSERT INTO hold (t, kind, opened_at, detail, payload)"
            " SELECT t, kind, opened_at, detail,"
            " json_set(payload, '$.part_of', coalesce(json_extract(payload, '$.part_of'), id))"
            " FROM hold WHERE id = ?",
            (hold,),
        )
        part = int(db.execute("SELECT last_insert_rowid()").fetchone()[0])
        db.executemany(
            "UPDATE hold_item SET hold = ? WHERE hold = ? AND n = ?",
            [(part, hold, n) for n in some],
        )
        hold = part
    db.execute(
        "UPDATE hold SET state = ?, decided_by = ?, decided_at = ?, decision = ? WHERE id = ?",
        (state, by, now, reason, hold),
    )
    db.execute("UPDATE hold_item SET state = ? WHERE hold = ?", (state, hold))
    return some


def approval_of(db: sqlite3.Connection, t: int, item: Item) -> str:
    """Who approved a change, in which hold, and why; "" if nobody was asked."""
    row = db.execute(
        "SELECT coalesce(json_extract(h.payload, '$.part_of'), h.id) AS id, h.decided_by,"
        " h.decision FROM hold_item i JOIN hold h ON h.id = i.hold"
        " WHERE h.t = ? AND i.n = ? AND i.change = ? AND i.gn = ? AND i.akey = ?"
        " AND i.state = 'approved' ORDER BY h.id DESC LIMIT 1",
        (t, item.n, item.change.kind, item.gn, item.akey),
    ).fetchone()
    return "" if row is None else _told(row)


def consent_of(db: sqlite3.Connection, t: int) -> str:
    """The same for a first contact that is still being written."""
    row = db.execute(
        "SELECT h.id, h.decided_by, h.decision FROM hold h JOIN target tg ON tg.t = h.t"
        " WHERE h.t = ? AND h.kind = ? AND h.state = 'approved' AND h.decided_by IS NOT NULL"
        " AND tg.first_contact = 'consented' ORDER BY h.id DESC LIMIT 1",
        (t, FIRST_CONTACT),
    ).fetchone()
    return "" if row is None else _told(row)


def _told(row: sqlite3.Row) -> str:
    why = f" ({row['decision']})" if row["decision"] else ""
    return f"hold {row['id']} approved by {row['decided_by']}{why}"


def used_up(db: sqlite3.Connection, t: int, item: Item) -> None:
    """An approved change was sent: an approval counts once."""
    db.execute(
        "DELETE FROM hold_item WHERE n = ? AND change = ? AND gn = ? AND akey = ?"
        " AND hold IN (SELECT id FROM hold WHERE t = ?)",
        (item.n, item.change.kind, item.gn, item.akey, t),
    )


# Allowance --------------------------------------------------------------------------------------


def spend(
    db: sqlite3.Connection,
    t: int,
    class_: str,
    gn: int,
    n: int,
    size: int,
    at: float,
    akey: str = "",
    people: int = 1,
) -> None:
    """Spend one of a class (for a child group: one for each of its people), in the transaction
    before the call (rule 37)."""
    db.execute(
        "INSERT OR IGNORE INTO spent (t, class, gn, at, n, akey, size, people)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (t, class_, gn, at, n, akey, size, people),
    )


def give_back(
    db: sqlite3.Connection, t: int, class_: str, gn: int, n: int, at: float, akey: str = ""
) -> None:
    """A definite refusal: nothing happened, nothing is spent."""
    db.execute(
        "DELETE FROM spent WHERE t = ? AND class = ? AND gn = ? AND n = ? AND akey = ? AND at = ?",
        (t, class_, gn, n, akey, at),
    )


def latest_spent(db: sqlite3.Connection, t: int) -> float:
    """The guard's clock when it last spent something: it never goes back behind that (37)."""
    row = db.execute("SELECT max(at) FROM spent WHERE t = ?", (t,)).fetchone()
    return float(row[0] or 0.0)


def spent(db: sqlite3.Connection, t: int, since: float) -> Spent:
    """What is spent since a moment; what is older is forgotten by `prune_spent`."""
    rows = db.execute(
        "SELECT s.class, iif(s.class = 'shrink_group', o.id, NULL), sum(s.people) FROM spent s"
        " LEFT JOIN object o ON o.n = s.gn WHERE s.t = ? AND s.at > ? GROUP BY 1, 2",
        (t, since),
    )
    return {(GuardClass(row[0]), row[1]): row[2] for row in rows}


def prune_spent(db: sqlite3.Connection, t: int, before: float) -> None:
    """Forget what has left the window."""
    db.execute("DELETE FROM spent WHERE t = ? AND at <= ?", (t, before))


def sizes(db: sqlite3.Connection, t: int, since: float, groups: Iterable[ObjectId]) -> Sizes:
    """What the target had at the start of the window: the oldest size noted in it, or now's."""
    accounts, edges, linked = now_sizes(db, t)

    def base(class_names: Sequence[str], now: int) -> int:
        marks = ", ".join("?" * len(class_names))
        row = db.execute(
            f"SELECT size FROM spent WHERE t = ? AND at > ? AND class IN ({marks})"
            " ORDER BY at LIMIT 1",
            (t, since, *class_names),
        ).fetchone()
        return int(row["size"]) if row else now

    members = {}
    for group in groups:
        row = db.execute(
            "SELECT s.size FROM spent s JOIN object o ON o.n = s.gn"
            " WHERE s.t = ? AND s.at > ? AND s.class = 'shrink_group' AND o.id = ?"
            " ORDER BY s.at LIMIT 1",
            (t, since, group),
        ).fetchone()
        members[group] = int(row["size"]) if row else member_count(db, t, group)
    return Sizes(
        accounts=base(("deactivate", "disable", "rename", "update", "delete", "create"), accounts),
        edges=base(("remove_member", "add_member"), edges),
        groups=base(("delete_group",), linked),
        members=members,
    )


def now_sizes(db: sqlite3.Connection, t: int) -> tuple[int, int, int]:
    """(active linked accounts, memberships that are ours, linked groups). Asked for every write
    run, so these are kept by triggers and not counted."""
    row = db.execute(
        "SELECT n_accounts, n_edges, n_groups FROM target WHERE t = ?", (t,)
    ).fetchone()
    return int(row[0]), int(row[1]), int(row[2])


def member_count(db: sqlite3.Connection, t: int, group: ObjectId) -> int:
    """The members of a linked group, ours or not."""
    row = db.execute(
        "SELECT tg.n_members FROM object o JOIN link l ON l.t = ? AND l.n = o.n"
        " JOIN target_group tg ON tg.g = l.g WHERE o.id = ?",
        (t, group),
    ).fetchone()
    return 0 if row is None else int(row[0])
