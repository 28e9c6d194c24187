"""`azsyncd history`: every write, when, what, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from azsyncd.cli.changes import change_lines
from azsyncd.cli.connect import ask
from azsyncd.cli.options import Config, Format, Target, User, config_of, seconds_of, some_text
from azsyncd.cli.output import coloured, say, say_csv, say_json, warn

COLUMNS = (
    "at",
    "target",
    "change",
    "reason",
    "object_id",
    "name",
    "group",
    "before",
    "after",
    "outcome",
    "answer",
    "cause",
    "run",
    "round",
    "seconds",
    "configuration",
)
"""The columns of CSV, in their order: a promise."""


def history(
    ctx: typer.Context,
    user: User = None,
    target: Target = None,
    run: Annotated[
        str | None, typer.Option("--run", metavar="R", callback=some_text, help="Only this run.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="D",
            callback=some_text,
            help="Not older than 4h or 7d, or than 2026-11-24 (UTC).",
        ),
    ] = None,
    limit: Annotated[
        int,
        typer.Option("--limit", min=1, max=1_000_000, metavar="N", help="The newest N."),
    ] = 1000,
    style: Format = "text",
    config: Config = None,
) -> None:
    """Show what was written, when and why.

    The newest first, with before and after, the run, and who approved.
    """
    rows: list[dict[str, Any]] = ask(
        config_of(ctx, config),
        "history",
        user=user,
        target=target,
        run=run,
        since=_moment(since),
        limit=limit,
    )
    if len(rows) == limit:
        warn(f"azsyncd: the newest {limit:,}; --limit N shows more")
    if style == "json":
        say_json(rows)
    elif style == "csv":
        say_csv(COLUMNS, rows)
    elif not rows:
        say("Nothing was written.")
    else:
        for row in rows:
            for line in history_lines(row):
                say(line)


def history_lines(row: Mapping[str, Any]) -> Iterator[str]:
    """One write as text."""
    nothing = {"name": "", "object_id": None, "group": None, "before": None, "after": None}
    full: Any = {**nothing, **row}
    head, *values = (line.strip() for line in change_lines(full))
    outcome = "" if row.get("outcome") == "done" else coloured("-", f"  {row.get('outcome')}")
    yield f"{row.get('at')}  {row.get('target')}  {head}{outcome}"
    yield from (f"      {value}" for value in values)
    if row.get("answer"):
        yield f"      answer: {row['answer']}"
    cause = f", {row['cause']}" if row.get("cause") else ""
    config = f", configuration {row['configuration']}" if row.get("configuration") else ""
    yield f"      run {row.get('run')}{cause}{config}"


def _moment(since: str | None) -> float | None:
    """A duration back from now, or a date, as seconds since the epoch."""
    if since is None:
        return None
    now = datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(since.strip())
    except ValueError:
        return now.timestamp() - seconds_of(since, "--since", ", or a date")
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment > now:
        raise typer.BadParameter(f"{since!r} lies in the future", param_hint="--since")
    return moment.timestamp()
