"""I11: a clock that nobody sets."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from azsyncd.engine.steady import Steady
from azsyncd.model.identities import ObjectId, Seen
from azsyncd.plan.policy import AccountRules, Policy, Scope, Stage, UserScope
from azsyncd.sandbox.clock import FakeClock

from .office import opened


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


async def test_i11_a_reload_after_the_clock_was_set_makes_nobody_older(tmp_path: Path) -> None:
    """Her days of grace go on as they were."""
    stages = (Stage(after="1s", do="keep"), Stage(after="30d", do="deactivate"))
    scope = Scope(users=UserScope(where="user.department == 'x'"))
    policy = Policy(scope=scope, accounts=AccountRules(leavers=stages))

    def jo(department: str) -> Seen:
        return Seen(
            ObjectId("u1"),
            {
                "userPrincipalName": "jo@x.example",
                "displayName": "Jo",
                "mail": "jo@x.example",
                "accountEnabled": True,
                "department": department,
            },
        )

    with capture_logs():
        async with opened(tmp_path) as office:
            product = await office.open("p", policy)
            await office.crawl(jo("x"), Seen(ObjectId("g1"), {"displayName": "g"}))
            await office.turn("p")
            await office.crawl(jo("y"), whole=False)
            await office.turn("p")
            old = office.reconciles["p"]
            office.clock.jump(40 * 86400.0)
            await office.open("p", policy)
            office.reconciles["p"].keep_time(old)
            await office.turn("p", full=True)
            (account,) = product.held.values()
            assert account.active
            office.clock.advance(31 * 86400.0)
            await office.turn("p")
            (account,) = product.held.values()
            assert not account.active
