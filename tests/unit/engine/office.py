"""The operations on a small installation: a real state, products in memory, Entra read by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from azsyncd.config import Config
from azsyncd.engine.operations import EngineOperations
from azsyncd.engine.reconcile import Reconcile
from azsyncd.engine.running import Running
from azsyncd.model.identities import FEEDS, GROUP_PROPERTIES, USER_PROPERTIES, Page, Seen
from azsyncd.plan.policy import Entry, GroupScope, Policy, Scope, UserScope
from azsyncd.sandbox.clock import FakeClock
from azsyncd.state import folding, mirror, staging, targets
from azsyncd.state.store import Connection, Store, open_store
from azsyncd.targets.memory import Memory

SELECTED = {"user": USER_PROPERTIES, "group": GROUP_PROPERTIES}
INSTANCE = "test"
EVERYBODY = Scope(
    users=UserScope(everybody=True), groups=GroupScope(include=(Entry(name="atl-*"),))
)


class Pull:
    """Entra was read already; asking again changes nothing."""

    def __init__(self) -> None:
        self.state = SimpleNamespace(
            revision=0, state="idle", detail="", hint="", crawling=False, crawl_items=0
        )

    async def once(self, *, crawl: bool = False) -> None:
        pass


@dataclass
class Office:
    """What `EngineOperations` needs of a configuration at work, and nothing else."""

    store: Store
    clock: FakeClock
    pull: Pull = field(default_factory=Pull)
    reconciles: dict[str, Reconcile] = field(default_factory=dict)
    products: dict[str, Memory] = field(default_factory=dict)
    ours: set[str] = field(default_factory=set)
    config: Any = None

    @property
    def operations(self) -> EngineOperations:
        return EngineOperations(lambda: self, live=False)  # type: ignore[arg-type, return-value]

    def signed_in_as(self) -> frozenset[str]:
        return frozenset(self.ours)

    async def dry(self, work: Callable[[Connection], Any]) -> Any:
        return await Running.dry(self, work)  # type: ignore[arg-type]

    async def note_configuration(self, by: str) -> None:
        """There is no file."""

    async def refresh_revision(self) -> None:
        self.pull.state.revision = await self.store.read(mirror.revision)

    async def open(
        self, name: str, policy: Policy | None = None, *, concurrency: int = 1, **more: Any
    ) -> Memory:
        """A product, and its loop (which stands still)."""
        product = self.products.get(name) or Memory(name, **more)
        self.products[name] = product
        row = await self.store.write(lambda db: targets.ensure(db, name, "memory"))
        self.reconciles[name] = Reconcile(
            product,
            policy or Policy(scope=EVERYBODY),
            self.store,
            self.clock,
            t=row.t,
            instance=INSTANCE,
            policy_digest="1",
            concurrency=concurrency,
            signed_in_as=self.signed_in_as,
            signs_in_as=lambda target, account: self.ours.add(account) if account else None,
            mirror_revision=lambda: self.pull.state.revision,
        )
        return product

    async def crawl(self, *seen: Seen, whole: bool = True) -> None:
        """Entra is read: everything, or what has changed."""
        pass_ = staging.CRAWL if whole else staging.ROUND

        def fold(db: Connection) -> None:
            links = {feed: (f"https://graph/{feed}", "s") for feed in FEEDS}
            staging.begin(db, pass_, links, self.clock.now())
            for feed in FEEDS:
                mine = [each for each in seen if (each.id[0] == "g") == (feed == "groups")]
                staging.stage(db, pass_, feed, Page(tuple(mine), delta_link=f"d-{feed}"))
            close = folding.fold_crawl if whole else folding.fold_round
            close(db, SELECTED, self.clock.now())

        await self.store.write(fold)
        await self.refresh_revision()

    async def turn(self, name: str, **more: Any) -> Any:
        """One turn of a product's loop, as `sync` makes it."""
        return await self.reconciles[name].turn(cause="test", consent=True, **more)


@asynccontextmanager
async def opened(folder: Path, config: Config | None = None) -> AsyncIterator[Office]:
    """An office on a fresh state."""
    store = await open_store(folder / "state" / "azsyncd.db")
    try:
        yield Office(store, FakeClock(moves=False), config=config)
    finally:
        await store.close()
