"""The directory's calls about accounts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from azsyncd.model.accounts import fold
from azsyncd.sandbox.base import Ask, Refusal
from azsyncd.sandbox.cloud.state import CORE_USER, ENTERPRISE, EXTERNAL, CloudState, call
from azsyncd.sandbox.directories import Person

PAGE = "startIndex count filter"
SHOWN = "attributes excludedAttributes"
TEXTS = frozenset(
    {"externalId", "nickName", "title", "preferredLanguage", "department", "organization"}
    | {"timezone"}
)
IGNORED = frozenset({"schemas", "id", "meta", "groups", EXTERNAL})
KNOWN = TEXTS | IGNORED | {"userName", "emails", "displayName", "active", "name", "phoneNumbers"}


class UserCalls(CloudState):
    """`/Users`."""

    @call("GET", "/Users", query=f"{PAGE} {SHOWN}")
    def list_users(self, ask: Ask) -> web.StreamResponse:
        """All accounts, or those with one userName or externalId."""
        wanted = self.filtered(ask, ("userName", "externalId"))
        people = sorted(self.people.everyone(), key=lambda person: person.number)
        if wanted is not None:
            people = [person for person in people if self._is(person, *wanted)]
        return self.page(ask, people, self.person_json)

    def _is(self, person: Person, name: str, value: str) -> bool:
        if name == "userName":
            return fold(person.name) == fold(value)
        return bool(person.properties.get("externalId") == value)

    @call("GET", "/Users/{userId}", query=SHOWN)
    def read_user(self, ask: Ask) -> web.StreamResponse:
        """One account."""
        person = self.the_user(ask, ask.path["userId"])
        return self.answer(self.chosen(ask, self.person_json(ask, person)))

    @call("POST", "/Users", query=SHOWN, body="*")
    def create_user(self, ask: Ask) -> web.StreamResponse:
        """201; 409 if the name or the address is taken."""
        body = self._checked(ask)
        name = str(body["userName"])
        ask.touch("user", name)
        email = self._primary(body["emails"])
        self._need_free(name, email, None)
        if self.verified_domains is not None:
            domain = email.rpartition("@")[2].lower()
            if domain not in self.verified_domains:
                text = f"The domain {domain} is not verified for this organization"
                raise Refusal(400, text, reason="invalidValue")
        person = Person(
            key=self.new_key(name),
            name=name,
            display_name=str(body.get("displayName") or name),
            email=email,
            number=self.people.next_number(),
            active=body.get("active", True) is not False,
        )
        person.properties.update(self._more(body))
        self.people.add_person(self.people.all[0], person)
        return self.answer(self.person_json(ask, person), 201)

    @call("PUT", "/Users/{userId}", query=SHOWN, body="*")
    def replace_user(self, ask: Ask) -> web.StreamResponse:
        """What is not sent is wiped."""
        person = self.the_user(ask, ask.path["userId"])
        body = self._checked(ask)
        self._set(person, {"properties": self._more(body)})
        values = {
            "userName": body["userName"],
            "emails": body["emails"],
            "displayName": body.get("displayName") or body["userName"],
            "active": body.get("active", True),
        }
        self._apply_all(ask, person, list(values.items()))
        return self.answer(self.person_json(ask, person))

    @call("PATCH", "/Users/{userId}", query=SHOWN, body="*")
    def patch_user(self, ask: Ask) -> web.StreamResponse:
        """`add` and `replace` with a path, or with an object of values; `remove` with a path."""
        person = self.the_user(ask, ask.path["userId"])
        values: list[tuple[str, Any]] = []
        for each in self.operations(ask):
            op, path, value = str(each.get("op")).lower(), each.get("path"), each.get("value")
            if op == "remove" and path:
                value = [] if path in ("emails", "phoneNumbers") else ""
            elif op not in ("add", "replace"):
                raise Refusal(400, f"op {op} is not supported", reason="invalidSyntax")
            if path:
                values.append((str(path), value))
            elif isinstance(value, dict):
                values += value.items()
            else:
                raise Refusal(400, "body failed validation", reason="invalidSyntax")
        self._apply_all(ask, person, values)
        return self.answer(self.person_json(ask, person))

    @call("DELETE", "/Users/{userId}")
    def delete_user(self, ask: Ask) -> web.StreamResponse:
        """For ever: who is made again gets another id."""
        self.people.remove_person(self.the_user(ask, ask.path["userId"]))
        return web.Response(status=204)

    # Values ---------------------------------------------------------------------------------------

    def _checked(self, ask: Ask) -> Mapping[str, Any]:
        body = ask.body
        if not isinstance(body, dict) or CORE_USER not in (body.get("schemas") or ()):
            self.violate(ask, "a user without its schema")
            raise Refusal(400, "body failed validation: schemas", reason="invalidSyntax")
        for name in sorted(set(body) - KNOWN - {ENTERPRISE}):
            self.violate(ask, f"unknown attribute {name}")
        if not body.get("userName"):
            raise Refusal(400, "body failed validation: userName", reason="invalidSyntax")
        self._primary(body.get("emails"))
        return body

    def _primary(self, emails: Any) -> str:
        rows = emails if isinstance(emails, list) else []
        first = [each for each in rows if isinstance(each, dict) and each.get("primary") is True]
        if len(first) != 1 or "@" not in str(first[0].get("value")):
            raise Refusal(400, "one email must be marked as primary", reason="invalidSyntax")
        return str(first[0]["value"])

    def _need_free(self, name: str, email: str, person: Person | None) -> None:
        for other in self.people.everyone():
            if other is person:
                continue
            if fold(other.name) == fold(name) or fold(other.email) == fold(email):
                text = "Resource [USER]: with userName or email already exists."
                raise Refusal(409, text, reason="uniqueness", exists=True)

    def _more(self, body: Mapping[str, Any]) -> dict[str, Any]:
        found = {name: body[name] for name in (*TEXTS, "name", "phoneNumbers") if name in body}
        enterprise = body.get(ENTERPRISE)
        found.update(enterprise if isinstance(enterprise, dict) else {})
        if len(body["emails"]) > 1:
            found["emails"] = body["emails"]
        return found

    def _apply_all(self, ask: Ask, person: Person, values: list[tuple[str, Any]]) -> None:
        """All or nothing: name and address are somebody's alone, and may be given together."""
        told = dict(values)
        name = str(told.get("userName", person.name))
        email = self._primary(told["emails"]) if "emails" in told else person.email
        if {"userName", "emails"} & told.keys():
            self._need_free(name, email, person)
        for path, value in values:
            self._apply(ask, person, path, value)

    def _apply(self, ask: Ask, person: Person, path: str, value: Any) -> None:
        if path == "active":
            self.people.edit_person(person, active=str(value).lower() != "false")
        elif path == "userName":
            self.people.rename_person(person, str(value))
        elif path == "emails":
            self._set(person, {"email": self._primary(value)})
            properties = {k: v for k, v in person.properties.items() if k != "emails"}
            more = {"emails": value} if len(value) > 1 else {}
            self._set(person, {"properties": {**properties, **more}})
        elif path == "displayName":
            self._set(person, {"display_name": str(value)})
        else:
            self._apply_more(ask, person, path.removeprefix(f"{ENTERPRISE}:"), value)

    def _apply_more(self, ask: Ask, person: Person, path: str, value: Any) -> None:
        head, _, tail = path.partition(".")
        if path == ENTERPRISE and isinstance(value, dict):
            self._set(person, {"properties": {**person.properties, **value}})
        elif head == "name" and tail:
            name = {**person.properties.get("name", {}), tail: value}
            self._set(person, {"properties": {**person.properties, "name": name}})
        elif path in TEXTS or path in ("name", "phoneNumbers"):
            self._set(person, {"properties": {**person.properties, path: value}})
        elif path not in IGNORED:
            self.violate(ask, f"unknown path {path}")
            raise Refusal(400, f"path {path} is not supported", reason="invalidPath")

    def _set(self, person: Person, values: Mapping[str, Any]) -> None:
        self.people.edit_person(person, **values)
