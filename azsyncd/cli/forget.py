"""`azsyncd forget`: one person's name and values leave the journal."""

from __future__ import annotations

from typing import Annotated

import typer

from azsyncd.cli.connect import ask
from azsyncd.cli.options import Config, Json, config_of, some_text
from azsyncd.cli.output import count, say, say_json


def forget(
    ctx: typer.Context,
    who: Annotated[
        str,
        typer.Argument(
            metavar="WHO", callback=some_text, help="A UPN, a mail address or an object id."
        ),
    ],
    json: Json = False,
    config: Config = None,
) -> None:
    """Blank the personal values of one person in the journal.

    Her name, and what was written before and after; when, what and why it was done stays. Backups
    and the audit file are not touched.

    Exit code: 0, 1 if nobody or more than one person is meant.
    """
    result = ask(config_of(ctx, config), "forget", who=who)
    if json:
        say_json(result)
    else:
        say(f"{count(result['entries'], 'entry', 'entries')} blanked for {result['object_id']}.")
