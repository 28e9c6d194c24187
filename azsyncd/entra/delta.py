"""Reading users and groups: delta feeds page by page, a listing, and a few targeted questions.

Parameters go out with the first request alone; afterwards Graph's own links are used, whole and
unchanged. https://learn.microsoft.com/en-us/graph/delta-query-overview
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any
from urllib.parse import unquote

import structlog

from azsyncd.entra import wire
from azsyncd.entra.client import ForeignLink, Graph, GraphRefused
from azsyncd.errors import CredentialRefused, DeltaExpired, PageExpired, SourceError
from azsyncd.model.identities import (
    MANAGER,
    MANAGERS,
    MemberKind,
    MemberSeen,
    ObjectId,
    Page,
    Seen,
)

log = structlog.get_logger()

_EXPANDED = "&$expand=manager($select=id)"
_AT_ONCE = 8

_MOST_PAGES = 10_000
"""Of an ordinary list (999 objects a page): more is a loop."""


class Delta:
    """The two feeds with an explicit selection, which is also what Graph tracks; and the listing of
    managers, whose changes Graph reports unreliably: `manager` is selected all the same, for where
    they come they come at once.
    """

    def __init__(
        self, graph: Graph, *, user_properties: Sequence[str], group_properties: Sequence[str]
    ) -> None:
        self._graph = graph
        self._select = {
            "users": ("id", *_once(user_properties)),
            "groups": ("id", *_once(group_properties), "members"),
        }
        self._expands = False  # whether a listing has ever shown a manager
        self._refuses = False

    def first_url(self, feed: str) -> str:
        """Where a crawl of the feed starts."""
        if feed == MANAGERS:
            return f"{self._graph.root}/users?$select=id&$top=999{_EXPANDED}"
        return f"{self._graph.root}/{feed}/delta?$select={','.join(self._select[feed])}"

    def selection(self, feed: str) -> str:
        """A text that changes exactly when what is selected changes (the order does not count)."""
        if feed == MANAGERS:
            return feed
        names = ",".join(sorted(self._select[feed]))
        return f"{feed}:{hashlib.sha256(names.encode()).hexdigest()[:16]}"

    async def page(self, feed: str, url: str, *, low_priority: bool = False) -> Page:
        """One page. `low_priority` is for crawls: Graph throttles them first.

        Raises DeltaExpired for a dead deltaLink, and for whatever says that the delta token is
        gone; PageExpired for any other refusal of a nextLink.
        """
        headers = {"x-ms-throttle-priority": "Low"} if low_priority else None
        try:
            body = await self._body(url, headers)
        except (GraphRefused, ForeignLink) as error:
            raise self._dead(feed, url, error) from error
        except CredentialRefused as error:
            if feed != MANAGERS:
                raise
            log.warning("managers.unread", error=error.message, hint=error.hint)
            return Page((), delta_link=self.first_url(MANAGERS))
        if feed == MANAGERS:
            page = await self._managers(body)
        else:
            page = wire.page_from_json(feed, body)
        self._graph.own(page.next_link or page.delta_link or "")  # before it is stored (rule 8)
        if page.next_link == url:
            raise PageExpired(f"Graph's page of {feed} names itself as the next one")
        return page

    async def probe(self, feed: str) -> None:
        """Ask whether a feed can be read with this selection, without reading it."""
        await self._body(f"{self.first_url(feed)}&$deltatoken=latest", None)

    async def group_members(self, group_id: ObjectId) -> list[MemberSeen]:
        """The direct members, complete; raises GraphRefused (404) if the group is gone."""
        url = f"groups/{group_id}/members?$select=id&$top=999"
        return [wire.member_from_json(item) async for item in self._all(url)]

    async def groups_of(self, feed: str, id_: ObjectId) -> list[ObjectId]:
        """The groups that a user or a group (by its feed) is a direct member of."""
        url = f"{feed}/{id_}/memberOf?$select=id&$top=999"
        seen = [wire.member_from_json(item) async for item in self._all(url)]
        return [item.id for item in seen if item.kind is MemberKind.GROUP]

    async def managers_of(self, ids: Collection[ObjectId]) -> dict[ObjectId, ObjectId | None]:
        """Each user's manager; None where she has none. Whoever is not answered for, or is not
        there herself, is left out; raises SourceError if several in a row are not answered for.

        https://learn.microsoft.com/en-us/graph/api/user-list-manager
        """
        todo, found = list(ids), dict[ObjectId, ObjectId | None]()
        for start in range(0, len(todo), _AT_ONCE):
            batch = todo[start : start + _AT_ONCE]
            answers = await asyncio.gather(*map(self._manager_of, batch), return_exceptions=True)
            errors = [answer for answer in answers if isinstance(answer, BaseException)]
            for error in errors:
                if not isinstance(error, SourceError) or len(errors) == len(batch):
                    raise error
            for answer in answers:
                if isinstance(answer, dict):
                    found.update(answer)
        return found

    async def user_exists(self, user_id: ObjectId) -> bool:
        """Whether Graph shows the user now, neither soft-deleted nor purged."""
        return await self._exists(f"users/{user_id}?$select=id")

    async def deleted_user(self, user_id: ObjectId) -> bool:
        """Whether the user is soft-deleted now: can still be restored."""
        return await self._exists(f"directory/deletedItems/{user_id}?$select=id")

    # ---

    async def _body(self, url: str, headers: dict[str, str] | None) -> Any:
        """An answer; without `manager` in the question where Graph refuses that, as some say."""
        try:
            return await self._graph.get(url, headers=headers)
        except GraphRefused as error:
            without = url.replace(_EXPANDED, "").replace(f",{MANAGER}", "")
            if error.status != 400 or without == url:
                raise
            if not self._refuses:
                self._refuses = True
                log.info("managers.refused", error=error.message)
            return await self._graph.get(without, headers=headers)

    async def _managers(self, body: Any) -> Page:
        """A page of the listing. While no page has shown anybody's manager that proves nothing: the
        expansion may have been ignored, so each user is asked for. Whoever is not answered for is
        left out, for an attribute must not keep a crawl from its end."""
        items, next_link = wire.items_of(body)
        found = {
            wire.object_id(item, "a user"): wire.manager_from_json(item.get(MANAGER))
            for item in items
        }
        self._expands = self._expands or any(item.get(MANAGER) for item in items)
        if not self._expands:
            try:
                found = await self.managers_of(found)
            except SourceError as error:
                log.warning("managers.unread", error=error.message, hint=error.hint)
                found = {}
        seen = tuple(Seen(id_, {MANAGER: manager}) for id_, manager in found.items())
        return Page(seen, next_link, None if next_link else self.first_url(MANAGERS))

    async def _manager_of(self, id_: ObjectId) -> dict[ObjectId, ObjectId | None]:
        """By the user's id; empty if she is not there herself. Her own 404 is the same as that of
        a manager whom she has not, and replicas may be late: one answer has to show both."""
        try:
            answer = await self._graph.get(f"users/{id_}/manager?$select=id")
        except GraphRefused as error:
            if error.status != 404:
                raise
        else:
            return {id_: wire.manager_from_json(answer)}
        try:
            shown = await self._body(f"users/{id_}?$select=id{_EXPANDED}", None)
        except GraphRefused as error:
            if error.status == 404:
                return {}
            raise
        return {id_: wire.manager_from_json(shown.get(MANAGER))}

    async def _exists(self, url: str) -> bool:
        try:
            await self._graph.get(url)
        except GraphRefused as error:
            if error.status == 404:
                return False
            raise
        return True

    async def _all(self, url: str) -> AsyncIterator[Any]:
        link: str | None = url
        seen: set[str] = set()
        while link:
            if link in seen or len(seen) > _MOST_PAGES:
                raise SourceError("Graph's pages of a list go round in a circle")
            seen.add(link)
            items, link = wire.items_of(await self._graph.get(link))
            for item in items:
                yield item

    def _dead(self, feed: str, url: str, error: SourceError) -> SourceError:
        query = unquote(url.partition("?")[2]).lower()
        if "$skiptoken=" in query:
            return PageExpired(f"the next page of {feed} is dead: {error.message}", error.hint)
        if "$deltatoken=" in query:
            return DeltaExpired(f"the delta link of {feed} is dead: {error.message}", error.hint)
        return error


def _once(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(n for n in dict.fromkeys(names) if n not in ("id", "members"))
