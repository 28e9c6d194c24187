"""What must not be lost while a configuration is taken over."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from azsyncd.daemon import Daemon
from azsyncd.errors import StateError
from azsyncd.sandbox.clock import FakeClock


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon(tmp_path / "config.yaml", FakeClock(moves=False))


class Running:
    """A configuration at work, as far as a swap needs one."""

    def __init__(self, failing: Exception | None = None) -> None:
        self.reconciles: dict[str, Any] = {}
        self.store = None
        self.failing = failing

    async def stop(self) -> None:
        pass

    def start(self) -> None:
        pass

    def keep_time(self, old: Running) -> None:
        self.follows = old

    async def note_configuration(self, by: str) -> None:
        if self.failing is not None:
            raise self.failing

    async def remember_config(self) -> None:
        pass


async def nothing(*given: Any) -> None:
    pass


async def test_a_swap_that_fails_half_way_ends_the_daemon(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old loops have stopped, the new ones have not started: systemd starts all of them."""
    error = StateError("the disk is full", "make room")
    daemon._running = Running()  # type: ignore[assignment]

    async def build(*given: Any, **more: Any) -> Running:
        return Running(error)

    monkeypatch.setattr(daemon, "_build", build)
    monkeypatch.setattr(daemon, "_move_listeners", nothing)
    monkeypatch.setattr(daemon, "_configure_logs", lambda config: None)
    with pytest.raises(StateError):
        await daemon._swap(SimpleNamespace(config=None), None, "jo")  # type: ignore[arg-type]
    assert daemon._ending.is_set() and daemon._failed is error


async def test_a_sighup_during_another_reload_is_answered_once(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon._running = Running()  # type: ignore[assignment]
    asked: list[str] = []
    going_on = asyncio.Event()

    async def reload(dry_run: bool, rehearse: bool, by: str) -> dict[str, Any]:
        asked.append(by)
        await going_on.wait()
        return {"outcome": "unchanged"}

    monkeypatch.setattr(daemon, "_reload", reload)
    first = asyncio.create_task(daemon.reload(False, "jo"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for _ in range(3):
        daemon._hup()
    going_on.set()
    await first
    async with asyncio.timeout(5):
        while daemon._tasks:
            await asyncio.sleep(0)
    assert asked == ["jo", "SIGHUP"]


async def test_a_reload_goes_on_without_whoever_asked_for_it(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that moves the admin socket ends the connection that asked."""
    daemon._running = Running()  # type: ignore[assignment]
    done = asyncio.Event()

    async def reload(dry_run: bool, rehearse: bool, by: str) -> dict[str, Any]:
        await asyncio.sleep(0.01)
        done.set()
        return {"outcome": "reloaded"}

    monkeypatch.setattr(daemon, "_reload", reload)
    asking = asyncio.create_task(daemon.reload(False, "jo"))
    await asyncio.sleep(0)
    asking.cancel()
    async with asyncio.timeout(5):
        await done.wait()
