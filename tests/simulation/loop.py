"""An event loop that a seed rules: virtual time, and a ready queue in shuffled order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

STEPS = 400_000
"""More turns than any history needs: whoever is still at it spins."""


class Stuck(Exception):
    """Nothing is ready and nothing is due: somebody waits for ever."""


class SeededLoop(asyncio.SelectorEventLoop):
    """Time passes only when nobody is ready; then it goes to the next timer at once.

    `crash_in(n)` stops the loop after so many turns, between any two awaits.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.moment = 1000.0
        self._clock_resolution = 1e-6  # after half a year a nanosecond is lost in rounding
        self.turns = 0
        self.most = STEPS
        self._crash_at: int | None = None
        self.at_crash: Callable[[], None] = lambda: None

    def time(self) -> float:
        return self.moment

    def crash_in(self, turns: int | None) -> None:
        """Stop after so many turns (None: do not)."""
        self._crash_at = None if turns is None else self.turns + turns

    def _run_once(self) -> None:
        ready: Any = self._ready  # type: ignore[attr-defined]  # where asyncio keeps them
        self.turns += 1
        if self.turns > self.most:
            raise Stuck(f"more than {self.most} turns")
        if self._crash_at is not None and self.turns >= self._crash_at:
            self._crash_at = None
            self.at_crash()
            self.stop()
        if not ready and not self._stopping:  # type: ignore[attr-defined]
            timers = [t for t in self._scheduled if not t.cancelled()]  # type: ignore[attr-defined]
            if not timers:
                raise Stuck("nobody is ready and no timer is set")
            self.moment = max(self.moment, min(timer.when() for timer in timers))
        if len(ready) > 1:
            order = list(ready)
            self.random.shuffle(order)
            ready.clear()
            ready.extend(order)
        super()._run_once()  # type: ignore[misc]


class SimClock:
    """The loop's time, and a wall clock that can be set."""

    def __init__(self, loop: SeededLoop, start: float) -> None:
        self._loop = loop
        self._random = random.Random(loop.random.random())
        self.offset = start - loop.moment

    def now(self) -> float:
        return self._loop.moment + self.offset

    def monotonic(self) -> float:
        return self._loop.moment

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))

    def jitter(self) -> float:
        return self._random.random()

    def jump(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self.offset += seconds
