"""Nobody is cut off in between: looked at right before a membership, a child group or a group ends.

Where a product nests groups, people are in a group by several ways, and one of them often ends
because another one is there now. Whether it really is (a write may have been refused, held, or be
still to come) is asked of the state, at the last moment and for everybody concerned; whoever Entra
wants in a group, and would be in it by no way any more, keeps the way that she has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from azsyncd.model.changes import Kind, Reason
from azsyncd.model.identities import ObjectId
from azsyncd.state import mirror, nesting, questions
from azsyncd.state.nesting import Ways
from azsyncd.state.spill import Planned
from azsyncd.state.standing import Standing
from azsyncd.state.store import Connection

Entitled = Callable[[Connection, int], set[ObjectId]]
"""The groups that somebody is not to be cut off from."""

_FOLLOWS = (Reason.CHANGED, Reason.DRIFT, Reason.LEFT_SCOPE)
"""Why a membership ends for somebody who stays; leavers are taken out for other reasons."""


class Lifeline:
    """The question, for one target. `nests`: its groups are kept in groups."""

    def __init__(self, t: int, entitled: Entitled, *, nests: bool) -> None:
        self._t = t
        self._entitled = entitled
        self._nests = nests
        self._ways: Ways | None = None

    def look(self, db: Connection) -> None:
        """Before each chunk: a chunk is of one phase, so that no way comes or is given up but by
        the plan that is being sent."""
        asks = self._nests or nesting.any_known(db, self._t)
        self._ways = nesting.ways(db, self._t) if asks else None

    @property
    def watches(self) -> bool:
        """Whether anybody could be cut off: groups stand in groups here."""
        return self._ways is not None

    def needed(self, db: Connection, planned: Planned, now: Standing) -> str:
        """Who would lose which group; "" = nobody, or it ends nothing."""
        change, ways = planned.change, self._ways
        if ways is None or change.object_id is None:
            return ""
        match change.kind:
            case Kind.REMOVE_MEMBER:
                leaver = now.link is None or now.link["left_at"] is not None
                if leaver or now.a is None or change.reason not in _FOLLOWS:
                    return ""
                return self._would_lose(db, [(planned.item.n, now.a)], ways, now.g)
            case Kind.REMOVE_CHILD if now.c is not None:
                return self._would_lose(db, nesting.dependents(db, now.c), ways)
            case Kind.DELETE_GROUP if now.g is not None:
                people = nesting.dependents(db, now.g)
                return self._would_lose(db, people, ways.without(now.g), now.g)
        return ""

    def _would_lose(
        self, db: Connection, people: Iterable[tuple[int, int]], ways: Ways, g: int | None = None
    ) -> str:
        for n, a in people:
            lost = nesting.loses(db, self._t, n, a, ways, g)
            if not lost:
                continue
            hers = nesting.linked_to(db, lost) & self._entitled(db, n)
            if hers:
                group = mirror.number_of(db, min(hers)) or 0
                who, what = questions.name_of(db, n), questions.name_of(db, group)
                return f"{who} would not be in {what} any more"
        return ""
