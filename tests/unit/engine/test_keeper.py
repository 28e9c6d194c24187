"""Subscriptions: created, renewed at half of their life, recreated, compared, cleared away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

import pytest
from structlog.testing import capture_logs

from azsyncd.engine.keeper import COMPARE_EVERY, Keeper
from azsyncd.entra.client import GraphRefused
from azsyncd.entra.subscriptions import SubscriptionExists
from azsyncd.errors import SourceError, SourceUnavailable
from azsyncd.model.subscriptions import Kept, Subscription, fingerprint
from azsyncd.sandbox.clock import FakeClock

URL = "https://azsyncd.example.com/notifications"
APP = "66666666-7777-8888-9999-000000000000"
DAY = 86400.0


@dataclass
class FakeGraph:
    """Graph's list of subscriptions; `fail` is raised once by the next call of that name."""

    clock: FakeClock
    listed: dict[str, Subscription] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    fail: dict[str, list[SourceError]] = field(default_factory=dict)
    count: int = 0

    def _called(self, name: str, what: str) -> None:
        self.calls.append((name, what))
        if self.fail.get(name):
            raise self.fail[name].pop(0)

    async def list(self) -> Sequence[Subscription]:
        self._called("list", "")
        return list(self.listed.values())

    async def create(
        self, resource: str, expires_at: float, client_state: str, notification_url: str
    ) -> Subscription:
        self._called("create", resource)
        self.count += 1
        return self.add(f"s{self.count}", resource, expires_at, notification_url)

    def add(self, id_: str, resource: str, expires_at: float, url: str = URL) -> Subscription:
        made = Subscription(
            id=id_,
            resource=resource,
            notification_url=url,
            lifecycle_url=url,
            expires_at=expires_at,
            application_id=APP,
        )
        self.listed[id_] = made
        return made

    async def renew(self, subscription_id: str, expires_at: float) -> Subscription:
        self._called("renew", subscription_id)
        if subscription_id not in self.listed:
            raise GraphRefused("gone", status=404, codes=("ResourceNotFound",))
        renewed = replace(self.listed[subscription_id], expires_at=expires_at)
        self.listed[subscription_id] = renewed
        return renewed

    async def delete(self, subscription_id: str) -> None:
        self._called("delete", subscription_id)
        self.listed.pop(subscription_id, None)

    def of(self, name: str) -> Sequence[str]:
        return [what for called, what in self.calls if called == name]


class Book:
    """Where they are remembered."""

    def __init__(self) -> None:
        self.kept: list[Kept] = []

    async def load(self) -> list[Kept]:
        return list(self.kept)

    async def save(self, kept: list[Kept]) -> None:
        self.kept = list(kept)


class Rig:
    """A keeper at work, and what it works on."""

    def __init__(self) -> None:
        self.clock = FakeClock(moves=False)
        self.graph = FakeGraph(self.clock)
        self.book = Book()
        self.rings: list[str] = []
        self.secrets = iter(f"secret-{number}" for number in range(1000))
        self.keeper = self.make()
        self.task: asyncio.Task[None] | None = None

    def make(self, url: str = URL) -> Keeper:
        return Keeper(
            self.graph,
            self.book,
            self.clock,
            self.rings.append,
            url,
            3 * DAY,
            lambda: next(self.secrets),
            APP,
        )

    async def start(self) -> None:
        self.task = asyncio.create_task(self.keeper.run())
        await self.turns()

    async def turns(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.task = None

    async def after(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.turns()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    with capture_logs():
        yield rig
        await rig.stop()


async def test_one_subscription_per_feed_each_with_its_secret_and_a_ring(rig: Rig) -> None:
    await rig.start()
    assert rig.graph.of("create") == ["users", "groups"]
    known = [fingerprint("secret-0"), fingerprint("secret-1")]
    assert rig.keeper.fingerprints() == dict(zip(("s1", "s2"), known, strict=True))
    assert rig.rings == ["users", "groups"]  # nobody knows what went unheard
    assert [kept.fingerprint for kept in rig.book.kept] == known  # not the secrets (I10)


async def test_they_are_renewed_at_half_of_their_life(rig: Rig) -> None:
    await rig.start()
    await rig.after(1.15 * DAY)
    assert not rig.graph.of("renew")
    await rig.after(0.4 * DAY)
    assert sorted(rig.graph.of("renew")) == ["s1", "s2"]
    assert all(s.expires_at > rig.clock.now() + 2.9 * DAY for s in rig.graph.listed.values())


async def test_a_restart_makes_none_anew(rig: Rig) -> None:
    await rig.start()
    await rig.stop()
    rig.keeper = rig.make()
    await rig.start()
    assert rig.graph.of("create") == ["users", "groups"]
    assert len(rig.keeper.fingerprints()) == 2


async def test_one_that_graph_lost_is_noticed_by_comparing_and_made_anew(rig: Rig) -> None:
    await rig.start()
    del rig.graph.listed["s1"]
    await rig.after(COMPARE_EVERY + 1)
    assert rig.graph.of("create") == ["users", "groups", "users"]
    assert rig.rings == ["users", "groups", "users"]


async def test_one_that_is_gone_when_it_is_renewed_is_made_anew_at_once(rig: Rig) -> None:
    await rig.start()
    await rig.after(0.9 * DAY)  # compared some time ago
    del rig.graph.listed["s2"]
    await rig.keeper.renew_all()
    await rig.turns()
    assert rig.graph.of("create") == ["users", "groups", "groups"]


async def test_the_lifecycle_says_removed_and_it_is_made_anew(rig: Rig) -> None:
    await rig.start()
    del rig.graph.listed["s1"]
    await rig.keeper.lifecycle("subscriptionRemoved", "S1")
    await rig.turns()
    assert rig.graph.of("create")[-1] == "users"


async def test_the_lifecycle_says_reauthorize_and_it_is_renewed_not_twice_in_ten_minutes(
    rig: Rig,
) -> None:
    await rig.start()
    await rig.keeper.lifecycle("reauthorizationRequired", "s1")
    await rig.turns()
    assert rig.graph.of("renew") == ["s1"]
    await rig.keeper.lifecycle("reauthorizationRequired", "s1")
    await rig.turns()
    assert rig.graph.of("renew") == ["s1"]
    await rig.after(601)
    assert rig.graph.of("renew") == ["s1", "s1"]


async def test_the_lifecycle_says_missed_and_the_feed_is_rung(rig: Rig) -> None:
    await rig.start()
    await rig.keeper.lifecycle("missed", "s2")
    assert rig.rings[-1] == "groups"
    await rig.keeper.lifecycle("missed", "somebody-else's")
    assert len(rig.rings) == 3


async def test_a_409_whose_subscription_is_ours_is_cleared_away(rig: Rig) -> None:
    rig.graph.fail["create"] = [SubscriptionExists("there is one", None)]
    rig.graph.fail["list"] = [SourceUnavailable("busy")]  # so that it is not cleared before
    rig.graph.add("old", "users", rig.clock.now() + DAY)
    await rig.start()
    assert "old" not in rig.graph.listed
    assert len(rig.keeper.fingerprints()) == 2


async def test_a_409_of_somebody_elses_is_left_alone_and_asked_again_later(rig: Rig) -> None:
    rig.graph.add("theirs", "users", rig.clock.now() + DAY, "https://other.example/hook")
    rig.graph.fail["create"] = [SubscriptionExists("there is one", "theirs")]
    await rig.start()
    assert "theirs" in rig.graph.listed
    assert "users" in rig.keeper.problems()
    assert rig.graph.of("create") == ["users", "groups"]
    await rig.after(40)
    assert rig.graph.of("create")[-1] == "users"
    assert not rig.keeper.problems()


async def test_orphans_of_ours_are_deleted_and_those_of_others_are_not(rig: Rig) -> None:
    rig.graph.add("orphan", "users", rig.clock.now() + DAY)
    rig.graph.add("theirs", "users", rig.clock.now() + DAY, "https://other.example/hook")
    await rig.start()
    assert set(rig.graph.listed) == {"theirs", "s1", "s2"}


async def test_another_address_replaces_them(rig: Rig) -> None:
    await rig.start()
    await rig.stop()
    rig.keeper = rig.make("https://new.example.com/n")
    await rig.start()
    assert {s.notification_url for s in rig.graph.listed.values()} == {"https://new.example.com/n"}


async def test_whatever_fails_is_tried_later_and_later_and_nothing_spins(rig: Rig) -> None:
    rig.graph.fail["create"] = [SourceUnavailable("503") for _ in range(40)]
    await rig.start()
    for _ in range(60):
        await rig.after(60)
    assert len(rig.graph.of("create")) < 25  # an hour, two feeds
    assert rig.keeper.problems()


async def test_all_can_be_deleted(rig: Rig) -> None:
    await rig.start()
    await rig.stop()
    await rig.keeper.delete_all()
    assert not rig.graph.listed
    assert not rig.book.kept


async def test_what_is_shown_is_what_graph_has(rig: Rig) -> None:
    await rig.start()
    assert [kept.id for kept in await rig.keeper.look()] == ["s1", "s2"]
    rig.graph.listed.clear()
    assert await rig.keeper.look() == ()
    await rig.turns()
    assert [kept.id for kept in await rig.keeper.look()] == ["s3", "s4"]  # made anew meanwhile
    rig.graph.fail["list"] = [SourceUnavailable("HTTP 503")]
    with pytest.raises(SourceUnavailable):
        await rig.keeper.look()


async def test_a_renewal_that_is_asked_for_makes_the_lost_ones_anew(rig: Rig) -> None:
    await rig.start()
    await rig.after(DAY / 24)
    del rig.graph.listed["s2"]
    rig.graph.calls.clear()
    assert [kept.id for kept in await rig.keeper.renew_all()] == ["s1", "s3"]
    assert (rig.graph.of("renew"), rig.graph.of("create")) == (["s1"], ["groups"])
    rig.graph.fail["renew"] = [SourceUnavailable("HTTP 503")]
    await rig.after(DAY / 24)
    with pytest.raises(SourceUnavailable):
        await rig.keeper.renew_all()
