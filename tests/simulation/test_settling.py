"""Writes whose answer is lost, or over which the engine dies, while Entra changes its mind: nobody
would send them again, so what became of them is looked up (I1, I2, I12, rule 21)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from azsyncd.errors import TargetUnavailable
from azsyncd.plan.policy import AccountRules
from azsyncd.state import targets
from azsyncd.state.store import Connection

from .test_left_off import UPN, active, crash, make, people
from .test_rules import read, write
from .world import World

__all__ = ["make"]

Make = Callable[..., World]
WHEN = pytest.mark.parametrize("when", ["soon", "after a full sync"])
TROUBLE = pytest.mark.parametrize("trouble", ["lost", "killed"])
GROUP = "atl-x"


def fail_after(world: World, method: str, trouble: str) -> list[str]:
    """The next call of this kind takes effect, and nobody hears of it."""
    product = world.products["plain"]
    real, failed = product.faults, []

    async def faults(when: str, called: str) -> None:
        if when == "after" and called == method and not failed:
            failed.append(called)
            if trouble == "killed":
                world.dead = True
            raise TargetUnavailable("the answer was lost", target="plain", retry_after=60.0)
        await real(when, called)

    product.faults = faults
    return failed


def then(world: World, failed: list[str], trouble: str, change: Callable[[], Any]) -> None:
    """Entra changes its mind before anybody has looked again."""
    world.watch.entra_changed()
    world.live(45.0)
    assert failed
    if trouble == "killed":
        crash(world)
    change()
    world.watch.entra_changed()
    world.live(900.0)


def settle(world: World, when: str) -> None:
    if when != "soon":
        write(world, targets.all_due)
        world.targets["plain"].bell.ring("operator")
        world.live(600.0)


def journal(world: World) -> list[tuple[str, str]]:
    def ask(db: Connection) -> list[tuple[str, str]]:
        return [tuple(row) for row in db.execute("SELECT change, outcome FROM journal ORDER BY id")]

    return list(read(world, ask))


def begun(make: Make, *members: int, **rules: Any) -> tuple[World, list[str], str]:
    world = make(**rules)
    ids = people(world, "u0", "u1")
    world.tenant.add_group("staff", members=ids)
    group = world.tenant.add_group(GROUP, members=[ids[i] for i in members])
    world.watch.entra_changed()
    world.live()
    return world, ids, group


@TROUBLE
@WHEN
def test_i1_whoever_may_have_been_put_in_is_taken_out(make: Make, when: str, trouble: str) -> None:
    world, ids, group = begun(make, 0)
    failed = fail_after(world, "add_members", trouble)
    world.tenant.add_member(group, ids[1])
    then(world, failed, trouble, lambda: world.tenant.remove_member(group, ids[1]))
    settle(world, when)
    assert world.products["plain"].members_of(GROUP) == {UPN.format("u0")}


@TROUBLE
@WHEN
def test_i1_whoever_may_have_been_taken_out_is_put_in(make: Make, when: str, trouble: str) -> None:
    world, ids, group = begun(make, 0, 1)
    failed = fail_after(world, "remove_members", trouble)
    world.tenant.remove_member(group, ids[1])
    then(world, failed, trouble, lambda: world.tenant.add_member(group, ids[1]))
    settle(world, when)
    assert world.products["plain"].members_of(GROUP) == {UPN.format("u0"), UPN.format("u1")}


@TROUBLE
@pytest.mark.parametrize("drift", ["repair", "report"])
def test_i2_whoever_may_have_been_shut_out_is_let_in(make: Make, drift: str, trouble: str) -> None:
    """And it is known that it was us, also where what others did is only reported."""
    world, ids, _ = begun(make, drift=drift)
    failed = fail_after(world, "set_active", trouble)
    world.tenant.update(ids[1], accountEnabled=False)
    then(world, failed, trouble, lambda: world.tenant.update(ids[1], accountEnabled=True))
    assert active(world) == {"u0", "u1"}
    told = [each for each in journal(world) if each[0] in ("deactivate", "reactivate")]
    lost = [("deactivate", "unknown")] if trouble == "lost" else []
    assert told == [*lost, ("deactivate", "done"), ("reactivate", "done")]


@TROUBLE
def test_i1_whoever_may_have_been_let_in_is_shut_out(make: Make, trouble: str) -> None:
    world, ids, _ = begun(make)
    world.tenant.update(ids[1], accountEnabled=False)
    world.watch.entra_changed()
    world.live()
    failed = fail_after(world, "set_active", trouble)
    world.tenant.update(ids[1], accountEnabled=True)
    then(world, failed, trouble, lambda: world.tenant.update(ids[1], accountEnabled=False))
    assert active(world) == {"u0"}


@TROUBLE
@pytest.mark.parametrize("method", ["rename_account", "update_account"])
def test_i1_what_may_have_been_changed_is_changed_back(
    make: Make, method: str, trouble: str
) -> None:
    world, ids, _ = begun(make, accounts=AccountRules(username="{{ user.mailNickname }}"))
    before = dict(world.products["plain"].held)
    name = "mailNickname" if method == "rename_account" else "displayName"
    was = world.tenant.nodes[ids[1]].properties[name]
    failed = fail_after(world, method, trouble)
    world.tenant.update(ids[1], **{name: "another"})
    then(world, failed, trouble, lambda: world.tenant.update(ids[1], **{name: was}))
    assert world.products["plain"].held == before


@TROUBLE
def test_i12_what_is_found_done_is_not_sent_again_and_written_down(
    make: Make, trouble: str
) -> None:
    world, ids, _ = begun(make)
    product = world.products["plain"]
    failed = fail_after(world, "set_active", trouble)
    world.tenant.update(ids[1], accountEnabled=False)
    then(world, failed, trouble, lambda: None)
    assert active(world) == {"u0"}
    assert product.needless == []
    assert journal(world)[-1] == ("deactivate", "done")
    world.tenant.update(ids[1], accountEnabled=True)
    world.watch.entra_changed()
    world.live()
    assert active(world) == {"u0", "u1"}


@TROUBLE
@pytest.mark.parametrize("what", ["create", "create_group"])
def test_i12_a_create_that_is_found_done_is_written_down(
    make: Make, what: str, trouble: str
) -> None:
    world, ids, _ = begun(make, 0)
    method = "create_account" if what == "create" else what
    failed = fail_after(world, method, trouble)
    if what == "create":
        world.tenant.add_member(world.tenant.group("staff").id, people(world, "late")[0])
    else:
        world.tenant.add_group("atl-late", members=ids)
    before = journal(world).count((what, "done"))
    then(world, failed, trouble, lambda: None)
    assert journal(world).count((what, "done")) == before + 1
    assert [each for each, _ in world.products["plain"].calls].count(method) == before + 1
