"""What this SCIM directory is, and what it can do: it says so itself."""

from __future__ import annotations

from azsyncd.model.accounts import Capabilities, Directory, Seats
from azsyncd.targets.cloud import wire
from azsyncd.targets.cloud.reading import ADMINISTRATORS
from azsyncd.targets.cloud.writing import Writing
from azsyncd.targets.flat import Flat
from azsyncd.targets.rest import MISSING, installation, map_of

MEMBERS = 200
"""So many in one PATCH; the answer shows the whole group each time."""


class Cloud(Writing, Flat):
    """The connector of one SCIM directory of Atlassian Cloud."""

    async def fingerprint(self) -> str:
        """The directory's address: its id is in it."""
        return f"cloud:{installation(self._peer.base_url + self._api)}"

    async def ask(self) -> None:
        """Whether the key still opens the directory."""
        await self._rest.read("/Users", {"startIndex": 1, "count": 1})

    async def seats(self) -> tuple[Seats, ...]:
        """The directory knows nothing of licences: the products' groups have them."""
        return ()

    async def probe(self) -> Capabilities:
        await self.ask()
        config = map_of(await self._rest.read("/ServiceProviderConfig", absent=MISSING))
        schemas = await self._rest.read("/Schemas", absent=MISSING)
        if schemas is not None:
            self._places = wire.places_of(schemas)
        patches = map_of(config.get("patch")).get("supported") is not False
        if not patches:
            raise self._rest.refused(
                "the directory does not support PATCH", "check url and directory_id"
            )
        if self._administrators is None:  # groups come with their members: once is enough
            async for _ in self.groups():
                pass
        return Capabilities(
            version="SCIM 2.0",
            signed_in_as=None,  # a key, not an account
            has_attributes=True,
            has_marks=True,
            unique_emails=True,
            members_per_call=MEMBERS,
            removals_per_call=MEMBERS,
            admin_groups=wire.ADMIN_GROUPS.union(self._administrators or ()),
            admin_endings=ADMINISTRATORS,
            directories=(
                Directory(name="identity provider directory", kind="SCIM", writable=True),
            ),
            warnings=tuple(self._warnings()),
        )

    def _warnings(self) -> list[str]:
        if not self._unknown:
            return []
        known = ", ".join(sorted(wire.ATTRIBUTES))
        names = ", ".join(self._unknown)
        return [f"Atlassian Cloud has no place for these attributes: {names}; it has {known}"]

    async def close(self) -> None:
        await self._peer.close()
