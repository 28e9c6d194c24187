"""`azsyncd sync`: pull, plan, apply, once."""

from __future__ import annotations

from collections.abc import Iterator

import typer

from azsyncd.cli.changes import change_lines
from azsyncd.cli.connect import ask
from azsyncd.cli.options import Config, Full, Group, Json, Target, User, config_of
from azsyncd.cli.output import FAILED, HELD, OK, bold, coloured, count, duration, say, say_json
from azsyncd.cli.plan import summary_line
from azsyncd.cli.progress import shown_progress
from azsyncd.operations import ChangeRow, SyncResult, TargetSync

_EXITS = {"converged": OK, "failures": FAILED, "held": HELD}


def sync(
    ctx: typer.Context,
    target: Target = None,
    full: Full = False,
    user: User = None,
    group: Group = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Read Entra, plan and write, once: the "Sync" button.

    Exit code: 0 everything is as it should be, 1 failures, 3 something is held.
    """
    with shown_progress() as tell:
        result: SyncResult = ask(
            config_of(ctx, config),
            "sync",
            target=target,
            full=full,
            user=user,
            group=group,
            tell=tell,
        )
    if json:
        say_json(result)
    else:
        for line in sync_lines(result):
            say(line)
    raise typer.Exit(_EXITS.get(result["outcome"], FAILED))


def sync_lines(result: SyncResult) -> Iterator[str]:
    """What was done, and what was not, and why."""
    for each in result["targets"]:
        yield from _target_lines(each)
    read = f"{count(result['users'], 'user')} and {count(result['groups'], 'group')} in Entra"
    end = _ENDS.get(result["outcome"], result["outcome"])
    if result["outcome"] == "converged" and any(
        sum(t["withheld"].values()) for t in result["targets"]
    ):
        end = "Nothing is left to write; what is withheld is named above"
    yield f"{end} ({read}, {_took(result)})"


_ENDS = {
    "converged": "Everything is as Entra and the configuration say",
    "failures": "Not everything could be written",
    "held": "Something is held: see `azsyncd holds`",
}


def _target_lines(sync: TargetSync) -> Iterator[str]:
    done = summary_line(sync["done"], sync["withheld"])
    if "error" in sync and not any(sync["done"].values()):
        done = "nothing was written"
    yield f"{bold(sync['target'])}: {done}"
    for why in (sync.get("error"), sync.get("waits")):
        if why:
            yield coloured("-", f"  ! {why}")
    for row in sync["failed"]:
        yield from _failed_lines(row)
    held = sync["held"]
    if held and "source" in sync["withheld"]:
        held -= max(1, sync["withheld"]["source"])
        yield "  ! Entra is not believed: `azsyncd holds` says why"
    if held > 0:
        yield f"  ! {count(held, 'change')} held: `azsyncd holds` shows them"


def _failed_lines(row: ChangeRow) -> Iterator[str]:
    yield next(iter(change_lines(row)))
    yield "      " + " — ".join(part for part in (row["detail"], row["hint"]) if part)


def _took(result: SyncResult) -> str:
    return duration(result["seconds"])
