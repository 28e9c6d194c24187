"""What people decide: holds, rejections, pauses."""

from __future__ import annotations

import re
from typing import Any

from azsyncd.clock import iso
from azsyncd.engine import consent as consents
from azsyncd.engine.figures import (
    MOST_ROWS,
    absent_row,
    hold_item_rows,
    hold_row,
    planned_row,
)
from azsyncd.engine.office import NotThere, Office
from azsyncd.errors import AzsyncdError
from azsyncd.model.changes import Withheld
from azsyncd.operations import HoldRow
from azsyncd.state import codec, folding, holds, mirror, questions, spill, targets, waiting
from azsyncd.state.store import Connection, get_meta

_NUMBER = re.compile(r"[0-9]{1,18}")
"""The number of a hold, as long as SQLite counts."""


class Decisions(Office):
    """Operations that carry a decision out."""

    async def holds(self, *, show: int | None = None) -> list[HoldRow]:
        """The holds that matter still, or one of them with its changes."""
        store = self._running.store

        def ask(db: Connection) -> list[HoldRow]:
            names = {row.t: row.name for row in targets.all_targets(db)}
            if show is None:
                found = holds.unsettled(db)
                return [hold_row(each, names.get(each.t or 0)) for each in found]
            hold = holds.get(db, show)
            if hold is None:
                return []
            name = names.get(hold.t or 0)
            row = hold_row(hold, name)
            row["rows"] = hold_item_rows(db, hold.id, name or "")
            if hold.kind == holds.SOURCE and hold.state == "open":
                crawl = int(hold.payload["crawl"])
                absent = folding.absent(db, crawl, MOST_ROWS)
                row["rows"] += [absent_row(db, *each) for each in absent]
            if hold.kind == holds.FIRST_CONTACT and hold.state == "open" and hold.t and name:
                # It is a whole plan, as it was made last, and has no items of its own.
                planned = spill.rows(db, hold.t, MOST_ROWS)
                waits = Withheld.FIRST_CONTACT
                row["rows"] += [planned_row(db, name, p) for p in planned if p.held == waits]
            return [row]

        return await store.read(ask)

    async def approve(
        self,
        *,
        hold: int,
        by: str,
        expect: int | None = None,
        only: list[str] | None = None,
        excepting: list[str] | None = None,
        reason: str = "",
    ) -> HoldRow:
        """Let a hold's changes be written, all or some."""
        running = self._running
        now = running.clock.now()

        def decide(db: Connection) -> holds.Hold:
            found = _open_hold(db, hold, ("open", "rejected"))
            if expect is not None and expect != found.items:
                raise AzsyncdError(
                    f"hold {hold} has {found.items} changes, not {expect}",
                    f"azsyncd holds show {hold} shows them",
                )
            if found.kind == holds.SOURCE:
                crawl, had_proof = found.payload.get("crawl"), mirror.has_proof(db)
                if crawl is None or crawl != get_meta(db, "crawl"):
                    raise AzsyncdError(
                        f"hold {hold} is about a reading of Entra that a newer one has replaced",
                        "azsyncd holds lists what the newer one left open; azsyncd sync --full"
                        " reads again",
                    )
                folding.approve_sweep(db, crawl, now)
                if not had_proof:
                    targets.all_due(db)  # removals that waited for the proof are planned now
                questions.close_hold(db, hold, "approved", by, reason, now)
                return found
            if found.kind == holds.FIRST_CONTACT:
                if only or excepting:
                    raise AzsyncdError(
                        "a first contact is approved as a whole",
                        "narrow the scope in the file instead, or set mode: additions_only",
                    )
                questions.close_hold(db, hold, "approved", by, reason, now)
                consents.agree(db, int(found.t or 0), found.payload.get("counts") or {})
                targets.owe_full(db, int(found.t or 0))
                return found
            chosen = _chosen_objects(db, hold, only, excepting)
            objects = holds.decide(db, hold, "approved", by, reason, now, chosen)
            for n in objects:
                waiting.make_due(db, int(found.t or 0), n, now)
            return found

        found = await running.store.write(decide)
        await running.refresh_revision()
        self._ring(found.t)
        return await self._told_hold(hold)

    async def reject(self, *, hold: int, by: str, reason: str = "") -> HoldRow:
        """Keep a hold's changes from being written until what is wanted changes."""
        now = self._running.clock.now()

        def decide(db: Connection) -> None:
            found = _open_hold(db, hold, ("open",))
            if found.kind in (holds.SOURCE, holds.FIRST_CONTACT):
                questions.close_hold(db, hold, "rejected", by, reason, now)
                if found.kind == holds.FIRST_CONTACT:
                    targets.update(db, int(found.t or 0), first_contact="rejected")
                return
            holds.decide(db, hold, "rejected", by, reason, now)

        await self._running.store.write(decide)
        return await self._told_hold(hold)

    async def release(self, *, what: str, by: str) -> dict[str, Any]:
        """Forget rejections of a hold (by number) or of an object: planned and guarded anew."""
        running = self._running
        now = running.clock.now()

        def forget(db: Connection) -> int:
            if _NUMBER.fullmatch(what):
                number = int(what)
                hold = holds.get(db, number)
                if hold is None or hold.state != "rejected":
                    raise NotThere(f"there is no rejected hold {what}", "azsyncd holds lists them")
                released = questions.forget_rejections(db, hold=number, n=None)
                if hold.kind == holds.FIRST_CONTACT:
                    targets.update(db, int(hold.t or 0), first_contact="new", agreed=None)
                    targets.owe_full(db, int(hold.t or 0))
                    questions.close_hold(db, number, "gone", by, "released", now)
                    return max(1, hold.items)
            else:
                objects = [n for n, _ in questions.numbers_of(db, what)]
                if not objects:
                    raise NotThere(f"{what!r} is not known", "give a hold's number or an object")
                released = [
                    pair
                    for n in objects
                    for pair in questions.forget_rejections(db, hold=None, n=n)
                ]
            for t, n in released:
                waiting.make_due(db, t, n, now)
            return len(released)

        number = await running.store.write(forget)
        self._ring(None)
        return {"released": number, "by": by}

    async def _told_hold(self, hold: int) -> HoldRow:
        found = await self.holds(show=hold)
        row = found[0]
        row.pop("rows", None)
        return row

    async def pause(
        self,
        *,
        by: str,
        reason: str,
        target: str | None = None,
        seconds: float | None = None,
    ) -> dict[str, Any]:
        """Go on reading, write nothing."""
        if seconds is not None and seconds <= 0:
            raise AzsyncdError("a pause must last for some time", "e.g. --for 4h")
        running = self._running
        chosen = self._chosen(target)
        until = None if seconds is None else running.clock.now() + seconds
        told = {"reason": reason, "by": by, "until": until, "since": running.clock.now()}
        text = codec.dump(told)

        def note(db: Connection) -> None:
            for reconcile in chosen.values():
                targets.update(db, reconcile.t, paused=text)

        await running.store.write(note)
        for reconcile in chosen.values():
            reconcile.interrupt()
        return {"targets": list(chosen), "reason": reason, "by": by, "until": iso(until)}

    async def resume(self, *, by: str, target: str | None = None) -> dict[str, Any]:
        """Write again."""
        chosen = self._chosen(target)

        def note(db: Connection) -> list[str]:
            were = [n for n, r in chosen.items() if targets.get(db, r.t).paused is not None]
            for reconcile in chosen.values():
                targets.update(db, reconcile.t, paused=None)
            return were

        were = await self._running.store.write(note)
        for reconcile in chosen.values():
            reconcile.interrupt()
        return {"targets": were, "by": by}


def _open_hold(db: Connection, hold: int, states: tuple[str, ...]) -> holds.Hold:
    found = holds.get(db, hold)
    if found is None:
        raise NotThere(f"there is no hold {hold}", "azsyncd holds lists them")
    if found.state not in states:
        raise AzsyncdError(f"hold {hold} is {found.state} already", "azsyncd holds lists the open")
    return found


def _chosen_objects(
    db: Connection, hold: int, only: list[str] | None, excepting: list[str] | None
) -> list[int] | None:
    """The objects that `--only` or `--except` leave; None = all."""
    if not only and not excepting:
        return None
    inside = set(questions.objects_of_hold(db, hold))
    named: set[int] = set()
    for who in only or excepting or ():
        numbers = {n for n, _ in questions.numbers_of(db, who)} & inside
        if not numbers:
            raise NotThere(f"{who!r} is not in hold {hold}", f"azsyncd holds show {hold}")
        named |= numbers
    return sorted(named if only else inside - named)
