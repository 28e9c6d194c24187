"""What the directory says of itself."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from azsyncd.sandbox.base import Ask
from azsyncd.sandbox.cloud.state import CORE_GROUP, CORE_USER, ENTERPRISE, LIST, CloudState, call

_CONFIG = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"
_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:Schema"
_TYPE = "urn:ietf:params:scim:schemas:core:2.0:ResourceType"
_TEXTS = (
    "userName externalId displayName nickName title preferredLanguage department organization"
    " timezone"
)
_NAMES = "formatted familyName givenName middleName honorificPrefix honorificSuffix"


def _text(name: str) -> dict[str, Any]:
    return {"name": name, "type": "string", "multiValued": False, "mutability": "readWrite"}


def _several(name: str) -> dict[str, Any]:
    parts = [_text("value"), _text("type"), {**_text("primary"), "type": "boolean"}]
    return {"name": name, "type": "complex", "multiValued": True, "subAttributes": parts}


_SCHEMAS: dict[str, list[dict[str, Any]]] = {
    CORE_USER: [
        *map(_text, _TEXTS.split()),
        {
            "name": "name",
            "type": "complex",
            "multiValued": False,
            "subAttributes": list(map(_text, _NAMES.split())),
        },
        {**_text("active"), "type": "boolean"},
        _several("emails"),
        _several("phoneNumbers"),
    ],
    CORE_GROUP: [{**_text("displayName"), "mutability": "immutable"}, _several("members")],
    ENTERPRISE: [_text("organization"), _text("department")],
}


class DiscoveryCalls(CloudState):
    """`/ServiceProviderConfig`, `/Schemas`, `/ResourceTypes`."""

    @call("GET", "/ServiceProviderConfig")
    def config(self, ask: Ask) -> web.StreamResponse:
        """PATCH and filters; neither bulk, sorting nor ETags."""
        no = {"supported": False}
        body = {
            "schemas": [_CONFIG],
            "patch": {"supported": True},
            "bulk": {**no, "maxOperations": 0, "maxPayloadSize": 0},
            "filter": {"supported": True, "maxResults": self.page_cap},
            "changePassword": no,
            "sort": no,
            "etag": no,
            "authenticationSchemes": [
                {"type": "oauthbearertoken", "name": "API key", "description": "API key"}
            ],
        }
        return self.answer(body)

    @call("GET", "/Schemas")
    def schemas(self, ask: Ask) -> web.StreamResponse:
        """What users and groups have."""
        found = [
            {"schemas": [_SCHEMA], "id": key, "name": key.rpartition(":")[2], "attributes": value}
            for key, value in _SCHEMAS.items()
        ]
        body = {"schemas": [LIST], "totalResults": len(found), "Resources": found}
        return self.answer(body)

    @call("GET", "/ResourceTypes")
    def resource_types(self, ask: Ask) -> web.StreamResponse:
        """Users and groups."""
        found = [
            {"schemas": [_TYPE], "id": name, "name": name, "endpoint": f"/{name}s", "schema": key}
            for name, key in (("User", CORE_USER), ("Group", CORE_GROUP))
        ]
        body = {"schemas": [LIST], "totalResults": len(found), "Resources": found}
        return self.answer(body)
