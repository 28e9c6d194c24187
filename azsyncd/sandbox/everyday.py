"""What happens in a company on an ordinary day, done to the simulated tenant, one thing at a time.

Each kind picks somebody for whom it makes sense and says in one line what was done; where there is
nobody (a very small company) it says nothing and does nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from azsyncd.sandbox.nodes import Node, Sort
from azsyncd.sandbox.people import mailbox, names
from azsyncd.sandbox.world import DOMAIN, INSIDE, PREFIX, World, employee, free_upn, guest

LONGEST = 24
"""Letters of a name that are said: a line must fit beside five columns of figures."""
FEW = 8
"""A nested group of at most so many people moves on an ordinary day."""


@dataclass(frozen=True, slots=True)
class Happened:
    """One thing that was done: its kind, and a line for people."""

    kind: str
    text: str


class Everyday:
    """Ordinary days of one company; `seed` makes them come again."""

    def __init__(self, world: World, *, seed: int = 1) -> None:
        self._world = world
        self._tenant = world.tenant
        self._rng = random.Random(f"everyday {seed}")
        self._names = names(self._rng)
        self._made: list[str] = []  # groups of ours
        self._renamed = 0
        self._locked: list[str] = []  # people whom we disabled
        self._kinds: dict[str, Callable[[], str]] = {
            "joiner": self._joiner,
            "into a group": self._into_group,
            "department": self._department,
            "marriage": self._marriage,
            "disabled": self._disabled,
            "new group": self._new_group,
            "enabled": self._enabled,
            "out of a group": self._out_of_group,
            "guest": self._guest,
            "leaver": self._leaver,
            "nested group": self._nested_group,
            "deleted": self._deleted,
            "group renamed": self._group_renamed,
            "restored": self._restored,
        }

    @property
    def kinds(self) -> tuple[str, ...]:
        """Every kind of change, in an order in which they tell a story."""
        return tuple(self._kinds)

    def days(self) -> Iterator[str]:
        """Kinds without end: each once in order, then at random."""
        yield from self.kinds
        while True:
            yield self._rng.choice(self.kinds)

    def happen(self, kind: str) -> Happened | None:
        """Do one thing of a kind; None where there is nobody to do it to."""
        text = self._kinds[kind]()
        return Happened(kind, text) if text else None

    # Whom it may be -----------------------------------------------------------------------------

    def _colleagues(self, *, enabled: bool = True) -> list[Node]:
        """People with an account: below the scope group, and enabled or not."""
        return [
            member
            for member in self._tenant.transitive_members(self._world.scope_group)
            if member.sort is Sort.USER and bool(member.properties["accountEnabled"]) is enabled
        ]

    def _colleague(self) -> Node | None:
        found = [u for u in self._colleagues() if u.properties["userType"] == "Member"]
        return self._rng.choice(found) if found else None

    def _projects(self) -> list[Node]:
        """Groups that are written to the products and still there."""
        ids = [*self._world.projects, *self._made]
        return [self._tenant.nodes[found] for found in ids if self._tenant.nodes[found].living]

    def _teams_of(self, user: Node) -> list[Node]:
        teams = {team for each in self._world.teams.values() for team in each}
        return [group for group in self._tenant.parents(user.id) if group.id in teams]

    # Things that happen -------------------------------------------------------------------------

    def _joiner(self) -> str:
        given, surname = next(self._names)
        person = employee(self._tenant, given, surname)
        department = self._rng.choice(INSIDE)
        upn = str(person.pop("upn"))
        made = self._tenant.add_user(upn, department=department, companyName="Fabrikam", **person)
        team = self._rng.choice(self._world.teams[department])
        self._tenant.add_member(team, made)
        return f"{person['displayName']} joins {self._name(team)}"

    def _guest(self) -> str:
        given, surname = next(self._names)
        person = guest(self._tenant, given, surname)
        made = self._tenant.add_user(str(person.pop("upn")), **person)
        self._tenant.add_member(self._world.guests, made)
        project = self._rng.choice(self._projects())
        self._tenant.add_member(project.id, made)
        return f"{given} {surname} is invited to {_called(project)}"

    def _leaver(self) -> str:
        user = self._colleague()
        if user is None:
            return ""
        teams = self._teams_of(user)
        if not teams:
            return ""
        for team in teams:
            self._tenant.remove_member(team.id, user.id)
        return f"{_called(user)} leaves the scope ({_called(teams[0])})"

    def _disabled(self) -> str:
        user = self._colleague()
        if user is None:
            return ""
        self._tenant.update(user.id, accountEnabled=False)
        self._locked.append(user.id)
        return f"{_called(user)} is disabled"

    def _enabled(self) -> str:
        found = self._colleagues(enabled=False)
        if not found:
            return ""
        ours = [user for user in found if user.id in self._locked]
        user = self._rng.choice(ours or found)
        self._tenant.update(user.id, accountEnabled=True)
        return f"{_called(user)} is enabled again"

    def _deleted(self) -> str:
        user = self._colleague()
        if user is None:
            return ""
        self._tenant.delete(user.id)
        return f"{_called(user)} is deleted"

    def _restored(self) -> str:
        found = list(self._tenant.deleted("users"))
        if not found:
            return ""
        user = self._rng.choice(found)
        self._tenant.restore(user.id)
        return f"{_called(user)} is restored"

    def _marriage(self) -> str:
        user = self._colleague()
        if user is None:
            return ""
        before = _called(user)
        _, surname = next(self._names)
        given = str(user.properties.get("givenName") or "Alex")
        upn = free_upn(self._tenant, mailbox(given, surname))
        self._tenant.update(
            user.id,
            userPrincipalName=upn,
            mail=upn,
            surname=surname,
            displayName=f"{given} {surname}",
        )
        return f"{before} is {upn.removesuffix('@' + DOMAIN)} now"

    def _department(self) -> str:
        """A new department, a new team, and the dynamic groups by themselves."""
        user = self._colleague()
        if user is None:
            return ""
        others = [each for each in INSIDE if each != user.properties.get("department")]
        department = self._rng.choice(others)
        before = self._teams_of(user)
        team = self._rng.choice(self._world.teams[department])
        self._tenant.update(user.id, department=department)
        self._tenant.add_member(team, user.id)
        for each in before:
            self._tenant.remove_member(each.id, user.id)
        return f"{_called(user)} moves to {self._name(team)}"

    def _into_group(self) -> str:
        projects = self._projects()
        self._rng.shuffle(projects)
        user = self._colleague()
        for project in projects:
            inside = {member.id for member in self._tenant.transitive_members(project.id)}
            if user is not None and user.id not in inside:
                self._tenant.add_member(project.id, user.id)
                return f"{_called(user)} joins {_called(project)}"
        return ""

    def _out_of_group(self) -> str:
        colleagues = {user.id for user in self._colleagues()}
        projects = self._projects()
        self._rng.shuffle(projects)
        for project in projects:
            members = list(self._tenant.members(project.id))
            nested = {
                below.id
                for group in members
                if group.sort is Sort.GROUP
                for below in self._tenant.transitive_members(group.id)
            }
            direct = [m for m in members if m.id in colleagues and m.id not in nested]
            if direct:
                user = self._rng.choice(direct)
                self._tenant.remove_member(project.id, user.id)
                return f"{_called(user)} leaves {_called(project)}"
        return ""

    def _nested_group(self) -> str:
        """A small team moves as a whole, from one project's group to another's."""
        teams = [team for each in INSIDE for team in self._world.teams[each]]
        self._rng.shuffle(teams)
        projects = self._projects()
        for team in teams:
            people = [m for m in self._tenant.transitive_members(team) if m.sort is Sort.USER]
            if not 0 < len(people) <= FEW and team != teams[-1]:
                continue
            before = [p for p in projects if team in p.places]
            target = self._rng.choice([p for p in projects if p not in before])
            for each in before:
                self._tenant.remove_member(each.id, team)
            self._tenant.add_member(target.id, team)
            size = f"{len(people)} {'people' if len(people) > 1 else 'person'}"
            return f"{self._name(team)} ({size}) moves to {_called(target)}"
        return ""

    def _new_group(self) -> str:
        people = self._colleagues()
        chosen = self._rng.sample(people, min(3, len(people)))
        # Never a name that was there before: the products go on using it for the renamed group.
        name = f"{PREFIX}taskforce-{len(self._made) + 1}"
        self._made.append(self._tenant.add_group(name, members=[each.id for each in chosen]))
        return f"{name} is made, with {len(chosen)} people"

    def _group_renamed(self) -> str:
        """The products keep the old name; that the group is still the same shows in its members."""
        found = [group for group in self._projects() if group.id in self._made]
        user = self._colleague()
        if not found or user is None:
            return ""
        group = self._rng.choice(found)
        before = _called(group)
        self._renamed += 1
        self._tenant.update(group.id, displayName=f"{PREFIX}crew-{self._renamed}")
        joined = self._tenant.add_member(group.id, user.id)
        rest = f"; {_called(user)} joins it" if joined else ""
        return f"{before} is {_called(group)} now{rest}"

    def _name(self, group_id: str) -> str:
        return _called(self._tenant.nodes[group_id])


def _called(node: Node) -> str:
    """A display name on one line and not for ever."""
    name = " ".join(str(node.properties["displayName"]).split())
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
