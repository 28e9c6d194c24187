"""The database: connections, transactions, migrations. Everything else in state/ is SQL on top.

Work is a plain function of a `sqlite3.Connection`. `write` runs it inside one transaction on the
only writer, `read` inside one snapshot on a reader. Because a whole transaction is one call into
the writer's thread, a cancelled task can neither leave one open nor share one with a neighbour:
the thread finishes what it began, commit or rollback, whether or not anybody still waits for it.

A runner decides where that function runs: a thread of aiosqlite's in the product, the event loop
itself in the simulation, where a thread would break "one seed, one trace".
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, TypeVar

import aiosqlite

from azsyncd.errors import StateError, StateInUse
from azsyncd.state.schema import APPLICATION_ID, MIGRATIONS, VERSION

T = TypeVar("T")
Connection = sqlite3.Connection
Row = sqlite3.Row
Contradiction = sqlite3.IntegrityError
"""What was to be kept contradicts what is known, as the schema says."""
BUSY_SECONDS = 10.0
_LAST_WORD_SECONDS = 5.0
COPIED = "copied"
"""Remembered in a copy: that it is one, and may be older than what it describes."""


class Runner(Protocol):
    """Where functions of a connection run, one after the other."""

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T: ...

    async def close(self) -> None: ...


class _Connection(aiosqlite.Connection):
    """aiosqlite's connection and thread, with whole functions instead of single statements:
    one hop for a batch is what makes it fast (181,000 against 5,600 rows a second)."""

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        result: T = await self._execute(work, self._conn)  # type: ignore[no-untyped-call]
        return result

    async def close(self) -> None:
        await super().close()
        await self.ended()

    async def ended(self) -> None:
        """The thread's last word goes to the loop, which must still be there."""
        await asyncio.to_thread(self._thread.join, _LAST_WORD_SECONDS)


Open = Callable[[Callable[[], sqlite3.Connection]], Awaitable[Runner]]


async def in_thread(connect: Callable[[], sqlite3.Connection]) -> Runner:
    """The product's runner: a thread per connection."""
    connection = _Connection(connect, 64)
    connection._thread.daemon = True  # a forgotten connection must not keep the process alive
    try:
        return await connection  # type: ignore[return-value]  # aiosqlite says Connection
    except BaseException:
        await connection.ended()
        raise


def connect(path: Path, *, readonly: bool = False) -> sqlite3.Connection:
    """A configured connection; raises StateError for what is no database of ours."""
    try:
        db = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={'ro' if readonly else 'rw'}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA foreign_keys = ON")
        db.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA cache_size = -16000")
        db.execute("PRAGMA temp_store = FILE")
    except sqlite3.Error as error:
        raise _state_error(path, error) from error
    return db


def _state_error(path: Path, error: sqlite3.Error) -> StateError:
    text = str(error)
    if "locked" in text or "busy" in text:
        hint = "another program holds it; is a second azsyncd or a sqlite3 shell at work?"
    elif "readonly" in text or "unable to open" in text:
        hint = "check the owner and rights of the file and its folder"
    elif "full" in text:
        hint = "make room on the disk; nothing was lost"
    else:
        hint = "restore a backup, or move the file away: accounts are found again by their marks"
    return StateError(f"the database {path} cannot be used: {text}", hint)


class Store:
    """One database, opened by one process at a time."""

    def __init__(self, path: Path, writer: Runner, reader: Runner, lock: int | None) -> None:
        self.path = path
        self._writer = writer
        self._reader = reader
        self._lock_file = lock
        self._writing = asyncio.Lock()
        self._reading = asyncio.Lock()

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in one transaction: all of it is durable afterwards, or none."""

        def transaction(db: sqlite3.Connection) -> T:
            db.execute("BEGIN IMMEDIATE")
            try:
                result = work(db)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            return result

        return await self._guarded(self._writing, self._writer, transaction)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on one consistent snapshot."""

        def snapshot(db: sqlite3.Connection) -> T:
            db.execute("BEGIN")
            try:
                return work(db)
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

        return await self._guarded(self._reading, self._reader, snapshot)

    async def _guarded(
        self, lock: asyncio.Lock, runner: Runner, work: Callable[[sqlite3.Connection], T]
    ) -> T:
        async with lock:
            try:
                return await runner.run(work)
            except sqlite3.Error as error:
                raise _state_error(self.path, error) from error

    async def backup(self, file: Path) -> int:
        """Write a consistent copy while running, never over an existing file; returns its size.
        The copy knows that it is one: whoever is started on it looks at the world first."""
        if file.exists():
            raise StateError(f"{file} exists already", "name a new file")
        partial = file.with_name(file.name + ".partial")

        def copy(db: sqlite3.Connection) -> int:
            partial.unlink(missing_ok=True)
            db.execute("VACUUM INTO ?", (str(partial),))
            with closing(sqlite3.connect(partial)) as copied, copied:
                set_meta(copied, COPIED, 1)
            partial.chmod(0o600)
            with partial.open("rb") as handle:
                os.fsync(handle.fileno())
            partial.rename(file)
            return file.stat().st_size

        try:
            async with self._reading:
                return await self._reader.run(copy)
        except (sqlite3.Error, OSError) as error:
            partial.unlink(missing_ok=True)
            raise StateError(f"no backup was written to {file}: {error}") from error

    async def close(self) -> None:
        """Close both connections and give the lock back."""
        await self._reader.close()
        await self._writer.close()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None


async def open_store(path: Path, *, exclusive: bool = True, opener: Open = in_thread) -> Store:
    """Open, migrate (a copy is kept first) and check the database, or say clearly why not.

    `exclusive` takes the lock that keeps a second daemon out. Raises StateError; a database that
    is newer, damaged or somebody else's is left untouched.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        lock = _lock(path) if exclusive else None
        if not path.exists():
            os.close(_opened(path))
    except OSError as error:
        raise StateError(
            f"the database {path} cannot be created: {error.strerror}",
            "check the folder, its owner and its rights",
        ) from error
    opened: list[Runner] = []
    try:
        for _ in range(2):
            opened.append(await opener(lambda: connect(path)))
        writer, reader = opened
        # Not on the event loop: looking through a large one takes seconds.
        await writer.run(lambda db: _prepare(path))
    except BaseException:
        for runner in opened:
            await runner.close()
        if lock is not None:
            os.close(lock)
        raise
    return Store(path, writer, reader, lock)


def _lock(path: Path) -> int:
    handle = _opened(path.with_name(f"{path.name}.lock"))
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise StateInUse(
            f"the database {path} is in use by another azsyncd",
            "stop it first, or use the commands that talk to it (azsyncd status)",
        ) from None
    return handle


def _opened(path: Path) -> int:
    """Open a file, and create it for whom its folder belongs to: the database that root's command
    line made first would be read-only for the service. What stands there keeps its owner."""
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        handle = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, flags)
    if os.geteuid() == 0:
        folder = path.parent.stat()
        os.fchown(handle, folder.st_uid, folder.st_gid)
    return handle


def _prepare(path: Path) -> None:
    db = connect(path)
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        application = db.execute("PRAGMA application_id").fetchone()[0]
        empty = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if not empty and application != APPLICATION_ID:
            raise StateError(f"{path} is not a database of azsyncd", "check state.path")
        if version > VERSION:
            raise StateError(
                f"the database {path} has schema {version}, this azsyncd knows {VERSION}",
                "it was used by a newer azsyncd: upgrade this one again; nothing was changed",
            )
        problems = [row[0] for row in db.execute("PRAGMA quick_check(1)")]
        if problems != ["ok"]:
            raise StateError(
                f"the database {path} is damaged: {problems[0]}",
                "restore a backup, or move the file away: accounts are found by their marks",
            )
        if version < VERSION:
            _migrate(db, path, version)
        db.execute("PRAGMA journal_mode = WAL")
    except sqlite3.Error as error:
        raise _state_error(path, error) from error
    finally:
        db.close()


def _migrate(db: sqlite3.Connection, path: Path, version: int) -> None:
    if version:
        _keep_copy(db, path, version)
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        db.executescript(
            f"BEGIN EXCLUSIVE;{script};PRAGMA user_version = {number};"
            f"PRAGMA application_id = {APPLICATION_ID};COMMIT;"
        )


def _keep_copy(db: sqlite3.Connection, path: Path, version: int) -> None:
    """Two copies are kept (rule 42)."""
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    copy = path.with_name(f"{path.name}.schema-{version}")
    shutil.copy2(path, copy)
    copies = sorted(path.parent.glob(f"{path.name}.schema-*"), key=lambda p: p.stat().st_mtime)
    for old in copies[:-2]:
        old.unlink()


def get_meta(db: sqlite3.Connection, key: str, default: Any = None) -> Any:
    """One remembered value."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return default if row is None else row[0]


def set_meta(db: sqlite3.Connection, key: str, value: Any) -> None:
    """Remember one value."""
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
