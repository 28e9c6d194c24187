"""Everything that runs under one configuration: the reading, a loop per target, the subscriptions.

Built whole before anything starts, so that a bad file never stops what runs (decision 8). What is
worth remembering is in the store, so that a reload is a stop and a start: the next one goes on
where this one stood.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import structlog

from azsyncd.clock import Clock
from azsyncd.config import Config, Loaded, shown
from azsyncd.engine import lastdays, schedule
from azsyncd.engine.credentials import credential_of, open_secrets
from azsyncd.engine.events import Events
from azsyncd.engine.figures import Budgets, budgets_of
from azsyncd.engine.gauges import Gauges
from azsyncd.engine.keeper import Keeper
from azsyncd.engine.pull import CRAWL_OWED, Pull
from azsyncd.engine.reconcile import Reconcile
from azsyncd.engine.supervisor import Crashing, Supervisor
from azsyncd.engine.watching import Watch
from azsyncd.entra.auth import Tokens
from azsyncd.entra.client import Graph
from azsyncd.entra.delta import Delta
from azsyncd.entra.notifications import Doorbell
from azsyncd.entra.subscriptions import Subscriptions
from azsyncd.errors import (
    AzsyncdError,
    ConfigError,
    Problem,
    StateError,
)
from azsyncd.http import Limits, Peer
from azsyncd.metrics import Metrics
from azsyncd.model.accounts import fold
from azsyncd.model.subscriptions import Kept
from azsyncd.plan.policy import GuardClass, Policy
from azsyncd.state import (
    configurations,
    folding,
    journal,
    mirror,
    questions,
    subscriptions,
    targets,
)
from azsyncd.state.store import COPIED, Connection, Store, get_meta, set_meta
from azsyncd.targets.base import Target
from azsyncd.targets.connect import SignIn, connect

log = structlog.get_logger()

STOP_SECONDS = 20.0
"""What is in flight is finished within this time when the daemon stops or reloads."""

T = TypeVar("T")
GRAPH_LIMITS = Limits(concurrency=4, requests_per_second=50.0, timeout=60.0)


class Running:
    """One configuration at work on one store."""

    def __init__(
        self,
        loaded: Loaded,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        events: Events,
        *,
        selected: folding.Selected | None = None,
    ) -> None:
        self.loaded = loaded
        self.config: Config = loaded.config
        self.store = store
        self.clock = clock
        self.metrics = metrics
        self.events = events
        self.selected = selected or selection_of(self.config)
        self.keeper: Keeper | None = None
        self.doorbell: Doorbell | None = None
        self.reconciles: dict[str, Reconcile] = {}
        self.credential_ends: dict[str, float | None] = {}
        self.credential_stages: dict[str, str] = {}
        self.opened_at = clock.now()
        """When the secrets were opened."""
        self.config_state: Callable[[], dict[str, Any]] = dict
        self.fatal: Callable[[BaseException], None] = lambda error: None
        self.on_selection: Callable[[], None] = lambda: None
        self._peers: list[Peer] = []
        self._targets: list[Target] = []
        self._signed_in: dict[str, str] = {}
        self._full_left: set[str] = set()
        self._is_copy = False
        self._supervisor = Supervisor(clock, lambda error: self.fatal(error))
        self._asides: set[asyncio.Future[None]] = set()
        self._watch: Watch | None = None

    # Building -----------------------------------------------------------------------------------

    @classmethod
    async def build(
        cls,
        loaded: Loaded,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        events: Events,
        *,
        selected: folding.Selected | None = None,
    ) -> Running:
        """Open every secret, bind the state to tenant and targets, put the parts together.

        Nothing is sent yet. Raises ConfigError, StateError.
        """
        running = cls(loaded, store, clock, metrics, events, selected=selected)
        opened = await asyncio.to_thread(open_secrets, loaded.config)
        await running._bind()
        try:
            running._build_source()
            running.pull.state.revision = await store.read(mirror.revision)
            await running._build_targets(opened)
            running._watch = Watch(running, opened)
            await running.watch.audit.begin()
        except BaseException:
            await running.close()
            raise
        return running

    @property
    def watch(self) -> Watch:
        """Alerts, heartbeat, audit file."""
        assert self._watch is not None
        return self._watch

    async def _bind(self) -> None:
        """Rule 25: the state belongs to its tenant."""
        entra = self.config.entra

        def bind(db: Connection) -> str | None:
            for key, value in (("tenant_id", entra.tenant_id), ("cloud", entra.cloud)):
                known = get_meta(db, key)
                if known is None:
                    set_meta(db, key, value)
                elif known != value:
                    return f"the state belongs to {key.replace('_id', '')} {known}"
            return None

        wrong = await self.store.write(bind)
        if wrong is not None:
            raise ConfigError(
                [Problem("entra.tenant_id", wrong, str(self.loaded.path or ""))],
                "check tenant_id and cloud, or give this tenant a state.path of its own",
            )

    def _build_source(self) -> None:
        entra = self.config.entra
        peer = self._peer("graph", entra.graph_url, GRAPH_LIMITS, entra.ca_file, entra.proxy)
        self.tokens = Tokens(
            tenant_id=entra.tenant_id,
            client_id=entra.client_id,
            credential=credential_of(self.config),
            login_url=entra.login_url,
            scope=entra.token_scope,
            clock=self.clock,
            ca_file=entra.ca_file,
            proxy=entra.proxy,
        )
        self.graph = Graph(peer, self.tokens, entra.graph_url)
        self.delta = delta_for(self.graph, self.selected)
        self.subscriptions = Subscriptions(self.graph)
        self.pull = Pull(
            self.delta,
            self.store,
            self.clock,
            selected=self.selected,
            poll_seconds=self.config.schedule.delta_poll,
            on_advance=self._advanced,
            on_round=self._round_closed,
            on_crawl=self._crawl_closed,
        )
        url = self.config.notifications.public_url
        if self.config.notifications.mode == "webhook" and url is not None:
            self.keeper = Keeper(
                self.subscriptions,
                Book(self.store),
                self.clock,
                self.pull.ring,
                url,
                self.config.notifications.lifetime,
                lambda: secrets.token_urlsafe(32),
                entra.client_id,
            )
            keeper = self.keeper
            self.doorbell = Doorbell(tenant_id=entra.tenant_id, known=keeper.fingerprints)

    def _peer(
        self, name: str, url: str, limits: Limits, ca_file: str | None, proxy: str | None
    ) -> Peer:
        peer = Peer(
            name,
            url,
            clock=self.clock,
            limits=limits,
            ca_file=ca_file,
            proxy=proxy,
            on_response=self.answered,
        )
        self._peers.append(peer)
        return peer

    def answered(self, peer: str, status: str) -> None:
        """One answer of somebody, for the metric."""
        self.metrics.http_requests_total.labels(peer, status).inc()

    async def _build_targets(self, opened: Mapping[str, str]) -> None:
        remembered = await self.store.read(_remembered_accounts)
        for name, settings in self.config.targets.items():
            auth = settings.auth
            policy = self.config.policy(name)
            target = connect(
                settings.type,
                name,
                url=settings.url,
                sign_in=SignIn(
                    token=opened.get(f"targets.{name}.auth.token"),
                    username=auth.username,
                    password=opened.get(f"targets.{name}.auth.password"),
                ),
                limits=Limits(
                    concurrency=settings.limits.concurrency,
                    requests_per_second=settings.limits.requests_per_second,
                    timeout=settings.limits.timeout,
                ),
                clock=self.clock,
                ca_file=self.config.ca_file(name),
                proxy=settings.proxy,
                instance=self.config.instance,
                product_access=policy.accounts.product_access,
                attributes=policy.accounts.attributes,
                directory_id=settings.directory_id,
                on_response=self.answered,
            )
            self._targets.append(target)
            row = await self.store.write(
                lambda db, n=name, k=settings.type: targets.ensure(db, n, k)  # type: ignore[misc]
            )
            if row.type != settings.type:
                raise ConfigError(
                    [Problem(f"targets.{name}.type", f"the state knows {name} as {row.type}")],
                    "give the new product a new name",
                )
            known = remembered.get(name) or auth.username
            if known:
                self._signed_in[name] = fold(known)
            reconcile = Reconcile(
                target,
                policy,
                self.store,
                self.clock,
                t=row.t,
                instance=self.config.instance,
                policy_digest=policy_digest(policy, self.config.instance),
                concurrency=settings.limits.concurrency,
                signed_in_as=self.signed_in_as,
                signs_in_as=self._signs_in_as,
                mirror_revision=self._mirror_revision,
            )
            reconcile.on_write(self._observer(name))
            reconcile.on_drift(self._drift_observer(name))
            self.reconciles[name] = reconcile
            self.metrics.introduce_target(name, classes=[each.value for each in GuardClass])

    def _observer(self, name: str) -> Callable[[str, str, float | None], None]:
        def observe(change: str, outcome: str, seconds: float | None) -> None:
            self.metrics.changes_total.labels(name, change, outcome).inc()
            if seconds is not None and outcome == "done":
                self.metrics.propagation_seconds.labels(name).observe(seconds)
            self.events.tell({"event": "change", "target": name, "change": change,
                              "outcome": outcome, "seconds": seconds})  # fmt: skip

        return observe

    def _drift_observer(self, name: str) -> Callable[[str, int], None]:
        def observe(change: str, number: int) -> None:
            self.metrics.drift_total.labels(name, change).inc(number)

        return observe

    def signed_in_as(self) -> frozenset[str]:
        """The accounts that azsyncd uses, in every target (rule 24)."""
        return frozenset(self._signed_in.values())

    def _signs_in_as(self, target: str, account: str | None) -> None:
        if account and self._signed_in.get(target) != fold(account):
            self._signed_in[target] = fold(account)
            self._aside(self.store.write(lambda db: set_meta(db, f"account:{target}", account)))

    # Life ---------------------------------------------------------------------------------------

    def keep_time(self, old: Running) -> None:
        """After a reload: a wall clock that was set meanwhile still moves nothing (I11)."""
        self.pull.keep_time(old.pull)
        for name, reconcile in self.reconciles.items():
            if name in old.reconciles:
                reconcile.keep_time(old.reconciles[name])

    def start(self) -> None:
        """Begin to work; `stop` ends it."""
        self._supervisor.start("pull", self.pull.run)
        for name, reconcile in self.reconciles.items():
            self._supervisor.start(f"target {name}", reconcile.run)
        if self.keeper is not None:
            self._supervisor.start("keeper", self.keeper.run)
        self._supervisor.start("schedule", self._keep_schedule)
        self._supervisor.start("housekeeping", self._keep_house)
        self._supervisor.start("gauges", Gauges(self).run)
        for name, loop in self.watch.loops():
            self._supervisor.start(name, loop)

    def crashing(self) -> list[Crashing]:
        """Background tasks that fail again and again."""
        return self._supervisor.crashing()

    async def stop(self, patience: float = STOP_SECONDS) -> None:
        """Finish the writes in flight, start no other; everything else ends at once."""
        for reconcile in self.reconciles.values():
            reconcile.stop()
        loops = tuple(f"target {name}" for name in self.reconciles)
        writing = tuple(
            f"target {name}"
            for name, reconcile in self.reconciles.items()
            if reconcile.state.step == "writing"
        )
        others = tuple(name for name in self._supervisor.names if name not in loops)
        await self._supervisor.stop(others)
        if writing:
            await self._supervisor.stop(writing, patience=patience)
        await self._supervisor.stop()
        await self.watch.audit.finish()
        await self.close()

    async def close(self) -> None:
        """Let go of connections, when what goes on beside is written."""
        if self._asides:
            await asyncio.wait(self._asides, timeout=5.0)
        for target in self._targets:
            with contextlib.suppress(AzsyncdError):
                await target.close()
        if self._watch is not None:
            await self._watch.close()
        for peer in self._peers:
            await peer.close()

    def _aside(self, work: object) -> None:
        """Carry out something that nobody waits for, and lose no error of it."""
        future: asyncio.Future[None] = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._asides.add(future)
        future.add_done_callback(self._aside_done)

    def _aside_done(self, future: asyncio.Future[None]) -> None:
        self._asides.discard(future)
        error = None if future.cancelled() else future.exception()
        if isinstance(error, StateError):
            self.fatal(error)
        elif error is not None:
            log.error("task.failed", task="aside", exc_info=error)

    # A backup that was put back -------------------------------------------------------------------

    async def notice_copy(self) -> None:
        """The state may be a backup, older than Entra and the products: nothing is planned before
        Entra was read once, and each product is read as a whole first."""

        def look(db: Connection) -> bool:
            copied = bool(get_meta(db, COPIED, 0))
            if copied:
                targets.all_due(db)
            return copied

        self._is_copy = await self.store.write(look)
        if self._is_copy:
            log.warning("state.restored", hint="everything is read before anything is written")

    def _mirror_revision(self) -> int:
        return 0 if self._is_copy else self.pull.state.revision

    def _caught_up(self) -> None:
        """Entra was read since the backup was put back."""
        if self._is_copy:
            self._is_copy = False
            self._aside(self.store.write(lambda db: set_meta(db, COPIED, 0)))
            self._advanced(self.pull.state.revision, self.clock.monotonic())

    # What happens -------------------------------------------------------------------------------

    def accept(self, body: bytes) -> None:
        """A notification of Graph's. Never waits."""
        if self.doorbell is None:
            return
        got = self.doorbell.accept(body)
        for result, number in got.counts.items():
            self.metrics.notifications_total.labels(result).inc(number)
        if got.rings:
            self.pull.ring("notification")
        if self.keeper is not None:
            for event, subscription in got.lifecycle:
                self._aside(self.keeper.lifecycle(event, subscription))

    def _advanced(self, revision: int, seen_at: float) -> None:
        for reconcile in self.reconciles.values():
            reconcile.advanced(revision, seen_at)

    def _round_closed(self, trigger: str, seconds: float, changed: int) -> None:
        self._caught_up()
        reason = trigger.partition("+")[0]
        self.metrics.round_seconds.labels(reason).observe(seconds)
        self.metrics.last_round_timestamp_seconds.set(self.clock.now())
        self.events.tell({"event": "round", "trigger": trigger, "seconds": seconds,
                          "changed": changed})  # fmt: skip

    def _crawl_closed(self, plausible: bool) -> None:
        """A full sync goes on with a fresh read and a full plan of every target."""
        self._full_left = set(self.reconciles)
        self._caught_up()
        outcome = "success" if plausible else "failure"
        self.metrics.full_sync_timestamp_seconds.labels(outcome).set(self.clock.now())
        self._aside(self._full_everywhere())
        self.on_selection()

    async def _full_everywhere(self) -> None:
        numbers = [reconcile.t for reconcile in self.reconciles.values()]

        def due(db: Connection) -> None:
            for t in numbers:
                targets.owe_full(db, t)

        await self.store.write(due)
        for reconcile in self.reconciles.values():
            reconcile.bell.ring("full")

    async def dry(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction that is taken back: a question that may write on its way."""
        kept: list[T] = []

        def ask(db: Connection) -> None:
            kept.append(work(db))
            raise _TakenBack

        with contextlib.suppress(_TakenBack):
            await self.store.write(ask)
        return kept[0]

    async def refresh_revision(self) -> None:
        """The mirror moved on by a decision, without a round."""
        revision = await self.store.read(mirror.revision)
        if revision > self.pull.state.revision:
            self.pull.state.revision = revision
            self._advanced(revision, self.clock.monotonic())

    async def crawl_for(self, selected: folding.Selected) -> None:
        """Read another selection beside the running feed (rule 5)."""
        self.pull.crawl_with(delta_for(self.graph, selected), selected)

    # Now and then -------------------------------------------------------------------------------

    async def config_changed(self) -> bool:
        """Whether the file says something else than when it was last in force: then everything is
        read and compared anew (rule 41). Slots that were missed are seen by the schedule, links
        that are too old by the reading itself."""
        digest = await self.store.read(lambda db: get_meta(db, "config_digest"))
        return digest is not None and digest != self.loaded.digest

    async def remember_config(self, *, crawl: bool = False) -> None:
        """This file is in force now; and (`crawl`) a crawl is owed because of it."""

        def remember(db: Connection) -> None:
            set_meta(db, "config_digest", self.loaded.digest)
            if crawl:
                set_meta(db, CRAWL_OWED, 1)

        await self.store.write(remember)

    async def note_configuration(self, by: str) -> None:
        """Whatever is written from now on is written under this file; its secrets are masked."""
        digest, file = self.loaded.digest, str(self.loaded.path or "")
        body, now = shown(self.config), self.clock.now()
        await self.store.write(lambda db: configurations.note(db, digest, file, body, by, now))

    async def _keep_schedule(self) -> None:
        """Full syncs by cron and wall clock."""
        cron, zone = self.config.schedule.full_sync, self.config.schedule.timezone
        if not cron:
            await asyncio.Event().wait()
        while True:
            now = self.clock.now()
            ran = await self.store.read(lambda db: get_meta(db, "cron_slot"))
            slot = schedule.last_slot(cron, zone, now)
            if schedule.is_due(cron, zone, now, ran):
                log.info("full_sync.due", slot=slot)
                await self.store.write(lambda db, s=slot: _owe_slot(db, s))  # type: ignore[misc]
                self.pull.owe_crawl("cron")
            elif ran is None or schedule.is_ahead(zone, now, ran):
                await self.store.write(lambda db, s=slot: set_meta(db, "cron_slot", s))  # type: ignore[misc]
            following = schedule.next_slot(cron, zone, now) or now + 60
            # In short steps: the wall clock may be set while we sleep.
            await self.clock.sleep(min(30.0, max(1.0, following - now)))

    async def _keep_house(self) -> None:
        """Once an hour: forget what is old, and look when credentials end."""
        while True:
            numbers = [reconcile.t for reconcile in self.reconciles.values()]
            before = self.clock.now() - self.config.state.history

            def tidy(db: Connection, numbers: list[int] = numbers, before: float = before) -> None:
                if journal.prune(db, before):
                    configurations.prune(db)
                reached = questions.lowest_revision(db, numbers)
                known = questions.lowest_revision(db, [row.t for row in targets.all_targets(db)])
                if reached is not None and known is not None:
                    mirror.prune_affected(db, min(reached, known))

            await self.store.write(tidy)
            await lastdays.keep_watch(self)
            await self.clock.sleep(3600.0)

    def lag_of(self, reconcile: Reconcile) -> float:
        """The age of the oldest change that a target has not got yet, in seconds."""
        since = reconcile.lag.since
        return 0.0 if since is None else max(0.0, self.clock.monotonic() - since)

    async def budgets(self, reconcile: Reconcile) -> Budgets:
        """The guard's allowance by class, and what of it is spent."""
        return await self.store.read(
            lambda db: budgets_of(db, reconcile.t, reconcile.policy, reconcile.window_start())
        )


class _TakenBack(Exception):
    """Ends a transaction that was only a question."""


class Book:
    """Where our subscriptions are remembered: in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self) -> list[Kept]:
        return await self._store.read(subscriptions.load)

    async def save(self, kept: list[Kept]) -> None:
        await self._store.write(lambda db: subscriptions.save(db, kept))


# Small pieces -------------------------------------------------------------------------------------


def selection_of(config: Config) -> folding.Selected:
    """The properties that a file needs, by kind."""
    users, groups = config.properties()
    return {"user": tuple(sorted(users)), "group": tuple(sorted(groups))}


def covers(selected: folding.Selected, wanted: folding.Selected) -> bool:
    """Whether everything that is wanted is read already."""
    return all(set(wanted[kind]) <= set(selected[kind]) for kind in ("user", "group"))


def delta_for(graph: Graph, selected: folding.Selected) -> Delta:
    """The feeds with this selection."""
    return Delta(graph, user_properties=selected["user"], group_properties=selected["group"])


def policy_digest(policy: Policy, instance: str) -> str:
    """Changes when what is planned may change."""
    said = json.dumps([instance, policy.model_dump(mode="json")], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def _owe_slot(db: Connection, slot: str | None) -> None:
    """This slot has run, as soon as the crawl that it owes was read: we may end before."""
    set_meta(db, "cron_slot", slot)
    set_meta(db, CRAWL_OWED, 1)


def _remembered_accounts(db: Connection) -> dict[str, str]:
    """The accounts that azsyncd has signed in as, by target: protected before it has asked."""
    found = {row.name: get_meta(db, f"account:{row.name}") for row in targets.all_targets(db)}
    return {name: str(account) for name, account in found.items() if account}
