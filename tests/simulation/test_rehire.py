"""Rule 23: somebody new has the name of somebody who is gone, and gets her account in time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from azsyncd.plan.policy import Policy

from .comparing import differences
from .world import SCOPE_RULES, World

UPN = "jo@fabrikam.example"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Jo is deleted, and another Jo of the same name waits."""
    with capture_logs():
        world = World(5, tmp_path / "state.db", policy=Policy(scope=SCOPE_RULES))
        jo = world.tenant.add_user(UPN, displayName="Jo", mail=UPN)
        world.tenant.add_group("staff", members=[jo])
        world.live()
        world.tenant.delete(jo)
        new = world.tenant.add_user(UPN, displayName="Jo the Second", mail=UPN)
        world.tenant.add_member(world.tenant.group("staff").id, new)
        world.live()
        for product in world.products.values():
            account = product.account(UPN)
            assert account is not None
            assert (account.active, account.display_name) == (False, "Jo")
        yield world
        world.close()


def purge(world: World) -> None:
    (old,) = world.tenant.deleted("users")
    world.tenant.purge(old.id)
    world.live()


def test_rule_23_whoever_waits_is_told_when_the_old_one_is_gone_for_good(world: World) -> None:
    purge(world)
    for product in world.products.values():
        account = product.account(UPN)
        assert account is not None
        assert (account.active, account.display_name) == (True, "Jo the Second")


def test_rule_23_an_account_that_we_made_follows_the_name_of_its_new_owner(world: World) -> None:
    purge(world)
    new = world.tenant.user(UPN)
    world.tenant.update(new.id, userPrincipalName="joanna@fabrikam.example")
    world.watch.entra_changed()
    world.live()
    assert differences(world) == []
    for product in world.products.values():
        assert [account.username for account in product.held.values()] == [
            "joanna@fabrikam.example"
        ]
