"""What a product refuses once and for all: whose it is, how often it is asked, and what is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from azsyncd.errors import ChangeRejected, TargetUnavailable
from azsyncd.model.accounts import Account, Capabilities, Seats
from azsyncd.model.identities import MemberKind, MemberSeen, ObjectId, Seen
from azsyncd.plan.policy import (
    AccountRules,
    GroupRules,
    GuardRules,
    Policy,
    Protect,
    SeatRules,
)
from azsyncd.state import journal, questions, spill, waiting
from azsyncd.targets.memory import ABLE, Memory

from .office import EVERYBODY, Office, opened

PLAIN = Capabilities(version="1")


def user(number: int, **more: object) -> Seen:
    upn = f"u{number}@x.org"
    shown = {"userPrincipalName": upn, "displayName": upn, "mail": upn, "accountEnabled": True}
    return Seen(ObjectId(f"u{number}"), {**shown, **more})


def group(number: int, *members: int, without: tuple[int, ...] = ()) -> Seen:
    shown = {"displayName": f"atl-{number}", "securityEnabled": True, "groupTypes": []}
    seen = [MemberSeen(ObjectId(f"u{n}"), MemberKind.USER) for n in members]
    seen += [MemberSeen(ObjectId(f"u{n}"), MemberKind.USER, removed=True) for n in without]
    return Seen(ObjectId(f"g{number}"), shown, members=tuple(seen))


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    with capture_logs():
        async with opened(tmp_path) as office:
            yield office


async def _a_lead_leaves(office: Office) -> Memory:
    """One member of atl-1 who leads a project is disabled: she can be taken out of groups alone."""
    product = await office.open("jira")
    await office.crawl(user(1), group(1, 1))
    await office.turn("jira")
    no = ChangeRejected("she leads a project", "give it to another", target="jira", status=400)
    product.blocked = {"u1@x.org": no}

    async def members_may_go(when: str, method: str) -> None:
        if when == "before":
            product.blocked = {} if method == "remove_members" else {"u1@x.org": no}

    product.faults = members_may_go
    await office.crawl(user(1, accountEnabled=False), whole=False)
    return product


async def test_rule_32_whom_the_product_refuses_to_deactivate_is_stripped_at_once(
    office: Office,
) -> None:
    product = await _a_lead_leaves(office)
    await office.turn("jira")
    await office.turn("jira")  # she is due: no minute passes
    assert product.members_of("atl-1") == set()
    asked = [call for call in product.calls if call[0] == "set_active"]
    assert len(asked) == 1  # and the refused change waits for its own time


async def test_rule_32_history_says_what_a_leaver_was_stripped_of(office: Office) -> None:
    """Also what azsyncd had not given."""
    strips = replace(
        ABLE,
        deactivates_accounts=False,
        strips_accounts=True,
        licence_groups=frozenset({"licensed", "others"}),
    )
    product = office.products["jira"] = Memory("jira", capabilities=strips)
    await office.open("jira")
    await office.crawl(user(1))
    await office.turn("jira")
    account = product.account("u1@x.org")
    assert account is not None
    product.granted.add(str(account.key))
    product.put(account, "Licensed")
    await office.crawl(user(1, accountEnabled=False), whole=False)
    await office.turn("jira")
    entries = await office.operations.history(user="u1@x.org")
    told = [entry["answer"] for entry in entries if entry["change"] == "strip"]
    assert told == ["taken away: its own rights, Licensed"]


@pytest.mark.parametrize("lists_all", [True, False])
async def test_rule_19_an_account_that_was_deleted_by_hand_is_missed(
    office: Office, lists_all: bool
) -> None:
    """Also where the product does not list everybody: whoever is linked is asked for by id."""
    office.products["jira"] = Memory(
        "jira", capabilities=replace(ABLE, lists_all_accounts=lists_all)
    )
    product = await office.open("jira")
    await office.crawl(user(1), user(2), group(1))
    await office.turn("jira")
    lost = product.account("u1@x.org")
    assert lost is not None
    del product.held[str(lost.key)]
    await office.turn("jira", full=True)
    again = product.account("u1@x.org")
    assert again is not None and again.key != lost.key


async def test_rule_30_a_directory_that_takes_no_group_is_asked_once(office: Office) -> None:
    product = await office.open("jira")
    calls = 0

    async def read_only(when: str, method: str) -> None:
        nonlocal calls
        if when == "before" and method == "create_group":
            calls += 1
            raise ChangeRejected("read-only", reason="read_only", target="jira", status=400)

    product.faults = read_only
    await office.crawl(user(1), *(group(n, 1) for n in range(5)))
    await office.turn("jira")
    assert calls == 1
    found = await office.store.read(lambda db: questions.withheld(db, 1))
    assert found == {"read_only": 5, "backing_off": 5}
    waits = await office.store.read(lambda db: waiting.failing(db, 1))
    assert waits == 1  # one was refused; nobody else was tried
    product.faults = lambda when, method: _nothing()
    office.clock.advance(901.0)
    await office.turn("jira")
    await office.turn("jira")
    assert all(product.members_of(f"atl-{n}") == {"u1@x.org"} for n in range(5))


async def _nothing() -> None:
    """No fault."""


async def test_seats_that_are_kept_free_are_said_to_be_so(office: Office) -> None:
    """Nothing was refused by the product: nobody has failed."""

    class Licensed(Memory):
        async def seats(self) -> tuple[Seats, ...]:
            return (Seats("jira-software", 10, 2),)

    office.products["jira"] = Licensed("jira")
    rules = AccountRules(product_access="default")
    policy = Policy(scope=EVERYBODY, accounts=rules, seats=SeatRules(keep_free=2))
    product = await office.open("jira", policy)
    await office.crawl(user(1), user(2))
    told = await office.operations.sync(by="jo")
    assert not product.held
    assert told["targets"][0]["failed"] == []
    assert told["targets"][0]["withheld"] == {"licence": 2}
    waits = await office.store.read(lambda db: waiting.listed(db, 1))
    assert waits[0]["detail"] == "jira-software: 2 seats are free, and seats.keep_free is 2"


async def test_i12_where_members_leave_one_by_one_a_lost_answer_is_about_one(
    office: Office,
) -> None:
    able = replace(ABLE, members_per_call=100, removals_per_call=1)
    product = office.products["jira"] = Memory("jira", capabilities=able)
    await office.open("jira")
    await office.crawl(*(user(n) for n in range(4)), group(1, *range(4)))
    await office.turn("jira")
    calls = 0

    async def lose(when: str, method: str) -> None:
        nonlocal calls
        if method == "remove_members" and when == "after":
            calls += 1
            if calls == 2:
                raise TargetUnavailable("reset")

    product.faults = lose
    await office.crawl(group(1, without=(0, 1, 2)), whole=False)
    with pytest.raises(TargetUnavailable):
        await office.turn("jira")
    await office.turn("jira")
    assert product.members_of("atl-1") == {"u3@x.org"}
    rows = await office.store.read(journal.read)
    said = [row["outcome"] for row in rows if row["change"] == "remove_member"]
    assert sorted(said) == ["done", "done", "done", "unknown"]


async def test_rule_25_two_products_with_the_same_foreign_accounts_are_noticed(
    office: Office,
) -> None:
    jira, crowd = await office.open("jira"), await office.open("crowd")
    for number in range(6):
        name = f"old{number}"
        for product in (jira, crowd):
            product.put(Account(username=name, email=f"{name}@x.org"))
    jira.put(Account(username="jira-admin", email="a@x.org"))
    await office.crawl(user(1), group(1, 1))
    for name in ("jira", "crowd"):
        await office.turn(name)
    same = await office.store.read(lambda db: questions.same_accounts(db, 1, 2))
    assert same == (6, 7)  # not whom we have made in both


async def test_seats_are_counted_anew_now_and_then_after_something_was_written(
    office: Office,
) -> None:
    """A metric and its alert live from it; one change costs no request more."""
    counted = 0

    class Licensed(Memory):
        async def seats(self) -> tuple[Seats, ...]:
            nonlocal counted
            counted += 1
            return (Seats("jira-software", 10, 10 - len(self.held)),)

    able = replace(ABLE, seats=(Seats("jira-software", 10, 10),))
    office.products["jira"] = Licensed("jira", capabilities=able)
    await office.open("jira")
    await office.crawl(user(1))
    await office.turn("jira")
    assert counted == 0  # it was probed a moment ago
    for number in (2, 3):
        office.clock.advance(600.0)
        await office.crawl(user(number), whole=False)
        await office.turn("jira")
    assert counted == 1
    known = office.reconciles["jira"].capabilities
    assert known is not None and known.seats[0].remaining == 7


ADMINS = replace(ABLE, admin_groups=frozenset({"atl-1"}))


async def _administered(office: Office, **rules: Any) -> Memory:
    """Two administrators by a group that the file allows."""
    product = office.products["jira"] = Memory("jira", capabilities=ADMINS)
    allow = Protect(allow=("atl-1",))
    free = GuardRules(disable="unlimited", shrink_group="unlimited", delete_group="unlimited")
    await office.open("jira", Policy(scope=EVERYBODY, protect=allow, guard=free, **rules))
    await office.crawl(user(1), user(2), user(3), group(1, 1, 2))
    await office.turn("jira")
    assert product.members_of("atl-1") == {"u1@x.org", "u2@x.org"}
    return product


def _active_admins(product: Memory) -> set[str]:
    accounts = (product.account(name) for name in product.members_of("atl-1"))
    return {account.username for account in accounts if account is not None and account.active}


async def test_rule_24_of_two_administrators_who_are_disabled_one_stays_and_is_told(
    office: Office,
) -> None:
    product = await _administered(office)
    off = {"accountEnabled": False}
    await office.crawl(user(1, **off), user(2, **off), whole=False)
    await office.turn("jira")
    await office.turn("jira", full=True)
    assert _active_admins(product) == {"u1@x.org"}
    left = await office.store.read(lambda db: questions.leavers_with_access(db, 1))
    assert left == ["u1"]


@pytest.mark.parametrize("off", [(1,), (2,), ()])
async def test_rule_24_whoever_is_taken_out_the_last_administrator_stays_in(
    office: Office, off: tuple[int, ...]
) -> None:
    product = await _administered(office)
    out = tuple(n for n in (1, 2) if n not in off)
    people = [user(n, accountEnabled=False) for n in off]
    await office.crawl(*people, group(1, without=out), whole=False)
    await office.turn("jira")
    await office.turn("jira", full=True)
    assert len(_active_admins(product)) == 1
    waits = await office.store.read(lambda db: waiting.listed(db, 1))
    assert "protected" in {row["reason"] for row in waits}
    await office.crawl(group(1, 3), whole=False)  # somebody else is one now
    office.clock.advance(3601.0)
    await office.turn("jira")
    await office.turn("jira", full=True)
    assert _active_admins(product) == {"u3@x.org"}


async def test_rule_24_the_group_of_the_last_administrators_is_not_deleted(
    office: Office,
) -> None:
    product = await _administered(office, groups=GroupRules(gone="delete"))
    await office.crawl(Seen(ObjectId("g1"), {}, "changed"), whole=False)
    await office.turn("jira")
    assert product.members_of("atl-1") == {"u1@x.org", "u2@x.org"}


async def test_rule_24_administrators_of_two_groups_do_not_go_in_one_moment(
    office: Office,
) -> None:
    """Groups are written side by side: each write was innocent when it was asked about."""
    both = ("atl-1", "atl-2")
    product = office.products["jira"] = Memory(
        "jira", capabilities=replace(ABLE, admin_groups=frozenset(both))
    )
    free = GuardRules(shrink_group="unlimited")
    rules = Policy(scope=EVERYBODY, protect=Protect(allow=both), guard=free)
    await office.open("jira", rules, concurrency=2)
    await office.crawl(user(1), user(2), group(1, 1), group(2, 2))
    await office.turn("jira")

    async def slow(when: str, method: str) -> None:
        if (when, method) == ("before", "remove_members"):
            await asyncio.sleep(0.2)  # the other one is asked about meanwhile

    product.faults = slow
    await office.crawl(group(1, without=(1,)), group(2, without=(2,)), whole=False)
    await office.turn("jira")
    await office.turn("jira", full=True)
    assert len(product.members_of("atl-1") | product.members_of("atl-2")) == 1


async def test_rule_24_who_was_switched_off_by_hand_is_no_administrator_who_is_left(
    office: Office,
) -> None:
    """The product is asked before the last one of those who can sign in is shut out."""
    product = await _administered(office)
    other = product.account("u2@x.org")
    assert other is not None
    product.held[str(other.key)] = replace(other, active=False)  # since the last inventory
    await office.crawl(user(1, accountEnabled=False), whole=False)
    await office.turn("jira")
    assert _active_admins(product) == {"u1@x.org"}
    waits = await office.store.read(lambda db: waiting.listed(db, 1))
    assert [row["reason"] for row in waits] == ["protected"]


async def test_rule_24_the_plan_says_whose_membership_stays(office: Office) -> None:
    """What is never sent is not planned."""
    product = await _administered(office)
    await office.crawl(group(1, without=(1, 2)), whole=False)
    for full in (False, True):
        told = await office.turn("jira", full=full)
        assert told.done.get("remove_member", 0) == (0 if full else 1)
    assert len(_active_admins(product)) == 1
    rows = await office.store.read(lambda db: spill.rows(db, 1, 10))
    assert rows == []
    waits = await office.store.read(lambda db: waiting.listed(db, 1))
    assert [(row["change"], row["reason"]) for row in waits] == [("remove_member", "protected")]


async def test_rule_24_whoever_was_kept_as_the_last_one_goes_when_there_is_another(
    office: Office,
) -> None:
    """At once, and not with the next full sync."""
    product = await _administered(office)
    off = {"accountEnabled": False}
    await office.crawl(user(1, **off), user(2, **off), whole=False)
    await office.turn("jira")
    assert _active_admins(product) == {"u1@x.org"}
    await office.crawl(group(1, 3), whole=False)
    await office.turn("jira")
    await office.turn("jira")
    assert _active_admins(product) == {"u3@x.org"}
    assert await office.store.read(lambda db: waiting.listed(db, 1)) == []


NESTED = {
    "all of them are disabled": (user(1, accountEnabled=False), user(2, accountEnabled=False)),
    "all are taken out of the lower group": (group(2, without=(1, 2)),),
    "the lower group is taken out": (
        Seen(ObjectId("g1"), {}, None, (MemberSeen(ObjectId("g2"), MemberKind.GROUP, True),)),
    ),
    "the lower group is deleted": (Seen(ObjectId("g2"), {}, "deleted"),),
    "the upper group is deleted": (Seen(ObjectId("g1"), {}, "deleted"),),
}


@pytest.mark.parametrize("how", NESTED)
async def test_rule_24_administrators_by_a_group_in_a_group(office: Office, how: str) -> None:
    """Where groups are kept in groups, whoever is below an administrators' group is one."""
    product = office.products["crowd"] = Memory("crowd", capabilities=ADMINS)
    rules = Policy(
        scope=EVERYBODY,
        protect=Protect(allow=("atl-1",)),
        groups=GroupRules(nested="keep", gone="delete"),
        guard=GuardRules(disable="unlimited", shrink_group="unlimited", delete_group="unlimited"),
    )
    await office.open("crowd", rules)
    inner = MemberSeen(ObjectId("g2"), MemberKind.GROUP)
    above = group(1)
    await office.crawl(
        user(1), user(2), group(2, 1, 2), Seen(above.id, above.properties, None, (inner,))
    )
    await office.turn("crowd")
    await office.turn("crowd", full=True)

    def active() -> set[str]:
        names = product.members_of("atl-1") | {
            name
            for child in product.held_groups["atl-1"].children
            for name in product.members_of(child)
        }
        accounts = (product.account(name) for name in names)
        return {each.username for each in accounts if each is not None and each.active}

    assert active() == {"u1@x.org", "u2@x.org"}
    await office.crawl(*NESTED[how], whole=False)
    await office.turn("crowd")
    await office.turn("crowd")
    await office.turn("crowd", full=True)
    assert active()
    waits = await office.store.read(lambda db: waiting.listed(db, 1))
    assert "protected" in {row["reason"] for row in waits}


async def test_sync_looks_again_at_whoever_is_due_at_once(office: Office) -> None:
    """Without a daemon nobody else would: she cannot be deactivated, and is stripped."""
    product = await _a_lead_leaves(office)
    told = await office.operations.sync(by="jo")
    assert told["targets"][0]["done"] == {"remove_member": 1}
    assert product.members_of("atl-1") == set()


async def test_what_was_written_before_a_product_failed_is_told(office: Office) -> None:
    product = await office.open("jira")

    async def fail(when: str, method: str) -> None:
        if when == "before" and method == "create_group":
            raise TargetUnavailable("reset", target="jira")

    product.faults = fail
    await office.crawl(user(1), user(2), group(1, 1))
    (told,) = (await office.operations.sync(by="jo"))["targets"]
    assert told["done"] == {"create": 2} and "reset" in told["error"]
