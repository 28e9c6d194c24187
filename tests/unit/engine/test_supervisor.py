"""Tasks that should run for ever are started again, later and later; a broken state is fatal."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from azsyncd.engine.status import _problems
from azsyncd.engine.supervisor import RESTART_SECONDS, STEADY_SECONDS, Supervisor
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


def problems_of(supervisor: Supervisor) -> list[str]:
    """What `azsyncd status` says of a daemon that is well in all other respects."""
    pull = SimpleNamespace(state=SimpleNamespace(failed_crawls=0))
    running: Any = SimpleNamespace(crashing=supervisor.crashing, pull=pull, keeper=None)
    return _problems(running, {}, {"state": "idle"}, [])


async def test_a_task_that_crashes_in_a_loop_is_seen_in_status_until_it_runs_steadily() -> None:
    clock, broken = FakeClock(moves=False), True
    supervisor = Supervisor(clock, lambda _: None)

    async def moody() -> None:
        if broken:
            raise ValueError("token=secret")
        await asyncio.Event().wait()

    async def turn(seconds: float) -> list[str]:
        clock.advance(seconds)
        await _turns()
        return problems_of(supervisor)

    supervisor.start("keeper", moody)
    assert await turn(0) == []  # once is an accident
    (problem,) = await turn(RESTART_SECONDS[0])
    assert problem.startswith("the task 'keeper' of the daemon failed 2 times in a row (ValueErr")
    assert "secret" not in problem
    (problem,) = await turn(RESTART_SECONDS[1])
    assert "failed 3 times" in problem
    broken = False
    assert len(await turn(RESTART_SECONDS[2])) == 1
    assert len(await turn(STEADY_SECONDS / 2)) == 1
    assert await turn(STEADY_SECONDS) == []
    broken = True
    await supervisor.stop()
    assert problems_of(supervisor) == []


async def test_a_failure_after_a_long_time_is_a_first_one_again() -> None:
    clock, fail = FakeClock(moves=False), asyncio.Event()
    supervisor = Supervisor(clock, lambda _: None)

    async def rare() -> None:
        await fail.wait()
        fail.clear()
        raise ValueError

    supervisor.start("rare", rare)
    for _ in range(3):
        await _turns()
        clock.advance(STEADY_SECONDS + 1)
        fail.set()
        await _turns()
        assert supervisor.crashing() == []
        clock.advance(RESTART_SECONDS[-1])
    await supervisor.stop()


async def test_a_stop_that_is_interrupted_is_gone_on_with() -> None:
    """SIGTERM while a reload waits for a write in flight."""
    supervisor, ended = Supervisor(FakeClock(moves=False), print), []

    async def writing() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("writing")

    supervisor.start("target x", writing)
    await _turns()
    reload = asyncio.create_task(supervisor.stop(("target x",), patience=20.0))
    await _turns()
    reload.cancel()
    await asyncio.gather(reload, return_exceptions=True)
    await supervisor.stop(("target x",))
    assert ended == ["writing"]
    assert supervisor.names == ()
