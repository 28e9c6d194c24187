"""Many outcomes in few commits, none lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from azsyncd.engine.ledger import Ledger
from azsyncd.errors import StateError
from azsyncd.state.store import Connection, Store, get_meta, open_store, set_meta


@pytest.fixture
async def store(tmp_path: Path):  # type: ignore[no-untyped-def]
    store = await open_store(tmp_path / "state.db", exclusive=False)
    yield store
    await store.close()


async def test_what_is_committed_together_is_durable_when_commit_returns(store: Store) -> None:
    ledger = Ledger(store)

    async def one(number: int) -> None:
        await ledger.commit(lambda db: set_meta(db, f"k{number}", number))
        assert await store.read(lambda db: get_meta(db, f"k{number}")) == number

    await asyncio.gather(*(one(number) for number in range(50)))


async def test_a_cancelled_caller_undoes_nothing(store: Store) -> None:
    ledger = Ledger(store)
    task = asyncio.create_task(ledger.commit(lambda db: set_meta(db, "k", 1)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await ledger.settle()
    assert await store.read(lambda db: get_meta(db, "k")) == 1


async def test_a_failing_record_fails_whoever_waits_and_the_next_ones_go_on(store: Store) -> None:
    ledger = Ledger(store)

    def broken(db: Connection) -> None:
        db.execute("SELECT no such thing")

    with pytest.raises(StateError):
        await ledger.commit(broken)
    await ledger.commit(lambda db: set_meta(db, "k", 2))
    assert await store.read(lambda db: get_meta(db, "k")) == 2
