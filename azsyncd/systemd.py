"""What systemd is told, and the sockets that it hands over. Without systemd nothing happens.

https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

_FIRST_FD = 3


def notify(*lines: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Send state lines such as `READY=1`; False without a service manager that listens."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # an abstract socket: its name begins with a zero byte
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto("\n".join(lines).encode(), address)
        except OSError:
            return False  # a full or vanished notify socket must never stop a sync
    return True


def ready(status: str = "", *, environ: Mapping[str, str] = os.environ) -> bool:
    """Start-up, or a reload, is over."""
    return notify("READY=1", *_status(status), environ=environ)


def reloading(status: str = "", *, environ: Mapping[str, str] = os.environ) -> bool:
    """A reload begins; `ready` ends it.

    Type=notify-reload insists on the time at which it began, by CLOCK_MONOTONIC.
    """
    began = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    return notify("RELOADING=1", f"MONOTONIC_USEC={began}", *_status(status), environ=environ)


def status(text: str, *, environ: Mapping[str, str] = os.environ) -> bool:
    """The one line that `systemctl status` shows."""
    return notify(*_status(text), environ=environ)


def alive(*, environ: Mapping[str, str] = os.environ) -> bool:
    """The watchdog's food."""
    return notify("WATCHDOG=1", environ=environ)


def stopping(status: str = "", *, environ: Mapping[str, str] = os.environ) -> bool:
    """Shutting down has begun."""
    return notify("STOPPING=1", *_status(status), environ=environ)


def extend_timeout(seconds: float, *, environ: Mapping[str, str] = os.environ) -> bool:
    """Ask for more time to start or to stop, counted from now."""
    return notify(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}", environ=environ)


def watchdog_interval(environ: Mapping[str, str] = os.environ) -> float | None:
    """Seconds between two signs of life: half of what systemd allows; None = nobody watches."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    allowed = environ.get("WATCHDOG_USEC", "")
    return int(allowed) / 2e6 if allowed.isdecimal() and int(allowed) > 0 else None


def listen_fds(environ: Mapping[str, str] = os.environ) -> dict[str, list[socket.socket]]:
    """The listening sockets of the socket unit, by their FileDescriptorName.

    Each call makes new objects of the same descriptors: ask once.
    """
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        return {}
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    sockets: dict[str, list[socket.socket]] = {}
    for index in range(int(count)):
        descriptor = _FIRST_FD + index
        os.set_inheritable(descriptor, False)
        listener = socket.socket(fileno=descriptor)
        listener.setblocking(False)
        name = names[index] if index < len(names) and names[index] else "unknown"
        sockets.setdefault(name, []).append(listener)
    return sockets


def _status(text: str) -> list[str]:
    return [f"STATUS={' '.join(text.split())}"] if text else []
