"""The simulated Crowd, asked over real HTTP, says what the contract says that Crowd says."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Any
from xml.etree import ElementTree

import pytest

from azsyncd.sandbox.crowd import Crowd
from azsyncd.sandbox.crowd.search import from_cql
from azsyncd.sandbox.directories import Directory, Person
from azsyncd.sandbox.jira import Jira

Connect = Callable[[Crowd], Awaitable[Any]]
ANN = {
    "name": "ann",
    "password": {"value": "x"},
    "active": True,
    "first-name": "Ann",
    "last-name": "Zoë",
    "display-name": "Ann Zoë",
    "email": "ann@example.com",
}


def basic(name: str, password: str) -> str:
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()


@pytest.fixture
def connect(caller: Any) -> Connect:
    headers = {"Authorization": basic("azsyncd", "crowd-password"), "Accept": "application/json"}
    return lambda crowd: caller(crowd, "/crowd", "/rest/usermanagement/1", headers)


async def test_an_account_lives_from_create_to_delete(connect: Connect) -> None:
    """Create with attributes, read by name and key, rename, delete."""
    crowd = Crowd()
    ask = await connect(crowd)
    marked = {**ANN, "attributes": {"attributes": [{"name": "azsyncd.owner", "values": ["a"]}]}}
    status, made, headers = await ask("POST", "/user", json=marked)
    assert status == 201 and "username=ann" in headers["Location"]
    assert headers["X-Embedded-Crowd-Version"] == "Crowd/6.0.3"
    status, found, _ = await ask("GET", "/user", key=made["key"], expand="attributes")
    assert found["attributes"]["attributes"] == [{"name": "azsyncd.owner", "values": ["a"]}]
    status, found, _ = await ask("GET", "/user", username="ANN")
    assert (status, found["name"], found["attributes"]["attributes"]) == (200, "ann", [])
    status, found, _ = await ask("POST", "/user/rename", username="ann", json={"new-name": "a.z"})
    assert (status, found["name"], found["key"]) == (200, "a.z", made["key"])
    assert (await ask("DELETE", "/user", username="a.z"))[0] == 204
    assert (await ask("GET", "/user", username="a.z"))[1]["reason"] == "USER_NOT_FOUND"
    assert crowd.violations == []


async def test_put_wipes_what_is_left_out(connect: Connect) -> None:
    """Whoever deactivates with a partial body loses names and mail."""
    crowd = Crowd()
    ask = await connect(crowd)
    await ask("POST", "/user", json=ANN)
    assert (await ask("PUT", "/user", username="ann", json={"name": "ann"}))[0] == 204
    ann = crowd.user("ann")
    assert ann is not None
    assert (ann.first_name, ann.last_name, ann.email, ann.active) == ("", "", "", False)
    assert (await ask("PUT", "/user", username="ann", json={**ANN, "name": "bob"}))[0] == 400
    assert (await ask("PUT", "/user", username="ann", json=ANN))[0] == 204
    assert (await ask("PUT", "/user", username="ann", json=ANN))[0] == 204
    assert ann.email == "ann@example.com" and crowd.count()["duplicate_writes"] == 1


@pytest.mark.parametrize(
    "body",
    [ANN, {**ANN, "name": " b"}, {**ANN, "name": "x" * 256}, {"name": "b", "email": "b@x.y"}],
)
async def test_create_refuses_with_one_reason_for_all(
    connect: Connect, body: dict[str, Any]
) -> None:
    """INVALID_USER means taken, illegal or without a password: read to know which."""
    crowd = Crowd()
    crowd.add_user("Ann")
    ask = await connect(crowd)
    status, answer, _ = await ask("POST", "/user", json=body)
    assert (status, answer["reason"]) == (400, "INVALID_USER")


async def test_attributes_are_merged_one_by_one(connect: Connect) -> None:
    """An empty list takes one away, others stay."""
    crowd = Crowd()
    crowd.add_user("ann", attributes={"theirs": ["1", "2"]})
    ask = await connect(crowd)
    mine = {"attributes": [{"name": "azsyncd.owner", "values": ["a"]}]}
    assert (await ask("POST", "/user/attribute", username="ann", json=mine))[0] == 204
    found = (await ask("GET", "/user/attribute", username="ann"))[1]["attributes"]
    assert {each["name"]: each["values"] for each in found} == {
        "azsyncd.owner": ["a"],
        "theirs": ["1", "2"],
    }
    gone = {"attributes": [{"name": "theirs", "values": []}]}
    await ask("POST", "/user/attribute", username="ann", json=gone)
    gone_too = await ask("DELETE", "/user/attribute", username="ann", attributename="azsyncd.owner")
    assert gone_too[0] == 204
    assert crowd.user("ann").attributes == {}  # type: ignore[union-attr]


async def test_search_pages_until_an_empty_page(connect: Connect) -> None:
    """A page may be shorter than what was asked for."""
    crowd = Crowd(page_cap=40)
    for number in range(100):
        crowd.add_user(f"u{number:03}")
    ask = await connect(crowd)
    seen: list[str] = []
    while True:
        body = (
            await ask("GET", "/search", entity_type="user", start_index=len(seen), max_results=1000)
        )[1]
        if not body["users"]:
            break
        assert len(body["users"]) <= 40
        seen += [user["name"] for user in body["users"]]
    assert len(seen) == len(set(seen)) == 100


@pytest.mark.parametrize(
    ("cql", "names"),
    [
        ('name = "ann"', ["ann"]),
        ("name = a*", ["ann", "art"]),
        ('email = "*@example.com" and active = false', ["old"]),
        ('name = "ann" or (active = false and name = "old")', ["ann", "old"]),
        ('azsyncd.owner = "main"', ["art"]),
        ("", ["ann", "art", "old"]),
    ],
)
async def test_search_by_query_language(connect: Connect, cql: str, names: list[str]) -> None:
    """Fields, attributes, wildcards, and, or, brackets; nothing found is no error."""
    crowd = Crowd()
    crowd.add_user("ann")
    crowd.add_user("art", attributes={"azsyncd.owner": ["main"]})
    crowd.add_user("old", active=False)
    ask = await connect(crowd)
    status, body, _ = await ask("GET", "/search", entity_type="user", restriction=cql)
    assert (status, [user["name"] for user in body["users"]]) == (200, names)


def test_a_query_that_cannot_be_read_is_refused() -> None:
    """Half a restriction is none."""
    for text in ("name =", "name ann", "(name = a", "name = a b"):
        with pytest.raises(ValueError):
            from_cql(text)
    assert from_cql(r'name = "a\"b"')(Person("1", 'a"b', "", "", 1))


async def test_search_by_posted_restriction(connect: Connect) -> None:
    """In XML, as in older clients."""
    crowd = Crowd()
    crowd.add_user("ann")
    crowd.add_group("dev")
    ask = await connect(crowd)
    restriction = (
        '<boolean-search-restriction boolean-logic="or"><restrictions>'
        "<property-search-restriction><property><name>name</name><type>STRING</type></property>"
        "<match-mode>STARTS_WITH</match-mode><value>de</value></property-search-restriction>"
        "<property-search-restriction><property><name>name</name><type>STRING</type></property>"
        "<match-mode>CONTAINS</match-mode><value>admin</value></property-search-restriction>"
        "</restrictions></boolean-search-restriction>"
    )
    status, body, _ = await ask(
        "POST",
        "/search",
        entity_type="group",
        expand="group",
        data=restriction,
        headers={"Content-Type": "application/xml"},
    )
    assert status == 200
    assert [each["name"] for each in body["groups"]] == ["crowd-administrators", "dev"]
    assert crowd.count()["writes"] == 0


async def test_memberships_in_crowds_dialect(connect: Connect) -> None:
    """201, 409, 204, 404; an unknown user is 400 and an unknown group 404."""
    crowd = Crowd()
    crowd.add_user("ann")
    crowd.add_group("dev")
    ask = await connect(crowd)
    path = "/group/user/direct"
    assert (await ask("POST", path, groupname="dev", json={"name": "ann"}))[0] == 201
    again = await ask("POST", path, groupname="dev", json={"name": "ann"})
    assert (again[0], again[1]["reason"]) == (409, "MEMBERSHIP_ALREADY_EXISTS")
    assert (await ask("POST", "/user/group/direct", username="ann", json={"name": "dev"}))[0] == 409
    assert (await ask("POST", path, groupname="dev", json={"name": "nobody"}))[0] == 400
    assert (await ask("POST", path, groupname="none", json={"name": "ann"}))[0] == 404
    assert (await ask("GET", path, groupname="dev", username="ann"))[0] == 200
    assert (await ask("DELETE", path, groupname="dev", username="ann"))[0] == 204
    gone = await ask("DELETE", path, groupname="dev", username="ann")
    assert (gone[0], gone[1]["reason"]) == (404, "MEMBERSHIP_NOT_FOUND")
    assert crowd.count()["duplicate_writes"] == 3


async def test_members_are_paged_and_expanded(connect: Connect) -> None:
    """Names alone unless the users are expanded."""
    crowd = Crowd()
    for number in range(30):
        crowd.add_user(f"u{number:02}")
    crowd.add_group("dev", [f"u{number:02}" for number in range(30)])
    ask = await connect(crowd)
    path = "/group/user/direct"
    page = (await ask("GET", path, groupname="dev", start_index=20, max_results=20))[1]["users"]
    assert len(page) == 10 and set(page[0]) == {"name", "link"}
    page = (await ask("GET", path, groupname="dev", expand="user"))[1]["users"]
    assert len(page) == 30 and page[0]["email"] == "u00@example.com"


async def test_groups_have_descriptions_and_one_name(connect: Connect) -> None:
    """400 INVALID_GROUP for a second one; PUT changes the description alone."""
    crowd = Crowd()
    ask = await connect(crowd)
    dev = {"name": "Dev/Ops #1", "type": "GROUP", "description": "d", "active": True}
    assert (await ask("POST", "/group", json=dev))[0] == 201
    again = await ask("POST", "/group", json={**dev, "name": "dev/ops #1"})
    assert (again[0], again[1]["reason"]) == (400, "INVALID_GROUP")
    named = {"groupname": "Dev/Ops #1"}
    assert (await ask("PUT", "/group", **named, json={**dev, "name": "x"}))[0] == 400
    assert (await ask("PUT", "/group", **named, json={**dev, "description": "e"}))[0] == 200
    assert (await ask("GET", "/group", **named))[1]["description"] == "e"
    assert (await ask("DELETE", "/group", **named))[0] == 204
    assert (await ask("GET", "/group", **named))[0] == 404


async def test_nesting_is_written_read_and_never_circular(connect: Connect) -> None:
    """Direct and nested members differ."""
    crowd = Crowd()
    crowd.add_user("ann")
    for name in ("top", "mid"):
        crowd.add_group(name)
    crowd.add_group("low", ["ann"])
    ask = await connect(crowd)
    path = "/group/child-group/direct"
    assert (await ask("POST", path, groupname="top", json={"name": "mid"}))[0] == 201
    assert (await ask("POST", path, groupname="mid", json={"name": "low"}))[0] == 201
    assert (await ask("POST", path, groupname="mid", json={"name": "low"}))[0] == 409
    assert (await ask("POST", path, groupname="low", json={"name": "top"}))[0] == 400
    assert (await ask("POST", path, groupname="top", json={"name": "none"}))[0] == 400
    direct = (await ask("GET", "/group/user/direct", groupname="top"))[1]["users"]
    nested = (await ask("GET", "/group/user/nested", groupname="top"))[1]["users"]
    assert (direct, [user["name"] for user in nested]) == ([], ["ann"])
    above = (await ask("GET", "/user/group/nested", username="ann"))[1]["groups"]
    assert [group["name"] for group in above] == ["low", "mid", "top"]
    parents = (await ask("GET", "/group/parent-group/direct", groupname="low"))[1]["groups"]
    assert [group["name"] for group in parents] == ["mid"]
    gone = await ask("DELETE", path, groupname="mid", child_groupname="low")
    assert gone[0] == 204
    crowd.nested_groups = False
    refused = await ask("POST", path, groupname="mid", json={"name": "low"})
    assert refused[0] == 400


@pytest.mark.parametrize("status", [406, 500])
async def test_the_dump_is_xml_alone(connect: Connect, status: int) -> None:
    """Everything in one answer, and no JSON (CWD-3281)."""
    crowd = Crowd(dump_json_status=status)
    crowd.add_user("ann")
    crowd.add_group("a & b", ["ann"])
    crowd.add_group("top")
    ask = await connect(crowd)
    await ask("POST", "/group/child-group/direct", groupname="top", json={"name": "a & b"})
    assert (await ask("GET", "/group/membership"))[0] == status
    answer = await ask("GET", "/group/membership", headers={"Accept": "application/xml"})
    root = ElementTree.fromstring(answer[1])
    found = {
        each.get("group"): (
            [user.get("name") for user in each.findall("users/user")],
            [group.get("name") for group in each.findall("groups/group")],
        )
        for each in root
    }
    assert found == {
        "crowd-administrators": ([], []),
        "a & b": (["ann"], []),
        "top": ([], ["a & b"]),
    }


async def test_xml_is_spoken_both_ways(connect: Connect) -> None:
    """And is what comes when nothing is asked for."""
    crowd = Crowd()
    ask = await connect(crowd)
    body = (
        '<user name="ann"><password><value>x</value></password><active>true</active>'
        "<first-name>Ann</first-name><email>a@x.y</email><attributes><attribute name='m'>"
        "<values><value>1</value></values></attribute></attributes></user>"
    )
    headers = {"Content-Type": "application/xml", "Accept": "*/*"}
    status, text, _ = await ask("POST", "/user", data=body, headers=headers)
    assert status == 201 and ElementTree.fromstring(text).get("name") == "ann"
    text = (await ask("GET", "/user", username="ann", expand="attributes", headers=headers))[1]
    root = ElementTree.fromstring(text)
    assert root.findtext("email") == "a@x.y" and root.findtext("active") == "true"
    assert root.findtext("attributes/attribute/values/value") == "1"
    text = (await ask("GET", "/user", username="none", headers=headers))[1]
    assert ElementTree.fromstring(text).findtext("reason") == "USER_NOT_FOUND"
    rename = await ask(
        "POST", "/user/rename", username="ann", data="<new-name>b</new-name>", headers=headers
    )
    assert rename[0] == 200 and crowd.user("b") is not None


async def test_the_application_is_known_by_name_password_and_address(connect: Connect) -> None:
    """401 and 403 in plain text."""
    crowd = Crowd()
    ask = await connect(crowd)
    right = ask.headers["Authorization"]
    ask.headers["Authorization"] = basic("azsyncd", "wrong")
    status, text, headers = await ask("GET", "/config/cookie")
    assert (status, text) == (401, "Application failed to authenticate")
    assert headers["Content-Type"].startswith("text/plain")
    ask.headers["Authorization"] = right
    crowd.address_allowed = False
    assert (await ask("GET", "/config/cookie"))[0] == 403


async def test_directories_and_permissions_decide_where_a_write_goes(connect: Connect) -> None:
    """A user goes to the first directory that may take one, a group into all of them."""
    crowd = Crowd(directories=[Directory("A"), Directory("B")])
    crowd.allow("create_group", directory="A")
    ask = await connect(crowd)
    await ask("POST", "/user", json=ANN)
    await ask("POST", "/group", json={"name": "dev", "type": "GROUP"})
    assert list(crowd.people["B"].people) == ["ann"]
    assert all("dev" in directory.groups for directory in crowd.people.all)
    crowd.allow(directory="B")
    status, body, _ = await ask("DELETE", "/user", username="ann")
    assert (status, body["reason"]) == (403, "APPLICATION_PERMISSION_DENIED")
    crowd.set_read_only("B")
    status, body, _ = await ask("DELETE", "/user", username="ann")
    assert (status, body["reason"]) == (403, "UNSUPPORTED_OPERATION")


async def test_rights_can_be_taken_away(connect: Connect) -> None:
    """Reads go on."""
    crowd = Crowd()
    crowd.add_user("ann")
    ask = await connect(crowd)
    crowd.take_away_rights()
    assert (await ask("POST", "/group", json={"name": "x", "type": "GROUP"}))[0] == 403
    assert (await ask("GET", "/user", username="ann"))[0] == 200


async def test_names_may_come_in_lower_case(connect: Connect) -> None:
    """An option of the application; the store keeps the case."""
    crowd = Crowd(lower_case_output=True)
    ask = await connect(crowd)
    made = (await ask("POST", "/user", json={**ANN, "name": "Ann"}))[1]
    assert made["name"] == "ann" and crowd.users()[0].name == "Ann"


async def test_a_directory_may_be_synchronising(connect: Connect) -> None:
    """For some requests the answer is to come back."""
    crowd = Crowd()
    crowd.add_user("ann")
    ask = await connect(crowd)
    crowd.synchronising = 1
    status, body, _ = await ask("GET", "/user", username="ann")
    assert status == 500 and "currently synchronising" in body["message"]
    assert (await ask("GET", "/user", username="ann"))[0] == 200


async def test_jira_can_be_a_crowd_server(connect: Connect) -> None:
    """The same accounts by Crowd's calls, but no renaming (JRASERVER-27782)."""
    jira = Jira()
    jira.add_user("ann")
    crowd = Crowd(people=jira.people, jira_user_server=True)
    ask = await connect(crowd)
    assert (await ask("GET", "/user", username="ann"))[0] == 200
    refused = await ask("POST", "/user/rename", username="ann", json={"new-name": "b"})
    assert (refused[0], refused[1]["reason"]) == (403, "UNSUPPORTED_OPERATION")
    await ask("POST", "/user", json={**ANN, "name": "new"})
    assert jira.user("new") is not None


async def test_what_is_outside_the_specification_is_noted(connect: Connect) -> None:
    """Parameters, keys and paths; the famous wrong path of the dump among them."""
    crowd = Crowd()
    crowd.add_user("ann")
    ask = await connect(crowd)
    assert (await ask("GET", "/membership"))[0] == 404
    await ask("GET", "/user", username="ann", startAt=1)
    await ask("PUT", "/user", username="ann", json={**ANN, "emailAddress": "x"})
    assert (await ask("POST", "/group/user/direct", json={"name": "ann"}))[0] == 400
    assert len(crowd.violations) == 4
