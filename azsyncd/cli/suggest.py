"""`azsyncd suggest`: how the accounts that stand in a product belong to the people in Entra."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from azsyncd.cli.connect import ask
from azsyncd.cli.options import Config, Json, Target, config_of
from azsyncd.cli.output import FAILED, bold, count, say, say_json, table, warn
from azsyncd.cli.progress import shown_progress

_SHOWN = 6


def suggest(
    ctx: typer.Context, target: Target = None, json: Json = False, config: Config = None
) -> None:
    """Propose username and adopt, from the accounts that stand there.

    Compares them with the people in the scope: how many match by which attribute. Prints the lines
    to put into the file; writes nothing, neither to the file nor to a product.
    """
    with shown_progress() as tell:
        found: list[dict[str, Any]] = ask(
            config_of(ctx, config), "suggest", target=target, tell=tell
        )
    if json:
        say_json(found)
    else:
        for number, each in enumerate(each for each in found if not each.get("error")):
            if number:
                say()
            for line in suggestion_lines(each):
                say(line)
    failed = [each for each in found if each.get("error")]
    for each in failed:
        warn(f"azsyncd: {each['target']}: {each['error']}")
    if failed:
        raise typer.Exit(FAILED)


def suggestion_lines(told: dict[str, Any]) -> Iterator[str]:
    """What matches, best first, and the lines for the file."""
    yield bold(told["target"]) + (
        f": {count(told['accounts'], 'account')},"
        f" {count(told['identities'], 'person', 'people')} in the scope"
    )
    for title, key in (("by username", "usernames"), ("by e-mail", "emails")):
        rows = [row for row in told[key] if row["matches"] or row["shared"]][:_SHOWN]
        yield ""
        if not rows:
            yield f"  {title}: nobody"
            continue
        head = [f"  {title.upper()}", "MATCH", "SAME CASE", "SHARED", "FOR EXAMPLE"]
        cells = [
            [
                f"  {row['template']}",
                f"{row['matches']:,}",
                f"{row['exact']:,}" if key == "usernames" else "",
                f"{row['shared']:,}" if row["shared"] else "",
                ", ".join(row["examples"][:2]),
            ]
            for row in rows
        ]
        yield from table([head, *cells])
    unread = [row["template"] for row in told["usernames"] if row["unread"]]
    if unread:
        yield f"  not read from Entra yet: {', '.join(unread)}"
    yield ""
    yield f"  {told['why'][:1].upper()}{told['why'][1:]}. For the file:"
    yield ""
    yield from (f"  {line}" for line in told["lines"])
