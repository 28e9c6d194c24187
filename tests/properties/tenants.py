"""Random tenants and their histories, a product in memory, and the real planner between them.

What happens is drawn as small numbers, so that Hypothesis can shrink a history to the few events
that matter. The tenant here is only a dictionary: it knows what is true, and says of each change
what Graph would say.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st

from azsyncd.engine.reconcile import Reconcile, Report
from azsyncd.model.accounts import Account, Capabilities
from azsyncd.model.identities import MemberKind, MemberSeen, ObjectId, Seen
from azsyncd.plan.policy import (
    AccountRules,
    Entry,
    GroupRules,
    GroupScope,
    GuardRules,
    Policy,
    Protect,
    Scope,
    UserScope,
)
from azsyncd.state import facts, mirror, targets
from azsyncd.state.store import Store
from azsyncd.targets.memory import ABLE, Memory
from tests.unit.state.making import NOW, crawl, database, round_

T = TypeVar("T")

USERS = 6
SCOPE = "g-staff"
GROUPS = (SCOPE, "g-team", "g-nest", "g-atl0", "g-atl1", "g-atl2")
NAMES = ("staff", "team", "nest", "atl-0", "atl-1", "atl-2")
FREE = GuardRules(
    **dict.fromkeys(
        ("deactivate", "disable", "rename", "update", "remove_member", "shrink_group", "delete",
         "delete_group"),
        "unlimited",
    )  # type: ignore[arg-type]
)  # fmt: skip
"""No guard at all: for properties about what is right in the end."""

Event = tuple[str, int, int]
KINDS = (
    "disable", "enable", "rename", "title", "join", "join", "part", "delete", "restore", "purge",
    "hire", "rehire", "name_group", "nest", "unnest", "delete_group", "restore_group",
    "purge_group",
)  # fmt: skip
EVENTS = st.tuples(st.sampled_from(KINDS), st.integers(0, 9), st.integers(0, 9))
ROUNDS = st.lists(st.lists(EVENTS, min_size=1, max_size=4), min_size=1, max_size=7)


@dataclass(slots=True)
class Person:
    """A user as Entra has her."""

    id: str
    name: str
    title: str = "x"
    enabled: bool = True
    presence: str = "present"

    def seen(self) -> Seen:
        upn = f"{self.name}@x.org"
        return Seen(
            ObjectId(self.id),
            {
                "userPrincipalName": upn,
                "mail": upn,
                "displayName": f"{self.name} {self.title}",
                "accountEnabled": self.enabled,
                "userType": "Member",
                "employeeId": self.name,
            },
        )


@dataclass(slots=True)
class Team:
    """A group as Entra has it."""

    id: str
    name: str
    members: set[str] = field(default_factory=set)
    presence: str = "present"

    def seen(self, added: set[str] = frozenset(), removed: set[str] = frozenset()) -> Seen:  # type: ignore[assignment]
        def member(id_: str, gone: bool) -> MemberSeen:
            kind = MemberKind.GROUP if id_[0] == "g" else MemberKind.USER
            return MemberSeen(ObjectId(id_), kind, gone)

        properties = {"displayName": self.name, "securityEnabled": True, "groupTypes": []}
        seen = [member(each, False) for each in sorted(added)]
        seen += [member(each, True) for each in sorted(removed)]
        return Seen(ObjectId(self.id), properties, None, tuple(seen))


class Tenant:
    """What is true in Entra."""

    def __init__(self) -> None:
        self.people = {f"u{n}": Person(f"u{n}", f"n{n}") for n in range(USERS)}
        self.teams = {id_: Team(id_, name) for id_, name in zip(GROUPS, NAMES, strict=True)}
        for n, id_ in enumerate(self.people):
            if n < USERS - 1:
                self.teams[SCOPE].members.add(id_)
            self.teams[f"g-atl{n % 3}"].members.add(id_)

    def everything(self) -> list[Seen]:
        people = [person.seen() for person in self.people.values() if person.presence == "present"]
        teams = [t.seen(t.members) for t in self.teams.values() if t.presence == "present"]
        return [*people, *teams]

    def groups_of(self, id_: str, seen: frozenset[str] = frozenset()) -> set[str]:
        """The groups that somebody is in, at any depth."""
        found: set[str] = set()
        for team in self.teams.values():
            if id_ in team.members and team.presence == "present" and team.id not in seen:
                found |= {team.id} | self.groups_of(team.id, seen | found | {team.id})
        return found

    # What happens ---------------------------------------------------------------------------------

    def happen(self, event: Event) -> list[Seen]:
        """Let it happen, if it can; returns what Graph says of it."""
        kind, a, b = event
        people = sorted(self.people)
        person = self.people[people[a % len(people)]]
        team = self.teams[GROUPS[a % len(GROUPS)]]
        if hasattr(self, f"_{kind}_team"):
            return list(getattr(self, f"_{kind}_team")(team, b))
        return list(getattr(self, f"_{kind}")(person, b))

    def _disable(self, person: Person, b: int) -> list[Seen]:
        return self._set(person, enabled=False)

    def _enable(self, person: Person, b: int) -> list[Seen]:
        return self._set(person, enabled=True)

    def _rename(self, person: Person, b: int) -> list[Seen]:
        return self._set(person, name=f"n{b % 8}")

    def _title(self, person: Person, b: int) -> list[Seen]:
        return self._set(person, title=str(b))

    def _set(self, person: Person, **values: Any) -> list[Seen]:
        if person.presence != "present":
            return []
        for name, value in values.items():
            setattr(person, name, value)
        return [person.seen()]

    def _join(self, person: Person, b: int) -> list[Seen]:
        team = self.teams[GROUPS[b % len(GROUPS)]]
        return self._member(team, person.id, joins=person.presence == "present")

    def _part(self, person: Person, b: int) -> list[Seen]:
        team = self.teams[GROUPS[b % len(GROUPS)]]
        return self._member(team, person.id, joins=False)

    def _member(self, team: Team, id_: str, *, joins: bool) -> list[Seen]:
        if team.presence != "present" or id_ == team.id or (id_ in team.members) is joins:
            return []
        gone = id_ in self.people and self.people[id_].presence != "present"
        if gone:
            return []  # Entra lets nobody change the groups of the dead
        (team.members.add if joins else team.members.discard)(id_)
        return [team.seen({id_} if joins else set(), set() if joins else {id_})]

    def _delete(self, person: Person, b: int) -> list[Seen]:
        if person.presence != "present":
            return []
        person.presence = "soft_deleted"
        return [Seen(ObjectId(person.id), {}, "changed")]

    def _restore(self, person: Person, b: int) -> list[Seen]:
        if person.presence != "soft_deleted":
            return []
        person.presence = "present"
        return [person.seen()]

    def _purge(self, person: Person, b: int) -> list[Seen]:
        if person.presence != "soft_deleted":
            return []
        person.presence = "purged"
        for team in self.teams.values():
            team.members.discard(person.id)
        return [Seen(ObjectId(person.id), {}, "deleted")]

    def _hire(self, person: Person, b: int) -> list[Seen]:
        return self._new(f"n{b % 8}")

    def _rehire(self, person: Person, b: int) -> list[Seen]:
        return self._new(person.name) if person.presence != "present" else []

    def _new(self, name: str) -> list[Seen]:
        new = Person(f"u{len(self.people)}", name)
        if len(self.people) >= 2 * USERS:
            return []
        self.people[new.id] = new
        return [new.seen(), *self._member(self.teams[SCOPE], new.id, joins=True)]

    def _name_group_team(self, team: Team, b: int) -> list[Seen]:
        if team.presence != "present" or team.id in (SCOPE, "g-team", "g-nest"):
            return []
        team.name = f"atl-{b % 4}" if b < 8 else "other"
        return [team.seen()]

    def _nest_team(self, team: Team, b: int) -> list[Seen]:
        other = self.teams[GROUPS[b % len(GROUPS)]]
        return self._member(team, other.id, joins=True)

    def _unnest_team(self, team: Team, b: int) -> list[Seen]:
        other = self.teams[GROUPS[b % len(GROUPS)]]
        return self._member(team, other.id, joins=False)

    def _delete_group_team(self, team: Team, b: int) -> list[Seen]:
        if team.presence != "present":
            return []
        team.presence = "soft_deleted"
        return [Seen(ObjectId(team.id), {}, "changed")]

    def _restore_group_team(self, team: Team, b: int) -> list[Seen]:
        if team.presence != "soft_deleted":
            return []
        team.presence = "present"
        return [team.seen(team.members)]

    def _purge_group_team(self, team: Team, b: int) -> list[Seen]:
        if team.presence != "soft_deleted" or team.id == SCOPE:
            return []
        team.presence = "purged"
        team.members.clear()
        return [Seen(ObjectId(team.id), {}, "deleted")]


# Configurations ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Set:
    """One configuration: a policy, and what the product can do."""

    policy: Policy
    able: Capabilities


def policy(guard: GuardRules = FREE, **parts: Any) -> Policy:
    return Policy(
        scope=Scope(
            users=UserScope(members_of=(Entry(name="staff"),)),
            groups=GroupScope(include=(Entry(name="atl-*"),)),
        ),
        accounts=AccountRules(**parts.pop("accounts", {})),
        groups=GroupRules(**parts.pop("groups", {})),
        protect=Protect(users=("foreign*",), groups=("atl-3",)),
        guard=guard,
        **parts,
    )


PLAIN = Set(policy(), ABLE)


@st.composite
def sets(draw: st.DrawFn) -> Set:
    """Any configuration with any product."""
    return Set(
        policy(
            accounts={
                "adopt": draw(st.sampled_from(["never", "username", "email"])),
                "leavers": draw(st.sampled_from(["keep", "strip_groups", "deactivate", "delete"])),
                "rename": draw(st.booleans()),
                "rehire": draw(st.sampled_from(["never", "purged", "deleted"])),
            },
            groups={
                "gone": draw(st.sampled_from(["keep", "empty", "delete"])),
                "nested": draw(st.sampled_from(["flatten", "ignore", "keep"])),
                "on_rename": draw(st.sampled_from(["keep", "new_group"])),
                "default": draw(st.sampled_from([(), ("users",), ("Users", "ATL-2")])),
                "foreign_members": draw(st.sampled_from(["keep", "remove"])),
            },
            drift=draw(st.sampled_from(["repair", "report"])),
        ),
        Capabilities(
            version="1",
            renames_accounts=draw(st.booleans()),
            deactivates_accounts=(deactivates := draw(st.booleans())),
            strips_accounts=not deactivates and draw(st.booleans()),
            licence_groups=frozenset({"atl-1"}),
            has_marks=draw(st.booleans()),
            nests_groups=draw(st.booleans()),
            members_per_call=draw(st.sampled_from([1, 100])),
        ),
    )


# The world --------------------------------------------------------------------------------------


class StillClock:
    """Time stands still unless it is moved."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at - NOW

    async def sleep(self, seconds: float) -> None:
        self.at += seconds

    def jitter(self) -> float:
        return 0.5


class InPlace:
    """A runner that runs at once, on one connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return work(self.db)

    async def close(self) -> None:
        self.db.close()


def store_on(db: sqlite3.Connection) -> Store:
    return Store(Path(":memory:"), InPlace(db), InPlace(db), None)


class World:
    """A tenant, a product, and the planner and writer of it."""

    def __init__(self, how: Set = PLAIN, product: Memory | None = None) -> None:
        self.tenant = Tenant()
        self.db = database()
        self.how = how
        self.clock = StillClock()
        self.product = product or Memory(capabilities=how.able)
        self.written: list[tuple[str, str]] = []
        crawl(self.db, *self.tenant.everything())
        self.t = targets.ensure(self.db, "memory", "memory").t
        self.reconcile = self.engine()

    def engine(self) -> Reconcile:
        """The engine of this target, as after a start."""
        return Reconcile(
            self.product,
            self.how.policy,
            store_on(self.db),
            self.clock,
            t=self.t,
            instance="azsyncd",
            policy_digest="p",
            concurrency=1,
            signed_in_as=lambda: frozenset({"service"}),
            signs_in_as=lambda target, name: None,
            mirror_revision=lambda: mirror.revision(self.db),
        )

    def live(self, events: list[Event]) -> None:
        """A round: these happen, and Graph says so. Restored users are verified."""
        seen = [each for event in events for each in self.tenant.happen(event)]
        round_(self.db, *seen, now=self.clock.at)
        for n, id_, _ in mirror.unverified(self.db):
            groups = [t.id for t in self.tenant.teams.values()
                      if id_ in t.members and t.presence == "present"]  # fmt: skip
            mirror.verify(self.db, n, [ObjectId(each) for each in groups])

    def turn(self, *, full: bool = False) -> Report:
        """One turn of the engine; every plan that is made afterwards is due at once."""
        return run(self.reconcile.turn(cause="test", consent=True, full=full))

    def settle(self, turns: int = 20) -> None:
        """Turn until nothing is written any more, and nobody is due: two looks in a row."""
        quiet = 0
        for _ in range(turns):
            before = len(self.product.calls)
            self.turn()
            due = facts.next_due(self.db, self.t)
            idle = due is None or due > self.clock.at
            quiet = quiet + 1 if idle and len(self.product.calls) == before else 0
            if quiet == 2:
                return
            self.clock.at += 61.0
        raise AssertionError(f"it does not settle: {self.product.calls[-12:]}")

    def whole(self) -> tuple[list[str], set[tuple[object, ...]]]:
        """What planning everything on a copy would write, and who would wait for what."""
        copy = sqlite3.connect(":memory:", isolation_level=None)
        copy.row_factory = sqlite3.Row
        self.db.backup(copy)
        twin = self.reconcile.twin(store_on(copy))
        run(twin.rehearse())
        planned = copy.execute(
            "SELECT change, n, gn, akey FROM planned WHERE t = ? AND held IS NULL ORDER BY seq",
            (self.t,),
        )
        found = [" ".join(map(str, row)) for row in planned]
        waits = waiting_in(copy, self.t)
        copy.close()
        return found, waits

    def waits(self) -> set[tuple[object, ...]]:
        return waiting_in(self.db, self.t)

    def accounts(self) -> dict[str, Account]:
        return dict(self.product.held)


def waiting_in(db: sqlite3.Connection, t: int) -> set[tuple[object, ...]]:
    """Who waits for what, without when."""
    rows = db.execute("SELECT n, change, gn, reason FROM waiting WHERE t = ?", (t,))
    return {tuple(row) for row in rows}


def run(work: Awaitable[T]) -> T:
    """Run on a loop of its own."""

    async def main() -> T:
        return await work

    with asyncio.Runner() as runner:
        return runner.run(main())
