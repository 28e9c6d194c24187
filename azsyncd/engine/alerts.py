"""Who is told what, and when: on the edge, with recovery, never a stream. Pure.

    first seen ──► known, not told ──► OPENED ──► (more urgent) OPENED again ──► over: RECOVERED
                     │      it lasts            └─► (a hold, 24 h) STILL OPEN, once
                     └──► over before: forgotten, without a word

What cannot be known at present (a target that is just starting, Entra not yet asked) or must be
silent (paused, rule 40) is neither there nor over: whatever is known of it stays as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from azsyncd.model.alerts import AlertKind, Known

DAY = 86400.0
HOUR = 3600.0

AFTER = {
    AlertKind.TARGET_DOWN: 900.0,
    AlertKind.TARGET_REFUSED: 30.0,
    AlertKind.SCOPE: 300.0,
    AlertKind.LEAVER: 300.0,
    AlertKind.ENTRA: 900.0,
    AlertKind.FULL_SYNC: HOUR,  # after a long sleep it is made up for first
    AlertKind.NOTIFICATIONS: HOUR,
    AlertKind.AUDIT: 300.0,
}
"""How long something lasts before it is told; what is not here is told at once."""

SETTLE = {
    AlertKind.TARGET_DOWN: 120.0,
    AlertKind.TARGET_REFUSED: 30.0,
    AlertKind.LEAVER: 900.0,  # while it is tried again it waits for another reason
    AlertKind.ENTRA: 120.0,
    AlertKind.NOTIFICATIONS: 120.0,
}
"""How long it must be gone before it is over: what comes and goes is one alert, and what is down
again after each short try has been down all the time."""

REMIND = {AlertKind.HOLD: DAY}
"""After this time, once: it is still so."""

SPACING = {AlertKind.HOLD: 900.0, AlertKind.LEAVER: 900.0}
"""Those of one area in so much time are told together: a drip is no stream."""

STAGES = ("60", "30", "14", "7", "1", "ended")
"""How near a credential's end is, in days: each of them is told once."""


class Edge(StrEnum):
    """What happened to an alert."""

    OPENED = "opened"
    STILL_OPEN = "still_open"
    RECOVERED = "recovered"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Wrong:
    """Something that is wrong now. `key` is AREA|WHAT, always the same for the same thing; `stage`
    says how urgent it is, in the order of `STAGES`; `at_once`: it needs no time to prove itself."""

    key: str
    kind: AlertKind
    title: str
    detail: str = ""
    hint: str = ""
    target: str | None = None
    stage: str = ""
    at_once: bool = False

    @property
    def area(self) -> str:
        return self.key.partition("|")[0]


@dataclass(frozen=True, slots=True)
class News:
    """One thing to tell."""

    kind: AlertKind
    edge: Edge
    title: str
    detail: str
    hint: str
    target: str | None
    since: float


def decide(
    known: Mapping[str, Known],
    wrong: Iterable[Wrong],
    unsure: Collection[str],
    now: float,
    endings: Mapping[str, str] | None = None,
) -> tuple[list[News], dict[str, Known]]:
    """(what to tell now, what is known from now on). `unsure`: the areas of which nothing can or
    may be said at present; `*` = all. `endings`: by key, how something ended."""
    told: list[News] = []
    kept: dict[str, Known] = {}
    for each in wrong:
        old = known.get(each.key)
        if each.area in unsure or "*" in unsure:
            continue
        new = old or Known(each.key, each.kind, each.target, each.title, each.stage, now)
        new = replace(new, since=min(new.since, now), gone_at=None)
        if (edge := _edge(each, new, known.values(), now)) is not None:
            told.append(_news(each, edge, new.since))
            if edge is Edge.OPENED:
                new = replace(new, told_at=now, title=each.title)
            else:
                new = replace(new, reminded_at=now)
        kept[each.key] = replace(new, stage=each.stage)
    for key, old in known.items():
        if key in kept:
            continue
        if old.area in unsure or "*" in unsure:
            kept[key] = old
            continue
        gone = min(now, now if old.gone_at is None else old.gone_at)
        if now - gone < SETTLE.get(old.kind, 0.0):
            kept[key] = replace(old, gone_at=gone)
        elif old.told_at is not None:
            told.append(_over(old, (endings or {}).get(key, "")))
    return told, kept


def _edge(wrong: Wrong, known: Known, others: Iterable[Known], now: float) -> Edge | None:
    if known.told_at is None:
        patience = 0.0 if wrong.at_once else AFTER.get(wrong.kind, 0.0)
        if now - known.since < patience or _told_lately(wrong, others, now):
            return None
        return Edge.OPENED
    if _rank(wrong.stage) > _rank(known.stage):
        return Edge.OPENED
    remind = REMIND.get(wrong.kind)
    if remind is not None and known.reminded_at is None and now - known.told_at >= remind:
        return Edge.STILL_OPEN
    return None


def _told_lately(wrong: Wrong, others: Iterable[Known], now: float) -> bool:
    spacing = SPACING.get(wrong.kind)
    if spacing is None:
        return False
    return any(
        other.area == wrong.area
        and other.told_at is not None
        and 0 <= now - other.told_at < spacing
        for other in others
    )


def _rank(stage: str) -> int:
    return STAGES.index(stage) if stage in STAGES else -1


def _news(wrong: Wrong, edge: Edge, since: float) -> News:
    return News(wrong.kind, edge, wrong.title, wrong.detail, wrong.hint, wrong.target, since)


def _over(old: Known, ending: str) -> News:
    return News(old.kind, Edge.RECOVERED, old.title, ending, "", old.target, old.since)


def stage_of(seconds_left: float) -> str:
    """How near a credential's end is; "" = not near."""
    if seconds_left <= 0:
        return "ended"
    return next((days for days in reversed(STAGES[:-1]) if seconds_left <= int(days) * DAY), "")
