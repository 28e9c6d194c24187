"""What happens around one write: lost answers, refusals, three in a row, seats (18, 30, 37)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from azsyncd.engine.reconcile import Reconcile
from azsyncd.entra import wire
from azsyncd.errors import ChangeRejected, TargetUnavailable
from azsyncd.model.accounts import Account, Capabilities, fold
from azsyncd.model.identities import FEEDS, GROUP_PROPERTIES, USER_PROPERTIES
from azsyncd.plan.policy import Budget, GuardRules, Policy, Scope, UserScope
from azsyncd.sandbox.clock import FakeClock
from azsyncd.state import folding, holds, journal, mirror, staging, targets, waiting
from azsyncd.state.store import Connection, open_store
from azsyncd.targets.memory import ABLE, Memory

SELECTED = {"user": USER_PROPERTIES, "group": GROUP_PROPERTIES}
PLAIN = Capabilities(version="1", members_per_call=1)


class Rig:
    """A target on a state, fed by hand."""

    def __init__(self, store: Any, able: Capabilities, guard: GuardRules) -> None:
        self.store = store
        self.clock = FakeClock(moves=False)
        self.fault: Callable[[str, str], Awaitable[None]] | None = None
        self.revision = 0
        self.product = Memory(capabilities=able, faults=self._faults)
        self.guard = guard
        self.t = 0
        self.reconcile: Reconcile

    async def _faults(self, when: str, method: str) -> None:
        if self.fault is not None:
            await self.fault(when, method)

    async def open(self) -> None:
        row = await self.store.write(lambda db: targets.ensure(db, "memory", "memory"))
        self.t = row.t
        self.start()

    def start(self) -> None:
        """A life of the loop."""
        self.reconcile = Reconcile(
            self.product,
            Policy(scope=Scope(users=UserScope(everybody=True)), guard=self.guard),
            self.store,
            self.clock,
            t=self.t,
            instance="test",
            policy_digest="1",
            concurrency=1,
            signed_in_as=frozenset,
            signs_in_as=lambda name, account: None,
            mirror_revision=lambda: self.revision,
        )

    async def entra(self, *users: dict[str, Any], crawl: bool = False) -> None:
        """A round (or crawl) with these users."""
        pass_ = staging.CRAWL if crawl else staging.ROUND
        body = {"value": list(users), "@odata.deltaLink": "https://graph.example/d"}

        def fold(db: Connection) -> None:
            staging.begin(db, pass_, dict.fromkeys(FEEDS, ("u", "s")), 0.0)
            staging.stage(db, pass_, "users", wire.page_from_json("users", body))
            group = {"id": "g", "displayName": "a group"}
            groups = {"value": [group], "@odata.deltaLink": "https://graph.example/d"}
            staging.stage(db, pass_, "groups", wire.page_from_json("groups", groups))
            folded = folding.fold_crawl if crawl else folding.fold_round
            folded(db, SELECTED, self.clock.now())

        await self.store.write(fold)
        self.revision = await self.store.read(mirror.revision)

    async def outcomes(self) -> list[tuple[str, str]]:
        rows = await self.store.read(journal.read)
        return [(row["change"], row["outcome"]) for row in reversed(rows)]

    async def waits(self) -> list[tuple[str, str, int]]:
        rows = await self.store.read(lambda db: waiting.listed(db, self.t))
        return [(row["change"], row["reason"], row["attempts"]) for row in rows]


def user(number: int, **properties: Any) -> dict[str, Any]:
    return {
        "id": f"id{number}",
        "userPrincipalName": f"u{number}@x.org",
        "displayName": f"User {number}",
        "mail": None,
        "accountEnabled": True,
        **properties,
    }


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Rig]]]:
    stores = []

    async def make(able: Capabilities = ABLE, guard: GuardRules | None = None) -> Rig:
        store = await open_store(tmp_path / "state.db", exclusive=False)
        stores.append(store)
        rig = Rig(store, able, guard or GuardRules())
        await rig.open()
        return rig

    with capture_logs():
        yield make
        for store in stores:
            await store.close()


def once(when: str, method: str, error: Exception) -> Callable[[str, str], Awaitable[None]]:
    left = [error]

    async def fault(now: str, called: str) -> None:
        if (now, called) == (when, method) and left:
            raise left.pop()

    return fault


def always(method: str, error: Exception) -> Callable[[str, str], Awaitable[None]]:
    async def fault(when: str, called: str) -> None:
        if when == "before" and called == method:
            raise error

    return fault


@pytest.mark.parametrize("able", [ABLE, PLAIN], ids=["with marks", "without"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_rule_18_a_create_whose_answer_is_lost_makes_no_second_account(
    make: Callable[..., Awaitable[Rig]], able: Capabilities, when: str
) -> None:
    rig = await make(able)
    await rig.entra(user(1), crawl=True)
    rig.fault = once(when, "create_account", TargetUnavailable("reset"))
    with pytest.raises(TargetUnavailable):
        await rig.reconcile.turn(cause="test")
    rig.start()  # as after a crash
    await rig.reconcile.turn(cause="test")
    rig.clock.advance(61.0)
    await rig.reconcile.turn(cause="test")
    assert [a.username for a in rig.product.held.values()] == ["u1@x.org"]
    creates = [call for call in rig.product.calls if call[0] == "create_account"]
    assert len(creates) == (1 if when == "after" else 2)
    assert (await rig.outcomes())[0] == ("create", "unknown")
    assert await rig.waits() == []


def named_by_key(product: Memory) -> None:
    """Some products know an account by nothing but its name."""
    put = product.put

    def put_named(account: Account, *groups: str) -> Account:
        return put(replace(account, key=fold(account.username)), *groups)

    product.put = put_named  # type: ignore[method-assign]


async def test_rule_19_a_name_that_somebody_else_has_by_now_is_no_missing_account(
    make: Callable[..., Awaitable[Rig]],
) -> None:
    """u1 is called otherwise now, u2 has her old name, and her account was deleted by hand."""
    rig = await make(replace(ABLE, has_marks=False))
    named_by_key(rig.product)
    await rig.entra(user(2), user(1), crawl=True)
    await rig.reconcile.turn(cause="test")
    await rig.entra(user(2, userPrincipalName="u1@x.org"), user(1, userPrincipalName="u9@x.org"))
    rig.product.held.clear()
    await rig.reconcile.turn(cause="test", full=True)
    rig.clock.advance(3600.0)
    await rig.reconcile.turn(cause="test", full=True)
    shown = {each.username: each.display_name for each in rig.product.held.values()}
    assert shown == {"u1@x.org": "User 2", "u9@x.org": "User 1"}


async def test_rule_30_one_refused_object_waits_and_the_others_go_on(
    make: Callable[..., Awaitable[Rig]],
) -> None:
    rig = await make()
    await rig.entra(*(user(number) for number in range(4)), crawl=True)
    rig.product.blocked["u1@x.org"] = ChangeRejected("no", reason="blocked", status=400)
    report = await rig.reconcile.turn(cause="test")
    assert report.done == {"create": 3}
    assert len(report.failed) == 1
    assert await rig.waits() == [("create", "blocked", 1)]
    rig.product.blocked.clear()
    rig.clock.advance(61.0)
    assert (await rig.reconcile.turn(cause="test")).done == {"create": 1}
    assert await rig.waits() == []


async def test_rule_30_a_refused_object_is_tried_later_and_later(
    make: Callable[..., Awaitable[Rig]],
) -> None:
    rig = await make()
    await rig.entra(user(1), crawl=True)
    rig.product.blocked["u1@x.org"] = ChangeRejected("no", reason="blocked", status=400)
    for _ in range(240):  # four hours
        await rig.reconcile.turn(cause="test")
        rig.clock.advance(60.0)
    assert len([c for c in rig.product.calls if c[0] == "create_account"]) <= 6


async def test_rule_30_three_objects_in_a_row_with_5xx_are_the_product(
    make: Callable[..., Awaitable[Rig]],
) -> None:
    rig = await make()
    await rig.entra(*(user(number) for number in range(9)), crawl=True)
    error = ChangeRejected("HTTP 500", status=500, doubtful=True)
    rig.fault = always("create_account", error)
    with pytest.raises(TargetUnavailable, match="three objects"):
        await rig.reconcile.turn(cause="test")
    assert len([c for c in rig.product.calls if c[0] == "create_account"]) == 3
    rig.fault = None
    rig.clock.advance(61.0)
    await rig.reconcile.turn(cause="test")
    assert len(rig.product.held) == 9


async def test_rule_30_a_doubtful_refusal_of_a_sick_product_stops_the_target(
    make: Callable[..., Awaitable[Rig]],
) -> None:
    rig = await make()
    await rig.entra(*(user(number) for number in range(3)), crawl=True)

    async def fault(when: str, method: str) -> None:
        if method == "create_account" and when == "before":
            raise ChangeRejected("HTTP 502", status=502, doubtful=True)
        if method == "ask" and when == "before":
            raise TargetUnavailable("it is down")

    rig.fault = fault
    with pytest.raises(TargetUnavailable, match="it is down"):
        await rig.reconcile.turn(cause="test")
    assert len([c for c in rig.product.calls if c[0] == "create_account"]) == 1
    assert await rig.waits() == []


async def test_rule_30_no_seats_is_asked_once_and_ends_for_all(
    make: Callable[..., Awaitable[Rig]],
) -> None:
    rig = await make()
    await rig.entra(*(user(number) for number in range(5)), crawl=True)
    rig.fault = always("create_account", ChangeRejected("full", reason="licence", status=400))
    await rig.reconcile.turn(cause="test")
    assert len([c for c in rig.product.calls if c[0] == "create_account"]) == 1
    assert {reason for _, reason, _ in await rig.waits()} == {"licence"}
    rig.fault = None
    rig.clock.advance(901.0)
    await rig.reconcile.turn(cause="test")
    assert len(rig.product.held) == 5


async def test_rule_37_allowance_is_returned_only_by_a_definite_refusal(
    make: Callable[..., Awaitable[Rig]],
) -> None:
    rig = await make(guard=GuardRules(disable=Budget(count=5)))
    await rig.entra(user(1), user(2), crawl=True)
    await rig.reconcile.turn(cause="test")

    async def spent() -> int:
        found = await rig.store.read(lambda db: holds.spent(db, rig.t, 0.0))
        return sum(found.values())

    rig.product.blocked["u1@x.org"] = ChangeRejected("no", reason="blocked", status=400)
    await rig.entra(user(1, accountEnabled=False))
    await rig.reconcile.turn(cause="test")
    assert await spent() == 0
    rig.fault = once("after", "set_active", TargetUnavailable("reset"))
    await rig.entra(user(2, accountEnabled=False))
    with pytest.raises(TargetUnavailable):
        await rig.reconcile.turn(cause="test")
    assert await spent() == 1
