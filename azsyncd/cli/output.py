"""How results reach the terminal, a pipe or a script."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from io import TextIOWrapper
from typing import Any, TextIO

import click

from azsyncd.errors import AzsyncdError, ConfigError

OK, FAILED, CHANGES, HELD, MOVED = 0, 1, 2, 3, 4
USAGE, CONFIG, INTERRUPTED, TERMINATED = 64, 78, 130, 143

_COLOURS = {"+": "green", "~": "yellow", "-": "red", "!": "yellow"}
_ASCII = str.maketrans({"→": "->", "…": "...", "—": "--", "’": "'", "“": '"', "”": '"', "·": "-"})
_CONTROL = re.compile(
    r"(?!\x1b\[[0-9;]*m)[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)

_PIECE = 32 * 1024


class OutputLost(Exception):
    """What is printed arrives nowhere: nobody reads on, or the disk is full."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def prepare() -> None:
    """Let no name break the output: what a terminal's encoding lacks is shown as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(line: str = "") -> None:
    """One line on standard output. Control characters in names do nothing to the terminal."""
    _write(_CONTROL.sub(_escaped, line) + "\n")


def warn(message: str) -> None:
    """A message on standard error."""
    try:
        _print(message + "\n", sys.stderr)
    except OSError:
        pass  # nobody is there to be told


def say_text(text: str) -> None:
    """A whole text on standard output, as it is."""
    _write(text.rstrip("\n") + "\n")


def say_json(value: Any) -> None:
    """A result as stable, readable JSON; plain ASCII where the terminal cannot show more."""
    _write(json.dumps(value, indent=2, ensure_ascii=not _is_unicode(sys.stdout)) + "\n")


def say_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows under a header; what is no plain value is JSON inside its cell."""
    import csv

    if sys.stdout is None:
        return
    writer = csv.writer(sys.stdout, lineterminator="\n")
    try:
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_cell(row.get(column)) for column in columns])
    except OSError as error:
        raise OutputLost(error) from error


def complain(error: AzsyncdError) -> int:
    """The error on standard error, without a traceback; the exit code that goes with it."""
    if isinstance(error, ConfigError):
        for problem in error.problems:
            warn(str(problem))
        if error.hint:
            warn(f"azsyncd: {error.hint}")
        return CONFIG
    warn(f"azsyncd: {error}")
    return FAILED


def finish(code: int) -> int:
    """Whatever was said has arrived; raises OutputLost."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        raise OutputLost(error) from error
    return code


def lost(loss: OutputLost) -> int:
    """The exit code when nobody reads on (as if killed by SIGPIPE), or the disk is full."""
    # Python must not try once more, and complain, when it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if loss.cause.errno == errno.EPIPE:
        return 128 + signal.SIGPIPE
    warn(f"azsyncd: cannot print the result: {loss.cause.strerror}")
    return FAILED


def coloured(sign: str, text: str) -> str:
    """The text in the colour of its sign (`+ ~ - !`); pipes see no colour."""
    return click.style(text, fg=_COLOURS[sign]) if sign in _COLOURS else text


def bold(text: str) -> str:
    """A heading."""
    return click.style(text, bold=True)


def table(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Columns that line up; the last one is as long as it likes."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)] if rows else []
    return [
        (
            indent
            + "  ".join(
                [
                    *(padded(cell, width) for cell, width in zip(row[:-1], widths, strict=False)),
                    row[-1],
                ]
            )
        ).rstrip()
        for row in rows
    ]


def width(text: str) -> int:
    """The columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 2 if _is_wide(letter) else 1 for letter in text
    )


def padded(text: str, columns: int) -> str:
    """The text, filled up with blanks."""
    return text + " " * max(0, columns - width(text))


def count(number: int, one: str, many: str = "") -> str:
    """`1 user`, `1,234 users`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """A length of time for people: `0.4 s`, `35 s`, `12 min`, `3.5 h`, `4 days`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"


def _write(text: str) -> None:
    try:
        # In pieces: a reader who goes away in the middle of one long write may go unnoticed.
        for start in range(0, len(text), _PIECE):
            _print(text[start : start + _PIECE], sys.stdout)
    except OSError as error:
        raise OutputLost(error) from error


def _print(text: str, stream: TextIO | None) -> None:
    if stream is not None:
        stream.write(_legible(text if _has_colours(stream) else click.unstyle(text), stream))


def _has_colours(stream: TextIO) -> bool:
    """A terminal has, unless it or its owner does not want any."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not plain


def _legible(text: str, stream: Any) -> str:
    """Arrows and dashes of ours in ASCII where the stream's encoding has none."""
    return text if text.isascii() or _is_unicode(stream) else text.translate(_ASCII)


def _is_unicode(stream: Any) -> bool:
    return str(getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")


def _is_wide(letter: str) -> bool:
    return unicodedata.east_asian_width(letter) in "WF"


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
