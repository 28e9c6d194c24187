"""Unix sockets: paths of any length, and who is at the other end."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from azsyncd.errors import AzsyncdError
from azsyncd.sockets import Peer, bind_unix, connect_unix, peer_of


def test_a_path_longer_than_the_kernel_takes_works(tmp_path: Path) -> None:
    """107 bytes are few below a deep directory."""
    path = tmp_path / ("d" * 100) / ("e" * 50) / "admin.sock"
    listener = bind_unix(path)
    try:
        with connect_unix(path, timeout=1) as caller:
            connection, _ = listener.accept()
            with connection:
                assert peer_of(connection) == Peer(os.getpid(), os.getuid(), os.getgid())
                caller.sendall(b"x")
    finally:
        listener.close()


def test_a_peer_is_named_by_number_and_name() -> None:
    """The number alone where nobody has it."""
    assert str(Peer(1, 0, 0)) == "uid 0 (root)"
    assert str(Peer(1, 4_000_000, 0)) == "uid 4000000"


def test_a_directory_that_cannot_be_used_is_explained(tmp_path: Path) -> None:
    """With what to do about it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(AzsyncdError, match="cannot listen at"):
        bind_unix(tmp_path / "file" / "admin.sock")


def test_nobody_at_the_path_is_an_os_error(tmp_path: Path) -> None:
    """The caller decides what that means."""
    with pytest.raises(FileNotFoundError):
        connect_unix(tmp_path / "admin.sock")


@pytest.mark.skipif(os.getuid() == 0, reason="root may connect to every socket")
def test_a_socket_that_we_may_not_touch_is_named_as_such(tmp_path: Path) -> None:
    """Nobody may answer there at all: it is a matter of rights."""
    path = tmp_path / "admin.sock"
    bind_unix(path).close()
    path.chmod(0)
    with pytest.raises(AzsyncdError, match="belongs to somebody else"):
        bind_unix(path)


def test_a_socket_that_refuses_us_is_named_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for root, whom no file's rights stop."""
    path = tmp_path / "admin.sock"
    bind_unix(path).close()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("azsyncd.sockets.connect_unix", refuse)
    with pytest.raises(AzsyncdError, match="belongs to somebody else"):
        bind_unix(path)
