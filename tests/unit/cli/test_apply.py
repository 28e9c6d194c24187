"""`plan --out` keeps a plan, `apply` hands it back, and says what became of it."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Azsyncd, Daemon

SAVED = {"format": "azsyncd-plan", "version": 1, "targets": [{"changes": [{}, {}]}]}
PLAN = {"outcome": "changes", "targets": [], "saved": SAVED}
APPLIED = {"made_at": "2026-11-24T20:00:00Z", "seconds": 2.0, "targets": []}


@pytest.mark.parametrize("style", ["text", "json", "csv"])
def test_a_plan_is_kept_for_its_owner_alone(
    daemon: Daemon, azsyncd: Azsyncd, tmp_path: Path, style: str
) -> None:
    """And JSON on standard output is what it is without."""
    daemon.operations.plan.return_value = PLAN
    file = tmp_path / "plan.json"
    file.write_text("an older one")
    file.chmod(0o644)
    said = azsyncd("plan", "--out", str(file), "--format", style)
    assert said.code == 2
    assert daemon.asked("plan")["keep"] is True
    assert json.loads(file.read_text()) == SAVED
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "saved" not in said.out
    assert (f"2 changes kept: `azsyncd apply {file}`" in said.out) is (style == "text")
    assert [each.name for each in tmp_path.iterdir() if "plan" in each.name] == ["plan.json"]


def test_where_no_plan_can_be_kept_is_said_before_the_work(
    daemon: Daemon, azsyncd: Azsyncd, tmp_path: Path
) -> None:
    """A plan of a large tenant takes its time."""
    for file, why in ((tmp_path, "is a directory"), (tmp_path / "no" / "x", "there is no folder")):
        said = azsyncd("plan", "--out", str(file))
        assert said.code == 1
        assert why in said.err
    daemon.operations.plan.assert_not_awaited()


def test_without_out_nothing_is_kept(daemon: Daemon, azsyncd: Azsyncd) -> None:
    """Nor asked for."""
    daemon.operations.plan.return_value = {"outcome": "nothing", "targets": []}
    azsyncd("plan")
    assert "keep" not in daemon.asked("plan")


@pytest.mark.parametrize(("outcome", "code"), [("applied", 0), ("failures", 1), ("moved", 4)])
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_the_outcome_of_apply_is_its_exit_code(
    daemon: Daemon, azsyncd: Azsyncd, tmp_path: Path, outcome: str, code: int, more: tuple[str, ...]
) -> None:
    """However it is printed."""
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(SAVED))
    daemon.operations.apply.return_value = {"outcome": outcome, **APPLIED}
    said = azsyncd("apply", str(file), "--target", "jira", *more)
    assert said.code == code
    assert daemon.asked("apply") == {"plan": SAVED, "target": "jira"}
    if more:
        assert said.json == {"outcome": outcome, **APPLIED}


def test_what_has_moved_is_listed_with_what_is_not_as_it_was(
    daemon: Daemon, azsyncd: Azsyncd, tmp_path: Path, row: Callable[..., Any]
) -> None:
    """In few lines."""
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(SAVED))
    target = {
        "target": "jira",
        "done": {"update": 2, "deactivate": 1},
        "already": 1,
        "moved": [row("deactivate", "disabled", detail="it is not wanted any more")],
        "failed": [],
    }
    daemon.operations.apply.return_value = {"outcome": "moved", **APPLIED, "targets": [target]}
    assert azsyncd("apply", str(file)).lines == [
        "jira: ~ 2 update, - 1 deactivate; 1 change already so",
        "  ! moved (1)",
        "    - deactivate   anna@example.com  (disabled in Entra)",
        "        it is not wanted any more",
        "Something had moved since the plan was made, and was left alone: plan again"
        " (planned 2026-11-24T20:00:00Z, 2.0 s)",
    ]


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "\x00"])
def test_a_file_that_is_no_plan_is_one_line(
    azsyncd: Azsyncd, daemon: Daemon, tmp_path: Path, text: str
) -> None:
    """Whatever it is."""
    file = tmp_path / "x"
    file.write_text(text)
    for name in (file, tmp_path / "not there"):
        said = azsyncd("apply", str(name))
        assert said.code == 1
        assert "azsyncd plan --out FILE makes a plan" in said.err
        assert said.err.count("\n") == 1
    daemon.operations.apply.assert_not_awaited()
