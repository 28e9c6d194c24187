"""`azsyncd target`: moves or gives up what the state knows of a target."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from azsyncd.cli.connect import ask
from azsyncd.cli.options import Config, Json, config_of, some_text
from azsyncd.cli.output import count, say, say_json
from azsyncd.errors import AzsyncdError

target = typer.Typer(
    help="Move, or give up, what is known of a target.",
    no_args_is_help=True,
)

Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]
Name = Annotated[str, typer.Argument(metavar="NAME", callback=some_text, help="A target's name.")]


@target.command("rename")
def rename(
    ctx: typer.Context,
    old: Annotated[
        str, typer.Argument(metavar="OLD", callback=some_text, help="As the state knows it.")
    ],
    new: Annotated[
        str, typer.Argument(metavar="NEW", callback=some_text, help="As the file names it now.")
    ],
    yes: Yes = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Go on under another name.

    Rename the target in the file first. Its accounts, groups, holds and history are then known
    under the new name.
    """
    _do(ctx, config, json, yes, action="rename", name=old, new=new)


@target.command("rebind")
def rebind(
    ctx: typer.Context,
    name: Name,
    moved: Annotated[
        bool,
        typer.Option(
            "--moved", help="The same installation at another address: keep what is known of it."
        ),
    ] = False,
    yes: Yes = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Accept another installation under this name.

    What is known of the old one is given up, and the new one begins with a first contact. With
    --moved it is the same one: accounts stay linked, and are compared with what stands there.
    """
    _do(ctx, config, json, yes, action="rebind", name=name, moved=moved)


@target.command("detach")
def detach(
    ctx: typer.Context, name: Name, yes: Yes = False, json: Json = False, config: Config = None
) -> None:
    """Give up a target that is no longer in the file.

    Its accounts stay as they are, and are nobody's. The history stays.
    """
    _do(ctx, config, json, yes, action="detach", name=name)


def _do(ctx: typer.Context, config: Any, json: bool, yes: bool, **arguments: Any) -> None:
    file = config_of(ctx, config)
    if not yes:
        told = ask(file, "target", go=False, **arguments)
        question = f"{_words(told, arguments)} Go on?"
        if not sys.stdin.isatty():
            raise AzsyncdError(f"{_words(told, arguments)} Nothing was done", "say --yes")
        if not typer.confirm(question):
            raise AzsyncdError("nothing was done")
    told = ask(file, "target", go=True, **arguments)
    if json:
        say_json(told)
    else:
        say(_done(told, arguments))


def _has(told: dict[str, Any]) -> str:
    return f"{count(told['accounts'], 'account')} and {count(told['groups'], 'group')}"


def _words(told: dict[str, Any], asked: dict[str, Any]) -> str:
    name = told["target"]
    if told["action"] == "rename":
        return f"{_has(told)} of {name!r} will be known as those of {told['new']!r}."
    if asked.get("moved"):
        return f"{_has(told)} of {name!r} stay linked, at whatever answers there now."
    return f"{_has(told)} of {name!r} will be given up; they stay in the product as they are."


def _done(told: dict[str, Any], asked: dict[str, Any]) -> str:
    name = told["target"]
    if told["action"] == "rename":
        return f"{name} is {told['new']} now, with {_has(told)}."
    if told["action"] == "detach":
        return f"{name} is given up, with {_has(told)}."
    if asked.get("moved"):
        return f"{name} keeps {_has(told)}; they are compared with what stands there now."
    return f"{name} begins anew: azsyncd plan --target {name} shows what its first contact does."
