"""One loop per target: catch up with the mirror, then wait for the next reason to look.

Every loop begins in the state of catching up, so that a start, a long outage, an overflow and an
ordinary change are one path (Synapse's federation sender works like this). What is remembered is
only the revision that the target has reached; it advances when everybody of the slice is right, or
waits with a reason (rule 29). A target that is down, slow or refuses us costs the others nothing.

A turn:  probe → settle pending creates → inventory if a full plan is due → plan (everything, or the
slice since the revision) → guard → send, with newer slices planned between the chunks → advance.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from azsyncd.clock import Clock
from azsyncd.engine.apply import Apply, Observer, Stopped
from azsyncd.engine.bell import Bell
from azsyncd.engine.planning import Draft, Planning, batched
from azsyncd.errors import TargetError, TargetRefused
from azsyncd.model.accounts import Account, Capabilities, TargetGroup
from azsyncd.model.changes import Withheld
from azsyncd.model.identities import ObjectId
from azsyncd.model.links import Origin
from azsyncd.operations import Progress, Tell
from azsyncd.plan.matching import is_ours
from azsyncd.plan.policy import Mode, Policy
from azsyncd.state import codec, facts, holds, links, mirror, spill, targets, waiting
from azsyncd.state.store import Connection, Store, get_meta, set_meta
from azsyncd.targets.base import Target

log = structlog.get_logger()

DOWN_BACK_OFF = (5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
REFUSED_BACK_OFF = (60.0, 300.0, 900.0, 3600.0)
INVENTORY_BATCH = 500
SETTLE_LATER = 60.0


@dataclass(slots=True)
class TargetState:
    """What `status` shows of a target."""

    state: str = "starting"  # starting | working | idle | down | refused | paused | first_contact
    detail: str = ""
    hint: str = ""
    since: float | None = None
    step: str = ""
    done: int = 0
    total: int | None = None
    reached: int = 0
    behind_since: float | None = None  # monotonic: the oldest change that is not yet written
    runs: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What one turn did."""

    done: dict[str, int] = field(default_factory=dict)
    failed: list[tuple[object, str, str, str, str]] = field(default_factory=list)
    held: int = 0
    stopped: str = ""
    run: str = ""


class Reconcile:
    """The loop of one target."""

    def __init__(
        self,
        target: Target,
        policy: Policy,
        store: Store,
        clock: Clock,
        *,
        t: int,
        instance: str,
        policy_digest: str,
        concurrency: int,
        signed_in_as: Callable[[], frozenset[str]],
        signs_in_as: Callable[[str, str | None], None],
        mirror_revision: Callable[[], int],
        observe: Callable[[str, Observer], Observer] | None = None,
    ) -> None:
        self.target = target
        self.policy = policy
        self.t = t
        self.bell = Bell(clock)
        self.state = TargetState()
        self.capabilities: Capabilities | None = None
        self.planning = Planning(
            t,
            policy,
            target.dialect,
            instance=instance,
            clock=clock,
            signed_in_as=signed_in_as,
        )
        self._store = store
        self._clock = clock
        self._instance = instance
        self._policy_digest = policy_digest
        self._concurrency = concurrency
        self._signs_in_as = signs_in_as
        self._mirror_revision = mirror_revision
        self._busy = asyncio.Lock()
        self._stop = False
        self._interrupt = False
        self._seen_at: dict[int, float] = {}
        self._observe_write: Callable[[str, str, float | None], None] = lambda c, o, s: None
        self._prompt_full = False

    # Asked from outside ---------------------------------------------------------------------------

    def advanced(self, revision: int, seen_at: float) -> None:
        """The mirror moved on; `seen_at` (monotonic) is when we could know of it."""
        self._seen_at[revision] = seen_at
        if self.state.behind_since is None:
            self.state.behind_since = seen_at
        self.bell.ring("mirror")

    def on_write(self, observe: Callable[[str, str, float | None], None]) -> None:
        """(change, outcome, seconds from the notification or poll to the answer, or None)."""
        self._observe_write = observe

    def stop(self) -> None:
        """Finish the write in flight, start no other."""
        self._stop = True
        self.bell.ring("stop")

    def interrupt(self) -> None:
        """Leave off after the write in flight and look at the settings again (pause, resume)."""
        self._interrupt = True
        self.bell.ring("interrupt")

    # The loop -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the target equal for ever."""
        failures = 0
        while not self._stop:
            self.bell.answer()
            try:
                await self.turn(cause="+".join(["daemon"]))
                failures = 0
                delay = await self._idle_seconds()
            except TargetRefused as error:
                self._trouble("refused", error)
                delay = REFUSED_BACK_OFF[min(failures, len(REFUSED_BACK_OFF) - 1)]
                failures += 1
                await self._back_off(delay)
                continue
            except TargetError as error:
                self._trouble("down", error)
                delay = DOWN_BACK_OFF[min(failures, len(DOWN_BACK_OFF) - 1)]
                delay = delay * (0.75 + 0.5 * self._clock.jitter())
                failures += 1
                await self._back_off(max(getattr(error, "retry_after", None) or 0.0, delay))
                continue
            if not self._stop:
                await self.bell.wait(delay)

    async def _back_off(self, seconds: float) -> None:
        """Wait, whatever the mirror does meanwhile; an operator may cut it short."""
        deadline = self._clock.monotonic() + seconds
        while not self._stop and (left := deadline - self._clock.monotonic()) > 0:
            if await self.bell.wait(left):
                reasons, _ = self.bell.answer()
                if reasons - {"mirror"}:
                    return

    async def _idle_seconds(self) -> float | None:
        due = await self._store.read(lambda db: facts.next_due(db, self.t))
        paused = await self._store.read(lambda db: targets.get(db, self.t).paused)
        until = paused.get("until") if paused else None
        moments = [moment for moment in (due, until) if moment is not None]
        if not moments:
            return None
        return max(0.5, min(moments) - self._clock.now())

    def _trouble(self, state: str, error: TargetError) -> None:
        if self.state.state != state:
            self.state.since = self._clock.now()
            event = "target.refused" if state == "refused" else "target.unavailable"
            log.warning(event, target=self.target.name, error=error.message, hint=error.hint)
        self.state.state, self.state.detail = state, error.message
        self.state.hint = error.hint
        self.state.step = ""

    def _well(self, state: str) -> None:
        if self.state.state in ("down", "refused"):
            seconds = self._clock.now() - (self.state.since or self._clock.now())
            log.info("target.available", target=self.target.name, after_seconds=round(seconds, 1))
        if self.state.state != state:
            self.state.since = self._clock.now()
        self.state.state, self.state.detail, self.state.hint = state, "", ""

    # A turn ---------------------------------------------------------------------------------------

    async def turn(
        self,
        *,
        cause: str,
        consent: bool = False,
        full: bool = False,
        tell: Tell | None = None,
    ) -> Report:
        """Bring the target up to date once. `consent`: an operator asked, which also answers a
        first contact (rule 26). Raises TargetError."""
        async with self._busy:
            self._interrupt = False
            row = await self._store.read(lambda db: targets.get(db, self.t))
            if self._paused(row):
                self._well("paused")
                return Report(stopped="paused")
            if self._mirror_revision() == 0:
                return Report(stopped="no_mirror")
            await self.prepare()
            if self.policy.mode is not Mode.REPORT:
                await self._settle_pending()
            due = full or row.full_due or row.policy != self._policy_digest
            if due or row.inventory == 0:
                await self.prepare(anew=True)
                await self._mark_full_due()
                await self.take_inventory(tell)
                due = True
            elif self.state.reached == 0:
                self.state.reached = row.revision
            return await self._work(row, full=due, cause=cause, consent=consent, tell=tell)

    async def look(self, *, anew: bool = False, tell: Tell | None = None) -> None:
        """Probe, and read what stands there if that never happened, or `anew`. Nothing is written
        there. Raises TargetError."""
        async with self._busy:
            await self.prepare()
            row = await self._store.read(lambda db: targets.get(db, self.t))
            if anew or row.inventory == 0:
                await self.take_inventory(tell)

    def twin(self, store: Store) -> Reconcile:
        """The same on a copy of the state, to rehearse on."""
        twin = Reconcile(
            self.target,
            self.policy,
            store,
            self._clock,
            t=self.t,
            instance=self._instance,
            policy_digest=self._policy_digest,
            concurrency=self._concurrency,
            signed_in_as=self.planning.signed_in_as,
            signs_in_as=lambda name, account: None,
            mirror_revision=self._mirror_revision,
        )
        twin.capabilities = self.capabilities
        if self.capabilities is not None:
            twin.planning.capabilities = self.capabilities
        return twin

    async def rehearse(self, tell: Tell | None = None) -> Draft:
        """Plan everything into the spill, guarded; nothing is sent."""
        await self._store.write(lambda db: spill.clear(db, self.t))
        draft = await self._draft(full=True, since=0, tell=tell)
        await self._judge(draft)
        return draft

    def _paused(self, row: targets.TargetRow) -> bool:
        if row.paused is None:
            return False
        until = row.paused.get("until")
        return until is None or until > self._clock.now()

    async def _mark_full_due(self) -> None:
        await self._store.write(lambda db: targets.update(db, self.t, full_due=1))

    async def prepare(self, *, anew: bool = False) -> Capabilities:
        """Ask what the product can do, and whether it is the one that we know (rule 25); once, or
        `anew`: seats, rights and versions change."""
        if self.capabilities is not None and not anew:
            return self.capabilities
        capabilities = await self.target.probe()
        fingerprint = await self.target.fingerprint()
        row = await self._store.read(lambda db: targets.get(db, self.t))
        if row.fingerprint is None:
            others = await self._store.read(targets.all_targets)
            same = [o.name for o in others if o.fingerprint == fingerprint and o.t != self.t]
            if same:
                raise TargetRefused(
                    f"this installation is known as target {same[0]!r} already",
                    f"azsyncd target rename {same[0]} {self.target.name} keeps what is known of it",
                    target=self.target.name,
                )
            await self._store.write(lambda db: targets.update(db, self.t, fingerprint=fingerprint))
        elif row.fingerprint != fingerprint:
            raise TargetRefused(
                "this is another installation than the one that azsyncd knows by this name",
                f"check its url; azsyncd target rebind {self.target.name} gives up the old one",
                target=self.target.name,
            )
        self.capabilities = self.planning.capabilities = capabilities
        self._signs_in_as(self.target.name, capabilities.signed_in_as)
        return capabilities

    # Reading the target ---------------------------------------------------------------------------

    def _tell(self, tell: Tell | None, step: str, done: int, total: int | None) -> None:
        self.state.step, self.state.done, self.state.total = step, done, total
        if tell is not None:
            tell(Progress(step=f"{self.target.name}: {step}", done=done, total=total))

    async def take_inventory(self, tell: Tell | None = None) -> None:
        """Read what stands there: accounts, groups, and the members of the groups that matter."""
        self._well("working")
        capabilities = await self.prepare()
        row = await self._store.read(lambda db: targets.get(db, self.t))
        number = row.inventory + 1
        count = 0
        batch: list[Account] = []

        async def keep() -> None:
            accounts = tuple(batch)
            batch.clear()
            await self._store.write(lambda db: _keep_accounts(db, self.t, accounts, number))

        async for account in self.target.accounts():
            batch.append(account)
            count += 1
            if len(batch) >= INVENTORY_BATCH:
                await keep()
                self._tell(tell, "reading accounts", count, None)
        await keep()
        groups: list[TargetGroup] = []
        async for group in self.target.groups():
            groups.append(group)
            if len(groups) >= INVENTORY_BATCH:
                await self._keep_groups(groups, number)
        await self._keep_groups(groups, number)
        await self._store.write(self.planning.learn_groups)
        wanted = await self._store.read(
            lambda db: targets.groups_to_read(db, self.t, capabilities.admin_groups)
        )
        await self._read_members(wanted, number, tell)
        await self._store.write(
            lambda db: targets.close_inventory(
                db, self.t, number, self._clock.now(), complete=capabilities.lists_all_accounts
            )
        )
        log.info("inventory.completed", target=self.target.name, accounts=count)

    async def _keep_groups(self, groups: list[TargetGroup], number: int) -> None:
        found = tuple(groups)
        groups.clear()
        await self._store.write(lambda db: _keep_groups(db, self.t, found, number))

    async def _read_members(
        self, groups: list[TargetGroup], number: int, tell: Tell | None
    ) -> None:
        done: set[str] = set()
        portion: list[tuple[str, tuple[str, ...]]] = []
        size = 0

        async def keep() -> None:
            found = tuple(portion)
            portion.clear()
            await self._store.write(lambda db: _keep_members(db, self.t, found, number))

        async for key, members in self.target.members(groups):
            portion.append((key, tuple(members)))
            size += len(members)
            if key not in done:
                done.add(key)
                self._tell(tell, "reading memberships", len(done), len(groups))
            if size >= 5000:
                await keep()
                size = 0
        await keep()
        read = [group.key or "" for group in groups if group.key in done]
        await self._store.write(lambda db: targets.members_read(db, self.t, read, number))

    async def _settle_pending(self) -> None:
        """Creates whose answer is unknown: look up the *sent* name (rule 18)."""
        for n, object_id, kind, sent in await self._store.read(
            lambda db: links.pending(db, self.t)
        ):
            if kind == "user":
                await self._settle_account(n, object_id, codec.account_of(sent))
            else:
                await self._settle_group(n, codec.group_of(sent))

    async def _settle_account(self, n: int, object_id: ObjectId, sent: Account | None) -> None:
        found = await self.target.find_account(sent.username) if sent else None
        now = self._clock.now()

        def settle(db: Connection) -> None:
            if found is not None and sent is not None:
                a = targets.put_account(db, self.t, found)
                owner = db.execute("SELECT n FROM link WHERE a = ? AND n != ?", (a, n)).fetchone()
                if owner is None and is_ours(sent, found, object_id, self._instance):
                    links.settle_account(db, self.t, n, a, Origin.CREATED, sent)
                    waiting.make_due(db, self.t, n, now)
                    return
            links.drop(db, self.t, n)
            waiting.make_due(db, self.t, n, now)

        await self._store.write(settle)
        log.info("pending.settled", target=self.target.name, object_id=object_id)

    async def _settle_group(self, n: int, sent: TargetGroup | None) -> None:
        found = await self.target.find_group(sent.name) if sent else None
        now = self._clock.now()

        def settle(db: Connection) -> None:
            owner = None
            if found is not None:
                g = targets.put_group(db, self.t, found)
                owner = db.execute("SELECT n FROM link WHERE g = ? AND n != ?", (g, n)).fetchone()
                if owner is None:
                    links.settle_group(db, self.t, n, g, Origin.CREATED)
            if found is None or owner is not None:
                links.drop(db, self.t, n)
            waiting.make_due(db, self.t, n, now)

        await self._store.write(settle)

    # Planning and sending -------------------------------------------------------------------------

    async def _work(
        self, row: targets.TargetRow, *, full: bool, cause: str, consent: bool, tell: Tell | None
    ) -> Report:
        run = await self._store.write(_next_run)
        behind = row.revision < self._mirror_revision()
        self._well("working" if full or behind else "idle")
        await self._store.write(lambda db: spill.clear(db, self.t))
        draft = await self._draft(full=full, since=row.revision, tell=tell)
        meets = await self._store.read(lambda db: self.planning.first_contact(db, draft))
        if meets and not await self._first_contact(draft, consent=consent):
            return Report(stopped="first_contact")
        held = await self._judge(draft)
        if not full and not await self._store.read(lambda db: spill.counts(db, self.t)):
            await self._advance(draft.upto, full=False)
            self._well("idle")
            return Report(held=held, run=run)
        counts = await self._store.read(lambda db: spill.counts(db, self.t))
        total = sum(counts.values())
        if self.policy.mode in (Mode.REPORT, Mode.MANUAL):
            await self._store.write(lambda db: spill.hold_all(db, self.t, Withheld.MODE))
            await self._advance(draft.upto, full=full)
            self._well("idle")
            return Report(held=held, run=run, stopped="mode")
        self._well("working")
        apply = self._apply(run, cause)
        sent = 0

        def progress(count: int) -> None:
            nonlocal sent
            sent += count
            self._tell(tell, "writing", sent, max(total, sent))

        self._tell(tell, "writing", 0, total)
        upto = draft.upto
        while (stopped := await apply.send(upto, progress)) is Stopped.NEWER:
            newer = await self._draft(full=False, since=upto, tell=None)
            held += await self._judge(newer)
            upto = newer.upto
        if stopped is Stopped.ASKED:
            return Report(apply.tally.done, list(apply.tally.failed), held, "asked", run)
        await self._advance(upto, full=full)
        self.state.step = ""
        self._well("idle")
        if apply.tally.done:
            log.info("run.completed", target=self.target.name, run=run, **apply.tally.done)
        return Report(apply.tally.done, list(apply.tally.failed), held, "", run)

    def _apply(self, run: str, cause: str) -> Apply:
        assert self.capabilities is not None
        return Apply(
            self.target,
            self.t,
            self._store,
            self._clock,
            self.capabilities,
            self.policy.guard,
            instance=self._instance,
            run=run,
            cause=cause,
            concurrency=self._concurrency,
            guard_now=self.guard_now,
            current=self._mirror_revision,
            stopping=lambda: self._stop or self._interrupt,
            observe=self._observed,
        )

    def _observed(self, change: object, outcome: str, seconds: float) -> None:
        kind = str(getattr(change, "kind", ""))
        since = (
            None
            if self.state.behind_since is None
            else (self._clock.monotonic() - self.state.behind_since)
        )
        self._observe_write(kind, outcome, since)

    async def _draft(self, *, full: bool, since: int, tell: Tell | None) -> Draft:
        """Plan everything, or the slice since a revision, into the spill."""
        if not self.planning.ready:
            await self._store.write(self.planning.learn_groups)
            fresh = True
        else:
            fresh = False
        if not full:
            return await self._store.write(lambda db: self.draft_slice(db, since, fresh=fresh))
        draft = Draft(self.t, True, self._mirror_revision())
        numbers = await self._store.read(lambda db: facts.every(db, "group"))
        for batch in batched(numbers):
            await self._store.write(lambda db, b=batch: self._draft_groups(db, draft, b))  # type: ignore[misc]
        users = await self._store.read(lambda db: facts.every(db, "user"))
        for batch in batched(users):
            await self._store.write(lambda db, b=batch: self._claim_users(db, b))  # type: ignore[misc]
        done = 0
        for batch in batched(users):
            await self._store.write(lambda db, b=batch: self._draft_users(db, draft, b))  # type: ignore[misc]
            done += len(batch)
            self._tell(tell, "planning", done, len(users))
        await self._store.write(lambda db: self._finish_draft(db, draft))
        return draft

    def _draft_groups(self, db: Connection, draft: Draft, batch: list[int]) -> None:
        self.planning.draft_groups(db, draft, batch)

    def _claim_users(self, db: Connection, batch: list[int]) -> None:
        self.planning.claim_users(db, batch, self.planning.desk(db))

    def _draft_users(self, db: Connection, draft: Draft, batch: list[int]) -> None:
        self.planning.draft_users(db, draft, batch, self.planning.desk(db))

    def _finish_draft(self, db: Connection, draft: Draft) -> None:
        self.planning.draft_foreign(db, draft)
        self.planning.flush_renames(db, draft)

    def draft_slice(self, db: Connection, since: int, *, fresh: bool) -> Draft:
        """Plan the slice since a revision in the caller's transaction."""
        draft = Draft(self.t, False, mirror.revision(db))
        self.planning.draft_slice(db, draft, since, fresh_index=fresh)
        return draft

    def draft_everything(self, db: Connection) -> Draft:
        """Plan everything in the caller's transaction (for a dry run, which rolls it back)."""
        spill.clear(db, self.t)
        self.planning.learn_groups(db)
        draft = Draft(self.t, True, mirror.revision(db))
        self.planning.draft_groups(db, draft, facts.every(db, "group"))
        desk = self.planning.desk(db)
        users = facts.every(db, "user")
        for batch in batched(users):
            self.planning.claim_users(db, batch, desk)
        for batch in batched(users):
            self.planning.draft_users(db, draft, batch, desk)
        self._finish_draft(db, draft)
        self.planning.judge(db, draft, self.window_start())
        return draft

    async def _judge(self, draft: Draft) -> int:
        start = self.window_start()
        held = await self._store.write(lambda db: self.planning.judge(db, draft, start))
        if held:
            log.warning("hold.opened", target=self.target.name, changes=held)
        return held

    def window_start(self) -> float:
        """Since when spent allowance counts, by the guard's clock."""
        return self.guard_now() - self.policy.guard.window

    def guard_now(self) -> float:
        """The guard's clock: wall time at start-up, then time that really passed, so that a
        jumping clock neither frees allowance nor locks it (I11)."""
        if self._guard_base is None:
            self._guard_base = self._clock.now() - self._clock.monotonic()
        return self._guard_base + self._clock.monotonic()

    _guard_base: float | None = None

    async def _first_contact(self, draft: Draft, *, consent: bool) -> bool:
        """Rule 26: one hold with the counts; `sync`, `apply` or `approve` is the consent."""
        now = self._clock.now()
        row = await self._store.read(lambda db: targets.get(db, self.t))
        counts = await self._store.read(lambda db: spill.counts(db, self.t))
        if consent or row.first_contact == "consented":
            await self._store.write(lambda db: self._consent(db))
            return True

        def ask(db: Connection) -> None:
            standing = holds.standing(db, self.t, holds.FIRST_CONTACT)
            if standing is not None and standing.payload.get("counts") != counts:
                db.execute("UPDATE hold SET state = 'gone' WHERE id = ?", (standing.id,))
                standing = None
            if standing is None:
                text = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
                payload = {"counts": counts, "items": sum(counts.values())}
                holds.open_hold(
                    db, self.t, holds.FIRST_CONTACT, f"first contact: {text}", now, (), payload
                )
            spill.hold_all(db, self.t, Withheld.FIRST_CONTACT)
            targets.update(db, self.t, first_contact="open")

        await self._store.write(ask)
        self._well("first_contact")
        self.state.detail = "what stands there would be adopted or changed"
        self.state.hint = "azsyncd plan shows it; azsyncd sync, or approve, is the consent"
        log.warning("hold.opened", target=self.target.name, kind=holds.FIRST_CONTACT)
        return False

    def _consent(self, db: Connection) -> None:
        """Everything of this plan was seen and agreed to: it spends no allowance."""
        db.execute("UPDATE planned SET free = 1 WHERE t = ? AND held IS NULL", (self.t,))
        db.execute(
            "UPDATE hold SET state = 'approved', decided_at = coalesce(decided_at, ?)"
            " WHERE t = ? AND kind = ? AND state = 'open'",
            (self._clock.now(), self.t, holds.FIRST_CONTACT),
        )
        targets.update(db, self.t, first_contact="done")

    async def _advance(self, revision: int, *, full: bool) -> None:
        """Everybody is right, or waits with a reason."""
        now = self._clock.now()

        def advance(db: Connection) -> None:
            columns: dict[str, object] = {"revision": revision, "success_at": now}
            if full:
                columns |= {"full_due": 0, "policy": self._policy_digest}
                if targets.get(db, self.t).first_contact in ("new", "open"):
                    columns["first_contact"] = "done"
            targets.update(db, self.t, **columns)
            holds.prune_spent(db, self.t, self.window_start())

        await self._store.write(advance)
        self.state.reached = revision
        self.state.runs += 1
        for old in [r for r in self._seen_at if r <= revision]:
            del self._seen_at[old]
        self.state.behind_since = min(self._seen_at.values(), default=None)


def _next_run(db: Connection) -> str:
    number = int(get_meta(db, "run", 0)) + 1
    set_meta(db, "run", number)
    return f"r{number}"


def _keep_accounts(db: Connection, t: int, accounts: tuple[Account, ...], number: int) -> None:
    for account in accounts:
        targets.put_account(db, t, account, number)


def _keep_groups(db: Connection, t: int, groups: tuple[TargetGroup, ...], number: int) -> None:
    for group in groups:
        targets.put_group(db, t, group, number)


def _keep_members(
    db: Connection, t: int, found: tuple[tuple[str, tuple[str, ...]], ...], number: int
) -> None:
    for key, members in found:
        targets.put_members(db, t, key, members, number)
