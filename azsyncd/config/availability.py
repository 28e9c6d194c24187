"""What the file may already say, and this version cannot do yet.

Such a key is refused and never ignored: whoever wrote it counts on it. To make a feature available,
take its line away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from azsyncd.config.marks import Path


@dataclass(frozen=True, slots=True)
class Coming:
    """A key (`*` stands for any name) that is refused if it has a value, or one of `values`."""

    path: tuple[str, ...]
    values: tuple[object, ...] | None = None
    instead: str = ""


COMING = (
    Coming(
        ("notifications", "mode"),
        ("event_hubs",),
        "use webhook, or none: azsyncd then polls every schedule.delta_poll",
    ),
    Coming(("admin", "listen"), instead="admin.socket and admin.metrics are there"),
    Coming(("admin", "token"), instead="admin.socket and admin.metrics are there"),
)


def not_yet(data: Any) -> Iterator[tuple[Path, str]]:
    """(path, message) for everything in the file that must wait for another version."""
    for coming in COMING:
        for path, value in _found(data, coming.path, ()):
            if value in (None, False, 0, "", (), [], {}):
                continue
            if coming.values is None or value in coming.values:
                what = "" if coming.values is None else f"{value} "
                instead = f"; {coming.instead}" if coming.instead else ""
                yield path, f"{what}is not yet available{instead}"


def _found(data: Any, pattern: tuple[str, ...], path: Path) -> Iterator[tuple[Path, Any]]:
    if not pattern:
        yield path, data
        return
    if not isinstance(data, dict):
        return
    names = list(data) if pattern[0] == "*" else [pattern[0]] if pattern[0] in data else []
    for name in names:
        yield from _found(data[name], pattern[1:], (*path, name))
