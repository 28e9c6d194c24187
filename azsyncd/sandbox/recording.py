"""Writes down what a simulated server was asked, so that tests and the demo can count."""

from __future__ import annotations

import re
from collections import Counter, deque
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from azsyncd.clock import Clock, SystemClock

GRACE_SECONDS = 0.25
"""Requests that were under way when the answer with Retry-After went out are nobody's fault."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request, when it came, and how it was answered (status 0: not at all)."""

    at: float
    method: str
    path: str
    query: str
    status: int
    seconds: float


class Recording:
    """The last requests, counters of all, and those that came during a Retry-After."""

    def __init__(self, *, clock: Clock | None = None, keep: int = 100_000) -> None:
        self.clock: Clock = clock or SystemClock()
        self.requests: deque[Recorded] = deque(maxlen=keep)
        self.by_method: Counter[str] = Counter()
        self.by_status: Counter[int] = Counter()
        self.early_requests = 0
        self._told_at = 0.0
        self._until = 0.0

    def arrived(self, now: float) -> None:
        """Note a request that did not wait although it had been told to."""
        if self._told_at + GRACE_SECONDS < now < self._until:
            self.early_requests += 1

    def answered(self, recorded: Recorded, retry_after: str | None) -> None:
        """Note a request and its answer."""
        self.requests.append(recorded)
        self.by_method[recorded.method] += 1
        self.by_status[recorded.status] += 1
        if retry_after is not None and recorded.status in (429, 503):
            self._told_at = self.clock.monotonic()
            self._until = max(self._until, self._told_at + self._seconds(retry_after))

    def count(self, method: str = "", path: str = "") -> int:
        """How many of the last requests had this method and matched this regular expression."""
        return sum(
            (not method or seen.method == method)
            and (not path or re.search(path, f"{seen.path}?{seen.query}") is not None)
            for seen in self.requests
        )

    def clear(self) -> None:
        """Start counting anew."""
        self.requests.clear()
        self.by_method.clear()
        self.by_status.clear()
        self.early_requests = 0

    def counters(self) -> dict[str, Any]:
        """What was counted, for the control API."""
        return {
            "requests": sum(self.by_method.values()),
            "by_method": dict(self.by_method),
            "by_status": {str(status): count for status, count in self.by_status.items()},
            "early_requests": self.early_requests,
        }

    def last(self, count: int) -> list[dict[str, Any]]:
        """The last requests as plain dictionaries, oldest first."""
        return [asdict(seen) for seen in list(self.requests)[-count:]]

    def _seconds(self, retry_after: str) -> float:
        try:
            return max(0.0, float(retry_after))
        except ValueError:
            pass
        try:
            return max(0.0, parsedate_to_datetime(retry_after).timestamp() - self.clock.now())
        except (TypeError, ValueError):
            return 0.0


def recording_middleware(recording: Recording) -> Middleware:
    """Record everything that the application is asked."""

    @web.middleware
    async def recorded(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = recording.clock.monotonic()
        recording.arrived(started)
        status, retry_after = 0, None
        try:
            response = await handler(request)
            status, retry_after = response.status, response.headers.get("Retry-After")
            return response
        except web.HTTPException as error:
            status = error.status
            raise
        finally:
            taken = recording.clock.monotonic() - started
            recording.answered(
                Recorded(
                    recording.clock.now(),
                    request.method,
                    request.path,
                    request.query_string,
                    status,
                    taken,
                ),
                retry_after,
            )

    return recorded
