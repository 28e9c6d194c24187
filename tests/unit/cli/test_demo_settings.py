"""The demo's folder: a configuration that is valid, and secrets that nobody else can read."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from azsyncd.cli.demo import settings
from azsyncd.cli.demo.choice import ALL
from azsyncd.config import load

PASSWORD = {"username": "azsyncd", "password": "very-secret"}
READY: Mapping[str, Any] = {
    "tenant_id": "11111111-2222-3333-4444-555555555555",
    "client_id": "66666666-7777-8888-9999-000000000000",
    "client_secret": "very-secret",
    "addresses": {
        "login": "https://127.0.0.1:1001",
        "graph": "https://127.0.0.1:1002",
    },
    "targets": {
        name: {
            "type": name,
            "version": "1.2",
            "url": f"https://127.0.0.1:1003/{name}",
            **({"token": "very-secret"} if name != "crowd" else PASSWORD),
            **({"directory_id": "7d1c2f0e"} if name == "cloud" else {}),
        }
        for name in ALL
    },
}


def ready(folder: Path) -> dict[str, Any]:
    files = {"ca_file": folder / "ca.pem", "webhook_file": folder / "webhook.pem"}
    for path in files.values():
        path.write_text("")
        path.chmod(0o600)
    return {**READY, **{name: str(path) for name, path in files.items()}}


@pytest.mark.parametrize("name", ["plain", "with blank", 'quote " and #: {x}', "süß"])
def test_the_configuration_is_valid_wherever_the_folder_is(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    file = settings.write(folder, ready(folder), 4711)
    config = load(file).config
    assert config.notifications.listen == "127.0.0.1:4711"
    assert config.notifications.public_url == "https://127.0.0.1:4711/notifications"
    assert config.state.path == str(folder / "azsyncd.db")
    assert config.admin.socket == str(folder / "admin.sock")
    assert list(config.targets) == list(ALL)
    assert all(each.guard == config.targets["jira"].guard for each in config.targets.values())
    assert config.targets["cloud"].directory_id == "7d1c2f0e"
    keep = [name for name, each in config.targets.items() if each.accounts.attributes]
    assert keep == ["crowd", "cloud"]


def test_a_product_that_takes_no_tokens_is_given_name_and_password(tmp_path: Path) -> None:
    told = ready(tmp_path)
    told["targets"] = {"jira": {**told["targets"]["crowd"], "type": "jira"}}
    config = load(settings.write(tmp_path, told, 4711)).config
    assert list(config.targets) == ["jira"]
    auth = config.targets["jira"].auth
    assert (auth.username, auth.token) == ("azsyncd", None)


def test_secrets_are_files_for_us_alone_and_not_in_the_configuration(tmp_path: Path) -> None:
    file = settings.write(tmp_path, ready(tmp_path), 4711)
    assert "very-secret" not in file.read_text()
    for _, secret in load(file).config.secrets():
        assert secret.kind == "file"
    for name in ("entra_secret", "jira_token", "cloud_token", "crowd_password"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0
        assert (tmp_path / name).read_text().startswith("very-secret")


def test_a_folder_that_is_too_deep_for_a_socket_is_made_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    folder = settings.make_folder()
    try:
        assert not folder.is_relative_to(deep)
        assert list(deep.iterdir()) == []
    finally:
        folder.rmdir()


def test_a_reserved_port_can_be_listened_on_and_is_given_to_nobody_else() -> None:
    with settings.reserve_port() as reserved, socket.socket() as daemon, socket.socket() as other:
        where = reserved.getsockname()
        daemon.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        daemon.bind(where)
        daemon.listen()
        with socket.create_connection(where, 1):
            pass
        with pytest.raises(OSError):
            other.bind(where)
