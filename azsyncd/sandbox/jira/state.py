"""Jira's state: directories, applications with their licences, rights, and its error bodies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import quote

from aiohttp import web

from azsyncd.sandbox.base import Ask, Handler, Refusal, operation, version_of
from azsyncd.sandbox.datacenter import DataCenter
from azsyncd.sandbox.directories import Directory, Group, Person
from azsyncd.sandbox.jira.texts import text


def call(method: str, path: str, **more: Any) -> Callable[[Handler], Handler]:
    """Document a call below `/rest/api/2`."""
    return operation(method, f"/rest/api/2{path}", **more)


TOMCAT = "<!doctype html><html lang='en'><head><title>HTTP Status 400</title></head></html>"


@dataclass(slots=True)
class Application:
    """A licensed application: who is in one of `groups` takes a seat; None = unlimited."""

    key: str
    name: str
    groups: list[str]
    default_groups: list[str]
    seats: int | None = None
    selected_by_default: bool = True
    extra: dict[str, Any] = field(default_factory=dict)


class JiraState(DataCenter):
    """What Jira knows and who may do what; the calls are in the classes above this one.

    The facts: the contract's §1 and §8. Where they are unverified a constructor argument chooses.
    """

    kind: ClassVar[str] = "jira"
    aliases: ClassVar[Mapping[str, str]] = {"/rest/api/latest/": "/rest/api/2/"}
    admin_groups: ClassVar[tuple[str, ...]] = ("jira-administrators",)
    tokens_since: ClassVar[tuple[int, ...]] = (8, 14)

    def __init__(
        self,
        *,
        version: str = "10.3.4",
        token: str | None = "jira-token",
        username: str | None = "azsyncd",
        password: str | None = "jira-password",
        seats: int | Mapping[str, int] | None = None,
        applications: Sequence[Application] | None = None,
        basic_enabled: bool | None = None,
        user_list: bool | None = None,
        sysadmin_groups: Sequence[str] = ("jira-administrators",),
        language: str = "en",
        over_seats: str = "refuse",
        remove_nonmember_status: int = 400,
        picker_limit: int | None = None,
        renames: bool = True,
        external_management: bool = False,
        refuses_members_over_seats: bool = False,
        **given: Any,
    ) -> None:
        numbers = version_of(version)
        if basic_enabled is None:
            basic_enabled = numbers < (11,)
        self.has_user_list = numbers >= (11,) if user_list is None else user_list
        super().__init__(
            version=version,
            token=token,
            username=username,
            password=password,
            basic_enabled=basic_enabled,
            **given,
        )
        self.numbers = numbers
        self.sysadmin_groups = tuple(sysadmin_groups)
        self.language = language
        self.over_seats = over_seats  # refuse | create
        self.remove_nonmember_status = remove_nonmember_status
        self.picker_limit = picker_limit
        self.renames = renames
        self.external_management = external_management
        self.refuses_members_over_seats = refuses_members_over_seats
        self.title = "Jira"
        self.applications = list(applications or [self._software()])
        self._limit_seats(seats)
        licensed = {name for application in self.applications for name in application.groups}
        extra = licensed | set(self.sysadmin_groups)
        self.settle(sorted(extra - set(self.admin_groups)))
        if self.username and self.sysadmin_groups != ("jira-administrators",):
            self.protect(groups=self.sysadmin_groups)

    def _software(self) -> Application:
        return Application(
            "jira-software",
            "Jira Software",
            ["jira-software-users", "jira-administrators"],
            ["jira-software-users"],
        )

    def _limit_seats(self, seats: int | Mapping[str, int] | None) -> None:
        for application in self.applications:
            if isinstance(seats, int):
                application.seats = seats
            elif seats is not None:
                application.seats = seats.get(application.key)

    def default_directory(self) -> Directory:
        return Directory("Jira Internal Directory")

    def new_key(self, name: str) -> str:
        """`JIRAUSERnnnnn` since 8.4, the name in lower case before."""
        if self.numbers >= (8, 4):
            return f"JIRAUSER{self.people.next_number()}"
        return name.lower()

    # Licences -------------------------------------------------------------------------------------

    def set_seats(self, seats: int | None, application: str = "jira-software") -> None:
        """Buy another licence."""
        self.application(application).seats = seats

    def application(self, key: str) -> Application:
        """An application by its key."""
        for application in self.applications:
            if application.key == key:
                return application
        raise Refusal(404, f"Application {key} not found")

    def seat_holders(self, application: Application) -> set[str]:
        """Who takes a seat: active members of the application's groups."""
        return {
            person.name
            for name in application.groups
            for person in self.people.members(name, nested=True)
            if person.active
        }

    def holds_seat(self, application: Application, person: Person) -> bool:
        """Whether this account takes a seat of the application."""
        below = (self.people.with_subgroups(name) for name in application.groups)
        return person.active and any(person.groups & names for names in below)

    def has_seat(self, application: Application) -> bool:
        """Whether one more fits in."""
        if application.seats is None:
            return True
        return len(self.seat_holders(application)) < application.seats

    # Rights ---------------------------------------------------------------------------------------

    def need_admin(self, ask: Ask) -> None:
        """403 unless who asks administers Jira."""
        if not self.is_admin(ask.who):
            raise self.no(403, "not.admin")

    def is_sysadmin(self, name: str) -> bool:
        """Whether an account is a system administrator."""
        person = self.people.person(name)
        if person is None or not self.has_rights:
            return False
        return any(self.people.is_member(group, person) for group in self.sysadmin_groups)

    def need_power_over(self, ask: Ask, person: Person) -> None:
        """Only system administrators edit system administrators."""
        if self.is_sysadmin(person.name) and not self.is_sysadmin(ask.who):
            raise self.no(403, "sysadmin.only")

    def need_writable(self, person: Person, right: str, key: str) -> None:
        """400 where the account's directory is read-only."""
        if self.external_management:
            raise self.no(403, "external")
        if right not in self.people[person.directory].may:
            raise self.no(400, key, person.name)

    def no(self, status: int, key: str, *values: str, field: str = "", **more: Any) -> Refusal:
        """A refusal in the language of this Jira."""
        return Refusal(status, text(self.language, key, *values), field=field, **more)

    # Who is meant ---------------------------------------------------------------------------------

    def named(self, ask: Ask, *, key: str = "key", name: str = "username") -> Person:
        """The account that `key` or `username` of a request mean."""
        if key in ask.query:
            wanted, person = ask.text(key), self.people.person_by_key(ask.text(key))
        elif ask.text(name):
            wanted, person = ask.text(name), self.people.person(ask.text(name))
        else:
            raise self.no(400, "no.user.named")
        ask.touch("user", person.name if person else wanted)
        if person is None:
            raise self.no(404, "user.unknown", wanted)
        return person

    def group_named(self, ask: Ask, parameter: str = "groupname") -> Group:
        """The group that a request means."""
        wanted = ask.text(parameter)
        ask.touch("group", wanted)
        if not wanted:
            raise self.no(400, "group.empty")
        group = self.people.group(wanted)
        if group is None:
            raise self.no(404, "group.unknown", wanted)
        return group

    # Answers --------------------------------------------------------------------------------------

    def person_json(self, ask: Ask, person: Person, expand: str = "") -> dict[str, Any]:
        """An account as Jira shows it."""
        shown: dict[str, Any] = {
            "self": f"{ask.base}/rest/api/2/user?username={quote(person.name, safe='')}",
            "key": person.key,
            "name": person.name,
            "emailAddress": person.email,
            "avatarUrls": {
                "48x48": f"{ask.base}/secure/useravatar?avatarId=10122",
                "24x24": f"{ask.base}/secure/useravatar?size=small&avatarId=10122",
            },
            "displayName": person.display_name,
            "active": person.active,
            "timeZone": "Etc/UTC",
        }
        if expand == "list":
            return shown
        groups = self.people.groups_of(person)
        roles = [each for each in self.applications if self.holds_seat(each, person)]
        shown |= {
            "deleted": False,
            "locale": "en_US",
            "groups": {"size": len(groups), "items": []},
            "applicationRoles": {"size": len(roles), "items": []},
            "expand": "groups,applicationRoles",
        }
        if "groups" in expand.split(","):
            shown["groups"]["items"] = [self.group_json(ask, group) for group in groups]
        if "applicationRoles" in expand.split(","):
            items = [{"key": role.key, "name": role.name} for role in roles]
            shown["applicationRoles"]["items"] = items
        return shown

    def group_json(self, ask: Ask, group: Group) -> dict[str, Any]:
        """A group as Jira shows it in passing."""
        address = f"{ask.base}/rest/api/2/group?groupname={quote(group.name, safe='')}"
        return {"name": group.name, "self": address}

    def refusal(self, refusal: Refusal, ask: Ask | None) -> web.StreamResponse:
        """Jira's error body, or the servlet container's pages."""
        if refusal.reason == "tomcat":
            return web.Response(status=400, text=TOMCAT, content_type="text/html")
        if refusal.reason == "no resource":
            body = {"message": "null for uri", "status-code": 404}
            return web.json_response(body, status=404)
        if refusal.status in {405, 415, 429, 503}:
            body = {"message": refusal.message, "status-code": refusal.status}
            return web.json_response(body, status=refusal.status)
        if refusal.field:
            errors: dict[str, Any] = {
                "errorMessages": [],
                "errors": {refusal.field: refusal.message},
            }
        else:
            errors = {"errorMessages": [refusal.message], "errors": {}}
        return web.json_response(errors, status=refusal.status)

    def decorate(self, ask: Ask, response: web.StreamResponse) -> None:
        response.headers["X-AUSERNAME"] = quote(ask.who, safe="")
        response.headers["X-Seraph-LoginReason"] = "OK"
        response.headers["X-ANODEID"] = "node1"
