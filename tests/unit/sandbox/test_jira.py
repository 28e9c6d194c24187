"""The simulated Jira, asked over real HTTP, says what the contract says that Jira says."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from azsyncd.sandbox.clock import FakeClock
from azsyncd.sandbox.directories import Directory
from azsyncd.sandbox.jira import Jira

Connect = Callable[[Jira], Awaitable[Any]]
ANN = {"name": "ann", "emailAddress": "ann@example.com", "displayName": "Ann"}


@pytest.fixture
def connect(caller: Any) -> Connect:
    return lambda jira: caller(jira, "/jira", "/rest/api/2", {"Authorization": "Bearer jira-token"})


def basic(name: str, password: str) -> str:
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()


def people(jira: Jira, count: int) -> None:
    for number in range(count):
        jira.add_user(f"u{number:05}", display_name=f"Person {number}")


async def test_an_account_lives_from_create_to_delete(connect: Connect) -> None:
    """Create, read, edit in part, rename, deactivate, delete."""
    jira = Jira()
    ask = await connect(jira)
    status, made, _ = await ask("POST", "/user", json={**ANN, "applicationKeys": []})
    assert status == 201 and made["key"].startswith("JIRAUSER")
    assert jira.members("jira-software-users") == set()
    status, now, _ = await ask("PUT", "/user", username="ANN", json={"displayName": "Ann B."})
    assert (status, now["displayName"], now["emailAddress"]) == (200, "Ann B.", "ann@example.com")
    status, now, _ = await ask("PUT", "/user", key=made["key"], json={"name": "ann.b"})
    assert (now["name"], now["key"]) == ("ann.b", made["key"])
    status, now, _ = await ask("PUT", "/user", username="ann.b", json={"active": False})
    assert status == 200 and not now["active"]
    assert (await ask("DELETE", "/user", username="ann.b"))[0] == 204
    assert (await ask("GET", "/user", username="ann.b"))[0] == 404
    assert jira.violations == []
    assert jira.count()["writes"] == 5


async def test_default_applications_take_a_seat(connect: Connect) -> None:
    """Without applicationKeys a new account lands in the default groups, until seats run out."""
    jira = Jira(seats=2)  # azsyncd's own account has one
    ask = await connect(jira)
    assert (await ask("POST", "/user", json=ANN))[0] == 201
    assert jira.members("jira-software-users") == {"ann"}
    status, body, _ = await ask("POST", "/user", json={**ANN, "name": "bob"})
    assert status == 400 and "applicationKeys" in body["errors"]
    roles = (await ask("GET", "/applicationrole"))[1]
    assert roles[0]["remainingSeats"] == 0 and not roles[0]["hasUnlimitedSeats"]


async def test_seats_may_be_overrun_without_access(connect: Connect) -> None:
    """The other thing that Jira is said to do: the account is made, without access."""
    jira = Jira(seats=1, over_seats="create")
    ask = await connect(jira)
    assert (await ask("POST", "/user", json=ANN))[0] == 201
    assert jira.members("jira-software-users") == set()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (ANN, "username"),
        ({**ANN, "name": "a<b"}, "username"),
        ({**ANN, "name": "x" * 256}, "username"),
        ({**ANN, "name": ""}, "username"),
        ({**ANN, "name": "b", "emailAddress": "nowhere"}, "email"),
        ({**ANN, "name": "b", "displayName": " "}, "displayName"),
    ],
)
async def test_create_refuses(connect: Connect, body: dict[str, Any], field: str) -> None:
    """Taken and illegal values, each with its field."""
    jira = Jira()
    jira.add_user("Ann")
    ask = await connect(jira)
    status, answer, _ = await ask("POST", "/user", json=body)
    assert status == 400 and list(answer["errors"]) == [field]
    assert len(jira.users()) == 2


@pytest.mark.parametrize(("version", "cap"), [("9.12.0", 1000), ("10.3.4", 100), ("11.0.0", 100)])
async def test_search_ends_at_its_cap(connect: Connect, version: str, cap: int) -> None:
    """Only the first so many can ever be seen, however one pages."""
    jira = Jira(version=version)
    people(jira, 1100)
    ask = await connect(jira)
    seen: list[str] = []
    while page := (
        await ask("GET", "/user/search", username=".", startAt=len(seen), maxResults=1000)
    )[1]:
        seen += [each["name"] for each in page]
    assert len(seen) == len(set(seen)) == cap


async def test_search_hides_the_inactive_and_matches_beginnings(connect: Connect) -> None:
    """The trap of JRASERVER-29422, and what a needle finds."""
    jira = Jira()
    jira.add_user("ann", display_name="Ann Zeder", email="a.miller@example.com")
    jira.add_user("old", active=False)
    ask = await connect(jira)
    find = ask

    async def names(needle: str, **more: Any) -> list[str]:
        found = (await find("GET", "/user/search", username=needle, **more))[1]
        return [each["name"] for each in found]

    assert await names("zed") == await names("mil") == await names("AN") == ["ann"]
    assert await names("nn") == await names("old") == []
    assert await names("old", includeInactive="true") == ["old"]
    assert await names("old", includeInactive="true", includeActive="false") == ["old"]


@pytest.mark.parametrize(
    ("version", "given", "there"),
    [
        ("10.3.4", None, False),
        ("10.3.12", True, True),
        ("10.7.0", None, False),
        ("11.3", None, True),
    ],
)
async def test_the_list_of_all_is_there_or_not(
    connect: Connect, version: str, given: bool | None, there: bool
) -> None:
    """11.0 and late 10.3 have it; a comparison of version numbers would be wrong."""
    jira = Jira(version=version, user_list=given)
    people(jira, 5)
    jira.edit_user("u00001", active=False)
    ask = await connect(jira)
    status, page, _ = await ask("GET", "/user/list", maxResults=4)
    assert (status == 200) is there
    if not there:
        assert jira.probes and not jira.violations
        return
    assert not page["isLast"] and "total" not in page
    rest = (await ask("GET", "/user/list", maxResults=4, cursor=page["nextCursor"]))[1]
    assert rest["isLast"]
    names = [each["name"] for each in page["values"] + rest["values"]]
    assert sorted(names) == sorted(person.name for person in jira.users())


async def test_before_8_3_an_account_cannot_be_deactivated(connect: Connect) -> None:
    """JRASERVER-36639: nothing to change."""
    jira = Jira(version="8.2.6")
    jira.add_user("ann")
    ask = await connect(jira)
    # Tokens came with 8.14.
    headers = {"Authorization": basic("azsyncd", "jira-password")}
    status, body, _ = await ask(
        "PUT", "/user", username="ann", json={"active": False}, headers=headers
    )
    assert status == 400 and body["errorMessages"] == ["No value found to be changed."]
    assert jira.user("ann").active  # type: ignore[union-attr]


async def test_leads_and_oneself_cannot_be_deactivated(connect: Connect) -> None:
    """Each is refused with `errors.active`."""
    jira = Jira()
    jira.add_user("ann", leads=["PAY"])
    ask = await connect(jira)
    for name in ("ann", "azsyncd"):
        status, body, _ = await ask("PUT", "/user", username=name, json={"active": False})
        assert status == 400 and "active" in body["errors"]
    assert jira.count()["protected_writes"] == 1


async def test_sysadmins_are_out_of_reach_of_admins(connect: Connect) -> None:
    """Only a system administrator edits one."""
    jira = Jira(sysadmin_groups=["jira-system-administrators"])
    jira.add_user("root", groups=["jira-system-administrators"])
    jira.add_user("ann")
    ask = await connect(jira)
    assert (await ask("PUT", "/user", username="root", json={"active": False}))[0] == 403
    added = await ask(
        "POST", "/group/user", groupname="jira-system-administrators", json={"name": "ann"}
    )
    assert added[0] == 403
    mine = (await ask("GET", "/mypermissions"))[1]["permissions"]
    assert mine["ADMINISTER"]["havePermission"] and not mine["SYSTEM_ADMIN"]["havePermission"]


async def test_delete_is_refused_for_those_who_left_traces(connect: Connect) -> None:
    """Issues and projects keep an account."""
    jira = Jira()
    jira.add_user("ann", authored=True)
    jira.add_user("bob", leads=["PAY"])
    ask = await connect(jira)
    assert (await ask("DELETE", "/user", username="ann"))[0] == 400
    assert (await ask("DELETE", "/user", username="bob"))[0] == 400


async def test_properties_are_written_read_and_deleted(connect: Connect) -> None:
    """201, then 200, and a needless repetition is counted."""
    jira = Jira()
    key = jira.add_user("ann").key
    ask = await connect(jira)
    path = "/user/properties/azsyncd"
    mark = {"instance": "a", "objectId": "1"}
    assert (await ask("PUT", path, userKey=key, json=mark))[0] == 201
    assert (await ask("PUT", path, userKey=key, json=mark))[0] == 200
    assert jira.count()["duplicate_writes"] == 1
    assert (await ask("GET", path, userKey=key))[1] == {"key": "azsyncd", "value": mark}
    keys = (await ask("GET", "/user/properties", userKey=key))[1]["keys"]
    assert [each["key"] for each in keys] == ["azsyncd"]
    assert (await ask("DELETE", path, username="ann"))[0] == 204
    assert (await ask("GET", path, userKey=key))[0] == 404
    too_long = await ask("PUT", path, userKey=key, json="x" * 40_000)
    assert too_long[0] == 400


@pytest.mark.parametrize(
    ("language", "expected"),
    [("en", "User is already a member of 'dev'"), ("de", "schon Mitglied von 'dev'")],
)
async def test_adding_a_member_twice_is_400(connect: Connect, language: str, expected: str) -> None:
    """In whatever words."""
    jira = Jira(language=language)
    jira.add_user("ann")
    jira.add_group("dev")
    ask = await connect(jira)
    assert (await ask("POST", "/group/user", groupname="DEV", json={"name": "Ann"}))[0] == 201
    status, body, _ = await ask("POST", "/group/user", groupname="dev", json={"name": "ann"})
    assert status == 400 and expected in body["errorMessages"][0]
    assert jira.count()["duplicate_writes"] == 1
    assert (await ask("DELETE", "/group/user", groupname="dev", username="ann"))[0] == 200
    assert (await ask("DELETE", "/group/user", groupname="dev", username="ann"))[0] == 400
    assert jira.members("dev") == set()


async def test_unknown_users_and_groups_are_404(connect: Connect) -> None:
    """In every call about members."""
    jira = Jira()
    jira.add_user("ann")
    jira.add_group("dev")
    ask = await connect(jira)
    assert (await ask("POST", "/group/user", groupname="dev", json={"name": "nobody"}))[0] == 404
    assert (await ask("POST", "/group/user", groupname="none", json={"name": "ann"}))[0] == 404
    assert (await ask("DELETE", "/group/user", groupname="none", username="ann"))[0] == 404
    assert (await ask("GET", "/group/member", groupname="none"))[0] == 404


async def test_members_come_fifty_at_a_time_whatever_is_asked(connect: Connect) -> None:
    """The inactive only on request."""
    jira = Jira()
    people(jira, 120)
    jira.add_group("dev", [person.name for person in jira.users()])
    jira.edit_user("u00003", active=False)
    ask = await connect(jira)
    page = (await ask("GET", "/group/member", groupname="dev", maxResults=1000))[1]
    assert (page["maxResults"], len(page["values"]), page["total"]) == (50, 50, 120)
    last = (
        await ask("GET", "/group/member", groupname="dev", startAt=100, includeInactiveUsers="true")
    )[1]
    assert last["isLast"] and (last["total"], len(last["values"])) == (121, 21)


async def test_groups_are_picked_not_paged(connect: Connect) -> None:
    """Twenty by default, a substring, and a total that tells what is missing."""
    jira = Jira()
    for number in range(40):
        jira.add_group(f"team {number:02}")
    ask = await connect(jira)
    first = (await ask("GET", "/groups/picker", query="TEAM"))[1]
    assert (len(first["groups"]), first["total"]) == (20, 40)
    more = (await ask("GET", "/groups/picker", query="team", maxResults=1000))[1]
    assert len(more["groups"]) == 40
    jira.picker_limit = 30
    capped = (await ask("GET", "/groups/picker", query="", maxResults=1000))[1]
    assert len(capped["groups"]) == 30 < capped["total"]


async def test_groups_are_created_once_and_deleted(connect: Connect) -> None:
    """400 for a second one; the last administrators' group stays."""
    jira = Jira()
    ask = await connect(jira)
    name = "Müller & Söhne #1 100%"
    assert (await ask("POST", "/group", json={"name": name}))[0] == 201
    assert (await ask("POST", "/group", json={"name": name.upper()}))[0] == 400
    assert (await ask("GET", "/group/member", groupname=name, maxResults=1))[0] == 200
    assert (await ask("DELETE", "/group", groupname=name))[0] == 200
    assert (await ask("DELETE", "/group", groupname="jira-administrators"))[0] == 400
    assert jira.count()["conflicts"] == 1


async def test_odd_names_survive_the_way(connect: Connect) -> None:
    """`#EXT#`, accents and blanks are only a matter of encoding."""
    jira = Jira()
    ask = await connect(jira)
    for name in ("jo_contoso.com#EXT#@fab.example", "zoë ångström", "50%+1@x.y", "日本"):
        assert (await ask("POST", "/user", json={**ANN, "name": name}))[0] == 201
        assert (await ask("GET", "/user", username=name))[1]["name"] == name
    assert jira.violations == []


async def test_read_only_directories_refuse(connect: Connect) -> None:
    """Wholly, or for accounts alone."""
    jira = Jira()
    jira.add_user("ann")
    jira.add_group("dev")
    ask = await connect(jira)
    jira.set_read_only()
    assert (await ask("POST", "/user", json={**ANN, "name": "b"}))[0] == 400
    assert (await ask("PUT", "/user", username="ann", json={"displayName": "x"}))[0] == 400
    assert (await ask("POST", "/group/user", groupname="dev", json={"name": "ann"}))[0] == 400
    jira.set_read_only(groups=False)
    assert (await ask("PUT", "/user", username="ann", json={"displayName": "x"}))[0] == 400
    assert (await ask("POST", "/group/user", groupname="dev", json={"name": "ann"}))[0] == 201


async def test_the_upper_directory_shadows_the_lower(connect: Connect) -> None:
    """An edit hits the first account alone, and a delete brings the other one to light."""
    jira = Jira(directories=[Directory("Internal"), Directory("LDAP", "CONNECTOR", frozenset())])
    jira.add_user("ann", display_name="Upper")
    jira.add_user("ann", display_name="Lower", directory="LDAP")
    ask = await connect(jira)
    assert (await ask("GET", "/user/duplicated/count"))[1] == {"count": 1}
    assert list((await ask("GET", "/user/duplicated/list"))[1]) == ["ann"]
    await ask("PUT", "/user", username="ann", json={"displayName": "Edited"})
    assert jira.people["LDAP"].people["ann"].display_name == "Lower"
    await ask("DELETE", "/user", username="ann")
    assert (await ask("GET", "/user", username="ann"))[1]["displayName"] == "Lower"
    assert (await ask("DELETE", "/user", username="ann"))[0] == 400


@pytest.mark.parametrize(("version", "status"), [("10.3.4", 200), ("11.0.0", 401)])
async def test_basic_is_off_from_eleven(connect: Connect, version: str, status: int) -> None:
    """And may be switched on again."""
    jira = Jira(version=version)
    ask = await connect(jira)
    ask.headers = {"Authorization": basic("azsyncd", "jira-password")}
    assert (await ask("GET", "/myself"))[0] == status
    jira.basic_enabled = True
    assert (await ask("GET", "/myself"))[0] == 200


async def test_who_is_refused_and_how(connect: Connect) -> None:
    """A wrong token, a captcha, a log-in page, lost rights, maintenance."""
    jira = Jira()
    ask = await connect(jira)
    right, ask.headers = ask.headers, {"Authorization": "Bearer wrong"}
    status, _, headers = await ask("GET", "/myself")
    assert (status, headers["X-Seraph-LoginReason"]) == (401, "AUTHENTICATED_FAILED")
    ask.headers = right
    jira.captcha = True
    status, _, headers = await ask("GET", "/myself")
    assert status == 403
    assert headers["X-Authentication-Denied-Reason"].startswith("CAPTCHA_CHALLENGE")
    assert headers["X-Seraph-LoginReason"] == "AUTHENTICATION_DENIED"
    jira.captcha, jira.login_page = False, 200
    status, body, headers = await ask("GET", "/myself")
    assert status == 200 and "html" in headers["Content-Type"] and "Log in" in body
    jira.login_page = None
    jira.take_away_rights()
    assert (await ask("GET", "/applicationrole"))[0] == 403
    assert (await ask("GET", "/myself"))[0] == 200
    jira.maintenance = True
    assert (await ask("GET", "/myself"))[0] == 503


async def test_wrong_passwords_end_in_a_captcha(connect: Connect) -> None:
    """Each further try would deepen the lock."""
    jira = Jira(captcha_after=3)
    ask = await connect(jira)
    ask.headers = {"Authorization": basic("azsyncd", "wrong")}
    assert [(await ask("GET", "/myself"))[0] for _ in range(4)] == [401, 401, 401, 403]


async def test_the_bucket_runs_dry_and_fills(connect: Connect) -> None:
    """With its headers, and those who do not wait are counted."""
    clock = FakeClock(moves=False)
    jira = Jira(clock=clock)
    jira.pacing.limit(2, fill_rate=1, interval=5)
    ask = await connect(jira)
    first = (await ask("GET", "/myself"))[2]
    assert (first["X-RateLimit-Remaining"], first["X-RateLimit-FillRate"]) == ("1", "1")
    await ask("GET", "/myself")
    status, _, headers = await ask("GET", "/myself")
    assert (status, headers["Retry-After"]) == (429, "5")
    clock.advance(1)
    assert (await ask("GET", "/myself"))[0] == 429
    clock.advance(4)
    assert (await ask("GET", "/myself"))[0] == 200
    assert (jira.count()["early_requests"], jira.count()["throttled"]) == (1, 2)
    jira.block_all()
    assert (await ask("GET", "/myself"))[0] == 429


async def test_what_is_outside_the_specification_is_noted(connect: Connect) -> None:
    """Paths, methods, parameters, keys, cookies, secrets in URLs, slashes in paths."""
    jira = Jira()
    ask = await connect(jira)
    assert (await ask("GET", "/users"))[0] == 404
    assert (await ask("PATCH", "/user"))[0] == 405
    assert (await ask("GET", "/myself", cursor=1))[0] == 200
    assert (await ask("POST", "/user", json={**ANN, "directoryId": 1}))[0] == 400
    assert (await ask("DELETE", "/user/session/a%2Fb"))[0] == 400
    await ask("GET", "/user", username="jira-token")
    ask.headers = {**ask.headers, "Cookie": "JSESSIONID=1"}
    await ask("GET", "/myself")
    text = "\n".join(jira.violations)
    for expected in ("no such path", "no such method", "cursor", "directoryId", "secret", "cookie"):
        assert expected in text


async def test_external_user_management_refuses_everything(connect: Connect) -> None:
    """With 403, in words for people."""
    jira = Jira(external_management=True)
    jira.add_user("ann")
    jira.add_group("dev")
    ask = await connect(jira)
    assert (await ask("POST", "/user", json={**ANN, "name": "b"}))[0] == 403
    assert (await ask("POST", "/group/user", groupname="dev", json={"name": "ann"}))[0] == 403
    assert (await ask("POST", "/group", json={"name": "x"}))[0] == 403


async def test_one_does_not_leave_ones_own_power(connect: Connect) -> None:
    """The last administrators' group cannot be left."""
    jira = Jira()
    ask = await connect(jira)
    left = await ask("DELETE", "/group/user", groupname="jira-administrators", username="azsyncd")
    assert left[0] == 400
    assert jira.count()["protected_writes"] == 1


async def test_server_info_is_for_everybody(connect: Connect) -> None:
    """The version is read before anybody logs in."""
    ask = await connect(Jira(version="10.3.4"))
    ask.headers = {}
    status, body, _ = await ask("GET", "/serverInfo")
    assert (status, body["version"], body["versionNumbers"]) == (200, "10.3.4", [10, 3, 4])
