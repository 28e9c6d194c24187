"""Several questions at a time, answers in order, nothing left behind."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from azsyncd.targets.ahead import ahead


class Asked:
    """Answers in the reverse order of asking, and knows how many were under way together."""

    def __init__(self, fails: int | None = None) -> None:
        self.fails = fails
        self.under_way = self.most = self.begun = self.cancelled = 0

    async def __call__(self, item: int) -> int:
        self.under_way += 1
        self.begun += 1
        self.most = max(self.most, self.under_way)
        try:
            for _ in range(10 - item % 4):
                await asyncio.sleep(0)
            if item == self.fails:
                raise OSError("no")
            return item * item
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1


async def test_answers_come_in_order_with_so_many_under_way() -> None:
    """Never more than the width, and no question is begun long before its turn."""
    ask = Asked()
    found = []
    async for item, answer in ahead(range(20), ask, width=3):
        found.append((item, answer))
        assert ask.begun <= len(found) + 3
    assert found == [(n, n * n) for n in range(20)]
    assert ask.most == 3


async def test_a_failure_ends_all() -> None:
    """The others are cancelled, and what was asked before it was handed on."""
    ask = Asked(fails=5)
    found = []

    async def listen() -> None:
        async for item, _ in ahead(range(20), ask, width=4):
            found.append(item)

    with pytest.raises(OSError, match="no"):
        await listen()
    assert found == [0, 1, 2, 3, 4]
    assert ask.under_way == 0 and ask.begun < 12


async def test_who_stops_listening_leaves_nothing_running() -> None:
    """Closing cancels what is under way."""
    ask = Asked()
    async with aclosing(ahead(range(3, 20), ask, width=4)) as answers:
        async for _ in answers:
            break
    assert ask.under_way == 0 and ask.cancelled > 0


async def test_nothing_to_ask() -> None:
    """Ends at once."""
    assert [each async for each in ahead([], Asked())] == []
