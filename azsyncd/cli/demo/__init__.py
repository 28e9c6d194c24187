"""`azsyncd demo`: the unmodified daemon on a simulated tenant and simulated products.

Three processes: this one, which drives, watches and shows; `azsyncd.sandbox.serve`, the company;
and `azsyncd run` with a real configuration file. The last two are ended by their pids in any case.
"""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from azsyncd.cli.demo.processes import Child, DemoFailed, SandboxProcess
from azsyncd.cli.demo.settings import make_folder, reserve_port, write
from azsyncd.cli.output import FAILED, INTERRUPTED, OK, count
from azsyncd.errors import AzsyncdError

PRODUCTS = ("jira", "crowd")
SEED = 1
LOG = "azsyncd.log"
ROUNDS = 2
"""How often `--once` lets each kind of change happen."""


def demo(*, users: int = 1000, minutes: float = 2.0, once: bool = False, keep: bool = False) -> int:
    """Show it. Exit code: 0 all is equal in the end, 1 it is not or something failed."""
    from azsyncd.cli.demo.stage import Stage

    stage = Stage(PRODUCTS)
    stage.title("azsyncd demo", "the real daemon; the tenant, Jira and Crowd are simulated")
    folder = make_folder()
    previous = {number: signal.signal(number, _end) for number in _ENDING}
    children: list[Child] = []
    code = FAILED
    try:
        code = _show(stage, folder, children, users=users, minutes=minutes, once=once)
    except (DemoFailed, AzsyncdError) as error:
        stage.verdict(False, str(error))
    except KeyboardInterrupt:
        stage.verdict(False, "Interrupted; everything is ended.")
        code = INTERRUPTED
    finally:
        # Ending must not be interrupted: nothing may be left behind.
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)
        ended = [(child, child.stop()) for child in reversed(children)]
        for child, status in ended:
            if status != 0 and code == OK:
                stage.verdict(False, f"{child.name} did not end well: exit code {status}")
                code = FAILED
        failed = code == FAILED
        _clear_up(stage, folder, children, kept=keep or failed, failed=failed)
        for number, handler in previous.items():
            signal.signal(number, handler)
    return code


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _end(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _show(
    stage: Any, folder: Path, children: list[Child], *, users: int, minutes: float, once: bool
) -> int:
    from azsyncd.cli.demo.story import Story

    with stage.waiting("A company is founded"):
        sandbox = SandboxProcess(users, SEED, folder)
        children.append(sandbox)
        ready = sandbox.ready()
    with reserve_port() as reserved:
        config = write(folder, ready, reserved.getsockname()[1])
        _introduce(stage, ready, config)

        def start() -> Child:
            children[1:] = [
                Child("the daemon", ["azsyncd", "run", "--config", str(config)], folder / LOG)
            ]
            return children[1]

        story = Story(stage, sandbox, start, config, notifies=ready["notifies"])
        choose = _chooser(ready["kinds"])
        story.first_sync()
        if once:
            story.everyday(list(ready["kinds"]) * ROUNDS)
        else:
            story.stream(minutes * 60, choose)
        story.bad_moments(choose)
        return OK if story.compare() else FAILED


def _introduce(stage: Any, ready: Mapping[str, Any], config: Path) -> None:
    tenant, addresses = ready["tenant"], ready["addresses"]
    stage.fact(
        "Tenant",
        f"{count(tenant['users'], 'user')} ({tenant['guests']} guests, {tenant['disabled']}"
        f" disabled), {count(tenant['groups'], 'group')}",
    )
    stage.fact("Jira", addresses["jira"])
    stage.fact("Crowd", addresses["crowd"])
    stage.fact("Folder", str(config.parent))
    stage.fact("Try", f"azsyncd --config {config} status")
    stage.fact("", "and holds, plan, history, accounts, explain 'Anna Berg'")


def _chooser(kinds: list[str]) -> Callable[[int], str]:
    """Each kind once, in the order in which they tell a story, then any."""
    rng = random.Random(SEED)
    return lambda number: kinds[number] if number < len(kinds) else rng.choice(kinds)


def _clear_up(stage: Any, folder: Path, children: list[Child], *, kept: bool, failed: bool) -> None:
    if failed:
        for child in children:
            lines = child.last_lines()
            if lines:
                stage.lines(f"The last lines of {child.log}:", lines)
    if kept:
        stage.say(f"The folder is kept: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
