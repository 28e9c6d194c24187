"""Time that a person who sets the clock does not move (I11)."""

from __future__ import annotations

from azsyncd.clock import Clock


class Steady:
    """A clock whose `now` is the wall clock of when it was made, and time that really passed since.

    Ages, grace periods, retries and the guard's window go by this one: set forward, the wall clock
    would delete an account before its time; set back, it would lock everything up. `wall` is for
    cron and for what people read.
    """

    def __init__(self, clock: Clock, *, not_before: float = 0.0) -> None:
        self._clock = clock
        self._base = max(clock.now(), not_before) - clock.monotonic()

    def not_before(self, moment: float) -> None:
        """Something is known to have happened then, so it is later now (rule 37)."""
        self._base = max(self._base, moment - self._clock.monotonic())

    def keep(self, other: Steady) -> None:
        """Go on from another one: a reload is no reason to believe the wall clock anew."""
        self._base = other._base

    def now(self) -> float:
        return self._base + self._clock.monotonic()

    def wall(self) -> float:
        """The wall clock as it is now."""
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    def jitter(self) -> float:
        return self._clock.jitter()
