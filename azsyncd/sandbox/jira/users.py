"""Jira's calls about accounts: read, search, list, create, edit, delete."""

from __future__ import annotations

import functools
import re
from typing import Any

from aiohttp import web

from azsyncd.model.accounts import fold
from azsyncd.sandbox.base import Ask
from azsyncd.sandbox.directories import Person
from azsyncd.sandbox.jira.state import Application, JiraState, call

USER_KEYS = "key self name password emailAddress displayName notification applicationKeys active"
WORDS = re.compile(r"[\s@._\-]+")


class UserCalls(JiraState):
    """`/user`, `/user/search`, `/user/list`, `/user/password`, `/user/application`."""

    @call("GET", "/user", query="username key includeDeleted expand")
    def read_user(self, ask: Ask) -> web.StreamResponse:
        """One account."""
        person = self.named(ask)
        return web.json_response(self.person_json(ask, person, ask.text("expand")))

    @call("GET", "/user/search", query="username includeActive includeInactive startAt maxResults")
    def search_users(self, ask: Ask) -> web.StreamResponse:
        """Accounts that match; only the first 1000 (≤ 9) or 100 (≥ 10) of all that do.

        JRASERVER-65089, JRASERVER-78520, JRASERVER-78660.
        """
        needle = fold(ask.text("username"))
        if not needle:
            raise self.no(400, "no.needle")
        cap = 100 if self.numbers >= (10,) else 1000
        start = max(0, ask.number("startAt", 0))
        end = min(cap, start + min(cap, max(0, ask.number("maxResults", 50))))
        active = ask.yes("includeActive", default=True)
        inactive = ask.yes("includeInactive")
        found: list[Person] = []
        for person in self.people.everyone():
            if (active if person.active else inactive) and matches(needle, person):
                found.append(person)
                if len(found) >= end:
                    break
        return web.json_response([self.person_json(ask, p, "list") for p in found[start:end]])

    @call("GET", "/user/list", query="cursor maxResults", flag="has_user_list")
    def list_users(self, ask: Ask) -> web.StreamResponse:
        """Everybody, by cursor: from 11.0, and in late 10.3 (`user_list=True`)."""
        size = max(1, ask.number("maxResults", 2000))
        cursor = ask.number("cursor", 0)
        everyone = sorted(self.people.everyone(), key=lambda person: person.number)
        rest = [person for person in everyone if person.number > cursor]
        page = rest[:size]
        address = f"{ask.base}/rest/api/2/user/list"
        body: dict[str, Any] = {
            "self": f"{address}?maxResults={size}" + (f"&cursor={cursor}" if cursor else ""),
            "maxResults": size,
            "isLast": len(rest) <= size,
            "values": [self.person_json(ask, person, "list") for person in page],
        }
        if len(rest) > size:
            body["nextCursor"] = str(page[-1].number)
            body["nextPage"] = f"{address}?maxResults={size}&cursor={page[-1].number}"
        return web.json_response(body)

    @call("POST", "/user", body=f"{USER_KEYS} name* emailAddress* displayName*")
    def create_user(self, ask: Ask) -> web.StreamResponse:
        """A new account, in the first directory that takes one."""
        body = ask.body
        name = str(body.get("name") or "").strip()
        ask.touch("user", name)
        self.need_admin(ask)
        if self.external_management:
            raise self.no(403, "external")
        self._check_name(name)
        self._check_person(body, email=True, full=True)
        wanted = self._wanted_applications(body)
        home = next((d for d in self.people.active if "create_user" in d.may), None)
        if home is None:
            raise self.no(400, "user.create.read.only")
        if not all(self.has_seat(each) for each in wanted):
            if self.over_seats == "refuse":
                raise self.no(400, "licence", wanted[0].name, field="applicationKeys")
            wanted = []
        number = self.people.next_number()
        active = body.get("active", True) is not False
        person = Person(
            key=self.new_key(name),
            name=name,
            display_name=body["displayName"].strip(),
            email=body["emailAddress"].strip(),
            number=number,
            active=active,
        )
        self.people.add_person(home, person)
        for application in wanted:
            for group in application.default_groups:
                self.people.add_member(group, person)
        return web.json_response(self.person_json(ask, person), status=201)

    def _wanted_applications(self, body: dict[str, Any]) -> list[Application]:
        keys = body.get("applicationKeys")
        if keys is None:
            return [each for each in self.applications if each.selected_by_default]
        known = {application.key: application for application in self.applications}
        for key in keys:
            if key not in known:
                raise self.no(400, "application.unknown", key, field="applicationKeys")
        return [known[key] for key in keys]

    @call("PUT", "/user", query="username key", body=USER_KEYS)
    def edit_user_by_rest(self, ask: Ask) -> web.StreamResponse:
        """Only what is sent changes; `name` renames; `active` since 8.3 (JRASERVER-37294)."""
        person = self.named(ask)
        self.need_admin(ask)
        body = dict(ask.body)
        if self.numbers < (8, 3):
            body.pop("active", None)
        known = {"name", "emailAddress", "displayName", "active"}
        if not body.keys() & known:
            raise self.no(400, "nothing.to.change")
        self.need_power_over(ask, person)
        self.need_writable(person, "update_user", "user.edit.read.only")
        self._check_person(body, email="emailAddress" in body, full="displayName" in body)
        if body.get("active") is False and person.active:
            self._check_deactivation(ask, person)
        if "name" in body and body["name"] != person.name:
            self._rename(person, str(body["name"]).strip())
        self.people.edit_person(
            person,
            email=body.get("emailAddress", person.email).strip(),
            display_name=body.get("displayName", person.display_name).strip(),
            active=bool(body.get("active", person.active)),
        )
        return web.json_response(self.person_json(ask, person))

    def _rename(self, person: Person, name: str) -> None:
        if not self.renames:
            raise self.no(400, "user.rename.unsupported", field="username")
        other = self.people.person(name)
        if other is not person:
            self._check_name(name)
        self.people.rename_person(person, name)

    def _check_deactivation(self, ask: Ask, person: Person) -> None:
        if fold(person.name) == fold(ask.who):
            raise self.no(400, "active.self", field="active")
        if person.leads:
            raise self.no(400, "active.leads", ", ".join(person.leads), field="active")

    def _check_name(self, name: str) -> None:
        if not name:
            raise self.no(400, "user.name.empty", field="username")
        if len(name) > 255 or any(letter in name for letter in "<>&"):
            raise self.no(400, "user.name.bad", field="username")
        if self.people.person(name) is not None:
            raise self.no(400, "user.exists", field="username", exists=True)

    def _check_person(self, body: dict[str, Any], *, email: bool, full: bool) -> None:
        if email:
            address = str(body.get("emailAddress") or "").strip()
            if not re.fullmatch(r"[^@\s]+@[^@\s]+", address) or len(address) > 255:
                raise self.no(400, "user.email.bad", field="email")
        if full:
            name = str(body.get("displayName") or "").strip()
            if not name:
                raise self.no(400, "user.full.empty", field="displayName")
            if len(name) > 255:
                raise self.no(400, "user.full.long", field="displayName")

    @call("DELETE", "/user", query="username key")
    def delete_user(self, ask: Ask) -> web.StreamResponse:
        """Refused while the account leads or wrote something."""
        person = self.named(ask)
        self.need_admin(ask)
        self.need_power_over(ask, person)
        self.need_writable(person, "delete_user", "user.delete.read.only")
        if fold(person.name) == fold(ask.who):
            raise self.no(400, "delete.self")
        if person.leads:
            raise self.no(400, "delete.leads", person.name, ", ".join(person.leads))
        if person.authored:
            raise self.no(400, "delete.authored", person.name)
        self.people.remove_person(person)
        return web.Response(status=204)

    @call("PUT", "/user/password", query="username key", body="password* currentPassword")
    def set_password(self, ask: Ask) -> web.StreamResponse:
        """A new password."""
        person = self.named(ask)
        self.need_admin(ask)
        self.need_power_over(ask, person)
        self.need_writable(person, "update_user", "user.edit.read.only")
        self.people.changed()
        return web.Response(status=204)

    @call("POST", "/user/application", query="username* applicationKey*")
    def give_access(self, ask: Ask) -> web.StreamResponse:
        """Into the default groups of an application, if there is a seat."""
        person, application = self._access(ask)
        if not self.holds_seat(application, person) and not self.has_seat(application):
            raise self.no(400, "licence", application.name)
        for group in application.default_groups:
            self.people.add_member(group, person)
        return web.Response(status=200)

    @call("DELETE", "/user/application", query="username* applicationKey*")
    def take_access(self, ask: Ask) -> web.StreamResponse:
        """Out of all groups of an application."""
        person, application = self._access(ask)
        for group in application.groups:
            self.people.remove_member(group, person)
        return web.Response(status=204)

    def _access(self, ask: Ask) -> tuple[Person, Application]:
        self.need_admin(ask)
        person = self.named(ask)
        known = {application.key: application for application in self.applications}
        application = known.get(ask.text("applicationKey"))
        if application is None:
            raise self.no(400, "application.unknown", ask.text("applicationKey"))
        return person, application


def matches(needle: str, person: Person) -> bool:
    """Jira's idea of a match: how the name or a word of it begins; `.` finds almost everybody."""
    if needle == ".":
        return "." in person.email or "." in person.name
    texts = (person.name, person.display_name, person.email)
    return any(word.startswith(needle) for value in texts for word in _words(value))


@functools.lru_cache(100_000)
def _words(value: str) -> tuple[str, ...]:
    folded = fold(value)
    return (folded, *WORDS.split(folded))
