"""The Confluence connector against the simulated Confluence, over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from azsyncd.errors import AlreadyExists, ChangeRejected, NotFound, TargetRefused, TargetUnavailable
from azsyncd.http import Limits
from azsyncd.model.accounts import Account, InvalidValue, TargetGroup
from azsyncd.sandbox.clock import FakeClock
from azsyncd.sandbox.confluence import Confluence as Product
from azsyncd.sandbox.loopback import serving
from azsyncd.targets.confluence import Confluence
from azsyncd.targets.confluence.wire import ConfluenceDialect, account_of
from azsyncd.targets.connect import SignIn, connect

Connect = Callable[..., Awaitable[Confluence]]
ANN = Account(username="ann@example.com", email="ann@example.com", display_name="Ann Ähm")
TEAM = TargetGroup(name="atl-team", key="atl-team")


@pytest.fixture
async def connected() -> AsyncIterator[Connect]:
    """Serves a product and hands out its connector; at the end nothing was against the contract."""
    products: list[Product] = []
    async with AsyncExitStack() as stack:

        async def make(product: Product, **more: Any) -> Confluence:
            products.append(product)
            address = await stack.enter_async_context(serving({"/wiki": product.app()}))
            target = connect(
                "confluence",
                "wiki",
                url=f"{address}/wiki",
                sign_in=SignIn(token="confluence-token"),
                clock=product.clock,
                limits=Limits(requests_per_second=10_000),
                instance="azsyncd",
                **more,
            )
            stack.push_async_callback(target.close)
            assert isinstance(target, Confluence)
            return target

        yield make
    for product in products:
        assert product.violations == []


def wiki(version: str = "9.5.4", **flags: Any) -> Product:
    return Product(version=version, clock=FakeClock(), **flags)


async def everybody(target: Confluence) -> dict[str, Account]:
    return {account.username: account async for account in target.accounts()}


async def test_an_account_lives_from_create_to_delete(connected: Connect) -> None:
    """Create, update, deactivate, reactivate, delete: each answer is what stands there."""
    product = wiki()
    target = await connected(product)
    made = await target.create_account(ANN)
    assert (made.username, made.email, made.display_name) == (ANN.username, ANN.email, "Ann Ähm")
    assert made.active
    changed = await target.update_account(made, replace(made, email="a@example.com"))
    assert changed.email == product.user(ANN.username).email == "a@example.com"  # type: ignore[union-attr]
    assert not (await target.set_active(made, False)).active
    assert not (await target.set_active(made, False)).active
    assert (await target.set_active(made, True)).active
    await target.delete_account(made)
    assert await target.read_account(made) is None
    await target.delete_account(made)


async def test_rule_43_a_new_account_has_a_password_that_nobody_knows(connected: Connect) -> None:
    """One of its own for each, and no mail to the user."""
    product = wiki()
    target = await connected(product)
    await target.create_account(ANN)
    await target.create_account(replace(ANN, username="bob", email="bob@example.com"))
    bodies = [write.body for write in product.writes if write.path.endswith("/admin/user")]
    assert len({body["password"] for body in bodies}) == 2
    assert all("notifyViaEmail" not in body and len(body["password"]) > 30 for body in bodies)


@pytest.mark.parametrize(("access", "groups"), [("by_groups", set()), ("default", {"ann"})])
async def test_a_new_account_takes_a_seat_only_where_that_is_wished(
    connected: Connect, access: str, groups: set[str]
) -> None:
    """Confluence puts it into its default group; `by_groups` takes it out again."""
    product = wiki()
    target = await connected(product, product_access=access)
    await target.create_account(replace(ANN, username="ann"))
    assert product.members("confluence-users") - {"azsyncd"} == groups


@pytest.mark.parametrize(("access", "groups"), [("by_groups", set()), ("default", {"ann"})])
async def test_a_create_whose_answer_was_lost_is_finished_and_other_groups_are_left(
    connected: Connect, access: str, groups: set[str]
) -> None:
    product = wiki()
    target = await connected(product, product_access=access)
    await target.probe()
    product.add_group("staff")
    product.add_user("ann", groups=["confluence-users", "staff"])
    ann = await target.find_account("ann")
    assert ann is not None
    for _ in range(2):
        await target.finish_account(ann, replace(ANN, username="ann"))
    assert product.members("confluence-users") - {"azsyncd"} == groups
    assert product.members("staff") == {"ann"}
    assert product.counters.duplicate_writes == 0


async def test_rule_18_finishing_fails_nothing(connected: Connect) -> None:
    """The account stands: a group that cannot be left is no reason to lose it."""
    product = wiki()
    target = await connected(product)
    await target.probe()
    product.add_user("ann", groups=["confluence-users"])
    ann = await target.find_account("ann")
    assert ann is not None
    product.remove_group("confluence-users")
    known = TargetGroup(name="confluence-users", key="confluence-users")

    async def groups_of(account: Account) -> list[TargetGroup]:
        return [known]  # it is deleted between two requests

    target._groups_of = groups_of  # type: ignore[method-assign]
    await target.finish_account(ann, replace(ANN, username="ann"))


async def test_no_seat_is_a_matter_of_the_licence(connected: Connect) -> None:
    """402."""
    target = await connected(wiki(seats=1))
    with pytest.raises(ChangeRejected) as caught:
        await target.create_account(ANN)
    assert caught.value.reason == "licence"


async def test_a_name_that_is_taken_already_exists(connected: Connect) -> None:
    """409, for accounts and groups."""
    product = wiki()
    product.add_user("ann@example.com")
    product.add_group("atl-team")
    target = await connected(product)
    with pytest.raises(AlreadyExists):
        await target.create_account(ANN)
    with pytest.raises(AlreadyExists):
        await target.create_group(TEAM)


@pytest.mark.parametrize(
    ("version", "creates", "updates", "shown"),
    [
        ("8.3.0", False, False, "before 8.4"),
        ("8.5.16", True, False, "8.4 to 9.2"),
        ("9.2.21", True, False, "8.4 to 9.2"),
        ("9.3.2", True, True, "9.3.2"),
        ("10.2.14", True, True, "10.2.14"),
    ],
)
async def test_what_it_can_do_is_found_by_asking(
    connected: Connect, version: str, creates: bool, updates: bool, shown: str
) -> None:
    """The ladder of versions; whatever is missing comes with what a person can do instead."""
    product = wiki(version)
    product.add_group("wiki-administrators")
    target = await connected(product)
    able = await target.probe()
    assert (able.creates_accounts, able.updates_accounts) == (creates, updates)
    assert able.version == shown
    assert not able.renames_accounts and not able.shows_email
    for name in ("renames_accounts", "creates_accounts", "updates_accounts", "shows_email"):
        assert getattr(able, name) or able.instead[name]
    assert able.signed_in_as == "azsyncd"
    assert {"confluence-administrators", "wiki-administrators"} <= able.admin_groups
    assert "confluence-users" not in able.admin_groups
    assert able.licence_groups == {"confluence-users"}


async def test_rule_24_a_group_that_is_granted_administration_is_found(connected: Connect) -> None:
    """Whatever it is called."""
    for version in ("9.2.21", "10.2.14"):
        product = wiki(version)
        product.add_group("captains", ["azsyncd"])
        product.admin_groups = ("confluence-administrators", "captains")  # type: ignore[misc]
        able = await (await connected(product)).probe()
        assert "captains" in able.admin_groups


@pytest.mark.parametrize("version", ["8.3.0", "9.2.21", "9.5.4"])
async def test_all_accounts_are_listed_over_the_limit_of_a_page(
    connected: Connect, version: str
) -> None:
    """Inactive ones too; the server shows fewer at once than it was asked for."""
    product = wiki(version, page_cap=7)
    for number in range(40):
        product.add_user(f"u{number:03}", active=number % 9 != 0, groups=["confluence-users"])
    found = await everybody(await connected(product))
    assert set(found) == {person.name for person in product.users()}
    assert {name for name, account in found.items() if account.active is False} == {
        person.name for person in product.users() if not person.active
    }


async def test_addresses_are_shown_where_confluence_shows_them(connected: Connect) -> None:
    """From 9.3, of active and licensed accounts; unknown is None, never empty."""
    for version, seen in (("9.2.21", None), ("9.5.4", "ann@example.com")):
        product = wiki(version)
        product.add_user("ann", groups=["confluence-users"])
        product.add_user("old", active=False, groups=["confluence-users"])
        found = await everybody(await connected(product))
        assert (found["ann"].email, found["old"].email) == (seen, None)


async def test_an_address_that_was_just_written_counts_until_the_index_shows_it(
    connected: Connect,
) -> None:
    """The list of active accounts is read from a search index, which lags behind."""
    product = wiki()
    product.add_user("ann", email="old@example.com", groups=["confluence-users"])
    target = await connected(product)
    have = (await everybody(target))["ann"]
    await target.update_account(have, replace(have, email="new@example.com"))
    product.edit_user("ann", email="old@example.com")  # what the index still shows
    assert (await everybody(target))["ann"].email == "new@example.com"
    product.edit_user("ann", email="new@example.com")
    assert (await everybody(target))["ann"].email == "new@example.com"
    product.edit_user("ann", email="hand@example.com")
    assert (await everybody(target))["ann"].email == "hand@example.com"


@pytest.mark.parametrize(
    ("status", "active"),
    [
        ("current", True),
        ("CURRENT", True),
        ({"value": "deactivated"}, False),
        ("disabled", False),
        (None, None),
        ("", None),
    ],
)
def test_who_is_active_is_read_in_whatever_words(status: Any, active: bool | None) -> None:
    """They are not documented; what is not said is not known."""
    assert account_of({"username": "ann", "status": status}).active is active


async def test_where_no_status_is_shown_the_list_of_active_ones_says_it(connected: Connect) -> None:
    """And a change that was accepted is believed."""
    product = wiki()
    product.add_user("ann", groups=["confluence-users"])
    product.add_user("bob")
    show = product.person_json
    product.person_json = lambda ask, person: {  # type: ignore[method-assign]
        name: value for name, value in show(ask, person).items() if name != "status"
    }
    target = await connected(product)
    found = await everybody(target)
    assert (found["ann"].active, found["bob"].active) == (True, None)
    assert (await target.set_active(found["bob"], False)).active is False


async def test_an_address_that_is_to_stay_is_sent_along(connected: Connect) -> None:
    """Confluence takes name and address together: who is not known by it is looked up."""
    product = wiki()
    product.add_user("ann", email="ann@example.com", groups=["confluence-users"])
    target = await connected(product)
    have = await target.find_account("ann")
    assert have is not None and have.email is None
    await target.update_account(have, replace(have, display_name="Ann B."))
    person = product.user("ann")
    assert person is not None and (person.display_name, person.email) == (
        "Ann B.",
        "ann@example.com",
    )


async def test_before_9_3_an_update_is_unsupported(connected: Connect) -> None:
    """And says so, should it be tried."""
    product = wiki("9.2.21")
    product.add_user("ann")
    target = await connected(product)
    have = await target.find_account("ann")
    assert have is not None
    with pytest.raises(ChangeRejected) as caught:
        await target.update_account(have, replace(have, display_name="Ann B."))
    assert caught.value.reason == "unsupported"
    with pytest.raises(ChangeRejected) as caught:
        await target.rename_account(have, replace(have, username="ann.b"))
    assert caught.value.reason == "unsupported" and caught.value.hint


async def test_members_are_added_and_removed_and_already_so_is_success(connected: Connect) -> None:
    """204 in any case; a group that is gone is not found."""
    product = wiki(page_cap=3)
    for number in range(8):
        product.add_user(f"u{number}")
    target = await connected(product)
    group = await target.create_group(TEAM)
    people = list((await everybody(target)).values())
    assert await target.add_members(group, people) == {}
    assert await target.add_members(group, people[:2]) == {}
    read = {key: set(members) async for key, members in target.members([group])}
    assert read == {"atl-team": {account.key for account in people}}
    assert await target.remove_members(group, people[1:]) == {}
    assert await target.remove_members(group, people[1:]) == {}
    assert product.members("atl-team") == {people[0].username}
    await target.delete_group(group)
    await target.delete_group(group)
    assert [each async for each in target.members([group])] == []
    with pytest.raises(NotFound):
        await target.add_members(group, people)


async def test_somebody_who_is_gone_is_refused_alone(connected: Connect) -> None:
    """The others are members all the same; removing her is success."""
    product = wiki()
    product.add_user("ann")
    product.add_user("bob")
    product.add_group("atl-team")
    target = await connected(product)
    people = await everybody(target)
    product.remove_user("ann")
    refused = await target.add_members(TEAM, [people["ann"], people["bob"]])
    assert list(refused) == [people["ann"].key]
    assert isinstance(refused[str(people["ann"].key)], NotFound)
    assert product.members("atl-team") == {"bob"}
    assert await target.remove_members(TEAM, [people["ann"]]) == {}


@pytest.mark.parametrize("status", [403, 404])
async def test_an_absent_group_is_none_whatever_its_status_is(
    connected: Connect, status: int
) -> None:
    """What an absent group is answered is not documented: the list of all decides."""
    product = wiki(missing_group_status=status)
    product.add_group("Atl-Other")
    target = await connected(product)
    assert await target.find_group("atl-team") is None
    found = await target.find_group("atl-other")
    assert found is not None and found.name == "Atl-Other"


@pytest.mark.parametrize("version", ["9.2.21", "9.5.4", "10.2.14"])
async def test_a_group_with_a_slash_is_read_and_never_written(
    connected: Connect, version: str
) -> None:
    """The query variants read it in 9.2 and from 10.1.2; nothing writes it."""
    product = wiki(version)
    product.add_user("ann")
    product.add_group("r/d", ["ann"])
    target = await connected(product)
    found = await target.find_group("R/D")
    assert found is not None and found.name == "r/d"
    with pytest.raises(ChangeRejected) as caught:
        await target.add_members(found, [])
    assert caught.value.reason == "unsupported"
    with pytest.raises(InvalidValue):
        ConfluenceDialect().group("r/d")


async def test_a_slow_deletion_is_waited_for(connected: Connect) -> None:
    """202 and a long task."""
    product = wiki(task_seconds=3)
    product.add_user("ann")
    target = await connected(product)
    ann = await target.find_account("ann")
    assert ann is not None
    await target.delete_account(ann)
    assert await target.read_account(ann) is None


async def test_a_read_only_directory_is_said_to_be_one(connected: Connect) -> None:
    """For accounts and memberships."""
    product = wiki()
    product.add_user("ann")
    product.add_group("atl-team")
    target = await connected(product)
    ann = await target.find_account("ann")
    assert ann is not None
    product.set_read_only()
    with pytest.raises(ChangeRejected) as caught:
        await target.set_active(ann, False)
    assert caught.value.reason == "read_only"
    refused = await target.add_members(TEAM, [ann])
    assert refused[str(ann.key)].reason == "read_only"


async def test_read_only_mode_is_a_matter_of_the_target(connected: Connect) -> None:
    """It is maintained: no object is to blame."""
    product = wiki()
    product.add_user("ann")
    target = await connected(product)
    ann = await target.find_account("ann")
    assert ann is not None
    product.read_only_mode = True
    with pytest.raises(TargetUnavailable):
        await target.set_active(ann, False)


async def test_lost_rights_a_login_page_and_a_captcha_stop_the_target(connected: Connect) -> None:
    """Each is a refusal of us."""
    for version in ("9.2.21", "9.5.4"):
        product = wiki(version)
        target = await connected(product)
        await target.ask()
        product.take_away_rights()
        with pytest.raises(TargetRefused):
            await target.ask()
        product.take_away_rights(False)
        product.login_page = 200
        with pytest.raises(TargetRefused):
            await target.ask()
        product.login_page = None
        product.captcha = True
        with pytest.raises(TargetRefused, match="captcha"):
            await target.ask()


@pytest.mark.parametrize(
    ("name", "stored"),
    [("Ann.B@Example.COM", "ann.b@example.com"), ("jo_c#EXT#@x.org", "jo_c#ext#@x.org")],
)
async def test_rule_15_usernames_are_in_lower_case(
    connected: Connect, name: str, stored: str
) -> None:
    """Upper case is answered 400: the dialect lowers it; `#` is encoded in paths."""
    wanted = ConfluenceDialect().account(replace(ANN, username=name, display_name="<Ann>"))
    assert (wanted.username, wanted.display_name) == (stored, "Ann")
    target = await connected(wiki())
    made = await target.create_account(wanted)
    assert not (await target.set_active(made, False)).active


@pytest.mark.parametrize("name", ["a b", "a\\b", "a,b", "a+b", "a<b", "a'b", 'a"b', "a/b", ".", ""])
def test_rule_15_what_confluence_forbids_is_an_invalid_value(name: str) -> None:
    """With the reason."""
    with pytest.raises(InvalidValue):
        ConfluenceDialect().account(replace(ANN, username=name))


def test_rule_15_anonymous_is_nobody() -> None:
    """Neither as username nor as full name."""
    for values in ({"username": "Anonymous"}, {"display_name": "Anonymous"}):
        with pytest.raises(InvalidValue):
            ConfluenceDialect().account(replace(ANN, **values))


async def test_attributes_that_there_is_no_place_for_are_told_of(connected: Connect) -> None:
    """Nobody waits for what never comes."""
    able = await (await connected(wiki(), attributes=("department",))).probe()
    assert not able.has_attributes and any("department" in line for line in able.warnings)
