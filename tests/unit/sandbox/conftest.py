"""Asking a simulated product over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from azsyncd.sandbox.base import Product
from azsyncd.sandbox.loopback import serving


class Caller:
    """Asks one product: `status, body, headers = await ask("GET", "/user", username="ann")`."""

    def __init__(
        self, session: aiohttp.ClientSession, base: str, api: str, headers: Mapping[str, str]
    ) -> None:
        self.session, self.base, self.api = session, base, api
        self.headers = dict(headers)

    async def __call__(
        self,
        method: str,
        path: str,
        *,
        api: str | None = None,
        json: Any = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> tuple[int, Any, Mapping[str, str]]:
        params = {name.replace("_", "-"): str(value) for name, value in query.items()}
        async with self.session.request(
            method,
            self.base + (self.api if api is None else api) + path,
            params=params,
            json=json,
            data=data,
            headers={**self.headers, **(headers or {})},
            allow_redirects=False,
        ) as answer:
            is_json = "json" in answer.content_type
            body = await (answer.json(content_type=None) if is_json else answer.text())
            return answer.status, body, answer.headers


MakeCaller = Callable[[Product, str, str, Mapping[str, str]], Awaitable[Caller]]


@pytest.fixture
async def caller() -> AsyncIterator[MakeCaller]:
    """Serves a product below a context path and hands out somebody who asks it."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        )

        async def serve(
            product: Product, context: str, api: str, headers: Mapping[str, str]
        ) -> Caller:
            address = await stack.enter_async_context(serving({context: product.app()}))
            return Caller(session, address + context, api, headers)

        yield serve
