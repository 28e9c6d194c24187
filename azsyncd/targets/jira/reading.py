"""Reading Jira: accounts, groups, members, and our mark on an account."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from azsyncd.http import Peer
from azsyncd.model.accounts import Account, Dialect, TargetGroup, fold
from azsyncd.targets.ahead import ahead
from azsyncd.targets.jira import wire
from azsyncd.targets.jira.search import all_groups, pick_groups, search_accounts
from azsyncd.targets.rest import MISSING, Rest, map_of, rows_of, text_of

LIST_PAGE = 1000
MEMBER_PAGE = 50
"""Jira shows no more at once; what it says that it showed counts, not what was asked for."""

WALK = 20
"""Pages of members that are looked through for one account before it is asked for its groups."""

PICKED = 200


class Reading:
    """What can be read of a Jira."""

    type = "jira"

    def __init__(
        self,
        name: str,
        peer: Peer,
        *,
        instance: str,
        product_access: str = "by_groups",
        attributes: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.dialect: Dialect = wire.JiraDialect()
        self._peer = peer
        self._rest = Rest(
            name,
            peer,
            wire.API,
            text=wire.error_text,
            sounds_read_only=wire.sounds_read_only,
            sign_in_hint=wire.SIGN_IN_HINT,
        )
        self._instance = instance
        self._product_access = product_access
        self._attributes = tuple(attributes)
        self._lists: bool | None = None
        self._has_marks = True
        self._deactivates = True

    # Accounts -----------------------------------------------------------------------------------

    async def accounts(self) -> AsyncIterator[Account]:
        """By `/user/list` where it is there: from 11.0 and in late 10.3, so it is probed; else
        whoever can be found by search and as a member of a group."""
        if await self._has_list():
            async for shape in self._list():
                yield wire.account_of(shape)
            return
        seen: set[str] = set()
        async for shape in search_accounts(self._rest):
            account = wire.account_of(shape)
            seen.add(str(account.key))
            yield account
        groups = [wire.group_of(name) async for name in all_groups(self._rest)]

        async def unseen(group: TargetGroup) -> list[Account]:
            return [each async for each in self._accounts_in(group) if each.key not in seen]

        async for _, members in ahead(groups, unseen):
            for account in members:
                if account.key not in seen:
                    seen.add(str(account.key))
                    yield account

    async def _accounts_in(self, group: TargetGroup) -> AsyncIterator[Account]:
        async for page in self._member_pages(group.name):
            for shape in page or ():
                yield wire.account_of(shape)

    async def _has_list(self) -> bool:
        if self._lists is None:
            params = {"maxResults": 1}
            answer = await self._rest.ask("/user/list", params)
            # Not there, in JSON or on a page: that of a whole product gone is met by what follows.
            body = None if answer.status in (400, 404, 405) else self._rest.settle(answer)
            self._lists = isinstance(map_of(body).get("values"), list)
        return self._lists

    async def _list(self) -> AsyncIterator[Mapping[str, Any]]:
        params: dict[str, object] = {"maxResults": LIST_PAGE}
        cursors: set[str] = set()
        while True:
            page = map_of(await self._rest.read("/user/list", params))
            if not isinstance(page.get("values"), list):
                raise self._rest.strange("a page of users without values")
            rows = rows_of(page["values"])
            for shape in rows:
                if not shape.get("deleted"):
                    yield shape
            cursor = text_of(page.get("nextCursor"))
            if page.get("isLast") is True or not cursor:
                return
            if not rows and page.get("isLast") is not False:
                return
            if cursor in cursors:
                raise self._rest.strange("the list of users goes round in a circle")
            cursors.add(cursor)
            params["cursor"] = cursor

    async def find_account(self, username: str) -> Account | None:
        return await self._account({"username": username})

    async def read_account(self, account: Account) -> Account | None:
        if account.key is None:
            return await self.find_account(account.username)
        return await self._account({"key": account.key})

    async def _account(self, params: Mapping[str, str]) -> Account | None:
        found = await self._plain(params)
        return None if found is None else await self._with_properties(found)

    async def _plain(self, params: Mapping[str, str]) -> Account | None:
        shape = await self._rest.read("/user", params, absent=MISSING, of_one=True)
        if shape is None or map_of(shape).get("deleted"):
            return None
        return wire.account_of(map_of(shape))

    async def _with_properties(self, account: Account) -> Account:
        """The mark, and the attributes that are ours to keep: each is a question of its own."""
        if not self._has_marks:
            return account
        wanted = (wire.MARK, *self._attributes)
        if self._attributes:
            body = await self._rest.read(
                "/user/properties", {"userKey": account.key}, absent=MISSING, of_one=True
            )
            known = {text_of(each.get("key")) for each in rows_of(map_of(body).get("keys"))}
            wanted = tuple(name for name in wanted if name in known)
        values = {name: await self._property(account, name) for name in wanted}
        return replace(
            account,
            mark=wire.mark_of(values.get(wire.MARK)),
            attributes={name: text_of(values.get(name)) for name in self._attributes},
        )

    async def _property(self, account: Account, name: str) -> object:
        path = f"/user/properties/{quote(name, safe='')}"
        body = await self._rest.read(path, {"userKey": account.key}, absent=MISSING, of_one=True)
        return map_of(body).get("value")

    # Licences -----------------------------------------------------------------------------------

    async def _roles(self) -> Sequence[Mapping[str, Any]]:
        """The applications with their licences; none where Jira does not show them."""
        return rows_of(await self._rest.read("/applicationrole", absent=(403, 404, 405)))

    # Groups -------------------------------------------------------------------------------------

    async def groups(self) -> AsyncIterator[TargetGroup]:
        async for name in all_groups(self._rest):
            yield wire.group_of(name)

    async def find_group(self, name: str) -> TargetGroup | None:
        """By the picker, which knows the spelling; that it is absent only `/group/member` says."""
        picked, _ = await pick_groups(self._rest, name, PICKED)
        for each in picked:
            if fold(each) == fold(name):
                return wire.group_of(each)
        page = await self._member_page(name, 0, 1, of_one=True)
        return None if page is None else wire.group_of(name)

    async def members(
        self, groups: Sequence[TargetGroup]
    ) -> AsyncIterator[tuple[str, Sequence[str]]]:
        async for group, keys in ahead(groups, self._member_keys):
            if keys is not None:
                yield group.key or fold(group.name), keys

    async def _member_keys(self, group: TargetGroup) -> list[str] | None:
        """Everybody in a group, inactive ones too; None if there is no such group."""
        found: dict[str, None] = {}  # who moves from page to page meanwhile is shown twice
        async for page in self._member_pages(group.name):
            if page is None:
                return None
            found.update((str(wire.account_of(shape).key), None) for shape in page)
        return list(found)

    async def _member_pages(self, name: str) -> AsyncIterator[Sequence[Mapping[str, Any]] | None]:
        start = 0
        while True:
            page = await self._member_page(name, start, MEMBER_PAGE)
            if page is None:
                yield None
                return
            values = rows_of(page.get("values"))
            yield values
            start += len(values)
            total = page.get("total")
            if page.get("isLast") is True or (isinstance(total, int) and start >= total):
                return
            if not values:
                raise self._rest.strange(f"only {start} of {total} members of {name!r} are shown")

    async def _member_page(
        self, name: str, start: int, size: int, *, of_one: bool = False
    ) -> Mapping[str, Any] | None:
        params = {
            "groupname": name,
            "includeInactiveUsers": "true",
            "startAt": start,
            "maxResults": size,
        }
        body = await self._rest.read("/group/member", params, absent=MISSING, of_one=of_one)
        return None if body is None else map_of(body)

    async def _is_member(self, group: TargetGroup, account: Account) -> bool | None:
        """Whether an account is in a group, subgroups included; None if the group is gone.

        The account's own groups are the shorter list; that it is not among them is believed only
        where the group is too large to be looked through.
        """
        params = {"key": account.key or "", "expand": "groups"}
        shape = await self._rest.read("/user", params, absent=MISSING, of_one=True)
        if shape is None:  # nobody is in no group: only whether there is one is asked
            page = await self._member_page(group.name, 0, 1, of_one=True)
            return None if page is None else False
        groups = _groups_in(map_of(shape))
        if groups is not None and fold(group.name) in groups:
            return True
        walked = 0
        async for members in self._member_pages(group.name):
            if members is None:
                return None
            if any(wire.account_of(each).key == account.key for each in members):
                return True
            walked += 1
            if walked == WALK and groups is not None:
                return False
        return False


def _groups_in(shape: Mapping[str, Any]) -> frozenset[str] | None:
    """The groups of an account, folded; None where Jira does not show all of them."""
    shown = map_of(shape.get("groups"))
    items = rows_of(shown.get("items"))
    if shown.get("size") != len(items):
        return None
    return frozenset(fold(text_of(each.get("name"))) for each in items)
