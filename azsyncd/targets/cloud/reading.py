"""Reading the directory: accounts with their marks, groups that always come with their members."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from azsyncd.http import Peer
from azsyncd.model.accounts import Account, Dialect, TargetGroup, fold
from azsyncd.targets.ahead import ahead
from azsyncd.targets.cloud import wire
from azsyncd.targets.rest import MISSING, Rest, map_of, rows_of, text_of

PAGE = 100
MEMBERS_AT_ONCE = 200_000
FEW = 10
"""So many groups are read one by one; for more the pages of all are cheaper."""

ADMINISTRATORS = ("administrators", "-admins", "-admin")
"""How names of groups end that administer something."""


class Reading:
    """What can be read of a SCIM directory."""

    type = "cloud"

    def __init__(
        self,
        name: str,
        peer: Peer,
        *,
        directory_id: str,
        instance: str,
        attributes: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.dialect: Dialect = wire.CloudDialect()
        self._peer = peer
        self._api = f"/scim/directory/{quote(directory_id, safe='')}"
        self._rest = Rest(name, peer, self._api, text=wire.error_text, headers=wire.HEADERS)
        self._instance = instance
        given = tuple(attributes)
        self._unknown = tuple(each for each in given if each not in wire.ATTRIBUTES)
        self._attributes = tuple(each for each in given if each in wire.ATTRIBUTES)
        self._places = wire.Places()
        self._administrators: frozenset[str] | None = None  # by their names, at the last listing
        self._marked: set[str] | None = None  # object ids of all accounts, once they were listed

    # Pages --------------------------------------------------------------------------------------

    async def _pages(
        self, path: str, params: Mapping[str, object] | None = None, *, of_one: bool = False
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Each resource. It is counted from 1; how many came counts, and not how many were asked
        for; fewer than the total is an answer that cannot be trusted."""
        start, first, size = 1, "", PAGE if path == "/Users" else FEW
        while True:
            asked = {**(params or {}), "startIndex": start, "count": size}
            page = map_of(await self._rest.read(path, asked, of_one=of_one))
            rows, total = rows_of(page.get("Resources")), page.get("totalResults")
            if not isinstance(total, int):
                raise self._rest.strange(f"a page of {path} without totalResults")
            for shape in rows:
                yield shape
            start += len(rows)
            if start > total:
                return
            if not rows:
                raise self._rest.strange(f"only {start - 1} of {total} of {path} are shown")
            if start > len(rows) + 1 and text_of(rows[0].get("id")) == first:
                raise self._rest.strange(f"{path} shows the same page again and again")
            first = text_of(rows[0].get("id"))
            size = _next_size(size, rows)

    # Accounts -----------------------------------------------------------------------------------

    def _account_of(self, shape: Mapping[str, Any]) -> Account:
        return wire.account_of(shape, self._instance, self._attributes)

    async def accounts(self) -> AsyncIterator[Account]:
        marked: set[str] = set()
        async for shape in self._pages("/Users", {"excludedAttributes": "groups"}):
            account = self._account_of(shape)
            if account.mark is not None:
                marked.add(account.mark.object_id)
            yield account
        self._marked = marked

    async def find_account(self, username: str) -> Account | None:
        shape = await self._found("/Users", "userName", username)
        return None if shape is None else self._account_of(shape)

    async def _found(self, path: str, name: str, value: str) -> Mapping[str, Any] | None:
        params = {"filter": wire.equals(name, value)}
        async for shape in self._pages(path, params, of_one=True):
            if fold(text_of(shape.get(name))) == fold(value):
                return shape
        return None

    async def read_account(self, account: Account) -> Account | None:
        if not account.key:
            return await self.find_account(account.username)
        shape = await self._shape(account)
        return None if shape is None else self._account_of(shape)

    async def _shape(self, account: Account) -> Mapping[str, Any] | None:
        body = await self._rest.read(self._path(account), absent=MISSING, of_one=True)
        return None if body is None else map_of(body)

    def _path(self, account: Account) -> str:
        return f"/Users/{quote(str(account.key), safe='')}"

    # Groups -------------------------------------------------------------------------------------

    async def groups(self) -> AsyncIterator[TargetGroup]:
        administrators: set[str] = set()
        async for shape in self._pages("/Groups"):
            group = wire.group_of(shape)
            if fold(group.name).endswith(ADMINISTRATORS):
                administrators.add(fold(group.name))
            yield group
        self._administrators = frozenset(administrators)

    async def find_group(self, name: str) -> TargetGroup | None:
        shape = await self._found("/Groups", "displayName", name)
        return None if shape is None else wire.group_of(shape)

    async def members(
        self, groups: Sequence[TargetGroup]
    ) -> AsyncIterator[tuple[str, Sequence[str]]]:
        left = {_known_by(group): group for group in groups}
        if len(groups) > FEW:
            async for shape in self._pages("/Groups"):
                keys, found = wire.members_of(shape), wire.group_of(shape)
                for known in (str(found.key), fold(found.name)):
                    if keys is not None and known in left:
                        yield left.pop(known).key or str(found.key), keys
        async for group, members in ahead(left.values(), self._members_of):
            if members is not None:
                yield str(group.key), members

    async def _members_of(self, group: TargetGroup) -> list[str] | None:
        """By id; None if there is no such group."""
        path = await self._group_path(group)
        body = None if path is None else await self._rest.read(path, absent=MISSING)
        return None if body is None else wire.members_of(map_of(body)) or []

    async def _group_path(self, group: TargetGroup) -> str | None:
        """Where a group is; one that is known by its name alone is looked for."""
        known: TargetGroup | None = group
        if not group.key or group.key == fold(group.name):
            known = await self.find_group(group.name)
        return None if known is None else f"/Groups/{quote(str(known.key), safe='')}"


def _next_size(size: int, rows: Sequence[Mapping[str, Any]]) -> int:
    """Groups come with all their members: so many at once that an answer stays of a sane size."""
    members = sum(len(wire.members_of(shape) or ()) for shape in rows) // len(rows) + 1
    return max(1, min(PAGE, size * 2, MEMBERS_AT_ONCE // members))


def _known_by(group: TargetGroup) -> str:
    return group.key or fold(group.name)
