"""One seed = one accident: much of a tenant or of a group vanishes at once, or little by little.

The world is at peace first: both products equal Entra. Then something happens that looks like an
accident (in Entra, on the wire, or in the file), with restarts in between. It is counted what the
products lose by it. In the end somebody repairs it, or approves what is held.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from azsyncd.model.accounts import Account, fold
from azsyncd.plan.policy import (
    AccountRules,
    Budget,
    Entry,
    GroupScope,
    GuardRules,
    Policy,
    Scope,
    UserScope,
)
from azsyncd.sandbox.odata import Ask
from azsyncd.state import folding, holds, questions, waiting
from azsyncd.state.store import Connection

from .comparing import differences
from .expected import PREFIX
from .watching import Was, Watch
from .world import SCOPE_RULES, World

GROUP = "atl-all"
SHUT, PARTED, RENAMED, UPDATED = "shut out", "taken out of a group", "renamed", "given another mail"


class Counting(Watch):
    """Counts what each product loses, by what is lost."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.lost: Counter[tuple[str, str]] = Counter()

    def _compare(self, name: str) -> None:
        was = self._was.get(name, Was())
        for key, before in was.accounts.items():
            now = self._world.products[name].held.get(key)
            if now is None:
                continue
            if fold(now.username) != fold(before.username):
                self.lost[name, RENAMED] += 1
            if now.email != before.email:
                self.lost[name, UPDATED] += 1
        super()._compare(name)

    def _shut_out(self, name: str, account: Account) -> None:
        self.lost[name, SHUT] += 1
        super()._shut_out(name, account)

    def _parted(self, name: str, group: str, key: str, was: Was) -> None:
        self.lost[name, PARTED] += 1
        super()._parted(name, group, key, was)


class AccidentWorld(World):
    """A world whose file may change, whose clock is quiet, and whose crawls may lack something."""

    def __init__(self, seed: int, path: Path, policy: Policy) -> None:
        super().__init__(seed, path, policy=policy)
        self.watch = Counting(self)
        self.lacking: dict[str, set[str]] = {}  # by feed: ids that its pages do not show
        self.memberless = False
        self.version = 1
        page = self.feeds.page

        def spoiled(feed: str, ask: Ask) -> dict[str, Any]:
            body = page(feed, ask)
            lacking = self.lacking.get(feed, set())
            values = [each for each in body["value"] if each["id"] not in lacking]
            if self.memberless:
                values = [{k: v for k, v in each.items() if k != "members@delta"}
                          for each in values]  # fmt: skip
            return {**body, "value": values}

        self.feeds.page = spoiled  # type: ignore[method-assign]

    async def start(self) -> None:
        await super().start()
        self.pull._poll_seconds = 1e9  # we ring
        for target in self.targets.values():
            target._policy_digest = f"p{self.version}"


@dataclass(slots=True)
class Expect:
    """What may be lost, at most, in each product; whatever is not named: nothing. `undo` ends the
    accident. `true`: Entra really says so, and an approval leads there."""

    undo: Callable[[], object]
    most: Mapping[str, int] = field(default_factory=dict)
    true: bool = False


class Accident:
    """Makes a world, lets one accident happen, and ends it."""

    def __init__(self, seed: int, path: Path, only: str = "") -> None:
        self.random = random.Random(f"accident {seed}")
        draw = self.random.randint
        self.counts = {
            each: draw(0, 4)
            for each in ("deactivate", "disable", "rename", "update", "remove_member",
                         "shrink_group")
        }  # fmt: skip
        guard = GuardRules(**{name: Budget(count=n) for name, n in self.counts.items()})  # type: ignore[arg-type]
        self.world = AccidentWorld(seed, path, Policy(scope=SCOPE_RULES, guard=guard))
        self.world.products.pop(self.random.choice(("marked", "plain", "")), None)
        self.world.feeds.oddities.page_size = self.random.choice((5, 20, 50))
        kinds: dict[str, Callable[[], Expect]] = {
            "scope emptied": self._scope_emptied,
            "group emptied": self._group_emptied,
            "many disabled": self._many_disabled,
            "many deleted": self._many_deleted,
            "rights lost": self._rights_lost,
            "crawl lacks much": self._crawl_lacks_much,
            "scope gone": self._scope_gone,
            "wrong filter": self._wrong_filter,
            "wrong template": self._wrong_template,
            "drip": self._drip,
        }
        self.kind = only or self.random.choice(sorted(kinds))
        self._happen = kinds[self.kind]
        self.people: list[str] = []

    # The whole ------------------------------------------------------------------------------------

    def run(self) -> list[str]:
        """What is wrong with how it went."""
        world = self.world
        self._populate()
        self._live(100.0)
        wrong = [f"before: {line}" for line in differences(world)]
        world.watch.lost.clear()  # type: ignore[attr-defined]
        expect = self._happen()
        self._live(100.0)
        wrong += self._too_much(expect, "at first")
        for _ in range(self.random.randint(0, 2)):
            self._restart_perhaps()
            if self.random.random() < 0.5:
                self.world.pull.owe_crawl("full")
            self._live(self.random.choice((50.0, 4000.0)))
            wrong += self._too_much(expect, "later")
        if expect.true and self.random.random() < 0.5:
            self._approve()
        else:
            expect.undo()
            world.watch.entra_changed()
            self._live(100.0)
            wrong += self._too_much(expect, "after the repair")
        self._full_sync()
        wrong += [f"in the end: {line}" for line in differences(world)]
        return [*wrong, *world.watch.wrong]

    def _too_much(self, expect: Expect, when: str) -> list[str]:
        lost = self.world.watch.lost  # type: ignore[attr-defined]
        return [
            f"{when}: {number} {what} in {name}, at most {expect.most.get(what, 0)} allowed"
            for (name, what), number in lost.items()
            if number > expect.most.get(what, 0)
        ]

    def _populate(self) -> None:
        tenant = self.world.tenant
        for number in range(self.random.randint(12, 26)):
            upn = f"u{number}@fabrikam.example"
            self.people.append(tenant.add_user(upn, displayName=f"User {number}", mail=upn))
        tenant.add_group("staff", members=self.people)
        tenant.add_group("inner", members=self.people[:3])
        tenant.add_group(GROUP, members=self.people)
        tenant.add_group("atl-some", members=self.people[::2])
        self.world.watch.entra_changed()

    # Lives ----------------------------------------------------------------------------------------

    def _live(self, seconds: float) -> None:
        self.world.live(seconds, ring=True)
        self.world.must_be_alive()

    def _restart_perhaps(self) -> None:
        if self.random.random() < 0.5:
            self.world.bury()

    def _reload(self, policy: Policy) -> None:
        self.world.bury()
        self.world.policy = policy
        self.world.version += 1

    def _decide(self, work: Callable[[Connection], None]) -> None:
        async def decide() -> None:
            await self.world.store.write(work)
            await self.world.refresh()
            for target in self.world.targets.values():
                target.bell.ring("operator")

        self.world.loop.run_until_complete(decide())

    def _approve(self) -> None:
        """All that is held, once; and once more what was found by that."""
        for _ in range(2):
            now = self.world.clock.now()

            def approve(db: Connection, now: float = now) -> None:
                for hold in holds.listed(db):
                    if hold.kind == holds.SOURCE:
                        folding.approve_sweep(db, int(hold.payload["crawl"]), now)
                        questions.close_hold(db, hold.id, "approved", "sim", "", now)
                        continue
                    for n in holds.decide(db, hold.id, "approved", "sim", "", now):
                        waiting.make_due(db, int(hold.t or 0), n, now)

            self._decide(approve)
            self._live(100.0)

    def _full_sync(self) -> None:
        self.world.pull.owe_crawl("full")
        self._live(200.0)

    # Accidents ------------------------------------------------------------------------------------

    def _many(self) -> list[str]:
        """More than a quarter of everybody: fewer than four fifths are implausible (rule 7)."""
        least = len(self.people) // 4 + 1
        return self.random.sample(self.people, self.random.randint(least, len(self.people)))

    def _all_or_none(self, wanted: int, *classes: str) -> int:
        """What one round wants of a class is sent whole, or held whole (rule 36)."""
        return wanted if all(wanted <= self.counts[each] for each in classes) else 0

    def _scope_emptied(self) -> Expect:
        tenant, gone = self.world.tenant, self._many()
        staff = tenant.group("staff").id
        for user in gone:
            tenant.remove_member(staff, user)
        self.world.watch.entra_changed()
        most = {SHUT: self._all_or_none(len(gone), "deactivate")}
        return Expect(lambda: [tenant.add_member(staff, user) for user in gone], most, true=True)

    def _group_emptied(self) -> Expect:
        tenant, gone = self.world.tenant, self._many()
        group = tenant.group(GROUP).id
        for user in gone:
            tenant.remove_member(group, user)
        self.world.watch.entra_changed()
        most = {PARTED: self._all_or_none(len(gone), "remove_member", "shrink_group")}
        return Expect(lambda: [tenant.add_member(group, user) for user in gone], most, true=True)

    def _many_disabled(self) -> Expect:
        tenant, gone = self.world.tenant, self._many()
        for user in gone:
            tenant.update(user, accountEnabled=False)
        self.world.watch.entra_changed()
        most = {SHUT: self._all_or_none(len(gone), "disable")}
        return Expect(
            lambda: [tenant.update(user, accountEnabled=True) for user in gone], most, true=True
        )

    def _many_deleted(self) -> Expect:
        tenant, gone = self.world.tenant, self._many()
        for user in gone:
            tenant.delete(user)
        self.world.watch.entra_changed()
        most = {SHUT: self._all_or_none(len(gone), "disable")}
        return Expect(lambda: [tenant.restore(user) for user in gone], most, true=True)

    def _rights_lost(self) -> Expect:
        oddities = self.world.feeds.oddities
        feeds = self.random.choice((["users"], ["groups"], ["users", "groups"]))
        for feed in feeds:
            oddities.limited[feed] = self.random.choice(("ids", "nulls"))
        oddities.limited_from = self.random.choice((0, 0, 1, 2))
        self.world.pull.owe_crawl("full")
        return Expect(oddities.limited.clear)

    def _crawl_lacks_much(self) -> Expect:
        world, tenant = self.world, self.world.tenant
        what = self.random.randrange(4)
        if what == 0:
            world.memberless = True
        elif what == 1:
            world.lacking["groups"] = {group.id for group in tenant.groups()}
        elif what == 2:
            world.lacking["users"] = set(self.people)
        else:
            world.lacking["users"] = set(self._many())
        world.pull.owe_crawl("full")

        def undo() -> None:
            world.lacking.clear()
            world.memberless = False

        return Expect(undo)

    def _scope_gone(self) -> Expect:
        tenant = self.world.tenant
        staff = tenant.group("staff").id
        if self.random.random() < 0.5:
            tenant.update(staff, displayName="people")
            return Expect(lambda: tenant.update(staff, displayName="staff"))
        tenant.delete(staff)
        return Expect(lambda: tenant.restore(staff))

    def _wrong_filter(self) -> Expect:
        old = self.world.policy
        scope = self.random.choice(
            (
                UserScope(members_of=(Entry(name="inner"),)),
                UserScope(where="user.department == 'no such'"),
                UserScope(members_of=(Entry(name="staff"),), where="user.userType == 'Guest'"),
                UserScope(members_of=(Entry(name="nobody is called so"),)),
            )
        )
        groups = GroupScope(include=(Entry(name=f"{PREFIX}*"),))
        self._reload(old.model_copy(update={"scope": Scope(users=scope, groups=groups)}))
        return Expect(lambda: self._reload(old))  # at least nine of them, and four are allowed

    def _wrong_template(self) -> Expect:
        old = self.world.policy
        name, template = self.random.choice(
            (
                ("username", "x-{{ user.userPrincipalName }}"),
                ("email", "{{ user.displayName | replace(' ', '') }}@wrong.example"),
            )
        )
        self._reload(old.model_copy(update={"accounts": AccountRules(**{name: template})}))  # type: ignore[arg-type]
        return Expect(lambda: self._reload(old))

    def _drip(self) -> Expect:
        """Some each round, and each round fits by itself."""
        tenant, world = self.world.tenant, self.world
        left = self._many()
        gone = list(left)
        staff, group = tenant.group("staff").id, tenant.group(GROUP).id
        undo: Callable[[], object]
        how = self.random.choice(("disable", "deactivate", "remove_member"))
        while left:
            number = self.random.randint(1, 3)
            for user in left[:number]:
                if how == "disable":
                    tenant.update(user, accountEnabled=False)
                elif how == "deactivate":
                    tenant.remove_member(staff, user)
                else:
                    tenant.remove_member(group, user)
            del left[:number]
            world.watch.entra_changed()
            self._live(self.random.choice((20.0, 300.0)))
            self._restart_perhaps()
            if not world.tasks:
                self._live(1.0)
        if how == "disable":
            most = {SHUT: self.counts["disable"]}
            undo = lambda: [tenant.update(user, accountEnabled=True) for user in gone]  # noqa: E731
        elif how == "deactivate":
            most = {SHUT: self.counts["deactivate"]}
            undo = lambda: [tenant.add_member(staff, user) for user in gone]  # noqa: E731
        else:
            most = {PARTED: min(self.counts["remove_member"], self.counts["shrink_group"])}
            undo = lambda: [tenant.add_member(group, user) for user in gone]  # noqa: E731
        return Expect(undo, most, true=True)
