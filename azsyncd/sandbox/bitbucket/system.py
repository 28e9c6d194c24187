"""Bitbucket's calls about itself: version, directories, licence, global permissions, throttling."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from azsyncd.model.accounts import fold
from azsyncd.sandbox.base import Ask, Refusal
from azsyncd.sandbox.bitbucket.state import HIGHEST, PAGE, BitbucketState, call, matches


class SystemCalls(BitbucketState):
    """`/application-properties`, `/admin/user-directories`, `/admin/license`, `/admin/permissions`,
    `/admin/rate-limit`."""

    @call("GET", "/application-properties", anonymous=True)
    def properties(self, ask: Ask) -> web.StreamResponse:
        """The version, for everybody."""
        number = "".join(f"{part:03}" for part in (*self.numbers, 0, 0)[:3])
        body = {
            "version": self.version,
            "buildNumber": number,
            "buildDate": "1760000000000",
            "displayName": "Bitbucket",
        }
        return web.json_response(body)

    @call("GET", "/admin/user-directories", query="includeInactive", since="8.19")
    def directories(self, ask: Ask) -> web.StreamResponse:
        """All directories in their order."""
        self.need_admin(ask)
        shown = [
            {
                "name": each.name,
                "type": each.kind,
                "description": "",
                "active": each.active,
            }
            for each in self.people.all
            if each.active or ask.yes("includeInactive")
        ]
        return web.json_response(shown)

    @call("GET", "/admin/license")
    def licence(self, ask: Ask) -> web.StreamResponse:
        """How many seats there are, and how many are taken."""
        self.need_admin(ask)
        body: dict[str, Any] = {
            "maximumNumberOfUsers": -1 if self.seats is None else self.seats,
            "unlimitedNumberOfUsers": self.seats is None,
            "numberOfDaysBeforeExpiry": 300,
            "serverId": self.server_id,
            "status": {
                "serverId": self.server_id,
                "currentNumberOfUsers": self.seats_taken(),
            },
        }
        return web.json_response(body)

    @call("GET", "/admin/rate-limit/settings")
    def rate_limit(self, ask: Ask) -> web.StreamResponse:
        """The defaults: 60 at once, 5 a second."""
        self.need_admin(ask)
        defaults = {"capacity": 60, "fillRate": 5}
        return web.json_response({"enabled": self.rate_limited, "defaultSettings": defaults})

    # Global permissions ---------------------------------------------------------------------------

    @call("GET", "/admin/permissions/groups", query=f"filter {PAGE}")
    def permitted_groups(self, ask: Ask) -> web.StreamResponse:
        """Groups with a global permission, and the highest of each."""
        self.need_admin(ask)
        groups = [self.people.group(name) for name in sorted(self.granted_groups)]
        found = [each for each in groups if each and matches(ask.text("filter"), each.name)]
        return self.page(
            ask,
            found,
            lambda _, group: {
                "group": {"name": group.name},
                "permission": self.granted_groups[fold(group.name)],
            },
        )

    @call("GET", "/admin/permissions/users", query=f"filter {PAGE}")
    def permitted_users(self, ask: Ask) -> web.StreamResponse:
        """Accounts with a global permission of their own."""
        self.need_admin(ask)
        people = [self.people.person(name) for name in sorted(self.granted_users)]
        needle = ask.text("filter")
        found = [each for each in people if each and matches(needle, each.name, each.display_name)]
        return self.page(
            ask,
            found,
            lambda ask, person: {
                "user": self.person_json(ask, person),
                "permission": self.granted_users[fold(person.name)],
            },
        )

    @call("DELETE", "/admin/permissions/users", query="name*")
    def revoke(self, ask: Ask) -> web.StreamResponse:
        """204, granted or not; 409 for those who may more."""
        person = self.the_user(ask, ask.text("name"))
        self.need_admin(ask)
        held = self.granted_users.get(fold(person.name))
        me = self.people.person(ask.who)
        mine = self.highest(me) if me is not None else None
        too_high = held is not None and HIGHEST.index(held) > HIGHEST.index(mine or HIGHEST[0])
        if person is me or too_high:
            raise Refusal(409, "You cannot lower this permission level")
        if self.granted_users.pop(fold(person.name), None) is not None:
            self.people.changed()
        return web.Response(status=204)
