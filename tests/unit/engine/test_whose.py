"""What stands where another thing was, and is somebody else's (rules 18, 19 and 25)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from azsyncd.engine.figures import waiting_row
from azsyncd.errors import ChangeRejected, TargetRefused, TargetUnavailable
from azsyncd.model.accounts import Account, TargetGroup, fold
from azsyncd.model.identities import MemberKind, MemberSeen, ObjectId, Seen
from azsyncd.plan.policy import (
    AccountRules,
    Budget,
    GroupRules,
    GuardRules,
    Mode,
    Policy,
    Protect,
    Scope,
    Stage,
    UserScope,
)
from azsyncd.state import holds, links, waiting
from azsyncd.targets.memory import ABLE, Held, Memory

from .office import EVERYBODY, Office, opened


class Named(Memory):
    """A product whose key is the name, and which has no place for marks."""

    def __init__(self) -> None:
        super().__init__("p", capabilities=replace(ABLE, has_marks=False))

    def put(self, account: Account, *groups: str) -> Account:
        key = account.key or fold(account.username)
        return super().put(replace(account, key=key), *groups)

    async def rename_account(self, have: Account, want: Account) -> Account:
        username = want.username
        await self._before("rename_account", have)
        stored = replace(self._there(have), username=username, key=fold(username))
        del self.held[str(have.key)]
        self.held[fold(username)] = stored
        return await self._after("rename_account", stored)


class Numbered(Memory):
    """A product whose groups have ids of their own."""

    def put_group(self, name: str) -> Held:
        held = super().put_group(name)
        held.group = replace(held.group, key=f"id-of-{name}")
        return held


def user(number: int, name: str, **more: Any) -> Seen:
    properties = {
        "userPrincipalName": f"{name}@x.example",
        "displayName": f"U {number}",
        "mail": f"u{number}@x.example",
        "accountEnabled": True,
        **more,
    }
    return Seen(id=ObjectId(f"u{number}"), properties=properties)


def group(number: int, name: str, *members: MemberSeen) -> Seen:
    properties = {"displayName": name, "securityEnabled": True, "groupTypes": []}
    return Seen(id=ObjectId(f"g{number}"), properties=properties, members=members)


def member(number: int, *, removed: bool = False) -> MemberSeen:
    return MemberSeen(ObjectId(f"u{number}"), MemberKind.USER, removed)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    with capture_logs():
        async with opened(tmp_path) as office:
            yield office


class Forgetful(Memory):
    """Its listing, or all of it, knows nothing of some accounts or groups for a while."""

    def __init__(self) -> None:
        super().__init__("p")
        self.unlisted: set[str] = set()
        self.lost: set[str] = set()

    async def accounts(self) -> AsyncIterator[Account]:
        async for account in super().accounts():
            if account.key not in self.unlisted | self.lost:
                yield account

    async def groups(self) -> AsyncIterator[TargetGroup]:
        async for each in super().groups():
            if each.key not in self.unlisted:
                yield each

    async def read_account(self, account: Account) -> Account | None:
        return None if account.key in self.lost else await super().read_account(account)


async def turns(office: Office) -> None:
    for _ in range(3):
        await office.turn("p")
        office.clock.advance(100.0)


async def test_rule_19_what_stands_under_the_name_of_a_missing_account_is_not_it(
    office: Office,
) -> None:
    office.products["p"] = Named()
    product = await office.open("p", Policy(scope=EVERYBODY, accounts=AccountRules(adopt="never")))
    await office.crawl(user(1, "jo"))
    await office.turn("p")
    product.held.clear()
    await office.crawl(user(1, "jo", accountEnabled=False), whole=False)
    await office.turn("p", full=True)  # it is missing, and nobody needs it
    stranger = Account(username="jo@x.example", email="jo@y.example", display_name="Another Jo")
    theirs = product.put(stranger)
    await office.crawl(user(1, "joanna"), whole=False)
    await turns(office)
    assert product.held["jo@x.example"] == theirs
    assert product.account("joanna@x.example") is not None


async def test_rule_19_nobody_takes_the_account_of_who_came_after_her(office: Office) -> None:
    office.products["p"] = Named()
    product = await office.open("p")
    await office.crawl(user(2, "b", accountEnabled=False), user(1, "jo"))
    await office.turn("p")
    product.held.clear()
    await office.crawl(user(1, "joanna"), user(2, "jo"), whole=False)
    await office.turn("p", full=True)
    await turns(office)
    assert {name: held.display_name for name, held in product.held.items()} == {
        "jo@x.example": "U 2",
        "joanna@x.example": "U 1",
    }
    assert [method for method, _ in product.calls] == ["create_account"] * 3


async def test_rule_18_a_rename_whose_answer_is_lost_is_known_again(office: Office) -> None:
    """Nothing stands under the key that is known; under the new one stands what was sent."""
    office.products["p"] = Named()
    product = await office.open("p", Policy(scope=EVERYBODY, accounts=AccountRules(adopt="never")))
    await office.crawl(user(1, "jo"))
    await office.turn("p")
    whole = product.faults

    async def lost(when: str, method: str) -> None:
        if (when, method) == ("after", "rename_account"):
            product.faults = whole
            raise TargetUnavailable("the answer was lost", target="p")

    product.faults = lost
    await office.crawl(user(1, "joanna"), whole=False)
    with pytest.raises(TargetUnavailable):
        await office.turn("p")
    await turns(office)
    assert list(product.held) == ["joanna@x.example"]
    assert await office.store.read(lambda db: links.owner_of(db, 1, "joanna@x.example")) == "u1"


@pytest.mark.parametrize("how", ["unlisted", "lost"])
async def test_rule_19_a_leaver_whose_account_is_not_seen_once_is_not_forgotten(
    office: Office, how: str
) -> None:
    """Nothing is made for her again, which is when others are found again."""
    product = Forgetful()
    office.products["p"] = product
    stages = (Stage(after="1s", do="keep"), Stage(after="1d", do="deactivate"))
    scope = Scope(users=UserScope(where="user.department == 'x'"))
    await office.open("p", Policy(scope=scope, accounts=AccountRules(leavers=stages)))
    await office.crawl(user(1, "jo", department="x"), user(2, "ann", department="x"), group(1, "g"))
    await office.turn("p")
    await office.crawl(user(1, "jo", department="y"), whole=False)
    await office.turn("p")
    account = product.account("jo@x.example")
    assert account is not None and account.active
    getattr(product, how).add(account.key)
    await office.turn("p", full=True)
    getattr(product, how).clear()
    await office.turn("p", full=True)
    office.clock.advance(2 * 86400.0)
    await office.turn("p")
    assert {each.username: each.active for each in product.held.values()} == {
        "jo@x.example": False,
        "ann@x.example": True,
    }
    assert [method for method, _ in product.calls if method == "create_account"] == [
        "create_account"
    ] * 2


async def test_rule_19_a_group_that_is_not_listed_once_is_not_forgotten(office: Office) -> None:
    """With `adopt: false` nobody would take it over again, and with it the memberships were lost
    of which it is known that they are ours."""
    product = Forgetful()
    office.products["p"] = product
    await office.open("p", Policy(scope=EVERYBODY, groups=GroupRules(adopt=False)))
    await office.crawl(user(1, "a"), user(2, "b"), group(1, "atl-a", member(1), member(2)))
    await office.turn("p")
    product.unlisted.add("atl-a")
    await office.turn("p", full=True)
    product.unlisted.clear()
    await office.turn("p", full=True)
    await office.crawl(group(1, "atl-a", member(2, removed=True)), whole=False)
    await office.turn("p")
    assert product.members_of("atl-a") == {"a@x.example"}


async def test_i2_a_stranger_who_becomes_somebody_while_a_plan_is_sent_stays_in(
    office: Office,
) -> None:
    rules = GroupRules(foreign_members="remove")
    product = await office.open("p", Policy(scope=EVERYBODY, groups=rules))
    await office.crawl(user(1, "a"), group(1, "atl-a", member(1)))
    await office.turn("p")
    product.put(Account(username="late@x.example", display_name="U 9"), "atl-a")
    product.put(Account(username="stranger@x.example", display_name="S"), "atl-a")
    come: list[str] = []

    async def comes(when: str, method: str) -> None:
        if method == "create_account" and not come:
            come.append(method)
            await office.crawl(user(9, "late"), group(1, "atl-a", member(9)), whole=False)

    product.faults = comes
    await office.crawl(user(2, "b"), whole=False)
    await office.turn("p", full=True)
    assert product.members_of("atl-a") == {"a@x.example", "late@x.example"}


async def test_rule_09_nobody_takes_over_the_account_of_whom_the_scope_excludes(
    office: Office,
) -> None:
    product = await office.open("p")
    await office.crawl(user(1, "jo"), group(1, "g"))
    await office.turn("p")
    before = dict(product.held)
    excluding = UserScope(everybody=True, exclude=("u1",))
    await office.open("p", Policy(scope=EVERYBODY.model_copy(update={"users": excluding})))
    purged = Seen(id=ObjectId("u1"), properties={}, removed="deleted")
    await office.crawl(purged, user(2, "jo"), whole=False)
    await turns(office)
    assert product.held == before


async def test_i9_groups_that_swapped_names_by_hand_do_not_stop_the_daemon(office: Office) -> None:
    office.products["p"] = Numbered("p")
    product = await office.open("p")
    a, b = product.put_group("atl-a"), product.put_group("atl-b")
    await office.crawl(user(1, "a"), group(1, "atl-a"))
    await office.turn("p")
    a.group, b.group = replace(a.group, name="atl-b"), replace(b.group, name="atl-a")
    product.held_groups = {"atl-b": a, "atl-a": b}
    await office.crawl(group(2, "atl-b"), whole=False)
    report = await office.turn("p")
    assert [(change.kind, reason) for change, _, reason, _, _ in report.failed] == [
        ("adopt_group", "conflict")
    ]
    await office.turn("p", full=True)  # now both are known by their new names


async def test_rule_25_two_targets_that_ask_at_once_are_one_installation(office: Office) -> None:
    async def slowly(when: str, method: str) -> None:
        await asyncio.sleep(0)

    for name in ("a", "b"):
        (await office.open(name, fingerprint="the same")).faults = slowly
    await office.crawl(user(1, "a"))
    told = await asyncio.gather(office.turn("a"), office.turn("b"), return_exceptions=True)
    assert sum(isinstance(each, TargetRefused) for each in told) == 1
    assert sum(len(product.calls) for product in office.products.values()) == 1


async def test_i9_a_stranger_who_cannot_be_removed_is_asked_for_less_and_less(
    office: Office,
) -> None:
    rules = GroupRules(foreign_members="remove")
    product = await office.open("p", Policy(scope=EVERYBODY, groups=rules))
    await office.crawl(user(1, "a"), group(1, "atl-a", member(1)))
    await office.turn("p")
    product.put(Account(username="root", display_name="R"), "atl-a")
    product.put(Account(username="stranger", display_name="S"), "atl-a")
    no = ChangeRejected("an administrator", "ask one", target="p", status=403)
    product.blocked = {"root": no, "stranger": no}
    await office.turn("p", full=True)
    for _ in range(60):  # an hour, and the group is looked at each minute
        office.clock.advance(60.0)
        await office.crawl(group(1, "atl-a", member(1)), whole=False)
        await office.turn("p")
    asked = [whom for method, whom in product.calls if method == "remove_members"]
    assert len(asked) <= 5
    waits = await office.store.read(lambda db: waiting.listed(db, 1))
    assert [row["attempts"] for row in waits] == [4, 4]
    rows = await office.store.read(lambda db: [waiting_row(db, "p", row)["name"] for row in waits])
    assert rows == ["root", "stranger"]
    product.blocked.clear()
    office.clock.advance(3600.0)
    await office.turn("p")
    assert product.members_of("atl-a") == {"a@x.example"}
    assert await office.store.read(lambda db: waiting.listed(db, 1)) == []


async def test_rule_33_days_count_from_the_last_time_that_somebody_left(office: Office) -> None:
    """Also where her account was tidied up by hand meanwhile, and made again when she was back."""
    stages = (Stage(after=0.0, do="deactivate"), Stage(after=10 * 86400.0, do="delete"))
    scope = EVERYBODY.model_copy(update={"users": UserScope(where="user.userType == 'Member'")})
    product = await office.open(
        "p", Policy(scope=scope, accounts=AccountRules(leavers=stages), drift="report")
    )
    await office.crawl(user(1, "jo", userType="Member"), group(1, "g"))
    await office.turn("p")
    await office.crawl(user(1, "jo", userType="Guest"), group(1, "g"))
    await office.turn("p")
    product.held.clear()
    await office.turn("p", full=True)
    office.clock.advance(9 * 86400.0)
    await office.crawl(user(1, "jo", userType="Member"), group(1, "g"))
    assert (await office.turn("p")).done == {"create": 1}
    await office.crawl(user(1, "jo", userType="Guest"), group(1, "g"))
    assert (await office.turn("p")).done == {"deactivate": 1}
    office.clock.advance(2 * 86400.0)
    assert (await office.turn("p", full=True)).held == 0
    office.clock.advance(9 * 86400.0)
    assert (await office.turn("p")).held == 1  # nobody is deleted unless a person says so


async def test_rule_16_of_two_groups_that_take_one_new_name_neither_moves(office: Office) -> None:
    product = await office.open(
        "p", Policy(scope=EVERYBODY, groups=GroupRules(on_rename="new_group"))
    )
    await office.crawl(group(1, "atl-a"), group(2, "atl-b"), user(1, "jo"))
    await office.turn("p")
    await office.crawl(group(1, "atl-c"), group(2, "atl-c"), whole=False)
    await office.turn("p")
    assert set(product.held_groups) == {"atl-a", "atl-b"}
    waits = await office.store.read(lambda db: waiting.listed(db, 1))
    assert [row["reason"] for row in waits] == ["conflict", "conflict"]
    await office.crawl(group(2, "atl-b"), whole=False)
    await turns(office)
    assert set(product.held_groups) == {"atl-a", "atl-b", "atl-c"}


async def test_rule_16_a_renamed_group_that_keeps_its_name_is_nobodys_rival(
    office: Office,
) -> None:
    product = await office.open("p")
    await office.crawl(group(1, "atl-a"), user(1, "jo"))
    await office.turn("p")
    await office.crawl(group(1, "atl-c"), group(2, "atl-c"), whole=False)
    await office.turn("p")
    assert set(product.held_groups) == {"atl-a", "atl-c"}


def gone(number: int, *, for_good: bool = True) -> Seen:
    return Seen(
        id=ObjectId(f"g{number}"), properties={}, removed="deleted" if for_good else "changed"
    )


@pytest.mark.parametrize("for_good", [True, False])
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("rules", ["keep", "empty", "delete"])
async def test_rule_16_the_name_of_a_deleted_group_is_free_for_one_that_is_made_anew(
    office: Office, rules: Any, at_once: bool, for_good: bool
) -> None:
    """With all that the product has granted to it; who is in the new one no more leaves it."""
    policy = Policy(
        scope=EVERYBODY,
        groups=GroupRules(gone=rules),
        guard=GuardRules(shrink_group="unlimited", delete_group=Budget(count=0)),
    )
    product = await office.open("p", policy)
    people = [user(n, name) for n, name in enumerate(("ann", "ben", "cyd"), 1)]
    await office.crawl(*people, group(1, "atl-a", member(1), member(2)))
    await office.turn("p")
    local = product.put(Account(username="local", display_name="L"), "atl-a")
    stood = product.held_groups["atl-a"]
    again = group(2, "atl-a", member(2), member(3))
    if at_once:
        await office.crawl(gone(1, for_good=for_good), again, whole=False)
    else:
        await office.crawl(gone(1, for_good=for_good), whole=False)
        await office.turn("p")  # where it is to be deleted, that is held
        await office.crawl(again, whole=False)
    await office.turn("p")
    assert product.held_groups == {"atl-a": stood}
    assert product.members_of("atl-a") == {"ben@x.example", "cyd@x.example", local.username}
    assert await office.store.read(lambda db: waiting.listed(db, 1)) == []
    assert await office.store.read(holds.unsettled) == []
    await office.turn("p", full=True)
    assert product.members_of("atl-a") == {"ben@x.example", "cyd@x.example", local.username}
    if not for_good:  # restored: the name is somebody's by now
        await office.crawl(group(1, "atl-a", member(1)), whole=False)
        await office.turn("p")
        waits = await office.store.read(lambda db: waiting.listed(db, 1))
        assert [(row["id"], row["reason"]) for row in waits] == [("g1", "conflict")]


async def test_rule_16_a_group_that_waits_for_a_name_gets_it_when_the_other_is_deleted(
    office: Office,
) -> None:
    product = await office.open("p")
    await office.crawl(user(1, "ann"), user(2, "ben"), group(1, "atl-a", member(1)))
    await office.turn("p")
    await office.crawl(group(2, "atl-a", member(2)), whole=False)
    await office.turn("p")
    assert product.members_of("atl-a") == {"ann@x.example"}
    await office.crawl(gone(1), whole=False)
    await office.turn("p")
    assert product.members_of("atl-a") == {"ben@x.example"}


async def test_rule_09_nobody_takes_over_the_group_of_one_that_the_scope_excluded(
    office: Office,
) -> None:
    policy = Policy(scope=EVERYBODY)
    product = await office.open("p", policy)
    await office.crawl(user(1, "ann"), user(2, "ben"), group(1, "atl-a", member(1)))
    await office.turn("p")
    groups = EVERYBODY.groups.model_copy(update={"exclude": ("atl-x",)})
    await office.open("p", Policy(scope=EVERYBODY.model_copy(update={"groups": groups})))
    await office.crawl(group(1, "atl-x"), group(2, "atl-a", member(2)), whole=False)
    await office.turn("p", full=True)
    await office.crawl(gone(1), whole=False)
    await office.turn("p", full=True)
    assert product.members_of("atl-a") == {"ann@x.example"}


@pytest.mark.parametrize("how", ["deleted", "soft_deleted", "left"])
async def test_rule_12_a_group_that_is_renamed_gets_nobodys_without_a_person(
    office: Office, how: str
) -> None:
    """Neither a deleted one's group nor what another one has left: it still gives what it was
    granted. If a person agrees it has that, with all in it that is ours."""
    product = await office.open("p", _moving("keep"))
    await office.crawl(user(1, "ann"), user(2, "ben"), group(1, "atl-a", member(1)),
                       group(2, "other", member(2)))  # fmt: skip
    await office.turn("p")
    last = group(1, "atl-b") if how == "left" else gone(1, for_good=how == "deleted")
    await office.crawl(last, whole=False)
    await turns(office)
    await office.crawl(group(2, "atl-a"), whole=False)
    await turns(office)
    assert product.members_of("atl-a") == {"ann@x.example"}
    (hold,) = await office.store.read(holds.unsettled)
    assert "renamed" in hold.detail
    await office.operations.approve(hold=hold.id, by="jo")
    await turns(office)
    assert product.members_of("atl-a") == {"ben@x.example"}
    assert "create_group" not in [call[0] for call in product.calls[-3:]]
    assert await office.store.read(lambda db: waiting.listed(db, 1)) == []
    calls = list(product.calls)
    await office.turn("p", full=True)
    assert product.calls == calls


def _moving(gone: Any) -> Policy:
    """A renamed group goes on in a new one, and the guard asks nobody."""
    return Policy(
        scope=EVERYBODY,
        groups=GroupRules(on_rename="new_group", gone=gone),
        guard=GuardRules(delete_group="unlimited", shrink_group="unlimited"),
    )


@pytest.mark.parametrize("rules", ["empty", "delete"])
async def test_rule_31_nobody_loses_the_old_group_before_the_new_one_stands(
    office: Office, rules: Any
) -> None:
    product = await office.open("p", _moving(rules))
    await office.crawl(user(1, "ann"), group(1, "atl-a", member(1)), group(2, "atl-c"))
    await office.turn("p")

    async def refuse(when: str, method: str) -> None:
        if method == "create_group":
            raise ChangeRejected("not that name", target="p", status=400)

    product.faults, fine = refuse, product.faults
    await office.crawl(group(1, "atl-b"), whole=False)
    await turns(office)
    assert product.members_of("atl-a") == {"ann@x.example"}
    await office.crawl(group(1, "atl-c"), whole=False)  # that cannot be had either
    await turns(office)
    product.faults = fine
    await office.turn("p", full=True)
    assert product.members_of("atl-a") == {"ann@x.example"}
    waits = await office.store.read(lambda db: waiting.listed(db, 1))
    assert [(row["id"], row["reason"]) for row in waits] == [("g1", "conflict")]
    await office.crawl(group(1, "atl-d"), whole=False)
    await turns(office)
    assert product.members_of("atl-d") == {"ann@x.example"}
    left = product.held_groups.get("atl-a")
    assert left is None if rules == "delete" else left is not None and not left.members


@pytest.mark.parametrize("rules", ["empty", "delete"])
async def test_rule_31_who_gets_a_group_that_stands_leaves_the_old_one_at_once(
    office: Office, rules: Any
) -> None:
    """Its own from before, or what another one has left: nothing has to be made for it."""
    product = await office.open("p", _moving(rules))
    await office.crawl(user(1, "ann"), user(2, "ben"),
                       group(1, "atl-a", member(1), member(2)))  # fmt: skip
    await office.turn("p")
    for name in ("atl-b", "atl-a", "atl-b"):
        await office.crawl(group(1, name), whole=False)
        await turns(office)
        assert product.members_of(name) == {"ann@x.example", "ben@x.example"}
        others = [held for key, held in product.held_groups.items() if key != name]
        assert not any(held.members for held in others)
    await office.crawl(group(1, "atl-b", member(2, removed=True)), whole=False)
    await turns(office)
    assert product.members_of("atl-b") == {"ann@x.example"}
    assert not any("ben" in key for held in product.held_groups.values() for key in held.members)


@pytest.mark.parametrize("rules", ["empty", "delete"])
@pytest.mark.parametrize("names", [("atl-c", "atl-a"), ("atl-b", "atl-a"), ("atl-b", "atl-c")])
async def test_rule_31_groups_that_pass_names_on_at_once_leave_none_behind(
    office: Office, names: tuple[str, str], rules: Any
) -> None:
    product = await office.open("p", _moving(rules))
    await office.crawl(user(1, "ann"), user(2, "ben"),
                       group(1, "atl-a", member(1)), group(2, "atl-b", member(2)))  # fmt: skip
    await office.turn("p")
    await office.crawl(group(1, names[0]), group(2, names[1]), whole=False)
    await turns(office)
    wanted = {names[0]: {"ann@x.example"}, names[1]: {"ben@x.example"}}
    found = {name: product.members_of(name) for name in product.held_groups}
    assert {name: who for name, who in found.items() if who} == wanted
    calls = list(product.calls)
    await office.turn("p", full=True)
    assert product.calls == calls


PEOPLE = ("ann", "ben", "cyd")
NAMES = ("atl-a", "atl-b", "atl-c")


async def _three_teams(office: Office, policy: Policy) -> Any:
    """Each group with one of three people in it."""
    product = await office.open("p", policy)
    people = [user(n, name) for n, name in enumerate(PEOPLE, 1)]
    await office.crawl(*people, *(group(n, NAMES[n - 1], member(n)) for n in (1, 2, 3)))
    await office.turn("p")
    return product


async def _named(office: Office, *names: str) -> None:
    teams = [group(n, name) for n, name in enumerate(names, 1)]
    await office.crawl(*teams, whole=False)
    await turns(office)


def _inside(product: Any) -> dict[str, str]:
    """The one person in each group that has any, by the group's name."""
    found = {name: product.members_of(name) for name in product.held_groups}
    return {name: "+".join(sorted(who)).replace("@x.example", "") for name, who in found.items()
            if who}  # fmt: skip


@pytest.mark.parametrize("rules", ["keep", "empty", "delete"])
@pytest.mark.parametrize("names", [("atl-b", "atl-c", "atl-a"), ("atl-c", "atl-a", "atl-b")])
@pytest.mark.parametrize("at_once", [True, False])
async def test_rule_31_a_ring_of_names_goes_round(
    office: Office, names: tuple[str, ...], rules: Any, at_once: bool
) -> None:
    """Each group gets the next one's, with all that it was granted; nothing is made or deleted."""
    product = await _three_teams(office, _moving(rules))
    stood = dict(product.held_groups)
    if not at_once:  # the last one closes the ring
        await _named(office, names[0], names[1])
    await _named(office, *names)
    assert _inside(product) == dict(zip(names, PEOPLE, strict=True))
    assert product.held_groups == stood
    assert await office.store.read(lambda db: waiting.listed(db, 1)) == []
    calls = list(product.calls)
    await office.turn("p", full=True)
    assert product.calls == calls


async def test_rule_31_a_ring_that_one_cannot_follow_stays_as_it_is(office: Office) -> None:
    """Two want one name in it, or one of the names is protected."""
    product = await _three_teams(office, _moving("delete"))
    await office.crawl(group(4, "atl-a"), whole=False)
    await _named(office, "atl-b", "atl-a")
    assert _inside(product) == dict(zip(NAMES, PEOPLE, strict=True))
    await office.crawl(group(4, "atl-d"), whole=False)
    await turns(office)
    assert _inside(product) == {"atl-b": "ann", "atl-a": "ben", "atl-c": "cyd"}
    rules = _moving("delete").model_copy(update={"protect": Protect(groups=("atl-c",))})
    await office.open("p", rules)
    await _named(office, "atl-c", "atl-a", "atl-b")
    assert _inside(product) == {"atl-b": "ann", "atl-a": "ben", "atl-c": "cyd"}


async def test_rule_38_what_a_swap_takes_away_is_asked_for(office: Office) -> None:
    """Who leaves a group by a swap leaves it: the guard counts it as any other removal."""
    tight = _moving("keep").model_copy(update={"guard": GuardRules(remove_member=Budget(count=1))})
    product = await _three_teams(office, tight)
    await _named(office, "atl-b", "atl-a")
    assert product.members_of("atl-a") == {"ann@x.example", "ben@x.example"}
    assert product.members_of("atl-b") == {"ann@x.example", "ben@x.example"}
    assert len(await office.store.read(holds.unsettled)) == 1


@pytest.mark.parametrize("foreign", ["keep", "remove"])
@pytest.mark.parametrize("renamed", [True, False])
@pytest.mark.parametrize("late", [True, False])
async def test_rule_21_who_stands_in_a_group_that_is_adopted_later_is_read_then(
    office: Office, renamed: bool, late: bool, foreign: Any
) -> None:
    """No inventory had a reason to: nobody waits for the next one, neither in it nor out of it."""
    policy = Policy(
        scope=EVERYBODY,
        groups=GroupRules(foreign_members=foreign),
        guard=GuardRules(shrink_group="unlimited"),
    )
    product = await office.open("p", policy)
    await office.crawl(*(user(n, name) for n, name in enumerate(PEOPLE, 1)),
                       group(1, "other", member(1)))  # fmt: skip
    await office.turn("p")
    held = product.put_group("atl-a")
    held.members |= {key for key, each in product.held.items() if "ann" not in each.username}
    product.put(Account(username="local", display_name="L"), "atl-a")
    await office.turn("p", full=True)
    product.put(Account(username="late", display_name="L"), "atl-a")
    new = group(1, "atl-a") if renamed else group(2, "atl-a", member(1))
    await office.crawl(new, group(3, "atl-b", member(3)), whole=False)
    await turns(office)
    if renamed:  # while a person thinks it over it may be read, for the next time
        await office.turn("p", full=late)
    for hold in await office.store.read(holds.unsettled):
        await office.operations.approve(hold=hold.id, by="jo")
    await turns(office)
    strangers = set()
    if foreign == "keep":
        strangers = {"ben@x.example", "cyd@x.example", "local", "late"}
    assert product.members_of("atl-a") == {"ann@x.example"} | strangers
    assert await office.store.read(lambda db: waiting.listed(db, 1)) == []
    calls = list(product.calls)
    await office.turn("p", full=True)
    assert product.calls == calls


# Names that go round, and what else is about ------------------------------------------------------


def _free(gone: Any = "keep", **more: Any) -> Policy:
    free = GuardRules(remove_member="unlimited", shrink_group="unlimited", delete_group="unlimited")
    return _moving(gone).model_copy(update={"guard": free, **more})


async def test_rule_35_what_was_taken_out_of_a_group_goes_with_it_in_a_swap(
    office: Office,
) -> None:
    """Else the size of a large group would let a small one be emptied."""
    half = GuardRules(remove_member="unlimited", shrink_group=Budget(count=2, percent=50))
    product = await office.open("p", _free(guard=half))
    people = [user(n, f"p{n}") for n in range(1, 45)]
    large, small = range(1, 41), range(41, 45)
    await office.crawl(*people, group(1, "atl-a", *map(member, large)),
                       group(2, "atl-b", *map(member, small)))  # fmt: skip
    await office.turn("p")
    await office.crawl(group(1, "atl-a", member(1, removed=True)), whole=False)
    await turns(office)
    await _named(office, "atl-b", "atl-a")
    assert {f"p{n}@x.example" for n in small} <= product.members_of("atl-b")
    found = {hold.detail for hold in await office.store.read(holds.unsettled)}
    assert len(found) == 2


async def test_rule_38_what_people_were_asked_about_a_group_ends_with_a_swap(
    office: Office,
) -> None:
    none = GuardRules(remove_member=Budget(count=0), shrink_group="unlimited")
    product = await office.open("p", _free(guard=none))
    await office.crawl(user(1, "ann"), group(1, "atl-a", member(1)), group(2, "atl-b", member(1)))
    await office.turn("p")
    await office.crawl(group(2, "atl-b", member(1, removed=True)), whole=False)
    await turns(office)
    (first,) = await office.store.read(holds.unsettled)
    await _named(office, "atl-b", "atl-a")
    assert first.id not in {hold.id for hold in await office.store.read(holds.unsettled)}
    (then,) = await office.store.read(holds.unsettled)
    await office.operations.approve(hold=then.id, by="jo")
    await turns(office)
    assert _inside(product) == {"atl-b": "ann"}


@pytest.mark.parametrize("rules", ["empty", "delete"])
@pytest.mark.parametrize("how", ["deleted", "left"])
async def test_rule_12_what_a_person_is_asked_about_stands_until_she_answers(
    office: Office, how: str, rules: Any
) -> None:
    """`gone` takes nothing away that an approval would give, while somebody waits for that."""
    product = await office.open("p", _free(rules))
    await office.crawl(user(1, "ann"), user(2, "ben"), group(1, "atl-a", member(1)),
                       group(2, "other", member(2)))  # fmt: skip
    await office.turn("p")
    last = group(1, "atl-z") if how == "left" else gone(1)
    await office.crawl(last, group(2, "atl-a"), whole=False)
    await turns(office)
    assert product.members_of("atl-a") == {"ann@x.example"}
    assert len(await office.store.read(holds.unsettled)) == 1
    await office.crawl(group(2, "other"), whole=False)
    await turns(office)
    assert "atl-a" not in product.held_groups or not product.members_of("atl-a")
    assert await office.store.read(holds.unsettled) == []


async def test_rule_12_a_linked_group_that_was_deleted_by_hand_comes_back_without_a_person(
    office: Office,
) -> None:
    """She was asked when it came."""
    product = await office.open("p", _free())
    await office.crawl(user(2, "ben"), group(2, "other", member(2)))
    await office.turn("p")
    await office.crawl(group(2, "atl-a"), whole=False)
    await turns(office)
    for hold in await office.store.read(holds.unsettled):
        await office.operations.approve(hold=hold.id, by="jo")
    await turns(office)
    office.clock.advance(2 * 86400.0)
    del product.held_groups["atl-a"]
    await office.turn("p", full=True)
    await turns(office)
    assert product.members_of("atl-a") == {"ben@x.example"}


async def test_a_swap_is_shown_in_a_mode_that_writes_nothing(office: Office) -> None:
    await _three_teams(office, _free())
    await office.open("p", _free(mode=Mode.REPORT))
    await office.crawl(group(1, "atl-b"), group(2, "atl-a"), whole=False)
    await office.turn("p")
    waits = await office.store.read(lambda db: waiting.listed(db, 1))
    told = {(row["id"], row["reason"]) for row in waits if "gets the product" in row["detail"]}
    assert told == {("g1", "mode"), ("g2", "mode")}


@pytest.mark.parametrize("size", [40, 120])
async def test_a_ring_has_an_end(office: Office, size: int) -> None:
    """One that is too long for one moment waits as a conflict: nothing breaks."""
    product = await office.open("p", _free())
    teams = [group(n, f"atl-{n}", member(1 + n % 2)) for n in range(size)]
    await office.crawl(user(1, "ann"), user(2, "ben"), *teams)
    await office.turn("p")
    names = [f"atl-{(n + 1) % size}" for n in range(size)]
    await office.crawl(*(group(n, name) for n, name in enumerate(names)), whole=False)
    await turns(office)
    waits = await office.store.read(lambda db: waiting.listed(db, 1))
    assert {row["reason"] for row in waits} == (set() if size == 40 else {"conflict"})
    has = {"ann@x.example"} if size == 40 else {"ben@x.example"}
    assert product.members_of("atl-1") == has


async def test_no_answer_about_who_stands_in_a_group_is_not_nobody(office: Office) -> None:
    """Some products find a group only a moment after it was written to."""
    product = await office.open("p", _free())
    await office.crawl(user(1, "ann"), user(2, "ben"), group(1, "other", member(1)))
    await office.turn("p")
    product.put_group("atl-a").members.update(product.held)
    await office.turn("p", full=True)

    async def nothing(groups: Any) -> AsyncIterator[Any]:
        for _ in ():
            yield _

    product.members = nothing  # type: ignore[method-assign]
    await office.crawl(group(2, "atl-a", member(1)), whole=False)
    await turns(office)
    read = "SELECT members_read FROM target_group WHERE name = 'atl-a'"
    assert await office.store.read(lambda db: db.execute(read).fetchone()[0]) == 0
