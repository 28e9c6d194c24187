"""What this Bitbucket is, and what it can do."""

from __future__ import annotations

from urllib.parse import unquote

from azsyncd.answers import Response
from azsyncd.model.accounts import Capabilities, Directory, Seats, fold
from azsyncd.targets.bitbucket import wire
from azsyncd.targets.bitbucket.writing import NO_DEACTIVATION, Writing
from azsyncd.targets.flat import Flat
from azsyncd.targets.rest import installation, map_of, rows_of, text_of

MEMBERS = 100
"""So many are added at once: a list of names that a proxy lets through."""

_ABSENT = frozenset({403, 404, 405})


class Bitbucket(Writing, Flat):
    """The connector of a Bitbucket Data Center. `secret` makes the password that nobody knows."""

    async def fingerprint(self) -> str:
        """The server's id, which belongs to its database; else how we reach it."""
        body = map_of(await self._rest.read("/admin/license", absent=_ABSENT))
        server = text_of(map_of(body.get("status")).get("serverId"))
        return f"bitbucket:{server or installation(self._peer.base_url)}"

    async def ask(self) -> None:
        """Whether we still administer Bitbucket."""
        await self._directories()

    async def seats(self) -> tuple[Seats, ...]:
        return wire.seats_of(await self._rest.read("/admin/license", absent=_ABSENT))

    async def probe(self) -> Capabilities:
        answer, directories = await self._directories()
        me = unquote(answer.headers.get("X-AUSERNAME", "")) or self._username or ""
        version = map_of(await self._rest.read("/application-properties", absent=_ABSENT))
        granted = await self._granted_groups()
        named = [
            fold(group.name)
            async for group in self.groups()
            if fold(group.name).endswith("administrators")
        ]
        admins = wire.ADMIN_GROUPS.union(
            named, (name for name, held in granted.items() if held in wire.ADMINISTERS)
        )
        licensed = frozenset(name for name, held in granted.items() if held in wire.LICENSED)
        return Capabilities(
            version=text_of(version.get("version")),
            signed_in_as=me or None,
            deactivates_accounts=False,
            strips_accounts=True,
            members_per_call=MEMBERS,
            admin_groups=admins,
            licence_groups=licensed - admins,
            directories=directories,
            seats=await self.seats(),
            instead={"deactivates_accounts": NO_DEACTIVATION},
            warnings=tuple(await self._warnings(me, directories)),
        )

    async def _directories(self) -> tuple[Response, tuple[Directory, ...]]:
        """What only an administrator may ask, and so tells whether we are one."""
        answer = await self._rest.ask("/admin/user-directories", {"includeInactive": True})
        if answer.status == 404 and not answer.is_html:  # before 8.19
            answer = await self._rest.ask("/admin/permissions/groups", {"limit": 1})
            self._rest.settle(answer)
            return answer, ()
        body = self._rest.settle(answer)
        rows = rows_of(body) or rows_of(map_of(body).get("values"))
        return answer, tuple(wire.directory_of(shape) for shape in rows)

    async def _warnings(self, me: str, directories: tuple[Directory, ...]) -> list[str]:
        found = []
        if self._unkept:
            names = ", ".join(self._unkept)
            found.append(f"Bitbucket keeps no attributes of accounts: {names} is not written")
        if not me:
            found.append(
                "Bitbucket does not say as whom azsyncd signs in: name it in protect.users"
            )
        active = [each for each in directories if each.active]
        if active and not any(each.writable for each in active):
            found.append("no directory is known to be writable: new accounts may be refused")
        elif len(active) > 1:
            home = next(each.name for each in active if each.writable)
            found.append(f"new accounts land in the first writable directory, probably {home!r}")
        limits = map_of(await self._rest.read("/admin/rate-limit/settings", absent=_ABSENT))
        if limits.get("enabled") is True:
            rate = map_of(limits.get("defaultSettings")).get("fillRate")
            found.append(
                f"rate limiting is on ({rate} requests a second): exempt azsyncd's account, or set"
                " limits.requests_per_second below it"
            )
        return found

    async def close(self) -> None:
        await self._peer.close()
