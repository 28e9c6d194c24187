"""What operators ask, answered by the engine: the one implementation of `azsyncd.operations`.

`live`: a daemon's loops run, so a look is a ring of their bells; without them (the command line on
its own) each operation does the reading itself.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from azsyncd.clock import iso
from azsyncd.engine import applying, checkup, explaining, linking, moving, suggesting
from azsyncd.engine.figures import (
    budgets_of,
    configuration_row,
    helping,
    history_row,
    hold_item_rows,
    hold_row,
    planned_row,
    seat_rows,
    shrinking_of,
    waiting_row,
)
from azsyncd.engine.forgetting import forget
from azsyncd.engine.reconcile import Reconcile
from azsyncd.engine.running import Running
from azsyncd.engine.saved import SavedTarget
from azsyncd.engine.status import status_of
from azsyncd.errors import (
    AzsyncdError,
    CredentialRefused,
    SourceError,
    TargetError,
    TargetRefused,
)
from azsyncd.model.changes import Kind
from azsyncd.model.identities import ObjectId
from azsyncd.operations import (
    AlertTest,
    ApplyResult,
    ChangeRow,
    CheckLine,
    HoldRow,
    PlanResult,
    Progress,
    StatusResult,
    SyncResult,
    TargetApply,
    TargetPlan,
    TargetSync,
    Tell,
)
from azsyncd.state import (
    codec,
    configurations,
    holds,
    journal,
    mirror,
    questions,
    spill,
    targets,
    troubles,
    waiting,
)
from azsyncd.state.store import Connection, Store, open_store

WAIT_SECONDS = 120.0
"""How long a command waits for a round that it asked for, before it goes on with what is known."""

MOST_ROWS = 200_000

_PATIENCE = 20.0
"""How long a question waits for a product that is asked on the way."""

_NUMBER = re.compile(r"[0-9]{1,18}")
"""The number of a hold, as long as SQLite counts."""

Reload = Callable[[bool, str], Coroutine[Any, Any, dict[str, Any]]]


class NotThere(AzsyncdError):
    """What was named does not exist."""


class EngineOperations:
    """The operations on one configuration at work; after a reload on the next one."""

    def __init__(
        self,
        running: Callable[[], Running],
        *,
        live: bool,
        since: float | None = None,
        config_state: Callable[[], dict[str, Any]] = dict,
        reload: Reload | None = None,
    ) -> None:
        self._get_running = running
        self._live = live
        self._since = since
        self._config_state = config_state
        self._reload = reload

    @property
    def _running(self) -> Running:
        return self._get_running()

    def _chosen(self, target: str | None) -> dict[str, Reconcile]:
        reconciles = self._running.reconciles
        if target is None:
            return dict(reconciles)
        if target not in reconciles:
            known = ", ".join(reconciles)
            raise NotThere(f"there is no target {target!r}", f"the file has: {known}")
        return {target: reconciles[target]}

    # Looking ------------------------------------------------------------------------------------

    async def status(self) -> StatusResult:
        """How everything stands."""
        since = self._since if self._live else None
        return await status_of(self._running, self._live, since, self._config_state())

    async def check(self, tell: Tell | None = None) -> list[CheckLine]:
        """Whether everything is as it must be."""
        return await checkup.check(self._running, tell)

    async def explain(
        self, *, who: str, group: str | None = None, target: str | None = None
    ) -> dict[str, Any]:
        """Why somebody has what she has."""
        chosen = self._chosen(target)
        not_asked = {}
        for name, reconcile in chosen.items():
            state = reconcile.state
            if reconcile.capabilities is None and state.state in ("down", "refused"):
                not_asked[name] = state.detail  # the loop has asked a moment ago
                continue
            try:  # what a product can do is part of the answer, but nobody waits for ever
                async with asyncio.timeout(_PATIENCE):
                    await reconcile.prepare()
            except TimeoutError:
                not_asked[name] = f"no answer within {_PATIENCE:g} s"
            except TargetError as error:
                not_asked[name] = str(error)
        reconciles = list(chosen.values())
        return await self._running.dry(
            lambda db: explaining.explain(db, reconciles, who, group, not_asked)
        )

    async def history(
        self,
        *,
        user: str | None = None,
        target: str | None = None,
        run: str | None = None,
        since: float | None = None,
        limit: int = 1000,
    ) -> list[dict[str, Any]]:
        """The newest writes first."""
        t = None
        if target is not None:
            t = await self._number_of_target(target)

        def ask(db: Connection) -> list[dict[str, Any]]:
            numbers = None
            if user is not None:
                numbers = [n for n, _ in questions.numbers_of(db, user)]
                if not numbers:
                    raise NotThere(f"{user!r} is not known", "give a UPN, mail or object id")
            rows = journal.read(db, numbers=numbers, t=t, run=run, since=since, limit=limit)
            return [history_row(db, row) for row in rows]

        return await self._running.store.read(ask)

    async def configurations(self, *, digest: str | None = None) -> list[dict[str, Any]]:
        """The configurations that were in force, the newest first."""

        def ask(db: Connection) -> list[dict[str, Any]]:
            found = [configuration_row(row) for row in configurations.listed(db)]
            if digest is None:
                return found
            bodies = configurations.body_of(db, digest)
            if len(bodies) != 1:
                what = "several" if bodies else "no"
                raise NotThere(
                    f"{what} configurations that were in force begin with {digest!r}",
                    "azsyncd config history lists them",
                )
            chosen = [each for each in found if each["digest"].startswith(digest)]
            return [{**each, "body": bodies[0]} for each in chosen]

        return await self._running.store.read(ask)

    async def _number_of_target(self, target: str) -> int:
        rows = await self._running.store.read(targets.all_targets)
        found = [row.t for row in rows if row.name == target]
        if not found:
            raise NotThere(
                f"there is no target {target!r}",
                f"the state knows: {', '.join(row.name for row in rows)}",
            )
        return found[0]

    async def accounts(
        self, *, target: str | None = None, which: str | None = None
    ) -> list[dict[str, Any]]:
        """Accounts of the products by what is known of them."""
        if which not in (None, "unexplained", "adopted", "conflict", "failing"):
            raise NotThere(f"{which!r} is none of unexplained, adopted, conflict, failing")
        found: list[dict[str, Any]] = []
        for name, reconcile in self._chosen(target).items():
            rows = await self._running.store.read(
                lambda db, t=reconcile.t: questions.accounts(db, t, which)  # type: ignore[misc]
            )
            ours = self._running.signed_in_as()
            found += [
                row for each in rows
                if (row := _account_row(name, each, reconcile.instance)) and not (
                    which == "unexplained" and row["username"].casefold() in ours)
            ]  # fmt: skip
        return found

    async def subscriptions(self, *, action: str = "list") -> list[dict[str, Any]]:
        """Ours at Graph: list, renew, delete."""
        keeper = self._running.keeper
        if keeper is None:
            raise NotThere(
                "notifications.mode is none: there are no subscriptions",
                "set notifications.mode: webhook and public_url for changes within seconds",
            )
        if action == "renew":
            await keeper.renew_all()
        elif action == "delete":
            await keeper.delete_all()
        elif action != "list":
            raise NotThere(f"{action!r} is none of list, renew, delete")
        await keeper.load()
        return [
            {"resource": k.resource, "id": k.id, "expires_at": iso(k.expires_at)}
            for k in keeper.kept()
        ]

    # Reading Entra ------------------------------------------------------------------------------

    async def _pull(self, *, crawl: bool, tell: Tell | None) -> None:
        """A fresh look at Entra; raises SourceError if it fails and nothing was ever read."""
        pull = self._running.pull
        _told(tell, "Reading Entra", 0, None)
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
        if crawl:
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
                _told(tell, "Reading Entra", pull.state.crawl_items, None)
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
            _told(tell, "Reading Entra", self._running.pull.state.crawl_items, None)

    # plan ---------------------------------------------------------------------------------------

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
            if saved is not None:
                saved.append(
                    await store.read(lambda db: applying.saved_target(db, reconcile, only))
                )
            return await store.read(
                lambda db: _target_plan(db, self._running, reconcile, only, start, wanted, shrinks)
            )

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

    # sync ---------------------------------------------------------------------------------------

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
        """Pull, plan, write, once. It is also the consent to a first contact (rule 26)."""
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
                waiting.make_all_due(db, reconcile.t, now)
                for n in only or ():
                    waiting.make_due(db, reconcile.t, n, now)

        await running.store.write(due)
        cause = f"sync by {by}"
        results = await asyncio.gather(
            *(self._sync_one(name, each, cause, full, tell) for name, each in chosen.items())
        )
        users, groups, _ = await running.store.read(questions.mirror_counts)
        return SyncResult(
            outcome=_sync_outcome(results),
            users=users,
            groups=groups,
            seconds=round(running.clock.monotonic() - began, 3),
            targets=list(results),
        )

    async def _sync_one(
        self, name: str, reconcile: Reconcile, cause: str, full: bool, tell: Tell | None
    ) -> TargetSync:
        error = ""
        done: dict[str, int] = {}
        was_down = reconcile.state.state in ("down", "refused")
        watching = asyncio.create_task(self._watch_target(reconcile, tell))
        try:
            report = await reconcile.turn(cause=cause, consent=True, full=full, tell=tell)
            done = dict(report.done)
            error = _STOPPED.get(report.stopped, "")
            if was_down:
                reconcile.bell.ring("operator")
            await self._trouble_over(name)
        except TargetError as trouble:
            error = str(trouble)
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
            return held.get("guard", 0) + held.get("first_contact", 0) + unsure, held, rows

        held, withheld, failing = await store.read(rest)
        result = TargetSync(target=name, done=done, failed=failing, held=held, withheld=withheld)
        if error:
            result["error"] = error
        return result

    async def _watch_target(self, reconcile: Reconcile, tell: Tell | None) -> None:
        """The loop may be at work already: its progress is ours."""
        state = reconcile.state
        while True:
            await self._running.clock.sleep(0.2)
            if state.step:
                _told(tell, f"{reconcile.target.name}: {state.step}", state.done, state.total)

    # apply --------------------------------------------------------------------------------------

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

    # Decisions ----------------------------------------------------------------------------------

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
                mirror.approve_sweep(db, int(found.payload.get("crawl") or 0), now)
                questions.close_hold(db, hold, "approved", by, reason, now)
                return found
            if found.kind == holds.FIRST_CONTACT:
                if only or excepting:
                    raise AzsyncdError(
                        "a first contact is approved as a whole",
                        "narrow the scope in the file instead, or set mode: additions_only",
                    )
                questions.close_hold(db, hold, "approved", by, reason, now)
                targets.update(db, int(found.t or 0), first_contact="consented", full_due=1)
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
                    targets.update(db, int(hold.t or 0), first_contact="new", full_due=1)
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

    def _ring(self, t: int | None) -> None:
        for reconcile in self._running.reconciles.values():
            if t in (None, reconcile.t):
                reconcile.bell.ring("operator")

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

    # The daemon itself --------------------------------------------------------------------------

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

    # Whose it is --------------------------------------------------------------------------------

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
            ours = running.signed_in_as()
            told.append(await suggesting.suggest(running.store, reconcile, ours, tell))
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


_STOPPED = {
    "paused": "paused: nothing is written until azsyncd resume",
    "no_mirror": "Entra has not been read completely yet",
    "asked": "interrupted: the rest is written by the next run",
    "mode": "",
    "first_contact": "a first contact waits for a decision: azsyncd holds",
}


def _told(tell: Tell | None, step: str, done: int, total: int | None) -> None:
    if tell is not None:
        tell(Progress(step=step, done=done, total=total))


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
        if only is not None and not {planned.item.n, planned.item.gn} & only:
            continue
        rows.append(planned_row(db, name, planned))
        count(planned.change.kind.value, planned.held)
    for row in waiting.listed(db, t):
        if only is not None and not {row["n"], row["gn"]} & only:
            continue
        rows.append(waiting_row(db, name, row))
        count(row["change"], row["reason"])
    warnings = _plan_warnings(db, t, name, rows)
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
        unexplained=questions.unexplained(db, t, running.signed_in_as()),
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


_EXAMPLES = 3

_CALLS = {Kind.CREATE.value: 3, Kind.ADOPT.value: 2, Kind.CREATE_GROUP.value: 2,
          Kind.ADOPT_GROUP.value: 1, Kind.RENAME.value: 2}  # fmt: skip
"""Requests that a change takes, about."""


def _plan_outcome(plans: list[TargetPlan]) -> str:
    if any("error" in plan for plan in plans):
        return "failed"
    if any(plan["changes"] for plan in plans):
        return "changes"
    return "withheld" if any(plan["withheld"] for plan in plans) else "nothing"


def _sync_outcome(results: Sequence[TargetSync]) -> str:
    outcome = "converged"
    for result in results:
        if result.get("error") or result["failed"]:
            return "failures"
        if result["held"]:
            outcome = "held"
    return outcome


def _account_row(target: str, row: Any, instance: str) -> dict[str, Any]:
    account = codec.account_of(row["body"])
    mark = account.mark if account is not None and row["id"] is None else None
    marked = ""
    if mark is not None:  # whose it was: nobody's any more, or another azsyncd's
        whose = "our mark" if mark.instance == instance else f"the mark of {mark.instance!r}"
        marked = f"carries {whose} for {mark.object_id}"
    return {
        "target": target,
        "username": account.username if account else (row["upn"] or ""),
        "email": account.email if account else None,
        "display_name": account.display_name if account else None,
        "active": account.active if account else None,
        "key": account.key if account else None,
        "object_id": row["id"],
        "state": row["reason"] or row["origin"] or "unexplained",
        "detail": " — ".join(part for part in (row["detail"], row["hint"], marked) if part),
        "attempts": row["attempts"],
        "next_try": iso(row["retry_at"]),
        "command": helping(row["reason"], target, row["upn"] or row["id"]) if row["reason"] else "",
    }
