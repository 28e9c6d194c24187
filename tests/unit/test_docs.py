"""What README and docs say is true: links, commands, examples, columns, metrics, paths."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml

from azsyncd import operations
from azsyncd.cli import accounts, history
from azsyncd.cli.app import app
from azsyncd.config import load
from azsyncd.config.availability import COMING
from azsyncd.engine.outcomes import EVENTS
from azsyncd.errors import ConfigError
from azsyncd.metrics import Metrics
from azsyncd.model.changes import Kind, Reason, Withheld
from azsyncd.web.admin import Admin, admin_app

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")],
    key=lambda page: page.as_posix(),
)
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]\n]*(?:\n[^\]\n]*)?\]\(([^)\s]+)\)")

every_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)


def fences(page: Path, language: str) -> list[str]:
    return [text for info, text in FENCE.findall(page.read_text()) if info.strip() == language]


def anchors(page: Path) -> set[str]:
    """The headings as GitHub makes anchors of them."""
    text = FENCE.sub("", page.read_text())
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
        found.add(kept.replace(" ", "-"))
    return found


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file that is there, and a heading in it."""
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(file), (
                f"{page.name}: {link}; there are {sorted(anchors(file))}"
            )


def test_the_readme_installs_the_units_as_the_guide_does() -> None:
    """The guide's lines are tried on a real machine (tests/e2e/test_systemd_boot.py)."""
    guide = (ROOT / "docs" / "install.md").read_text()
    section = guide[guide.index("## The systemd units") :]
    block = FENCE.search(section)
    assert block is not None
    assert "systemd-sysusers" in block[2]
    assert block[2] in (ROOT / "README.md").read_text()


def test_every_promise_names_tests_that_are_there() -> None:
    """I1 to I12, each with the `-k` that selects them."""
    rows = re.findall(r"^\| (I\d+) \|.*\| `-k (\w+)` \|$", (ROOT / "README.md").read_text(), re.M)
    assert [number for number, _ in rows] == [f"I{number}" for number in range(1, 13)]
    names = [
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", file.read_text())
    ]
    for number, selects in rows:
        assert selects == f"_{number.lower()}_"
        assert any(selects in name for name in names), number


# Commands -----------------------------------------------------------------------------------------


def commands(page: Path) -> Iterator[list[str]]:
    """Every command line of azsyncd: in code blocks, and in code inside a sentence."""
    text = page.read_text()
    lines = [line for info, body in FENCE.findall(text) if info.strip() == "sh"
             for line in body.splitlines()]  # fmt: skip
    lines += re.findall(r"`([^`]+)`", FENCE.sub("", text).replace("\n", " "))
    for line in lines:
        for part in re.split(r"&&|\|\||[;|]", line.split("  #")[0].replace("…", "")):
            words = part.replace("[", " ").replace("]", " ").split()
            while words and words[0] in ("sudo", "$"):
                words.pop(0)
            if len(words) > 1 and Path(words[0]).name == "azsyncd" and words[1].islower():
                try:
                    yield shlex.split(" ".join(words[1:]))
                except ValueError:
                    yield words[1:]


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    found: click.Command = typer.main.get_command(app)
    rest = list(words)
    while isinstance(found, click.Group) and rest and rest[0] in found.commands:
        found = found.commands[rest.pop(0)]
    return found, rest


def options_of(command: click.Command) -> set[str]:
    return {name for param in command.params for name in (*param.opts, *param.secondary_opts)}


@every_page
def test_every_command_and_option_exists(page: Path) -> None:
    """Nothing is promised that the program does not know."""
    general = {"--config", "-c", "--help", "-h"}
    for words in commands(page):
        command, rest = command_of(words)
        if len(rest) == len(words):
            raise AssertionError(f"{page.name}: there is no command: azsyncd {' '.join(words)}")
        known = options_of(command) | general
        for word in rest:
            if word.startswith("-") and word != "-":
                assert word.partition("=")[0] in known, f"{page.name}: azsyncd {' '.join(words)}"


def test_the_commands_are_found_by_the_test_above() -> None:
    """It sees those of the README."""
    assert [words for words in commands(ROOT / "README.md") if words[0] == "explain"] == [
        ["explain", "jo@example.com"]
    ]


def visible(group: click.Command, path: str = "azsyncd") -> Iterator[tuple[str, click.Command]]:
    assert isinstance(group, click.Group)
    for name, command in group.commands.items():
        if command.hidden:
            continue
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from visible(command, f"{path} {name}")


def test_every_command_and_option_is_documented() -> None:
    """In docs/commands.md, under a heading of its own; `holds show` under `holds`."""
    text = (ROOT / "docs" / "commands.md").read_text()
    sections = dict(re.findall(r"^## `(azsyncd \w+)`\n(.*?)(?=^## |\Z)", text, re.M | re.S))
    for name, command in visible(typer.main.get_command(app)):
        section = sections[" ".join(name.split()[:2])]
        if name.count(" ") > 1:
            assert f"`{name}" in section, name
        shared = {"--config", "-c", "--help", "-h"}
        hidden = {opt for p in command.params if getattr(p, "hidden", False) for opt in p.opts}
        for option in options_of(command) - shared - hidden:
            if option.startswith("-"):
                assert option in section, f"{name} {option}"


def test_what_is_not_there_yet_is_said_and_nothing_else() -> None:
    """The README's list is what the configuration refuses."""
    text = (ROOT / "README.md").read_text()
    section = text[text.index("## Not there yet") : text.index("Nothing here was run")]
    said = set(re.findall(r"`([^`]+)`", section)) - {"admin.metrics"}
    refused = set()
    for key in COMING:
        name = ".".join(part for part in key.path if part not in ("targets", "*"))
        refused |= {f"{name}: {value}" for value in key.values} if key.values else {name}
    assert said == refused


# Results ------------------------------------------------------------------------------------------


def test_every_key_of_json_is_documented() -> None:
    """Those of the results that are promised."""
    text = (ROOT / "docs" / "commands.md").read_text()
    documented = set(re.findall(r"`(\w+)`", text[text.index("## JSON") :]))
    shapes = (
        operations.ChangeRow, operations.TargetPlan, operations.PlanResult, operations.TargetSync,
        operations.SyncResult, operations.TargetStatus, operations.StatusResult,
        operations.HoldRow, operations.CheckLine, operations.TargetApply, operations.ApplyResult,
    )  # fmt: skip
    for shape in shapes:
        assert shape.__annotations__.keys() <= documented, shape.__name__


def test_the_columns_of_csv_are_documented_in_their_order() -> None:
    """They are promises."""
    text = (ROOT / "docs" / "commands.md").read_text()
    for name, columns in (
        ("plan", tuple(operations.ChangeRow.__annotations__)),
        ("history", history.COLUMNS),
        ("accounts", accounts.COLUMNS),
    ):
        row = next(line for line in text.splitlines() if f"`azsyncd {name} --format csv`" in line)
        assert tuple(re.findall(r"`(\w+)`", row)) == columns


def test_every_word_of_a_plan_is_documented() -> None:
    """Kinds, reasons, and why something is withheld."""
    text = (ROOT / "docs" / "commands.md").read_text()
    for word in (*Kind, *Reason):
        assert f"`{word.value}`" in text, word
    runbook = (ROOT / "docs" / "operations.md").read_text()
    for reason in Withheld:
        assert f"| `{reason.value}` |" in runbook, reason


# Configuration ------------------------------------------------------------------------------------

FIRST: dict[str, Any] = {
    "entra": {
        "tenant_id": "11111111-2222-3333-4444-555555555555",
        "client_id": "66666666-7777-8888-9999-000000000000",
        "credential": {"client_secret": {"credential": "entra-client-secret"}},
    },
    "scope": {"users": {"everybody": True}},
    "targets": {
        "jira": {
            "type": "jira",
            "url": "https://jira.example.com",
            "auth": {"token": {"credential": "jira-token"}},
        }
    },
}
KINDS = {"client_secret", "certificate", "federated_token", "managed_identity"}


def merged(first: dict[str, Any], block: dict[str, Any]) -> dict[str, Any]:
    """What a reader makes of an example: her file, with the example's keys in it."""
    result = dict(first)
    for key, value in block.items():
        old = result.get(key)
        replaces = key == "users" or (isinstance(value, dict) and bool(value.keys() & KINDS))
        if isinstance(old, dict) and isinstance(value, dict) and not replaces:
            result[key] = merged(old, value)
        else:
            result[key] = value
    return result


EXAMPLES = [
    pytest.param(text, id=f"{name}-{number}")
    for name, page in zip(NAMES, PAGES, strict=True)
    for number, text in enumerate(fences(page, "yaml"))
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_of_a_configuration_is_valid(text: str, tmp_path: Path) -> None:
    """Or names what is coming, and is refused with just that."""
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(merged(FIRST, yaml.safe_load(text))))
    try:
        load(file)
    except ConfigError as error:
        others = [str(each) for each in error.problems if "not yet available" not in each.message]
        assert not others, "\n".join(others)


def test_the_first_configuration_is_valid() -> None:
    """Of 25 lines or so, as it stands."""
    loaded = load(ROOT / "config.example.yaml")
    assert set(loaded.config.targets) == {"jira", "crowd"}
    assert all(target.mode == "report" for target in loaded.config.targets.values())


@every_page
def test_what_is_not_a_configuration_is_yaml_all_the_same(page: Path) -> None:
    """Prometheus' files."""
    for text in fences(page, "yaml prometheus"):
        assert yaml.safe_load(text)


# HTTP and metrics ---------------------------------------------------------------------------------


def metric_names() -> set[str]:
    """As Prometheus shows them."""
    names = set()
    for family in Metrics("1").registry.collect():
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        names.add(family.name + suffix)
    return {name for name in names if name.startswith("azsyncd_")}


def test_every_metric_is_documented() -> None:
    """With a row of its own."""
    text = (ROOT / "docs" / "http-and-metrics.md").read_text()
    rows = set(re.findall(r"^\| `(azsyncd_\w+)` \|", text, re.MULTILINE))
    assert rows == metric_names()


@every_page
def test_every_metric_that_is_named_exists(page: Path) -> None:
    """In rules for alerts above all: a misspelt one never fires."""
    suffixes = ("", "_bucket", "_count", "_sum")
    known = {name + suffix for name in metric_names() for suffix in suffixes}
    named = set(re.findall(r"\bazsyncd_[a-z_]+\b(?!\.db)", page.read_text()))
    assert named <= known, named - known


async def test_every_path_of_the_socket_is_documented() -> None:
    """And no other one."""

    async def nothing() -> Any:
        yield {}

    admin = Admin(
        operations=object(),  # type: ignore[arg-type]
        ready=lambda: (True, ""),
        metrics=lambda: b"",
        metrics_type="text/plain",
        subscribe=nothing,  # type: ignore[arg-type]
    )
    paths = {
        f"{route.method} {re.sub(r':[^}]*', '', resource.canonical)}"
        for resource in admin_app(admin).router.resources()
        for route in resource
        if route.method != "HEAD"
    }
    text = (ROOT / "docs" / "http-and-metrics.md").read_text()
    section = text[text.index("## For you") : text.index("## Metrics alone")]
    named = set(re.findall(r"`((?:GET|POST) /[\w/{}]*)", section))
    spelled = {
        name
        for path in paths
        for name in (
            [path.replace("{decision}", word) for word in ("approve", "reject")]
            if "{decision}" in path
            else [path]
        )
    }
    assert {name.replace("{hold}", "{id}") for name in spelled} == named


# Rules and log events -----------------------------------------------------------------------------


def test_every_rule_that_the_code_names_is_in_the_book() -> None:
    book = (ROOT / "docs" / "rules.md").read_text()
    written = [int(number) for number in re.findall(r"^(\d+)\. ", book, re.M)]
    assert written == list(range(1, 44))
    named: set[int] = set()
    for file in (*(ROOT / "azsyncd").rglob("*.py"), *(ROOT / "tests").rglob("*.py")):
        text = file.read_text()
        named |= {int(n) for n in re.findall(r"\brules? (\d+)", text)}
        named |= {int(n) for n in re.findall(r"test_rule_(\d+)_", text)}
    assert named <= set(written)


def events() -> Iterator[str]:
    """What the code logs."""
    for file in (ROOT / "azsyncd").rglob("*.py"):
        if "sandbox" in file.parts:
            continue
        for call in ast.walk(ast.parse(file.read_text())):
            if not isinstance(call, ast.Call) or not call.args:
                continue
            speaks = re.fullmatch(r"log\.\w+|say|level", ast.unparse(call.func))
            name = ast.literal_eval(call.args[0]) if isinstance(call.args[0], ast.Constant) else ""
            if speaks and re.fullmatch(r"[a-z_]+\.[a-z_]+", str(name)):
                yield str(name)


def test_every_log_event_is_described_and_no_other() -> None:
    table = (ROOT / "docs" / "logs.md").read_text()
    first = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    described = {name for cell in first for name in re.findall(r"`([a-z_.]+)`", cell)}
    used = {*events(), *EVENTS.values()}
    # Both are said by one call, by the name of the state.
    assert described == used | {"target.unavailable", "target.refused"}
