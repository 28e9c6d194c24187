"""A look at Entra for a command, and the plan: the code of a run, on a copy of the state."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from azsyncd.engine import applying
from azsyncd.engine import consent as consents
from azsyncd.engine.figures import (
    MOST_ROWS,
    budgets_of,
    planned_row,
    seat_rows,
    shrinking_of,
    waiting_row,
)
from azsyncd.engine.office import NotThere, Office, told
from azsyncd.engine.reconcile import Reconcile
from azsyncd.engine.running import Running
from azsyncd.engine.scoping import unmatched
from azsyncd.errors import AzsyncdError, CredentialRefused, SourceError, TargetError, TargetRefused
from azsyncd.model.changes import Kind, Withheld
from azsyncd.model.identities import ObjectId
from azsyncd.operations import ChangeRow, PlanResult, TargetPlan, Tell
from azsyncd.plan.policy import Mode
from azsyncd.state import questions, spill, targets, troubles, waiting
from azsyncd.state.store import Connection, Store, open_store

WAIT_SECONDS = 120.0
"""How long a command waits for a round that it asked for, before it goes on with what is known."""

_EXAMPLES = 3

_CALLS = {Kind.CREATE.value: 3, Kind.ADOPT.value: 2, Kind.CREATE_GROUP.value: 2,
          Kind.ADOPT_GROUP.value: 1, Kind.RENAME.value: 2}  # fmt: skip
"""Requests that a change takes, about."""


class Rehearsals(Office):
    """Operations that say what would be written."""

    async def _pull(self, *, crawl: bool, tell: Tell | None) -> None:
        """A fresh look at Entra; raises SourceError if it fails and nothing was ever read."""
        pull = self._running.pull
        told(tell, "Reading Entra", 0, None)
        if not self._live:
            watching = asyncio.create_task(self._watch_crawl(tell))
            try:
                await pull.once(crawl=crawl)
            except SourceError as error:
                await self._note_trouble(troubles.ENTRA, error)
                raise
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
            await self._trouble_over(troubles.ENTRA)
            return
        rounds, crawls, failures = pull.rounds, pull.crawls, pull.state.failures
        need_crawl = crawl or pull.state.revision == 0
        if need_crawl:
            pull.owe_crawl("operator")
        else:
            pull.ring("operator")
        clock = self._running.clock
        deadline = clock.monotonic() + WAIT_SECONDS
        while True:
            if need_crawl and pull.crawls > crawls:
                return
            if not need_crawl and pull.rounds > rounds:
                return
            if pull.state.failures > failures:
                raise SourceError(pull.state.detail, pull.state.hint)
            if clock.monotonic() > deadline and not pull.state.crawling:
                raise SourceError("Entra did not answer in time", "look at azsyncd status")
            if pull.state.crawling:
                told(tell, "Reading Entra", pull.state.crawl_items, None)
            await clock.sleep(0.05)

    async def _note_trouble(self, who: str, error: AzsyncdError) -> None:
        """For a status without a daemon; with one, it knows."""
        if self._live:
            return
        refused = isinstance(error, (CredentialRefused, TargetRefused))
        now = self._running.clock.now()
        trouble = troubles.Trouble("refused" if refused else "down", error.message, error.hint, now)
        await self._running.store.write(lambda db: troubles.note(db, who, trouble))

    async def _trouble_over(self, who: str) -> None:
        if not self._live:
            await self._running.store.write(lambda db: troubles.over(db, who))

    async def _watch_crawl(self, tell: Tell | None) -> None:
        while True:
            await self._running.clock.sleep(0.2)
            told(tell, "Reading Entra", self._running.pull.state.crawl_items, None)

    async def plan(
        self,
        *,
        target: str | None = None,
        full: bool = False,
        user: str | None = None,
        group: str | None = None,
        keep: bool = False,
        tell: Tell | None = None,
    ) -> PlanResult:
        """What would be written: the code of a run, on a copy of the state. `keep`: also as a
        document that `apply` takes, in which every change carries its evidence."""
        chosen = self._chosen(target)
        await self._pull(crawl=full, tell=tell)
        only = await self._objects(user, group)
        saved: list[dict[str, Any]] = []
        plans = [
            await self._plan_of(name, reconcile, full, only, tell, saved if keep else None)
            for name, reconcile in chosen.items()
        ]
        result = PlanResult(outcome=_plan_outcome(plans), targets=plans)
        if keep:
            result["saved"] = {**applying.header(self._running), "targets": saved}
        return result

    async def rehearse(self, tell: Tell | None = None) -> PlanResult:
        """The plan as things stand, without a look at Entra: for a reload."""
        plans = [
            await self._plan_of(name, reconcile, False, None, tell)
            for name, reconcile in self._running.reconciles.items()
        ]
        return PlanResult(outcome=_plan_outcome(plans), targets=plans)

    async def _objects(self, user: str | None, group: str | None) -> set[int] | None:
        """The numbers that `--user` and `--group` mean; None = everybody."""
        if user is None and group is None:
            return None

        def find(db: Connection) -> set[int]:
            found: set[int] = set()
            for who, kind in ((user, "user"), (group, "group")):
                if who is None:
                    continue
                numbers = {n for n, k in questions.numbers_of(db, who) if k == kind}
                if not numbers:
                    raise NotThere(f"no {kind} {who!r} is known", "give an object id, UPN or name")
                found |= numbers
            return found

        return await self._running.store.read(find)

    async def _plan_of(
        self,
        name: str,
        reconcile: Reconcile,
        full: bool,
        only: set[int] | None,
        tell: Tell | None,
        saved: list[dict[str, Any]] | None = None,
    ) -> TargetPlan:
        try:
            await reconcile.look(anew=full, tell=tell)
        except TargetError as error:
            return _no_plan(name, str(error))
        if self._running.pull.state.revision == 0:
            return _no_plan(name, "Entra has not been read completely yet; see azsyncd status")
        async with self._copy() as store:
            twin = reconcile.twin(store)
            try:
                draft = await twin.rehearse(tell)
            except TargetError as error:  # it asks for marks on its way
                return _no_plan(name, str(error))
            start = reconcile.window_start()
            wanted = {class_.value: count for class_, count in draft.tally.classes.items()}
            shrinks = dict(draft.tally.groups)
            if only is not None:
                await store.write(lambda db: spill.keep_only(db, reconcile.t, only))
            if saved is not None:
                saved.append(await store.read(lambda db: applying.saved_target(db, reconcile)))
            why = await store.write(lambda db: _stops(db, reconcile, self._running.clock.now()))
            plan = await store.read(
                lambda db: _target_plan(db, self._running, reconcile, only, start, wanted, shrinks)
            )
            if why:
                plan["warnings"] = [why, *plan.get("warnings", ())]
            return plan

    @asynccontextmanager
    async def _copy(self) -> AsyncIterator[Store]:
        """The state as it is now, in a file of its own that is gone afterwards."""
        path = self._running.store.path
        with tempfile.TemporaryDirectory(prefix=".rehearsal-", dir=path.parent) as folder:
            copy = Path(folder) / "state.db"
            await self._running.store.backup(copy)
            store = await open_store(copy, exclusive=False)
            try:
                yield store
            finally:
                await store.close()


def _stops(db: Connection, reconcile: Reconcile, now: float) -> str:
    """Why none of this plan is written now, in one line; empty if nothing stands in its way."""
    name, row = reconcile.target.name, targets.get(db, reconcile.t)
    if row.is_paused(now):
        spill.hold_all(db, reconcile.t, Withheld.PAUSED)  # as with `report` (rule 40)
        return f"paused: nothing is written until azsyncd resume --target {name}"
    if reconcile.policy.mode is Mode.REPORT or not consents.meets(db, reconcile.t):
        return ""
    if row.first_contact == "rejected":
        return "the first contact was rejected: nothing is written until azsyncd release"
    if row.first_contact == "consented":
        return ""
    how = "apply" if reconcile.policy.mode is Mode.MANUAL else f"sync --target {name}"
    return f"first contact: nothing of this is written before you agree: azsyncd {how}, or approve"


def _no_plan(name: str, error: str) -> TargetPlan:
    return TargetPlan(
        target=name,
        changes={},
        withheld={},
        rows=[],
        budgets={},
        shrinking=[],
        seats=[],
        unexplained=None,
        seconds=0.0,
        error=error,
    )


def _target_plan(
    db: Connection,
    running: Running,
    reconcile: Reconcile,
    only: set[int] | None,
    start: float,
    wanted: dict[str, int],
    shrinks: Mapping[ObjectId, int],
) -> TargetPlan:
    name, t = reconcile.target.name, reconcile.t
    rows = []
    changes: dict[str, int] = {}
    withheld: dict[str, int] = {}

    def count(kind: str, reason: str | None) -> None:
        if reason is None:
            changes[kind] = changes.get(kind, 0) + 1
        else:
            withheld[reason] = withheld.get(reason, 0) + 1

    for planned in spill.rows(db, t, MOST_ROWS):
        rows.append(planned_row(db, name, planned))
        count(planned.change.kind.value, planned.held)
    for row in waiting.listed(db, t):
        if only is not None and not {row["n"], row["gn"]} & only:
            continue
        rows.append(waiting_row(db, name, row))
        count(row["change"], row["reason"])
    warnings = unmatched(db, reconcile.policy.scope) + _plan_warnings(db, t, name, rows)
    hidden, why = questions.not_believed(db)
    if why:
        warnings.insert(0, why)
    if hidden and only is None:
        withheld["source"] = hidden
    rate = running.config.targets[name].limits.requests_per_second
    calls = sum(number * _CALLS.get(kind, 1) for kind, number in changes.items())
    plan = TargetPlan(
        target=name,
        changes=changes,
        withheld=withheld,
        rows=rows,
        budgets={k: dict(v) for k, v in budgets_of(db, t, reconcile.policy, start, wanted).items()},
        shrinking=shrinking_of(db, t, reconcile.policy, start, shrinks),
        seats=seat_rows(reconcile.capabilities),
        unexplained=max(
            0, questions.unexplained(db, t, running.signed_in_as()) - changes.get("adopt", 0)
        ),
        seconds=round(calls / rate, 1),
    )
    if warnings:
        plan["warnings"] = warnings
    return plan


def _plan_warnings(db: Connection, t: int, target: str, rows: list[ChangeRow]) -> list[str]:
    """Second accounts for people who have one under another name: a wrong template, mostly."""
    twins = []
    for row in rows:
        mail = (row["after"] or {}).get("email") if row["change"] == Kind.CREATE.value else None
        if mail and (username := questions.under_mail(db, t, mail)) is not None:
            twins.append(f"{row['name']}, whose address {username!r} has")
    if not twins:
        return []
    examples = "; ".join(twins[:_EXAMPLES])
    return [
        f"{len(twins)} of the accounts to be created share an address with accounts that stand"
        f" there ({examples}): azsyncd suggest --target {target} compares them"
    ]


def _plan_outcome(plans: list[TargetPlan]) -> str:
    if any("error" in plan for plan in plans):
        return "failed"
    if any(plan["changes"] for plan in plans):
        return "changes"
    return "withheld" if any(plan["withheld"] for plan in plans) else "nothing"
