"""Groups kept in groups: whoever is in a group through others is as much in it as if she were put
into it herself, at the end and on the way there, whatever the groups are nested like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azsyncd.errors import ChangeRejected
from azsyncd.plan.policy import Budget, GuardRules
from azsyncd.state import holds, targets, waiting
from azsyncd.targets.memory import ABLE

from .tenants import FREE, GROUPS, Event, Set, World, policy

NESTS = st.sampled_from(
    ["nest", "nest", "nest", "unnest", "join", "part", "name_group", "delete_group",
     "restore_group", "disable", "enable"]
)  # fmt: skip
NESTED: st.SearchStrategy[Event] = st.tuples(NESTS, st.integers(0, 9), st.integers(0, 9))
ROUNDS = st.lists(st.lists(NESTED, min_size=1, max_size=4), min_size=1, max_size=7)
DAY = 86400.0
SETTINGS = st.lists(st.sampled_from(["keep", "flatten"]), min_size=7, max_size=7)
GONE = st.sampled_from(["keep", "empty", "delete"])


def kept(nested: str = "keep", guard: GuardRules = FREE, **groups: object) -> Set:
    return Set(policy(guard, groups={"nested": nested, **groups}), ABLE)


def reload(world: World, how: Set) -> None:
    """Another file: everything is looked at."""
    world.how = how
    world.reconcile = world.engine()
    world.turn(full=True)


def effective(world: World) -> dict[str, set[str]]:
    """Who is in which linked group of the product, through others too, by object ids."""
    rows = world.db.execute(
        "SELECT o.id, g.name FROM link l JOIN object o ON o.n = l.n"
        " JOIN target_group g ON g.g = l.g"
    ).fetchall()
    whose = {a.username: a.mark.object_id for a in world.product.held.values() if a.mark}
    return {
        id_: {whose[name] for name in world.product.everybody_in(group) if name in whose}
        for id_, group in rows
    }


def deserved(world: World) -> dict[str, set[str]]:
    """Who should be, of those in scope, worked out from the tenant alone."""
    found: dict[str, set[str]] = {id_: set() for id_ in GROUPS}
    for person in world.tenant.people.values():
        above = world.tenant.groups_of(person.id)
        if "g-staff" in above:
            for id_ in above:
                found[id_].add(person.id)
    return found


def assert_equal(world: World) -> None:
    there, should = effective(world), deserved(world)
    owners = {a.mark.object_id for a in world.product.held.values() if a.mark}
    people = world.tenant.people.values()
    scoped = {p.id for p in people if "g-staff" in world.tenant.groups_of(p.id)}
    never = {p.id for p in people if not p.enabled} - owners  # rule 17
    for id_ in world.reconcile.planning.groups:
        if not world.reconcile.planning.groups[id_].blocked:
            assert there.get(id_, set()) & scoped == should[id_] - never, id_


@given(ROUNDS, GONE)
def test_i1_the_product_has_everybody_where_flattening_would(
    rounds: list[list[Event]], gone: str
) -> None:
    """Rings, groups that leave the scope and come back, and those in between that are in none."""
    world = World(kept(gone=gone))
    world.turn()
    for events in rounds:
        world.live(events)
        world.settle()
        assert_equal(world)
    assert world.product.needless == []


@given(ROUNDS, SETTINGS)
def test_i1_another_setting_changes_the_way_and_not_the_people(
    rounds: list[list[Event]], settings: list[str]
) -> None:
    world = World(kept(settings[0]))
    world.turn()
    for events, setting in zip(rounds, settings, strict=False):
        world.live(events)
        reload(world, kept(setting))
        world.settle()
        assert_equal(world)
        # Rule 11: without the scope's group nobody is written to, or cut off.
        if setting == "flatten" and world.tenant.teams["g-staff"].presence == "present":
            assert not any(held.children for held in world.product.held_groups.values())


@given(ROUNDS, SETTINGS, GONE, st.data())
def test_i2_nobody_is_cut_off_in_between(
    rounds: list[list[Event]], settings: list[str], gone: str, data: st.DataObject
) -> None:
    """After every single write, refused or not, whoever was in a group before and is to be in it
    afterwards is in it; and after a crash as well."""
    world = World(kept(settings[0], gone=gone))
    world.turn()
    world.settle()
    safe: dict[str, set[str]] = {}

    async def look(when: str, method: str) -> None:
        writes = when == "before" and method in ("add_members", "add_child")
        if writes and data.draw(st.booleans()):
            raise ChangeRejected(
                "no", reason=data.draw(st.sampled_from(["blocked", "unsupported"]))
            )
        if when == "after":
            there = effective(world)
            for id_, people in safe.items():
                assert people <= there.get(id_, set()), (method, id_)

    for events, setting in zip(rounds, settings, strict=False):
        world.live(events)
        there, should = effective(world), deserved(world)
        safe = {id_: people & should[id_] for id_, people in there.items()}
        world.product.faults = look
        if data.draw(st.booleans()):
            reload(world, kept(setting, gone=gone))
        else:
            world.turn()
        world.product.faults = _well
        safe = {}
        world.clock.at += 2 * DAY  # refusals wait for hours
        settle_all(world)
        assert_equal(world)


@given(ROUNDS, st.data())
def test_i1_where_nesting_turns_out_to_be_off_people_are_put_everywhere(
    rounds: list[list[Event]], data: st.DataObject
) -> None:
    """And where it is switched on later, they are in all the same."""
    world = World(kept())
    world.product.nests = False
    world.turn()
    for events in rounds:
        world.live(events)
        settle_all(world)
        assert_equal(world)
        world.product.nests = world.product.nests or data.draw(st.booleans())
        world.clock.at += 2 * DAY
        settle_all(world)
        assert_equal(world)


HANDS = st.lists(
    st.tuples(st.sampled_from(["put", "take"]), st.integers(0, 2), st.integers(0, 2)), max_size=4
)


@given(ROUNDS, st.lists(HANDS, min_size=7, max_size=7))
def test_rule_21_what_hands_put_in_stays_and_what_they_take_out_comes_back(
    rounds: list[list[Event]], hands: list[list[tuple[str, int, int]]]
) -> None:
    """Groups in groups, by a person's hands in the product: with rings that Entra does not have."""
    world = World(kept())
    world.turn()
    foreign: set[tuple[str, str]] = set()
    for events, what in zip(rounds, hands, strict=False):
        for do, above, below in what:
            names = list(world.product.held_groups)
            one, other = names[above % len(names)], names[below % len(names)]
            held = world.product.held_groups[one]
            if do == "take":
                held.children.discard(other)
                foreign.discard((one, other))
            elif one not in world.product._below(other) and other not in held.children:
                held.children.add(other)
                foreign.add((one, other))
        world.turn(full=True)
        settle_all(world)
        pairs = {(one, c) for one, held in world.product.held_groups.items() for c in held.children}
        # What Entra wanted as well when it was first seen is ours, and may go again.
        rows = world.db.execute(
            "SELECT p.name, c.name FROM child ch JOIN target_group p ON p.g = ch.p"
            " JOIN target_group c ON c.g = ch.c WHERE ch.ours = 1"
        ).fetchall()
        foreign -= {tuple(row) for row in rows}
        assert foreign <= pairs
        there, should = effective(world), deserved(world)
        never = {p.id for p in world.tenant.people.values() if not p.enabled}
        for id_, group in world.reconcile.planning.groups.items():
            assert group.blocked or should[id_] - never <= there.get(id_, set()), id_
        world.live(events)
        settle_all(world)


@pytest.mark.parametrize("percent", [0, 100])
def test_i5_the_guard_counts_everybody_in_a_child_group(percent: int) -> None:
    """Four people stand in it, and three may be taken out."""
    guard = GuardRules(
        remove_member=Budget(count=3),
        shrink_group="unlimited" if percent else Budget(count=100),
    )
    world = World(kept(guard=guard))
    world.live([("join", n, 4) for n in range(4)])  # into atl-1
    world.live([("nest", 3, 4)])  # atl-1 into atl-0
    world.turn()
    assert world.product.held_groups["atl-0"].children == {"atl-1"}
    world.live([("unnest", 3, 4)])
    world.turn()
    assert world.product.held_groups["atl-0"].children == {"atl-1"}
    opened = holds.listed(world.db)
    assert [(hold.kind, hold.items) for hold in opened] == [("remove_member", 1)]
    for n in holds.decide(world.db, opened[0].id, "approved", "me", "", world.clock.at):
        waiting.make_due(world.db, world.t, n, world.clock.at)
    world.settle()
    assert world.product.held_groups["atl-0"].children == set()


def test_rule_27_a_replaced_membership_goes_when_the_child_group_stands() -> None:
    """Not in the plan's order alone: the product refuses the child group, and nobody is taken out
    until it takes it, also over a restart."""
    world = World(kept("flatten"))
    world.live([("nest", 3, 4)])
    world.turn()
    before = world.product.members_of("atl-0")
    assert world.product.members_of("atl-1") <= before

    async def refuse(when: str, method: str) -> None:
        if (when, method) == ("before", "add_child"):
            raise ChangeRejected("busy", reason="blocked", status=503)

    world.product.faults = refuse
    reload(world, kept())
    assert world.product.members_of("atl-0") == before
    world.reconcile = world.engine()
    world.turn()
    assert world.product.members_of("atl-0") == before
    told = {row["detail"] for row in waiting.listed(world.db, world.t)}
    assert any("would not be in atl-0 any more" in detail for detail in told)
    world.product.faults = _well
    world.clock.at += DAY
    settle_all(world)
    assert world.product.held_groups["atl-0"].children == {"atl-1"}
    assert world.product.members_of("atl-0") < before
    assert world.product.everybody_in("atl-0") == before


def settle_all(world: World) -> None:
    """Settle, with the full looks that are owed meanwhile."""
    world.settle()
    while targets.get(world.db, world.t).full_due:
        world.turn()
        world.settle()


async def _well(when: str, method: str) -> None:
    pass
