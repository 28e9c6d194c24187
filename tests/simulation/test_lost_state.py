"""A database that is lost, or an old backup: nobody gets a second account, nobody is removed."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from azsyncd.model.accounts import Account, Mark
from azsyncd.plan.policy import AccountRules, Policy
from azsyncd.sandbox.nodes import Refusal
from azsyncd.state.store import COPIED
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


def lose(world: World, instead: Path | None = None) -> None:
    """The process ends, and its database is gone, or an old one is put in its place."""
    world.bury()
    for file in world.path.parent.glob("state.db*"):
        file.unlink()
    world.copied = instead is not None
    if instead is not None:
        shutil.copy(instead, world.path)
        # As `Running.notice_copy` does.
        with closing(sqlite3.connect(world.path)) as db, db:
            assert db.execute("SELECT value FROM meta WHERE key = ?", (COPIED,)).fetchone() == (1,)
            db.execute("UPDATE target SET full_due = 1")


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
    world.live()
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
    world.live()
    assert world.targets["marked"].state.state == "first_contact"
    assert {account.key for account in world.products["marked"].held.values()} == before
    consent(world)
    world.live()
    assert differences(world) == []
    after = {account.key for account in world.products["marked"].held.values()}
    assert len(after - before) == 1 and before < after  # the one who came
    assert len(world.watch.deactivations) == 1  # of the one whom Entra disabled: as compared above


def test_who_left_the_scope_while_the_database_was_lost_is_left_to_a_person(make: Make) -> None:
    world = make()
    world.live()
    lose(world)
    gone = user(world, 3)
    world.tenant.remove_member(world.tenant.group("staff").id, gone)
    world.watch.entra_changed()
    world.live()
    consent(world)
    world.live()
    assert world.watch.deactivations == []
    account = world.products["marked"].account("u3@fabrikam.example")
    assert account is not None and account.active


def test_another_instance_stops_before_it_writes(make: Make) -> None:
    world = make()
    world.live()
    product = world.products["marked"]
    for key, account in list(product.held.items()):
        assert account.mark is not None
        product.held[key] = replace(account, mark=replace(account.mark, instance="other"))
    lose(world)
    product.calls.clear()
    world.live()
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
    world.live()
    assert differences(world) == []


def test_another_instance_stops_where_no_listing_shows_marks(make: Make) -> None:
    world = make(lists_marks=False)
    world.live()
    product = world.products["marked"]
    for key, account in list(product.held.items()):
        assert account.mark is not None
        product.held[key] = replace(account, mark=replace(account.mark, instance="other"))
    lose(world)
    product.calls.clear()
    world.live()
    assert world.targets["marked"].state.state == "refused"
    assert product.calls == []


# Any history ------------------------------------------------------------------------------------


def happen(world: World, dice: random.Random) -> None:
    """Something that Entra's administrators do, mostly to people who have accounts."""
    tenant = world.tenant
    people = [each.id for each in tenant.users()]
    who, staff = dice.choice(people), tenant.group("staff").id
    what = dice.randrange(7)
    try:
        if what < 2:
            tenant.update(who, userPrincipalName=f"n{dice.randrange(12)}@fabrikam.example")
        elif what == 2:
            tenant.update(who, accountEnabled=not tenant.nodes[who].properties["accountEnabled"])
        elif what == 3:
            late = f"late{dice.randrange(9)}@fabrikam.example"
            # Her address stays: without it, and without a listing that shows marks, nobody who has
            # another name would be known again (docs/operations.md).
            tenant.add_member(staff, tenant.add_user(late, mail=late))
        elif what == 4 and not tenant.remove_member(staff, who):
            tenant.add_member(staff, who)
        elif what == 5 and not tenant.remove_member(tenant.group("atl-all").id, who):
            tenant.add_member(tenant.group("atl-all").id, who)
        elif what == 6:
            tenant.delete(who)
    except Refusal:
        return
    world.watch.entra_changed()


@pytest.mark.parametrize("seed", range(50))
def test_i2_whenever_the_state_is_lost_nobody_has_two_accounts_or_loses_hers(
    make: Make, tmp_path: Path, seed: int
) -> None:
    """Lost, or an old copy in its place, at any moment: whom Entra has enabled and in scope is
    never shut out, and no two accounts carry the mark of one person."""
    dice = random.Random(f"lost {seed}")
    world = make(dice.random() < 0.5, adopt=dice.choice(("never", "username", "email")))
    product = world.products["marked"]
    world.live()
    copy = tmp_path / "copy.db"
    world.loop.run_until_complete(world.store.backup(copy))
    for _ in range(dice.randrange(6)):
        happen(world, dice)
        world.live(dice.choice((1.0, 60.0)))
    world.live()
    lose(world, copy if dice.random() < 0.5 else None)
    for _ in range(dice.randrange(6)):
        happen(world, dice)
    world.live(200.0)
    consent(world)
    world.live(200.0)
    owners = [account.mark.object_id for account in product.held.values() if account.mark]
    assert len(owners) == len(set(owners))
    assert not world.watch.wrong
    staff = world.tenant.group("staff").id
    for account in product.held.values():
        assert account.mark is not None
        node = world.tenant.nodes.get(account.mark.object_id)
        if node is not None and node.properties["accountEnabled"] and not account.active:
            members = {each.id for each in world.tenant.transitive_members(staff)}
            assert not node.living or node.id not in members, account.username
