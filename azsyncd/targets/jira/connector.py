"""What this Jira is, and what it can do: found by asking, not by its version where that can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from azsyncd.model.accounts import Capabilities, Seats, fold
from azsyncd.targets.jira import wire
from azsyncd.targets.jira.search import PAGE, pick_groups
from azsyncd.targets.jira.writing import Writing
from azsyncd.targets.rest import installation, map_of, rows_of, text_of

_NO_RIGHT = (
    "the account {0!r} does not administer Jira",
    "put it into a group that has the global permission Administer Jira",
)


class Jira(Writing):
    """The connector of a Jira Data Center or Server."""

    async def fingerprint(self) -> str:
        """The id that the server shows, or its own idea of its base URL, or how we reach it."""
        info = map_of(await self._rest.read("/serverInfo"))
        shown = text_of(info.get("serverId")) or text_of(info.get("baseUrl"))
        return f"jira:{installation(shown or self._peer.base_url)}"

    async def ask(self) -> None:
        """Whether we still administer Jira."""
        body = map_of(await self._rest.read("/mypermissions"))
        if not _has(body, "ADMINISTER") and not _has(body, "SYSTEM_ADMIN"):
            raise self._rest.refused(_NO_RIGHT[0].format("azsyncd"), _NO_RIGHT[1])

    async def seats(self) -> tuple[Seats, ...]:
        return tuple(_seats(role) for role in await self._roles())

    async def probe(self) -> Capabilities:
        info = map_of(await self._rest.read("/serverInfo"))
        me = text_of(map_of(await self._rest.read("/myself")).get("name"))
        permissions = map_of(await self._rest.read("/mypermissions"))
        if not _has(permissions, "ADMINISTER") and not _has(permissions, "SYSTEM_ADMIN"):
            raise self._rest.refused(_NO_RIGHT[0].format(me), _NO_RIGHT[1])
        roles = await self._roles()
        admin_groups = await self._admin_groups(me, roles)
        self._lists = None
        lists = await self._has_list()
        marks = await self._rest.ask("/user/properties", {"username": me})
        self._has_marks = marks.status == 200
        deactivates = _numbers(info) >= (8, 3)
        return Capabilities(
            version=text_of(info.get("version")),
            signed_in_as=me or None,
            deactivates_accounts=deactivates,
            lists_all_accounts=lists,
            has_attributes=self._has_marks,
            has_marks=self._has_marks,
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
        if not _has(permissions, "SYSTEM_ADMIN"):
            found.append("azsyncd is no system administrator: such accounts cannot be edited by it")
        if not self._has_marks:
            found.append("this Jira has no user properties: accounts carry no ownership mark")
        answer = await self._rest.ask("/user/duplicated/count")
        count = map_of(self._rest.json(answer)).get("count") if answer.status == 200 else 0
        if count:
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
    return Seats(name, total, remaining if isinstance(remaining, int) else None)
