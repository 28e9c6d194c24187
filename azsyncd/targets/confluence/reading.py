"""Reading Confluence: accounts without their addresses, groups, members.

It shows addresses of active, licensed accounts alone, from 9.3, out of its search index. What was
written here counts until the index has caught up.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from azsyncd.answers import Response
from azsyncd.clock import Clock
from azsyncd.http import Peer
from azsyncd.model.accounts import Account, Dialect, TargetGroup, fold
from azsyncd.targets.ahead import ahead
from azsyncd.targets.confluence import wire
from azsyncd.targets.rest import MISSING, Rest, map_of, rows_of, text_of

PAGE = 200
NOT_THERE = frozenset({404, 405})
"""What an older Confluence answers to a call that it does not have."""

_NO_GROUP = frozenset({403, 404})
_RIGHTS = "check that the account that azsyncd signs in as administers Confluence"


class Reading:
    """What can be read of a Confluence."""

    type = "confluence"

    def __init__(
        self,
        name: str,
        peer: Peer,
        *,
        clock: Clock,
        secret: Callable[[], str],
        product_access: str = "by_groups",
        attributes: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.dialect: Dialect = wire.ConfluenceDialect()
        self._peer = peer
        self._rest = Rest(name, peer, wire.API, text=wire.error_text)
        self._clock = clock
        self._secret = secret
        self._product_access = product_access
        self._unkept = tuple(attributes)  # it has no place for any
        self._licensed: frozenset[str] = frozenset()
        self._on_group: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """One write at a time on each group."""
        self._lists: bool | None = None
        self._shows_active: bool | None = None
        self._mails: dict[str, str] = {}  # by key: shown by the index, or written by us
        self._mails_read = False
        self._shown: frozenset[str] = frozenset()  # keys of those whom the index calls active
        self._written: dict[str, str] = {}  # by key: what the index does not show yet

    # Accounts -----------------------------------------------------------------------------------

    async def accounts(self) -> AsyncIterator[Account]:
        """By `/user/list` (8.4); before it, whoever is a member of a group."""
        await self._read_mails()
        if await self._has_list():
            async for shape in self._pages("/user/list", {"expand": wire.EXPAND}):
                if wire.is_account(shape):
                    yield self._account_of(shape)
            return
        seen: set[str] = set()
        groups = [group async for group in self.groups()]
        async for _, members in ahead(groups, self._all_members):
            for shape in members or ():
                account = wire.account_of(shape)
                if account.key in seen:
                    continue
                seen.add(str(account.key))
                found = await self._account({"username": account.username})
                if found is not None:
                    yield found

    async def _has_list(self) -> bool:
        if self._lists is None:
            answer = await self._rest.ask("/user/list", {"limit": 1})
            self._lists = answer.status not in NOT_THERE
        return self._lists

    async def _has_active(self) -> bool:
        """Whether this is a 9.3: it lists active accounts, and can change accounts."""
        if self._shows_active is None:
            answer = await self._rest.ask("/admin/users/list/active", {"limit": 1})
            self._shows_active = answer.status not in NOT_THERE
        return self._shows_active

    async def _read_mails(self) -> None:
        if not await self._has_active():
            return
        shown: dict[str, str] = {}
        async for shape in self._pages("/admin/users/list/active", {}):
            key, email = text_of(shape.get("userKey")), text_of(shape.get("email"))
            if not key or not email:
                continue
            if fold(self._written.get(key, email)) == fold(email):
                self._written.pop(key, None)
            shown[key] = email
        self._mails_read = True
        self._mails, self._shown = {**shown, **self._written}, frozenset(shown)

    async def _mail_of(self, account: Account) -> str | None:
        """An address that is to stay as it is, and has to be sent all the same; None = unknown."""
        if account.email is not None:
            return account.email
        if not self._mails_read:
            await self._read_mails()
        return self._mails.get(str(account.key))

    def _account_of(self, shape: Mapping[str, Any]) -> Account:
        account = wire.account_of(shape)
        account = replace(account, email=self._mails.get(str(account.key)))
        if account.active is None and account.key in self._shown:
            return replace(account, active=True)
        return account

    async def find_account(self, username: str) -> Account | None:
        return await self._account({"username": username})

    async def read_account(self, account: Account) -> Account | None:
        if account.key is None or account.key == fold(account.username):
            return await self.find_account(account.username)
        return await self._account({"key": account.key})

    async def _account(self, params: Mapping[str, str]) -> Account | None:
        params = {**params, "expand": wire.EXPAND}
        body = await self._rest.read("/user", params, absent=MISSING, of_one=True)
        shape = map_of(body)
        return self._account_of(shape) if body is not None and wire.is_account(shape) else None

    # Pages --------------------------------------------------------------------------------------

    async def _pages(
        self, path: str, params: Mapping[str, object], size: int = PAGE
    ) -> AsyncIterator[Mapping[str, Any]]:
        async for rows in self._portions(path, params, size):
            for shape in rows or ():
                yield shape

    async def _portions(
        self,
        path: str,
        params: Mapping[str, object],
        size: int = PAGE,
        absent: frozenset[int] = frozenset(),
    ) -> AsyncIterator[Sequence[Mapping[str, Any]] | None]:
        """Page by page. The server may show fewer than were asked for: what it says that it showed
        counts. None: the status was one of `absent`."""
        start = 0
        before: Sequence[Mapping[str, Any]] = ()
        while True:
            asked = {**params, "start": start, "limit": size}
            body = await self._rest.read(path, asked, absent=absent)
            if body is None:
                yield None
                return
            page = map_of(body)
            if not isinstance(page.get("results"), list):
                raise self._rest.strange(f"a page of {path} without results")
            rows = rows_of(page["results"])
            if rows and rows == before:
                raise self._rest.strange(f"{path} shows the same page again and again")
            yield rows
            start += len(rows)
            if not rows or _is_last(page, start, len(rows), size):
                return
            before = rows

    # Groups -------------------------------------------------------------------------------------

    async def groups(self) -> AsyncIterator[TargetGroup]:
        async for shape in self._pages("/group", {}):
            if text_of(shape.get("name")):
                yield wire.group_of(shape)

    async def find_group(self, name: str) -> TargetGroup | None:
        """By its own page, if that shows it; that it is absent 404 says, or the list of all."""
        if name in (".", ".."):
            return None
        path, params = _of_group(name, "", "/info")
        answer = await self._rest.ask(path, params)
        if answer.status == 200:
            found = wire.group_of(map_of(self._rest.json(answer)))
            if fold(found.name) == fold(name):
                return found
        elif answer.status == 404 and not params and not answer.is_html and _knows_us(answer):
            return None
        # No documented answer, or a version that takes `/group/info` for a group's name.
        async for group in self.groups():
            if fold(group.name) == fold(name):
                return group
        return None

    async def members(
        self, groups: Sequence[TargetGroup]
    ) -> AsyncIterator[tuple[str, Sequence[str]]]:
        async for group, found in ahead(groups, self._all_members, width=2):
            if found is not None:
                keys = [str(wire.account_of(shape).key) for shape in found]
                yield group.key or fold(group.name), keys

    async def _all_members(self, group: TargetGroup) -> list[Mapping[str, Any]] | None:
        """Everybody in a group; None if there is no such group."""
        path, params = _of_group(group.name, "/member", "/member")
        found: list[Mapping[str, Any]] = []
        # What a group that is gone is answered is not documented: 403 can mean it, or our rights.
        async for rows in self._portions(path, params, absent=_NO_GROUP):
            if rows is None:
                if await self.find_group(group.name) is None:
                    return None
                raise self._rest.refused(f"the members of {group.name!r} are not shown", _RIGHTS)
            found += [shape for shape in rows if wire.is_account(shape)]
        if not found and await self.find_group(group.name) is None:
            return None
        return found

    async def _groups_of(self, account: Account) -> list[TargetGroup]:
        """The groups that hold an account."""
        params = {"username": account.username}
        return [wire.group_of(shape) async for shape in self._pages("/user/memberof", params)]


def _knows_us(answer: Response) -> bool:
    """Strangers are not told what is absent."""
    return answer.headers.get("X-AUSERNAME", "").lower() != "anonymous"


def _is_last(page: Mapping[str, Any], start: int, rows: int, asked: int) -> bool:
    links, total, limit = page.get("_links"), page.get("totalCount"), page.get("limit")
    if isinstance(links, dict) and links.get("next"):
        return False
    if isinstance(total, int) and total >= 0:
        return start >= total
    return rows < (limit if isinstance(limit, int) and 0 < limit < asked else asked)


def _of_group(name: str, path: str, query: str) -> tuple[str, dict[str, str]]:
    """Where a group is asked about: in the path, or in the query if its name has a slash. The
    latter is there in 9.2 and from 10.1.2."""
    if "/" in name or "\\" in name:
        return f"/group{query}", {"groupName": name}
    return f"/group/{quote(name, safe='')}{path}", {}
