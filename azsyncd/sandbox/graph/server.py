"""The way of a call through the simulated Graph: token, throttling, route, answer, counting.

A call can come over HTTP (`app`) or without any socket (`call`); nothing else differs.
"""

from __future__ import annotations

import base64
import math
import re
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import CIMultiDict
from yarl import URL

from azsyncd.clock import Clock
from azsyncd.sandbox.apps import Apps, BadToken
from azsyncd.sandbox.delta import DeltaFeeds
from azsyncd.sandbox.faults import Faults, faults_middleware
from azsyncd.sandbox.graph.reads import Reads
from azsyncd.sandbox.graph.rights import BY_FEED, need
from azsyncd.sandbox.graph.subscriptions import Subscriptions
from azsyncd.sandbox.hooks import Hooks
from azsyncd.sandbox.layout import Oddities
from azsyncd.sandbox.odata import Answer, Ask, Refused, bad_request, error_body
from azsyncd.sandbox.recording import Recording, recording_middleware
from azsyncd.sandbox.tenant import Tenant

_JSON = (
    "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;"
    "charset=utf-8"
)
_AUTHORIZE = "https://login.microsoftonline.com/common/oauth2/authorize"
_UNIT_SECONDS = 10.0
"""The window in which resource units are counted."""


@dataclass(frozen=True, slots=True)
class _Route:
    """One call, what it costs, and who answers: `{}` stands for a segment, `*` for any kind."""

    method: str
    template: str
    cost: int
    answer: Callable[..., Answer | Awaitable[Answer]]


class GraphServer:
    """Microsoft Graph over one tenant.

    `requests` counts by method and template, e.g. `requests["GET /users/delta"]`; `violations`
    lists calls that Graph does not have. `units_per_window` limits as Graph does for reads.
    """

    def __init__(
        self,
        tenant: Tenant,
        apps: Apps,
        *,
        hooks: Hooks | None = None,
        oddities: Oddities | None = None,
        faults: Faults | None = None,
        recording: Recording | None = None,
        seed: int = 0,
    ) -> None:
        self.tenant = tenant
        self.apps = apps
        self.clock: Clock = tenant.clock
        self.hooks = hooks or Hooks(tenant.tenant_id, clock=self.clock, seed=seed)
        self.oddities = oddities or Oddities()
        self.delta = DeltaFeeds(tenant, oddities=self.oddities, seed=seed)
        self.subscriptions = Subscriptions(tenant, apps, self.hooks, seed=seed)
        self.reads = Reads(tenant, apps)
        self.faults = faults or Faults(seed=seed, clock=self.clock, error_body=self._error_body)
        self.recording = recording or Recording(clock=self.clock)
        self.requests: Counter[str] = Counter()
        self.violations: list[str] = []
        self.units_per_window: float = math.inf
        self._spent: deque[tuple[float, int]] = deque()
        self._routes = self._table()

    def app(self) -> web.Application:
        """The server, for the root of a host or mounted below a path."""
        app = web.Application(
            middlewares=[
                recording_middleware(self.recording),
                self._labelled,
                faults_middleware(self.faults),
            ],
            client_max_size=4 * 2**20,
        )
        app.router.add_route("*", "/{path:.*}", self._serve)
        app.on_cleanup.append(self._stop)
        return app

    async def call(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Answer one call, without a socket and without `faults`."""
        found = URL(url, encoded=True)
        prefix, _, path = found.raw_path.partition("/v1.0/")
        given = CIMultiDict(headers or {})
        ask = Ask(
            method=method.upper(),
            path=path,
            params=dict(found.query),
            base=f"{found.origin()}{prefix}",
            headers=given,
        )
        request_id = given.get("client-request-id") or str(uuid.uuid4())
        try:
            answer = await self._answer(ask, path, body)
        except Refused as refused:
            answer = self._refusal(refused, request_id)
        answer.headers.setdefault("request-id", request_id)
        return answer

    # The way of a call --------------------------------------------------------------------------

    async def _answer(self, ask: Ask, path: str, body: bytes) -> Answer:
        self._authenticate(ask)
        segments = [unquote(segment) for segment in path.strip("/").split("/")]
        route, found = self._find(ask.method, segments)
        if route is None:
            self.violations.append(f"{ask.method} /{path}")
            raise bad_request(f"Resource not found for the segment '{segments[-1]}'.")
        self.requests[f"{route.method} {route.template}"] += 1
        cost = self._spend(route, ask)
        if ask.method in ("POST", "PATCH") and body:
            try:
                ask.body = orjson.loads(body)
            except ValueError:
                raise bad_request("Unable to read JSON request payload.") from None
        answer = route.answer(ask, *found)
        if isinstance(answer, Awaitable):
            answer = await answer
        answer.headers["x-ms-resource-unit"] = str(cost)
        if ask.minimal:
            answer.headers["Preference-Applied"] = "return=minimal"
        return answer

    def _authenticate(self, ask: Ask) -> None:
        scheme, _, token = ask.headers.get("Authorization", "").partition(" ")
        try:
            if scheme.lower() != "bearer" or not token:
                raise BadToken("Access token is empty.")
            app, roles = self.apps.read(token.strip())
        except BadToken as bad:
            challenge = f'Bearer realm="", authorization_uri="{_AUTHORIZE}"'
            if bad.challenge:
                claims = base64.b64encode(bad.challenge.encode()).decode()
                challenge += f', error="insufficient_claims", claims="{claims}"'
            raise Refused(
                401,
                "InvalidAuthenticationToken",
                bad.message,
                headers={"WWW-Authenticate": challenge},
            ) from None
        ask.client_id, ask.roles = app.client_id, roles

    def _spend(self, route: _Route, ask: Ask) -> int:
        """What a call costs: https://learn.microsoft.com/en-us/graph/throttling-limits"""
        few = re.fullmatch(r"1?\d", ask.params.get("$top", ""), re.ASCII) is not None
        cost = max(1, route.cost - ("$select" in ask.params) - few)
        if self.units_per_window == math.inf:
            return cost
        now = self.clock.monotonic()
        while self._spent and self._spent[0][0] <= now - _UNIT_SECONDS:
            self._spent.popleft()
        spent = sum(units for _, units in self._spent)
        if spent + cost > self.units_per_window and self._spent:
            wait = self._spent[0][0] + _UNIT_SECONDS - now
            raise Refused(
                429,
                "TooManyRequests",
                "Please retry again later.",
                headers={
                    "Retry-After": f"{wait:.3f}",
                    "x-ms-throttle-scope": f"Tenant_Application/ReadWrite/{ask.client_id}/"
                    f"{self.tenant.tenant_id}",
                    "x-ms-throttle-information": "ResourceUnitLimitExceeded",
                },
                inner={"code": "429", "status": "429", "message": "Please retry after"},
            )
        self._spent.append((now, cost))
        return cost

    def _feed(self, feed: str) -> Callable[[Ask], Answer]:
        def page(ask: Ask) -> Answer:
            # A permission that is lost in mid-crawl may still be a 200 (Oddities.limited).
            if feed not in self.oddities.limited:
                need(ask, BY_FEED[feed])
            return Answer(200, self.delta.page(feed, ask))

        return page

    # Routes -------------------------------------------------------------------------------------

    def _table(self) -> dict[int, list[tuple[list[str], _Route]]]:
        reads, subscriptions = self.reads, self.subscriptions
        routes = [
            _Route("GET", "/applications(appId='{}')", 1, reads.application),
            _Route("GET", "/organization", 1, reads.organization),
            _Route(
                "GET",
                "/directory/deletedItems/microsoft.graph.user",
                1,
                _fixed(reads.deleted, "users"),
            ),
            _Route(
                "GET",
                "/directory/deletedItems/microsoft.graph.group",
                1,
                _fixed(reads.deleted, "groups"),
            ),
            _Route("GET", "/directory/deletedItems/{}", 1, reads.deleted_one),
            _Route("GET", "/subscriptions", 1, subscriptions.list),
            _Route("POST", "/subscriptions", 1, subscriptions.create),
            _Route("GET", "/subscriptions/{}", 1, subscriptions.get),
            _Route("PATCH", "/subscriptions/{}", 1, subscriptions.update),
            _Route("DELETE", "/subscriptions/{}", 1, subscriptions.delete),
            _Route("POST", "/subscriptions/{}/reauthorize", 1, subscriptions.reauthorize),
            _Route("GET", "/users/{}/manager", 1, reads.manager),
        ]
        for feed in ("users", "groups"):
            for name in ("delta", "delta()", "microsoft.graph.delta", "microsoft.graph.delta()"):
                routes.append(_Route("GET", f"/{feed}/{name}", 1, self._feed(feed)))
            routes += [
                _Route("GET", f"/{feed}", 2, _fixed(reads.objects, feed)),
                _Route("GET", f"/{feed}/{{}}", 1, _fixed(reads.object, feed)),
                _Route("GET", f"/{feed}/{{}}/memberOf", 2, _fixed(reads.member_of, feed)),
                _Route("GET", f"/{feed}/{{}}/memberOf/{{}}", 2, _fixed(reads.member_of, feed)),
            ]
        for name, cost, answer in (
            ("members", 3, reads.members),
            ("transitiveMembers", 5, reads.transitive_members),
        ):
            routes.append(_Route("GET", f"/groups/{{}}/{name}", cost, answer))
            routes.append(_Route("GET", f"/groups/{{}}/{name}/{{}}", cost, answer))
        table: dict[int, list[tuple[list[str], _Route]]] = {}
        for route in routes:
            segments = route.template.strip("/").split("/")
            table.setdefault(len(segments), []).append((segments, route))
        return table

    def _find(self, method: str, segments: list[str]) -> tuple[_Route | None, list[str]]:
        for template, route in self._routes.get(len(segments), ()):
            if route.method != method:
                continue
            found = _match(template, segments)
            if found is not None:
                return route, found
        return None, []

    # Over HTTP ----------------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        answer = await self.call(
            request.method,
            str(request.url.with_fragment(None)),
            request.headers,
            await request.read(),
        )
        if answer.body is None:
            return web.Response(status=answer.status, headers=answer.headers)
        return web.Response(
            status=answer.status,
            body=orjson.dumps(answer.body),
            headers={"Content-Type": _JSON, **answer.headers},
        )

    def _error_body(self, status: int) -> Any:
        return error_body(status, now=self.clock.now())

    def _refusal(self, refused: Refused, request_id: str) -> Answer:
        body = error_body(
            refused.status,
            code=refused.code,
            message=refused.message,
            now=self.clock.now(),
            request_id=request_id,
            inner=refused.inner,
        )
        return Answer(refused.status, body, dict(refused.headers))

    @web.middleware
    async def _labelled(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The headers that every answer of Graph carries, those of its front door included."""
        response = await handler(request)
        if response.prepared:
            return response
        request_id = response.headers.get("request-id") or str(uuid.uuid4())
        response.headers.setdefault("request-id", request_id)
        response.headers.setdefault(
            "client-request-id", request.headers.get("client-request-id", request_id)
        )
        response.headers.setdefault("Cache-Control", "no-cache")
        response.headers.setdefault("OData-Version", "4.0")
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        return response

    async def _stop(self, app: web.Application) -> None:
        await self.hooks.close()


def _fixed(answer: Callable[..., Answer], feed: str) -> Callable[..., Answer]:
    """The same with the feed given."""
    return lambda ask, *found: answer(ask, feed, *found)


def _match(template: list[str], segments: list[str]) -> list[str] | None:
    """What stands for the braces, or None. Graph's paths do not care about case."""
    found: list[str] = []
    for pattern, segment in zip(template, segments, strict=True):
        before, brace, after = pattern.partition("{}")
        folded = segment.lower()
        if not brace:
            if folded != pattern.lower():
                return None
        elif (
            len(segment) > len(before) + len(after)
            and folded.startswith(before.lower())
            and folded.endswith(after.lower())
        ):
            found.append(segment[len(before) : len(segment) - len(after)])
        else:
            return None
    return found
