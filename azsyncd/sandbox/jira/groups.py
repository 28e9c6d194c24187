"""Jira's calls about groups and their members."""

from __future__ import annotations

from html import escape
from typing import Any
from urllib.parse import quote

from aiohttp import web

from azsyncd.model.accounts import fold
from azsyncd.sandbox.base import Ask
from azsyncd.sandbox.directories import Group, Person
from azsyncd.sandbox.jira.state import JiraState, call

MEMBERS_PER_PAGE = 50
"""However many are asked for: follow `isLast` and the `maxResults` that comes back."""


class GroupCalls(JiraState):
    """`/group`, `/group/member`, `/group/user`, `/groups/picker`."""

    @call("POST", "/group", body="name*")
    def create_group(self, ask: Ask) -> web.StreamResponse:
        """A new group, in the first directory that takes one."""
        name = str(ask.body.get("name") or "").strip()
        ask.touch("group", name)
        self.need_admin(ask)
        if not name:
            raise self.no(400, "group.empty")
        if len(name) > 255:
            raise self.no(400, "group.long")
        if self.people.group(name) is not None:
            raise self.no(400, "group.exists", exists=True)
        if self.external_management:
            raise self.no(403, "external")
        home = next((d for d in self.people.active if "create_group" in d.may), None)
        if home is None:
            raise self.no(400, "group.read.only")
        group = self.people.add_group(home, name)
        return web.json_response(self._whole(ask, group), status=201)

    @call("DELETE", "/group", query="groupname* swapGroup")
    def delete_group(self, ask: Ask) -> web.StreamResponse:
        """A group and its memberships are gone."""
        group = self.group_named(ask)
        self.need_admin(ask)
        self._need_sysadmin_for(ask, group)
        if ask.text("swapGroup") and self.people.group(ask.text("swapGroup")) is None:
            raise self.no(404, "group.unknown", ask.text("swapGroup"))
        if self.external_management:
            raise self.no(403, "external")
        if not any("delete_group" in directory.may for directory in self.people.active):
            raise self.no(400, "group.read.only")
        if self._is_last_admin_group(group):
            raise self.no(400, "group.last.admin")
        self.people.remove_group(group.name)
        return web.Response(status=200)

    @call("GET", "/groups/picker", query="query exclude maxResults userName", anonymous=True)
    def pick_groups(self, ask: Ask) -> web.StreamResponse:
        """Groups that contain a text: no paging, 20 unless more are asked for."""
        needle = fold(ask.text("query"))
        excluded = {fold(name) for name in ask.query.getall("exclude", [])}
        found = [
            group.name
            for group in self.people.all_groups()
            if needle in fold(group.name) and fold(group.name) not in excluded
        ]
        if not ask.who:  # strangers see nothing
            found = []
        size = ask.number("maxResults", 20)
        if self.picker_limit is not None:
            size = min(size, self.picker_limit)
        shown = found[: max(0, size)]
        body = {
            "header": f"Showing {len(shown)} of {len(found)} matching groups",
            "total": len(found),
            "groups": [{"name": name, "html": escape(name), "labels": []} for name in shown],
        }
        return web.json_response(body)

    @call("GET", "/group/member", query="groupname* includeInactiveUsers startAt maxResults")
    def read_members(self, ask: Ask) -> web.StreamResponse:
        """Fifty members at most, subgroups' included, inactive ones only on request."""
        self.need_admin(ask)
        if not ask.text("groupname"):
            raise self.no(400, "group.empty")
        group = self.group_named(ask)
        inactive = ask.yes("includeInactiveUsers")
        everybody = self.people.members(group.name, nested=True)
        members = everybody if inactive else [each for each in everybody if each.active]
        start = max(0, ask.number("startAt", 0))
        size = min(MEMBERS_PER_PAGE, max(1, ask.number("maxResults", MEMBERS_PER_PAGE)))
        page = members[start : start + size]
        address = (
            f"{ask.base}/rest/api/2/group/member?includeInactiveUsers={str(inactive).lower()}"
            f"&maxResults={size}&groupname={quote(group.name, safe='')}&startAt="
        )
        body: dict[str, Any] = {
            "self": f"{address}{start}",
            "maxResults": size,
            "startAt": start,
            "total": len(members),
            "isLast": start + size >= len(members),
            "values": [self.person_json(ask, person, "list") for person in page],
        }
        if not body["isLast"]:
            body["nextPage"] = f"{address}{start + size}"
        return web.json_response(body)

    @call("POST", "/group/user", query="groupname*", body="name*")
    def add_to_group(self, ask: Ask) -> web.StreamResponse:
        """400 when already a member, in words that depend on the language."""
        name = str(ask.body.get("name") or "")
        ask.touch("user", name)
        group, person = self._membership(ask, name)
        if self.people.is_member(group.name, person):
            raise self.no(400, "member.already", group.name, already=True)
        self._need_room(group, person)
        self.people.add_member(group.name, person)
        return web.json_response(self._whole(ask, group), status=201)

    @call("DELETE", "/group/user", query="groupname* username*")
    def remove_from_group(self, ask: Ask) -> web.StreamResponse:
        """400 (or 404: `remove_nonmember_status`) when not a member."""
        name = ask.text("username")
        ask.touch("user", name)
        group, person = self._membership(ask, name)
        if not self.people.is_member(group.name, person):
            status = self.remove_nonmember_status
            raise self.no(status, "member.not", person.name, group.name, already=True)
        if fold(person.name) == fold(ask.who) and self._would_lose_power(group, person):
            raise self.no(400, "member.last.admin", group.name)
        self.people.remove_member(group.name, person)
        return web.Response(status=200)

    def _membership(self, ask: Ask, name: str) -> tuple[Group, Person]:
        group = self.group_named(ask)
        self.need_admin(ask)
        person = self.people.person(name)
        if person is None:
            raise self.no(404, "user.unknown", name)
        self._need_sysadmin_for(ask, group)
        if self.external_management:
            raise self.no(403, "external")
        if "update_group" not in self.people[person.directory].may:
            raise self.no(400, "member.read.only", person.name, group.name)
        return group, person

    def _need_sysadmin_for(self, ask: Ask, group: Group) -> None:
        sysadmin = fold(group.name) in map(fold, self.sysadmin_groups)
        if sysadmin and not self.is_sysadmin(ask.who):
            raise self.no(403, "member.sysadmin")

    def _need_room(self, group: Group, person: Person) -> None:
        if not self.refuses_members_over_seats or not person.active:
            return
        for application in self.applications:
            licensed = fold(group.name) in map(fold, application.groups)
            seated = not licensed or self.holds_seat(application, person)
            if not seated and not self.has_seat(application):
                raise self.no(400, "licence", application.name)

    def _would_lose_power(self, group: Group, person: Person) -> bool:
        admin = {fold(name) for name in (*self.admin_groups, *self.sysadmin_groups)}
        return fold(group.name) in admin and not (person.groups & admin) - {fold(group.name)}

    def _is_last_admin_group(self, group: Group) -> bool:
        admin = {fold(name) for name in (*self.admin_groups, *self.sysadmin_groups)}
        left = admin - {fold(group.name)}
        return fold(group.name) in admin and not any(map(self.people.group, left))

    def _whole(self, ask: Ask, group: Group) -> dict[str, Any]:
        size = len(self.people.members(group.name))
        users = {
            "size": size,
            "items": [],
            "max-results": 50,
            "start-index": 0,
            "end-index": 0,
        }
        return self.group_json(ask, group) | {"users": users, "expand": "users"}
