"""Bad days on demand: an aiohttp middleware that delays, refuses, garbles and cuts answers.

A rule says what happens to which requests, how often, and with which probability; chance comes
from a seed. What takes effect although its answer is lost (`late`) is the fault that matters most.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import StrEnum
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from azsyncd.clock import Clock, SystemClock

LOGIN_PAGE = (
    "<!DOCTYPE html><html><head><title>Log in</title></head>"
    '<body><form action="/login" method="post"><input name="os_password"></form></body></html>'
)


class Kind(StrEnum):
    """What can happen to a request."""

    DELAY = "delay"  # `seconds` before it is looked at; `late`: before it is answered
    THROTTLE = "throttle"  # 429 with `retry_after`
    ERROR = "error"  # `status` (default 503) with `retry_after` if given; `late`: after the effect
    LOGIN_PAGE = "login_page"  # HTML instead of JSON, with `status` (default 200)
    RESET = "reset"  # the connection is cut; `late`: after it took effect ("lost answer")
    CUT = "cut"  # the connection is cut in the middle of the answer's body
    TRUNCATED = "truncated"  # a well-formed answer with half of its JSON
    GARBAGE = "garbage"  # a well-formed answer that is no JSON
    EMPTY = "empty"  # a well-formed answer without a body


@dataclass(slots=True, kw_only=True)
class Fault:
    """One rule. `path` is a regular expression, searched in path and query as they were sent.

    `retry_after`: a number of seconds or a text is sent as it is; `date:SECONDS` as an HTTP date;
    None leaves the header out. `times` None = always; `skip` lets so many requests pass first.
    """

    kind: Kind
    method: str = ""
    path: str = ""
    times: int | None = 1
    skip: int = 0
    probability: float = 1.0
    status: int = 0
    retry_after: float | str | None = None
    seconds: float = 0.0
    late: bool = False
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seen: int = 0
    done: int = 0

    def __post_init__(self) -> None:
        self.kind = Kind(self.kind)
        re.compile(self.path)


ErrorBody = Callable[[int], Any]
"""A product's own JSON for a status, where the rule names none."""


class Faults:
    """The rules of one server. The first that applies decides; delays add up.

    Example:
        faults = Faults(seed=7)
        faults.add("reset", method="POST", late=True, probability=0.05, times=None)
    """

    def __init__(
        self, *, seed: int = 0, clock: Clock | None = None, error_body: ErrorBody | None = None
    ) -> None:
        self.rules: list[Fault] = []
        self.happened: Counter[str] = Counter()
        self.clock: Clock = clock or SystemClock()
        self._random = random.Random(seed)
        self._error_body = error_body

    def add(self, kind: str, **values: Any) -> Fault:
        """Add a rule; the keywords are the fields of `Fault`."""
        fault = Fault(kind=Kind(kind), **values)
        self.rules.append(fault)
        return fault

    def clear(self) -> None:
        """Good weather again."""
        self.rules.clear()

    def draw(self, method: str, path: str) -> list[Fault]:
        """What happens to this request: any delays, then at most one other fault."""
        drawn: list[Fault] = []
        for rule in list(self.rules):
            decided = any(fault.kind is not Kind.DELAY for fault in drawn)
            if (decided and rule.kind is not Kind.DELAY) or not self._applies(rule, method, path):
                continue
            rule.done += 1
            self.happened[rule.kind.value] += 1
            drawn.append(rule)
            if rule.times is not None and rule.done >= rule.times:
                self.rules.remove(rule)
        return drawn

    def _applies(self, rule: Fault, method: str, path: str) -> bool:
        if rule.method and rule.method.upper() != method:
            return False
        if rule.path and re.search(rule.path, path) is None:
            return False
        rule.seen += 1
        if rule.seen <= rule.skip:
            return False
        return rule.probability >= 1 or self._random.random() < rule.probability

    def refusal(self, fault: Fault) -> web.Response:
        """The answer of a throttled, failing or logged-out server."""
        headers = dict(fault.headers)
        if fault.retry_after is not None:
            headers["Retry-After"] = self._spelled(fault.retry_after)
            headers.setdefault("Date", formatdate(self.clock.now(), usegmt=True))
        if fault.kind is Kind.LOGIN_PAGE:
            status = fault.status or 200
            if 300 <= status < 400:
                headers.setdefault("Location", "/login.jsp")
            return web.Response(
                status=status, text=LOGIN_PAGE, content_type="text/html", headers=headers
            )
        status = fault.status or (429 if fault.kind is Kind.THROTTLE else 503)
        body = fault.body
        if body is None and self._error_body is not None:
            body = self._error_body(status)
        if body is None or isinstance(body, str):
            return web.Response(status=status, text=body or "", headers=headers)
        return web.json_response(body, status=status, headers=headers)

    def _spelled(self, retry_after: float | str) -> str:
        text = str(retry_after)
        if text.startswith("date:"):
            return formatdate(self.clock.now() + float(text[5:]), usegmt=True)
        return text


def faults_middleware(faults: Faults) -> Middleware:
    """Let these faults happen to everything that the application is asked."""

    @web.middleware
    async def unreliable(request: web.Request, handler: Handler) -> web.StreamResponse:
        drawn = faults.draw(request.method, request.path_qs)
        delays = [fault for fault in drawn if fault.kind is Kind.DELAY]
        fault = next((fault for fault in drawn if fault.kind is not Kind.DELAY), None)
        await _pause(faults, delays, late=False)
        early = None if fault is None or fault.late else _instead(faults, fault, request)
        if early is not None:
            return early
        response = await handler(request)
        await _pause(faults, delays, late=True)
        if fault is None:
            return response
        if fault.late:
            return _instead(faults, fault, request) or response
        return await _spoiled(fault, request, response)

    return unreliable


async def _pause(faults: Faults, delays: list[Fault], *, late: bool) -> None:
    seconds = sum(delay.seconds for delay in delays if delay.late is late)
    if seconds:
        await faults.clock.sleep(seconds)


def _instead(faults: Faults, fault: Fault, request: web.Request) -> web.StreamResponse | None:
    """The answer that replaces the server's own; None if the fault spoils that one instead."""
    if fault.kind is Kind.RESET:
        return _hang_up(request)
    if fault.kind in (Kind.THROTTLE, Kind.ERROR, Kind.LOGIN_PAGE):
        return faults.refusal(fault)
    return None


def _hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()  # nobody hears it


async def _spoiled(
    fault: Fault, request: web.Request, response: web.StreamResponse
) -> web.StreamResponse:
    if not isinstance(response, web.Response):
        return _hang_up(request)
    body = response.body if isinstance(response.body, bytes) else b""
    if fault.kind is Kind.CUT:
        return await _cut(request, response, body)
    spoiled = {
        Kind.TRUNCATED: body[: len(body) // 2],
        Kind.GARBAGE: b"\x00\xff{not json" + body[:10],
        Kind.EMPTY: b"",
    }[fault.kind]
    return web.Response(
        status=response.status,
        body=spoiled,
        headers={"Content-Type": response.headers.get("Content-Type", "application/json")},
    )


async def _cut(
    request: web.Request, response: web.StreamResponse, body: bytes
) -> web.StreamResponse:
    half = web.StreamResponse(
        status=response.status,
        headers={
            "Content-Type": response.headers.get("Content-Type", "application/json"),
            "Content-Length": str(len(body) + 1),
        },
    )
    await half.prepare(request)
    await half.write(body[: max(1, len(body) // 2)])
    _hang_up(request)
    return half
