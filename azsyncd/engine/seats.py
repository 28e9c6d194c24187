"""Licences: looked at before a wave of writes that take some, so that `seats.keep_free` stay free.

A seat is taken by the first membership in a group that gives a licence, by an account in such a
group that is active again, and by a new account where the product gives it one by itself
(`accounts.product_access: default`). Whoever finds none waits; it is said once for the product, not
for each (rule 30).
"""

from __future__ import annotations

import structlog

from azsyncd.model.accounts import Capabilities, Seats, fold
from azsyncd.model.changes import Kind
from azsyncd.plan.policy import Policy
from azsyncd.state import facts
from azsyncd.state.spill import Planned
from azsyncd.state.standing import Standing
from azsyncd.state.store import Store
from azsyncd.targets.base import Target

log = structlog.get_logger()


class Room:
    """The seats that one run may take. Without `keep_free` the product itself says no in time."""

    def __init__(
        self, target: Target, store: Store, capabilities: Capabilities, policy: Policy
    ) -> None:
        self._target = target
        self._store = store
        self._licences = capabilities.licence_groups
        self._keep_free = policy.seats.keep_free
        self._by_itself = policy.accounts.product_access == "default"
        self._seats: tuple[Seats, ...] | None = None
        self._taken: dict[str, int] = {}
        self._seated: set[int] = set()  # whom the product gave a licence by itself
        self._said = False
        self.why = ("", "")
        """Why the last one could not be had, and what a person can do."""

    async def take(self, planned: Planned, now: Standing) -> bool:
        """Take a seat if this write needs one; False = none may be taken. Raises TargetError."""
        if not self._keep_free:
            return True
        kind = planned.change.kind
        if kind is Kind.CREATE and self._by_itself:
            limited = [each for each in await self._look() if each.remaining is not None]
            if limited and sum(self._take(each) for each in limited) == 0:
                return False
            self._seated.add(planned.item.n)
            return True
        if now.a is None or planned.item.n in self._seated:
            return True
        if kind is Kind.REACTIVATE:
            return await self._take_again(now.a)
        if kind is Kind.ADD_MEMBER and now.group is not None:
            return await self._take_first(now.a, fold(now.group.name))
        return True

    async def _take_again(self, a: int) -> bool:
        """Who is not active takes no seat, whatever groups she is in."""
        for seats in await self._look() if self._licences else ():
            if seats.remaining is not None and await self._has(a, seats) and not self._take(seats):
                return False
        return True

    async def _take_first(self, a: int, name: str) -> bool:
        for seats in await self._look() if name in self._licences else ():
            if seats.remaining is None or name not in (seats.groups or self._licences):
                continue
            if not await self._has(a, seats) and not self._take(seats):
                return False
        return True

    async def _has(self, a: int, seats: Seats) -> bool:
        groups = seats.groups or self._licences
        return await self._store.read(lambda db: facts.is_in(db, a, groups))

    async def _look(self) -> tuple[Seats, ...]:
        if self._seats is None:
            self._seats = await self._target.seats()
        return self._seats

    def _take(self, seats: Seats) -> bool:
        taken = self._taken.get(seats.application, 0)
        if (seats.remaining or 0) - taken > self._keep_free:
            self._taken[seats.application] = taken + 1
            return True
        left = (seats.remaining or 0) - taken
        self.why = (
            f"{seats.application}: {left} seats are free, and seats.keep_free is {self._keep_free}",
            "free seats, buy some, or lower keep_free; whoever waits goes in by itself",
        )
        if not self._said:
            self._said = True
            log.warning(
                "seats.exhausted",
                target=self._target.name,
                application=seats.application,
                remaining=left,
                keep_free=self._keep_free,
            )
        return False
