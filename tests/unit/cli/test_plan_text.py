"""A plan as people read it: what, to whom, what becomes what, why, and what is left of budgets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from azsyncd.cli.changes import COLUMNS, SIGNS, change_lines
from azsyncd.cli.plan import plan_lines, summary_line
from azsyncd.config import load
from azsyncd.model.changes import Kind, Reason, Withheld

from .conftest import Azsyncd, Daemon

Make = Callable[..., Any]


def shown(*targets: Any, outcome: str = "changes") -> str:
    """The plan without colours."""
    import click

    text = "\n".join(plan_lines({"outcome": outcome, "targets": list(targets)}))
    return click.unstyle(text)


def test_a_create_shows_what_it_will_be(row: Make, target_plan: Make) -> None:
    """In one line, without what goes without saying."""
    after = {
        "username": "anna@example.com",
        "email": "anna@example.com",
        "display_name": 'Anna "Ann" Berg',
        "active": True,
        "attributes": {"department": "R&D"},
        "mark": ["azsyncd", "0a1b"],
    }
    assert shown(target_plan(row("create", after=after))).splitlines()[:3] == [
        "jira",
        "  + create       anna@example.com  (new)",
        '                 email "anna@example.com", display_name "Anna \\"Ann\\" Berg",'
        ' attributes.department "R&D"',
    ]


def test_an_update_shows_each_value_that_becomes_another(row: Make) -> None:
    """Old → new; what is not known, or stays, is left out."""
    lines = change_lines(
        row(
            "update",
            "changed",
            before={"username": "a", "email": "old@x", "attributes": {"team": "a"}},
            after={"username": "a", "email": "new@x", "attributes": {"team": ""}, "active": None},
        )
    )
    assert [line.split() for line in lines][1:] == [
        ["email", '"old@x"', "→", '"new@x"'],
        ["attributes.team", '"a"', "→", '""'],
    ]


def test_what_was_not_known_before_is_no_null(row: Make) -> None:
    """A question mark."""
    *_, line = change_lines(row("update", before={"username": "a"}, after={"email": "x@y"}))
    assert line.split() == ["email", "?", "→", '"x@y"']


REASONS = [
    ("deactivate", "left_scope", "- deactivate anna@example.com (left the scope)"),
    ("deactivate", "disabled", "- deactivate anna@example.com (disabled in Entra)"),
    ("delete", "deleted", "- delete anna@example.com (deleted in Entra)"),
    ("reactivate", "returned", "+ reactivate anna@example.com (is back)"),
    ("update", "drift", "~ update anna@example.com (changed in the product)"),
    ("adopt", "adopted", "~ adopt anna@example.com (stands there already)"),
    ("add_member", "new", "+ add anna@example.com to atl-dev (new)"),
    ("remove_member", "changed", "- remove anna@example.com from atl-dev (changed in Entra)"),
]


@pytest.mark.parametrize(
    ("kind", "reason", "line"), REASONS, ids=[f"{r[0]}-{r[1]}" for r in REASONS]
)
def test_every_line_says_why(row: Make, kind: str, reason: str, line: str) -> None:
    """Above all where something is taken away."""
    import click

    group = "atl-dev" if "member" in kind else None
    head, *_ = change_lines(row(kind, reason, group=group))
    assert " ".join(click.unstyle(head).split()) == line


def test_every_kind_and_reason_of_the_planner_is_known() -> None:
    """A new one gets its sign and its words."""
    from azsyncd.cli.changes import _REASONS
    from azsyncd.cli.plan import _MEANINGS

    assert set(SIGNS) == set(Kind)
    assert set(_REASONS) == set(Reason)
    assert set(_MEANINGS) == set(Withheld)


def test_twenty_examples_of_each_kind(row: Make, target_plan: Make) -> None:
    """And how many there are beside them."""
    rows = [row("remove_member", "changed", f"u{n}@x", group="g") for n in range(25)]
    rows += [row("add_member", "new", f"v{n}@x", group="g") for n in range(20)]
    text = shown(target_plan(*rows))
    assert text.count("  - remove ") == 20
    assert text.count("  + add ") == 20
    assert text.count("… and ") == 1
    assert "… and 5 more" in text
    assert text.index("+ add") < text.index("- remove")


def test_rows_that_were_cut_are_counted(row: Make, target_plan: Make) -> None:
    """The counts are right although not every row came."""
    text = shown(target_plan(row("create"), changes={"create": 12_345}))
    assert "… and 12,344 more" in text
    assert "+ 12,345 create" in text


def test_withheld_changes_are_told_by_reason(row: Make, target_plan: Make) -> None:
    """What is said of all of them stands there once."""
    rows = [
        row("deactivate", "left_scope", f"u{n}@x", withheld="licence", detail="full", hint="buy")
        for n in range(22)
    ]
    rows.append(row("create", name="a@x", withheld="conflict", detail="two want a", hint="rename"))
    rows.append(row("create", name="b@x", withheld="conflict", detail="two want b", hint="rename"))
    text = shown(target_plan(*rows), outcome="withheld")
    assert "! withheld: licence (22) — no seats left" in text
    assert text.count("full — buy") == 1
    assert "… and 2 more" in text
    lines = [line.strip() for line in text.splitlines()]
    assert lines[lines.index("+ create       a@x  (new)") + 1] == "two want a — rename"
    assert lines[lines.index("+ create       b@x  (new)") + 1] == "two want b — rename"
    assert "planned   nothing to write" in text
    assert "withheld  2 conflict, 22 licence" in text
    assert text.endswith("Nothing would be written: all that differs is withheld.")


def test_budgets_seats_unexplained_and_duration(row: Make, target_plan: Make) -> None:
    """The figures under the changes; a class that nobody wants is left out."""
    plan = target_plan(
        row("create"),
        budgets={
            "deactivate": {"allowance": 20.0, "spent": 3.0, "wanted": 23.0},
            "remove_member": {"allowance": 200.0, "spent": 0.0, "wanted": 7.0},
            "rename": {"allowance": 10.0, "spent": 0.0, "wanted": 0.0},
            "create": {"allowance": None, "spent": 9.0, "wanted": 1.0},
        },
        seats=[
            {"application": "jira-software", "total": 500, "remaining": 12},
            {"application": "jira-core", "total": None, "remaining": None},
        ],
        unexplained=7,
        seconds=3700.0,
    )
    lines = shown(plan).splitlines()
    assert lines[lines.index("") + 1 :] == [
        "  planned      + 1 create",
        "  guard        deactivate: 23 wanted, 17 of 20 left → held",
        "  guard        remove member: 7 wanted, 200 of 200 left",
        "  seats        jira-software: 12 of 500 free",
        "  unexplained  7 accounts that nobody in Entra explains: `azsyncd accounts --unexplained`",
        "  duration     about 62 min",
        "",
        "Nothing was written. `azsyncd sync` writes what is planned.",
    ]


def test_the_sum_is_a_line_for_each_sign(target_plan: Make) -> None:
    """It fits on a terminal."""
    changes = {"deactivate": 1, "add_member": 1234, "create": 12, "rename": 2}
    assert shown(target_plan(changes=changes, seconds=1.0)).splitlines()[-6:-1] == [
        "  planned   + 12 create, 1,234 add member",
        "            ~ 2 rename",
        "            - 1 deactivate",
        "  duration  about 1.0 s",
        "",
    ]


def test_a_target_that_could_not_be_asked(target_plan: Make) -> None:
    """Its reason, and no figures that nobody knows."""
    text = shown(target_plan(error="jira: timeout — check the firewall"), outcome="failed")
    assert text.splitlines() == [
        "jira",
        "  jira: timeout — check the firewall",
        "",
        "Not every target could be planned. Nothing was written.",
    ]


def test_nothing_to_do(target_plan: Make) -> None:
    """It says so."""
    assert shown(target_plan(), outcome="nothing").splitlines() == [
        "jira",
        "  planned  nothing to write",
        "",
        "Nothing to do: every target is as Entra and the configuration say.",
    ]


def test_the_summary_is_ordered_by_what_it_does() -> None:
    """First what is added, then what is changed, at last what is taken away."""
    text = summary_line({"deactivate": 1, "add_member": 30, "create": 12}, {"guard": 3, "mode": 0})
    assert text == "+ 12 create, + 30 add member, - 1 deactivate; withheld: 3 guard"


def test_the_daemon_is_asked_for_just_that(daemon: Daemon, azsyncd: Azsyncd) -> None:
    """Every option arrives."""
    daemon.operations.plan.return_value = {"outcome": "nothing", "targets": []}
    azsyncd("plan", "--target", "jira", "--full", "--user", "anna", "--group", "Jürgen's")
    assert daemon.asked("plan") == {
        "target": "jira",
        "full": True,
        "user": "anna",
        "group": "Jürgen's",
    }


def test_csv_has_every_row_and_keeps_its_columns(
    daemon: Daemon, azsyncd: Azsyncd, row: Make, target_plan: Make
) -> None:
    """Values of several parts are JSON; quotes and line ends are kept."""
    rows = [row("create", name='An"na, x', after={"username": "a", "active": True})]
    rows += [row("add_member", name=f"u{n}@x", group="g", withheld="guard") for n in range(30)]
    daemon.operations.plan.return_value = {"outcome": "changes", "targets": [target_plan(*rows)]}
    said = azsyncd("plan", "--format", "csv")
    assert said.code == 2
    assert said.lines[0] == (
        "target,change,reason,object_id,name,group,before,after,withheld,detail,hint"
    )
    assert said.lines[0].split(",") == list(COLUMNS)
    assert said.lines[1] == (
        'jira,create,new,0a1b,"An""na, x",,,"{""active"": true, ""username"": ""a""}",,,'
    )
    assert said.lines[31] == "jira,add_member,new,0a1b,u29@x,g,,,guard,,"
    assert len(said.lines) == 32


@pytest.fixture
def rehearsed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was planned beside the daemon: the file's text, and what was asked."""
    found: list[Any] = []

    def here(file: Path, operation: str, arguments: dict[str, Any], tell: Any) -> Any:
        settings = load(file).config
        assert Path(settings.state.path).read_bytes() == b"copy"
        found.append((settings, operation, arguments))
        return {"outcome": "nothing", "targets": []}

    monkeypatch.setattr("azsyncd.cli.rehearsal.here", here)
    return found


def beside(daemon: Daemon, config: Path, loaded_at: str) -> None:
    """A daemon with this file and a state."""
    state = config.parent / "state"
    state.mkdir()
    (state / "azsyncd.db").touch()

    async def backup(*, file: str) -> dict[str, Any]:
        Path(file).write_bytes(b"copy")
        return {"file": file, "bytes": 4}

    daemon.operations.backup = backup
    daemon.operations.status.return_value = {
        "config": {"file": str(config), "loaded_at": loaded_at}
    }


def test_another_file_than_the_daemons_is_planned_on_a_copy(
    daemon: Daemon, azsyncd: Azsyncd, config: Path, rehearsed: list[Any]
) -> None:
    """Of the daemon's state, and nothing of it stays; the daemon would answer for its own file."""
    beside(daemon, config, "2999-01-01T00:00:00Z")
    other = config.with_name("other.yaml")
    other.write_text(config.read_text().replace("https://jira", "https://other"))
    before = sorted(config.parent.rglob("*"))
    said = azsyncd("plan", "--config", str(other), "--target", "jira")
    assert (said.code, said.err) == (0, "")
    ((settings, operation, arguments),) = rehearsed
    assert settings.targets["jira"].url == "https://other.example.com"
    assert (operation, arguments["target"]) == ("plan", "jira")
    assert not daemon.operations.plan.mock_calls
    assert sorted(config.parent.rglob("*")) == before


def test_the_daemons_file_as_it_was_changed_is_planned_on_a_copy(
    daemon: Daemon, azsyncd: Azsyncd, config: Path, rehearsed: list[Any]
) -> None:
    """It has not read it yet."""
    beside(daemon, config, "2001-01-01T00:00:00Z")
    assert azsyncd("plan", "--config", str(config)).code == 0
    assert len(rehearsed) == 1


def test_the_daemons_own_file_is_planned_by_the_daemon(
    daemon: Daemon, azsyncd: Azsyncd, config: Path, rehearsed: list[Any]
) -> None:
    """Named or not."""
    beside(daemon, config, "2999-01-01T00:00:00Z")
    daemon.operations.plan.return_value = {"outcome": "changes", "targets": []}
    assert azsyncd("plan", "--config", str(config)).code == 2
    assert azsyncd("plan").code == 2
    assert rehearsed == []


def test_who_may_not_look_at_the_state_is_told(
    daemon: Daemon, azsyncd: Azsyncd, config: Path, rehearsed: list[Any]
) -> None:
    """With what to do."""
    config.with_name("other").write_text(config.read_text())
    daemon.operations.status.return_value = {"config": {"file": str(config.with_name("other"))}}
    said = azsyncd("plan", "--config", str(config))
    assert said.code == 1
    assert "cannot make a copy of the state" in said.err
    assert "run this as root" in said.err
