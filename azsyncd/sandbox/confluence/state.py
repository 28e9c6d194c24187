"""Confluence's state: which version can do what, its licence, long tasks and error bodies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote

from aiohttp import web

from azsyncd.model.accounts import fold
from azsyncd.sandbox.base import Ask, Handler, Refusal, operation, version_of
from azsyncd.sandbox.datacenter import DataCenter
from azsyncd.sandbox.directories import Directory, Group, Person

PHRASES = {400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden"}
PHRASES |= {404: "Not Found", 405: "Method Not Allowed", 409: "Conflict", 429: "Too Many Requests"}
TOMCAT = "<!doctype html><html lang='en'><head><title>HTTP Status 400</title></head></html>"


def call(method: str, path: str, **more: Any) -> Callable[[Handler], Handler]:
    """Document a call below `/rest/api`."""
    return operation(method, f"/rest/api{path}", **more)


@dataclass(slots=True)
class LongTask:
    """A deletion on its way; it is done once the clock has passed `done_at`."""

    id: str
    person: Person
    started_at: float
    done_at: float
    done: bool = False


class ConfluenceState(DataCenter):
    """What Confluence knows; the version decides what it can do (the contract's §2.2).

    `admin_rest=False` is the installation of CONFSERVER-54928's commenter: the version is new
    enough, and the calls are missing all the same.
    """

    kind: ClassVar[str] = "confluence"
    admin_groups: ClassVar[tuple[str, ...]] = ("confluence-administrators",)

    def __init__(
        self,
        *,
        version: str = "9.5.4",
        token: str | None = "confluence-token",
        username: str | None = "azsyncd",
        password: str | None = "confluence-password",
        seats: int | None = None,
        admin_rest: bool = True,
        page_cap: int = 200,
        task_seconds: float = 0.0,
        missing_group_status: int = 404,
        read_only_status: int = 403,
        sysadmin: bool = True,
        **given: Any,
    ) -> None:
        self.numbers = version_of(version)
        self.admin_rest = admin_rest
        query = (9, 2) <= self.numbers < (9, 3) or self.numbers >= (10, 1, 2)
        self.has_query_variants = query
        super().__init__(
            version=version, token=token, username=username, password=password, **given
        )
        self.seats = seats
        self.page_cap = page_cap
        self.task_seconds = task_seconds
        self.missing_group_status = missing_group_status
        self.read_only_status = read_only_status
        self.sysadmin = sysadmin
        self.read_only_mode = False
        self.licence_groups = ["confluence-users"]
        self.tasks: dict[str, LongTask] = {}
        self.settle(self.licence_groups)
        if self.username is not None:
            self.people.add_member("confluence-users", self._the(self.username))

    def default_directory(self) -> Directory:
        return Directory("Confluence Internal Directory")

    def new_key(self, name: str) -> str:
        return f"{0x4028_0082_8851_0000_0000_0000_0000_0000 + self.people.next_number():032x}"

    # Licence --------------------------------------------------------------------------------------

    def licensed(self, person: Person) -> bool:
        """Whether an account takes a seat."""
        groups = {fold(name) for name in (*self.licence_groups, *self.admin_groups)}
        return person.active and bool(groups & person.groups)

    def need_seat(self) -> None:
        """402 where no seat is left."""
        if self.seats is None:
            return
        if sum(map(self.licensed, self.people.everyone())) >= self.seats:
            raise Refusal(402, "There are no more licenses available to create a user")

    # Rights ---------------------------------------------------------------------------------------

    def need_admin(self, ask: Ask) -> None:
        """403 unless who asks administers Confluence; 405 while it only reads."""
        if not self.is_admin(ask.who):
            raise Refusal(403, "The calling user does not have permission to perform this action")
        if self.read_only_mode and ask.operation.method != "GET":
            raise Refusal(405, "Read-only mode is enabled", reason="read-only mode")

    def need_writable(self, person: Person, what: str, right: str) -> None:
        """Refused where the account's directory is read-only."""
        directory = self.people[person.directory]
        if right not in directory.may:
            text = (
                f"Cannot update {what} because directory '{directory.name}' does not allow updates."
            )
            raise Refusal(self.read_only_status, text)

    def home(self, right: str, what: str) -> Directory:
        """The first directory where this can be made."""
        for directory in self.people.active:
            if right in directory.may:
                return directory
        first = self.people.active[0].name
        text = f"Cannot update {what} because directory '{first}' does not allow updates."
        raise Refusal(self.read_only_status, text)

    # Who is meant ---------------------------------------------------------------------------------

    def the_user(self, ask: Ask, name: str) -> Person:
        """The account under this name."""
        ask.touch("user", name)
        person = self.people.person(name)
        if person is None:
            raise Refusal(404, f"No user found with username : {name}")
        return person

    def the_group(self, ask: Ask, name: str, status: int = 404) -> Group:
        """The group under this name."""
        ask.touch("group", name)
        group = self.people.group(name)
        if group is None:
            raise Refusal(status, f"Group {name} does not exist")
        return group

    # Answers --------------------------------------------------------------------------------------

    def person_json(self, ask: Ask, person: Person) -> dict[str, Any]:
        """An account as it is shown: without its address."""
        shown: dict[str, Any] = {
            "type": "known",
            "username": person.name,
            "userKey": person.key,
            "profilePicture": {"path": "/images/icons/profilepics/default.svg", "isDefault": True},
            "displayName": person.display_name,
            "_links": {"self": f"{ask.base}/rest/api/user?key={person.key}"},
        }
        if "status" in ask.text("expand").split(","):
            shown["status"] = "current" if person.active else "deactivated"
        else:
            shown["_expandable"] = {"status": ""}
        return shown

    def group_json(self, ask: Ask, group: Group) -> dict[str, Any]:
        """A group as it is shown."""
        address = f"{ask.base}/rest/api/group/{quote(group.name, safe='')}"
        return {"type": "group", "name": group.name, "_links": {"self": address}}

    def page(
        self,
        ask: Ask,
        found: Sequence[Any],
        show: Callable[[Ask, Any], Mapping[str, Any]],
        *,
        limit: int = 200,
    ) -> web.Response:
        """A page; the limit is clamped, and `_links.next` says whether there is more."""
        start = ask.number("start", 0)
        size = min(self.page_cap, ask.number("limit", limit))
        if start < 0 or size < 0:
            raise Refusal(400, "start and limit must not be negative")
        results = [show(ask, each) for each in found[start : start + size]]
        path = ask.request.rel_url.raw_path.removeprefix(_context(ask))
        links = {"self": str(ask.request.url), "base": ask.base, "context": _context(ask)}
        if start + size < len(found):
            rest = {name: value for name, value in ask.query.items() if name not in _PAGING}
            query = "".join(f"&{name}={quote(value, safe='')}" for name, value in rest.items())
            links["next"] = f"{path}?limit={size}&start={start + size}{query}"
        body = {
            "results": results,
            "start": start,
            "limit": size,
            "size": len(results),
            "totalCount": len(found),
            "_links": links,
        }
        return web.json_response(body)

    def refusal(self, refusal: Refusal, ask: Ask | None) -> web.StreamResponse:
        """Confluence's RestError, or the servlet container's page."""
        if refusal.reason == "tomcat":
            return web.Response(status=400, text=TOMCAT, content_type="text/html")
        if refusal.reason == "no resource":
            body: dict[str, Any] = {"message": "null for uri", "status-code": 404}
            return web.json_response(body, status=404)
        read_only = refusal.reason == "read-only mode"
        body = {
            "statusCode": refusal.status,
            "data": {
                "authorized": refusal.status not in {401, 403},
                "valid": refusal.status not in {400, 409},
                "allowedInReadOnlyMode": not read_only,
                "errors": [],
                "successful": False,
            },
            "message": refusal.message,
            "reason": PHRASES.get(refusal.status, "Error"),
        }
        return web.json_response(body, status=refusal.status)

    def decorate(self, ask: Ask, response: web.StreamResponse) -> None:
        response.headers["X-AUSERNAME"] = quote(ask.who, safe="")
        response.headers["X-Seraph-LoginReason"] = "OK"
        response.headers["X-Confluence-Request-Time"] = str(int(self.clock.now() * 1000))


_PAGING = {"start", "limit"}


def _context(ask: Ask) -> str:
    return ask.base.removeprefix(str(ask.request.url.origin()))
