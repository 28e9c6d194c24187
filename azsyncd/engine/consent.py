"""What a person must agree to before anything is sent: a first contact, and everything in `manual`
mode (rules 26 and 40).

target.first_contact:  new ─► open (a hold with the counts) ─► consented ─► done
                        └──────── nothing stands there that would change ─────┘
                              └─► rejected ─► (release) new
`consented` lasts until the whole plan is written, across crashes: all of it was agreed to, and
spends no allowance. If more would be taken away or changed by then than was agreed to, nobody has
seen that: it is under the guard like everything else.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from azsyncd.clock import Clock
from azsyncd.model.changes import Kind, Withheld
from azsyncd.plan.guard import DESTRUCTIVE
from azsyncd.plan.order import is_step
from azsyncd.state import codec, holds, links, spill, targets
from azsyncd.state.store import Connection

log = structlog.get_logger()

_PORTION = 1000

_LIMITED = DESTRUCTIVE | {Kind.RENAME, Kind.UPDATE}
"""What the guard counts of accounts that stand there."""


def meets(db: Connection, t: int) -> bool:
    """Whether this plan would adopt or change what stands there, in a target without links, or is
    the one that was agreed to."""
    row = targets.get(db, t)
    if row.first_contact == "done":
        return False
    if row.first_contact == "consented":
        return True
    if links.any_settled(db, t) and row.first_contact == "new":
        return False
    kinds = spill.counts(db, t)
    return Kind.ADOPT in kinds or Kind.ADOPT_GROUP in kinds


def give(db: Connection, t: int, now: float) -> None:
    """Everything of this plan was seen and agreed to: it spends no allowance."""
    counts, agreed = spill.counts(db, t), targets.get(db, t).agreed
    agreed = counts if agreed is None else agreed
    spill.free_all(db, t, {k for k in _LIMITED if counts.get(k, 0) > agreed.get(k, 0)})
    holds.close_standing(db, t, holds.FIRST_CONTACT, "approved", now)
    # What is written by now was agreed to once, and not once more.
    agree(db, t, {kind: min(number, counts.get(kind, 0)) for kind, number in agreed.items()})


def agree(db: Connection, t: int, counts: Mapping[str, int]) -> None:
    """A person has seen a plan of so many changes of each kind."""
    targets.update(db, t, first_contact="consented", agreed=codec.dump(dict(counts)))


def give_in_part(db: Connection, t: int, now: float) -> None:
    """Whoever applies a saved plan has seen what it would do: that is the consent. What is not in
    it is under the guard from now on, like everything that comes later."""
    if targets.get(db, t).first_contact != "done":
        holds.close_standing(db, t, holds.FIRST_CONTACT, "approved", now)
        targets.update(db, t, first_contact="done", agreed=None)


def ask_on(db: Connection, t: int) -> None:
    """A file that was applied does not have all that would be adopted: nobody has seen the rest."""
    held = spill.held_kinds(db, t)
    if held & {Kind.ADOPT, Kind.ADOPT_GROUP}:
        targets.update(db, t, first_contact="open")


def ask(db: Connection, t: int, now: float) -> None:
    """One hold with the counts, kept up to date while it waits."""
    counts = spill.counts(db, t)
    spill.hold_all(db, t, Withheld.FIRST_CONTACT)
    if targets.get(db, t).first_contact == "rejected":
        return
    text = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    detail = f"first contact: {text}"
    payload = {"counts": counts, "items": sum(counts.values())}
    standing = holds.standing(db, t, holds.FIRST_CONTACT)
    if standing is None:
        holds.open_hold(db, t, holds.FIRST_CONTACT, detail, now, (), payload)
        log.warning("hold.opened", target=targets.get(db, t).name, kind=holds.FIRST_CONTACT)
    else:
        holds.restate(db, standing.id, detail, payload)
    targets.update(db, t, first_contact="open")


def hold_manual(db: Connection, t: int, now: float) -> int:
    """`mode: manual`: whatever nobody has approved waits, in one hold; returns how much."""
    hold: int | None = None
    after, count = 0, 0
    while rows := spill.unheld(db, t, after, _PORTION):
        after = rows[-1].seq
        chosen = [row for row in rows if not row.free and not is_step(row.change)]
        if not chosen:
            continue
        if hold is None:
            hold = holds.open_hold(db, t, holds.MANUAL, "mode: manual: it waits for approval", now)
        holds.add_items(db, hold, (row.item for row in chosen))
        spill.hold(db, [row.seq for row in chosen], Withheld.MODE)
        spill.hold_steps(db, t, [row.item.n for row in chosen], Withheld.MODE)
        count += len(chosen)
    return count


class ContactClock:
    """While a first contact waits, the plan is made anew only now and then: each is a whole one."""

    EVERY = 900.0

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked_at = float("-inf")

    def asked(self) -> None:
        """The counts are those of now."""
        self._asked_at = self._clock.monotonic()

    @property
    def fresh(self) -> bool:
        """Whether the counts are good enough."""
        return self._clock.monotonic() - self._asked_at < self.EVERY
