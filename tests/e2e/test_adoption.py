"""Adoption as an operator meets it: suggest, link, unlink, explain, and targets that move."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .stage import Stage, staged

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path, users=30) as made:
        yield made


async def test_accounts_are_suggested_linked_explained_and_let_go(stage: Stage) -> None:
    suggested = (await stage.run("suggest", "--target", "jira", "--json")).json
    assert suggested[0]["identities"] > 10 and suggested[0]["lines"][0] == "targets:"
    assert "For the file:" in (await stage.run("suggest")).out

    daemon = await stage.start()
    await stage.answers(daemon)
    await stage.run("sync", expect=None)
    await stage.converged()
    jo, ada = (str(user.properties["userPrincipalName"]) for user in stage.world.employees()[3:5])

    explained = await stage.run("explain", jo, "--target", "jira")
    for step in ("1 found", "2 in scope", "3 matched", "4 mapped", "5 planned"):
        assert step in explained.out
    assert "What to do: nothing" in explained.out

    # A wrong account is let go, and given back.
    refused = await stage.run("link", ada, jo.lower(), "--target", "jira", expect=1)
    assert "is linked to" in refused.err
    await stage.run("unlink", jo, "--target", "jira", "--reason", "a robot's")
    stage.world.tenant.update(stage.world.employees()[3].id, displayName="Never Seen")
    await stage.run("sync", expect=None)
    account = next(
        person
        for each in stage.world.jira.people.all
        for person in each.people.values()
        if person.name == jo.lower()
    )
    assert account.display_name != "Never Seen"
    said = (await stage.run("explain", jo, "--target", "jira")).out
    assert "unlinked by" in said and "a robot's" in said
    file = stage.folder / "people.csv"
    file.write_text(f"who,account\n{jo},{account.name}\n")
    await stage.run("link", "--file", str(file), "--target", "jira", "--reason", "it is hers")
    await stage.converged()
    history = (await stage.run("history", "--user", jo, "--format", "json")).json
    assert {"link", "unlink"} <= {row["change"] for row in history}
    assert await stage.stop(daemon) == 0
    assert stage.violations() == []


async def test_a_target_goes_on_under_another_name_and_is_given_up(stage: Stage) -> None:
    daemon = await stage.start()
    await stage.answers(daemon)
    await stage.run("sync", expect=None)
    await stage.converged()
    stage.config["targets"]["tracker"] = stage.config["targets"].pop("jira")
    stage.write_config()
    await stage.run("reload")
    refused = await stage.run("sync", "--target", "tracker", "--json", expect=1)
    assert "target rename jira tracker" in refused.json["targets"][0]["error"]
    status = (await stage.run("status", "--json", expect=1)).json
    assert any("target rename jira NEW" in line for line in status["problems"])
    asked = await stage.run("target", "rename", "jira", "tracker", expect=1)
    assert "--yes" in asked.err
    renamed = await stage.run("target", "rename", "jira", "tracker", "--yes", "--json")
    assert renamed.json["accounts"] > 10
    stage.world.tenant.update(stage.world.employees()[3].id, displayName="Jo New")
    await stage.converged()
    names = {row["target"] for row in (await stage.run("history", "--format", "json")).json}
    assert "jira" not in names

    # Without a daemon: taken out of the file, and given up.
    assert await stage.stop(daemon) == 0
    crowd = stage.config["targets"].pop("crowd")
    stage.write_config()
    stayed = await stage.run("target", "detach", "tracker", "--yes", expect=1)
    assert "in the file still" in stayed.err
    await stage.run("target", "detach", "crowd", "--yes")
    status = (await stage.run("status", "--json", expect=None)).json
    assert not any("crowd" in line for line in status["problems"])
    # And back: a first contact, which waits for its consent.
    stage.config["targets"]["crowd"] = crowd
    stage.write_config()
    planned = (await stage.run("plan", "--target", "crowd", "--format", "json", expect=None)).json
    assert "create" not in planned["targets"][0]["changes"]
    await stage.run("sync", expect=None)
    await stage.converged()
    assert stage.violations() == []
