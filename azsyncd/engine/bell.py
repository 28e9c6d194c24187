"""A doorbell: rings say "look again" and carry nothing else.

A bell that dropped rings while somebody is already looking would lose changes. So: the flag is
cleared *before* the look; a ring during the look sets it again, and one more look follows. Many
rings in between are one.
"""

from __future__ import annotations

import asyncio

from azsyncd.clock import Clock


class Bell:
    """One doorbell with the reasons for which it was rung."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rung = asyncio.Event()
        self._reasons: set[str] = set()
        self._first_at: float | None = None

    def ring(self, reason: str) -> None:
        """Ask for one more look. Never waits."""
        self._reasons.add(reason)
        if self._first_at is None:
            self._first_at = self._clock.monotonic()
        self._rung.set()

    @property
    def rung(self) -> bool:
        """Whether a look is owed."""
        return self._rung.is_set()

    def answer(self) -> tuple[frozenset[str], float | None]:
        """Clear, then look: the reasons so far, and when the first of them came (monotonic)."""
        self._rung.clear()
        reasons, first = frozenset(self._reasons), self._first_at
        self._reasons.clear()
        self._first_at = None
        return reasons, first

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for a ring, or at most so long; True if it rang."""
        if self._rung.is_set():
            return True
        if seconds is None:
            await self._rung.wait()
            return True
        waiter = asyncio.ensure_future(self._rung.wait())
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({waiter, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
            timer.cancel()
            await asyncio.gather(waiter, timer, return_exceptions=True)
        return self._rung.is_set()
