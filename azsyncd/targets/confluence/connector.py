"""What this Confluence is, and what it can do: found by asking, for its versions differ much."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from azsyncd.model.accounts import Capabilities, Seats, fold
from azsyncd.targets.confluence import wire
from azsyncd.targets.confluence.reading import NOT_THERE
from azsyncd.targets.confluence.writing import Writing
from azsyncd.targets.flat import Flat
from azsyncd.targets.rest import installation, map_of, text_of

_INSTEAD = {
    "renames_accounts": (
        "rename it in Confluence (User management), or in the directory where it stands; it goes on"
        " being synced as it is called"
    ),
    "shows_email": "Confluence shows no addresses of inactive or unlicensed accounts",
}
_BEFORE_9_3 = {
    "updates_accounts": (
        "Confluence takes names and addresses from 9.3: upgrade, or change them in its"
        " administration"
    ),
    "shows_email": "Confluence shows addresses from 9.3: accounts cannot be adopted by them",
}
_BEFORE_8_4 = {
    "creates_accounts": (
        "Confluence creates accounts by REST from 8.4: upgrade, or create it there and it is"
        " adopted"
    ),
}

_NOT_SHOWN = NOT_THERE | {403}


class Confluence(Writing, Flat):
    """The connector of a Confluence Data Center. `secret` makes the password that nobody knows."""

    _me = ""

    async def fingerprint(self) -> str:
        """Confluence shows no id of its own."""
        return f"confluence:{installation(self._peer.base_url)}"

    async def ask(self) -> None:
        """Whether we still administer Confluence."""
        if await self._has_active():
            await self._rest.read("/admin/users/list/active", {"limit": 1})
            return
        # Before 9.3 this is the one question that only administrators may ask.
        path = "/permissions/group/confluence-administrators"
        if await self._rest.read(path, absent=NOT_THERE) is None:
            await self._rest.read("/user/current")

    async def seats(self) -> tuple[Seats, ...]:
        """Confluence does not show its licence: it answers 402 when no seat is left."""
        return ()

    async def probe(self) -> Capabilities:
        me = map_of(await self._rest.read("/user/current"))
        if not wire.is_account(me):
            raise self._rest.refused(
                "Confluence takes us for an anonymous visitor",
                "check the token, and that whatever stands before Confluence lets it through",
            )
        self._me = text_of(me.get("username"))
        self._lists = self._shows_active = None
        lists, complete = await self._has_list(), await self._has_active()
        await self.ask()
        admins, licensed = await self._permissions(complete)
        self._licensed = licensed
        instead = {
            **_INSTEAD,
            **({} if complete else _BEFORE_9_3),
            **({} if lists else _BEFORE_8_4),
        }
        return Capabilities(
            version=await self._version(lists, complete),
            signed_in_as=self._me,
            creates_accounts=lists,
            updates_accounts=complete,
            renames_accounts=False,
            lists_all_accounts=lists,
            shows_email=False,
            admin_groups=admins,
            licence_groups=licensed,
            instead=instead,
            warnings=tuple(_warnings(lists, complete, self._unkept)),
        )

    async def _version(self, lists: bool, complete: bool) -> str:
        if not complete:
            return "8.4 to 9.2" if lists else "before 8.4"
        body = await self._rest.read("/server-information", absent=NOT_THERE)
        return text_of(map_of(body).get("version")) or "9.3 or newer"

    async def _permissions(self, complete: bool) -> tuple[frozenset[str], frozenset[str]]:
        """(groups that administer, groups that take seats): those that are granted it, the
        well-known ones, and whatever is called so. From 9.3 one question says it all; before,
        each group that we are in and each with such a name is asked about."""
        names = {fold(group.name): group.name async for group in self.groups()}
        known = wire.ADMIN_GROUPS | {name for name in names if name.endswith("administrators")}
        if complete:
            body = await self._rest.read("/permissions", absent=_NOT_SHOWN)
            admins, users = wire.granted(body)
            return known | admins, users - known
        me = await self.find_account(self._me)
        mine = {fold(group.name) for group in (await self._groups_of(me) if me else ())}
        admins, users = known, frozenset()
        for name in sorted((mine | known) & set(names)):
            administers, uses = await self._granted(names[name])
            admins |= {name} if administers else frozenset()
            users |= {name} if uses else frozenset()
        if not mine & admins:  # then our own right comes from another of our groups
            admins |= mine - users - wire.LICENCE_GROUPS
        return admins, users - admins

    async def _granted(self, name: str) -> tuple[bool, bool]:
        """Whether a group administers Confluence, and whether its members may use it."""
        if "/" in name or "\\" in name:
            return False, False
        path = f"/permissions/group/{quote(name, safe='')}"
        admins, users = wire.granted(await self._rest.read(path, absent=_NOT_SHOWN))
        return bool(admins), bool(users)

    async def close(self) -> None:
        await self._peer.close()


def _warnings(lists: bool, complete: bool, unkept: Sequence[str]) -> list[str]:
    found = [
        "a new account lands in the first writable directory, which Confluence's API does not show"
    ]
    if unkept:
        names = ", ".join(unkept)
        found.append(f"Confluence keeps no attributes of accounts: {names} is not written")
    if not complete:
        found.append("this Confluence cannot change names and addresses of accounts: 9.3 can")
    if not lists:
        found.append(
            "this Confluence neither creates nor lists accounts by REST: from 8.4 it does both"
        )
    return found
