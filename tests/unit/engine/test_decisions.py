"""What people decide: holds that are listed, released."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from azsyncd.engine.operations import NotThere
from azsyncd.errors import AzsyncdError, TargetUnavailable
from azsyncd.model.accounts import Account
from azsyncd.model.identities import ObjectId, Seen
from azsyncd.plan.policy import Budget, GuardRules, Policy
from azsyncd.state import folding, holds, questions, targets
from azsyncd.state.store import Connection, get_meta

from .office import EVERYBODY, Office, opened
from .test_explain import group
from .test_linking import user


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with opened(tmp_path) as office:
        await office.open("jira")
        yield office


@pytest.mark.parametrize("what", ["²", "1" * 20, "9" * 400, "7"])
async def test_releasing_a_number_that_no_hold_has_is_an_answer(office: Office, what: str) -> None:
    with pytest.raises(NotThere):
        await office.operations.release(what=what, by="jo")


async def test_approved_holds_are_listed_as_long_as_something_of_them_is_not_written(
    office: Office,
) -> None:
    def prepare(db: Connection) -> list[int]:
        t = targets.ensure(db, "jira", "memory").t
        made = [
            holds.open_hold(db, t, kind, kind, 1.0, (), {"items": 3})
            for kind in (holds.FIRST_CONTACT, holds.SOURCE, holds.SOURCE)
        ]
        questions.close_hold(db, made[0], "approved", "jo", "", 2.0)
        questions.close_hold(db, made[1], "approved", "jo", "", 2.0)
        questions.close_hold(db, made[2], "rejected", "jo", "", 2.0)
        db.execute(
            "INSERT INTO hold (t, kind, state, opened_at, detail)"
            " VALUES (?, 'rename', 'approved', 1, '')",
            (t,),
        )
        last = int(db.execute("SELECT max(id) FROM hold").fetchone()[0])
        db.execute(
            "INSERT INTO hold_item (hold, n, change, digest, body, state)"
            " VALUES (?, 1, 'rename', '', '{}', 'approved')",
            (last,),
        )
        return [made[2], last]

    listed = await office.store.write(prepare)
    assert [row["id"] for row in await office.operations.holds()] == listed


@pytest.mark.parametrize("items", [0, 6])
async def test_rule_07_a_sync_does_not_say_that_all_is_well_while_entra_is_not_believed(
    office: Office, items: int
) -> None:
    """What a crawl did not show, or showed as bare ids only, waits for a person."""
    jo = {"userPrincipalName": "jo@x.org", "displayName": "Jo", "accountEnabled": True}
    await office.crawl(Seen(ObjectId("u1"), jo))
    assert (await office.operations.sync(by="jo"))["outcome"] == "converged"
    made = await office.store.write(
        lambda db: holds.open_hold(db, None, holds.SOURCE, "odd", 1.0, (), {"items": items})
    )
    told = await office.operations.sync(by="jo")
    assert told["outcome"] == "held" and told["targets"][0]["held"] == max(1, items)
    await office.store.write(lambda db: questions.close_hold(db, made, "approved", "jo", "", 2.0))
    assert (await office.operations.sync(by="jo"))["outcome"] == "converged"


async def _doubted(office: Office) -> int:
    """The hold of a crawl that showed no group."""
    jo = {"userPrincipalName": "jo@x.org", "displayName": "Jo", "accountEnabled": True}
    await office.crawl(Seen(ObjectId("u1"), jo))

    def hold(db: Connection) -> int:
        payload = {"crawl": get_meta(db, "crawl"), "items": 0}
        return holds.open_hold(db, None, holds.SOURCE, "no groups", 1.0, (), payload)

    return await office.store.write(hold)


async def test_rule_07_a_reading_that_a_newer_one_has_replaced_is_not_let_through(
    office: Office,
) -> None:
    """It would be the measure of the next one, which shows nothing of it any more."""
    old = await _doubted(office)
    await office.operations.reject(hold=old, by="jo")
    await _doubted(office)
    measure = await office.store.read(lambda db: get_meta(db, "crawl_counts"))
    with pytest.raises(AzsyncdError, match="a newer one has replaced"):
        await office.operations.approve(hold=old, by="jo")
    assert await office.store.read(lambda db: get_meta(db, "crawl_counts")) == measure


async def test_rule_02_removals_that_waited_for_a_reading_follow_its_approval(
    office: Office,
) -> None:
    await office.open("jira")
    hold = await _doubted(office)
    await office.turn("jira", full=True)
    await office.operations.approve(hold=hold, by="jo")
    (row,) = await office.store.read(targets.all_targets)
    assert row.full_due


async def test_rule_26_consent_is_to_what_was_shown_also_for_changes(office: Office) -> None:
    """The addresses of everybody change by an accident while a first sync is being written."""
    many = range(130)

    def people(domain: str) -> list[Seen]:
        return [
            Seen(
                ObjectId(f"u{i}"),
                {
                    "userPrincipalName": f"u{i}@x.org",
                    "displayName": f"U {i}",
                    "mail": f"u{i}@{domain}",
                    "accountEnabled": True,
                },
            )
            for i in many
        ]

    product = await office.open("p")
    for i in many:
        name = f"u{i}@x.org"
        product.put(Account(username=name, email=name, display_name=f"U {i}", active=True))
    await office.crawl(*people("x.org"))
    reconcile = office.reconciles["p"]
    await reconcile.turn(cause="loop")
    (hold,) = await office.operations.holds()
    await office.operations.approve(hold=hold["id"], by="jo")
    marks = 0

    async def down(when: str, method: str) -> None:
        nonlocal marks
        marks += when == "before" and method == "mark_account"
        if marks == 100:
            raise TargetUnavailable("429", target="p")

    whole, product.faults = product.faults, down
    with pytest.raises(TargetUnavailable):
        await reconcile.turn(cause="loop")
    product.faults = whole
    await office.crawl(*people("wrong.org"))
    await reconcile.turn(cause="loop")
    assert not [each for each in product.held.values() if "wrong" in str(each.email)]
    assert all(each.mark for each in product.held.values())


async def test_rule_07_a_person_sees_what_entra_did_not_show(office: Office) -> None:
    """Before she lets it through: people, groups and memberships."""
    people = [user(f"u{n}") for n in range(10)]
    await office.crawl(*people, group("g1", "atl-1", "u0", "u1"), group("g2", "atl-2"))
    await office.crawl(*people[:2], group("g1", "atl-1", "u1"))

    def doubt(db: Connection) -> int:
        crawl = int(get_meta(db, "crawl"))
        payload = {"crawl": crawl, "items": folding.absent_count(db, crawl)}
        return holds.open_hold(db, None, holds.SOURCE, "2 users", 1.0, (), payload)

    hold = await office.store.write(doubt)
    (shown,) = await office.operations.holds(show=hold)
    told = [(row["change"], row["object_id"], row["group"]) for row in shown["rows"]]
    assert len(told) == shown["items"] == 10
    assert told[0] == ("absent_user", "u2", None)
    assert ("absent_group", "g2", None) in told
    assert told[-1] == ("absent_member", "u0", "atl-1")


async def test_what_is_approved_in_part_is_told_by_the_number_that_a_person_knows(
    office: Office,
) -> None:
    """The part goes on in a hold of its own."""
    tight = Policy(scope=EVERYBODY, guard=GuardRules(disable=Budget(count=0)))
    await office.open("jira", tight)
    await office.crawl(*(user(f"u{n}") for n in range(3)))
    await office.turn("jira")
    await office.crawl(*(user(f"u{n}", accountEnabled=False) for n in range(3)), whole=False)
    await office.turn("jira")
    (hold,) = await office.operations.holds()
    for who in ("u0@x.org", "u1@x.org"):
        await office.operations.approve(hold=hold["id"], by="jo", only=[who])
        await office.turn("jira")
        entries = await office.operations.history(user=who)
        causes = [entry["cause"] for entry in entries if entry["change"] == "deactivate"]
        assert causes and all(f"hold {hold['id']} approved by jo" in each for each in causes)
