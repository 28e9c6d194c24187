"""One seed = one history: a small tenant, products, people's and nature's whims, and crashes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from azsyncd.model.accounts import Account
from azsyncd.plan.policy import Budget, Entry, GuardRules, Policy, UserScope
from azsyncd.sandbox.layout import Oddities
from azsyncd.sandbox.nodes import Refusal
from azsyncd.state import folding, holds, staging, targets, waiting
from azsyncd.state.store import Connection

from .comparing import differences
from .loop import Stuck
from .world import SCOPE_RULES, World

TIGHT = GuardRules(
    deactivate=Budget(count=1),
    disable=Budget(count=1),
    remove_member=Budget(count=2),
    rename=Budget(count=1),
    shrink_group=Budget(count=2),
)


class History:
    """Makes a world, lets things happen in it, and ends the faults."""

    def __init__(self, seed: int, path: Path, *, steps: int = 25) -> None:
        self.tight = seed % 4 == 3
        policy = Policy(scope=SCOPE_RULES, guard=TIGHT if self.tight else GuardRules())
        self.world = World(seed, path, policy=policy, faults=True)
        self.random = self.world.random
        self.steps = steps
        self._number = 0

    # The whole ------------------------------------------------------------------------------------

    def run(self) -> list[str]:
        """Live through it; returns what is wrong at the end or went wrong on the way."""
        world = self.world
        self._populate()
        self._life(0.0)
        for _ in range(self.steps):
            self._happen()
            self._life(self.random.choice((0.0, 0.5, 3.0, 20.0, 70.0, 400.0)))
        if self.tight:
            per_product = [name for name, _ in world.watch.deactivations]
            for name in world.products:
                # One of each class before a person approves; a second one needs 24 hours.
                if per_product.count(name) > 2:
                    world.watch.wrong.append(f"I5: too many deactivations in {name}")
        return [*self._end(), *world.watch.wrong]

    def _populate(self) -> None:
        tenant = self.world.tenant
        people = [self._new_user() for _ in range(self.random.randint(4, 14))]
        tenant.add_group("staff", members=people)
        tenant.add_group("inner", members=self._some(people))
        for number in range(self.random.randint(1, 4)):
            tenant.add_group(f"atl-{number}", members=self._some(people))
        tenant.add_member(tenant.group("atl-0").id, tenant.group("inner").id)
        for name in self.world.products:
            if self.random.random() < 0.5:
                self._foreign(name)
        self.world.watch.entra_changed()

    def _some(self, of: list[str]) -> list[str]:
        return [each for each in of if self.random.random() < 0.5]

    def _new_user(self, upn: str = "") -> str:
        self._number += 1
        n = self._number
        odd = self.random.choice(("", " Ö.", "🙂", " x" * 60))
        return self.world.tenant.add_user(
            upn or f"Person{n}@fabrikam.example",
            displayName=f"Person {n}{odd}",
            mail=self.random.choice((f"p{n}@x.org", None)),
        )

    # Lives ----------------------------------------------------------------------------------------

    def _life(self, seconds: float) -> None:
        """Let time pass; the process may die at any moment, and is started again."""
        world = self.world
        if world.faulty and self.random.random() < 0.25:
            world.loop.crash_in(self.random.randint(1, 400))
        world.live(seconds)
        world.must_be_alive()

    # What happens ---------------------------------------------------------------------------------

    def _happen(self) -> None:
        """One thing; what is not possible just now does not happen."""
        whim = self.random.choice(self._whims())
        try:
            whim()
        except (Refusal, KeyError, IndexError):
            return
        self.world.watch.entra_changed()
        if self.world.tasks and self.random.random() < 0.5:
            self.world.pull.ring("notification")

    def _whims(self) -> list[Callable[[], object]]:
        return [
            *(4 * [self._user_change, self._membership]),
            *(2 * [self._existence, self._user_change]),
            self._nesting,
            self._group_existence,
            self._by_hand,
            self._feeds,
            self._clocks,
            self._seats,
        ]

    def _user(self) -> str:
        return self.random.choice(list(self.world.tenant.users())).id

    def _group(self, prefix: str = "") -> str:
        found = [g for g in self.world.tenant.groups() if g.name.startswith(prefix)]
        return self.random.choice(found).id

    def _user_change(self) -> None:
        tenant, user = self.world.tenant, self._user()
        what = self.random.randrange(6)
        if what < 2:
            enabled = not tenant.nodes[user].properties["accountEnabled"]
            tenant.update(user, accountEnabled=enabled)
        elif what == 2:
            tenant.update(user, displayName=f"Name {self.random.randrange(1000)}")
        elif what == 3:
            tenant.update(
                user, userPrincipalName=f"new{self.random.randrange(30)}@fabrikam.example"
            )
        elif what == 4:
            self._swap(user, self._user())
        else:
            tenant.update(user, mail=f"m{self.random.randrange(1000)}@x.org")

    def _swap(self, one: str, other: str) -> None:
        tenant = self.world.tenant
        a = str(tenant.nodes[one].properties["userPrincipalName"])
        b = str(tenant.nodes[other].properties["userPrincipalName"])
        if one != other:
            tenant.update(one, userPrincipalName=f"t{one[:8]}@fabrikam.example")
            tenant.update(other, userPrincipalName=a)
            tenant.update(one, userPrincipalName=b)

    def _membership(self) -> None:
        tenant, user, group = self.world.tenant, self._user(), self._group()
        if not tenant.remove_member(group, user):
            tenant.add_member(group, user)

    def _nesting(self) -> None:
        tenant = self.world.tenant
        outer, inner = self._group(), self._group()
        if outer != inner and not tenant.remove_member(outer, inner):
            tenant.add_member(outer, inner)

    def _existence(self) -> None:
        tenant = self.world.tenant
        what = self.random.randrange(5)
        if what == 0:
            tenant.add_member(tenant.group("staff").id, self._new_user())
        elif what == 1:
            tenant.delete(self._user())
        elif what == 2:
            tenant.restore(self.random.choice(list(tenant.deleted("users"))).id)
        elif what == 3:
            tenant.purge(self.random.choice(list(tenant.deleted("users"))).id)
        else:  # hired again under the old name
            old = self.random.choice(list(tenant.deleted("users")))
            upn = str(old.properties["userPrincipalName"])
            tenant.add_member(tenant.group("staff").id, self._new_user(upn))

    def _group_existence(self) -> None:
        tenant = self.world.tenant
        what = self.random.randrange(4)
        if what == 0:
            tenant.add_group(f"atl-{self.random.randrange(6)}", members=self._some([self._user()]))
        elif what == 1:
            tenant.delete(self._group("atl-"))
        elif what == 2:
            tenant.restore(self.random.choice(list(tenant.deleted("groups"))).id)
        else:
            tenant.delete(tenant.group("inner").id)

    def _foreign(self, name: str) -> None:
        product = self.world.products[name]
        who = f"stranger{len(product.held)}"
        account = product.put(Account(username=who, email=f"{who}@x.org", display_name=who))
        self.world.foreign.add(who)
        if self.random.random() < 0.5:
            product.put_group("atl-0").members.add(str(account.key))
            self.world.by_hand.setdefault(name, set()).add(("atl-0", str(account.key)))
        self.world.watch.hands_off(name)

    def _by_hand(self) -> None:
        name = self.random.choice(list(self.world.products))
        product = self.world.products[name]
        ours = [a for a in product.held.values() if a.username not in self.world.foreign]
        what = self.random.randrange(5)
        if what == 0:
            self._foreign(name)
        elif what == 1:
            account = self.random.choice(ours)
            product.put(_with(account, display_name="by hand"))
        elif what == 2:
            account = self.random.choice(ours)
            product.put(_with(account, active=not account.active))
        elif what == 3:
            group = self.random.choice(list(product.held_groups))
            key = str(self.random.choice(ours).key)
            held = product.held_groups[group].members
            if key in held:
                held.discard(key)
            else:
                held.add(key)
                self.world.by_hand.setdefault(name, set()).add((group, key))
        else:
            account = self.random.choice(ours)
            del product.held[str(account.key)]
            for held_group in product.held_groups.values():
                held_group.members.discard(str(account.key))
        self.world.watch.hands_off(name)

    def _feeds(self) -> None:
        feeds = self.world.feeds
        what = self.random.randrange(6)
        if what == 0:
            feeds.expire(
                style=self.random.choice(("sync_state_not_found", "resync_required", "gone"))
            )
        elif what == 1:
            feeds.kill_next_links()
        elif what == 2:
            feeds.oddities = self._oddities()
            feeds._layout._oddities = feeds.oddities
        elif what == 3:
            feeds.oddities.limited[self.random.choice(("users", "groups"))] = self.random.choice(
                ("ids", "nulls")
            )
            self.world.pull.owe_crawl("full")
        elif what == 4:
            feeds.oddities.limited.clear()
        else:
            self.world.pull.owe_crawl("full")

    def _oddities(self) -> Oddities:
        chance = self.random
        return Oddities(
            page_size=chance.choice((1, 3, 50)),
            member_slice=chance.choice((1, 2, 20)),
            empty_pages=chance.choice((0, 0, 1)),
            repeats=chance.choice((0.0, 0.3)),
            shuffles=chance.random() < 0.5,
            replays=chance.choice((0, 0, 5)),
            removed_in_first_round=chance.random() < 0.3,
            lists_soft_deleted_members=chance.random() < 0.3,
            relists_restored_groups=chance.random() < 0.5,
            keeps_each_change=chance.random() < 0.3,
            dead_pages=chance.choice((0, 0, 2)),
            loops=chance.choice((0, 0, 1)),
            lag=chance.choice((0.0, 0.0, 5.0, 40.0)),
        )

    def _clocks(self) -> None:
        if not self.tight:  # a clock set forward in mid-restart cannot be told from a long sleep
            self.world.clock.jump(self.random.choice((7200.0, -7200.0, 259200.0, -259200.0)))

    def _seats(self) -> None:
        self.world.no_seats = not self.world.no_seats

    # The end --------------------------------------------------------------------------------------

    def _end(self) -> list[str]:
        """Faults stop; an operator asks for a full sync and approves whatever is held."""
        world = self.world
        world.faulty = False
        world.no_seats = False
        world.loop.crash_in(None)
        world.feeds.oddities = Oddities(page_size=5, member_slice=4)
        world.feeds._layout._oddities = world.feeds.oddities
        world.note("the faults end")
        try:
            for _ in range(2):  # a crash may have been under way
                self._life(1.0)
            begun = world.loop.run_until_complete(world.store.read(staging.crawl_number))
            left: list[str] = []
            for _ in range(4 if self.tight else 3):
                world.loop.run_until_complete(self._full_sync(begun))
                left = differences(world)
                # While a reading is in doubt, old pages may bring what nobody knows yet.
                if not left and not world.loop.run_until_complete(self._doubted()):
                    return self._replay()
        except Stuck as error:
            return [f"I9: {error}"]
        return left

    async def _doubted(self) -> bool:
        def ask(db: Connection) -> bool:
            return holds.standing(db, None, holds.SOURCE) is not None

        return await self.world.store.read(ask)

    async def _full_sync(self, begun: int) -> None:
        world = self.world

        def ask(db: Connection) -> None:
            for hold in holds.listed(db):
                if hold.kind == holds.SOURCE:
                    if hold.payload["crawl"] > begun:  # it was whole: so few are there
                        folding.approve_sweep(db, hold.payload["crawl"], world.clock.now())
                        holds.close_standing(db, None, holds.SOURCE, "approved")
                    continue
                holds.decide(db, hold.id, "approved", "sim", "", world.clock.now())
                if hold.kind == holds.FIRST_CONTACT and hold.t is not None:
                    targets.update(db, hold.t, first_contact="consented")
            for target in world.targets.values():
                targets.owe_full(db, target.t)
                waiting.make_all_due(db, target.t, world.clock.now(), "licence")

        await world.store.write(ask)
        await world.refresh()
        world.pull.owe_crawl("full")
        for target in world.targets.values():
            target.bell.ring("full")
        await world.clock.sleep(700.0)

    async def _sync(self) -> None:
        """`azsyncd sync`: whoever waits is tried at once; nothing is read or planned as a whole."""
        world = self.world

        def ask(db: Connection) -> None:
            for target in world.targets.values():
                waiting.make_all_due(db, target.t, world.clock.now())

        await world.store.write(ask)
        world.pull.ring("operator")
        for target in world.targets.values():
            target.bell.ring("operator")
        await world.clock.sleep(700.0)

    def _replay(self) -> list[str]:
        """The same pages again: no write (I4)."""
        world = self.world
        before = {name: len(product.calls) for name, product in world.products.items()}
        world.feeds.oddities.replays = 8
        self._life(200.0)
        after = {name: len(product.calls) for name, product in world.products.items()}
        return [] if before == after else [f"I4: needless writes after a replay: {before} {after}"]


def _with(account: Account, **values: object) -> Account:
    return replace(account, **values)  # type: ignore[arg-type]


class Changes(History):
    """What only Entra does, while products are out of order: it must be right at the end without a
    full sync, which would mend whatever was forgotten."""

    GLOB = "staff*"
    _NAMES = ("staff", "staff-a", "staff-b", "away-a", "away-b", "away-c")

    def __init__(self, seed: int, path: Path, *, steps: int = 25) -> None:
        super().__init__(seed, path, steps=steps)
        self.tight = False
        users = UserScope(members_of=(Entry(name=self.GLOB),))
        scope = SCOPE_RULES.model_copy(update={"users": users})
        plenty = GuardRules.model_validate(
            dict.fromkeys(set(GuardRules.model_fields) - {"window"}, "unlimited")
        )
        self.world.policy = Policy(scope=scope, guard=plenty)
        self.world.scope = self.GLOB

    def _populate(self) -> None:
        super()._populate()
        for name in ("away-a", "away-b", "staff-b"):
            people = [user.id for user in self.world.tenant.users()]
            self.world.tenant.add_group(name, members=self._some([*people, self._new_user()]))
        self.world.watch.entra_changed()

    def _foreign(self, name: str) -> None:
        """Nobody else is there."""

    def _whims(self) -> list[Callable[[], object]]:
        return [
            *(3 * [self._user_change, self._membership, self._existence, self._rename_group]),
            self._nesting,
            self._group_existence,
            self._seats,
        ]

    def _rename_group(self) -> None:
        groups = [g.id for g in self.world.tenant.groups() if not g.name.startswith("atl-")]
        name = self.random.choice(self._NAMES)
        self.world.tenant.update(self.random.choice(groups), displayName=name)

    def _end(self) -> list[str]:
        world = self.world
        world.faulty, world.no_seats = False, False
        world.loop.crash_in(None)
        if not any(group.name.startswith("staff") for group in world.tenant.groups()):
            world.tenant.add_group("staff")  # else nobody is removed (rule 11)
            world.watch.entra_changed()
        world.note("the faults end")
        try:
            for _ in range(2):
                self._life(1.0)
            for _ in range(2):
                world.loop.run_until_complete(self._sync())
        except Stuck as error:
            return [f"I9: {error}"]
        return differences(world)
