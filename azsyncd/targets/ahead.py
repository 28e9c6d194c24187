"""Asking several questions at a time, and handing the answers on in their order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

WIDTH = 4


async def ahead(
    items: Iterable[Item], ask: Callable[[Item], Awaitable[Answer]], *, width: int = WIDTH
) -> AsyncIterator[tuple[Item, Answer]]:
    """`ask` of each item, `width` under way. A failure ends all, and nothing is left running."""
    waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
    left = iter(items)
    try:
        while True:
            for item in left:
                waiting.append((item, asyncio.ensure_future(ask(item))))
                if len(waiting) >= width:
                    break
            if not waiting:
                return
            item, task = waiting.popleft()
            yield item, await task
    finally:
        for _, task in waiting:
            task.cancel()
        await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)
