"""A daemon that only remembers, behind the real admin socket, and the command line beside it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import Mock, create_autospec

import pytest

from azsyncd.cli.app import run
from azsyncd.operations import Operations
from azsyncd.web.admin import Admin, serve_admin

CONFIG = """\
instance: azsyncd
entra:
  tenant_id: 11111111-2222-3333-4444-555555555555
  client_id: 66666666-7777-8888-9999-000000000000
  credential: {{client_secret: {{env: CLI_TEST_SECRET}}}}
scope:
  users: {{everybody: true}}
targets:
  jira:
    type: jira
    url: https://jira.example.com
    auth: {{token: {{env: CLI_TEST_TOKEN}}}}
state: {{path: {folder}/state/azsyncd.db}}
admin:
  socket: {folder}/admin.sock   # where the daemon answers
"""


@dataclass
class Said:
    """What one command line printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Azsyncd = Callable[..., Said]


class Daemon:
    """Operations that answer what a test tells them, on a socket in a thread of its own."""

    def __init__(self, socket: Path) -> None:
        self.operations = create_autospec(Operations, instance=True)
        self._socket = socket
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Daemon:
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def asked(self, operation: str) -> dict[str, Any]:
        """The arguments of the only call of an operation, without who asked."""
        (call,) = getattr(self.operations, operation).await_args_list
        return {name: value for name, value in call.kwargs.items() if name not in ("by", "tell")}

    def _serve(self) -> None:
        async def nothing() -> Any:
            return
            yield

        admin = Admin(
            operations=self.operations,
            ready=lambda: (True, "ready"),
            metrics=lambda: b"",
            metrics_type="text/plain",
            subscribe=nothing,
        )
        runner = self._loop.run_until_complete(serve_admin(admin, self._socket))
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good file, named by AZSYNCD_CONFIG."""
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG.format(folder=tmp_path))
    monkeypatch.setenv("AZSYNCD_CONFIG", str(file))
    return file


@pytest.fixture
def daemon(config: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A daemon that runs with this file; its log goes nowhere."""
    monkeypatch.setattr("azsyncd.web.operations._log", Mock())
    with Daemon(config.with_name("admin.sock")) as daemon:
        yield daemon


@pytest.fixture
def azsyncd(config: Path, capsys: pytest.CaptureFixture[str]) -> Azsyncd:
    """`azsyncd(arguments…)` as typed into a shell, its output not going to a terminal."""

    def run_it(*arguments: str) -> Said:
        code = run(list(arguments))
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return run_it


def change(kind: str, reason: str = "new", name: str = "anna@example.com", **more: Any) -> Any:
    """One ChangeRow."""
    return {
        "target": "jira",
        "change": kind,
        "reason": reason,
        "object_id": "0a1b",
        "name": name,
        "group": None,
        "before": None,
        "after": None,
        "withheld": None,
        "detail": "",
        "hint": "",
        **more,
    }


@pytest.fixture
def row() -> Callable[..., Any]:
    """`row(kind, reason, name, …)`: one change."""
    return change


@pytest.fixture
def target_plan() -> Callable[..., Any]:
    """`target_plan(rows, …)`: one target's plan with counts that fit the rows."""

    def make(*rows: Any, **more: Any) -> Any:
        changes: dict[str, int] = {}
        withheld: dict[str, int] = {}
        for each in rows:
            counts, key = (
                (changes, each["change"])
                if each["withheld"] is None
                else (withheld, each["withheld"])
            )
            counts[key] = counts.get(key, 0) + 1
        return {
            "target": "jira",
            "changes": changes,
            "withheld": withheld,
            "rows": list(rows),
            "budgets": {},
            "seats": [],
            "unexplained": 0,
            "seconds": 12.0,
            **more,
        }

    return make
