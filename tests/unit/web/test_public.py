"""The notification endpoint, over real connections."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from structlog.testing import capture_logs

from azsyncd.web.listen import listen
from azsyncd.web.public import MAX_BODY, Accept, public_app

PATH = "/notifications"


@asynccontextmanager
async def served(accept: Accept, path: str = PATH, **given: float) -> AsyncIterator[str]:
    async with listen(public_app(path, accept, **given), "127.0.0.1:0") as (address,):
        yield f"http://{address}"


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


TOKENS = [
    ("plain", "plain"),
    ("Validation%3a+Testing+client", "Validation: Testing client"),
    ("a%2Bb", "a+b"),
    ("a%252Bb", "a%2Bb"),
    ("100%25", "100%"),
    ("%E2%82%AC%26x%3D1", "€&x=1"),
    ("a;b", "a;b"),
]


@pytest.mark.parametrize(("sent", "answered"), TOKENS)
async def test_handshake_answers_the_token_decoded_exactly_once(
    client: aiohttp.ClientSession, sent: str, answered: str
) -> None:
    """200, text/plain, nosniff; the body of the POST does not matter."""
    bodies: list[bytes] = []
    async with served(bodies.append) as base:
        url = aiohttp.client.URL(f"{base}{PATH}?validationToken={sent}", encoded=True)
        async with client.post(url, data=b"") as answer:
            assert answer.status == 200
            assert answer.content_type == "text/plain"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert await answer.text() == answered
    assert bodies == []


@pytest.mark.parametrize("token", ["%3Cscript%3E", "a%3Eb", ""])
async def test_handshake_with_markup_is_rejected(client: aiohttp.ClientSession, token: str) -> None:
    """Nobody gets markup reflected from us."""
    async with (
        served(lambda body: None) as base,
        client.post(f"{base}{PATH}?validationToken={token}") as answer,
    ):
        assert answer.status == 400
        assert await answer.text() == ""


async def test_notification_is_handed_over_and_answered_at_once(
    client: aiohttp.ClientSession,
) -> None:
    """202, whatever the body is."""
    bodies: list[bytes] = []
    async with served(bodies.append) as base:
        for body in (b'{"value": []}', b"garbage", b""):
            async with client.post(base + PATH, data=body) as answer:
                assert answer.status == 202
                assert "aiohttp" not in answer.headers["Server"]
    assert bodies == [b'{"value": []}', b"garbage", b""]


async def test_failure_inside_is_logged_and_answered(client: aiohttp.ClientSession) -> None:
    """Our own mistake is not Graph's business; polling finds what was missed."""

    def broken(body: bytes) -> None:
        raise RuntimeError("broken")

    with capture_logs() as logs:
        async with served(broken) as base, client.post(base + PATH, data=b"{}") as answer:
            assert answer.status == 202
    assert [entry["event"] for entry in logs] == ["notification.failed"]


@pytest.mark.parametrize("chunked", [False, True])
async def test_body_over_the_limit_is_refused(client: aiohttp.ClientSession, chunked: bool) -> None:
    """413, also when the length was not announced; 1 MiB itself is accepted."""
    bodies: list[bytes] = []

    async def pieces(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 65536):
            yield b"x" * 65536
        yield b"x" * (size % 65536)

    async with served(bodies.append) as base:
        for size, status in ((MAX_BODY, 202), (MAX_BODY + 1, 413)):
            body = pieces(size) if chunked else io.BytesIO(b"x" * size)
            async with client.post(base + PATH, data=body) as answer:
                assert answer.status == status
    assert [len(body) for body in bodies] == [MAX_BODY]


async def test_slow_body_times_out() -> None:
    """Somebody who never ends holds no memory."""
    async with served(lambda body: None, body_timeout=0.05) as base:
        host, port = base.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /notifications HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab")
        head = await reader.readuntil(b"\r\n")
        assert b"408" in head
        writer.close()
        await writer.wait_closed()


async def test_too_many_at_once_are_told_to_come_again() -> None:
    """Memory stays bounded under a flood of slow bodies."""
    async with served(lambda body: None, body_timeout=5) as base:
        host, port = base.removeprefix("http://").split(":")
        pairs = [await asyncio.open_connection(host, int(port)) for _ in range(65)]
        request = b"POST /notifications HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab"
        for _, writer in pairs:
            writer.write(request)
            await writer.drain()
            await asyncio.sleep(0.001)
        done, _ = await asyncio.wait(
            [asyncio.ensure_future(reader.readline()) for reader, _ in pairs],
            return_when=asyncio.FIRST_COMPLETED,
        )
        assert [task.result() for task in done] == [b"HTTP/1.1 503 Service Unavailable\r\n"]
        for _, writer in pairs:
            writer.close()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("HEAD", "/healthz", 200),
        ("POST", "/healthz", 404),
        ("GET", PATH, 404),
        ("POST", PATH + "/", 202),
        ("POST", "/", 404),
        ("GET", "/metrics", 404),
        ("POST", "/notifications/../notifications", 202),
        ("DELETE", PATH, 404),
    ],
)
async def test_nothing_else_is_there(
    client: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    """One path, one method, and a sign of life."""
    async with (
        served(lambda body: None) as base,
        client.request(method, base + path, data=b"{}") as answer,
    ):
        assert answer.status == status


async def test_path_with_braces_is_a_path(client: aiohttp.ClientSession) -> None:
    """public_url's path is taken as it stands."""
    bodies: list[bytes] = []
    async with (
        served(bodies.append, path="/n/{x}") as base,
        client.post(base + "/n/%7Bx%7D", data=b"1") as answer,
    ):
        assert answer.status == 202
    assert bodies == [b"1"]


async def test_answers_stay_fast_under_load(client: aiohttp.ClientSession) -> None:
    """A burst of 300 posts is answered, all of it, far below Graph's three seconds."""
    seen = 0

    def count(body: bytes) -> None:
        nonlocal seen
        seen += 1

    async def post(url: str) -> int:
        async with client.post(url, data=b'{"value":[]}') as answer:
            return answer.status

    async with served(count) as base, asyncio.timeout(3):
        statuses = await asyncio.gather(*(post(base + PATH) for _ in range(300)))
    assert set(statuses) <= {202, 503}
    assert seen == statuses.count(202) >= 250


def test_sockets_are_closed_afterwards() -> None:
    """A port is free as soon as the listener is gone."""

    async def main() -> str:
        async with served(lambda body: None) as base:
            return base

    host, port = asyncio.run(main()).removeprefix("http://").split(":")
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) != 0
