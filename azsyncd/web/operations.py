"""Asking for an operation over HTTP: arguments as JSON, progress and the result line by line.

    POST /api/v1/ops/sync   {"target": "jira"}
    → {"progress": {"step": "jira: creating accounts", "done": 12, "total": 480}}
    → {"result": {…}}   or   {"error": {"message": …, "hint": …, "kind": …, "problems": […]}}

The last line is always a result or an error: an answer without one was cut off. Arguments are
checked against the signatures of `Operations`, the one list of what can be asked; who asks (`by`)
is what the kernel says of the other end of the socket, never what a caller claims.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, get_type_hints

import orjson
import structlog
from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from azsyncd.errors import AzsyncdError, ConfigError
from azsyncd.operations import Operations, Progress

_log = structlog.get_logger(__name__)

_SUPPLIED = frozenset({"self", "tell", "by"})
"""Parameters that the server fills in."""

_FINISH = frozenset(
    {
        "apply",
        "approve",
        "reject",
        "release",
        "pause",
        "resume",
        "reload",
        "sync",
        "backup",
        "link",
        "unlink",
        "target",
    }
)
"""What was asked for is done even if the caller hangs up; other operations stop with her."""

_TELL_EVERY = 0.1
"""Seconds between two lines of progress: a terminal sees no more."""


class WrongArguments(AzsyncdError):
    """The request does not fit the operation: nothing was done."""


class Asked:
    """Operations by name, with their arguments checked."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._unheard: set[asyncio.Future[Any]] = set()

    def names(self) -> list[str]:
        """What can be asked."""
        return sorted(_SHAPES)

    def call(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        by: str,
        tell: Callable[[Progress], None] | None = None,
    ) -> Any:
        """The operation's coroutine; raises WrongArguments before anything is done."""
        shape = _SHAPES.get(name)
        if shape is None:
            raise WrongArguments(f"there is no operation {name!r}")
        try:
            checked = shape.model_validate(dict(arguments))
        except ValidationError as error:
            raise WrongArguments(_reasons(error)) from None
        given = {field: getattr(checked, field) for field in checked.model_fields_set}
        parameters = inspect.signature(getattr(Operations, name)).parameters
        if "by" in parameters:
            given["by"] = by
        if "tell" in parameters and tell is not None:
            given["tell"] = tell
        return getattr(self._operations, name)(**given)

    async def hang_up(self, name: str, work: asyncio.Future[Any]) -> None:
        """The caller is gone: decisions are carried out all the same, questions end."""
        if work.done():
            return
        if name in _FINISH:
            self._unheard.add(work)  # or the garbage collector may take it in mid-work
            work.add_done_callback(self._unheard.discard)
            work.add_done_callback(_retrieve)
            return
        work.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await work


def error_line(error: Exception) -> dict[str, Any]:
    """An error as callers see it; what nobody foresaw is logged here and told in general terms."""
    if not isinstance(error, AzsyncdError):
        _log.error("operation.failed", exc_info=error)
        return {
            "message": f"internal error: {type(error).__name__}",
            "hint": "the daemon's log says where",
            "kind": "InternalError",
        }
    line: dict[str, Any] = {
        "message": error.message,
        "hint": error.hint,
        "kind": type(error).__name__,
    }
    if isinstance(error, ConfigError):
        line["problems"] = [
            {"key": p.key, "message": p.message, "file": p.file, "line": p.line, "column": p.column}
            for p in error.problems
        ]
    return line


async def stream(request: web.Request, asked: Asked, by: str) -> web.StreamResponse:
    """Run one operation and answer with its progress and its end, a line each."""
    name = request.match_info["name"]
    board = _Board()
    try:
        work = asyncio.ensure_future(
            asked.call(name, await body_of(request), by=by, tell=board.tell)
        )
    except WrongArguments as error:
        return web.json_response({"error": error_line(error)}, status=400)
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    try:
        await response.prepare(request)
        await _show_progress(request, response, work, board)
        await _write(response, await _outcome(work))
        await response.write_eof()
    except ConnectionError:
        _log.debug("operation.unheard", operation=name)
    finally:
        await asked.hang_up(name, work)
    return response


async def body_of(request: web.Request) -> dict[str, Any]:
    """The request's JSON object; an empty body is an empty object. Raises WrongArguments."""
    raw = await request.read()
    try:
        body = orjson.loads(raw) if raw.strip() else {}
    except orjson.JSONDecodeError as error:
        raise WrongArguments(f"the body is no JSON: {error}") from None
    if not isinstance(body, dict):
        raise WrongArguments("the body must be a JSON object")
    return body


class _Board:
    """The latest of each step: a slow reader costs no memory, and misses nothing that counts."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self._steps: dict[str, Progress] = {}

    def tell(self, progress: Progress) -> None:
        self._steps.pop(progress["step"], None)
        self._steps[progress["step"]] = progress
        self.news.set()

    def take(self) -> list[Progress]:
        taken = list(self._steps.values())
        self._steps.clear()
        self.news.clear()
        return taken


async def _show_progress(
    request: web.Request, response: web.StreamResponse, work: asyncio.Future[Any], board: _Board
) -> None:
    while not work.done():
        news = asyncio.ensure_future(board.news.wait())
        try:
            await asyncio.wait({work, news}, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError
        await _flush(response, board)
        if not work.done():
            await asyncio.wait({work}, timeout=_TELL_EVERY)
    await _flush(response, board)


async def _flush(response: web.StreamResponse, board: _Board) -> None:
    for progress in board.take():
        await _write(response, {"progress": progress})


async def _outcome(work: asyncio.Future[Any]) -> dict[str, Any]:
    try:
        return {"result": await work}
    except asyncio.CancelledError:
        # Either this request is being cancelled, or the operation was, by a daemon that stops.
        if not work.cancelled():
            raise
        return {"error": error_line(AzsyncdError("the daemon is stopping", "ask again later"))}
    except Exception as error:  # noqa: BLE001  # every failure becomes an answer
        return {"error": error_line(error)}


def _retrieve(work: asyncio.Future[Any]) -> None:
    if not work.cancelled() and work.exception() is not None:
        _log.warning("operation.failed", exc_info=work.exception())


async def _write(response: web.StreamResponse, line: Mapping[str, Any]) -> None:
    await response.write(orjson.dumps(line, default=str, option=orjson.OPT_APPEND_NEWLINE))


def _reasons(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()
    )


def _shape(name: str) -> type[BaseModel]:
    """A model of the keyword arguments of one operation, made from its signature."""
    method = getattr(Operations, name)
    hints = get_type_hints(method)
    fields: dict[str, Any] = {
        parameter.name: (
            hints[parameter.name],
            ... if parameter.default is inspect.Parameter.empty else parameter.default,
        )
        for parameter in inspect.signature(method).parameters.values()
        if parameter.name not in _SUPPLIED
    }
    return create_model(name, __config__=ConfigDict(extra="forbid", strict=True), **fields)


_SHAPES = {
    name: _shape(name)
    for name, _ in inspect.getmembers(Operations, inspect.iscoroutinefunction)
    if not name.startswith("_")
}
