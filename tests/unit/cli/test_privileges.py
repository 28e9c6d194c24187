"""Root's command line leaves nothing behind that the service could not read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from azsyncd.cli.privileges import Owner, owner_of, step_down, stepping_down
from azsyncd.config.secrets import Secret, keep_open
from azsyncd.errors import ConfigError, StateError

NOBODY = 65534

READABLE = "import os\nfrom azsyncd.cli import privileges\nprivileges._PROGRAM = ()\n"
"""Whether this test's Python can be read by others is not what is tried."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def inside(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python code in a process that may give itself up."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.fixture
def theirs(config: Path, tmp_path: Path) -> Path:
    """A state that belongs to nobody, in a place that everybody may pass."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    (folder / "azsyncd.db").write_bytes(b"")
    for each in (folder, folder / "azsyncd.db"):
        os.chown(each, NOBODY, NOBODY)
    for parent in (tmp_path, *tmp_path.parents[:-2]):
        if parent.stat().st_uid == os.geteuid():
            parent.chmod(parent.stat().st_mode | 0o055)
    return config


@as_root
def test_root_becomes_the_states_owner_for_good(theirs: Path) -> None:
    """User, group and the other groups; and there is no way back."""
    done = inside(
        "import os, sys\nfrom pathlib import Path\n"
        "from azsyncd.cli.privileges import step_down\n"
        + READABLE
        + "step_down(Path(sys.argv[1]))\n"
        "print(os.getresuid(), os.getresgid(), os.getgroups())\n"
        "try:\n    os.seteuid(0)\nexcept PermissionError:\n    print('no way back')\n",
        str(theirs),
    )
    assert done.stderr == ""
    ids = (NOBODY, NOBODY, NOBODY)
    assert done.stdout.splitlines()[0].startswith(f"{ids} {ids} ")
    assert "0," not in done.stdout.split("[")[1]
    assert done.stdout.splitlines()[1] == "no way back"


@as_root
def test_roots_secrets_are_opened_before(theirs: Path, tmp_path: Path) -> None:
    """A credential that root alone may read is there all the same."""
    folder = tmp_path / "credentials"
    folder.mkdir(mode=0o700)
    (folder / "token").write_text("hush\n")
    (folder / "token").chmod(0o600)
    text = theirs.read_text().replace("{env: CLI_TEST_TOKEN}", f"{{file: {folder}/token}}")
    theirs.write_text(text)
    done = inside(
        "import sys\nfrom pathlib import Path\n"
        "from azsyncd.cli.privileges import step_down\nfrom azsyncd.config import load\n"
        "config = load(Path(sys.argv[1])).config\n" + READABLE + "step_down(Path(sys.argv[1]))\n"
        "secret = config.targets['jira'].auth.token\n"
        "print(secret.read(), secret.read())\n"
        "try:\n    secret.path().open()\nexcept PermissionError:\n    print('not by itself')\n",
        str(theirs),
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["hush hush", "not by itself"]


@as_root
def test_root_comes_back_after_a_while(
    theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the result goes to a place of root's."""
    monkeypatch.setattr("azsyncd.cli.privileges._PROGRAM", ())
    with stepping_down(theirs):
        assert (os.geteuid(), os.getegid()) == (NOBODY, NOBODY)
        with pytest.raises(PermissionError):
            (tmp_path / "made").touch()
    assert (os.geteuid(), os.getegid()) == (0, 0)
    (tmp_path / "made").touch()


@as_root
def test_a_file_that_the_owner_cannot_read_is_told(theirs: Path) -> None:
    """The service could not either."""
    theirs.chmod(0o600)
    done = inside(
        "import sys\nfrom azsyncd.cli.app import run\n" + READABLE + "sys.exit(run(sys.argv[1:]))",
        *("status", "--config", str(theirs)),
    )
    assert done.returncode == 1
    assert f"cannot read {theirs}: Permission denied" in done.stderr
    assert "chgrp" in done.stderr


@as_root
def test_what_root_makes_for_the_service_belongs_to_it(theirs: Path, tmp_path: Path) -> None:
    """The whole way, with the daemon's own code."""
    if any(parent.stat().st_mode & 0o005 != 0o005 for parent in Path(os.__file__).parents):
        pytest.skip("this Python is root's alone")
    (tmp_path / "state" / "azsyncd.db").unlink()
    done = subprocess.run(
        [sys.executable, "-m", "azsyncd", "history", "--config", str(theirs)],
        env={**os.environ, "CLI_TEST_SECRET": "x", "CLI_TEST_TOKEN": "y"},
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "Nothing was written.\n"), done.stderr
    made = list((tmp_path / "state").iterdir())
    assert tmp_path / "state" / "azsyncd.db" in made
    assert {each.stat().st_uid for each in made} == {NOBODY}


def test_whom_a_state_belongs_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file's owner, its folder's, or that of the nearest folder; root is nobody special."""
    owners = {tmp_path / "a" / "x.db": 5, tmp_path / "a": 6, tmp_path: 7}

    class Found:
        def __init__(self, uid: int) -> None:
            self.st_uid, self.st_gid = uid, uid + 100

    there = {tmp_path}
    monkeypatch.setattr(Path, "exists", lambda self: self in there)
    monkeypatch.setattr(Path, "stat", lambda self: Found(owners.get(self, 0)))
    state = tmp_path / "a" / "x.db"
    assert owner_of(state) == Owner(7, 107)
    there.add(tmp_path / "a")
    assert owner_of(state) == Owner(6, 106)
    there.add(state)
    assert owner_of(state) == Owner(5, 105)
    owners[state] = 0
    assert owner_of(state) is None


def test_nothing_of_roots_is_made_in_var_lib(monkeypatch: pytest.MonkeyPatch) -> None:
    """What to do instead."""
    monkeypatch.setattr("azsyncd.cli.privileges._SYSTEM", Path("/"))
    with pytest.raises(StateError, match="install -d -o azsyncd -g azsyncd -m 700 /nowhere/az"):
        owner_of(Path("/nowhere/az/azsyncd.db"))


def test_who_is_not_root_stays_who_she_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is not even read."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    step_down(tmp_path / "nothing")
    with stepping_down(tmp_path / "nothing"):
        pass


def test_a_secret_that_is_replaced_is_read_anew(tmp_path: Path) -> None:
    """What was opened counts only where one may not look any more."""
    file = tmp_path / "token"
    file.write_text("old")
    secret = Secret("file", str(file))
    keep_open([secret, Secret("file", str(tmp_path / "nothing")), Secret("env", "HOME")])
    file.unlink()
    file.write_text("new")
    assert secret.read() == "new"
    file.unlink()
    with pytest.raises(ConfigError, match="is not there"):
        secret.read()
