"""Where a question goes: through the daemon's socket if one runs, else it is answered here."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from azsyncd.cli import connect
from azsyncd.cli.connect import DEFAULT_SOCKET, ask, ask_daemon, is_running, socket_of
from azsyncd.errors import AzsyncdError, ConfigError, StateError

from .conftest import Azsyncd, Daemon

SOCKETS = [
    ("", None),
    ("entra: {}\n", None),
    ("admin:\n  socket: /x/y.sock\n", "/x/y.sock"),
    ("admin:\n    socket:   '/x/y y.sock'   # here\nstate: {}\n", "/x/y y.sock"),
    ('admin:\n  metrics: 127.0.0.1:1\n  socket: "/x/ü.sock"\n', "/x/ü.sock"),
    ("admin:   # ours\n\n  # socket: /not/this\n  socket: /x/z\n", "/x/z"),
    ("# admin:\n#   socket: /x/z\nentra: {}\n", None),
    ("other:\n  socket: /x/z\nadmin:\n  metrics: 127.0.0.1:1\n", None),
    ("admin:\n  metrics: 127.0.0.1:1\nother:\n  socket: /x/z\n", None),
]


@pytest.mark.parametrize(("text", "path"), SOCKETS)
def test_the_socket_is_found_without_a_parser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, path: str | None
) -> None:
    """Also in a file that is wrong elsewhere: the daemon still runs with the old one."""
    monkeypatch.setattr("azsyncd.config.load", lambda _: pytest.fail("the whole file was read"))
    file = tmp_path / "config.yaml"
    file.write_text(text)
    assert socket_of(file) == (Path(path) if path else DEFAULT_SOCKET)


@pytest.mark.parametrize(
    "admin", ["admin: {socket: FOLDER/x.sock}", "admin: &a\n  socket: FOLDER/x.sock"]
)
def test_the_rest_is_left_to_the_parser(config: Path, admin: str) -> None:
    """Flow style, anchors and the like."""
    text = config.read_text().split("admin:")[0]
    config.write_text(text + admin.replace("FOLDER", str(config.parent)) + "\n")
    assert socket_of(config) == config.with_name("x.sock")


@pytest.mark.parametrize(
    "text",
    [
        '{"entra": 1, "admin": {"metrics": "x", "socket": "/x/y.sock"}, "targets": {"a": {}}}',
        "admin: {socket: /x/y.sock}\nentra: {}\n",
        'admin: {"socket": "/x/y.sock", metrics: a}\nentra: [\n',
    ],
)
def test_a_file_that_is_wrong_keeps_nobody_from_the_daemon(tmp_path: Path, text: str) -> None:
    """In flow style too, or in JSON; and where it is no YAML at all."""
    file = tmp_path / "config.yaml"
    file.write_text(text)
    assert socket_of(file) == Path("/x/y.sock")


def test_no_file_is_needed_to_find_the_daemon(tmp_path: Path) -> None:
    """It is where it always is."""
    assert socket_of(tmp_path / "nothing.yaml") == DEFAULT_SOCKET


def test_a_running_daemon_is_asked(daemon: Daemon, config: Path) -> None:
    """With what was given, and nothing else."""
    daemon.operations.history.return_value = [{"at": "now"}]
    assert is_running(config)
    assert ask(config, "history", user="jo", target=None, limit=5) == [{"at": "now"}]
    assert daemon.asked("history") == {"user": "jo", "limit": 5}


def test_progress_is_passed_on(daemon: Daemon, config: Path) -> None:
    """While the daemon works."""

    async def sync(*, by: str, tell: Any, **_: Any) -> dict[str, Any]:
        tell({"step": "Reading Entra", "done": 1, "total": None})
        return {"outcome": "converged"}

    daemon.operations.sync = sync
    told: list[Any] = []
    assert ask(config, "sync", tell=told.append) == {"outcome": "converged"}
    assert told == [{"step": "Reading Entra", "done": 1, "total": None}]


def test_sudo_says_for_whom(daemon: Daemon, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon believes root alone."""
    monkeypatch.setenv("SUDO_USER", "jo")
    daemon.operations.resume.return_value = {"targets": []}
    ask(config, "resume")
    by = daemon.operations.resume.await_args.kwargs["by"]
    assert by.startswith(f"uid {os.getuid()}")
    assert by.endswith(" for jo") == (os.getuid() == 0)


def test_what_only_a_daemon_can_do(azsyncd: Azsyncd) -> None:
    """How to start one."""
    said = azsyncd("reload")
    assert (said.code, said.out) == (1, "")
    assert "no daemon answers at" in said.err
    assert "systemctl start azsyncd" in said.err


def test_a_socket_that_a_killed_daemon_left_is_no_daemon(config: Path) -> None:
    """kill -9 leaves the file behind."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(config.with_name("admin.sock")))
    assert not is_running(config)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_a_socket_that_one_may_not_open(daemon: Daemon, config: Path) -> None:
    """What to do."""
    config.with_name("admin.sock").chmod(0)
    with pytest.raises(AzsyncdError, match=r"you may not talk to the daemon .* as root"):
        ask(config, "status")


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[None]:
    """Somebody at the socket who says just this, and hangs up."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(5)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        HEAD,
        HEAD + b'{"progress": {"step": "x", "done": 1, "total": 2}}\n',
        HEAD + b'{"result": {"outc',
        b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>",
    ],
)
def test_an_answer_that_was_cut_off_is_no_answer(config: Path, answer: bytes) -> None:
    """The daemon was killed in between."""
    with (
        answering(config.with_name("admin.sock"), answer),
        pytest.raises(AzsyncdError, match="the daemon went away before its answer was complete"),
    ):
        ask_daemon(config, "status")


class Offline:
    """Stands for the daemon's own `offline`: operations without a daemon."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.asked: dict[str, Any] = {}

    def __call__(self, config: Path) -> Offline:
        return self

    async def __aenter__(self) -> Offline:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def operation(**arguments: Any) -> Any:
            self.asked = {"operation": name, **arguments}
            return self.result

        return operation


def test_without_a_daemon_it_is_done_right_here(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With who asks, which the socket would have told."""
    offline = Offline({"outcome": "converged"})
    monkeypatch.setattr("azsyncd.daemon.offline", offline)
    monkeypatch.setattr("azsyncd.cli.privileges.step_down", lambda _: None)
    monkeypatch.setattr("azsyncd.logs.configure", lambda *_: None)
    assert ask(config, "sync", target="jira", user=None) == {"outcome": "converged"}
    assert offline.asked.pop("by").startswith(f"uid {os.getuid()}")
    assert offline.asked == {"operation": "sync", "target": "jira", "tell": None}


@pytest.fixture
def locked(config: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another azsyncd has the state's lock."""
    monkeypatch.setattr("azsyncd.cli.privileges.step_down", lambda _: None)
    monkeypatch.setattr("azsyncd.logs.configure", lambda *_: None)
    (config.parent / "state").mkdir()
    with (config.parent / "state" / "azsyncd.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.mark.usefixtures("locked")
def test_a_daemon_that_is_starting_is_waited_for(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the lock, and no socket yet."""
    daemon = Daemon(config.with_name("admin.sock"))
    daemon.operations.holds.return_value = []
    looks: list[float] = []

    def look_again(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            daemon.__enter__()

    monkeypatch.setattr("time.sleep", look_again)
    assert ask(config, "holds") == []
    daemon.__exit__()
    assert len(looks) == 2


@pytest.mark.usefixtures("locked")
def test_a_state_that_stays_locked_is_told(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else is at work on it, without a daemon."""
    looks: list[float] = []
    monkeypatch.setattr("time.sleep", looks.append)
    with pytest.raises(StateError, match="in use by another azsyncd"):
        ask(config, "holds")
    assert sum(looks) == 5


def test_a_backup_through_the_daemon_is_ours_alone(
    daemon: Daemon, azsyncd: Azsyncd, tmp_path: Path
) -> None:
    """It writes beside its state, where it may; the copy is made here."""
    (tmp_path / "state").mkdir()

    async def backup(*, file: str) -> dict[str, Any]:
        assert Path(file).parent == tmp_path / "state"
        Path(file).write_bytes(b"x" * 1234)
        return {"file": file, "bytes": 1234}

    daemon.operations.backup = backup
    said = azsyncd("backup", str(tmp_path / "copy.db"))
    assert (said.code, said.out) == (0, f"{tmp_path / 'copy.db'}: 1,234 bytes\n")
    assert (tmp_path / "copy.db").read_bytes() == b"x" * 1234
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    assert list((tmp_path / "state").iterdir()) == []


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("", "is a directory"),
        ("config.yaml", "is there already"),
        ("nowhere/copy.db", "cannot write to"),
    ],
)
def test_a_backup_never_writes_over_anything(
    daemon: Daemon, azsyncd: Azsyncd, tmp_path: Path, place: str, told: str
) -> None:
    """Nor does it leave anything behind."""
    (tmp_path / "state").mkdir()

    async def backup(*, file: str) -> dict[str, Any]:
        Path(file).write_bytes(b"x")
        return {"file": file, "bytes": 1}

    daemon.operations.backup = backup
    before = sorted(tmp_path.rglob("*"))
    said = azsyncd("backup", str(tmp_path / place))
    assert (said.code, said.out) == (1, "")
    assert told in said.err
    assert sorted(tmp_path.rglob("*")) == before


def test_there_is_nothing_to_back_up_before_the_first_sync(
    azsyncd: Azsyncd, tmp_path: Path
) -> None:
    """And no empty state is made for it."""
    said = azsyncd("backup", str(tmp_path / "copy.db"))
    assert said.code == 1
    assert "there is no state at" in said.err
    assert not (tmp_path / "state").exists()


def test_what_is_sent_is_plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request a connection; a name that is no name is not passed on."""
    monkeypatch.setenv("SUDO_USER", "jo\r\nX-Evil: 1")
    head, _, body = connect._request("pause", {"reason": "Wartung für März"}).partition(b"\r\n\r\n")
    assert head.splitlines()[0] == b"POST /api/v1/ops/pause HTTP/1.0"
    assert b"Evil" not in head
    assert json.loads(body) == {"reason": "Wartung für März"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_that_works_itself_ends_in_order(
    config: Path, number: signal.Signals, code: int
) -> None:
    """What is in flight is finished, the state is closed; no traceback."""
    script = (
        "import asyncio, contextlib, sys\n"
        "from azsyncd import daemon\nfrom azsyncd.cli import privileges\n"
        "class Slow:\n"
        "    async def sync(self, **_):\n"
        "        print('begun', flush=True)\n"
        "        await asyncio.sleep(20)\n"
        "@contextlib.asynccontextmanager\n"
        "async def offline(path):\n"
        "    try:\n        yield Slow()\n"
        "    finally:\n        print('closed', flush=True)\n"
        "daemon.offline = offline\nprivileges.step_down = lambda _: None\n"
        "from azsyncd.cli.app import run\nsys.exit(run(['sync']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (code, b"closed\n", b"")


def test_a_reload_of_a_file_that_is_none_names_its_problem(tmp_path: Path) -> None:
    """Where its daemon listens stands in it: that it cannot be found is the lesser problem."""
    file = tmp_path / "config.yaml"
    file.write_text("admin: [\n")
    with pytest.raises(ConfigError):
        ask_daemon(file, "reload")
