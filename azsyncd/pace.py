"""How fast one party is asked: a token bucket, slower on 429 and faster again after, and pauses.

Seconds come from an injected clock. Nothing is sent while a pause that the other side asked for
lasts; all requests of one peer share one `Pace`, so that one refusal slows all of them.
"""

from __future__ import annotations

import email.utils
import math
from collections.abc import Mapping
from dataclasses import dataclass

from azsyncd.clock import Clock

_LONGEST_PAUSE = 86400.0
"""An absurd Retry-After must not silence a peer for ever (I9)."""

_SLOWEST = 0.2
_HALF = 0.5
_RECOVERY = 0.02
"""Part of the configured rate that each good answer gives back: 50 good answers from a halt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How hard a peer may be asked. `timeout` is for one request, in seconds."""

    concurrency: int = 4
    requests_per_second: float = 20.0
    timeout: float = 30.0


class Pace:
    """Says when the next request may go."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._clock = clock
        self._limits = limits
        self._rate = limits.requests_per_second
        self._burst = float(max(1, min(limits.concurrency, int(limits.requests_per_second))))
        self._tokens = self._burst
        self._filled_at = clock.monotonic()
        self._paused_until = -math.inf
        self._slowed_at = -math.inf

    @property
    def rate(self) -> float:
        """Requests a second, at present."""
        return self._rate

    def pause_left(self) -> float:
        """Seconds until the pause ends that the other side asked for; 0 = none."""
        return max(0.0, self._paused_until - self._clock.monotonic())

    async def turn(self, patience: float) -> float | None:
        """Wait for a turn; the moment of it, or None if a pause lasts longer than `patience`."""
        give_up_at = self._clock.monotonic() + patience
        while True:
            pause = self.pause_left()
            now = self._clock.monotonic()
            if pause > max(0.0, give_up_at - now):
                return None
            wait = max(pause, self._until_token(now))
            if wait <= 0:
                self._tokens -= 1
                return now
            await self._clock.sleep(wait)

    def good(self) -> None:
        """An answer that shows no overload."""
        full = self._limits.requests_per_second
        self._rate = min(full, self._rate + full * _RECOVERY)

    def slow_down(self, sent_at: float) -> None:
        """Halve the rate, once for all requests that were under way together."""
        if sent_at < self._slowed_at:
            return
        self._slowed_at = self._clock.monotonic()
        self._rate = max(min(_SLOWEST, self._rate), self._rate * _HALF)

    def pause(self, seconds: float) -> None:
        """Send nothing for so long. A longer pause that runs already stays."""
        until = self._clock.monotonic() + min(seconds, _LONGEST_PAUSE)
        self._paused_until = max(self._paused_until, until)

    def heed(self, headers: Mapping[str, str]) -> None:
        """Slow down before the bucket of a product that shows it is empty.

        Jira, Confluence and Bitbucket Data Center send these headers with every answer:
        https://confluence.atlassian.com/adminjiraserver/adjusting-your-code-for-rate-limiting-987143384.html
        """
        remaining = _number(headers.get("X-RateLimit-Remaining"))
        fill = _number(headers.get("X-RateLimit-FillRate"))
        interval = _number(headers.get("X-RateLimit-Interval-Seconds"))
        if remaining is None or not fill or not interval:
            return
        if remaining <= self._limits.concurrency:
            self._rate = max(min(_SLOWEST, self._rate), min(self._rate, fill / interval))
            self._tokens = min(self._tokens, remaining)
        if remaining < 1:
            asked = retry_after(headers, self._clock.now())
            self.pause(asked or interval)

    def _until_token(self, now: float) -> float:
        passed = max(0.0, now - self._filled_at)
        self._tokens = min(self._burst, self._tokens + passed * self._rate)
        self._filled_at = now
        # A hair's breadth less than a whole token, or rounding makes a waiter spin.
        return 0.0 if self._tokens > 1 - 1e-9 else (1 - self._tokens) / self._rate


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds of a Retry-After in any spelling: `120`, `2.128`, an HTTP date; None = none.

    A date is measured against the answer's own Date where it has one, so that a wrong clock on
    either side makes no difference.
    """
    value = headers.get("Retry-After", "").strip()
    seconds = _number(value)
    if seconds is not None or not value:
        return seconds
    then = _timestamp(value)
    if then is None:
        return None
    sent = _timestamp(headers.get("Date", ""))
    return max(0.0, then - (now if sent is None else sent))


def backoff(attempt: int, jitter: float) -> float:
    """Seconds before the next attempt where the other side named none: 0.5, 1, 2 … 30, ± half."""
    return float(min(30.0, 0.5 * 2**attempt) * (0.5 + jitter))


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def _timestamp(value: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
