"""What the product answered, and what follows: done, unknown, refused; and whose fault it is.

Each outcome is one commit: the plan's row goes, the object's waiting entry, allowance and journal
follow. One bad object waits with its reason and its next try, and the others go on (I7).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

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
from azsyncd.model.changes import Change, Kind, Reason, Withheld
from azsyncd.plan.policy import GuardClass
from azsyncd.state import drift, holds, journal, spill, targets, waiting
from azsyncd.state.spill import Planned
from azsyncd.state.standing import (
    Standing,
    account_gone,
    attempts,
    forget_create,
    group_deleted,
    group_gone,
    owes_another_try,
)
from azsyncd.state.store import Connection
from azsyncd.targets.base import Target

log = structlog.get_logger()

IN_A_ROW = 3
"""So many different objects with 5xx, none well in between: it is the product (rule 30)."""

MEMBERSHIPS = (Kind.ADD_MEMBER, Kind.REMOVE_MEMBER)
CHILDREN = (Kind.ADD_CHILD, Kind.REMOVE_CHILD)
CREATES = (Kind.CREATE, Kind.CREATE_GROUP)
_GIVE_MANY = (Kind.ADD_CHILD, Kind.CREATE_GROUP, Kind.ADOPT_GROUP)
_MAKE_ADMINS = (Kind.ADD_MEMBER, Kind.ADD_CHILD, Kind.REACTIVATE)

EVENTS = {
    Kind.ADOPT: "account.adopted",
    Kind.CREATE: "account.created",
    Kind.UPDATE: "account.updated",
    Kind.RENAME: "account.renamed",
    Kind.DEACTIVATE: "account.deactivated",
    Kind.REACTIVATE: "account.reactivated",
    Kind.STRIP: "account.stripped",
    Kind.DELETE: "account.deleted",
    Kind.ADOPT_GROUP: "group.adopted",
    Kind.CREATE_GROUP: "group.created",
    Kind.DELETE_GROUP: "group.deleted",
    Kind.ADD_MEMBER: "member.added",
    Kind.REMOVE_MEMBER: "member.removed",
    Kind.ADD_CHILD: "child.added",
    Kind.REMOVE_CHILD: "child.removed",
}

Observer = Callable[[Planned, str], None]
"""(change, outcome), when the answer is there"""

Batch = Sequence[tuple[Planned, Standing]]


@dataclass(slots=True)
class Tally:
    """What a run did."""

    done: dict[str, int] = field(default_factory=dict)
    failed: list[tuple[Change, str, str, str, str]] = field(default_factory=list)

    def count(self, kind: Kind) -> None:
        self.done[kind.value] = self.done.get(kind.value, 0) + 1


class Outcomes:
    """The answers of one run, for one target."""

    def __init__(
        self,
        target: Target,
        t: int,
        ledger: Ledger,
        clock: Clock,
        *,
        run: str,
        cause: str,
        current: Callable[[], int],
        observe: Observer,
        nests: bool,
    ) -> None:
        self.tally = Tally()
        self._target = target
        self._t = t
        self._ledger = ledger
        self._clock = clock
        self._run = run
        self._cause = cause
        self._current = current
        self._observe = observe
        self._nests = nests
        self._condition: dict[Kind, tuple[Withheld, str, str]] = {}
        self._broken: set[int] = set()  # objects whose writes answered 5xx, in a row

    def condition(self, kind: Kind) -> tuple[Withheld, str, str] | None:
        """What the product has said in this run, and would say again: (reason, detail, hint)."""
        return self._condition.get(kind)

    async def done(self, batch: Batch, record: Record, began: float) -> None:
        """The product did it."""
        self._broken.clear()
        seconds = self._clock.monotonic() - began

        def commit(db: Connection) -> None:
            answer = record(db) or ""
            for planned, now in batch:
                item = planned.item
                spill.done(db, planned.seq)
                waiting.succeeded(db, self._t, item.n, item.change)
                if item.change.reason is Reason.DRIFT:
                    drift.settled(db, self._t, item.n, item.change.kind, item.gn)
                journal.write(db, self._entry(db, planned, now, "done", answer, seconds))
                if planned.free:
                    holds.used_up(db, self._t, item)
                if item.change.kind is Kind.DEACTIVATE and now.waited == Withheld.BLOCKED:
                    # It was refused before, and her groups were taken instead (rule 32): while her
                    # account is inactive they follow Entra again (rule 33).
                    waiting.look_again(db, self._t, item.n, self._clock.now())
                if item.change.kind in _MAKE_ADMINS:
                    waiting.wake_protected(db, self._t, self._clock.now())
                if self._nests and item.change.kind in (Kind.ADD_MEMBER, Kind.ADD_CHILD):
                    waiting.wake_removals(db, self._t, item.n, self._clock.now())

        await self._ledger.commit(commit)
        for planned, now in batch:
            self.tally.count(planned.change.kind)
            self._observe(planned, "done")
            log.info(
                EVENTS[planned.change.kind],
                target=self._target.name,
                object_id=now.object_id,
                group_id=planned.change.group_id,
                reason=planned.change.reason.value,
                run=self._run,
            )

    def _entry(
        self,
        db: Connection,
        planned: Planned,
        now: Standing,
        outcome: str,
        answer: str,
        seconds: float,
    ) -> journal.Entry:
        return journal.Entry(
            at=self._clock.now(),
            t=self._t,
            run=self._run,
            revision=self._current(),
            change=planned.change,
            n=planned.item.n,
            gn=planned.item.gn,
            name=now.name,
            outcome=outcome,
            answer=answer,
            cause=self._cause + self._approval(db, planned),
            seconds=seconds,
        )

    def _approval(self, db: Connection, planned: Planned) -> str:
        """Who let it through, where somebody was asked."""
        if not planned.free:
            return ""
        told = holds.approval_of(db, self._t, planned.item) or holds.consent_of(db, self._t)
        return f", {told}" if told else ", approved"

    async def unknown(self, batch: Batch, error: TargetError, began: float) -> None:
        """The answer was lost: it may have taken effect or not. The next look finds out."""
        seconds = self._clock.monotonic() - began

        def commit(db: Connection) -> None:
            for planned, now in batch:
                journal.write(db, self._entry(db, planned, now, "unknown", error.message, seconds))

        await self._ledger.commit(commit)
        for planned, _ in batch:
            self._observe(planned, "unknown")

    # Refusals -------------------------------------------------------------------------------------

    async def rejected(
        self,
        planned: Planned,
        now: Standing,
        error: ChangeRejected,
        began: float,
        spent_at: float,
        *,
        asked: bool = False,
    ) -> None:
        """One object was refused: it waits with its reason, the rest goes on (I7). `asked`: the
        product has just said that it is well."""
        uncertain = error.status is not None and error.status >= 500
        if uncertain:
            # One call for many members of a group is one object.
            self._broken.add(planned.item.gn or planned.item.n)
        if error.doubtful and not asked:
            await self._whose_fault(planned, now, error, began)
        item, t, moment = planned.item, self._t, self._clock.now()
        seconds = self._clock.monotonic() - began
        again = isinstance(error, (AlreadyExists, NotFound))
        # A passing trouble of the server's is no refusal of this change (rule 32).
        reason = Withheld.BACKING_OFF if uncertain else error.reason
        gone = await self._reread(planned, now) if isinstance(error, NotFound) else None

        def commit(db: Connection) -> None:
            spill.done(db, planned.seq)
            if not uncertain:
                self._take_back(db, planned, now, spent_at)
            if gone is not None:
                gone(db)
            waiting.refused(db, t, item.n, item.change, reason, error.message, error.hint, moment)
            if again and attempts(db, t, planned) <= 2:
                waiting.make_due(db, t, item.n, moment)
            if item.change.kind is Kind.DEACTIVATE and reason == Withheld.BLOCKED:
                waiting.look_again(db, t, item.n, moment)  # she is stripped instead, at once
            gives_many = self._nests and item.change.kind in _GIVE_MANY and not uncertain
            if gives_many and attempts(db, t, planned) == (3 if again else 1):
                # Whoever would have come into groups by this one is put into them one by one.
                targets.owe_full(db, t)
            journal.write(db, self._entry(db, planned, now, "rejected", error.message, seconds))

        await self._ledger.commit(commit)
        if reason in waiting.CONDITIONS and item.change.kind in CREATES:
            self._condition[item.change.kind] = (Withheld(reason), error.message, error.hint)
        if not again:
            failed = (item.change, now.name, str(reason), error.message, error.hint)
            self.tally.failed.append(failed)
        self._observe(planned, "rejected")
        log.warning(
            "change.rejected",
            target=self._target.name,
            change=item.change.kind.value,
            object_id=now.object_id,
            group_id=item.change.group_id,
            reason=str(reason),
            status=error.status,
            run=self._run,
        )

    def _take_back(self, db: Connection, planned: Planned, now: Standing, spent_at: float) -> None:
        """It surely did not happen: the pending link and the allowance are returned."""
        item = planned.item
        if item.change.kind in CREATES:
            forget_create(db, self._t, item.n, now.link)
        if planned.class_ and not planned.free:
            for class_ in (planned.class_, GuardClass.SHRINK_GROUP):
                holds.give_back(db, self._t, class_, item.gn, item.n, spent_at, item.akey)

    async def _whose_fault(
        self, planned: Planned, now: Standing, error: ChangeRejected, began: float
    ) -> None:
        """401, 403 or 5xx on a write: one cheap question decides (rule 30)."""
        if len(self._broken) >= IN_A_ROW:
            trouble = TargetUnavailable(
                f"three objects in a row were answered with {error.status}: {error.message}",
                "look at the product's own log",
                target=self._target.name,
            )
            await self.unknown([(planned, now)], trouble, began)
            raise trouble
        try:
            await self._target.ask()
        except TargetError as trouble:
            await self.unknown([(planned, now)], trouble, began)
            raise

    async def _reread(self, planned: Planned, now: Standing) -> Record | None:
        """Something of a write was not there: find out what, by its id (rule 19)."""
        t, moment = self._t, self._clock.now()
        if now.group is not None and now.g is not None:
            name, g = now.group.name, now.g
            if await self._target.find_group(name) is None:
                if planned.change.kind is Kind.DELETE_GROUP:  # nothing is left of it to want back
                    return lambda db: group_deleted(db, t, planned.item.n, g, name, moment)
                return lambda db: group_gone(db, t, g, moment)
        if now.child is not None and now.c is not None:
            child, c = await self._target.find_group(now.child.name), now.c
            if child is None:
                return lambda db: group_gone(db, t, c, moment)
        if now.account is not None:
            account = await self._target.read_account(now.account)
            if account is not None:
                return lambda db: _note(db, t, account)
            return lambda db: account_gone(db, t, now.account.key if now.account else None)
        if planned.change.kind is Kind.ADOPT:  # what was to be adopted is gone
            key = getattr(planned.change.before, "key", None)
            return lambda db: account_gone(db, t, key)
        return None

    # Changes that are not even tried --------------------------------------------------------------

    async def not_yet(self, planned: Planned, now: Standing) -> None:
        """The account or the group does not stand (yet): its own change waits, and so does this.

        If the object itself is tried again anyway, this is planned with it then.
        """
        needs_group = planned.change.kind in MEMBERSHIPS and now.account is not None
        what = "group" if needs_group or planned.change.kind in CHILDREN else "account"
        t, item, moment = self._t, planned.item, self._clock.now()
        detail = f"the {what} does not stand in the product yet"

        def record(db: Connection) -> None:
            spill.done(db, planned.seq)
            if item.change.object_id is None:
                return
            # Whoever decides about her account lets this be planned with it; a group's members wait
            # for it by themselves.
            if what == "account" and (
                owes_another_try(db, t, item.n) or spill.is_held(db, t, item.n)
            ):
                return
            waiting.untried(db, t, item.n, item.change, Withheld.BACKING_OFF, detail, "", moment)

        await self._ledger.commit(record)

    async def needed(self, planned: Planned, why: str) -> None:
        """Somebody would be cut off by it: it waits until she has another way."""
        t, item, moment = self._t, planned.item, self._clock.now()
        hint = "it is looked at again as soon as she was put there, or is not wanted there"

        def record(db: Connection) -> None:
            spill.done(db, planned.seq)
            waiting.refused(db, t, item.n, item.change, Withheld.BACKING_OFF, why, hint, moment)

        await self._ledger.commit(record)

    async def conditioned(self, planned: Planned, reason: Withheld, detail: str, hint: str) -> None:
        """It is not even tried, for what the target is like now: no seats, a directory that takes
        nothing (rule 30), no other administrator (rule 24)."""
        item, t, moment = planned.item, self._t, self._clock.now()

        def commit(db: Connection) -> None:
            spill.done(db, planned.seq)
            waiting.untried(db, t, item.n, item.change, reason, detail, hint, moment)

        await self._ledger.commit(commit)


def _note(db: Connection, t: int, account: object) -> None:
    targets.put_account(db, t, account)  # type: ignore[arg-type]  # narrowed where it was read
