"""What happens, as it happens, to whoever listens (`/api/v1/events`, the demo, `sync`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

_MOST = 1000
"""Events that wait for one listener; who is slower misses the oldest."""


class Events:
    """A stream with any number of listeners; telling never waits."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[Mapping[str, Any] | None]] = set()

    def tell(self, event: Mapping[str, Any]) -> None:
        """Pass an event on; it has its kind under `event` (change, round, hold, config)."""
        for queue in self._listeners:
            if queue.qsize() >= _MOST:
                queue.get_nowait()
            queue.put_nowait(event)

    async def subscribe(self) -> AsyncGenerator[Mapping[str, Any], None]:
        """Every event from now on, until the daemon stops."""
        queue: asyncio.Queue[Mapping[str, Any] | None] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._listeners.discard(queue)

    def close(self) -> None:
        """End every stream."""
        for queue in self._listeners:
            queue.put_nowait(None)
