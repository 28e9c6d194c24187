"""A product whose groups stand in no groups: nobody asks it for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from azsyncd.errors import ChangeRejected
from azsyncd.model.accounts import TargetGroup


class Flat:
    """What `targets/base.py` promises of nested groups, where `Capabilities.nests_groups` is
    False."""

    async def children(
        self, groups: Sequence[TargetGroup]
    ) -> AsyncIterator[tuple[str, Sequence[str]]]:
        for _ in ():
            yield "", ()

    async def add_child(self, group: TargetGroup, child: TargetGroup) -> None:
        raise ChangeRejected("this product nests no groups", reason="unsupported")

    async def remove_child(self, group: TargetGroup, child: TargetGroup) -> None:
        raise ChangeRejected("this product nests no groups", reason="unsupported")
