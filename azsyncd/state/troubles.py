"""Who did not answer when a command last asked, for a `status` without a daemon.

A daemon knows what is wrong while it runs; what a command saw is kept here until one of the same
kind goes well, or a daemon starts.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from azsyncd.state import codec
from azsyncd.state.store import get_meta, set_meta

ENTRA = "entra:"
"""Who is meant by Entra; targets are named by their names, which have no colon."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What was wrong. `state`: down or refused, as in `status`."""

    state: str
    message: str
    hint: str
    at: float


def note(db: sqlite3.Connection, who: str, trouble: Trouble) -> None:
    """Remember it."""
    told = [trouble.state, trouble.message, trouble.hint, trouble.at]
    set_meta(db, f"trouble:{who}", codec.dump(told))


def over(db: sqlite3.Connection, who: str) -> None:
    """It went well this time."""
    db.execute("DELETE FROM meta WHERE key = ?", (f"trouble:{who}",))


def clear(db: sqlite3.Connection) -> None:
    """A daemon starts: from now on it knows better."""
    db.execute("DELETE FROM meta WHERE key LIKE 'trouble:%'")


def of(db: sqlite3.Connection, who: str) -> Trouble | None:
    """What was wrong the last time; None = nothing."""
    text = get_meta(db, f"trouble:{who}")
    return None if text is None else Trouble(*codec.load(text))
