"""A product in memory: for tests, simulations and demonstrations, and the shortest connector.

It keeps every promise of `targets/base.py`. What it can do is chosen; before and after each call
`faults` is awaited, so that a simulation can refuse it, or lose its answer after it took effect.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from azsyncd.errors import AlreadyExists, ChangeRejected, NotFound
from azsyncd.model.accounts import Account, Capabilities, Dialect, Mark, Seats, TargetGroup, fold
from azsyncd.targets.names import legal, mail, shown

Faults = Callable[[str, str], Awaitable[None]]
"""`await faults("before" or "after", method)`; what it raises is what the caller gets."""

ABLE = Capabilities(
    version="1",
    has_attributes=True,
    has_marks=True,
    nests_groups=True,
    members_per_call=100,
    removals_per_call=100,
)


class MemoryDialect:
    """Names keep their case; nothing but emptiness and length is forbidden."""

    def account(self, account: Account) -> Account:
        return replace(
            account,
            username=legal(account.username, "username"),
            email=mail(account.email),
            display_name=shown(account.display_name),
        )

    def group(self, name: str) -> str:
        return legal(name, "group name")


@dataclass(slots=True)
class Held:
    """A group that stands, the keys of its members, and those of the groups in it."""

    group: TargetGroup
    members: set[str] = field(default_factory=set)
    children: set[str] = field(default_factory=set)


async def _no_faults(when: str, method: str) -> None:
    pass


class Memory:
    """A product whose accounts are a dictionary."""

    type = "memory"

    def __init__(
        self,
        name: str = "memory",
        *,
        capabilities: Capabilities = ABLE,
        fingerprint: str | None = None,
        faults: Faults = _no_faults,
    ) -> None:
        self.name = name
        self.dialect: Dialect = MemoryDialect()
        self.capabilities = capabilities
        self.faults = faults
        self.held: dict[str, Account] = {}  # by key
        self.held_groups: dict[str, Held] = {}  # by folded name
        self.granted: set[str] = set()  # keys of accounts with rights of their own
        self.calls: list[tuple[str, str]] = []  # every write that was asked for: method, whose
        self.needless: list[tuple[str, str]] = []  # those that changed nothing
        self.blocked: dict[str, ChangeRejected] = {}  # refusals, by folded username
        self.nests = True  # whether it takes groups into groups, whatever it is thought to do
        self._fingerprint = fingerprint or f"memory:{name}"
        self._numbers = itertools.count(1)

    # Looking inside, and an administrator's hands -----------------------------------------------

    def account(self, username: str) -> Account | None:
        """The account under this name, without a call."""
        found = (each for each in self.held.values() if fold(each.username) == fold(username))
        return next(found, None)

    def members_of(self, group: str) -> set[str]:
        """The usernames of a group's members, without a call."""
        held = self.held_groups.get(fold(group))
        return {self.held[key].username for key in held.members} if held else set()

    def everybody_in(self, group: str) -> set[str]:
        """The same with those of the groups in it, at any depth."""
        return {
            self.held[key].username
            for name in self._below(fold(group))
            for key in self.held_groups[name].members
        }

    def _below(self, name: str) -> set[str]:
        """The folded names of a group and of all groups in it."""
        seen: set[str] = set()
        todo = [name]
        while todo:
            here = todo.pop()
            if here in self.held_groups and here not in seen:
                seen.add(here)
                todo.extend(self.held_groups[here].children)
        return seen

    def put(self, account: Account, *groups: str) -> Account:
        """Make an account, or change one of the same key, by hand."""
        stored = replace(account, key=account.key or f"A{next(self._numbers)}")
        if stored.active is None:
            stored = replace(stored, active=True)
        self.held[str(stored.key)] = stored
        for group in groups:
            self.put_group(group).members.add(str(stored.key))
        return stored

    def put_group(self, name: str) -> Held:
        """Make a group by hand; the one that stands if there is one."""
        group = TargetGroup(name=name, key=fold(name))
        return self.held_groups.setdefault(fold(name), Held(group))

    # Reading ------------------------------------------------------------------------------------

    async def fingerprint(self) -> str:
        await self._around("fingerprint")
        return self._fingerprint

    async def probe(self) -> Capabilities:
        await self._around("probe")
        return self.capabilities

    async def ask(self) -> None:
        await self._around("ask")

    async def seats(self) -> tuple[Seats, ...]:
        await self._around("seats")
        return self.capabilities.seats

    async def accounts(self) -> AsyncIterator[Account]:
        await self._around("accounts")
        for account in list(self.held.values()):
            seen = self._visible(account)
            whole = self.capabilities.lists_marks
            yield seen if whole else replace(seen, mark=None, attributes={})

    async def groups(self) -> AsyncIterator[TargetGroup]:
        await self._around("groups")
        for held in list(self.held_groups.values()):
            yield held.group

    async def members(
        self, groups: Sequence[TargetGroup]
    ) -> AsyncIterator[tuple[str, Sequence[str]]]:
        await self._around("members")
        for group in groups:
            held = self.held_groups.get(fold(group.name))
            if held is not None:
                yield fold(group.name), sorted(held.members)

    async def children(
        self, groups: Sequence[TargetGroup]
    ) -> AsyncIterator[tuple[str, Sequence[str]]]:
        await self._around("children")
        for group in groups:
            held = self.held_groups.get(fold(group.name))
            if held is not None:
                yield fold(group.name), sorted(held.children)

    async def find_account(self, username: str) -> Account | None:
        await self._around("find_account")
        found = self.account(username)
        return None if found is None else self._visible(found)

    async def read_account(self, account: Account) -> Account | None:
        await self._around("read_account")
        found = self.held.get(account.key) if account.key else self.account(account.username)
        return None if found is None else self._visible(found)

    async def find_group(self, name: str) -> TargetGroup | None:
        await self._around("find_group")
        held = self.held_groups.get(fold(name))
        return None if held is None else held.group

    def _visible(self, account: Account) -> Account:
        return account if self.capabilities.shows_email else replace(account, email=None)

    # Writing accounts ---------------------------------------------------------------------------

    async def create_account(self, account: Account) -> Account:
        await self._before("create_account", account)
        if self.account(account.username) is not None:
            raise AlreadyExists(f"{account.username!r} exists", target=self.name, reason="conflict")
        self._address_is_free(account, account.email)
        mark = account.mark if self.capabilities.has_marks else None
        attributes = dict(account.attributes) if self.capabilities.has_attributes else {}
        stored = self.put(
            replace(
                account,
                key=None,
                mark=mark,
                attributes=attributes,
                active=account.active is not False,
            )
        )
        return await self._after("create_account", stored)

    async def finish_account(self, have: Account, sent: Account) -> None:
        """Creating is one step here."""

    async def update_account(self, have: Account, want: Account) -> Account:
        await self._before("update_account", have)
        stored = self._there(have)
        self._address_is_free(stored, want.email)
        attributes = {**stored.attributes, **want.attributes}
        return await self._replace(
            "update_account",
            stored,
            email=want.email if want.email is not None else stored.email,
            display_name=want.display_name or stored.display_name,
            attributes=attributes if self.capabilities.has_attributes else stored.attributes,
        )

    async def rename_account(self, have: Account, want: Account) -> Account:
        await self._before("rename_account", have)
        stored = self._there(have)
        other = self.account(want.username)
        if other is not None and other.key != stored.key:
            raise AlreadyExists(f"{want.username!r} is taken", target=self.name, reason="conflict")
        email = want.email if self.capabilities.unique_emails else stored.email
        self._address_is_free(stored, email)
        return await self._replace("rename_account", stored, username=want.username, email=email)

    def _address_is_free(self, account: Account, email: str | None) -> None:
        if not self.capabilities.unique_emails or not email:
            return
        for other in self.held.values():
            if other.key != account.key and fold(other.email or "") == fold(email):
                raise AlreadyExists(f"{email!r} is taken", target=self.name, reason="conflict")

    async def set_active(self, have: Account, active: bool) -> Account:
        await self._before("set_active", have)
        return await self._replace("set_active", self._there(have), active=active)

    async def strip_account(self, have: Account, groups: Collection[str]) -> list[str]:
        await self._before("strip_account", have)
        stored = self._there(have)
        key = str(stored.key)
        taken = ["its own rights"] if key in self.granted else []
        self.granted.discard(key)
        for name, group in sorted(self.held_groups.items()):
            if name in groups and key in group.members:
                group.members.discard(key)
                taken.append(group.group.name)
        await self.faults("after", "strip_account")
        return taken

    async def mark_account(self, have: Account, mark: Mark) -> None:
        await self._before("mark_account", have)
        if self.capabilities.has_marks:
            await self._replace("mark_account", self._there(have), mark=mark)

    async def delete_account(self, have: Account) -> None:
        await self._before("delete_account", have)
        if self.held.pop(have.key or "", None) is None:
            self._needless("delete_account", have.username)
        for held in self.held_groups.values():
            held.members.discard(have.key or "")
        await self.faults("after", "delete_account")

    # Writing groups -----------------------------------------------------------------------------

    async def create_group(self, group: TargetGroup) -> TargetGroup:
        await self._around_write("create_group", group.name)
        if fold(group.name) in self.held_groups:
            raise AlreadyExists(f"group {group.name!r} exists", target=self.name, reason="conflict")
        stored = replace(group, key=fold(group.name))
        self.held_groups[fold(group.name)] = Held(stored)
        await self.faults("after", "create_group")
        return stored

    async def delete_group(self, group: TargetGroup) -> None:
        await self._around_write("delete_group", group.name)
        if self.held_groups.pop(fold(group.name), None) is None:
            self._needless("delete_group", group.name)
        for held in self.held_groups.values():
            held.children.discard(fold(group.name))
        await self.faults("after", "delete_group")

    async def add_members(
        self, group: TargetGroup, accounts: Sequence[Account]
    ) -> Mapping[str, ChangeRejected]:
        return await self._members("add_members", group, accounts)

    async def remove_members(
        self, group: TargetGroup, accounts: Sequence[Account]
    ) -> Mapping[str, ChangeRejected]:
        return await self._members("remove_members", group, accounts)

    async def _members(
        self, method: str, group: TargetGroup, accounts: Sequence[Account]
    ) -> Mapping[str, ChangeRejected]:
        await self._around_write(method, group.name)
        held = self._held(group)
        refused: dict[str, ChangeRejected] = {}
        for account in accounts:
            key = account.key or ""
            adds = method == "add_members"
            if fold(account.username) in self.blocked:
                refused[key] = self.blocked[fold(account.username)]
            elif adds and key not in self.held:
                refused[key] = self._gone(account)
            elif (key in held.members) is adds:
                self._needless(method, f"{group.name}/{account.username}")
            else:
                (held.members.add if adds else held.members.discard)(key)
        await self.faults("after", method)
        return refused

    async def add_child(self, group: TargetGroup, child: TargetGroup) -> None:
        await self._around_write("add_child", group.name)
        held = self._held(group)
        self._held(child)
        if not self.nests or fold(group.name) in self._below(fold(child.name)):
            why = "the groups would hold one another" if self.nests else "nesting is switched off"
            raise ChangeRejected(why, target=self.name, reason="unsupported")
        self._nest("add_child", held, child, adds=True)
        await self.faults("after", "add_child")

    async def remove_child(self, group: TargetGroup, child: TargetGroup) -> None:
        await self._around_write("remove_child", group.name)
        self._nest("remove_child", self._held(group), child, adds=False)
        await self.faults("after", "remove_child")

    def _held(self, group: TargetGroup) -> Held:
        held = self.held_groups.get(fold(group.name))
        if held is None:
            raise NotFound(f"group {group.name!r} is gone", target=self.name, reason="conflict")
        return held

    def _nest(self, method: str, held: Held, child: TargetGroup, *, adds: bool) -> None:
        name = fold(child.name)
        if (name in held.children) is adds:
            self._needless(method, f"{held.group.name}/{child.name}")
        (held.children.add if adds else held.children.discard)(name)

    async def close(self) -> None:
        pass

    # Around every call --------------------------------------------------------------------------

    async def _around(self, method: str) -> None:
        await self.faults("before", method)
        await self.faults("after", method)

    async def _around_write(self, method: str, whose: str) -> None:
        self.calls.append((method, whose))
        await self.faults("before", method)

    async def _before(self, method: str, account: Account) -> None:
        await self._around_write(method, account.username)
        if fold(account.username) in self.blocked:
            raise self.blocked[fold(account.username)]

    async def _after(self, method: str, account: Account) -> Account:
        await self.faults("after", method)
        return self._visible(account)

    async def _replace(self, method: str, stored: Account, **values: object) -> Account:
        changed = replace(stored, **values)  # type: ignore[arg-type]
        if changed == stored:
            self._needless(method, stored.username)
        self.held[str(stored.key)] = changed
        return await self._after(method, changed)

    def _there(self, account: Account) -> Account:
        stored = self.held.get(account.key or "")
        if stored is None:
            raise self._gone(account)
        return stored

    def _gone(self, account: Account) -> NotFound:
        return NotFound(f"{account.username!r} is gone", target=self.name, reason="conflict")

    def _needless(self, method: str, whose: str) -> None:
        self.needless.append((method, whose))
