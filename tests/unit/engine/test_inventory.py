"""What a reading of a product proves, and what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from azsyncd.errors import TargetUnavailable
from azsyncd.model.accounts import Account

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
