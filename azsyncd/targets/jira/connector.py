"""What this Jira is, and what it can do: found by asking, not by its version where that can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from azsyncd.model.accounts import Capabilities, Seats, fold
from azsyncd.targets.flat import Flat
from azsyncd.targets.jira import wire
from azsyncd.targets.jira.search import PAGE, pick_groups
from azsyncd.targets.jira.writing import Writing
from azsyncd.targets.rest import installation, map_of, rows_of, text_of

_NO_RIGHT = (
    "the account {0!r} does not administer Jira",
    "put it into a group that has the global permission Administer Jira",
)


class Jira(Writing, Flat):
    """The connector of a Jira Data Center or Server."""

    async def fingerprint(self) -> str:
        """How we reach it: Jira shows no id, and a copy of it shows the original's base URL."""
        return f"jira:{installation(self._peer.base_url)}"

    async def ask(self) -> None:
        """Whether we still administer Jira."""
        await self._need_rights("azsyncd")

    async def _need_rights(self, me: str) -> Mapping[str, Any]:
        """Our permissions; raises TargetRefused if we do not administer Jira."""
        body = map_of(await self._rest.read("/mypermissions", absent=(400, 404, 405)))
        shown = map_of(body.get("permissions"))
        if not shown.keys() & {"ADMINISTER", "SYSTEM_ADMIN"}:
            # Not shown: then only what administrators may ask can tell.
            await self._rest.read("/applicationrole", absent=(404, 405))
        elif not _has(body, "ADMINISTER") and not _has(body, "SYSTEM_ADMIN"):
            raise self._rest.refused(_NO_RIGHT[0].format(me), _NO_RIGHT[1])
        return body

    async def seats(self) -> tuple[Seats, ...]:
        return tuple(_seats(role) for role in await self._roles())

    async def probe(self) -> Capabilities:
        me = text_of(map_of(await self._rest.read("/myself")).get("name"))
        info = map_of(await self._rest.read("/serverInfo", absent=(404, 405)))
        permissions = await self._need_rights(me)
        roles = await self._roles()
        admin_groups = await self._admin_groups(me, roles)
        self._lists = None
        lists = await self._has_list()
        path = "/user/properties"
        marks = await self._rest.read(path, {"username": me}, absent=(400, 403, 404, 405))
        self._has_marks = isinstance(map_of(marks).get("keys"), list)
        numbers = _numbers(info)
        deactivates = self._deactivates = not numbers or numbers >= (8, 3)
        return Capabilities(
            version=text_of(info.get("version")),
            signed_in_as=me or None,
            deactivates_accounts=deactivates,
            strips_licences=True,
            lists_all_accounts=lists,
            has_attributes=self._has_marks,
            has_marks=self._has_marks,
            lists_marks=False,
            admin_groups=admin_groups,
            licence_groups=_licence_groups(roles) - admin_groups,
            seats=tuple(_seats(role) for role in roles),
            instead={} if deactivates else {"deactivates_accounts": _TOO_OLD},
            warnings=tuple(await self._warnings(permissions, lists)),
        )

    async def _warnings(self, permissions: Mapping[str, Any], lists: bool) -> list[str]:
        found = []
        if not lists:
            found.append(
                "this Jira does not list all accounts: who cannot be found by search or as a member"
                " of a group is only seen when the username is asked for"
            )
        if permissions and not _has(permissions, "SYSTEM_ADMIN"):
            found.append("azsyncd is no system administrator: such accounts cannot be edited by it")
        if not self._has_marks:
            found.append("this Jira has no user properties: accounts carry no ownership mark")
        path = "/user/duplicated/count"
        count = map_of(await self._rest.read(path, absent=(400, 403, 404, 405))).get("count")
        if isinstance(count, int) and count > 0:
            found.append(
                f"{count} accounts stand in several directories: only the first of each is synced"
            )
        return found

    async def _admin_groups(self, me: str, roles: Sequence[Mapping[str, Any]]) -> frozenset[str]:
        """The well-known ones and whatever is called so. If our own right comes from none of them,
        it comes from another of our groups: then those are protected too, licence groups apart."""
        picked, _ = await pick_groups(self._rest, "administrators", PAGE)
        known = wire.ADMIN_GROUPS | {
            fold(name) for name in picked if fold(name).endswith("administrators")
        }
        body = map_of(await self._rest.read("/user", {"username": me, "expand": "groups"}))
        items = rows_of(map_of(body.get("groups")).get("items"))
        mine = frozenset(fold(text_of(each.get("name"))) for each in items)
        return known if mine & known else known | (mine - _licence_groups(roles))

    async def close(self) -> None:
        await self._peer.close()


_TOO_OLD = "Jira can deactivate accounts from 8.3: upgrade, or drive it through its Crowd interface"


def _has(permissions: Mapping[str, Any], key: str) -> bool:
    found = map_of(map_of(permissions.get("permissions")).get(key))
    return found.get("havePermission") is True


def _numbers(info: Mapping[str, Any]) -> tuple[int, ...]:
    numbers = info.get("versionNumbers")
    if isinstance(numbers, list) and all(isinstance(each, int) for each in numbers) and numbers:
        return tuple(numbers)
    parts = text_of(info.get("version")).split(".")
    return tuple(int(part) for part in parts if part.isdigit())


def _licence_groups(roles: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    return frozenset(
        fold(str(name))
        for role in roles
        for kind in ("groups", "defaultGroups")
        for name in (role.get(kind) if isinstance(role.get(kind), list) else None) or ()
    )


def _seats(role: Mapping[str, Any]) -> Seats:
    name = text_of(role.get("key")) or text_of(role.get("name"))
    total, remaining = role.get("numberOfSeats"), role.get("remainingSeats")
    if role.get("hasUnlimitedSeats") is True or not isinstance(total, int) or total < 0:
        return Seats(name, None, None)
    left = remaining if isinstance(remaining, int) else None
    return Seats(name, total, left, _licence_groups((role,)))
