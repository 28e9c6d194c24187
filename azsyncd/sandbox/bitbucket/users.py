"""Bitbucket's calls about accounts."""

from __future__ import annotations

import re

from aiohttp import web

from azsyncd.model.accounts import fold
from azsyncd.sandbox.base import Ask, Refusal
from azsyncd.sandbox.bitbucket.state import (
    BAD_VALUE,
    NO_USER,
    PAGE,
    TAKEN,
    TOMBSTONE_SECONDS,
    BitbucketState,
    call,
    matches,
    slug_of,
)
from azsyncd.sandbox.directories import Person


class UserCalls(BitbucketState):
    """`/admin/users` and `/users/{slug}`."""

    @call("GET", "/admin/users", query=f"filter {PAGE}")
    def list_users(self, ask: Ask) -> web.StreamResponse:
        """Everybody whom the filter finds."""
        self.need_admin(ask)
        needle = ask.text("filter")
        found = [
            person
            for person in self.people.everyone()
            if matches(needle, person.name, person.display_name, person.email)
        ]
        return self.page(ask, found, self.person_json)

    @call("GET", "/users/{userSlug}")
    def read_user(self, ask: Ask) -> web.StreamResponse:
        """One account by its slug, which need not be its name."""
        for person in self.people.everyone():
            if slug_of(person.name) == ask.path["userSlug"].lower():
                return web.json_response(self.person_json(ask, person))
        raise Refusal(404, "No such user", reason=NO_USER)

    @call(
        "POST",
        "/admin/users",
        query="name* displayName* emailAddress* password notify addToDefaultGroup",
    )
    def create_user(self, ask: Ask) -> web.StreamResponse:
        """204, all in the query; the grants of a namesake of the last week come back."""
        name = ask.text("name").strip()
        ask.touch("user", name)
        self.need_admin(ask)
        self._check_name(name)
        self._check_details(ask.text("displayName"), ask.text("emailAddress"))
        if not ask.text("password") and not ask.yes("notify"):
            raise Refusal(400, "A password is required", field="password", reason=BAD_VALUE)
        if self.people.person(name) is not None:
            text = f"The username {name} is already in use"
            raise Refusal(409, text, field="name", reason=TAKEN, exists=True)
        home = next((each for each in self.people.active if "create_user" in each.may), None)
        if home is None:
            raise Refusal(400, "No user directory allows users to be created", reason=TAKEN)
        by_default = ask.yes("addToDefaultGroup", True)
        if by_default:
            self.need_seats([None])
        number = self.people.next_number()
        person = Person(
            key=str(number),
            name=name,
            display_name=ask.text("displayName"),
            email=ask.text("emailAddress"),
            number=number,
        )
        self.people.add_person(home, person)
        if by_default:
            self.people.add_member(self.default_group, person)
        self._restore(name)
        return web.Response(status=204)

    def _restore(self, name: str) -> None:
        deleted_at, permission = self.tombstones.pop(fold(name), (0.0, ""))
        if permission and self.clock.now() - deleted_at < TOMBSTONE_SECONDS:
            self.granted_users[fold(name)] = permission

    @call("PUT", "/admin/users", body="name* displayName email")
    def update_user(self, ask: Ask) -> web.StreamResponse:
        """Full name and address; here the key is `email`."""
        person = self.the_user(ask, str(ask.body.get("name") or ""))
        self.need_admin(ask)
        self.need_mutable(person, "update_user")
        display_name = ask.body.get("displayName", person.display_name)
        email = ask.body.get("email", person.email)
        self._check_details(display_name, email)
        self.people.edit_person(person, display_name=display_name, email=email)
        return web.json_response(self.person_json(ask, person))

    @call("POST", "/admin/users/rename", body="name* newName*")
    def rename_user(self, ask: Ask) -> web.StreamResponse:
        """The id stays, the slug does not."""
        person = self.the_user(ask, str(ask.body.get("name") or ""))
        self.need_admin(ask)
        self.need_mutable(person, "update_user")
        name = str(ask.body.get("newName") or "").strip()
        self._check_name(name)
        other = self.people.person(name)
        if other is not None and other is not person:
            text = f"The username {name} is already in use"
            raise Refusal(400, text, field="newName", reason=TAKEN, exists=True)
        grant = self.granted_users.pop(fold(person.name), None)
        self.people.rename_person(person, name)
        if grant is not None:
            self.granted_users[fold(name)] = grant
        return web.json_response(self.person_json(ask, person))

    @call("DELETE", "/admin/users", query="name*")
    def delete_user(self, ask: Ask) -> web.StreamResponse:
        """Gone at once; what she was granted waits for seven days (BSERV-19820)."""
        person = self.the_user(ask, ask.text("name"))
        self.need_admin(ask)
        if fold(person.name) == fold(ask.who):
            raise Refusal(409, "You cannot delete your own user")
        self.need_mutable(person, "delete_user", 403)
        shown = self.person_json(ask, person)
        grant = self.granted_users.pop(fold(person.name), "")
        self.tombstones[fold(person.name)] = (self.clock.now(), grant)
        self.people.remove_person(person)
        return web.json_response(shown)

    @call("GET", "/admin/users/more-members", query=f"context* filter {PAGE}")
    def groups_of_user(self, ask: Ask) -> web.StreamResponse:
        """The groups of an account, whatever the documentation calls them."""
        self.need_admin(ask)
        person = self.the_user(ask, ask.text("context"))
        groups = [
            group
            for group in self.people.groups_of(person)
            if matches(ask.text("filter"), group.name)
        ]
        return self.page(ask, groups, self.group_json)

    @call("DELETE", "/admin/users/captcha", query="name*")
    def clear_captcha(self, ask: Ask) -> web.StreamResponse:
        """Nobody is locked here but azsyncd itself."""
        self.need_admin(ask)
        self.the_user(ask, ask.text("name"))
        return web.Response(status=204)

    def _check_name(self, name: str) -> None:
        if not name or len(name) > 255:
            text = "The username must have 1 to 255 characters"
            raise Refusal(400, text, field="name", reason=BAD_VALUE)

    def _check_details(self, display_name: object, email: object) -> None:
        if not str(display_name or "").strip() or len(str(display_name)) > 255:
            text = "The display name must have 1 to 255 characters"
            raise Refusal(400, text, field="displayName", reason=BAD_VALUE)
        if not re.fullmatch(r"[^@\s]+@[^@\s]+", str(email or "")):
            text = "The email address is not valid"
            raise Refusal(400, text, field="emailAddress", reason=BAD_VALUE)
