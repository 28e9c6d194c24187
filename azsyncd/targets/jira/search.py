"""Finding what Jira does not list: accounts by search, groups by the picker.

`/user/search` shows at most the first 1000 (Jira ≤ 9) or 100 (≥ 10) of all that match, whatever
`startAt` says (JRASERVER-65089, 78520, 78660). So the search is divided by how names begin, until
no part is cut. The cut shows itself: it is always at the same number, so a part that is smaller
than the largest part seen is whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any

from azsyncd.model.accounts import fold
from azsyncd.targets.rest import Rest, map_of, rows_of, text_of

PAGE = 1000
"""Asked for; what comes is as much as this Jira shows at once."""
NOBODY = frozenset({400, 404})
"""What a search may answer where nobody fits, or beyond what it shows."""

SMALLEST_CUT = 50
"""No Jira cuts below its default page."""

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789._-+@'"
DEEPEST = 12
MOST_SEARCHES = 2_000
MOST_PARTS = 20_000
MOST_GROUPS = 100_000


async def search_accounts(rest: Rest) -> AsyncIterator[Mapping[str, Any]]:
    """Accounts that can be found by search, each once; not a proof of anybody's absence."""
    seen: set[str] = set()
    letters = set(LETTERS)
    largest = 0
    parts = deque([".", *LETTERS])
    asked = 0
    while parts and asked < MOST_SEARCHES:
        needle = parts.popleft()
        found = await _part(rest, needle)
        asked += 1
        largest = max(largest, len(found))
        for shape in found:
            names = fold(text_of(shape.get("name")) + text_of(shape.get("emailAddress")))
            fresh = {each for each in names if each.isprintable()} - letters
            letters |= fresh
            parts.extend(sorted(fresh))
            key = text_of(shape.get("key")) or names
            if key not in seen:
                seen.add(key)
                yield shape
        cut = len(found) == largest and len(found) >= SMALLEST_CUT
        if cut and needle != "." and len(needle) < DEEPEST:
            parts.extend(needle + letter for letter in sorted(letters))


async def _part(rest: Rest, needle: str) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    known: set[str] = set()
    while True:
        params = {
            "username": needle,
            "includeActive": "true",
            "includeInactive": "true",
            "startAt": len(found),
            "maxResults": PAGE,
        }
        page = rows_of(await rest.read("/user/search", params, absent=NOBODY))
        fresh = [shape for shape in page if text_of(shape.get("name")) not in known]
        known |= {text_of(shape.get("name")) for shape in fresh}
        found += fresh
        if len(page) < SMALLEST_CUT or len(fresh) < len(page):
            return found


async def pick_groups(rest: Rest, query: str, size: int = MOST_GROUPS) -> tuple[list[str], int]:
    """The names that contain a text, as many as the picker shows; and how many there are."""
    body = map_of(await rest.read("/groups/picker", {"query": query, "maxResults": size}))
    names = [text_of(each.get("name")) for each in rows_of(body.get("groups"))]
    total = body.get("total")
    return names, total if isinstance(total, int) else len(names)


async def all_groups(rest: Rest) -> AsyncIterator[str]:
    """Every group. The picker has no pages: where it shows fewer than there are, what is looked
    for grows by a letter on either side until each part is shown whole."""
    names, total = await pick_groups(rest, "")
    seen = set(names)
    for name in names:
        yield name
    letters = set(LETTERS) | {letter for name in names for letter in fold(name)} | {" "}
    parts = deque(sorted(letters)) if len(seen) < total else deque()
    asked: set[str] = set(parts)
    while parts and len(seen) < total and len(asked) < MOST_PARTS:
        needle = parts.popleft()
        names, there = await pick_groups(rest, needle)
        letters |= {letter for name in names for letter in fold(name)}
        for name in names:
            if name not in seen:
                seen.add(name)
                yield name
        if there > len(names):
            longer = {needle + each for each in letters} | {each + needle for each in letters}
            parts.extend(sorted(longer - asked))
            asked |= longer
    if len(seen) < total and len(seen) < (await pick_groups(rest, "", 1))[1]:
        raise rest.strange(f"only {len(seen)} of {total} groups are shown")
