"""`azsyncd config show` and `config schema`."""

from __future__ import annotations

import typer

from azsyncd.cli.options import Config, Json, config_of
from azsyncd.cli.output import say_json, say_text

configuration = typer.Typer(
    help="Show the effective configuration, or its schema.",
    no_args_is_help=True,
    rich_markup_mode=None,
    suggest_commands=False,
)


@configuration.command("show")
def show(ctx: typer.Context, json: Json = False, config: Config = None) -> None:
    """Show the file with every default filled in and every secret masked."""
    from azsyncd.config import load, masked, shown

    settings = load(config_of(ctx, config)).config
    if json:
        say_json(masked(settings))
    else:
        say_text(shown(settings))


@configuration.command("schema")
def schema() -> None:
    """Print the JSON Schema of the file, for editors."""
    from azsyncd.config import json_schema

    say_json(json_schema())
