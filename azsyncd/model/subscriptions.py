"""Graph's webhook subscriptions, as Graph lists them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One subscription. `resource` is the feed that it rings for (`users`, `groups`), or, where it
    is somebody else's, whatever Graph says. `expires_at` is in seconds since the epoch."""

    id: str
    resource: str
    notification_url: str
    lifecycle_url: str | None
    expires_at: float
    application_id: str
