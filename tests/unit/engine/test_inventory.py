"""What a reading of a product proves, and what it does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from azsyncd.engine.inventory import MOST_LEFT_OUT
from azsyncd.errors import TargetUnavailable
from azsyncd.model.accounts import Account
from azsyncd.model.identities import ObjectId, Seen
from azsyncd.targets.memory import Memory

from .office import opened


async def test_rule_02_what_a_broken_off_reading_saw_is_no_presence(tmp_path: Path) -> None:
    """Its number is not used again: who was deleted meanwhile is not there any more."""
    async with opened(tmp_path) as office:
        product = await office.open("jira")
        for name in ("jo", "ann"):
            product.put(Account(username=name, key=name))

        async def down(when: str, method: str) -> None:
            if method == "groups":
                raise TargetUnavailable("reset")

        product.faults, fine = down, product.faults
        with pytest.raises(TargetUnavailable):
            await office.reconciles["jira"].look()
        product.faults = fine
        del product.held["ann"]
        await office.reconciles["jira"].look()
        rows = await office.store.read(lambda db: db.execute("SELECT name FROM account").fetchall())
        assert [row["name"] for row in rows] == ["jo"]


class Silent(Memory):
    """Its listing can come empty, with status 200, though everybody stands there."""

    silent = False

    async def accounts(self) -> AsyncIterator[Account]:
        if not self.silent:
            async for account in super().accounts():
                yield account


async def test_rule_02_an_empty_listing_is_given_up_after_some_questions(tmp_path: Path) -> None:
    """Nobody is taken for gone, nothing is written, and nobody is asked for whose turn is not."""
    number = MOST_LEFT_OUT + 50
    async with opened(tmp_path) as office:
        product = office.products["p"] = Silent("p")
        await office.open("p")
        await office.crawl(
            *(
                Seen(
                    ObjectId(f"u{n}"),
                    {
                        "userPrincipalName": f"u{n}@x.example",
                        "displayName": f"U {n}",
                        "mail": f"u{n}@x.example",
                        "accountEnabled": True,
                    },
                )
                for n in range(number)
            )
        )
        assert (await office.turn("p")).done == {"create": number}
        calls: Counter[str] = Counter()

        async def count(when: str, method: str) -> None:
            calls[method] += when == "before"

        product.silent, product.faults = True, count
        with capture_logs() as logs:
            report = await office.turn("p", full=True)
        assert report.done == {}
        assert calls["read_account"] == MOST_LEFT_OUT
        assert "inventory.incomplete" in [line["event"] for line in logs]
        rows = await office.store.read(lambda db: db.execute("SELECT a FROM account").fetchall())
        assert len(rows) == number
