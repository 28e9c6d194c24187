"""The served company: what its parent may ask, and whether it is really behind TLS."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from azsyncd.sandbox.datacenter import DataCenter
from azsyncd.sandbox.expected import Expectation
from azsyncd.sandbox.products import PRODUCTS
from azsyncd.sandbox.serve import Sandbox, obey, served
from azsyncd.sandbox.world import build


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(build(20, products=dict.fromkeys(PRODUCTS)), secret="s")


def fulfil(expectation: Expectation, product: DataCenter) -> None:
    """Make a product right by hand, as nobody should."""
    people = product.people
    for name in expectation.groups.values():
        if people.group(name) is None:
            product.add_group(name)
    for should in expectation.accounts.values():
        person = product.user(should.username)
        if person is None:
            person = product.add_user(should.username)
        department = {"department": should.department} if should.department else {}
        people.edit_person(
            person,
            email=should.email,
            display_name=should.display_name,
            active=should.active,
            attributes={**person.attributes, **{k: [v] for k, v in department.items()}},
            properties={**person.properties, **department},
        )
        wanted = {expectation.groups[group] for group in should.groups}
        for name in wanted:
            people.add_member(name, person)
        for name in set(person.groups) - {n.casefold() for n in wanted} - should.kept:
            people.remove_member(name, person)


def fulfil_all(sandbox: Sandbox) -> None:
    for name, product in sandbox.world.products.items():
        fulfil(sandbox.expected[name], product)


async def compare(sandbox: Sandbox) -> Any:
    return (await sandbox.compare())["products"]


async def test_at_first_much_is_missing_and_then_nothing(sandbox: Sandbox) -> None:
    before = sandbox.figures()["jira"]
    assert 0 < before["done"] < before["total"]
    assert len((await compare(sandbox))["jira"]["differences"]) > 20
    fulfil_all(sandbox)
    after = sandbox.figures()["jira"]
    assert after["done"] == after["total"] == before["total"]
    for found in (await compare(sandbox)).values():
        assert found["differences"] == found["foreign_touched"] == found["violations"] == []
        assert found["accounts"] >= found["active"] > 0
        assert found["adopted"] >= 2


async def test_foreign_accounts_that_were_touched_are_counted_apart(sandbox: Sandbox) -> None:
    fulfil_all(sandbox)
    sandbox.world.crowd.edit_user("svc-build", active=False)
    found = await compare(sandbox)
    assert found["crowd"]["foreign_touched"] == ["the foreign account 'svc-build' was changed"]
    assert found["jira"]["foreign_touched"] == []


async def test_what_a_product_does_not_know_is_a_violation(sandbox: Sandbox) -> None:
    sandbox.world.jira.violations.append("GET /nonsense: no such path")
    sandbox.world.crowd.counters.protected_writes = 2
    found = await compare(sandbox)
    assert found["jira"]["violations"] == ["GET /nonsense: no such path"]
    assert found["crowd"]["violations"] == ["2 writes to protected accounts"]


async def test_a_change_is_timed_for_each_product_by_looking_at_it(sandbox: Sandbox) -> None:
    fulfil_all(sandbox)
    told: list[Mapping[str, Any]] = []

    async def follow() -> None:
        for name in ("crowd", "jira", "cloud", "bitbucket", "confluence"):
            await asyncio.sleep(0.05)
            fulfil(sandbox.expected[name], sandbox.world.products[name])

    following = asyncio.create_task(follow())
    result = await sandbox.happen(told.append, ["joiner"], within=5)
    await following
    assert result["late"] == {}
    assert 0.05 <= result["seconds"]["crowd"] < result["seconds"]["jira"]
    assert result["seconds"]["confluence"] >= 0.25
    assert told[0]["text"] == result["text"]
    order = ["crowd", "jira", "cloud", "bitbucket", "confluence"]
    assert [each["product"] for each in told[1:]] == order


async def test_a_change_that_does_not_arrive_is_late_and_says_what_is_wrong(
    sandbox: Sandbox,
) -> None:
    fulfil_all(sandbox)
    result = await sandbox.happen(lambda _: None, ["joiner"], within=0.05)
    assert result["seconds"] == {}
    assert all("has no account" in texts[0] for texts in result["late"].values())
    assert set(result["late"]) == set(PRODUCTS)


async def test_many_changes_at_once_are_one_wait(sandbox: Sandbox) -> None:
    fulfil_all(sandbox)
    told: list[Mapping[str, Any]] = []
    following = asyncio.create_task(
        sandbox.happen(told.append, ["joiner", "guest", "restored", "disabled"], within=5)
    )
    await asyncio.sleep(0.02)
    fulfil_all(sandbox)
    result = await following
    assert result["text"] == "3 changes at once"
    assert result["changes"] == 3
    assert set(result["seconds"]) == set(PRODUCTS)


async def test_a_product_that_has_nothing_to_do_has_no_time(sandbox: Sandbox) -> None:
    fulfil_all(sandbox)
    user = sandbox.world.employees()[0]
    sandbox.days._kinds["promotion"] = lambda: str(  # type: ignore[assignment]
        sandbox.world.tenant.update(user.id, jobTitle="Chief")
    )
    result = await sandbox.happen(lambda _: None, ["promotion"], within=5)
    assert result["seconds"] == dict.fromkeys(PRODUCTS)


async def test_what_cannot_happen_says_nothing(sandbox: Sandbox) -> None:
    result = await sandbox.happen(lambda _: None, ["group renamed"])
    assert (result["text"], result["seconds"]) == ("", {})


async def test_obeys_line_by_line_and_answers_nonsense_with_an_error(sandbox: Sandbox) -> None:
    fulfil_all(sandbox)
    said: list[Mapping[str, Any]] = []

    async def lines() -> AsyncIterator[bytes]:
        yield b'{"id": 1, "do": "figures"}\n'
        yield b'{"id": 2, "do": "dance"}\n'
        yield b"no json\n"
        yield b'{"id": 3, "do": "happen", "kinds": ["unheard of"]}\n'
        yield b'{"id": 4, "do": "compare", "wait": 0}\n'
        while len(said) < 5:
            await asyncio.sleep(0.01)

    await obey(sandbox, lines(), said.append)
    answers = {each["id"]: each for each in said}
    assert answers[1]["result"] == sandbox.figures()
    assert "dance" in answers[2]["error"]
    assert "error" in answers[None]
    assert "unheard of" in answers[3]["error"]
    assert answers[4]["result"]["products"]["jira"]["differences"] == []
    json.dumps(said)


async def test_what_is_under_way_is_given_up_when_nobody_asks_any_more(sandbox: Sandbox) -> None:
    said: list[Mapping[str, Any]] = []

    async def lines() -> AsyncIterator[bytes]:
        yield b'{"id": 1, "do": "happen", "kinds": ["joiner"], "within": 60}\n'
        while not said:
            await asyncio.sleep(0.01)

    async with asyncio.timeout(5):
        await obey(sandbox, lines(), said.append)
    assert all("result" not in each for each in said)


async def test_everything_is_served_behind_tls_by_its_own_authority(tmp_path: Path) -> None:
    world = build(10, products=dict.fromkeys(PRODUCTS))
    async with served(world, tmp_path) as (_, ready):
        addresses, told = ready["addresses"], ready["targets"]
        addresses = addresses | {name: each["url"] for name, each in told.items()}
        trusting = ssl.create_default_context(cafile=ready["ca_file"])
        known = aiohttp.encode_basic_auth(told["crowd"]["username"], told["crowd"]["password"])
        questions: dict[str, tuple[str, dict[str, Any]]] = {
            "login": (f"/{ready['tenant_id']}/v2.0/.well-known/openid-configuration", {}),
            "graph": ("/v1.0/users/delta", {}),
            **{
                name: (path, {"headers": {"Authorization": f"Bearer {told[name]['token']}"}})
                for name, path in {
                    "jira": "/rest/api/2/myself",
                    "confluence": "/rest/api/user/current",
                    "bitbucket": "/rest/api/latest/admin/groups",
                    "cloud": f"/scim/directory/{told['cloud']['directory_id']}/Users",
                }.items()
            },
            "crowd": (
                "/rest/usermanagement/1/config/cookie",
                {"headers": {"Authorization": known, "Accept": "application/json"}},
            ),
        }
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            for name, (path, more) in questions.items():
                url = addresses[name] + path
                assert url.startswith("https://127.0.0.1:")
                async with session.get(url, ssl=trusting, **more) as answer:
                    assert answer.status == (401 if name == "graph" else 200), name
                with pytest.raises(aiohttp.ClientConnectorCertificateError):
                    await session.get(url, **more)
        assert (tmp_path / "webhook.pem").stat().st_mode & 0o077 == 0
        json.dumps(ready)
