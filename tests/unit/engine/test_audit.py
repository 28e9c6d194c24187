"""The audit file: every write once, in order, whatever happens to the file."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from azsyncd.engine.audit import BATCH, Audit, append
from azsyncd.sandbox.clock import FakeClock
from azsyncd.state import journal, targets
from azsyncd.state.store import Connection, Store, open_store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = await open_store(tmp_path / "state" / "azsyncd.db")
    await made.write(lambda db: targets.ensure(db, "jira", "jira"))
    yield made
    await made.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


async def write(store: Store, *runs: str) -> None:
    """Entries of the journal, each known by its run."""

    def entries(db: Connection) -> None:
        for run in runs:
            db.execute(
                "INSERT INTO journal (at, t, run, revision, change, reason, n, name, outcome,"
                " seconds) VALUES (1.0, 1, ?, 1, 'create', 'new', 1, 'jo', 'done', 0)",
                (run,),
            )

    await store.write(entries)


def runs(file: Path) -> list[str]:
    return [json.loads(line)["run"] for line in file.read_text().splitlines()]


async def begun(store: Store, file: Path | None, clock: FakeClock | None = None) -> Audit:
    audit = Audit(None if file is None else str(file), store, clock or FakeClock())
    await audit.begin()
    return audit


async def test_it_begins_when_it_is_switched_on(store: Store, file: Path) -> None:
    """What was written before is in the history; off and on again begins anew."""
    await write(store, "before")
    audit = await begun(store, file)
    await write(store, "a", "b")
    await audit.finish()
    await begun(store, None)
    await write(store, "meanwhile")
    audit = await begun(store, file)
    await write(store, "c")
    await audit.finish()
    assert runs(file) == ["a", "b", "c"]


async def test_a_restart_goes_on_where_the_file_stands(store: Store, file: Path) -> None:
    """Nothing twice, nothing lost."""
    await begun(store, file)
    await write(store, "a")  # killed before the file had it
    audit = await begun(store, file)
    await audit.finish()
    audit = await begun(store, file)
    await write(store, "b")
    await audit.finish()
    assert runs(file) == ["a", "b"]


async def test_a_look_at_a_copy_of_the_state_leaves_no_trace(store: Store, file: Path) -> None:
    """Whoever wrote nothing adds nothing, for somebody else is about to."""
    await begun(store, file)
    await write(store, "a")
    audit = await begun(store, file)
    await audit.finish(if_written=True)
    assert not file.exists()
    await write(store, "b")
    await audit.finish(if_written=True)
    assert runs(file) == ["a", "b"]


async def test_more_than_a_batch_is_written_in_order(store: Store, file: Path) -> None:
    """After an outage of the file."""
    audit = await begun(store, file)
    names = [str(number) for number in range(2 * BATCH + 5)]
    await write(store, *names)
    await audit.finish()
    assert runs(file) == names


async def test_a_rotated_file_is_made_anew(store: Store, file: Path) -> None:
    """Without a signal; readable for the group of a collector, whatever the umask."""
    audit = await begun(store, file)
    await write(store, "a")
    await audit.settle()
    file.rename(file.with_suffix(".1"))
    await write(store, "b")
    old = os.umask(0o077)
    try:
        await audit.settle()
    finally:
        os.umask(old)
    assert runs(file.with_suffix(".1")) == ["a"] and runs(file) == ["b"]
    assert file.stat().st_mode & 0o777 == 0o640


async def test_what_cannot_be_written_is_shown_and_made_up_for(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for it, and half a line is no line."""
    clock = FakeClock()
    audit = await begun(store, file, clock)
    await write(store, "a")
    await audit.settle()
    real = os.write

    calls: list[int] = []

    def full(handle: int, data: Any) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(handle, bytes(data)[: len(data) // 2])

    await write(store, "b")
    monkeypatch.setattr("azsyncd.engine.audit.os.write", full)
    assert await audit.settle() is False
    assert len(calls) == 2  # half a line was there
    assert audit.problem == f"{file} cannot be written: No space left on device"
    assert audit.since == clock.now()
    assert runs(file) == ["a"]
    monkeypatch.undo()
    await audit.settle()
    assert (audit.problem, audit.since) == ("", None)
    assert runs(file) == ["a", "b"]


async def test_a_folder_that_is_not_there_is_told_beforehand(store: Store, tmp_path: Path) -> None:
    """By `check`, and by the first try."""
    file = tmp_path / "nowhere" / "audit.jsonl"
    audit = await begun(store, file)
    assert audit.obstacle() == f"{file.parent} is not there"
    await write(store, "a")
    await audit.settle()
    assert audit.problem == f"{file} cannot be written: No such file or directory"
    file.parent.mkdir()
    assert audit.obstacle() == ""
    await audit.finish()
    assert runs(file) == ["a"]
    assert (await begun(store, tmp_path)).obstacle() == f"{tmp_path} is no file"


async def test_numbers_that_begin_again_lose_no_entry(store: Store, file: Path) -> None:
    """All of the journal was pruned."""
    audit = await begun(store, file)
    await write(store, "a", "b")
    await audit.settle()
    await store.write(lambda db: journal.prune(db, 2.0))
    await write(store, "c")
    await audit.settle()
    assert runs(file) == ["a", "b", "c"]


def test_lines_are_appended_whatever_stands_there(file: Path) -> None:
    """Never over it."""
    append(file, b"1\n")
    append(file, b"2\n")
    assert file.read_bytes() == b"1\n2\n"
