"""Every product that there is a connector for can be named in the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Problems = Callable[..., dict[str, str]]
CROWD = {"token": ..., "username": "azsyncd", "password": {"env": "CROWD"}}


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("jira", {}),
        ("confluence", {}),
        ("bitbucket", {}),
        ("crowd", {"auth": CROWD}),
        ("cloud", {"directory_id": "7d1c2f0e-1111-4222-8333-944445555666"}),
    ],
)
def test_each_product_can_be_a_target(
    problems: Problems, jira: Callable[..., dict[str, Any]], kind: str, more: dict[str, Any]
) -> None:
    """None of them is left for another version."""
    assert problems(**jira(type=kind, **more)) == {}


@pytest.mark.parametrize("value", [[], {}, ["x"], 7])
def test_a_directory_id_of_the_wrong_kind_is_explained(
    problems: Problems, jira: Callable[..., dict[str, Any]], value: Any
) -> None:
    """Also to the check that compares it with those of other targets."""
    assert "targets.jira.directory_id" in problems(**jira(type="cloud", directory_id=value))
