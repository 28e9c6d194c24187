"""Commands that the next versions bring: known by name, so that nobody doubts her spelling."""

from __future__ import annotations

import typer

from azsyncd.errors import AzsyncdError

COMING = {
    "suggest": "choose accounts.username and adopt in the file; `azsyncd plan` shows what they do",
}
"""Each with what to do until then."""


def coming(ctx: typer.Context) -> None:
    """Not yet available."""
    name = ctx.info_name or ""
    raise AzsyncdError(f"`azsyncd {name}` is not yet available", COMING.get(name, ""))
