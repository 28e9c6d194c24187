"""A progress bar, on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from azsyncd.operations import Progress

Tell = Callable[[Progress], None]


@contextmanager
def shown_progress() -> Iterator[Tell | None]:
    """Somebody to tell about progress; None where nobody is looking."""
    if not (_is_terminal(sys.stderr) and _is_terminal(sys.stdout)):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Bars

    bars = Bars(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    steps: dict[str, Any] = {}

    def tell(progress: Progress) -> None:
        step = progress["step"]
        if step not in steps:
            steps[step] = bars.add_task(step, total=progress["total"])
        bars.update(steps[step], completed=progress["done"], total=progress["total"])

    with bars:
        yield tell


def _is_terminal(stream: Any) -> bool:
    return stream is not None and stream.isatty()
