"""The demo's children and what interrupts it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from azsyncd.cli.demo.processes import (
    Child,
    DemoFailed,
    Interruptions,
    SandboxProcess,
    environment,
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_interrupt_and_are_put_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interruptions(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_what_is_held_is_done_to_its_end_first() -> None:
    done = []

    def work(interruptions: Interruptions) -> None:
        with interruptions.held():
            signal.raise_signal(signal.SIGTERM)
            done.append("this")
        done.append("and no more")

    with Interruptions() as interruptions, pytest.raises(KeyboardInterrupt):
        work(interruptions)
    assert done == ["this"]


def test_nothing_interrupts_the_end() -> None:
    with Interruptions() as interruptions:
        interruptions.end()
        signal.raise_signal(signal.SIGINT)
        with interruptions.held():
            signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Child]:
    """Starts a child that runs a program of ours."""
    known = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", known)

    def start(program: str) -> Child:
        (tmp_path / "program_of_ours.py").write_text(program)
        return Child("the child", ["program_of_ours"], tmp_path / "log")

    return start


def test_a_child_that_ended_by_itself_is_a_failure_and_its_log_is_readable(
    child: Callable[[str], Child],
) -> None:
    line = '{"ts":"2026-11-24T20:47:19.775Z","level":"error","event":"task.failed","traceback":"x"}'
    made = child(f"print({line!r}); print('plain'); raise SystemExit(7)")
    made.process.wait(20)
    with pytest.raises(DemoFailed, match="the child ended by itself, with exit code 7"):
        made.must_live()
    assert made.last_lines() == ["20:47:19.775 error task.failed ", "plain"]
    assert made.stop() == 7


def test_a_child_is_asked_to_end_and_made_to_if_it_does_not(
    child: Callable[[str], Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("azsyncd.cli.demo.processes.GRACE_SECONDS", 0.3)
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    made = child(f"{deaf}; time.sleep(60)")
    while not made.last_lines():
        made.must_live()
    assert made.stop() == -signal.SIGKILL


def test_the_sandbox_answers_refuses_and_ends(tmp_path: Path) -> None:
    sandbox = SandboxProcess(10, 1, tmp_path, {"jira": "8.13", "cloud": None})
    try:
        ready = sandbox.ready()
        assert ready["tenant"]["users"] == 10
        assert ready["targets"]["jira"]["version"] == "8.13"
        assert set(sandbox.ask("figures")) == {"jira", "cloud"}
        with pytest.raises(DemoFailed, match="cannot do 'dance'"):
            sandbox.ask("dance")
        with pytest.raises(DemoFailed, match="did not answer in time"):
            sandbox.ask("happen", 0.3, kinds=["joiner"])
    finally:
        assert sandbox.stop() == 0
    with pytest.raises(DemoFailed):
        sandbox.ask("figures")


def test_children_are_not_sent_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("AZSYNCD_CONFIG", "/etc/azsyncd/config.yaml")
    monkeypatch.setenv("KEPT", "yes")
    found = environment()
    assert found["KEPT"] == "yes"
    assert not {"HTTPS_PROXY", "NOTIFY_SOCKET", "AZSYNCD_CONFIG"} & found.keys()
