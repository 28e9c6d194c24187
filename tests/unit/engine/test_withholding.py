"""What keeps a whole plan from being written is said by `plan`, `sync` and `status`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from azsyncd.cli.sync import sync_lines
from azsyncd.model.accounts import Account
from azsyncd.model.identities import MemberKind, MemberSeen, ObjectId, Seen
from azsyncd.plan.policy import Entry, Mode, Policy, UserScope
from azsyncd.state import questions

from .office import EVERYBODY, Office, opened

LIMITS = SimpleNamespace(limits=SimpleNamespace(requests_per_second=100))
CONFIG = SimpleNamespace(targets={"jira": LIMITS})


def user(number: int) -> Seen:
    upn = f"u{number}@x.org"
    return Seen(
        ObjectId(f"u{number}"),
        {"userPrincipalName": upn, "displayName": upn, "mail": upn, "accountEnabled": True},
    )


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with opened(tmp_path, CONFIG) as office:  # type: ignore[arg-type]
        yield office


async def test_rule_40_what_a_pause_keeps_is_shown_as_paused(office: Office) -> None:
    await office.open("jira")
    await office.crawl(user(1))
    await office.turn("jira")
    await office.operations.pause(by="jo", reason="change window")
    await office.crawl(user(2), user(3), whole=False)
    result = await office.operations.plan()
    (plan,) = result["targets"]
    assert (result["outcome"], plan["changes"], plan["withheld"]) == ("withheld", {}, {"paused": 2})
    assert {row["withheld"] for row in plan["rows"]} == {"paused"}
    assert "azsyncd resume --target jira" in plan["warnings"][0]
    await office.operations.resume(by="jo")
    (plan,) = (await office.operations.plan())["targets"]
    assert (plan["changes"], plan["withheld"]) == ({"create": 2}, {})
    assert not any("paused" in warning for warning in plan["warnings"])


@pytest.mark.parametrize(
    ("mode", "how"), [(Mode.SYNC, "azsyncd sync --target jira"), (Mode.REPORT, None)]
)
async def test_rule_26_a_plan_says_that_it_waits_for_consent(
    office: Office, mode: Mode, how: str | None
) -> None:
    product = await office.open("jira", Policy(scope=EVERYBODY, mode=mode))
    product.put(Account(username="u1@x.org", email="u1@x.org", display_name="u1@x.org"))
    await office.crawl(user(1), user(2))
    (plan,) = (await office.operations.plan())["targets"]
    if how is None:
        assert not any("first contact" in warning for warning in plan["warnings"])
        return
    assert plan["changes"] == {"adopt": 1, "create": 1}
    assert how in plan["warnings"][0]
    reconcile = office.reconciles["jira"]
    await reconcile.turn(cause="loop")
    (hold,) = await office.operations.holds()
    (shown,) = await office.operations.holds(show=hold["id"])
    assert {(row["change"], row["name"]) for row in shown["rows"]} == {
        ("adopt", "u1@x.org"), ("create", "u2@x.org")
    }  # fmt: skip
    await office.operations.reject(hold=hold["id"], by="jo")
    (plan,) = (await office.operations.plan())["targets"]
    assert "azsyncd release" in plan["warnings"][0]
    result = await office.operations.sync(by="jo")
    (told,) = result["targets"]
    assert result["outcome"] == "held"  # nothing has failed
    assert "azsyncd release" in told["waits"] and told["done"] == {}


async def test_rule_40_what_manual_keeps_is_counted_once(office: Office) -> None:
    await office.open("jira", Policy(scope=EVERYBODY, mode=Mode.MANUAL))
    await office.crawl(user(1), user(2))
    told = await office.operations.sync(by="jo")
    assert told["outcome"] == "held" and told["targets"][0]["held"] == 2
    assert await office.store.read(lambda db: questions.withheld(db, 1)) == {"mode": 2}
    await office.crawl(user(3), whole=False)
    await office.turn("jira")
    assert await office.store.read(lambda db: questions.withheld(db, 1)) == {"mode": 3}


async def test_rule_40_a_sync_that_may_not_write_does_not_say_that_all_is_equal(
    office: Office,
) -> None:
    await office.open("jira", Policy(scope=EVERYBODY, mode=Mode.REPORT))
    await office.crawl(user(1))
    told = await office.operations.sync(by="jo")
    assert told["outcome"] == "converged"  # there is nothing that it may write
    assert "what is withheld is named above" in list(sync_lines(told))[-1]


async def test_rule_40_what_manual_kept_is_written_when_the_mode_is_another(
    office: Office,
) -> None:
    product = await office.open("jira", Policy(scope=EVERYBODY, mode=Mode.MANUAL))
    await office.crawl(user(1), user(2))
    await office.operations.sync(by="jo")
    assert not product.held
    await office.open("jira", Policy(scope=EVERYBODY))
    (plan,) = (await office.operations.plan())["targets"]
    assert (plan["changes"], plan["withheld"]) == ({"create": 2}, {})
    assert (await office.turn("jira", full=True)).done == {"create": 2}
    assert await office.operations.holds() == []


async def test_rule_12_whoever_waits_for_a_group_that_is_held_has_not_failed(
    office: Office,
) -> None:
    """She was not refused: it is the group that waits, for a person."""
    product = await office.open("jira")
    await office.crawl(user(1), group("team", 1))
    await office.turn("jira")
    await office.crawl(group("atl-team"), whole=False)
    told = await office.operations.sync(by="jo")
    (target,) = told["targets"]
    assert (told["outcome"], target["held"], target["failed"]) == ("held", 1, [])
    office.clock.advance(7 * 86400.0)
    await office.turn("jira")
    (hold,) = await office.operations.holds()
    await office.operations.approve(hold=hold["id"], by="jo")
    await office.turn("jira")
    await office.turn("jira")  # whoever waited for it is due at once
    assert product.members_of("atl-team") == {"u1@x.org"}


def group(name: str, *members: int) -> Seen:
    properties = {"displayName": name, "securityEnabled": True, "groupTypes": []}
    seen = tuple(MemberSeen(ObjectId(f"u{n}"), MemberKind.USER) for n in members)
    return Seen(ObjectId("g1"), properties, members=seen)


async def test_rule_11_a_slip_of_the_pen_in_the_scope_never_reads_as_nobody(
    office: Office,
) -> None:
    """Neither at first, when it is only said, nor when a changed file has it."""

    def people(name: str) -> Policy:
        users = UserScope(members_of=(Entry(name=name),), exclude=("nobody@x.org",))
        return Policy(scope=EVERYBODY.model_copy(update={"users": users}))

    product = await office.open("jira", people("atl-tema"))
    await office.crawl(user(1), user(2), group("atl-team", 1, 2))
    await office.turn("jira")
    (plan,) = (await office.operations.plan())["targets"]
    assert plan["warnings"] == [
        "scope.users.members_of (name: atl-tema) matches no group in Entra",
        "scope.users.exclude: nobody in Entra is called 'nobody@x.org', or has this id",
    ]
    await office.open("jira", people("atl-team"))
    await office.turn("jira", full=True)
    assert product.members_of("atl-team") == {"u1@x.org", "u2@x.org"}
    await office.open("jira", people("atl-tema"))
    report = await office.turn("jira", full=True)
    assert report.done == {}
    assert all(account.active for account in product.held.values())
    (told,) = (await office.operations.sync(by="jo"))["targets"]
    assert "members_of (name: atl-tema) matches no group" in told["error"]
