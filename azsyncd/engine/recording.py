"""Writes down what was planned: changes into the spill, what waits into its list; and the guard.

Of each change it is asked: is it tried again too early? Does the mode let it pass? Has a person
decided about it? What is left is counted, and the guard holds what is too much (rules 35 to 38).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from azsyncd.engine.steady import Steady
from azsyncd.model.changes import Change, Kind, Reason, Waiting, Withheld
from azsyncd.model.identities import ObjectId
from azsyncd.plan import guard
from azsyncd.plan.groups import GroupPlan
from azsyncd.plan.order import is_step, leaves, ordered_renames, takes
from azsyncd.plan.policy import GuardClass, Mode, Policy
from azsyncd.state import codec, drift, holds, mirror, questions, scopes, spill, waiting
from azsyncd.state.holds import Item
from azsyncd.state.store import Connection, Row

_PORTION = 1000

ELSE_DETAIL = "somebody else writes to this product: put right three times in a day, changed back"
ELSE_HINT = "find the other app, directory or script that does; it is tried again after a day"


@dataclass(slots=True)
class Draft:
    """One plan while it is made."""

    t: int
    full: bool
    upto: int  # the mirror's revision that it is made from
    tally: guard.Tally = field(default_factory=guard.Tally)
    groups: set[int] = field(default_factory=set)
    renames: list[tuple[Change, int]] = field(default_factory=list)
    has_renames: bool = False
    by_hand: Counter[str] = field(default_factory=Counter)  # drift found anew, by kind of change
    fights: Mapping[drift.Key, float] | None = None
    after: int = 0  # what the spill held before it: earlier slices' changes, not sent yet


class Recording:
    """The plans of one target on their way into the spill."""

    def __init__(self, t: int, policy: Policy, clock: Steady) -> None:
        self._t = t
        self._policy = policy
        self._clock = clock

    def record(
        self,
        db: Connection,
        draft: Draft,
        n: int,
        changes: Iterable[Change],
        waits: Sequence[Waiting],
        hold: str = "",
    ) -> None:
        """Spill the changes of one object and replace what waits of it."""
        tried = waiting.attempts_of(db, self._t, n)
        keep: list[Waiting] = list(waits)
        planned: list[tuple[str, int, str]] = []
        stuck = False
        now = max(self._clock.now(), self._clock.wall())
        by_hand = [w.change for w in waits if w.change and w.change.reason is Reason.DRIFT]
        found = {(each.kind, self._number(db, each.group_id)) for each in by_hand}
        for change in changes:
            gn = self._number(db, change.group_id)
            if change.reason is Reason.DRIFT:
                found.add((change.kind, gn))
                contested = self._contested(db, draft, n, change, gn)
                if contested is not None:
                    keep.append(contested)
                    continue
            before = tried.get((change.kind, gn))
            planned.append((change.kind, gn, ""))
            if stuck:
                continue  # without an account of hers there is nothing else to write
            if before is not None and _still_backs_off(before, change, now):
                keep.append(_waiting_of(before, change))
                stuck = change.kind in (Kind.CREATE, Kind.ADOPT)
                continue
            self.plan(db, draft, n, change, hold or None)
        backing_off = {(wait.change.kind, self._number(db, wait.change.group_id))
                       for wait in keep if wait.change is not None}  # fmt: skip
        tries = {(kind, gn) for kind, gn, _ in planned} - backing_off
        waiting.replace_all(db, self._t, n, keep, self._clock.now(), tries)
        holds.keep_only(db, self._t, n, planned)
        draft.by_hand.update(drift.note(db, self._t, n, found, self._clock.now()))

    def waits_for_a_person(self, db: Connection, n: int, plan: GroupPlan) -> bool:
        """Whether a group is held before its first write (rule 12), and nobody has let it through
        so far."""
        first = next((change for change in plan.changes if change.group_id is None), None)
        if not plan.hold or first is None:
            return False
        decision = holds.decision_of(db, self._t, Item(n, 0, "", first), self._clock.wall())
        return decision is None or decision[0] != "approved"

    def record_foreign(
        self, db: Connection, draft: Draft, n: int, changes: Sequence[Change]
    ) -> None:
        """Spill the removals of foreign members from one group."""
        refused = waiting.foreign_of(db, self._t, n)
        now = max(self._clock.now(), self._clock.wall())
        waits, tried = set[str](), set[str]()
        for change in changes:
            before = refused.get(change.akey)
            if before is not None and _still_backs_off(before, change, now):
                waits.add(change.akey)
            else:
                tried.add(change.akey)
                self.plan(db, draft, n, change, None)
        waiting.replace_foreign(db, self._t, n, waits, tried)
        planned = [(change.kind.value, n, change.akey) for change in changes]
        holds.keep_only(db, self._t, n, planned, foreign=True)

    def take_back(self, db: Connection, draft: Draft, n: int) -> None:
        """An object is planned once more in the same draft: it is counted once."""
        for row in spill.of_objects(db, draft.t, [n]):
            if row.seq > draft.after and row.held is None and not row.free:
                draft.tally.add(row.change, -1)
        spill.drop(db, draft.t, [n])

    def _contested(
        self, db: Connection, draft: Draft, n: int, change: Change, gn: int
    ) -> Waiting | None:
        """What was put right and changed back three times a day is only reported (rule 22); and
        so is everything else that was changed by hand, where it is like that with several."""
        if draft.fights is None:
            draft.fights = drift.fights(db, self._t, self._clock.now())
        until = draft.fights.get((n, change.kind, gn))
        if until is None and not drift.is_contested(draft.fights):
            return None
        return Waiting(
            object_id=change.object_id,
            reason=Withheld.MODE,
            detail=ELSE_DETAIL,
            hint=ELSE_HINT,
            change=change,
            retry_at=until or min(draft.fights.values()),
        )

    def _number(self, db: Connection, id_: ObjectId | None) -> int:
        return 0 if id_ is None else (mirror.number_of(db, id_) or 0)

    def plan(self, db: Connection, draft: Draft, n: int, change: Change, hold: str | None) -> None:
        """Spill one change; renames are ranked when all of them are known."""
        if change.kind is Kind.RENAME:
            draft.renames.append((change, n))
            return
        self._spill(db, draft, n, change, hold)

    def flush_renames(self, db: Connection, draft: Draft) -> None:
        """All renames are known now: put them in an order in which each name is free in time."""
        asked = {change.object_id: (change, n) for change, n in draft.renames}
        for change in ordered_renames(change for change, _ in draft.renames):
            decided, n = asked[change.object_id]
            self._spill(db, draft, n, change, None, decided)
        draft.has_renames = bool(draft.renames)
        draft.renames.clear()

    def _spill(
        self,
        db: Connection,
        draft: Draft,
        n: int,
        change: Change,
        hold: str | None,
        decided: Change | None = None,
    ) -> None:
        """`decided`: what people decide about, where that is more than this change (a swap)."""
        gn = self._number(db, change.group_id)
        item = Item(n, gn, change.akey, change)
        about = item if decided is None else Item(n, gn, change.akey, decided)
        mode = self._policy.mode
        held: str | None = None
        free = False
        if mode is not Mode.MANUAL and not guard.permitted(change, mode):
            held = Withheld.MODE
        else:
            decision = holds.decision_of(db, draft.t, about, self._clock.wall())
            if decision is not None and decision[0] == "approved":
                free = not is_step(change)  # the approval is used up by the change itself
            elif decision is not None and decision[0] == "open":
                held = Withheld.MODE if mode is Mode.MANUAL else Withheld.GUARD
            elif decision is not None:
                held = Withheld.REJECTED
            elif hold:
                held = Withheld.GUARD
                holds.open_hold(db, draft.t, holds.RENAMED_GROUP, hold, self._clock.now(), [item])
        class_ = guard.class_of(change)
        if held is None and not free:
            draft.tally.add(change)
        spill.add(db, draft.t, item, class_=class_, free=free, held=held)

    # The guard ------------------------------------------------------------------------------------

    def judge(self, db: Connection, draft: Draft, window_start: float) -> int:
        """Hold what does not fit (rule 36); returns how many changes are held anew."""
        held = 0
        if self._is_limited(draft):
            sizes = holds.sizes(db, draft.t, window_start, draft.tally.groups)
            spent = self._spent(db, draft, window_start)
            verdict = guard.judge(draft.tally, self._policy.guard, sizes, spent)
            for class_, why in verdict.classes.items():
                held += self._hold(db, draft, class_, self._wanted(db, draft, class_), why)
            for group, why in verdict.groups.items():
                gn = self._number(db, group)
                rows = self._wanted(db, draft, GuardClass.REMOVE_MEMBER, gn)
                why = f"{questions.name_of(db, gn)}: {why}"
                held += self._hold(db, draft, GuardClass.SHRINK_GROUP, rows, why)
        held += self._hold_followers(db, draft)
        holds.close_empty(db, draft.t)
        return held

    def _hold_followers(self, db: Connection, draft: Draft) -> int:
        """Whoever wants a name whose present owner is held waits too: else a swap would stop
        half-way, at its temporary name."""
        if not draft.has_renames:
            return 0
        planned = [row for row in spill.renames(db, draft.t) if not is_step(row.change)]
        owners = {name: row for row in planned for name in leaves(row.change)}
        stopped = {row.seq for row in planned if row.held is not None}
        found: list[spill.Planned] = []
        while True:
            more = [
                row
                for row in planned
                if row.seq not in stopped
                and any(
                    name in owners and owners[name].seq in stopped for name in takes(row.change)
                )
            ]
            if not more:
                break
            stopped |= {row.seq for row in more}
            found += more
        why = "a rename that is held must go first"
        return self._hold(db, draft, GuardClass.RENAME, [found], why)

    def _is_limited(self, draft: Draft) -> bool:
        """Whether anything is wanted of which there is an allowance: mostly people only come."""
        rules = self._policy.guard
        classes = set(draft.tally.classes)
        if GuardClass.REMOVE_MEMBER in classes:
            classes.add(GuardClass.SHRINK_GROUP)
        return any(rules.limit(class_) is not None for class_ in classes)

    def _spent(self, db: Connection, draft: Draft, window_start: float) -> guard.Spent:
        """What the window has spent, and what earlier slices may still send."""
        spent = Counter(holds.spent(db, draft.t, window_start))
        for (class_, gn), number in spill.outstanding(db, draft.t, draft.after).items():
            group = scopes.id_of(db, gn) if gn else None
            spent[GuardClass(class_), group] += number
        return spent

    def _wanted(
        self, db: Connection, draft: Draft, class_: GuardClass, gn: int | None = None
    ) -> Iterator[Sequence[spill.Planned]]:
        """Portion by portion: half a tenant's memberships need not fit in memory."""
        after = draft.after
        while rows := spill.of_class(db, draft.t, class_, gn, after, _PORTION):
            after = rows[-1].seq
            yield rows

    def _hold(
        self,
        db: Connection,
        draft: Draft,
        class_: GuardClass,
        portions: Iterable[Sequence[spill.Planned]],
        why: str,
    ) -> int:
        """Into one hold."""
        hold: int | None = None
        count = 0
        for rows in portions:
            if not rows:
                continue
            if hold is None:
                hold = holds.open_hold(db, draft.t, class_.value, why, self._clock.now())
            holds.add_items(db, hold, (row.item for row in rows))
            spill.hold(db, [row.seq for row in rows], Withheld.GUARD)
            if class_ is GuardClass.RENAME:
                spill.hold_steps(db, draft.t, [row.item.n for row in rows], Withheld.GUARD)
            count += len(rows)
        return count


def _still_backs_off(row: Row, change: Change, now: float) -> bool:
    """A refused change is tried again when its time comes, or when something else is wanted."""
    if row["retry_at"] is None or row["retry_at"] <= now or row["body"] is None:
        return False
    return codec.change_digest(codec.change_of(row["body"])) == codec.change_digest(change)


def _waiting_of(row: Row, change: Change) -> Waiting:
    return Waiting(
        object_id=change.object_id,
        reason=Withheld(row["reason"]),
        detail=row["detail"],
        hint=row["hint"],
        change=change,
        retry_at=row["retry_at"],
    )
