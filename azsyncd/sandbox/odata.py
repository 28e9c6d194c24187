"""How Graph is asked and how it answers: queries, errors, bodies.

https://learn.microsoft.com/en-us/graph/errors
https://learn.microsoft.com/en-us/graph/query-parameters
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from azsyncd.clock import iso
from azsyncd.sandbox.properties import DEFAULT, KNOWN, NOT_IN_DELTA, RELATIONS


class Refused(Exception):
    """Graph says no, by a code that programs branch on and a text that they must not."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        inner: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        self.inner = dict(inner or {})


@dataclass(slots=True, kw_only=True)
class Ask:
    """One call, whether it came by itself or in a batch. `roles` are the caller's permissions."""

    method: str
    path: str
    params: Mapping[str, str]
    base: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    client_id: str = ""
    roles: frozenset[str] = frozenset()

    @property
    def minimal(self) -> bool:
        """Whether `Prefer: return=minimal` was sent."""
        return "return=minimal" in self.headers.get("Prefer", "").replace(" ", "")

    def may(self, roles: frozenset[str]) -> bool:
        """Whether the caller has one of these permissions."""
        return bool(self.roles & roles)


@dataclass(slots=True)
class Answer:
    """Status, body (None = none) and further headers."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


def error_body(
    status: int,
    *,
    code: str = "",
    message: str = "",
    now: float = 0.0,
    request_id: str = "",
    inner: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Graph's JSON for an error."""
    known = {
        401: ("InvalidAuthenticationToken", "Access token validation failure."),
        403: ("Authorization_RequestDenied", "Insufficient privileges to complete the operation."),
        429: ("TooManyRequests", "Please retry again later."),
        500: ("InternalServerError", "An internal server error occurred."),
        502: ("BadGateway", "The server returned an invalid response."),
        503: ("ServiceUnavailable", "The service is temporarily unavailable."),
        504: ("GatewayTimeout", "The request timed out."),
    }
    default = known.get(status, ("UnknownError", ""))
    found = request_id or str(uuid.uuid4())
    return {
        "error": {
            "code": code or default[0],
            "message": message or default[1],
            "innerError": {
                **(inner or {}),
                "date": (iso(now) or "").removesuffix("Z"),
                "request-id": found,
                "client-request-id": found,
            },
        }
    }


def not_found(object_id: str) -> Refused:
    """404 for an object that is not there, or not any more."""
    return Refused(
        404,
        "Request_ResourceNotFound",
        f"Resource '{object_id}' does not exist or one of its queried reference-property objects "
        "are not present.",
    )


def bad_request(message: str, code: str = "BadRequest") -> Refused:
    """400."""
    return Refused(400, code, message)


def not_in_delta(*names: str) -> Refused:
    """400: delta keeps no track of them."""
    return bad_request(
        "Invalid request for delta query: for this entity set, $expand/$select is not supported"
        f" for the following properties: {', '.join(names)}"
    )


_EXPANDED = re.compile(r"manager(?:\(\$select=([A-Za-z,]+)\))?")


def expanded(params: Mapping[str, str], feed: str) -> tuple[str, ...] | None:
    """What `$expand=manager($select=…)` wants to see of it beside its id; None = it was not given.
    Raises Refused for every other relation: of those 20 objects at most are shown."""
    text = params.get("$expand", "")
    if not text:
        return None
    match = _EXPANDED.fullmatch(text)
    if match is None or feed != "users":
        raise bad_request(f"Expanding '{text}' is not simulated.", "Request_UnsupportedQuery")
    return selected({"$select": match[1]}, feed) if match[1] else DEFAULT[feed]


def selected(params: Mapping[str, str], feed: str, *, delta: bool = False) -> tuple[str, ...]:
    """The names of `$select` without `id`; empty = it was not given. Raises Refused."""
    names = [name.strip() for name in params.get("$select", "").split(",") if name.strip()]
    elsewhere = sorted(set(names) & NOT_IN_DELTA[feed])
    if elsewhere and delta:
        raise not_in_delta(*elsewhere)
    for name in names:
        if name not in KNOWN[feed] | NOT_IN_DELTA[feed] and not name.startswith("extension_"):
            kind = "user" if feed == "users" else "group"
            raise bad_request(
                f"Could not find a property named '{name}' on type 'microsoft.graph.{kind}'."
            )
        if name in RELATIONS and not delta:
            raise bad_request(f"The property '{name}' cannot be used in the $select query option.")
    return tuple(name for name in dict.fromkeys(names) if name != "id")


_COMPARISON = re.compile(r"([A-Za-z]+)\s+eq\s+('(?:[^']|'')*'|true|false|null)")


def comparisons(text: str, joined_by: str) -> list[tuple[str, Any]]:
    """`a eq 'x' and b eq true` → pairs; raises Refused for anything else."""
    found: list[tuple[str, Any]] = []
    position = 0
    while True:
        match = _COMPARISON.match(text, position)
        if match is None:
            raise bad_request(
                "Invalid filter clause: only eq is simulated.", "Request_UnsupportedQuery"
            )
        found.append((match[1], _literal(match[2])))
        position = match.end()
        if position == len(text):
            return found
        joint = re.compile(rf"\s+{joined_by}\s+").match(text, position)
        if joint is None:
            raise bad_request("Invalid filter clause.", "Request_UnsupportedQuery")
        position = joint.end()


def _literal(text: str) -> Any:
    if text.startswith("'"):
        return text[1:-1].replace("''", "'")
    return {"true": True, "false": False, "null": None}[text]
