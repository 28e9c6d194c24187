"""Reading Crowd: accounts with their marks, groups, and memberships in one go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

from azsyncd.http import Peer
from azsyncd.model.accounts import Account, Dialect, TargetGroup, fold
from azsyncd.targets.ahead import ahead
from azsyncd.targets.crowd import wire
from azsyncd.targets.crowd.dump import BadDump, memberships
from azsyncd.targets.rest import MISSING, Rest, map_of, rows_of, text_of

PAGE = 500
FEW = 10
"""So many groups are asked for one by one; for more the dump is cheaper."""

PORTION = 1000


class Reading:
    """What an application can read of a Crowd."""

    type = "crowd"

    def __init__(
        self,
        name: str,
        peer: Peer,
        *,
        instance: str,
        secret: Callable[[], str],
        attributes: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.dialect: Dialect = wire.CrowdDialect()
        self._peer = peer
        self._rest = Rest(name, peer, wire.API, text=wire.error_text)
        self._instance = instance
        self._secret = secret
        self._attributes = tuple(attributes)
        self._keys: dict[str, str] | None = None  # by folded name: the dump shows names alone

    # Accounts -----------------------------------------------------------------------------------

    async def accounts(self) -> AsyncIterator[Account]:
        keys: dict[str, str] = {}
        async for shape in self._search("user", "user,attributes"):
            account = wire.account_of(shape, self._attributes)
            keys[fold(account.username)] = str(account.key)
            yield account
        self._keys = keys

    async def _search(
        self, kind: str, expand: str, restriction: str = ""
    ) -> AsyncIterator[Mapping[str, Any]]:
        params: dict[str, object] = {"entity-type": kind, "expand": expand}
        if restriction:
            params["restriction"] = restriction
        async for shape in self._pages("/search", params, f"{kind}s"):
            yield shape

    async def _pages(
        self, path: str, params: Mapping[str, object], what: str
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Page by page until one is empty: Crowd may give fewer than it was asked for."""
        start = 0
        while True:
            paged = {**params, "start-index": start, "max-results": PAGE}
            body = map_of(await self._rest.read(path, paged))
            if not isinstance(body.get(what), list):
                raise self._rest.strange(f"a page without {what}")
            rows = rows_of(body[what])
            if not rows:
                return
            for shape in rows:
                yield shape
            start += len(rows)

    async def find_account(self, username: str) -> Account | None:
        shape = await self._shape({"username": username})
        return None if shape is None else wire.account_of(shape, self._attributes)

    async def read_account(self, account: Account) -> Account | None:
        shape = await self._current(account)
        return None if shape is None else wire.account_of(shape, self._attributes)

    async def _current(self, account: Account) -> Mapping[str, Any] | None:
        """The account by its key, where it has one that is not its name."""
        key = account.key
        if key is None or key == fold(account.username):
            return await self._shape({"username": account.username})
        shape = await self._shape({"key": key})
        if shape is not None and text_of(shape.get("key")) not in ("", key):
            raise self._rest.strange("another account than the one that was asked for")
        return shape

    async def _shape(self, params: Mapping[str, str]) -> Mapping[str, Any] | None:
        body = await self._rest.read(
            "/user", {**params, "expand": "attributes"}, absent=MISSING, of_one=True
        )
        return None if body is None else map_of(body)

    # Groups -------------------------------------------------------------------------------------

    async def groups(self) -> AsyncIterator[TargetGroup]:
        async for shape in self._search("group", "group"):
            yield wire.group_of(shape)

    async def find_group(self, name: str) -> TargetGroup | None:
        params = {"groupname": name}
        body = await self._rest.read("/group", params, absent=MISSING, of_one=True)
        return None if body is None else wire.group_of(map_of(body))

    async def members(
        self, groups: Sequence[TargetGroup]
    ) -> AsyncIterator[tuple[str, Sequence[str]]]:
        if len(groups) <= FEW:
            async for group, keys in ahead(groups, self._direct_members):
                if keys is not None:
                    yield str(group.key), keys
            return
        if self._keys is None:
            async for _ in self.accounts():
                pass
        wanted = {fold(group.name): str(group.key or fold(group.name)) for group in groups}
        try:
            async with self._rest.stream(
                "/group/membership", headers={"Accept": "application/xml"}
            ) as answer:
                async for group_name, names in memberships(answer):
                    if (key := wanted.get(fold(group_name))) is not None:
                        yield key, [each async for each in self._keys_of(names)]
        except BadDump as error:
            raise self._rest.strange(f"the dump of memberships: {error}") from error

    async def _keys_of(self, names: Iterable[str]) -> AsyncIterator[str]:
        keys = self._keys if self._keys is not None else {}
        for name in names:
            key = keys.get(fold(name))
            if key is None:  # made since the accounts were listed
                account = await self.find_account(name)
                if account is None:
                    continue
                key = keys[fold(name)] = str(account.key)
            yield key

    async def _direct_members(self, group: TargetGroup) -> list[str] | None:
        if await self.find_group(group.name) is None:
            return None
        params = {"groupname": group.name, "expand": "user"}
        found = self._pages("/group/user/direct", params, "users")
        return [str(wire.account_of(shape).key) async for shape in found]
