"""Crowd's dump of all memberships: XML alone (CWD-3281), read as it comes.

<memberships><membership group="g"><users><user name="u"/></users><groups/></membership>…
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from xml.parsers import expat

PORTION = 5000


Membership = tuple[str, list[str], list[str]]
"""A group, the names of users in it, and those of groups in it."""


class BadDump(ValueError):
    """What came is not the dump, or not all of it."""


class _Reader:
    """Collects memberships while the parser is fed."""

    def __init__(self) -> None:
        self.ready: list[Membership] = []
        self._begun = False
        self._group: str | None = None
        self._users: list[str] = []
        self._groups: list[str] = []
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        # No document type, so no entities: nothing can grow, and nothing is fetched.
        self.parser.StartDoctypeDeclHandler = self._doctype

    def _start(self, tag: str, values: dict[str, str]) -> None:
        if not self._begun and tag != "memberships":
            raise BadDump(f"it begins with {tag}")
        self._begun = True
        if tag == "membership":
            self._group = values.get("group", "")
        elif tag == "user" and self._group is not None:
            self._users.append(values.get("name", ""))
        elif tag == "group" and self._group is not None:
            self._groups.append(values.get("name", ""))
        if len(self._users) + len(self._groups) >= PORTION:
            self._flush()

    def _end(self, tag: str) -> None:
        if tag == "membership":
            self._flush()
            self._group = None

    def _flush(self) -> None:
        if self._group is not None:
            self.ready.append((self._group, self._users, self._groups))
            self._users, self._groups = [], []

    def _doctype(self, *_: object) -> None:
        raise BadDump("it has a document type")


async def memberships(chunks: AsyncIterable[bytes]) -> AsyncIterator[Membership]:
    """Each group with what stands directly in it, a large one in portions; raises BadDump."""
    reader = _Reader()
    try:
        async for chunk in chunks:
            reader.parser.Parse(chunk, False)
            for each in reader.ready:
                yield each
            reader.ready.clear()
        reader.parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise BadDump(str(error)) from error
    for each in reader.ready:
        yield each
