"""What reaches a terminal, a pipe or a script, whatever the names, the locale and the reader."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from azsyncd.cli.output import count, duration, say, table, width
from azsyncd.cli.progress import shown_progress

from .conftest import Daemon

NAMES = ["Anna Berg", "Jürgen Æther", "雪 →", "Zoë…"]
ROWS = [
    {
        "target": "jira",
        "username": f"u{n}",
        "email": "x",
        "display_name": name,
        "active": True,
        "key": "k",
        "object_id": None,
        "state": "adopted",
        "detail": "",
    }
    for n, name in enumerate(NAMES)
]


def shell(*arguments: str, config: Path, code: int = 0, **environment: str) -> str:
    """The command in a process of its own; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "azsyncd", *arguments],
        env={**clean(), "AZSYNCD_CONFIG": str(config), **environment},
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == code, done.stderr.decode()
    assert done.stderr == b""
    return done.stdout.decode("latin-1" if "1252" in str(environment) else "utf-8")


def clean() -> dict[str, str]:
    """The environment without what says how to print."""
    unwanted = ("LANG", "LC_ALL", "LC_CTYPE", "PYTHONIOENCODING", "PYTHONUTF8", "NO_COLOR", "TERM")
    return {name: value for name, value in os.environ.items() if name not in unwanted}


def test_columns_line_up_however_wide_the_letters() -> None:
    """Those of the far east take two columns, combining accents none."""
    assert [width(text) for text in ("abc", "ü", "u\u0308", "雪")] == [3, 1, 1, 2]
    assert table([["雪", "x"], ["abc", "y"], ["", ""]], indent=" ") == [" 雪   x", " abc  y", ""]
    assert table([]) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (35, "35 s"),
        (720, "12 min"),
        (12600, "3.5 h"),
        (4e5, "5 days"),
    ],
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    """For people."""
    assert duration(seconds) == text


def test_counts() -> None:
    """One is one."""
    assert (count(1, "user"), count(1234, "user"), count(0, "entry", "entries")) == (
        "1 user",
        "1,234 users",
        "0 entries",
    )


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("a\u202eb", "a\\u202eb"),
        ("\x9b2J", "\\x9b2J"),
    ],
)
def test_a_name_does_nothing_to_the_terminal(
    capsys: pytest.CaptureFixture[str], name: str, shown: str
) -> None:
    """Entra lets people choose their names."""
    say(name)
    assert capsys.readouterr().out == f"{shown}\n"


LOCALES: list[tuple[dict[str, str], str]] = [
    ({"LANG": "C.UTF-8"}, "雪 →"),
    ({"LANG": "C"}, "雪 →"),  # Python makes UTF-8 of it
    ({"PYTHONIOENCODING": "ascii"}, "\\u96ea ->"),
    ({"PYTHONIOENCODING": "cp1252"}, "\\u96ea ->"),
]


@pytest.mark.parametrize(("locale", "shown"), LOCALES, ids=[str(entry[0]) for entry in LOCALES])
def test_names_can_be_printed_in_every_locale(
    daemon: Daemon, config: Path, locale: dict[str, str], shown: str
) -> None:
    """Text, CSV and JSON; JSON loses nothing."""
    daemon.operations.accounts.return_value = ROWS
    assert shown in shell("accounts", config=config, **locale)
    assert "u3" in shell("accounts", "--format", "csv", config=config, **locale)
    assert json.loads(shell("accounts", "--format", "json", config=config, **locale)) == ROWS


def on_a_terminal(*arguments: str, config: Path, **environment: str) -> str:
    """The command's output on a pseudo-terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "azsyncd", *arguments],
        env={
            **clean(),
            "AZSYNCD_CONFIG": str(config),
            "TERM": "xterm",
            "LANG": "C.UTF-8",
            **environment,
        },
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(ours)
    process.wait(20)
    return seen.decode()


CHECK = [{"subject": "entra", "verdict": "failed", "message": "no token", "hint": ""}]


def test_a_terminal_gets_colour(daemon: Daemon, config: Path) -> None:
    """And a pipe does not."""
    daemon.operations.check.return_value = CHECK
    assert "\x1b[31mfailed" in on_a_terminal("check", config=config)
    assert "\x1b" not in shell("check", config=config, code=1)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colour_can_be_declined(daemon: Daemon, config: Path, environment: dict[str, str]) -> None:
    """https://no-color.org"""
    daemon.operations.accounts.return_value = ROWS
    daemon.operations.explain.return_value = {"kind": "user", "entra": {}, "targets": []}
    assert "\x1b[1m" in on_a_terminal("explain", "anna", config=config)
    assert "\x1b[" not in on_a_terminal("explain", "anna", config=config, **environment)


def test_a_pipe_sees_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody is looking."""
    with shown_progress() as tell:
        assert tell is None


def test_a_terminal_sees_progress(daemon: Daemon, config: Path) -> None:
    """And it is gone when the result is there."""

    async def sync(*, by: str, tell: Any, **_: Any) -> dict[str, Any]:
        import asyncio

        for done in range(4):
            tell({"step": "jira: creating accounts", "done": done, "total": 480})
            await asyncio.sleep(0.12)
        return {"outcome": "converged", "users": 1, "groups": 1, "seconds": 1.0, "targets": []}

    daemon.operations.sync = sync
    seen = on_a_terminal("sync", config=config)
    assert "jira: creating accounts" in seen
    assert "/480" in seen
    assert seen.rstrip().splitlines()[-1].startswith("\x1b[1A\x1b[2KEverything is as Entra")


def test_a_reader_who_has_seen_enough_is_no_error(daemon: Daemon, config: Path) -> None:
    """`azsyncd accounts | head -1`: no traceback; as if killed by SIGPIPE, like other programs."""
    daemon.operations.accounts.return_value = ROWS * 5000
    for style in ("text", "csv", "json"):
        process = subprocess.Popen(
            [sys.executable, "-m", "azsyncd", "accounts", "--format", style],
            env={**clean(), "AZSYNCD_CONFIG": str(config)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait(20) == 128 + signal.SIGPIPE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_told(daemon: Daemon, config: Path) -> None:
    """A result that was cut off must not look like one."""
    daemon.operations.accounts.return_value = ROWS
    for style in ("text", "csv", "json"):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "azsyncd", "accounts", "--format", style],
                env={**clean(), "AZSYNCD_CONFIG": str(config)},
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=20,
                check=False,
            )
        assert done.returncode == 1
        assert done.stderr == b"azsyncd: cannot print the result: No space left on device\n"


@pytest.mark.parametrize("command", ["sync", "plan"])
def test_ctrl_c_exits_130(daemon: Daemon, config: Path, command: str) -> None:
    """Without a traceback; and says if the daemon goes on."""

    async def forever(**_: Any) -> Any:
        import asyncio

        await asyncio.sleep(20)

    setattr(daemon.operations, command, forever)
    process = subprocess.Popen(
        [sys.executable, "-m", "azsyncd", command],
        env={**clean(), "AZSYNCD_CONFIG": str(config)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    time.sleep(0.8)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, b"")
    assert b"Traceback" not in err
    assert (b"the daemon goes on with it" in err) == (command == "sync")


def test_help_and_status_load_nothing_heavy(daemon: Daemon, config: Path) -> None:
    """They must feel instant."""
    daemon.operations.status.return_value = {}
    heavy = ("rich", "aiohttp", "msal", "pydantic", "aiosqlite", "sqlite3", "jinja2", "asyncio")
    for arguments in (["--help"], ["version"], ["status", "--json"]):
        code = (
            "import sys\nfrom azsyncd.cli.app import run\n"
            f"try:\n    run({arguments!r})\nexcept KeyError:\n    pass\n"
            f"print([each for each in {heavy!r} if each in sys.modules], file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**clean(), "AZSYNCD_CONFIG": str(config)},
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert done.stderr == b"[]\n", (arguments, done.stderr.decode())


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(config: Path, name: str) -> None:
    """`--install-completion` puts a script in place that asks like this."""
    words = {"COMP_WORDS": "azsyncd ho", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "azsyncd ho"}
    done = subprocess.run(
        [sys.executable, "-m", "azsyncd"],
        env={**clean(), **words, "_AZSYNCD_COMPLETE": f"complete_{name}",
             "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
        capture_output=True,
        timeout=20,
        check=False,
    )  # fmt: skip
    assert b"holds" in done.stdout
    assert done.stderr == b""
