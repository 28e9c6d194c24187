"""The daemon's own door: health, metrics, and every operation of the command line.

Served on a unix socket, where the kernel says who asks; `serve_metrics` offers the metrics alone
over TCP, to whoever can reach the address.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from azsyncd.errors import AzsyncdError, ConfigError
from azsyncd.operations import Operations
from azsyncd.sockets import Peer, bind_unix, peer_of
from azsyncd.web.events import Subscribe, serve_events
from azsyncd.web.operations import Asked, WrongArguments, body_of, error_line, stream

_BIGGEST_BODY = 512 * 1024 * 1024
"""A saved plan of some hundred thousand changes; only whom the socket lets in can send it."""
_SHUTDOWN = 2.0
"""Seconds that open requests get when the daemon stops."""

Ready = Callable[[], tuple[bool, str]]
_Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """What the admin pages are made of, handed over by the daemon."""

    operations: Operations
    ready: Ready  # (False, why) until the state is open, listeners are up and a round has closed
    metrics: Callable[[], bytes]
    metrics_type: str
    subscribe: Subscribe


def admin_app(admin: Admin) -> web.Application:
    """The application of the admin socket."""
    app = web.Application(client_max_size=_BIGGEST_BODY, middlewares=[_explain])
    asked = Asked(admin.operations)
    api = _Api(asked)

    async def ready(_: web.Request) -> web.Response:
        is_ready, why = admin.ready()
        return web.Response(text=f"{why}\n", status=200 if is_ready else 503)

    async def ops(request: web.Request) -> web.StreamResponse:
        return await stream(request, asked, _asks(request))

    async def events(request: web.Request) -> web.StreamResponse:
        return await serve_events(request, admin.subscribe)

    app.add_routes(
        [
            web.get("/healthz", _healthy),
            web.get("/readyz", ready),
            web.get("/metrics", _metrics_page(admin.metrics, admin.metrics_type)),
            web.get("/api/v1/status", api.status),
            web.post("/api/v1/sync", api.sync),
            web.get("/api/v1/plan", api.plan),
            web.get("/api/v1/holds", api.holds),
            web.get(r"/api/v1/holds/{hold:\d+}", api.hold),
            web.post(r"/api/v1/holds/{hold:\d+}/{decision:approve|reject}", api.decide),
            web.get("/api/v1/explain", api.explain),
            web.get("/api/v1/history", api.history),
            web.get("/api/v1/events", events),
            web.post("/api/v1/ops/{name}", ops),
        ]
    )
    return app


async def serve_admin(admin: Admin, path: Path) -> web.AppRunner:
    """Listen on the unix socket at `path`; `cleanup()` of what is returned ends it.

    Who may open the socket may do everything: azsyncd's own user and group, and root.
    """
    runner = web.AppRunner(admin_app(admin), shutdown_timeout=_SHUTDOWN, access_log=None)
    await runner.setup()
    await web.SockSite(runner, bind_unix(path)).start()
    return runner


async def serve_metrics(
    host: str, port: int, metrics: Callable[[], bytes], metrics_type: str
) -> web.AppRunner:
    """Listen on HOST:PORT with `/metrics` and `/healthz` and nothing else."""
    app = web.Application()
    app.add_routes(
        [web.get("/healthz", _healthy), web.get("/metrics", _metrics_page(metrics, metrics_type))]
    )
    runner = web.AppRunner(app, shutdown_timeout=_SHUTDOWN, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise AzsyncdError(
            f"cannot listen at {host}:{port}: {error.strerror}",
            "admin.metrics must be a free address of this machine",
        ) from error
    return runner


class _Api:
    """The resources under /api/v1: plain HTTP around the same operations."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    async def status(self, request: web.Request) -> web.Response:
        return _json(await self._asked.call("status", {}, by=_asks(request)))

    async def sync(self, request: web.Request) -> web.Response:
        arguments = await body_of(request)
        return _json(await self._asked.call("sync", arguments, by=_asks(request)))

    async def plan(self, request: web.Request) -> web.Response:
        return _json(await self._asked.call("plan", _query(request), by=_asks(request)))

    async def holds(self, request: web.Request) -> web.Response:
        return _json(await self._asked.call("holds", {}, by=_asks(request)))

    async def hold(self, request: web.Request) -> web.Response:
        show = int(request.match_info["hold"])
        found = await self._asked.call("holds", {"show": show}, by=_asks(request))
        return _json(found[0]) if found else _json(_no_hold(show), status=404)

    async def decide(self, request: web.Request) -> web.Response:
        arguments = {**await body_of(request), "hold": int(request.match_info["hold"])}
        decision = request.match_info["decision"]
        return _json(await self._asked.call(decision, arguments, by=_asks(request)))

    async def explain(self, request: web.Request) -> web.Response:
        return _json(await self._asked.call("explain", _query(request), by=_asks(request)))

    async def history(self, request: web.Request) -> web.Response:
        return _json(await self._asked.call("history", _query(request), by=_asks(request)))


@web.middleware
async def _explain(request: web.Request, handler: _Answer) -> web.StreamResponse:
    """Every failure is JSON with a message and a hint, and a status that says whose it is."""
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except (WrongArguments, ConfigError) as error:
        return _json({"error": error_line(error)}, status=400)
    except AzsyncdError as error:
        return _json({"error": error_line(error)}, status=409)
    except Exception as error:  # noqa: BLE001  # logged by error_line
        return _json({"error": error_line(error)}, status=500)


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


def _metrics_page(metrics: Callable[[], bytes], metrics_type: str) -> _Answer:
    async def page(_: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": metrics_type})

    return page


def _asks(request: web.Request) -> str:
    """Who asks, by the kernel's word. Root may add for whom: `uid 0 (root) for jo`."""
    connection = request.get_extra_info("socket")
    if connection is None or connection.family != socket.AF_UNIX:
        return str(request.remote or "unknown")
    peer: Peer = peer_of(connection)
    behalf = request.headers.get("X-On-Behalf-Of", "")
    if peer.uid == 0 and behalf.isprintable() and 0 < len(behalf) <= 64:
        return f"{peer} for {behalf}"
    return str(peer)


def _query(request: web.Request) -> dict[str, Any]:
    """The query's words as arguments; numbers and booleans as what they are."""
    typed: dict[str, Any] = {"true": True, "false": False}
    numbers = {"since": float, "limit": int}
    found: dict[str, Any] = {}
    for key, value in request.query.items():
        try:
            found[key] = numbers[key](value) if key in numbers else value
        except ValueError:
            raise WrongArguments(f"{key}: {value!r} is no number") from None
        if key == "full":
            found[key] = typed.get(value, value)
    return found


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(
        body=orjson.dumps(body, default=str), status=status, content_type="application/json"
    )


def _no_hold(number: int) -> dict[str, Any]:
    return {"error": {"message": f"there is no hold {number}", "hint": "", "kind": "NotFound"}}
