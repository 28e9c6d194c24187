"""Background tasks that are named, watched and never die in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog

from azsyncd.clock import Clock
from azsyncd.errors import StateError

log = structlog.get_logger()

RESTART_SECONDS = (1.0, 5.0, 30.0, 60.0)
STEADY_SECONDS = 600.0
"""Who ran so long has got over what was wrong."""


@dataclass(frozen=True, slots=True)
class Crashing:
    """A task that fails again and again: `times` in a row, last by an error of this type."""

    task: str
    times: int
    error: str
    failed_at: float  # monotonic


class Supervisor:
    """Owns tasks that should run for ever. One that ends is started again, later and later; a
    StateError (damaged, disk full) is for the whole daemon: `on_fatal` is told."""

    def __init__(self, clock: Clock, on_fatal: Callable[[BaseException], None]) -> None:
        self._clock = clock
        self._on_fatal = on_fatal
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._crashing: dict[str, Crashing] = {}

    def crashing(self) -> list[Crashing]:
        """Tasks that failed at least twice in a row, and have not run steadily since."""
        steady = self._clock.monotonic() - STEADY_SECONDS - RESTART_SECONDS[-1]
        return [
            each
            for name, each in self._crashing.items()
            if name in self._tasks and each.times > 1 and each.failed_at > steady
        ]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the tasks that it owns."""
        return tuple(self._tasks)

    def start(self, name: str, eternal: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `eternal` under this name until `stop`."""
        self._tasks[name] = asyncio.create_task(self._guard(name, eternal), name=name)

    async def _guard(self, name: str, eternal: Callable[[], Coroutine[Any, Any, None]]) -> None:
        failures = 0
        self._crashing.pop(name, None)
        while True:
            began = self._clock.monotonic()
            try:
                await eternal()
                return
            except asyncio.CancelledError:
                raise
            except StateError as error:
                log.error("state.unusable", task=name, error=error.message, hint=error.hint)
                self._on_fatal(error)
                return
            except Exception as error:
                log.exception("task.failed", task=name)
                failed = type(error).__name__
            now = self._clock.monotonic()
            if now - began > STEADY_SECONDS:
                failures = 0
            self._crashing[name] = Crashing(name, failures + 1, failed, now)
            await self._clock.sleep(RESTART_SECONDS[min(failures, len(RESTART_SECONDS) - 1)])
            failures += 1

    async def stop(self, names: tuple[str, ...] | None = None, *, patience: float = 0.0) -> None:
        """End these tasks (default: all): wait for `patience` seconds, then cancel. Whoever is
        interrupted over it leaves them to the next one who stops (a reload, and then SIGTERM)."""
        chosen = {n: t for n, t in self._tasks.items() if names is None or n in names}
        if not chosen:
            return
        if patience:
            await asyncio.wait(chosen.values(), timeout=patience)
        for task in chosen.values():
            task.cancel()
        await asyncio.gather(*chosen.values(), return_exceptions=True)
        for name in chosen:
            self._tasks.pop(name, None)
