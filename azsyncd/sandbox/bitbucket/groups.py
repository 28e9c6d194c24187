"""Bitbucket's calls about groups and members."""

from __future__ import annotations

from aiohttp import web

from azsyncd.model.accounts import fold
from azsyncd.sandbox.base import Ask, Refusal
from azsyncd.sandbox.bitbucket.state import (
    BAD_VALUE,
    HIGHEST,
    NOT_AUTHORISED,
    PAGE,
    TAKEN,
    BitbucketState,
    call,
    matches,
)
from azsyncd.sandbox.directories import Group, Person


class GroupCalls(BitbucketState):
    """`/admin/groups`, and memberships from both sides."""

    @call("GET", "/admin/groups", query=f"filter {PAGE}")
    def list_groups(self, ask: Ask) -> web.StreamResponse:
        """All groups that the filter finds."""
        self.need_admin(ask)
        found = [
            group for group in self.people.all_groups() if matches(ask.text("filter"), group.name)
        ]
        return self.page(ask, found, self.group_json)

    @call("POST", "/admin/groups", query="name*")
    def create_group(self, ask: Ask) -> web.StreamResponse:
        """200; 409 if there is one."""
        name = ask.text("name").strip()
        ask.touch("group", name)
        self.need_admin(ask)
        if not name or len(name) > 255:
            text = "The group name must have 1 to 255 characters"
            raise Refusal(400, text, field="name", reason=BAD_VALUE)
        if self.people.group(name) is not None:
            text = f"The group {name} already exists"
            raise Refusal(409, text, field="name", reason=TAKEN, exists=True)
        home = next((each for each in self.people.active if "create_group" in each.may), None)
        if home is None:
            raise Refusal(400, "No user directory allows groups to be created", reason=TAKEN)
        return web.json_response(self.group_json(ask, self.people.add_group(home, name)))

    @call("DELETE", "/admin/groups", query="name*")
    def delete_group(self, ask: Ask) -> web.StreamResponse:
        """409 where azsyncd would take its own right away."""
        group = self.the_group(ask, ask.text("name"))
        self.need_admin(ask)
        if fold(group.name) in map(fold, self.admin_groups):
            raise Refusal(409, "Deleting the group would lower your own permission level")
        if "delete_group" not in self.people[group.directory].may:
            raise Refusal(400, f"The group {group.name} cannot be deleted")
        self.granted_groups.pop(fold(group.name), None)
        shown = self.group_json(ask, group)
        self.people.remove_group(group.name)
        return web.json_response(shown)

    @call("GET", "/admin/groups/more-members", query=f"context* filter {PAGE}")
    def members_of_group(self, ask: Ask) -> web.StreamResponse:
        """Direct members; of a group that is not there, nobody or 404."""
        self.need_admin(ask)
        name, needle = ask.text("context"), ask.text("filter")
        if self.people.group(name) is None and self.missing_group_status != 200:
            self.the_group(ask, name)
        found = [
            person
            for person in self.people.members(name)
            if matches(needle, person.name, person.display_name)
        ]
        return self.page(ask, found, self.person_json)

    @call("POST", "/admin/groups/add-users", body="group* users*")
    def add_users(self, ask: Ask) -> web.StreamResponse:
        """All of them or none."""
        group = self.the_group(ask, str(ask.body.get("group") or ""))
        people = [self.the_user(ask, str(name)) for name in ask.body.get("users") or ()]
        return self._add(ask, [(group, person) for person in people])

    @call("POST", "/admin/users/add-groups", body="user* groups*")
    def add_groups(self, ask: Ask) -> web.StreamResponse:
        """The same from the other side."""
        person = self.the_user(ask, str(ask.body.get("user") or ""))
        groups = [self.the_group(ask, str(name)) for name in ask.body.get("groups") or ()]
        return self._add(ask, [(group, person) for group in groups])

    @call("POST", "/admin/users/remove-group", body="context* itemName*")
    def remove_group_from_user(self, ask: Ask) -> web.StreamResponse:
        """`context` is the user here, and `itemName` the group."""
        return self._take_out(ask, str(ask.body["context"]), str(ask.body["itemName"]))

    @call("POST", "/admin/groups/remove-user", body="context* itemName*")
    def remove_user_from_group(self, ask: Ask) -> web.StreamResponse:
        """The reverse, deprecated since 2.10."""
        return self._take_out(ask, str(ask.body["itemName"]), str(ask.body["context"]))

    def _add(self, ask: Ask, pairs: list[tuple[Group, Person]]) -> web.StreamResponse:
        self.need_admin(ask)
        for group, person in pairs:
            self._need_level(ask, group)
            self.need_mutable(person, "update_group", 403)
        if any(fold(group.name) in self.granted_groups for group, _ in pairs):
            self.need_seats(person for _, person in pairs)
        for group, person in pairs:
            self.people.add_member(group.name, person)
        return web.Response(status=200)

    def _take_out(self, ask: Ask, user: str, name: str) -> web.StreamResponse:
        person, group = self.the_user(ask, user), self.the_group(ask, name)
        self.need_admin(ask)
        self._need_level(ask, group)
        self.need_mutable(person, "update_group", 403)
        if not self.people.remove_member(group.name, person) and self.not_member_status != 200:
            text = f"{person.name} is not a member of {group.name}"
            raise Refusal(self.not_member_status, text, already=True)
        return web.Response(status=200)

    def _need_level(self, ask: Ask, group: Group) -> None:
        """403 where the group may more than who asks."""
        person = self.people.person(ask.who)
        held = self.granted_groups.get(fold(group.name))
        mine = self.highest(person) if person is not None else None
        if held is not None and (mine is None or HIGHEST.index(held) > HIGHEST.index(mine)):
            text = f"The group {group.name} has a higher permission level than you"
            raise Refusal(403, text, reason=NOT_AUTHORISED)
