"""A ring during a look is one more look; many are one."""

from __future__ import annotations

import asyncio

from azsyncd.engine.bell import Bell
from azsyncd.sandbox.clock import FakeClock


async def test_many_rings_are_one_look_with_all_reasons() -> None:
    clock = FakeClock()
    bell = Bell(clock)
    bell.ring("poll")
    clock.advance(3.0)
    bell.ring("notification")
    bell.ring("notification")
    assert bell.rung
    assert bell.answer() == (frozenset({"poll", "notification"}), 1000.0)
    assert not bell.rung
    assert bell.answer() == (frozenset(), None)


async def test_a_ring_during_a_look_is_not_lost() -> None:
    bell = Bell(FakeClock())
    bell.ring("first")
    bell.answer()
    bell.ring("while somebody looks")
    assert await bell.wait(0.0)
    assert bell.answer()[0] == {"while somebody looks"}


async def test_waiting_ends_by_a_ring_or_by_the_time() -> None:
    clock = FakeClock(moves=False)
    bell = Bell(clock)
    waiting = asyncio.create_task(bell.wait(30.0))
    await asyncio.sleep(0)
    bell.ring("now")
    assert await waiting
    bell.answer()
    waiting = asyncio.create_task(bell.wait(30.0))
    while not clock.sleeping:
        await asyncio.sleep(0)
    clock.advance(31.0)
    assert not await waiting


async def test_waiting_without_end_ends_by_a_ring() -> None:
    bell = Bell(FakeClock())
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    bell.ring("now")
    assert await waiting
