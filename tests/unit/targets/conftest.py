"""Simulated products over real HTTP, and connectors to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web

from azsyncd.http import Limits
from azsyncd.sandbox.base import Product
from azsyncd.sandbox.clock import FakeClock
from azsyncd.sandbox.faults import Faults, faults_middleware
from azsyncd.sandbox.loopback import serving
from azsyncd.targets.base import Target
from azsyncd.targets.connect import SignIn, connect

SIGN_IN = {
    "jira": SignIn(token="jira-token"),
    "crowd": SignIn(username="azsyncd", password="crowd-password"),
}


class Served:
    """Products under way, each with a connector; `faults` are everybody's."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.clock = FakeClock()
        self.faults = Faults(clock=self.clock)

    async def connect(self, make: Callable[..., Product], **connecting: Any) -> tuple[Any, Target]:
        """`make` is called with the middlewares; its product, and the connector, probed."""
        product = make(clock=self.clock, middlewares=[faults_middleware(self.faults)])
        target = await self.reach(product.kind, product.app(), **connecting)
        await target.probe()
        return product, target

    async def reach(self, kind: str, app: web.Application, **connecting: Any) -> Target:
        """A connector to whatever says that it is such a product."""
        address = await self._stack.enter_async_context(serving({"/base": app}))
        target = connect(
            kind,
            "main",
            url=f"{address}/base",
            clock=self.clock,
            limits=Limits(concurrency=4, requests_per_second=1000, timeout=5),
            instance="azsyncd",
            **{"sign_in": SIGN_IN[kind], **connecting},
        )
        self._stack.push_async_callback(target.close)
        return target


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """Whoever is asked for, as long as the test lasts."""
    async with AsyncExitStack() as stack:
        yield Served(stack)
