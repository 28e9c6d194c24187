"""A database that is lost, or an old backup: nobody gets a second account, nobody is removed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from azsyncd.model.accounts import Account, Mark
from azsyncd.plan.policy import AccountRules, Policy
from azsyncd.targets.memory import ABLE

from .comparing import differences
from .world import SCOPE_RULES, World

Make = Callable[..., World]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[World] = []

    def make(lists_marks: bool = True, **accounts: Any) -> World:
        policy = Policy(scope=SCOPE_RULES, accounts=AccountRules(**accounts))
        world = World(7, tmp_path / "state.db", policy=policy)
        made.append(world)
        able = replace(ABLE, lists_marks=lists_marks)
        world.products = {"marked": world._product("marked", able)}
        people = [
            world.tenant.add_user(f"u{i}@fabrikam.example", mail=f"m{i}@x.org") for i in range(6)
        ]
        world.tenant.add_group("staff", members=people)
        world.tenant.add_group("atl-all", members=people)
        world.watch.entra_changed()
        return world

    with capture_logs():
        yield make
        for world in made:
            world.close()


def live(world: World, seconds: float = 100.0) -> None:
    async def alive() -> None:
        if not world.tasks:
            await world.start()
            world.run_loops()
        await world.clock.sleep(seconds)

    world.loop.run_until_complete(alive())


def lose(world: World, instead: Path | None = None) -> None:
    """The process ends, and its database is gone, or an old one is put in its place."""
    world.bury()
    for file in world.path.parent.glob("state.db*"):
        file.unlink()
    if instead is not None:
        shutil.copy(instead, world.path)


def consent(world: World) -> None:
    """`azsyncd sync`."""
    world.loop.run_until_complete(world.targets["marked"].turn(cause="test", consent=True))


def user(world: World, number: int) -> str:
    name = f"u{number}@fabrikam.example"
    found = [u for u in world.tenant.users() if u.properties["userPrincipalName"] == name]
    return found[0].id


@pytest.mark.parametrize("adopt", ["username", "never"])
@pytest.mark.parametrize("lists_marks", [True, False])
def test_a_lost_database_is_rebuilt_from_marks(make: Make, lists_marks: bool, adopt: str) -> None:
    world = make(lists_marks, adopt=adopt)
    live(world)
    assert differences(world) == []
    before = {account.key for account in world.products["marked"].held.values()}
    lose(world)
    # Meanwhile one is renamed, one disabled, and one comes.
    one, two = user(world, 1), user(world, 2)
    world.tenant.update(one, userPrincipalName="new@fabrikam.example")
    world.tenant.update(two, accountEnabled=False)
    world.tenant.add_member(
        world.tenant.group("staff").id, world.tenant.add_user("late@fabrikam.example")
    )
    world.watch.entra_changed()
    live(world)
    assert world.targets["marked"].state.state == "first_contact"
    assert {account.key for account in world.products["marked"].held.values()} == before
    consent(world)
    live(world)
    assert differences(world) == []
    after = {account.key for account in world.products["marked"].held.values()}
    assert len(after - before) == 1 and before < after  # the one who came
    assert len(world.watch.deactivations) == 1  # of the one whom Entra disabled: as compared above


def test_who_left_the_scope_while_the_database_was_lost_is_left_to_a_person(make: Make) -> None:
    world = make()
    live(world)
    lose(world)
    gone = user(world, 3)
    world.tenant.remove_member(world.tenant.group("staff").id, gone)
    world.watch.entra_changed()
    live(world)
    consent(world)
    live(world)
    assert world.watch.deactivations == []
    account = world.products["marked"].account("u3@fabrikam.example")
    assert account is not None and account.active


def test_another_instance_stops_before_it_writes(make: Make) -> None:
    world = make()
    live(world)
    product = world.products["marked"]
    for key, account in list(product.held.items()):
        assert account.mark is not None
        product.held[key] = replace(account, mark=replace(account.mark, instance="other"))
    lose(world)
    product.calls.clear()
    live(world)
    state = world.targets["marked"].state
    assert state.state == "refused" and "'other'" in state.detail and "instance" in state.hint
    assert product.calls == []


def test_a_few_marks_of_another_instance_stop_nobody(make: Make) -> None:
    """They may be left from a trial: those accounts are let be."""
    world = make()
    product = world.products["marked"]
    for number in range(2):
        product.put(Account(username=f"trial{number}", mark=Mark("other", f"o{number}")))
    world.foreign |= {"trial0", "trial1"}
    live(world)
    assert differences(world) == []


def test_another_instance_stops_where_no_listing_shows_marks(make: Make) -> None:
    world = make(lists_marks=False)
    live(world)
    product = world.products["marked"]
    for key, account in list(product.held.items()):
        assert account.mark is not None
        product.held[key] = replace(account, mark=replace(account.mark, instance="other"))
    lose(world)
    product.calls.clear()
    live(world)
    assert world.targets["marked"].state.state == "refused"
    assert product.calls == []
