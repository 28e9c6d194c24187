"""Jira's calls about itself: who asks, rights, licences, duplicates, properties, sessions."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from aiohttp import web

from azsyncd.model.accounts import fold
from azsyncd.sandbox.base import Ask, Refusal, operation
from azsyncd.sandbox.directories import Person
from azsyncd.sandbox.jira.state import Application, JiraState, call

PROPERTY_BYTES = 32_768
PERMISSIONS = {
    "ADMINISTER": "Administer Jira",
    "SYSTEM_ADMIN": "System Admin",
    "USER_PICKER": "Browse Users",
}


class SystemCalls(JiraState):
    """Everything that is neither `/user` proper nor `/group`."""

    @call("GET", "/serverInfo", query="doHealthCheck", anonymous=True)
    def server_info(self, ask: Ask) -> web.StreamResponse:
        """The version, for everybody."""
        numbers = [*self.numbers, 0, 0][:3]
        body: dict[str, Any] = {
            "baseUrl": ask.base,
            "version": self.version,
            "versionNumbers": numbers,
            "deploymentType": "Server",
            "buildNumber": 10_000 * numbers[0] + numbers[1],
            "buildDate": "2026-01-15T00:00:00.000+0000",
            "databaseBuildNumber": 10_000 * numbers[0] + numbers[1],
            "scmInfo": "0" * 40,
            "serverTitle": self.title,
        }
        return web.json_response(body)

    @call("GET", "/myself", query="expand")
    def myself(self, ask: Ask) -> web.StreamResponse:
        """The account that asks."""
        return web.json_response(self.person_json(ask, self._caller(ask), ask.text("expand")))

    @operation("GET", "/rest/auth/1/session")
    def session(self, ask: Ask) -> web.StreamResponse:
        """Gone with Basic authentication in Jira 11."""
        if self.numbers >= (11,):
            raise Refusal(401, "Session-based authentication is disabled.")
        login = {"loginCount": 1, "previousLoginTime": "2026-11-01T00:00:00.000+0000"}
        address = f"{ask.base}/rest/api/latest/user?username={quote(ask.who, safe='')}"
        return web.json_response({"self": address, "name": ask.who, "loginInfo": login})

    @call("GET", "/mypermissions", query="projectKey projectId issueKey issueId")
    def my_permissions(self, ask: Ask) -> web.StreamResponse:
        """What the account that asks may do."""
        admin, sysadmin = self.is_admin(ask.who), self.is_sysadmin(ask.who)
        have = {"ADMINISTER": admin or sysadmin, "SYSTEM_ADMIN": sysadmin, "USER_PICKER": True}
        permissions = {
            key: self._permission(number, key) | {"havePermission": have[key]}
            for number, key in enumerate(PERMISSIONS)
        }
        return web.json_response({"permissions": permissions})

    @call("GET", "/permissions")
    def permissions(self, ask: Ask) -> web.StreamResponse:
        """All there are; administrators only."""
        self.need_admin(ask)
        found = {key: self._permission(number, key) for number, key in enumerate(PERMISSIONS)}
        return web.json_response({"permissions": found})

    def _permission(self, number: int, key: str) -> dict[str, Any]:
        name = PERMISSIONS[key]
        return {
            "id": str(number),
            "key": key,
            "name": name,
            "type": "GLOBAL",
            "description": f"{name}.",
        }

    @call("GET", "/applicationrole")
    def application_roles(self, ask: Ask) -> web.StreamResponse:
        """Licences and the groups that take seats."""
        self.need_admin(ask)
        return web.json_response([self._role(each) for each in self.applications])

    @call("GET", "/applicationrole/{key}")
    def application_role(self, ask: Ask) -> web.StreamResponse:
        """One application's licence."""
        self.need_admin(ask)
        return web.json_response(self._role(self.application(ask.path["key"])))

    def _role(self, application: Application) -> dict[str, Any]:
        taken, seats = len(self.seat_holders(application)), application.seats
        return {
            "key": application.key,
            "name": application.name,
            "groups": application.groups,
            "defaultGroups": application.default_groups,
            "selectedByDefault": application.selected_by_default,
            "defined": True,
            "numberOfSeats": -1 if seats is None else seats,
            "remainingSeats": -1 if seats is None else max(0, seats - taken),
            "userCount": taken,
            "userCountDescription": "users",
            "hasUnlimitedSeats": seats is None,
            "platform": False,
        }

    @call("GET", "/user/duplicated/count", query="flush")
    def count_duplicates(self, ask: Ask) -> web.StreamResponse:
        """How many accounts stand in several directories and matter there."""
        self.need_admin(ask)
        return web.json_response({"count": len(self._duplicates())})

    @call("GET", "/user/duplicated/list", query="flush")
    def list_duplicates(self, ask: Ask) -> web.StreamResponse:
        """Those accounts, with their directories."""
        self.need_admin(ask)
        numbers = {directory.name: n for n, directory in enumerate(self.people.all, start=1)}
        body = {
            people[0].name: [
                {
                    "directoryId": numbers[person.directory],
                    "directoryName": person.directory,
                    "active": person.active,
                }
                for person in people
            ]
            for people in self._duplicates()
        }
        return web.json_response(body)

    def _duplicates(self) -> list[list[Person]]:
        """More than one is active, or the only active one is not the first (JRASERVER-68797)."""
        found = []
        for people in self.people.duplicates().values():
            active = [person.active for person in people]
            if sum(active) > 1 or (any(active) and not active[0]):
                found.append(people)
        return found

    @call("DELETE", "/user/session/{username}")
    def end_sessions(self, ask: Ask) -> web.StreamResponse:
        """Whoever is logged in under this name is so no more."""
        self.need_admin(ask)
        ask.touch("user", ask.path["username"])
        if self.people.person(ask.path["username"]) is None:
            raise self.no(404, "user.unknown", ask.path["username"])
        self.people.changed()
        return web.Response(status=200)

    # Properties -----------------------------------------------------------------------------------

    @call("GET", "/user/properties", query="userKey username")
    def property_keys(self, ask: Ask) -> web.StreamResponse:
        """The keys of an account's properties."""
        person = self._owner(ask)
        address = f"{ask.base}/rest/api/2/user/properties"
        keys = [
            {"self": f"{address}/{quote(key, safe='')}?userKey={person.key}", "key": key}
            for key in sorted(person.properties)
        ]
        return web.json_response({"keys": keys})

    @call("GET", "/user/properties/{key}", query="userKey username")
    def read_property(self, ask: Ask) -> web.StreamResponse:
        """One property."""
        person, key = self._owner(ask), ask.path["key"]
        if key not in person.properties:
            raise self.no(404, "property.unknown", key)
        return web.json_response({"key": key, "value": person.properties[key]})

    @call("PUT", "/user/properties/{key}", query="userKey username", body="*")
    def write_property(self, ask: Ask) -> web.StreamResponse:
        """201 for a new one, 200 for one that was there."""
        person, key = self._owner(ask), ask.path["key"]
        if not 0 < len(key.encode()) <= 255:
            raise self.no(400, "property.key")
        value = json.dumps(ask.body, ensure_ascii=False, separators=(",", ":"))
        if ask.body is None or len(value.encode()) > PROPERTY_BYTES:
            raise self.no(400, "property.value")
        known = key in person.properties
        if not known or person.properties[key] != ask.body:
            person.properties[key] = ask.body
            self.people.changed()
        return web.Response(status=200 if known else 201)

    @call("DELETE", "/user/properties/{key}", query="userKey username")
    def delete_property(self, ask: Ask) -> web.StreamResponse:
        """Take one away."""
        person, key = self._owner(ask), ask.path["key"]
        if person.properties.pop(key, None) is None:
            raise self.no(404, "property.unknown", key)
        self.people.changed()
        return web.Response(status=204)

    def _owner(self, ask: Ask) -> Person:
        person = self.named(ask, key="userKey")
        if fold(person.name) != fold(ask.who):
            self.need_admin(ask)
        return person

    def _caller(self, ask: Ask) -> Person:
        person = self.people.person(ask.who)
        if person is None:
            raise self.no(404, "user.unknown", ask.who)
        return person
