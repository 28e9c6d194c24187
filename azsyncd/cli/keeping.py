"""Files that a command leaves behind: whole or not at all, and for their owner alone."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from azsyncd.errors import AzsyncdError


def must_be_writable(file: Path) -> None:
    """Say so before the work and not after it. Raises AzsyncdError."""
    if file.is_dir():
        raise AzsyncdError(f"{file} is a directory", "name a file in it")
    if not file.absolute().parent.is_dir():
        raise AzsyncdError(f"there is no folder {file.absolute().parent}", "make it first")


def write_private(file: Path, document: Any) -> None:
    """JSON that nobody else may read (it has names and addresses), in one step."""
    target = file.absolute()
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # 0600
    except OSError as error:
        raise _lost(file, error) from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(document, out, indent=1, ensure_ascii=False)
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        Path(name).replace(target)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise _lost(file, error) from error


def _lost(file: Path, error: OSError) -> AzsyncdError:
    return AzsyncdError(f"cannot write to {file}: {error.strerror}", "name another file")
