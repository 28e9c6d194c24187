"""What systemd hears from us, and the sockets that it passes on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from azsyncd import systemd


@pytest.fixture(params=["path", "abstract"])
def heard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager's notify socket, of both kinds."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        if request.param == "path":
            receiver.bind(str(tmp_path / "notify"))
        else:
            receiver.bind(f"\0azsyncd-test-{os.getpid()}")
        receiver.settimeout(2)
        yield receiver


def environ(heard: socket.socket) -> dict[str, str]:
    address = heard.getsockname()
    name = "@" + address[1:].decode() if isinstance(address, bytes) else address
    return {"NOTIFY_SOCKET": name}


MESSAGES = [
    (lambda e: systemd.ready("1,000 users", environ=e), "READY=1\nSTATUS=1,000 users"),
    (lambda e: systemd.ready(environ=e), "READY=1"),
    (lambda e: systemd.status("two\nlines", environ=e), "STATUS=two lines"),
    (lambda e: systemd.alive(environ=e), "WATCHDOG=1"),
    (lambda e: systemd.stopping(environ=e), "STOPPING=1"),
    (lambda e: systemd.extend_timeout(1.5, environ=e), "EXTEND_TIMEOUT_USEC=1500000"),
]


@pytest.mark.parametrize(("send", "message"), MESSAGES, ids=[m for _, m in MESSAGES])
def test_each_state_is_told_in_systemds_words(
    heard: socket.socket, send: object, message: str
) -> None:
    """Over sockets with a path and abstract ones."""
    assert callable(send)
    assert send(environ(heard))
    assert heard.recv(1000).decode() == message


def test_a_reload_says_when_it_began(heard: socket.socket) -> None:
    """Type=notify-reload waits for a READY that is newer than that."""
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert systemd.reloading("reading the file", environ=environ(heard))
    first, second, third = heard.recv(1000).decode().splitlines()
    assert first == "RELOADING=1"
    key, _, value = second.partition("=")
    assert key == "MONOTONIC_USEC"
    assert before <= int(value) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert third == "STATUS=reading the file"


@pytest.mark.parametrize("address", ["", "vsock:1:2", "/nowhere/notify"])
def test_without_a_listener_nothing_happens(address: str) -> None:
    """In a shell, in a container, and after the manager went away."""
    assert systemd.ready(environ={"NOTIFY_SOCKET": address}) is False


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_fed_twice_in_its_time(
    environ: dict[str, str], seconds: float | None
) -> None:
    """None where nobody watches this process."""
    assert systemd.watchdog_interval(environ) == seconds


def test_sockets_are_taken_over_by_their_names(tmp_path: Path) -> None:
    """In a process that was started with them from descriptor 3 on."""
    code = (
        "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "from azsyncd import systemd\n"
        "for name, sockets in systemd.listen_fds().items():\n"
        "    for s in sockets: print(name, s.getsockname(), s.getblocking(), s.get_inheritable())"
    )
    listeners = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    try:
        for index, listener in enumerate(listeners):
            listener.bind(str(tmp_path / str(index)))
            listener.listen()
        shell = " ".join(
            f"{3 + index}<&{listener.fileno()}" for index, listener in enumerate(listeners)
        )
        done = subprocess.run(
            ["/bin/bash", "-c", f'exec "$0" "$@" {shell}', sys.executable, "-c", code],
            pass_fds=[listener.fileno() for listener in listeners],
            env={**os.environ, "LISTEN_FDS": "3", "LISTEN_FDNAMES": "notifications:admin"},
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        for listener in listeners:
            listener.close()
    assert done.stdout.splitlines() == [
        f"notifications {tmp_path}/0 False False",
        f"admin {tmp_path}/1 False False",
        f"unknown {tmp_path}/2 False False",
    ]


@pytest.mark.parametrize(
    "environ", [{}, {"LISTEN_FDS": "1", "LISTEN_PID": "1"}, {"LISTEN_FDS": "x"}]
)
def test_another_processs_sockets_are_left_alone(environ: dict[str, str]) -> None:
    """LISTEN_PID says whose they are."""
    assert systemd.listen_fds(environ) == {}
