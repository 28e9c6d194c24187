"""A simulated Entra tenant: users, groups, what is in them, and the log of every change.

The log is what delta queries read: an answer costs what has changed, not what there is.
Semantics: `@removed` and memberships of deleted objects as in Graph's "delta query overview" and
what people have seen of it. A soft-deleted object keeps its memberships without anybody saying so.
https://learn.microsoft.com/en-us/graph/delta-query-overview
"""

from __future__ import annotations

import random
import uuid
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from azsyncd.clock import Clock, SystemClock, iso
from azsyncd.sandbox.nodes import KINDS, UNSET, Entry, Event, Node, Refusal, Sort, What

RETENTION_SECONDS = 30 * 86400.0
"""How long a soft-deleted object can be restored."""


class Tenant:
    """The directory. Every method that changes something writes the log and tells the listeners.

    `soft_deletes_security_groups`: since 2026; before, they were gone at once.
    `announces_purged_members`: documented; people report that nothing is said.
    """

    def __init__(
        self,
        *,
        tenant_id: str = "11111111-2222-3333-4444-555555555555",
        domain: str = "fabrikam.onmicrosoft.com",
        name: str = "Fabrikam",
        clock: Clock | None = None,
        seed: int = 0,
    ) -> None:
        self.tenant_id = tenant_id
        self.domain = domain
        self.name = name
        self.clock: Clock = clock or SystemClock()
        self.nodes: dict[str, Node] = {}
        self.ids: dict[str, list[str]] = {"users": [], "groups": []}
        self.logs: dict[str, list[Entry]] = {"users": [], "groups": []}
        self.listeners: list[Callable[[Event], None]] = []
        self.soft_deletes_security_groups = True
        self.announces_purged_members = False
        self.seq = 0
        self._random = random.Random(seed)
        self._upns: dict[str, str] = {}
        self._trash: deque[tuple[float, str]] = deque()
        self._rules: dict[tuple[str, Any], list[str]] = {}
        self._ruled: set[str] = set()

    # Reading ------------------------------------------------------------------------------------

    def users(self) -> Iterator[Node]:
        """Every living user, in the order in which they were created."""
        return self._living("users")

    def groups(self) -> Iterator[Node]:
        """Every living group."""
        return self._living("groups")

    def deleted(self, feed: str) -> Iterator[Node]:
        """What can be restored."""
        self.tick()
        for found in list(self.ids[feed]):
            node = self.nodes.get(found)
            if node is not None and node.deleted_at is not None and not node.purged:
                yield node

    def find(self, key: str) -> Node | None:
        """A living object by id, or a user by UPN."""
        node = self.nodes.get(key.lower()) or self.nodes.get(self._upns.get(key.casefold(), ""))
        return node if node is not None and node.living else None

    def user(self, key: str) -> Node:
        """A living user by id or UPN; raises KeyError."""
        node = self.find(key)
        if node is None or node.sort is not Sort.USER:
            raise KeyError(key)
        return node

    def group(self, key: str) -> Node:
        """A living group by id or name (the first of that name); raises KeyError."""
        node = self.find(key)
        if node is None:
            node = next((g for g in self.groups() if g.properties["displayName"] == key), None)
        if node is None or node.sort is not Sort.GROUP:
            raise KeyError(key)
        return node

    def members(self, group_id: str) -> Iterator[Node]:
        """The living direct members of a group."""
        for found in self.nodes[group_id].places:
            if self.nodes[found].living:
                yield self.nodes[found]

    def parents(self, object_id: str) -> Iterator[Node]:
        """The living groups of which something is a direct member."""
        for found in self.nodes[object_id].parents:
            if self.nodes[found].living:
                yield self.nodes[found]

    def transitive_members(self, group_id: str) -> Iterator[Node]:
        """Everything that is below a group, each once; cycles end."""
        seen, todo = {group_id}, [group_id]
        while todo:
            for member in self.members(todo.pop()):
                if member.id in seen:
                    continue
                seen.add(member.id)
                yield member
                if member.sort is Sort.GROUP:
                    todo.append(member.id)

    def since(self, feed: str, after: int, until: int) -> list[Entry]:
        """The entries of a feed with `after` < seq ≤ `until`."""
        log = self.logs[feed]
        start = bisect_right(log, after, key=lambda entry: entry.seq)
        end = bisect_right(log, until, key=lambda entry: entry.seq)
        return log[start:end]

    # Writing ------------------------------------------------------------------------------------

    def add_user(self, user_principal_name: str, *, id: str = "", **properties: Any) -> str:  # noqa: A002  (Graph's word)
        """Create a user with what Entra sets by itself; returns the id."""
        self._free(user_principal_name)
        given = {
            "userPrincipalName": user_principal_name,
            "displayName": user_principal_name.partition("@")[0],
            "accountEnabled": True,
            "userType": "Member",
            "mailNickname": user_principal_name.partition("@")[0][:64],
            "businessPhones": [],
            "otherMails": [],
            "createdDateTime": iso(self.clock.now()),
            **properties,
        }
        node = self._new(Sort.USER, given, id)
        self._upns[user_principal_name.casefold()] = node.id
        self._log("users", node.id, What.CREATED)
        self._apply_rules(node, dict.fromkeys(given, UNSET))
        return node.id

    def add_group(
        self,
        display_name: str,
        *,
        kind: str = "security",
        members: Iterable[str] = (),
        rule: tuple[str, Any] | None = None,
        id: str = "",  # noqa: A002  (Graph's word)
        **properties: Any,
    ) -> str:
        """Create a group; `rule` ("department", "Sales") makes it a dynamic one."""
        given = {
            "displayName": display_name,
            "mailNickname": f"g{len(self.ids['groups'])}",
            "createdDateTime": iso(self.clock.now()),
            **KINDS[kind],
        }
        if given["mailEnabled"]:
            given["mail"] = f"{given['mailNickname']}@{self.domain}"
        if rule is not None:
            given["groupTypes"] = [*given["groupTypes"], "DynamicMembership"]
            given["membershipRule"] = f'(user.{rule[0]} -eq "{rule[1]}")'
            given["membershipRuleProcessingState"] = "On"
        node = self._new(Sort.GROUP, {**given, **properties}, id)
        self._log("groups", node.id, What.CREATED)
        for member in members:
            self.add_member(node.id, member)
        if rule is not None:
            self._rules.setdefault(rule, []).append(node.id)
            self._ruled.add(rule[0])
            for user in list(self.users()):
                if user.properties.get(rule[0]) == rule[1]:
                    self.add_member(node.id, user.id)
        return node.id

    def add_other(self, sort: Sort, display_name: str) -> str:
        """A device, service principal or contact: no feed of ours shows it but as a member."""
        return self._new(sort, {"displayName": display_name}, "").id

    def update(self, object_id: str, **properties: Any) -> bool:
        """Change properties of a living object; None writes null. False = nothing was different."""
        node = self._need(object_id)
        before = {
            name: node.properties.get(name, UNSET)
            for name, value in properties.items()
            if node.properties.get(name, UNSET) != value
        }
        if not before:
            return False
        if "userPrincipalName" in before:
            self._move_upn(node, str(properties["userPrincipalName"]))
        node.properties.update(properties)
        self._log(node.feed, node.id, What.CHANGED, before=before)
        if node.sort is Sort.USER:
            self._apply_rules(node, before)
        return True

    def add_member(self, group_id: str, member_id: str) -> bool:
        """False = was one already."""
        group, member = self._need(group_id), self._need(member_id)
        if group.sort is not Sort.GROUP:
            raise Refusal(f"{group.name} is no group")
        if member.sort is Sort.GROUP and "Unified" in group.properties["groupTypes"]:
            raise Refusal("a Microsoft 365 group cannot contain groups")
        if member.id in group.places:
            return False
        group.places[member.id] = len(group.slots)
        group.slots.append(member.id)
        member.parents[group.id] = None
        self._log("groups", group.id, What.MEMBER, member=member.id, added=True)
        return True

    def remove_member(self, group_id: str, member_id: str) -> bool:
        """False = was none."""
        group = self._need(group_id)
        if member_id not in group.places:
            return False
        self._part(group, self.nodes[member_id])
        self._log("groups", group.id, What.MEMBER, member=member_id)
        return True

    def delete(self, object_id: str) -> None:
        """Soft, where Entra can restore such an object, else for good."""
        node = self._need(object_id)
        if not self._restorable(node):
            self.purge(object_id)
            return
        self._let_go_of_upn(node)
        node.deleted_at = self.clock.now()
        self._trash.append((node.deleted_at, node.id))
        self._log(node.feed, node.id, What.DELETED)

    def restore(self, object_id: str) -> None:
        """Bring a soft-deleted object back, with its memberships."""
        self.tick()
        node = self.nodes.get(object_id)
        if node is None or node.purged or node.deleted_at is None:
            raise KeyError(object_id)
        if node.sort is Sort.USER:
            self._free(str(node.properties["userPrincipalName"]))
            self._upns[str(node.properties["userPrincipalName"]).casefold()] = node.id
        node.deleted_at = None
        self._log(node.feed, node.id, What.RESTORED)

    def purge(self, object_id: str) -> None:
        """Delete for good; memberships go without a word, or with one, as is configured."""
        node = self.nodes[object_id]
        if node.purged:
            return
        if node.living:
            self._let_go_of_upn(node)
        for parent in list(node.parents):
            self._part(self.nodes[parent], node)
            if self.announces_purged_members:
                self._log("groups", parent, What.MEMBER, member=node.id)
        for member in list(node.places):
            self._part(node, self.nodes[member])
        node.purged, node.deleted_at = True, None
        if node.sort in (Sort.USER, Sort.GROUP):
            self._log(node.feed, node.id, What.PURGED)

    def tick(self) -> None:
        """Purge what was soft-deleted 30 days ago."""
        limit = self.clock.now() - RETENTION_SECONDS
        while self._trash and self._trash[0][0] <= limit:
            deleted_at, object_id = self._trash.popleft()
            if self.nodes[object_id].deleted_at == deleted_at:
                self.purge(object_id)

    # ---

    def _living(self, feed: str) -> Iterator[Node]:
        for found in self.ids[feed]:
            if self.nodes[found].living:
                yield self.nodes[found]

    def _need(self, object_id: str) -> Node:
        node = self.nodes.get(object_id)
        if node is None or not node.living:
            raise KeyError(object_id)
        return node

    def _free(self, user_principal_name: str) -> None:
        if user_principal_name.casefold() in self._upns:
            raise Refusal(f"a user {user_principal_name} exists already")

    def _let_go_of_upn(self, node: Node) -> None:
        if node.sort is Sort.USER:
            del self._upns[str(node.properties["userPrincipalName"]).casefold()]

    def _move_upn(self, node: Node, name: str) -> None:
        old = str(node.properties["userPrincipalName"]).casefold()
        if name.casefold() != old:
            self._free(name)
        del self._upns[old]
        self._upns[name.casefold()] = node.id

    def _new(self, sort: Sort, properties: dict[str, Any], object_id: str) -> Node:
        made = object_id.lower() or str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        if made in self.nodes:
            raise Refusal(f"the id {made} is taken")
        node = self.nodes[made] = Node(made, sort, properties)
        if sort in (Sort.USER, Sort.GROUP):
            self.ids[node.feed].append(made)
        return node

    def _restorable(self, node: Node) -> bool:
        if node.sort is Sort.USER:
            return True
        of = node.properties
        if node.sort is not Sort.GROUP or of.get("onPremisesSyncEnabled"):
            return False
        if "Unified" in of["groupTypes"]:
            return True
        return bool(self.soft_deletes_security_groups and not of["mailEnabled"])

    def _part(self, group: Node, member: Node) -> None:
        del group.places[member.id]
        member.parents.pop(group.id, None)

    def _apply_rules(self, user: Node, before: Mapping[str, Any]) -> None:
        for name in self._ruled & before.keys():
            for group_id in self._rules.get((name, before[name]), ()):
                if self.nodes[group_id].living:
                    self.remove_member(group_id, user.id)
            for group_id in self._rules.get((name, user.properties.get(name)), ()):
                if self.nodes[group_id].living:
                    self.add_member(group_id, user.id)

    def _log(
        self,
        feed: str,
        object_id: str,
        what: What,
        *,
        before: Mapping[str, Any] | None = None,
        member: str = "",
        added: bool = False,
    ) -> None:
        self.seq += 1
        now = self.clock.now()
        entry = Entry(self.seq, now, object_id, what, before or {}, member, added)
        self.logs[feed].append(entry)
        change_type = "deleted" if what is What.PURGED else "updated"
        for listener in self.listeners:
            listener(Event(feed, object_id, change_type, self.seq, now))
