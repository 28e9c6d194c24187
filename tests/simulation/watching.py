"""Watches every write while it happens: nobody wrongly shut out, nothing foreign touched (I2, I6,
I8)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from azsyncd.model.accounts import Account

from .expected import expected

if TYPE_CHECKING:
    from .world import World

SWAP = "azsyncd-swap-"
WRITES = frozenset({"create", "update", "rename", "set", "mark", "delete", "add", "remove"})


def is_write(method: str) -> bool:
    """Whether a call changes something."""
    return method.split("_")[0] in WRITES


@dataclass(slots=True)
class Was:
    """What a product held when it was last looked at."""

    accounts: dict[str, Account] = field(default_factory=dict)
    members: dict[str, set[str]] = field(default_factory=dict)


class Watch:
    """Remembers what Entra has said at any time, and compares with what is done."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.shut: set[str] = set()  # ids that were ever disabled, deleted or out of scope
        self.parted: set[tuple[str, str]] = set()  # (group, id) that were ever not wanted
        self.names: dict[str, set[str]] = {}  # every id that ever had a username
        self.group_names: dict[str, set[str]] = {}
        self.wrong: list[str] = []
        self.deactivations: list[tuple[str, float]] = []
        self._was: dict[str, Was] = {}
        self._flying: dict[tuple[str, asyncio.Task[Any] | None], str] = {}

    # What Entra says ------------------------------------------------------------------------------

    def entra_changed(self) -> None:
        """Look at the tenant after each of its changes."""
        tenant = self._world.tenant
        want = expected(tenant, self._world.scope)
        for node in tenant.nodes.values():
            if node.feed == "users":
                upn = str(node.properties["userPrincipalName"]).lower()
                self.names.setdefault(upn, set()).add(node.id)
                person = want.people.get(node.id)
                if person is None or not person.active:
                    self.shut.add(node.id)
            else:
                name = str(node.properties["displayName"]).lower()
                self.group_names.setdefault(name, set()).add(node.id)
        for name in self.group_names:
            members = want.members.get(name, set())
            self.parted |= {(name, n.id) for n in tenant.nodes.values() if n.id not in members}

    # What is done ---------------------------------------------------------------------------------

    def hands_off(self, name: str) -> None:
        """A person changed something in a product: that is no deed of ours."""
        product = self._world.products[name]
        self._was[name] = Was(
            dict(product.held),
            {group: set(held.members) for group, held in product.held_groups.items()},
        )

    def called(self, name: str, when: str, method: str) -> None:
        """Around every call of a product."""
        if not is_write(method):
            return
        product = self._world.products[name]
        key = (name, asyncio.current_task())
        if when == "before":
            whose = product.subject
            self._flying = {
                k: w for k, w in self._flying.items() if k[1] is not None and not k[1].done()
            }
            if any(k[0] == name and w == whose for k, w in self._flying.items() if k != key):
                self.wrong.append(f"I8: two writes at a time to {whose} in {name}")
                self._world.note(self.wrong[-1])
            self._flying[key] = whose
            return
        self._flying.pop(key, None)
        self._compare(name)

    def _compare(self, name: str) -> None:
        product = self._world.products[name]
        was = self._was.setdefault(name, Was())
        for key, before in was.accounts.items():
            now = product.held.get(key)
            if before.username in self._world.foreign and now != before:
                self.wrong.append(f"I6: the foreign account {before.username} was touched")
            if now is None or (before.active and not now.active):
                self._shut_out(name, before)
        for group, members in was.members.items():
            held = product.held_groups.get(group)
            for key in members - (held.members if held else set()):
                self._parted(name, group, key, was)
        self.hands_off(name)

    def _shut_out(self, name: str, account: Account) -> None:
        self.deactivations.append((name, self._world.loop.moment))
        ids = self._ids(account)
        if not ids & self.shut:
            self.wrong.append(f"I2: {account.username} was deactivated in {name}")

    def _parted(self, name: str, group: str, key: str, was: Was) -> None:
        account = was.accounts.get(key)
        if account is None:
            return
        if account.username in self._world.foreign:
            self.wrong.append(f"I6: {account.username} was taken out of {group}")
        elif self._ids(account) & self.shut:
            return  # where an account cannot be shut, its groups are taken (rule 32)
        elif not any((group, found) in self.parted for found in self._ids(account)):
            self.wrong.append(f"I2: {account.username} was taken out of {group} in {name}")

    def _ids(self, account: Account) -> set[str]:
        if account.mark is not None:
            return {account.mark.object_id}
        name = account.username.lower()
        if name.startswith(SWAP):
            return {name.removeprefix(SWAP)}
        return self.names.get(name, set())
