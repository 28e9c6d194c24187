"""Secrets by reference."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from azsyncd.config import Loaded, Secret, secrets, shown
from azsyncd.errors import ConfigError


def test_a_credential_is_found_in_the_units_directory_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then in /etc, so that the same file works in a shell."""
    unit, etc = tmp_path / "unit", tmp_path / "etc"
    unit.mkdir()
    etc.mkdir()
    monkeypatch.setattr(secrets, "CREDENTIALS", etc)
    (etc / "token").write_text("from etc\n")
    secret = Secret("credential", "token")
    environment = {"CREDENTIALS_DIRECTORY": str(unit)}
    assert secret.read({}) == "from etc"
    assert secret.read(environment) == "from etc"
    (unit / "token").write_text("from the unit\n")
    assert secret.read(environment) == "from the unit"
    assert secret.read({}) == "from etc"


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"abc", "abc"),
        (b"abc\n", "abc"),
        (b"abc\r\n", "abc"),
        (b"abc\n\n", "abc\n"),
        (b" abc ", " abc "),
        ("pässwörd\n".encode(), "pässwörd"),
    ],
)
def test_one_trailing_newline_is_stripped(tmp_path: Path, content: bytes, value: str) -> None:
    """Editors add it; everything else may be part of the secret."""
    path = tmp_path / "secret"
    path.write_bytes(content)
    assert Secret("file", str(path)).read() == value


def test_an_environment_variable() -> None:
    """By name; empty is missing."""
    secret = Secret("env", "TOKEN")
    assert secret.read({"TOKEN": "x"}) == "x"
    assert secret.path({}) is None
    assert secret.modified_at({}) is None
    assert secret.warnings({"TOKEN": "x"}) == ()
    for environment in ({}, {"TOKEN": ""}):
        with pytest.raises(ConfigError, match="TOKEN"):
            secret.read(environment)


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_a_missing_or_useless_secret_is_a_problem_with_a_hint(
    tmp_path: Path, content: bytes | None
) -> None:
    """It names the reference, and what to do."""
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        Secret("file", str(path)).read()
    assert caught.value.problems[0].key == f"{{file: {path}}}"


def test_a_directory_in_its_place_is_a_problem_too(tmp_path: Path) -> None:
    """And no traceback."""
    with pytest.raises(ConfigError, match="cannot be read"):
        Secret("file", str(tmp_path)).read()


def test_the_hint_says_where_to_put_a_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the path."""
    monkeypatch.setattr(secrets, "CREDENTIALS", tmp_path)
    with pytest.raises(ConfigError) as caught:
        Secret("credential", "jira-token").read({})
    assert str(tmp_path / "jira-token") in caught.value.hint
    assert "LoadCredential=" in caught.value.hint


def test_a_certificate_is_read_as_it_is(tmp_path: Path) -> None:
    """A .pfx file is no text."""
    path = tmp_path / "cert.pfx"
    path.write_bytes(b"\x30\x82\n")
    assert Secret("file", str(path)).read_bytes() == b"\x30\x82\n"


@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_secret_that_others_may_read_gets_a_warning(
    tmp_path: Path, mode: int, warns: bool
) -> None:
    """With the command that helps."""
    path = tmp_path / "secret"
    path.write_text("x")
    path.chmod(mode)
    secret = Secret("file", str(path))
    assert bool(secret.warnings()) is warns
    assert all("chmod" in warning for warning in secret.warnings())
    os.utime(path, (1000, 2000))
    assert secret.modified_at() == 2000
    assert Secret("file", str(tmp_path / "none")).warnings() == ()
    assert Secret("file", str(tmp_path / "none")).modified_at() is None


def test_i10_a_secret_never_shows_itself(tmp_path: Path, loaded: Callable[..., Loaded]) -> None:
    """Not in repr, str, JSON, pickles or `config show`, also after it was read."""
    path = tmp_path / "secret"
    path.write_text("hunter2")
    auth = {"token": {"credential": ..., "file": str(path)}}
    result = loaded(targets={"jira": {"auth": auth}})
    token = result.config.targets["jira"].auth.token
    assert token is not None
    assert token.read() == "hunter2"
    texts = [
        repr(token),
        str(token),
        repr(result),
        json.dumps(result.config.model_dump(mode="json")),
        shown(result.config),
        str(pickle.dumps(token)),
    ]
    assert all("hunter2" not in text for text in texts)
    assert f"file: {path}" in shown(result.config)
