"""What the guard allows is shown class by class, and for `shrink_group` group by group."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from azsyncd.cli.plan import budget_lines
from azsyncd.engine.figures import budgets_of, shrinking_of
from azsyncd.model.identities import MemberKind, MemberSeen, ObjectId, Seen
from azsyncd.plan.policy import Budget, GuardRules, Policy

from .office import EVERYBODY, Office, opened

LIMITS = SimpleNamespace(limits=SimpleNamespace(requests_per_second=100))
CONFIG = SimpleNamespace(targets={"jira": LIMITS})


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with opened(tmp_path, CONFIG) as office:  # type: ignore[arg-type]
        yield office


def group(id_: str, members: range, gone: bool = False) -> Seen:
    seen = [MemberSeen(ObjectId(f"u{n}"), MemberKind.USER, removed=gone) for n in members]
    properties = {"displayName": f"atl-{id_}", "securityEnabled": True, "groupTypes": []}
    return Seen(ObjectId(id_), properties, members=tuple(seen))


def user(number: int) -> Seen:
    upn = f"u{number}@x.org"
    properties: dict[str, Any] = {
        "userPrincipalName": upn, "displayName": upn, "mail": upn, "accountEnabled": True,
    }  # fmt: skip
    return Seen(ObjectId(f"u{number}"), properties)


async def test_rule_35_each_group_has_an_allowance_of_its_own(office: Office) -> None:
    rules = GuardRules(remove_member=Budget(count=100), shrink_group=Budget(count=2, percent=30))
    policy = Policy(scope=EVERYBODY, guard=rules)
    await office.open("jira", policy)
    people = [user(n) for n in range(20)]
    await office.crawl(*people, group("g1", range(20)), group("g2", range(4)))
    await office.turn("jira", full=True)
    reconcile = office.reconciles["jira"]
    found = await office.store.read(
        lambda db: budgets_of(db, reconcile.t, policy, reconcile.window_start())
    )
    assert found["shrink_group"] == {
        "allowance": 2.0,
        "spent": 0.0,
        "held": 0.0,
    }  # what the smallest one has

    await office.crawl(group("g1", range(4), gone=True), group("g2", range(1), gone=True),
                       whole=False)  # fmt: skip
    await office.turn("jira")
    await office.crawl(group("g1", range(4, 10), gone=True), whole=False)
    plan = (await office.operations.plan())["targets"][0]
    assert plan["shrinking"] == [
        {"group": "atl-g2", "allowance": 2.0, "spent": 1.0, "wanted": 0.0},
        {"group": "atl-g1", "allowance": 6.0, "spent": 4.0, "wanted": 6.0},
    ]
    assert plan["withheld"] == {"guard": 6}
    assert plan["budgets"]["shrink_group"]["spent"] == 1.0
    first, second, third = budget_lines(plan["budgets"], plan["shrinking"])
    assert first == "remove member: 6 wanted, 95 of 100 left"
    assert second == "shrink group atl-g2: 0 wanted, 1 of 2 left"
    assert third.startswith("shrink group atl-g1: 6 wanted, 2 of 6 left")
    assert "→ held" in third


async def test_an_unlimited_class_has_no_allowance(office: Office) -> None:
    policy = Policy(scope=EVERYBODY, guard=GuardRules(shrink_group="unlimited"))
    await office.open("jira", policy)
    t = office.reconciles["jira"].t
    found = await office.store.read(lambda db: budgets_of(db, t, policy, 0.0))
    assert found["shrink_group"]["allowance"] is None
    assert await office.store.read(lambda db: shrinking_of(db, t, policy, 0.0)) == []


async def test_rule_36_what_a_hold_keeps_is_shown_beside_what_is_left(office: Office) -> None:
    rules = GuardRules(remove_member=Budget(count=3))
    policy = Policy(scope=EVERYBODY, guard=rules)
    await office.open("jira", policy)
    await office.crawl(*(user(n) for n in range(12)), group("g1", range(12)))
    await office.turn("jira")
    await office.crawl(group("g1", range(6), gone=True), whole=False)
    await office.turn("jira")
    plan = (await office.operations.plan())["targets"][0]
    held = {"allowance": 3.0, "spent": 0.0, "held": 6.0, "wanted": 0.0}
    assert plan["budgets"]["remove_member"] == held
    (line,) = budget_lines({"remove_member": held})
    assert line == "remove member: 0 wanted, 6 held, 3 of 3 left"
