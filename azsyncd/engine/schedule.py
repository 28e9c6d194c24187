"""When the next full sync is due, by cron and wall clock (rule 41).

Pure decisions on the time that they are handed. A slot is a wall-clock minute in the configured
zone: `30 2 * * *` names one slot a day, also on the day on which 02:30 happens twice, and on the
day on which it does not happen the slot is run when the clock has passed it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import croniter


def last_slot(cron: str, zone: str, now: float) -> str | None:
    """The newest slot that is not in the future, as `2026-11-24T03:00`; None = no schedule.

    Slots are found on the naive wall clock, so that no change of the clocks doubles or drops one.
    """
    if not cron:
        return None
    wall = _wall(zone, now)
    previous: datetime = croniter(cron, wall + timedelta(seconds=1)).get_prev(datetime)
    return previous.strftime("%Y-%m-%dT%H:%M")


def next_slot(cron: str, zone: str, now: float) -> float | None:
    """About when the next slot begins (seconds since the epoch); None = never."""
    if not cron:
        return None
    found: datetime = croniter(cron, _wall(zone, now)).get_next(datetime)
    return found.replace(tzinfo=ZoneInfo(zone)).timestamp()


def is_due(cron: str, zone: str, now: float, ran: str | None) -> bool:
    """Whether a slot has passed that has not run. The first start runs none: it crawls anyway."""
    slot = last_slot(cron, zone, now)
    return slot is not None and ran is not None and slot > ran


def is_ahead(zone: str, now: float, ran: str | None) -> bool:
    """Whether the slot that ran is in the future: the clock was wrong then, and no slot would run
    until that day. Not by the hour that comes twice when summer ends."""
    latest = _wall(zone, now) + timedelta(hours=3)
    return ran is not None and ran > latest.strftime("%Y-%m-%dT%H:%M")


def _wall(zone: str, now: float) -> datetime:
    return datetime.fromtimestamp(now, ZoneInfo(zone)).replace(tzinfo=None)
