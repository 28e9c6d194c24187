"""Opens a listener: `HOST:PORT`, `unix:/path` or `systemd` (socket activation).

https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from azsyncd.errors import AzsyncdError

_FIRST_FD = 3
_SOCKET_MODE = 0o660
_BACKLOG = 128
_SHUTDOWN = 5.0


class CannotListen(AzsyncdError):
    """The listener could not be opened."""


@asynccontextmanager
async def listen(
    app: web.Application,
    address: str,
    ssl_context: ssl.SSLContext | None = None,
    *,
    name: str | None = None,
) -> AsyncIterator[Sequence[str]]:
    """Serve the application while the context lasts; gives the addresses that are really bound.

    With `systemd` all sockets that were passed are served, or those called `name`
    (FileDescriptorName=) where there are such. Access is not logged. Raises CannotListen.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=_SHUTDOWN,
        keepalive_timeout=75,
        lingering_time=0.5,  # of a body that was refused
    )
    await runner.setup()
    sockets: list[socket.socket] = []
    try:
        sockets = _open(address, name)
        for opened in sockets:
            await _Site(runner, opened, ssl_context).start()
        yield [_name(opened) for opened in sockets]
    finally:
        await runner.cleanup()
        _close(sockets)
        if sockets and address.startswith("unix:"):  # never somebody else's
            Path(address.removeprefix("unix:")).unlink(missing_ok=True)


def _open(address: str, name: str | None) -> list[socket.socket]:
    try:
        if address.startswith("unix:"):
            return [_unix_socket(Path(address.removeprefix("unix:")))]
        return inherited_sockets(name) if address == "systemd" else _tcp_sockets(address)
    except OSError as error:
        raise CannotListen(
            f"cannot listen on {address}: {error.strerror or error}",
            "is another process using it, and may azsyncd?",
        ) from None


def inherited_sockets(name: str | None = None) -> list[socket.socket]:
    """The sockets that systemd passed, as copies: the originals serve the next reload."""
    count = int(os.environ.get("LISTEN_FDS") or 0)
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or count < 1:
        raise CannotListen(
            "systemd passed no socket", "start the socket unit, or write HOST:PORT as listen"
        )
    names = (os.environ.get("LISTEN_FDNAMES") or "").split(":")
    fds = list(range(_FIRST_FD, _FIRST_FD + count))
    named = [fd for fd, called in zip(fds, names, strict=False) if name and called == name]
    found = []
    for fd in named or fds:
        os.set_inheritable(fd, False)
        copy = socket.socket(fileno=os.dup(fd))
        copy.setblocking(False)
        found.append(copy)
    return found


class _Site(web.BaseSite):
    """A socket that is bound already; uvloop wants to be told that one is a unix socket."""

    def __init__(
        self, runner: web.AppRunner, opened: socket.socket, context: ssl.SSLContext | None
    ) -> None:
        super().__init__(runner, ssl_context=context, backlog=_BACKLOG)
        self._opened = opened

    @property
    def name(self) -> str:
        return _name(self._opened)

    async def start(self) -> None:
        await super().start()
        server = self._runner.server
        assert server is not None
        loop = asyncio.get_running_loop()
        open_ = (
            loop.create_unix_server if self._opened.family == socket.AF_UNIX else loop.create_server
        )
        self._server = await open_(
            server, sock=self._opened, ssl=self._ssl_context, backlog=self._backlog
        )


def _tcp_sockets(address: str) -> list[socket.socket]:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not port.isdigit() or not host:
        raise CannotListen(f"{address!r} is no address", "write HOST:PORT, unix:/path or systemd")
    found: list[socket.socket] = []
    failed: OSError | None = None
    for family, _, _, _, where in socket.getaddrinfo(
        host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        try:
            found.append(_bound(family, where))
        except OSError as error:
            # `localhost` names ::1 also where the kernel has no IPv6.
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                _close(found)
                raise
            failed = error
    if not found and failed is not None:
        raise failed
    return found


def _bound(family: int, where: Any) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(where)
    except OSError:
        opened.close()
        raise
    opened.setblocking(False)
    return opened


def _close(sockets: Sequence[socket.socket]) -> None:
    for opened in sockets:
        opened.close()


def _unix_socket(path: Path) -> socket.socket:
    _remove_stale(path)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old = os.umask(0o777 & ~_SOCKET_MODE)  # nobody else may connect, not even for an instant
    try:
        opened.bind(str(path))
    except OSError:
        opened.close()
        raise
    finally:
        os.umask(old)
    opened.setblocking(False)
    return opened


def _remove_stale(path: Path) -> None:
    """Remove a socket that a killed process left; never one that somebody answers on."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotListen(f"{path} is there and is no socket", "remove it, or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError:
            pass  # it is somebody's, and busy
    raise CannotListen(f"another process listens on {path}", "is azsyncd running already?")


def _name(opened: socket.socket) -> str:
    where = opened.getsockname()
    if opened.family == socket.AF_UNIX:
        return f"unix:{where}"
    host, port = where[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
