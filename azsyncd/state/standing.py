"""What stands now for one planned change, read right before it is sent; and what is noted when
something turns out to be gone."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from azsyncd.model.accounts import Account, TargetGroup
from azsyncd.model.changes import Withheld
from azsyncd.model.identities import ObjectId
from azsyncd.model.links import LinkState, Origin
from azsyncd.state import codec, facts, links, targets, waiting
from azsyncd.state.spill import Planned


@dataclass(frozen=True, slots=True)
class Standing:
    """`waited`: the reason for which this very change was refused before, "" if it was not.
    `c` and `child`: the lower group, where a group goes into a group."""

    object_id: ObjectId | None
    name: str
    link: sqlite3.Row | None
    a: int | None
    account: Account | None
    g: int | None
    group: TargetGroup | None
    waited: str = ""
    c: int | None = None
    child: TargetGroup | None = None


def standing(db: sqlite3.Connection, t: int, planned: Planned) -> Standing:
    """What the change is about, as the state knows it now."""
    item = planned.item
    row = db.execute("SELECT id, name FROM object WHERE n = ?", (item.n,)).fetchone()
    link = links.get(db, t, item.n)
    a = g = c = None
    if item.akey:
        a = account_number(db, t, item.akey)
    elif link is not None:
        a, g = link["a"], link["g"]
    if item.gn:
        c, group_link = g, links.get(db, t, item.gn)
        g = group_link["g"] if group_link is not None else None
    waited = db.execute(
        "SELECT reason FROM waiting WHERE t = ? AND n = ? AND change = ? AND gn = ? AND akey = ?",
        (t, item.n, item.change.kind, item.gn, item.akey),
    ).fetchone()
    return Standing(
        object_id=row["id"] if row else None,
        name=(row["name"] or row["id"]) if row else item.akey,
        link=link,
        a=a,
        account=codec.account_of(_body(db, "SELECT body FROM account WHERE a = ?", a)),
        g=g,
        group=codec.group_of(_body(db, "SELECT body FROM target_group WHERE g = ?", g)),
        waited=waited["reason"] if waited else "",
        c=c,
        child=codec.group_of(_body(db, "SELECT body FROM target_group WHERE g = ?", c)),
    )


def _body(db: sqlite3.Connection, sql: str, number: int | None) -> str | None:
    if number is None:
        return None
    row = db.execute(sql, (number,)).fetchone()
    return None if row is None else str(row["body"])


def account_number(db: sqlite3.Connection, t: int, key: str) -> int | None:
    """The account of this key."""
    row = db.execute("SELECT a FROM account WHERE t = ? AND key = ?", (t, key)).fetchone()
    return None if row is None else int(row["a"])


def account_name(db: sqlite3.Connection, a: int) -> str:
    """The username under which an account stands, folded."""
    return str(db.execute("SELECT name FROM account WHERE a = ?", (a,)).fetchone()["name"])


def found_again(db: sqlite3.Connection, t: int, n: int, account: Account, now: float) -> None:
    """It was never gone: the second read shows it (rule 19)."""
    a = targets.put_account(db, t, account)
    row = links.get(db, t, n)
    origin = Origin(row["origin"]) if row is not None else Origin.CREATED
    links.settle_account(db, t, n, a, origin, account)
    waiting.make_due(db, t, n, now)


def group_gone(db: sqlite3.Connection, t: int, g: int, now: float) -> None:
    """A group was deleted in the product: its object is looked at again."""
    row = db.execute("SELECT n FROM link WHERE g = ?", (g,)).fetchone()
    targets.drop_group(db, g)
    if row is not None:
        waiting.make_due(db, t, row["n"], now)


def group_deleted(
    db: sqlite3.Connection, t: int, n: int, g: int | None, name: str, now: float
) -> None:
    """We deleted a group, and it is not there any more: its link ends (rule 19)."""
    links.drop(db, t, n)
    if g is not None:
        targets.drop_group(db, g)
    facts.wake_claimants(db, t, "group", name, now)


def account_gone(db: sqlite3.Connection, t: int, key: str | None) -> None:
    """An account is not there any more."""
    a = account_number(db, t, key or "")
    if a is not None:
        targets.drop_account(db, a)


def forget_create(db: sqlite3.Connection, t: int, n: int, before: sqlite3.Row | None) -> None:
    """A definite refusal of a create deletes `pending` (rule 18); a link that was there before is
    missing again."""
    row = links.get(db, t, n)
    if row is None or row["state"] != LinkState.PENDING:
        return
    if before is not None and before["state"] != LinkState.PENDING:
        db.execute(
            "UPDATE link SET state = 'missing', sent = NULL WHERE t = ? AND n = ?",
            (t, n),
        )
    else:
        links.drop(db, t, n)


def owner_of_account(db: sqlite3.Connection, a: int, other_than: int) -> bool:
    """Whether an account is linked to another object."""
    sql = "SELECT 1 FROM link WHERE a = ? AND n != ?"
    return db.execute(sql, (a, other_than)).fetchone() is not None


def owner_of_group(db: sqlite3.Connection, g: int, other_than: int) -> bool:
    """Whether a group is linked to another object."""
    sql = "SELECT 1 FROM link WHERE g = ? AND n != ?"
    return db.execute(sql, (g, other_than)).fetchone() is not None


def group_is_in_use(db: sqlite3.Connection, g: int, other_than: int) -> bool:
    """Whether a group is linked to another object that has a use for it: not to a deleted one, nor
    to one that another group has left and that is no default group."""
    sql = (
        "SELECT 1 FROM link l JOIN object o ON o.n = l.n WHERE l.g = ? AND l.n != ?"
        " AND o.presence = 'present' AND (o.kind != 'own' OR EXISTS"
        " (SELECT 1 FROM claim c WHERE c.t = l.t AND c.n = l.n AND c.field = 'group'))"
    )
    return db.execute(sql, (g, other_than)).fetchone() is not None


def owes_another_try(db: sqlite3.Connection, t: int, n: int) -> bool:
    """Whether a change of this object itself was refused and is tried again some time."""
    row = db.execute(
        "SELECT 1 FROM waiting WHERE t = ? AND n = ? AND gn = 0 AND retry_at IS NOT NULL LIMIT 1",
        (t, n),
    ).fetchone()
    return row is not None


def attempts(db: sqlite3.Connection, t: int, planned: Planned) -> int:
    """How often this change was refused in a row."""
    item = planned.item
    row = db.execute(
        "SELECT attempts FROM waiting WHERE t = ? AND n = ? AND change = ? AND gn = ? AND akey = ?",
        (t, item.n, item.change.kind, item.gn, item.akey),
    ).fetchone()
    return 0 if row is None else int(row["attempts"])


def wake_for(db: sqlite3.Connection, t: int, reason: Withheld, now: float) -> None:
    """A condition of the whole target has ended: whoever waited for that is due (rule 30)."""
    db.execute("UPDATE waiting SET retry_at = ? WHERE t = ? AND reason = ?", (now, t, reason.value))
