"""The simulated Bitbucket, asked over real HTTP, says what the contract says it says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from azsyncd.sandbox.bitbucket import Bitbucket
from azsyncd.sandbox.clock import FakeClock

Connect = Callable[[Bitbucket], Awaitable[Any]]
ANN = {"name": "ann", "displayName": "Ann", "emailAddress": "ann@example.com", "password": "x" * 20}


@pytest.fixture
def connect(caller: Any) -> Connect:
    headers = {"Authorization": "Bearer bitbucket-token"}
    return lambda product: caller(product, "/git", "/rest/api/latest", headers)


def exception(body: Any) -> str:
    name: str = body["errors"][0]["exceptionName"]
    return name.rpartition(".")[2]


async def test_an_account_lives_from_create_to_delete(connect: Connect) -> None:
    """All in the query; `email` on update, `emailAddress` elsewhere; the id outlives a rename."""
    git = Bitbucket(clock=FakeClock())
    ask = await connect(git)
    assert (await ask("POST", "/admin/users", **ANN))[0] == 204
    assert git.members("stash-users") == {"ann"}
    status, now, _ = await ask("PUT", "/admin/users", json={"name": "ann", "email": "a@b.org"})
    assert (status, now["emailAddress"], now["displayName"]) == (200, "a@b.org", "Ann")
    rename = {"name": "ann", "newName": "Ann@b.org"}
    status, then, _ = await ask("POST", "/admin/users/rename", json=rename)
    assert (status, then["id"], then["slug"]) == (200, now["id"], "ann_b.org")
    assert (await ask("GET", "/users/ann_b.org"))[1]["name"] == "Ann@b.org"
    assert (await ask("DELETE", "/admin/users", name="ann@b.org"))[0] == 200
    assert git.user("Ann@b.org") is None and git.violations == []


async def test_there_is_no_way_to_deactivate(connect: Connect) -> None:
    """An unknown key is refused, and noted (BSERV-8817)."""
    git = Bitbucket()
    git.add_user("ann")
    ask = await connect(git)
    assert (await ask("PUT", "/admin/users", json={"name": "ann", "active": False}))[0] == 400
    assert git.violations


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"name": "AZSYNCD"}, 409),
        ({"displayName": " "}, 400),
        ({"emailAddress": "nowhere"}, 400),
        ({"password": ""}, 400),
    ],
)
async def test_what_is_not_a_new_account_is_refused(
    connect: Connect, change: dict[str, Any], status: int
) -> None:
    """With an exception's name."""
    ask = await connect(Bitbucket())
    answered, body, _ = await ask("POST", "/admin/users", **{**ANN, **change})
    assert answered == status and exception(body)


async def test_pages_are_counted_by_the_server(connect: Connect) -> None:
    """Whoever adds up what was shown reads some twice."""
    git = Bitbucket(page_cap=3)
    for number in range(8):
        git.add_user(f"u{number}")
    ask = await connect(git)
    names: list[str] = []
    start = 0
    while True:
        page = (await ask("GET", "/admin/users", start=start, limit=500))[1]
        assert page["limit"] == 3 == max(3, page["size"])
        names += [each["name"] for each in page["values"]]
        if page["isLastPage"]:
            break
        start = page["nextPageStart"]
        assert start != len(names)
    assert sorted(names) == sorted(person.name for person in git.users())


async def test_adding_many_is_all_or_nothing(connect: Connect) -> None:
    """404 if one is missing; 403 where seats run out; the older path has the names reversed."""
    git = Bitbucket(seats=2)
    git.add_group("team")
    for name in ("ann", "bob"):
        git.add_user(name)
    ask = await connect(git)

    async def add(group: str, *users: str) -> tuple[int, Any]:
        body = {"group": group, "users": list(users)}
        status, answer, _ = await ask("POST", "/admin/groups/add-users", json=body)
        return status, answer

    assert (await add("team", "ann", "nobody"))[0] == 404 and git.members("team") == set()
    assert (await add("team", "ann", "bob"))[0] == 200 == (await add("team", "ann"))[0]
    status, answer = await add("stash-users", "ann", "bob")
    assert status == 403 and exception(answer) == "LicenseLimitException"
    body = {"context": "ann", "itemName": "team"}
    assert (await ask("POST", "/admin/groups/remove-user", json=body))[0] == 404
    assert (await ask("POST", "/admin/users/remove-group", json=body))[0] == 200
    assert git.members("team") == {"bob"}


async def test_the_grants_of_a_deleted_account_wait_for_seven_days(connect: Connect) -> None:
    """BSERV-10550: a namesake within the week gets them, later nobody does."""
    for days, granted in ((1, True), (8, False)):
        git = Bitbucket(clock=FakeClock())
        git.add_user("ann")
        git.grant("ann", "ADMIN")
        ask = await connect(git)
        assert (await ask("DELETE", "/admin/users", name="ann"))[0] == 200
        git.clock.advance(days * 86400)  # type: ignore[attr-defined]
        assert (await ask("POST", "/admin/users", **ANN))[0] == 204
        assert bool(git.granted_users) is granted


async def test_who_may_not_gets_401(connect: Connect) -> None:
    """Where other products answer 403; and nobody lowers who stands above."""
    git = Bitbucket()
    git.granted_groups["bitbucket-administrators"] = "ADMIN"
    git.add_user("root")
    git.grant("root", "SYS_ADMIN")
    ask = await connect(git)
    assert (await ask("DELETE", "/admin/permissions/users", name="root"))[0] == 409
    git.take_away_rights()
    status, body, _ = await ask("GET", "/admin/user-directories")
    assert status == 401 and exception(body) == "AuthorisationException"


async def test_a_person_says_beforehand_whether_it_can_be_written(connect: Connect) -> None:
    """mutableDetails, mutableGroups, deletable."""
    git = Bitbucket()
    git.set_read_only(groups=False)
    ask = await connect(git)
    shown = (await ask("GET", "/admin/users"))[1]["values"][0]
    assert not shown["mutableDetails"] and shown["mutableGroups"] and not shown["deletable"]
