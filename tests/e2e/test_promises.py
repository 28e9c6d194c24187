"""Promises of the README that only a whole daemon can keep."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .stage import Stage, staged

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """Both products filled; from now on nothing but the feed tells of changes."""
    async with staged(tmp_path) as made:
        made.config["schedule"] |= {"full_sync": "", "delta_poll": "1s"}
        made.write_config()
        await made.run("sync")
        await made.converged()
        yield made


async def test_i3_no_change_is_lost_however_often_the_daemon_is_killed(stage: Stage) -> None:
    """The place in the feed moves only together with what came with it; there is no full sync."""
    rng = random.Random(3)
    tenant = stage.world.tenant
    for number in range(6):
        daemon = await stage.start()
        for each in range(4):
            name = f"new.{number}.{each}"
            user = tenant.add_user(f"{name}@fabrikam.example", displayName=name, mail=None)
            tenant.add_member(stage.world.scope_group, user)
            tenant.add_member(stage.world.projects[each % 2], user)
        tenant.update(stage.world.employees()[3 + number].id, displayName=f"Renamed {number}")
        await asyncio.sleep(rng.uniform(0.3, 2.5))
        await stage.stop(daemon, signal.SIGKILL)
    daemon = await stage.start()
    await stage.converged(60)
    assert await stage.stop(daemon) == 0
    assert stage.log.read_text().count("crawl.started") == 0
    assert stage.violations() == []


async def test_i7_one_bad_object_is_one_bad_object(stage: Stage) -> None:
    """Jira deactivates no project lead: she waits with the reason, everybody else is done."""
    lead, *others = stage.world.employees()[3:8]
    upn = str(lead.properties["userPrincipalName"])
    accounts = {p.name.casefold(): p for p in stage.world.jira.users()}
    person, *rest = [
        accounts[str(user.properties["userPrincipalName"]).casefold()] for user in (lead, *others)
    ]
    person.leads.append("ATL")
    daemon = await stage.start()
    await stage.answers(daemon)
    for user in (lead, *others):
        stage.world.tenant.update(user.id, accountEnabled=False)

    await stage.until("the others", lambda: not any(each.active for each in rest))
    await stage.until("hers", lambda: "change.rejected" in stage.log.read_text())
    assert person.active
    shown = (await stage.run("explain", upn, "--target", "jira", "--json")).json
    waits = [each for each in shown["targets"][0]["withheld"] if each["reason"] == "blocked"]
    assert waits and waits[0]["hint"], shown
    assert (await stage.run("status", expect=1)).out

    person.leads.clear()
    await stage.run("sync", "--user", upn)
    assert not person.active
    await stage.converged(30)
    await stage.run("status")
    assert await stage.stop(daemon) == 0
