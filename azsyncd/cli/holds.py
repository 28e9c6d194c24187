"""`azsyncd holds`, `approve`, `reject`, `release`: what the guard holds, and decisions about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from azsyncd.cli.changes import all_lines
from azsyncd.cli.connect import ask
from azsyncd.cli.options import (
    BIGGEST_NUMBER,
    Config,
    Json,
    Reason,
    config_of,
    some_text,
    some_texts,
)
from azsyncd.cli.output import count, say, say_json, table
from azsyncd.errors import AzsyncdError
from azsyncd.operations import HoldRow

holds = typer.Typer(
    help="Show what the guard holds, and why.",
    invoke_without_command=True,
    rich_markup_mode=None,
    suggest_commands=False,
)

Id = Annotated[
    int, typer.Argument(metavar="ID", min=1, max=BIGGEST_NUMBER, help="The hold's number.")
]


@holds.callback()
def _list(ctx: typer.Context, json: Json = False, config: Config = None) -> None:
    if ctx.invoked_subcommand is not None:
        ctx.find_root().obj = config_of(ctx, config)
        return
    found: list[HoldRow] = ask(config_of(ctx, config), "holds")
    if json:
        say_json(found)
    elif not found:
        say("Nothing is held.")
    else:
        head = ["ID", "TARGET", "KIND", "STATE", "CHANGES", "SINCE", "WHY"]
        for line in table([head, *map(_row, found)]):
            say(line)


@holds.command("show")
def show(ctx: typer.Context, hold: Id, json: Json = False, config: Config = None) -> None:
    """Show every change of one hold."""
    found: list[HoldRow] = ask(config_of(ctx, config), "holds", show=hold)
    if not found:
        raise AzsyncdError(f"there is no hold {hold}", "`azsyncd holds` lists them")
    if json or (ctx.parent is not None and ctx.parent.params.get("json")):
        say_json(found[0])
        return
    for line in hold_lines(found[0]):
        say(line)


def approve(
    ctx: typer.Context,
    hold: Id,
    expect: Annotated[
        int | None,
        typer.Option(
            "--expect",
            metavar="N",
            min=0,
            max=BIGGEST_NUMBER,
            help="Refuse unless the hold has N changes.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="WHO...", callback=some_texts, help="Approve only these."),
    ] = None,
    excepting: Annotated[
        list[str] | None,
        typer.Option(
            "--except", metavar="WHO...", callback=some_texts, help="Approve all but these."
        ),
    ] = None,
    reason: Reason = "",
    more: Annotated[
        list[str] | None, typer.Argument(hidden=True, metavar="WHO...", callback=some_texts)
    ] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Let a hold's changes be written.

    Those that are still planned the same are written, once, within 24 hours. Several people after
    --only or --except: name them one after the other.
    """
    if only and excepting:
        raise typer.BadParameter("--only and --except exclude one another")
    if more:
        if not only and not excepting:
            raise typer.BadParameter(f"unexpected: {' '.join(more)}")
        (only or excepting or []).extend(more)
    decided: HoldRow = ask(
        config_of(ctx, config),
        "approve",
        hold=hold,
        expect=expect,
        only=only or None,
        excepting=excepting or None,
        reason=reason,
    )
    _decided(decided, json)


def reject(
    ctx: typer.Context, hold: Id, reason: Reason = "", json: Json = False, config: Config = None
) -> None:
    """Keep a hold's changes from being written.

    They stay rejected, silently, until what is wanted of them changes, or `release`.
    """
    decided: HoldRow = ask(config_of(ctx, config), "reject", hold=hold, reason=reason)
    _decided(decided, json)


def release(
    ctx: typer.Context,
    what: Annotated[
        str,
        typer.Argument(metavar="WHAT", callback=some_text, help="A hold's number, or an object."),
    ],
    json: Json = False,
    config: Config = None,
) -> None:
    """Forget a rejection.

    What it kept back is planned and guarded anew.
    """
    result = ask(config_of(ctx, config), "release", what=what)
    if json:
        say_json(result)
    else:
        say(f"{what} is released ({count(result['released'], 'object')}): it is planned anew.")


def hold_lines(hold: HoldRow) -> Iterator[str]:
    """One hold with all its changes."""
    yield f"hold {hold['id']}: {_where(hold)}{hold['kind']}, {hold['state']}"
    yield f"  since {hold['opened_at']}, {count(hold['items'], 'change')}"
    if hold["detail"]:
        yield f"  {hold['detail']}"
    if hold["decided_by"]:
        why = f": {hold['decision_reason']}" if hold["decision_reason"] else ""
        yield f"  {hold['state']} by {hold['decided_by']} at {hold['decided_at']}{why}"
    yield from all_lines(hold.get("rows", []))
    if hold["state"] == "open":
        yield f"  azsyncd approve {hold['id']} --expect {hold['items']}   or   " + (
            f"azsyncd reject {hold['id']}"
        )


def _decided(hold: HoldRow, json: bool) -> None:
    if json:
        say_json(hold)
    else:
        say(f"hold {hold['id']} is {hold['state']} ({count(hold['items'], 'change')}).")


def _row(hold: HoldRow) -> list[str]:
    return [
        str(hold["id"]),
        hold["target"] or "-",
        hold["kind"],
        hold["state"],
        f"{hold['items']:,}",
        hold["opened_at"],
        hold["detail"],
    ]


def _where(hold: HoldRow) -> str:
    return f"{hold['target']}, " if hold["target"] else ""
