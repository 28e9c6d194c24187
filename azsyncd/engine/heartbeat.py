"""Calls an address while all is well: a dead man's switch that tells when azsyncd itself is silent.

`well` is asked each time. When it is not, nothing is called, and whoever waits for the call speaks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from azsyncd.clock import Clock
from azsyncd.engine.doors import NotDelivered, call
from azsyncd.http import Peer

log = structlog.get_logger()

UNWELL_SECONDS = 15.0
"""How soon it is asked again whether all is well: the switch waits no longer than it must."""


class Heartbeat:
    """One address."""

    def __init__(
        self,
        peer: Peer,
        url: str,
        every: float,
        clock: Clock,
        well: Callable[[], Awaitable[bool]],
    ) -> None:
        self._peer = peer
        self._url = url
        self.every = every
        self._clock = clock
        self._well = well
        self.problem = ""
        self.since: float | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            well = await self._well()
            if well:
                await self.beat()
            await self._clock.sleep(self.every if well else min(self.every, UNWELL_SECONDS))

    async def beat(self) -> bool:
        """One call; whether it was answered."""
        now = self._clock.now()
        try:
            await call(self._peer, "GET", self._url)
        except NotDelivered as error:
            self.problem = str(error)
            if self.since is None:
                self.since = now
                log.warning("heartbeat.failed", error=self.problem)
            return False
        if self.since is not None:
            log.info("heartbeat.recovered", after_seconds=round(now - self.since, 1))
        self.problem, self.since = "", None
        return True

    async def close(self) -> None:
        await self._peer.close()
