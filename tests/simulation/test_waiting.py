"""What waits is tried again in time: targets that are down soon, those that refuse us less and
less, one object that is refused less and less, and everything at once when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from azsyncd.errors import ChangeRejected, TargetError, TargetRefused, TargetUnavailable
from azsyncd.model.accounts import Capabilities
from azsyncd.plan.policy import Policy
from azsyncd.state import waiting

from .comparing import differences
from .world import SCOPE_RULES, World

DAY = 86400.0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with capture_logs():
        world = World(9, tmp_path / "state.db", policy=Policy(scope=SCOPE_RULES))
        people = [world.tenant.add_user(f"u{i}@fabrikam.example") for i in range(3)]
        world.tenant.add_group("staff", members=people)
        world.watch.entra_changed()
        world.products = {"plain": world.products["plain"]}
        world.poll_seconds = 1e9
        yield world
        world.close()


def asked(world: World, error: TargetError, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The product answers every question like this; when it was asked."""
    moments: list[float] = []

    async def probe() -> Capabilities:
        moments.append(world.loop.moment)
        raise error

    monkeypatch.setattr(world.products["plain"], "probe", probe)
    return moments


def gaps(moments: list[float], since: float, until: float) -> set[int]:
    inside = [m for m in moments if since <= m < until]
    return {round(b - a) for a, b in pairwise(inside)}


def test_a_target_that_refuses_us_is_asked_less_and_less_until_somebody_asks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        moments = asked(world, TargetRefused("captcha", "log in", target="plain"), patch)
        world.live(12 * DAY)
        start = moments[0]
        assert gaps(moments, start + 7200, start + DAY) == {900}
        assert gaps(moments, start + DAY + 3600, start + 7 * DAY) == {3600}
        assert gaps(moments, start + 7 * DAY + 3600, start + 12 * DAY) == {86400}
        state = world.targets["plain"].state
        assert state.state == "refused"
        assert state.next_at is not None
        assert 0 < state.next_at - world.clock.now() <= DAY
        before = len(moments)
        with pytest.raises(TargetRefused):  # `sync --target` asks at once
            world.loop.run_until_complete(world.targets["plain"].turn(cause="sync", consent=True))
        assert len(moments) == before + 1
    world.targets["plain"].bell.ring("operator")
    world.live(60.0)
    assert differences(world) == []
    assert world.targets["plain"].state.next_at is None


@pytest.mark.parametrize("retry_after", [None, 200.0])
def test_a_target_that_is_down_is_asked_at_least_every_five_minutes(
    world: World, monkeypatch: pytest.MonkeyPatch, retry_after: float | None
) -> None:
    error = TargetUnavailable("down", target="plain", retry_after=retry_after)
    with monkeypatch.context() as patch:
        moments = asked(world, error, patch)
        world.live(3 * DAY)
        assert max(gaps(moments, 0.0, 4 * DAY)) <= 300
        assert len(moments) > 3 * DAY / 301
    world.live(301.0)
    assert differences(world) == []


def test_what_a_product_asks_for_itself_has_an_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = TargetUnavailable("429", target="plain", retry_after=1e9)
    with monkeypatch.context() as patch:
        moments = asked(world, error, patch)
        world.live(DAY)
        assert gaps(moments, 0.0, DAY) == {3600}


def test_i7_one_object_that_is_refused_says_how_often_and_when_it_is_tried_again(
    world: World,
) -> None:
    product = world.products["plain"]
    product.blocked["u1@fabrikam.example"] = ChangeRejected(
        "no such domain", "allow it", target="plain", status=400
    )
    world.live(1000.0)
    t = world.targets["plain"].t
    (row,) = world.loop.run_until_complete(world.store.read(lambda db: waiting.listed(db, t)))
    assert row["attempts"] == 3  # at once, after one minute, after five
    assert row["detail"] == "no such domain"
    assert row["hint"] == "allow it"
    again = world.loop.run_until_complete(world.store.read(lambda db: waiting.next_try(db, t)))
    assert again == row["retry_at"]
    assert 0 < again - world.clock.now() <= 900
    assert len(product.held) == 2  # the others are not a second later
    del product.blocked["u1@fabrikam.example"]
    world.loop.run_until_complete(
        world.store.write(lambda db: waiting.make_all_due(db, t, world.clock.now()))
    )
    world.targets["plain"].bell.ring("operator")
    world.live(5.0)
    assert differences(world) == []
