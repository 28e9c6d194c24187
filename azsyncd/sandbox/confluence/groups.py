"""Confluence's calls about groups, members and global permissions."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from azsyncd.model.accounts import fold
from azsyncd.sandbox.base import Ask, Refusal
from azsyncd.sandbox.confluence.state import ConfluenceState, call
from azsyncd.sandbox.confluence.users import PAGE
from azsyncd.sandbox.directories import Group


class GroupCalls(ConfluenceState):
    """`/group`, `/admin/group`, `/user/{username}/group/{groupName}`, `/permissions`."""

    @call("GET", "/group", query=PAGE)
    def list_groups(self, ask: Ask) -> web.StreamResponse:
        """All groups."""
        return self.page(ask, self.people.all_groups(), self.group_json)

    @call("GET", "/group/info", query="groupName* expand", flag="has_query_variants")
    @call("GET", "/group/{groupName}", query="expand")
    def read_group(self, ask: Ask) -> web.StreamResponse:
        """One group; the first spelling takes names with a slash."""
        return web.json_response(self.group_json(ask, self._meant(ask)))

    @call("GET", "/group/member", query=f"groupName* {PAGE}", flag="has_query_variants")
    @call("GET", "/group/{groupName}/member", query=PAGE)
    def read_members(self, ask: Ask) -> web.StreamResponse:
        """Direct members; for administrators from 10 on."""
        if self.numbers >= (10,):
            self.need_admin(ask)
        group = self._meant(ask)
        return self.page(ask, self.people.members(group.name), self.person_json)

    @call("GET", "/group/groupmember", query=f"groupName* {PAGE}", flag="has_query_variants")
    @call("GET", "/group/{groupName}/groupmember", query=PAGE)
    def read_child_groups(self, ask: Ask) -> web.StreamResponse:
        """The groups inside a group."""
        group = self._meant(ask)
        children = [self.people.group(name) for name in sorted(group.children)]
        return self.page(ask, [child for child in children if child], self.group_json)

    def _meant(self, ask: Ask) -> Group:
        name = ask.path.get("groupName") or ask.text("groupName")
        return self.the_group(ask, name, self.missing_group_status)

    @call("POST", "/admin/group", body="name* type", since="8.2", flag="admin_rest")
    def create_group(self, ask: Ask) -> web.StreamResponse:
        """200, and not 201; 409 if there is one."""
        name = str(ask.body.get("name") or "")
        ask.touch("group", name)
        self.need_admin(ask)
        if not name.strip() or len(name) > 255:
            raise Refusal(400, "A group needs a name of at most 255 characters")
        if self.people.group(name) is not None:
            raise Refusal(409, f"Group {name} already exists", exists=True)
        home = self.home("create_group", f"group '{name}'")
        group = self.people.add_group(home, name.strip())
        return web.json_response(self.group_json(ask, group))

    @call("DELETE", "/admin/group/{groupName}", since="8.2", flag="admin_rest")
    def delete_group(self, ask: Ask) -> web.StreamResponse:
        """400 for the last administrators' group."""
        group = self.the_group(ask, ask.path["groupName"])
        self.need_admin(ask)
        if fold(group.name) in map(fold, self.admin_groups):
            raise Refusal(400, "The last administrators' group cannot be deleted")
        if "delete_group" not in self.people[group.directory].may:
            self._refuse_directory(group, group.directory)
        self.people.remove_group(group.name)
        return web.Response(status=204)

    @call("PUT", "/user/{username}/group/{groupName}", since="8.2", flag="admin_rest")
    def add_to_group(self, ask: Ask) -> web.StreamResponse:
        """204, member or not."""
        return self._membership(ask, add=True)

    @call("DELETE", "/user/{username}/group/{groupName}", since="8.2", flag="admin_rest")
    def remove_from_group(self, ask: Ask) -> web.StreamResponse:
        """204, member or not."""
        return self._membership(ask, add=False)

    def _membership(self, ask: Ask, *, add: bool) -> web.StreamResponse:
        person = self.the_user(ask, ask.path["username"])
        group = self.the_group(ask, ask.path["groupName"])
        self.need_admin(ask)
        if "update_group" not in self.people[person.directory].may:
            self._refuse_directory(group, person.directory)
        change = self.people.add_member if add else self.people.remove_member
        change(group.name, person)
        return web.Response(status=204)

    def _refuse_directory(self, group: Group, directory: str) -> None:
        text = f"Cannot update group '{group.name}' because directory '{directory}'"
        raise Refusal(self.read_only_status, f"{text} does not allow updates.")

    # Global permissions ---------------------------------------------------------------------------

    @call("GET", "/permissions", since="9.3")
    def global_permissions(self, ask: Ask) -> web.StreamResponse:
        """Who may do what in all of Confluence."""
        self.need_admin(ask)
        found: list[dict[str, Any]] = []
        for group in (*self.licence_groups, *self.admin_groups):
            found += self._granted(ask, group)
        return web.json_response(found)

    @call("GET", "/permissions/group/{groupName}")
    def permissions_of_group(self, ask: Ask) -> web.StreamResponse:
        """What a group may do in all of Confluence."""
        self.need_admin(ask)
        return web.json_response(self._granted(ask, self._meant(ask).name))

    def _granted(self, ask: Ask, name: str) -> list[dict[str, Any]]:
        operations = (
            [("use", "application")] if fold(name) in map(fold, self.licence_groups) else []
        )
        if fold(name) in map(fold, self.admin_groups):
            operations += [("administer", "application"), ("administer", "system")]
        group = self.people.group(name)
        return [
            {
                "operation": {"operationKey": operation, "targetType": target},
                "subject": self.group_json(ask, group) if group else {},
            }
            for operation, target in operations
        ]
