"""What goes out beside the products: alerts, the heartbeat, the audit file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from azsyncd.engine import lastdays
from azsyncd.engine.audit import Audit
from azsyncd.engine.doors import doors_of, peer_for, web_address
from azsyncd.engine.heartbeat import Heartbeat
from azsyncd.engine.status import status_of
from azsyncd.engine.telling import Telling
from azsyncd.errors import AzsyncdError
from azsyncd.operations import AlertTest

if TYPE_CHECKING:
    from azsyncd.engine.running import Running


class Watch:
    """Built with everything else, so that a bad address never stops what runs."""

    def __init__(self, running: Running, opened: Mapping[str, str]) -> None:
        config, clock = running.config, running.clock
        self._running = running
        self.audit = Audit(config.audit.file, running.store, clock)
        self.telling = Telling(running, doors_of(config, opened, clock, running.answered))
        self.heartbeat: Heartbeat | None = None
        if config.heartbeat.url is not None:
            url = web_address(opened, "heartbeat.url")
            ca_file, proxy = config.entra.ca_file, config.heartbeat.proxy
            peer = peer_for("heartbeat", url, clock, ca_file, proxy, running.answered)
            self.heartbeat = Heartbeat(peer, url, config.heartbeat.every, clock, self._well)

    def loops(self) -> Iterator[tuple[str, Any]]:
        """(name, what to run for ever)."""
        if self.audit.configured:
            yield "audit", self.audit.run
        if self.heartbeat is not None:
            yield "heartbeat", self.heartbeat.run
        yield from self.telling.loops()

    async def _well(self) -> bool:
        """Healthy or held, once Entra has been read."""
        running = self._running
        if running.pull.state.revision == 0:
            return False
        status = await status_of(running, True, None, running.config_state())
        return status["health"] in ("healthy", "held")

    def problems(self, undelivered: list[dict[str, Any]]) -> Iterator[str]:
        """One line each, for `status`."""
        for door in undelivered:
            yield (
                f"alerts: {door['waiting']} not delivered by {door['door']}"
                f" since {door['failing_since']}: {door['error']}"
            )
        if self.audit.problem:
            yield f"audit: {self.audit.problem}; what is missing is made up for"

    def notes(self) -> Iterator[str]:
        """What `status` says beside them. A heartbeat that is not heard is told by whoever waits
        for it; were it a problem it would silence itself."""
        if self.heartbeat is not None and self.heartbeat.problem:
            yield f"heartbeat: {self.heartbeat.problem}"
        running = self._running
        refused = running.pull.state.state == "refused"
        yield from lastdays.unread(running.config, running.opened_at, refused=refused)

    async def test(self, by: str) -> list[AlertTest]:
        """One of each alert through every door, and one heartbeat."""
        if not self.telling.doors and self.heartbeat is None:
            raise AzsyncdError(
                "the file has neither alerts nor a heartbeat",
                "add alerts: [{webhook: {url: {credential: NAME}}}] and reload",
            )
        found = await self.telling.test(by)
        if self.heartbeat is not None:
            ok = await self.heartbeat.beat()
            found.append(
                AlertTest(door="heartbeat", kind="heartbeat", ok=ok, error=self.heartbeat.problem)
            )
        return found

    async def close(self) -> None:
        """Let go of connections."""
        for door in self.telling.doors:
            await door.close()
        if self.heartbeat is not None:
            await self.heartbeat.close()
