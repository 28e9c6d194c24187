"""The fixtures that every promise is tried with: one target after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from .rigs import ENTRIES, Entry, Rig, standing


@pytest.fixture(params=ENTRIES, ids=lambda entry: entry.name)
def entry(request: pytest.FixtureRequest) -> Entry:
    """One target."""
    found: Entry = request.param
    return found


@pytest.fixture
async def rig(entry: Entry) -> AsyncIterator[Rig]:
    """Its product, fresh, and the connector, probed."""
    async with tried(entry) as made:
        yield made


@pytest.fixture(params=[each for each in ENTRIES if each.typical], ids=lambda entry: entry.name)
async def over_http(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """The same where there is a network in between that can fail."""
    async with tried(request.param) as made:
        yield made


@asynccontextmanager
async def tried(entry: Entry) -> AsyncIterator[Rig]:
    """Afterwards nothing undocumented was sent, and nothing was aimed at what is protected."""
    connecting: dict[str, Any] = {} if entry.kind == "memory" else {"attributes": ("department",)}
    async with standing(entry, **connecting) as made:
        made.capabilities = await made.target.probe()
        yield made
        if entry.kind != "memory":
            assert made.product.violations == []
            assert made.requests.unknown == []
            assert made.product.counters.protected_writes == 0
