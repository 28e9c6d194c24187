"""`azsyncd plan`: what would be written, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from azsyncd.cli.changes import COLUMNS, SIGNS, by_kind, examples, waiting_lines
from azsyncd.cli.connect import Tell, ask, ask_daemon, is_running
from azsyncd.cli.keeping import must_be_writable, write_private
from azsyncd.cli.options import Config, Format, Full, Group, Target, User, config_of, file_named
from azsyncd.cli.output import (
    CHANGES,
    FAILED,
    HELD,
    OK,
    bold,
    coloured,
    count,
    duration,
    say,
    say_csv,
    say_json,
    table,
)
from azsyncd.cli.privileges import stepping_down
from azsyncd.cli.progress import shown_progress
from azsyncd.operations import PlanResult, TargetPlan

_EXITS = {"nothing": OK, "changes": CHANGES, "withheld": HELD, "failed": FAILED}


def plan(
    ctx: typer.Context,
    target: Target = None,
    full: Full = False,
    user: User = None,
    group: Group = None,
    config: Config = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", callback=file_named, help="Keep the plan for `azsyncd apply`."
        ),
    ] = None,
    style: Format = "text",
) -> None:
    """Show what would be written, and why.

    Nothing is written to any product. With --config: what this file would do, also beside a
    daemon that runs with another. With --out: the plan is kept, and `azsyncd apply` writes of it
    what still holds then, and nothing else.

    Exit code: 0 nothing to do, 2 changes, 3 only withheld ones, 1 failed.
    """
    file = config_of(ctx, config)
    if out is not None:
        must_be_writable(out)
    with shown_progress() as tell:
        result = _planned(
            file,
            config is not None,
            tell,
            target=target,
            full=full,
            user=user,
            group=group,
            keep=True if out is not None else None,
        )
    kept = result.pop("saved", None)
    if out is not None and kept is not None:
        write_private(out, kept)
    if style == "json":
        say_json(result)
    elif style == "csv":
        say_csv(COLUMNS, (row for each in result["targets"] for row in each["rows"]))
    else:
        for line in plan_lines(result):
            say(line)
        if out is not None:
            number = sum(len(each["changes"]) for each in (kept or {}).get("targets", ()))
            say(f"{count(number, 'change')} kept: `azsyncd apply {out}` writes what still holds.")
    raise typer.Exit(_EXITS.get(result["outcome"], FAILED))


def plan_lines(result: PlanResult) -> Iterator[str]:
    """The whole plan as text."""
    for each in result["targets"]:
        yield from _target_lines(each)
    yield _ENDS.get(result["outcome"], result["outcome"])


_ENDS = {
    "nothing": "Nothing to do: every target is as Entra and the configuration say.",
    "changes": "Nothing was written. `azsyncd sync` writes what is planned.",
    "withheld": "Nothing would be written: all that differs is withheld.",
    "failed": "Not every target could be planned. Nothing was written.",
}


def summary_line(changes: Mapping[str, int], withheld: Mapping[str, int]) -> str:
    """`+ 12 create, + 30 add member, - 1 deactivate; withheld: 3 guard, 1 conflict`."""
    order = [*SIGNS, *sorted(set(changes) - set(SIGNS))]
    sent = [
        f"{SIGNS.get(kind, '~')} {changes[kind]:,} {kind.replace('_', ' ')}"
        for kind in order
        if changes.get(kind)
    ]
    text = ", ".join(sent) or "nothing to write"
    held = withheld_words(withheld)
    return f"{text}; withheld: {held}" if held else text


def withheld_words(withheld: Mapping[str, int]) -> str:
    """`1 conflict, 3 guard`."""
    return ", ".join(
        f"{number:,} {words(reason)}" for reason, number in sorted(withheld.items()) if number
    )


def words(name: str) -> str:
    """`first_contact` as `first contact`."""
    return name.replace("_", " ")


def budget_lines(
    budgets: Mapping[str, Mapping[str, Any]], shrinking: Sequence[Mapping[str, Any]] = ()
) -> Iterator[str]:
    """The guard's allowance of each class that something is wanted of, was spent from, or is held;
    that of `shrink_group` group by group."""
    classes = {name: each for name, each in budgets.items() if name != "shrink_group"}
    groups = {f"shrink group {each['group']}": each for each in shrinking[:_GROUPS]}
    for name, budget in {**classes, **groups}.items():
        allowance, spent, wanted = (budget.get(k) for k in ("allowance", "spent", "wanted"))
        held = budget.get("held") or 0
        if allowance is None or not (wanted or spent or held):
            continue
        left = max(0, allowance - (spent or 0))
        over = coloured("!", " → held") if wanted and wanted > left else ""
        asks = f"{wanted:,.0f} wanted, " if wanted is not None else ""
        asks += f"{held:,.0f} held, " if held else ""
        shown = name if name in groups else words(name)
        yield f"{shown}: {asks}{left:,.0f} of {allowance:,.0f} left{over}"
    if len(shrinking) > _GROUPS:
        yield f"shrink group: … and {len(shrinking) - _GROUPS:,} more groups"


_GROUPS = 5
"""So many groups are named, those with the least left."""


def _planned(file: Path, is_named: bool, tell: Tell | None, **asked: Any) -> PlanResult:
    """The plan of this file: the daemon's answer, if the daemon runs with it as it stands."""
    if is_named and is_running(file):
        running = ask_daemon(file, "status")["config"]
        loaded = Path(running.get("file") or file)
        if loaded.resolve() != file.resolve() or _changed_since(file, running.get("loaded_at")):
            from azsyncd.cli.rehearsal import rehearse

            rehearsed: PlanResult = rehearse(file.absolute(), loaded, tell, **asked)
            return rehearsed
    # Root lends itself to the state's owner and comes back: --out names a file of the caller's.
    with nullcontext() if is_running(file) else stepping_down(file.absolute()):
        result: PlanResult = ask(file, "plan", tell=tell, **asked)
    return result


def _changed_since(file: Path, loaded_at: str | None) -> bool:
    try:
        loaded = datetime.fromisoformat(loaded_at or "").timestamp()
        return file.stat().st_mtime > loaded
    except (OSError, ValueError):
        return False


def _target_lines(plan: TargetPlan) -> Iterator[str]:
    yield bold(plan["target"])
    if "error" in plan:
        yield coloured("-", f"  {plan['error']}")
        yield ""
        return
    sent = [row for row in plan["rows"] if row["withheld"] is None]
    for kind, rows in by_kind(sent).items():
        yield from examples(rows, max(plan["changes"].get(kind, 0), len(rows)))
    yield from _withheld_lines(plan)
    if sent or any(plan["withheld"].values()):
        yield ""
    yield from table(list(_figures(plan)), indent="  ")
    yield ""


def _figures(plan: TargetPlan) -> Iterator[list[str]]:
    for number, line in enumerate(_sums(plan["changes"]) or ["nothing to write"]):
        yield ["" if number else "planned", line]
    if any(plan["withheld"].values()):
        yield ["withheld", withheld_words(plan["withheld"])]
    for line in budget_lines(plan["budgets"], plan.get("shrinking", ())):
        yield ["guard", line]
    for seat in plan["seats"]:
        if seat.get("remaining") is None:
            continue
        total = "" if seat.get("total") is None else f" of {seat['total']:,}"
        yield ["seats", f"{seat['application']}: {seat['remaining']:,}{total} free"]
    if plan["unexplained"]:
        yield [
            "unexplained",
            f"{count(plan['unexplained'], 'account')} that nobody in Entra explains:"
            " `azsyncd accounts --unexplained`",
        ]
    for warning in plan.get("warnings", ()):
        yield ["warning", warning]
    if any(plan["changes"].values()):
        yield ["duration", f"about {duration(plan['seconds'])}"]


def _sums(changes: Mapping[str, int]) -> list[str]:
    """`+ 12 create, 30 add member`: a line for each sign."""
    lines = []
    for sign in "+~-":
        sums = [
            f"{changes[kind]:,} {words(kind)}"
            for kind, its_sign in SIGNS.items()
            if its_sign == sign and changes.get(kind)
        ]
        if sums:
            lines.append(f"{sign} {', '.join(sums)}")
    return lines


def _withheld_lines(plan: TargetPlan) -> Iterator[str]:
    for reason, total in sorted(plan["withheld"].items()):
        if total:
            rows = [row for row in plan["rows"] if row["withheld"] == reason]
            meaning = f" — {_MEANINGS[reason]}" if reason in _MEANINGS else ""
            yield coloured("!", f"  ! withheld: {words(reason)} ({total:,})") + meaning
            yield from waiting_lines(rows, max(total, len(rows)))


_MEANINGS = {
    "guard": "more than the guard lets pass: a person decides, see `azsyncd holds`",
    "first_contact": "nothing of this product is ours yet: `azsyncd sync` or `approve` is consent",
    "rejected": "somebody rejected it: `azsyncd release` takes that back",
    "source": "Entra showed much less than before: see `azsyncd holds`",
    "excluded": "listed under exclude, or unlinked: hands off",
    "protected": "never written to",
    "not_owned": "neither created nor adopted by azsyncd",
    "conflict": "not clear whose it is: never guessed",
    "unsupported": "the product cannot do it",
    "invalid_value": "a value that the product does not take",
    "undecided": "not everything about it is known",
    "incomplete_read": "not everything was read yet",
    "licence": "no seats left",
    "read_only": "the directory is read-only",
    "blocked": "waits for something else",
    "grace": "waits for its stage",
    "mode": "the target's mode does not write it; in manual mode `approve`, or `apply`, does",
    "paused": "`azsyncd resume` ends the pause",
    "backing_off": "refused before, tried again later",
}
"""What a reason means to somebody who meets it for the first time."""
