"""What a product should hold, worked out from the tenant and from what stood there before.

This is the demo's second opinion, and shares nothing with `azsyncd.plan`: it walks the simulated
tenant itself, knows the settings of the demo's configuration in prose (everybody below
"Atlassian Users" has an account, named by the UPN in lower case; security groups `atl-*` are
written with their nested members; accounts and groups that stand there under the name are taken
over; leavers are deactivated; what is foreign stays) and remembers what a product cannot follow:
a group keeps the name under which it was made, an adopted account keeps its username. What single
products cannot do besides stands in `can`, out of their vendors' documentation.

Leavers need the past as well, so `look` is called after every change that is to be followed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from azsyncd.sandbox.base import version_of
from azsyncd.sandbox.bitbucket import Bitbucket
from azsyncd.sandbox.datacenter import DataCenter
from azsyncd.sandbox.directories import Person
from azsyncd.sandbox.nodes import Node
from azsyncd.sandbox.tenant import Tenant

Key = tuple[str, str]
"""What a difference is about: ("account", object id), ("group", object id), ("foreign", name)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Can:
    """What can be done to accounts from outside, and letters that names cannot have.

    Who cannot be deactivated loses the memberships that azsyncd gave her, and those in `licences`
    (folded names) for ever. `without` is left out of display names; users and groups with an
    illegal name are not there at all.
    """

    rename: bool = True
    update: bool = True
    deactivate: bool = True
    licences: frozenset[str] = frozenset()
    without: str = ""
    not_in_username: str = ""
    not_in_group: str = ""


def can(product: DataCenter) -> Can:
    """The abilities of one product in its version."""
    version = version_of(product.version)
    if product.kind == "jira":
        # https://jira.atlassian.com/browse/JRASERVER-37294
        return Can(deactivate=version >= (8, 3), not_in_username="<>&")
    if product.kind == "confluence":
        # https://jira.atlassian.com/browse/CONFSERVER-93140; a slash cannot stand in a path
        return Can(
            rename=False,
            update=version >= (9, 3),
            without="<>",
            not_in_username="\\,+<>'\"/ \t",
            not_in_group="/\\",
        )
    if isinstance(product, Bitbucket):
        # https://jira.atlassian.com/browse/BSERV-8817
        granted = product.granted_groups.items()
        licences = frozenset(name for name, right in granted if right == "LICENSED_USER")
        return Can(deactivate=False, licences=licences)
    return Can()


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
    attributes: tuple[tuple[str, str], ...]


class Moment:
    """What a tenant says at one moment, read once for all products."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self._below: dict[str, frozenset[str]] = {}

    def below(self, group: str) -> frozenset[str]:
        """The ids of all members of a group, also of nested ones; nobody where it is gone."""
        if group not in self._below:
            living = self._tenant.nodes[group].living
            found = self._tenant.transitive_members(group) if living else ()
            self._below[group] = frozenset(member.id for member in found)
        return self._below[group]


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
        self._can = can(product)
        self.stood = {person.name.casefold(): stood(person) for person in product.users()}
        self._stood_groups = {name.casefold(): name for name in product.groups()}
        self.accounts: dict[str, Expected] = {}  # by object id
        self.groups: dict[str, str] = {}  # object id → name in the product
        self._adopted: set[str] = set()  # folded names of standing accounts that were taken over

    # Looking ------------------------------------------------------------------------------------

    def look(self, moment: Moment | None = None) -> None:
        """Take in what the tenant says now."""
        tenant, moment = self._tenant, moment or Moment(self._tenant)
        self._meet_groups()
        members = {
            group: moment.below(group) for group in self.groups if tenant.nodes[group].living
        }
        inside = moment.below(self._scope_group)
        coming = []
        for user in tenant.users():
            wanted = {group for group, ids in members.items() if user.id in ids}
            if user.id in inside and user.id not in self.accounts:
                coming.append((user, wanted))
            elif user.id in inside:
                self._stays(user, wanted, members.keys())
            else:
                self._left(user, members.keys() - wanted)
        held = {account.username.casefold() for account in self.accounts.values()}
        for user, wanted in coming:
            self._comes(user, wanted, held)
        for object_id, account in self.accounts.items():
            if not tenant.nodes[object_id].living:
                account.active = False
            if not account.active and not self._can.deactivate:
                account.active, account.groups = True, set()
                account.kept -= self._can.licences

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
        legal = 0 < len(name) <= 255 and not set(name) & set(self._can.not_in_group)
        return legal and fnmatchcase(name.casefold(), self._pattern)

    def _should(self, user: Node) -> Expected:
        properties = user.properties
        upn = str(properties["userPrincipalName"])
        shown = "".join(c for c in str(properties["displayName"]) if c not in self._can.without)
        return Expected(
            username=upn.lower(),
            email=str(properties.get("mail") or upn),
            display_name=" ".join(shown.split())[:255].rstrip(),
            active=bool(properties["accountEnabled"]),
            department=str(properties.get("department") or ""),
        )

    def _comes(self, user: Node, wanted: set[str], held: Collection[str]) -> None:
        """Somebody new in scope: made, or taken over; not under a name that somebody else has,
        who could not be renamed."""
        should = self._should(user)
        folded = should.username.casefold()
        standing = self.stood.get(folded)
        if standing is None and not should.active:
            return  # nobody gets an account that would be inactive
        if folded in held or set(should.username) & set(self._can.not_in_username):
            return
        self.accounts[user.id] = should
        should.groups = wanted
        if standing is None:
            return
        self._adopted.add(folded)
        should.adopted, should.username = True, standing.name
        if not self._can.update:
            should.email, should.display_name = standing.email, standing.display_name
        # Memberships that stood there and that Entra does not want are foreign: they stay.
        should.kept = set(standing.groups) - {self.groups[g].casefold() for g in wanted}

    def _stays(self, user: Node, wanted: set[str], living: Collection[str]) -> None:
        """Somebody who has an account: brought up to date, as far as that can be done."""
        known, should = self.accounts[user.id], self._should(user)
        if known.adopted or not self._can.rename:
            should.username = known.username
        if not self._can.update:
            should.email, should.display_name = known.email, known.display_name
        should.adopted, should.kept = known.adopted, known.kept
        # What was written of a group that is gone from Entra stays as it was.
        should.groups = wanted | (known.groups - set(living))
        self.accounts[user.id] = should

    def _left(self, user: Node, elsewhere: Collection[str]) -> None:
        """Somebody outside the scope; `elsewhere` are groups that she is not in."""
        account = self.accounts.get(user.id)
        if account is not None:
            account.active = False
            account.groups.difference_update(elsewhere)

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
            department = self._department(person)
            if department != should.department:
                parts.append(f"department {department!r}, should be {should.department!r}")
        wanted = {self.groups[group].casefold() for group in should.groups} | should.kept
        parts += [f"not in {name!r}" for name in sorted(wanted - person.groups)]
        parts += [f"still in {name!r}" for name in sorted(person.groups - wanted)]
        return f"{should.username}: {'; '.join(parts)}" if parts else ""

    def _department(self, person: Person) -> str:
        if self._product.kind == "cloud":
            return str(person.properties.get("department") or "")
        return (person.attributes.get("department") or [""])[0]

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
        tuple(
            (name, str(value))
            for kept in (person.attributes, person.properties)
            for name, value in sorted(kept.items())
        ),
    )
