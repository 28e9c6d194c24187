"""What another file would do beside a running daemon: planned on a copy of the daemon's state."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from azsyncd.cli.connect import Tell, ask_daemon, here
from azsyncd.cli.privileges import stepping_down
from azsyncd.errors import AzsyncdError


def rehearse(config: Path, running: Path, tell: Tell | None, **arguments: Any) -> Any:
    """The plan of `config` on the state of the daemon that runs with `running`.

    Raises AzsyncdError, also if this user may not look at the state.
    """
    from azsyncd.config import load, masked

    settings = load(config).config
    state = Path(load(running).config.state.path)
    with _folder_beside(state) as folder:
        copy = folder / "state.db"
        draft = state.with_name(f"{folder.name}.db")  # where the daemon may write
        try:
            ask_daemon(running, "backup", file=str(draft))
            draft.rename(copy)
        finally:
            draft.unlink(missing_ok=True)
        file = folder / "config.yaml"
        file.write_text(_yaml({**masked(settings), "state": {"path": str(copy)}}))
        owner = state.stat()
        for each in (file, folder):
            os.chown(each, owner.st_uid, owner.st_gid)
        with stepping_down(file):  # and back: what is kept of the plan is the caller's
            return here(file, "plan", arguments, tell)


@contextmanager
def _folder_beside(state: Path) -> Iterator[Path]:
    """A folder that is gone afterwards, whatever happens."""
    folder = state.with_name(f".plan-{os.getpid()}")
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise AzsyncdError(
            f"cannot make a copy of the state beside {state}: {error.strerror}",
            "run this as root, or use `azsyncd reload --dry-run`",
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _yaml(values: dict[str, Any]) -> str:
    import json

    return json.dumps(values)  # every JSON is YAML
