"""What the other commands say: status, explain, history, holds, check and their like."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from azsyncd.cli.history import COLUMNS as HISTORY_COLUMNS
from azsyncd.cli.status import moment

from .conftest import Azsyncd, Daemon

Make = Callable[..., Any]

HOLD = {
    "id": 3,
    "target": "jira",
    "kind": "deactivate",
    "state": "open",
    "opened_at": "2026-11-24T20:00:00Z",
    "items": 23,
    "detail": "23 wanted, 17 left of 20",
    "decided_by": None,
    "decided_at": None,
    "decision_reason": None,
}

TARGET = {
    "target": "jira",
    "type": "jira",
    "state": "idle",
    "detail": "",
    "version": "9.12.4",
    "mode": "sync",
    "lag_seconds": 0.0,
    "behind": 0,
    "linked_accounts": 981,
    "linked_groups": 1,
    "failing": 0,
    "withheld": {},
    "holds": 0,
    "unexplained": 0,
    "budgets": {},
    "last_success_at": None,
    "inventory_at": None,
    "paused": None,
}

STATUS: dict[str, Any] = {
    "health": "healthy",
    "problems": [],
    "version": "0.1.0",
    "instance": "azsyncd",
    "running": True,
    "since": "2026-11-24T20:00:00Z",
    "config": {"file": "/etc/azsyncd/config.yaml", "last_reload_ok": True, "pending": False},
    "entra": {
        "tenant_id": "1111",
        "state": "idle",
        "detail": "",
        "hint": "",
        "users": 1000,
        "groups": 1,
        "memberships": 5400,
        "last_round_at": None,
        "last_full_sync_at": None,
        "crawl": None,
    },
    "subscriptions": [],
    "credentials": [],
    "holds": 0,
    "targets": [TARGET],
}


def status(daemon: Daemon, azsyncd: Azsyncd, **more: Any) -> list[str]:
    """The lines of `status`, blanks squeezed."""
    daemon.operations.status.return_value = {**STATUS, **more}
    return [" ".join(line.split()) for line in azsyncd("status").lines]


def test_a_healthy_status(daemon: Daemon, azsyncd: Azsyncd) -> None:
    """On one screen."""
    assert status(daemon, azsyncd) == [
        "azsyncd: healthy (azsyncd 0.1.0, running since 2026-11-24T20:00:00Z)",
        "",
        "configuration /etc/azsyncd/config.yaml",
        "Entra 1111 idle",
        "mirror 1,000 users, 1 group, 5,400 memberships",
        "last round never",
        "last full sync never",
        "",
        "jira (jira 9.12.4): idle",
        "linked 981 accounts, 1 group",
        "behind no, it is up to date",
        "last success never",
    ]


def test_what_is_wrong_comes_first(daemon: Daemon, azsyncd: Azsyncd) -> None:
    """Right under the verdict."""
    lines = status(daemon, azsyncd, health="unhealthy", problems=["jira: down — look"], since=None)
    assert lines[:2] == [
        "azsyncd: unhealthy (azsyncd 0.1.0)",
        "! jira: down — look",
    ]


def test_everything_that_can_be_said_of_a_target(daemon: Daemon, azsyncd: Azsyncd) -> None:
    """Each with what to do, where there is something to do."""
    target = {
        **TARGET,
        "state": "down",
        "detail": "timeout — check the firewall",
        "version": "",
        "mode": "report",
        "lag_seconds": 4000.0,
        "behind": 12,
        "failing": 1,
        "withheld": {"first_contact": 2, "guard": 0},
        "holds": 1,
        "unexplained": 7,
        "budgets": {"deactivate": {"allowance": 20.0, "spent": 3.0}},
        "paused": {"reason": "move", "by": "uid 0 (root) for jo", "until": "tomorrow"},
    }
    lines = status(daemon, azsyncd, targets=[target])
    assert lines[lines.index("jira (jira): down, mode report") :] == [
        "jira (jira): down, mode report",
        "! timeout — check the firewall",
        "! paused by uid 0 (root) for jo until tomorrow: move",
        "linked 981 accounts, 1 group",
        "behind 12 objects, the oldest for 67 min",
        "holds 1 (see `azsyncd holds`)",
        "failing 1 object: `azsyncd accounts --failing --target jira`",
        "withheld 2 first contact",
        "unexplained 7 accounts",
        "last success never",
        "guard deactivate: 17 of 20 left",
    ]


def test_the_source_in_trouble(daemon: Daemon, azsyncd: Azsyncd) -> None:
    """The file, Entra, subscriptions and the ends of credentials."""
    entra = {**STATUS["entra"], "state": "refused", "detail": "no token", "hint": "new secret"}
    lines = status(
        daemon,
        azsyncd,
        running=False,
        config={"file": "/c.yaml", "last_reload_ok": False, "pending": True},
        entra={**entra, "crawl": {"pages": 3, "objects": 300}},
        subscriptions=[{"resource": "users", "id": "x", "expires_at": "Friday"}],
        credentials=[
            {"credential": "entra", "expires_at": "2026-12-01", "days": 1},
            {"credential": "jira", "expires_at": None, "days": None},
        ],
    )
    for line in (
        "azsyncd: healthy (azsyncd 0.1.0, no daemon is running)",
        "configuration /c.yaml (a newer file is pending) ! the file on disk was rejected",
        "Entra 1111 refused",
        "no token — new secret",
        "crawl pages 3, objects 300",
        "subscription users until Friday",
        "credential entra until 2026-12-01 (1 day left)",
        "credential jira: its end is not known (set expires_on)",
    ):
        assert line in lines


def test_moments_are_told_with_their_age() -> None:
    """As far as they can be read."""
    past = (datetime.now(UTC) - timedelta(hours=3, seconds=30)).isoformat()
    assert moment(past) == f"{past} (3.0 h ago)"
    assert moment("2999-01-01T00:00:00Z") == "2999-01-01T00:00:00Z"
    assert [moment("soon"), moment("2026-01-01"), moment(None)] == ["soon", "2026-01-01", "never"]


def test_holds_are_a_table(daemon: Daemon, azsyncd: Azsyncd) -> None:
    """One line each."""
    daemon.operations.holds.return_value = [HOLD, {**HOLD, "id": 12, "target": None}]
    lines = azsyncd("holds").lines
    assert lines[0].split() == ["ID", "TARGET", "KIND", "STATE", "CHANGES", "SINCE", "WHY"]
    assert lines[1].startswith("3   jira    deactivate  open   23 ")
    assert lines[2].startswith("12  -       deactivate")


def test_a_hold_is_shown_whole(daemon: Daemon, azsyncd: Azsyncd, row: Make) -> None:
    """Whoever decides must see everybody; and the command that decides stands below."""
    rows = [row("deactivate", "left_scope", f"u{n}@x") for n in range(23)]
    daemon.operations.holds.return_value = [{**HOLD, "rows": rows}]
    said = azsyncd("holds", "show", "3")
    assert daemon.asked("holds") == {"show": 3}
    assert said.lines[:3] == [
        "hold 3: jira, deactivate, open",
        "  since 2026-11-24T20:00:00Z, 23 changes",
        "  23 wanted, 17 left of 20",
    ]
    assert said.out.count("- deactivate") == 23
    assert said.lines[-1] == "  azsyncd approve 3 --expect 23   or   azsyncd reject 3"


def test_a_decided_hold_says_who_and_why(daemon: Daemon, azsyncd: Azsyncd) -> None:
    """There is nothing left to decide."""
    decision = {"decided_by": "uid 0 (root) for jo", "decided_at": "now"}
    decided = {**HOLD, **decision, "state": "rejected", "decision_reason": "a mistake"}
    daemon.operations.holds.return_value = [decided]
    said = azsyncd("holds", "show", "3")
    assert said.lines[-1] == "  rejected by uid 0 (root) for jo at now: a mistake"


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["3"], {"hold": 3, "reason": ""}),
        (["3", "--expect", "23"], {"hold": 3, "expect": 23, "reason": ""}),
        (["3", "--reason", "ok"], {"hold": 3, "reason": "ok"}),
        (["3", "--only", "a@x"], {"hold": 3, "only": ["a@x"], "reason": ""}),
        (["3", "--only", "a@x", "b@x"], {"hold": 3, "only": ["a@x", "b@x"], "reason": ""}),
        (["3", "--only", "a", "--only", "b"], {"hold": 3, "only": ["a", "b"], "reason": ""}),
        (["3", "--except", "a@x", "b@x"], {"hold": 3, "excepting": ["a@x", "b@x"], "reason": ""}),
    ],
)
def test_approvals_say_what_they_mean(
    daemon: Daemon, azsyncd: Azsyncd, arguments: list[str], asked: dict[str, Any]
) -> None:
    """All of the hold, or some."""
    daemon.operations.approve.return_value = {**HOLD, "state": "approved"}
    said = azsyncd("approve", *arguments)
    assert (said.code, said.out) == (0, "hold 3 is approved (23 changes).\n")
    assert daemon.asked("approve") == asked


def test_options_of_the_group_reach_its_command(daemon: Daemon, azsyncd: Azsyncd) -> None:
    """`holds --json show 3` is `holds show 3 --json`."""
    daemon.operations.holds.return_value = [HOLD]
    assert azsyncd("holds", "--json", "show", "3").json == HOLD


def test_pause_and_resume(daemon: Daemon, azsyncd: Azsyncd) -> None:
    """Until when, and of what."""
    daemon.operations.pause.return_value = {"targets": ["jira"], "until": "2026-11-25T00:00:00Z"}
    said = azsyncd("pause", "--reason", "move", "--for", "4h", "--target", "jira")
    assert said.out == "jira is paused until 2026-11-25T00:00:00Z.\n"
    assert daemon.asked("pause") == {"reason": "move", "target": "jira", "seconds": 14400.0}
    daemon.operations.pause.return_value = {"targets": ["jira"], "until": None}
    said = azsyncd("pause", "--reason", "move")
    assert said.out == "Every target is paused until `azsyncd resume`.\n"
    daemon.operations.resume.return_value = {"targets": ["jira", "crowd"]}
    assert azsyncd("resume").out == "Written to again: jira, crowd.\n"
    daemon.operations.resume.return_value = {"targets": []}
    assert azsyncd("resume").out == "Nothing was paused.\n"


WRITE = {
    "at": "2026-11-24T20:00:00Z",
    "target": "jira",
    "change": "update",
    "reason": "changed",
    "object_id": "0a",
    "name": "max@x",
    "group": None,
    "before": {"username": "m", "email": "a@x"},
    "after": {"username": "m", "email": "b@x"},
    "outcome": "done",
    "answer": "",
    "cause": "notification",
    "run": "r-1",
    "round": 12,
    "seconds": 0.2,
    "configuration": None,
}


def test_history(daemon: Daemon, azsyncd: Azsyncd) -> None:
    """When, what, before and after, why, which run; and what a product answered."""
    refused = {**WRITE, "outcome": "refused", "answer": "409", "cause": ""}
    daemon.operations.history.return_value = [WRITE, refused]
    lines = azsyncd("history").lines
    assert lines == [
        "2026-11-24T20:00:00Z  jira  ~ update       max@x  (changed in Entra)",
        '      email  "a@x" → "b@x"',
        "      run r-1, notification",
        "2026-11-24T20:00:00Z  jira  ~ update       max@x  (changed in Entra)  refused",
        '      email  "a@x" → "b@x"',
        "      answer: 409",
        "      run r-1",
    ]


def test_history_as_csv(daemon: Daemon, azsyncd: Azsyncd) -> None:
    """Every column that the daemon tells, in a fixed order."""
    daemon.operations.history.return_value = [WRITE]
    head, line = azsyncd("history", "--format", "csv").lines
    assert head == ",".join(HISTORY_COLUMNS)
    assert set(HISTORY_COLUMNS) == set(WRITE)
    assert line.startswith("2026-11-24T20:00:00Z,jira,update,changed,0a,max@x,,")


@pytest.mark.parametrize(("since", "seconds"), [("4h", 4 * 3600), ("7d", 7 * 86400), ("90s", 90)])
def test_since_is_a_length_of_time(
    daemon: Daemon, azsyncd: Azsyncd, since: str, seconds: int
) -> None:
    """Back from now."""
    daemon.operations.history.return_value = []
    assert azsyncd("history", "--since", since).out == "Nothing was written.\n"
    asked = daemon.asked("history")["since"]
    assert abs(datetime.now(UTC).timestamp() - seconds - asked) < 5


@pytest.mark.parametrize(
    ("since", "moment"),
    [
        ("2026-01-02", "2026-01-02T00:00:00+00:00"),
        ("2026-01-02T03:04", "2026-01-02T03:04:00+00:00"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05+00:00"),
    ],
)
def test_since_is_a_date(daemon: Daemon, azsyncd: Azsyncd, since: str, moment: str) -> None:
    """In UTC, unless it says otherwise."""
    daemon.operations.history.return_value = []
    azsyncd("history", "--since", since)
    assert daemon.asked("history")["since"] == datetime.fromisoformat(moment).timestamp()


def test_explain_ends_with_what_to_do(daemon: Daemon, azsyncd: Azsyncd, row: Make) -> None:
    """From Entra down to the changes, groups with the path that leads there."""
    daemon.operations.explain.return_value = {
        "kind": "user",
        "entra": {"userPrincipalName": "anna@x", "accountEnabled": True, "mail": None},
        "targets": [
            {
                "target": "jira",
                "mode": "sync",
                "in_scope": {"verdict": "in scope", "why": "member of Atlassian Users"},
                "account": None,
                "groups": [
                    {"group": "dev", "wanted": True, "in_product": False, "whose": None,
                     "through": "Team A > dev"},
                    {"group": "old", "wanted": False, "in_product": True, "whose": "foreign",
                     "through": ""},
                ],
                "planned": [row("create", name="anna@x", after={"email": "a@x"})],
                "withheld": [{"reason": "licence", "detail": "no seats", "hint": "buy"}],
                "held": [{"hold": 3, "kind": "deactivate", "change": "deactivate",
                          "state": "open", "why": "too many"}],
                "in_group": {"group": "dev", "why": "Entra has her in dev", "path": "anna > dev"},
            }
        ],
        "what_to_do": "buy",
    }  # fmt: skip
    said = azsyncd("explain", "anna@x", "dev", "--target", "jira")
    assert daemon.asked("explain") == {"who": "anna@x", "group": "dev", "target": "jira"}
    assert [" ".join(line.split()) for line in said.lines] == [
        "user in Entra",
        "userPrincipalName: anna@x",
        "accountEnabled: yes",
        "",
        "jira",
        "in scope: member of Atlassian Users",
        "account: none",
        "groups:",
        "+ dev is to be in it through Team A > dev",
        "old is in it, not by azsyncd",
        "dev: Entra has her in dev",
        "anna > dev",
        "planned:",
        "+ create anna@x (new)",
        'email "a@x"',
        "! withheld, licence: no seats — buy",
        "! deactivate is in hold 3 (deactivate, open): too many",
        "",
        "What to do: buy",
    ]


def test_sync_says_what_was_done_and_what_was_not(
    daemon: Daemon, azsyncd: Azsyncd, row: Make
) -> None:
    """Target by target; the refused ones with what to do."""
    failed = row("create", name="bad@x", detail="400: invalid mail", hint="correct it in Entra")
    daemon.operations.sync.return_value = {
        "outcome": "failures",
        "users": 1000,
        "groups": 120,
        "seconds": 64.2,
        "targets": [
            {"target": "jira", "done": {"create": 12, "add_member": 30}, "failed": [failed],
             "held": 23, "withheld": {"guard": 23}},
            {"target": "crowd", "done": {}, "failed": [], "held": 0, "withheld": {},
             "error": "timeout — check the firewall"},
        ],
    }  # fmt: skip
    said = azsyncd("sync", "--full")
    assert daemon.asked("sync") == {"full": True}
    assert said.lines == [
        "jira: + 12 create, + 30 add member; withheld: 23 guard",
        "  + create       bad@x  (new)",
        "      400: invalid mail — correct it in Entra",
        "  ! 23 changes held: `azsyncd holds` shows them",
        "crowd: nothing was written",
        "  ! timeout — check the firewall",
        "Not everything could be written (1,000 users and 120 groups in Entra, 64 s)",
    ]


def test_a_rejected_file_is_told_with_its_problems(daemon: Daemon, azsyncd: Azsyncd) -> None:
    """On standard error; the outcome on standard output."""
    daemon.operations.reload.return_value = {
        "outcome": "rejected",
        "problems": ["c.yaml:3:1: targets: missing", "c.yaml:9:1: x: unknown"],
        "hint": "see the docs",
    }
    said = azsyncd("reload")
    assert said.code == 78
    assert said.err == (
        "c.yaml:3:1: targets: missing\nc.yaml:9:1: x: unknown\nazsyncd: see the docs\n"
    )
    assert said.out == "The new configuration is rejected; the old one stays in force.\n"


def test_reload_says_what_the_new_file_writes(
    daemon: Daemon, azsyncd: Azsyncd, target_plan: Make, row: Make
) -> None:
    """The plan's summary, target by target."""
    plan = {"outcome": "changes", "targets": [target_plan(row("create")),
            target_plan(target="crowd", error="timeout")]}  # fmt: skip
    daemon.operations.reload.return_value = {"outcome": "valid", "plan": plan}
    said = azsyncd("reload", "--dry-run")
    assert daemon.asked("reload") == {"dry_run": True}
    assert said.lines[1:] == ["jira: + 1 create", "crowd: timeout"]


def test_check_offline_asks_nobody(daemon: Daemon, azsyncd: Azsyncd, config: Any) -> None:
    """The file alone; what is unwise in it is a warning."""
    config.write_text(config.read_text().replace("https://jira", "http://jira"))
    said = azsyncd("check", "--offline")
    assert said.code == 0
    assert said.lines[0] == f"ok       config  {config} is valid"
    assert said.lines[1].startswith("warning  config  ")
    assert said.lines[-1] == "1 ok, 1 warning, 0 failed"
    assert daemon.operations.mock_calls == []


def test_check_connections_is_a_firewall_request(azsyncd: Azsyncd, config: Any) -> None:
    """Hosts and ports, also of a proxy."""
    text = config.read_text().replace(
        "    url: https://jira.example.com\n",
        "    url: https://jira.example.com:8443/jira\n    proxy: http://proxy:3128\n",
    )
    config.write_text(text)
    assert [line.split(maxsplit=3) for line in azsyncd("check", "--connections").lines] == [
        ["DIRECTION", "HOST", "PORT", "FOR"],
        ["out", "login.microsoftonline.com", "443", "tokens from Entra ID"],
        ["out", "graph.microsoft.com", "443", "Microsoft Graph"],
        ["out", "jira.example.com", "8443", "target jira, through http://proxy:3128"],
    ]
    first, *_ = azsyncd("check", "--connections", "--json").json
    assert first == {
        "direction": "out",
        "host": "login.microsoftonline.com",
        "port": "443",
        "for": "tokens from Entra ID",
    }


def test_accounts_fit_on_a_terminal(daemon: Daemon, azsyncd: Azsyncd) -> None:
    """The columns that matter; CSV has them all."""
    daemon.operations.accounts.return_value = [
        {"target": "jira", "username": "anna", "email": "a@x", "display_name": "Anna", "key": "K1",
         "active": True, "object_id": None, "state": "unexplained", "detail": ""}
    ]  # fmt: skip
    said = azsyncd("accounts", "--unexplained", "--target", "jira")
    assert daemon.asked("accounts") == {"target": "jira", "which": "unexplained"}
    assert [line.split() for line in said.lines] == [
        ["TARGET", "USERNAME", "DISPLAY", "NAME", "ACTIVE", "STATE", "DETAIL"],
        ["jira", "anna", "Anna", "yes", "unexplained", "-"],
    ]
    assert azsyncd("accounts", "--format", "csv").lines == [
        "target,username,email,display_name,active,key,object_id,state,detail,attempts,next_try,"
        "command",
        "jira,anna,a@x,Anna,true,K1,,unexplained,,,,",
    ]


def test_subscriptions(daemon: Daemon, azsyncd: Azsyncd) -> None:
    """Listed, renewed, deleted."""
    daemon.operations.subscriptions.return_value = [
        {"resource": "users", "id": "abc", "expires_at": "2026-11-27T10:00:00Z"}
    ]
    said = azsyncd("subscriptions", "renew")
    assert daemon.asked("subscriptions") == {"action": "renew"}
    assert said.lines[1].split() == ["users", "2026-11-27T10:00:00Z", "abc"]


def test_the_effective_file_shows_no_secret(
    azsyncd: Azsyncd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Defaults filled in; where a secret is, and not what it is."""
    monkeypatch.setenv("CLI_TEST_TOKEN", "hush")
    said = azsyncd("config", "show")
    assert said.code == 0
    assert "env: CLI_TEST_TOKEN" in said.out
    assert "delta_poll: 30s" in said.out
    assert "hush" not in said.out
    assert azsyncd("config", "show", "--json").json["instance"] == "azsyncd"
    assert azsyncd("config", "schema").json["$schema"].startswith("https://json-schema.org/")
