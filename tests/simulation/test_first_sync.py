"""The engine in one process: a first sync, then changes, until all is as it should be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .comparing import differences
from .world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(1, tmp_path / "state.db")
    yield world
    world.close()


def populate(world: World, users: int = 12) -> list[str]:
    people = [
        world.tenant.add_user(f"u{i}@fabrikam.example", displayName=f"User {i}", mail=f"u{i}@x.org")
        for i in range(users)
    ]
    world.tenant.add_group("staff", members=people)
    inner = world.tenant.add_group("inner", members=people[:3])
    world.tenant.add_group("atl-jira", members=[inner, *people[5:8]])
    world.tenant.add_group("atl-all", members=people)
    return people


def settle(world: World, seconds: float = 200.0) -> None:
    world.loop.run_until_complete(world.clock.sleep(seconds))
    for task in world.tasks:
        if task.done():
            task.result()


def test_first_sync_and_changes(world: World) -> None:
    people = populate(world)
    world.loop.run_until_complete(world.start())
    world.run_loops()
    settle(world)
    assert differences(world) == []
    assert not any(product.needless for product in world.products.values())
    tenant = world.tenant
    tenant.update(people[0], displayName="Renamed", userPrincipalName="new.name@fabrikam.example")
    tenant.update(people[1], accountEnabled=False)
    tenant.remove_member(tenant.group("inner").id, people[2])
    tenant.delete(people[3])
    tenant.remove_member(tenant.group("staff").id, people[4])
    settle(world)
    assert differences(world) == []
    assert world.products["marked"].account("u3@fabrikam.example").active is False  # type: ignore[union-attr]
    assert world.products["marked"].account("u4@fabrikam.example").active is False  # type: ignore[union-attr]
    tenant.restore(people[3])
    tenant.add_member(tenant.group("staff").id, people[4])
    tenant.update(people[1], accountEnabled=True)
    settle(world)
    assert differences(world) == []
    assert world.products["marked"].account("u3@fabrikam.example").active is True  # type: ignore[union-attr]
    before = {name: len(product.calls) for name, product in world.products.items()}
    settle(world, 600.0)
    assert before == {name: len(product.calls) for name, product in world.products.items()}
