"""The engine lives through the company's days: two products, faults, hands, crashes, full syncs."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import replace
from pathlib import Path

from azsyncd.config.loading import loads
from azsyncd.errors import TargetError, TargetUnavailable
from azsyncd.model.accounts import Account
from azsyncd.model.identities import GROUP_PROPERTIES, USER_PROPERTIES
from azsyncd.plan.policy import Policy
from azsyncd.sandbox.layout import Oddities
from azsyncd.sandbox.nodes import Sort
from azsyncd.sandbox.tenant import Tenant
from azsyncd.state import folding, holds, questions, targets, waiting
from azsyncd.state.store import Connection
from azsyncd.targets.memory import ABLE
from tests.simulation.watching import is_write
from tests.simulation.world import PLAIN, World

from .company import RING, Company
from .oracle import Oracle, Truth, fold
from .rules import DAY, HOUR, file, two_products

ADMINS = "atl-admins"
"""A name that the filters match: administrators' groups are never written (rule 24)."""
MOST_TURNS = 30_000_000


class Deaf:
    """Takes the place of the watch, which compares all after each write: too slow for thousands."""

    def called(self, name: str, when: str, method: str) -> None:
        """Nothing."""


class DaysWorld(World):
    """The simulated world with a file of its own, and days of good and bad weather."""

    def __init__(self, seed: int, path: Path) -> None:
        super().__init__(seed, path, policy=Policy())
        self.watch = Deaf()  # type: ignore[assignment]
        self.trace = deque(maxlen=3000)  # type: ignore[assignment]
        self.loop.most = MOST_TURNS
        self.poll_seconds = 2 * HOUR
        admins = frozenset({ADMINS})
        self.products = {
            "red": self._product("red", replace(ABLE, admin_groups=admins)),
            "blue": self._product("blue", replace(PLAIN, admin_groups=admins)),
        }
        self.down: set[str] = set()
        self.throttled: dict[str, float] = {}  # by product: how likely a call is refused
        self.flaky = 0.0  # how likely an answer is lost, or an object refused

    def configure(self, text: str) -> None:
        """Read the file as the daemon does."""
        config = loads(text).config
        users, groups = config.properties()
        self.selected = {
            "user": frozenset({*USER_PROPERTIES, *users}),
            "group": frozenset({*GROUP_PROPERTIES, *groups}),
        }
        self.policies = {name: config.policy(name) for name in config.targets}

    def note(self, what: str) -> None:
        if not self.dead and "GET" not in what:
            super().note(what)

    async def pause(self) -> None:
        self.breathe()

    def _trouble(self, name: str, when: str, method: str) -> TargetError | None:
        if name in self.down:
            return TargetUnavailable("down", target=name)
        if when == "before" and self.random.random() < self.throttled.get(name, 0.0):
            wait = self.random.choice((None, 2.5, 60.0))
            return TargetUnavailable("429", target=name, retry_after=wait)
        if when == "after" and is_write(method) and self.random.random() < self.flaky:
            return TargetUnavailable("the answer was lost", target=name)
        return None

    def _crawled(self, plausible: bool) -> None:
        self.loop.create_task(self._full_everywhere(), name="full")

    async def _full_everywhere(self) -> None:
        numbers = [target.t for target in self.targets.values()]

        def owe(db: Connection) -> None:
            for t in numbers:
                targets.owe_full(db, t)

        await self.store.write(owe)
        for target in self.targets.values():
            target.bell.ring("full")


class Days:
    """One seed: a company, two products, and so many days."""

    def __init__(self, seed: int, path: Path, *, users: int, drawn: bool) -> None:
        self.random = random.Random(f"days {seed}")
        self.world = DaysWorld(seed, path)
        self.tenant: Tenant = self.world.tenant
        self.company = Company(self.tenant, seed, users)
        self.users = users
        self.rules = two_products(self.random, not drawn, self.company.ids)
        self.world.configure(file(self.rules))
        self.world.feeds.oddities = self.world.feeds._layout._oddities = Oddities(
            page_size=max(20, users // 10),
            member_slice=max(20, users // 10),
            shuffles=self.random.random() < 0.5,
            repeats=self.random.choice((0.0, 0.2)),
            hides_manager=self.random.random() < 0.5,
        )
        self.oracles = {
            name: Oracle(name, self.rules[name], product, frozenset({ADMINS}))
            for name, product in self.world.products.items()
        }
        # Days between two full syncs, and how likely a call is refused: a few a turn at any size.
        self.every = self.random.choice((1, 2, 3, 5)) if users <= 500 else 10
        self.refused = min(0.02, 4 / users)
        self.parents: dict[str, frozenset[str]] = {}
        self.owed: dict[str, bool] = dict.fromkeys(self.oracles, False)  # a full sync, after hands
        self.log: list[str] = []
        self.history: list[str] = []
        self.compared = 0
        self._strangers = 0
        self._was_down: set[str] = set()
        self._last: dict[str, frozenset[str]] = {}
        self._stand()

    # The beginning --------------------------------------------------------------------------------

    def _stand(self) -> None:
        """What stands in the products before anybody comes."""
        people = list(self.tenant.users())
        admin = self.tenant.add_group(ADMINS, members=[p.id for p in people[3:6]])
        self.company.everywhere.discard(admin)
        for name, oracle in self.oracles.items():
            product = self.world.products[name]
            for number in range(max(3, self.users // 50)):
                self._stranger(name, f"local.user{number}")
            chosen = self.random.sample(people[3:], max(3, self.users // 20))
            for user in chosen:
                wanted = str(self.rules[name].username.means(user.properties)).strip()
                if wanted and product.account(wanted) is None:
                    self._stranger(name, wanted)
            product.put_group(ADMINS).members.add(next(iter(product.held)))
            oracle.admin_members[ADMINS] = set(product.held_groups[ADMINS].members)
            oracle.hand_groups.add(ADMINS)
            for group in ("atl-1", "atl-2", "everyone", "local-team"):
                held = product.put_group(group)
                oracle.hand_groups.add(group)
                for key in self.random.sample(sorted(product.held), 3):
                    held.members.add(key)
                    oracle.by_hand.add((group, key))

    def _stranger(self, name: str, username: str) -> None:
        account = Account(
            username=username, email=f"s{self._strangers}@else.example", display_name="A Stranger"
        )
        self._strangers += 1
        self.oracles[name].stranger(self.world.products[name].put(account))

    # The days -------------------------------------------------------------------------------------

    def run(self, days: int) -> list[str]:
        """Live so many days; returns what was wrong on the first day on which something was."""
        for day in range(days):
            wrong = self._day(day)
            if wrong:
                return [f"day {day}:", *wrong]
        return []

    def _day(self, day: int) -> list[str]:
        world, draw = self.world, self.random
        began = self._at
        # Names that go round while a product is away cannot be told apart by what is there then.
        self.company.rings = not self._was_down
        told = self.company.day(0 if day == 0 else draw.randint(3, 8 + self.users // 150))
        hands = [self._hand() for _ in range(draw.choice((0, 0, 1, 3)) if day > 1 else 0)]
        self._remember_parents()
        world.down = {n for n in self.oracles if day > 1 and draw.random() < 0.06}
        if any(line.startswith(RING) for line in told):
            world.down = set()
        if day and self._was_down:  # more than a day, now and then
            world.down |= {n for n in self._was_down if draw.random() < 0.6}
        # Whoever comes back comes back after the day's news are read: never to those of yesterday.
        coming = self._was_down - world.down
        self._was_down, now_down = set(world.down), world.down
        world.down = now_down | coming
        weather = draw.choice(("calm", "calm", "throttled", "lost", "graph")) if day else "calm"
        full = day % self.every == 0
        self.log = [
            f"{weather}, down: {sorted(world.down)}, full: {full}",
            *told,
            *filter(None, hands),
        ]
        self.history += [f"{day}: {line}" for line in self.log]
        self._live(10.0)
        self.tenant.tick()
        world.throttled = (
            dict.fromkeys(self.oracles, self.refused) if weather == "throttled" else {}
        )
        world.flaky = 1.5 * self.refused if weather == "lost" else 0.0
        world.faulty = weather == "graph"
        if world.tasks:
            world.pull.ring("notification")
        if day == 0:
            self._live(60.0)
            self._approve()  # the first contact
        self._live(HOUR, crash=day > 0 and draw.random() < 0.15)
        world.down = now_down
        if full and day:
            world.pull.owe_crawl("cron")
        self._live(HOUR, crash=day > 0 and draw.random() < 0.1)
        world.throttled, world.flaky, world.faulty = {}, 0.0, False
        if day > 0 and draw.random() < 0.1:
            world.bury()  # and up again
        if full and day and "crash" in self.log:
            self._live(1.0)
            world.pull.owe_crawl("cron")  # it may have died before it began
        for _ in range(2):
            self._live(9 * HOUR)
            self._approve()
        self._live(began + 23 * HOUR - self._at)
        wrong = self._compare(began, full)
        self._live(began + DAY - self._at)
        return wrong

    @property
    def _at(self) -> float:
        return self.world.loop.moment

    def _remember_parents(self) -> None:
        """Whoever is purged leaves her groups without a word: frozen where she was (rule 6)."""
        for node in self.tenant.nodes.values():
            if node.sort is Sort.USER:
                if not node.purged:
                    self._last[node.id] = frozenset(node.parents)
                elif node.id in self._last:
                    self.parents[node.id] = self._last.pop(node.id)

    def _compare(self, began: float, full: bool) -> list[str]:
        truth = Truth(self.tenant, self.parents)
        now = self.world.clock.now()
        wrong: list[str] = []
        for name, oracle in self.oracles.items():
            oracle.note(truth, now - (self._at - began))
            self.owed[name] = self.owed[name] or full
            if name in self.world.down:
                continue
            wrong += oracle.look(truth, now, full=self.owed[name])
            self.compared += len(oracle.links)
            self.owed[name] = False
        return wrong

    # Hands ----------------------------------------------------------------------------------------

    def _hand(self) -> str:
        """Somebody does something in a product by hand."""
        draw = self.random
        name = draw.choice(sorted(self.oracles))
        oracle, product = self.oracles[name], self.world.products[name]
        self.owed[name] = False
        what = draw.choice(("stranger", "stranger", "member", "member", "member", "part", "lock",
                            "call", "delete"))  # fmt: skip
        if what == "stranger":
            user = draw.choice([u for u in self.tenant.nodes.values() if u.sort is Sort.USER])
            wanted = str(oracle.rules.username.means(user.properties)).strip()
            username = draw.choice((wanted, f"hand{self._strangers}"))
            if not username or product.account(username) is not None:
                return ""
            self._stranger(name, username)
            return f"{name}: somebody makes the account {username}"
        groups = sorted(product.held_groups.keys() - {ADMINS})
        group = product.held_groups[draw.choice(groups)]
        account = product.held[draw.choice(sorted(product.held))]
        key, ours = str(account.key), oracle.owner(str(account.key))
        if what == "member":
            group.members.add(key)
            oracle.by_hand.add((fold(group.group.name), key))
            return f"{name}: somebody puts {account.username} into {group.group.name}"
        if what == "part" and group.members:
            key = draw.choice(sorted(group.members))
            group.members.discard(key)
            oracle.by_hand.add((fold(group.group.name), key))
            return f"{name}: somebody takes {product.held[key].username} out of {group.group.name}"
        if ours is None or key in oracle.strangers:
            return ""
        if what == "lock":
            product.put(replace(account, active=not account.active))
            oracle.links[ours].locked = True
        elif what == "call":
            product.put(replace(account, display_name="By Hand"))
            oracle.touched.add(key)
        elif what == "delete":
            del product.held[key]
            for held in product.held_groups.values():
                held.members.discard(key)
            oracle.lost.add(ours)
        return f"{name}: somebody does {what} to {account.username}"

    # Lives ----------------------------------------------------------------------------------------

    def _live(self, seconds: float, *, crash: bool = False) -> None:
        world, until = self.world, self._at + seconds
        if crash:
            world.loop.crash_in(self.random.randint(1, 3000))
        while self._at < until:
            if world.live(until - self._at):
                self.log.append("crash")
            world.must_be_alive()
        world.loop.crash_in(None)

    def _approve(self) -> None:
        """A person looks at what is held, and agrees."""
        world = self.world

        async def decide() -> None:
            await world.store.write(agree)
            await world.refresh()
            for target in world.targets.values():
                target.bell.ring("operator")

        def agree(db: Connection) -> None:
            now = world.clock.now()
            for hold in holds.listed(db):
                if hold.kind == holds.SOURCE:
                    folding.approve_sweep(db, int(hold.payload["crawl"]), now)
                    questions.close_hold(db, hold.id, "approved", "sim", "", now)
                elif hold.kind == holds.FIRST_CONTACT:
                    questions.close_hold(db, hold.id, "approved", "sim", "", now)
                    targets.update(db, int(hold.t or 0), first_contact="consented")
                    targets.owe_full(db, int(hold.t or 0))
                else:
                    for n in holds.decide(db, hold.id, "approved", "sim", "", now):
                        waiting.make_due(db, int(hold.t or 0), n, now)

        world.loop.run_until_complete(decide())
