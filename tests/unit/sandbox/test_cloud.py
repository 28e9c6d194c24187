"""The simulated SCIM directory, asked over real HTTP, deviates from RFC 7644 as Atlassian does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from azsyncd.sandbox.cloud import Cloud
from azsyncd.sandbox.cloud.state import CORE_GROUP, CORE_USER, PATCH

Connect = Callable[[Cloud], Awaitable[Any]]
ANN = {
    "schemas": [CORE_USER],
    "userName": "ann@example.com",
    "emails": [{"value": "ann@example.com", "primary": True}],
    "displayName": "Ann",
    "title": "Dr",
}


@pytest.fixture
def connect(caller: Any) -> Connect:
    def make(cloud: Cloud) -> Any:
        headers = {"Authorization": "Bearer cloud-api-key"}
        return caller(cloud, "/api", f"/scim/directory/{cloud.directory_id}", headers)

    return make


def patch(*operations: dict[str, Any]) -> dict[str, Any]:
    return {"schemas": [PATCH], "Operations": list(operations)}


async def test_an_account_lives_from_create_to_delete(connect: Connect) -> None:
    """PUT wipes what it does not name; after DELETE another id is given."""
    cloud = Cloud()
    ask = await connect(cloud)
    status, made, headers = await ask("POST", "/Users", json=ANN)
    assert status == 201 and headers["Content-Type"].startswith("application/scim+json")
    path = f"/Users/{made['id']}"
    off = patch({"op": "replace", "path": "active", "value": False})
    assert (await ask("PATCH", path, json=off))[1]["active"] is False
    wiped = {name: value for name, value in ANN.items() if name != "title"}
    assert "title" not in (await ask("PUT", path, json=wiped))[1]
    assert (await ask("DELETE", path))[0] == 204
    assert (await ask("GET", path))[0] == 404 == (await ask("DELETE", path))[0]
    assert (await ask("POST", "/Users", json=ANN))[1]["id"] != made["id"]
    assert cloud.violations == []


async def test_two_filters_are_all_there_is(connect: Connect) -> None:
    """userName and externalId of users, displayName of groups; anything else is 400."""
    cloud = Cloud()
    cloud.add_user("ann@example.com", properties={"externalId": "x-1"})
    ask = await connect(cloud)
    for text in ('userName eq "ANN@example.com"', 'externalId eq "x-1"'):
        assert (await ask("GET", "/Users", filter=text))[1]["totalResults"] == 1
    assert (await ask("GET", "/Users", filter='externalId eq "X-1"'))[1]["totalResults"] == 0
    assert cloud.violations == []
    for text in ('userName sw "a"', 'active eq "true"', 'userName eq "a" and active eq "b"'):
        assert (await ask("GET", "/Users", filter=text))[0] == 400
    assert len(cloud.violations) == 3


async def test_pages_begin_at_one(connect: Connect) -> None:
    """0 is an error, and no page is larger than the server's own."""
    cloud = Cloud(page_cap=2)
    for number in range(5):
        cloud.add_user(f"u{number}@example.com")
    ask = await connect(cloud)
    assert (await ask("GET", "/Users", startIndex=0))[0] == 400
    page = (await ask("GET", "/Users", startIndex=5, count=100))[1]
    assert (page["itemsPerPage"], page["totalResults"]) == (1, 5)


async def test_groups_have_members_and_keep_their_name(connect: Connect) -> None:
    """An unknown member is 404 in a PATCH and 400 in a PUT; both ways are idempotent."""
    cloud = Cloud()
    ann = cloud.add_user("ann@example.com")
    ask = await connect(cloud)
    body = {"schemas": [CORE_GROUP], "displayName": "Team"}
    made = (await ask("POST", "/Groups", json=body))[1]
    assert (await ask("POST", "/Groups", json={**body, "displayName": "TEAM"}))[0] == 409
    path = f"/Groups/{made['id']}"
    for op, members in (("add", {"ann@example.com"}), ("remove", set())):
        change = patch({"op": op, "path": "members", "value": [{"value": ann.key}]})
        for _ in range(2):
            assert (await ask("PATCH", path, json=change))[0] == 200
        assert cloud.members("Team") == members
    unknown = [{"value": "nobody"}]
    change = patch({"op": "add", "path": "members", "value": unknown})
    assert (await ask("PATCH", path, json=change))[0] == 404
    assert (await ask("PUT", path, json={**body, "members": unknown}))[0] == 400
    rename = patch({"op": "replace", "path": "displayName", "value": "Crew"})
    status, refused, _ = await ask("PATCH", path, json=rename)
    assert (status, refused["scimType"]) == (400, "mutability")
    assert cloud.violations == []


@pytest.mark.parametrize(
    "body",
    [
        {"schemas": [PATCH], "operations": [{"op": "replace", "path": "title", "value": ""}]},
        {"Operations": [{"op": "replace", "path": "title", "value": ""}]},
        patch({"op": "replace", "path": "shoeSize", "value": "41"}),
    ],
)
async def test_a_patch_that_is_spelled_otherwise_is_refused_and_noted(
    connect: Connect, body: dict[str, Any]
) -> None:
    """A small `operations`, no schema, an unknown path."""
    cloud = Cloud()
    ann = cloud.add_user("ann@example.com")
    ask = await connect(cloud)
    assert (await ask("PATCH", f"/Users/{ann.key}", json=body))[0] == 400
    assert cloud.violations


async def test_an_address_belongs_to_one(connect: Connect) -> None:
    """409 uniqueness, on create and on change; a domain that is not verified is 400."""
    cloud = Cloud(verified_domains=["example.com"])
    ask = await connect(cloud)
    ann = (await ask("POST", "/Users", json=ANN))[1]
    status, body, _ = await ask("POST", "/Users", json={**ANN, "userName": "other"})
    assert (status, body["scimType"]) == (409, "uniqueness")
    foreign = [{"value": "ann@other.org", "primary": True}]
    assert (await ask("POST", "/Users", json={**ANN, "userName": "b", "emails": foreign}))[0] == 400
    bob = cloud.add_user("bob@example.com")
    change = patch({"op": "replace", "path": "userName", "value": ann["userName"]})
    assert (await ask("PATCH", f"/Users/{bob.key}", json=change))[0] == 409


async def test_it_says_what_it_can(connect: Connect) -> None:
    """Neither bulk nor sorting nor ETags; the enterprise extension is served as 2.0."""
    ask = await connect(Cloud())
    config = (await ask("GET", "/ServiceProviderConfig"))[1]
    assert config["patch"]["supported"] and not config["bulk"]["supported"]
    ids = {schema["id"] for schema in (await ask("GET", "/Schemas"))[1]["Resources"]}
    assert "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User" in ids
