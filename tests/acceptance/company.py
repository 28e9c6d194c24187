"""A company in Entra, and what happens in it on a day."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from azsyncd.sandbox.nodes import Node, Refusal, Sort
from azsyncd.sandbox.people import GIVEN, ODD, SURNAMES, mailbox
from azsyncd.sandbox.tenant import Tenant

from .rules import INSIDE

DOMAIN = "fabrikam.example"
OTHER = "contoso.example"
DEPARTMENTS = (*INSIDE, "Contractors", None)
KEPT = ("break.glass", "service.one", "service.two")
PEOPLE = "Atlassian Users"
RING = "groups pass on their names"


class Company:
    """Builds the tenant, and lets days pass in it. One seed, one story."""

    def __init__(self, tenant: Tenant, seed: int, users: int) -> None:
        self.tenant = tenant
        self.random = random.Random(f"company {seed}")
        self.users = users
        self.told: list[str] = []  # what happened today
        self.rings = True  # whether names of groups may go round
        self.ids: dict[str, str] = {}
        self._number = 0
        self._build()

    # The beginning --------------------------------------------------------------------------------

    def _build(self) -> None:
        tenant, draw = self.tenant, self.random
        for name in KEPT:
            self.ids[name] = tenant.add_user(
                f"{name}@{DOMAIN}", displayName=name, mail=f"{name}@{DOMAIN}", givenName=name,
                surname="Account", companyName="Fabrikam", department="IT",
            )  # fmt: skip
        people = [self._hire() for _ in range(self.users - len(KEPT))]
        teams = []
        for number in range(max(4, self.users // 40)):
            teams.append(tenant.add_group(f"Team {number}", members=self._some(people, 12)))
        self.root = tenant.add_group(PEOPLE, members=[*self.ids.values(), *draw.sample(
            people, len(people) * 2 // 3)])  # fmt: skip
        outer = tenant.add_group("Departments", members=teams[1:])
        tenant.add_member(self.root, outer)
        tenant.add_member(self.root, teams[0])
        tenant.add_member(teams[0], outer)
        tenant.add_member(teams[1], teams[0])  # a cycle: teams 0 → outer → 1 → 0
        blue = tenant.add_group("Blue People", members=draw.sample(people, len(people) // 2))
        self.ids["odd group"] = tenant.add_group("Ödd grøup", members=self._some(people, 8))
        self.projects = [self.ids["odd group"]]
        for _ in range(max(8, self.users // 25)):
            self._new_group()
        for project in draw.sample(self.projects, len(self.projects) // 2):
            if "Unified" not in tenant.nodes[project].properties["groupTypes"]:
                tenant.add_member(project, draw.choice(teams))
        self.everywhere = {self.root, outer, blue, *teams}
        for _ in range(len(self.projects) // 3):
            with suppress(Refusal):
                self._nest()
        self.told.clear()

    def _some(self, people: list[str], most: int) -> list[str]:
        return self.random.sample(people, self.random.randint(0, min(most, len(people))))

    def _hire(self, upn: str = "", **given: object) -> str:
        """Somebody new, by her name; equal names are not rare, nor odd ones."""
        self._number += 1
        draw = self.random
        first, last = draw.choice(GIVEN), draw.choice(SURNAMES)
        who: dict[str, object] = {
            "displayName": f"{first} {last}",
            "givenName": first,
            "surname": last,
            "department": draw.choice(DEPARTMENTS),
            "companyName": draw.choice(("Fabrikam", "fabrikam", "FABRIKAM", "Contoso", None)),
            "employeeId": f"E{self._number}",
            "userType": "Member",
        }
        manager = self.tenant.nodes[draw.choice(self.tenant.ids["users"])]
        who["manager"] = manager.id if manager.living and draw.random() < 0.7 else None
        what = draw.random()
        address = upn or self._address(first, last)
        if not upn and what < 0.03:
            odd = draw.choice(ODD)
            address = f"{odd.upn}.{self._number}@{DOMAIN}" if draw.random() < 0.8 else address
            who |= {"displayName": odd.display_name, "givenName": odd.given or None,
                    "surname": odd.surname or None}  # fmt: skip
        elif not upn and what < 0.12:
            local = mailbox(first, last) + str(draw.choice(("", self._number)))
            address = f"{local}_{draw.choice(('contoso.com', 'a_b.org'))}#EXT#@{DOMAIN}"
            who["userType"] = "Guest"
        who["mail"] = draw.choice((address, address.upper(), f"m{self._number}@{DOMAIN}", None))
        if "#EXT#" in address:
            who["mail"] = draw.choice((None, f"g{self._number}@contoso.com"))
        return self.tenant.add_user(self._free(address), **(who | given))

    def _address(self, first: str, last: str) -> str:
        draw = self.random
        local = mailbox(first, last)
        local = draw.choice((local, local.title(), f"{local}{draw.randrange(20)}"))
        return f"{local}@{draw.choice((DOMAIN, DOMAIN, DOMAIN, OTHER))}"

    def _free(self, upn: str) -> str:
        """The address, or with the first number that makes it one of its own."""
        local, _, domain = upn.partition("@")
        number, found = 1, upn
        while self.tenant.find(found) is not None:
            number += 1
            found = f"{local}{number}@{domain}"
        return found

    def _new_group(self) -> str:
        tenant, draw = self.tenant, self.random
        people = [user.id for user in self._people()]
        made = tenant.add_group(
            self._group_name(),
            kind=draw.choice(("security", "security", "security", "mail_security", "m365")),
            members=self._some(people, 10),
            description=draw.choice((None, None, "synced")),
        )
        self.projects.append(made)
        return f"group {tenant.nodes[made].name} is made"

    def _group_name(self) -> str:
        draw = self.random
        number = draw.randrange(max(12, self.users // 10))
        return draw.choice(
            (f"atl-{number}", f"ATL-{number}", f"atl-x-{number}", f"team-red-{number}",
             f"team-blue-{number}", f"Project {number}", f"atl-é {number}")
        )  # fmt: skip

    # Days -----------------------------------------------------------------------------------------

    def day(self, events: int) -> list[str]:
        """So many things happen; returns what, for people."""
        self.told = []
        whims: list[tuple[int, Callable[[], str | None]]] = [
            (6, self._joiner), (6, self._membership), (5, self._membership), (4, self._scope),
            (4, self._disabled), (3, self._enabled), (4, self._attribute), (3, self._renamed),
            (2, self._swap), (3, self._deleted), (3, self._restored), (2, self._purged),
            (3, self._rehired), (2, self._mail), (1, self._new_group), (2, self._group_renamed),
            (2, self._group_deleted), (2, self._group_restored), (1, self._group_purged),
            (2, self._nest), (2, self._unnest), (1, self._described), (2, self._chain),
            (3, self._managed), (2, self._groups_pass_on),
        ]  # fmt: skip
        weights = [weight for weight, _ in whims]
        for _, whim in self.random.choices(whims, weights, k=events):
            try:
                line = whim()
            except (Refusal, KeyError, IndexError):
                continue
            if line:
                self.told.append(line)
        return self.told

    def _people(self) -> list[Node]:
        kept = {self.ids[name] for name in KEPT if name in self.ids}
        return [user for user in self.tenant.users() if user.id not in kept]

    def _person(self) -> Node:
        return self.random.choice(self._people())

    def _gone(self, feed: str) -> Node:
        return self.random.choice(list(self.tenant.deleted(feed)))

    def _project(self) -> Node:
        living = [self.tenant.nodes[p] for p in self.projects if self.tenant.nodes[p].living]
        return self.random.choice(living)

    def _joiner(self) -> str:
        who = self.tenant.nodes[self._hire()]
        if self.random.random() < 0.8:
            self.tenant.add_member(self.root, who.id)
        for _ in range(self.random.randrange(3)):
            self.tenant.add_member(self._project().id, who.id)
        return f"{who.name} is hired"

    def _membership(self) -> str:
        group, who = self._project(), self._person()
        if group.places and self.random.random() < 0.45:
            who = self.tenant.nodes[self.random.choice(list(group.places))]
            if who.sort is not Sort.USER or not who.living:
                return ""
            self.tenant.remove_member(group.id, who.id)
            return f"{who.name} leaves {group.name}"
        self.tenant.add_member(group.id, who.id)
        return f"{who.name} joins {group.name}"

    def _scope(self) -> str:
        who = self._person()
        group = self.tenant.nodes[self.random.choice(sorted(self.everywhere))]
        if self.random.random() < 0.6:
            group = self.tenant.nodes[self.root]
        if not self.tenant.remove_member(group.id, who.id):
            self.tenant.add_member(group.id, who.id)
            return f"{who.name} comes below {group.name}"
        return f"{who.name} is taken out of {group.name}"

    def _disabled(self) -> str:
        who = self._person()
        self.tenant.update(who.id, accountEnabled=False)
        return f"{who.name} is disabled"

    def _enabled(self) -> str:
        found = [user for user in self._people() if not user.properties["accountEnabled"]]
        who = self.random.choice(found)
        self.tenant.update(who.id, accountEnabled=True)
        return f"{who.name} is enabled"

    def _attribute(self) -> str:
        who, draw = self._person(), self.random
        name, value = draw.choice(
            (
                ("department", draw.choice(DEPARTMENTS)),
                ("companyName", draw.choice(("Fabrikam", "Contoso", None))),
                ("employeeType", draw.choice(("suspended", None))),
                ("displayName", f"{draw.choice(GIVEN)} {draw.choice(SURNAMES)}"),
                ("givenName", draw.choice((*GIVEN[:4], None))),
                ("userType", draw.choice(("Member", "Member", "Guest"))),
            )
        )
        self.tenant.update(who.id, **{str(name): value})
        return f"{who.name} has {name} {value!r}"

    def _managed(self) -> str:
        who, manager = self._person(), self._person()
        found = manager.id if self.random.random() < 0.8 and manager is not who else None
        self.tenant.update(who.id, manager=found)
        return f"{who.name} has the manager {manager.name if found else None}"

    def _mail(self) -> str:
        who, draw = self._person(), self.random
        value = draw.choice((None, f"new{draw.randrange(10**6)}@{DOMAIN}", who.name.upper()))
        self.tenant.update(who.id, mail=value)
        return f"{who.name} has mail {value!r}"

    def _renamed(self) -> str:
        who = self._person()
        before = who.name
        first, last = self.random.choice(GIVEN), self.random.choice(SURNAMES)
        after = self._free(self._address(first, last))
        if self.random.random() < 0.1:
            after = before.upper()
        self.tenant.update(
            who.id, userPrincipalName=after, surname=last, givenName=first,
            displayName=f"{first} {last}", mail=self.random.choice((after, who.properties["mail"])),
        )  # fmt: skip
        return f"{before} is {after} now"

    def _swap(self) -> str:
        one, two = self._person(), self._person()
        return self._pass_on([one, two, one]) if one is not two else ""

    def _chain(self) -> str:
        """Three pass their names on; the last takes a new one, or the first one's."""
        people = self.random.sample(self._people(), 3)
        return self._pass_on([*people, people[0]] if self.random.random() < 0.5 else people)

    def _pass_on(self, people: list[Node]) -> str:
        """Each gets the name of the next."""
        names = ("userPrincipalName", "mail", "givenName", "surname", "displayName")
        had = [{name: who.properties.get(name) for name in names} for who in people]
        for number, who in enumerate(people):
            self.tenant.update(who.id, userPrincipalName=f"tmp{number}{who.id[:8]}@{DOMAIN}")
        for who, new in zip(people, had[1:], strict=False):
            self.tenant.update(who.id, **new)
        return " → ".join(str(each["userPrincipalName"]) for each in had) + " pass on their names"

    def _deleted(self) -> str:
        who = self._person()
        self.tenant.delete(who.id)
        return f"{who.name} is deleted"

    def _restored(self) -> str:
        who = self._gone("users")
        self.tenant.restore(who.id)
        return f"{who.name} is restored"

    def _purged(self) -> str:
        who = self._gone("users")
        self.tenant.purge(who.id)
        return f"{who.name} is purged"

    def _rehired(self) -> str:
        """The name of somebody who is gone, perhaps with the same employee id."""
        found = [
            node for node in self.tenant.nodes.values()
            if node.sort is Sort.USER and not node.living and self.tenant.find(node.name) is None
        ]  # fmt: skip
        old = self.random.choice(found)
        keys = ("givenName", "surname", "displayName", "userType", "department", "companyName")
        same = {key: old.properties.get(key) for key in keys}
        if self.random.random() < 0.7:
            same["employeeId"] = old.properties.get("employeeId")
        who = self._hire(old.name, **same)
        self.tenant.add_member(self.root, who)
        self.tenant.add_member(self._project().id, who)
        return f"{old.name} is hired again"

    def _group_renamed(self) -> str:
        group = self._project()
        before, after = group.name, self._group_name()
        self.tenant.update(group.id, displayName=after)
        return f"group {before} is {after} now"

    def _groups_pass_on(self) -> str:
        """Two or three names go round in a ring; each is one group's alone, in scope and out."""
        named = Counter(group.name.casefold() for group in self.tenant.groups())
        alone = [
            group
            for p in self.projects
            if (group := self.tenant.nodes[p]).living
            and re.fullmatch("atl-[0-9]+", name := group.name.casefold())
            and named[name] == 1
        ]
        if not self.rings:
            return ""
        groups = self.random.sample(alone, min(len(alone), self.random.choice((2, 3))))
        names = [group.name for group in groups]
        for group, name in zip(groups, [*names[1:], *names[:1]], strict=True):
            self.tenant.update(group.id, displayName=name)
        return f"{RING}: {' → '.join(names)}" if len(names) > 1 else ""

    def _group_deleted(self) -> str:
        group = self._project()
        self.tenant.delete(group.id)
        return f"group {group.name} is deleted"

    def _group_restored(self) -> str:
        group = self._gone("groups")
        self.tenant.restore(group.id)
        return f"group {group.name} is restored"

    def _group_purged(self) -> str:
        group = self._gone("groups")
        self.tenant.purge(group.id)
        return f"group {group.name} is purged"

    def _described(self) -> str:
        group = self._project()
        value = self.random.choice((None, "synced"))
        self.tenant.update(group.id, description=value)
        return f"group {group.name} is described as {value!r}"

    def _nest(self) -> str:
        inner = self._project()
        outer = self._project() if self.random.random() < 0.7 else self._anywhere()
        if outer is inner:
            return ""
        self.tenant.add_member(outer.id, inner.id)
        return f"group {inner.name} comes into {outer.name}"

    def _anywhere(self) -> Node:
        return self.tenant.nodes[self.random.choice(sorted(self.everywhere))]

    def _unnest(self) -> str:
        outer = self._project()
        inner = [m for m in outer.places if self.tenant.nodes[m].sort is Sort.GROUP]
        found = self.tenant.nodes[self.random.choice(inner)]
        self.tenant.remove_member(outer.id, found.id)
        return f"group {found.name} leaves {outer.name}"
