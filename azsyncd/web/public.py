"""The one thing that listens to the world: Graph's doorbell.

It answers at once and works for nobody: Graph delays and then drops notifications of whoever is
slow (over 3 s), and anybody can post here.
https://learn.microsoft.com/en-us/graph/change-notifications-delivery-webhooks
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import parse_qsl, unquote

import structlog
from aiohttp import web

log = structlog.get_logger()

MAX_BODY = 1024 * 1024
_BODY_TIMEOUT = 10.0
_MOST_AT_ONCE = 64
"""Bodies in memory at once; more are told to come again, which Graph does for four hours."""

Accept = Callable[[bytes], object]


def public_app(
    path: str, accept: Accept, *, body_timeout: float = _BODY_TIMEOUT
) -> web.Application:
    """The application: POST {path} and GET /healthz.

    `accept` is handed each body and returns without waiting for anything.
    """
    endpoint = _Endpoint(accept, body_timeout)
    wanted = unquote(path).rstrip("/") or "/"

    async def dispatch(request: web.Request) -> web.StreamResponse:
        asked = request.path.rstrip("/") or "/"
        if request.method == "POST" and asked == wanted:
            return await endpoint.post(request)
        if request.method in ("GET", "HEAD") and asked == "/healthz":
            return _text(200, "ok\n")
        return _text(404, "")

    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_route("*", "/{path:.*}", dispatch)
    app.on_response_prepare.append(_say_little)
    return app


class _Endpoint:
    def __init__(self, accept: Accept, body_timeout: float) -> None:
        self._accept = accept
        self._body_timeout = body_timeout
        self._reading = 0

    async def post(self, request: web.Request) -> web.Response:
        token = _validation_token(request.rel_url.raw_query_string)
        if token is not None:
            return _handshake(token)
        if (request.content_length or 0) > MAX_BODY:
            return _refused(413)
        if self._reading >= _MOST_AT_ONCE:
            return _refused(503)
        self._reading += 1
        try:
            async with asyncio.timeout(self._body_timeout):
                body = await request.read()
        except TimeoutError:
            return _refused(408)
        except web.HTTPRequestEntityTooLarge:
            return _refused(413)
        finally:
            self._reading -= 1
        try:
            self._accept(body)
        except Exception:  # the door stays open: polling finds what was missed
            log.exception("notification.failed")
        return web.Response(status=202)


def _validation_token(query: str) -> str | None:
    """The token of a handshake, decoded exactly once: `+` is a blank, `%2B` is a plus.

    Graph writes `Validation%3a+Testing+client+application+reachability+…` and compares the answer
    with the decoded text.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=20)
    except ValueError:
        return None
    return next((value for name, value in pairs if name.lower() == "validationtoken"), None)


def _handshake(token: str) -> web.Response:
    # Graph never sends markup; who does wants it shown to somebody.
    if not token or "<" in token or ">" in token:
        return _refused(400)
    return _text(200, token)


def _text(status: int, text: str) -> web.Response:
    return web.Response(
        status=status,
        text=text,
        content_type="text/plain",
        headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"},
    )


def _refused(status: int) -> web.Response:
    response = _text(status, "")
    response.force_close()  # the rest of the body is not waited for
    return response


async def _say_little(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "azsyncd"
