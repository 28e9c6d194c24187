"""Crowd's calls about accounts."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from azsyncd.model.accounts import fold
from azsyncd.sandbox.base import Ask, Refusal
from azsyncd.sandbox.crowd.search import everything, from_cql, from_object
from azsyncd.sandbox.crowd.state import CrowdState, call
from azsyncd.sandbox.directories import Group, Person

KEYS = (
    "name* password active first-name last-name display-name email attributes key link expand"
    " encrypted-password created-date updated-date"
)
PAGE = "start-index max-results expand"


class UserCalls(CrowdState):
    """`/user`, `/user/rename`, `/user/password`, `/user/attribute`, `/search`."""

    @call("GET", "/user", query="username key expand")
    def read_user(self, ask: Ask) -> web.StreamResponse:
        """One account, by name or by key."""
        if "username" in ask.query:
            person = self.the_user(ask, ask.text("username"))
        else:
            found = self.people.person_by_key(ask.text("key"))
            if found is None:
                text = f"User with key <{ask.text('key')}> does not exist"
                raise Refusal(404, text, reason="USER_NOT_FOUND")
            person = found
        entity = self.user_entity(ask, person, expand=ask.text("expand"))
        return self.answer(ask, "user", entity)

    @call("POST", "/user", body=KEYS)
    def create_user(self, ask: Ask) -> web.StreamResponse:
        """A new account in the first directory where the application may make one."""
        body = ask.body
        name = str(body.get("name") or "")
        ask.touch("user", name)
        self._check_name(name)
        if not (body.get("password") or {}).get("value"):
            raise Refusal(400, "Password is required", reason="INVALID_USER")
        home = self.homes("create_user")[0]
        if self.people.person(name) is not None:
            text = f"User with name [{name}] already exists in directory [{home.name}]"
            raise Refusal(400, text, reason="INVALID_USER", exists=True)
        person = Person(
            key=self.new_key(name),
            name=name,
            display_name="",
            email="",
            number=self.people.next_number(),
            active=body.get("active") is not False,
        )
        self._fill(person, body)
        person.attributes = dict(_attributes(body.get("attributes")))
        self.people.add_person(home, person)
        entity = self.user_entity(ask, person)
        response = self.answer(ask, "user", entity, status=201)
        response.headers["Location"] = entity["link"]["href"]
        return response

    @call("PUT", "/user", query="username*", body=KEYS)
    def replace_user(self, ask: Ask) -> web.StreamResponse:
        """The whole account: what is left out is wiped, `active` included."""
        person = self.the_user(ask, ask.text("username"))
        body = ask.body
        if fold(str(body.get("name") or "")) != fold(person.name):
            text = "The username in the body does not match the one in the address"
            raise Refusal(400, text, reason="ILLEGAL_ARGUMENT")
        self.need("update_user", self.people[person.directory])
        before = self._fields(person)
        self._fill(person, body)
        after = self._fields(person)
        for field, value in before.items():
            setattr(person, field, value)
        self.people.edit_person(person, **after, active=body.get("active") is True)
        return web.Response(status=204)

    def _fields(self, person: Person) -> dict[str, str]:
        names = ("first_name", "last_name", "display_name", "email")
        return {name: getattr(person, name) for name in names}

    def _fill(self, person: Person, body: dict[str, Any]) -> None:
        person.first_name = str(body.get("first-name") or "")
        person.last_name = str(body.get("last-name") or "")
        person.email = str(body.get("email") or "")
        both = f"{person.first_name} {person.last_name}".strip()
        person.display_name = str(body.get("display-name") or "") or both

    def _check_name(self, name: str) -> None:
        if not name or name != name.strip() or len(name) > 255:
            text = "The username must have 1 to 255 characters, without blanks around them"
            raise Refusal(400, text, reason="INVALID_USER")

    @call("DELETE", "/user", query="username*")
    def delete_user(self, ask: Ask) -> web.StreamResponse:
        """Gone, with all memberships."""
        person = self.the_user(ask, ask.text("username"))
        self.need("delete_user", self.people[person.directory])
        self.people.remove_person(person)
        return web.Response(status=204)

    @call("POST", "/user/rename", query="username*", body="new-name*")
    def rename(self, ask: Ask) -> web.StreamResponse:
        """Another name for the same account."""
        person = self.the_user(ask, ask.text("username"))
        name = str(ask.body.get("new-name") or "")
        if self.jira_user_server:
            text = "JIRA is acting as a Crowd Server"
            raise Refusal(403, text, reason="UNSUPPORTED_OPERATION")
        self._check_name(name)
        self.need("update_user", self.people[person.directory])
        if self.people.person(name) not in (None, person):
            raise Refusal(
                400, f"User with name [{name}] already exists", reason="INVALID_USER", exists=True
            )
        self.people.rename_person(person, name)
        return self.answer(ask, "user", self.user_entity(ask, person))

    @call("PUT", "/user/password", query="username*", body="value* link")
    def set_password(self, ask: Ask) -> web.StreamResponse:
        """A new password."""
        person = self.the_user(ask, ask.text("username"))
        self.need("update_user", self.people[person.directory])
        self.people.changed()
        return web.Response(status=204)

    # Attributes -----------------------------------------------------------------------------------

    @call("GET", "/user/attribute", query="username*")
    def user_attributes(self, ask: Ask) -> web.StreamResponse:
        """All attributes of an account."""
        return self._show_attributes(ask, self.the_user(ask, ask.text("username")))

    @call("POST", "/user/attribute", query="username*", body="attributes* link")
    def store_user_attributes(self, ask: Ask) -> web.StreamResponse:
        """Those that are named change; an empty list takes one away."""
        person = self.the_user(ask, ask.text("username"))
        self.need("update_user_attribute", self.people[person.directory])
        return self._store_attributes(ask, person)

    @call("DELETE", "/user/attribute", query="username* attributename*")
    def delete_user_attribute(self, ask: Ask) -> web.StreamResponse:
        """One is gone."""
        person = self.the_user(ask, ask.text("username"))
        self.need("update_user_attribute", self.people[person.directory])
        return self._delete_attribute(ask, person)

    @call("GET", "/group/attribute", query="groupname*")
    def group_attributes(self, ask: Ask) -> web.StreamResponse:
        """All attributes of a group."""
        return self._show_attributes(ask, self.the_group(ask, ask.text("groupname")))

    @call("POST", "/group/attribute", query="groupname*", body="attributes* link")
    def store_group_attributes(self, ask: Ask) -> web.StreamResponse:
        """As with users."""
        group = self.the_group(ask, ask.text("groupname"))
        self.need("update_group_attribute", self.people[group.directory])
        return self._store_attributes(ask, group)

    @call("DELETE", "/group/attribute", query="groupname* attributename*")
    def delete_group_attribute(self, ask: Ask) -> web.StreamResponse:
        """One is gone."""
        group = self.the_group(ask, ask.text("groupname"))
        self.need("update_group_attribute", self.people[group.directory])
        return self._delete_attribute(ask, group)

    def _show_attributes(self, ask: Ask, owner: Person | Group) -> web.StreamResponse:
        address = str(ask.request.url)
        return self.answer(ask, "attributes", self.attributes_entity(address, owner, True))

    def _store_attributes(self, ask: Ask, owner: Person | Group) -> web.StreamResponse:
        merged = dict(owner.attributes) | _attributes(ask.body)
        merged = {name: values for name, values in merged.items() if values}
        if any(len(value) > 255 for values in merged.values() for value in values):
            raise Refusal(400, "An attribute has at most 255 characters", reason="ILLEGAL_ARGUMENT")
        if merged != owner.attributes:
            owner.attributes = merged
            self.people.changed()
        return web.Response(status=204)

    def _delete_attribute(self, ask: Ask, owner: Person | Group) -> web.StreamResponse:
        if owner.attributes.pop(ask.text("attributename"), None) is not None:
            self.people.changed()
        return web.Response(status=204)

    # Search ---------------------------------------------------------------------------------------

    @call("GET", "/search", query=f"entity-type* restriction {PAGE}")
    def search(self, ask: Ask) -> web.StreamResponse:
        """By CQL."""
        return self._search(ask, lambda: from_cql(ask.text("restriction")))

    @call("POST", "/search", query=f"entity-type* {PAGE}", body="*", reads=True)
    def search_by_object(self, ask: Ask) -> web.StreamResponse:
        """By a restriction in JSON or XML."""
        return self._search(ask, lambda: from_object(ask.body) if ask.body else everything)

    def _search(self, ask: Ask, read: Any) -> web.StreamResponse:
        try:
            test = read()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.violate(ask, f"a restriction that cannot be read: {error}")
            raise Refusal(400, f"Illegal restriction: {error}", reason="ILLEGAL_ARGUMENT") from None
        if ask.text("entity-type") == "user":
            return self.listed(ask, [p for p in self.people.everyone() if test(p)], "user")
        if ask.text("entity-type") == "group":
            return self.listed(ask, [g for g in self.people.all_groups() if test(g)], "group")
        raise Refusal(400, "entity-type must be user or group", reason="ILLEGAL_ARGUMENT")


def _attributes(entity: dict[str, Any] | None) -> dict[str, list[str]]:
    return {
        str(each["name"]): [str(value) for value in each.get("values", [])]
        for each in (entity or {}).get("attributes", [])
    }
