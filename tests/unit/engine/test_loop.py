"""The loop of one target: what ends it, and what does not."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from structlog.testing import capture_logs

from azsyncd.model.identities import ObjectId, Seen

from .office import opened

JO = Seen(
    ObjectId("u1"), {"userPrincipalName": "jo@x.org", "displayName": "Jo", "accountEnabled": True}
)


async def test_i9_a_state_that_contradicts_itself_stops_one_target_for_a_while(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as office:
        product = await office.open("jira")
        await office.crawl(JO)
        left = ["create_account"]

        async def contradict(when: str, method: str) -> None:
            if when == "after" and method in left:
                left.remove(method)
                raise sqlite3.IntegrityError("UNIQUE constraint failed: link.a")

        product.faults = contradict
        reconcile = office.reconciles["jira"]
        with capture_logs() as logs:
            loop = asyncio.create_task(reconcile.run())
            async with asyncio.timeout(10):
                while not reconcile.confused:
                    await asyncio.sleep(0.01)
                assert reconcile.state.state == "down"
                assert "contradicts itself" in reconcile.state.detail
                reconcile.bell.ring("operator")  # else it looks again in five minutes
                while reconcile.state.state != "idle":
                    await asyncio.sleep(0.01)
                reconcile.stop()
                await loop
        assert [account.username for account in product.held.values()] == ["jo@x.org"]
        assert "target.confused" in [line["event"] for line in logs]


async def test_a_turn_that_waited_for_its_turn_does_nothing_once_the_target_stands_still(
    tmp_path: Path,
) -> None:
    """`target rename` gives its number to another, while the loop is kept quiet."""
    async with opened(tmp_path) as office:
        await office.open("jira")
        await office.crawl(JO)
        reconcile = office.reconciles["jira"]
        async with reconcile.quiet():
            turn = asyncio.create_task(reconcile.turn(cause="test"))
            await asyncio.sleep(0)
            await office.store.write(lambda db: db.execute("DELETE FROM target"))
            reconcile.stop()
        assert (await turn).stopped == "asked"
