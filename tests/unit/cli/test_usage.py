"""The command line as typed: what there is, and what is refused before anything is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import Azsyncd, Daemon

PROMISED = (
    *("run", "check", "suggest", "plan", "sync"),
    *("status", "explain", "history", "accounts", "holds"),
    *("approve", "reject", "release", "pause", "resume", "reload", "subscriptions", "backup"),
    *("alerts", "config", "demo", "forget", "version", "link", "unlink", "target"),
)


@pytest.mark.parametrize("command", PROMISED)
def test_every_promised_command_explains_itself(azsyncd: Azsyncd, command: str) -> None:
    """With its usage, and in the list of all."""
    said = azsyncd(command, "--help")
    assert said.code == 0
    assert said.out.startswith(f"Usage: azsyncd {command}")
    assert f"\n  {command} " in azsyncd("--help").out


WRONG = [
    ([], "Usage: azsyncd [OPTIONS] COMMAND"),
    (["nothing"], "No such command 'nothing'."),
    (["holds", "nothing"], "No such command 'nothing'."),
    (["config"], "Usage: azsyncd config"),
    (["alerts"], "Usage: azsyncd alerts"),
    (["alerts", "nothing"], "No such command 'nothing'."),
    (["--nothing"], "No such option '--nothing'."),
    (["status", "--nothing"], "No such option '--nothing'."),
    (["status", "more"], "Got unexpected extra argument (more)"),
    (["plan", "--target"], "Option '--target' requires an argument."),
    (["plan", "--target", ""], "Invalid value for '--target': must not be empty"),
    (["plan", "--target", "  "], "Invalid value for '--target': must not be empty"),
    (["plan", "--user", "x" * 1001], "'--user': is longer than 1,000 characters"),
    (["plan", "--group", "a\nb"], "'--group': must be one line, without control characters"),
    (["plan", "--user", "\udcff"], "'--user': is not written in this terminal's encoding"),
    (["plan", "--format", "xml"], "'--format': 'xml' is not one of 'text', 'json', 'csv'."),
    (["accounts", "--format", ""], "'--format': '' is not one of"),
    (["link", "jo", "--target", "jira"], "give WHO and ACCOUNT, or --file FILE.csv"),
    (["link", "jo", "acc"], "Missing option '--target'"),
    (["link", "a", "b", "--file", "x", "--target", "t"], "give WHO and ACCOUNT, or --file"),
    (["target", "rename", "a"], "Missing argument 'NEW'"),
    (["accounts", "--adopted", "--failing"], "choose one of --adopted, --failing"),
    (["--config", "", "status"], "must name a file"),
    (["status", "--config", ""], "'--config' / '-c': must name a file"),
    (["backup", ""], "'FILE': must name a file"),
    (["backup"], "Missing argument 'FILE'."),
    (["approve"], "Missing argument 'ID'."),
    (["approve", "three"], "Invalid value for 'ID'"),
    (["approve", "0"], "Invalid value for 'ID'"),
    (["approve", "--", "-1"], "Invalid value for 'ID'"),
    (["approve", "99999999999999999999"], "Invalid value for 'ID'"),
    (["approve", "3", "--expect", "-1"], "Invalid value for '--expect'"),
    (["approve", "3", "--expect", "many"], "Invalid value for '--expect'"),
    (["approve", "3", "--only", ""], "'--only': must not be empty"),
    (["approve", "3", "--only", "a", "--except", "b"], "exclude one another"),
    (["approve", "3", "4"], "unexpected: 4"),
    (["holds", "show", "three"], "Invalid value for 'ID'"),
    (["release", ""], "'WHAT': must not be empty"),
    (["explain"], "Missing argument 'WHO'."),
    (["forget"], "Missing argument 'WHO'."),
    (["forget", " "], "'WHO': must not be empty"),
    (["explain", " "], "'WHO': must not be empty"),
    (["history", "--since", "yesterday"], "no duration; write e.g. 500ms, 30s, 15m, 4h or 7d, or"),
    (["history", "--since", "-4h"], "no duration"),
    (["history", "--since", "9999-01-01"], "lies in the future"),
    (["history", "--since", "99999999d"], "at most ten years"),
    (["history", "--limit", "0"], "Invalid value for '--limit'"),
    (["pause"], "Missing option '--reason'."),
    (["pause", "--reason", ""], "'--reason': must not be empty"),
    (["pause", "--reason", "x", "--for", "0s"], "must be more than nothing"),
    (["pause", "--reason", "x", "--for", "soon"], "no duration"),
    (["subscriptions", "forget"], "is not one of 'list', 'renew', 'delete'."),
    (["demo", "--users", "3"], "Invalid value for '--users'"),
    (["demo", "--minutes", "nan"], "'--minutes': must be a number"),
    (["demo", "--minutes", "-1"], "Invalid value for '--minutes'"),
]


@pytest.mark.parametrize(("arguments", "told"), WRONG, ids=[" ".join(w[0])[:40] for w in WRONG])
def test_wrong_usage_exits_64_everywhere(
    daemon: Daemon, azsyncd: Azsyncd, arguments: list[str], told: str
) -> None:
    """The usage line, where help is, and what is wrong; nobody is asked anything."""
    said = azsyncd(*arguments)
    assert (said.code, said.out) == (64, "")
    assert said.err.startswith("Usage: azsyncd")
    assert told in said.err
    assert daemon.operations.mock_calls == []


@pytest.mark.parametrize(
    "arguments",
    [("status", "--config", "FILE"), ("-c", "FILE", "status"), ("--config", "FILE", "status")],
)
def test_a_named_file_wins_over_the_environment(
    azsyncd: Azsyncd, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """Before the command or behind it."""
    other = tmp_path / "other.yaml"
    said = azsyncd(*(str(other) if each == "FILE" else each for each in arguments))
    assert said.code == 78
    assert said.err.startswith(f"{other}: cannot be read")


def test_the_option_behind_the_command_wins_over_the_one_before(
    azsyncd: Azsyncd, tmp_path: Path
) -> None:
    """The nearer one."""
    said = azsyncd("-c", str(tmp_path / "a"), "status", "-c", str(tmp_path / "b"))
    assert said.err.startswith(str(tmp_path / "b"))


def test_without_any_the_file_is_in_etc(azsyncd: Azsyncd, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable is none."""
    monkeypatch.setenv("AZSYNCD_CONFIG", "")
    said = azsyncd("config", "show")
    assert said.code == 78
    assert said.err.startswith("/etc/azsyncd/config.yaml: cannot be read")


@pytest.mark.parametrize("command", ["status", "check", "plan", "sync", "run", "config show"])
def test_every_problem_of_a_bad_file_is_shown(azsyncd: Azsyncd, config: Path, command: str) -> None:
    """With its line; exit code 78."""
    text = config.read_text()
    config.write_text(text.replace("type: jira", "type: jura").replace("instance:", "instence:"))
    said = azsyncd(*command.split())
    assert (said.code, said.out) == (78, "")
    assert f"{config}:1:1: instence: " in said.err
    assert "targets.jira.type: " in said.err


def test_help_fits_into_sixty_columns(azsyncd: Azsyncd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every command."""
    monkeypatch.setenv("COLUMNS", "60")
    for command in PROMISED:
        lines = azsyncd(command, "--help").lines
        assert max(map(len, lines)) <= 60, command


def test_help_is_plain_ascii(azsyncd: Azsyncd) -> None:
    """It can be read in every locale."""
    assert all(azsyncd(command, "--help").out.isascii() for command in PROMISED)


@pytest.mark.parametrize("arguments", [("version",), ("--version",)])
def test_version(azsyncd: Azsyncd, arguments: tuple[str, ...]) -> None:
    """Of azsyncd, Python and the database."""
    import azsyncd as package
    from azsyncd.state.schema import VERSION

    said = azsyncd(*arguments)
    assert said.code == 0
    assert said.out.startswith(f"azsyncd {package.__version__}, Python 3.")
    assert said.out.endswith(f"schema {VERSION}\n")


def test_version_as_json(azsyncd: Azsyncd) -> None:
    """For inventories."""
    assert set(azsyncd("version", "--json").json) == {"version", "python", "schema"}


def test_demo_is_handed_what_was_asked(azsyncd: Azsyncd, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its exit code is the command's."""
    asked: dict[str, Any] = {}

    def demo(**more: Any) -> int:
        asked.update(more)
        return 1

    monkeypatch.setattr("azsyncd.cli.demo.demo", demo)
    given = ("--users", "50", "--minutes", "0.5", "--once", "--targets", "jira=10.6")
    assert azsyncd("demo", *given).code == 1
    targets = {"jira": "10.6"}
    assert asked == {"users": 50, "minutes": 0.5, "once": True, "keep": False, "targets": targets}
