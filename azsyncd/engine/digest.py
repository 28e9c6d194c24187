"""The weekly mail: what came and went, what waits, what ends soon. Numbers, and no names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from azsyncd.engine import lastdays, schedule
from azsyncd.engine.alerts import DAY
from azsyncd.engine.figures import seat_rows
from azsyncd.state import alerts, questions
from azsyncd.state.store import Connection, get_meta, set_meta

if TYPE_CHECKING:
    from azsyncd.engine.reconcile import Reconcile
    from azsyncd.engine.running import Running

HEADLINE = "the last seven days"
WHEN = "0 7 * * 1"
"""Monday morning, in the time zone of the schedule."""

SLOT = "digest_slot"
JOINED = ("create", "adopt", "reactivate")
LEFT = ("deactivate", "strip", "delete")
"""By the words of the journal, which may be older than this version."""

Written = Mapping[tuple[str, str], int]


async def is_due(running: Running) -> bool:
    """Whether a slot has passed that had none. The first one is a week's work away."""
    slot = _slot(running)
    ran = await running.store.read(lambda db: get_meta(db, SLOT))
    if ran is None:
        await running.store.write(lambda db: set_meta(db, SLOT, slot))
        return False
    return slot > str(ran)


def sent(db: Connection, running: Running) -> None:
    """It is on its way."""
    set_meta(db, SLOT, _slot(running))


def _slot(running: Running) -> str:
    zone = running.config.schedule.timezone
    return schedule.last_slot(WHEN, zone, running.clock.now()) or ""


async def compose(running: Running, now: float) -> str:
    """The text."""
    written = await running.store.read(lambda db: alerts.written(db, now - 7 * DAY))
    users, groups, _ = await running.store.read(questions.mirror_counts)
    parts = [f"Entra: {users:,} users, {groups:,} groups."]
    for name, reconcile in running.reconciles.items():
        waits = await running.store.read(lambda db, t=reconcile.t: questions.what_waits(db, t))  # type: ignore[misc]
        parts.append("\n".join(_target(name, reconcile, waits, written)))
    ends = list(_ends(running, now))
    if ends:
        parts.append("\n".join(ends))
    parts.append("azsyncd status has the details, azsyncd holds what waits for you.")
    return "\n\n".join(parts)


def _target(
    name: str, reconcile: Reconcile, waits: questions.Waits, written: Written
) -> Iterator[str]:
    state = reconcile.state
    yield f"{name}: {state.state}" + (f" ({state.detail})" if state.detail else "")
    yield f"  joined {_sum(name, JOINED, written):,}, left {_sum(name, LEFT, written):,}"
    other = sum(n for (target, kind), n in written.items()
                if target == name and kind not in (*JOINED, *LEFT))  # fmt: skip
    yield f"  other changes {other:,}"
    yield f"  held {waits.holds:,} (open holds), failing {waits.failing:,}"
    if waits.leavers_with_access:
        yield f"  leavers who still have access {waits.leavers_with_access:,}"
    for seat in seat_rows(reconcile.capabilities):
        total = seat["total"]
        free = "unlimited" if seat["remaining"] is None else f"{seat['remaining']} of {total} free"
        yield f"  seats of {seat['application']}: {free}"


def _sum(target: str, kinds: tuple[str, ...], written: Written) -> int:
    return sum(written.get((target, kind), 0) for kind in kinds)


def _ends(running: Running, now: float) -> Iterator[str]:
    for name, end in running.credential_ends.items():
        if end is not None:
            yield f"the credential of {name} {lastdays.words(end, now)}"
