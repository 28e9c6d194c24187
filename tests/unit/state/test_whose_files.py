"""Root's command line creates the state before the service ever ran, and must not lock it out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from azsyncd.state.store import Store, open_store, set_meta

SERVICE = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")


async def fill(store: Store) -> None:
    """Something that makes the files beside the database appear."""
    await store.write(lambda db: set_meta(db, "instance", "azsyncd"))


@needs_root
async def test_what_root_creates_belongs_to_whom_the_folder_belongs(tmp_path: Path) -> None:
    """The database, its lock, and what SQLite puts beside it."""
    folder = tmp_path / "state"
    folder.mkdir(0o700)
    os.chown(folder, SERVICE, SERVICE)
    store = await open_store(folder / "azsyncd.db")
    try:
        await fill(store)
        files = list(folder.iterdir())
        owners = {file.name: (file.stat().st_uid, file.stat().st_gid) for file in files}
    finally:
        await store.close()
    assert {"azsyncd.db", "azsyncd.db.lock", "azsyncd.db-wal"} <= owners.keys()
    assert set(owners.values()) == {(SERVICE, SERVICE)}


@needs_root
async def test_what_stands_there_keeps_its_owner(tmp_path: Path) -> None:
    """A link that the service put there must not give it a file of root's."""
    victim = tmp_path / "victim"
    victim.write_text("")
    folder = tmp_path / "state"
    folder.mkdir(0o700)
    os.link(victim, folder / "azsyncd.db.lock")
    os.chown(folder, SERVICE, SERVICE)
    store = await open_store(folder / "azsyncd.db")
    await store.close()
    assert victim.stat().st_uid == 0


async def test_only_the_owner_reads_the_state(tmp_path: Path) -> None:
    """It holds names and addresses."""
    store = await open_store(tmp_path / "azsyncd.db")
    try:
        await fill(store)
        modes = {file.name: file.stat().st_mode & 0o077 for file in tmp_path.iterdir()}
    finally:
        await store.close()
    assert set(modes.values()) == {0}
