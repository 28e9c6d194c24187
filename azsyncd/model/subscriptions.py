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


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One subscription of ours as we remember it, with the secret that its notifications carry."""

    id: str
    resource: str
    client_state: str
    expires_at: float
    url: str

    def __repr__(self) -> str:  # the secret stays out of logs and tracebacks (I10)
        return f"Kept(id={self.id!r}, resource={self.resource!r}, expires_at={self.expires_at!r})"
