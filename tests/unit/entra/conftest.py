"""A login service over TLS and a Graph that answer what a test tells them to."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from azsyncd.entra.client import Graph
from azsyncd.http import Limits, Peer
from azsyncd.sandbox.clock import FakeClock

TENANT = "11111111-2222-3333-4444-555555555555"
Reply = tuple[int, Any, dict[str, str]]


@dataclass
class Login:
    """A login service: `replies` are used up one by one, then tokens are given."""

    url: str = ""
    ca_file: str = ""
    replies: list[Reply] = field(default_factory=list)
    discovery: list[Reply] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    discovered: int = 0
    lifetime: int = 3600
    extra: dict[str, Any] = field(default_factory=dict)
    token: Callable[[int], str] = lambda count: f"token-{count}"

    async def well_known(self, request: web.Request) -> web.Response:
        self.discovered += 1
        if self.discovery:
            return _reply(self.discovery.pop(0))
        base = f"{self.url}/{request.match_info['tenant']}"
        return web.json_response(
            {
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
            }
        )

    async def give(self, request: web.Request) -> web.Response:
        self.forms.append({k: str(v) for k, v in (await request.post()).items()})
        if self.replies:
            return _reply(self.replies.pop(0))
        return web.json_response(
            {
                "token_type": "Bearer",
                "expires_in": self.lifetime,
                "access_token": self.token(len(self.forms)),
                **self.extra,
            }
        )


def _reply(reply: Reply) -> web.Response:
    status, body, headers = reply
    if isinstance(body, str):
        return web.Response(status=status, text=body, headers=headers)
    return web.json_response(body, status=status, headers=headers)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def login(authority: trustme.CA, tmp_path: Path) -> AsyncIterator[Login]:
    login = Login()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    app = web.Application()
    app.router.add_get("/{tenant}/v2.0/.well-known/openid-configuration", login.well_known)
    app.router.add_post("/{tenant}/oauth2/v2.0/token", login.give)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    login.url = f"https://localhost:{runner.addresses[0][1]}"
    login.ca_file = str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(login.ca_file)
    yield login
    await runner.cleanup()


class FixedTokens:
    """A token source that counts."""

    def __init__(self) -> None:
        self.claims: list[str | None] = []
        self.forgotten = 0

    async def token(self, claims: str | None = None) -> str:
        self.claims.append(claims)
        return f"secret-{len(self.claims)}"

    def forget(self) -> None:
        self.forgotten += 1


@dataclass
class FakeGraph:
    """Answers from a list; the last answer stays."""

    url: str = ""
    replies: list[Reply] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)

    def says(self, status: int, body: Any = None, **headers: str) -> None:
        self.replies.append(
            (
                status,
                {} if body is None else body,
                {k.replace("_", "-"): v for k, v in headers.items()},
            )
        )

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests.append(
            (
                request.method,
                request.raw_path,
                dict(request.headers),
                json.loads(body) if body else None,
            )
        )
        status, reply, headers = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if status == 204:
            return web.Response(status=204)
        return _reply((status, reply, headers))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def tokens() -> FixedTokens:
    return FixedTokens()


@pytest.fixture
async def fake(clock: FakeClock) -> AsyncIterator[FakeGraph]:
    fake = FakeGraph()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    await runner.cleanup()


@pytest.fixture
async def graph(fake: FakeGraph, clock: FakeClock, tokens: FixedTokens) -> AsyncIterator[Graph]:
    peer = Peer("graph", fake.url, clock=clock, limits=Limits(), max_attempts=2)
    yield Graph(peer, tokens, fake.url)
    await peer.close()
    await asyncio.sleep(0)


@pytest.fixture(scope="session")
def example() -> Callable[[str], Any]:
    """A golden body of the contracts, where the folder is there."""
    folder = Path(__file__).parents[4] / "shared" / "contracts" / "graph-examples"

    def read(name: str) -> Any:
        if not folder.is_dir():
            pytest.skip("the contracts' examples are not beside this checkout")
        return json.loads((folder / f"{name}.json").read_text())

    return read
