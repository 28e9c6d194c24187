"""One door to every party: what is repeated, what is not, and at whose pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from azsyncd.answers import HttpUnavailable, Response, hide, redact
from azsyncd.entra.wire import message_of
from azsyncd.http import ForeignUrl, Limits, NotJson, Peer
from azsyncd.pace import backoff, retry_after
from azsyncd.sandbox.clock import FakeClock
from azsyncd.sandbox.loopback import serving

Answer = Callable[[web.Request], web.StreamResponse]


class Server:
    """Answers what it was told, one after the other, then 200; remembers who asked."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.asked: list[web.Request] = []
        self.bodies: list[bytes] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        self.bodies.append(await request.read())
        answer = self.answers.pop(0) if self.answers else 200
        if answer == "cut":
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        if isinstance(answer, int):
            return web.json_response({"status": answer}, status=answer)
        status, headers = answer
        return web.json_response({}, status=status, headers=headers)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def peer(server: Server, clock: FakeClock) -> AsyncIterator[Peer]:
    async with serving({"/x": server.app()}) as address:
        limits = Limits(concurrency=4, requests_per_second=1000, timeout=5)
        made = Peer("jira", f"{address}/x", clock=clock, limits=limits)
        yield made
        await made.close()


@pytest.mark.parametrize("failure", [429, 500, 502, 503, 504, "cut"])
async def test_a_read_is_repeated(peer: Peer, server: Server, failure: Any) -> None:
    """Whatever went wrong on the way, the third attempt counts."""
    server.answers = [failure, failure]
    answer = await peer.request("GET", "/a")
    assert (answer.status, len(server.asked)) == (200, 3)


@pytest.mark.parametrize("failure", [502, 503, 504, "cut"])
async def test_a_write_is_not_repeated(peer: Peer, server: Server, failure: Any) -> None:
    """It may have taken effect: the caller looks before it tries again."""
    server.answers = [failure]
    with pytest.raises(HttpUnavailable) as caught:
        await peer.request("POST", "/a", json={})
    assert caught.value.uncertain
    assert len(server.asked) == 1


async def test_a_500_of_a_write_is_an_answer(peer: Peer, server: Server) -> None:
    """It says something about that object."""
    server.answers = [500]
    assert (await peer.request("POST", "/a", json={})).status == 500


async def test_a_429_is_repeated_also_for_a_write(peer: Peer, server: Server) -> None:
    """It had no effect."""
    server.answers = [(429, {"Retry-After": "2"})]
    assert (await peer.request("POST", "/a", json={})).status == 200


async def test_a_write_that_may_be_repeated_is(peer: Peer, server: Server) -> None:
    """The caller says so."""
    server.answers = [503, "cut"]
    assert (await peer.request("PUT", "/a", json={}, repeatable=True)).status == 200


@pytest.mark.parametrize("status", [200, 201, 204, 301, 400, 401, 403, 404, 409])
async def test_any_other_answer_comes_back_as_it_is(
    peer: Peer, server: Server, status: int
) -> None:
    """What it means is the caller's to say; a redirection is not followed."""
    server.answers = [(status, {"Location": "/elsewhere"})]
    assert (await peer.request("GET", "/a")).status == status
    assert len(server.asked) == 1


async def test_i9_it_gives_up(peer: Peer, server: Server, clock: FakeClock) -> None:
    """Five attempts at most, and the reason of the last one."""
    server.answers = [503] * 10
    with pytest.raises(HttpUnavailable) as caught:
        await peer.request("GET", "/a")
    assert len(server.asked) == 5
    assert "503" in caught.value.message
    assert sum(clock.slept) < 60


@pytest.mark.parametrize(
    ("value", "least"), [("7", 7), ("2.128", 2.128), ("Mon, 23 Nov 2026 12:00:30 GMT", 29)]
)
async def test_nothing_is_sent_while_a_retry_after_lasts(
    peer: Peer, server: Server, clock: FakeClock, value: str, least: float
) -> None:
    """In both spellings, and for everybody: all requests of one party share one pace."""
    server.answers = [(429, {"Retry-After": value, "Date": "Mon, 23 Nov 2026 12:00:00 GMT"})]
    began = clock.monotonic()
    await peer.request("GET", "/a")
    assert clock.monotonic() - began >= least
    server.answers = [(429, {"Retry-After": value, "Date": "Mon, 23 Nov 2026 12:00:00 GMT"})]
    began = clock.monotonic()
    await asyncio.gather(peer.request("GET", "/a"), peer.request("GET", "/b"))
    assert clock.monotonic() - began >= least


async def test_an_absurd_retry_after_is_told_and_not_waited_for(peer: Peer, server: Server) -> None:
    """The caller backs off; it knows for how long."""
    server.answers = [(429, {"Retry-After": "86400"})]
    with pytest.raises(HttpUnavailable) as caught:
        await peer.request("GET", "/a")
    assert caught.value.retry_after == pytest.approx(86400, rel=0.1)
    with pytest.raises(HttpUnavailable):
        await peer.request("GET", "/b")
    assert len(server.asked) == 1


async def test_it_slows_down_and_recovers(peer: Peer, server: Server) -> None:
    """Half the rate after a 429, and back to all of it while things go well."""
    full = peer.pace.rate
    server.answers = [429]
    await peer.request("GET", "/a")
    assert peer.pace.rate < 0.6 * full
    for _ in range(60):
        await peer.request("GET", "/a")
    assert peer.pace.rate == full


async def test_an_empty_bucket_is_not_emptied_further(
    peer: Peer, server: Server, clock: FakeClock
) -> None:
    """X-RateLimit-* of the Data Center products."""
    server.answers = [
        (200, {"X-RateLimit-Remaining": "0", "X-RateLimit-FillRate": "5",
               "X-RateLimit-Interval-Seconds": "1"}),
    ]  # fmt: skip
    await peer.request("GET", "/a")
    began = clock.monotonic()
    await peer.request("GET", "/a")
    assert clock.monotonic() - began >= 1


async def test_rule_8_no_other_host_is_asked(peer: Peer, server: Server) -> None:
    """A link that leads elsewhere is refused before anything is sent."""
    with pytest.raises(ForeignUrl):
        await peer.request("GET", "https://elsewhere.example/x")
    assert server.asked == []


async def test_nobody_is_there(clock: FakeClock) -> None:
    """No connection: repeated, for nothing was sent; then told in plain words."""
    made = Peer("jira", "http://127.0.0.1:1", clock=clock, limits=Limits())
    with pytest.raises(HttpUnavailable) as caught:
        await made.request("POST", "/a", json={})
    assert not caught.value.uncertain
    assert "127.0.0.1" in caught.value.message
    await made.close()


async def test_neither_cookies_nor_the_environment_sign_us_in(
    peer: Peer, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """A session would change what a token may do; a netrc is somebody else."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.answers = [(200, {"Set-Cookie": "JSESSIONID=1"})]
    await peer.request("GET", "/a")
    await peer.request("GET", "/a")
    headers = server.asked[-1].headers
    assert "Cookie" not in headers and "Authorization" not in headers
    assert headers["User-Agent"].startswith("azsyncd/")


async def test_the_environment_names_the_proxy(
    server: Server, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """http_proxy is used, no_proxy is heeded."""
    async with serving({"/x": server.app()}) as address:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        monkeypatch.setenv("no_proxy", "")
        through = Peer("jira", f"{address}/x", clock=clock, limits=Limits())
        with pytest.raises(HttpUnavailable):
            await through.request("GET", "/a", attempts=1)
        await through.close()
        for but in ("127.0.0.1", urlsplit(address).netloc):
            monkeypatch.setenv("no_proxy", but)
            direct = Peer("jira", f"{address}/x", clock=clock, limits=Limits())
            assert (await direct.request("GET", "/a")).status == 200
            await direct.close()


async def test_i10_a_proxy_gets_nothing_that_is_the_products(clock: FakeClock) -> None:
    """What signs us in there goes through it, encrypted, and never to it."""
    heard: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        peer = Peer(
            "jira",
            "https://127.0.0.1:1",
            clock=clock,
            limits=Limits(),
            headers={"Authorization": "Bearer secret"},
            proxy=f"http://127.0.0.1:{port}",
        )
        with pytest.raises(HttpUnavailable):
            await peer.request("GET", "/a", attempts=1)
        await peer.close()
    assert heard and heard[0].startswith(b"CONNECT 127.0.0.1:1 ")
    assert b"uthorization" not in heard[0] and b"secret" not in heard[0]


async def test_parameters_are_encoded_once(peer: Peer, server: Server) -> None:
    """Names have everything in them."""
    await peer.request("GET", "/a%2Fb", params={"username": "jo+x&y=z #%ü", "ok": True})
    assert server.asked[0].raw_path.startswith("/x/a%2Fb?")
    assert server.asked[0].query["username"] == "jo+x&y=z #%ü"
    assert server.asked[0].query["ok"] == "true"


async def test_a_page_instead_of_json_is_told_in_one_line(peer: Peer, server: Server) -> None:
    """With the page's title, and what to look at."""

    async def page(_: web.Request) -> web.Response:
        text = "<html><title>Log in\nhere</title><script>secret</script></html>"
        return web.Response(text=text, content_type="text/html")

    server.handle = page  # type: ignore[method-assign, assignment]
    async with serving({"/x": server.app()}) as address:
        other = Peer("jira", f"{address}/x", clock=FakeClock(), limits=Limits())
        answer = await other.request("GET", "/a")
        await other.close()
    assert answer.is_html
    with pytest.raises(NotJson, match="Log in here"):
        answer.json()


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("Authorization: Bearer abcdefghijkl", "abcdefghijkl"),
        ("token=abcdefghij&x=1", "abcdefghij"),
        ('{"password": "hunter2 and more"}', "hunter2"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.abc", "eyJzdWIiOiIx"),
        ("client_secret: s3cr3t", "s3cr3t"),
        ('{"name":"jo","password":{"value":"iPESKK91aA1!"},"email":"x"}', "iPESKK91aA1!"),
    ],
)
def test_i10_errors_carry_no_secrets(text: str, gone: str) -> None:
    """Bodies are redacted before they enter an error."""
    assert gone not in redact(text)


def test_i10_a_known_secret_is_gone_from_an_error_however_it_is_worded() -> None:
    """Errors go into the journal, commands and alerts, which the log's filter never sees."""
    hide("correct horse battery")
    body = b"<p>No correct&nbsp;horse here, but correct horse battery</p>"
    answer = Response(500, {"Content-Type": "text/plain"}, body, "https://x/")
    assert "battery" not in answer.excerpt
    said = message_of({"error": {"code": "x", "message": "who is correct horse battery?"}})
    assert said == "who is ***?"
    hide('quo"te & more')
    for spelt in (b'no: quo\\"te & more', b"<title>no: quo&quot;te &amp; more</title>"):
        kind = "text/html" if spelt[:1] == b"<" else "text/plain"
        told = Response(500, {"Content-Type": kind}, spelt, "https://x/").excerpt
        assert told == "no: ***"
    hide("tok-of-an-hour", passing=True)
    assert "tok-" not in redact("Bad tok-of-an-hour")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, 0.0),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "120"}, 120.0),
        ({"Retry-After": "2.128"}, 2.128),
        (
            {
                "Retry-After": "Mon, 23 Nov 2026 12:00:30 GMT",
                "Date": "Mon, 23 Nov 2026 12:00:00 GMT",
            },
            30.0,
        ),
    ],
)
def test_retry_after_in_every_spelling(headers: dict[str, str], seconds: float | None) -> None:
    """What makes no sense is no Retry-After."""
    assert retry_after(headers, 0.0) == seconds


def test_backing_off_grows_and_ends() -> None:
    """0.5, 1, 2 … 30 seconds, half more or less."""
    assert [backoff(n, 0.5) for n in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
