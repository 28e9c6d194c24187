"""A person says whose account it is, and moves or gives up targets: rules 20, 25 and 26."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from azsyncd.errors import AzsyncdError, TargetRefused
from azsyncd.model.accounts import Account, Mark
from azsyncd.model.identities import ObjectId, Seen
from azsyncd.plan.policy import AccountRules, GroupRules, Mode, Policy, Protect
from azsyncd.state import holds, targets
from azsyncd.targets.memory import ABLE

from .office import EVERYBODY, INSTANCE, Office, opened


def user(id_: str, **properties: object) -> Seen:
    common = {
        "userPrincipalName": f"{id_}@x.org",
        "displayName": id_,
        "accountEnabled": True,
        "mail": f"{id_}@x.org",
    }
    return Seen(ObjectId(id_), {**common, **properties})


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """u1 and u2 have accounts; u3's name is taken by one whom `adopt: never` leaves alone."""
    async with opened(tmp_path) as office:
        policy = Policy(
            scope=EVERYBODY,
            accounts=AccountRules(adopt="never"),
            groups=GroupRules(foreign_members="remove"),
            protect=Protect(users=("vip*",)),
        )
        product = await office.open("jira", policy, capabilities=replace(
            ABLE, admin_groups=frozenset({"admins"}), signed_in_as="bot"))  # fmt: skip
        product.put(Account(username="u3@x.org", email="else@x.org", display_name="Else"))
        product.put(Account(username="free", display_name="Free"))
        product.put(Account(username="boss"), "admins")
        product.put(Account(username="bot"))
        product.put(Account(username="vip1"))
        product.put(Account(username="theirs", mark=Mark("another", "u9")))
        await office.crawl(*(user(f"u{i}") for i in range(1, 5)))
        await office.turn("jira")
        yield office


async def link(office: Office, who: str, account: str) -> dict[str, Any]:
    rows = await office.operations.link(
        target="jira", pairs=[[who, account]], by="jo", reason="asked"
    )
    return rows[0]


async def test_a_conflict_is_resolved_by_linking(office: Office) -> None:
    before = await office.operations.accounts(which="conflict")
    assert [row["object_id"] for row in before] == ["u3"]
    assert (await link(office, "u3@x.org", "u3@x.org"))["outcome"] == "linked"
    await office.turn("jira")
    account = office.products["jira"].account("u3@x.org")
    assert account is not None and account.display_name == "u3" and account.email == "u3@x.org"
    assert account.mark == Mark(INSTANCE, "u3")
    assert await office.operations.accounts(which="conflict") == []
    assert (await link(office, "u3", "u3@x.org"))["outcome"] == "already"
    (entry,) = [row for row in await office.operations.history() if row["change"] == "link"]
    assert entry["cause"] == "link by jo: asked" and entry["object_id"] == "u3"


@pytest.mark.parametrize(
    ("who", "account", "why"),
    [
        ("u3", "u1@x.org", "is linked to u1"),
        ("u1", "free", "she has the account 'u1@x.org' already"),
        ("u3", "boss", "administrators"),
        ("u3", "bot", "signs in"),
        ("u3", "vip1", "protect.users"),
        ("u3", "theirs", "'another'"),
        ("u3", "nobody", "has no account"),
        ("u7", "free", "nobody is known"),
    ],
)
async def test_rule_20_what_is_never_adopted_is_never_linked(
    office: Office, who: str, account: str, why: str
) -> None:
    product = office.products["jira"]
    before = dict(product.held)
    told = await link(office, who, account)
    assert told["outcome"] == "refused" and why in told["message"]
    assert product.held == before


async def test_many_are_linked_although_one_is_refused(office: Office) -> None:
    pairs = [["u3", "boss"], ["u3", "free"], ["u9", "x"]]
    told = await office.operations.link(target="jira", pairs=pairs, by="jo")
    assert [row["outcome"] for row in told] == ["refused", "linked", "refused"]


async def test_who_is_unlinked_is_left_alone_until_she_is_linked_again(office: Office) -> None:
    product = office.products["jira"]
    told = await office.operations.unlink(target="jira", who="u1", by="jo", reason="a robot")
    assert told == {"who": "u1", "account": "u1@x.org", "object_id": "u1"}
    before = product.account("u1@x.org")
    await office.crawl(
        user("u1", displayName="New", accountEnabled=False), user("u2"), user("u3"), user("u4")
    )
    await office.turn("jira", full=True)
    assert product.account("u1@x.org") == before
    explained = await office.operations.explain(who="u1")
    assert "unlinked by jo" in explained["targets"][0]["in_scope"]["why"]
    with pytest.raises(AzsyncdError, match="has no account"):
        await office.operations.unlink(target="jira", who="u1", by="jo")
    # Not by her mark either, but by a person's word.
    assert (await link(office, "u1", "u1@x.org"))["outcome"] == "linked"
    await office.turn("jira")
    after = product.account("u1@x.org")
    assert after is not None and after.display_name == "New" and not after.active


async def test_foreign_members_are_removed_but_not_whom_a_person_let_go(office: Office) -> None:
    await office.operations.unlink(target="jira", who="u1", by="jo")
    product = office.products["jira"]
    group = Seen(ObjectId("g1"), {"displayName": "atl-all", "securityEnabled": True})
    await office.crawl(*(user(f"u{i}") for i in range(1, 5)), group)
    await office.turn("jira", full=True)
    held = product.put_group("atl-all")
    held.members |= {
        str(a.key) for a in product.held.values() if a.username in ("u1@x.org", "free")
    }
    product.held = {
        key: replace(a, username="renamed", email=None) if a.username == "u1@x.org" else a
        for key, a in product.held.items()
    }
    await office.turn("jira", full=True)
    await office.turn("jira", full=True)
    assert product.members_of("atl-all") == {"renamed"}


async def test_rule_26_one_link_by_hand_is_no_consent_to_a_first_contact(tmp_path: Path) -> None:
    async with opened(tmp_path) as office:
        product = await office.open("jira")
        product.put(Account(username="u1@x.org"))
        product.put(Account(username="other"))
        await office.crawl(user("u1"), user("u2"))
        assert (await link(office, "u2", "other"))["outcome"] == "linked"
        report = await office.reconciles["jira"].turn(cause="daemon")
        assert report.stopped == "first_contact"
        kinds = [hold["kind"] for hold in await office.operations.holds()]
        assert kinds == [holds.FIRST_CONTACT]


async def test_in_report_mode_nothing_is_linked(tmp_path: Path) -> None:
    async with opened(tmp_path) as office:
        product = await office.open("jira", Policy(scope=EVERYBODY, mode=Mode.REPORT))
        product.put(Account(username="x"))
        await office.crawl(user("u1"))
        with pytest.raises(AzsyncdError, match="mode report"):
            await link(office, "u1", "x")


# Targets ----------------------------------------------------------------------------------------


async def target(office: Office, action: str, name: str, **more: Any) -> dict[str, Any]:
    told = await office.operations.target(action=action, name=name, by="jo", go=True, **more)
    assert told["done"]
    return told


async def renamed(office: Office) -> None:
    """The file calls it `tracker` from now on; the product is the same one."""
    product = office.products["jira"]
    del office.reconciles["jira"]
    office.products["tracker"] = product
    product.name = "tracker"
    await office.open("tracker", Policy(scope=EVERYBODY))


async def test_rule_25_a_vanished_name_whose_installation_has_another_is_refused(
    office: Office,
) -> None:
    await renamed(office)
    calls = len(office.products["jira"].calls)
    with pytest.raises(TargetRefused) as caught:
        await office.turn("tracker")
    assert "azsyncd target rename jira tracker" in caught.value.hint
    told = await office.operations.target(action="rename", name="jira", new="tracker", by="jo")
    assert told["accounts"] == 3 and not told["done"]
    await target(office, "rename", "jira", new="tracker")
    await office.open("tracker", office.reconciles["tracker"].policy)
    report = await office.turn("tracker", full=True)
    assert report.done == {} or "create" not in report.done
    assert "create_account" not in [method for method, _ in office.products["jira"].calls[calls:]]
    names = [row.name for row in await office.store.read(targets.all_targets)]
    assert names == ["tracker"]
    assert {row["target"] for row in await office.operations.history()} == {"tracker"}


async def test_rule_25_another_installation_is_refused_until_rebind(office: Office) -> None:
    product = office.products["jira"]
    product._fingerprint = "elsewhere"
    await office.open("jira", office.reconciles["jira"].policy)
    with pytest.raises(TargetRefused, match="another installation"):
        await office.turn("jira")
    await target(office, "rebind", "jira", moved=True)
    await office.open("jira", office.reconciles["jira"].policy)
    before = dict(product.held)
    await office.turn("jira")
    assert product.held == before  # all is known again
    product._fingerprint = "a third one"
    product.held = {}
    await target(office, "rebind", "jira")
    await office.open("jira", office.reconciles["jira"].policy)
    await office.turn("jira")
    assert product.account("u1@x.org") is not None


async def test_rule_25_a_target_that_left_the_file_is_given_up_by_detach(office: Office) -> None:
    with pytest.raises(AzsyncdError, match="in the file still"):
        await target(office, "detach", "jira")
    reconcile = office.reconciles.pop("jira")
    told = await target(office, "detach", "jira")
    assert (told["accounts"], told["target"]) == (3, "jira")
    assert await office.store.read(targets.all_targets) == []
    with pytest.raises(AzsyncdError, match="knows no target"):
        await target(office, "detach", "jira")
    # The name may come back, and then begins anew; its history is there.
    await office.open("jira", reconcile.policy)
    row = (await office.store.read(targets.all_targets))[0]
    assert row.t == reconcile.t and row.first_contact == "new" and row.fingerprint is None
    assert await office.operations.history(target="jira")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"name": "jira", "new": "jira2"}, "the file has no target 'jira2'"),
        ({"name": "nothing", "new": "jira"}, "knows no target"),
        ({"name": "jira", "new": "other"}, "in the file still"),
    ],
)
async def test_a_rename_that_makes_no_sense_is_refused(
    office: Office, arguments: dict[str, str], why: str
) -> None:
    await office.open("other")
    with pytest.raises(AzsyncdError, match=why):
        await target(office, "rename", **arguments)


async def test_rule_25_two_names_for_one_installation_are_refused(office: Office) -> None:
    await office.open("twin", fingerprint="memory:jira")
    with pytest.raises(TargetRefused, match="known as target 'jira'") as caught:
        await office.turn("twin")
    assert "if the file has both, take one out" in caught.value.hint
    assert office.products["twin"].calls == []
