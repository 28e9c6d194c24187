"""Sends a plan to one target: change by change, each with its outcome (rules 18 to 20, 27 to 30).

The plan is read from the spill in chunks of one phase. Inside a chunk every object, and every
group, has its own lane: lanes run side by side up to the target's concurrency, a lane never has two
writes in flight (I8). Before each write the mirror's revision is compared with the plan's: if
something newer was folded in, the rest of the chunk goes back and the newer slice is planned first.

Around a write stand two commits: before it what must not be forgotten if we die ("we may have made
this", allowance spent; and once a chunk, what is on its way), after it what the product answered
(outcomes.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import StrEnum

from azsyncd.clock import Clock
from azsyncd.engine import admins
from azsyncd.engine.admins import Admins
from azsyncd.engine.ledger import Ledger
from azsyncd.engine.lifeline import Entitled, Lifeline
from azsyncd.engine.outcomes import CHILDREN, MEMBERSHIPS, Batch, Observer, Outcomes, Tally
from azsyncd.engine.seats import Room
from azsyncd.engine.writes import Writes
from azsyncd.errors import ChangeRejected, TargetError
from azsyncd.model.accounts import Capabilities
from azsyncd.model.changes import Kind, Withheld
from azsyncd.plan.guard import SHRINKS
from azsyncd.plan.policy import GuardClass, Policy
from azsyncd.state import holds, links, spill
from azsyncd.state.spill import Planned
from azsyncd.state.standing import Standing, standing, wake_for
from azsyncd.state.store import Connection, Store
from azsyncd.targets.base import Target

CHUNK = 200

_NEEDS_ACCOUNT = frozenset(
    {Kind.UPDATE, Kind.RENAME, Kind.DEACTIVATE, Kind.REACTIVATE, Kind.STRIP, Kind.DELETE}
)


class Stopped(StrEnum):
    """Why sending ended."""

    DONE = "done"
    NEWER = "newer"  # the mirror moved on: plan the newer slice first
    ASKED = "asked"  # shutting down, paused, reloaded


class Apply:
    """One run of sending, for one target."""

    def __init__(
        self,
        target: Target,
        t: int,
        store: Store,
        clock: Clock,
        capabilities: Capabilities,
        policy: Policy,
        *,
        instance: str,
        run: str,
        cause: str,
        concurrency: int,
        current: Callable[[], int],
        stopping: Callable[[], bool],
        observe: Observer,
        entitled: Entitled,
    ) -> None:
        self._target = target
        self._t = t
        self._store = store
        self._ledger = Ledger(store)
        self._clock = clock
        self._capabilities = capabilities
        self._rules = policy.guard
        self._room = Room(target, store, capabilities, policy)
        self._admins = Admins(target, t, store, capabilities)
        self._lanes = asyncio.Semaphore(concurrency)
        nests = policy.groups.nested == "keep" and capabilities.nests_groups
        self._lifeline = Lifeline(t, entitled, nests=nests)
        self._current = current
        self._stopping = stopping
        self._sizes = (0, 0, 0)
        self._halted = False
        self._begun: set[int] = set()  # of the chunk that is being sent
        self._writes = Writes(target, t, store, self._ledger, clock, capabilities, instance)
        self._outcomes = Outcomes(
            target,
            t,
            self._ledger,
            clock,
            run=run,
            cause=cause,
            current=current,
            observe=observe,
            nests=nests,
        )

    @property
    def tally(self) -> Tally:
        """What was done and refused so far."""
        return self._outcomes.tally

    async def send(self, planned_at: int, progress: Callable[[int], None]) -> Stopped:
        """Send what is planned, until it is done or something else comes first."""
        self._sizes = await self._store.read(lambda db: holds.now_sizes(db, self._t))
        try:
            while True:
                if self._stopping():
                    return Stopped.ASKED
                if self._current() > planned_at:  # a plan may know more than was told so far
                    return Stopped.NEWER
                chunk = await self._store.read(lambda db: spill.chunk(db, self._t, CHUNK))
                if not chunk:
                    return Stopped.DONE
                await self._chunk(chunk, planned_at)
                progress(len(chunk))
        except TargetError as error:
            error.done = dict(self.tally.done)
            raise
        finally:
            await self._ledger.settle()

    async def _chunk(self, chunk: Sequence[Planned], planned_at: int) -> None:
        def begin(db: Connection) -> list[tuple[Planned, Standing]]:
            spill.sent(db, [planned.seq for planned in chunk])
            found = [(planned, standing(db, self._t, planned)) for planned in chunk]
            # Whoever was a stranger when this was planned may be somebody's by now.
            known = {p.seq for p, now in found if p.item.akey and not self._is_foreign(db, now)}
            for seq in known:
                spill.done(db, seq)
            self._lifeline.look(db)
            return [(planned, now) for planned, now in found if planned.seq not in known]

        sending = await self._store.write(begin)
        self._begun.clear()
        lanes: dict[tuple[str, int], list[tuple[Planned, Standing]]] = {}
        for planned, now in sending:
            on_group = planned.item.gn and planned.change.kind in (*MEMBERSHIPS, *CHILDREN)
            key = ("g", planned.item.gn) if on_group else ("n", planned.item.n)
            lanes.setdefault(key, []).append((planned, now))
        tasks = [
            asyncio.create_task(self._lane(lane, planned_at), name=f"lane {kind}{number}")
            for (kind, number), lane in lanes.items()
        ]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            # The others finish the write that is in flight, and start no new one.
            self._halted = True
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        finally:
            self._halted = False
            left = [planned.seq for planned in chunk if planned.seq not in self._begun]
            if left:
                await self._store.write(lambda db: spill.sent(db, left, False))

    def _is_foreign(self, db: Connection, now: Standing) -> bool:
        if now.g is None or now.a is None:
            return False
        return bool(links.foreign_members(db, self._t, now.g, now.a))

    async def _lane(self, lane: Batch, planned_at: int) -> None:
        rest = list(lane)
        while rest:
            async with self._lanes:
                if self._halted or self._stopping() or self._current() > planned_at:
                    return
                together = self._together(rest)
                batch, rest = rest[:together], rest[together:]
                self._begun.update(planned.seq for planned, _ in batch)
                try:
                    if batch[0][0].change.kind in MEMBERSHIPS:
                        await self._members(batch)
                    else:
                        await self._one(*batch[0])
                except BaseException:
                    self._halted = True  # before another lane gets its turn
                    raise

    def _together(self, rest: Batch) -> int:
        if rest[0][0].change.kind not in MEMBERSHIPS:
            return 1
        adds = rest[0][0].change.kind is Kind.ADD_MEMBER
        able = self._capabilities
        return min(len(rest), max(1, able.members_per_call if adds else able.removals_per_call))

    # One change -----------------------------------------------------------------------------------

    async def _one(self, planned: Planned, now: Standing) -> None:
        kind = planned.change.kind
        if (known := self._outcomes.condition(kind)) is not None:
            await self._outcomes.conditioned(planned, *known)
            return
        if kind in _NEEDS_ACCOUNT and now.account is None:
            await self._outcomes.not_yet(planned, now)
            return
        if kind in CHILDREN and (now.group is None or now.child is None):
            await self._outcomes.not_yet(planned, now)
            return
        if why := await self._needed(planned, now):
            await self._outcomes.needed(planned, why)
            return
        if await self._admins.refuse(planned, now):
            await self._outcomes.conditioned(planned, Withheld.PROTECTED, *admins.WHY)
            return
        if not await self._room.take(planned, now):
            await self._outcomes.conditioned(planned, Withheld.LICENCE, *self._room.why)
            return
        began = self._clock.monotonic()
        spent_at = await self._spend([planned])
        try:
            record = await self._writes.send(planned, now)
        except ChangeRejected as error:
            await self._outcomes.rejected(planned, now, error, began, spent_at)
            return
        except TargetError as error:
            await self._outcomes.unknown([(planned, now)], error, began)
            raise
        await self._outcomes.done([(planned, now)], record, began)

    async def _needed(self, planned: Planned, now: Standing) -> str:
        """Who would be cut off from what; "" = nobody."""
        shrinks = planned.change.kind in (*SHRINKS, Kind.DELETE_GROUP)
        if not shrinks or not self._lifeline.watches:
            return ""
        return await self._store.read(lambda db: self._lifeline.needed(db, planned, now))

    async def _spend(self, batch: Sequence[Planned]) -> float:
        """Allowance is spent in the transaction before the call (rule 37)."""
        at = self._clock.now()
        counted = [p for p in batch if not p.free and p.class_ and self._limited(p.class_)]
        if not counted:
            return at
        accounts, edges, groups = self._sizes

        def record(db: Connection) -> None:
            for planned in counted:
                class_ = GuardClass(str(planned.class_))
                size = {
                    GuardClass.REMOVE_MEMBER: edges,
                    GuardClass.ADD_MEMBER: edges,
                    GuardClass.DELETE_GROUP: groups,
                }.get(class_, accounts)
                item = planned.item
                people = item.change.people
                holds.spend(db, self._t, class_, item.gn, item.n, size, at, item.akey, people)
                if class_ is GuardClass.REMOVE_MEMBER and item.change.group_id is not None:
                    members = holds.member_count(db, self._t, item.change.group_id)
                    shrink = GuardClass.SHRINK_GROUP
                    holds.spend(
                        db, self._t, shrink, item.gn, item.n, members, at, item.akey, people
                    )

        await self._ledger.commit(record)
        return at

    def _limited(self, class_: str) -> bool:
        name = GuardClass(class_)
        shrinks = name is GuardClass.REMOVE_MEMBER
        return self._rules.limit(name) is not None or (
            shrinks and self._rules.limit(GuardClass.SHRINK_GROUP) is not None
        )

    # Memberships ----------------------------------------------------------------------------------

    async def _members(self, batch: Batch) -> None:
        """Memberships of one group in one call, as many as the product takes."""
        ready = []
        for planned, now in batch:
            if now.account is None or now.group is None:
                await self._outcomes.not_yet(planned, now)
            elif why := await self._needed(planned, now):
                await self._outcomes.needed(planned, why)
            elif await self._admins.refuse(planned, now):
                await self._outcomes.conditioned(planned, Withheld.PROTECTED, *admins.WHY)
            elif not await self._room.take(planned, now):
                await self._outcomes.conditioned(planned, Withheld.LICENCE, *self._room.why)
            else:
                ready.append((planned, now))
        if not ready:
            return
        adds = ready[0][0].change.kind is Kind.ADD_MEMBER
        group = ready[0][1].group
        assert group is not None
        accounts = [now.account for _, now in ready if now.account is not None]
        began = self._clock.monotonic()
        spent_at = await self._spend([planned for planned, _ in ready])
        write = self._target.add_members if adds else self._target.remove_members
        try:
            refused = await write(group, accounts)
        except ChangeRejected as error:
            for place, (planned, now) in enumerate(ready):
                asked = place > 0
                await self._outcomes.rejected(planned, now, error, began, spent_at, asked=asked)
            return
        except TargetError as error:
            await self._outcomes.unknown(ready, error, began)
            raise
        done = [(p, now) for p, now in ready if now.account and now.account.key not in refused]
        if done:

            def record(db: Connection) -> None:
                for _, now in done:
                    if now.g is not None and now.a is not None:
                        edge = links.edge_added if adds else links.edge_removed
                        edge(db, now.g, now.a)
                if any(now.waited == Withheld.LICENCE for _, now in done):
                    wake_for(db, self._t, Withheld.LICENCE, self._clock.now())

            await self._outcomes.done(done, record, began)
        for planned, now in ready:
            key = now.account.key if now.account else None
            if key in refused:
                await self._outcomes.rejected(planned, now, refused[str(key)], began, spent_at)
