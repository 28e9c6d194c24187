"""`suggest`, `link`, `unlink` and `target` as typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Azsyncd, Daemon


def row(who: str, account: str, outcome: str, message: str = "", hint: str = "") -> dict[str, str]:
    return {"who": who, "account": account, "object_id": "0a1b", "outcome": outcome,
            "message": message, "hint": hint}  # fmt: skip


def test_one_is_linked(azsyncd: Azsyncd, daemon: Daemon) -> None:
    daemon.operations.link.return_value = [row("jo@x.org", "jo", "linked")]
    said = azsyncd("link", "jo@x.org", "jo", "--target", "jira", "--reason", "it is hers")
    assert (said.code, said.out) == (0, "jo@x.org has the account 'jo' in jira.\n")
    assert daemon.asked("link") == {
        "target": "jira", "pairs": [["jo@x.org", "jo"]], "reason": "it is hers"}  # fmt: skip


def test_a_refusal_is_told_with_what_to_do(azsyncd: Azsyncd, daemon: Daemon) -> None:
    daemon.operations.link.return_value = [row("jo", "boss", "refused", "no", "do this")]
    said = azsyncd("link", "jo", "boss", "--target", "jira")
    assert (said.code, said.err) == (1, "azsyncd: no — do this\n")


@pytest.mark.parametrize("text", ["who,account\njo,jo1\nada, ada1 \n", "\ufeffAccount;Who;Why\njo1;jo;x\nada1;ada;\n;;\n"])  # fmt: skip # noqa: E501
def test_many_are_linked_from_a_file(
    azsyncd: Azsyncd, daemon: Daemon, tmp_path: Path, text: str
) -> None:
    (tmp_path / "people.csv").write_text(text, encoding="utf-8")
    daemon.operations.link.return_value = [
        row("jo", "jo1", "linked"), row("ada", "ada1", "refused", "not hers")]  # fmt: skip
    said = azsyncd("link", "--file", str(tmp_path / "people.csv"), "--target", "jira")
    assert said.code == 1
    assert said.out == "1 account linked in jira, 0 linked already, 1 refused.\n"
    assert said.err == "azsyncd: ada, ada1: not hers\n"
    assert daemon.asked("link")["pairs"] == [["jo", "jo1"], ["ada", "ada1"]]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no columns who and account"),
        ("user,account\na,b\n", "has no columns who and account"),
        ("who,account\na,\n", "row 2: who or account is empty"),
        ("who,account\n", "names nobody"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_as_a_whole(
    azsyncd: Azsyncd, daemon: Daemon, tmp_path: Path, text: str, why: str
) -> None:
    (tmp_path / "people.csv").write_text(text)
    said = azsyncd("link", "--file", str(tmp_path / "people.csv"), "--target", "jira")
    assert said.code == 1 and why in said.err
    daemon.operations.link.assert_not_called()
    assert "cannot be read" in azsyncd("link", "--file", str(tmp_path), "--target", "jira").err


def test_somebody_is_unlinked(azsyncd: Azsyncd, daemon: Daemon) -> None:
    daemon.operations.unlink.return_value = {"who": "jo", "account": "jo1", "object_id": "0a1b"}
    said = azsyncd("unlink", "jo", "--target", "jira")
    assert said.out == "jo and the account 'jo1' in jira are left alone from now on.\n"
    assert azsyncd("unlink", "jo", "--target", "jira", "--json").json["account"] == "jo1"


TOLD = {"action": "detach", "target": "old", "new": None, "accounts": 2, "groups": 1, "holds": 0}


def test_a_target_is_given_up_only_when_that_is_meant(azsyncd: Azsyncd, daemon: Daemon) -> None:
    daemon.operations.target.return_value = {**TOLD, "done": False}
    said = azsyncd("target", "detach", "old")  # nobody sits at a terminal
    assert said.code == 1 and "2 accounts and 1 group" in said.err and "--yes" in said.err
    assert daemon.asked("target") == {"action": "detach", "name": "old", "go": False}
    daemon.operations.target.reset_mock()
    daemon.operations.target.return_value = {**TOLD, "done": True}
    said = azsyncd("target", "detach", "old", "--yes")
    assert said.out == "old is given up, with 2 accounts and 1 group.\n"
    assert daemon.asked("target")["go"] is True


def test_a_target_goes_on_under_another_name_or_address(azsyncd: Azsyncd, daemon: Daemon) -> None:
    daemon.operations.target.return_value = {**TOLD, "action": "rename", "new": "n", "done": True}
    said = azsyncd("target", "rename", "old", "n", "--yes")
    assert said.out == "old is n now, with 2 accounts and 1 group.\n"
    daemon.operations.target.return_value = {**TOLD, "action": "rebind", "done": True}
    assert "compared" in azsyncd("target", "rebind", "old", "--moved", "--yes").out
    assert "begins anew" in azsyncd("target", "rebind", "old", "--yes").out


def test_a_suggestion_shows_what_matches_and_the_lines_for_the_file(
    azsyncd: Azsyncd, daemon: Daemon
) -> None:
    rows = [
        {"template": "{{ user.mail }}", "matches": 12, "exact": 10, "shared": 1, "unread": 0,
         "examples": ["jo@x.org = jo"]},
        {"template": "{{ user.employeeId }}", "matches": 0, "exact": 0, "shared": 0, "unread": 3,
         "examples": []},
    ]  # fmt: skip
    daemon.operations.suggest.return_value = [
        {"target": "jira", "identities": 20, "accounts": 15, "usernames": rows, "emails": [],
         "username": "u", "email": "e", "adopt": "username", "why": "12 by name",
         "lines": ["targets:", "  jira:"]},
        {"target": "crowd", "error": "no answer"},
    ]  # fmt: skip
    said = azsyncd("suggest")
    assert said.code == 1 and said.err == "azsyncd: crowd: no answer\n"
    assert "jira: 15 accounts, 20 people in the scope" in said.out
    assert "{{ user.mail }}  12     10" in said.out and "jo@x.org = jo" in said.out
    assert "not read from Entra yet: {{ user.employeeId }}" in said.out
    assert "12 by name. For the file:" in said.out and "    jira:" in said.lines[-1]
    assert daemon.asked("suggest") == {}


def test_the_five_steps_are_shown_with_rules_and_paths(azsyncd: Azsyncd, daemon: Daemon) -> None:
    steps = [("found", True, "jo, enabled"), ("in scope", True, "in scope: why"),
             ("matched", False, "two want it"), ("mapped", None, "not asked"),
             ("planned", True, "nothing to do")]  # fmt: skip
    rule = {"rule": "scope.users.members_of", "verdict": "in", "why": "", "paths": ["jo > a > b"]}
    daemon.operations.explain.return_value = {
        "kind": "user",
        "entra": {},
        "targets": [
            {"target": "jira", "not_asked": "no answer", "rules": [rule],
             "steps": [{"step": s, "ok": ok, "why": why} for s, ok, why in steps]},
        ],
        "what_to_do": "this",
    }  # fmt: skip
    lines = azsyncd("explain", "jo").lines
    assert "  1 found     =  jo, enabled" in lines and "  3 matched   -  two want it" in lines
    assert "  4 mapped    !  not asked" in lines and "    jo > a > b" in lines
    assert "  ! it could not be asked: no answer" in lines and lines[-1] == "What to do: this"
