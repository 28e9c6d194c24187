"""What one change costs in a small and in a large tenant, measured side by side in one run.

    python -m benchmarks.one_change [--users 50000] [--changes 200]

One user is added to a group, and the daemon hears of it by notification. Counted for each: delta
requests a feed, writes, and the daemon's CPU. Both daemons run at the same time and take turns, so
that a noisy machine is noisy for both; the ratio is what counts (it should stay below 1.2).
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.servers import Bench, bench


async def change(one: Bench, rng: random.Random) -> tuple[float, int, int, int]:
    """Add somebody to a group: (seconds until it stood, user pages, group pages, writes)."""
    users = one.tenant.ids["users"]
    while True:
        group, user = rng.choice(one.groups), rng.choice(users)
        if user not in one.tenant.nodes[group].places:
            break
    before = counts(one)
    began = time.perf_counter()
    one.tenant.add_member(group, user)
    name = one.tenant.nodes[group].name
    who = one.tenant.nodes[user].name
    await one.wait("a membership", lambda: who in one.crowd.members(name), 30)
    took = time.perf_counter() - began
    await asyncio.sleep(0.05)
    after = counts(one)
    return (took, *(b - a for a, b in zip(before, after, strict=True)))


def counts(one: Bench) -> tuple[int, int, int]:
    """(requests for user pages, for group pages, writes to Crowd)."""
    asked = one.graph.requests
    return asked["GET /users/delta"], asked["GET /groups/delta"], len(one.crowd.writes)


async def measure(folder: Path, large: int, changes: int) -> None:
    rng = random.Random(5)
    sizes = (500, large)
    async with (
        bench(folder / "small", 500, 10, 2500, standing=True) as small,
        bench(folder / "large", large, large // 50, large * 5, standing=True) as big,
    ):
        for one in (small, big):
            await one.wait("the socket", lambda one=one: (one.folder / "admin.sock").exists())
            await one.command("sync")
        print(f"both are synced: {sizes[0]:,} and {sizes[1]:,} users", flush=True)
        cpu = dict.fromkeys((0, 1), 0.0)
        seen: dict[int, list[tuple[float, int, int, int]]] = {0: [], 1: []}
        for _ in range(10):
            await change(small, rng)
            await change(big, rng)
        for _ in range(changes):
            for number, one in enumerate((small, big)):
                before = one.cpu()
                seen[number].append(await change(one, rng))
                cpu[number] += one.cpu() - before
    for number, size in enumerate(sizes):
        rows = seen[number]
        took = statistics.median(row[0] for row in rows)
        pages = [statistics.mean(row[i] for row in rows) for i in (1, 2, 3)]
        print(
            f"{size:>8,} users: {cpu[number] / changes * 1000:6.2f} ms CPU, {took * 1000:6.1f} ms"
            f" until it stood (median), {pages[0]:.2f} user pages, {pages[1]:.2f} group pages,"
            f" {pages[2]:.2f} writes a change"
        )
    print(f"ratio of CPU: {cpu[1] / cpu[0]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--changes", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), given.users, given.changes))


if __name__ == "__main__":
    main()
