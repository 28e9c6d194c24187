"""The fixture that every promise is tried with: one target after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from .rigs import ENTRIES, Entry, Rig, standing


@pytest.fixture(params=ENTRIES, ids=lambda entry: entry.name)
def entry(request: pytest.FixtureRequest) -> Entry:
    """One target."""
    found: Entry = request.param
    return found


@pytest.fixture
async def rig(entry: Entry) -> AsyncIterator[Rig]:
    """Its product, fresh, and the connector, probed; afterwards nothing undocumented was sent."""
    async with (
        standing(entry, attributes=("department",))
        if entry.kind != "memory"
        else standing(entry) as made
    ):
        made.capabilities = await made.target.probe()
        yield made
        if made.entry.kind != "memory":
            assert made.product.violations == []
            assert made.requests.unknown == []
            assert made.product.counters.protected_writes == 0


@pytest.fixture
def over_http(rig: Rig) -> Rig:
    """Only where there is a network that can fail."""
    if not rig.can("http"):
        pytest.skip("no network in between")
    return rig
