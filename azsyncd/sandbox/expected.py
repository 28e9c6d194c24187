"""What a product should hold, worked out from the tenant and from what stood there before.

This is the demo's second opinion, and shares nothing with `azsyncd.plan`: it walks the simulated
tenant itself, knows the settings of the demo's configuration in prose (everybody below
"Atlassian Users" has an account, named by the UPN in lower case; security groups `atl-*` are
written with their nested members; accounts and groups that stand there under the name are taken
over; leavers are deactivated; what is foreign stays) and remembers what a product cannot follow:
a group keeps the name under which it was made, an adopted account keeps its username.

Leavers need the past as well, so `look` is called after every change that is to be followed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from azsyncd.sandbox.datacenter import DataCenter
from azsyncd.sandbox.directories import Person
from azsyncd.sandbox.nodes import Node
from azsyncd.sandbox.tenant import Tenant

Key = tuple[str, str]
"""What a difference is about: ("account", object id), ("group", object id), ("foreign", name)."""


@dataclass(slots=True)
class Expected:
    """One account as it should be. `groups`: ids of synced groups; `kept`: names of others."""

    username: str
    email: str
    display_name: str
    active: bool
    department: str
    adopted: bool = False
    groups: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Stood:
    """An account as it stood in the product before anybody came."""

    name: str
    display_name: str
    email: str
    active: bool
    groups: frozenset[str]
    attributes: tuple[tuple[str, tuple[str, ...]], ...]


class Expectation:
    """What one product should hold. `attributes`: it has a place for the department."""

    def __init__(
        self,
        tenant: Tenant,
        product: DataCenter,
        *,
        scope_group: str,
        pattern: str,
        attributes: bool = False,
    ) -> None:
        self._tenant = tenant
        self._product = product
        self._scope_group = scope_group
        self._pattern = pattern.casefold()
        self._attributes = attributes
        self.stood = {person.name.casefold(): stood(person) for person in product.users()}
        self._stood_groups = {name.casefold(): name for name in product.groups()}
        self.accounts: dict[str, Expected] = {}  # by object id
        self.groups: dict[str, str] = {}  # object id → name in the product
        self._adopted: set[str] = set()  # folded names of standing accounts that were taken over

    # Looking ------------------------------------------------------------------------------------

    def look(self) -> None:
        """Take in what the tenant says now."""
        tenant = self._tenant
        self._meet_groups()
        members = {
            group: {m.id for m in tenant.transitive_members(group)}
            for group in self.groups
            if tenant.nodes[group].living
        }
        inside = self._inside()
        for user in tenant.users():
            wanted = {group for group, ids in members.items() if user.id in ids}
            if user.id in inside:
                self._stays(user, wanted, members.keys())
            elif user.id in self.accounts:
                account = self.accounts[user.id]
                account.active = False
                account.groups -= members.keys() - wanted
        for object_id, account in self.accounts.items():
            if not tenant.nodes[object_id].living:
                account.active = False

    def _inside(self) -> set[str]:
        group = self._tenant.nodes[self._scope_group]
        if not group.living:
            return set()
        return {member.id for member in self._tenant.transitive_members(group.id)}

    def _meet_groups(self) -> None:
        """Groups that are new in the scope; of two with one wish neither is made."""
        wishes: dict[str, Node] = {}
        taken = {name.casefold() for name in self.groups.values()}
        asked: Counter[str] = Counter()
        for group in self._tenant.groups():
            name = str(group.properties["displayName"]).strip()
            if group.id in self.groups or not self._is_synced(group, name):
                continue
            asked[name.casefold()] += 1
            wishes[name.casefold()] = group
        for folded, group in wishes.items():
            if asked[folded] == 1 and folded not in taken:
                name = str(group.properties["displayName"]).strip()
                self.groups[group.id] = self._stood_groups.get(folded, name)

    def _is_synced(self, group: Node, name: str) -> bool:
        properties = group.properties
        if not properties["securityEnabled"] or "Unified" in properties["groupTypes"]:
            return False
        return 0 < len(name) <= 255 and fnmatchcase(name.casefold(), self._pattern)

    def _stays(self, user: Node, wanted: set[str], living: Collection[str]) -> None:
        """Somebody in scope: made, taken over, or brought up to date."""
        properties = user.properties
        upn = str(properties["userPrincipalName"])
        should = Expected(
            username=upn.lower(),
            email=str(properties.get("mail") or upn),
            display_name=" ".join(str(properties["displayName"]).split())[:255].rstrip(),
            active=bool(properties["accountEnabled"]),
            department=str(properties.get("department") or ""),
        )
        known = self.accounts.get(user.id)
        if known is None:
            standing = self.stood.get(upn.casefold())
            if standing is None and not should.active:
                return  # nobody gets an account that would be inactive
            self.accounts[user.id] = should
            if standing is not None:
                self._adopted.add(upn.casefold())
                should.adopted, should.username = True, standing.name
                # Memberships that stood there and that Entra does not want are foreign: they stay.
                should.kept = set(standing.groups) - {self.groups[g].casefold() for g in wanted}
            should.groups = set(wanted)
            return
        if known.adopted:
            should.username = known.username
        should.adopted, should.kept = known.adopted, known.kept
        # What was written of a group that is gone from Entra stays as it was.
        should.groups = wanted | (known.groups - set(living))
        self.accounts[user.id] = should

    # Comparing ----------------------------------------------------------------------------------

    @property
    def foreign(self) -> dict[str, Stood]:
        """The accounts that stood there and were not taken over."""
        return {name: each for name, each in self.stood.items() if name not in self._adopted}

    def memberships(self) -> int:
        """How many memberships there should be in synced groups, apart from foreign ones."""
        return sum(len(account.groups) for account in self.accounts.values())

    def progress(self) -> tuple[int, int]:
        """How many accounts, groups and memberships are there already, and how many should be."""
        done = sum(self._product.people.group(name) is not None for name in self.groups.values())
        total = len(self.groups) + len(self.accounts) + self.memberships()
        for should in self.accounts.values():
            person = self._product.user(should.username)
            if person is not None:
                wanted = {self.groups[group].casefold() for group in should.groups}
                done += 1 + len(wanted & person.groups)
        return done, total

    def differences(self, only: Iterable[Key] | None = None) -> dict[Key, str]:
        """What the product holds otherwise, a line each; `only` asks about these alone."""
        if only is not None:
            return {key: text for key in only if (text := self._difference(*key))}
        keys: list[Key] = [("group", group) for group in self.groups]
        keys += [("account", object_id) for object_id in self.accounts]
        keys += [("foreign", name) for name in self.foreign]
        keys += [("foreign group", name) for name in self._stood_groups]
        found = {key: text for key in keys if (text := self._difference(*key))}
        return found | self._surplus()

    def _difference(self, kind: str, which: str) -> str:
        if kind == "account":
            return self._account_differs(self.accounts[which])
        if kind == "group":
            name = self.groups[which]
            return "" if self._product.people.group(name) else f"group {name!r} is missing"
        if kind == "foreign":
            return self._foreign_differs(which)
        if kind == "foreign group":
            gone = self._product.people.group(which) is None
            return f"the foreign group {self._stood_groups[which]!r} is gone" if gone else ""
        return self._surplus().get((kind, which), "")

    def _account_differs(self, should: Expected) -> str:
        person = self._product.user(should.username)
        if person is None:
            return f"{should.username}: has no account"
        parts = []
        if person.email.casefold() != should.email.casefold():
            parts.append(f"e-mail {person.email!r}, should be {should.email!r}")
        if person.display_name != should.display_name:
            parts.append(f"name {person.display_name!r}, should be {should.display_name!r}")
        if person.active != should.active:
            parts.append("is active, should not be" if person.active else "is not active")
        if self._attributes:
            department = (person.attributes.get("department") or [""])[0]
            if department != should.department:
                parts.append(f"department {department!r}, should be {should.department!r}")
        wanted = {self.groups[group].casefold() for group in should.groups} | should.kept
        parts += [f"not in {name!r}" for name in sorted(wanted - person.groups)]
        parts += [f"still in {name!r}" for name in sorted(person.groups - wanted)]
        return f"{should.username}: {'; '.join(parts)}" if parts else ""

    def _foreign_differs(self, name: str) -> str:
        person = self._product.user(name)
        was = self.stood[name]
        if person is None:
            return f"the foreign account {was.name!r} is gone"
        return "" if stood(person) == was else f"the foreign account {was.name!r} was changed"

    def _surplus(self) -> dict[Key, str]:
        """Accounts and groups that nobody should have made."""
        usernames = {account.username.casefold() for account in self.accounts.values()}
        known = usernames | self.stood.keys()
        groups = {name.casefold() for name in self.groups.values()} | self._stood_groups.keys()
        found: dict[Key, str] = {
            ("surplus", person.name): f"the account {person.name!r} should not be there"
            for person in self._product.users()
            if person.name.casefold() not in known
        }
        for name in self._product.groups():
            if name.casefold() not in groups:
                found["surplus group", name] = f"the group {name!r} should not be there"
        return found


def stood(person: Person) -> Stood:
    """An account with everything that others might change."""
    return Stood(
        person.name,
        person.display_name,
        person.email,
        person.active,
        frozenset(person.groups),
        tuple((name, tuple(values)) for name, values in sorted(person.attributes.items())),
    )
