"""The demo's company: of the size that was asked for, with everything in it that tries others."""

from __future__ import annotations

from collections import Counter

import pytest

from azsyncd.sandbox.nodes import Sort
from azsyncd.sandbox.products import PRODUCTS
from azsyncd.sandbox.world import FOREIGN, INSIDE, PREFIX, World, build


@pytest.fixture(scope="module")
def world() -> World:
    return build(1000)


def shape(world: World) -> list[object]:
    tenant = world.tenant
    objects = [(n.id, n.sort, n.properties.get("userPrincipalName")) for n in tenant.users()]
    edges = [(group.id, tuple(group.slots)) for group in tenant.groups()]
    accounts = [(p.name, p.email, sorted(p.groups)) for p in world.jira.users()]
    return [objects, edges, accounts]


def test_has_a_thousand_users_and_120_groups(world: World) -> None:
    assert len(list(world.tenant.users())) == 1000
    assert len(list(world.tenant.groups())) == 120


@pytest.mark.parametrize("users", [10, 11, 57, 200])
def test_smaller_companies_have_the_users_that_were_asked_for(users: int) -> None:
    assert len(list(build(users).tenant.users())) == users


def test_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    assert shape(build(60, seed=3)) == shape(build(60, seed=3))
    assert shape(build(60, seed=3)) != shape(build(60, seed=4))


def test_has_guests_disabled_people_and_people_without_mail(world: World) -> None:
    users = [user.properties for user in world.tenant.users()]
    assert sum("#EXT#" in user["userPrincipalName"] for user in users) > 20
    assert sum(not user["accountEnabled"] for user in users) > 20
    assert any(user["mail"] is None for user in users)


def test_has_odd_names(world: World) -> None:
    names = [user.properties["displayName"] for user in world.tenant.users()]
    assert max(map(len, names)) > 200
    for odd in ("'", "🚀", "ø", "<b>", "أ"):
        assert any(odd in name for name in names), odd
    assert Counter(names)["Anna Berg"] >= 2
    assert any(
        user.properties["userPrincipalName"].isupper() is False for user in world.employees()
    )


def test_nests_groups_several_levels_deep_and_in_a_ring(world: World) -> None:
    tenant = world.tenant
    ring = tenant.group(f"{PREFIX}circle-north").id
    assert ring in {
        parent.id
        for below in tenant.transitive_members(ring)
        for parent in tenant.parents(below.id)
    }

    def depth(group: str, seen: frozenset[str] = frozenset()) -> int:
        below = [m.id for m in tenant.members(group) if m.sort is Sort.GROUP and m.id not in seen]
        return 1 + max((depth(each, seen | {group}) for each in below), default=0)

    assert depth(world.scope_group) >= 4


def test_has_groups_that_must_not_be_written(world: World) -> None:
    wanted = [
        g for g in world.tenant.groups() if str(g.properties["displayName"]).startswith("atl-")
    ]
    assert any("Unified" in group.properties["groupTypes"] for group in wanted)
    assert max(Counter(group.name for group in wanted).values()) == 2


def test_has_the_products_that_were_asked_for_in_these_versions() -> None:
    made = build(10, products={"jira": "10.6", "confluence": "9.2", "cloud": None}).products
    assert [(name, each.kind) for name, each in made.items()] == [
        ("jira", "jira"), ("confluence", "confluence"), ("cloud", "cloud"),
    ]  # fmt: skip
    assert (made["jira"].version, made["confluence"].version) == ("10.6", "9.2")


def test_a_product_holds_the_same_whatever_stands_beside_it() -> None:
    alone = build(50, products={"crowd": None}).crowd
    beside = build(50, products=dict.fromkeys(PRODUCTS)).crowd
    assert [p.name for p in alone.users()] == [p.name for p in beside.users()]


def test_products_hold_accounts_to_adopt_and_foreign_ones() -> None:
    world = build(1000, products=dict.fromkeys(PRODUCTS))
    upns = {user.name.casefold() for user in world.tenant.users()}
    for product in world.products.values():
        names = {person.name.casefold() for person in product.users()}
        assert len(names & upns) > 20
        assert {name.casefold() for name, _ in FOREIGN} <= names - upns
        assert "ATL-SALES" in product.groups()
        assert "svc-build" in product.members("atl-sales")


def test_everybody_who_works_inside_is_below_the_scope_group(world: World) -> None:
    below = {member.id for member in world.tenant.transitive_members(world.scope_group)}
    for user in world.employees():
        assert (user.properties["department"] in INSIDE) == (user.id in below)
