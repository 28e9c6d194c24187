"""Ordinary days: each kind does what it says, and something that the products must follow."""

from __future__ import annotations

import pytest

from azsyncd.sandbox.everyday import Everyday
from azsyncd.sandbox.expected import Expectation
from azsyncd.sandbox.world import PREFIX, World, build

KINDS = Everyday(build(10)).kinds


@pytest.fixture
def world() -> World:
    return build(200)


def expectation(world: World) -> Expectation:
    made = Expectation(
        world.tenant,
        world.crowd,
        scope_group=world.scope_group,
        pattern=f"{PREFIX}*",
        attributes=True,
    )
    made.look()
    return made


PREPARED = {"restored": "deleted", "group renamed": "new group"}
"""Kinds for which something else must have happened before."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_kind_changes_what_the_products_should_hold(
    world: World, kind: str, seed: int
) -> None:
    days = Everyday(world, seed=seed)
    if kind in PREPARED:
        assert days.happen(PREPARED[kind]) is not None
    expected = expectation(world)
    before = {key: str(account) for key, account in expected.accounts.items()}
    seq = world.tenant.seq
    happened = days.happen(kind)
    assert happened is not None
    assert happened.kind == kind
    assert world.tenant.seq > seq
    expected.look()
    after = {key: str(account) for key, account in expected.accounts.items()}
    assert after != before


def test_nothing_happens_where_there_is_nobody() -> None:
    world = build(10)
    for user in list(world.tenant.users()):
        world.tenant.purge(user.id)
    days = Everyday(world)
    seq = world.tenant.seq
    for kind in ("marriage", "disabled", "leaver", "deleted", "restored", "group renamed"):
        assert days.happen(kind) is None
    assert world.tenant.seq == seq


def test_a_long_stream_goes_on_in_a_very_small_company() -> None:
    days = Everyday(build(10))
    kinds = days.days()
    happened = [days.happen(next(kinds)) for _ in range(300)]
    assert sum(each is not None for each in happened) > 200


def test_the_same_seed_tells_the_same_story() -> None:
    def story() -> list[str]:
        days = Everyday(build(50), seed=7)
        kinds = days.days()
        found = [days.happen(next(kinds)) for _ in range(40)]
        return [each.text for each in found if each]

    assert story() == story()


def test_every_kind_comes_once_before_any_comes_again() -> None:
    days = Everyday(build(10))
    stream = days.days()
    assert tuple(next(stream) for _ in days.kinds) == days.kinds
