"""`sync --user` and `--group`: that one, and nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from azsyncd.model.accounts import Account
from azsyncd.model.identities import MemberKind, MemberSeen, ObjectId, Seen
from azsyncd.state import targets

from .office import Office, opened


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with opened(tmp_path) as office:
        yield office


def person(id_: str, **shown: object) -> Seen:
    common = {"userPrincipalName": f"{id_}@x.org", "displayName": id_, "accountEnabled": True}
    return Seen(ObjectId(id_), {**common, "mail": f"{id_}@x.org", **shown})


def team(*members: str) -> Seen:
    shown = {"displayName": "atl-team", "securityEnabled": True, "groupTypes": []}
    inside = tuple(MemberSeen(ObjectId(each), MemberKind.USER) for each in members)
    return Seen(ObjectId("g1"), shown, members=inside)


async def test_one_user_is_written_with_her_groups_and_the_rest_is_owed(office: Office) -> None:
    product = await office.open("jira")
    await office.crawl(person("u1"), person("u2"), team("u1", "u2"))
    told = await office.operations.sync(by="jo", user="u1@x.org")
    assert [each.username for each in product.held.values()] == ["u1@x.org"]
    assert product.members_of("atl-team") == {"u1@x.org"}
    assert told["targets"][0]["done"] == {"create": 1, "create_group": 1, "add_member": 1}
    await office.turn("jira")
    assert product.members_of("atl-team") == {"u1@x.org", "u2@x.org"}


async def test_of_a_change_only_hers_is_written(office: Office) -> None:
    product = await office.open("jira")
    await office.crawl(person("u1"), person("u2"), team("u1"))
    await office.turn("jira")
    await office.crawl(person("u1", displayName="A"), person("u2", displayName="B"), whole=False)
    await office.operations.sync(by="jo", user="u2@x.org")
    assert {each.display_name for each in product.held.values()} == {"u1", "B"}
    await office.turn("jira")
    assert {each.display_name for each in product.held.values()} == {"A", "B"}


async def test_rule_26_one_user_is_no_consent_to_a_first_contact(office: Office) -> None:
    product = await office.open("jira")
    for name in ("u1", "u2"):
        product.put(Account(username=f"{name}@x.org", email="old@x.org"))
    await office.crawl(person("u1"), person("u2"), team("u1"))
    told = await office.operations.sync(by="jo", user="u1@x.org")
    assert "first contact" in told["targets"][0]["waits"]
    assert not product.calls
    row = (await office.store.read(targets.all_targets))[0]
    assert row.first_contact == "open"
