"""`azsyncd config show`, `config history` and `config schema`."""

from __future__ import annotations

from typing import Annotated

import typer

from azsyncd.cli.connect import ask
from azsyncd.cli.options import Config, Json, config_of, some_text
from azsyncd.cli.output import say, say_json, say_text, table

configuration = typer.Typer(
    help="Show the effective configuration, or its schema.",
    no_args_is_help=True,
    rich_markup_mode=None,
    suggest_commands=False,
)


@configuration.command("show")
def show(
    ctx: typer.Context,
    digest: Annotated[
        str | None,
        typer.Option(
            "--digest", metavar="D", callback=some_text, help="One that was in force before."
        ),
    ] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Show the file with every default filled in and every secret masked."""
    if digest is not None:
        (found, *_) = ask(config_of(ctx, config), "configurations", digest=digest)
        say_json(found) if json else say_text(found["body"])
        return
    from azsyncd.config import load, masked, shown

    settings = load(config_of(ctx, config)).config
    if json:
        say_json(masked(settings))
    else:
        say_text(shown(settings))


@configuration.command("history")
def history(ctx: typer.Context, json: Json = False, config: Config = None) -> None:
    """List the configurations that were in force, the newest first."""
    found = ask(config_of(ctx, config), "configurations")
    if json:
        say_json(found)
    elif not found:
        say("None was in force yet.")
    else:
        head = ["DIGEST", "SINCE", "BY", "WRITES", "FILE"]
        rows = [[e["digest"][:12], e["at"], e["by"], f"{e['writes']:,}", e["file"]] for e in found]
        for line in table([head, *rows]):
            say(line)


@configuration.command("schema")
def schema() -> None:
    """Print the JSON Schema of the file, for editors."""
    from azsyncd.config import json_schema

    say_json(json_schema())
