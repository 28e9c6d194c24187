"""Keeps the subscriptions alive, so that Graph rings: created, renewed, recreated, compared.

Graph loses subscriptions without a word, and for users and groups it never says that notifications
were missed. So its list is compared with ours at the start and every hour, and whenever one was
made anew its feed is rung, for nobody knows what went unheard. Polling goes on all the while:
nothing that fails here stops anything.

Whoever starts `run` has the notification endpoint listening already, because Graph calls it while
a subscription is created. Subscriptions outlive the daemon: a restart misses nothing.
https://learn.microsoft.com/en-us/graph/change-notifications-lifecycle-events
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

import structlog

from azsyncd.clock import Clock, iso
from azsyncd.entra.client import GraphRefused
from azsyncd.entra.subscriptions import SubscriptionExists
from azsyncd.errors import CredentialRefused, SourceError
from azsyncd.model.identities import FEEDS
from azsyncd.model.subscriptions import Kept, Subscription, fingerprint

log = structlog.get_logger()

COMPARE_EVERY = 3600.0
PATCH_EVERY = 600.0
"""Graph wants no two renewals of one subscription within ten minutes."""

_FIRST_RETRY, _LAST_RETRY = 30.0, 900.0


class SubscriptionBook(Protocol):
    """Where our subscriptions are remembered."""

    async def load(self) -> list[Kept]: ...

    async def save(self, kept: list[Kept]) -> None: ...


class GraphSubscriptions(Protocol):
    """See `azsyncd.entra.subscriptions.Subscriptions`."""

    async def list(self) -> Sequence[Subscription]: ...

    async def create(
        self, resource: str, expires_at: float, client_state: str, notification_url: str
    ) -> Subscription: ...

    async def renew(self, subscription_id: str, expires_at: float) -> Subscription: ...

    async def delete(self, subscription_id: str) -> None: ...


class Keeper:
    """One subscription per feed, as long as `run` runs."""

    def __init__(
        self,
        subscriptions: GraphSubscriptions,
        book: SubscriptionBook,
        clock: Clock,
        ring: Callable[[str], None],
        notification_url: str,
        lifetime_seconds: float,
        random_secret: Callable[[], str],
        application_id: str | None = None,
    ) -> None:
        self._graph = subscriptions
        self._book = book
        self._clock = clock
        self._ring = ring
        self._url = notification_url
        self._lifetime = lifetime_seconds
        self._random_secret = random_secret
        self._application_id = application_id.lower() if application_id else None
        self._kept: dict[str, Kept] = {}
        self._loaded = False
        self._compare_at = -math.inf
        self._renew_at: dict[str, float] = {}
        self._patched_at: dict[str, float] = {}
        self._retry_at: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._problems: dict[str, SourceError] = {}
        self._wanted: set[str] = set()  # ids to renew as soon as it is allowed
        self._removed: set[str] = set()  # ids that Graph said are gone
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()

    async def load(self) -> None:
        """Remember those that were kept: for questions before `run` runs."""
        async with self._lock:
            await self._load()

    def fingerprints(self) -> Mapping[str, str]:
        """The fingerprint of each of our subscriptions' clientState, by id."""
        return {kept.id: kept.fingerprint for kept in self._kept.values()}

    def kept(self) -> tuple[Kept, ...]:
        """Our subscriptions as we know them now."""
        return tuple(self._kept.values())

    def problems(self) -> Mapping[str, SourceError]:
        """What fails at present, by feed (or `list`): for status and check."""
        return dict(self._problems)

    async def run(self) -> None:
        """Keep them until cancelled; they stay at Graph then."""
        while True:
            async with self._lock:
                await self._load()
                self._wake.clear()
                await self._lose_removed()
                await self._compare()
                for resource in FEEDS:
                    await self._keep(resource)
            await self._sleep(self._next_at() - self._clock.monotonic())

    async def lifecycle(self, event: str, subscription_id: str) -> None:
        """Take note of what Graph says about a subscription; `run` does what is to be done."""
        kept = self._by_id(subscription_id)
        if kept is None:
            return
        if event == "reauthorizationRequired":
            self._wanted.add(kept.id)
        elif event == "subscriptionRemoved":
            self._removed.add(kept.id)
        else:  # missed, and whatever Graph may invent: look
            self._ring(kept.resource)
        self._wake.set()

    async def look(self) -> tuple[Kept, ...]:
        """Those that Graph has now; what it has lost is made anew by `run`. Raises SourceError."""
        async with self._lock:
            await self._load()
            await self._look()
        self._wake.set()
        return self.kept()

    async def renew_all(self) -> tuple[Kept, ...]:
        """Renew now what was not renewed in the last ten minutes, and make anew what Graph has
        lost. Raises SourceError."""
        async with self._lock:
            await self._load()
            await self._look()
            self._wanted |= {kept.id for kept in self.kept()}
            for resource in FEEDS:
                self._retry_at.pop(resource, None)
                await self._keep(resource)
            for error in self._problems.values():
                raise error
        return self.kept()

    async def _look(self) -> None:
        self._compare_at = -math.inf
        self._retry_at.pop("list", None)
        await self._compare()
        if "list" in self._problems:
            raise self._problems["list"]

    async def delete_all(self) -> None:
        """Delete ours at Graph, and forget them."""
        async with self._lock:
            await self._load()
            for kept in self.kept():
                await self._graph.delete(kept.id)
                await self._forget(kept)

    # One round ----------------------------------------------------------------------------------

    async def _load(self) -> None:
        if self._loaded:
            return
        for kept in await self._book.load():
            if kept.resource in FEEDS:
                self._kept[kept.resource] = kept
                self._plan_renewal(kept)
        self._loaded = True

    async def _compare(self) -> None:
        """Graph's list against ours: lost ones are noticed, orphans of ours are deleted."""
        now = self._clock.monotonic()
        if now < max(self._compare_at, self._retry_at.get("list", -math.inf)):
            return
        try:
            listed = {found.id: found for found in await self._graph.list()}
            await self._clear(listed)
        except SourceError as error:
            self._refused("list", error)
            return
        self._well("list")
        self._compare_at = self._clock.monotonic() + COMPARE_EVERY
        for kept in self.kept():
            found = listed.get(kept.id)
            if found is None:
                await self._lose(kept, "Graph no longer lists it")
            elif abs(found.expires_at - kept.expires_at) > 1:
                await self._remember(replace(kept, expires_at=found.expires_at))

    async def _lose_removed(self) -> None:
        removed, self._removed = self._removed, set()
        for kept in self.kept():
            if kept.id in removed:
                await self._lose(kept, "Graph says that it was removed")

    async def _clear(self, listed: Mapping[str, Subscription]) -> None:
        """Delete what is ours and of no use: another address, or a secret that nobody knows."""
        for kept in self.kept():
            if kept.url != self._url:
                await self._graph.delete(kept.id)
                await self._lose(kept, "the notification address has changed")
        known = {kept.id for kept in self._kept.values()}
        for found in listed.values():
            if found.id not in known and self._is_ours(found):
                await self._graph.delete(found.id)

    async def _keep(self, resource: str) -> None:
        """See to it that the feed has a subscription which is not about to end."""
        if self._clock.monotonic() < self._retry_at.get(resource, -math.inf):
            return
        kept = self._kept.get(resource)
        if kept is not None and kept.expires_at <= self._clock.now():
            await self._lose(kept, "it has ended")
            kept = None
        try:
            if kept is None:
                await self._create(resource)
            elif self._clock.monotonic() >= self._due_at(kept):
                await self._renew(kept)
        except SourceError as error:
            self._refused(resource, error)
        else:
            self._well(resource)

    async def _create(self, resource: str) -> None:
        secret = self._random_secret()
        try:
            made = await self._subscribe(resource, secret)
        except SubscriptionExists as error:
            if not await self._delete_ours(resource):
                raise error
            made = await self._subscribe(resource, secret)
        kept = Kept(
            id=made.id,
            resource=resource,
            fingerprint=fingerprint(secret),
            expires_at=made.expires_at,
            url=self._url,
        )
        await self._remember(kept)
        log.info(
            "subscription.created", resource=resource, id=made.id, expires_at=iso(made.expires_at)
        )
        self._ring(resource)  # whatever happened while there was none

    async def _subscribe(self, resource: str, secret: str) -> Subscription:
        expires_at = self._clock.now() + self._lifetime
        return await self._graph.create(resource, expires_at, secret, self._url)

    async def _renew(self, kept: Kept) -> None:
        self._patched_at[kept.id] = self._clock.monotonic()
        try:
            renewed = await self._graph.renew(kept.id, self._clock.now() + self._lifetime)
        except GraphRefused as error:
            if error.status != 404:
                raise
            await self._lose(kept, "Graph no longer has it")
            await self._create(kept.resource)
            return
        self._wanted.discard(kept.id)
        await self._remember(replace(kept, expires_at=renewed.expires_at))
        log.info(
            "subscription.renewed",
            resource=kept.resource,
            id=kept.id,
            expires_at=iso(renewed.expires_at),
        )

    async def _delete_ours(self, resource: str) -> bool:
        """After a 409: make room, if what stands there is ours."""
        ours = [s for s in await self._graph.list() if s.resource == resource and self._is_ours(s)]
        for found in ours:
            await self._graph.delete(found.id)
        return bool(ours)

    # What is known ------------------------------------------------------------------------------

    def _is_ours(self, found: Subscription) -> bool:
        same_application = self._application_id in (None, found.application_id)
        return same_application and found.notification_url == self._url and found.resource in FEEDS

    def _by_id(self, subscription_id: str) -> Kept | None:
        wanted = subscription_id.lower()
        return next((kept for kept in self._kept.values() if kept.id == wanted), None)

    async def _remember(self, kept: Kept) -> None:
        self._kept[kept.resource] = kept
        self._plan_renewal(kept)
        await self._book.save(list(self.kept()))

    async def _lose(self, kept: Kept, why: str) -> None:
        log.warning("subscription.lost", resource=kept.resource, id=kept.id, reason=why)
        await self._forget(kept)

    async def _forget(self, kept: Kept) -> None:
        if self._kept.get(kept.resource) == kept:
            del self._kept[kept.resource]
        self._renew_at.pop(kept.id, None)
        self._patched_at.pop(kept.id, None)
        self._wanted.discard(kept.id)
        await self._book.save(list(self.kept()))

    # When ---------------------------------------------------------------------------------------

    def _plan_renewal(self, kept: Kept) -> None:
        """At half of the lifetime, or up to a tenth earlier, lest all instances come together."""
        left = kept.expires_at - self._clock.now()
        before_end = self._lifetime * (0.5 + 0.1 * self._clock.jitter())
        self._renew_at[kept.id] = self._clock.monotonic() + max(0.0, left - before_end)

    def _due_at(self, kept: Kept) -> float:
        earliest = self._patched_at.get(kept.id, -math.inf) + PATCH_EVERY
        planned = -math.inf if kept.id in self._wanted else self._renew_at[kept.id]
        return max(earliest, planned)

    def _next_at(self) -> float:
        moments = [max(self._compare_at, self._retry_at.get("list", -math.inf))]
        for resource in FEEDS:
            kept = self._kept.get(resource)
            due = -math.inf if kept is None else self._due_at(kept)
            moments.append(max(due, self._retry_at.get(resource, -math.inf)))
        return min(moments)

    def _refused(self, what: str, error: SourceError) -> None:
        """Log the first failure, and wait longer each time."""
        self._problems[what] = error
        failures = self._failures[what] = self._failures.get(what, 0) + 1
        wait = min(_LAST_RETRY, _FIRST_RETRY * 2.0 ** min(failures - 1, 10))
        if isinstance(error, CredentialRefused):
            wait = _LAST_RETRY
        wait = max(wait, getattr(error, "retry_after", None) or 0.0)
        self._retry_at[what] = self._clock.monotonic() + wait * (1 + 0.1 * self._clock.jitter())
        level = log.warning if failures == 1 else log.debug
        level("subscription.refused", resource=what, error=error.message, hint=error.hint)

    def _well(self, what: str) -> None:
        self._problems.pop(what, None)
        self._failures.pop(what, None)
        self._retry_at.pop(what, None)

    async def _sleep(self, seconds: float) -> None:
        sleeping = asyncio.ensure_future(self._clock.sleep(max(0.0, seconds)))
        waking = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({sleeping, waking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sleeping, waking):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
