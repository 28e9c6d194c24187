"""The audit file: every entry of the journal as one JSON line, for a SIEM.

It follows the journal instead of standing in the way of writes: an outcome is committed first, and
the place up to which the file has it is remembered. So nothing is lost while the disk is full, and
a sync never waits for it; after a crash the last lines may stand there twice.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import orjson
import structlog

from azsyncd.clock import Clock
from azsyncd.engine.figures import history_row
from azsyncd.errors import StateError
from azsyncd.state import journal
from azsyncd.state.store import Connection, Store, get_meta, set_meta

log = structlog.get_logger()

LOOK_SECONDS = 1.0
BACK_OFF = (5.0, 30.0, 60.0)
BATCH = 1000
PLACE = "audit_entry"


class Audit:
    """One file; `file` None = there is none."""

    def __init__(self, file: str | None, store: Store, clock: Clock) -> None:
        self._file = None if file is None else Path(file)
        self._store = store
        self._clock = clock
        self._writing = asyncio.Lock()
        self._failures = 0
        self._stood_at = 0
        self.problem = ""
        self.since: float | None = None

    @property
    def configured(self) -> bool:
        return self._file is not None

    def obstacle(self) -> str:
        """Why it could not be written now, for `check`; "" = nothing stands in the way."""
        if self._file is None:
            return ""
        there = self._file if self._file.exists() else self._file.parent
        if there.is_dir() == self._file.exists():
            return f"{self._file} is no file" if there.is_dir() else f"{there} is not there"
        return "" if os.access(there, os.W_OK) else f"{there} cannot be written"

    async def begin(self) -> None:
        """Take up where the file stands; what was written before it was switched on is not in it.
        Call it before anything is written."""

        place, self._stood_at = await self._store.read(
            lambda db: (get_meta(db, PLACE), journal.newest(db))
        )
        if self._file is None and place is not None:
            await self._store.write(lambda db: set_meta(db, PLACE, None))
        elif self._file is not None and place is None:
            stood_at = self._stood_at
            await self._store.write(lambda db: set_meta(db, PLACE, stood_at))

    async def run(self) -> None:
        """Follow the journal until cancelled."""
        while True:
            more = await self.settle()
            wait = LOOK_SECONDS
            if self.problem:
                wait = BACK_OFF[min(self._failures - 1, len(BACK_OFF) - 1)]
            if not more:
                await self._clock.sleep(wait)

    async def settle(self) -> bool:
        """Write what is not there yet; whether there is more. Raises StateError alone: what the
        file does is kept in `problem`."""
        if self._file is None:
            return False
        async with self._writing:
            lines, place = await self._store.read(_following)
            if not lines:
                return False
            try:
                await asyncio.to_thread(append, self._file, b"".join(lines))
            except OSError as error:
                self._failed(error)
                return False
            await self._store.write(lambda db: set_meta(db, PLACE, place))
            self._worked()
            return len(lines) == BATCH

    async def finish(self, *, if_written: bool = False) -> None:
        """The rest, at the end; whatever happens, the end goes on. `if_written`: only if something
        was written since `begin`, for a plan on a copy of the state must leave no trace."""
        try:
            if if_written and await self._store.read(journal.newest) == self._stood_at:
                return
            while await self.settle():
                pass
        except StateError as error:
            log.warning("audit.failed", error=error.message)

    def _failed(self, error: OSError) -> None:
        self._failures += 1
        self.problem = f"{self._file} cannot be written: {error.strerror or type(error).__name__}"
        if self.since is None:
            self.since = self._clock.now()
            log.warning("audit.failed", error=self.problem)

    def _worked(self) -> None:
        if self.since is not None:
            seconds = round(self._clock.now() - self.since, 1)
            log.info("audit.recovered", after_seconds=seconds)
        self._failures, self.problem, self.since = 0, "", None


def append(file: Path, lines: bytes) -> None:
    """Append whole lines, or none. The file is opened each time: one that was rotated away is made
    anew, readable for its owner and group. Raises OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
    try:
        handle = os.open(file, flags | os.O_CREAT | os.O_EXCL, 0o600)
        os.fchmod(handle, 0o640)  # whatever the umask: a collector reads it as our group
    except FileExistsError:
        handle = os.open(file, flags)
    try:
        before = os.fstat(handle).st_size
        try:
            left = memoryview(lines)
            while left:
                left = left[os.write(handle, left) :]
        except OSError:
            os.ftruncate(handle, before)  # half a line is no line
            raise
    finally:
        os.close(handle)


def _following(db: Connection) -> tuple[list[bytes], int]:
    place = int(get_meta(db, PLACE, 0) or 0)
    if journal.newest(db) < place:
        place = 0  # all of it was pruned, and numbers began again
    rows = journal.after(db, place, BATCH)
    lines = [
        orjson.dumps(history_row(db, row), default=str, option=orjson.OPT_APPEND_NEWLINE)
        for row in rows
    ]
    return lines, rows[-1]["id"] if rows else place
