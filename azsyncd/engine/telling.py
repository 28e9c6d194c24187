"""Tells people what is wrong: looks, decides on the edge, keeps messages until they are through.

What was told and what is still on its way is in the state, in one transaction: a restart tells
nothing twice and loses nothing. Each door has a loop of its own, so that a mail server that hangs
keeps no webhook waiting, and is asked again later and later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from azsyncd.clock import Clock, iso
from azsyncd.engine import digest, noticing
from azsyncd.engine.alerts import DAY, Edge, News, decide
from azsyncd.engine.bell import Bell
from azsyncd.engine.doors import Door, NotDelivered
from azsyncd.engine.notices import Notice, dump, load
from azsyncd.model.alerts import AlertKind, Letter
from azsyncd.operations import AlertTest
from azsyncd.state import alerts
from azsyncd.state.store import Connection, Store

if TYPE_CHECKING:
    from azsyncd.engine.running import Running

log = structlog.get_logger()

LOOK_SECONDS = 5.0
BACK_OFF = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)


class Telling:
    """The alerts of one configuration at work."""

    def __init__(self, running: Running, doors: Sequence[Door]) -> None:
        self.doors = tuple(doors)
        self._running = running
        self._postmen = [Postman(door, running.store, running.clock) for door in doors]

    def loops(self) -> Iterator[tuple[str, Any]]:
        """(name, what to run for ever)."""
        if not self.doors:
            return
        yield "alerts", self.run
        for number, postman in enumerate(self._postmen):
            yield f"alerts {number}", postman.run

    async def run(self) -> None:
        """Look now and then until cancelled."""
        clock = self._running.clock
        await self._drop_stale()
        stale_at = clock.monotonic()
        while True:
            await self.look()
            await self._digest()
            if clock.monotonic() - stale_at > DAY / 24:
                await self._drop_stale()
                stale_at = clock.monotonic()
            await clock.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """One look, and the messages that follow from it."""
        now = self._running.clock.now()
        seen = await noticing.look(self._running)
        known = await self._running.store.read(alerts.load)
        news, kept = decide(known, seen.wrong, seen.unsure, now, seen.endings)
        if kept == known and not news:
            return
        notice = self._notice(now, news=tuple(news))

        def note(db: Connection) -> None:
            alerts.save(db, kept.values())
            if news:
                alerts.post(db, [door.identity for door in self.doors], dump(notice), now)

        await self._running.store.write(note)
        for each in news:
            log.info(f"alert.{each.edge.value}", kind=each.kind.value, target=each.target)
        self._ring()

    def _notice(self, at: float, **more: Any) -> Notice:
        return Notice(at, self._running.config.instance, **more)

    def _ring(self) -> None:
        for postman in self._postmen:
            postman.bell.ring("letter")

    async def _digest(self) -> None:
        """The weekly one, through the doors that take it."""
        doors = [door.identity for door in self.doors if door.takes_digest]
        if not doors or not await digest.is_due(self._running):
            return
        now = self._running.clock.now()
        text = await digest.compose(self._running, now)
        notice = self._notice(now, headline=digest.HEADLINE, text=text)

        def note(db: Connection) -> None:
            alerts.post(db, doors, dump(notice), now)
            digest.sent(db, self._running)

        await self._running.store.write(note)
        log.info("digest.composed")
        self._ring()

    async def _drop_stale(self) -> None:
        now = self._running.clock.now()
        identities = [door.identity for door in self.doors]
        dropped = await self._running.store.write(lambda db: alerts.drop_stale(db, identities, now))
        if dropped:
            log.warning("alert.dropped", messages=dropped, reason="too old, or their door is gone")

    # What others ask --------------------------------------------------------------------------

    async def undelivered(self) -> list[dict[str, Any]]:
        """By door that takes nothing: {door, waiting, failing_since, error}."""
        names = {door.identity: door.name for door in self.doors}
        found = await self._running.store.read(alerts.undelivered)
        return [
            {"door": names[identity], "waiting": waiting, "failing_since": iso(since),
             "error": error}
            for identity, (waiting, since, error) in found.items()
            if identity in names
        ]  # fmt: skip

    async def test(self, by: str) -> list[AlertTest]:
        """One of each kind through every door, at once."""
        now = self._running.clock.now()
        notices = [(kind.value, self._notice(now, news=(example(kind, by, now),)))
                   for kind in AlertKind]  # fmt: skip
        text = await digest.compose(self._running, now)
        weekly = self._notice(now, headline=f"test: {digest.HEADLINE}", text=text)
        found: list[AlertTest] = []
        for door in self.doors:
            mine = [*notices, ("digest", weekly)] if door.takes_digest else notices
            for kind, notice in mine:
                found.append(await _tried(door, kind, notice))
                if not found[-1]["ok"]:
                    break  # the others would fare alike, each after its time-out
        return found


class Postman:
    """Carries the messages of one door, one after the other."""

    def __init__(self, door: Door, store: Store, clock: Clock) -> None:
        self.bell = Bell(clock)
        self._door = door
        self._store = store
        self._clock = clock
        self._failures = 0
        self._since: float | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.bell.answer()
            letter = await self._store.read(lambda db: alerts.next_letter(db, self._door.identity))
            if letter is None:
                await self.bell.wait(None)
            elif not await self.deliver(letter):
                wait = BACK_OFF[min(self._failures - 1, len(BACK_OFF) - 1)]
                await self._clock.sleep(wait * (0.75 + 0.5 * self._clock.jitter()))

    async def deliver(self, letter: Letter) -> bool:
        """Whether it went through."""
        now = self._clock.now()
        try:
            notice = load(letter.body)
        except ValueError as error:
            await self._store.write(lambda db: alerts.delivered(db, letter.id))
            log.warning("alert.dropped", door=self._door.name, reason=str(error))
            return True
        try:
            await self._door.send(notice, str(letter.id))
        except NotDelivered as error:
            told, refused = str(error), error.refused
            await self._store.write(
                lambda db: alerts.failed(db, letter.id, told, now, refused=refused)
            )
            self._failures += 1
            if self._since is None:
                self._since = now
                log.warning("alert.undelivered", door=self._door.name, error=told)
            return False
        await self._store.write(lambda db: alerts.delivered(db, letter.id))
        if self._since is not None:
            seconds = round(now - self._since, 1)
            log.info("alert.delivered", door=self._door.name, after_seconds=seconds)
        self._failures, self._since = 0, None
        return True


def example(kind: AlertKind, by: str, now: float) -> News:
    """What `azsyncd alerts test` sends of one kind."""
    title, hint = noticing.EXAMPLES[kind]
    return News(kind, Edge.TEST, f"test: {title}", f"asked for by {by}; nothing is wrong", hint,
                None, now)  # fmt: skip


async def _tried(door: Door, kind: str, notice: Notice) -> AlertTest:
    told = AlertTest(door=door.name, kind=kind, ok=True, error="")
    try:
        await door.send(notice, f"test-{kind}")
    except NotDelivered as error:
        return {**told, "ok": False, "error": str(error)}
    return told
