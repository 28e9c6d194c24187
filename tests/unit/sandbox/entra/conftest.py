"""A simulated Entra over TLS, people who ask it, and somebody who is notified."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from json import loads
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from azsyncd.sandbox.clock import FakeClock
from azsyncd.sandbox.entra import Entra, make_entra, running
from azsyncd.sandbox.loopback import serving
from azsyncd.sandbox.tenant import Tenant
from azsyncd.sandbox.tls import Authority

Answer = tuple[int, Any, Mapping[str, str]]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def tenant(clock: FakeClock) -> Tenant:
    return Tenant(clock=clock, seed=1)


@pytest.fixture
async def entra(authority: Authority, tenant: Tenant) -> AsyncIterator[Entra]:
    async with running(make_entra(authority, tenant=tenant, seed=1)) as entra:
        yield entra


class Caller:
    """Asks Graph as the registration: `status, body, headers = await ask("GET", "/users")`."""

    def __init__(self, entra: Entra, session: aiohttp.ClientSession) -> None:
        self.entra, self.session = entra, session
        self.token: str | None = None

    def new_token(self, *, can_be_challenged: bool = False) -> str:
        self.token = self.entra.apps.issue(
            self.entra.registration,
            audience="https://graph.microsoft.com",
            can_be_challenged=can_be_challenged,
        )
        return self.token

    async def __call__(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        token = self.token or self.new_token()
        url = path if path.startswith("https://") else f"{self.entra.graph_url}/v1.0{path}"
        async with self.session.request(
            method,
            url,
            params=params,
            json=json,
            headers={"Authorization": f"Bearer {token}", **(headers or {})},
            allow_redirects=False,
        ) as answer:
            text = await answer.text()
            return answer.status, loads(text) if text else None, answer.headers

    async def crawl(self, path: str, **params: str) -> tuple[list[Any], str]:
        """All objects of a feed or list, in the order of the pages, and the deltaLink."""
        status, body, _ = await self("GET", path, params=params or None)
        found: list[Any] = []
        for _ in range(2000):
            assert status == 200, body
            found += body["value"]
            link = body.get("@odata.nextLink")
            if link is None:
                return found, body.get("@odata.deltaLink", "")
            status, body, _ = await self("GET", link)
        raise AssertionError("no end")


@pytest.fixture
async def session(authority: Authority) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(ssl=authority.client_context())
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield session


@pytest.fixture
def ask(entra: Entra, session: aiohttp.ClientSession) -> Caller:
    return Caller(entra, session)


@dataclass
class Receiver:
    """Somebody who is notified: shakes hands, keeps what comes, answers as it is told."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    answers_handshake: bool = True
    content_type: str = "text/plain"
    tokens: list[str] = field(default_factory=list)
    posts: list[dict[str, Any]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    @property
    def items(self) -> list[dict[str, Any]]:
        return [item for post in self.posts for item in post["value"]]

    async def answer(self, request: web.Request) -> web.Response:
        token = request.query.get("validationToken")
        if token is not None:
            self.tokens.append(token)
            if not self.answers_handshake:
                return web.Response(status=403, text="Forbidden")
            return web.Response(text=token, content_type=self.content_type)
        body = await request.read()
        status = self.statuses.pop(0) if self.statuses else 202
        if status < 300:
            self.raw.append(body)
            self.posts.append(json.loads(body))
        return web.Response(status=status)


@pytest.fixture
async def receiver(authority: Authority) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/notify", receiver.answer)
    tls = authority.server_context("receiver")
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(serving({"/": app}, tls=tls))
        receiver.url = f"{address}/notify"
        yield receiver


@pytest.fixture(scope="session")
def example() -> Callable[[str], Any]:
    """A golden body of the contracts, where the folder is there."""
    folder = Path(__file__).parents[5] / "shared" / "contracts" / "graph-examples"

    def read(name: str) -> Any:
        if not folder.is_dir():
            pytest.skip("the contracts' examples are not beside this checkout")
        return json.loads((folder / f"{name}.json").read_text())

    return read
