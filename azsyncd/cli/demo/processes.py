"""The demo's children: started, talked to, and ended by their pids, whatever happens."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

GRACE_SECONDS = 25.0
"""The daemon promises to be gone 20 seconds after SIGTERM."""
GOING_SECONDS = 5.0
START_SECONDS = 120.0


class DemoFailed(Exception):
    """The demo cannot go on; the message says why in a line."""


class Interruptions:
    """While this lasts, SIGINT, SIGTERM and SIGHUP are a KeyboardInterrupt; but while somebody
    holds them, only afterwards: a child between its start and our list would be left behind."""

    _NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._held = 0
        self._heard = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interruptions:
        self._previous = {each: signal.signal(each, self._hear) for each in self._NUMBERS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Do this to its end first."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        if self._heard and not self._held:
            raise KeyboardInterrupt

    def end(self) -> None:
        """From now on nothing interrupts any more."""
        self._held += 1

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._heard = True
        if not self._held:
            raise KeyboardInterrupt


class Child:
    """One process, in a session of its own, so that Ctrl-C reaches it through us alone."""

    def __init__(self, name: str, arguments: list[str], log: Path, *, talks: bool = False) -> None:
        self.name = name
        self.log = log
        pipe = subprocess.PIPE if talks else None
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=pipe or subprocess.DEVNULL,
                stdout=pipe or stream,
                stderr=stream,
                env=environment(),
                start_new_session=True,
            )

    def must_live(self) -> None:
        """Raises DemoFailed if it has ended."""
        code = self.process.poll()
        if code is not None:
            raise DemoFailed(f"{self.name} ended by itself, with exit code {code}")

    def stop(self) -> int:
        """End it: asked first, then made to. Returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        self.process.kill()
        self.process.wait()

    def last_lines(self, count: int = 20) -> list[str]:
        """The end of its log."""
        try:
            return [_shown(line) for line in self.log.read_text("utf-8").splitlines()[-count:]]
        except (OSError, UnicodeDecodeError):
            return []


def _shown(line: str) -> str:
    """A line of a log for people: short, and without the traceback, which is in the file."""
    try:
        entry = json.loads(line)
        moment, level, event = entry.pop("ts"), entry.pop("level"), entry.pop("event")
    except (ValueError, AttributeError, KeyError, TypeError):
        return line[:_LONGEST_LINE]
    rest = " ".join(f"{key}={value}" for key, value in entry.items() if key != "traceback")
    return f"{moment[11:23]} {level} {event} {rest}"[:_LONGEST_LINE]


_LONGEST_LINE = 300


class SandboxProcess(Child):
    """The simulated company (`azsyncd.sandbox.serve`), spoken to in JSON lines."""

    def __init__(
        self, users: int, seed: int, folder: Path, targets: Mapping[str, str | None]
    ) -> None:
        named = [f"{name}={version}" if version else name for name, version in targets.items()]
        arguments = ["azsyncd.sandbox.serve", "--users", str(users), "--seed", str(seed)]
        arguments += ["--targets", ",".join(named)]
        super().__init__(
            "the sandbox",
            [*arguments, "--folder", str(folder / "tls")],
            folder / "sandbox.log",
            talks=True,
        )
        self._lines: queue.Queue[Mapping[str, Any] | None] = queue.Queue()
        self._asked = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ready(self) -> Mapping[str, Any]:
        """What a client must know; waits until the servers listen."""
        for told in self._heard(START_SECONDS):
            if told is not None:
                ready: Mapping[str, Any] = told["ready"]
                return ready
        raise DemoFailed("the sandbox did not start in time")

    def ask(self, what: str, timeout: float = 60.0, **arguments: Any) -> Any:
        """The answer to a request, whatever it tells meanwhile."""
        for told in self.follow(what, timeout, **arguments):
            if told is not None and "result" in told:
                return told["result"]
        raise DemoFailed(f"the sandbox did not answer ({what})")

    def follow(
        self, what: str, timeout: float, **arguments: Any
    ) -> Iterator[Mapping[str, Any] | None]:
        """Everything that is told about a request, last its `{"result": …}`; None now and then."""
        self._asked += 1
        line = json.dumps({"id": self._asked, "do": what, **arguments})
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{line}\n".encode())
            self.process.stdin.flush()
        except (OSError, ValueError):  # ValueError: it is closed
            self.must_live()
            raise DemoFailed("the sandbox does not listen any more") from None
        for told in self._heard(timeout):
            if told is None:
                yield None
                continue
            if told.get("id") != self._asked:
                continue  # an answer that nobody waited for
            if "error" in told:
                raise DemoFailed(f"the sandbox refused {what}: {told['error']}")
            yield told.get("told", told)
            if "result" in told:
                return
        raise DemoFailed(f"the sandbox did not answer in time ({what})")

    def stop(self) -> int:
        if self.process.stdin is not None:
            try:
                self.process.stdin.close()
            except OSError:
                pass  # it is gone already
        try:
            # The end of its input is its word to go; a signal could hit it halfway out.
            code = self.process.wait(GOING_SECONDS)
        except subprocess.TimeoutExpired:
            code = super().stop()
        self._reader.join(GOING_SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def _heard(self, timeout: float) -> Iterator[Mapping[str, Any] | None]:
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            try:
                told = self._lines.get(timeout=0.25)
            except queue.Empty:
                self.must_live()
                yield None
                continue
            if told is None:
                self.process.wait(GRACE_SECONDS)
                self.must_live()
            yield told

    def _read(self) -> None:
        assert self.process.stdout is not None
        for raw in self.process.stdout:
            try:
                self._lines.put(json.loads(raw))
            except ValueError:
                continue
        self._lines.put(None)


def azsyncd(config: Path, *words: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    """One command of the real command line, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "azsyncd", "--config", str(config), *words],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(),
        check=False,
        start_new_session=True,
    )


def environment() -> dict[str, str]:
    """Ours, without what would send the children elsewhere than to 127.0.0.1."""
    found = {
        name: value
        for name, value in os.environ.items()
        if name.upper() not in _LEFT_OUT and name.lower() not in _PROXIES
    }
    return {**found, "PYTHONUTF8": "1", "NO_COLOR": "1"}


_LEFT_OUT = frozenset(
    {"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC", "WATCHDOG_PID", "AZSYNCD_CONFIG"}
)
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})
