"""What the demo says about the daemon's progress."""

from __future__ import annotations

from typing import Any

import pytest

from azsyncd.cli.demo.story import all_of, progress_of


def status(revision: int, crawl: dict[str, int] | None = None) -> Any:
    """As much of a status as is looked at."""
    target = {"target": "jira", "step": "reading groups", "done": 3, "total": 60}
    return {"entra": {"revision": revision, "crawl": crawl}, "targets": [target]}


def test_while_entra_is_read_its_objects_are_counted() -> None:
    assert progress_of(status(0)) == ({"entra": (0, None)}, {"entra": "objects read"})
    figures, _ = progress_of(status(0, {"pages": 4, "objects": 700}))
    assert figures == {"entra": (700, None)}


def test_then_each_product_says_what_is_done_there_and_how_far_it_is() -> None:
    assert progress_of(status(1)) == ({"jira": (3, 60)}, {"jira": "reading groups"})


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "The product is"),
        (2, "Both products are"),
        (3, "All three products are"),
        (5, "All five products are"),
    ],
)
def test_products_are_counted_in_words(count: int, text: str) -> None:
    assert all_of(["any"] * count) == text
