"""A clock that tests and simulations own: sleeping moves the time on and lets others run."""

from __future__ import annotations

import asyncio
import heapq
import random

START = 1_795_435_200.0
"""2026-11-23T12:00:00Z: any moment will do, as long as it is always the same."""


class FakeClock:
    """Time passes only when somebody sleeps, or when `advance` says so.

    Who sleeps shortest wakes first: a sleeper gives everybody else a few turns of the loop before
    it moves the time on to its own end, so that concurrent sleepers keep their order. With
    `moves=False` nothing moves but by `advance`, and sleepers wait for real.
    """

    def __init__(self, start: float = START, *, seed: int = 0, moves: bool = True) -> None:
        self.wall = start
        self.boot = 1000.0
        self.slept: list[float] = []
        self._moves = moves
        self._random = random.Random(seed)
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.boot

    def jitter(self) -> float:
        return self._random.random()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._count += 1
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.boot + max(0.0, seconds), self._count, woken))
        if not self._moves:
            await woken
            return
        while not woken.done():
            for _ in range(10):
                await asyncio.sleep(0)
            if not woken.done():
                self._wake_next()

    def advance(self, seconds: float) -> None:
        """Let so much time pass, waking whoever is due, in the order of their ends."""
        end = self.boot + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            self._wake_next()
        self._set(end)

    def jump(self, seconds: float) -> None:
        """The wall clock alone is set forward or back."""
        self.wall += seconds

    @property
    def sleeping(self) -> int:
        """How many wait for time to pass."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    def _wake_next(self) -> None:
        end, _, woken = heapq.heappop(self._sleepers)
        if woken.done():  # cancelled meanwhile: its end moves no time
            return
        self._set(max(end, self.boot))
        woken.set_result(None)

    def _set(self, boot: float) -> None:
        self.wall += boot - self.boot
        self.boot = boot
