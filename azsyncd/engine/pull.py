"""Reads Entra: rounds from the stored deltaLinks, and crawls from the beginning beside them.

One loop owns the reading. It waits for a ring (a notification, an operator, start-up), for the
poll timer, or for a crawl to go on with, and then
  - runs a round when one is owed: pages are staged with their links, and folded in one transaction
    when every feed has reached its deltaLink (rule 1);
  - otherwise reads the next page of a crawl under way, so that rings and the timer run rounds on
    the old links *between* the pages of a crawl (rule 3); at its end the old links once more, then
    the comparison, then the switch.
A round that brings nothing after a notification proves nothing (replication): it is repeated after
15 s, 60 s and 5 min. What feeds do not tell is asked for after a round: the groups of whoever was
restored, and managers. A crash anywhere resumes from what was staged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import structlog

from azsyncd.clock import Clock
from azsyncd.engine.bell import Bell
from azsyncd.engine.steady import Steady
from azsyncd.errors import (
    CredentialRefused,
    DeltaExpired,
    PageExpired,
    SourceError,
    SourceUnavailable,
)
from azsyncd.model.identities import FEEDS, MANAGER, MANAGERS, MemberSeen, ObjectId, Page
from azsyncd.state import folding, holds, mirror, staging, targets
from azsyncd.state.staging import CRAWL, ROUND
from azsyncd.state.store import Connection, Store, get_meta, set_meta

log = structlog.get_logger()

REPEATS = (15.0, 60.0, 300.0)
"""When an empty round after a notification is repeated (graph.md §0, fact 8)."""

MAX_PAGES = 200_000
"""More pages than any tenant has: a feed that goes on beyond is a loop."""

LINK_AGE = 6 * 86400.0
"""Older links are not trusted (they live for 7 days): crawl instead (rule 41)."""

DEAD_AFTER = 5
"""A page, or the pages behind one deltaLink, that fail so often in a row are dead (rule 4)."""

STUCK_AFTER = 6
"""A deltaLink whose first page fails so often in a row (for four minutes) is tried beside a crawl:
if that gets on, the link is dead, and if it does not, Entra is down."""

HIDDEN_SECONDS = 3600.0
"""Between two crawls that are owed because objects came without a word."""

CRAWL_OWED = "crawl_owed"
"""Remembered until it was read: a slot of the schedule, or another file, owes a crawl."""

SILENT_SECONDS = (15.0, 300.0, 900.0, 3600.0)
"""How long nobody asks again for the manager of a user whom Graph gave no answer about."""

MUTE_SECONDS = (60.0, 300.0)
FEW = 8
"""If more than so many are asked for and none is answered for, the pause is everybody's."""

BACK_OFF = (5.0, 15.0, 30.0, 60.0, 120.0, 300.0)
REFUSED_BACK_OFF = (60.0, 300.0, 900.0)


class Source(Protocol):
    """What is asked of entra.delta."""

    def first_url(self, feed: str) -> str: ...

    def selection(self, feed: str) -> str: ...

    async def page(self, feed: str, url: str, *, low_priority: bool = False) -> Page: ...

    async def groups_of(self, feed: str, id_: ObjectId) -> list[ObjectId]: ...

    async def group_members(self, group_id: ObjectId) -> list[MemberSeen]: ...

    async def managers_of(self, ids: list[ObjectId]) -> mirror.ManagersOf: ...


@dataclass(slots=True)
class PullState:
    """What `status` shows of the reading."""

    state: str = "starting"  # starting | reading | idle | down | refused
    detail: str = ""
    hint: str = ""
    since: float | None = None
    last_round_at: float | None = None
    last_trigger: str = ""
    revision: int = 0
    crawl_pages: int = 0
    crawl_items: int = 0
    crawling: bool = False
    failed_crawls: int = 0
    failures: int = 0  # looks that failed, ever: a command that asked for one sees its own
    page_failures: dict[str, int] = field(default_factory=dict)


RoundDone = Callable[[str, float, int], None]
"""(trigger, seconds, how many facts changed)"""


class Pull:
    """The reading of Entra. `on_advance(revision, seen_at)` wakes the targets; it never waits."""

    def __init__(
        self,
        source: Source,
        store: Store,
        clock: Clock,
        *,
        selected: folding.Selected,
        poll_seconds: float,
        on_advance: Callable[[int, float], None],
        on_round: RoundDone = lambda trigger, seconds, changed: None,
        on_crawl: Callable[[bool], None] = lambda plausible: None,
    ) -> None:
        self.bell = Bell(clock)
        self.state = PullState()
        self._source = source
        self._next: tuple[Source, folding.Selected] | None = None
        self._store = store
        self._clock = Steady(clock)  # ages of links and of soft deletes
        self._selected = selected
        self._poll_seconds = poll_seconds
        self._on_advance = on_advance
        self._on_round = on_round
        self._on_crawl = on_crawl
        self._repeats: list[float] = []
        self._crawl_owed = False
        self._impatient = False
        self._hidden_at = float("-inf")
        self._closed_rounds = 0
        self._closed_crawls = 0
        self._dead_rounds = 0
        self._was_round = False
        self._mute_until = float("-inf")  # until when nobody's manager is asked for
        self._muted = 0  # how often in a row nobody was answered for
        self._silent: dict[ObjectId, tuple[int, float]] = {}  # how often in vain, and until when
        self._once = False  # a command looks: nobody waits for the next round
        self._polled_at = float("-inf")
        self._crawl_seen: dict[str, set[str]] = defaultdict(set)

    # Asked from outside ---------------------------------------------------------------------------

    def ring(self, reason: str) -> None:
        """Look again, soon. A notification's ring is followed by repeats if nothing is found."""
        if reason == "notification":
            now = self._clock.monotonic()
            self._repeats = [now + delay for delay in REPEATS]
        self._impatient = self._impatient or reason == "operator"
        self.bell.ring(reason)

    def owe_crawl(self, reason: str) -> None:
        """A full sync is due: crawl as soon as possible."""
        self._crawl_owed = True
        self._impatient = self._impatient or reason == "operator"
        self.bell.ring(reason)

    def crawl_with(self, source: Source, selected: folding.Selected) -> None:
        """Crawl with another selection beside the running feed; both switch when it closes (5)."""
        self._next = (source, selected)
        self.owe_crawl("reload")

    def keep_time(self, old: Pull) -> None:
        """This one takes the place of another: ages go on."""
        self._clock.keep(old._clock)

    @property
    def rounds(self) -> int:
        """How many rounds were closed by this process."""
        return self._closed_rounds

    @property
    def crawls(self) -> int:
        """How many crawls were closed by this process."""
        return self._closed_crawls

    # The loop -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read for ever. Only StateError and cancellation end it."""
        failures = 0
        await self._start()
        while True:
            try:
                await self.step()
                failures = 0
            except CredentialRefused as error:
                self._trouble("refused", error)
                await self._pause(REFUSED_BACK_OFF, failures, None)
                failures += 1
            except SourceError as error:
                self._trouble("down", error)
                retry_after = getattr(error, "retry_after", None)
                await self._pause(BACK_OFF, failures, retry_after)
                failures += 1

    async def once(self, *, crawl: bool) -> None:
        """Look once, for the commands: a crawl if one is asked for or needed, and a round."""
        self._once = True
        await self._start()
        if crawl:
            self._crawl_owed = True
        looked, dead = False, 0
        while not looked or self._crawl_owed or self.state.crawling:
            given_up = self._dead_rounds + self.state.failed_crawls
            try:
                if looked:
                    await self._crawl_step()
                else:
                    await self._round("command")
                    looked = True
            except SourceUnavailable:
                # After a dead page its pass starts again (rule 4): nobody comes back to a command.
                dead += 1
                if self._dead_rounds + self.state.failed_crawls == given_up or dead >= DEAD_AFTER:
                    raise

    async def _start(self) -> None:
        def load(db: Connection) -> tuple[int, bool, bool, float | None]:
            feeds = staging.links(db)
            fresh = self._clock.now() - LINK_AGE
            usable = self._usable(feeds) and all(f.issued_at > fresh for f in feeds.values())
            crawling = bool(staging.cursors(db, CRAWL))
            ready = usable and not get_meta(db, CRAWL_OWED, 0)
            return mirror.revision(db), ready, crawling, get_meta(db, "last_round_at")

        revision, ready, crawling, last = await self._store.read(load)
        self.state.revision = revision
        self.state.last_round_at = last
        self.state.crawling = crawling
        if not ready or not (crawling or await self._store.read(_ever_crawled)):
            self._crawl_owed = True
        if revision:  # there is something to catch up with, whether or not anything changes now
            self._on_advance(revision, self._clock.monotonic())

    async def step(self) -> None:
        """Do the most urgent thing, or wait for one."""
        now = self._clock.monotonic()
        due = [moment for moment in self._repeats if moment <= now]
        if due:
            self._repeats = [moment for moment in self._repeats if moment > now]
            self.bell.ring("repeat")
        crawls = self._crawl_owed or self.state.crawling
        if (self.bell.rung or now >= self._next_poll()) and not (crawls and self._was_round):
            self._was_round = True
            reasons, first = self.bell.answer()
            try:
                await self._round("+".join(sorted(reasons)) or "poll", first)
            except CredentialRefused:
                raise
            except SourceError as error:
                await self._beside(error)
        elif crawls:
            self._was_round = False  # rounds may be due all the time: they take turns
            await self._crawl_step()
        else:
            moments = [self._next_poll(), *self._repeats]
            await self.bell.wait(max(0.0, min(moments) - now))

    def _next_poll(self) -> float:
        return self._polled_at + self._poll_seconds

    def _trouble(self, state: str, error: SourceError) -> None:
        """Availability is logged on the edge: first failure, recovery; between them a state."""
        if self.state.state != state:
            self.state.since = self._clock.now()
            log.warning("entra.unavailable", state=state, error=error.message, hint=error.hint)
        self.state.failures += 1
        self.state.state, self.state.detail = state, error.message
        self.state.hint = error.hint

    def _well(self) -> None:
        if self.state.state in ("down", "refused"):
            seconds = self._clock.now() - (self.state.since or self._clock.now())
            log.info("entra.available", after_seconds=round(seconds, 1))
        self.state.state, self.state.detail, self.state.hint = "idle", "", ""
        self.state.since = None

    async def _pause(
        self, delays: tuple[float, ...], failures: int, retry_after: float | None
    ) -> None:
        delay = delays[min(failures, len(delays) - 1)]
        delay = max(retry_after or 0.0, delay * (0.75 + 0.5 * self._clock.jitter()))
        self._polled_at = float("-inf")  # after the pause a look is owed, whatever the timer says
        deadline = self._clock.monotonic() + delay
        while (left := deadline - self._clock.monotonic()) > 0:
            # An operator need not wait; notifications would make a storm of it.
            if await self.bell.wait(left) and self._impatient:
                self._impatient = False
                return
            self.bell.answer()

    # Rounds ---------------------------------------------------------------------------------------

    async def _round(self, trigger: str, rung_at: float | None = None) -> None:
        began = self._clock.monotonic()
        seen_at = began if rung_at is None else rung_at
        feeds = await self._store.read(staging.links)
        self._polled_at = began
        if not self._usable(feeds):
            return  # nothing to start from: the crawl that is owed brings it all
        try:
            await self._drain(ROUND, trigger)
        except PageExpired as error:
            self._dead_rounds += 1
            log.warning("page.expired", error=error.message, in_a_row=self._dead_rounds)
            if self._dead_rounds < DEAD_AFTER:
                await self._store.write(lambda db: staging.abandon(db, ROUND))
                raise SourceUnavailable(error.message, error.hint) from error
            await self._start_over(error)  # this link leads nowhere, however often
            return
        except DeltaExpired as error:
            await self._start_over(error)
            return
        self._dead_rounds = 0
        closed = await self._store.write(
            lambda db: folding.fold_round(db, self._selected, self._clock.now())
        )
        self._closed_rounds += 1
        self._mind_hidden(closed.hidden)
        await self._after(closed, trigger, began, seen_at)

    async def _beside(self, error: SourceError) -> None:
        """A round fails: a crawl goes on all the same if this link seems to be stuck, for it is
        what brings another one. Raises `error` otherwise, and if the crawl fails too."""
        owed, failures = self._crawl_owed or self.state.crawling, self._stuck()
        if failures < (DEAD_AFTER if owed else STUCK_AFTER):
            raise error
        try:
            await self._crawl_step()
        except SourceError:
            if not owed and not await self._store.read(_crawl_gets_on):  # the link may be right
                await self._store.write(lambda db: staging.abandon(db, CRAWL))
                self.state.crawling = False
            raise

    def _stuck(self) -> int:
        """How often in a row a deltaLink has failed."""
        return max(self.state.page_failures.get(_key(ROUND, feed), 0) for feed in FEEDS)

    def _mind_hidden(self, hidden: int) -> None:
        """A permission was missing while this round was read: what it should have said is lost to
        the feed, and only a crawl brings it. Once an hour, as long as that goes on."""
        now = self._clock.monotonic()
        if hidden and now - self._hidden_at >= HIDDEN_SECONDS:
            self._hidden_at = now
            self._crawl_owed = True
            log.warning("round.incomplete", objects=hidden, hint="check the app's permissions")

    async def _start_over(self, error: SourceError) -> None:
        """The links are dead: only a crawl helps. The mirror stays in force (rule 4)."""
        log.warning("delta.expired", error=error.message)
        await self._store.write(_dead_links)
        self._crawl_owed = True
        self._dead_rounds = 0

    def _usable(self, feeds: dict[str, staging.FeedLink]) -> bool:
        return len(feeds) == len(FEEDS) and all(
            link.selection == self._source.selection(link.feed) for link in feeds.values()
        )

    async def _after(
        self, closed: folding.Closed, trigger: str, began: float, seen_at: float
    ) -> None:
        self._well()
        self._impatient = False
        seconds = self._clock.monotonic() - began
        self.state.last_round_at = self._clock.now()
        self.state.last_trigger = trigger
        self._on_round(trigger, seconds, closed.changed)
        level = log.info if closed.changed else log.debug
        level("round.completed", trigger=trigger, changed=closed.changed, revision=closed.revision)
        if closed.changed:
            self._repeats = []
        await self._tell(seen_at)
        await self._verify_groups()
        await self._tell(seen_at)
        await self._ask_for_managers(seen_at)

    async def _tell(self, seen_at: float) -> None:
        revision = await self._store.read(mirror.revision)
        if revision > self.state.revision:
            self.state.revision = revision
            self._on_advance(revision, seen_at)

    async def _drain(self, pass_: str, trigger: str) -> None:
        """Read a pass to its end, from where it stands."""
        feeds = await self._store.read(staging.links)
        cursors = await self._store.read(lambda db: staging.cursors(db, pass_))
        if len(cursors) < len(FEEDS):
            urls = {feed: (link.delta_link, link.selection) for feed, link in feeds.items()}
            await self._begin(pass_, urls)
            cursors = await self._store.read(lambda db: staging.cursors(db, pass_))
        for feed in FEEDS:
            cursor: staging.Cursor | None = cursors[feed]
            seen: set[str] = set()
            while cursor is not None and cursor.delta_link is None:
                cursor = await self._page(pass_, cursor, seen)

    async def _begin(self, pass_: str, urls: dict[str, tuple[str, str]]) -> None:
        now = self._clock.now()
        await self._store.write(lambda db: staging.begin(db, pass_, urls, now))

    async def _page(self, pass_: str, cursor: staging.Cursor, seen: set[str]) -> staging.Cursor:
        url = cursor.next_link
        if url is None or url in seen or cursor.pages > MAX_PAGES:
            raise PageExpired(f"the {cursor.feed} feed leads in a circle", "it is read again")
        page = await self._fetch(pass_, cursor, url)
        seen.add(url)  # only now: a page that failed is asked for again

        def keep(db: Connection) -> staging.Cursor:
            staging.stage(db, pass_, cursor.feed, page)
            return staging.cursors(db, pass_)[cursor.feed]

        return await self._store.write(keep)

    async def _fetch(self, pass_: str, cursor: staging.Cursor, url: str) -> Page:
        """One page; a page that keeps failing is dead (rule 4)."""
        first = cursor.pages == 0
        key = _key(pass_, cursor.feed)
        source = self._next[0] if self._next and pass_ == CRAWL else self._source
        try:
            page = await source.page(cursor.feed, url, low_priority=pass_ == CRAWL)
        except (DeltaExpired, PageExpired, CredentialRefused):
            raise
        except SourceError as error:
            failures = self.state.page_failures.get(key, 0) + 1
            self.state.page_failures[key] = failures
            if cursor.feed == MANAGERS and failures >= DEAD_AFTER:
                self.state.page_failures[key] = 0
                log.warning("managers.unread", error=error.message, hint=error.hint)
                return Page((), delta_link=source.first_url(MANAGERS))
            if not first and failures >= DEAD_AFTER:
                self.state.page_failures[key] = 0
                raise PageExpired(
                    f"a page of {cursor.feed} keeps failing: {error.message}"
                ) from error
            raise
        self.state.page_failures[key] = 0
        return page

    # Crawls ---------------------------------------------------------------------------------------

    async def _crawl_step(self) -> None:
        """Begin a crawl, read one more page of it, or close it."""
        cursors = await self._store.read(lambda db: staging.cursors(db, CRAWL))
        source, selected = self._next or (self._source, self._selected)
        feeds = (*FEEDS, MANAGERS) if MANAGER in selected["user"] else FEEDS
        wanted = {feed: source.selection(feed) for feed in feeds}
        if {feed: cursor.selection for feed, cursor in cursors.items()} != wanted:
            urls = {feed: (source.first_url(feed), wanted[feed]) for feed in feeds}
            await self._begin(CRAWL, urls)
            cursors = await self._store.read(lambda db: staging.cursors(db, CRAWL))
            self._crawl_seen.clear()
            log.info("crawl.started")
        self._crawl_owed = False
        self.state.crawling = True
        self.state.crawl_pages = sum(cursor.pages for cursor in cursors.values())
        self.state.crawl_items = sum(cursor.items for cursor in cursors.values())
        if self.state.state in ("starting", "idle"):
            self.state.state = "reading"
        try:
            for feed in feeds:
                if cursors[feed].delta_link is None:
                    await self._page(CRAWL, cursors[feed], self._crawl_seen[feed])
                    return
        except (PageExpired, DeltaExpired) as error:
            await self._crawl_failed(error)
            return
        await self._close_crawl()

    async def _crawl_failed(self, error: SourceError) -> None:
        self.state.failed_crawls += 1
        await self._store.write(lambda db: staging.abandon(db, CRAWL))
        self.state.crawling = False
        self._crawl_owed = True
        say = log.error if self.state.failed_crawls >= 3 else log.warning
        say("crawl.failed", error=error.message, in_a_row=self.state.failed_crawls)
        raise SourceUnavailable(f"the crawl starts again: {error.message}", error.hint)

    async def _close_crawl(self) -> None:
        """The old links once more, then the comparison, then the switch (rule 3)."""
        began = self._clock.monotonic()
        if self._usable(await self._store.read(staging.links)):
            try:
                await self._round("crawl")
            except CredentialRefused:
                raise
            except SourceError as error:
                if self._stuck() < DEAD_AFTER:
                    raise
                await self._start_over(error)  # the crawl's own links bring what is newer
        self._crawl_owed = False
        self.state.page_failures.clear()
        selected = self._next[1] if self._next else self._selected

        def close(db: Connection) -> folding.Closed:
            had_proof = mirror.has_proof(db)
            closed = folding.fold_crawl(db, selected, self._clock.now())
            _settle_source_hold(db, closed, self._clock.now())
            set_meta(db, CRAWL_OWED, 0)
            if closed.proof and not had_proof:
                targets.all_due(db)  # what waited for a complete reading is planned now
            return closed

        closed = await self._store.write(close)
        if self._next is not None:
            self._source, self._selected = self._next
            self._next = None
        self._closed_crawls += 1
        self._closed_rounds += 1
        self.state.crawling = False
        self.state.failed_crawls = 0
        if closed.proof:
            log.info("crawl.completed", users=_users(closed), revision=closed.revision)
        else:
            log.warning("crawl.implausible", doubt=closed.doubt, absent=closed.absent)
        self._on_crawl(bool(closed.proof))
        await self._after(closed, "crawl", began, began)

    # What feeds do not tell -----------------------------------------------------------------------

    async def _verify_groups(self) -> None:
        """Graph announces no membership of whoever is restored: ask once (rule 6)."""
        for n, id_, feed in await self._store.read(mirror.unverified):
            members: list[MemberSeen] = []
            try:
                groups = await self._source.groups_of(feed, id_)
                if feed == "groups" and not await self._store.read(partial(mirror.fills, n=n)):
                    members = await self._source.group_members(id_)
            except SourceError as error:
                log.warning("restore.unverified", object_id=id_, error=error.message)
                # Nothing is removed for whoever was restored until it succeeds.
                if isinstance(error, SourceUnavailable):
                    return
                if isinstance(error, CredentialRefused):
                    await self._store.write(mirror.give_up_verifying)
                    return
                await self._store.write(partial(mirror.give_up_verifying, n=n))
                continue
            await self._store.write(partial(mirror.verify, n=n, groups=groups, members=members))

    async def _ask_for_managers(self, seen_at: float) -> None:
        """The feed tells of a change of the manager now and then: ask whenever it told of the user
        (decision 012). Some after each round, and more while nothing else is due; whoever is not
        answered for stays due."""
        if MANAGER not in self._selected["user"] or self._clock.monotonic() < self._mute_until:
            return
        last: int | None = None
        while due := await self._store.read(partial(mirror.managers_due, before=last)):
            last = due[-1][0]
            now = self._clock.monotonic()
            asked = [each for each in due if self._silent.get(each[1], (0, now))[1] <= now]
            if not asked:
                continue
            try:
                answers = await self._source.managers_of([id_ for _, id_ in asked])
            except SourceError as error:
                log.warning("managers.unread", error=error.message, hint=error.hint)
                self._note_silence([id_ for _, id_ in asked], {})
                return
            self._muted = 0
            self._note_silence([id_ for _, id_ in asked], answers)
            await self._store.write(partial(mirror.answer_managers, asked=asked, answers=answers))
            await self._tell(seen_at)
            if self._is_wanted and not self._once:
                return

    def _note_silence(self, asked: list[ObjectId], answers: mirror.ManagersOf) -> None:
        """Whoever is not answered for is asked for less and less: each try may take half a minute,
        in which no round is read. Where many are not, it is nobody's own fault: all wait a bit."""
        now = self._clock.monotonic()
        if len(asked) > FEW and not answers:
            self._mute_until = now + MUTE_SECONDS[min(self._muted, len(MUTE_SECONDS) - 1)]
            self._muted += 1
            return
        for id_ in asked:
            times, _ = self._silent.pop(id_, (0, now))
            if id_ not in answers:
                pause = SILENT_SECONDS[min(times, len(SILENT_SECONDS) - 1)]
                self._silent[id_] = (times + 1, now + pause)

    @property
    def _is_wanted(self) -> bool:
        """Whether a round, a repeat or a page of a crawl is due."""
        moment = min([self._next_poll(), *self._repeats])
        crawls = self._crawl_owed or self.state.crawling
        return self.bell.rung or crawls or self._clock.monotonic() >= moment


def _crawl_gets_on(db: Connection) -> bool:
    return any(cursor.pages for cursor in staging.cursors(db, CRAWL).values())


def _key(pass_: str, feed: str) -> str:
    return f"{pass_}:{feed}"


def _users(closed: folding.Closed) -> int:
    return closed.counts.users if closed.counts else 0


def _ever_crawled(db: Connection) -> bool:
    return get_meta(db, "last_crawl_at") is not None


def _dead_links(db: Connection) -> None:
    staging.abandon(db, ROUND)
    staging.forget_links(db)


def _settle_source_hold(db: Connection, closed: folding.Closed, now: float) -> None:
    """A plausible crawl ends earlier doubt; an implausible one opens a hold (rule 7), unless a
    person has rejected the very same before: that stays rejected, in silence (rule 38)."""
    holds.close_standing(db, None, holds.SOURCE, "gone")
    if closed.proof:
        set_meta(db, "full_sync_at", now)
        return
    payload = {"crawl": get_meta(db, "crawl"), "items": closed.absent}
    before = holds.latest(db, None, holds.SOURCE)
    same = before is not None and before.payload.get("items") == closed.absent
    if before is not None and same and before.state == "rejected" and before.detail == closed.doubt:
        holds.restate(db, before.id, closed.doubt, payload)
        return
    holds.open_hold(db, None, holds.SOURCE, closed.doubt, now, payload=payload)
