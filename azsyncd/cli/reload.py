"""`azsyncd reload`: read the file again, and say what came of it."""

from __future__ import annotations

from typing import Annotated

import typer

from azsyncd.cli.connect import ask_daemon
from azsyncd.cli.options import Config, Json, config_of
from azsyncd.cli.output import CONFIG, OK, say, say_json, warn
from azsyncd.cli.plan import summary_line

_SAID = {
    "valid": "The file is valid. Nothing was changed; brought into force, it would write:",
    "reloaded": "The new configuration is in force.",
    "unchanged": "The configuration is the one that is in force already.",
    "pending": "The new configuration is valid; it comes into force when what it needs is read.",
    "rejected": "The new configuration is rejected; the old one stays in force.",
}


def reload(
    ctx: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what the file would do.")
    ] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Read the file again, and say what came of it.

    Validates it, brings it into force and waits; a rejected file changes nothing.

    Exit code: 0, or 78 if the file is rejected and the old one stays.
    """
    result = ask_daemon(config_of(ctx, config), "reload", dry_run=dry_run)
    outcome = result["outcome"]
    if json:
        say_json(result)
    else:
        for problem in result.get("problems") or []:
            warn(str(problem))
        if result.get("hint"):
            warn(f"azsyncd: {result['hint']}")
        say(_SAID.get(outcome, outcome))
        for target in (result.get("plan") or {}).get("targets", []):
            planned = summary_line(target["changes"], target["withheld"])
            say(f"{target['target']}: {target.get('error') or planned}")
    raise typer.Exit(CONFIG if outcome == "rejected" else OK)
