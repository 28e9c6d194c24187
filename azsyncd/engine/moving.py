"""`azsyncd target rename | rebind | detach`: whose state it is (rule 25).

The state belongs to installations, by their fingerprints, and the file names them. Where the two
come apart a person says how they belong together; nothing is ever written to a product here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import structlog

from azsyncd.errors import AzsyncdError
from azsyncd.state import belongings, targets
from azsyncd.state.store import Connection

log = structlog.get_logger()

Told = dict[str, Any]
"""{action, target, new, accounts, groups, holds, done}"""


def rename(db: Connection, old: str, new: str, in_file: Collection[str], *, go: bool) -> Told:
    """What is known of `old` is known of `new` from now on. Raises AzsyncdError."""
    row = _known(db, old)
    if new not in in_file:
        raise AzsyncdError(
            f"the file has no target {new!r}",
            f"rename {old!r} in the file first; then this command moves what is known of it",
        )
    if old in in_file:
        raise AzsyncdError(
            f"{old!r} is in the file still", "rename it there, not a copy of it; then again"
        )
    newcomer = belongings.named(db, new)
    if newcomer is not None:
        if newcomer.type != row.type:
            raise AzsyncdError(f"{old!r} is {row.type}, and {new!r} is {newcomer.type}")
        if belongings.of(db, newcomer.t).accounts:
            raise AzsyncdError(
                f"{new!r} has accounts of its own already",
                f"azsyncd target detach {old} gives up the old ones, if that is what you want",
            )
        if None not in (row.fingerprint, newcomer.fingerprint) and (
            row.fingerprint != newcomer.fingerprint
        ):
            raise AzsyncdError(f"{old!r} and {new!r} are two installations", "see their urls")
    told = _told(db, "rename", row, go) | {"new": new}
    if go:
        belongings.rename(db, row.t, new, newcomer.t if newcomer is not None else None)
        log.info("target.renamed", target=old, new=new)
    return told


def rebind(db: Connection, name: str, in_file: Collection[str], *, moved: bool, go: bool) -> Told:
    """Another installation answers under this name: give up what is known of the old one, or
    (`moved`) keep it, for it is the same one at another address. Raises AzsyncdError."""
    row = _known(db, name)
    if name not in in_file:
        raise AzsyncdError(
            f"the file has no target {name!r}", f"azsyncd target detach {name} gives it up"
        )
    told = _told(db, "rebind", row, go)
    if go:
        belongings.rebind(db, row.t, moved=moved)
        log.info("target.rebound", target=name, moved=moved)
    return told


def detach(db: Connection, name: str, in_file: Collection[str], *, go: bool) -> Told:
    """Give up what is known of a target that is in the file no more. Raises AzsyncdError."""
    row = _known(db, name)
    if name in in_file:
        raise AzsyncdError(
            f"{name!r} is in the file still", "take it out of the file first, and reload"
        )
    told = _told(db, "detach", row, go)
    if go:
        belongings.detach(db, row.t)
        log.info("target.detached", target=name)
    return told


def _known(db: Connection, name: str) -> targets.TargetRow:
    row = belongings.named(db, name)
    if row is None:
        known = ", ".join(each.name for each in targets.all_targets(db))
        raise AzsyncdError(f"the state knows no target {name!r}", f"it knows: {known or 'none'}")
    return row


def _told(db: Connection, action: str, row: targets.TargetRow, go: bool) -> Told:
    has = belongings.of(db, row.t)
    return {
        "action": action,
        "target": row.name,
        "new": None,
        "accounts": has.accounts,
        "groups": has.groups,
        "holds": has.holds,
        "done": go,
    }
