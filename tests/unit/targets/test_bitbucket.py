"""The Bitbucket connector against the simulated Bitbucket, over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from azsyncd.errors import AlreadyExists, ChangeRejected, NotFound, TargetRefused
from azsyncd.http import Limits
from azsyncd.model.accounts import Account, Seats, TargetGroup
from azsyncd.sandbox.bitbucket import Bitbucket as Product
from azsyncd.sandbox.clock import FakeClock
from azsyncd.sandbox.directories import Directory
from azsyncd.sandbox.loopback import serving
from azsyncd.targets.bitbucket import Bitbucket
from azsyncd.targets.connect import SignIn, connect

Connect = Callable[..., Awaitable[Bitbucket]]
ANN = Account(username="ann@example.com", email="ann@example.com", display_name="Ann Ähm")
TEAM = TargetGroup(name="atl/team ünits", key="atl/team ünits")


@pytest.fixture
async def connected() -> AsyncIterator[Connect]:
    """Serves a product and hands out its connector; at the end nothing was against the contract."""
    products: list[Product] = []
    async with AsyncExitStack() as stack:

        async def make(product: Product, sign_in: SignIn | None = None, **more: Any) -> Bitbucket:
            products.append(product)
            address = await stack.enter_async_context(serving({"/git": product.app()}))
            target = connect(
                "bitbucket",
                "git",
                url=f"{address}/git",
                sign_in=sign_in or SignIn(token="bitbucket-token"),
                clock=product.clock,
                limits=Limits(requests_per_second=10_000),
                instance="azsyncd",
                **more,
            )
            stack.push_async_callback(target.close)
            assert isinstance(target, Bitbucket)
            return target

        yield make
    for product in products:
        assert product.violations == []


def git(**flags: Any) -> Product:
    return Product(clock=FakeClock(), **flags)


async def everybody(target: Bitbucket) -> dict[str, Account]:
    return {account.username: account async for account in target.accounts()}


@pytest.mark.parametrize("version", ["8.19.12", "9.4.2", "10.3.0"])
async def test_an_account_lives_from_create_to_delete(connected: Connect, version: str) -> None:
    """Create, update, rename, delete: each answer is what stands there, and the key stays."""
    product = git(version=version)
    target = await connected(product)
    made = await target.create_account(ANN)
    assert (made.username, made.email, made.display_name) == (ANN.username, ANN.email, "Ann Ähm")
    changed = await target.update_account(made, replace(made, email="a@example.com"))
    assert (changed.email, changed.display_name) == ("a@example.com", "Ann Ähm")
    renamed = await target.rename_account(changed, replace(changed, username="Ann.B@example.com"))
    assert (renamed.username, renamed.key) == ("Ann.B@example.com", made.key)
    assert await target.read_account(made) == renamed
    await target.delete_account(made)
    assert await target.read_account(made) is None
    await target.delete_account(made)


async def test_rule_43_the_password_is_one_that_nobody_knows(connected: Connect) -> None:
    """It must go in the query, so it is a throw-away; nobody is mailed, and no seat is taken."""
    product = git()
    target = await connected(product)
    await target.create_account(ANN)
    await target.create_account(replace(ANN, username="bob"))
    queries = [write.query for write in product.writes]
    assert len({query["password"] for query in queries}) == 2
    assert all(len(query["password"]) > 30 and "notify" not in query for query in queries)
    assert product.members("stash-users") == set()
    other = await connected(product, product_access="default")
    await other.create_account(replace(ANN, username="cy"))
    assert product.members("stash-users") == {"cy"}


async def test_no_url_with_a_password_gets_into_an_error(connected: Connect) -> None:
    """Not even where the product breaks down over it."""
    product = git()
    target = await connected(product)
    product.maintenance = True
    with pytest.raises(ChangeRejected) as caught:
        await target.create_account(ANN)
    assert "password" not in str(caught.value) and "admin/users" not in str(caught.value)


async def test_what_it_can_do_and_who_administers(connected: Connect) -> None:
    """By global permissions; licence groups are not protected."""
    product = git(seats=10, rate_limited=True)
    product.add_group("captains")
    product.grant("captains", "ADMIN", group=True)
    target = await connected(product)
    able = await target.probe()
    assert (able.version, able.signed_in_as) == ("9.4.2", "azsyncd")
    assert {"captains", "bitbucket-administrators"} <= able.admin_groups
    assert able.licence_groups == {"stash-users"}
    assert able.seats == (Seats("bitbucket", 10, 9),) == await target.seats()
    assert not able.deactivates_accounts and able.instead["deactivates_accounts"]
    assert able.members_per_call > 1
    assert [each.name for each in able.directories] == ["Bitbucket Internal Directory"]
    assert any("rate limiting" in line for line in able.warnings)


async def test_rule_24_our_own_account_is_known_without_the_header(connected: Connect) -> None:
    """By the name that signs in; with a token alone somebody is told."""
    product = git(says_who=False)
    basic = SignIn(username="azsyncd", password="bitbucket-password")
    assert (await (await connected(product, basic)).probe()).signed_in_as == "azsyncd"
    able = await (await connected(product)).probe()
    assert able.signed_in_as is None and any("protect.users" in line for line in able.warnings)


async def test_before_8_19_directories_are_not_shown(connected: Connect) -> None:
    """Whether we administer it is found by another question."""
    product = git(version="8.9.0")
    target = await connected(product)
    able = await target.probe()
    assert able.directories == () and able.signed_in_as == "azsyncd"
    product.take_away_rights()
    with pytest.raises(TargetRefused, match="administer"):
        await target.ask()


async def test_several_directories_are_shown(connected: Connect) -> None:
    """With which of them is known to be writable."""
    ldap = Directory("Company LDAP", kind="Connector", read_only=True, may=frozenset())
    internal = Directory("Bitbucket Internal Directory", kind="Bitbucket Internal Directory")
    product = git(directories=[internal, ldap])
    product.add_user("lea", directory="Company LDAP")
    target = await connected(product)
    able = await target.probe()
    assert [each.writable for each in able.directories] == [True, None]
    found = await everybody(target)
    assert not found["lea"].writable and found["lea"].directory == "Company LDAP"
    assert found["azsyncd"].writable


async def test_all_pages_are_read_by_the_servers_own_counting(connected: Connect) -> None:
    """`nextPageStart` is not the sum of what was shown."""
    product = git(page_cap=7, stride=3)
    for number in range(40):
        product.add_user(f"u{number:03}", active=number % 9 != 0)
        product.add_group(f"g{number:03}")
    target = await connected(product)
    assert set(await everybody(target)) == {person.name for person in product.users()}
    assert {group.name async for group in target.groups()} == set(product.groups())


async def test_only_the_same_name_is_found(connected: Connect) -> None:
    """A filter finds much, and a slug is not a name."""
    product = git(page_cap=2)
    for name in ("ann", "joann", "ann@x", "annette", "Ann.Other"):
        product.add_user(name)
    target = await connected(product)
    found = await target.find_account("ANN@X")
    assert found is not None and found.username == "ann@x"
    assert await target.find_account("ann_x") is None
    assert await target.find_account("an") is None
    product.add_group("Ann")
    assert (await target.find_group("ann")) is not None
    assert await target.find_group("an") is None


async def test_rule_19_a_renamed_account_is_read_by_its_id(connected: Connect) -> None:
    """Whatever it is called now, and whatever its address is."""
    product = git()
    product.add_user("ann", email="ann@example.com")
    product.add_user("bob")
    target = await connected(product)
    ann = await target.find_account("ann")
    assert ann is not None
    product.edit_user("ann", name="zoe", email="zoe@example.com")
    product.edit_user("bob", name="ann")
    found = await target.read_account(ann)
    assert found is not None and found.username == "zoe"


async def test_a_name_that_is_taken_already_exists(connected: Connect) -> None:
    """Accounts, renames and groups."""
    product = git()
    product.add_user("ann@example.com")
    product.add_user("bob")
    product.add_group(TEAM.name)
    target = await connected(product)
    with pytest.raises(AlreadyExists):
        await target.create_account(ANN)
    with pytest.raises(AlreadyExists):
        await target.create_group(TEAM)
    bob = await target.find_account("bob")
    assert bob is not None
    with pytest.raises(AlreadyExists):
        await target.rename_account(bob, replace(bob, username="ANN@example.com"))


@pytest.mark.parametrize("missing", [200, 404])
@pytest.mark.parametrize("not_member", [200, 404])
async def test_many_are_added_at_once_and_removed_one_by_one(
    connected: Connect, missing: int, not_member: int
) -> None:
    """Already so is success; a group that is gone is not found, whatever its members say."""
    product = git(missing_group_status=missing, not_member_status=not_member)
    for number in range(30):
        product.add_user(f"u{number:03}")
    target = await connected(product)
    group = await target.create_group(TEAM)
    people = list((await everybody(target)).values())
    before = product.counters.writes
    assert await target.add_members(group, people) == {}
    assert product.counters.writes == before + 1
    assert await target.add_members(group, people) == {}
    read = {key: set(keys) async for key, keys in target.members([group])}
    assert read == {group.key: {account.key for account in people}}
    assert await target.remove_members(group, people[1:]) == {}
    assert await target.remove_members(group, people[1:]) == {}
    assert product.members(TEAM.name) == {people[0].username}
    await target.delete_group(group)
    await target.delete_group(group)
    assert [each async for each in target.members([group])] == []
    for change in (target.add_members, target.remove_members):
        with pytest.raises(NotFound):
            await change(group, people)


async def test_one_who_is_gone_does_not_keep_the_others_out(connected: Connect) -> None:
    """All or none: the answer 404 is halved until she is alone."""
    product = git()
    product.add_group(TEAM.name)
    for number in range(20):
        product.add_user(f"u{number:03}")
    target = await connected(product)
    people = await everybody(target)
    product.remove_user("u007")
    refused = await target.add_members(TEAM, list(people.values()))
    assert list(refused) == [people["u007"].key]
    assert isinstance(refused[str(people["u007"].key)], NotFound)
    assert product.members(TEAM.name) == set(people) - {"u007"}


async def test_seats_run_out_for_those_who_find_none(connected: Connect) -> None:
    """403 with a licence exception: as many as fit go in, the others wait for the licence."""
    product = git(seats=4)
    for number in range(8):
        product.add_user(f"u{number:03}")
    target = await connected(product)
    people = [each for each in (await everybody(target)).values() if each.username[0] == "u"]
    users = TargetGroup(name="stash-users", key="stash-users")
    refused = await target.add_members(users, people)
    assert len(product.members("stash-users")) == 3 and len(refused) == 5
    assert {error.reason for error in refused.values()} == {"licence"}
    with pytest.raises(ChangeRejected) as caught:
        await (await connected(product, product_access="default")).create_account(ANN)
    assert caught.value.reason == "licence"


async def test_rule_30_a_group_above_us_is_asked_about_once(connected: Connect) -> None:
    """403 for all of them: one of the refusals is doubtful, and nothing is halved."""
    product = git()
    product.granted_groups["bitbucket-administrators"] = "ADMIN"
    product.add_group("root")
    product.grant("root", "SYS_ADMIN", group=True)
    for number in range(8):
        product.add_user(f"u{number:03}")
    target = await connected(product)
    people = list((await everybody(target)).values())
    refused = await target.add_members(TargetGroup(name="root", key="root"), people)
    assert len(refused) == len(people)
    assert sum(error.doubtful for error in refused.values()) == 1
    assert product.counters.refused_writes == 1


async def test_rule_32_instead_of_deactivating_rights_are_taken_away(connected: Connect) -> None:
    """Global permissions and licence groups; other groups and administrators' groups stay."""
    product = git()
    product.add_user("ann", groups=["stash-users"])
    product.add_group("team", ["ann"])
    product.grant("ann", "PROJECT_CREATE")
    target = await connected(product)
    ann = await target.find_account("ann")
    assert ann is not None
    await target.strip_account(ann, set())
    assert not product.granted_users and product.members("stash-users") == {"ann"}
    await target.strip_account(ann, {"stash-users", "team"})
    assert not product.granted_users and product.members("stash-users") == set()
    assert product.members("team") == {"ann"}
    before = product.counters.writes
    await target.strip_account(ann, {"stash-users", "team"})
    assert product.counters.writes == before
    for active in (True, False):
        with pytest.raises(ChangeRejected) as caught:
            await target.set_active(ann, active)
        assert caught.value.reason == "unsupported" and caught.value.hint


async def test_a_read_only_directory_is_said_to_be_one(connected: Connect) -> None:
    """Bitbucket tells before anything is written, and after a refusal."""
    product = git()
    product.add_user("ann")
    product.add_group(TEAM.name)
    target = await connected(product)
    product.set_read_only()
    ann = await target.find_account("ann")
    assert ann is not None and not ann.writable
    with pytest.raises(ChangeRejected) as caught:
        await target.update_account(ann, replace(ann, display_name="Ann B."))
    assert caught.value.reason == "read_only"


async def test_deleted_and_made_again_within_a_week_she_has_her_rights_again(
    connected: Connect,
) -> None:
    """BSERV-19820: both a feature and a risk, and so it is simulated."""
    product = git()
    target = await connected(product)
    made = await target.create_account(ANN)
    product.grant(ANN.username, "PROJECT_CREATE")
    await target.delete_account(made)
    again = await target.create_account(ANN)
    assert again.key != made.key and product.granted_users == {ANN.username: "PROJECT_CREATE"}


async def test_lost_rights_a_wrong_token_and_a_captcha_stop_the_target(connected: Connect) -> None:
    """Bitbucket answers 401 to both of the first: the exception tells them apart."""
    product = git()
    target = await connected(product)
    await target.ask()
    product.take_away_rights()
    with pytest.raises(TargetRefused, match="administer"):
        await target.ask()
    product.take_away_rights(False)
    product.token = "another"
    with pytest.raises(TargetRefused, match="token or password"):
        await target.ask()
    product.captcha = True
    with pytest.raises(TargetRefused, match="captcha"):
        await target.ask()
    weak = await connected(git(token_is_admin=False))
    with pytest.raises(TargetRefused) as caught:
        await weak.probe()
    assert "username and password" in caught.value.hint


async def test_rule_25_the_fingerprint_is_the_servers_id(connected: Connect) -> None:
    """It stays when the address changes."""
    product = git()
    assert await (await connected(product)).fingerprint() == (
        await (await connected(product)).fingerprint()
    )


async def test_attributes_that_there_is_no_place_for_are_told_of(connected: Connect) -> None:
    """Nobody waits for what never comes."""
    able = await (await connected(git(), attributes=("department",))).probe()
    assert not able.has_attributes and any("department" in line for line in able.warnings)
