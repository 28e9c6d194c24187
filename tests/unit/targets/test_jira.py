"""What is Jira's alone: licences, leads, versions, and what it does not show."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from azsyncd.errors import ChangeRejected, TargetRefused, TargetUnavailable
from azsyncd.model.accounts import Account, Mark, TargetGroup
from azsyncd.sandbox.directories import Directory
from azsyncd.sandbox.jira import Jira
from azsyncd.targets.connect import SignIn

STAFF = TargetGroup(name="staff", key="staff")
LICENSED = TargetGroup(name="jira-software-users", key="jira-software-users")
GONE = {"message": "null for uri", "status-code": 404}


def ann(username: str = "ann", **more: Any) -> Account:
    return Account(
        username=username,
        **{"email": "ann@example.com", "display_name": "Ann", "active": True, **more},
    )


async def test_a_create_whose_answer_was_lost_is_marked_and_loses_its_seat(served: Any) -> None:
    jira, target = await served.connect(Jira)
    jira.add_user("ann", groups=["jira-software-users"])
    mark = Mark("azsyncd", "object-id")
    for _ in range(2):
        stands = await target.find_account("ann")
        await target.finish_account(stands, ann(mark=mark))
    assert (await target.find_account("ann")).mark == mark
    assert "ann" not in jira.members("jira-software-users")
    assert jira.counters.duplicate_writes == 0


async def test_a_new_account_takes_no_seat_unless_that_is_wanted(served: Any) -> None:
    """`by_groups` gives no product; `default` what the product gives."""
    jira, target = await served.connect(Jira)
    await target.create_account(ann())
    assert jira.members("jira-software-users") == set()
    jira, target = await served.connect(Jira, product_access="default")
    await target.create_account(ann())
    assert jira.members("jira-software-users") == {"ann"}


async def test_a_jira_that_gives_a_product_all_the_same_is_corrected(served: Any) -> None:
    """Whatever it makes of an empty list of applications (the contract's open point 2)."""

    class Generous(Jira):
        def _wanted_applications(self, body: dict[str, Any]) -> Any:
            return super()._wanted_applications({})

    jira, target = await served.connect(Generous)
    made = await target.create_account(ann(mark=Mark("azsyncd", "1")))
    assert jira.members("jira-software-users") == set()
    assert await target.find_account("ann") == made


@pytest.mark.parametrize("over_seats", ["refuse", "create"])
async def test_no_seat_is_named_as_the_reason(served: Any, over_seats: str) -> None:
    """With what to do; where Jira makes the account without a product that is fine too."""
    _, target = await served.connect(
        partial(Jira, seats=0, over_seats=over_seats, language="de"), product_access="default"
    )
    assert [each.remaining for each in await target.seats()] == [0]
    if over_seats == "create":
        assert (await target.create_account(ann())).active
        return
    with pytest.raises(ChangeRejected) as caught:
        await target.create_account(ann())
    assert caught.value.reason == "licence" and caught.value.hint


async def test_a_group_without_a_seat_refuses_with_that_reason(served: Any) -> None:
    """The others are put in."""
    jira, target = await served.connect(
        partial(Jira, seats=2, refuses_members_over_seats=True, language="de")
    )
    people = [await target.create_account(ann(f"ann{n}")) for n in range(3)]
    refused = await target.add_members(LICENSED, people)
    assert len(jira.members(LICENSED.name)) == 1
    assert {each.reason for each in refused.values()} == {"licence"}
    assert len(refused) == 2


async def test_seats_are_counted_per_application(served: Any) -> None:
    """Unlimited ones have no number."""
    jira, target = await served.connect(partial(Jira, seats=10))
    (seats,) = await target.seats()
    assert (seats.application, seats.total, seats.remaining) == ("jira-software", 10, 9)
    jira.set_seats(None)
    (seats,) = await target.seats()
    assert (seats.total, seats.remaining) == (None, None)


@pytest.mark.parametrize("language", ["en", "de"])
async def test_rule_32_a_lead_cannot_be_deactivated(served: Any, language: str) -> None:
    """Blocked with what to do, in any language; the account stays as it is."""
    jira, target = await served.connect(partial(Jira, language=language))
    made = await target.create_account(ann())
    jira.user("ann").leads.append("DEMO")
    with pytest.raises(ChangeRejected) as caught:
        await target.set_active(made, False)
    assert caught.value.reason == "blocked" and "lead" in caught.value.hint
    assert not caught.value.doubtful
    assert jira.user("ann").active


async def test_rule_32_a_lead_loses_the_groups_that_let_her_sign_in(served: Any) -> None:
    """Whoever put her there; other groups are not touched."""
    jira, target = await served.connect(Jira)
    able = await target.probe()
    assert able.strips_licences and "jira-software-users" in able.licence_groups
    made = await target.create_account(ann())
    for name in ("jira-software-users", "staff"):
        jira.settle([name])
        group = await target.find_group(name)
        assert group is not None
        assert await target.add_members(group, [made]) == {}
    await target.strip_account(made, able.licence_groups)
    shape = await target._rest.read("/user", {"key": made.key, "expand": "groups"})
    assert [each["name"] for each in shape["groups"]["items"]] == ["staff"]
    await target.strip_account(made, able.licence_groups)  # and again: it is so already


async def test_who_wrote_something_cannot_be_deleted(served: Any) -> None:
    """Blocked, with what to do instead."""
    jira, target = await served.connect(Jira)
    made = await target.create_account(ann())
    jira.user("ann").authored = True
    with pytest.raises(ChangeRejected) as caught:
        await target.delete_account(made)
    assert caught.value.reason == "blocked" and caught.value.hint


async def test_a_jira_that_takes_a_change_and_does_nothing_is_found_out(served: Any) -> None:
    """By reading again (200 without effect)."""

    class Deaf(Jira):
        @functools.wraps(Jira.edit_user_by_rest)
        def edit_user_by_rest(self, ask: Any) -> web.StreamResponse:
            ask.body.pop("active", None)
            ask.body.setdefault("displayName", "Ann")
            return Jira.edit_user_by_rest(self, ask)

    _, target = await served.connect(Deaf)
    made = await target.create_account(ann())
    with pytest.raises(ChangeRejected) as caught:
        await target.set_active(made, False)
    assert caught.value.reason == "unsupported"


async def test_renaming_that_the_directory_does_not_support(served: Any) -> None:
    """`unsupported`: it goes on being synced under its name (rule 31)."""
    _, target = await served.connect(partial(Jira, renames=False))
    made = await target.create_account(ann())
    with pytest.raises(ChangeRejected) as caught:
        await target.rename_account(made, replace(made, username="bob"))
    assert caught.value.reason == "unsupported" and caught.value.hint


async def test_external_user_management_is_named(served: Any) -> None:
    """A 403 that is no matter of our rights: doubtful, and the words are shown."""
    jira, target = await served.connect(Jira)
    jira.external_management = True
    with pytest.raises(ChangeRejected) as caught:
        await target.create_account(ann())
    assert caught.value.doubtful and caught.value.reason == "read_only"
    await target.ask()


async def test_only_system_administrators_change_system_administrators(served: Any) -> None:
    """It is said at the start, and for that one account."""
    jira, target = await served.connect(partial(Jira, sysadmin_groups=("jira-system",)))
    assert any("system administrator" in each for each in (await target.probe()).warnings)
    jira.add_user("root", groups=["jira-system"])
    root = await target.find_account("root")
    with pytest.raises(ChangeRejected) as caught:
        await target.set_active(root, False)
    assert caught.value.doubtful
    await target.ask()


async def test_rule_24_administrators_groups_are_known(served: Any) -> None:
    """The well-known ones, whatever is called so, and never those that only give a licence."""
    jira, target = await served.connect(Jira)
    jira.add_group("Project-Administrators")
    found = await target.probe()
    assert {"jira-administrators", "project-administrators"} <= found.admin_groups
    assert found.licence_groups == {"jira-software-users"}
    assert found.signed_in_as == "azsyncd"


async def test_rule_24_a_group_that_gives_us_our_right_is_known_by_that(served: Any) -> None:
    """Where it is called otherwise."""

    class Renamed(Jira):
        admin_groups = ("it-crew",)

    _, target = await served.connect(partial(Renamed, sysadmin_groups=("it-crew",)))
    assert "it-crew" in (await target.probe()).admin_groups


async def test_accounts_in_two_directories_are_warned_of(served: Any) -> None:
    """Only the first of each is synced (the contract's §8.7)."""
    make = partial(Jira, directories=[Directory("one"), Directory("two")])
    jira, target = await served.connect(make)
    jira.add_user("ann", directory="one", active=False)
    jira.add_user("ann", directory="two")
    assert any("several directories" in each for each in (await target.probe()).warnings)


async def test_inherited_members_stay_after_a_removal(served: Any) -> None:
    """Jira shows subgroups' members as well: what cannot be removed is refused, not repeated."""
    jira, target = await served.connect(Jira)
    made = await target.create_account(ann())
    jira.add_group("staff")
    jira.add_group("inner", ["ann"])
    jira.people.add_child(jira.people.group("staff"), jira.people.group("inner"))
    assert [keys async for _, keys in target.members([STAFF])] == [[made.key]]
    refused = await target.remove_members(STAFF, [made])
    assert list(refused) == [made.key] and "nested" in refused[made.key].hint


async def test_a_member_of_a_large_group_is_found_by_its_own_groups(served: Any) -> None:
    """Without walking through the group."""
    jira, target = await served.connect(Jira)
    made = await target.create_account(ann())
    for n in range(2000):
        jira.add_user(f"a{n:04}", groups=["staff"])
    jira.add_member("staff", "ann")
    before = jira.counters.requests
    assert await target.add_members(STAFF, [made]) == {}
    assert jira.counters.requests - before <= 3


@pytest.mark.parametrize(
    ("version", "each"),
    [pytest.param("9.12.0", 350, marks=pytest.mark.slow), ("10.6.0", 90)],
)
async def test_a_search_that_cuts_is_divided(served: Any, version: str, each: int) -> None:
    """The first 1000 or 100 are not all, and what all names have inside hides some of them."""
    jira, target = await served.connect(partial(Jira, version=version))
    names = {f"{letter}{n:03}.person@contoso.com" for letter in "abc" for n in range(each)}
    for name in names:
        jira.add_user(name, email=name)
    before = jira.counters.requests
    found = [account.username async for account in target.accounts()]
    assert names | {"azsyncd"} == set(found) and len(found) == len(set(found))
    assert jira.counters.requests - before < 1500
    assert not (await target.probe()).lists_all_accounts


async def test_the_whole_list_is_walked_by_cursor(served: Any) -> None:
    """More than one page, each account once."""
    jira, target = await served.connect(partial(Jira, version="11.0.0"))
    for n in range(2100):
        jira.add_user(f"p{n:04}", active=n % 2 == 0)
    found = [each.username async for each in target.accounts()]
    assert len(found) == len(set(found)) == 2101
    assert jira.violations == []


async def test_a_list_that_goes_round_in_a_circle_ends(served: Any) -> None:
    """It is no answer, and no endless loop (I9)."""

    class Round(Jira):
        @functools.wraps(Jira.list_users)
        def list_users(self, ask: Any) -> web.StreamResponse:
            body = {"values": [], "isLast": False, "nextCursor": "1", "maxResults": 1}
            return web.json_response(body)

    _, target = await served.connect(partial(Round, version="11.0.0"))
    with pytest.raises(TargetUnavailable, match="circle"):
        [each async for each in target.accounts()]


# A Jira that others wrote -----------------------------------------------------------------------


async def test_what_a_jira_does_not_show_is_done_without(served: Any) -> None:
    """Neither its version, nor our permissions, properties, licences or duplicates."""
    for path in ("serverInfo", "mypermissions", "properties", "applicationrole", "duplicated"):
        served.faults.add("error", path=path, status=404, times=None, body=GONE)
    _, target = await served.connect(Jira)
    found = await target.probe()
    assert found.deactivates_accounts and not found.has_marks
    made = await target.create_account(ann(mark=Mark("azsyncd", "1")))
    assert await target.find_account("ann") == made
    assert (await target.set_active(made, False)).active is False
    await target.ask()


@pytest.mark.parametrize("status", [404, 405])
async def test_a_page_that_says_there_is_no_list_is_no_list(served: Any, status: int) -> None:
    """What stands in front of an old Jira may say "not found" in HTML; search goes on."""
    served.faults.add("login_page", path="/user/list", status=status, times=None)
    jira, target = await served.connect(partial(Jira, version="9.12.0"))
    jira.add_user("ann", email="ann@example.com")
    assert {"ann", "azsyncd"} == {each.username async for each in target.accounts()}
    assert not (await target.probe()).lists_all_accounts


async def test_a_login_page_instead_of_the_list_is_no_answer(served: Any) -> None:
    """It says nothing about what this Jira can do."""
    _, target = await served.connect(partial(Jira, version="11.0.0"))
    served.faults.add("login_page", path="/user/list", times=None)
    with pytest.raises(TargetRefused):
        await target.probe()


async def test_without_shown_permissions_an_administrators_question_decides(served: Any) -> None:
    """A 403 there stops the target."""
    jira, target = await served.connect(Jira)
    served.faults.add("error", path="mypermissions", status=404, times=None, body=GONE)
    await target.ask()
    jira.take_away_rights()
    with pytest.raises(TargetRefused):
        await target.ask()


async def test_who_administers_nothing_is_refused(served: Any) -> None:
    """With the name of the account and what to do."""
    jira = Jira(clock=served.clock)
    jira.take_away_rights()
    target = await served.reach("jira", jira.app())
    with pytest.raises(TargetRefused) as caught:
        await target.probe()
    assert "azsyncd" in caught.value.message and "Administer" in caught.value.hint


async def test_a_wrong_context_path_is_no_empty_product(served: Any) -> None:
    """Everything is 404 there."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(GONE, status=404)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    target = await served.reach("jira", app)
    with pytest.raises(TargetRefused) as caught:
        await target.probe()
    assert "context path" in caught.value.hint


async def test_empty_good_answers_are_read_again(served: Any) -> None:
    """Some servers answer a change with nothing."""

    class Silent(Jira):
        @functools.wraps(Jira.edit_user_by_rest)
        def edit_user_by_rest(self, ask: Any) -> web.StreamResponse:
            Jira.edit_user_by_rest(self, ask)
            return web.Response(status=204)

        @functools.wraps(Jira.create_user)
        def create_user(self, ask: Any) -> web.StreamResponse:
            Jira.create_user(self, ask)
            return web.Response(status=201)

    jira, target = await served.connect(Silent)
    made = await target.create_account(ann())
    assert made.key == jira.user("ann").key
    stored = await target.update_account(made, ann(username="ann"))
    assert stored == made
    assert (await target.set_active(made, False)).active is False


async def test_an_update_whose_answer_is_lost_is_sent_again(served: Any) -> None:
    """Partial updates come to the same however often they are sent."""
    jira, target = await served.connect(Jira)
    made = await target.create_account(ann())
    served.faults.add("reset", method="PUT", late=True, times=3)
    stored = await target.update_account(made, ann(email="new@example.com"))
    assert stored.email == jira.user("ann").email == "new@example.com"
    served.faults.add("reset", method="PUT", late=True, times=3)
    with pytest.raises(TargetUnavailable):
        await target.rename_account(made, replace(made, username="bob"))
    served.faults.clear()
    assert (await target.rename_account(made, replace(made, username="bob"))).username == "bob"


@pytest.mark.parametrize(("version", "ending"), [("8.13.0", TargetRefused), ("8.14.0", None)])
async def test_tokens_came_with_8_14(served: Any, version: str, ending: Any) -> None:
    """Before, only a password is known."""
    target = await served.reach("jira", Jira(version=version, clock=served.clock).app())
    if ending is None:
        await target.probe()
        return
    with pytest.raises(ending):
        await target.probe()


async def test_who_is_gone_is_not_looked_for_in_a_large_group(served: Any) -> None:
    """One question about the account, one about the group."""
    jira, target = await served.connect(Jira)
    made = await target.create_account(ann())
    for n in range(500):
        jira.add_user(f"a{n:04}", groups=["staff"])
    jira.remove_user("ann")
    before = jira.counters.requests
    assert await target.remove_members(STAFF, [made]) == {}
    assert jira.counters.requests - before == 3


async def test_a_jira_11_that_takes_no_password_says_what_it_takes(served: Any) -> None:
    """Basic is off there by default (§8.8)."""
    password = SignIn(username="azsyncd", password="jira-password")
    jira = Jira(version="11.3.0", clock=served.clock)
    target = await served.reach("jira", jira.app(), sign_in=password)
    with pytest.raises(TargetRefused) as caught:
        await target.probe()
    assert "11.0" in caught.value.hint
    jira.basic_enabled = True
    await target.probe()


async def test_several_groups_are_walked_at_a_time(served: Any) -> None:
    """As many as the limits allow, and no more; and they come in order."""
    together, under_way, most = asyncio.Event(), 0, 0

    @web.middleware
    async def gathering(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal under_way, most
        if "group/member" not in request.path:
            return await handler(request)
        under_way += 1
        most = max(most, under_way)
        if under_way == 4:
            together.set()
        await asyncio.wait_for(together.wait(), 10)
        answer = await handler(request)
        under_way -= 1
        return answer

    jira, target = await served.connect(
        lambda **given: Jira(**{**given, "middlewares": [gathering]})
    )
    groups = []
    for n in range(12):
        jira.add_group(f"g{n}", ["azsyncd"])
        groups.append(TargetGroup(name=f"g{n}", key=f"g{n}"))
    found = [key async for key, _ in target.members(groups)]
    assert found == [group.key for group in groups]
    assert most == 4


async def test_a_stranger_is_shown_no_groups_and_does_not_believe_it(served: Any) -> None:
    """Where something in between takes our token away, the picker still answers 200."""

    @web.middleware
    async def stripping(request: web.Request, handler: Handler) -> web.StreamResponse:
        headers = {
            each: value for each, value in request.headers.items() if each != "Authorization"
        }
        answer = await handler(request.clone(headers=headers))
        answer.headers["X-AUSERNAME"] = "anonymous"
        return answer

    jira = Jira(clock=served.clock, middlewares=[stripping])
    target = await served.reach("jira", jira.app())
    with pytest.raises(TargetRefused, match="stranger"):
        [each async for each in target.groups()]
    with pytest.raises(TargetRefused):
        await target.find_group("staff")
