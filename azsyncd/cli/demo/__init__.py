"""`azsyncd demo`: the unmodified daemon on a simulated tenant and simulated products.

Three processes: this one, which drives, watches and shows; `azsyncd.sandbox.serve`, the company;
and `azsyncd run` with a real configuration file. The last two are ended by their pids in any case.
"""

from __future__ import annotations

import errno
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azsyncd.cli.demo.choice import ALL, OLDEST
from azsyncd.cli.demo.processes import Child, DemoFailed, Interruptions, SandboxProcess
from azsyncd.cli.demo.settings import make_folder, reserve_port, write
from azsyncd.cli.output import FAILED, INTERRUPTED, OK, count
from azsyncd.errors import AzsyncdError

if TYPE_CHECKING:
    from azsyncd.cli.demo.stage import Stage

ALL_PRODUCTS: Mapping[str, str | None] = dict.fromkeys(ALL)
SEED = 1
LOG = "azsyncd.log"
ROUNDS = 2
"""How often `--once` lets each kind of change happen."""


def demo(
    *,
    users: int = 1000,
    minutes: float = 2.0,
    once: bool = False,
    keep: bool = False,
    targets: Mapping[str, str | None] = ALL_PRODUCTS,
) -> int:
    """Show it. Exit code: 0 all is equal in the end, 1 it is not or something failed."""
    from azsyncd.cli.demo.stage import Stage

    stage = Stage(tuple(targets))
    stage.title("azsyncd demo", "the real daemon; Entra and the Atlassian products are simulated")
    with Interruptions() as interruptions:
        folder = make_folder()
        show = _Show(stage, folder, interruptions, targets)
        code = FAILED
        try:
            code = show.run(users, minutes=minutes, once=once)
        except (DemoFailed, AzsyncdError) as error:
            stage.verdict(False, str(error))
        except KeyboardInterrupt:
            code = INTERRUPTED
            stage.must_be_seen = False
            stage.verdict(False, "Interrupted; everything is ended.")
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EPIPE):
                raise
            code = INTERRUPTED  # nobody is looking any more
        finally:
            interruptions.end()
            stage.must_be_seen = False
            code = show.end(code, keep=keep)
    return code


class _Show:
    """Everything that must be ended and cleared up."""

    def __init__(
        self,
        stage: Stage,
        folder: Path,
        interruptions: Interruptions,
        targets: Mapping[str, str | None],
    ) -> None:
        self._stage = stage
        self._targets = targets
        self._folder = folder
        self._interruptions = interruptions
        self._children: dict[str, Child] = {}

    def run(self, users: int, *, minutes: float, once: bool) -> int:
        from azsyncd.cli.demo.story import Story

        with self._stage.waiting("A company is founded"):
            sandbox = self._start_sandbox(users)
            ready = sandbox.ready()
        with reserve_port() as reserved:
            config = write(self._folder, ready, reserved.getsockname()[1])
            _introduce(self._stage, ready, config)
            story = Story(
                self._stage,
                sandbox,
                lambda: self._start_daemon(config),
                config,
                notifies=ready["notifies"],
            )
            choose = _chooser(ready["kinds"])
            story.first_sync()
            if once:
                story.everyday(list(ready["kinds"]) * ROUNDS)
            else:
                story.stream(minutes * 60, choose)
            story.bad_moments(choose)
            return OK if story.compare() else FAILED

    def end(self, code: int, *, keep: bool) -> int:
        """End every process, keep or remove the folder; the exit code."""
        for child in reversed(self._children.values()):
            status = child.stop()
            if status != 0 and code == OK:
                self._stage.verdict(False, f"{child.name} did not end well: exit code {status}")
                code = FAILED
        if code == FAILED:
            for child in self._children.values():
                lines = child.last_lines()
                if lines:
                    self._stage.lines(f"The last lines of {child.log}:", lines)
        if keep or code == FAILED:
            self._stage.say(f"The folder is kept: {self._folder}")
        else:
            shutil.rmtree(self._folder, ignore_errors=True)
        return code

    def _start_sandbox(self, users: int) -> SandboxProcess:
        with self._interruptions.held():
            sandbox = SandboxProcess(users, SEED, self._folder, self._targets)
            self._children["sandbox"] = sandbox
        return sandbox

    def _start_daemon(self, config: Path) -> Child:
        """Start it; one that was there before has ended."""
        with self._interruptions.held():
            words = ["azsyncd", "run", "--config", str(config)]
            daemon = Child("the daemon", words, self._folder / LOG)
            self._children["daemon"] = daemon
        return daemon


def _introduce(stage: Stage, ready: Mapping[str, Any], config: Path) -> None:
    tenant = ready["tenant"]
    stage.fact(
        "Tenant",
        f"{count(tenant['users'], 'user')} ({tenant['guests']} guests, {tenant['disabled']}"
        f" disabled), {count(tenant['groups'], 'group')}",
    )
    for name, told in ready["targets"].items():
        version = f" ({told['version']})" if name in OLDEST else ""
        stage.fact(name.capitalize(), f"{told['url']}{version}")
    stage.fact("Folder", str(config.parent))
    stage.fact("Try", f"azsyncd --config {config} status")
    stage.fact("", "and holds, plan, history, accounts, explain 'Anna Berg'")


def _chooser(kinds: list[str]) -> Callable[[int], str]:
    """Each kind once, in the order in which they tell a story, then any."""
    rng = random.Random(SEED)
    return lambda number: kinds[number] if number < len(kinds) else rng.choice(kinds)
