"""Unix sockets: bound with their rights from the first moment, paths of any length, and who asks.

Standard library alone: the command line imports this before anything else.
"""

from __future__ import annotations

import errno
import os
import pwd
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from azsyncd.errors import AzsyncdError

_BACKLOG = 128


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end of a unix socket, as the kernel vouches for it."""

    pid: int
    uid: int
    gid: int

    def __str__(self) -> str:
        try:
            return f"uid {self.uid} ({pwd.getpwuid(self.uid).pw_name})"
        except KeyError:
            return f"uid {self.uid}"


def bind_unix(path: Path, *, mode: int = 0o660) -> socket.socket:
    """A listening socket at `path` that only those whom `mode` admits can ever have opened.

    A socket file that a killed daemon left is replaced; one where somebody answers is refused.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path)
        _bind(listener, path, mode)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise AzsyncdError(
            f"cannot listen at {path}: {error.strerror}",
            "the directory must exist and be writable for azsyncd's user",
        ) from error
    except BaseException:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _bind(listener: socket.socket, path: Path, mode: int) -> None:
    # NB: the umask is the whole process's; start-up is single-threaded where this is called.
    before = os.umask(0o777 & ~mode)
    try:
        with _short(path) as address:
            listener.bind(address)
    finally:
        os.umask(before)


def connect_unix(path: Path, timeout: float | None = None) -> socket.socket:
    """A connection to whoever listens at `path`; raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    try:
        with _short(path) as address:
            connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def peer_of(connection: socket.socket) -> Peer:
    """Who connected, by the kernel's word."""
    size = struct.calcsize("3i")
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return Peer(*struct.unpack("3i", raw))


def _remove_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise AzsyncdError(f"{path} is in the way and is no socket", "move it away")
    except FileNotFoundError:
        return
    try:
        connect_unix(path, timeout=1.0).close()
    except OSError as error:
        if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
            with suppress(FileNotFoundError):
                path.unlink()
            return
        if error.errno in (errno.EACCES, errno.EPERM):
            raise AzsyncdError(
                f"{path} belongs to somebody else",
                "remove it, or run azsyncd as the user who made it",
            ) from error
    raise AzsyncdError(
        f"another process answers at {path}",
        "stop it first, or give this installation an admin.socket of its own",
    )


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """An address for the path: the kernel takes 107 bytes, directories may be deeper."""
    if len(os.fsencode(path)) < 108:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
