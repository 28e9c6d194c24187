"""Listeners: TCP, unix sockets, and those that systemd passes."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
import uvloop
from aiohttp import web

from azsyncd.web.listen import CannotListen, inherited_sockets, listen


async def hello(request: web.Request) -> web.Response:
    return web.Response(text="hello")


def new_app() -> web.Application:
    app = web.Application()
    app.router.add_get("/", hello)
    return app


@pytest.fixture
def app() -> web.Application:
    return new_app()


async def ask(path: Path) -> str:
    connector = aiohttp.UnixConnector(str(path))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://admin/") as answer,
    ):
        return await answer.text()


async def test_unix_socket_is_for_owner_and_group(app: Any, tmp_path: Path) -> None:
    """Mode 0660 from its first instant, and gone afterwards."""
    path = tmp_path / "admin.sock"
    async with listen(app, f"unix:{path}") as addresses:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert addresses == [f"unix:{path}"]
        assert await ask(path) == "hello"
    assert not path.exists()


def test_unix_socket_under_uvloop(app: Any, tmp_path: Path) -> None:
    """uvloop takes a unix socket for TCP unless it is told."""
    path = tmp_path / "admin.sock"

    async def main() -> str:
        async with listen(app, f"unix:{path}"):
            return await ask(path)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == "hello"


async def test_stale_socket_is_removed(app: Any, tmp_path: Path) -> None:
    """After kill -9 the next start works."""
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with listen(app, f"unix:{path}"):
        assert await ask(path) == "hello"


async def test_socket_in_use_is_left_alone(app: Any, tmp_path: Path) -> None:
    """A second daemon does not take the socket of the first."""
    path = tmp_path / "admin.sock"
    async with listen(app, f"unix:{path}"):
        with pytest.raises(CannotListen, match="another process"):
            async with listen(web.Application(), f"unix:{path}"):
                pass
        assert await ask(path) == "hello"


async def test_file_in_the_way_is_not_removed(app: Any, tmp_path: Path) -> None:
    """Only sockets are ever removed."""
    path = tmp_path / "admin.sock"
    path.write_text("precious")
    with pytest.raises(CannotListen, match="no socket"):
        async with listen(app, f"unix:{path}"):
            pass
    assert path.read_text() == "precious"


@pytest.mark.parametrize("address", ["9475", "host:", "unix", ":9475", "systemd:x"])
async def test_address_that_is_none(app: Any, address: str) -> None:
    """One clear line."""
    with pytest.raises(CannotListen):
        async with listen(app, address):
            pass


async def test_port_in_use_is_one_clear_line(app: Any) -> None:
    """No traceback."""
    async with listen(app, "127.0.0.1:0") as (address,):
        with pytest.raises(CannotListen, match=f"cannot listen on {address}: Address already"):
            async with listen(web.Application(), address):
                pass


async def test_tls(app: Any, tmp_path: Path) -> None:
    """A certificate of our own when no reverse proxy stands in front."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    async with (
        listen(app, "127.0.0.1:0", server) as (address,),
        aiohttp.ClientSession() as session,
        session.get(f"https://{address}/", ssl=trust) as answer,
    ):
        assert await answer.text() == "hello"


@pytest.fixture
def activated(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that systemd passed file descriptors from `first` on."""

    def activate(first: int, count: int, names: str = "") -> None:
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
        monkeypatch.setenv("LISTEN_FDS", str(count))
        monkeypatch.setenv("LISTEN_FDNAMES", names)
        monkeypatch.setattr("azsyncd.web.listen._FIRST_FD", first)

    return activate


@pytest.fixture
def two_in_a_row() -> Any:
    """Two listening sockets with neighbouring descriptors."""
    opened = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    first = 900
    for offset, each in enumerate(opened):
        os.dup2(each.fileno(), first + offset)
    yield first, [each.getsockname()[1] for each in opened]
    for offset, each in enumerate(opened):
        os.close(first + offset)
        each.close()


async def test_systemd_s_sockets_are_served_and_survive_a_reload(
    activated: Any, two_in_a_row: Any
) -> None:
    """Copies are served: the originals are there for the next listener of the same process."""
    first, ports = two_in_a_row
    activated(first, 2)
    for _ in range(2):
        async with listen(new_app(), "systemd") as addresses:
            assert addresses == [f"127.0.0.1:{port}" for port in ports]
            async with aiohttp.ClientSession() as session:
                for port in ports:
                    async with session.get(f"http://127.0.0.1:{port}/") as answer:
                        assert await answer.text() == "hello"


def test_sockets_are_told_apart_by_their_names(activated: Any, two_in_a_row: Any) -> None:
    """FileDescriptorName= says which is for whom; without a match all are taken."""
    first, ports = two_in_a_row
    activated(first, 2, "notifications:admin")
    for name, wanted in (("admin", ports[1:]), ("notifications", ports[:1]), ("other", ports)):
        found = inherited_sockets(name)
        assert [each.getsockname()[1] for each in found] == wanted
        for each in found:
            each.close()


def test_sockets_of_another_process_are_not_ours(
    activated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LISTEN_PID tells a parent's leftovers from what was passed to us."""
    activated(3, 1)
    monkeypatch.setenv("LISTEN_PID", "1")
    with pytest.raises(CannotListen, match="systemd passed no socket"):
        inherited_sockets()
