"""A plan that was kept is carried out as far as it still holds, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from azsyncd.errors import AzsyncdError, ChangeRejected
from azsyncd.model.accounts import Account
from azsyncd.model.identities import MemberKind, MemberSeen, ObjectId, Seen
from azsyncd.plan.policy import Budget, GuardRules, Mode, Policy
from azsyncd.state import holds, journal, targets, waiting

from .office import EVERYBODY, Office, opened

CONFIG = SimpleNamespace(
    entra=SimpleNamespace(tenant_id="tenant-1"),
    instance="test",
    targets={
        name: SimpleNamespace(limits=SimpleNamespace(requests_per_second=100))
        for name in ("jira", "crowd")
    },
)


def user(number: int, **more: Any) -> Seen:
    upn = f"u{number}@fabrikam.example"
    properties = {
        "userPrincipalName": upn,
        "displayName": f"User {number}",
        "mail": upn,
        "accountEnabled": True,
        "userType": "Member",
    }
    return Seen(ObjectId(f"u{number}"), {**properties, **more})


def group(*members: int, gone: int | None = None) -> Seen:
    seen = [MemberSeen(ObjectId(f"u{n}"), MemberKind.USER) for n in members]
    if gone is not None:
        seen.append(MemberSeen(ObjectId(f"u{gone}"), MemberKind.USER, removed=True))
    properties = {"displayName": "atl-all", "securityEnabled": True, "groupTypes": []}
    return Seen(ObjectId("g1"), properties, members=tuple(seen))


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with opened(tmp_path, CONFIG) as office:  # type: ignore[arg-type]
        yield office


async def begun(office: Office, mode: Mode = Mode.MANUAL, people: int = 4, **more: Any) -> None:
    """Everybody has an account already; from now on the target's mode counts."""
    await office.open("jira", Policy(scope=EVERYBODY))
    await office.crawl(*(user(n) for n in range(people)), group(*range(people)))
    await office.turn("jira", full=True)
    await office.open("jira", Policy(scope=EVERYBODY, mode=mode, **more))


async def kept(office: Office, **asked: Any) -> dict[str, Any]:
    """The contents of a file, as it comes back from the disk."""
    result = await office.operations.plan(keep=True, **asked)
    return json.loads(json.dumps(result["saved"]))  # type: ignore[no-any-return]


async def test_what_was_kept_is_written_and_spends_no_allowance(office: Office) -> None:
    await begun(office)
    await office.crawl(user(1, displayName="New"), user(2, accountEnabled=False), whole=False)
    plan = await kept(office)
    assert [row["change"] for row in plan["targets"][0]["changes"]] == ["deactivate", "update"]
    before = len(office.products["jira"].calls)
    result = await office.operations.apply(plan=plan, by="jo")
    assert result["outcome"] == "applied"
    assert result["targets"][0]["done"] == {"deactivate": 1, "update": 1}
    assert len(office.products["jira"].calls) > before
    account = office.products["jira"].account("u2@fabrikam.example")
    assert account is not None and not account.active
    t = office.reconciles["jira"].t
    assert await office.store.read(lambda db: holds.spent(db, t, 0.0)) == {}
    entry = (await office.store.read(lambda db: journal.read(db, t=t, limit=1)))[0]
    assert entry["cause"] == "apply by jo, approved"


async def test_what_has_moved_is_listed_and_the_rest_is_sent_whatever_others_do(
    office: Office,
) -> None:
    await begun(office, people=30)
    await office.crawl(*(user(n, displayName="New") for n in range(3)), whole=False)
    plan = await kept(office)
    await office.crawl(
        user(1, displayName="Newer"),
        *(user(n, displayName="Other") for n in range(10, 30)),
        *(user(n) for n in range(100, 120)),
        whole=False,
    )
    result = await office.operations.apply(plan=plan, by="jo")
    target = result["targets"][0]
    assert result["outcome"] == "moved"
    assert target["done"] == {"update": 2}
    assert [row["name"] for row in target["moved"]] == ["u1@fabrikam.example"]
    assert target["moved"][0]["detail"] == ("wanted: display_name is 'Newer' now, and was 'New'")
    held = office.products["jira"].held.values()
    assert sorted(a.display_name for a in held if a.display_name == "New") == ["New"] * 2
    assert not [a for a in held if a.display_name in ("Newer", "Other")]
    assert len(held) == 30
    row = await office.store.read(lambda db: targets.get(db, office.reconciles["jira"].t))
    assert row.full_due  # what is not in the file is owed


async def test_a_product_changed_by_hand_is_seen_before_anything_is_sent(office: Office) -> None:
    await begun(office)
    await office.crawl(user(1, displayName="New"), user(2, displayName="New"), whole=False)
    plan = await kept(office)
    product = office.products["jira"]
    for number, name in ((1, "By hand"), (2, "New")):
        account = product.account(f"u{number}@fabrikam.example")
        assert account is not None
        product.put(replace(account, display_name=name))
    result = await office.operations.apply(plan=plan, by="jo")
    target = result["targets"][0]
    assert target["done"] == {}
    assert target["already"] == 1
    assert [row["name"] for row in target["moved"]] == ["u1@fabrikam.example"]
    assert target["moved"][0]["detail"].startswith("in the product: display_name is 'By hand'")


async def test_a_file_applied_twice_finds_everything_done(office: Office) -> None:
    await begun(office)
    await office.crawl(user(9), group(0, 1, 2, 3, 9, gone=2), whole=False)
    plan = await kept(office)
    kinds = sorted(row["change"] for row in plan["targets"][0]["changes"])
    assert kinds == ["add_member", "create", "remove_member"]
    first = await office.operations.apply(plan=plan, by="jo")
    assert first["outcome"] == "applied"
    assert sum(first["targets"][0]["done"].values()) == 3
    again = await office.operations.apply(plan=plan, by="jo")
    assert (again["outcome"], again["targets"][0]["done"]) == ("applied", {})
    assert again["targets"][0]["already"] == 3


async def test_a_membership_that_is_wanted_again_is_not_removed(office: Office) -> None:
    await begun(office)
    await office.crawl(group(0, 1, 2, 3, gone=2), whole=False)
    plan = await kept(office)
    await office.crawl(group(2), whole=False)
    result = await office.operations.apply(plan=plan, by="jo")
    assert result["outcome"] == "moved"
    assert result["targets"][0]["moved"][0]["detail"] == "it is not wanted any more"


async def test_what_the_guard_withholds_is_not_in_the_file(office: Office) -> None:
    """It was shown as withheld: a person approves the hold, knowing how much it is."""
    await begun(office, Mode.SYNC, guard=GuardRules(disable=Budget(count=1)))
    await office.crawl(*(user(n, accountEnabled=False) for n in (1, 2)), whole=False)
    assert (await kept(office))["targets"][0]["changes"] == []


async def test_rule_37_what_was_seen_is_sent_although_the_window_is_used_up(
    office: Office,
) -> None:
    await begun(office, Mode.SYNC, guard=GuardRules(disable=Budget(count=1)))
    await office.crawl(user(1, accountEnabled=False), whole=False)
    plan = await kept(office, target="jira")
    reconcile = office.reconciles["jira"]
    await office.store.write(
        lambda db: holds.spend(db, reconcile.t, "disable", 0, 99, 4, office.clock.now())
    )
    result = await office.operations.apply(plan=plan, by="jo")
    assert result["targets"][0]["done"] == {"deactivate": 1}


async def test_rule_26_applying_is_the_consent_to_a_first_contact(office: Office) -> None:
    product = await office.open("jira", Policy(scope=EVERYBODY))
    product.put(Account(username="u1@fabrikam.example", email="old@x.org", display_name="Old"))
    await office.crawl(*(user(n) for n in range(3)), group(0, 1, 2))
    reconcile = office.reconciles["jira"]
    assert (await reconcile.turn(cause="daemon")).stopped == "first_contact"
    plan = await kept(office)
    await office.crawl(user(7), whole=False)
    result = await office.operations.apply(plan=plan, by="jo")
    assert result["outcome"] == "applied"
    assert product.account("u1@fabrikam.example").display_name == "User 1"  # type: ignore[union-attr]
    assert product.account("u7@fabrikam.example") is None  # not in the file
    row = await office.store.read(lambda db: targets.get(db, reconcile.t))
    assert row.first_contact == "done"
    assert await office.operations.holds() == []


async def test_rule_26_a_plan_for_one_is_no_consent_to_the_others(office: Office) -> None:
    product = await office.open("jira", Policy(scope=EVERYBODY))
    for n in range(3):
        product.put(Account(username=f"u{n}@fabrikam.example", email="old@x.org"))
    await office.crawl(*(user(n) for n in range(3)), group(0, 1, 2))
    plan = await kept(office, user="u1@fabrikam.example")
    await office.operations.apply(plan=plan, by="jo")
    assert (await office.reconciles["jira"].turn(cause="daemon")).stopped == "first_contact"
    shown = {each.username: each.display_name for each in product.held.values()}
    assert [name for name, display in shown.items() if display] == ["u1@fabrikam.example"]


async def test_what_depends_on_a_change_that_has_moved_is_not_called_refused(
    office: Office,
) -> None:
    product = await office.open("jira", Policy(scope=EVERYBODY, mode=Mode.MANUAL))
    await office.crawl(user(1), user(2), group(1, 2))
    plan = await kept(office)
    await office.crawl(user(1, displayName="Moved"), whole=False)
    await office.operations.apply(plan=plan, by="jo")
    assert [each.display_name for each in product.held.values()] == ["User 2"]
    reconcile = office.reconciles["jira"]
    rows = await office.store.read(lambda db: waiting.listed(db, reconcile.t))
    assert [row["change"] for row in rows if row["attempts"]] == []
    await office.operations.apply(plan=await kept(office), by="jo")
    assert len(next(iter(product.held_groups.values())).members) == 2


async def test_rule_40_a_sync_is_no_consent_where_the_mode_is_manual(office: Office) -> None:
    product = await office.open("jira", Policy(scope=EVERYBODY, mode=Mode.MANUAL))
    product.put(Account(username="u1@fabrikam.example", email="old@x.org", display_name="Old"))
    await office.crawl(user(1), user(2))
    report = await office.turn("jira")
    assert report.stopped == "first_contact"
    assert [c for c in product.calls if c[0] != "mark_account"] == []


async def test_rule_40_report_is_not_written_even_by_apply(office: Office) -> None:
    await begun(office)
    await office.crawl(user(1, displayName="New"), whole=False)
    plan = await kept(office)
    await office.open("jira", Policy(scope=EVERYBODY, mode=Mode.REPORT))
    result = await office.operations.apply(plan=plan, by="jo")
    assert result["outcome"] == "failures"
    assert "mode: report" in result["targets"][0]["error"]


async def test_rule_40_a_plan_says_that_everything_waits_where_the_mode_is_manual(
    office: Office,
) -> None:
    await begun(office)
    await office.crawl(user(1, displayName="New"), user(2, displayName="New"), whole=False)
    plans = [await office.operations.plan()]
    await office.turn("jira")  # there is a hold now
    plans.append(await office.operations.plan())
    for plan in plans:
        assert plan["outcome"] == "withheld"
        assert plan["targets"][0]["withheld"] == {"mode": 2}
    assert len((await kept(office))["targets"][0]["changes"]) == 2


async def test_what_was_rejected_since_is_not_sent(office: Office) -> None:
    await begun(office)
    await office.crawl(user(1, displayName="New"), whole=False)
    plan = await kept(office)
    await office.turn("jira")
    (hold,) = await office.operations.holds()
    await office.operations.reject(hold=hold["id"], by="jo")
    result = await office.operations.apply(plan=plan, by="jo")
    assert result["targets"][0]["moved"][0]["detail"] == "somebody has rejected it since"


async def test_only_the_chosen_target_is_written(office: Office) -> None:
    await office.open("crowd", Policy(scope=EVERYBODY))
    await begun(office)
    plan = await kept(office)
    result = await office.operations.apply(plan=plan, by="jo", target="crowd")
    assert [each["target"] for each in result["targets"]] == ["crowd"]
    assert len(office.products["crowd"].held) == 4
    with pytest.raises(AzsyncdError, match="says nothing of 'bamboo'"):
        await office.operations.apply(plan=plan, by="jo", target="bamboo")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tenant_id": "another"}, "made for tenant another, and this is tenant-1"),
        ({"instance": "other"}, "made for instance other"),
        ({"version": 2}, "format 2; this azsyncd reads 1"),
        ({"format": "tfplan"}, "no plan of azsyncd's"),
        ({"targets": [{}]}, "damaged"),
        ({"targets": [{"target": "jira", "fingerprint": None, "changes": [{}]}]}, "damaged"),
    ],
)
async def test_a_file_of_something_else_is_refused(
    office: Office, wrong: dict[str, Any], said: str
) -> None:
    await begun(office)
    plan = {**await kept(office), **wrong}
    with pytest.raises(AzsyncdError, match=said):
        await office.operations.apply(plan=plan, by="jo")


async def test_a_plan_for_another_installation_of_that_name_is_refused(office: Office) -> None:
    await begun(office)
    await office.crawl(user(1, displayName="New"), whole=False)
    plan = await kept(office)
    plan["targets"][0]["fingerprint"] = "another"
    result = await office.operations.apply(plan=plan, by="jo")
    assert "another installation" in result["targets"][0]["error"]


async def test_what_moves_while_the_file_is_being_sent_is_left_alone(office: Office) -> None:
    """The evidence is compared again whenever the mirror moves on (rule 28)."""
    await begun(office, people=6)
    await office.crawl(*(user(n, displayName="New") for n in range(6)), whole=False)
    plan = await kept(office)
    product = office.products["jira"]
    sent: list[str] = []

    async def meanwhile(when: str, method: str) -> None:
        if (when, method) != ("before", "update_account"):
            return
        sent.append(product.calls[-1][1])
        if len(sent) == 2:  # two are on their way; the last one changes once more
            await office.crawl(user(5, displayName="Newer"), user(77), whole=False)

    product.faults = meanwhile
    result = await office.operations.apply(plan=plan, by="jo")
    target = result["targets"][0]
    assert target["done"] == {"update": 5}
    assert [row["name"] for row in target["moved"]] == ["u5@fabrikam.example"]
    assert "is 'Newer' now" in target["moved"][0]["detail"]
    assert product.account("u77@fabrikam.example") is None
    account = product.account("u5@fabrikam.example")
    assert account is not None
    assert account.display_name == "User 5"


async def test_a_swap_of_names_is_one_change_of_each_and_goes_as_a_whole_or_not(
    office: Office,
) -> None:
    await begun(office)
    swapped = [
        user(1, userPrincipalName="u2@fabrikam.example", mail="u1@fabrikam.example"),
        user(2, userPrincipalName="u1@fabrikam.example", mail="u2@fabrikam.example"),
    ]
    await office.crawl(*swapped, whole=False)
    plan = await kept(office)
    rows = plan["targets"][0]["changes"]
    assert [row["change"] for row in rows] == ["rename", "rename"]
    half = {**plan, "targets": [{**plan["targets"][0], "changes": rows[:1]}]}
    result = await office.operations.apply(plan=half, by="jo")
    assert result["targets"][0]["done"] == {}
    assert "another rename must go first" in result["targets"][0]["moved"][0]["detail"]
    result = await office.operations.apply(plan=plan, by="jo")
    assert result["outcome"] == "applied"
    by_key = {a.key: a.username for a in office.products["jira"].held.values()}
    assert sorted(by_key.values()) == [f"u{n}@fabrikam.example" for n in range(4)]
    assert not [name for name in by_key.values() if "swap" in name]


async def test_what_a_product_refuses_is_a_failure_and_the_rest_is_written(office: Office) -> None:
    await begun(office)
    await office.crawl(*(user(n, displayName="New") for n in (1, 2)), whole=False)
    plan = await kept(office)
    product = office.products["jira"]
    product.blocked["u1@fabrikam.example"] = ChangeRejected("no", "ask", target="jira", status=400)
    result = await office.operations.apply(plan=plan, by="jo")
    target = result["targets"][0]
    assert (result["outcome"], target["done"]) == ("failures", {"update": 1})
    assert [(row["name"], row["detail"]) for row in target["failed"]] == [
        ("u1@fabrikam.example", "no")
    ]
    product.blocked.clear()
    again = await office.operations.apply(plan=plan, by="jo")  # at once, whatever its next try was
    assert (again["outcome"], again["targets"][0]["done"]) == ("applied", {"update": 1})


async def test_a_file_for_one_person_has_what_she_needs_beside_it(office: Office) -> None:
    """As `sync --user` writes it: the group that she is to be put into."""
    await office.open("jira", Policy(scope=EVERYBODY))
    await office.crawl(*(user(n) for n in range(3)), group(0, 1, 2))
    plan = await kept(office, user="u1@fabrikam.example")
    kinds = [row["change"] for row in plan["targets"][0]["changes"]]
    assert kinds == ["create", "create_group", "add_member"]
    result = await office.operations.apply(plan=plan, by="jo")
    target = result["targets"][0]
    assert target["done"] == {"create": 1, "create_group": 1, "add_member": 1}
    assert target["failed"] == target["moved"] == []
    assert len(office.products["jira"].held) == 1


async def test_who_joins_a_group_moves_with_the_account_that_moved(office: Office) -> None:
    """It would only be refused: nothing of it fails, and it is listed with the reason."""
    await begun(office)
    await office.crawl(user(7), user(8), group(0, 1, 2, 3, 7, 8), whole=False)
    plan = await kept(office)
    await office.crawl(user(7, displayName="Newer"), whole=False)
    result = await office.operations.apply(plan=plan, by="jo")
    target = result["targets"][0]
    assert result["outcome"] == "moved" and target["failed"] == []
    assert target["done"] == {"create": 1, "add_member": 1}
    moved = {(row["change"], row["name"]): row["detail"] for row in target["moved"]}
    assert set(moved) == {
        ("create", "u7@fabrikam.example"), ("add_member", "u7@fabrikam.example")
    }  # fmt: skip
    assert "the account is not made" in moved["add_member", "u7@fabrikam.example"]
