"""How the demo looks: bars and colours on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

PLAIN_WIDTH = 100
"""Columns where no terminal says how many there are."""
WIDEST = 120
FIGURE = 10
"""Columns of a figure that belongs to one product, where there is room."""
NARROW = 7
"""Columns of one where there is none."""
TEXT = 45
"""Columns that stay for what happened."""
SHORT = {"confluence": "confl.", "bitbucket": "bitb."}
NAME = 12
"""Columns of a name in front of a line, at most."""
QUIET_SECONDS = 5.0
"""How often progress is said where there is no bar."""


class Bars:
    """Progress of several things at once."""

    def __init__(self, stage: Stage, bars: Progress | None) -> None:
        self._stage, self._bars = stage, bars
        self._tasks: dict[str, Any] = {}
        self._said_at = time.monotonic()

    def show(
        self,
        figures: Mapping[str, tuple[int, int | None]],
        steps: Mapping[str, str] | None = None,
    ) -> None:
        """By name: done, of how much (None: not known), and what is being done."""
        if self._bars is None:
            now = time.monotonic()
            if now - self._said_at >= QUIET_SECONDS:
                self._said_at = now
                parts = (
                    " ".join(filter(None, (name, (steps or {}).get(name), _of(*figure))))
                    for name, figure in figures.items()
                )
                self._stage.say(", ".join(parts))
            return
        for name, (done, total) in figures.items():
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=total, step="")
            step = (steps or {}).get(name, "")
            self._bars.update(self._tasks[name], completed=done, total=total, step=step)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Nobody reads any more: the rest is not shown, and everything is ended."""
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise KeyboardInterrupt from None


class Stage:
    """Where everything is shown: standard output."""

    def __init__(self, products: Sequence[str], console: Console | None = None) -> None:
        self._console = console or _Console(
            file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True
        )
        self.products = tuple(products)
        self.must_be_seen = True  # False: the terminal may be gone
        self.lively = self._console.is_terminal and not self._console.is_dumb_terminal
        self.width = min(WIDEST, self._console.width) if self.lively else PLAIN_WIDTH
        widest = max([FIGURE - 1, *map(len, self.products)]) + 1
        fits = self.width - widest * len(self.products) >= TEXT
        self._figure, self._short = (widest, {}) if fits else (NARROW, SHORT)

    # Lines --------------------------------------------------------------------------------------

    def title(self, name: str, rest: str) -> None:
        """The first line."""
        self._print(Text.assemble((name, "bold"), f" — {rest}"))
        self._print()

    def heading(self, text: str, *, columns: bool = False) -> None:
        """The beginning of an act, with the names of the columns to come."""
        names = [self._short.get(each, each) for each in self.products] if columns else []
        self._print()
        self._print(self._row(Text(text, "bold cyan"), [Text(name, "dim") for name in names]))

    def say(self, text: str, style: str = "") -> None:
        """A sentence, a little further in."""
        for line in textwrap.wrap(text, self.width - 4, break_on_hyphens=False):
            self._print(Text(f"  {line}", style))

    def fact(self, name: str, text: str) -> None:
        """A line with a name in front."""
        self._print(Text.assemble((f"  {name:<{NAME}}", "bold"), self._fit(text, self.width - 2)))

    def command(self, words: str, output: str) -> None:
        """What an operator types, and what it says."""
        self._print(Text.assemble(("  $ ", "dim"), (words, "bold")))
        for line in output.splitlines():
            self._print(Text(f"    {self._fit(line, self.width - 4)}", "dim"))

    def warn(self, text: str) -> None:
        """Something that should not be."""
        self._print(Text(f"  ! {text}", "bold red"))

    def lines(self, title: str, lines: Sequence[str]) -> None:
        """The end of a log."""
        self._print()
        self._print(Text(title, "bold"))
        for line in lines:
            self._print(Text(line, "dim"))

    # Figures ------------------------------------------------------------------------------------

    def happened(self, text: str, seconds: Mapping[str, float | None], late: Sequence[str]) -> None:
        """One change, with the time that it took to each product."""
        cells = [self._latency(name, seconds, late) for name in self.products]
        self._print(self._row(Text(f"  {text}"), cells))

    def figures(self, name: str, values: Sequence[object], good: bool | None = None) -> None:
        """A line of a table: one figure for each product."""
        style = {None: "", True: "green", False: "bold red"}[good]
        shown = [Text(_figure(value), style) for value in values]
        self._print(self._row(Text(f"  {name}"), shown))

    def verdict(self, good: bool, text: str) -> None:
        """The last word."""
        mark, style = ("✔", "bold green") if good else ("✘", "bold red")
        self._print()
        for line in textwrap.wrap(f"{mark} {text}", self.width, subsequent_indent="  "):
            self._print(Text(line, style))

    # While something lasts ----------------------------------------------------------------------

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Show what is being waited for; nothing stays of it."""
        if not self.lively:
            yield
            return
        with self._console.status(Text(self._fit(text, self.width - 4)), spinner="dots"):
            yield

    @contextmanager
    def bars(self, *, stay: bool = True) -> Iterator[Bars]:
        """Show progress as long as this lasts; unless they `stay`, nothing is left of it."""
        if not self.lively:
            yield Bars(self, None)
            return
        columns: list[ProgressColumn] = [
            TextColumn(f"  {{task.description:<{NAME}}}", markup=False),
            SpinnerColumn(finished_text="✔"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[step]}", markup=False),
            TimeElapsedColumn(),
        ]
        progress = Progress(
            *columns, console=self._console, expand=self.width < WIDEST, transient=not stay
        )
        with progress:
            yield Bars(self, progress)

    # ---

    def _print(self, text: Text | str = "") -> None:
        try:
            self._console.print(text, no_wrap=True, overflow="ignore", crop=False)
        except OSError:
            if self.must_be_seen:
                raise

    def _row(self, head: Text, cells: Sequence[Text]) -> Text:
        room = self.width - self._figure * len(cells)
        plain = self._fit(head.plain, room - 1) if cells else head.plain
        row = Text(plain, head.style)
        if not cells:
            return row
        row.append(" " * (room - cell_len(plain)))
        for cell in cells:
            row.append(" " * max(1, self._figure - cell_len(cell.plain)))
            row.append(cell)
        return row

    def _latency(self, name: str, seconds: Mapping[str, float | None], late: Sequence[str]) -> Text:
        if name in late:
            return Text("late", "bold red")
        taken = seconds.get(name)
        if taken is None:
            return Text("–", "dim")
        return Text(_seconds(taken), "green" if taken < 3 else "yellow")

    def _fit(self, text: str, width: int) -> str:
        plain = "".join(each if each.isprintable() else " " for each in text)
        if cell_len(plain) <= width:
            return plain
        return set_cell_size(plain, max(1, width - 1)).rstrip() + "…"


def _figure(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return _seconds(value)
    return "–" if value is None else str(value)


def _seconds(value: float) -> str:
    """Never wider than a column."""
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} s"


def _of(done: int, total: int | None) -> str:
    return f"{done:,} of {total:,}" if total is not None else f"{done:,}"
