"""Groups kept in groups, as people see it: `check`, `explain`, and a plan kept in a file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from azsyncd.engine import checkup
from azsyncd.engine.saved import evidence_of
from azsyncd.plan.policy import GroupRules, Policy
from azsyncd.state import spill
from azsyncd.state.standing import standing
from azsyncd.targets.memory import ABLE

from .office import EVERYBODY, Office, opened
from .test_explain import group
from .test_linking import user

KEEP = Policy(scope=EVERYBODY, groups=GroupRules(nested="keep"))
ENTRA = (
    user("u1"),
    user("u2"),
    group("g1", "atl-top", "g2", "u1"),
    group("g2", "atl-low", "u2"),
)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with opened(tmp_path) as office:
        await office.open("crowd", KEEP)
        await office.crawl(*ENTRA)
        yield office


async def checked(office: Office) -> list[tuple[str, str]]:
    lines = await checkup._target("crowd", office.reconciles["crowd"])
    return [(line["verdict"], line["message"]) for line in lines if "groups" in line["message"]]


async def told(office: Office, who: str, about: str | None = None) -> dict[str, Any]:
    found = await office.operations.explain(who=who, group=about)
    return dict(found["targets"][0])


async def test_check_says_what_becomes_of_groups_in_groups(office: Office) -> None:
    """Whether it can is not known before it was tried."""
    product = office.products["crowd"]
    assert [verdict for verdict, _ in await checked(office)] == ["ok"]
    product.nests = False
    await office.turn("crowd")
    [(verdict, why)] = await checked(office)
    assert verdict == "warning"
    assert why == "it refused to put 1 groups into others: their people are put into each"
    product.capabilities = replace(ABLE, nests_groups=False)
    [(verdict, why)] = await checked(office)
    assert (verdict, why.partition(":")[0]) == ("warning", "it takes no groups into groups")


async def test_explain_says_through_which_group_she_is_in_it(office: Office) -> None:
    await office.turn("crowd")
    assert office.products["crowd"].members_of("atl-top") == {"u1@x.org"}
    row = await told(office, "u2@x.org", "atl-top")
    said = "u2@x.org is in atl-top through atl-low: in the product that stands in it as well"
    assert row["in_group"]["why"] == said


async def test_explain_shows_the_place_of_a_group(office: Office) -> None:
    await office.turn("crowd")
    await office.crawl(
        replace(group("g1", "atl-top", "g2"), members=_gone(group("g1", "atl-top", "g2"))),
        whole=False,
    )
    row = await told(office, "atl-low")
    assert [(each["change"], each["group"]) for each in row["planned"]] == [
        ("remove_child", "atl-top")
    ]


def _gone(seen: Any) -> Any:
    return tuple(replace(member, removed=True) for member in seen.members)


async def test_a_kept_plan_knows_whether_the_child_group_stood(office: Office) -> None:
    reconcile = office.reconciles["crowd"]
    await office.turn("crowd")
    office.products["crowd"].held_groups["atl-top"].children.clear()
    await reconcile.prepare()
    await reconcile.take_inventory()
    await reconcile.rehearse()

    def evidence(db: Any) -> list[dict[str, Any]]:
        rows = spill.rows(db, reconcile.t)
        assert [row.change.kind for row in rows] == ["add_child"]
        return [evidence_of(db, row, standing(db, reconcile.t, row)) for row in rows]

    [found] = await office.store.read(evidence)
    assert (found["group"], found["account"], found["edge"]) == ("atl-top", "atl-low", None)
