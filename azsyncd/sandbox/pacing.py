"""Throttling as Atlassian's products do it: a token bucket, a scripted 429, or everything blocked.

https://confluence.atlassian.com/adminjiraserver/adjusting-your-code-for-rate-limiting-987143384
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from azsyncd.clock import Clock

GRACE_SECONDS = 0.25
"""Requests that were under way when the 429 went out are nobody's fault."""


@dataclass(frozen=True, slots=True)
class Throttled:
    """The headers of a 429."""

    headers: dict[str, str]


class Pacing:
    """Decides for each request whether it comes too fast, and counts those that did not wait."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._capacity = 0
        self._fill_rate = 0
        self._interval = 1.0
        self._tokens = 0.0
        self._filled_at = 0.0
        self._scripted: list[str | None] = []
        self._until = 0.0
        self._told_at = 0.0
        self.block_all = False
        self.shows_headers = True
        self.throttled = 0
        self.early_requests = 0

    def limit(self, capacity: int, *, fill_rate: int = 1, interval: float = 1.0) -> None:
        """Switch the bucket on: `capacity` tokens, `fill_rate` more every `interval` seconds.

        A capacity of 0 switches it off.
        """
        self._capacity, self._fill_rate, self._interval = capacity, fill_rate, interval
        self._tokens = float(capacity)
        self._filled_at = self._clock.monotonic()

    def refuse_next(self, count: int = 1, *, retry_after: float | str | None = 1) -> None:
        """Answer the next `count` requests 429, with or without a Retry-After."""
        text = None if retry_after is None else str(retry_after)
        self._scripted.extend([text] * count)

    def admit(self) -> Throttled | None:
        """Take a token, or say why there is none."""
        now = self._clock.monotonic()
        waited = now >= self._until
        if not waited and now - self._told_at > GRACE_SECONDS:
            self.early_requests += 1
        if self.block_all:
            return self._refuse("0")
        if self._scripted:
            return self._refuse(self._scripted.pop(0))
        if not waited:
            return self._refuse(str(math.ceil(self._until - now)), extend=False)
        return self._take(now)

    def headers(self) -> dict[str, str]:
        """What an authenticated answer carries while the bucket is on."""
        if not self._capacity or not self.shows_headers:
            return {}
        return {
            "X-RateLimit-Limit": str(self._capacity),
            "X-RateLimit-Remaining": str(int(self._tokens)),
            "X-RateLimit-FillRate": str(self._fill_rate),
            "X-RateLimit-Interval-Seconds": f"{self._interval:g}",
            "Retry-After": "0",
        }

    def _take(self, now: float) -> Throttled | None:
        if not self._capacity:
            return None
        rounds = int((now - self._filled_at) / self._interval)
        if rounds > 0:
            self._tokens = min(self._capacity, self._tokens + rounds * self._fill_rate)
            self._filled_at += rounds * self._interval
        if self._tokens >= 1:
            self._tokens -= 1
            return None
        wait = math.ceil(self._filled_at + self._interval - now)
        return self._refuse(str(max(1, wait)))

    def _refuse(self, retry_after: str | None, *, extend: bool = True) -> Throttled:
        self.throttled += 1
        now = self._clock.monotonic()
        if extend and retry_after is not None and retry_after.replace(".", "", 1).isdigit():
            self._until = max(self._until, now + float(retry_after))
            self._told_at = now
        headers = self.headers()
        headers.pop("Retry-After", None)
        if retry_after is not None:
            headers["Retry-After"] = retry_after
        return Throttled(headers)
