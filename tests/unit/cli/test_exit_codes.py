"""Exit codes are promises: scripts decide by them."""

from __future__ import annotations

from typing import Any

import pytest

from azsyncd.errors import AzsyncdError, ConfigError, Problem, StateError, TargetRefused

from .conftest import Azsyncd, Daemon

SYNC = {"users": 1, "groups": 1, "seconds": 1.0, "targets": []}
STATUS: dict[str, Any] = {
    "problems": [],
    "version": "1",
    "instance": "azsyncd",
    "running": True,
    "since": None,
    "config": {},
    "entra": {},
    "subscriptions": [],
    "credentials": [],
    "holds": 0,
    "targets": [],
}
LINE = {"subject": "entra", "message": "x", "hint": ""}
HOLD = {
    "id": 3,
    "target": "jira",
    "kind": "deactivate",
    "state": "open",
    "opened_at": "2026-11-24T20:00:00Z",
    "items": 1,
    "detail": "",
    "decided_by": None,
    "decided_at": None,
    "decision_reason": None,
}

CODES: list[tuple[str, Any, int]] = [
    ("plan", {"outcome": "nothing", "targets": []}, 0),
    ("plan", {"outcome": "changes", "targets": []}, 2),
    ("plan", {"outcome": "withheld", "targets": []}, 3),
    ("plan", {"outcome": "failed", "targets": []}, 1),
    ("sync", {"outcome": "converged", **SYNC}, 0),
    ("sync", {"outcome": "failures", **SYNC}, 1),
    ("sync", {"outcome": "held", **SYNC}, 3),
    ("status", {"health": "healthy", **STATUS}, 0),
    ("status", {"health": "held", **STATUS}, 3),
    ("status", {"health": "unhealthy", **STATUS}, 1),
    ("check", [{"verdict": "ok", **LINE}], 0),
    ("check", [{"verdict": "warning", **LINE}], 0),
    ("check", [{"verdict": "ok", **LINE}, {"verdict": "failed", **LINE}], 1),
    ("reload", {"outcome": "reloaded", "problems": []}, 0),
    ("reload", {"outcome": "unchanged", "problems": []}, 0),
    ("reload", {"outcome": "pending", "problems": []}, 0),
    ("reload", {"outcome": "rejected", "problems": ["config.yaml:3: x"]}, 78),
    ("reload --dry-run", {"outcome": "valid"}, 0),
    ("holds", [], 0),
    ("holds", [HOLD], 0),
    ("holds show 3", [HOLD], 0),
    ("holds show 3", [], 1),
    ("approve 3", HOLD, 0),
    ("reject 3", HOLD, 0),
    ("release anna@example.com", {"released": 1}, 0),
    ("explain anna", {"kind": "user", "entra": {}, "targets": []}, 0),
    ("history", [], 0),
    ("accounts", [], 0),
    ("subscriptions", [], 0),
    ("pause --reason x", {"targets": ["jira"], "until": None}, 0),
    ("resume", {"targets": []}, 0),
]


@pytest.mark.parametrize(("line", "result", "code"), CODES)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_the_outcome_is_the_exit_code(
    daemon: Daemon, azsyncd: Azsyncd, line: str, result: Any, code: int, as_json: bool
) -> None:
    """However it is printed; and JSON is what the daemon said."""
    command, *more = line.split()
    getattr(daemon.operations, command).return_value = result
    style = ["--format", "json"] if command in ("plan", "history", "accounts") else ["--json"]
    said = azsyncd(command, *more, *(style if as_json else ()))
    assert said.code == code
    if as_json and (line, result) != ("holds show 3", []):
        shown = said.json
        if command == "check":
            assert shown[0]["subject"] == "config"
            shown = shown[1:]
        assert shown == (result[0] if line == "holds show 3" else result)


ERRORS = [
    (AzsyncdError("who is that?", "try another"), 1, "azsyncd: who is that? — try another\n"),
    (StateError("the disk is full"), 1, "azsyncd: the disk is full\n"),
    (
        TargetRefused("jira wants a captcha", "log in"),
        1,
        "azsyncd: jira wants a captcha — log in\n",
    ),
    (
        ConfigError([Problem("a.b", "unknown", "c.yaml", 7, 3)], "see the docs"),
        78,
        "c.yaml:7:3: a.b: unknown\nazsyncd: see the docs\n",
    ),
    (KeyError("x"), 1, "azsyncd: internal error: KeyError — the daemon's log says where\n"),
]


@pytest.mark.parametrize(("error", "code", "told"), ERRORS, ids=[e[2][:30] for e in ERRORS])
@pytest.mark.parametrize("command", ["status", "plan", "holds", "sync"])
def test_an_error_is_a_line_and_no_traceback(
    daemon: Daemon, azsyncd: Azsyncd, command: str, error: Exception, code: int, told: str
) -> None:
    """With what to do; nothing on standard output that a script could take for a result."""
    getattr(daemon.operations, command).side_effect = error
    said = azsyncd(command)
    assert (said.code, said.out, said.err) == (code, "", told)
