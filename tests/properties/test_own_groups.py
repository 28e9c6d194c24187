"""Groups of a product's own: defaults for everybody, and what a renamed group leaves behind."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azsyncd.model.accounts import Account
from azsyncd.model.identities import ObjectId, Seen
from azsyncd.targets.memory import ABLE, Memory
from tests.unit.state.making import round_

from .tenants import GROUPS, SCOPE, Set, World, policy

EVERYBODY = {f"n{n}@x.org" for n in range(5)}


def world_of(product: Memory | None = None, **groups: object) -> World:
    world = World(Set(policy(groups=groups), ABLE), product)
    world.turn()
    world.settle()
    return world


def again(world: World, **groups: object) -> None:
    """The same state, another file."""
    world.how = Set(policy(groups=groups), ABLE)
    world.reconcile = world.engine()
    world.turn(full=True)
    world.settle()


def test_everybody_is_put_into_the_default_groups_and_who_comes_later_too() -> None:
    product = Memory(capabilities=ABLE)
    product.put(Account(username="local@x.org"), "Users")
    world = world_of(product, default=("users", "new"), foreign_members="remove")
    assert product.members_of("users") == EVERYBODY | {"local@x.org"}  # others may be in it
    assert product.members_of("new") == EVERYBODY
    world.live([("join", 5, 0)])
    world.settle()
    assert product.members_of("users") >= {"n5@x.org"}
    world.live([("part", 0, 0), ("disable", 1, 0)])
    world.settle()
    left = product.account("n0@x.org")
    assert left is not None and not left.active
    assert {"n0@x.org", "n1@x.org"} <= product.members_of("users")  # frozen, as anywhere
    calls = list(product.calls)
    world.turn(full=True)
    assert product.calls == calls


def test_a_default_group_that_a_hand_made_is_filled_as_soon_as_it_stands() -> None:
    world = world_of(default=("users",), create=False)
    assert "users" not in world.product.held_groups
    world.product.put_group("users")
    world.turn(full=True)
    world.settle()
    assert world.product.members_of("users") == EVERYBODY


@pytest.mark.parametrize("gone", ["keep", "empty", "delete"])
def test_a_default_group_that_leaves_the_file(gone: str) -> None:
    world = world_of(default=("users",))
    world.product.put(Account(username="local@x.org"), "users")
    again(world, gone=gone)
    held = world.product.members_of("users")
    assert held == {"keep": EVERYBODY | {"local@x.org"}, "empty": {"local@x.org"}}.get(gone, set())
    assert ("users" in world.product.held_groups) is (gone != "delete")
    again(world, default=("users",))
    assert world.product.members_of("users") >= EVERYBODY


@pytest.mark.parametrize("gone", ["keep", "empty", "delete"])
def test_rule_31_a_renamed_group_moves_and_the_old_one_goes_the_way_of_gone(gone: str) -> None:
    world = world_of(on_rename="new_group", gone=gone)
    product = world.product
    members = product.members_of("atl-0")
    assert members
    world.live([("name_group", 3, 3)])  # atl-3 is protected: it goes on under the old name
    world.settle()
    assert product.members_of("atl-0") == members and "atl-3" not in product.held_groups
    world.tenant.teams["g-atl0"].name = "atl-0 new"
    world.live([("title", 0, 1)])
    again(world, on_rename="new_group", gone=gone)
    seen = [world.tenant.teams["g-atl0"].seen()]
    round_(world.db, *seen, now=world.clock.at)
    world.settle()
    assert product.members_of("atl-0 new") == members
    assert product.members_of("atl-0") == (members if gone == "keep" else set())
    assert ("atl-0" in product.held_groups) is (gone != "delete")
    assert SCOPE not in product.held_groups


def test_rule_12_a_group_that_moves_to_a_name_of_no_pattern_is_followed() -> None:
    world = world_of(on_rename="new_group", gone="delete")
    product = world.product
    members = product.members_of("atl-0")
    world.live([("name_group", 3, 9)])
    world.settle()
    assert product.members_of("other") == members
    assert "atl-0" not in product.held_groups
    world.reconcile = world.engine()
    world.turn(full=True)
    world.settle()
    assert product.members_of("other") == members


def test_rule_31_and_back_again_without_a_needless_write() -> None:
    world = world_of(on_rename="new_group")
    product = world.product
    members = product.members_of("atl-0")
    for name in ("atl-x", "atl-0", "atl-x"):
        world.tenant.teams["g-atl0"].name = name
        round_(world.db, world.tenant.teams["g-atl0"].seen(), now=world.clock.at)
        world.settle()
    made = [call for call in product.calls if call[0] == "create_group"]
    assert sorted(made)[-1] == ("create_group", "atl-x") and len(made) == 4
    assert product.members_of("atl-x") == product.members_of("atl-0") == members
    assert product.needless == []
    world.live([("part", 0, 3)])
    world.settle()
    assert product.members_of("atl-x") == members - {"n0@x.org"}
    assert product.members_of("atl-0") == members  # nobody's any more


def test_rule_16_a_group_gets_a_name_that_became_free_while_we_were_away() -> None:
    world = world_of(default=("atl-2",), on_rename="new_group")
    product = world.product
    assert "atl-2" not in product.held_groups  # two want it
    world.live([("name_group", 5, 9)])
    world.reconcile = world.engine()
    world.settle()
    assert product.members_of("atl-2") == EVERYBODY


def test_rule_16_a_name_that_a_moved_group_left_goes_to_whoever_waits_for_it() -> None:
    """In the same slice, and without a full sync."""
    world = World(Set(policy(groups={"on_rename": "new_group"}), ABLE))
    world.turn()
    world.live([("name_group", 3, 1), ("name_group", 4, 8)])
    world.turn()
    world.settle()
    calls = list(world.product.calls)
    world.turn(full=True)
    assert world.product.calls == calls


TEAMS = ("g-atl0", "g-atl1", "g-atl2")
NAMES = ("atl-0", "atl-1", "atl-x", "other")
KINDS = ("name", "name", "name", "ring", "ring", "part", "delete", "again")
EVENT = st.tuples(st.sampled_from(KINDS), st.sampled_from(TEAMS), st.sampled_from(NAMES))


@settings(max_examples=80, deadline=None)
@given(
    gone=st.sampled_from(["keep", "empty", "delete"]),
    on_rename=st.sampled_from(["keep", "new_group"]),
    events=st.lists(EVENT, min_size=2, max_size=8),
)
def test_rules_16_and_31_whatever_groups_are_called_a_full_look_finds_nothing_more(
    gone: str, on_rename: str, events: list[tuple[str, str, str]]
) -> None:
    """Renamed into what another has or had, deleted, restored: slices see all of it."""
    world = world_of(on_rename=on_rename, gone=gone)
    for kind, id_, name in events:
        team = world.tenant.teams[id_]
        if (team.presence == "present") is (kind == "again"):
            continue
        if kind == "ring":  # in one round, from this one on
            first = TEAMS.index(id_)
            there = [world.tenant.teams[each] for each in TEAMS[first:] + TEAMS[:first]]
            there = [each for each in there if each.presence == "present"][: 2 + len(name) % 2]
            names = [each.name for each in there]
            for each, new in zip(there, names[1:] + names[:1], strict=True):
                each.name = new
            round_(world.db, *(each.seen() for each in there), now=world.clock.at)
        elif kind == "part":
            world.live([("part", 0, GROUPS.index(id_))])
        elif kind == "delete":
            team.presence = "soft_deleted"
            round_(world.db, Seen(ObjectId(team.id), {}, "changed"), now=world.clock.at)
        else:
            team.name, team.presence = name, "present"
            round_(world.db, team.seen(), now=world.clock.at)
        world.settle()
    planned, waits = world.whole()
    assert planned == []
    assert waits == world.waits()
