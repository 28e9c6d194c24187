"""`azsyncd pause` and `resume`: go on reading, write nothing."""

from __future__ import annotations

from typing import Annotated

import typer

from azsyncd.cli.connect import ask
from azsyncd.cli.options import Config, Json, Target, config_of, seconds_of, some_text
from azsyncd.cli.output import say, say_json


def pause(
    ctx: typer.Context,
    reason: Annotated[
        str, typer.Option("--reason", metavar="T", callback=some_text, help="Why, for the others.")
    ],
    target: Target = None,
    lasting: Annotated[
        str | None,
        typer.Option("--for", metavar="D", callback=some_text, help="How long: 30m, 4h, 2d."),
    ] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Write nothing until `resume`, or for a while.

    Reading goes on, and so does the pause when azsyncd is restarted.
    """
    seconds = None if lasting is None else seconds_of(lasting, "--for")
    result = ask(config_of(ctx, config), "pause", reason=reason, target=target, seconds=seconds)
    if json:
        say_json(result)
    else:
        end = result.get("until") or "`azsyncd resume`"
        say(f"{target or 'Every target'} is paused until {end}.")


def resume(
    ctx: typer.Context, target: Target = None, json: Json = False, config: Config = None
) -> None:
    """End a pause."""
    result = ask(config_of(ctx, config), "resume", target=target)
    if json:
        say_json(result)
    else:
        were = ", ".join(result["targets"])
        say(f"Written to again: {were}." if were else "Nothing was paused.")
