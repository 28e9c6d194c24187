"""Crowd's state: an application mapped to directories, and its entities in JSON and XML."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import quote
from uuid import UUID

from aiohttp import web

from azsyncd.sandbox.base import Ask, Handler, Refusal, basic_credentials, operation, same_secret
from azsyncd.sandbox.crowd.xml import from_xml, to_xml
from azsyncd.sandbox.datacenter import DataCenter
from azsyncd.sandbox.directories import Directory, Group, Person

API = "/rest/usermanagement/1"
DENIED = "APPLICATION_PERMISSION_DENIED"


def call(method: str, path: str, **more: Any) -> Callable[[Handler], Handler]:
    """Document a call below `/rest/usermanagement/1`."""
    return operation(method, f"{API}{path}", **more)


class CrowdState(DataCenter):
    """What Crowd knows, and which of its directories a write goes to.

    The facts: the contract's §4 and §8. `people` may be another product's directories: Jira as a
    "Jira User Server" (`jira_user_server=True`) answers the same calls, and refuses to rename.
    """

    kind: ClassVar[str] = "crowd"
    admin_groups: ClassVar[tuple[str, ...]] = ("crowd-administrators",)
    json_types: ClassVar[tuple[str, ...]] = ("application/json",)
    aliases: ClassVar[Mapping[str, str]] = {"/rest/usermanagement/latest/": f"{API}/"}
    sets_cookies: ClassVar[bool] = True

    def __init__(
        self,
        *,
        version: str = "6.0.3",
        token: str | None = None,
        username: str | None = "azsyncd",
        password: str | None = "crowd-password",
        nested_groups: bool = True,
        lower_case_output: bool = False,
        page_cap: int | None = None,
        dump_json_status: int = 406,
        jira_user_server: bool = False,
        **given: Any,
    ) -> None:
        super().__init__(
            version=version, token=token, username=username, password=password, **given
        )
        self.nested_groups = nested_groups
        self.lower_case_output = lower_case_output
        self.page_cap = page_cap
        self.dump_json_status = dump_json_status
        self.jira_user_server = jira_user_server
        self.address_allowed = True
        self.synchronising = 0  # so many requests are still told to come back
        if "people" not in given:
            self.people.add_group(self.people.all[0], "crowd-administrators")
        self.protect(groups=self.admin_groups)

    def new_key(self, name: str) -> str:
        return f"32769:{UUID(int=self.people.next_number())}"

    # Who asks -------------------------------------------------------------------------------------

    def authenticate(self, ask: Ask) -> str:
        """The application, by name and password; never a person."""
        given = basic_credentials(ask.request.headers.get("Authorization", ""))
        if given is None or given[0] != self.username or not same_secret(given[1], self.password):
            headers = {"WWW-Authenticate": 'Basic realm="Crowd REST Service"'}
            raise Refusal(401, "Application failed to authenticate", reason="text", headers=headers)
        if not self.address_allowed:
            where = ask.request.remote
            text = f'Client with address "{where}" is forbidden from making requests'
            raise Refusal(403, text, reason="text")
        if self.synchronising > 0:
            self.synchronising -= 1
            text = "Directory is currently synchronising, try again later."
            raise Refusal(500, text, reason="OPERATION_FAILED")
        return self.username or ""

    # Where a write goes ---------------------------------------------------------------------------

    def need(self, right: str, directory: Directory) -> None:
        """403 where this application may not do this in this directory."""
        if directory.read_only and right not in directory.may:
            raise Refusal(403, "This directory is read-only.", reason="UNSUPPORTED_OPERATION")
        if not self.has_rights or right not in directory.may:
            text = f"Not allowed to perform operation {right.upper()} in directory"
            raise Refusal(403, f"{text} '{directory.name}'", reason=DENIED)

    def homes(self, right: str) -> list[Directory]:
        """Every directory where this can be done; 403 if there is none."""
        found = [each for each in self.people.active if self.has_rights and right in each.may]
        if not found:
            self.need(right, self.people.active[0])
        return found

    def allow(self, *rights: str, directory: str = "") -> None:
        """Give the application these rights in a directory, and no others."""
        home = self.people[directory] if directory else self.people.all[0]
        home.may = frozenset(rights)

    # Who is meant ---------------------------------------------------------------------------------

    def the_user(self, ask: Ask, name: str, status: int = 404) -> Person:
        """The account under this name."""
        ask.touch("user", name)
        person = self.people.person(name)
        if person is None:
            raise Refusal(status, f"User <{name}> does not exist", reason="USER_NOT_FOUND")
        return person

    def the_group(self, ask: Ask, name: str, status: int = 404) -> Group:
        """The group under this name."""
        ask.touch("group", name)
        group = self.people.group(name)
        if group is None:
            raise Refusal(status, f"Group <{name}> does not exist", reason="GROUP_NOT_FOUND")
        return group

    # Entities -------------------------------------------------------------------------------------

    def spelt(self, name: str) -> str:
        """A name as this application sees it."""
        return name.lower() if self.lower_case_output else name

    def user_entity(self, ask: Ask, person: Person, *, expand: str = "") -> dict[str, Any]:
        """An account whole; its attributes only when they are expanded."""
        address = self._address(ask, "user", "username", person.name)
        return {
            "expand": "attributes",
            "link": {"rel": "self", "href": address},
            "name": self.spelt(person.name),
            "key": person.key,
            "first-name": person.first_name,
            "last-name": person.last_name,
            "display-name": person.display_name,
            "email": person.email,
            "active": person.active,
            "password": {
                "link": {"rel": "edit", "href": address.replace("/user?", "/user/password?")}
            },
            "attributes": self.attributes_entity(
                address.replace("/user?", "/user/attribute?"), person, "attributes" in expand
            ),
        }

    def group_entity(self, ask: Ask, group: Group, *, expand: str = "") -> dict[str, Any]:
        """A group whole, without its members."""
        address = self._address(ask, "group", "groupname", group.name)
        return {
            "expand": "attributes",
            "link": {"rel": "self", "href": address},
            "name": self.spelt(group.name),
            "description": group.description,
            "type": "GROUP",
            "active": group.active,
            "attributes": self.attributes_entity(
                address.replace("/group?", "/group/attribute?"), group, "attributes" in expand
            ),
        }

    def attributes_entity(
        self, address: str, owner: Person | Group, expanded: bool
    ) -> dict[str, Any]:
        """Attributes, or none of them where nobody asked."""
        listed = [
            {"name": name, "values": list(values)}
            for name, values in sorted(owner.attributes.items())
        ]
        link = {"rel": "self", "href": address}
        return {"link": link, "attributes": listed if expanded else []}

    def listed(self, ask: Ask, found: list[Person] | list[Group], what: str) -> web.Response:
        """A page of users or groups: names alone, or whole where they are expanded."""
        start = max(0, ask.number("start-index", 0))
        size = ask.number("max-results", 1000)
        if self.page_cap is not None:
            size = min(size, self.page_cap) if size >= 0 else self.page_cap
        page = found[start:] if size < 0 else found[start : start + size]
        expand = ask.text("expand").split(",")
        entities: list[dict[str, Any]] = []
        for each in page:
            if what not in expand:
                parameter = f"{what}name"
                link = {"rel": "self", "href": self._address(ask, what, parameter, each.name)}
                entities.append({"link": link, "name": self.spelt(each.name)})
            elif isinstance(each, Person):
                entities.append(self.user_entity(ask, each, expand=ask.text("expand")))
            else:
                entities.append(self.group_entity(ask, each, expand=ask.text("expand")))
        return self.answer(ask, f"{what}s", {"expand": what, f"{what}s": entities})

    def _address(self, ask: Ask, what: str, parameter: str, name: str) -> str:
        parameter = "username" if parameter == "username" else parameter
        return f"{ask.base}{API}/{what}?{parameter}={quote(self.spelt(name), safe='')}"

    # The wire -------------------------------------------------------------------------------------

    def answer(
        self, ask: Ask, root: str, entity: dict[str, Any], status: int = 200
    ) -> web.Response:
        """In JSON where it is accepted, in XML otherwise."""
        if wants_json(ask):
            return web.json_response(entity, status=status)
        return web.Response(
            status=status, text=to_xml(root, entity), content_type="application/xml"
        )

    async def parse(self, ask: Ask) -> Any:
        """JSON or XML."""
        if ask.request.content_type not in {"application/xml", "text/xml"}:
            return await super().parse(ask)
        try:
            body = from_xml(await ask.request.text())
        except ValueError:
            self.violate(ask, "a body that is not XML")
            raise Refusal(400, "malformed XML", reason="ILLEGAL_ARGUMENT") from None
        self.check_keys(ask, body)
        return body

    def unknown_key(self, ask: Ask, key: str) -> None:
        """Crowd's binding passes over what it does not know."""

    def refusal(self, refusal: Refusal, ask: Ask | None) -> web.StreamResponse:
        """`{reason, message}`, or text where no application is known."""
        if refusal.reason in {"text", "tomcat", "no resource"} or ask is None:
            return web.Response(status=refusal.status, text=refusal.message)
        reason = refusal.reason or "ILLEGAL_ARGUMENT"
        entity = {"reason": reason, "message": refusal.message}
        if wants_json(ask):
            return web.Response(
                status=refusal.status, text=json.dumps(entity), content_type="application/json"
            )
        return web.Response(
            status=refusal.status, text=to_xml("error", entity), content_type="application/xml"
        )

    def decorate(self, ask: Ask, response: web.StreamResponse) -> None:
        response.headers["X-Embedded-Crowd-Version"] = f"Crowd/{self.version}"


def wants_json(ask: Ask) -> bool:
    """Crowd speaks XML unless JSON is asked for."""
    accept = ask.request.headers.get("Accept", "")
    at = accept.find("application/json")
    return at >= 0 and not 0 <= accept.find("application/xml") < at
