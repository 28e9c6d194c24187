"""The directory's calls about groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from azsyncd.model.accounts import fold
from azsyncd.sandbox.base import Ask, Refusal
from azsyncd.sandbox.cloud.state import CORE_GROUP, CloudState, call
from azsyncd.sandbox.cloud.users import PAGE
from azsyncd.sandbox.directories import Group, Person


class GroupCalls(CloudState):
    """`/Groups`."""

    @call("GET", "/Groups", query=PAGE)
    def list_groups(self, ask: Ask) -> web.StreamResponse:
        """All groups with their members, or the one with this name."""
        wanted = self.filtered(ask, ("displayName",))
        groups = [
            group
            for group in self.people.all_groups()
            if wanted is None or fold(group.name) == fold(wanted[1])
        ]
        return self.page(ask, groups, self.group_json)

    @call("GET", "/Groups/{id}")
    def read_group(self, ask: Ask) -> web.StreamResponse:
        """One group with its members."""
        return self.answer(self.group_json(ask, self.the_group(ask, ask.path["id"])))

    @call("POST", "/Groups", body="schemas* displayName* externalId members")
    def create_group(self, ask: Ask) -> web.StreamResponse:
        """201; 409 if there is one."""
        name = str(ask.body.get("displayName") or "").strip()
        ask.touch("group", name)
        if CORE_GROUP not in (ask.body.get("schemas") or ()) or not name:
            raise Refusal(400, "body failed validation", reason="invalidSyntax")
        if self.people.group(name) is not None:
            text = f"Resource [GROUP]: with displayName {name} already exists."
            raise Refusal(409, text, reason="uniqueness", exists=True)
        people = self._people(ask.body.get("members") or [], 400)
        group = self.people.add_group(self.people.all[0], name)
        if ask.body.get("externalId"):
            group.attributes["externalId"] = [str(ask.body["externalId"])]
        for person in people:
            self.people.add_member(name, person)
        return self.answer(self.group_json(ask, group), 201)

    @call("PUT", "/Groups/{id}", body="schemas* displayName externalId members id")
    def replace_group(self, ask: Ask) -> web.StreamResponse:
        """The whole list of members; the name stays, whatever is sent."""
        group = self.the_group(ask, ask.path["id"])
        self._need_name(group, ask.body.get("displayName"))
        self._replace(group, self._people(ask.body.get("members") or [], 400))
        return self.answer(self.group_json(ask, group))

    @call("PATCH", "/Groups/{id}", body="*")
    def patch_group(self, ask: Ask) -> web.StreamResponse:
        """Members alone; `remove` takes an array of values, and an unknown member is 404."""
        group = self.the_group(ask, ask.path["id"])
        for each in self.operations(ask):
            self._patch(ask, group, each)
        return self.answer(self.group_json(ask, group))

    def _patch(self, ask: Ask, group: Group, each: Mapping[str, Any]) -> None:
        op, path, value = str(each.get("op")).lower(), each.get("path"), each.get("value")
        if path == "displayName":
            self._need_name(group, value)
            return
        if path != "members" or not isinstance(value, list):
            self.violate(ask, f"{op} of {path} that is not documented")
            raise Refusal(400, "body failed validation", reason="invalidSyntax")
        people = self._people(value, 404)
        if op == "replace":
            self._replace(group, people)
        elif op in ("add", "remove"):
            change = self.people.add_member if op == "add" else self.people.remove_member
            for person in people:
                change(group.name, person)
        else:
            raise Refusal(400, f"op {op} is not supported", reason="invalidSyntax")

    @call("DELETE", "/Groups/{id}")
    def delete_group(self, ask: Ask) -> web.StreamResponse:
        """With the access to products that it gave."""
        self.people.remove_group(self.the_group(ask, ask.path["id"]).name)
        return web.Response(status=204)

    def _need_name(self, group: Group, name: object) -> None:
        if name is not None and name != group.name:
            raise Refusal(400, "displayName is immutable", reason="mutability")

    def _people(self, members: list[Any], status: int) -> list[Person]:
        found = []
        for each in members:
            person = self.people.person_by_key(str(each.get("value")))
            if person is None:
                raise Refusal(status, f"Member {each.get('value')} not found")
            found.append(person)
        return found

    def _replace(self, group: Group, people: list[Person]) -> None:
        for person in self.people.members(group.name):
            if person not in people:
                self.people.remove_member(group.name, person)
        for person in people:
            self.people.add_member(group.name, person)
