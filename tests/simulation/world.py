"""Everything around the engine, simulated without a network, and the engine itself on top of it.

The tenant, its delta feeds and the products in memory outlive the engine; the engine has lives.
Each life opens the same SQLite file; a crash drops everything else.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from azsyncd.engine.pull import Pull
from azsyncd.engine.reconcile import Reconcile
from azsyncd.entra import wire
from azsyncd.entra.client import GraphRefused
from azsyncd.entra.delta import Delta
from azsyncd.errors import (
    ChangeRejected,
    DeltaExpired,
    SourceUnavailable,
    TargetError,
    TargetUnavailable,
)
from azsyncd.model.accounts import Account, Capabilities
from azsyncd.model.identities import GROUP_PROPERTIES, USER_PROPERTIES
from azsyncd.plan.policy import Entry, GroupScope, Policy, Scope, UserScope
from azsyncd.sandbox.delta import DeltaFeeds
from azsyncd.sandbox.layout import Oddities
from azsyncd.sandbox.nodes import Node
from azsyncd.sandbox.odata import Ask, Refused
from azsyncd.sandbox.tenant import Tenant
from azsyncd.state import folding, mirror, targets
from azsyncd.state.store import Runner, Store, open_store
from azsyncd.targets.memory import ABLE, Memory

from .expected import PREFIX, SCOPE
from .loop import SeededLoop, SimClock
from .watching import Watch, is_write

T = TypeVar("T")

START = 1_795_435_200.0
ROOT = "https://graph.example/v1.0"
SELECTED = {"user": USER_PROPERTIES, "group": GROUP_PROPERTIES}
SCOPE_RULES = Scope(
    users=UserScope(members_of=(Entry(name=SCOPE),)),
    groups=GroupScope(include=(Entry(name=f"{PREFIX}*"),)),
)
PLAIN = Capabilities(version="1", members_per_call=1)
"""Like Jira: no marks, no attributes, one membership a call."""


class Gone(Exception):
    """The process is dead: nothing that it still tries has any effect."""


class Watched(Memory):
    """A product that tells whom a write is about: by key, for two may have had one name."""

    subject = ""

    async def _before(self, method: str, account: Account) -> None:
        self.subject = account.key or account.username
        await super()._before(method, account)

    async def _around_write(self, method: str, whose: str) -> None:
        if "account" not in method and method != "set_active":
            self.subject = f"group {whose}"
        await super()._around_write(method, whose)


class InLoop:
    """A store's runner in the event loop: a thread would break "one seed, one trace"."""

    def __init__(self, world: World, db: sqlite3.Connection) -> None:
        self._world = world
        self._db = db
        db.execute("PRAGMA synchronous = OFF")

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._world.breathe()
        result = work(self._db)
        await self._world.pause()  # durable already, while nobody knows it yet
        return result

    async def close(self) -> None:
        self._db.close()


class SimGraph:
    """Graph as `entra.delta` sees it, straight on the simulated feeds."""

    root = ROOT

    def __init__(self, world: World) -> None:
        self._world = world

    def own(self, link: str) -> str:
        return link

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        world = self._world
        await world.before_graph(url)
        world.note(f"GET {url[:60]}")
        parts = urlsplit(url if url.startswith("https:") else f"{ROOT}/{url}")
        path = parts.path.removeprefix("/v1.0/")
        params = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if path.endswith("/memberOf"):
            parents = world.tenant.parents(path.split("/")[1])
            return {"value": [{"@odata.type": p.sort.odata, "id": p.id} for p in parents]}
        if path.endswith("/members"):
            inside = world.tenant.members(path.split("/")[1])
            return {"value": [{"@odata.type": m.sort.odata, "id": m.id} for m in inside]}
        if path.endswith("/manager"):
            manager = self._manager(world.tenant.find(path.split("/")[1]))
            if manager is None:
                raise GraphRefused("nobody", status=404, codes=("Request_ResourceNotFound",))
            return manager
        if path.startswith("users/") and path.count("/") == 1 and path != "users/delta":
            user = world.tenant.find(path.split("/")[1])
            if user is None:
                raise GraphRefused("nobody", status=404, codes=("Request_ResourceNotFound",))
            manager = self._manager(user)
            return {"id": user.id, **({"manager": manager} if manager else {})}
        if path == "users":
            shown = [(user.id, self._manager(user)) for user in world.tenant.users()]
            return {"value": [{"id": i, **({"manager": m} if m else {})} for i, m in shown]}
        ask = Ask(method="GET", path=f"/{path}", params=params, base="https://graph.example")
        try:
            body = world.feeds.page(path.split("/")[0], ask)
        except Refused as error:
            codes = (error.code, *(str(v) for v in error.inner.values()))
            if any(code.lower() in wire.EXPIRED_CODES for code in codes):
                raise DeltaExpired(error.message) from error
            raise GraphRefused(error.message, status=error.status, codes=codes) from error
        await world.after_graph(url)
        return body

    def _manager(self, user: Node | None) -> dict[str, Any] | None:
        key = None if user is None else user.properties.get("manager")
        manager = self._world.tenant.find(str(key or ""))
        return None if manager is None else {"@odata.type": manager.sort.odata, "id": manager.id}


class World:
    """One history: a seed, a tenant, products, and one engine at a time."""

    def __init__(
        self, seed: int, path: Path, *, policy: Policy | None = None, faults: bool = False
    ) -> None:
        self.seed = seed
        self.path = path
        self.random = random.Random(f"world {seed}")
        self.loop = SeededLoop(seed)
        self.clock = SimClock(self.loop, START)
        self.trace: list[str] = []
        self.faulty = faults
        self.dead = False
        self.tenant = Tenant(clock=SimClock(self.loop, START), seed=seed)
        self.feeds = DeltaFeeds(
            self.tenant, oddities=Oddities(page_size=5, member_slice=4), seed=seed
        )
        self.policy = policy or Policy(scope=SCOPE_RULES)
        self.policies: dict[str, Policy] = {}  # of products that have one of their own
        self.selected: folding.Selected = SELECTED
        self.poll_seconds = 30.0
        self.products: dict[str, Watched] = {}
        self.scope = SCOPE  # what the oracle takes for the policy's
        self.foreign: set[str] = set()  # usernames of accounts that are not ours
        self.no_seats = False
        self.watch = Watch(self)
        self.by_hand: dict[str, set[tuple[str, str]]] = {}  # memberships that a person made
        for name, able in (("marked", ABLE), ("plain", PLAIN)):
            self.products[name] = self._product(name, able)
        # One life of the engine:
        self.store: Store
        self.pull: Pull
        self.targets: dict[str, Reconcile] = {}
        self.tasks: list[asyncio.Task[Any]] = []
        self._connections: list[sqlite3.Connection] = []
        self.lives = 0
        self.copied = False  # an old backup was put back, and Entra not read since

    # Interleaving ---------------------------------------------------------------------------------

    def note(self, what: str) -> None:
        """One line of the trace."""
        if not self.dead:
            self.trace.append(f"{self.loop.moment:.3f} {what}")

    def breathe(self) -> None:
        """The dead do nothing."""
        if self.dead:
            raise Gone

    async def pause(self) -> None:
        """Let others go first, perhaps."""
        for _ in range(self.random.choice((0, 0, 1, 2))):
            await asyncio.sleep(0)
        self.breathe()

    def draw(self, chance: float) -> bool:
        """Whether a fault strikes now."""
        return self.faulty and self.random.random() < chance

    # Graph ----------------------------------------------------------------------------------------

    async def before_graph(self, url: str) -> None:
        await self.pause()
        await asyncio.sleep(self.random.choice((0.0, 0.01, 0.2)))
        self.breathe()
        if self.draw(0.04):
            raise SourceUnavailable("503", retry_after=self.random.choice((None, 1.0, 30.5)))

    async def after_graph(self, url: str) -> None:
        await asyncio.sleep(self.random.choice((0.0, 0.01)))
        self.breathe()
        if self.draw(0.02):
            raise SourceUnavailable("the connection was reset")

    # Products -------------------------------------------------------------------------------------

    def _product(self, name: str, able: Capabilities) -> Watched:
        async def faults(when: str, method: str) -> None:
            self.breathe()
            self.watch.called(name, when, method)
            whose = self.products[name].calls[-1][1] if is_write(method) else ""
            self.note(f"{name} {when} {method} {whose if when == 'before' else ''}".rstrip())
            await self.pause()
            await asyncio.sleep(self.random.choice((0.0, 0.01, 0.05)))
            self.breathe()
            if trouble := self._trouble(name, when, method):
                raise trouble

        return Watched(name, capabilities=able, faults=faults)

    def _trouble(self, name: str, when: str, method: str) -> TargetError | None:
        write = is_write(method)
        if self.no_seats and name == "plain" and method == "create_account" and when == "before":
            return ChangeRejected("no seat is free", target=name, reason="licence", status=400)
        if when == "after":
            if self.draw(0.03 if write else 0.01):
                return TargetUnavailable("the answer was lost", target=name)
            return None
        if self.draw(0.02):
            return TargetUnavailable("429", target=name, retry_after=2.5)
        if write and self.draw(0.02):
            return ChangeRejected("HTTP 500", target=name, status=500, doubtful=True)
        if write and self.draw(0.01):
            return ChangeRejected("no", target=name, status=400)
        return None

    # Lives ----------------------------------------------------------------------------------------

    async def _open(self, connect: Callable[[], sqlite3.Connection]) -> Runner:
        db = connect()
        self._connections.append(db)
        return InLoop(self, db)

    async def start(self) -> None:
        """The engine comes to life on what the file remembers."""
        self.lives += 1
        self.note(f"life {self.lives}")
        self.store = await open_store(self.path, exclusive=False, opener=self._open)
        source = Delta(
            SimGraph(self),  # type: ignore[arg-type]
            user_properties=self.selected["user"],
            group_properties=self.selected["group"],
        )
        self.pull = Pull(
            source,
            self.store,
            self.clock,
            selected=self.selected,
            poll_seconds=self.poll_seconds,
            on_advance=self._advanced,
            on_round=self._round_closed,
            on_crawl=self._crawled,
        )
        self.targets = {}
        for name, product in self.products.items():
            row = await self.store.write(lambda db, n=name: targets.ensure(db, n, "memory"))
            self.targets[name] = Reconcile(
                product,
                self.policies.get(name, self.policy),
                self.store,
                self.clock,
                t=row.t,
                instance="sim",
                policy_digest="p1",
                concurrency=3,
                signed_in_as=frozenset,
                signs_in_as=lambda name, account: None,
                mirror_revision=lambda: 0 if self.copied else self.pull.state.revision,
            )

    def run_loops(self) -> None:
        """The daemon's loops."""
        self.tasks = [
            self.loop.create_task(self.pull.run(), name="pull"),
            *(self.loop.create_task(t.run(), name=n) for n, t in self.targets.items()),
        ]

    def _advanced(self, revision: int, seen_at: float) -> None:
        for target in self.targets.values():
            target.advanced(revision, seen_at)

    def _round_closed(self, trigger: str, seconds: float, changed: int) -> None:
        if self.copied:  # as `Running._caught_up`
            self.copied = False
            self._advanced(self.pull.state.revision, self.loop.moment)

    def _crawled(self, plausible: bool) -> None:
        """A crawl is done."""

    async def refresh(self) -> None:
        """Somebody but the reading has moved the mirror on."""
        revision = await self.store.read(mirror.revision)
        if revision > self.pull.state.revision:
            self.pull.state.revision = revision
            self._advanced(revision, self.loop.moment)

    def live(self, seconds: float = 100.0, *, ring: bool = False) -> bool:
        """Let time pass; a process that is dead is started. `ring`: Graph notifies at once.
        Returns whether it died meanwhile (`loop.crash_in`)."""

        async def alive() -> None:
            if not self.tasks:
                await self.start()
                self.run_loops()
            if ring:
                self.pull.ring("notification")
            await self.clock.sleep(seconds)

        try:
            self.loop.run_until_complete(alive())
        except RuntimeError as error:
            if "stopped before" not in str(error):
                raise
            self.note("crash")
            self.bury()
            return True
        return False

    def must_be_alive(self) -> None:
        """No loop of the daemon ends by itself."""
        for task in self.tasks:
            if task.done():
                task.result()
                raise AssertionError(f"{task.get_name()} has ended")

    def bury(self) -> None:
        """The process is gone: what was committed stays, nothing else."""
        assert not any(target.confused for target in self.targets.values())
        self.dead = True
        dice = (self.loop.random.getstate(), self.random.getstate(), self.loop.turns)
        for db in self._connections:
            if db.in_transaction:
                db.rollback()
        for _ in range(1000):
            rest = [t for t in asyncio.all_tasks(self.loop) if not t.done()]
            if not rest:
                break
            for task in sorted(rest, key=lambda task: task.get_name()):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
        else:
            raise AssertionError(f"these tasks outlive their cancellation: {rest}")
        for task in self.tasks:
            if task.done() and not task.cancelled():
                task.exception()
        for db in self._connections:
            db.close()
        self._connections.clear()
        self.tasks = []
        self.dead = False
        # How long the dead took to leave must not matter to those who come after.
        self.loop.random.setstate(dice[0])
        self.random.setstate(dice[1])
        self.loop.turns = dice[2]

    def close(self) -> None:
        self.bury()
        self.loop.close()
