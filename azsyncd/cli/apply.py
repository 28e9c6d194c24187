"""`azsyncd apply`: send what still holds of a plan that was kept."""

from __future__ import annotations

import json as json_
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from azsyncd.cli.changes import EXAMPLES, change_lines
from azsyncd.cli.connect import ask
from azsyncd.cli.options import Config, Json, Target, config_of, file_named
from azsyncd.cli.output import FAILED, MOVED, OK, bold, coloured, count, duration, say, say_json
from azsyncd.cli.plan import summary_line
from azsyncd.cli.progress import shown_progress
from azsyncd.errors import AzsyncdError
from azsyncd.operations import ApplyResult, ChangeRow, TargetApply

_EXITS = {"applied": OK, "failures": FAILED, "moved": MOVED}


def apply(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", callback=file_named, help="From plan --out.")
    ],
    target: Target = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Write a plan that was kept with `plan --out`.

    Each of its changes is compared with its own evidence right before it is sent; what has moved
    since is listed, and left alone. Nothing else is written.

    Exit code: 0 all of it is written, 1 failures, 4 something had moved.
    """
    document = _read(file)
    with shown_progress() as tell:
        result: ApplyResult = ask(
            config_of(ctx, config), "apply", plan=document, target=target, tell=tell
        )
    if json:
        say_json(result)
    else:
        for line in apply_lines(result):
            say(line)
    raise typer.Exit(_EXITS.get(result["outcome"], FAILED))


def _read(file: Path) -> dict[str, Any]:
    hint = "azsyncd plan --out FILE makes a plan that can be applied"
    try:
        document = json_.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise AzsyncdError(f"cannot read {file}: {error.strerror}", hint) from error
    except ValueError as error:
        raise AzsyncdError(f"{file} is no plan: {error}", hint) from error
    if not isinstance(document, dict):
        raise AzsyncdError(f"{file} is no plan", hint)
    return document


def apply_lines(result: ApplyResult) -> Iterator[str]:
    """What was done, what had moved and how, what failed."""
    for each in result["targets"]:
        yield from _target_lines(each)
    if not result["targets"]:
        yield "There is nothing in this plan to write."
        return
    took = f"planned {result['made_at']}, {duration(result['seconds'])}"
    yield f"{_ENDS.get(result['outcome'], result['outcome'])} ({took})"


_ENDS = {
    "applied": "Everything in this plan is written",
    "failures": "Not everything could be written",
    "moved": "Something had moved since the plan was made, and was left alone: plan again",
}


def _target_lines(apply: TargetApply) -> Iterator[str]:
    nothing = not any(apply["done"].values())
    done = "nothing was written" if nothing else summary_line(apply["done"], {})
    already = f"; {count(apply['already'], 'change')} already so" if apply["already"] else ""
    yield f"{bold(apply['target'])}: {done}{already}"
    if "error" in apply:
        yield coloured("-", f"  ! {apply['error']}")
    yield from _listed("moved", apply["moved"])
    yield from _listed("failed", apply["failed"])


def _listed(title: str, rows: list[ChangeRow]) -> Iterator[str]:
    if rows:
        yield coloured("!", f"  ! {title} ({len(rows):,})")
    for row in rows[:EXAMPLES]:
        yield f"    {next(iter(change_lines(row))).strip()}"
        said = " — ".join(part for part in (row["detail"], row["hint"]) if part)
        if said:
            yield f"        {said}"
    if len(rows) > EXAMPLES:
        yield f"        … and {len(rows) - EXAMPLES:,} more"
