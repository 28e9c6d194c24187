"""`azsyncd accounts`: a product's accounts by what azsyncd knows of them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from azsyncd.cli.connect import ask
from azsyncd.cli.options import Config, Format, Target, config_of
from azsyncd.cli.output import say, say_csv, say_json, table

COLUMNS = (
    "target",
    "username",
    "email",
    "display_name",
    "active",
    "key",
    "object_id",
    "state",
    "detail",
    "attempts",
    "next_try",
    "command",
)
"""The columns of CSV, in their order: a promise."""

_SHOWN = ("target", "username", "display_name", "active", "state", "detail")
"""The columns that fit on a terminal."""
_WAITING = (*_SHOWN, "attempts", "next_try", "command")
"""Those of what waits."""


def accounts(
    ctx: typer.Context,
    target: Target = None,
    unexplained: Annotated[
        bool, typer.Option("--unexplained", help="Only those that nobody in Entra explains.")
    ] = False,
    adopted: Annotated[
        bool, typer.Option("--adopted", help="Only those that were taken over.")
    ] = False,
    conflict: Annotated[
        bool, typer.Option("--conflict", help="Only those that two claim.")
    ] = False,
    failing: Annotated[
        bool, typer.Option("--failing", help="Only those that the product refuses.")
    ] = False,
    style: Format = "text",
    config: Config = None,
) -> None:
    """List accounts by what azsyncd knows of them."""
    flags = {
        "unexplained": unexplained,
        "adopted": adopted,
        "conflict": conflict,
        "failing": failing,
    }
    chosen = [name for name, is_set in flags.items() if is_set]
    if len(chosen) > 1:
        raise typer.BadParameter("choose one of --" + ", --".join(chosen))
    rows: list[dict[str, Any]] = ask(
        config_of(ctx, config), "accounts", target=target, which=chosen[0] if chosen else None
    )
    if style == "json":
        say_json(rows)
    elif style == "csv":
        say_csv(COLUMNS, rows)
    elif not rows:
        say("No such accounts.")
    else:
        shown = _WAITING if failing or conflict else _SHOWN
        head = [column.upper().replace("_", " ") for column in shown]
        cells = [[_shown(row.get(column)) for column in shown] for row in rows]
        for line in table([head, *cells]):
            say(line)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value in (None, "") else str(value)
