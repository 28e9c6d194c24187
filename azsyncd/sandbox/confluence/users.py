"""Confluence's calls about accounts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from azsyncd.sandbox.base import Ask, Refusal, operation
from azsyncd.sandbox.confluence.state import ConfluenceState, LongTask, call
from azsyncd.sandbox.directories import Person

PAGE = "start limit expand"
FORBIDDEN = set("\\,+<>'\"")


class UserCalls(ConfluenceState):
    """`/user`, `/admin/user`, `/admin/users/list/active`, `/longtask`."""

    @call("GET", "/user", query="username key expand")
    def read_user(self, ask: Ask) -> web.StreamResponse:
        """One account, without its address."""
        return web.json_response(self.person_json(ask, self._named(ask)))

    @call("GET", "/user/current", query="expand")
    def current(self, ask: Ask) -> web.StreamResponse:
        """The account that asks."""
        return web.json_response(self.person_json(ask, self.the_user(ask, ask.who)))

    @call("GET", "/user/list", query=PAGE, since="8.4", flag="admin_rest")
    def list_users(self, ask: Ask) -> web.StreamResponse:
        """Everybody, the disabled too; no addresses (CONFSERVER-87292)."""
        return self.page(ask, self.people.everyone(), self.person_json, limit=100)

    @call("GET", "/admin/users/list/active", query=PAGE, since="9.3", flag="admin_rest")
    def list_active(self, ask: Ask) -> web.StreamResponse:
        """Active and licensed accounts alone, with their addresses."""
        self.need_admin(ask)
        found = [person for person in self.people.everyone() if self.licensed(person)]
        return self.page(ask, found, self._with_email, limit=100)

    def _with_email(self, ask: Ask, person: Person) -> Mapping[str, Any]:
        return self.person_json(ask, person) | {"email": person.email}

    @call("GET", "/user/memberof", query=f"username key {PAGE}")
    def groups_of_user(self, ask: Ask) -> web.StreamResponse:
        """The groups that hold an account."""
        groups = self.people.groups_of(self._named(ask))
        return self.page(ask, groups, self.group_json)

    @call(
        "POST",
        "/admin/user",
        body="userName* fullName* email* password notifyViaEmail",
        since="8.4",
        flag="admin_rest",
    )
    def create_user(self, ask: Ask) -> web.StreamResponse:
        """A new account, licensed at once; 402 without a seat, 409 if there is one."""
        body = ask.body
        name = str(body.get("userName") or "")
        ask.touch("user", name)
        self.need_admin(ask)
        self._check_name(name)
        self._check_details(body)
        password, notify = body.get("password"), body.get("notifyViaEmail") is True
        if bool(password) == notify:
            raise Refusal(400, "Either a password or notifyViaEmail is needed, and not both")
        if self.people.person(name) is not None:
            raise Refusal(409, f"A user with the username {name} already exists", exists=True)
        home = self.home("create_user", f"user '{name}'")
        self.need_seat()
        person = Person(
            key=self.new_key(name),
            name=name,
            display_name=body["fullName"],
            email=body["email"],
            number=self.people.next_number(),
        )
        self.people.add_person(home, person)
        self.people.add_member(self.licence_groups[0], person)
        return web.json_response({"userKey": person.key}, status=201)

    @call(
        "PUT",
        "/admin/user/{username}",
        body="fullName email currentPassword",
        since="9.3",
        flag="admin_rest",
    )
    def update_user(self, ask: Ask) -> web.StreamResponse:
        """Name and address (CONFSERVER-93140); an unknown account is 400, not 404."""
        name = ask.path["username"]
        ask.touch("user", name)
        self.need_admin(ask)
        person = self.people.person(name)
        if person is None:
            raise Refusal(400, f"User {name} cannot be updated")
        self.need_writable(person, f"user '{person.name}'", "update_user")
        self._check_details(ask.body)
        self.people.edit_person(person, display_name=ask.body["fullName"], email=ask.body["email"])
        return web.Response(status=204)

    @call("PUT", "/admin/user/{username}/disable", since="8.2", flag="admin_rest")
    def disable_user(self, ask: Ask) -> web.StreamResponse:
        """204, whether it was enabled or not."""
        return self._activate(ask, active=False)

    @call("PUT", "/admin/user/{username}/enable", since="8.2", flag="admin_rest")
    def enable_user(self, ask: Ask) -> web.StreamResponse:
        """204, whether it was disabled or not."""
        return self._activate(ask, active=True)

    def _activate(self, ask: Ask, *, active: bool) -> web.StreamResponse:
        person = self.the_user(ask, ask.path["username"])
        self.need_admin(ask)
        if person.name == ask.who and not active:
            raise Refusal(403, "You cannot disable your own account")
        self.need_writable(person, f"user '{person.name}'", "update_user")
        self.people.edit_person(person, active=active)
        return web.Response(status=204)

    @call(
        "POST", "/admin/user/{username}/password", body="password*", since="8.4", flag="admin_rest"
    )
    def set_password(self, ask: Ask) -> web.StreamResponse:
        """For system administrators."""
        self.the_user(ask, ask.path["username"])
        self.need_admin(ask)
        if not self.sysadmin:
            raise Refusal(403, "User should be a System admin")
        if not ask.body.get("password"):
            raise Refusal(400, "The password must not be blank")
        self.people.changed()
        return web.Response(status=204)

    @call("DELETE", "/admin/user/{username}", since="8.2", flag="admin_rest")
    def delete_user(self, ask: Ask) -> web.StreamResponse:
        """202 and a task; the account is gone when the task is done."""
        person = self.the_user(ask, ask.path["username"])
        self.need_admin(ask)
        if person.name == ask.who:
            raise Refusal(403, "You cannot delete your own account")
        self.need_writable(person, f"user '{person.name}'", "delete_user")
        now = self.clock.monotonic()
        task = LongTask(f"{len(self.tasks):032x}", person, now, now + self.task_seconds)
        self.tasks[task.id] = task
        self.people.changed()
        self.run_tasks()
        address = f"{ask.base}/rest/api/longtask/{task.id}"
        return web.json_response({"id": task.id, "links": {"status": address}}, status=202)

    def run_tasks(self) -> None:
        """Finish the deletions whose time has come."""
        for task in self.tasks.values():
            if not task.done and self.clock.monotonic() >= task.done_at:
                task.done = True
                if self.people.person(task.person.name) is task.person:
                    self.people.remove_person(task.person)

    @call("GET", "/longtask/{id}", query="expand")
    def long_task(self, ask: Ask) -> web.StreamResponse:
        """How far a deletion is."""
        self.run_tasks()
        task = self.tasks.get(ask.path["id"])
        if task is None:
            raise Refusal(404, "There is no task with the given key")
        passed = self.clock.monotonic() - task.started_at
        whole = max(self.task_seconds, 0.001)
        percent = 100 if task.done else min(99, int(100 * passed / whole))
        body = {
            "id": task.id,
            "name": {"key": "user.delete", "args": []},
            "elapsedTime": int(passed * 1000),
            "percentageComplete": percent,
            "successful": task.done,
            "messages": [],
        }
        return web.json_response(body)

    @call("GET", "/server-information", since="9.3")
    def server_information(self, ask: Ask) -> web.StreamResponse:
        """The version, for those who are logged in."""
        numbers = [*self.numbers, 0, 0][:3]
        number = 1000 * numbers[0] + 100 * numbers[1] + numbers[2]
        body = {
            "baseUrl": ask.base,
            "version": self.version,
            "buildNumber": number,
            "marketplaceBuildNumber": number,
            "buildDate": "2026-01-15",
        }
        return web.json_response(body)

    @operation("GET", "/rest/applinks/1.0/manifest", anonymous=True)
    def manifest(self, ask: Ask) -> web.StreamResponse:
        """What application links tell everybody, in every version."""
        text = (
            "<manifest><id>5f6d3f3e-0000-0000-0000-000000000000</id><name>Confluence</name>"
            f"<typeId>confluence</typeId><version>{self.version}</version>"
            f"<url>{ask.base}</url></manifest>"
        )
        return web.Response(text=text, content_type="application/xml")

    def _named(self, ask: Ask) -> Person:
        if "key" not in ask.query:
            return self.the_user(ask, ask.text("username"))
        person = self.people.person_by_key(ask.text("key"))
        if person is None:
            raise Refusal(404, f"No user found with key : {ask.text('key')}")
        return person

    def _check_name(self, name: str) -> None:
        bad = not name or any(letter.isspace() or letter in FORBIDDEN for letter in name)
        if bad or len(name) > 255:
            raise Refusal(400, "The username is blank or has forbidden characters")
        if name == "anonymous":
            raise Refusal(400, "The username must not be anonymous")
        if name != name.lower():
            raise Refusal(400, "The username must not contain upper case characters")

    def _check_details(self, body: Mapping[str, Any]) -> None:
        full = str(body.get("fullName") or "")
        if not full.strip() or "<" in full or ">" in full or full.lower() == "anonymous":
            raise Refusal(400, "The full name is blank, reserved or has forbidden characters")
        if not re.fullmatch(r"[^@\s]+@[^@\s]+", str(body.get("email") or "")):
            raise Refusal(400, "The email address is not valid")
