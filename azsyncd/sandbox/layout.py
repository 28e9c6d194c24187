"""What stands on which page of a delta round, and the oddities that a tenant can be told to show.

Pages shrink with members, and groups repeat:
https://learn.microsoft.com/en-us/graph/delta-query-groups
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from azsyncd.sandbox.nodes import Entry, Node, What
from azsyncd.sandbox.tenant import Tenant


@dataclass(slots=True, kw_only=True)
class Oddities:
    """What a tenant does to those who read it by delta; the defaults are a good day.

    `limited` maps a feed to `ids` or `nulls`: a permission was taken away, and the answer is still
    a 200, with bare ids or with nulls; `limited_from` is the page from which on.
    """

    page_size: int = 200
    member_slice: int = 500  # members on one page of groups
    empty_pages: int = 0  # in front of each page
    repeats: float = 0.0  # share of the objects that come twice, first with older values
    shuffles: bool = False  # objects come in any order, slices of one group too
    replays: int = 0  # so many changes from before the link are told again
    removed_in_first_round: bool = False  # a crawl shows what is gone, and who left a group
    lists_soft_deleted_members: bool = False  # a crawl shows members who are soft-deleted
    relists_restored_groups: bool = True  # a restored group comes with all its members
    forgets_removals: bool = False  # a restored group does not say who left just before it went
    keeps_each_change: bool = False  # a member who came and went is shown twice, not once
    dead_pages: int = 0  # so many of the next nextLinks are refused
    loops: int = 0  # so many times the last page leads back to the first
    broken_page: int | None = None  # this page of each walk (0 = the first) fails for ever, by 504
    foreign_links: int = 0  # so many of the next links lead to another host
    unreliable_manager: bool = False  # a change of the manager alone is not reported
    hides_manager: bool = False  # nobody's manager is ever shown
    refuses_manager: bool = False  # selecting it is an error
    lag: float = 0.0  # seconds until a change is replicated to the feeds
    lagging: frozenset[str] = frozenset({"users", "groups"})  # the feeds that `lag` is for
    limited: dict[str, str] = field(default_factory=dict)
    limited_from: int = 0


@dataclass(frozen=True, slots=True)
class Query:
    """What one reader tracks: `names` as selected, `properties` those that are no relations."""

    feed: str
    names: tuple[str, ...]
    properties: tuple[str, ...]
    ids: frozenset[str] | None = None


@dataclass(slots=True)
class Piece:
    """One appearance of an object: the slots first ≤ slot < last of its members, or changes of
    them. `names` None = everything is new. `before` has older values; they are shown if `stale`."""

    id: str
    first: int = 0
    last: int = 0
    names: frozenset[str] | None = None
    members: tuple[tuple[str, bool], ...] = ()
    before: Mapping[str, Any] = field(default_factory=dict)
    stale: bool = False

    @property
    def weight(self) -> int:
        """How many members it shows, at most."""
        return self.last - self.first + len(self.members)


@dataclass(slots=True)
class _Touched:
    """What a stretch of the log says of one object."""

    created: bool = False
    restored: bool = False
    names: set[str] = field(default_factory=set)
    before: dict[str, Any] = field(default_factory=dict)
    members: list[tuple[str, bool]] = field(default_factory=list)


class Layout:
    """Lays out rounds as pages."""

    def __init__(self, tenant: Tenant, oddities: Oddities, chance: random.Random) -> None:
        self._tenant = tenant
        self._oddities = oddities
        self._random = chance

    def crawl(self, query: Query) -> list[list[Piece]]:
        """The pages of a first round: all that lives, in the order of creation."""
        pieces: list[Piece] = []
        for found in self._tenant.ids[query.feed]:
            node = self._tenant.nodes[found]
            if query.ids is not None and found not in query.ids:
                continue
            if node.living:
                pieces.extend(self._whole(query, node))
            elif self._oddities.removed_in_first_round:
                pieces.append(Piece(found))
        return self._pages(self._unsettled(pieces))

    def changes(self, query: Query, after: int, until: int) -> list[list[Piece]]:
        """The pages of a later round: each object that the log names between the two."""
        start = after
        if self._oddities.replays:
            earlier = self._tenant.since(query.feed, 0, after)[-self._oddities.replays :]
            start = earlier[0].seq - 1 if earlier else after
        pieces: list[Piece] = []
        for found, touched in self._touched(query, self._tenant.since(query.feed, start, until)):
            pieces.extend(self._changed(query, self._tenant.nodes[found], touched))
        return self._pages(self._unsettled(pieces))

    # ---

    def _touched(self, query: Query, entries: Iterable[Entry]) -> Iterable[tuple[str, _Touched]]:
        """By object, in the order of their last entries."""
        found: dict[str, _Touched] = {}
        for entry in entries:
            if query.ids is not None and entry.id not in query.ids:
                continue
            if not self._is_tracked(query, entry):
                continue
            touched = found.pop(entry.id, None) or _Touched()
            found[entry.id] = touched
            self._take(touched, entry)
        return found.items()

    def _is_tracked(self, query: Query, entry: Entry) -> bool:
        if entry.what is What.MEMBER:
            return "members" in query.names
        if entry.what is not What.CHANGED:
            return True
        names = set(entry.before)
        if self._oddities.unreliable_manager:
            names.discard("manager")
        return any(name in names for name in query.names)

    def _take(self, touched: _Touched, entry: Entry) -> None:
        if entry.what is What.MEMBER:
            touched.members.append((entry.member, entry.added))
        elif entry.what is What.CHANGED:
            touched.names.update(entry.before)
            for name, value in entry.before.items():
                touched.before.setdefault(name, value)
        elif entry.what is What.CREATED:
            touched.created = True
        elif entry.what is What.RESTORED:
            touched.restored = True

    def _changed(self, query: Query, node: Node, touched: _Touched) -> list[Piece]:
        changes = touched.members
        if not self._oddities.keeps_each_change:
            changes = list(dict(changes).items())
        if self._tells_who_left(query, touched):
            changes = [*((member, False) for member in _left(node)), *changes]
        relisted = touched.restored and self._oddities.relists_restored_groups
        if node.living and (touched.created or relisted):
            gone = dict.fromkeys(member for member, _ in changes if member not in node.places)
            left = tuple((member, False) for member in gone)
            pieces = self._whole(query, node)
            return [*pieces, Piece(node.id, members=left)] if left else pieces
        names = None if touched.restored else frozenset(touched.names)
        size = self._oddities.member_slice
        return [
            Piece(
                node.id,
                names=names,
                members=tuple(changes[start : start + size]),
                before=touched.before,
            )
            for start in range(0, max(1, len(changes)), size)
        ]

    def _tells_who_left(self, query: Query, touched: _Touched) -> bool:
        """Whether a restored group makes up for the page that had room for no more than its end."""
        tells = touched.restored and not self._oddities.forgets_removals
        return tells and "members" in query.names

    def _whole(self, query: Query, node: Node) -> list[Piece]:
        if "members" not in query.names:
            return [Piece(node.id)]
        size, end = self._oddities.member_slice, len(node.slots)
        return [
            Piece(node.id, start, min(start + size, end)) for start in range(0, max(1, end), size)
        ]

    def _unsettled(self, pieces: list[Piece]) -> list[Piece]:
        """The same pieces in another order, and some of them twice, as the oddities say."""
        if self._oddities.shuffles:
            self._random.shuffle(pieces)
        if not self._oddities.repeats:
            return pieces
        placed = [(float(place), piece) for place, piece in enumerate(pieces)]
        for place, piece in list(placed):
            if self._random.random() < self._oddities.repeats:
                earlier = self._random.uniform(-1, place)
                placed.append((earlier, replace(piece, stale=True)))
        return [piece for _, piece in sorted(placed, key=lambda pair: pair[0])]

    def _pages(self, pieces: list[Piece]) -> list[list[Piece]]:
        """At least one page; each ends with `page_size` objects or a slice's worth of members."""
        pages: list[list[Piece]] = []
        page: list[Piece] = []
        weight = 0
        for piece in pieces:
            full = len(page) >= self._oddities.page_size
            if page and (full or weight + piece.weight > self._oddities.member_slice):
                pages.append(page)
                page, weight = [], 0
            page.append(piece)
            weight += piece.weight
        pages.append(page)
        if not self._oddities.empty_pages:
            return pages
        return [each for page in pages for each in (*([[]] * self._oddities.empty_pages), page)]


def _left(node: Node) -> Iterable[str]:
    """Who was a member once and is none now."""
    return dict.fromkeys(member for member in node.slots if member not in node.places)
