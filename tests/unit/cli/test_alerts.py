"""`azsyncd alerts test` and `forget` as typed; and the firewall request for who is told."""

from __future__ import annotations

from pathlib import Path

from .conftest import Azsyncd, Daemon


def told(door: str, kind: str, error: str = "") -> dict[str, object]:
    return {"door": door, "kind": kind, "ok": not error, "error": error}


def test_a_line_for_each_door(daemon: Daemon, azsyncd: Azsyncd) -> None:
    """With what did not go through, and the exit code of that."""
    hook, mail = "webhook {credential: teams}", "mail through mail:25"
    daemon.operations.alerts_test.return_value = [told(hook, "hold"), told(hook, "credential")]
    said = azsyncd("alerts", "test")
    assert (said.code, said.out) == (0, f"{hook}: 2 messages sent\n")
    daemon.operations.alerts_test.return_value.append(told(mail, "hold", "refuses the log-in"))
    said = azsyncd("alerts", "test")
    assert (said.code, said.lines[1]) == (1, f"{mail}: refuses the log-in")
    said = azsyncd("alerts", "test", "--json")
    assert said.code == 1 and [each["ok"] for each in said.json] == [True, True, False]


def test_forget_says_how_many_entries(daemon: Daemon, azsyncd: Azsyncd) -> None:
    """And asks for the person that was typed."""
    answer = {"object_id": "4f2a", "entries": 1, "by": "root"}
    daemon.operations.forget.return_value = answer
    said = azsyncd("forget", "jo@example.com")
    assert (said.code, said.out) == (0, "1 entry blanked for 4f2a.\n")
    assert daemon.asked("forget") == {"who": "jo@example.com"}
    daemon.operations.forget.return_value = {**answer, "entries": 12}
    assert azsyncd("forget", "jo@example.com").out == "12 entries blanked for 4f2a.\n"
    assert azsyncd("forget", "jo@example.com", "--json").json["entries"] == 12


def test_who_is_told_is_in_the_firewall_request(azsyncd: Azsyncd, config: Path) -> None:
    """The address of a webhook is a secret, and stays one."""
    config.write_text(
        config.read_text()
        + "alerts:\n"
        + "  - webhook: {url: {env: CLI_TEST_HOOK}}\n"
        + "  - email: {smtp: 'mail.example.com:587', from: a@b.c, to: [d@e.f]}\n"
        + "heartbeat: {url: {env: CLI_TEST_BEAT}}\n"
    )
    rows = [(row["host"], row["port"]) for row in azsyncd("check", "--connections", "--json").json]
    assert rows[-3:] == [
        ("the host in {env: CLI_TEST_HOOK}", "443"),
        ("mail.example.com", "587"),
        ("the host in {env: CLI_TEST_BEAT}", "443"),
    ]
