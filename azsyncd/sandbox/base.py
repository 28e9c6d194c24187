"""What all simulated products have in common: the way of a request, and what is written down of it.

A product is a list of documented operations (`@operation`) over in-memory state. A request that no
operation documents, a parameter or key that it does not name, a cookie that came back, a secret in
a URL: each is answered as the product would and noted in `violations`, so that a test can say
"none". The order of a request: path → throttling → login page and the like → who asks → body →
operation → counting.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, TypeVar
from urllib.parse import unquote

from aiohttp import web
from aiohttp.typedefs import Middleware
from multidict import MultiMapping

from azsyncd.clock import Clock, SystemClock
from azsyncd.model.accounts import fold
from azsyncd.sandbox.pacing import Pacing

WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
LOGIN_PAGE = "<!DOCTYPE html><html><head><title>Log in</title></head><body>Log in</body></html>"


class Refusal(Exception):
    """The product says no. `already`: because everything is so; `exists`: the name is taken."""

    def __init__(
        self,
        status: int,
        message: str = "",
        *,
        field: str = "",
        reason: str = "",
        headers: Mapping[str, str] | None = None,
        already: bool = False,
        exists: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.field = field
        self.reason = reason
        self.headers = dict(headers or {})
        self.already = already
        self.exists = exists


@dataclass(slots=True)
class Counters:
    """What happened. Writes that were answered 2xx, and among them those that changed nothing."""

    requests: int = 0
    writes: int = 0
    duplicate_writes: int = 0  # it was already so
    conflicts: int = 0  # the name was taken
    refused_writes: int = 0
    protected_writes: int = 0  # aimed at a protected user or group, refused or not
    unauthenticated: int = 0
    throttled: int = 0
    early_requests: int = 0  # came before the end of a Retry-After


@dataclass(frozen=True, slots=True)
class Write:
    """One request that meant to change something."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    status: int
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One documented call. `body` None: none is taken; `*` in it: any JSON."""

    method: str
    path: str
    query: frozenset[str]
    query_required: frozenset[str]
    body: frozenset[str] | None
    body_required: frozenset[str]
    since: tuple[int, ...]
    until: tuple[int, ...] | None
    flag: str
    anonymous: bool
    reads: bool
    method_name: str = ""


@dataclass(slots=True)
class Ask:
    """One request on its way through a product."""

    request: web.Request
    operation: Operation
    path: dict[str, str]
    query: MultiMapping[str]
    base: str
    body: Any = None
    who: str = ""
    probing: bool = False
    touched: set[tuple[str, str]] = field(default_factory=set)

    def text(self, name: str, default: str = "") -> str:
        """A query parameter."""
        value: str = self.query.get(name, default)
        return value

    def number(self, name: str, default: int) -> int:
        """A query parameter that is a number; 400 if it is none."""
        try:
            return int(self.query.get(name, default))
        except ValueError:
            raise Refusal(400, f"{name} is not a number") from None

    def yes(self, name: str, default: bool = False) -> bool:
        """A query parameter that is true or false."""
        value: str = self.query.get(name, "true" if default else "false")
        return value.lower() == "true"

    def touch(self, kind: str, name: str) -> None:
        """Note at whom this request aims, before it is decided whether it may."""
        self.touched.add((kind, fold(name)))


Table = dict[int, list[tuple[list[str], dict[str, Operation]]]]
Handler = TypeVar("Handler", bound=Callable[..., web.StreamResponse])


def version_of(text: str) -> tuple[int, ...]:
    """`10.3.4` as numbers."""
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def operation(
    method: str,
    path: str,
    *,
    query: str = "",
    body: str | None = None,
    since: str = "",
    until: str = "",
    flag: str = "",
    anonymous: bool = False,
    reads: bool = False,
) -> Callable[[Handler], Handler]:
    """Document a call: names are separated by blanks, required ones end in `*`.

    `since` and `until` bound the versions that have it, `flag` names an attribute of the product
    that must be true; `reads` marks a POST that changes nothing.
    """

    def mark(handler: Handler) -> Handler:
        names, keys = query.split(), (body or "").split()
        found = Operation(
            method=method,
            path=path,
            query=frozenset(name.rstrip("*") for name in names),
            query_required=frozenset(name[:-1] for name in names if name.endswith("*")),
            body=None if body is None else frozenset(key.rstrip("*") or "*" for key in keys),
            body_required=frozenset(key[:-1] for key in keys if len(key) > 1 and key[-1] == "*"),
            since=version_of(since),
            until=version_of(until) or None,
            flag=flag,
            anonymous=anonymous,
            reads=reads,
            method_name=handler.__name__,
        )
        handler.__dict__.setdefault("operations", []).append(found)
        return handler

    return mark


def documented(cls: type) -> Iterable[Operation]:
    """Every operation that a product's class and its parents declare."""
    for name in dir(cls):
        yield from getattr(getattr(cls, name), "operations", ())


class Product:
    """A product's server; children add operations, state and the dialect of their errors."""

    kind: ClassVar[str] = ""
    sets_cookies: ClassVar[bool] = True
    json_types: ClassVar[tuple[str, ...]] = ("application/json",)
    aliases: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        *,
        version: str,
        token: str | None = None,
        username: str | None = None,
        password: str | None = None,
        clock: Clock | None = None,
        middlewares: Sequence[Middleware] = (),
    ) -> None:
        self.version = version
        self.clock = clock or SystemClock()
        self.pacing = Pacing(self.clock)
        self.token, self.username, self.password = token, username, password
        self.violations: list[str] = []
        self.probes: list[str] = []  # reads of what only other versions have: no violation
        self.counters = Counters()
        self.writes: deque[Write] = deque(maxlen=100_000)
        self.protected: set[tuple[str, str]] = set()
        self.has_rights = True
        self.login_page: int | None = None  # the status with which a log-in page is shown
        self.captcha = False
        self.maintenance = False
        self._middlewares = list(middlewares)
        self._table = self._operations(everywhere=False)
        self._full_table = self._operations(everywhere=True)

    # Children say ---------------------------------------------------------------------------------

    @property
    def revision(self) -> int:
        """Grows with every real change of the state."""
        raise NotImplementedError

    def refusal(self, refusal: Refusal, ask: Ask | None) -> web.StreamResponse:
        """The refusal in the product's dialect."""
        raise NotImplementedError

    def authenticate(self, ask: Ask) -> str:
        """Who asks; raises Refusal."""
        raise NotImplementedError

    def decorate(self, ask: Ask, response: web.StreamResponse) -> None:
        """Headers of every answer to somebody who is known."""

    async def parse(self, ask: Ask) -> Any:
        """The body: JSON with the keys that the operation names."""
        request = ask.request
        if request.content_type not in self.json_types:
            self.violate(ask, f"content type {request.content_type}")
            raise Refusal(415, "Unsupported Media Type")
        try:
            body = json.loads(await request.read())
        except ValueError:
            self.violate(ask, "a body that is not JSON")
            raise Refusal(400, "Unexpected end-of-input or malformed JSON") from None
        self.check_keys(ask, body)
        return body

    def unknown_key(self, ask: Ask, key: str) -> None:
        """What the product does about a key that it does not know: most refuse."""
        raise Refusal(400, f'Unrecognized field "{key}", not marked as ignorable')

    # For tests and the demo -----------------------------------------------------------------------

    def app(self) -> web.Application:
        """The server, to run as it is or mounted below a context path."""
        app = web.Application(middlewares=self._middlewares, client_max_size=16 * 2**20)
        app.router.add_route("*", "/{tail:.*}", self._serve)
        return app

    def protect(self, *, users: Iterable[str] = (), groups: Iterable[str] = ()) -> None:
        """Count every write that aims at these."""
        self.protected |= {("user", fold(name)) for name in users}
        self.protected |= {("group", fold(name)) for name in groups}

    def block_all(self, blocked: bool = True) -> None:
        """Rate limiting in its 'block all requests' mode."""
        self.pacing.block_all = blocked

    def count(self) -> dict[str, int]:
        """All counters."""
        self.counters.throttled = self.pacing.throttled
        self.counters.early_requests = self.pacing.early_requests
        return asdict(self.counters)

    def violate(self, ask: Ask | None, what: str) -> None:
        """Note something that the vendor's specification does not have."""
        where = f"{ask.operation.method} {ask.operation.path}: " if ask else ""
        self.violations.append(where + what)

    # The way of a request -------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.counters.requests += 1
        ask: Ask | None = None
        try:
            self._look_at_envelope(request)
            ask = self._route(request)
            response = await self._answer(ask)
        except Refusal as refusal:
            response = self._refuse(refusal, ask)
        if ask is not None and ask.who:
            response.headers.update(
                {k: v for k, v in self.pacing.headers().items() if k not in response.headers}
            )
            self.decorate(ask, response)
        if self.sets_cookies:
            response.set_cookie("JSESSIONID", "0" * 32, path="/", httponly=True)
        return response

    async def _answer(self, ask: Ask) -> web.StreamResponse:
        if self.maintenance:
            raise Refusal(503, "The product is being started or maintained.")
        if self.login_page is not None:
            return self._show_login_page(self.login_page)
        if not ask.operation.anonymous or "Authorization" in ask.request.headers:
            ask.who = self._known(ask)
            throttled = self.pacing.admit()
            if throttled is not None:
                raise Refusal(429, "Rate limit exceeded.", headers=throttled.headers)
        self._check_query(ask)
        writes = ask.operation.method in WRITING and not ask.operation.reads
        if ask.operation.body is not None and ask.request.body_exists:
            ask.body = await self.parse(ask)
        elif ask.operation.body_required:
            self.violate(ask, "no body")
            raise Refusal(400, "A body is required")
        before = self.revision
        try:
            response: web.StreamResponse = getattr(self, ask.operation.method_name)(ask)
        except Refusal as refusal:
            if writes:
                self._count_refused(ask, refusal)
            raise
        if writes:
            self._count_write(ask, response.status, changed=self.revision != before)
        return response

    def _known(self, ask: Ask) -> str:
        try:
            return self.authenticate(ask)
        except Refusal:
            self.counters.unauthenticated += 1
            raise

    def _count_write(self, ask: Ask, status: int, *, changed: bool) -> None:
        self.counters.writes += 1
        self.counters.duplicate_writes += not changed
        self._remember(ask, status, changed=changed)

    def _count_refused(self, ask: Ask, refusal: Refusal) -> None:
        self.counters.refused_writes += 1
        self.counters.duplicate_writes += refusal.already
        self.counters.conflicts += refusal.exists
        self._remember(ask, refusal.status, changed=False)

    def _remember(self, ask: Ask, status: int, *, changed: bool) -> None:
        self.counters.protected_writes += bool(ask.touched & self.protected)
        operation, query = ask.operation, dict(ask.query)
        path = "/" + ask.request.match_info["tail"]
        self.writes.append(Write(operation.method, path, query, ask.body, status, changed))

    def _refuse(self, refusal: Refusal, ask: Ask | None) -> web.StreamResponse:
        response = self.refusal(refusal, ask)
        response.headers.update(refusal.headers)
        return response

    def _show_login_page(self, status: int) -> web.Response:
        headers = {"Location": "/login.jsp"} if 300 <= status < 400 else {}
        return web.Response(
            status=status, text=LOGIN_PAGE, content_type="text/html", headers=headers
        )

    # What the specification says ------------------------------------------------------------------

    def _operations(self, *, everywhere: bool) -> Table:
        """The documented calls of this version, or of all, by the number of segments."""
        numbers = version_of(self.version)
        paths: dict[str, dict[str, Operation]] = {}
        for found in documented(type(self)):
            fits = numbers >= found.since and (found.until is None or numbers < found.until)
            if everywhere or (fits and (not found.flag or getattr(self, found.flag))):
                paths.setdefault(found.path, {})[found.method] = found
        table: Table = {}
        for path in sorted(paths, key=lambda path: ("{" in path, path)):
            segments = path.strip("/").split("/")
            table.setdefault(len(segments), []).append((segments, paths[path]))
        return table

    def _route(self, request: web.Request) -> Ask:
        resource = request.match_info.route.resource
        prefix = (resource.canonical if resource else "").removesuffix("/{tail}")
        raw = request.rel_url.raw_path.removeprefix(prefix)
        if "%2f" in raw.lower() or "%5c" in raw.lower():
            self.violations.append(f"{request.method} an encoded slash in the path")
            raise Refusal(400, "", reason="tomcat")
        for alias, proper in self.aliases.items():
            if raw.startswith(alias):
                raw = proper + raw.removeprefix(alias)
        segments = raw.strip("/").split("/")
        methods, variables = _find(self._table, segments)
        if request.method in methods:
            base = f"{request.url.origin()}{prefix}"
            ask = Ask(request, methods[request.method], variables, request.query, base)
            ask.probing = self._is_probe(ask.operation, segments)
            return ask
        self._note_unknown(request.method, segments, bool(methods))
        if methods:
            raise Refusal(405, "Method Not Allowed")
        raise Refusal(404, "", reason="no resource")

    def _is_probe(self, found: Operation, segments: list[str]) -> bool:
        """A literal path of another version that this one takes for a name."""
        literal = _find(self._full_table, segments)[0].get("GET")
        if found.method != "GET" or literal is None or literal.path == found.path:
            return False
        self.probes.append(f"GET {literal.path}")
        return True

    def _note_unknown(self, method: str, segments: list[str], known: bool) -> None:
        what = f"{method} /{'/'.join(segments)}"
        elsewhere, _ = _find(self._full_table, segments)
        if method == "GET" and method in elsewhere:
            self.probes.append(what)
        else:
            self.violations.append(f"{what}: no such {'method' if known else 'path'}")

    def _look_at_envelope(self, request: web.Request) -> None:
        if "Cookie" in request.headers:
            self.violations.append(f"{request.method} {request.path}: a cookie came back")
        for secret in (self.token, self.password):
            if secret and secret in unquote(request.raw_path):
                self.violations.append(f"{request.method}: a secret in the URL")

    def _check_query(self, ask: Ask) -> None:
        for name in sorted(set() if ask.probing else set(ask.query) - ask.operation.query):
            self.violate(ask, f"unknown query parameter {name}")
        for name in sorted(ask.operation.query_required - set(ask.query)):
            self.violate(ask, f"query parameter {name} is missing")
            raise Refusal(400, f"The query parameter {name} is required")

    def check_keys(self, ask: Ask, body: Any) -> None:
        """Hold the keys of an object against what the operation documents."""
        known = ask.operation.body or frozenset()
        if "*" in known:
            return
        if not isinstance(body, dict):
            self.violate(ask, "the body is not an object")
            raise Refusal(400, "The body must be an object")
        for key in sorted(set(body) - known):
            self.violate(ask, f"unknown key {key}")
            self.unknown_key(ask, key)
        for key in sorted(ask.operation.body_required - set(body)):
            self.violate(ask, f"key {key} is missing")


def _find(table: Table, segments: list[str]) -> tuple[dict[str, Operation], dict[str, str]]:
    for template, methods in table.get(len(segments), ()):
        variables = _match(template, segments)
        if variables is not None:
            return methods, variables
    return {}, {}


def _match(template: list[str], segments: list[str]) -> dict[str, str] | None:
    variables: dict[str, str] = {}
    for pattern, segment in zip(template, segments, strict=True):
        if pattern.startswith("{"):
            variables[pattern[1:-1]] = unquote(segment)
        elif pattern != segment:
            return None
    return variables


def basic_credentials(header: str) -> tuple[str, str] | None:
    """Name and password of an `Authorization: Basic`."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return name, password


def same_secret(given: str, expected: str | None) -> bool:
    """Whether a secret fits; nothing fits where none is set."""
    return expected is not None and hmac.compare_digest(given.encode(), expected.encode())
