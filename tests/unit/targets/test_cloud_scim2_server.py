"""The Cloud connector against a SCIM server that others wrote (scim2-server).

It holds to RFC 7644 where Atlassian does not: the wrapper here moves it below Atlassian's path, and
turns Atlassian's array of members to remove into the RFC's filters. Everything else is its own.
"""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import replace
from io import BytesIO
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from scim2_server.memory import InMemoryStorage
from scim2_server.testserver.application import BearerTokenApplication
from scim2_server.utils import load_default_provider

from azsyncd.errors import AlreadyExists, NotFound, TargetRefused
from azsyncd.http import Limits
from azsyncd.model.accounts import Account, Mark, TargetGroup
from azsyncd.sandbox.clock import FakeClock
from azsyncd.targets.cloud import Cloud
from azsyncd.targets.connect import SignIn, connect

DIRECTORY = "7d1c2f0e-1111-4222-8333-944445555666"
ANN = Account(
    username="ann@example.com",
    email="ann@example.com",
    display_name="Ann Ähm",
    mark=Mark("azsyncd", "0b0c0d0e-1111-4222-8333-444455556666"),
)
Environ = dict[str, Any]


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


class Atlassian:
    """The wrapper: Atlassian's path, and its way to remove members."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.seen: list[tuple[str, str]] = []

    def __call__(self, environ: Environ, start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        prefix = f"/scim/directory/{DIRECTORY}"
        self.seen.append((environ["REQUEST_METHOD"], path.removeprefix(prefix)))
        if not path.startswith(prefix):
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b""]
        environ["PATH_INFO"] = "/v2" + path.removeprefix(prefix)
        if environ["REQUEST_METHOD"] == "PATCH":
            self._rewrite(environ)
        found: Iterable[bytes] = self.app(environ, start)
        return found

    def _rewrite(self, environ: Environ) -> None:
        body = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        operations = []
        for each in body["Operations"]:
            if each["op"] == "remove" and each["path"] == "members":
                for member in each["value"]:
                    path = f'members[value eq "{member["value"]}"]'
                    operations.append({"op": "remove", "path": path})
            else:
                operations.append(each)
        raw = json.dumps({**body, "Operations": operations}).encode()
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = BytesIO(raw), str(len(raw))


@pytest.fixture
def server() -> Iterator[tuple[Atlassian, str]]:
    provider = load_default_provider()
    app = Atlassian(BearerTokenApplication(InMemoryStorage(), provider, bearer_tokens=["key"]))
    with make_server("127.0.0.1", 0, app, handler_class=_Quiet) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield app, f"http://127.0.0.1:{httpd.server_port}"
        finally:
            httpd.shutdown()
            thread.join()


@pytest.fixture
async def target(server: tuple[Atlassian, str]) -> AsyncIterator[Cloud]:
    found = make(server[1], "key")
    yield found
    await found.close()


def make(url: str, key: str) -> Cloud:
    target = connect(
        "cloud",
        "cloud",
        url=url,
        sign_in=SignIn(token=key),
        clock=FakeClock(),
        limits=Limits(requests_per_second=10_000, concurrency=1),
        instance="azsyncd",
        directory_id=DIRECTORY,
        attributes=("title", "department", "givenName", "mobile"),
    )
    assert isinstance(target, Cloud)
    return target


async def test_an_account_lives_from_create_to_delete(target: Cloud) -> None:
    """What it stores is what was meant, and the mark is read again."""
    await target.probe()
    values = {"title": "Dr", "department": "R&D", "givenName": "Ann", "mobile": "+49 170 1234567"}
    made = await target.create_account(replace(ANN, attributes=values))
    assert replace(made, key=None) == replace(ANN, active=True, attributes=values)
    assert await target.find_account("ann@example.com") == made
    want = replace(
        made,
        email="new@example.com",
        display_name="Ann B.",
        attributes={**values, "title": "Prof", "department": "Sales", "mobile": "+49 171 1234567"},
    )
    changed = await target.update_account(made, want)
    assert changed == want
    renamed = await target.rename_account(changed, replace(changed, username="ann.b@example.com"))
    assert (renamed.username, renamed.key, renamed.mark) == (
        "ann.b@example.com",
        made.key,
        ANN.mark,
    )
    assert (await target.set_active(renamed, False)).active is False
    assert (await target.set_active(renamed, True)).active is True
    await target.delete_account(renamed)
    assert await target.read_account(renamed) is None
    await target.delete_account(renamed)
    with pytest.raises(NotFound):
        await target.update_account(renamed, want)


async def test_a_cleared_attribute_reads_as_empty(target: Cloud) -> None:
    """By an empty text, and an empty list."""
    await target.probe()
    values = {"title": "Dr", "department": "R&D", "mobile": "+49 170 1234567", "givenName": "A"}
    made = await target.create_account(replace(ANN, attributes=values))
    empty = dict.fromkeys(values, "")
    changed = await target.update_account(made, replace(made, attributes=empty))
    assert changed.attributes == empty
    read = await target.read_account(made)
    assert read is not None and read.attributes == empty


async def test_a_name_that_is_taken_already_exists(target: Cloud) -> None:
    """409 with scimType uniqueness."""
    await target.create_account(replace(ANN, mark=None))
    with pytest.raises(AlreadyExists):
        await target.create_account(ANN)


async def test_everything_is_listed_over_many_pages(target: Cloud) -> None:
    """More than a page of accounts; groups with their members."""
    names = [f"user{number:03}@example.com" for number in range(130)]
    people = [
        await target.create_account(replace(ANN, username=name, email=name, mark=None))
        for name in names
    ]
    found = [account async for account in target.accounts()]
    assert sorted(account.username for account in found) == names
    groups = [await target.create_group(TargetGroup(name=f"Group {n}")) for n in range(12)]
    for group, account in zip(groups, people, strict=False):
        assert await target.add_members(group, [account]) == {}
    assert {group.name async for group in target.groups()} == {group.name for group in groups}
    read = {key: keys async for key, keys in target.members(groups)}
    assert read == {
        group.key: [account.key] for group, account in zip(groups, people, strict=False)
    }


async def test_members_come_and_go(target: Cloud) -> None:
    """Already so is success."""
    people = [
        await target.create_account(replace(ANN, username=name, email=name, mark=None))
        for name in ("a@example.com", "b@example.com", "c@example.com")
    ]
    group = await target.create_group(TargetGroup(name='Team "A" / Ü'))
    assert await target.find_group(group.name) == group
    assert await target.add_members(group, people) == {}
    assert await target.add_members(group, people[:1]) == {}
    assert await target.remove_members(group, people[1:]) == {}
    assert await target.remove_members(group, people[1:]) == {}
    assert [pair async for pair in target.members([group])] == [(group.key, [people[0].key])]
    await target.delete_group(group)
    assert [pair async for pair in target.members([group])] == []
    with pytest.raises(NotFound):
        await target.add_members(group, people)


async def test_a_wrong_key_stops_the_target(server: tuple[Atlassian, str]) -> None:
    """401."""
    wrong = make(server[1], "another")
    with pytest.raises(TargetRefused, match="401"):
        await wrong.ask()
    await wrong.close()
