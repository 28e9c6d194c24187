"""Server-sent events: what happens in the daemon, as it happens, to whoever listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any

import orjson
from aiohttp import web

Subscribe = Callable[[], AsyncGenerator[Mapping[str, Any], None]]
"""A stream of events, each with its `event` (change, round, hold); closing it unsubscribes."""

_KEEP_ALIVE = 15.0
"""Seconds after which silence is filled with a comment, so that proxies keep the line open."""


async def serve_events(
    request: web.Request, subscribe: Subscribe, keep_alive: float = _KEEP_ALIVE
) -> web.StreamResponse:
    """Send every event until the listener goes or the daemon stops."""
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
    )
    await response.prepare(request)
    async with aclosing(subscribe()) as events:
        with suppress(ConnectionError):
            await response.write(b": azsyncd\n\n")
            await _pass_on(response, events, keep_alive)
    return response


async def _pass_on(
    response: web.StreamResponse,
    events: AsyncGenerator[Mapping[str, Any], None],
    keep_alive: float,
) -> None:
    following = asyncio.ensure_future(anext(events, None))
    try:
        while True:
            done, _ = await asyncio.wait({following}, timeout=keep_alive)
            if not done:
                await response.write(b":\n\n")
                continue
            event = following.result()
            if event is None:
                return
            await response.write(_frame(event))
            following = asyncio.ensure_future(anext(events, None))
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await following


def _frame(event: Mapping[str, Any]) -> bytes:
    name = str(event.get("event", "message")).encode()
    return b"event: " + name + b"\ndata: " + orjson.dumps(event, default=str) + b"\n\n"
