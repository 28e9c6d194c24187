"""Whatever waits says how often it was tried, when again, and which command helps."""

from __future__ import annotations

import shlex

import pytest
import typer

from azsyncd.cli.app import app
from azsyncd.engine.figures import helping, tried
from azsyncd.model.changes import Withheld


@pytest.mark.parametrize("reason", list(Withheld))
def test_each_reason_has_a_command_that_there_is(reason: Withheld) -> None:
    words = shlex.split(helping(reason.value, "jira", "Jo O'Neill"))
    command = typer.main.get_command(app)
    assert words[0] == "azsyncd"
    found = command.commands[words[1]]  # type: ignore[attr-defined]
    known = {option for each in found.params for option in each.opts}
    assert all(word in known for word in words[2:] if word.startswith("-"))
    if "explain" in words:
        assert words[2:] == ["Jo O'Neill"]


def test_how_often_and_when_again_is_one_clause() -> None:
    assert tried(0, None) == ""
    assert tried(1, None) == "refused once"
    assert tried(3, 1_795_435_200.0) == "refused 3 times, tried again at 2026-11-23T12:00:00Z"
