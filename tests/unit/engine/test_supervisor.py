"""Tasks that should run for ever are started again, later and later; a broken state is fatal."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from azsyncd.engine.supervisor import RESTART_SECONDS, Supervisor
from azsyncd.errors import StateError
from azsyncd.sandbox.clock import FakeClock


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    with capture_logs() as logged:
        yield logged


async def _turns(count: int = 200) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_task_that_fails_is_started_again_later_and_later(logged: list[Any]) -> None:
    clock, fatal, starts = FakeClock(moves=False), [], []
    supervisor = Supervisor(clock, fatal.append)

    async def broken() -> None:
        starts.append(clock.monotonic())
        raise ValueError("a bug")

    supervisor.start("broken", broken)
    for delay in (*RESTART_SECONDS, RESTART_SECONDS[-1]):
        await _turns()
        clock.advance(delay)
    await _turns()
    waits = [later - earlier for earlier, later in pairwise(starts)]
    assert waits == [*RESTART_SECONDS, RESTART_SECONDS[-1]]
    assert not fatal
    assert {(line["event"], line["task"]) for line in logged} == {("task.failed", "broken")}
    await supervisor.stop()


async def test_a_state_error_is_for_the_whole_daemon() -> None:
    fatal: list[BaseException] = []
    supervisor = Supervisor(FakeClock(moves=False), fatal.append)
    error = StateError("the disk is full")

    async def unlucky() -> None:
        raise error

    supervisor.start("unlucky", unlucky)
    await _turns()
    assert fatal == [error]
    await supervisor.stop()


async def test_stopping_waits_for_those_who_come_to_an_end_and_cancels_the_rest() -> None:
    ended: list[str] = []
    supervisor = Supervisor(FakeClock(moves=False), ended.append)  # type: ignore[arg-type]
    finish = asyncio.Event()

    async def polite() -> None:
        await finish.wait()
        ended.append("polite")

    async def stubborn() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("stubborn")

    supervisor.start("polite", polite)
    supervisor.start("stubborn", stubborn)
    await _turns(5)
    finish.set()
    await supervisor.stop(("polite",), patience=5.0)
    assert ended == ["polite"]
    await supervisor.stop()
    assert ended == ["polite", "stubborn"]
