"""What Graph posts to our endpoint: a doorbell that carries no facts, and that anybody may press.

Each item is checked by itself, for one POST may mix subscriptions, tenants and applications:
known subscription, equal clientState, our tenant. What does not pass is counted and dropped, and
the caller answers all the same: an answer would help only who guesses.
https://learn.microsoft.com/en-us/graph/change-notifications-delivery-webhooks
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from azsyncd.entra.wire import feed_of
from azsyncd.model.identities import FEEDS
from azsyncd.model.subscriptions import fingerprint

RESULTS = ("accepted", "lifecycle", "foreign", "forged", "garbage")
"""What can become of an item; the label of azsyncd_notifications_total."""

_MOST_ITEMS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What one POST told us. An object id is a hint of where to look again, and nothing more."""

    rings: frozenset[str] = frozenset()
    object_ids: frozenset[str] = frozenset()
    lifecycle: tuple[tuple[str, str], ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


class Doorbell:
    """Tells our notifications from others. `known` gives the fingerprint of the clientState by
    subscription id."""

    def __init__(self, *, tenant_id: str, known: Callable[[], Mapping[str, str]]) -> None:
        self._tenant_id = tenant_id.lower()
        self._known = known

    def accept(self, body: bytes) -> Accepted:
        """Read and check one body. Never raises, whatever it is."""
        items = _items(body)
        if items is None:
            return Accepted(counts={"garbage": 1})
        known = {key.lower(): state for key, state in self._known().items()}
        rings: set[str] = set()
        object_ids: set[str] = set()
        lifecycle: list[tuple[str, str]] = []
        counts: Counter[str] = Counter()
        for item in items:
            result = self._judge(item, known)
            counts[result] += 1
            if result == "lifecycle":
                lifecycle.append((item["lifecycleEvent"], item["subscriptionId"].lower()))
            elif result == "accepted":
                rings |= _feeds(item)
                object_ids |= _object(item)
        return Accepted(
            rings=frozenset(rings),
            object_ids=frozenset(object_ids),
            lifecycle=tuple(dict.fromkeys(lifecycle)),
            counts=dict(counts),
        )

    def _judge(self, item: Any, known: Mapping[str, str]) -> str:
        if not isinstance(item, dict) or not isinstance(item.get("subscriptionId"), str):
            return "garbage"
        tenant = item.get("tenantId")
        if isinstance(tenant, str) and tenant.lower() != self._tenant_id:
            return "foreign"
        expected = known.get(item["subscriptionId"].lower())
        if expected is None:
            return "foreign"
        given = item.get("clientState")
        if not isinstance(given, str) or not _equal(expected, given):
            return "forged"
        event = item.get("lifecycleEvent")
        return "lifecycle" if isinstance(event, str) and event else "accepted"


def _items(body: bytes) -> list[Any] | None:
    try:
        parsed = orjson.loads(body)
    except ValueError:
        return None
    items = parsed.get("value") if isinstance(parsed, dict) else None
    return items[:_MOST_ITEMS] if isinstance(items, list) else None


def _equal(expected: str, given: str) -> bool:
    """Compared in a time that tells nothing."""
    return hmac.compare_digest(expected, fingerprint(given))


def _feeds(item: Mapping[str, Any]) -> set[str]:
    """The feed that rings. What is not understood rings for both: looking costs little."""
    feed = feed_of(str(item.get("resource") or ""))
    return {feed} if feed in FEEDS else set(FEEDS)


def _object(item: Mapping[str, Any]) -> set[str]:
    found = item.get("resourceData")
    found = found.get("id") if isinstance(found, dict) else None
    if not isinstance(found, str) or not 0 < len(found) <= 64:
        return set()
    return {found.lower()}
