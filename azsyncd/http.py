"""One door to every party that azsyncd talks to: the one retry loop, at the peer's own pace.

What is repeated, and when:

    no connection (refused, DNS, connect timeout)     always: nothing was sent
    429                                               always: it had no effect
    timeout, reset, cut answer, 500, 502, 503, 504    repeatable requests alone (GET and HEAD,
                                                      unless the caller says so)
    a certificate that is not trusted                 never
    any other answer                                  returned, whatever its status

When the attempts or the time are used up `HttpUnavailable` is raised. A 502, 503 or 504 on a
request that must not be repeated raises it at once with that status; a 500 is then returned.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson
from multidict import CIMultiDictProxy
from yarl import URL

from azsyncd import __version__
from azsyncd.answers import HttpUnavailable, NotJson, Response
from azsyncd.clock import Clock
from azsyncd.errors import AzsyncdError
from azsyncd.pace import Limits, Pace, backoff, retry_after

__all__ = [
    "ForeignUrl",
    "HttpUnavailable",
    "Limits",
    "NotJson",
    "Peer",
    "Response",
    "StreamedResponse",
]

MAX_BODY = 64 * 1024 * 1024

Params = Mapping[str, object] | list[tuple[str, object]]


class ForeignUrl(AzsyncdError):
    """A URL that does not belong to this peer: nothing was sent (rule 8)."""


class StreamedResponse:
    """An answer whose body is read as it comes."""

    def __init__(self, peer: Peer, answer: aiohttp.ClientResponse) -> None:
        self._peer = peer
        self._answer = answer
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._answer.content.iter_chunked(65536):
                yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._peer._failure(error, status=self.status) from error

    async def read(self) -> Response:
        """The rest, as an ordinary answer: for errors."""
        body = bytearray()
        async for chunk in self:
            body += chunk
            if len(body) > MAX_BODY:
                raise self._peer._too_large(self.status)
        return Response(self.status, self.headers, bytes(body), str(self._answer.url))


@dataclass(slots=True)
class _Try:
    """One request through its attempts."""

    method: str
    url: URL
    body: bytes | None
    headers: dict[str, str]
    repeatable: bool
    attempts: int
    give_up_at: float
    streamed: bool = False
    made: int = 0


class Peer:
    """One party that we talk to, at its own pace."""

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        clock: Clock,
        limits: Limits,
        headers: Mapping[str, str] | None = None,
        ca_file: str | None = None,
        proxy: str | None = None,
        max_attempts: int = 5,
        max_total: float = 120.0,
        on_response: Callable[[str, str], None] | None = None,
    ) -> None:
        self.name = name
        self.base_url = base_url.rstrip("/")
        self.pace = Pace(clock, limits)
        self._origin = _origin(base_url)
        self._clock = clock
        self._limits = limits
        # With each request, and not the session's: aiohttp gives those to a proxy as well.
        self._headers = dict(headers or {})
        self._ca_file = ca_file
        self._proxy = proxy
        self._max_attempts = max_attempts
        self._max_total = max_total
        self._on_response = on_response or (lambda peer, status: None)
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def request(
        self,
        method: str,
        url: str,
        *,
        params: Params | None = None,
        json: object | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
        attempts: int | None = None,
    ) -> Response:
        """Send, and again where that does no harm; the answer, whatever its status.

        `url` is absolute, or a path under the base URL; it is sent as it stands, so its segments
        must be percent-encoded already. `params` are encoded here.
        """
        send = self._prepare(method, url, params, headers)
        if json is not None:
            data = orjson.dumps(json)
            send.headers.setdefault("Content-Type", "application/json")
        send.body = data
        if repeatable is not None:
            send.repeatable = repeatable
        send.attempts = attempts or self._max_attempts
        async with self._slots:
            send.give_up_at = self._clock.monotonic() + self._max_total
            answer = await self._answer(send)
            assert isinstance(answer, Response)
            return answer

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[StreamedResponse]:
        """The same for a body that is not to be held in memory. Nothing is repeated after the
        first byte of the body."""
        send = self._prepare(method, url, params, headers)
        send.streamed = True
        async with self._slots:
            send.give_up_at = self._clock.monotonic() + self._max_total
            answer = await self._answer(send)
            assert isinstance(answer, aiohttp.ClientResponse)
            try:
                yield StreamedResponse(self, answer)
            finally:
                answer.close()

    async def close(self) -> None:
        """Let go of connections. A later request opens new ones."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    # The loop -----------------------------------------------------------------------------------

    async def _answer(self, send: _Try) -> Response | aiohttp.ClientResponse:
        while True:
            sent_at = await self.pace.turn(send.give_up_at - self._clock.monotonic())
            if sent_at is None:
                left = self.pace.pause_left()
                raise self._unavailable("asked us to wait", retry_after=left)
            send.made += 1
            try:
                answer = await self._once(send, sent_at)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self._on_response(self.name, "error")
                failure = self._failure(error)
                if not (send.repeatable or _nothing_sent(error)) or _untrusted(error):
                    raise failure from error
                await self._wait_or_raise(send, failure)
                continue
            if answer.status in _FAILED and not isinstance(answer, aiohttp.ClientResponse):
                failure = self._refusal(answer)
                if answer.status == 500 and not send.repeatable:
                    return answer
                if answer.status != 429 and not send.repeatable:
                    raise failure
                await self._wait_or_raise(send, failure)
                continue
            return answer

    async def _once(self, send: _Try, sent_at: float) -> Response | aiohttp.ClientResponse:
        # A failed attempt is repeated on a connection of its own: a 503 may be this node's alone.
        session = self._session(fresh=send.made > 1)
        timeout = aiohttp.ClientTimeout(total=self._limits.timeout)
        if send.streamed:
            timeout = aiohttp.ClientTimeout(
                sock_connect=self._limits.timeout, sock_read=self._limits.timeout
            )
        answer = await session.request(
            send.method,
            send.url,
            data=send.body,
            headers=send.headers,
            allow_redirects=False,
            timeout=timeout,
        )
        try:
            self._on_response(self.name, str(answer.status))
            self._adapt(answer.status, answer.headers, sent_at)
            if send.streamed and answer.status not in _FAILED:
                return answer
            body = await self._body(answer)
        except BaseException:
            answer.close()
            raise
        answer.release()
        return Response(answer.status, answer.headers, body, str(answer.url))

    async def _body(self, answer: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > MAX_BODY:
                raise self._too_large(answer.status)
        return bytes(body)

    def _adapt(self, status: int, headers: CIMultiDictProxy[str], sent_at: float) -> None:
        self.pace.heed(headers)
        if status not in (429, 503):
            self.pace.good()
            return
        self.pace.slow_down(sent_at)
        asked = retry_after(headers, self._clock.now())
        if asked:
            # At once, before the body is read: nobody else may be sent meanwhile.
            self.pace.pause(asked + min(1.0, asked * 0.1) * self._clock.jitter())
        elif status == 429:
            self.pace.pause(backoff(1, self._clock.jitter()))

    async def _wait_or_raise(self, send: _Try, failure: HttpUnavailable) -> None:
        wait = max(self.pace.pause_left(), backoff(send.made - 1, self._clock.jitter()))
        left = send.give_up_at - self._clock.monotonic()
        if send.made >= send.attempts or wait > left:
            raise failure
        await self._clock.sleep(wait)

    # What goes out ------------------------------------------------------------------------------

    def _prepare(
        self, method: str, url: str, params: Params | None, headers: Mapping[str, str] | None
    ) -> _Try:
        if not url.startswith(("http://", "https://")):
            url = f"{self.base_url}/{url.lstrip('/')}"
        elif _origin(url) != self._origin:
            raise ForeignUrl(
                f"{self.name} sent us to {_host(url)}, which is not {_host(self.base_url)}",
                "nothing was sent there; check the configured address and what stands before it",
            )
        if params:
            pairs = params.items() if isinstance(params, Mapping) else params
            query = urlencode([(k, _text(v)) for k, v in pairs], quote_via=quote, safe="$,")
            url += ("&" if "?" in url else "?") + query
        return _Try(
            method=method.upper(),
            url=URL(url, encoded=True),
            body=None,
            headers={**self._headers, **(headers or {})},
            repeatable=method.upper() in ("GET", "HEAD"),
            attempts=self._max_attempts,
            give_up_at=0.0,
        )

    def _session(self, *, fresh: bool) -> aiohttp.ClientSession:
        session = self._sessions.get(fresh)
        if session is None or session.closed:
            connector = aiohttp.TCPConnector(
                limit=0,
                ssl=self._tls() if self._origin[0] == "https" else True,
                force_close=fresh,
                # Shorter than what servers and proxies keep: a write on a connection that is just
                # being closed can be neither repeated nor trusted.
                keepalive_timeout=None if fresh else 10.0,
            )
            session = self._sessions[fresh] = aiohttp.ClientSession(
                connector=connector,
                headers={"User-Agent": f"azsyncd/{__version__}"},
                cookie_jar=aiohttp.DummyCookieJar(),
                # Not trust_env: it asks a thread for the environment and ~/.netrc on each request,
                # and a netrc would sign us in as somebody else.
                proxy=self._proxy or _environment_proxy(self.base_url),
                auto_decompress=True,
            )
        return session

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._ca_file:
            try:
                context.load_verify_locations(cafile=self._ca_file)
            except (OSError, ssl.SSLError) as error:
                reason = getattr(error, "strerror", None) or "no certificate in it"
                raise self._unavailable(
                    f"cannot be asked: {self._ca_file}: {reason}", hint="check ca_file"
                ) from None
        return context

    # What went wrong ----------------------------------------------------------------------------

    def _unavailable(
        self,
        what: str,
        *,
        hint: str = "",
        status: int | None = None,
        retry_after: float | None = None,
        uncertain: bool = False,
    ) -> HttpUnavailable:
        return HttpUnavailable(
            f"{self.name} ({_host(self.base_url)}) {what}",
            hint,
            peer=self.name,
            status=status,
            retry_after=retry_after,
            uncertain=uncertain,
        )

    def _failure(self, error: BaseException, status: int | None = None) -> HttpUnavailable:
        what, hint = _reason(error)
        return self._unavailable(
            what,
            hint=hint,
            status=status,
            uncertain=not (_nothing_sent(error) or _untrusted(error)),
        )

    def _refusal(self, answer: Response) -> HttpUnavailable:
        what = f"answered {answer.status}"
        if answer.excerpt:
            what += f": {answer.excerpt}"
        asked = retry_after(answer.headers, self._clock.now())
        return self._unavailable(
            what,
            status=answer.status,
            retry_after=asked or self.pace.pause_left() or None,
            uncertain=answer.status != 429,
        )

    def _too_large(self, status: int) -> HttpUnavailable:
        size = MAX_BODY // 1024 // 1024
        return self._unavailable(f"answered with more than {size} MiB", status=status)


_FAILED = frozenset({429, 500, 502, 503, 504, 509})


def _environment_proxy(url: str) -> str | None:
    """The proxy of HTTPS_PROXY, HTTP_PROXY and NO_PROXY for this address."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if not parts.hostname or proxy_bypass(f"{parts.hostname}:{port}"):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def _nothing_sent(error: BaseException) -> bool:
    return isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError))


def _untrusted(error: BaseException) -> bool:
    return isinstance(error, (aiohttp.ClientSSLError, ssl.SSLCertVerificationError))


def _reason(error: BaseException) -> tuple[str, str]:
    """What happened, and what to do, in words for an operator."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = getattr(error.certificate_error, "verify_message", "") or "not trusted"
        return f"shows a certificate that is not accepted: {why}", "check url and ca_file"
    if isinstance(error, aiohttp.ClientSSLError):
        return "cannot be reached: TLS failed", "check the scheme and port of the url"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "cannot be reached: its name is not known", "check the url, DNS and proxy"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return "cannot be reached: the proxy does not answer", "check proxy"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"cannot be reached: the proxy answers {error.status}", "check proxy"
    if isinstance(error, aiohttp.ClientConnectorError):
        why = os.strerror(error.os_error.errno) if error.os_error.errno else "no connection"
        return f"cannot be reached: {why}", "check the url, the firewall and the proxy"
    if isinstance(error, TimeoutError):
        return "did not answer in time", ""
    if isinstance(error, aiohttp.ClientPayloadError):
        return "broke off in the middle of its answer", ""
    return f"broke the connection ({type(error).__name__})", ""


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
        host = parts.hostname or ""
    except ValueError:
        return ("", "", None)
    if "@" in parts.netloc or "\\" in url:  # user info hides the real host from people's eyes
        return ("", "", None)
    return (parts.scheme, host, port)


def _host(url: str) -> str:
    scheme, host, port = _origin(url)
    default = {"https": 443, "http": 80}.get(scheme)
    return host if port == default else f"{host}:{port}"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
