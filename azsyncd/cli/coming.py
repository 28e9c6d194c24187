"""Commands that the next versions bring: known by name, so that nobody doubts her spelling."""

from __future__ import annotations

import typer

from azsyncd.errors import AzsyncdError

COMING = {
    "suggest": "choose accounts.username and adopt in the file; `azsyncd plan` shows what they do",
    "link": "resolve the conflict in Entra or in the product; the next round sees it",
    "unlink": "list the user under scope.users.exclude: azsyncd then keeps its hands off",
    "target": "keep the target's name and url in the file as they are",
}
"""Each with what to do until then."""


def coming(ctx: typer.Context) -> None:
    """Not yet available."""
    name = ctx.info_name or ""
    raise AzsyncdError(f"`azsyncd {name}` is not yet available", COMING.get(name, ""))
