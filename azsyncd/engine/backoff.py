"""How long a target that is down, or refuses us, is left alone."""

from __future__ import annotations

from azsyncd.clock import Clock
from azsyncd.errors import TargetError

DOWN = (5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""A target that is merely down is asked at least every five minutes."""
LONGEST_RETRY_AFTER = 3600.0
"""What a product may ask for itself; beyond that it is looked at all the same."""
REFUSED = (60.0, 300.0, 900.0)
REFUSED_LONG = ((7 * 86400.0, 86400.0), (86400.0, 3600.0))
"""A target that refuses us is asked less and less, for asking may lock accounts: after a day
hourly, after a week daily."""


class BackOff:
    """The waits of one target, in seconds, by how often and for how long it has failed in a row."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._refused_since = 0.0

    def well(self) -> None:
        """It answered."""
        self._failures = 0

    def down(self, error: TargetError) -> float:
        """It is down, or busy: not all instances come together when it is up again."""
        delay = DOWN[min(self._failures, len(DOWN) - 1)]
        self._failures += 1
        delay = min(DOWN[-1], delay * (0.75 + 0.5 * self._clock.jitter()))
        return max(delay, min(LONGEST_RETRY_AFTER, getattr(error, "retry_after", None) or 0.0))

    def refused(self) -> float:
        """It refuses us."""
        now = self._clock.monotonic()
        if self._failures == 0:
            self._refused_since = now
        failures, self._failures = self._failures, self._failures + 1
        for age, seconds in REFUSED_LONG:
            if now - self._refused_since >= age:
                return seconds
        return REFUSED[min(failures, len(REFUSED) - 1)]
