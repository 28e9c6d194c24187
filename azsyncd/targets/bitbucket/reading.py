"""Reading Bitbucket: accounts, groups, members, global permissions; all of it in pages whose next
start only the server knows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

from azsyncd.answers import Response
from azsyncd.http import Peer
from azsyncd.model.accounts import Account, Dialect, TargetGroup, fold
from azsyncd.targets.ahead import ahead
from azsyncd.targets.bitbucket import wire
from azsyncd.targets.rest import MISSING, Rest, map_of, rows_of, text_of

PAGE = 1000


NO_RIGHT = (
    "the account that azsyncd signs in as does not administer Bitbucket (401)",
    "give it the global permission Admin; a token must belong to an administrator, and where tokens"
    " do not carry that right, use username and password",
)


class BitbucketRest(Rest):
    """A 401 of Bitbucket can mean that we are known, and may not."""

    def _refuse_strangers(self, answer: Response) -> None:
        if wire.lacks_rights(answer):
            raise self.refused(*NO_RIGHT)
        super()._refuse_strangers(answer)


class Reading:
    """What can be read of a Bitbucket."""

    type = "bitbucket"

    def __init__(
        self,
        name: str,
        peer: Peer,
        *,
        secret: Callable[[], str],
        username: str | None = None,
        product_access: str = "by_groups",
        attributes: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.dialect: Dialect = wire.BitbucketDialect()
        self._peer = peer
        self._rest = BitbucketRest(name, peer, wire.API, text=wire.error_text)
        self._secret = secret
        self._username = username
        self._product_access = product_access
        self._unkept = tuple(attributes)  # it has no place for any

    # Pages --------------------------------------------------------------------------------------

    async def _pages(
        self,
        path: str,
        params: Mapping[str, object] | None = None,
        *,
        absent: frozenset[int] = frozenset(),
        of_one: bool = False,
    ) -> AsyncIterator[Sequence[Mapping[str, Any]] | None]:
        """Page by page: `nextPageStart` is not the sum of what was shown. None: the status was one
        of `absent`."""
        start = 0
        while True:
            asked = {**(params or {}), "start": start, "limit": PAGE}
            body = await self._rest.read(path, asked, absent=absent, of_one=of_one)
            if body is None:
                yield None
                return
            page = map_of(body)
            if not isinstance(page.get("values"), list):
                raise self._rest.strange(f"a page of {path} without values")
            yield rows_of(page["values"])
            following = page.get("nextPageStart")
            if page.get("isLastPage") is True or following is None:
                return
            if not isinstance(following, int) or following <= start:
                raise self._rest.strange(f"the pages of {path} go round in a circle")
            start = following

    async def _rows(
        self, path: str, params: Mapping[str, object] | None = None, *, of_one: bool = False
    ) -> AsyncIterator[Mapping[str, Any]]:
        async for rows in self._pages(path, params, of_one=of_one):
            for shape in rows or ():
                yield shape

    # Accounts -----------------------------------------------------------------------------------

    async def accounts(self) -> AsyncIterator[Account]:
        async for shape in self._rows("/admin/users"):
            if text_of(shape.get("name")):
                yield wire.account_of(shape)

    async def find_account(self, username: str) -> Account | None:
        shape = await self._shape(username)
        return None if shape is None else wire.account_of(shape)

    async def _shape(self, username: str) -> Mapping[str, Any] | None:
        """By the filter, which finds much: only the same name counts. A slug is not the name."""
        async for shape in self._rows("/admin/users", {"filter": username}, of_one=True):
            if fold(text_of(shape.get("name"))) == fold(username):
                return shape
        return None

    async def read_account(self, account: Account) -> Account | None:
        """Nothing is found by its id: whoever is not under the name or the address that we know is
        looked for among all."""
        if account.key is None:
            return await self.find_account(account.username)
        for needle in dict.fromkeys((account.username, account.email)):
            if needle:
                async for shape in self._rows("/admin/users", {"filter": needle}, of_one=True):
                    found = wire.account_of(shape)
                    if found.key == account.key:
                        return found
        async for found in self.accounts():
            if found.key == account.key:
                return found
        return None

    # Groups -------------------------------------------------------------------------------------

    async def groups(self) -> AsyncIterator[TargetGroup]:
        async for shape in self._rows("/admin/groups"):
            if name := text_of(shape.get("name")):
                yield wire.group_of(name)

    async def find_group(self, name: str) -> TargetGroup | None:
        async for shape in self._rows("/admin/groups", {"filter": name}, of_one=True):
            if fold(text_of(shape.get("name"))) == fold(name):
                return wire.group_of(text_of(shape.get("name")))
        return None

    async def members(
        self, groups: Sequence[TargetGroup]
    ) -> AsyncIterator[tuple[str, Sequence[str]]]:
        async for group, keys in ahead(groups, self._keys_in):
            if keys is not None:
                yield group.key or fold(group.name), keys

    async def _keys_in(self, group: TargetGroup) -> list[str] | None:
        """Everybody in a group; None if there is no such group: an empty page does not say so."""
        found: list[str] = []
        path, params = "/admin/groups/more-members", {"context": group.name}
        async for rows in self._pages(path, params, absent=MISSING):
            found += [str(wire.account_of(shape).key) for shape in rows or ()]
        if not found and await self.find_group(group.name) is None:
            return None
        return found

    async def _groups_of(self, username: str) -> frozenset[str]:
        """The groups of an account, folded; none if it is gone."""
        names: set[str] = set()
        path, params = "/admin/users/more-members", {"context": username}
        async for rows in self._pages(path, params, absent=MISSING):
            names |= {fold(text_of(shape.get("name"))) for shape in rows or ()}
        return frozenset(names)

    # Global permissions -------------------------------------------------------------------------

    async def _granted_groups(self) -> dict[str, str]:
        """Groups with a global permission, and the highest of each; by folded name."""
        return {
            fold(text_of(map_of(shape.get("group")).get("name"))): text_of(shape.get("permission"))
            async for shape in self._rows("/admin/permissions/groups")
        }

    async def _has_grant(self, username: str) -> bool:
        """Whether an account holds a global permission of its own."""
        params = {"filter": username}
        async for shape in self._rows("/admin/permissions/users", params, of_one=True):
            if fold(text_of(map_of(shape.get("user")).get("name"))) == fold(username):
                return True
        return False
