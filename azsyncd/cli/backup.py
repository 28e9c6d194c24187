"""`azsyncd backup`: a consistent copy of the state while the daemon runs."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from azsyncd.cli.connect import ask, ask_daemon, is_running
from azsyncd.cli.options import Config, Json, config_of, file_named
from azsyncd.cli.output import count, say, say_json
from azsyncd.cli.privileges import stepping_down
from azsyncd.errors import AzsyncdError


def backup(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", callback=file_named, help="Where the copy goes.")
    ],
    json: Json = False,
    config: Config = None,
) -> None:
    """Copy the state to FILE, also while the daemon runs."""
    source = config_of(ctx, config).absolute()
    target = file.absolute()
    if target.is_dir():
        raise AzsyncdError(f"{file} is a directory", "name a file in it")
    if target.exists():
        raise AzsyncdError(f"{file} is there already", "name a new file")
    size = _copied(source, target)
    if json:
        say_json({"file": str(target), "bytes": size})
    else:
        say(f"{file}: {count(size, 'byte')}")


def _copied(config: Path, target: Path) -> int:
    """A draft beside the state, which is moved from here.

    The daemon may write nowhere else, and its /tmp is its own (ProtectSystem=, PrivateTmp= of the
    unit); neither may the state's owner, where root is only lent to it.
    """
    from azsyncd.config import load

    state = Path(load(config).config.state.path)
    draft = state.with_name(f"{state.name}.backup-{os.getpid()}")
    try:
        if is_running(config):
            ask_daemon(config, "backup", file=str(draft))
        else:
            if not state.exists():
                raise AzsyncdError(f"there is no state at {state}", "nothing was synced yet")
            with stepping_down(config):
                ask(config, "backup", file=str(draft))
        return _copy(draft, target)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _copy(draft: Path, target: Path) -> int:
    """In one step, and readable for its owner alone: it holds names and addresses."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise AzsyncdError(
            f"cannot write to {target.parent}: {error.strerror}", "name a file in another folder"
        ) from error
    try:
        with os.fdopen(handle, "wb") as out, draft.open("rb") as source:
            shutil.copyfileobj(source, out, 1024 * 1024)
            out.flush()
            os.fsync(out.fileno())
        Path(name).replace(target)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        hint = "run this as root" if isinstance(error, PermissionError) else ""
        raise AzsyncdError(f"cannot copy the state to {target}: {error.strerror}", hint) from error
    return target.stat().st_size
