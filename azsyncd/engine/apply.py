"""Sends a plan to one target: change by change, each with its outcome (rules 18 to 20, 27 to 30).

The plan is read from the spill in chunks of one phase. Inside a chunk every object, and every
group, has its own lane: lanes run side by side up to the target's concurrency, a lane never has two
writes in flight (I8). Before each write the mirror's revision is compared with the plan's: if
something newer was folded in, the rest of the chunk goes back and the newer slice is planned first.

Around a write stand two commits: before it what must not be forgotten if we die ("we may have made
this", allowance spent), after it what the product answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import structlog

from azsyncd.clock import Clock
from azsyncd.engine.ledger import Ledger, Record
from azsyncd.errors import (
    AlreadyExists,
    ChangeRejected,
    NotFound,
    TargetError,
    TargetUnavailable,
)
from azsyncd.model.accounts import Account, Capabilities, Mark, TargetGroup, fold
from azsyncd.model.changes import Change, Kind, Withheld
from azsyncd.model.identities import ObjectId
from azsyncd.model.links import Origin
from azsyncd.plan.policy import GuardClass, GuardRules
from azsyncd.state import codec, facts, holds, journal, links, spill, targets, waiting
from azsyncd.state.spill import Planned
from azsyncd.state.store import Connection, Row, Store
from azsyncd.targets.base import Target

log = structlog.get_logger()

CHUNK = 200
CONDITION_SECONDS = 900.0
"""How long a condition of the whole target (no seats) is believed before it is asked again."""

EVENTS = {
    Kind.ADOPT: "account.adopted",
    Kind.CREATE: "account.created",
    Kind.UPDATE: "account.updated",
    Kind.RENAME: "account.renamed",
    Kind.DEACTIVATE: "account.deactivated",
    Kind.REACTIVATE: "account.reactivated",
    Kind.DELETE: "account.deleted",
    Kind.ADOPT_GROUP: "group.adopted",
    Kind.CREATE_GROUP: "group.created",
    Kind.DELETE_GROUP: "group.deleted",
    Kind.ADD_MEMBER: "member.added",
    Kind.REMOVE_MEMBER: "member.removed",
}


class Stopped(StrEnum):
    """Why sending ended."""

    DONE = "done"
    NEWER = "newer"  # the mirror moved on: plan the newer slice first
    ASKED = "asked"  # shutting down, paused, reloaded


@dataclass(frozen=True, slots=True)
class Context:
    """What stands now for one planned change, read right before it is sent."""

    object_id: ObjectId | None
    name: str
    link: Row | None
    a: int | None
    account: Account | None
    g: int | None
    group: TargetGroup | None


@dataclass(slots=True)
class Tally:
    """What a run did."""

    done: dict[str, int] = field(default_factory=dict)
    failed: list[tuple[Change, str, str, str, str]] = field(default_factory=list)

    def count(self, kind: Kind) -> None:
        self.done[kind.value] = self.done.get(kind.value, 0) + 1


Observer = Callable[[Change, str, float], None]
"""(change, outcome, seconds since it could be known)"""


class Apply:
    """One run of sending, for one target."""

    def __init__(
        self,
        target: Target,
        t: int,
        store: Store,
        clock: Clock,
        capabilities: Capabilities,
        rules: GuardRules,
        *,
        instance: str,
        run: str,
        cause: str,
        concurrency: int,
        guard_now: Callable[[], float],
        current: Callable[[], int],
        stopping: Callable[[], bool],
        observe: Observer,
    ) -> None:
        self.tally = Tally()
        self._target = target
        self._t = t
        self._store = store
        self._ledger = Ledger(store)
        self._clock = clock
        self._capabilities = capabilities
        self._rules = rules
        self._instance = instance
        self._run = run
        self._cause = cause
        self._lanes = asyncio.Semaphore(concurrency)
        self._guard_now = guard_now
        self._current = current
        self._stopping = stopping
        self._observe = observe
        self._no_seats_until = float("-inf")
        self._broken: set[int] = set()  # objects whose writes answered 5xx, in a row
        self._sizes = (0, 0, 0)

    async def send(self, planned_at: int, progress: Callable[[int], None]) -> Stopped:
        """Send what is planned, until it is done or something else comes first."""
        self._sizes = await self._store.read(lambda db: holds.now_sizes(db, self._t))
        try:
            while True:
                if self._stopping():
                    return Stopped.ASKED
                if self._current() != planned_at:
                    return Stopped.NEWER
                chunk = await self._store.read(lambda db: spill.chunk(db, self._t, CHUNK))
                if not chunk:
                    return Stopped.DONE
                await self._chunk(chunk, planned_at)
                progress(len(chunk))
        finally:
            await self._ledger.settle()

    async def _chunk(self, chunk: Sequence[Planned], planned_at: int) -> None:
        contexts = await self._store.read(
            lambda db: [_context(db, self._t, planned) for planned in chunk]
        )
        lanes: dict[tuple[str, int], list[tuple[Planned, Context]]] = {}
        for planned, context in zip(chunk, contexts, strict=True):
            on_group = planned.item.gn and planned.change.kind in _MEMBER
            key = ("g", planned.item.gn) if on_group else ("n", planned.item.n)
            lanes.setdefault(key, []).append((planned, context))
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

    _halted = False

    async def _lane(self, lane: Sequence[tuple[Planned, Context]], planned_at: int) -> None:
        rest = list(lane)
        while rest:
            async with self._lanes:
                if self._halted or self._stopping() or self._current() != planned_at:
                    return
                together = self._together(rest)
                batch, rest = rest[:together], rest[together:]
                if batch[0][0].change.kind in _MEMBER:
                    await self._members(batch)
                else:
                    await self._one(*batch[0])

    def _together(self, rest: Sequence[tuple[Planned, Context]]) -> int:
        if rest[0][0].change.kind not in _MEMBER:
            return 1
        return min(len(rest), max(1, self._capabilities.members_per_call))

    # One change -----------------------------------------------------------------------------------

    async def _one(self, planned: Planned, context: Context) -> None:
        change = planned.change
        send = {
            Kind.ADOPT: self._adopt,
            Kind.CREATE: self._create,
            Kind.UPDATE: self._update,
            Kind.RENAME: self._rename,
            Kind.DEACTIVATE: self._set_active,
            Kind.REACTIVATE: self._set_active,
            Kind.DELETE: self._delete,
            Kind.ADOPT_GROUP: self._adopt_group,
            Kind.CREATE_GROUP: self._create_group,
            Kind.DELETE_GROUP: self._delete_group,
        }[change.kind]
        if change.kind is Kind.CREATE and self._clock.monotonic() < self._no_seats_until:
            await self._withhold_for_seats(planned)
            return
        began = self._clock.monotonic()
        spent_at = await self._spend([planned])
        try:
            record = await send(planned, context)
        except ChangeRejected as error:
            await self._rejected(planned, context, error, began, spent_at)
            return
        except TargetError as error:
            await self._unknown([(planned, context)], error, began)
            raise
        self._broken.clear()
        await self._done([(planned, context)], record, began)

    async def _spend(self, batch: Sequence[Planned]) -> float:
        """Allowance is spent in the transaction before the call (rule 37)."""
        at = self._guard_now()
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
                holds.spend(db, self._t, class_, item.gn, item.n, size, at, item.akey)
                if class_ is GuardClass.REMOVE_MEMBER and item.change.group_id is not None:
                    members = holds.member_count(db, self._t, item.change.group_id)
                    shrink = GuardClass.SHRINK_GROUP
                    holds.spend(db, self._t, shrink, item.gn, item.n, members, at, item.akey)

        await self._ledger.commit(record)
        return at

    def _limited(self, class_: str) -> bool:
        name = GuardClass(class_)
        shrinks = name is GuardClass.REMOVE_MEMBER
        return self._rules.limit(name) is not None or (
            shrinks and self._rules.limit(GuardClass.SHRINK_GROUP) is not None
        )

    # Accounts -------------------------------------------------------------------------------------

    def _mark(self, object_id: ObjectId) -> Mark | None:
        return Mark(self._instance, object_id) if self._capabilities.has_marks else None

    async def _create(self, planned: Planned, context: Context) -> Record:
        """Read the name; only if it is absent, commit "we may have made this", then create (18)."""
        wanted = planned.change.after
        assert isinstance(wanted, Account)
        assert context.object_id is not None
        n, t, object_id = planned.item.n, self._t, context.object_id
        back = await self._confirm_missing(context)
        if back is not None:
            return lambda db: _found_again(db, t, n, back, self._clock.now())
        standing = await self._target.find_account(wanted.username)
        if standing is not None:
            await self._store.write(lambda db: targets.put_account(db, t, standing))
            raise AlreadyExists(
                f"an account {wanted.username!r} stands there already",
                "it is looked at again: adopted, or a conflict",
                reason=Withheld.CONFLICT,
            )
        sent = replace(wanted, mark=self._mark(object_id))
        text = codec.dump(codec.account_to_dict(sent))
        await self._ledger.commit(lambda db: links.begin_create(db, t, n, text))
        created = await self._target.create_account(sent)

        def record(db: Connection) -> None:
            a = targets.put_account(db, t, created)
            origin = Origin(str(context.link["origin"])) if context.link else Origin.CREATED
            links.settle_account(db, t, n, a, origin, created)

        return record

    async def _confirm_missing(self, context: Context) -> Account | None:
        """An account that was there once: a second read by its id decides (rule 19)."""
        if context.link is None or not context.link["written"]:
            return None
        known = codec.account_of(context.link["written"])
        return await self._target.read_account(known) if known is not None else None

    async def _adopt(self, planned: Planned, context: Context) -> Record:
        """Read it once more: what we adopt must be what we saw (rule 20)."""
        seen = planned.change.before
        assert isinstance(seen, Account)
        assert context.object_id is not None
        n, t, object_id = planned.item.n, self._t, context.object_id
        standing = await self._target.read_account(seen)
        if standing is None:
            raise NotFound(f"the account {seen.username!r} is gone", reason=Withheld.CONFLICT)
        found: Account = standing
        mark = found.mark
        owner = await self._store.read(lambda db: links.owner_of(db, t, found.key))
        ours = mark is not None and mark.instance == self._instance
        if mark is not None and not (ours and mark.object_id in (object_id, owner)):
            await self._store.write(lambda db: targets.put_account(db, t, found))
            raise ChangeRejected(
                f"the account {seen.username!r} carries the mark of {mark.instance!r}",
                "two azsyncd write to this product",
                reason=Withheld.NOT_OWNED,
            )
        if (mark is None or mark.object_id != object_id) and self._capabilities.has_marks:
            await self._target.mark_account(found, Mark(self._instance, object_id))
            found = replace(found, mark=Mark(self._instance, object_id))

        def record(db: Connection) -> None:
            a = targets.put_account(db, t, found)
            links.settle_account(db, t, n, a, Origin.ADOPTED, found)

        return record

    async def _update(self, planned: Planned, context: Context) -> Record:
        have = _present(context)
        wanted = planned.change.after
        assert isinstance(wanted, Account)
        stored = await self._target.update_account(have, wanted)
        return self._written(planned, context, stored, wanted)

    def _written(
        self, planned: Planned, context: Context, stored: Account, wanted: Account | None = None
    ) -> Record:
        t, n, a = self._t, planned.item.n, context.a
        # The product may not show what we wrote (Confluence's mail): the baseline remembers it.
        baseline = stored
        if wanted is not None and stored.email is None:
            baseline = replace(stored, email=wanted.email)

        def record(db: Connection) -> None:
            key = stored.key or fold(stored.username)
            if a is not None and context.account is not None and context.account.key != key:
                targets.rekey_account(db, a, key)
            targets.put_account(db, t, stored)
            links.written(db, t, n, baseline)

        return record

    async def _rename(self, planned: Planned, context: Context) -> Record:
        have = _present(context)
        wanted = planned.change.after
        assert isinstance(wanted, Account)
        stored = await self._target.rename_account(have, wanted.username)
        record = self._written(planned, context, stored, wanted)
        now = self._clock.now()

        def renamed(db: Connection) -> None:
            record(db)
            facts.wake_claimants(db, self._t, "username", have.username, now)

        return renamed

    async def _set_active(self, planned: Planned, context: Context) -> Record:
        active = planned.change.kind is Kind.REACTIVATE
        stored = await self._target.set_active(_present(context), active)
        record = self._written(planned, context, stored, context.account)

        def switched(db: Connection) -> None:
            record(db)
            links.deactivated(db, self._t, planned.item.n, not active)

        return switched

    async def _delete(self, planned: Planned, context: Context) -> Record:
        have = _present(context)
        await self._target.delete_account(have)
        if await self._target.read_account(have) is not None:
            raise ChangeRejected(
                f"{have.username!r} still stands after it was deleted",
                "some products delete slowly; it is looked at again",
                reason=Withheld.BLOCKED,
            )
        t, n, a = self._t, planned.item.n, context.a
        now = self._clock.now()

        def record(db: Connection) -> None:
            links.drop(db, t, n)
            if a is not None:
                targets.drop_account(db, a)
            facts.wake_claimants(db, t, "username", have.username, now)

        return record

    # Groups ---------------------------------------------------------------------------------------

    async def _create_group(self, planned: Planned, context: Context) -> Record:
        wanted = planned.change.after
        assert isinstance(wanted, TargetGroup)
        n, t = planned.item.n, self._t
        standing = await self._target.find_group(wanted.name)
        if standing is not None:
            await self._store.write(lambda db: targets.put_group(db, t, standing))
            raise AlreadyExists(
                f"a group {wanted.name!r} stands there already",
                "it is looked at again: adopted, or a conflict",
                reason=Withheld.CONFLICT,
            )
        text = codec.dump(codec.group_to_dict(wanted))
        await self._ledger.commit(lambda db: links.begin_create(db, t, n, text))
        created = await self._target.create_group(wanted)

        def record(db: Connection) -> None:
            g = targets.put_group(db, t, created)
            links.settle_group(db, t, n, g, Origin.CREATED)

        return record

    async def _adopt_group(self, planned: Planned, context: Context) -> Record:
        seen = planned.change.before
        assert isinstance(seen, TargetGroup)
        n, t = planned.item.n, self._t
        found = await self._target.find_group(seen.name)
        if found is None:
            raise NotFound(f"the group {seen.name!r} is gone", reason=Withheld.CONFLICT)

        def record(db: Connection) -> None:
            g = targets.put_group(db, t, found)
            links.settle_group(db, t, n, g, Origin.ADOPTED)

        return record

    async def _delete_group(self, planned: Planned, context: Context) -> Record:
        assert context.group is not None
        await self._target.delete_group(context.group)
        t, n, g, name = self._t, planned.item.n, context.g, context.group.name
        now = self._clock.now()

        def record(db: Connection) -> None:
            links.drop(db, t, n)
            if g is not None:
                targets.drop_group(db, g)
            facts.wake_claimants(db, t, "group", name, now)

        return record

    # Memberships ----------------------------------------------------------------------------------

    async def _members(self, batch: Sequence[tuple[Planned, Context]]) -> None:
        """Memberships of one group in one call, as many as the product takes."""
        ready = []
        for planned, context in batch:
            if context.account is None or context.group is None:
                await self._not_yet(planned, context)
            else:
                ready.append((planned, context))
        if not ready:
            return
        adds = ready[0][0].change.kind is Kind.ADD_MEMBER
        group = ready[0][1].group
        assert group is not None
        accounts = [context.account for _, context in ready if context.account is not None]
        began = self._clock.monotonic()
        spent_at = await self._spend([planned for planned, _ in ready])
        write = self._target.add_members if adds else self._target.remove_members
        try:
            refused = await write(group, accounts)
        except ChangeRejected as error:
            for planned, context in ready:
                await self._rejected(planned, context, error, began, spent_at)
            return
        except TargetError as error:
            await self._unknown(ready, error, began)
            raise
        done = [(p, c) for p, c in ready if c.account and c.account.key not in refused]
        if done:
            self._broken.clear()

            def record(db: Connection) -> None:
                for _, context in done:
                    if context.g is not None and context.a is not None:
                        edge = links.edge_added if adds else links.edge_removed
                        edge(db, context.g, context.a)

            await self._done(done, record, began)
        for planned, context in ready:
            key = context.account.key if context.account else None
            if key in refused:
                await self._rejected(planned, context, refused[str(key)], began, spent_at)

    async def _not_yet(self, planned: Planned, context: Context) -> None:
        """The account or the group does not stand (yet): its own change waits, and so does this."""
        what = "account" if context.account is None else "group"
        t, item, now = self._t, planned.item, self._clock.now()

        def record(db: Connection) -> None:
            spill.done(db, planned.seq)
            if item.change.object_id is None:
                return
            detail = f"the {what} does not stand in the product yet"
            waiting.refused(db, t, item.n, item.change, Withheld.BACKING_OFF, detail, "", now)

        await self._ledger.commit(record)

    # Outcomes -------------------------------------------------------------------------------------

    async def _done(
        self, batch: Sequence[tuple[Planned, Context]], record: Record, began: float
    ) -> None:
        seconds = self._clock.monotonic() - began

        def commit(db: Connection) -> None:
            record(db)
            for planned, context in batch:
                item = planned.item
                spill.done(db, planned.seq)
                waiting.succeeded(db, self._t, item.n, item.change)
                if planned.free:
                    holds.used_up(db, self._t, item)
                journal.write(db, self._entry(planned, context, "done", "", seconds))

        await self._ledger.commit(commit)
        for planned, context in batch:
            self.tally.count(planned.change.kind)
            self._observe(planned.change, "done", seconds)
            log.info(
                EVENTS[planned.change.kind],
                target=self._target.name,
                object_id=context.object_id,
                group_id=planned.change.group_id,
                reason=planned.change.reason.value,
                run=self._run,
            )

    def _entry(
        self, planned: Planned, context: Context, outcome: str, answer: str, seconds: float
    ) -> journal.Entry:
        return journal.Entry(
            at=self._clock.now(),
            t=self._t,
            run=self._run,
            revision=self._current(),
            change=planned.change,
            n=planned.item.n,
            gn=planned.item.gn,
            name=context.name,
            outcome=outcome,
            answer=answer,
            cause=self._cause + (", approved" if planned.free else ""),
            seconds=seconds,
        )

    async def _unknown(
        self, batch: Sequence[tuple[Planned, Context]], error: TargetError, began: float
    ) -> None:
        """The answer was lost: it may have taken effect or not. The next look finds out."""
        seconds = self._clock.monotonic() - began

        def commit(db: Connection) -> None:
            for planned, context in batch:
                entry = self._entry(planned, context, "unknown", error.message, seconds)
                journal.write(db, entry)

        await self._ledger.commit(commit)
        for planned, _ in batch:
            self._observe(planned.change, "unknown", seconds)

    async def _rejected(
        self,
        planned: Planned,
        context: Context,
        error: ChangeRejected,
        began: float,
        spent_at: float,
    ) -> None:
        """One object was refused: it waits with its reason, the rest goes on (I7)."""
        uncertain = error.status is not None and error.status >= 500
        if uncertain:
            self._broken.add(planned.item.n)
        if error.doubtful:
            await self._whose_fault(planned, context, error, began)
        item, t, now = planned.item, self._t, self._clock.now()
        seconds = self._clock.monotonic() - began
        again = isinstance(error, (AlreadyExists, NotFound))
        gone = await self._reread(planned, context) if isinstance(error, NotFound) else None

        def commit(db: Connection) -> None:
            spill.done(db, planned.seq)
            if not uncertain:
                self._forget_create(db, planned, context)
                if planned.class_ and not planned.free:
                    for class_ in (planned.class_, GuardClass.SHRINK_GROUP):
                        holds.give_back(db, t, class_, item.gn, item.n, spent_at, item.akey)
            if gone is not None:
                gone(db)
            waiting.refused(
                db, t, item.n, item.change, error.reason, error.message, error.hint, now
            )
            if again and not self._tried_before(db, item):
                waiting.make_due(db, t, item.n, now)
            journal.write(db, self._entry(planned, context, "rejected", error.message, seconds))

        await self._ledger.commit(commit)
        if error.reason == Withheld.LICENCE and item.change.kind is Kind.CREATE:
            self._no_seats_until = self._clock.monotonic() + CONDITION_SECONDS
        if not again:
            self.tally.failed.append(
                (item.change, context.name, error.reason, error.message, error.hint)
            )
        self._observe(item.change, "rejected", seconds)
        log.warning(
            "change.rejected",
            target=self._target.name,
            change=item.change.kind.value,
            object_id=context.object_id,
            group_id=item.change.group_id,
            reason=str(error.reason),
            status=error.status,
            run=self._run,
        )

    def _tried_before(self, db: Connection, item: holds.Item) -> bool:
        """More than twice in a row: what we see and what the product says do not agree."""
        row = db.execute(
            "SELECT attempts FROM waiting WHERE t = ? AND n = ? AND change = ? AND gn = ?",
            (self._t, item.n, item.change.kind, item.gn),
        ).fetchone()
        return row is not None and row["attempts"] > 2

    def _forget_create(self, db: Connection, planned: Planned, context: Context) -> None:
        """A definite refusal deletes `pending`; a link that was there before is missing again."""
        if planned.change.kind not in (Kind.CREATE, Kind.CREATE_GROUP):
            return
        row = links.get(db, self._t, planned.item.n)
        if row is None or row["state"] != "pending":
            return
        if context.link is not None and context.link["state"] != "pending":
            db.execute(
                "UPDATE link SET state = 'missing', sent = NULL WHERE t = ? AND n = ?",
                (self._t, planned.item.n),
            )
        else:
            links.drop(db, self._t, planned.item.n)

    async def _whose_fault(
        self, planned: Planned, context: Context, error: ChangeRejected, began: float
    ) -> None:
        """401, 403 or 5xx on a write: one cheap question decides (rule 30)."""
        if len(self._broken) >= 3:
            trouble = TargetUnavailable(
                f"three objects in a row were answered with {error.status}: {error.message}",
                "look at the product's own log",
                target=self._target.name,
            )
            await self._unknown([(planned, context)], trouble, began)
            raise trouble
        try:
            await self._target.ask()
        except TargetError as trouble:
            await self._unknown([(planned, context)], trouble, began)
            raise

    async def _reread(self, planned: Planned, context: Context) -> Record | None:
        """Something of a write was not there: find out what, by its id (rule 19)."""
        t, n = self._t, planned.item.n
        if context.group is not None and planned.change.kind in _MEMBER:
            group = await self._target.find_group(context.group.name)
            if group is None and context.g is not None:
                g = context.g
                return lambda db: _group_missing(db, t, g, self._clock.now())
        if context.account is not None:
            account = await self._target.read_account(context.account)
            if account is None and context.a is not None:
                a = context.a
                return lambda db: targets.drop_account(db, a)
            if account is not None:
                return lambda db: _seen(db, t, account)
        if context.account is None and planned.change.kind is Kind.ADOPT:
            return lambda db: _drop_key(db, t, n, planned)
        return None

    async def _withhold_for_seats(self, planned: Planned) -> None:
        """No seats is a condition of the target: nobody else is tried for a while (rule 30)."""
        item, t, now = planned.item, self._t, self._clock.now()

        def commit(db: Connection) -> None:
            spill.done(db, planned.seq)
            waiting.refused(
                db,
                t,
                item.n,
                item.change,
                Withheld.LICENCE,
                "no licence seat was free",
                "free seats, or buy some; waiting users go in by themselves",
                now,
            )

        await self._ledger.commit(commit)


_MEMBER = (Kind.ADD_MEMBER, Kind.REMOVE_MEMBER)


def _present(context: Context) -> Account:
    if context.account is None:
        raise NotFound("the account is not there any more", reason=Withheld.CONFLICT)
    return context.account


def _context(db: Connection, t: int, planned: Planned) -> Context:
    item = planned.item
    row = db.execute("SELECT id, kind, name FROM object WHERE n = ?", (item.n,)).fetchone()
    link = links.get(db, t, item.n)
    a = g = None
    if item.akey:
        found = db.execute(
            "SELECT a FROM account WHERE t = ? AND key = ?", (t, item.akey)
        ).fetchone()
        a = found["a"] if found else None
    elif link is not None:
        a, g = link["a"], link["g"]
    if item.gn:
        group_link = links.get(db, t, item.gn)
        g = group_link["g"] if group_link is not None else None
    account = _body(db, "SELECT body FROM account WHERE a = ?", a)
    group = _body(db, "SELECT body FROM target_group WHERE g = ?", g)
    return Context(
        object_id=row["id"] if row else None,
        name=(row["name"] or row["id"]) if row else item.akey,
        link=link,
        a=a,
        account=codec.account_of(account),
        g=g,
        group=codec.group_of(group),
    )


def _body(db: Connection, sql: str, number: int | None) -> str | None:
    if number is None:
        return None
    row = db.execute(sql, (number,)).fetchone()
    return None if row is None else str(row["body"])


def _found_again(db: Connection, t: int, n: int, account: Account, now: float) -> None:
    """It was never gone: the second read shows it."""
    a = targets.put_account(db, t, account)
    row = links.get(db, t, n)
    origin = Origin(row["origin"]) if row is not None else Origin.CREATED
    links.settle_account(db, t, n, a, origin, account)
    waiting.make_due(db, t, n, now)


def _group_missing(db: Connection, t: int, g: int, now: float) -> None:
    row = db.execute("SELECT n FROM link WHERE g = ?", (g,)).fetchone()
    targets.drop_group(db, g)
    if row is not None:
        waiting.make_due(db, t, row["n"], now)


def _seen(db: Connection, t: int, account: Account) -> None:
    targets.put_account(db, t, account)


def _drop_key(db: Connection, t: int, n: int, planned: Planned) -> None:
    """The account that was to be adopted is gone."""
    seen = planned.change.before
    if isinstance(seen, Account):
        row = db.execute("SELECT a FROM account WHERE t = ? AND key = ?", (t, seen.key)).fetchone()
        if row is not None:
            targets.drop_account(db, row["a"])
