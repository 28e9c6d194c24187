"""Delta queries over a tenant's log, with everything that Graph may do to a reader.

A round is laid out as pages when it begins (what stands on which page) and filled in when a page
is asked for (with the values of that moment), so that paging through 50,000 users costs a list of
ids. A link carries all that is needed to answer it, so an old one can be asked again.
https://learn.microsoft.com/en-us/graph/delta-query-overview
"""

from __future__ import annotations

import base64
import binascii
import json
import random
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from azsyncd.sandbox.layout import Layout, Oddities, Piece, Query
from azsyncd.sandbox.nodes import UNSET, Node
from azsyncd.sandbox.odata import (
    Ask,
    Refused,
    bad_request,
    comparisons,
    not_in_delta,
    selected,
)
from azsyncd.sandbox.properties import DEFAULT, RELATIONS, chosen
from azsyncd.sandbox.tenant import Tenant

LIFETIME_SECONDS = 7 * 86400.0
"""How long a link of a directory feed is good for."""

MOST_IDS = 50
_ELSEWHERE = "https://graph.attacker.example"
_MOST_ROUNDS = 64


@dataclass(slots=True)
class Round:
    """One walk: its pages, where the next round starts, and how it was asked for."""

    query: int
    pages: list[list[Piece]]
    until: int
    begun_at: float
    minimal: bool = False


@dataclass(slots=True)
class _Expired:
    """Links numbered below `number` are dead, in one of the ways that Graph has of saying so."""

    number: int = 0
    style: str = "sync_state_not_found"


class DeltaFeeds:
    """`/users/delta` and `/groups/delta`."""

    def __init__(self, tenant: Tenant, *, oddities: Oddities | None = None, seed: int = 0) -> None:
        self.tenant = tenant
        self.oddities = oddities or Oddities()
        self.lifetime = LIFETIME_SECONDS
        self.expiry_style = "sync_state_not_found"
        self._layout = Layout(tenant, self.oddities, random.Random(seed))
        self._queries: list[Query] = []
        self._rounds: OrderedDict[int, Round] = OrderedDict()
        self._issued = 0
        self._frozen: dict[str, int] = {}
        self._expired = {"d": _Expired(), "s": _Expired()}

    # Switches -----------------------------------------------------------------------------------

    def expire(self, *, style: str = "sync_state_not_found") -> None:
        """Every link handed out so far is dead. Styles: sync_state_not_found (400), gone (410 with
        Location), gone_elsewhere (410 with a Location on a foreign host), resync_required."""
        self._expired["d"] = self._expired["s"] = _Expired(self._issued, style)

    def kill_next_links(self) -> None:
        """Every nextLink handed out so far is dead; deltaLinks live on."""
        self._expired["s"] = _Expired(self._issued, "page_token")

    def freeze(self, *feeds: str) -> None:
        """Changes from now on do not reach these feeds (or both): replication stands still."""
        self._frozen.update(dict.fromkeys(feeds or ("users", "groups"), self.tenant.seq))

    def thaw(self) -> None:
        """Replication goes on."""
        self._frozen.clear()

    # Answering ----------------------------------------------------------------------------------

    def page(self, feed: str, ask: Ask) -> dict[str, Any]:
        """The page that was asked for; raises Refused."""
        self.tenant.tick()
        params = ask.params
        for name in ("$expand", "$orderby", "$search"):
            if name in params:
                raise bad_request(f"The query option '{name}' is not supported for delta queries.")
        if params.get("$skiptoken"):
            return self._next(feed, ask, params["$skiptoken"])
        token = params.get("$deltatoken", "")
        if token and token != "latest":
            return self._later(feed, ask, token)
        number = self._query(feed, params)
        pages = [[]] if token == "latest" else self._layout.crawl(self._queries[number])
        now = self.tenant.clock.now()
        return self._begin(Round(number, pages, self._visible(feed), now), ask)

    def _later(self, feed: str, ask: Ask, token: str) -> dict[str, Any]:
        number, after = self._open("d", feed, ask, token)
        until = max(after, self._visible(feed))
        pages = self._layout.changes(self._queries[number], after, until)
        now = self.tenant.clock.now()
        return self._begin(Round(number, pages, until, now, ask.minimal), ask)

    def _next(self, feed: str, ask: Ask, token: str) -> dict[str, Any]:
        number, position = self._open("s", feed, ask, token)
        walk = self._rounds.get(number)
        if walk is None or not 0 <= position < len(walk.pages):
            raise _dead_page()
        if self.oddities.dead_pages:
            self.oddities.dead_pages -= 1
            raise _dead_page()
        return self._page(walk, number, position, ask)

    def _begin(self, walk: Round, ask: Ask) -> dict[str, Any]:
        self._issued += 1
        if len(walk.pages) > 1 or self.oddities.loops:
            self._rounds[self._issued] = walk
            while len(self._rounds) > _MOST_ROUNDS:
                self._rounds.popitem(last=False)
        return self._page(walk, self._issued, 0, ask)

    def _page(self, walk: Round, number: int, position: int, ask: Ask) -> dict[str, Any]:
        if position == self.oddities.broken_page:
            raise Refused(504, "UnknownError", "The request timed out.")
        query = self._queries[walk.query]
        show = self._limited if self._is_limited(query.feed, position) else self._shown
        value = [show(query, piece, walk, ask) for piece in walk.pages[position]]
        names = ",".join(query.names)
        root = f"{ask.base}/v1.0"
        body: dict[str, Any] = {"@odata.context": f"{root}/$metadata#{query.feed}({names})"}
        link, after = f"{root}/{query.feed}/delta", position + 1
        if self.oddities.foreign_links:
            self.oddities.foreign_links -= 1
            link = f"{_ELSEWHERE}/v1.0/{query.feed}/delta"
        if self.oddities.loops and after == len(walk.pages):
            self.oddities.loops -= 1
            after = 0
        if after < len(walk.pages):
            # The same page has the same link, however often it is named.
            token = _seal("s", query.feed, number, after, number, walk.begun_at)
            body["@odata.nextLink"] = f"{link}?$skiptoken={token}"
        else:
            self._issued += 1
            now = self.tenant.clock.now()
            token = _seal("d", query.feed, walk.query, walk.until, self._issued, now)
            body["@odata.deltaLink"] = f"{link}?$deltatoken={token}"
        return {**body, "value": value}

    # What an object looks like ------------------------------------------------------------------

    def _shown(self, query: Query, piece: Piece, walk: Round, ask: Ask) -> dict[str, Any]:
        node = self.tenant.nodes[piece.id]
        if not node.living:
            return _removed(node)
        names: Iterable[str] = query.properties
        if walk.minimal and piece.names is not None:
            names = [name for name in names if name in piece.names]
        shown = {"id": node.id, **chosen(node.properties, names)}
        if piece.stale:
            _age(shown, piece)
        manager = self.tenant.find(str(node.properties.get("manager") or ""))
        if "manager" in query.names and manager is not None and not self.oddities.hides_manager:
            shown["manager@delta"] = [{"@odata.type": manager.sort.odata, "id": manager.id}]
        if "members" in query.names and self._shows_members(node, ask):
            members = self._members(node, piece)
            if members:
                shown["members@delta"] = members
        return shown

    def _is_limited(self, feed: str, position: int) -> bool:
        return feed in self.oddities.limited and position >= self.oddities.limited_from

    def _limited(self, query: Query, piece: Piece, walk: Round, ask: Ask) -> dict[str, Any]:
        """What is shown of an object whose kind the caller may not read any more."""
        node = self.tenant.nodes[piece.id]
        if not node.living:
            return _removed(node)
        shown: dict[str, Any] = {"@odata.type": node.sort.odata, "id": node.id}
        if self.oddities.limited[query.feed] == "nulls":
            shown.update(dict.fromkeys(query.properties))
        return shown

    def _shows_members(self, node: Node, ask: Ask) -> bool:
        hidden = node.properties.get("visibility") == "HiddenMembership"
        return not hidden or "Member.Read.Hidden" in ask.roles

    def _members(self, node: Node, piece: Piece) -> list[dict[str, Any]]:
        shown = []
        for slot in range(piece.first, min(piece.last, len(node.slots))):
            member = node.slots[slot]
            if node.places.get(member) == slot:
                if self.tenant.nodes[member].living or self.oddities.lists_soft_deleted_members:
                    shown.append(self._member(member, removed=False))
            elif self.oddities.removed_in_first_round and member not in node.places:
                shown.append(self._member(member, removed=True))
        for member, added in piece.members:
            shown.append(self._member(member, removed=not added))
        return shown

    def _member(self, member: str, *, removed: bool) -> dict[str, Any]:
        shown: dict[str, Any] = {"@odata.type": self.tenant.nodes[member].sort.odata, "id": member}
        if removed:
            shown["@removed"] = {"reason": "deleted"}
        return shown

    # Links --------------------------------------------------------------------------------------

    def _visible(self, feed: str) -> int:
        """Up to where changes have been replicated to this feed."""
        until = self._frozen.get(feed, self.tenant.seq)
        if self.oddities.lag and feed in self.oddities.lagging:
            limit = self.tenant.clock.now() - self.oddities.lag
            log = self.tenant.logs[feed]
            index = len(log)
            while index and log[index - 1].at > limit:
                index -= 1
            if index < len(log):
                until = min(until, log[index].seq - 1)
        return until

    def _query(self, feed: str, params: Mapping[str, str]) -> int:
        names = selected(params, feed, delta=True)
        if "manager" in names and self.oddities.refuses_manager:
            raise not_in_delta("manager")
        if not names:
            names = (*DEFAULT[feed], *(["members"] if feed == "groups" else []))
        ids = None
        if params.get("$filter"):
            pairs = comparisons(params["$filter"], "or")
            if len(pairs) > MOST_IDS or any(name != "id" for name, _ in pairs):
                raise bad_request("Only up to 50 objects, by id, can be filtered for in delta.")
            ids = frozenset(str(value).lower() for _, value in pairs)
        properties = tuple(name for name in names if name not in RELATIONS)
        query = Query(feed, names, properties, ids)
        if query not in self._queries:
            self._queries.append(query)
        return self._queries.index(query)

    def _open(self, kind: str, feed: str, ask: Ask, token: str) -> tuple[int, int]:
        try:
            raw = base64.b64decode(token, altchars=b"-_", validate=True)
            found, letter, first, second, number, issued_at = json.loads(raw[:-4])
            genuine = zlib.crc32(raw[:-4]).to_bytes(4) == raw[-4:]
        except (binascii.Error, ValueError):
            genuine, found, letter, first, second, number, issued_at = False, "", "", 0, 0, 0, 0
        if not genuine or found != kind or letter != feed[0]:
            raise bad_request("Badly formed token.")
        expired = self._expired[kind]
        if number <= expired.number:
            raise self._gone(expired.style, feed, ask)
        if self.tenant.clock.now() - issued_at > self.lifetime:
            raise self._gone(self.expiry_style, feed, ask)
        if kind == "d" and first >= len(self._queries):
            raise self._gone("sync_state_not_found", feed, ask)
        return first, second

    def _gone(self, style: str, feed: str, ask: Ask) -> Refused:
        text = (
            "The sync state generation is not found. The delta token is expired and data must be "
            "synchronized again."
        )
        if style == "page_token":
            return _dead_page()
        if style == "resync_required":
            return Refused(400, "BadRequest", text, inner={"code": "resyncRequired"})
        if style in ("gone", "gone_elsewhere"):
            base = ask.base if style == "gone" else _ELSEWHERE
            where = f"{base}/v1.0/{feed}/delta?$deltatoken="
            return Refused(410, "syncStateNotFound", text, headers={"Location": where})
        return Refused(400, "syncStateNotFound", text)


def _seal(kind: str, feed: str, first: int, second: int, number: int, at: float) -> str:
    content = [kind, feed[0], first, second, number, int(at)]
    raw = json.dumps(content, separators=(",", ":")).encode()
    return quote(base64.urlsafe_b64encode(raw + zlib.crc32(raw).to_bytes(4)).decode(), safe="")


def _dead_page() -> Refused:
    return bad_request("The specified page token value has expired.", "Directory_ExpiredPageToken")


def _age(shown: dict[str, Any], piece: Piece) -> None:
    """Put the values back that it had before the round."""
    for name, value in piece.before.items():
        if value is UNSET:
            shown.pop(name, None)
        elif name in shown:
            shown[name] = value


def _removed(node: Node) -> dict[str, Any]:
    return {"id": node.id, "@removed": {"reason": "deleted" if node.purged else "changed"}}
