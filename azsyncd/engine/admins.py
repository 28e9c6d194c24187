"""The last administrator stays, whatever ends: looked at right before it is written (rule 24).

The plan of one person knows who stood there when it was made. Who is left by the time of the write
is another matter: others are deactivated, taken out, or lose the whole group in the same run.
"""

from __future__ import annotations

import asyncio

from azsyncd.model.accounts import Capabilities, fold
from azsyncd.model.changes import Kind
from azsyncd.state import facts
from azsyncd.state.spill import Planned
from azsyncd.state.standing import Standing
from azsyncd.state.store import Store

_OF_GROUP = frozenset({Kind.REMOVE_MEMBER, Kind.DELETE_GROUP})
_ENDS = _OF_GROUP | {Kind.DEACTIVATE, Kind.DELETE}

WHY = (
    "nobody active would be left in the administrators' groups",
    "make somebody else an administrator first",
)


class Admins:
    """The question, for one run. What it has let end counts as ended, whatever became of it."""

    def __init__(self, t: int, store: Store, capabilities: Capabilities) -> None:
        self._t = t
        self._store = store
        self._capabilities = capabilities
        self._ending: set[tuple[int, int]] = set()  # memberships: group, account
        self._asking = asyncio.Lock()

    async def refuse(self, planned: Planned, now: Standing) -> bool:
        """Whether this would leave the product without an administrator. If not, it may be sent."""
        kind, names, group = planned.change.kind, self._capabilities.admin_groups, now.group
        if kind not in _ENDS:
            return False
        g = a = None
        if kind in _OF_GROUP:
            if group is None or not self._capabilities.administers(group.name):
                return False
            names, g = names | {fold(group.name)}, now.g
        if kind is not Kind.DELETE_GROUP:
            a = now.a
        if not names:
            return False
        async with self._asking:
            known = await self._store.read(lambda db: facts.active_admins(db, self._t, names))
            standing = known - self._ending
            ends = {each for each in standing if g in (None, each[0]) and a in (None, each[1])}
            if ends and ends == standing:
                return True
            self._ending |= ends
            return False
