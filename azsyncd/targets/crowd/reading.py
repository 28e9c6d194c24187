"""Reading Crowd: accounts with their marks, groups, and memberships in one go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Container, Iterable, Mapping, Sequence
from typing import Any

from azsyncd.http import Peer
from azsyncd.model.accounts import Account, Dialect, TargetGroup, fold
from azsyncd.targets.ahead import ahead
from azsyncd.targets.crowd import wire
from azsyncd.targets.crowd.dump import BadDump, Membership, memberships
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
        self._rest = Rest(
            name, peer, wire.API, text=wire.error_text, sign_in_hint=wire.SIGN_IN_HINT
        )
        self._instance = instance
        self._secret = secret
        self._attributes = tuple(attributes)
        self._keys: dict[str, str] | None = None  # by folded name: the dump shows names alone

    # Accounts -----------------------------------------------------------------------------------

    async def accounts(self) -> AsyncIterator[Account]:
        keys: dict[str, str] = {}
        async for found in self._search("user", "user,attributes"):
            shape = found if "active" in found else await self._shape({"username": _name(found)})
            if shape is None:
                continue
            account = wire.account_of(shape, self._attributes)
            keys[fold(account.username)] = str(account.key)
            yield account
        self._keys = keys

    async def _search(self, kind: str, expand: str) -> AsyncIterator[Mapping[str, Any]]:
        params = {"entity-type": kind, "expand": expand}
        async for page in self._pages("/search", params, f"{kind}s"):
            for shape in page or ():
                yield shape

    async def _pages(
        self, path: str, params: Mapping[str, object], what: str, *, absent: Container[int] = ()
    ) -> AsyncIterator[Sequence[Mapping[str, Any]] | None]:
        """Page by page until one is empty: Crowd may give fewer than it was asked for. None where
        what is listed is absent."""
        start, first = 0, ""
        while True:
            paged = {**params, "start-index": start, "max-results": PAGE}
            body = await self._rest.read(path, paged, absent=absent)
            if body is None:
                yield None
                return
            if not isinstance(map_of(body).get(what), list):
                raise self._rest.strange(f"a page without {what}")
            rows = rows_of(body[what])
            if not rows:
                return
            if start and _name(rows[0]) == first:
                raise self._rest.strange(f"the same page of {what} again and again")
            first = _name(rows[0])
            yield rows
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
        shape = await self._shape({"key": key}, absent=(400, 404))
        if shape is None or text_of(shape.get("key")) != key:
            # Absent, or a Crowd that cannot look up a key: then it can still stand under its name.
            shape = await self._shape({"username": account.username})
        return shape if shape is not None and text_of(shape.get("key")) == key else None

    async def _shape(
        self, params: Mapping[str, str], *, absent: Container[int] = MISSING
    ) -> Mapping[str, Any] | None:
        body = await self._rest.read(
            "/user", {**params, "expand": "attributes"}, absent=absent, of_one=True
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
        dumps = False
        if len(groups) > FEW:
            if self._keys is None:
                async for _ in self.accounts():
                    pass
            wanted = {fold(group.name): _key(group) for group in groups}
            async for group_name, names, _ in self._dump():
                dumps = True
                if (key := wanted.get(fold(group_name))) is not None:
                    yield key, await self._keys_of(names)
        if not dumps:
            async for group, keys in ahead(groups, self._direct_members):
                if keys is not None:
                    yield _key(group), keys

    async def _dump(self) -> AsyncIterator[Membership]:
        """All memberships of all groups; nothing where this Crowd has no such dump."""
        headers = {"Accept": "application/xml"}
        try:
            async with self._rest.stream(
                "/group/membership", headers=headers, absent=(404, 405, 406)
            ) as answer:
                if answer is not None:
                    async for each in memberships(answer):
                        yield each
        except BadDump as error:
            raise self._rest.strange(f"the dump of memberships: {error}") from error

    async def children(
        self, groups: Sequence[TargetGroup]
    ) -> AsyncIterator[tuple[str, Sequence[str]]]:
        found: dict[str, list[str]] = {}
        dumps = False
        if len(groups) > FEW:
            wanted = {fold(group.name): _key(group) for group in groups}
            async for group_name, _, names in self._dump():
                dumps = True
                if (key := wanted.get(fold(group_name))) is not None:
                    found.setdefault(key, []).extend(map(fold, names))
        for each in found.items():
            yield each
        if not dumps:
            async for group, children in ahead(groups, self._child_names):
                if children is not None:
                    yield _key(group), [fold(name) for name in children]

    async def _child_names(self, group: TargetGroup) -> list[str] | None:
        params = {"groupname": group.name}
        names: list[str] = []
        async for page in self._pages(wire.CHILDREN, params, "groups", absent=MISSING):
            if page is None:
                return None
            names += map(_name, page)
        return names

    async def _keys_of(self, names: Iterable[str]) -> list[str]:
        keys = self._keys if self._keys is not None else {}
        found = []
        for name in names:
            key = keys.get(fold(name))
            if key is None:  # made since the accounts were listed
                account = await self.find_account(name)
                if account is None:
                    continue
                key = keys[fold(name)] = str(account.key)
            found.append(key)
        return found

    async def _direct_members(self, group: TargetGroup) -> list[str] | None:
        params = {"groupname": group.name, "expand": "user"}
        keys: list[str] = []
        async for page in self._pages("/group/user/direct", params, "users", absent=MISSING):
            if page is None:
                return None
            for shape in page:
                key = text_of(shape.get("key"))
                keys += [key] if key else await self._keys_of([_name(shape)])
        return keys


def _name(shape: Mapping[str, Any]) -> str:
    return text_of(shape.get("name"))


def _key(group: TargetGroup) -> str:
    return group.key or fold(group.name)
