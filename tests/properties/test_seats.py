"""Licences: what must stay free stays free, and who waits goes in when there are seats again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from azsyncd.model.accounts import Account, Seats
from azsyncd.state import waiting
from azsyncd.targets.memory import ABLE, Memory

from .tenants import Set, World, policy


class Licensed(Memory):
    """A product that counts who is in `atl-1`, or has an account at all."""

    total = 3
    by_accounts = False

    async def seats(self) -> tuple[Seats, ...]:
        await self._around("seats")
        counted = self.members_of("atl-1")
        accounts = [a for a in self.held.values() if self.by_accounts or a.username in counted]
        used = sum(1 for account in accounts if account.active)
        return (
            Seats("product", self.total, self.total - used),
            Seats("unlimited", None, None),
            Seats("other", 5, 0, frozenset({"atl-9"})),
        )


def world_of(product: Memory, **parts: Any) -> World:
    able = replace(ABLE, licence_groups=frozenset({"atl-1", "atl-9"}))
    product.capabilities = able
    world = World(Set(policy(seats={"keep_free": 1}, **parts), able), product)
    world.turn()
    return world


def licence_waits(world: World) -> int:
    return waiting.counts(world.db, world.t).get("licence", 0)


def test_memberships_that_would_take_the_last_seats_wait_and_go_in_later() -> None:
    product = Licensed()
    product.put(Account(username="local@x.org"), "atl-1")
    with capture_logs() as logs:
        world = world_of(product)
        world.live([("join", 0, 4), ("join", 2, 4), ("join", 3, 4)])  # all into atl-1
        world.turn()
    assert len(product.members_of("atl-1")) == 2  # of three seats, one stays free
    assert len(product.held) == 6 and product.members_of("atl-0")  # the rest went on
    assert licence_waits(world) == 4
    said = [each for each in logs if each["event"] == "seats.exhausted"]
    assert 1 <= len(said) <= 2  # once a run
    asked = len(product.calls)
    world.turn()
    assert len(product.calls) == asked  # not before its time
    product.total = 5
    world.clock.at += waiting.CONDITION_SECONDS
    world.settle()
    assert len(product.members_of("atl-1")) == 4 and licence_waits(world) == 2
    product.total = 99
    world.clock.at += waiting.CONDITION_SECONDS
    world.settle()
    assert licence_waits(world) == 0 and len(product.members_of("atl-1")) == 6


def test_who_has_a_seat_already_takes_no_other() -> None:
    product = Licensed()
    product.total = 0
    product.put(Account(username="n1@x.org", email="n1@x.org", display_name="n1 x"), "atl-9")
    world = world_of(product)
    assert product.members_of("atl-1") == {"n1@x.org"}  # any licence group gives "product"
    assert licence_waits(world) == 1


def test_who_is_active_again_takes_the_seat_of_her_groups_and_waits_if_there_is_none() -> None:
    product = Licensed()
    product.total = 99
    world = world_of(product)
    member = sorted(product.members_of("atl-1"))[0]
    number = int(member[1])
    world.live([("disable", number, 0)])
    world.settle()
    account = product.account(member)
    assert account is not None and not account.active and member in product.members_of("atl-1")
    product.total = len(product.members_of("atl-1"))  # one is free, and stays so
    world.live([("enable", number, 0)])
    world.settle()
    account = product.account(member)
    assert account is not None and not account.active and licence_waits(world) == 1
    product.total += 1
    world.clock.at += waiting.CONDITION_SECONDS
    world.settle()
    account = product.account(member)
    assert account is not None and account.active and licence_waits(world) == 0


@pytest.mark.parametrize(("access", "made"), [("default", 3), ("by_groups", 5)])
def test_new_accounts_wait_where_the_product_gives_each_a_licence(access: str, made: int) -> None:
    product = Licensed()
    product.by_accounts = True
    product.total = 4
    world = world_of(product, accounts={"product_access": access})
    assert len(product.held) == made
    if access == "default":
        assert licence_waits(world) == 2
        product.total = 9
        world.clock.at += waiting.CONDITION_SECONDS
        world.settle()
        assert len(product.held) == 5 and licence_waits(world) == 0
