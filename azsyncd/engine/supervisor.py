"""Background tasks that are named, watched and never die in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from azsyncd.clock import Clock
from azsyncd.errors import StateError

log = structlog.get_logger()

RESTART_SECONDS = (1.0, 5.0, 30.0, 60.0)


class Supervisor:
    """Owns tasks that should run for ever. One that ends is started again, later and later; a
    StateError (damaged, disk full) is for the whole daemon: `on_fatal` is told."""

    def __init__(self, clock: Clock, on_fatal: Callable[[BaseException], None]) -> None:
        self._clock = clock
        self._on_fatal = on_fatal
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Of the tasks that it owns."""
        return tuple(self._tasks)

    def start(self, name: str, eternal: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `eternal` under this name until `stop`."""
        self._tasks[name] = asyncio.create_task(self._guard(name, eternal), name=name)

    async def _guard(self, name: str, eternal: Callable[[], Coroutine[Any, Any, None]]) -> None:
        failures = 0
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
            except Exception:
                log.exception("task.failed", task=name)
            if self._clock.monotonic() - began > 600:
                failures = 0
            await self._clock.sleep(RESTART_SECONDS[min(failures, len(RESTART_SECONDS) - 1)])
            failures += 1

    async def stop(self, names: tuple[str, ...] | None = None, *, patience: float = 0.0) -> None:
        """End these tasks (default: all): wait for `patience` seconds, then cancel."""
        chosen = [
            self._tasks.pop(name) for name in (tuple(self._tasks) if names is None else names)
        ]
        if not chosen:
            return
        if patience:
            await asyncio.wait(chosen, timeout=patience)
        for task in chosen:
            task.cancel()
        await asyncio.gather(*chosen, return_exceptions=True)
