"""Commits of many small outcomes, several at a time.

A durable commit costs a disk write. While one is under way others queue up, and the next commit
takes all of them: the more answers come in, the fewer commits each of them costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from azsyncd.state.store import Connection, Store

Record = Callable[[Connection], str | None]
"""Puts an outcome down; what it returns is what the product did in particular, for the journal."""


class Ledger:
    """A queue of outcomes in front of the store's writer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: list[tuple[Record, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def commit(self, record: Record) -> None:
        """Return when `record` is durable. Cancelling the caller does not undo it."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((record, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._drain(), name="ledger")
        await asyncio.shield(done)

    async def _drain(self) -> None:
        try:
            while self._queue:
                batch, self._queue = self._queue, []
                try:
                    await self._store.write(lambda db, b=batch: _apply(db, b))  # type: ignore[misc]
                except BaseException as error:
                    for _, done in batch:
                        if not done.done():
                            done.set_exception(error)
                            done.exception()  # whoever waits raises it; nobody may be waiting
                    if not isinstance(error, Exception):
                        raise
                else:
                    for _, done in batch:
                        if not done.done():
                            done.set_result(None)
        finally:
            self._writing = None

    async def settle(self) -> None:
        """Wait until nothing is queued any more."""
        while self._writing is not None:
            await asyncio.wait({self._writing})


def _apply(db: Connection, batch: list[tuple[Record, asyncio.Future[None]]]) -> None:
    for record, _ in batch:
        record(db)
