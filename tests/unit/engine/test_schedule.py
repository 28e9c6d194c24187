"""Rule 41: a slot runs once by wall clock, also on the days on which clocks change."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from azsyncd.engine.schedule import is_ahead, is_due, last_slot, next_slot

BERLIN = "Europe/Berlin"
NIGHTLY = "30 2 * * *"


def at(text: str, *, fold: int = 0, zone: str = BERLIN) -> float:
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return moment.timestamp()


@pytest.mark.parametrize(
    ("now", "slot"),
    [
        ("2026-11-24T02:29:59", "2026-11-23T02:30"),
        ("2026-11-24T02:30:00", "2026-11-24T02:30"),
        ("2026-11-24T23:00:00", "2026-11-24T02:30"),
    ],
)
def test_rule_41_the_newest_slot_that_has_begun(now: str, slot: str) -> None:
    assert last_slot(NIGHTLY, BERLIN, at(now)) == slot


def test_rule_41_an_hour_that_comes_twice_has_one_slot() -> None:
    """On 25 October 2026 it is half past two twice."""
    first, second = at("2026-10-25T02:30:00"), at("2026-10-25T02:30:00", fold=1)
    assert second - first == 3600
    assert is_due(NIGHTLY, BERLIN, first, "2026-10-24T02:30")
    assert not is_due(NIGHTLY, BERLIN, second, "2026-10-25T02:30")
    assert not is_due(NIGHTLY, BERLIN, at("2026-10-25T02:10:00", fold=1), "2026-10-25T02:30")


def test_rule_41_an_hour_that_is_left_out_has_its_slot_all_the_same() -> None:
    """On 29 March 2026 two o'clock is followed by three."""
    after = at("2026-03-29T03:00:00")
    assert is_due(NIGHTLY, BERLIN, after, "2026-03-28T02:30")
    assert last_slot(NIGHTLY, BERLIN, after) == "2026-03-29T02:30"


def test_rule_41_a_missed_slot_is_due_at_start_and_a_first_start_has_missed_none() -> None:
    now = at("2026-11-24T12:00:00")
    assert is_due(NIGHTLY, BERLIN, now, "2026-11-20T02:30")
    assert not is_due(NIGHTLY, BERLIN, now, "2026-11-24T02:30")
    assert not is_due(NIGHTLY, BERLIN, now, None)


def test_i11_a_clock_set_back_runs_no_slot_again() -> None:
    assert not is_due(NIGHTLY, BERLIN, at("2026-11-21T12:00:00"), "2026-11-24T02:30")


def test_no_schedule_is_never_due() -> None:
    assert last_slot("", BERLIN, 0.0) is None
    assert next_slot("", BERLIN, 0.0) is None
    assert not is_due("", BERLIN, 0.0, "2026-11-24T02:30")


def test_the_next_slot_is_in_the_zone() -> None:
    assert next_slot(NIGHTLY, BERLIN, at("2026-11-24T12:00:00")) == at("2026-11-25T02:30:00")


def test_i11_a_slot_that_ran_while_the_clock_was_wrong_stops_no_others() -> None:
    now = at("2026-11-24T12:00:00")
    assert is_ahead(BERLIN, now, "2027-11-24T02:30")
    assert is_ahead(BERLIN, now, "2026-11-25T02:30")
    assert not is_ahead(BERLIN, now, "2026-11-24T02:30")
    assert not is_ahead(BERLIN, now, None)
    twice = at("2026-10-25T02:10:00", fold=1)
    assert not is_ahead(BERLIN, twice, "2026-10-25T02:30")
