"""Who hears of drift: the metric, `status`, and the log (rule 22)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from azsyncd.engine.running import Running
from azsyncd.engine.status import contested
from azsyncd.metrics import Metrics
from azsyncd.model.identities import ObjectId, Seen
from azsyncd.state import belongings, drift, questions

from .office import Office, opened

HERS = "u1@x.org"


def user(id_: str) -> Seen:
    upn = f"{id_}@x.org"
    return Seen(ObjectId(id_), {"userPrincipalName": upn, "mail": upn, "displayName": id_,
                                "accountEnabled": True})  # fmt: skip


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with opened(tmp_path) as office:
        await office.open("jira")
        await office.crawl(*(user(f"u{number}") for number in range(4)))
        await office.turn("jira")
        yield office


def by_hand(office: Office, *names: str) -> None:
    product = office.products["jira"]
    for name in names:
        account = product.account(name)
        assert account is not None
        product.held[str(account.key)] = replace(account, display_name="By hand")


async def waits(office: Office) -> questions.Waits:
    t = office.reconciles["jira"].t
    return await office.store.read(lambda db: questions.what_waits(db, t))


async def test_rule_22_the_metric_and_the_log_count_what_is_found_anew(office: Office) -> None:
    metrics = Metrics("1")
    running: Any = SimpleNamespace(metrics=metrics)
    office.reconciles["jira"].on_drift(Running._drift_observer(running, "jira"))
    by_hand(office, HERS, "u2@x.org")
    with capture_logs() as logs:
        await office.turn("jira", full=True)
        await office.turn("jira", full=True)
    found = [each for each in logs if each["event"] == "drift.found"]
    assert found == [
        {"event": "drift.found", "log_level": "warning", "target": "jira", "update": 2}
    ]
    line = 'azsyncd_drift_total{kind="update",target="jira"} 2.0'
    assert line in metrics.exposition().decode()
    assert (await waits(office)).drift == 0


async def test_rule_22_status_says_that_somebody_else_writes_there(office: Office) -> None:
    jira = office.reconciles["jira"]
    running: Any = office
    for _ in range(drift.TIMES):
        assert await contested(running, jira) == ""
        by_hand(office, HERS)
        await office.turn("jira", full=True)
    told = await contested(running, jira)
    assert told.startswith("jira: somebody else writes to this product (1 ")
    by_hand(office, HERS)
    await office.turn("jira", full=True)
    assert (await waits(office)).drift == 1 and (await waits(office)).withheld == {"mode": 1}
    await office.store.write(lambda db: belongings.give_up(db, jira.t))
    assert (await waits(office)).drift == 0


async def test_rule_22_explain_does_not_promise_what_somebody_else_undoes(office: Office) -> None:
    for _ in range(5):
        by_hand(office, HERS)
        await office.turn("jira", full=True)
    told = (await office.operations.explain(who=HERS))["targets"][0]
    assert told["planned"] == []
    assert "somebody else writes to this product" in told["withheld"][0]["detail"]
