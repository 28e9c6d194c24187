"""The simulated Confluence, asked over real HTTP, says what the contract says it says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from azsyncd.sandbox.clock import FakeClock
from azsyncd.sandbox.confluence import Confluence

Connect = Callable[[Confluence], Awaitable[Any]]
ANN = {"userName": "ann", "fullName": "Ann", "email": "ann@example.com", "password": "x" * 20}


@pytest.fixture
def connect(caller: Any) -> Connect:
    headers = {"Authorization": "Bearer confluence-token"}
    return lambda product: caller(product, "/wiki", "/rest/api", headers)


async def test_an_account_lives_from_create_to_delete(connect: Connect) -> None:
    """201, 204 whatever was so before, 202 with a task."""
    wiki = Confluence(clock=FakeClock(), task_seconds=5)
    ask = await connect(wiki)
    status, made, _ = await ask("POST", "/admin/user", json=ANN)
    assert status == 201 and wiki.user("ann").key == made["userKey"]  # type: ignore[union-attr]
    for _ in range(2):
        assert (await ask("PUT", "/admin/user/ann/disable"))[0] == 204
    assert wiki.count()["duplicate_writes"] == 1
    shown = (await ask("GET", "/user", username="ann", expand="status"))[1]
    assert shown["status"] == "deactivated" and "email" not in shown
    status, task, _ = await ask("DELETE", "/admin/user/ann")
    assert status == 202 and wiki.user("ann") is not None
    assert not (await ask("GET", f"/longtask/{task['id']}"))[1]["successful"]
    wiki.clock.advance(6)  # type: ignore[attr-defined]
    assert (await ask("GET", f"/longtask/{task['id']}"))[1]["successful"]
    assert wiki.user("ann") is None and wiki.violations == []


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"userName": "Ann"}, 400),
        ({"userName": "a b"}, 400),
        ({"userName": "anonymous"}, 400),
        ({"email": "nowhere"}, 400),
        ({"fullName": "<b>"}, 400),
        ({"password": ""}, 400),
        ({"notifyViaEmail": True}, 400),
        ({"userName": "azsyncd"}, 409),
    ],
)
async def test_what_is_not_a_new_account_is_refused(
    connect: Connect, change: dict[str, Any], status: int
) -> None:
    """A password or a mail, and never both."""
    ask = await connect(Confluence())
    assert (await ask("POST", "/admin/user", json={**ANN, **change}))[0] == status


async def test_without_a_seat_402(connect: Connect) -> None:
    """Only what is licensed takes one."""
    ask = await connect(Confluence(seats=1))
    assert (await ask("POST", "/admin/user", json=ANN))[0] == 402


@pytest.mark.parametrize(
    ("version", "lists", "mails", "queries"),
    [
        ("8.3", 404, 404, 404),
        ("9.2.21", 200, 404, 200),
        ("9.5.4", 200, 200, 404),
        ("10.1.2", 200, 200, 200),
    ],
)
async def test_the_version_decides_what_is_there(
    connect: Connect, version: str, lists: int, mails: int, queries: int
) -> None:
    """A question of another version is a probe and no violation."""
    wiki = Confluence(version=version)
    wiki.add_group("r/d")
    ask = await connect(wiki)
    assert (await ask("GET", "/user/list", limit=1))[0] == lists
    assert (await ask("GET", "/admin/users/list/active"))[0] == mails
    assert (await ask("GET", "/group/member", groupName="r/d"))[0] == queries
    assert wiki.violations == []


async def test_memberships_are_idempotent_and_pages_are_clamped(connect: Connect) -> None:
    """204 both ways; `_links.next` says whether there is more."""
    wiki = Confluence(page_cap=2)
    wiki.add_group("team")
    for name in ("ann", "bob", "cy"):
        wiki.add_user(name)
    ask = await connect(wiki)
    for name in ("ann", "bob", "cy", "ann"):
        assert (await ask("PUT", f"/user/{name}/group/team"))[0] == 204
    page = (await ask("GET", "/group/team/member", limit=200))[1]
    assert page["size"] == 2 and page["limit"] == 2 and "next" in page["_links"]
    assert (await ask("DELETE", "/user/cy/group/team"))[0] == 204
    assert (await ask("DELETE", "/user/cy/group/team"))[0] == 204
    assert wiki.members("team") == {"ann", "bob"}


async def test_an_encoded_slash_is_refused_by_the_container(connect: Connect) -> None:
    """As Tomcat does."""
    wiki = Confluence()
    wiki.add_group("r/d")
    ask = await connect(wiki)
    async with ask.session.get(f"{ask.base}/rest/api/group/r%2Fd", headers=ask.headers) as answer:
        assert answer.status in (400, 404)


async def test_read_only_mode_says_so_by_a_flag(connect: Connect) -> None:
    """405, and the flag is in no language."""
    wiki = Confluence()
    wiki.read_only_mode = True
    ask = await connect(wiki)
    status, body, _ = await ask("POST", "/admin/user", json=ANN)
    assert status == 405 and body["data"]["allowedInReadOnlyMode"] is False


async def test_who_administers_is_shown_by_the_permissions(connect: Connect) -> None:
    """With the keys of the specification."""
    ask = await connect(Confluence())
    grants = (await ask("GET", "/permissions"))[1]
    assert {grant["operation"]["operationKey"] for grant in grants} == {"use", "administer"}
