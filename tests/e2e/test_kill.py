"""Killed at any moment, with answers lost on the way: nothing is lost, nobody is there twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from .stage import Stage, staged

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

USERS, KILLS = (1000, 50) if os.environ.get("CI") else (150, 12)


def spoil(stage: Stage, share: float) -> None:
    """Writes take effect and their answers are lost, or nothing happens at all."""
    for faults in stage.faults.values():
        faults.clear()
        for method in ("POST", "PUT", "DELETE") if share else ():
            faults.add("reset", method=method, late=True, probability=share, times=None)
            faults.add("error", method=method, probability=share / 2, times=None)


async def test_i1_i6_kill_9_at_random_moments_of_a_first_sync(tmp_path: Path) -> None:
    """After the last start both products equal the tenant, no account twice, foreign untouched."""
    rng = random.Random(7)
    async with staged(tmp_path, users=USERS) as stage:
        for target in stage.config["targets"].values():
            target["limits"]["requests_per_second"] = USERS
        stage.write_config()
        daemon = await stage.start()
        await stage.answers(daemon)
        holds = []
        async with asyncio.timeout(60):
            while len(holds) < 2:
                await asyncio.sleep(0.2)
                holds = (await stage.run("holds", "--json")).json
        spoil(stage, 0.01)
        for hold in holds:
            await stage.run("approve", str(hold["id"]))
        unfinished = 0
        for _ in range(KILLS):
            await asyncio.sleep(rng.uniform(0.05, 1.2))
            unfinished += bool(stage.differences())
            await stage.stop(daemon, signal.SIGKILL)
            daemon = await stage.start()
            await stage.answers(daemon)
        assert unfinished > KILLS / 2, "the kills must come while it works"
        spoil(stage, 0.0)
        await stage.run("sync", expect=None, timeout=300)
        await stage.converged(120)
        for product in stage.world.products.values():
            names = Counter(person.name.casefold() for person in product.users())
            assert [name for name, number in names.items() if number > 1] == []
        assert stage.violations() == []
        await stage.stop(daemon)
