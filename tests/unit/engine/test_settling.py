"""Writes whose answer was lost, when the opposite is wanted by the time that somebody looks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from azsyncd.errors import TargetUnavailable
from azsyncd.model.identities import MemberKind, MemberSeen, ObjectId, Seen
from azsyncd.plan.policy import GroupRules, GuardRules, Policy
from azsyncd.state import spill
from azsyncd.targets.memory import Memory

from .office import EVERYBODY, Office, opened


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with opened(tmp_path) as office:
        yield office


def jo(**shown: object) -> Seen:
    common = {"userPrincipalName": "jo@x.org", "displayName": "Jo", "mail": "jo@x.org"}
    return Seen(ObjectId("u1"), {**common, "accountEnabled": True, **shown})


def team(*, removed: bool | None = None) -> Seen:
    shown = {"displayName": "atl-team", "securityEnabled": True, "groupTypes": []}
    members = () if removed is None else (MemberSeen(ObjectId("u1"), MemberKind.USER, removed),)
    return Seen(ObjectId("g1"), shown, members=members)


def lost(product: Memory, method: str) -> None:
    """The next call of this kind takes effect, and its answer does not arrive."""
    left = [method]

    async def faults(when: str, called: str) -> None:
        if when == "after" and called in left:
            left.remove(called)
            raise TargetUnavailable("reset")

    product.faults = faults


async def fails(work: Callable[[], Awaitable[object]]) -> None:
    with pytest.raises(TargetUnavailable):
        await work()


async def test_i1_who_was_deactivated_without_an_answer_is_reactivated(office: Office) -> None:
    product = await office.open("jira")
    await office.crawl(jo(), team())
    await office.turn("jira")
    await office.crawl(jo(accountEnabled=False), whole=False)
    lost(product, "set_active")
    await fails(lambda: office.turn("jira"))
    await office.crawl(jo(), whole=False)
    await office.turn("jira")
    account = product.account("jo@x.org")
    assert account is not None and account.active


async def test_i1_a_group_that_was_deleted_without_an_answer_can_come_back(office: Office) -> None:
    """It was us who deleted it: that is no drift."""
    rules = GroupRules(gone="delete")
    guard = GuardRules(delete_group="unlimited")
    await office.open("jira", Policy(scope=EVERYBODY, groups=rules, drift="report", guard=guard))
    product = office.products["jira"]
    await office.crawl(jo(), team())
    await office.turn("jira")
    await office.crawl(Seen(ObjectId("g1"), {}, removed="changed"), whole=False)
    lost(product, "delete_group")
    await fails(lambda: office.turn("jira"))
    await office.turn("jira")
    assert not product.held_groups
    await office.crawl(jo(), team())
    await office.turn("jira")
    assert list(product.held_groups) == ["atl-team"]


async def test_i1_a_value_that_was_written_without_an_answer_is_taken_back(office: Office) -> None:
    product = await office.open("jira")
    await office.crawl(jo(), team())
    await office.turn("jira")
    await office.crawl(jo(displayName="Joan", userPrincipalName="joan@x.org"), whole=False)
    lost(product, "rename_account")
    await fails(lambda: office.turn("jira"))
    await office.crawl(jo(), whole=False)
    await office.turn("jira")
    (account,) = product.held.values()
    assert (account.username, account.display_name) == ("jo@x.org", "Jo")


@pytest.mark.parametrize(("first", "then"), [("add_members", True), ("remove_members", False)])
async def test_i1_a_membership_that_changed_without_an_answer_is_changed_back(
    office: Office, first: str, then: bool
) -> None:
    """Else she would stay in a group for ever as somebody else's doing."""
    product = await office.open("jira")
    await office.crawl(jo(), team() if then else team(removed=False))
    await office.turn("jira")
    await office.crawl(team(removed=not then), whole=False)
    lost(product, first)
    await fails(lambda: office.turn("jira"))
    assert product.members_of("atl-team") == ({"jo@x.org"} if then else set())
    await office.crawl(team(removed=then), whole=False)
    await office.turn("jira")
    await office.turn("jira", full=True)
    assert product.members_of("atl-team") == (set() if then else {"jo@x.org"})


async def test_i1_what_was_in_flight_when_we_died_is_found_out(office: Office) -> None:
    product = await office.open("jira")
    await office.crawl(jo(), team())
    await office.turn("jira")
    await office.crawl(jo(accountEnabled=False), whole=False)
    await office.reconciles["jira"]._draft(1, None, full=False)
    # The answer came, and nothing more: the process is killed.
    (planned,) = await office.store.read(lambda db: spill.chunk(db, 1, 9))
    await office.store.write(lambda db: spill.sent(db, [planned.seq]))
    await product.set_active(next(iter(product.held.values())), False)
    await office.crawl(jo(), whole=False)
    await office.turn("jira")
    account = product.account("jo@x.org")
    assert account is not None and account.active
    assert not await office.store.read(lambda db: spill.unanswered(db, 1))


async def test_what_never_took_effect_is_done_again(office: Office) -> None:
    product = await office.open("jira")
    await office.crawl(jo(), team())
    await office.turn("jira")

    async def down(when: str, called: str) -> None:
        if (when, called) == ("before", "set_active"):
            raise TargetUnavailable("timeout")

    product.faults, fine = down, product.faults
    await office.crawl(jo(accountEnabled=False), whole=False)
    await fails(lambda: office.turn("jira"))
    product.faults = fine
    await office.turn("jira")
    account = product.account("jo@x.org")
    assert account is not None and account.active is False
