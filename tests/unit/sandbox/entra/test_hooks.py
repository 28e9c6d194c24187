"""Notifications: batched, repeated, lost, doubled, forged, late."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from azsyncd.sandbox.clock import FakeClock
from azsyncd.sandbox.hooks import RETRY_FOR_SECONDS, Hooks, Subscription
from azsyncd.sandbox.nodes import Event
from azsyncd.sandbox.tenant import Tenant

URL = "https://azsyncd.example/notify"


class Wire:
    """What the other side does, without any socket."""

    def __init__(self) -> None:
        self.posts: list[list[dict[str, Any]]] = []
        self.statuses: list[int | Exception] = []
        self.slow = 0.0
        self.reply: tuple[int, str, str] | None = None

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> tuple[int, str, str]:
        if self.reply is not None:
            return self.reply
        status = self.statuses.pop(0) if self.statuses else 202
        if isinstance(status, Exception):
            raise status
        if status < 300:
            self.posts.append(json.loads(body)["value"])
        return status, "", ""

    @property
    def items(self) -> list[dict[str, Any]]:
        return [item for post in self.posts for item in post]


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def hooks(clock: FakeClock, wire: Wire) -> Hooks:
    return Hooks("11111111-2222-3333-4444-555555555555", clock=clock, post=wire.post, seed=4)


@pytest.fixture
def subscription(clock: FakeClock) -> Subscription:
    return Subscription(
        id="d850b120-19bb-4291-b9c4-845ea04dd38d",
        resource="/users",
        feed="users",
        object_id="",
        change_types=frozenset({"updated", "deleted"}),
        change_type="updated,deleted",
        notification_url=URL,
        lifecycle_url=URL,
        expires_at=clock.now() + 86400,
        client_state="state",
        application_id="app",
        creator_id="sp",
    )


def event(clock: FakeClock, name: str = "87d349ed-44d7-43e1-9a83-5f2406dee5bd") -> Event:
    return Event("users", name, "updated", 1, clock.now())


async def test_change_looks_as_documented(
    hooks: Hooks, wire: Wire, subscription: Subscription, clock: FakeClock, example: Any
) -> None:
    """The keys of the printed body, in its words."""
    hooks.notify(subscription, event(clock))
    await hooks.settle()
    (sample,) = example("changenotification-user-updated")["value"]
    (item,) = wire.items
    assert item.keys() == sample.keys()
    assert item["resourceData"].keys() == sample["resourceData"].keys()
    for key in ("changeType", "resource"):
        assert item[key] == sample[key]
    for key in ("@odata.type", "@odata.id", "id"):
        assert item["resourceData"][key] == sample["resourceData"][key]
    assert item["resourceData"]["sequenceNumber"] > 2**53


@pytest.mark.parametrize("kind", ["reauthorizationRequired", "missed", "subscriptionRemoved"])
async def test_lifecycle_event_looks_as_documented(
    hooks: Hooks, wire: Wire, subscription: Subscription, example: Any, kind: str
) -> None:
    """To the address for these; nothing where there is none."""
    assert hooks.lifecycle(subscription, kind)
    await hooks.settle()
    (item,) = wire.items
    (sample,) = example(f"lifecycle-notification-{kind.lower()}-doc")["value"]
    assert item.keys() == sample.keys()
    assert item["lifecycleEvent"] == sample["lifecycleEvent"]
    subscription.lifecycle_url = None
    assert not hooks.lifecycle(subscription, kind)


async def test_changes_of_one_moment_share_a_post(
    hooks: Hooks, wire: Wire, subscription: Subscription, clock: FakeClock
) -> None:
    """At most a hundred; those of the next moment go by themselves."""
    for number in range(250):
        hooks.notify(subscription, event(clock, f"id-{number}"))
    await hooks.settle()
    assert [len(post) for post in wire.posts] == [100, 100, 50]
    hooks.notify(subscription, event(clock))
    await hooks.settle()
    assert len(wire.posts[-1]) == 1
    assert min(clock.slept) == hooks.delay


async def test_what_is_not_taken_comes_again(
    hooks: Hooks, wire: Wire, subscription: Subscription, clock: FakeClock
) -> None:
    """With growing pauses; nothing is lost on the way."""
    wire.statuses = [503, OSError("refused"), TimeoutError(), 202]
    hooks.notify(subscription, event(clock))
    await hooks.settle()
    assert len(wire.items) == 1
    assert [delivery.status for delivery in hooks.deliveries] == [503, 0, 0, 202]
    assert clock.slept[-3:] == [1.0, 2.0, 4.0]


async def test_after_four_hours_it_is_given_up(
    hooks: Hooks, wire: Wire, subscription: Subscription, clock: FakeClock
) -> None:
    """Then the next one has its chance."""
    wire.statuses = [500] * 1000
    started = clock.monotonic()
    hooks.notify(subscription, event(clock))
    await hooks.settle()
    assert hooks.happened["given up"] == 1
    assert RETRY_FOR_SECONDS <= clock.monotonic() - started < RETRY_FOR_SECONDS + 1300
    wire.statuses = []
    hooks.notify(subscription, event(clock))
    await hooks.settle()
    assert len(wire.items) == 1


async def test_lost_and_silent(
    hooks: Hooks, wire: Wire, subscription: Subscription, clock: FakeClock
) -> None:
    """A share of them, or all."""
    hooks.faults.lost = 0.5
    for number in range(100):
        hooks.notify(subscription, event(clock, f"id-{number}"))
    await hooks.settle()
    assert 20 < len(wire.items) < 80
    assert hooks.happened["lost"] == 100 - len(wire.items)
    hooks.faults.silent, count = True, len(wire.items)
    hooks.notify(subscription, event(clock))
    hooks.lifecycle(subscription, "missed")
    await hooks.settle()
    assert len(wire.items) == count


async def test_doubled_forged_and_mixed(
    hooks: Hooks, wire: Wire, subscription: Subscription, clock: FakeClock
) -> None:
    """The same again, one with a guessed clientState, one of another tenant."""
    faults = hooks.faults
    faults.doubled = faults.forged = faults.mixed = 1.0
    hooks.notify(subscription, event(clock))
    await hooks.settle()
    assert sorted(item["clientState"] for item in wire.items) == [
        "guessed",
        "state",
        "state",
        "theirs",
    ]
    tenants = [item["tenantId"] != hooks.tenant_id for item in wire.items]
    assert sum(tenants) == 1


async def test_delayed_ones_come_after_younger_ones(
    hooks: Hooks, wire: Wire, subscription: Subscription, clock: FakeClock
) -> None:
    """And do not hold them up."""
    hooks.faults.delayed = 1.0
    hooks.notify(subscription, event(clock, "late"))
    hooks.faults.delayed = 0.0
    hooks.notify(subscription, event(clock, "early"))
    await hooks.settle()
    assert [item["resourceData"]["id"] for item in wire.items] == ["early", "late"]
    at = [delivery.at for delivery in hooks.deliveries]
    assert at[1] - at[0] == pytest.approx(hooks.faults.delay_seconds, abs=hooks.delay * 2)


async def test_handshake_wants_the_token_in_plain_text(hooks: Hooks, wire: Wire) -> None:
    """Each way to fail has its words."""
    for reply, words in (
        ((403, "text/plain", ""), "'403'"),
        ((200, "text/html", "x"), "plain text"),
        ((200, "text/plain", "other"), "decoded"),
    ):
        wire.reply = reply
        assert words in await hooks.shake_hands(URL)
    wire.reply = None
    wire.statuses = [TimeoutError()]
    assert await hooks.shake_hands(URL) == "Subscription validation request timed out."


async def test_closing_leaves_no_task(
    hooks: Hooks, subscription: Subscription, clock: FakeClock
) -> None:
    """Whatever is under way."""
    before = asyncio.all_tasks()
    hooks.notify(subscription, event(clock))
    await asyncio.sleep(0)
    await hooks.close()
    assert asyncio.all_tasks() == before


async def test_subscription_hears_of_its_own_feed_and_object(
    subscription: Subscription, tenant: Tenant
) -> None:
    """Other feeds, other objects and other kinds of change do not concern it."""
    heard: list[Event] = []
    tenant.listeners.append(heard.append)
    ann = tenant.add_user("ann@x.example")
    tenant.add_user("bob@x.example")
    tenant.add_group("team", members=[ann])
    tenant.purge(ann)
    assert [subscription.wants(found) for found in heard] == [True, True, False, False, True]
    subscription.object_id = ann
    subscription.change_types = frozenset({"deleted"})
    assert [subscription.wants(found) for found in heard] == [False] * 4 + [True]
