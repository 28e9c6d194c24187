"""A company, two products with contrary files, and days on which everything happens at once.

Each day is compared, account by account and membership by membership, with an oracle that knows
the rules of behaviour and the tenant, and nothing of the program.

AZSYNCD_USERS=5000 AZSYNCD_DAYS=500 is the whole of it; AZSYNCD_SEEDS=0-19 draws other companies.
From seed 1 on most of the two files is drawn too.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from .living import Days

USERS = int(os.environ.get("AZSYNCD_USERS", "150"))
DAYS = int(os.environ.get("AZSYNCD_DAYS", "30"))
FIRST, _, LAST = os.environ.get("AZSYNCD_SEEDS", "0-1").partition("-")


@pytest.mark.slow
@pytest.mark.timeout(120 + USERS * DAYS // 20)
@pytest.mark.parametrize("seed", range(int(FIRST), int(LAST or FIRST) + 1))
def test_days_of_a_company_are_as_the_rules_say(seed: int, tmp_path: Path) -> None:
    with capture_logs():
        days = Days(seed, tmp_path / "state.db", users=USERS, drawn=seed > 0)
        try:
            wrong = days.run(DAYS)
        finally:
            days.world.close()
    assert wrong == [], "\n".join([*wrong, *days.log])
    assert days.compared > DAYS * USERS // 4  # it was no empty company
