"""The reading of Entra: what an operator need not wait for, and what a round could not say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from azsyncd.engine.pull import Pull
from azsyncd.engine.running import Running
from azsyncd.errors import PageExpired, SourceUnavailable
from azsyncd.model.identities import MemberKind, MemberSeen, ObjectId, Page, Seen
from azsyncd.sandbox.clock import FakeClock
from azsyncd.state import folding, holds, questions, staging
from azsyncd.state.store import Store, get_meta, open_store, set_meta

JO = ObjectId("11111111-0000-0000-0000-000000000001")
BOSS = ObjectId("11111111-0000-0000-0000-000000000002")
STAFF = ObjectId("22222222-0000-0000-0000-000000000001")
SELECTED = {"user": ("userPrincipalName", "displayName"), "group": ("displayName",)}


class Source:
    """Two feeds of one page each; what the next page says can be set."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.managers_asked: list[list[ObjectId]] = []
        self.silent = False
        self.unanswered: set[ObjectId] = set()
        self.rings: Callable[[], object] = lambda: None
        self.down = False
        self.dead_pages = 0
        self.stuck: set[str] = set()
        self.last_failure = ""  # the url with which an outage ends
        self.items: dict[str, tuple[Seen, ...]] = {
            "users": (Seen(JO, {"userPrincipalName": "jo@x.example", "displayName": "Jo"}),),
            "groups": (
                Seen(STAFF, {"displayName": "Staff"}, None, (MemberSeen(JO, MemberKind.USER),)),
            ),
        }

    def first_url(self, feed: str) -> str:
        return f"{feed}/first"

    def selection(self, feed: str) -> str:
        return feed

    async def page(self, feed: str, url: str, *, low_priority: bool = False) -> Page:
        self.asked.append(url)
        if self.down or url in self.stuck:
            self.down = self.down and url != self.last_failure
            raise SourceUnavailable("Graph is down")
        if self.dead_pages:
            self.dead_pages -= 1
            raise PageExpired("the next page is dead")
        self.rings()
        items = self.items.pop(feed, ())
        return Page(items, delta_link=f"{feed}/{len(self.asked)}")

    async def groups_of(self, feed: str, id_: ObjectId) -> list[ObjectId]:
        return []

    async def group_members(self, group_id: ObjectId) -> list[MemberSeen]:
        return []

    async def managers_of(self, ids: list[ObjectId]) -> dict[ObjectId, ObjectId | None]:
        self.managers_asked.append(list(ids))
        if self.silent:
            raise SourceUnavailable("Graph is down")
        return dict.fromkeys((id_ for id_ in ids if id_ not in self.unanswered), BOSS)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = await open_store(tmp_path / "state.db")
    yield made
    await made.close()


def pull_from(
    source: Source, store: Store, clock: FakeClock, selected: folding.Selected = SELECTED
) -> Pull:
    return Pull(
        source,
        store,
        clock,
        selected=selected,
        poll_seconds=3600.0,
        on_advance=lambda revision, seen_at: None,
    )


async def settled(clock: FakeClock, times: int = 200) -> None:
    for _ in range(times):
        await asyncio.sleep(0.001)
        if clock.sleeping:
            return


async def test_an_operator_cuts_a_pause_short(store: Store) -> None:
    """A notification does not: a tenant that changes all the time would make a storm of it."""
    source, clock = Source(), FakeClock(moves=False)
    pull = pull_from(source, store, clock)
    source.down = True
    task = asyncio.create_task(pull.run())
    await settled(clock)
    asked, failures = len(source.asked), pull.state.failures
    assert failures == 1
    pull.ring("notification")
    await asyncio.sleep(0.05)
    assert len(source.asked) == asked
    source.down = False
    pull.ring("operator")
    for _ in range(200):
        await asyncio.sleep(0.005)
        if pull.crawls:
            break
    assert pull.crawls == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_rule_7_a_round_without_words_owes_a_crawl_once_an_hour(store: Store) -> None:
    """A permission was missing: what changed meanwhile is lost to the feed."""
    source, clock = Source(), FakeClock()
    pull = pull_from(source, store, clock)
    await pull.once(crawl=False)
    assert pull.crawls == 1
    source.items["users"] = (Seen(JO, {}),)
    await pull.once(crawl=False)
    assert pull.crawls == 2
    source.items["users"] = (Seen(JO, {}),)
    await pull.once(crawl=False)
    assert pull.crawls == 2
    clock.advance(3601)
    source.items["users"] = (Seen(JO, {"userPrincipalName": None, "displayName": None}),)
    await pull.once(crawl=False)
    assert pull.crawls == 3


async def test_a_group_that_names_only_its_members_says_enough(store: Store) -> None:
    """Graph need not repeat what has not changed."""
    source, clock = Source(), FakeClock()
    pull = pull_from(source, store, clock)
    await pull.once(crawl=False)
    gone = MemberSeen(JO, MemberKind.USER, removed=True)
    source.items["groups"] = (Seen(STAFF, {}, None, (gone,)),)
    await pull.once(crawl=False)
    assert pull.crawls == 1


@pytest.mark.parametrize("crawl", [False, True])
async def test_rule_4_a_command_reads_again_after_a_dead_page(store: Store, crawl: bool) -> None:
    """Nobody comes back to a command, as the daemon's loop does; for ever it does not try."""
    source, clock = Source(), FakeClock()
    pull = pull_from(source, store, clock)
    source.dead_pages = 1
    await pull.once(crawl=crawl)
    assert pull.crawls == 1
    source.dead_pages = 1
    await pull.once(crawl=crawl)
    assert pull.crawls == 1 + crawl
    source.dead_pages = 1000
    with pytest.raises(SourceUnavailable, match="dead"):
        await pull.once(crawl=crawl)
    assert source.dead_pages > 980


@pytest.mark.parametrize("owed", [True, False])
async def test_rule_4_a_delta_link_that_fails_for_ever_does_not_keep_a_crawl_from_it(
    store: Store, owed: bool
) -> None:
    source, clock = Source(), FakeClock()
    pull = pull_from(source, store, clock)
    await pull.once(crawl=False)
    links = await store.read(staging.links)
    source.stuck = {links["groups"].delta_link}
    source.items["users"] = (Seen(JO, {"userPrincipalName": "jo@y.example", "displayName": "Jo"}),)
    if owed:
        pull.owe_crawl("full")
    task = asyncio.create_task(pull.run())
    async with asyncio.timeout(20):
        while pull.crawls < 2:
            await asyncio.sleep(0.001)
        while pull.state.state != "idle":
            await asyncio.sleep(0.001)
    links = await store.read(staging.links)
    assert links["groups"].delta_link not in source.stuck
    rounds = pull.rounds
    pull.ring("operator")
    async with asyncio.timeout(20):
        while pull.rounds == rounds:
            await asyncio.sleep(0.001)
    assert pull.crawls == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_long_outage_is_no_reason_to_read_everything_again(store: Store) -> None:
    source, clock = Source(), FakeClock()
    pull = pull_from(source, store, clock)
    await pull.once(crawl=False)
    source.down, source.last_failure, rounds = True, "users/first", pull.rounds
    task = asyncio.create_task(pull.run())
    async with asyncio.timeout(20):
        while pull.rounds < rounds + 2:
            await asyncio.sleep(0.001)
    assert not source.down
    assert pull.crawls == 1
    assert not await store.read(lambda db: staging.cursors(db, staging.CRAWL))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_i11_a_slot_whose_crawl_was_not_read_is_owed_after_a_restart(store: Store) -> None:
    """Entra is down at night, and somebody restarts the daemon. A clock that was a year ahead for a
    while stops no slot either."""
    source, clock = Source(), FakeClock(moves=False)
    pull = pull_from(source, store, clock)
    await pull.once(crawl=False)
    assert pull.crawls == 1
    schedule = SimpleNamespace(full_sync="0 3 * * *", timezone="UTC")
    running = SimpleNamespace(
        config=SimpleNamespace(schedule=schedule), clock=clock, store=store, pull=pull
    )

    async def wait() -> None:
        keeping = asyncio.create_task(Running._keep_schedule(running))  # type: ignore[arg-type]
        for _ in range(30):
            await asyncio.sleep(0.02)
            clock.advance(3600.0)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    await store.write(lambda db: set_meta(db, "cron_slot", "2037-01-01T03:00"))
    await wait()
    again = pull_from(source, store, clock)
    await again.once(crawl=False)
    assert again.crawls == 1
    once_more = pull_from(source, store, clock)
    await once_more.once(crawl=False)
    assert once_more.crawls == 0


async def test_rule_3_a_crawl_gets_on_where_rounds_are_due_all_the_time(store: Store) -> None:
    """A round may take as long as the time between two of them."""
    source, clock = Source(), FakeClock()
    pull = pull_from(source, store, clock)
    await pull.once(crawl=False)
    pull._poll_seconds = 0.0
    pull.owe_crawl("full")
    task = asyncio.create_task(pull.run())
    async with asyncio.timeout(20):
        while pull.crawls < 2:
            await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_rule_38_a_doubt_that_was_rejected_stays_so_while_it_is_the_same(
    store: Store,
) -> None:
    source, clock = Source(), FakeClock()
    pull = pull_from(source, store, clock)
    await pull.once(crawl=False)  # every later crawl shows nothing
    for _ in range(2):
        await pull.once(crawl=True)
        (hold,) = await store.read(lambda db: holds.listed(db, ("open", "rejected")))
        number = hold.id
        await store.write(
            lambda db, n=number: questions.close_hold(db, n, "rejected", "jo", "", 1.0)  # type: ignore[misc]
        )
    crawl = await store.read(lambda db: get_meta(db, "crawl"))
    (hold,) = await store.read(lambda db: holds.listed(db, ("open", "rejected")))
    assert hold.payload["crawl"] == crawl  # it may still be approved


MANAGED = {**SELECTED, "user": (*SELECTED["user"], "manager")}


async def test_managers_are_listed_by_crawls_and_asked_for_after_rounds(store: Store) -> None:
    """Whoever has no answer stays due."""
    source, clock = Source(), FakeClock()
    source.items["managers"] = (Seen(JO, {"manager": None}),)
    pull = pull_from(source, store, clock, MANAGED)
    await pull.once(crawl=False)
    assert source.asked == ["users/first", "groups/first", "managers/first"]
    assert source.managers_asked == []
    source.items["users"] = (Seen(JO, {"displayName": "Joe"}),)
    source.silent = True
    await pull.once(crawl=False)
    assert pull.state.state == "idle"
    for wait in (1.0, 20.0, 20.0, 300.0):  # less and less, for each try may take its time
        clock.advance(wait)
        source.silent = len(source.managers_asked) < 2
        await pull.once(crawl=False)
    assert source.managers_asked == [[JO], [JO], [JO]]
    await pull.once(crawl=False)
    assert len(source.managers_asked) == 3
    assert "managers/first" not in source.asked[3:]  # rounds have no use for it


async def test_managers_are_read_before_a_file_that_wants_them_is_in_force(store: Store) -> None:
    """Rule 5: the listing is a part of the crawl beside the running feed."""
    source, clock = Source(), FakeClock()
    pull = pull_from(source, store, clock)
    await pull.once(crawl=False)
    assert "managers/first" not in source.asked
    pull.crawl_with(source, MANAGED)
    source.items["users"] = (Seen(JO, {"displayName": "Jo"}),)
    source.items["managers"] = (Seen(JO, {"manager": BOSS}),)
    await pull.once(crawl=False)
    assert "managers/first" in source.asked and source.managers_asked == []


async def test_questions_for_managers_and_rings_take_turns(store: Store) -> None:
    """However often it rings: some are asked after each round, and no round waits for all."""
    source, clock = Source(), FakeClock()
    everybody = tuple(
        Seen(ObjectId(f"u{number}"), {"displayName": f"U{number}"}) for number in range(450)
    )
    source.items["users"] = everybody
    pull = pull_from(source, store, clock, MANAGED)
    await pull.once(crawl=False)  # a command waits for all
    assert [len(asked) for asked in source.managers_asked] == [200, 200, 50]
    pull = pull_from(source, store, clock, MANAGED)
    source.managers_asked.clear()
    source.items["users"] = everybody
    source.rings = lambda: pull.ring("notification")
    for _ in range(4):
        pull.ring("notification")
        await pull.step()
    assert [len(asked) for asked in source.managers_asked] == [200, 200, 50]


async def test_whoever_is_not_answered_for_does_not_stand_in_the_way(store: Store) -> None:
    """She stays due, and is asked for less and less."""
    source, clock = Source(), FakeClock()
    source.items["users"] = tuple(
        Seen(ObjectId(f"u{number}"), {"displayName": f"U{number}"}) for number in range(250)
    )
    source.unanswered = {ObjectId("u249"), ObjectId("u3")}
    pull = pull_from(source, store, clock, MANAGED)
    for wait in (0.0, 1.0, 20.0, 20.0, 300.0):
        clock.advance(wait)
        await pull.once(crawl=False)
    assert [len(asked) for asked in source.managers_asked] == [200, 50, 2, 2]


async def test_an_attribute_does_not_keep_a_crawl_from_its_end(store: Store) -> None:
    """The listing fails for ever: who leaves is seen all the same."""
    source, clock = Source(), FakeClock()
    source.stuck = {"managers/first"}
    pull = pull_from(source, store, clock, MANAGED)
    for _ in range(10):
        with suppress(SourceUnavailable):
            await pull.once(crawl=False)
            break
    assert pull.crawls == 1
    assert source.asked.count("managers/first") == 5
    assert source.managers_asked == [[JO]]


async def test_where_nobody_is_answered_for_all_wait_a_bit(store: Store) -> None:
    """And nobody's own pause grows by it."""
    source, clock = Source(), FakeClock()
    source.items["users"] = tuple(
        Seen(ObjectId(f"u{number}"), {"displayName": f"U{number}"}) for number in range(250)
    )
    source.silent = True
    pull = pull_from(source, store, clock, MANAGED)
    for wait in (0.0, 1.0, 70.0, 70.0):
        clock.advance(wait)
        await pull.once(crawl=False)
    assert len(source.managers_asked) == 2
    source.silent = False
    clock.advance(300.0)
    await pull.once(crawl=False)
    assert [len(asked) for asked in source.managers_asked[2:]] == [200, 50]
