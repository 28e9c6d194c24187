"""`azsyncd demo` as it is typed: real processes, TLS, signals, and nothing left behind."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]

LINE = re.compile(r"^  Folder +(\S+)$", re.MULTILINE)


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    """Everything temporary goes where it can be looked at."""
    return {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}


def start(environment: Mapping[str, str], *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "azsyncd", "demo", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    )


def processes_that_name(folder: Path) -> list[str]:
    """Command lines of living processes in which the folder occurs."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(folder) in words:
                found.append(words)
    return found


def until(process: subprocess.Popen[str], text: str, seconds: float = 60.0) -> str:
    """Everything that is printed up to a line with this text."""
    assert process.stdout is not None
    printed, deadline = "", time.monotonic() + seconds
    for line in process.stdout:
        printed += line
        if text in line:
            return printed
        assert time.monotonic() < deadline, printed
    raise AssertionError(printed)


@pytest.fixture
def running(environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = start(environment, "--users", "30", "--minutes", "5", "--targets", "jira,crowd")
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait(40)
    if process.stdout is not None:
        process.stdout.close()


def test_once_ends_with_all_products_equal_and_leaves_nothing_behind(
    environment: Mapping[str, str], tmp_path: Path
) -> None:
    process = start(environment, "--once", "--users", "30")
    printed, _ = process.communicate(timeout=150)
    assert process.returncode == 0, printed
    assert "All five products are exactly as the tenant says" in printed
    assert "azsyncd approve 1 --expect" in printed
    assert "; killed over them" in printed
    assert "\x1b" not in printed
    assert " s     " in re.search(r"^  Rosa .*joins.*$", printed, re.MULTILINE)[0]  # type: ignore[index]
    assert list(tmp_path.iterdir()) == []
    assert processes_that_name(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_every_process_in_the_middle_of_the_first_sync(
    running: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    until(running, "has been read")
    assert len(processes_that_name(tmp_path)) >= 2
    running.send_signal(number)
    printed, _ = running.communicate(timeout=40)
    assert running.returncode == 130, printed
    assert "Traceback" not in printed
    assert processes_that_name(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_has_seen_enough_ends_it(
    running: subprocess.Popen[str], tmp_path: Path
) -> None:
    until(running, "has been read")
    assert running.stdout is not None
    running.stdout.close()
    assert running.wait(60) in (0, 130)
    assert processes_that_name(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_that_is_closed_ends_it(environment: Mapping[str, str], tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "azsyncd", "demo", "--users", "30", "--targets", "jira"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environment, "TERM": "xterm"},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    seen, deadline = b"", time.monotonic() + 60
    while b"has been read" not in seen:
        assert time.monotonic() < deadline, seen
        seen += os.read(ours, 65536)
    os.close(ours)
    assert process.wait(60) == 130
    assert processes_that_name(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_the_folder_has_what_the_hint_says_and_is_kept_with_the_log_of_a_daemon_that_dies(
    running: subprocess.Popen[str], tmp_path: Path
) -> None:
    printed = until(running, "Everyday changes")
    folder = Path(LINE.search(printed)[1])  # type: ignore[index]
    done = subprocess.run(
        [sys.executable, "-m", "azsyncd", "--config", str(folder / "config.yaml"), "status"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "jira" in done.stdout
    for secret in ("entra_secret", "jira_token", "crowd_password"):
        assert (folder / secret).stat().st_mode & 0o077 == 0
    (daemon,) = pids_with(f"run --config {folder}")
    os.kill(daemon, signal.SIGKILL)
    printed, _ = running.communicate(timeout=60)
    assert running.returncode == 1, printed
    assert "the daemon" in printed
    assert "daemon.started" in printed or "run.completed" in printed
    assert "Traceback" not in printed
    assert (folder / "azsyncd.log").stat().st_size > 0
    assert processes_that_name(tmp_path) == []


def pids_with(words: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if words in line:
                found.append(int(entry.name))
    return found
