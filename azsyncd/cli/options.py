"""Options that many commands share, spelled once, and what makes their values good."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

DEFAULT_CONFIG = Path("/etc/azsyncd/config.yaml")

_LONGEST_TEXT = 1000
_LONGEST_TIME = 3650 * 86400.0
BIGGEST_NUMBER = 999_999_999


def file_named(given: Path | None) -> Path | None:
    """A path that names something; anything else is wrong usage."""
    if given is not None and given == Path(""):
        raise typer.BadParameter("must name a file")
    return given


def some_text(given: str | None) -> str | None:
    """One line of text that says something; anything else is wrong usage."""
    if given is None:
        return None
    if not given.strip():
        raise typer.BadParameter("must not be empty")
    if len(given) > _LONGEST_TEXT:
        raise typer.BadParameter(f"is longer than {_LONGEST_TEXT:,} characters")
    if any("\ud800" <= letter <= "\udfff" for letter in given):
        raise typer.BadParameter("is not written in this terminal's encoding")
    if any(letter < " " or letter == "\x7f" for letter in given):
        raise typer.BadParameter("must be one line, without control characters")
    return given


def some_texts(given: list[str] | None) -> list[str] | None:
    """The same for each of several."""
    for each in given or ():
        some_text(each)
    return given


def optional_text(given: str) -> str:
    """The same for what may stay empty."""
    return (some_text(given) or "") if given else ""


def finite(given: float) -> float:
    """A number that one can count to: `nan` slips through every comparison."""
    if not math.isfinite(given):
        raise typer.BadParameter("must be a number")
    return given


GeneralConfig = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        callback=file_named,
        envvar="AZSYNCD_CONFIG",
        help=f"The configuration file (default: {DEFAULT_CONFIG}).",
    ),
]
"""Before the command; the environment is asked here and nowhere else, or it would win."""
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", callback=file_named, help="The configuration file."
    ),
]
Target = Annotated[
    str | None,
    typer.Option("--target", metavar="T", callback=some_text, help="Only this target of the file."),
]
Full = Annotated[
    bool, typer.Option("--full", help="Read Entra and the targets completely, compare everything.")
]
User = Annotated[
    str | None,
    typer.Option(
        "--user", metavar="X", callback=some_text, help="Only this user (UPN, mail or object id)."
    ),
]
Group = Annotated[
    str | None,
    typer.Option(
        "--group", metavar="X", callback=some_text, help="Only this group (name or object id)."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Style = Literal["text", "json", "csv"]
Format = Annotated[Style, typer.Option("--format", help="How to print.")]
Reason = Annotated[
    str,
    typer.Option("--reason", metavar="T", callback=optional_text, help="Why, for the journal."),
]


def config_of(ctx: typer.Context, given: Path | None) -> Path:
    """The file that counts: the command's, the general option's, AZSYNCD_CONFIG, the default."""
    if given is not None:
        return given
    general = ctx.find_root().obj
    return general if isinstance(general, Path) else DEFAULT_CONFIG


def seconds_of(given: str, option: str, also: str = "") -> float:
    """A duration such as `30m` or `7d` in seconds; anything else is wrong usage."""
    from azsyncd.plan.policy import seconds

    try:
        found = seconds(given)
    except ValueError as error:
        raise typer.BadParameter(f"{error}{also}", param_hint=option) from None
    if not 0 < found <= _LONGEST_TIME:
        raise typer.BadParameter(
            f"{given!r} must be more than nothing and at most ten years", param_hint=option
        )
    return found
