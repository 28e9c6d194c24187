"""The only place that looks at the time or waits, so that tests and the simulation can own both."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What everybody who waits or looks at the time is handed."""

    def now(self) -> float:
        """Seconds since the epoch by the wall clock. It may jump: for cron and for people."""
        ...

    def monotonic(self) -> float:
        """Seconds that only ever grow, suspended time included: for ages, windows and time-outs."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    def jitter(self) -> float:
        """A random number in [0, 1)."""
        ...


class SystemClock:
    """The real one."""

    def __init__(self) -> None:
        self._random = random.Random()

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        # CLOCK_BOOTTIME goes on while the machine is suspended; CLOCK_MONOTONIC does not.
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))

    def jitter(self) -> float:
        return self._random.random()


def utc(timestamp: float) -> datetime:
    """The moment as an aware datetime in UTC."""
    return datetime.fromtimestamp(timestamp, UTC)


def iso(timestamp: float | None) -> str | None:
    """`2026-11-24T12:00:00Z`, or None for None."""
    return None if timestamp is None else utc(timestamp).strftime("%Y-%m-%dT%H:%M:%SZ")
