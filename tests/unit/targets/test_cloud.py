"""The Cloud connector against the simulated SCIM directory, over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from azsyncd.errors import (
    AlreadyExists,
    ChangeRejected,
    ConfigError,
    NotFound,
    TargetRefused,
    TargetUnavailable,
)
from azsyncd.http import Limits
from azsyncd.model.accounts import Account, Mark, TargetGroup
from azsyncd.sandbox.clock import FakeClock
from azsyncd.sandbox.cloud import Cloud as Product
from azsyncd.sandbox.faults import Faults, faults_middleware
from azsyncd.sandbox.loopback import serving
from azsyncd.targets.cloud import Cloud, reading
from azsyncd.targets.cloud.wire import CloudDialect
from azsyncd.targets.connect import SignIn, connect

Connect = Callable[..., Awaitable[Cloud]]
OBJECT_ID = "0b0c0d0e-1111-4222-8333-444455556666"
ANN = Account(
    username="ann@example.com",
    email="ann@example.com",
    display_name="Ann Ähm",
    mark=Mark("azsyncd", OBJECT_ID),
)
TEAM = TargetGroup(name="Team / Ünits")


@pytest.fixture
async def connected() -> AsyncIterator[Connect]:
    """Serves a directory and hands out its connector; nothing was against the contract."""
    products: list[Product] = []
    async with AsyncExitStack() as stack:

        async def make(product: Product, **more: Any) -> Cloud:
            products.append(product)
            address = await stack.enter_async_context(serving({"/api": product.app()}))
            target = connect(
                "cloud",
                "cloud",
                url=f"{address}/api",
                sign_in=SignIn(token="cloud-api-key"),
                clock=product.clock,
                limits=Limits(requests_per_second=10_000),
                instance="azsyncd",
                directory_id=product.directory_id,
                **more,
            )
            stack.push_async_callback(target.close)
            assert isinstance(target, Cloud)
            return target

        yield make
    for product in products:
        assert product.violations == []


def scim(**flags: Any) -> Product:
    return Product(clock=FakeClock(), **flags)


async def everybody(target: Cloud) -> dict[str, Account]:
    return {account.username: account async for account in target.accounts()}


async def test_an_account_lives_from_create_to_delete(connected: Connect) -> None:
    """Create, update, rename, deactivate, reactivate, delete; the id stays to the end."""
    product = scim()
    target = await connected(product)
    made = await target.create_account(ANN)
    assert replace(made, key=None) == replace(ANN, active=True)
    changed = await target.update_account(made, replace(made, email="a@example.com"))
    assert (changed.email, changed.key) == ("a@example.com", made.key)
    renamed = await target.rename_account(changed, replace(changed, username="ann.b@example.com"))
    assert (renamed.username, renamed.key, renamed.mark) == (
        "ann.b@example.com",
        made.key,
        made.mark,
    )
    assert (await target.set_active(made, False)).active is False
    assert (await target.set_active(made, True)).active is True
    assert await target.read_account(made) == renamed
    await target.delete_account(made)
    assert await target.read_account(made) is None
    await target.delete_account(made)
    with pytest.raises(NotFound):
        await target.set_active(made, False)


async def test_the_mark_is_the_object_id_in_external_id(connected: Connect) -> None:
    """As Entra's gallery application writes it: whoever comes from there is known again."""
    product = scim()
    product.add_user("bob", properties={"externalId": OBJECT_ID.upper()})
    product.add_user("okta", properties={"externalId": "00u1abcd"})
    target = await connected(product)
    found = await everybody(target)
    assert found["bob"].mark == Mark("azsyncd", OBJECT_ID)
    assert found["okta"].mark is None
    await target.mark_account(found["okta"], Mark("azsyncd", OBJECT_ID))
    assert product.user("okta").properties["externalId"] == OBJECT_ID  # type: ignore[union-attr]


@pytest.mark.parametrize("listed", [False, True])
async def test_nobody_gets_a_second_account_because_her_name_has_changed(
    connected: Connect, listed: bool
) -> None:
    """The directory does not keep externalId unique: hers is taken up again, as it should be."""
    product = scim()
    product.add_user("old@example.com", active=False, properties={"externalId": OBJECT_ID})
    target = await connected(product)
    if listed:
        await everybody(target)
    made = await target.create_account(ANN)
    assert replace(made, key=None) == replace(ANN, active=True)
    assert [person.name for person in product.users()] == [ANN.username]
    with pytest.raises(AlreadyExists):
        await target.create_account(ANN)


async def test_what_is_there_already_is_not_written(connected: Connect) -> None:
    """An update that changes nothing is no request to write."""
    product = scim()
    target = await connected(product)
    made = await target.create_account(ANN)
    before = product.counters.writes
    assert await target.update_account(made, made) == made
    assert product.counters.writes == before


async def test_attributes_go_where_the_directory_keeps_them_and_can_be_cleared(
    connected: Connect,
) -> None:
    """Names, phones, department; what others wrote stays."""
    names = ("title", "department", "givenName", "familyName", "phone", "mobile")
    product = scim()
    target = await connected(product, attributes=(*names, "shoeSize"))
    able = await target.probe()
    assert able.has_attributes and any("shoeSize" in line for line in able.warnings)
    wanted = {"title": "Dr", "department": "R&D", "givenName": "Ann", "phone": "+49 1"}
    made = await target.create_account(replace(ANN, attributes={**wanted, "mobile": ""}))
    assert made.attributes == {**wanted, "familyName": "", "mobile": ""}
    person = product.user(ANN.username)
    assert person is not None
    person.properties["phoneNumbers"] = [
        *person.properties["phoneNumbers"],
        {"value": "+49 9", "type": "fax"},
    ]
    person.properties["emails"] = [
        {"value": ANN.email, "type": "work", "primary": True},
        {"value": "private@example.org", "type": "home"},
    ]
    want = {"title": "", "department": "", "givenName": "Anna", "phone": "", "mobile": "+49 2"}
    changed = await target.update_account(
        made, replace(ANN, email="new@example.com", attributes=want)
    )
    assert changed.attributes == {**want, "familyName": ""}
    assert changed.email == "new@example.com"
    assert {"value": "+49 9", "type": "fax"} in person.properties["phoneNumbers"]
    assert [each["value"] for each in person.properties["emails"]] == [
        "new@example.com",
        "private@example.org",
    ]
    assert await target.update_account(changed, replace(ANN, email=None, attributes=want)) == (
        changed
    )


async def test_all_pages_are_read(connected: Connect) -> None:
    """The directory shows fewer than it was asked for; inactive ones are shown too."""
    product = scim(page_cap=7)
    for number in range(40):
        product.add_user(f"u{number:03}", active=number % 9 != 0)
        product.add_group(f"g{number:03}", [f"u{number:03}"])
    target = await connected(product)
    found = await everybody(target)
    assert set(found) == {person.name for person in product.users()}
    assert sum(account.active is False for account in found.values()) == 5
    groups = [group async for group in target.groups()]
    assert {group.name for group in groups} == set(product.groups())
    for asked in (groups, groups[:5]):
        read = {key: keys async for key, keys in target.members(asked)}
        assert read == {group.key: [found[group.name.replace("g", "u")].key] for group in asked}


async def test_large_groups_are_asked_for_few_at_a_time(
    connected: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come with all their members: a hundred of them would be too much for one answer."""
    monkeypatch.setattr(reading, "MEMBERS_AT_ONCE", 100)
    product = scim()
    names = [product.add_user(f"u{number:03}").name for number in range(40)]
    for number in range(40):
        product.add_group(f"g{number:03}", names if number < 25 else ())
    target = await connected(product)
    groups = [group async for group in target.groups()]
    assert len(groups) == 40
    read = {key: len(keys) async for key, keys in target.members(groups)}
    assert sorted(read.values()) == [0] * 15 + [40] * 25
    assert product.counters.requests < 40


async def test_a_page_that_ends_too_early_is_no_proof(connected: Connect) -> None:
    """An empty page before the total is trouble, and not the end (rule 2)."""
    product = scim(page_cap=5)
    for number in range(12):
        product.add_user(f"u{number:03}")
    product.page_cap = 0
    target = await connected(product)
    with pytest.raises(TargetUnavailable, match="only 0 of 12"):
        await everybody(target)


async def test_members_are_changed_many_at_once(connected: Connect) -> None:
    """Already so is success; names with slashes and quotes are no trouble here."""
    product = scim()
    for number in range(30):
        product.add_user(f"u{number:03}")
    target = await connected(product)
    group = await target.create_group(replace(TEAM, name='Team "A\\B" / Ü'))
    assert await target.find_group(group.name.upper()) == group
    people = list((await everybody(target)).values())
    before = product.counters.writes
    assert await target.add_members(group, people) == {}
    assert product.counters.writes == before + 1
    assert await target.add_members(group, people) == {}
    assert await target.remove_members(group, people[1:]) == {}
    assert await target.remove_members(group, people[1:]) == {}
    assert product.members(group.name) == {people[0].username}
    await target.delete_group(group)
    await target.delete_group(group)
    assert [each async for each in target.members([group])] == []
    with pytest.raises(NotFound):
        await target.add_members(group, people)


async def test_one_who_is_gone_does_not_keep_the_others_out(connected: Connect) -> None:
    """404 for all of them is halved until she is alone; removing her is success."""
    product = scim()
    for number in range(20):
        product.add_user(f"u{number:03}")
    target = await connected(product)
    group = await target.create_group(TEAM)
    people = await everybody(target)
    product.remove_user("u007")
    refused = await target.add_members(group, list(people.values()))
    assert list(refused) == [people["u007"].key]
    assert isinstance(refused[str(people["u007"].key)], NotFound)
    assert product.members(TEAM.name) == set(people) - {"u007"}
    assert await target.remove_members(group, list(people.values())) == {}
    assert product.members(TEAM.name) == set()


async def test_names_and_addresses_that_are_taken(connected: Connect) -> None:
    """409: the name is a matter of adoption, an address alone is a conflict with what to do."""
    product = scim()
    product.add_user("ann@example.com", email="ann@example.com")
    product.add_user("bob@example.com", email="bob@example.com")
    product.add_group(TEAM.name)
    target = await connected(product)
    with pytest.raises(AlreadyExists):
        await target.create_account(ANN)
    with pytest.raises(ChangeRejected) as caught:
        await target.create_account(replace(ANN, username="cy@example.com"))
    assert caught.value.reason == "conflict" and not isinstance(caught.value, AlreadyExists)
    bob = await target.find_account("BOB@example.com")
    assert bob is not None
    with pytest.raises(AlreadyExists):
        await target.rename_account(bob, replace(bob, username="Ann@example.com"))
    with pytest.raises(ChangeRejected) as caught:
        await target.update_account(bob, replace(bob, email="ann@example.com"))
    assert caught.value.reason == "conflict" and caught.value.hint
    with pytest.raises(AlreadyExists):
        await target.create_group(TEAM)


async def test_an_address_of_a_foreign_domain_is_an_invalid_value(connected: Connect) -> None:
    """With what a person can do."""
    target = await connected(scim(verified_domains=["example.com"]))
    with pytest.raises(ChangeRejected) as caught:
        await target.create_account(replace(ANN, email="ann@gmail.example"))
    assert caught.value.reason == "invalid_value" and "verif" in caught.value.hint


async def test_rule_24_administrators_groups_are_found(connected: Connect) -> None:
    """The known ones, and whatever is called so."""
    product = scim()
    product.add_group("Acme-Administrators")
    able = await (await connected(product)).probe()
    assert {"site-admins", "org-admins", "acme-administrators"} <= able.admin_groups
    assert able.signed_in_as is None and able.has_marks and able.members_per_call > 1


async def test_a_429_without_retry_after_is_waited_out(connected: Connect) -> None:
    """JRACLOUD-82801."""
    product = scim()
    target = await connected(product)
    product.pacing.refuse_next(2, retry_after=None)
    assert (await target.create_account(ANN)).username == ANN.username


async def test_a_wrong_key_a_lost_subscription_and_a_wrong_directory_stop_the_target(
    connected: Connect,
) -> None:
    """Each is a refusal of us."""
    product = scim()
    target = await connected(product)
    await target.ask()
    product.take_away_rights()
    with pytest.raises(TargetRefused, match="subscription"):
        await target.ask()
    product.take_away_rights(False)
    product.directory_id = "another"
    with pytest.raises(TargetRefused):
        await target.ask()
    product.token = "another"
    with pytest.raises(TargetRefused, match="401"):
        await target.ask()


async def test_another_identity_providers_directory_refuses_writes(connected: Connect) -> None:
    """403 (AX-201): doubtful, for reading still works."""
    product = scim(google=True)
    target = await connected(product)
    await target.ask()
    with pytest.raises(ChangeRejected, match="google") as caught:
        await target.create_account(ANN)
    assert caught.value.doubtful


async def test_a_failure_of_the_gateway_names_its_trace(connected: Connect) -> None:
    """Atlassian's support asks for it."""
    product = scim(gateway=100)
    target = await connected(product)
    with pytest.raises(TargetUnavailable, match="0123456789abcdef"):
        await target.ask()


async def test_the_address_may_be_copied_whole(connected: Connect) -> None:
    """Atlassian shows it with the directory's id in it."""
    product = scim()
    short = await connected(product)
    whole = connect(
        "cloud",
        "cloud",
        url=f"{short._peer.base_url}/scim/directory/{product.directory_id}/",
        sign_in=SignIn(token="cloud-api-key"),
        clock=product.clock,
        limits=Limits(),
        instance="azsyncd",
        directory_id=product.directory_id,
    )
    await whole.ask()
    assert await whole.fingerprint() == await short.fingerprint()
    await whole.close()


async def test_rule_25_the_directory_is_in_the_fingerprint(connected: Connect) -> None:
    """Two directories at one address are two installations."""
    one, other = await connected(scim()), await connected(scim(directory_id="another"))
    assert (await one.fingerprint()).startswith("cloud:http://127.0.0.1")
    assert (await other.fingerprint()).endswith("/scim/directory/another")


def test_rule_15_values_are_made_legal() -> None:
    """An attribute that there is no place for is left out: it would differ for ever."""
    wanted = CloudDialect().account(replace(ANN, attributes={"title": "Dr", "shoeSize": "41"}))
    assert wanted.attributes == {"title": "Dr"}


def test_without_a_directory_id_there_is_no_connector() -> None:
    """It is part of every address."""
    with pytest.raises(ConfigError, match="directory_id"):
        connect(
            "cloud",
            "cloud",
            url="https://api.atlassian.com",
            sign_in=SignIn(token="t"),
            clock=FakeClock(),
            limits=Limits(),
            instance="azsyncd",
        )


@pytest.mark.parametrize("kind", ["garbage", "truncated", "empty"])
async def test_what_was_written_is_read_again_where_the_answer_is_garbled(kind: str) -> None:
    """It stands all the same."""
    product = scim()
    faults = Faults(clock=product.clock)
    app = product.app()
    app.middlewares.insert(0, faults_middleware(faults))
    async with serving({"/api": app}) as address:
        target = connect(
            "cloud",
            "cloud",
            url=f"{address}/api",
            sign_in=SignIn(token="cloud-api-key"),
            clock=product.clock,
            limits=Limits(requests_per_second=10_000),
            instance="azsyncd",
            directory_id=product.directory_id,
        )
        for method in ("POST", "PATCH"):
            faults.add(kind, method=method, times=None)
        made = await target.create_account(ANN)
        assert (
            await target.rename_account(made, replace(made, username="ann.b@example.com"))
        ).key == made.key
        assert (await target.create_group(TEAM)) == await target.find_group(TEAM.name)
        await target.close()
