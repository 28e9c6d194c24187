"""Crowd's calls about groups, memberships and nesting."""

from __future__ import annotations

from aiohttp import web

from azsyncd.model.accounts import fold
from azsyncd.sandbox.base import Ask, Refusal
from azsyncd.sandbox.crowd.state import CrowdState, call, wants_json
from azsyncd.sandbox.crowd.users import PAGE
from azsyncd.sandbox.crowd.xml import memberships_xml
from azsyncd.sandbox.directories import Group, Person

KEYS = "name* type description active attributes link expand"


class GroupCalls(CrowdState):
    """`/group` and everything below it, and `/user/group`."""

    @call("GET", "/group", query="groupname* expand")
    def read_group(self, ask: Ask) -> web.StreamResponse:
        """One group."""
        group = self.the_group(ask, ask.text("groupname"))
        return self.answer(ask, "group", self.group_entity(ask, group, expand=ask.text("expand")))

    @call("POST", "/group", body=KEYS)
    def create_group(self, ask: Ask) -> web.StreamResponse:
        """In every directory where the application may make one (CWD-3047)."""
        body = ask.body
        name = str(body.get("name") or "")
        ask.touch("group", name)
        if not name or name != name.strip() or len(name) > 255:
            raise Refusal(400, "Illegal group name", reason="INVALID_GROUP")
        if body.get("type", "GROUP") != "GROUP":
            raise Refusal(400, "Only the type GROUP is supported", reason="INVALID_GROUP")
        homes = self.homes("create_group")
        if self.people.group(name) is not None:
            text = f"Group <{name}> already exists"
            raise Refusal(400, text, reason="INVALID_GROUP", exists=True)
        for home in homes:
            group = self.people.add_group(home, name, str(body.get("description") or ""))
            group.active = body.get("active") is not False
        made = self.group_entity(ask, self.the_group(ask, name))
        response = self.answer(ask, "group", made, status=201)
        response.headers["Location"] = made["link"]["href"]
        return response

    @call("PUT", "/group", query="groupname*", body=KEYS)
    def replace_group(self, ask: Ask) -> web.StreamResponse:
        """Description and `active`; a group cannot be renamed."""
        group = self.the_group(ask, ask.text("groupname"))
        if fold(str(ask.body.get("name") or "")) != fold(group.name):
            text = "The group's name in the body does not match the one in the address"
            raise Refusal(400, text, reason="ILLEGAL_ARGUMENT")
        self.need("update_group", self.people[group.directory])
        after = (str(ask.body.get("description") or ""), ask.body.get("active") is not False)
        for each in self.people.groups_named(group.name):
            if (each.description, each.active) != after:
                each.description, each.active = after
                self.people.changed()
        return self.answer(ask, "group", self.group_entity(ask, group))

    @call("DELETE", "/group", query="groupname*")
    def delete_group(self, ask: Ask) -> web.StreamResponse:
        """Gone in every directory."""
        group = self.the_group(ask, ask.text("groupname"))
        self.need("delete_group", self.people[group.directory])
        self.people.remove_group(group.name)
        return web.Response(status=204)

    @call("GET", "/group/membership")
    def dump(self, ask: Ask) -> web.StreamResponse:
        """All memberships at once: XML alone (CWD-3281)."""
        if wants_json(ask):
            self.violate(ask, "the dump of memberships has no JSON")
            raise Refusal(self.dump_json_status, "Not Acceptable")
        memberships = [
            (
                self.spelt(group.name),
                [self.spelt(person.name) for person in self.people.members(group.name)],
                [self.spelt(child) for child in group.children.values()],
            )
            for group in self.people.all_groups()
        ]
        return web.Response(text=memberships_xml(memberships), content_type="application/xml")

    # Members --------------------------------------------------------------------------------------

    @call("GET", "/group/user/direct", query=f"groupname* username {PAGE}")
    def direct_members(self, ask: Ask) -> web.StreamResponse:
        """The direct members, or whether one account is one."""
        return self._members(ask, nested=False)

    @call("GET", "/group/user/nested", query=f"groupname* username {PAGE}")
    def nested_members(self, ask: Ask) -> web.StreamResponse:
        """The members, those of child groups included."""
        return self._members(ask, nested=True)

    def _members(self, ask: Ask, *, nested: bool) -> web.StreamResponse:
        group = self.the_group(ask, ask.text("groupname"))
        members = self.people.members(group.name, nested=nested and self.nested_groups)
        if "username" not in ask.query:
            return self.listed(ask, members, "user")
        person = self.the_user(ask, ask.text("username"))
        if person not in members:
            raise self._no_membership(group, person.name)
        return self.answer(ask, "user", self.user_entity(ask, person))

    @call("POST", "/group/user/direct", query="groupname*", body="name* link")
    def add_user_to_group(self, ask: Ask) -> web.StreamResponse:
        """404: no such group; 400: no such user; 409: is one already."""
        group = self.the_group(ask, ask.text("groupname"))
        person = self.the_user(ask, str(ask.body.get("name") or ""), status=400)
        return self._add(ask, group, person)

    @call("POST", "/user/group/direct", query="username*", body="name* link")
    def add_group_to_user(self, ask: Ask) -> web.StreamResponse:
        """The same from the other side."""
        person = self.the_user(ask, ask.text("username"))
        group = self.the_group(ask, str(ask.body.get("name") or ""), status=400)
        return self._add(ask, group, person)

    def _add(self, ask: Ask, group: Group, person: Person) -> web.StreamResponse:
        self.need("update_group", self.people[person.directory])
        if self.people.is_member(group.name, person):
            text = f"User '{person.name}' is already a direct member of group '{group.name}'"
            raise Refusal(409, text, reason="MEMBERSHIP_ALREADY_EXISTS", already=True)
        self.people.add_member(group.name, person)
        address = f"{ask.request.url}&username={person.name}"
        return web.Response(status=201, headers={"Location": address})

    @call("DELETE", "/group/user/direct", query="groupname* username*")
    def remove_user_from_group(self, ask: Ask) -> web.StreamResponse:
        """404 if there is nothing to remove."""
        return self._remove(ask)

    @call("DELETE", "/user/group/direct", query="groupname* username*")
    def remove_group_from_user(self, ask: Ask) -> web.StreamResponse:
        """The same from the other side."""
        return self._remove(ask)

    def _remove(self, ask: Ask) -> web.StreamResponse:
        group = self.the_group(ask, ask.text("groupname"))
        person = self.the_user(ask, ask.text("username"))
        self.need("update_group", self.people[person.directory])
        if not self.people.remove_member(group.name, person):
            raise self._no_membership(group, person.name)
        return web.Response(status=204)

    @call("GET", "/user/group/direct", query=f"username* groupname {PAGE}")
    def groups_of_user(self, ask: Ask) -> web.StreamResponse:
        """The groups that hold an account directly."""
        return self._groups_of(ask, nested=False)

    @call("GET", "/user/group/nested", query=f"username* groupname {PAGE}")
    def nested_groups_of_user(self, ask: Ask) -> web.StreamResponse:
        """The groups above those as well."""
        return self._groups_of(ask, nested=True)

    def _groups_of(self, ask: Ask, *, nested: bool) -> web.StreamResponse:
        person = self.the_user(ask, ask.text("username"))
        found = {fold(group.name): group for group in self.people.groups_of(person)}
        todo = list(found.values()) if nested and self.nested_groups else []
        while todo:
            for parent in self.people.parents(todo.pop().name):
                if fold(parent.name) not in found:
                    found[fold(parent.name)] = parent
                    todo.append(parent)
        if "groupname" in ask.query:
            group = found.get(fold(ask.text("groupname")))
            if group is None:
                raise self._no_membership(self.the_group(ask, ask.text("groupname")), person.name)
            return self.answer(ask, "group", self.group_entity(ask, group))
        return self.listed(ask, [found[name] for name in sorted(found)], "group")

    def _no_membership(self, group: Group, name: str) -> Refusal:
        text = f"<{name}> is not a member of <{group.name}>"
        return Refusal(404, text, reason="MEMBERSHIP_NOT_FOUND", already=True)

    # Nesting --------------------------------------------------------------------------------------

    @call("GET", "/group/child-group/direct", query=f"groupname* child-groupname {PAGE}")
    def child_groups(self, ask: Ask) -> web.StreamResponse:
        """The groups directly inside a group."""
        group = self.the_group(ask, ask.text("groupname"))
        children = [self.people.group(name) for name in sorted(group.children)]
        return self.listed(ask, [child for child in children if child is not None], "group")

    @call("GET", "/group/parent-group/direct", query=f"groupname* parent-groupname {PAGE}")
    def parent_groups(self, ask: Ask) -> web.StreamResponse:
        """The groups that hold a group directly."""
        group = self.the_group(ask, ask.text("groupname"))
        return self.listed(ask, self.people.parents(group.name), "group")

    @call("POST", "/group/child-group/direct", query="groupname*", body="name* link")
    def add_child_group(self, ask: Ask) -> web.StreamResponse:
        """400 where that would be a circle."""
        group = self.the_group(ask, ask.text("groupname"))
        child = self.the_group(ask, str(ask.body.get("name") or ""), status=400)
        if not self.nested_groups:
            raise Refusal(400, "Nested groups are not supported", reason="UNSUPPORTED_OPERATION")
        self.need("update_group", self.people[group.directory])
        if fold(group.name) in self.people.with_subgroups(child.name):
            raise Refusal(400, "The groups would hold one another", reason="INVALID_MEMBERSHIP")
        if not self.people.add_child(group, child):
            text = f"<{child.name}> is already in <{group.name}>"
            raise Refusal(409, text, reason="MEMBERSHIP_ALREADY_EXISTS", already=True)
        return web.Response(status=201)

    @call("DELETE", "/group/child-group/direct", query="groupname* child-groupname*")
    def remove_child_group(self, ask: Ask) -> web.StreamResponse:
        """404 if it is not in there."""
        group = self.the_group(ask, ask.text("groupname"))
        child = self.the_group(ask, ask.text("child-groupname"))
        self.need("update_group", self.people[group.directory])
        if not self.people.remove_child(group, child.name):
            raise self._no_membership(group, child.name)
        return web.Response(status=204)

    @call("GET", "/config/cookie")
    def cookie_settings(self, ask: Ask) -> web.StreamResponse:
        """How Crowd's single sign-on cookie is called: a harmless question."""
        return self.answer(ask, "cookie-config", {"secure": False, "name": "crowd.token_key"})
