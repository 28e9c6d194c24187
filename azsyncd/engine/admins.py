"""The last administrator stays, whatever ends: looked at right before it is written (rule 24).

The plan of one person knows who stood there when it was made. Who is left by the time of the write
is another matter: others are deactivated, taken out, or lose the whole group in the same run.
"""

from __future__ import annotations

import asyncio
from functools import partial

from azsyncd.errors import ChangeRejected
from azsyncd.model.accounts import Capabilities, fold
from azsyncd.model.changes import Kind
from azsyncd.state import facts, targets
from azsyncd.state.spill import Planned
from azsyncd.state.standing import Standing
from azsyncd.state.store import Connection, Store
from azsyncd.targets.base import Target

_ENDS = frozenset(
    {Kind.DEACTIVATE, Kind.DELETE, Kind.REMOVE_MEMBER, Kind.REMOVE_CHILD, Kind.DELETE_GROUP}
)

_OF_GROUP = (Kind.REMOVE_MEMBER, Kind.DELETE_GROUP)

WHY = (
    "nobody active would be left in the administrators' groups",
    "make somebody else an administrator first",
)


class Admins:
    """The question, for one run. What it has let end counts as ended, whatever became of it."""

    def __init__(self, target: Target, t: int, store: Store, capabilities: Capabilities) -> None:
        self._target = target
        self._t = t
        self._store = store
        self._capabilities = capabilities
        self._ending: set[tuple[int, int]] = set()  # memberships: group, account
        self._asking = asyncio.Lock()

    async def refuse(self, planned: Planned, now: Standing) -> bool:
        """Whether this would leave the product without an administrator. If not, it may be sent."""
        kind, names, group = planned.change.kind, self._names(now), now.group
        if kind not in _ENDS or not names:
            return False
        flat = not self._capabilities.nests_groups
        if flat and kind in _OF_GROUP and group is not None and fold(group.name) not in names:
            return False
        async with self._asking:
            known, left = await self._store.read(lambda db: self._known(db, names, planned, now))
            standing = known - self._ending
            if not standing - left:
                return False  # it ends nobody
            if not await self._anybody(sorted({a for _, a in standing & left})):
                return True
            self._ending |= known - left
            return False

    async def _anybody(self, accounts: list[int]) -> bool:
        """Whether one of these can sign in: the product is asked, for hands may have switched off
        since the last inventory whoever is counted on here."""
        for a in accounts:
            have = await self._store.read(partial(facts.account_at, a=a))
            if have is None:
                continue
            try:
                found = await self._target.read_account(have)
            except ChangeRejected:  # this one cannot be read: she is as the listing said
                return True
            if found is None:
                continue
            await self._store.write(partial(targets.put_account, t=self._t, account=found))
            if found.active is not False:
                return True
        return False

    def _names(self, now: Standing) -> frozenset[str]:
        """The administrators' groups, and the one in question if it is one by its name."""
        group, names = now.group, self._capabilities.admin_groups
        is_one = group is not None and self._capabilities.administers(group.name)
        return names | {fold(group.name)} if group is not None and is_one else names

    def _known(
        self, db: Connection, names: frozenset[str], planned: Planned, now: Standing
    ) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
        """The memberships of active administrators, and those that would be left of them."""
        known = facts.active_admins(db, self._t, names)
        match planned.change.kind:
            case Kind.DELETE_GROUP:
                return known, facts.active_admins(db, self._t, names, gone=now.g)
            case Kind.REMOVE_CHILD:
                return known, facts.active_admins(db, self._t, names, cut=(now.g, now.c))
            case Kind.REMOVE_MEMBER:
                return known, {each for each in known if each != (now.g, now.a)}
            case _:
                return known, {each for each in known if each[1] != now.a}
