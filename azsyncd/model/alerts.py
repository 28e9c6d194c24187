"""What somebody is told of, and what is remembered of having told it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class AlertKind(StrEnum):
    """Each is one thing that a person should hear of, although nobody looks."""

    HOLD = "hold"
    TARGET_REFUSED = "target_refused"
    TARGET_DOWN = "target_down"
    SCOPE = "scope_in_doubt"
    LEAVER = "leaver_with_access"
    CREDENTIAL = "credential"
    ENTRA = "entra"
    FULL_SYNC = "full_sync_failed"
    CRAWL = "crawl_incomplete"
    CONFIG = "config_rejected"
    NOTIFICATIONS = "notifications"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Known:
    """Something wrong that was seen before. `key` is AREA|WHAT; `stage` is how urgent it was.

    `told_at` None: seen, and not yet told. `gone_at`: since when it is no longer so, while that
    must still prove to last.
    """

    key: str
    kind: AlertKind
    target: str | None
    title: str
    stage: str
    since: float
    told_at: float | None = None
    reminded_at: float | None = None
    gone_at: float | None = None

    @property
    def area(self) -> str:
        """What it belongs to: that is paused, unknown after a start, and told in portions."""
        return self.key.partition("|")[0]


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that waits for its way out through one door."""

    id: int
    at: float
    body: str
    attempts: int
    error: str
    failing_since: float | None
