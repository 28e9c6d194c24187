"""Reading users and groups: delta feeds page by page, and a few targeted questions.

Parameters go out with the first request alone; afterwards Graph's own links are used, whole and
unchanged. https://learn.microsoft.com/en-us/graph/delta-query-overview
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import unquote

from azsyncd.entra import wire
from azsyncd.entra.client import ForeignLink, Graph, GraphRefused
from azsyncd.errors import DeltaExpired, PageExpired, SourceError
from azsyncd.model.identities import MemberKind, MemberSeen, ObjectId, Page

_MOST_PAGES = 10_000
"""Of an ordinary list (999 objects a page): more is a loop."""


class Delta:
    """The two feeds with an explicit selection, which is also what Graph tracks."""

    def __init__(
        self, graph: Graph, *, user_properties: Sequence[str], group_properties: Sequence[str]
    ) -> None:
        self._graph = graph
        self._select = {
            "users": ("id", *_once(user_properties)),
            "groups": ("id", *_once(group_properties), "members"),
        }

    def first_url(self, feed: str) -> str:
        """Where a crawl of the feed starts."""
        return f"{self._graph.root}/{feed}/delta?$select={','.join(self._select[feed])}"

    def selection(self, feed: str) -> str:
        """A text that changes exactly when what is selected changes (the order does not count)."""
        names = ",".join(sorted(self._select[feed]))
        return f"{feed}:{hashlib.sha256(names.encode()).hexdigest()[:16]}"

    async def page(self, feed: str, url: str, *, low_priority: bool = False) -> Page:
        """One page. `low_priority` is for crawls: Graph throttles them first.

        Raises DeltaExpired for a dead deltaLink, and for whatever says that the delta token is
        gone; PageExpired for any other refusal of a nextLink.
        """
        headers = {"x-ms-throttle-priority": "Low"} if low_priority else None
        try:
            body = await self._graph.get(url, headers=headers)
        except (GraphRefused, ForeignLink) as error:
            raise self._dead(feed, url, error) from error
        page = wire.page_from_json(feed, body)
        self._graph.own(page.next_link or page.delta_link or "")  # before it is stored (rule 8)
        if page.next_link == url:
            raise PageExpired(f"Graph's page of {feed} names itself as the next one")
        return page

    async def group_members(self, group_id: ObjectId) -> list[MemberSeen]:
        """The direct members, complete; raises GraphRefused (404) if the group is gone."""
        url = f"groups/{group_id}/members?$select=id&$top=999"
        return [wire.member_from_json(item) async for item in self._all(url)]

    async def groups_of(self, feed: str, id_: ObjectId) -> list[ObjectId]:
        """The groups that a user or a group (by its feed) is a direct member of."""
        url = f"{feed}/{id_}/memberOf?$select=id&$top=999"
        seen = [wire.member_from_json(item) async for item in self._all(url)]
        return [item.id for item in seen if item.kind is MemberKind.GROUP]

    async def user_exists(self, user_id: ObjectId) -> bool:
        """Whether Graph shows the user now, neither soft-deleted nor purged."""
        return await self._exists(f"users/{user_id}?$select=id")

    async def deleted_user(self, user_id: ObjectId) -> bool:
        """Whether the user is soft-deleted now: can still be restored."""
        return await self._exists(f"directory/deletedItems/{user_id}?$select=id")

    # ---

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
