"""Our subscriptions at Graph, with the fingerprints of the secrets that their notifications
carry."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from azsyncd.model.subscriptions import Kept


def load(db: sqlite3.Connection) -> list[Kept]:
    """Those that were kept."""
    rows = db.execute("SELECT id, resource, fingerprint, expires_at, url FROM subscription")
    return [Kept(**dict(row)) for row in rows]


def save(db: sqlite3.Connection, kept: Iterable[Kept]) -> None:
    """Keep these, and no others."""
    db.execute("DELETE FROM subscription")
    db.executemany(
        "INSERT INTO subscription (id, resource, fingerprint, expires_at, url)"
        " VALUES (?, ?, ?, ?, ?)",
        [(k.id, k.resource, k.fingerprint, k.expires_at, k.url) for k in kept],
    )
