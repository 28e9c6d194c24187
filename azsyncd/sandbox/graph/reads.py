"""Single objects and ordinary lists: what is there now, without any delta.

Lists show at most 999 objects a page and go on by `$skiptoken`; members whose kind the caller may
not read come with type and id, and null for all else.
https://learn.microsoft.com/en-us/graph/paging
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlencode

from azsyncd.clock import iso
from azsyncd.sandbox.apps import Apps
from azsyncd.sandbox.graph.rights import (
    APPLICATIONS,
    BY_FEED,
    BY_SORT,
    GROUPS,
    USERS,
    WHOLE_GROUPS,
    hides_members,
    need,
)
from azsyncd.sandbox.nodes import Node, Sort
from azsyncd.sandbox.odata import (
    Answer,
    Ask,
    Refused,
    bad_request,
    comparisons,
    expanded,
    not_found,
    selected,
)
from azsyncd.sandbox.properties import DEFAULT, KNOWN, listed
from azsyncd.sandbox.tenant import Tenant

MOST_ON_A_PAGE = 999
USUAL_ON_A_PAGE = 100

_CASTS = {sort.odata[1:].lower(): sort for sort in Sort}


@dataclass(frozen=True, slots=True, kw_only=True)
class _List:
    """One list: the ids in their order, which of them belong to it, and how each is shown."""

    path: str
    context: str
    ids: Sequence[str]
    keeps: Callable[[int, Node], bool]
    show: Callable[[Node], dict[str, Any]]


class Reads:
    """Answers the reading calls. `omits_service_principals`: v1.0 lists groups without them.
    `expands`: what `$expand` is to a list: shown, ignored or refused."""

    def __init__(self, tenant: Tenant, apps: Apps) -> None:
        self._tenant = tenant
        self._apps = apps
        self.omits_service_principals = True
        self.expands: Literal["shown", "ignored", "refused"] = "shown"

    def objects(self, ask: Ask, feed: str) -> Answer:
        """`/users`, `/groups`."""
        need(ask, BY_FEED[feed])
        names = selected(ask.params, feed) or DEFAULT[feed]
        wanted = self._filter(ask, feed)
        expanded(ask.params, feed)  # what is wrong with it is wrong where there is nobody, too

        def show(node: Node) -> dict[str, Any]:
            return {"id": node.id, **listed(node.properties, names), **self._expanded(ask, node)}

        def keeps(_: int, node: Node) -> bool:
            return node.living and all(_equals(node, name, value) for name, value in wanted)

        return self._page(
            ask,
            _List(
                path=f"/{feed}",
                context=_context(feed, ask, names),
                ids=self._tenant.ids[feed],
                keeps=keeps,
                show=show,
            ),
        )

    def object(self, ask: Ask, feed: str, key: str) -> Answer:
        """`/users/{id or UPN}`, `/groups/{id}`."""
        need(ask, BY_FEED[feed])
        node = self._living(feed, key)
        names = selected(ask.params, feed) or DEFAULT[feed]
        shown = {"id": node.id, **listed(node.properties, names), **self._expanded(ask, node)}
        return _entity(ask, f"{_context(feed, ask, names)}/$entity", shown)

    def manager(self, ask: Ask, key: str) -> Answer:
        """`/users/{id}/manager`."""
        need(ask, USERS)
        node = self._living("users", key)
        manager = self._manager(node)
        if manager is None:
            raise not_found("manager")
        names = selected(ask.params, "users") or DEFAULT["users"]
        return _entity(ask, "directoryObjects/$entity", self._shown(ask, manager, names))

    def members(self, ask: Ask, group_id: str, cast: str = "") -> Answer:
        """`/groups/{id}/members`, also of one kind: `/members/microsoft.graph.user`."""
        need(ask, GROUPS)
        group, sort = self._living("groups", group_id), _sort(cast)
        hidden = hides_members(ask, group)

        def keeps(slot: int, node: Node) -> bool:
            there = node.living and group.places.get(node.id) == slot
            return there and not hidden and self._lists(node, sort)

        return self._directory_objects(ask, f"/groups/{group.id}/members", cast, group.slots, keeps)

    def transitive_members(self, ask: Ask, group_id: str, cast: str = "") -> Answer:
        """`/groups/{id}/transitiveMembers`."""
        need(ask, GROUPS)
        group, sort = self._living("groups", group_id), _sort(cast)
        hidden = hides_members(ask, group)
        below = [node.id for node in self._tenant.transitive_members(group.id)]

        def keeps(_: int, node: Node) -> bool:
            return not hidden and self._lists(node, sort)

        path = f"/groups/{group.id}/transitiveMembers"
        return self._directory_objects(ask, path, cast, below, keeps)

    def member_of(self, ask: Ask, feed: str, key: str, cast: str = "") -> Answer:
        """`/users/{id}/memberOf`, `/groups/{id}/memberOf`."""
        need(ask, BY_FEED[feed])
        child, sort = self._living(feed, key), _sort(cast)

        def keeps(_: int, node: Node) -> bool:
            return node.living and not hides_members(ask, node) and sort in (None, node.sort)

        path = f"/{feed}/{child.id}/memberOf"
        return self._directory_objects(ask, path, cast, list(child.parents), keeps)

    def deleted(self, ask: Ask, feed: str) -> Answer:
        """`/directory/deletedItems/microsoft.graph.user` (or `.group`)."""
        need(ask, USERS if feed == "users" else WHOLE_GROUPS)
        names = selected(ask.params, feed) or (*DEFAULT[feed], "deletedDateTime")
        ids = [node.id for node in self._tenant.deleted(feed)]
        kind = "user" if feed == "users" else "group"
        return self._page(
            ask,
            _List(
                path=f"/directory/deletedItems/microsoft.graph.{kind}",
                context=_context(feed, ask, names),
                ids=ids,
                keeps=lambda _, node: True,
                show=lambda node: {"id": node.id, **_deleted(node, names)},
            ),
        )

    def deleted_one(self, ask: Ask, object_id: str) -> Answer:
        """`/directory/deletedItems/{id}`: 404 for what lives and for what is gone for good."""
        need(ask, USERS | WHOLE_GROUPS)
        self._tenant.tick()
        node = self._tenant.nodes.get(object_id.lower())
        if node is None or node.living or node.purged:
            raise not_found(object_id)
        need(ask, USERS if node.sort is Sort.USER else WHOLE_GROUPS)
        names = selected(ask.params, node.feed) or (*DEFAULT[node.feed], "deletedDateTime")
        shown = {"@odata.type": node.sort.odata, "id": node.id, **_deleted(node, names)}
        return _entity(ask, "directoryObjects/$entity", shown)

    def application(self, ask: Ask, client_id: str) -> Answer:
        """`/applications(appId='…')`: where the ends of secrets and certificates stand."""
        need(ask, APPLICATIONS)
        app = self._apps.find(client_id)
        if app is None:
            raise not_found(client_id)
        shown = app.to_json()
        names = [n.strip() for n in ask.params.get("$select", "").split(",") if n.strip()]
        if names:
            shown = {name: shown[name] for name in dict.fromkeys(("id", *names)) if name in shown}
        return _entity(ask, "applications/$entity", shown)

    def organization(self, ask: Ask) -> Answer:
        """`/organization`: the tenant itself."""
        need(ask, USERS | {"Organization.Read.All"})
        tenant = self._tenant
        domain = {"name": tenant.domain, "isInitial": True, "isDefault": True}
        value = [{"id": tenant.tenant_id, "displayName": tenant.name, "verifiedDomains": [domain]}]
        return Answer(200, {"@odata.context": _root(ask, "organization"), "value": value})

    # ---

    def _expanded(self, ask: Ask, node: Node) -> dict[str, Any]:
        """`$expand=manager`: whoever has none comes without the key."""
        names = expanded(ask.params, node.feed)
        if names is not None and self.expands == "refused":
            raise bad_request("$expand is not supported.", "Request_UnsupportedQuery")
        manager = None if names is None or self.expands == "ignored" else self._manager(node)
        return {} if manager is None else {"manager": self._shown(ask, manager, names)}

    def _manager(self, node: Node) -> Node | None:
        return self._tenant.find(str(node.properties.get("manager") or ""))

    def _living(self, feed: str, key: str) -> Node:
        self._tenant.tick()
        node = self._tenant.find(key)
        wanted = Sort.USER if feed == "users" else Sort.GROUP
        if node is None or node.sort is not wanted:
            raise not_found(key)
        return node

    def _lists(self, node: Node, sort: Sort | None) -> bool:
        if node.sort is Sort.SERVICE_PRINCIPAL and self.omits_service_principals:
            return False
        return sort is None or node.sort is sort

    def _directory_objects(
        self,
        ask: Ask,
        path: str,
        cast: str,
        ids: Sequence[str],
        keeps: Callable[[int, Node], bool],
    ) -> Answer:
        names = _any_selected(ask)
        return self._page(
            ask,
            _List(
                path=f"{path}/{cast}" if cast else path,
                context=_context("directoryObjects", ask, names or ()),
                ids=ids,
                keeps=keeps,
                show=lambda node: self._shown(ask, node, names),
            ),
        )

    def _shown(self, ask: Ask, node: Node, names: Iterable[str] | None) -> dict[str, Any]:
        if names is None:
            names = DEFAULT[node.feed] if node.sort in (Sort.USER, Sort.GROUP) else ("displayName",)
        head = {"@odata.type": node.sort.odata, "id": node.id}
        if not ask.may(BY_SORT[node.sort]):
            return {**head, **dict.fromkeys(names)}
        known = KNOWN[node.feed] if node.sort in (Sort.USER, Sort.GROUP) else ("displayName",)
        return {**head, **listed(node.properties, [name for name in names if name in known])}

    def _page(self, ask: Ask, of: _List) -> Answer:
        start, top = _start(ask), _top(ask)
        shown: list[dict[str, Any]] = []
        after: int | None = None
        nodes = self._tenant.nodes
        for position in range(start, len(of.ids)):
            node = nodes[of.ids[position]]
            if not of.keeps(position, node):
                continue
            if len(shown) == top:
                after = position
                break
            shown.append(of.show(node))
        body: dict[str, Any] = {"@odata.context": of.context}
        if start == 0 and ask.params.get("$count", "").lower() == "true":
            places = enumerate(of.ids)
            body["@odata.count"] = sum(of.keeps(place, nodes[found]) for place, found in places)
        if after is not None:
            given = {name: value for name, value in ask.params.items() if name != "$skiptoken"}
            query = urlencode({**given, "$skiptoken": _skip(after)}, quote_via=quote, safe="$,")
            body["@odata.nextLink"] = f"{_root(ask, of.path, metadata=False)}?{query}"
        return Answer(200, {**body, "value": shown})

    def _filter(self, ask: Ask, feed: str) -> list[tuple[str, Any]]:
        if "$filter" not in ask.params:
            return []
        wanted = comparisons(ask.params["$filter"], "and")
        for name, _ in wanted:
            if name not in KNOWN[feed]:
                raise bad_request(
                    f"Invalid filter clause: Could not find a property named '{name}'.",
                    "Request_UnsupportedQuery",
                )
        return wanted


def _equals(node: Node, name: str, value: Any) -> bool:
    found = node.id if name == "id" else node.properties.get(name)
    if isinstance(found, str) and isinstance(value, str):
        return found.casefold() == value.casefold()
    return bool(found == value)


def _deleted(node: Node, names: Iterable[str]) -> dict[str, Any]:
    properties = {**node.properties, "deletedDateTime": iso(node.deleted_at)}
    if node.sort is Sort.USER:
        # Entra puts the id in front, so that the name can be given to somebody else.
        name = str(node.properties["userPrincipalName"])
        properties["userPrincipalName"] = f"{node.id.replace('-', '')}{name}"
    return listed(properties, names)


def _any_selected(ask: Ask) -> tuple[str, ...] | None:
    """`$select` where users and groups stand side by side; None = it was not given."""
    names = [name.strip() for name in ask.params.get("$select", "").split(",") if name.strip()]
    for name in names:
        if name not in KNOWN["users"] | KNOWN["groups"]:
            raise bad_request(
                f"Could not find a property named '{name}' on type "
                "'microsoft.graph.directoryObject'."
            )
    return tuple(name for name in dict.fromkeys(names) if name != "id") if names else None


def _sort(cast: str) -> Sort | None:
    if not cast:
        return None
    sort = _CASTS.get(cast.lower())
    if sort is None:
        raise bad_request(f"Resource not found for the segment '{cast}'.")
    return sort


def _top(ask: Ask) -> int:
    text = ask.params.get("$top", str(USUAL_ON_A_PAGE))
    if not re.fullmatch(r"\d{1,3}", text, re.ASCII) or int(text) < 1:
        raise bad_request(
            f"Invalid page size specified: '{text}'. Must be between 1 and {MOST_ON_A_PAGE} "
            "inclusive.",
            "Request_UnsupportedQuery",
        )
    return int(text)


def _start(ask: Ask) -> int:
    token = ask.params.get("$skiptoken", "")
    if not token:
        return 0
    try:
        return max(0, int(base64.urlsafe_b64decode(token).decode().removeprefix("at:")))
    except (binascii.Error, ValueError):
        raise Refused(
            400, "Directory_ExpiredPageToken", "The specified page token value is not valid."
        ) from None


def _skip(position: int) -> str:
    return base64.urlsafe_b64encode(f"at:{position}".encode()).decode()


def _root(ask: Ask, path: str, *, metadata: bool = True) -> str:
    return f"{ask.base}/v1.0/$metadata#{path}" if metadata else f"{ask.base}/v1.0{path}"


def _context(of: str, ask: Ask, names: Iterable[str]) -> str:
    if not ask.params.get("$select"):
        return _root(ask, of)
    return _root(ask, f"{of}({','.join(('id', *names))})")


def _entity(ask: Ask, context: str, shown: dict[str, Any]) -> Answer:
    found = context if "://" in context else _root(ask, context)
    return Answer(200, {"@odata.context": found, **shown})
