"""What operators ask, answered by the engine: the one implementation of `azsyncd.operations`.

`live`: a daemon's loops run, so a look is a ring of their bells; without them (the command line on
its own) each operation does the reading itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from azsyncd.engine import applying, linking, moving, suggesting
from azsyncd.engine.decisions import Decisions
from azsyncd.engine.figures import waiting_row
from azsyncd.engine.forgetting import forget
from azsyncd.engine.looks import Looks
from azsyncd.engine.office import NotThere, told
from azsyncd.engine.reconcile import Reconcile
from azsyncd.engine.rehearsals import Rehearsals
from azsyncd.engine.saved import SavedTarget
from azsyncd.engine.status import doubted
from azsyncd.errors import AzsyncdError, TargetError
from azsyncd.operations import AlertTest, ApplyResult, SyncResult, TargetApply, TargetSync, Tell
from azsyncd.plan.policy import Mode
from azsyncd.state import facts, questions, waiting
from azsyncd.state.store import Connection

_AGAIN = 3
"""So often `sync` looks again at once; a daemon's loop goes on by itself."""

_STOPPED = {
    "paused": "paused: nothing is written until azsyncd resume",
    "no_mirror": "Entra has not been read completely yet",
    "asked": "interrupted: the rest is written by the next run",
    "mode": "",
}


class EngineOperations(Looks, Rehearsals, Decisions):
    """The operations on one configuration at work; after a reload on the next one."""

    async def sync(
        self,
        *,
        by: str,
        target: str | None = None,
        full: bool = False,
        user: str | None = None,
        group: str | None = None,
        tell: Tell | None = None,
    ) -> SyncResult:
        """Pull, plan, write, once. It is also the consent to a first contact (rule 26), unless it
        is for one user or group alone."""
        running = self._running
        began = running.clock.monotonic()
        chosen = self._chosen(target)
        if not self._live:
            await running.note_configuration(by)
        await self._pull(crawl=full, tell=tell)
        only = await self._objects(user, group)
        now = running.clock.now()

        def due(db: Connection) -> None:
            for reconcile in chosen.values():
                if only is None:
                    waiting.make_all_due(db, reconcile.t, now)
                for n in only or ():
                    waiting.make_due(db, reconcile.t, n, now)

        await running.store.write(due)
        cause = f"sync by {by}"
        results = await asyncio.gather(
            *(self._sync_one(name, each, cause, full, only, tell) for name, each in chosen.items())
        )
        users, groups, _ = await running.store.read(questions.mirror_counts)
        return SyncResult(
            outcome=_sync_outcome(results),
            users=users,
            groups=groups,
            seconds=round(running.clock.monotonic() - began, 3),
            targets=list(results),
        )

    async def _is_due(self, reconcile: Reconcile) -> bool:
        """Whether what was written has made somebody due at once: one who is stripped since she
        could not be deactivated, the members of a group that stands now."""
        due = await self._running.store.read(lambda db: facts.next_due(db, reconcile.t))
        return due is not None and due <= self._running.clock.now()

    async def _sync_one(
        self,
        name: str,
        reconcile: Reconcile,
        cause: str,
        full: bool,
        only: set[int] | None,
        tell: Tell | None,
    ) -> TargetSync:
        error = waits = ""
        done: Counter[str] = Counter()
        was_down = reconcile.state.state in ("down", "refused")
        watching = asyncio.create_task(self._watch_target(reconcile, tell))
        try:
            # Who asks for one person has not seen what a first contact would do to the others.
            some = None if only is None else frozenset(only)
            report = await reconcile.turn(
                cause=cause, consent=only is None, full=full, only=some, tell=tell
            )
            done.update(report.done)
            for _ in range(_AGAIN):
                if report.stopped or not await self._is_due(reconcile):
                    break
                report = await reconcile.turn(cause=cause, consent=only is None, only=some)
                done.update(report.done)
            error = _STOPPED.get(report.stopped, "") or await doubted(self._running, reconcile)
            if report.stopped == "first_contact":
                waits = f"{reconcile.state.detail}; {reconcile.state.hint}"
            if was_down or only is not None:
                reconcile.bell.ring("operator")
            await self._trouble_over(name)
        except TargetError as trouble:
            error = str(trouble)
            done.update(trouble.done)
            await self._note_trouble(name, trouble)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        store = self._running.store

        def rest(db: Connection) -> tuple[int, dict[str, int], list[Any]]:
            held = questions.withheld(db, reconcile.t)
            rows = [
                waiting_row(db, name, row)
                for row in waiting.listed(db, reconcile.t, 1000)
                if row["attempts"]
            ]
            hidden, why = questions.not_believed(db)
            unsure = max(1, hidden) if why else 0
            reasons = {"guard", "first_contact"}
            if reconcile.policy.mode is Mode.MANUAL:
                reasons.add("mode")  # somebody is to look at that as well
            return sum(held.get(reason, 0) for reason in reasons) + unsure, held, rows

        held, withheld, failing = await store.read(rest)
        result = TargetSync(
            target=name, done=dict(done), failed=failing, held=held, withheld=withheld
        )
        if error:
            result["error"] = error
        elif waits:
            result["waits"] = waits
        return result

    async def _watch_target(self, reconcile: Reconcile, tell: Tell | None) -> None:
        """The loop may be at work already: its progress is ours."""
        state = reconcile.state
        while True:
            await self._running.clock.sleep(0.2)
            if state.step:
                told(tell, f"{reconcile.target.name}: {state.step}", state.done, state.total)

    async def apply(
        self,
        *,
        plan: dict[str, Any],
        by: str,
        target: str | None = None,
        tell: Tell | None = None,
    ) -> ApplyResult:
        """Send what still holds of a plan that was kept, each change on its own evidence."""
        running = self._running
        began = running.clock.monotonic()
        saved = applying.checked(running, plan, target)
        if not self._live:
            await running.note_configuration(by)
        await self._pull(crawl=False, tell=tell)
        chosen = [part for part in saved.targets if target in (None, part.name)]
        results = await asyncio.gather(
            *(self._apply_one(part, by, tell) for part in chosen if part.changes)
        )
        return applying.result_of(saved, list(results), running.clock.monotonic() - began)

    async def _apply_one(self, part: SavedTarget, by: str, tell: Tell | None) -> TargetApply:
        reconcile = self._running.reconciles.get(part.name)
        return await applying.apply_one(self._running, part, reconcile, by, tell)

    async def reload(self, *, by: str, dry_run: bool = False) -> dict[str, Any]:
        """Read the file again."""
        if self._reload is None:
            raise AzsyncdError("no daemon is running", "it reads the file when it starts")
        return await self._reload(dry_run, by)

    async def backup(self, *, file: str) -> dict[str, Any]:
        """A consistent copy of the state."""
        size = await self._running.store.backup(Path(file))
        return {"file": file, "bytes": size}

    async def forget(self, *, who: str, by: str) -> dict[str, Any]:
        """One person's values leave the journal."""
        return await forget(self._running.store, who, by)

    async def suggest(
        self, *, target: str | None = None, tell: Tell | None = None
    ) -> list[dict[str, Any]]:
        """How the accounts that stand there belong to the people in Entra."""
        running = self._running
        chosen = self._chosen(target)
        if running.pull.state.revision == 0:
            await self._pull(crawl=False, tell=tell)
        told = []
        for name, reconcile in chosen.items():
            try:
                await reconcile.look(tell=tell)
            except TargetError as error:
                told.append({"target": name, "error": str(error)})
                continue
            told.append(await suggesting.suggest(running, reconcile, tell))
        return told

    async def link(
        self, *, target: str, pairs: list[list[str]], by: str, reason: str = ""
    ) -> list[dict[str, Any]]:
        """Give people the accounts that are named for them."""
        running, reconcile = self._running, self._chosen(target)[target]
        asked = linking.Asked(by, reason, running.clock.now())
        if any(len(pair) != 2 for pair in pairs):
            raise AzsyncdError("each pair must be who, and the account")
        return await linking.link(running.store, reconcile, pairs, asked)

    async def unlink(self, *, target: str, who: str, by: str, reason: str = "") -> dict[str, Any]:
        """Let somebody and her account go."""
        running, reconcile = self._running, self._chosen(target)[target]
        asked = linking.Asked(by, reason, running.clock.now())
        return await linking.unlink(running.store, reconcile, who, asked)

    async def target(
        self,
        *,
        action: str,
        name: str,
        by: str,
        new: str | None = None,
        moved: bool = False,
        go: bool = False,
    ) -> dict[str, Any]:
        """Move or give up what is known of a target."""
        running = self._running
        in_file = list(running.reconciles)

        def work(db: Connection) -> dict[str, Any]:
            if action == "rename":
                return moving.rename(db, name, str(new), in_file, go=go)
            if action == "rebind":
                return moving.rebind(db, name, in_file, moved=moved, go=go)
            if action == "detach":
                return moving.detach(db, name, in_file, go=go)
            raise NotThere(f"{action!r} is none of rename, rebind, detach")

        if not go:
            return await running.store.read(work)
        concerned = running.reconciles.get(new if action == "rename" and new else name)
        if concerned is None:
            return await running.store.write(work)
        async with concerned.quiet():
            told = await running.store.write(work)
            concerned.stop()  # it knows what is not so any more
        if self._reload is not None:
            outcome = await self._reload(False, by)
            if outcome["outcome"] not in ("reloaded", "unchanged"):
                raise AzsyncdError(
                    f"{action} is done, but the file is {outcome['outcome']}: the target stands"
                    " still until it is in force",
                    "azsyncd reload says what is wrong with it",
                )
        return told

    async def alerts_test(self, *, by: str) -> list[AlertTest]:
        """One of each kind, through every door."""
        return await self._running.watch.test(by)


def _sync_outcome(results: Sequence[TargetSync]) -> str:
    outcome = "converged"
    for result in results:
        if result.get("error") or result["failed"]:
            return "failures"
        if result["held"]:
            outcome = "held"
    return outcome
