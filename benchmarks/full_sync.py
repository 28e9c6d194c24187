"""The daemon's peak memory during a first full sync of a large tenant into an empty product.

    python -m benchmarks.full_sync [--users 20000] [--groups 2000] [--memberships 200000]

The product is served by another process than the daemon. The peak (VmHWM) should stay below 200 MB.
Two sizes are run, so that it shows whether memory grows with the tenant.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from benchmarks.servers import bench


async def measure(folder: Path, users: int, groups: int, memberships: int) -> None:
    async with bench(folder, users, groups, memberships) as one:
        began = time.perf_counter()
        await one.wait("accounts", lambda: len(one.crowd.users()) >= users)
        accounts = time.perf_counter() - began
        while one.members() < memberships:
            await one.wait("memberships", one.later(1.0))
        took = time.perf_counter() - began
        print(
            f"{users:>8,} users, {groups:,} groups, {memberships:,} memberships:"
            f" peak {one.peak():.0f} MB, {one.cpu():.0f} s CPU, {took:.0f} s"
            f" (accounts after {accounts:.0f} s)",
            flush=True,
        )


async def both(folder: Path, users: int, groups: int, memberships: int) -> None:
    await measure(folder / "tenth", users // 10, groups // 10, memberships // 10)
    await measure(folder / "whole", users, groups, memberships)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--groups", type=int, default=2_000)
    parser.add_argument("--memberships", type=int, default=200_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(both(Path(folder), given.users, given.groups, given.memberships))


if __name__ == "__main__":
    main()
