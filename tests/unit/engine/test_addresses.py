"""Where an address is somebody's alone, as in Atlassian Cloud: it is a name like the username."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from azsyncd.model.accounts import Account
from azsyncd.model.identities import ObjectId, Seen
from azsyncd.plan.policy import GuardRules, Policy
from azsyncd.state import waiting
from azsyncd.targets.memory import ABLE, Memory

from .office import EVERYBODY, Office, opened

UNIQUE = replace(ABLE, unique_emails=True)
FREE = GuardRules(rename="unlimited", update="unlimited")


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    with capture_logs():
        async with opened(tmp_path) as office:
            office.products["cloud"] = Memory("cloud", capabilities=UNIQUE)
            await office.open("cloud", Policy(scope=EVERYBODY, guard=FREE))
            yield office


def user(number: int, name: str, mail: str, **more: object) -> Seen:
    shown = {"userPrincipalName": name, "mail": mail, "displayName": f"U {number}"}
    return Seen(ObjectId(f"u{number}"), {**shown, "accountEnabled": True, **more})


def held(office: Office) -> dict[str, tuple[str, str | None]]:
    """Whose account is called what, by the mark."""
    accounts = office.products["cloud"].held.values()
    return {str(a.mark and a.mark.object_id): (a.username, a.email) for a in accounts}


async def test_rule_27_two_who_swap_names_and_addresses_have_them_in_one_turn(
    office: Office,
) -> None:
    await office.crawl(user(1, "a@x.org", "a@x.org"), user(2, "b@x.org", "b@x.org"))
    await office.turn("cloud")
    await office.crawl(user(1, "b@x.org", "b@x.org"), user(2, "a@x.org", "a@x.org"), whole=False)
    report = await office.turn("cloud")
    assert not report.failed
    assert held(office) == {"u1": ("b@x.org", "b@x.org"), "u2": ("a@x.org", "a@x.org")}
    assert office.products["cloud"].needless == []


async def test_a_swap_of_addresses_alone_is_one_as_well(office: Office) -> None:
    await office.crawl(user(1, "a@x.org", "a@x.org"), user(2, "b@x.org", "b@x.org"))
    await office.turn("cloud")
    await office.crawl(user(1, "a@x.org", "b@x.org"), user(2, "b@x.org", "a@x.org"), whole=False)
    report = await office.turn("cloud")
    assert not report.failed
    assert held(office) == {"u1": ("a@x.org", "b@x.org"), "u2": ("b@x.org", "a@x.org")}


async def test_an_update_leaves_the_address_alone(office: Office) -> None:
    """It goes with the name, in one request: or a refused rename would be half done."""
    await office.crawl(user(1, "a@x.org", "a@x.org"))
    await office.turn("cloud")
    await office.crawl(user(1, "c@x.org", "c@x.org", displayName="C"), whole=False)
    office.products["cloud"].calls.clear()
    await office.turn("cloud")
    assert [call for call, _ in office.products["cloud"].calls] == [
        "rename_account",
        "update_account",
    ]
    assert held(office) == {"u1": ("c@x.org", "c@x.org")}


async def test_who_keeps_the_name_of_an_adopted_account_gets_her_address_all_the_same(
    office: Office,
) -> None:
    office.products["cloud"].put(Account(username="a@x.org", email="a@x.org", display_name="A"))
    await office.crawl(user(1, "a@x.org", "a@x.org"))
    await office.turn("cloud")
    await office.crawl(user(1, "z@x.org", "new@x.org"), whole=False)
    await office.turn("cloud")
    assert held(office) == {"u1": ("a@x.org", "new@x.org")}


@pytest.mark.parametrize("seed", range(12))
async def test_rule_27_whoever_passes_names_and_addresses_on_all_have_theirs(
    office: Office, seed: int
) -> None:
    draw = random.Random(seed)
    names = [f"n{number}@x.org" for number in range(12)]
    mails = [f"m{number}@x.org" for number in range(12)]
    people = dict(enumerate(zip(names, mails, strict=True)))
    await office.crawl(*(user(n, *people[n]) for n in people))
    await office.turn("cloud")
    for _ in range(4):
        who = draw.sample(sorted(people), draw.randint(2, 8))
        had = [people[n] for n in who]
        if draw.random() < 0.5:  # whoever gets one's name gets another's address
            one, two = draw.sample(had, len(had)), draw.sample(had, len(had))
            had = [(a[0], b[1]) for a, b in zip(one, two, strict=True)]
        else:
            draw.shuffle(had)
        people |= dict(zip(who, had, strict=True))
        await office.crawl(*(user(n, *people[n]) for n in who), whole=False)
        report = await office.turn("cloud")
        assert not report.failed
        assert held(office) == {f"u{n}": names for n, names in people.items()}


async def test_rule_16_of_two_who_have_one_address_neither_is_guessed(office: Office) -> None:
    """And whoever waits gets it as soon as the other has another one."""
    await office.crawl(user(1, "a@x.org", "team@x.org"), user(2, "b@x.org", "TEAM@x.org"))
    report = await office.turn("cloud")
    assert (report.done, report.failed, office.products["cloud"].calls) == ({}, [], [])
    waits = await office.store.read(lambda db: waiting.listed(db, 1))
    assert [row["reason"] for row in waits] == ["conflict", "conflict"]
    await office.crawl(user(2, "b@x.org", "b@x.org"), whole=False)
    await office.turn("cloud")
    assert held(office) == {"u1": ("a@x.org", "team@x.org"), "u2": ("b@x.org", "b@x.org")}
