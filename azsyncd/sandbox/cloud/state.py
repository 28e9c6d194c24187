"""The directory's state, its filters and pages, and how it deviates from RFC 7644 (§5.7 of what
Atlassian documents): two filters alone, no rename of groups, `startIndex` 0 is an error."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from aiohttp import web

from azsyncd.model.accounts import fold
from azsyncd.sandbox.base import Ask, Handler, Refusal, operation, same_secret
from azsyncd.sandbox.datacenter import DataCenter
from azsyncd.sandbox.directories import Directory, Group, Person

API = "/scim/directory/{directoryId}"
SCIM = "application/scim+json"
CORE_USER = "urn:ietf:params:scim:schemas:core:2.0:User"
CORE_GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
EXTERNAL = "urn:scim:schemas:extension:atlassian-external:1.0"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
FILTER = re.compile(r'\s*(\w+)\s+eq\s+"((?:[^"\\]|\\.)*)"\s*', re.IGNORECASE)


def call(method: str, path: str, **more: Any) -> Callable[[Handler], Handler]:
    """Document a call of the directory."""
    return operation(method, f"{API}{path}", **more)


class CloudState(DataCenter):
    """What one SCIM directory knows.

    `verified_domains`: accounts are created under these alone (None: any). `google`: another
    identity provider owns the directory. `gateway`: the next so many requests fail in front of it.
    """

    kind: ClassVar[str] = "cloud"
    sets_cookies: ClassVar[bool] = False
    json_types: ClassVar[tuple[str, ...]] = ("application/json", SCIM)

    def __init__(
        self,
        *,
        version: str = "2026",
        token: str | None = "cloud-api-key",
        directory_id: str = "7d1c2f0e-1111-4222-8333-944445555666",
        page_cap: int = 100,
        verified_domains: Sequence[str] | None = None,
        google: bool = False,
        gateway: int = 0,
        **given: Any,
    ) -> None:
        given.pop("username", None)
        given.pop("password", None)
        super().__init__(version=version, token=token, username=None, password=None, **given)
        self.directory_id = directory_id
        self.page_cap = page_cap
        self.verified_domains = verified_domains
        self.google = google
        self.gateway = gateway

    def default_directory(self) -> Directory:
        return Directory("Identity provider directory")

    def new_key(self, name: str) -> str:
        return str(uuid.UUID(int=0xC10D << 112 | self.people.next_number()))

    def group_id(self, group: Group) -> str:
        """The id of a group, which is not its name."""
        ids = group.attributes.setdefault("id", [])
        if not ids:
            ids.append(str(uuid.UUID(int=0x6409 << 112 | self.people.next_number())))
        return ids[0]

    # Who asks -------------------------------------------------------------------------------------

    def authenticate(self, ask: Ask) -> str:
        """By the directory's API key alone."""
        scheme, _, value = ask.request.headers.get("Authorization", "").partition(" ")
        if self.gateway > 0:
            self.gateway -= 1
            raise Refusal(503, "upstream connect error", reason="gateway")
        if scheme.lower() != "bearer" or not same_secret(value, self.token):
            raise Refusal(401, "UnauthorizedError: Invalid authentication")
        if ask.path["directoryId"] != self.directory_id:
            raise Refusal(404, f"Directory {ask.path['directoryId']} not found")
        if not self.has_rights:
            raise Refusal(403, "The organization has no subscription for user provisioning")
        if self.google and ask.operation.method != "GET":
            raise Refusal(403, "externalDirectory.google")
        return "api-key"

    # Who is meant ---------------------------------------------------------------------------------

    def the_user(self, ask: Ask, key: str) -> Person:
        """The account with this id."""
        person = self.people.person_by_key(key)
        if person is None:
            raise Refusal(404, f"Resource {key} not found")
        ask.touch("user", person.name)
        return person

    def the_group(self, ask: Ask, key: str) -> Group:
        """The group with this id."""
        for group in self.people.all_groups():
            if self.group_id(group) == key:
                ask.touch("group", group.name)
                return group
        raise Refusal(404, f"Resource {key} not found")

    # Answers --------------------------------------------------------------------------------------

    def person_json(self, ask: Ask, person: Person) -> dict[str, Any]:
        """An account; attributes that were never set are left out."""
        more = {name: value for name, value in person.properties.items() if value not in ("", [])}
        enterprise = {name: more[name] for name in ("organization", "department") if name in more}
        shown: dict[str, Any] = {
            "schemas": [CORE_USER, ENTERPRISE, EXTERNAL],
            "id": person.key,
            "userName": person.name,
            "emails": more.pop("emails", None)
            or [{"value": person.email, "type": "work", "primary": True}],
            "displayName": person.display_name,
            "active": person.active,
            "groups": [
                {"type": "GROUP", "value": self.group_id(group), "display": group.name}
                for group in self.people.groups_of(person)
            ],
            "meta": self._meta(ask, "User", person.key),
            EXTERNAL: {"atlassianAccountId": f"557058:{person.key}"},
            **more,
        }
        if enterprise:
            shown[ENTERPRISE] = enterprise
        return shown

    def group_json(self, ask: Ask, group: Group) -> dict[str, Any]:
        """A group with all its members: there is no way to leave them out."""
        shown: dict[str, Any] = {
            "schemas": [CORE_GROUP],
            "id": self.group_id(group),
            "displayName": group.name,
            "members": [
                {"type": "User", "value": person.key, "display": person.display_name}
                for person in self.people.members(group.name)
            ],
            "meta": self._meta(ask, "Group", self.group_id(group)),
        }
        external = group.attributes.get("externalId")
        return shown | ({"externalId": external[0]} if external else {})

    def _meta(self, ask: Ask, kind: str, key: str) -> dict[str, str]:
        address = f"{ask.base}/scim/directory/{self.directory_id}/{kind}s/{key}"
        return {"resourceType": kind, "location": address}

    def answer(self, body: Any, status: int = 200) -> web.Response:
        """SCIM's media type."""
        return web.json_response(body, status=status, content_type=SCIM)

    def chosen(self, ask: Ask, shown: dict[str, Any]) -> dict[str, Any]:
        """`attributes` and `excludedAttributes`, which exclude one another."""
        wanted, unwanted = ask.text("attributes"), ask.text("excludedAttributes")
        if wanted and unwanted:
            text = "attributes and excludedAttributes are mutually exclusive"
            raise Refusal(400, text, reason="invalidSyntax")
        kept = {name.strip() for name in wanted.split(",")} | {"id", "schemas", "meta"}
        dropped = {name.strip() for name in unwanted.split(",")} - {"id", "schemas"}
        return {
            name: value
            for name, value in shown.items()
            if (not wanted or name in kept) and name not in dropped
        }

    def page(
        self, ask: Ask, found: Sequence[Any], show: Callable[[Ask, Any], dict[str, Any]]
    ) -> web.Response:
        """A page; it begins at 1, and 0 is an error here."""
        start, count = ask.number("startIndex", 1), ask.number("count", self.page_cap)
        if start < 1 or count < 0:
            raise Refusal(400, "startIndex must be at least 1", reason="invalidSyntax")
        shown = found[start - 1 : start - 1 + min(count, self.page_cap)]
        rows = [self.chosen(ask, show(ask, each)) for each in shown]
        body = {
            "schemas": [LIST],
            "totalResults": len(found),
            "startIndex": start,
            "itemsPerPage": len(rows),
            "Resources": rows,
        }
        return self.answer(body)

    def filtered(self, ask: Ask, allowed: Iterable[str]) -> tuple[str, str] | None:
        """The one comparison that is allowed, or none."""
        text = ask.text("filter")
        if not text:
            return None
        match = FILTER.fullmatch(text)
        names = {fold(name): name for name in allowed}
        if match is None or fold(match[1]) not in names:
            self.violate(ask, f"a filter on {match[1] if match else 'more than one thing'}")
            raise Refusal(400, f"Filter {text} is not supported", reason="invalidFilter")
        return names[fold(match[1])], re.sub(r"\\(.)", r"\1", match[2])

    def operations(self, ask: Ask) -> list[Mapping[str, Any]]:
        """The operations of a PATCH; a wrong spelling is refused and noted."""
        body = ask.body
        if not isinstance(body, dict) or PATCH not in (body.get("schemas") or ()):
            self.violate(ask, "a PATCH without its schema")
            raise Refusal(400, "body failed validation", reason="invalidSyntax")
        found = body.get("Operations")
        if not isinstance(found, list) or not found:
            self.violate(ask, "a PATCH without Operations")
            raise Refusal(400, "body failed validation", reason="invalidSyntax")
        return found

    def refusal(self, refusal: Refusal, ask: Ask | None) -> web.StreamResponse:
        """SCIM's error, or that of the gateway in front of it."""
        if refusal.reason == "gateway":
            body: dict[str, Any] = {"error": refusal.message, "traceId": "0123456789abcdef"}
            return web.json_response(body, status=refusal.status)
        body = {"schemas": [ERROR], "status": str(refusal.status), "detail": refusal.message}
        if refusal.reason and " " not in refusal.reason:
            body["scimType"] = refusal.reason
        return self.answer(body, refusal.status)
