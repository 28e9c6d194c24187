"""Graph's webhook subscriptions, as Graph lists them."""

from __future__ import annotations

import hashlib
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
    """One subscription of ours as we remember it. Its notifications carry a secret, of which the
    fingerprint is enough to know it again (I10)."""

    id: str
    resource: str
    fingerprint: str
    expires_at: float
    url: str


def fingerprint(client_state: str) -> str:
    """What is remembered of a clientState (lone surrogates included)."""
    return hashlib.sha256(client_state.encode("utf-8", "replace")).hexdigest()
