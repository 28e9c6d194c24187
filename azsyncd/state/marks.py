"""Ownership marks as far as they are known: whose accounts carry them, and who must be asked."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from azsyncd.model.accounts import Account
from azsyncd.state import codec, targets

_SAMPLE = 20


def by_others(db: sqlite3.Connection, t: int, instance: str) -> dict[str, int]:
    """How many accounts carry the mark of another instance, by its name."""
    rows = db.execute(
        "SELECT marked_by, count(*) FROM account"
        " WHERE t = ? AND marked_for IS NOT NULL AND marked_by != ? GROUP BY marked_by",
        (t, instance),
    )
    return {row[0]: row[1] for row in rows}


def known(db: sqlite3.Connection, t: int, *, listed: bool) -> int:
    """Of how many accounts it is known whether they carry a mark. `listed`: the listing says so."""
    sql = "SELECT count(*) FROM account WHERE t = ? AND (? OR mark_read OR marked_for IS NOT NULL)"
    return int(db.execute(sql, (t, listed)).fetchone()[0])


def any_ours(db: sqlite3.Connection, t: int, instance: str) -> bool:
    """Whether any account carries the mark of this instance."""
    sql = "SELECT 1 FROM account WHERE t = ? AND marked_for IS NOT NULL AND marked_by = ? LIMIT 1"
    return db.execute(sql, (t, instance)).fetchone() is not None


_UNASKED = (
    "SELECT DISTINCT ac.a, ac.body FROM claim c JOIN account ac ON ac.t = c.t AND {same}"
    " WHERE c.t = :t AND c.field IN ({fields}) AND NOT ac.mark_read AND ac.marked_for IS NULL"
    " AND NOT EXISTS (SELECT 1 FROM link l WHERE l.a = ac.a)"
    " AND NOT EXISTS (SELECT 1 FROM link l WHERE l.t = c.t AND l.n = c.n)"
)
_NAMES = ("ac.name = c.key", "'username', 'kept'")
_MAILS = ("ac.mail = c.key", "'email'")


def to_ask(db: sqlite3.Connection, t: int, adopt: str) -> list[tuple[int, Account]]:
    """Accounts that may be somebody's who has no link, by their marks alone: what `adopt` takes
    over anyway need not be asked."""
    parts = []
    if adopt != "username":
        parts.append(
            _UNASKED.format(same=_NAMES[0], fields=_NAMES[1]) + _without(adopt, "email", "mail")
        )
    if adopt == "username":
        parts.append(
            _UNASKED.format(same=_MAILS[0], fields=_MAILS[1])
            + " AND NOT EXISTS (SELECT 1 FROM claim u JOIN account x ON x.t = u.t"
            " AND x.name = u.key AND x.mail = c.key"
            " WHERE u.t = c.t AND u.field = 'username' AND u.n = c.n)"
        )
    elif adopt != "email":
        parts.append(
            _UNASKED.format(same=_MAILS[0], fields=_MAILS[1]) + _without(adopt, "username", "name")
        )
    return _accounts(db.execute(" UNION ".join(parts), {"t": t}))


def _without(adopt: str, field: str, column: str) -> str:
    """But not those that have both, whom `adopt` takes over."""
    if adopt == "never":
        return ""
    return (
        f" AND NOT EXISTS (SELECT 1 FROM claim o WHERE o.t = c.t AND o.field = '{field}'"
        f" AND o.n = c.n AND o.key = ac.{column})"
    )


def sample(db: sqlite3.Connection, t: int) -> list[tuple[int, Account]]:
    """Some of the accounts that would be adopted by name: do they carry somebody's mark?"""
    sql = _UNASKED.format(same=_NAMES[0], fields=_NAMES[1])
    return _accounts(db.execute(f"{sql} ORDER BY ac.a LIMIT {_SAMPLE}", {"t": t}))


def _accounts(rows: sqlite3.Cursor) -> list[tuple[int, Account]]:
    return [(row["a"], codec.account_from_dict(codec.load(row["body"]))) for row in rows]


def asked(db: sqlite3.Connection, t: int, answers: Sequence[tuple[int, Account | None]]) -> None:
    """These accounts were asked for their marks, and nobody need ask again."""
    for a, found in answers:
        if found is not None:
            targets.put_account(db, t, found)
        db.execute("UPDATE account SET mark_read = 1 WHERE a = ?", (a,))
