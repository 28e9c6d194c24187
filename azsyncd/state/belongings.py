"""What the state knows of a target as a whole: moved to another name, or given up (rule 25)."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from azsyncd.state import targets


@dataclass(frozen=True, slots=True)
class Belongings:
    """How much is known of a target."""

    accounts: int
    groups: int
    holds: int

    @property
    def anything(self) -> bool:
        return bool(self.accounts or self.groups or self.holds)


def of(db: sqlite3.Connection, t: int) -> Belongings:
    """What is linked there, and what waits for a person."""
    row = db.execute(
        "SELECT (SELECT count(*) FROM link WHERE t = :t AND g IS NULL) AS accounts,"
        " (SELECT count(*) FROM link WHERE t = :t AND g IS NOT NULL) AS groups,"
        " (SELECT count(*) FROM hold WHERE t = :t AND state = 'open') AS holds",
        {"t": t},
    ).fetchone()
    return Belongings(row["accounts"], row["groups"], row["holds"])


def named(db: sqlite3.Connection, name: str) -> targets.TargetRow | None:
    """The target of this name, if the state knows one."""
    return next((row for row in targets.all_targets(db) if row.name == name), None)


_OF_TARGET = ("claim", "scope_match", "waiting", "owed", "drift", "spent", "planned", "unlinked")


def give_up(db: sqlite3.Connection, t: int) -> None:
    """All links end, and whatever was read there is forgotten; the journal stays."""
    db.execute("DELETE FROM link WHERE t = ?", (t,))
    db.execute("DELETE FROM edge WHERE g IN (SELECT g FROM target_group WHERE t = ?)", (t,))
    db.execute("DELETE FROM child WHERE p IN (SELECT g FROM target_group WHERE t = ?)", (t,))
    db.execute("DELETE FROM account WHERE t = ?", (t,))
    db.execute("DELETE FROM target_group WHERE t = ?", (t,))
    for table in _OF_TARGET:
        db.execute(f"DELETE FROM {table} WHERE t = ?", (t,))
    db.execute("DELETE FROM hold_item WHERE hold IN (SELECT id FROM hold WHERE t = ?)", (t,))
    db.execute("UPDATE hold SET state = 'gone' WHERE t = ? AND state != 'gone'", (t,))
    targets.update(
        db,
        t,
        fingerprint=None,
        policy="",
        inventory=0,
        inventory_at=None,
        first_contact="new",
        agreed=None,
        success_at=None,
    )
    targets.owe_full(db, t)


def detach(db: sqlite3.Connection, t: int) -> None:
    """Give it up, and know its name no more but for the journal."""
    give_up(db, t)
    targets.update(db, t, detached=1, paused=None)


def rebind(db: sqlite3.Connection, t: int, *, moved: bool) -> None:
    """The next installation that answers under this name is the one. `moved`: it is the same one
    at another address, so what is known of it stays, and is compared with what stands there."""
    if moved:
        targets.update(db, t, fingerprint=None)
        targets.owe_full(db, t)
    else:
        give_up(db, t)


def rename(db: sqlite3.Connection, old: int, new_name: str, newcomer: int | None) -> None:
    """What is known under one name is known under another one from now on. `newcomer`: the empty
    target that a daemon has made for the new name."""
    if newcomer is not None:
        give_up(db, newcomer)
        # What was held or written there, if anything, is the same product's.
        for table in ("journal", "hold"):
            db.execute(f"UPDATE {table} SET t = ? WHERE t = ?", (old, newcomer))
        db.execute("DELETE FROM target WHERE t = ?", (newcomer,))
    before = targets.get(db, old).name
    # A name that was given up before makes room; its journal goes along.
    row = db.execute("SELECT t FROM target WHERE name = ?", (new_name,)).fetchone()
    if row is not None:
        db.execute("UPDATE journal SET t = ? WHERE t = ?", (old, row["t"]))
        db.execute("UPDATE hold SET t = ? WHERE t = ?", (old, row["t"]))
        db.execute("DELETE FROM target WHERE t = ?", (row["t"],))
    targets.update(db, old, name=new_name)
    db.execute("DELETE FROM meta WHERE key = ?", (f"account:{new_name}",))
    db.execute(
        "UPDATE meta SET key = ? WHERE key = ?", (f"account:{new_name}", f"account:{before}")
    )
