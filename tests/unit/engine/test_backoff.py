"""How long a target is left alone, and how old what it owes is."""

from __future__ import annotations

import pytest

from azsyncd.engine.backoff import DOWN, BackOff
from azsyncd.engine.lag import MOST_SEEN, Lag
from azsyncd.errors import TargetUnavailable
from azsyncd.sandbox.clock import FakeClock

DAY = 86400.0


def test_i9_a_target_that_is_down_is_asked_at_least_every_five_minutes() -> None:
    waits = BackOff(FakeClock(moves=False))
    found = [waits.down(TargetUnavailable("reset")) for _ in range(12)]
    assert all(0.75 * least <= wait for least, wait in zip(DOWN, found, strict=False))
    assert max(found) <= 300.0
    waits.well()
    assert waits.down(TargetUnavailable("reset")) <= 1.25 * DOWN[0]


@pytest.mark.parametrize(("asked", "waits"), [(42.0, 42.0), (9 * DAY, 3600.0), (0.0, None)])
def test_what_a_product_asks_for_is_granted_within_reason(
    asked: float, waits: float | None
) -> None:
    got = BackOff(FakeClock(moves=False)).down(TargetUnavailable("429", retry_after=asked))
    assert got == waits if waits is not None else got <= 1.25 * DOWN[0]


def test_a_target_that_refuses_is_asked_less_and_less() -> None:
    clock = FakeClock(moves=False)
    waits = BackOff(clock)
    assert [waits.refused() for _ in range(4)] == [60.0, 300.0, 900.0, 900.0]
    clock.advance(DAY)
    assert waits.refused() == 3600.0
    clock.advance(6 * DAY)
    assert waits.refused() == DAY
    waits.well()
    assert waits.refused() == 60.0


def test_a_change_is_as_old_as_the_oldest_revision_of_its_plan() -> None:
    lag = Lag()
    assert lag.since is None and lag.of(1) is None
    for revision, at in ((5, 10.0), (6, 11.0), (7, 12.0)):
        lag.saw(revision, at)
    lag.begin()
    lag.planned(0, 4, 6)
    lag.planned(100, 6, 7)
    lag.planned(200, 7, 7)  # nothing that Entra said
    assert (lag.of(1), lag.of(100), lag.of(101), lag.of(201)) == (10.0, 10.0, 12.0, None)
    lag.reached(6)
    assert lag.since == 12.0
    lag.reached(7)
    assert lag.since is None


def test_whoever_is_behind_for_long_knows_how_long() -> None:
    lag = Lag()
    for revision in range(3 * MOST_SEEN):
        lag.saw(revision, float(revision))
    assert lag.since == 0.0
