"""One loop per target: catch up with the mirror, then wait for the next reason to look.

Every loop begins in the state of catching up, so that a start, a long outage, an overflow and an
ordinary change are one path (Synapse's federation sender works like this). What is remembered is
only the revision that the target has reached; it advances when everybody of the slice is right, or
waits with a reason (rule 29). A target that is down, slow or refuses us costs the others nothing.

A turn:  probe → look up what was not answered → inventory if a full plan is due → plan (everything,
or the slice since the revision) → guard → send, with newer slices planned between the chunks →
advance.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

import structlog

from azsyncd.clock import Clock
from azsyncd.engine import consent as consents
from azsyncd.engine.apply import Apply, Stopped
from azsyncd.engine.backoff import BackOff
from azsyncd.engine.bell import Bell
from azsyncd.engine.drafting import Drafting
from azsyncd.engine.inventory import Inventory
from azsyncd.engine.lag import Lag
from azsyncd.engine.marking import ask_for_marks, refuse_second
from azsyncd.engine.planning import Planning
from azsyncd.engine.recording import Draft
from azsyncd.engine.saved import Chosen
from azsyncd.engine.settling import Settling
from azsyncd.engine.steady import Steady
from azsyncd.errors import TargetError, TargetRefused
from azsyncd.model.accounts import Capabilities, fold
from azsyncd.model.changes import Change, Withheld
from azsyncd.operations import Progress, Tell
from azsyncd.plan.desk import spared
from azsyncd.plan.policy import Mode, Policy
from azsyncd.state import facts, holds, links, nesting, spill, targets, waiting
from azsyncd.state.spill import Planned
from azsyncd.state.store import Connection, Contradiction, Store, get_meta, set_meta
from azsyncd.targets.base import Target

log = structlog.get_logger()

CONFUSED_SECONDS = 300.0
SEATS_SECONDS = 900.0
"""After something was written, seats are counted anew, but not more often: one more request."""


@dataclass(slots=True)
class TargetState:
    """What `status` shows of a target."""

    state: str = "starting"  # starting | working | idle | down | refused | paused | first_contact
    detail: str = ""
    hint: str = ""
    since: float | None = None
    next_at: float | None = None  # when it is asked again, while it is down or refuses us
    step: str = ""
    done: int = 0
    total: int | None = None
    reached: int = 0
    runs: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What one turn did. `stopped`: why it ended before all was written ("" = it was)."""

    done: dict[str, int] = field(default_factory=dict)
    failed: list[tuple[Change, str, str, str, str]] = field(default_factory=list)
    held: int = 0
    stopped: str = ""
    run: str = ""


class _LeftOff(Exception):
    """Somebody asked to stop in the middle of reading or planning: nothing is lost by it."""


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
    ) -> None:
        self.target = target
        self.policy = policy
        self.t = t
        self.bell = Bell(clock)
        self.state = TargetState()
        self.capabilities: Capabilities | None = None
        self._clock = Steady(clock)
        self.planning = Planning(
            t,
            policy,
            target.dialect,
            instance=instance,
            clock=self._clock,
            signed_in_as=signed_in_as,
        )
        self._drafting = Drafting(self.planning, store, self.window_start, self._claimed)
        self._settling = Settling(target, t, store, self._clock, instance)
        self._store = store
        self._wall = clock
        self._instance = instance
        self._policy_digest = policy_digest
        self._concurrency = concurrency
        self._signs_in_as = signs_in_as
        self._mirror_revision = mirror_revision
        self._busy = asyncio.Lock()
        self._stop = False
        self._interrupt = False
        self._seats_at = float("-inf")  # when they were counted last
        self.confused = 0  # how often the state contradicted itself
        self._contact = consents.ContactClock(clock)
        self.lag = Lag()
        self._observe_drift: Callable[[str, int], None] = lambda change, number: None
        self._observe_write: Callable[[str, str, float | None], None] = lambda c, o, s: None

    # Asked from outside ---------------------------------------------------------------------------

    def advanced(self, revision: int, seen_at: float) -> None:
        """The mirror moved on; `seen_at` (monotonic) is when we could know of it."""
        self.lag.saw(revision, seen_at)
        self.bell.ring("mirror")

    def on_write(self, observe: Callable[[str, str, float | None], None]) -> None:
        """(change, outcome, seconds from the notification or poll to the answer, or None)."""
        self._observe_write = observe

    def on_drift(self, observe: Callable[[str, int], None]) -> None:
        """(change, how many): found anew that somebody else has changed this (rule 22)."""
        self._observe_drift = observe

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
        """Keep the target equal until `stop`."""
        waits = BackOff(self._clock)
        while not self._stop:
            self.bell.answer()
            try:
                report = await self.turn(cause="daemon")
            except TargetRefused as error:
                self._trouble("refused", error)
                await self._back_off(waits.refused())
                continue
            except Contradiction as error:
                # Two things that cannot both be true. None is known; but if there is one, it is
                # this target's alone, and what the product shows settles it.
                self.confused += 1
                log.exception("target.confused", target=self.target.name)
                self._trouble("down", TargetError(f"the state contradicts itself: {error}"))
                await self._store.write(lambda db: targets.owe_full(db, self.t))
                await self._back_off(CONFUSED_SECONDS)
                continue
            except TargetError as error:
                self._trouble("down", error)
                await self._back_off(waits.down(error))
                continue
            waits.well()
            if not self._stop:
                await self.bell.wait(await self._idle_seconds(report.stopped))

    async def _back_off(self, seconds: float) -> None:
        """Wait, whatever the mirror does meanwhile; an operator may cut it short."""
        deadline = self._clock.monotonic() + seconds
        self.state.next_at = self._wall.now() + seconds
        while not self._stop and (left := deadline - self._clock.monotonic()) > 0:
            if await self.bell.wait(left):
                reasons, _ = self.bell.answer()
                if reasons - {"mirror"}:
                    break
        self.state.next_at = None

    async def _idle_seconds(self, stopped: str) -> float | None:
        """How long to wait if nobody rings: until somebody is due, or the pause ends."""
        if stopped == "paused":
            row = await self._store.read(lambda db: targets.get(db, self.t))
            until = row.paused.get("until") if row.paused else None
            return None if until is None else max(0.5, until - self._wall.now())
        if stopped == "first_contact":
            return self._contact.EVERY
        if stopped == "no_mirror":
            return None
        due = await self._store.read(lambda db: facts.next_due(db, self.t))
        if not stopped and (await self._store.read(lambda db: targets.get(db, self.t))).full_due:
            return 0.5  # asked for by what was written just now
        return None if due is None else max(0.5, due - self._clock.now())

    def _trouble(self, state: str, error: TargetError) -> None:
        """Availability is logged on the edge: first failure, recovery; between them a state."""
        if self.state.state != state:
            self.state.since = self._wall.now()
            event = "target.refused" if state == "refused" else "target.unavailable"
            log.warning(event, target=self.target.name, error=error.message, hint=error.hint)
        self.state.state, self.state.detail = state, error.message
        self.state.hint = error.hint
        self.state.step = ""

    def _well(self, state: str) -> None:
        if self.state.state in ("down", "refused"):
            seconds = self._wall.now() - (self.state.since or self._wall.now())
            log.info("target.available", target=self.target.name, after_seconds=round(seconds, 1))
        if self.state.state != state:
            self.state.since = self._wall.now()
        self.state.state, self.state.detail, self.state.hint = state, "", ""

    # A turn ---------------------------------------------------------------------------------------

    async def turn(
        self,
        *,
        cause: str,
        consent: bool = False,
        full: bool = False,
        only: frozenset[int] | None = None,
        tell: Tell | None = None,
    ) -> Report:
        """Bring the target up to date once. `consent`: an operator asked, which also answers a
        first contact (rule 26). `only`: nothing but what is about these objects; the rest is owed
        to the next turn. Raises TargetError."""
        async with self._busy:
            if self._stop:  # while it waited: what it knows may belong to another by now
                return Report(stopped="asked")
            self._interrupt = False
            try:
                return await self._turn(cause, consent, full, only, tell)
            except _LeftOff:
                return Report(stopped="asked")
            finally:
                self.state.step = ""

    async def _turn(
        self,
        cause: str,
        consent: bool,
        full: bool,
        only: frozenset[int] | None,
        tell: Tell | None,
    ) -> Report:
        row = await self._store.read(lambda db: targets.get(db, self.t))
        if row.is_paused(self._wall.now()):
            self._well("paused")
            return Report(stopped="paused")
        if self._mirror_revision() == 0:
            return Report(stopped="no_mirror")
        self._note_lag(row.revision)
        due = bool(full or row.full_due or row.inventory == 0)
        due = due or row.policy != self._policy_digest
        waits = row.first_contact in ("open", "rejected") and not (consent or full)
        if waits and due and self._contact.fresh:
            self._say_contact(row.first_contact)
            return Report(stopped="first_contact")
        if self.state.state == "down" and self.capabilities is not None and not due:
            await self.target.ask()  # before all that is behind is planned once more
        await self.prepare(anew=due)  # a full sync reads everything afresh, abilities too
        await self._settling.everything(creates=self.policy.mode is not Mode.REPORT)
        begun = 0
        if due:
            begun = await self._store.write(lambda db: targets.begin_full(db, self.t))
            await self.take_inventory(tell)
        elif self.state.reached == 0:
            self.state.reached = row.revision
        return await self._work(row.revision, begun, cause, consent, only, tell)

    async def carry_out(
        self, chosen: Chosen, *, cause: str, tell: Tell | None = None
    ) -> tuple[Report, Chosen]:
        """Send what still holds of a saved plan, and nothing else: everything is read and planned
        anew, and each change is compared with its evidence before it goes, again whenever the
        mirror moves on. It is the consent to a first contact, and to what `manual` keeps back
        (rules 26, 37 and 40). Raises TargetError."""
        async with self._busy:
            self._interrupt = False
            try:
                return await self._carry_out(chosen, cause, tell), chosen
            except _LeftOff:
                return Report(stopped="asked"), chosen
            finally:
                self.state.step = ""

    async def _carry_out(self, chosen: Chosen, cause: str, tell: Tell | None) -> Report:
        row = await self._store.read(lambda db: targets.get(db, self.t))
        if self.policy.mode is Mode.REPORT:
            return Report(stopped="report")
        if row.is_paused(self._wall.now()):
            self._well("paused")
            return Report(stopped="paused")
        if self._mirror_revision() == 0:
            return Report(stopped="no_mirror")
        now = self._clock.now()

        def begin(db: Connection) -> None:
            spill.clear(db, self.t)
            for n in chosen.numbers(db):
                waiting.make_due_again(db, self.t, n, now)

        await self.prepare(anew=True)
        await self._settling.everything(creates=True)
        # Whatever of the plan is not sent is owed by nothing but this, should we die.
        begun = await self._store.write(lambda db: targets.begin_full(db, self.t))
        await self.take_inventory(tell)
        await self._store.write(begin)
        self.lag.begin()
        draft = await self._draft(row.revision, tell, full=True)
        run = await self._store.write(_next_run)
        await self._store.write(lambda db: consents.give_in_part(db, self.t, now))
        await self._store.write(chosen.choose)
        if row.first_contact != "done":
            await self._store.write(lambda db: consents.ask_on(db, self.t))
        apply = self._apply(run, cause, chosen.observe)
        step, total = self._step(tell), len(chosen.wanted)
        answered = 0

        def progress(count: int) -> None:
            nonlocal answered
            answered += count
            step("writing", answered, max(total, answered))

        step("writing", 0, total)
        upto = draft.upto
        while (stopped := await apply.send(upto, progress)) is Stopped.NEWER:
            newer = await self._draft_newer(upto)
            await self._store.write(chosen.choose)
            upto = newer.upto
        done, failed = apply.tally.done, list(apply.tally.failed)
        await self._store.write(lambda db: spill.clear(db, self.t))
        if stopped is Stopped.ASKED:
            return Report(done, failed, 0, "asked", run)
        if chosen.others <= 0 and not chosen.moved and not failed:
            await self._advance(upto, begun)
        self._well("idle")
        if done:
            log.info("run.completed", target=self.target.name, run=run, **done)
        return Report(done, failed, 0, "", run)

    async def look(self, *, anew: bool = False, tell: Tell | None = None) -> None:
        """Probe, and read what stands there if that never happened, or `anew`. Nothing is written
        there. Raises TargetError."""
        async with self._busy:
            await self.prepare()
            row = await self._store.read(lambda db: targets.get(db, self.t))
            if anew or row.inventory == 0:
                await self.take_inventory(tell)

    @property
    def instance(self) -> str:
        """The name in our marks."""
        return self._instance

    def protects(self, username: str) -> bool:
        """Whether `protect.users` names an account."""
        return any(fnmatchcase(fold(username), fold(g)) for g in self.policy.protect.users)

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """The loop leaves off after the write in flight, and stands still meanwhile."""
        self.interrupt()
        async with self._busy:
            self._interrupt = False
            yield

    async def look_alone(self) -> None:
        """As `look`, for whoever keeps the loop quiet."""
        await self.prepare()
        row = await self._store.read(lambda db: targets.get(db, self.t))
        if row.inventory == 0:
            await self.take_inventory()

    def keep_time(self, old: Reconcile) -> None:
        """This one takes the place of another: ages and windows go on."""
        self._clock.keep(old._clock)

    def twin(self, store: Store) -> Reconcile:
        """The same on a copy of the state, to rehearse on."""
        twin = Reconcile(
            self.target,
            self.policy,
            store,
            self._wall,
            t=self.t,
            instance=self._instance,
            policy_digest=self._policy_digest,
            concurrency=self._concurrency,
            signed_in_as=self.planning.signed_in_as,
            signs_in_as=lambda name, account: None,
            mirror_revision=self._mirror_revision,
        )
        twin._clock.not_before(self._clock.now())
        twin.capabilities = self.capabilities
        if self.capabilities is not None:
            twin.planning.capabilities = self.capabilities
        return twin

    async def rehearse(self, tell: Tell | None = None) -> Draft:
        """Plan everything into the spill, guarded; nothing is sent."""
        await self._store.write(self._begin)
        draft = await self._drafting.everything(self._mirror_revision(), self._step(tell))
        await self._drafting.judge(draft)
        if self.policy.mode is Mode.MANUAL:
            now = self._clock.now()
            await self._store.write(lambda db: consents.hold_manual(db, self.t, now))
        return draft

    def _note_lag(self, reached: int) -> None:
        """After a start, nobody has told when the changes that are still owed were seen."""
        if reached < self._mirror_revision() and self.lag.since is None:
            self.lag.saw(self._mirror_revision(), self._clock.monotonic())

    async def prepare(self, *, anew: bool = False) -> Capabilities:
        """Ask what the product can do, and whether it is the one that we know (rule 25); once, or
        `anew`: seats, rights and versions change."""
        if self.capabilities is not None and not anew:
            return self.capabilities
        capabilities = await self.target.probe()
        fingerprint = await self.target.fingerprint()

        def bind(db: Connection) -> tuple[str, list[str]]:
            """In one transaction: two targets that are one installation ask at the same time."""
            known = targets.get(db, self.t).fingerprint
            if known is not None:
                return known, []
            same = [row.name for row in targets.all_targets(db) if row.fingerprint == fingerprint]
            if not same:
                targets.update(db, self.t, fingerprint=fingerprint)
            return fingerprint, same

        known, same = await self._store.write(bind)
        if same:
            raise TargetRefused(
                f"this installation is known as target {same[0]!r} already",
                f"azsyncd target rename {same[0]} {self.target.name} keeps what is known of it;"
                " if the file has both, take one out",
                target=self.target.name,
            )
        if known != fingerprint:
            raise TargetRefused(
                "this is another installation than the one that azsyncd knows by this name",
                f"check its url; azsyncd target rebind {self.target.name} gives up the old one",
                target=self.target.name,
            )
        for latest in (holds.latest_spent, links.latest_left):
            self._clock.not_before(await self._store.read(lambda db, f=latest: f(db, self.t)))  # type: ignore[misc]
        self.capabilities = self.planning.capabilities = spared(capabilities, self.policy)
        self._seats_at = self._clock.monotonic()
        self._signs_in_as(self.target.name, capabilities.signed_in_as)
        return capabilities

    async def refused_nesting(self) -> int:
        """How many groups the product did not take into others."""
        facts_ = await self._store.read(lambda db: nesting.facts_of(db, self.t, ()))
        return len(facts_.refused)

    # Steps ----------------------------------------------------------------------------------------

    def _step(self, tell: Tell | None) -> Callable[[str, int, int | None], None]:
        """A step's progress, and the place at which long work is left off when somebody asks."""

        def step(name: str, done: int, total: int | None) -> None:
            self.state.step, self.state.done, self.state.total = name, done, total
            if tell is not None:
                tell(Progress(step=f"{self.target.name}: {name}", done=done, total=total))
            if name != "writing" and self._asked():
                raise _LeftOff

        return step

    def _asked(self) -> bool:
        return self._stop or self._interrupt

    async def take_inventory(self, tell: Tell | None = None) -> None:
        """Read what stands there: accounts, groups, and the members of the groups that matter."""
        self._well("working")
        capabilities = await self.prepare()
        await Inventory(
            self.target,
            self.t,
            self._store,
            self._clock,
            self.planning,
            capabilities,
            self._instance,
            self._step(tell),
        ).take()

    async def _claimed(self, step: Callable[[str, int, int | None], None]) -> None:
        """Between claims and plans: whose accounts are these, by their marks?"""
        capabilities, adopt = await self.prepare(), self.policy.accounts.adopt
        await ask_for_marks(self.target, self.t, self._store, capabilities, adopt, step)
        await self._store.read(
            lambda db: refuse_second(db, self.t, self.target.name, self._instance, capabilities)
        )

    # Planning and sending -------------------------------------------------------------------------

    async def _work(
        self,
        since: int,
        begun: int,
        cause: str,
        consent: bool,
        only: frozenset[int] | None,
        tell: Tell | None,
    ) -> Report:
        """`begun`: what `begin_full` said, 0 for a slice."""
        full = begun > 0
        run = await self._store.write(_next_run)
        if full or since < self._mirror_revision():
            self._well("working")
        await self._store.write(self._begin)
        self.lag.begin()
        draft = await self._draft(since, tell, full=full)
        if self.policy.mode is Mode.REPORT:
            await self._store.write(lambda db: spill.hold_all(db, self.t, Withheld.MODE))
            await self._advance(draft.upto, begun)
            return Report(run=run, stopped="mode")
        if not await self._may_contact(consent):
            return Report(stopped="first_contact")
        await self._narrow(only)
        held = await self._judge(draft)
        counts = await self._store.read(lambda db: spill.counts(db, self.t))
        if not counts and not full:
            if only is None:
                await self._advance(draft.upto, begun)
            return Report(held=held, run=run)
        self._well("working")
        apply = self._apply(run, cause)
        step, sent, total = self._step(tell), 0, sum(counts.values())

        def progress(count: int) -> None:
            nonlocal sent
            sent += count
            step("writing", sent, max(total, sent))

        step("writing", 0, total)
        upto = draft.upto
        while (stopped := await apply.send(upto, progress)) is Stopped.NEWER:
            newer = await self._draft_newer(upto)
            await self._narrow(only)
            held += await self._judge(newer)
            upto = newer.upto
        done, failed = apply.tally.done, list(apply.tally.failed)
        if stopped is Stopped.ASKED:
            return Report(done, failed, held, "asked", run)
        if only is None:
            await self._advance(upto, begun)
        else:
            self._well("idle")
        if done:
            log.info("run.completed", target=self.target.name, run=run, **done)
            await self._count_seats()
        return Report(done, failed, held, "", run)

    async def _count_seats(self) -> None:
        """For `status`, the metric and the alert of few seats left."""
        now, known = self._clock.monotonic(), self.capabilities
        if known is None or not known.seats or now - self._seats_at < SEATS_SECONDS:
            return
        self._seats_at = now
        try:
            seats = await self.target.seats()
        except TargetError:
            return  # all is written; whatever is wrong shows at the next turn
        self.capabilities = self.planning.capabilities = replace(known, seats=seats)

    def _begin(self, db: Connection) -> None:
        """Before a plan is made."""
        spill.clear(db, self.t)
        if self.policy.mode is not Mode.MANUAL:  # the file says so since: what waited is planned
            holds.withdraw(db, self.t, holds.MANUAL)

    def _apply(
        self, run: str, cause: str, also: Callable[[Planned, str], None] | None = None
    ) -> Apply:
        """`also`: who else is told of each answer."""
        assert self.capabilities is not None

        def observe(planned: Planned, outcome: str) -> None:
            self._observed(planned, outcome)
            if also is not None:
                also(planned, outcome)

        return Apply(
            self.target,
            self.t,
            self._store,
            self._clock,
            self.capabilities,
            self.policy,
            instance=self._instance,
            run=run,
            cause=cause,
            concurrency=self._concurrency,
            current=self._mirror_revision,
            stopping=self._asked,
            observe=observe,
            entitled=self.planning.entitled,
        )

    async def _draft(self, since: int, tell: Tell | None, *, full: bool) -> Draft:
        if full:
            draft = await self._drafting.everything(self._mirror_revision(), self._step(tell))
        else:
            draft = await self._drafting.since(since, owed=True)
        return self._noted(draft, since)

    async def _draft_newer(self, since: int) -> Draft:
        """What has come since the plan that is being sent."""
        return self._noted(await self._drafting.since(since, owed=False), since)

    def _noted(self, draft: Draft, since: int) -> Draft:
        if draft.by_hand:
            log.warning("drift.found", target=self.target.name, **draft.by_hand)
            for kind, number in draft.by_hand.items():
                self._observe_drift(kind, number)
        self.lag.planned(draft.after, since, draft.upto)
        return draft

    def _observed(self, planned: Planned, outcome: str) -> None:
        """From the notification or poll that showed the change to the answer; None: nothing that
        Entra said lately (drift, a retry)."""
        seen = self.lag.of(planned.seq)
        since = None if seen is None else self._clock.monotonic() - seen
        self._observe_write(planned.change.kind.value, outcome, since)

    async def _narrow(self, only: frozenset[int] | None) -> None:
        if only is not None:
            await self._store.write(lambda db: spill.keep_only(db, self.t, only))

    async def _judge(self, draft: Draft) -> int:
        held = await self._drafting.judge(draft)
        if self.policy.mode is Mode.MANUAL:
            now = self._clock.now()
            held += await self._store.write(lambda db: consents.hold_manual(db, self.t, now))
        if held:
            log.warning("hold.opened", target=self.target.name, changes=held)
        return held

    def window_start(self) -> float:
        """Since when spent allowance counts, by a clock that nobody sets (I11)."""
        return self._clock.now() - self.policy.guard.window

    # First contact --------------------------------------------------------------------------------

    async def _may_contact(self, consent: bool) -> bool:
        """Rule 26: one hold with the counts; `sync`, `apply` or `approve` is the consent."""
        now = self._clock.now()

        def settle(db: Connection) -> str:
            if not consents.meets(db, self.t):
                return "go"
            state = targets.get(db, self.t).first_contact
            # `manual` is written by apply and approve alone (rule 40), whoever asks for a sync.
            asked = consent and self.policy.mode is not Mode.MANUAL
            if state == "consented" or (asked and state != "rejected"):
                consents.give(db, self.t, now)
                return "go"
            consents.ask(db, self.t, now)
            return targets.get(db, self.t).first_contact

        answer = await self._store.write(settle)
        if answer == "go":
            return True
        self._contact.asked()
        self._say_contact(answer)
        return False

    def _say_contact(self, answer: str) -> None:
        self._well("first_contact")
        self.state.detail = "the first contact waits: what stands there would be adopted or changed"
        self.state.hint = "azsyncd plan shows it; azsyncd sync, or approve, is the consent"
        if answer == "rejected":
            self.state.detail = "the first contact was rejected: nothing is written"
            self.state.hint = "azsyncd holds lists it; azsyncd release lets it be asked again"

    async def _advance(self, revision: int, begun: int) -> None:
        """Everybody is right, or waits with a reason. `begun`: as for `_work`."""
        now = self._wall.now()

        def advance(db: Connection) -> None:
            columns: dict[str, object] = {"revision": revision, "success_at": now}
            if begun:
                targets.end_full(db, self.t, begun)
                columns["policy"] = self._policy_digest
                if self.policy.mode is not Mode.REPORT:
                    columns |= {"first_contact": "done", "agreed": None}
                    holds.close_standing(db, self.t, holds.FIRST_CONTACT, "gone")
            targets.update(db, self.t, **columns)
            facts.settle(db, self.t)
            holds.prune_spent(db, self.t, self.window_start())

        await self._store.write(advance)
        self.state.reached = revision
        self.state.runs += 1
        self.lag.reached(revision)
        self._well("idle")


def _next_run(db: Connection) -> str:
    number = int(get_meta(db, "run", 0)) + 1
    set_meta(db, "run", number)
    return f"r{number}"
