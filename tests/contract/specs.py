"""Holds what the connectors send against the vendors' own specifications, where those are at hand.

They are Atlassian's and so not part of this repository. What stands in the written contract and
not in these (partial) files is listed below, with its section.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

FOLDER = Path(__file__).parents[2].parent / "shared" / "contracts" / "openapi"

Operation = tuple[frozenset[str], frozenset[str] | None]
"""Names of query parameters; keys of the body, None = none is taken, empty = any."""

Paths = dict[str, dict[str, Operation]]

FILES = {
    "jira": {
        (11,): ("jira-dc-11.3.rebuilt.openapi.json", "/rest"),
        (0,): ("jira-dc-10.6.identity.rebuilt.openapi.json", "/rest"),
    },
    "confluence": {
        (10,): ("confluence-dc-10.2.14.rebuilt.openapi.json", ""),
        (9, 3): ("confluence-dc-10.2.14.rebuilt.openapi.json", ""),
        (0,): ("confluence-dc-9.2.21.identity.rebuilt.openapi.json", ""),
    },
    "bitbucket": {
        (10,): ("bitbucket-dc-10.3.identity.rebuilt.openapi.json", "/rest"),
        (9,): ("bitbucket-dc-9.4.openapi.json", "/rest"),
        (0,): ("bitbucket-dc-8.19.identity.rebuilt.openapi.json", "/rest"),
    },
    "cloud": {(0,): ("cloud-scim-user-provisioning.teamapis-2022-08-29.json", "")},
    "crowd": {(0,): ("crowd-usermanagement-3.5-partial.pdjshog.yaml", "/rest/usermanagement/1")},
}

MORE_QUERY = {
    ("jira", "GET", "/api/2/user"): {"expand"},  # §1.2
    ("crowd", "GET", "/search"): {"start-index", "max-results", "expand"},  # §4.2
}

MORE_BODY = {
    ("cloud", "PATCH", "/scim/directory/{directoryId}/Users/{userId}"): {"Operations"},  # §5.7
    ("cloud", "PATCH", "/scim/directory/{directoryId}/Groups/{id}"): {"Operations"},
    ("crowd", "POST", "/user"): {"password", "attributes"},  # §4.2
}

UNLISTED = {
    "jira": {
        ("GET", "/api/2/mypermissions"),  # in the whole file of 11.3, not in the extract of 10.6
        ("GET", "/api/2/user/list"),  # a probe: §8.2
    },
    "confluence": {
        ("GET", "/rest/api/admin/users/list/active"),  # a probe: §2.2
        ("GET", "/rest/api/longtask/{id}"),  # §2.3, not in the extract of 9.2
    },
    "bitbucket": {  # in the whole file of 9.4, not in the extracts of the others
        ("GET", "/api/latest/application-properties"),
        ("GET", "/api/latest/admin/license"),
    },
    "crowd": {
        ("GET", "/group/membership"),  # §4.3
        ("GET", "/group/user/direct"),  # §4.3
        ("GET", "/group/child-group/direct"),  # §4.3, as the next two
        ("POST", "/group/child-group/direct"),
        ("DELETE", "/group/child-group/direct"),
    },
}


@dataclass(slots=True)
class Requests:
    """What one product was asked, and what of that no specification has."""

    kind: str
    version: str
    context: str
    unknown: list[str] = field(default_factory=list)
    checked: int = 0

    def note(self, method: str, raw_path: str, query: set[str], body: bytes) -> None:
        """Check one request."""
        paths = specification(self.kind, self.version)
        if paths is None:
            return
        prefix = self.context + FILES[self.kind][(0,)][1]
        path = raw_path.removeprefix(prefix)
        if path == raw_path:
            self.unknown.append(f"{method} {raw_path}: outside {prefix}")
            return
        self.checked += 1
        if _is_unlisted(self.kind, method, path):
            return
        found = _find(paths, path)
        if found is None or method not in found[1]:
            self.unknown.append(f"{method} {path}: not in the specification")
            return
        template, operations = found
        known, keys = operations[method]
        known = known | MORE_QUERY.get((self.kind, method, template), set())
        for name in sorted(query - known):
            self.unknown.append(f"{method} {template}: query parameter {name}")
        if body:
            more = MORE_BODY.get((self.kind, method, template), set())
            self._note_body(f"{method} {template}", body, keys, more)

    def _note_body(
        self, where: str, body: bytes, keys: frozenset[str] | None, more: set[str]
    ) -> None:
        if keys is None:
            self.unknown.append(f"{where}: a body")
            return
        if keys:
            for key in sorted(set(json.loads(body)) - keys - more):
                self.unknown.append(f"{where}: key {key}")


def _is_unlisted(kind: str, method: str, path: str) -> bool:
    templates = {template: {} for each, template in UNLISTED.get(kind, ()) if each == method}
    return _find(templates, path) is not None


def remembering(requests: Requests) -> Middleware:
    """Check everything that the application is asked."""

    @web.middleware
    async def checked(request: web.Request, handler: Handler) -> web.StreamResponse:
        body = await request.read()
        requests.note(request.method, request.rel_url.raw_path, set(request.query), body)
        return await handler(request)

    return checked


@functools.cache
def specification(kind: str, version: str) -> Paths | None:
    """The operations of a product's version; None where there is no file of it."""
    numbers = tuple(int(part) for part in version.split(".") if part.isdigit())
    for since, (name, _) in sorted(FILES.get(kind, {}).items(), reverse=True):
        if numbers >= since:
            path = FOLDER / name
            return _read(path) if path.exists() else None
    return None


@functools.cache
def _read(path: Path) -> Paths:
    text = path.read_text()
    whole = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    return {
        template: {
            method.upper(): _operation(whole, operation)
            for method, operation in operations.items()
            if method in {"get", "post", "put", "delete", "patch"}
        }
        for template, operations in whole["paths"].items()
    }


def _operation(whole: dict[str, Any], operation: dict[str, Any]) -> Operation:
    parameters = operation.get("parameters", [])
    query = frozenset(each["name"] for each in parameters if each["in"] == "query")
    bodies = [each["schema"] for each in parameters if each["in"] == "body"]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        bodies.append(content.get("schema", {}))
    if not bodies:
        return query, None
    return query, frozenset(_resolved(whole, bodies[0]).get("properties", {}))


def _resolved(whole: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if not reference:
        return schema
    found: Any = whole
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def _find(paths: Paths, path: str) -> tuple[str, dict[str, Operation]] | None:
    segments = [unquote(part) for part in path.split("/")]
    for template in sorted(paths, key=lambda each: "{" in each):
        parts = template.split("/")
        if len(parts) == len(segments) and all(
            part.startswith("{") or part == segment
            for part, segment in zip(parts, segments, strict=True)
        ):
            return template, paths[template]
    return None
