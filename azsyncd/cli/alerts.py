"""`azsyncd alerts test`: does it reach those who are to be told?"""

from __future__ import annotations

from collections.abc import Iterator

import typer

from azsyncd.cli.connect import ask
from azsyncd.cli.options import Config, Json, config_of
from azsyncd.cli.output import FAILED, coloured, count, say, say_json
from azsyncd.operations import AlertTest

alerts = typer.Typer(
    help="Try who is told when something is wrong.",
    no_args_is_help=True,
    rich_markup_mode=None,
    suggest_commands=False,
)


@alerts.callback()
def _alerts() -> None:
    """Try who is told when something is wrong."""


@alerts.command("test")
def send_test(ctx: typer.Context, json: Json = False, config: Config = None) -> None:
    """Send one of each alert to everybody who would be told.

    To every webhook and mailbox of `alerts`, and one call to `heartbeat.url`.

    Exit code: 0, 1 something did not go through.
    """
    found: list[AlertTest] = ask(config_of(ctx, config), "alerts_test")
    if json:
        say_json(found)
    else:
        for line in test_lines(found):
            say(line)
    if any(not each["ok"] for each in found):
        raise typer.Exit(FAILED)


def test_lines(found: list[AlertTest]) -> Iterator[str]:
    """A line for each door."""
    for door in dict.fromkeys(each["door"] for each in found):
        mine = [each for each in found if each["door"] == door]
        failed = next((each for each in mine if not each["ok"]), None)
        if failed is None:
            yield coloured("+", f"{door}: {count(len(mine), 'message')} sent")
        else:
            yield coloured("-", f"{door}: {failed['error']}")
