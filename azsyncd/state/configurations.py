"""Which configuration was in force when: kept beside the journal, whose entries name them.

Secrets are masked before they come here (I10). A configuration that is brought into force again
after another one is a version of its own: when, and by whom, is half of what it says.
"""

from __future__ import annotations

import sqlite3


def note(db: sqlite3.Connection, digest: str, file: str, body: str, by: str, now: float) -> None:
    """This file is in force from now on, if it was not already."""
    newest = db.execute("SELECT digest FROM configuration ORDER BY id DESC LIMIT 1").fetchone()
    if newest is None or newest["digest"] != digest:
        db.execute(
            "INSERT INTO configuration (digest, at, by, file, body) VALUES (?, ?, ?, ?, ?)",
            (digest, now, by, file, body),
        )


def listed(db: sqlite3.Connection) -> list[sqlite3.Row]:
    """Every version that is kept, the newest first, without its text."""
    return db.execute(
        "SELECT c.id, c.digest, c.at, c.by, c.file,"
        " (SELECT count(*) FROM journal j WHERE j.configuration = c.id) AS writes"
        " FROM configuration c ORDER BY c.id DESC"
    ).fetchall()


def body_of(db: sqlite3.Connection, digest: str) -> list[str]:
    """The masked text of the versions whose digest begins like this."""
    rows = db.execute(
        "SELECT DISTINCT body FROM configuration WHERE substr(digest, 1, length(?1)) = ?1",
        (digest,),
    )
    return [row["body"] for row in rows]


def prune(db: sqlite3.Connection) -> None:
    """Forget those that no entry of the journal names any more; never the newest."""
    db.execute(
        "DELETE FROM configuration WHERE id < (SELECT max(id) FROM configuration)"
        " AND NOT EXISTS (SELECT 1 FROM journal j WHERE j.configuration = configuration.id)"
    )
