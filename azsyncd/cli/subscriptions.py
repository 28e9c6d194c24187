"""`azsyncd subscriptions`: ours at Graph."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from azsyncd.cli.connect import ask
from azsyncd.cli.options import Config, Json, config_of
from azsyncd.cli.output import say, say_json, table


def subscriptions(
    ctx: typer.Context,
    action: Annotated[
        Literal["list", "renew", "delete"],
        typer.Argument(metavar="list|renew|delete", show_default=False),
    ] = "list",
    json: Json = False,
    config: Config = None,
) -> None:
    """List, renew or delete our subscriptions at Graph."""
    rows: list[dict[str, Any]] = ask(config_of(ctx, config), "subscriptions", action=action)
    if json:
        say_json(rows)
    elif not rows:
        say("There are no subscriptions.")
    else:
        head = ["RESOURCE", "UNTIL", "ID"]
        cells = [
            [str(row.get(key) or "-") for key in ("resource", "expires_at", "id")] for row in rows
        ]
        for line in table([head, *cells]):
            say(line)
