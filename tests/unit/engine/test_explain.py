"""`explain` on a small installation: five steps, paths, strays, and what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from azsyncd.errors import AzsyncdError, TargetUnavailable
from azsyncd.model.accounts import Account, Capabilities, Mark
from azsyncd.model.identities import MemberKind, MemberSeen, ObjectId, Seen
from azsyncd.plan.policy import (
    AccountRules,
    Budget,
    Entry,
    GroupScope,
    GuardRules,
    Mode,
    Policy,
    Scope,
    UserScope,
)
from azsyncd.state import holds
from azsyncd.state.store import Connection, get_meta
from azsyncd.targets.memory import ABLE

from .office import Office, opened
from .test_linking import user

STAFF = Policy(
    scope=Scope(
        users=UserScope(
            members_of=(Entry(name="staff"),), where="user.userType != 'Guest'", exclude=("u6",)
        ),
        groups=GroupScope(include=(Entry(name="atl-*"),)),
    ),
    accounts=AccountRules(adopt="username_and_email"),
)


def group(id_: str, name: str, *members: str) -> Seen:
    seen = tuple(
        MemberSeen(ObjectId(m), MemberKind.GROUP if m[0] == "g" else MemberKind.USER)
        for m in members
    )
    return Seen(ObjectId(id_), {"displayName": name, "securityEnabled": True}, None, seen)


ENTRA = (
    *(user(f"u{i}", userType="Member") for i in range(1, 8)),
    group("g1", "staff", "g2", "u2", "u3", "u5", "u6"),
    group("g2", "inner", "g3"),
    group("g3", "innermost", "u1"),
    group("g4", "atl-all", "g2", "u4"),
    group("g5", "other", "u1"),
)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with opened(tmp_path) as office:
        product = await office.open("jira", STAFF)
        product.put(Account(username="u5@x.org", email="else@x.org"))
        product.put(Account(username="local", email="local@x.org"))
        product.put(Account(username="theirs", mark=Mark("another", "x")))
        await office.crawl(*ENTRA)
        await office.turn("jira")
        yield office


async def told(office: Office, who: str, group: str | None = None) -> dict[str, Any]:
    """What is said of somebody in the only target, with the last line."""
    found = await office.operations.explain(who=who, group=group)
    (row,) = found["targets"]
    return {**row, "what_to_do": found["what_to_do"], "kind": found["kind"]}


def steps(row: dict[str, Any]) -> dict[str, tuple[bool | None, str]]:
    assert [s["step"] for s in row["steps"]] == [
        "found", "in scope", "matched", "mapped", "planned"]  # fmt: skip
    return {step["step"]: (step["ok"], step["why"]) for step in row["steps"]}


async def test_somebody_who_is_right_goes_through_five_steps(office: Office) -> None:
    row = await told(office, "u1@x.org")
    found = steps(row)
    assert {ok for ok, _ in found.values()} == {True}
    assert found["matched"][1] == "linked to the account 'u1@x.org', made by azsyncd"
    assert found["planned"][1] == "nothing to do"
    assert row["what_to_do"].startswith("nothing: all is as")
    (where, members_of) = row["rules"][-2:]
    assert where["verdict"] == "in" and "userType" in where["why"]
    assert members_of["paths"] == ["u1@x.org > innermost > inner > staff"]
    (edge,) = row["groups"]
    assert edge["through"] == "innermost > inner > atl-all" and edge["whose"] == "ours"


@pytest.mark.parametrize(
    ("who", "step", "ok", "why"),
    [
        ("u4", "in scope", False, "in none of the groups"),
        ("u6", "in scope", False, "named by scope.users.exclude"),
        ("u5", "matched", False, "and another e-mail address"),
    ],
)
async def test_the_step_that_stops_says_why(
    office: Office, who: str, step: str, ok: bool, why: str
) -> None:
    row = await told(office, who)
    found = steps(row)
    assert found[step][0] is ok and why in found[step][1]
    assert row["what_to_do"]


async def test_what_a_conflict_wants_is_the_last_line(office: Office) -> None:
    row = await told(office, "u5")
    assert "azsyncd link" in row["what_to_do"]
    assert steps(row)["planned"][1].startswith("withheld, conflict")


@pytest.mark.parametrize(
    ("who", "name", "why"),
    [
        ("u1", "atl-all", "Entra has u1@x.org in atl-all, and so has the product"),
        ("u2", "atl-all", "is no member of atl-all in Entra"),
        ("u4", "atl-all", "u4@x.org has no account here"),
        ("u1", "other", "other is not among the synced groups"),
    ],
)
async def test_why_or_why_not_in_a_group(office: Office, who: str, name: str, why: str) -> None:
    assert why in (await told(office, who, name))["in_group"]["why"]


async def test_a_membership_that_is_about_to_change_says_so(office: Office) -> None:
    await office.crawl(group("g4", "atl-all", "u2"), whole=False)
    assert "is put into" in (await told(office, "u2", "atl-all"))["in_group"]["why"]


async def test_a_group_goes_through_the_same_steps(office: Office) -> None:
    row = await told(office, "atl-all")
    assert row["kind"] == "group" and {ok for ok, _ in steps(row).values()} == {True}
    assert row["in_product"] == {"members": 1, "ours": 1}
    out = steps(await told(office, "other"))
    assert out["in scope"] == (False, "out: named by no entry of groups.include")


async def test_an_account_that_nobody_explains_gets_an_answer(office: Office) -> None:
    row = await told(office, "local")
    assert row["kind"] == "account" and row["account"]["email"] == "local@x.org"
    assert "nobody in Entra" in row["in_scope"]["why"] and "azsyncd link" in row["what_to_do"]
    assert "'another'" in (await told(office, "theirs"))["in_scope"]["why"]
    with pytest.raises(AzsyncdError, match="is not known"):
        await told(office, "nobody")


async def test_several_who_may_be_meant_are_named(office: Office) -> None:
    twins = [user(id_, displayName="Twin", userType="Member") for id_ in ("u1", "u8")]
    await office.crawl(*twins, whole=False)
    with pytest.raises(AzsyncdError, match=r"u1 \(u1@x.org\), u8 \(u8@x.org\)"):
        await told(office, "twin")


async def test_it_asks_first_what_the_product_can_do(tmp_path: Path) -> None:
    """Without a daemon nobody has asked yet: abilities that are assumed plan what cannot be."""
    async with opened(tmp_path) as office:
        able: Capabilities = replace(ABLE, creates_accounts=False, instead={
            "creates_accounts": "invite her"})  # fmt: skip
        await office.open("jira", capabilities=able)
        await office.crawl(user("u1"))
        row = await told(office, "u1")
        assert row["planned"] == [] and row["withheld"][0]["reason"] == "unsupported"
        assert row["what_to_do"] == "invite her"


async def test_a_product_that_does_not_answer_is_named(tmp_path: Path) -> None:
    async with opened(tmp_path) as office:

        async def down(when: str, method: str) -> None:
            raise TargetUnavailable("no answer", target="jira")

        await office.open("jira", faults=down)
        await office.crawl(user("u1"))
        assert (await told(office, "u1"))["not_asked"] == "no answer"
        # The loop knows that it is down: a question does not wait for it again.
        state = office.reconciles["jira"].state
        state.state, state.detail = "down", "for an hour"
        assert (await told(office, "u1"))["not_asked"] == "for an hour"


async def test_whom_entra_did_not_show_is_said_not_to_be_believed_gone(office: Office) -> None:
    """All is as the mirror says; but the mirror is what is in doubt (rule 7)."""
    await office.crawl(ENTRA[0])  # everybody else is missing

    def hold(db: Connection) -> int:
        payload = {"crawl": get_meta(db, "crawl"), "items": 11}
        return holds.open_hold(db, None, holds.SOURCE, "one user", 1.0, (), payload)

    await office.store.write(hold)
    found = await office.operations.explain(who="u2@x.org")
    assert "not believed" in found["entra"]["note"]
    assert "azsyncd approve" in found["what_to_do"]


async def test_what_is_held_is_not_promised(office: Office) -> None:
    rules = GuardRules(remove_member=Budget(count=0))
    await office.open("jira", STAFF.model_copy(update={"guard": rules}))
    innermost = next(each for each in ENTRA if each.properties.get("displayName") == "innermost")
    out = MemberSeen(ObjectId("u1"), MemberKind.USER, removed=True)
    await office.crawl(replace(innermost, members=(out,)), whole=False)
    await office.turn("jira")
    row = await told(office, "u1@x.org", "atl-all")
    assert "azsyncd holds show" in row["what_to_do"]


async def test_nobody_who_is_out_of_scope_is_to_be_in_a_group(office: Office) -> None:
    row = await told(office, "u6")
    assert {each["blocked"] for each in row["groups"]} <= {"hands off"}


async def test_rule_40_what_the_mode_never_writes_is_not_promised(office: Office) -> None:
    await office.open("jira", STAFF.model_copy(update={"mode": Mode.ADDITIONS_ONLY}))
    disabled = user("u1", userType="Member", accountEnabled=False)
    await office.crawl(disabled, whole=False)
    row = await told(office, "u1@x.org")
    assert row["planned"] == []
    assert "additions_only" in row["withheld"][0]["detail"]
    assert "mode: sync" in row["what_to_do"]
