"""The database as a file: what is refused, and left untouched; transactions; copies."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from azsyncd.errors import StateError
from azsyncd.state import schema, store
from azsyncd.state.store import COPIED, Connection, Store, get_meta, open_store, set_meta


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


async def made(file: Path) -> None:
    """A database with one fact."""
    opened = await open_store(file)
    await opened.write(lambda db: set_meta(db, "fact", 1))
    await opened.close()


async def fact(opened: Store) -> object:
    return await opened.read(lambda db: get_meta(db, "fact"))


async def refused(file: Path) -> StateError:
    with pytest.raises(StateError) as error:
        await open_store(file)
    return error.value


def image(file: Path) -> dict[str, bytes]:
    """Everything that lies there but the lock."""
    return {p.name: p.read_bytes() for p in file.parent.iterdir() if p.suffix != ".lock"}


async def test_what_was_written_is_there_after_a_restart(file: Path) -> None:
    await made(file)
    opened = await open_store(file)
    assert await fact(opened) == 1
    await opened.close()
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_transaction_is_all_or_nothing(file: Path) -> None:
    opened = await open_store(file)

    def half(db: Connection) -> None:
        set_meta(db, "fact", 2)
        raise KeyError("in the middle")

    with pytest.raises(KeyError):
        await opened.write(half)
    assert await fact(opened) is None
    await opened.write(lambda db: set_meta(db, "fact", 3))
    assert await fact(opened) == 3
    await opened.close()


async def test_who_is_cancelled_leaves_no_transaction_open(file: Path) -> None:
    opened = await open_store(file)

    def slow(db: Connection) -> None:
        set_meta(db, "fact", 4)
        db.execute(
            "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 300000)"
            " SELECT count(*) FROM c"
        ).fetchall()

    task = asyncio.create_task(opened.write(slow))
    await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await opened.write(lambda db: set_meta(db, "after", 1))
    assert await opened.read(lambda db: get_meta(db, "after")) == 1
    assert await fact(opened) in (None, 4)
    await opened.close()


async def test_readers_see_no_half_transaction(file: Path) -> None:
    opened = await open_store(file)
    await opened.write(lambda db: db.execute("CREATE TABLE pair (a, b)").close())
    await opened.write(lambda db: db.execute("INSERT INTO pair VALUES (0, 0)").close())

    def step(db: Connection) -> None:
        db.execute("UPDATE pair SET a = a + 1")
        db.execute("UPDATE pair SET b = b + 1")

    async def read() -> None:
        for _ in range(20):
            row = await opened.read(lambda db: db.execute("SELECT a, b FROM pair").fetchone())
            assert row["a"] == row["b"]

    await asyncio.gather(read(), *(opened.write(step) for _ in range(20)))
    await opened.close()


async def test_one_daemon_at_a_time(file: Path) -> None:
    first = await open_store(file)
    error = await refused(file)
    assert "in use by another azsyncd" in error.message and error.hint
    await first.close()
    second = await open_store(file)
    await second.close()


async def test_rule_42_a_newer_database_is_refused_untouched(file: Path) -> None:
    await made(file)
    db = sqlite3.connect(file)
    db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    db.close()
    before = image(file)
    error = await refused(file)
    assert "newer azsyncd" in error.hint
    assert image(file) == before


async def test_somebody_elses_database_is_refused_untouched(file: Path) -> None:
    db = sqlite3.connect(file)
    db.execute("CREATE TABLE theirs (a)")
    db.commit()
    db.close()
    before = image(file)
    assert "not a database of azsyncd" in (await refused(file)).message
    assert image(file) == before


async def test_what_is_no_database_is_refused_untouched(file: Path) -> None:
    file.write_bytes(b"certainly not a database\n" * 400)
    before = image(file)
    error = await refused(file)
    assert str(file) in error.message and error.hint
    assert image(file) == before


async def test_a_damaged_database_is_refused_with_a_way_out(file: Path) -> None:
    opened = await open_store(file)

    def fill(db: Connection) -> None:
        for number in range(3000):
            set_meta(db, f"key {number}", "x" * 40)

    await opened.write(fill)
    await opened.close()
    size = file.stat().st_size
    with file.open("r+b") as handle:
        handle.seek(size // 2)
        handle.write(b"\xff" * 20_000)
    error = await refused(file)
    assert "backup" in error.hint
    with pytest.raises(StateError):
        await open_store(file)


async def test_rule_42_before_a_migration_a_copy_is_kept_two_of_them(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await made(file)
    for extra in range(1, 4):
        more = tuple(f"CREATE TABLE extra_{number} (a)" for number in range(extra))
        monkeypatch.setattr(store, "MIGRATIONS", (*schema.MIGRATIONS, *more))
        monkeypatch.setattr(store, "VERSION", schema.VERSION + extra)
        opened = await open_store(file)
        assert await fact(opened) == 1
        await opened.close()
    copies = sorted(path.name for path in file.parent.glob("state.db.schema-*"))
    assert copies == [f"state.db.schema-{schema.VERSION + n}" for n in (1, 2)]
    kept = sqlite3.connect(file.parent / copies[-1])
    assert kept.execute("PRAGMA user_version").fetchone()[0] == schema.VERSION + 2
    assert kept.execute("SELECT value FROM meta WHERE key = 'fact'").fetchone()[0] == 1
    kept.close()


async def test_a_migration_that_fails_leaves_the_database_as_it_was(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await made(file)
    broken = "CREATE TABLE extra (a); CREATE TABLE meta (a)"
    monkeypatch.setattr(store, "MIGRATIONS", (*schema.MIGRATIONS, broken))
    monkeypatch.setattr(store, "VERSION", schema.VERSION + 1)
    await refused(file)
    monkeypatch.undo()
    opened = await open_store(file)
    assert await fact(opened) == 1
    names = await opened.read(
        lambda db: db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'extra'").fetchone()
    )
    assert names[0] == 0
    await opened.close()


async def test_a_backup_is_taken_while_others_write(file: Path) -> None:
    await made(file)
    opened = await open_store(file)
    copy = file.with_name("copy.db")

    async def write() -> None:
        for number in range(50):
            await opened.write(lambda db, n=number: set_meta(db, f"k{n}", n))  # type: ignore[misc]

    _, size = await asyncio.gather(write(), opened.backup(copy))
    assert size == copy.stat().st_size and copy.stat().st_mode & 0o777 == 0o600
    with pytest.raises(StateError, match="exists already"):
        await opened.backup(copy)
    await opened.close()
    restored = await open_store(copy)
    assert await fact(restored) == 1
    # A copy may be old when somebody is started on it, and knows that it is one.
    assert await restored.read(lambda db: get_meta(db, COPIED)) == 1
    await restored.close()


async def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    error = await refused(tmp_path / "file" / "state.db")
    assert "cannot be created" in error.message


async def test_a_read_only_database_is_said(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await made(file)
    original = store.connect
    monkeypatch.setattr(store, "connect", lambda path, **_: original(path, readonly=True))
    before = image(file)
    with pytest.raises(StateError) as error:
        await _write_to(file)
    assert "owner and rights" in error.value.hint
    assert image(file)["state.db"] == before["state.db"]


async def _write_to(file: Path) -> None:
    opened = await open_store(file)
    try:
        await opened.write(lambda db: set_meta(db, "fact", 2))
    finally:
        await opened.close()
