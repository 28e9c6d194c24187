"""I11: a clock that nobody sets."""

from __future__ import annotations

import pytest

from azsyncd.engine.steady import Steady
from azsyncd.sandbox.clock import FakeClock


@pytest.mark.parametrize("jump", [-259200.0, -7200.0, 7200.0, 259200.0])
def test_i11_a_jump_of_the_wall_clock_moves_nothing(jump: float) -> None:
    clock = FakeClock(moves=False)
    steady = Steady(clock)
    before = steady.now()
    clock.jump(jump)
    assert steady.now() == before
    clock.advance(10.0)
    assert steady.now() == before + 10.0
    assert steady.wall() == before + jump + 10.0


def test_rule_37_it_never_goes_back_behind_what_is_known_to_have_happened() -> None:
    clock = FakeClock(moves=False)
    steady = Steady(clock)
    steady.not_before(clock.now() + 500.0)
    assert steady.now() == clock.now() + 500.0
    steady.not_before(0.0)
    assert steady.now() == clock.now() + 500.0
