"""What the demo does, act by act. Everything is driven and measured from outside the daemon."""

from __future__ import annotations

import shlex
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from azsyncd.cli.connect import ask_daemon
from azsyncd.cli.demo.processes import Child, DemoFailed, SandboxProcess, azsyncd
from azsyncd.cli.demo.stage import Stage
from azsyncd.cli.output import count, duration
from azsyncd.errors import AzsyncdError
from azsyncd.operations import HoldRow, StatusResult

LOOK_SECONDS = 0.25
START_SECONDS = 60.0
STILL_SECONDS = 60.0
"""So long nothing may move before the demo gives up."""
CHANGE_SECONDS = 60.0
"""So long one change may take."""
SUBSCRIBED_SECONDS = 20.0
MANY = 25
DYING_SECONDS = 0.15
"""After the notification of many changes: the daemon is writing them."""
PAUSE_SECONDS = 1.0
"""Between two changes, where somebody may be watching."""


class Story:
    """One demo: the company is served; `start` starts the daemon.

    `notifies`: seconds after which the simulated Graph tells of a change.
    """

    def __init__(
        self,
        stage: Stage,
        sandbox: SandboxProcess,
        start: Callable[[], Child],
        config: Path,
        *,
        notifies: float,
    ) -> None:
        self._stage = stage
        self._sandbox = sandbox
        self._start = start
        self._daemon = start()
        self._config = config
        self._notifies = notifies
        self._latencies: dict[str, list[float]] = {name: [] for name in stage.products}
        self._changes = 0
        self._late = 0

    # Act 1 --------------------------------------------------------------------------------------

    def first_sync(self) -> None:
        """From an empty state to products that are right, with an operator's consent."""
        self._stage.heading("1  First full sync")
        started = time.monotonic()
        self._read_entra()
        self._write_all()
        taken = duration(time.monotonic() - started)
        self._stage.say(f"{all_of(self._stage.products)} right after {taken}.")

    def _read_entra(self) -> None:
        started = time.monotonic()
        status = self._watched(lambda status: status["entra"]["revision"] > 0)
        entra = status["entra"]
        self._stage.say(
            f"Entra has been read: {count(entra['users'], 'user')},"
            f" {count(entra['groups'], 'group')}, {count(entra['memberships'], 'membership')}"
            f" ({duration(time.monotonic() - started)})."
        )
        self._watched(_has_planned)
        holds = self._holds()
        if holds:
            self._stage.say("Accounts stand there already: azsyncd asks before it takes any over.")
            self._stage.command(*self._typed("holds"))
            self._decide(holds)

    def _watched(self, fits: Callable[[StatusResult], bool]) -> StatusResult:
        """The first status that fits; until then, how far the daemon says it is."""
        with self._stage.bars(stay=False) as bars:

            def show(status: StatusResult) -> bool:
                done, steps = progress_of(status)
                bars.show(done, steps)
                return fits(status)

            return self._until(show, START_SECONDS)

    def _write_all(self) -> None:
        best, moved_at = -1, time.monotonic()
        with self._stage.bars() as bars:
            while True:
                self._daemon.must_live()
                figures = self._sandbox.ask("figures")
                bars.show({name: (each["done"], each["total"]) for name, each in figures.items()})
                done = sum(each["done"] for each in figures.values())
                if done == sum(each["total"] for each in figures.values()):
                    break
                if done > best:
                    best, moved_at = done, time.monotonic()
                if time.monotonic() - moved_at > STILL_SECONDS:
                    raise DemoFailed(f"nothing has moved for {STILL_SECONDS:.0f} s")
                self._decide(self._holds())
                time.sleep(LOOK_SECONDS)
        # Adopted accounts may still be brought up to date.
        left = self._sandbox.ask("compare", timeout=90, wait=30)["products"]
        for name, found in left.items():
            for text in found["differences"][:10]:
                self._stage.warn(f"{name}: {text}")

    # Act 2 --------------------------------------------------------------------------------------

    def everyday(self, kinds: Sequence[str]) -> None:
        """These changes, one after the other."""
        self._begin()
        for kind in kinds:
            self._happen([kind])

    def stream(self, seconds: float, choose: Callable[[int], str]) -> None:
        """Changes until time is up."""
        self._begin()
        until, number = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            self._happen([choose(number)])
            number += 1
            time.sleep(min(PAUSE_SECONDS, max(0.0, until - time.monotonic())))

    def _begin(self) -> None:
        with self._stage.waiting("The daemon subscribes to changes"):
            status = self._until(
                lambda status: len(status["subscriptions"]) >= 2, SUBSCRIBED_SECONDS, must=False
            )
        self._stage.heading("2  Everyday changes", columns=True)
        if len(status["subscriptions"]) < 2:
            self._stage.warn("Graph does not notify the daemon: changes wait for the next poll.")
        self._stage.say(
            f"From the change in Entra to the product. {self._notifies:g} s of it are the simulated"
            " Graph's; Microsoft's takes longer.",
            "dim",
        )

    def _happen(
        self, kinds: Sequence[str], text: str = "{}", then: Callable[[], None] | None = None
    ) -> None:
        """Let it happen, do what is to be done `then`, and show how long the products took."""
        result: Mapping[str, Any] | None = None
        with self._stage.waiting(f"{kinds[0]} …" if len(kinds) == 1 else "Many changes …"):
            following = self._sandbox.follow(
                "happen", CHANGE_SECONDS + 10, kinds=list(kinds), within=CHANGE_SECONDS
            )
            for told in following:
                if told is None:
                    self._look_after_daemon()
                elif "result" in told:
                    result = told["result"]
                elif then is not None and "text" in told:
                    then()
        assert result is not None
        if not result["text"]:
            return  # nobody to whom it could happen
        self._changes += result["changes"]
        self._late += bool(result["late"])
        self._stage.happened(text.format(result["text"]), result["seconds"], list(result["late"]))
        if len(kinds) == 1:
            for name, seconds in result["seconds"].items():
                if seconds is not None:
                    self._latencies[name].append(seconds)
        for name, texts in result["late"].items():
            for text in texts[:3]:
                self._stage.warn(f"{name}: {text}")

    # Act 3 --------------------------------------------------------------------------------------

    def bad_moments(self, choose: Callable[[int], str]) -> None:
        """Many changes at once, a daemon that dies while it writes them, and one that is dead."""
        self._stage.heading("3  Bad moments: kill -9", columns=True)
        kinds = [choose(number) for number in range(MANY)]
        self._happen(kinds)
        self._happen(kinds, "{}; killed over them", self._crash)
        self._daemon.kill()
        self._happen(kinds, "{}, the daemon dead", self._start_again)

    def _crash(self) -> None:
        time.sleep(self._notifies + DYING_SECONDS)
        self._daemon.kill()
        self._start_again()

    def _start_again(self) -> None:
        self._daemon = self._start()

    # Act 4 --------------------------------------------------------------------------------------

    def compare(self) -> bool:
        """The products against what they should hold; whether all is equal."""
        with self._stage.waiting("Comparing the products with what they should hold"):
            found = self._sandbox.ask("compare", timeout=60, wait=10)
        products = [found["products"][name] for name in self._stage.products]
        stage = self._stage
        stage.heading("4  Comparison with what should be there", columns=True)
        for name, key in (
            ("accounts", "accounts"),
            ("… of these active", "active"),
            ("… of these adopted", "adopted"),
            ("groups", "groups"),
            ("memberships", "memberships"),
        ):
            stage.figures(name, [each[key] for each in products])
        self._compare_counts(products)
        stage.figures("requests", [each["requests"] for each in products])
        if self._changes:
            values = [self._latencies[name] for name in stage.products]
            stage.figures("median latency", [statistics.median(v) if v else None for v in values])
            stage.figures("slowest", [max(v) if v else None for v in values])
        self._show_withheld()
        graph = found["graph"]
        stage.say(
            f"Tenant: {count(found['users'], 'user')}, {count(found['groups'], 'group')};"
            f" {count(self._changes, 'change')} since the first sync."
        )
        stage.say(
            f"Graph: {count(graph['requests'], 'request')}, {count(graph['tokens'], 'token')},"
            f" {count(graph['notifications'], 'notification')} delivered."
        )
        return self._judge(products, graph)

    def _show_withheld(self) -> None:
        """What products cannot do is left out, and the daemon says so."""
        status: StatusResult = ask_daemon(self._config, "status")
        for each in status["targets"]:
            reasons = [
                f"{number} {reason}"
                for reason, number in sorted(each["withheld"].items())
                if reason != "backing_off"  # looked at once more after the crash
            ]
            if reasons:
                self._stage.say(f"Withheld in {each['target']}: {', '.join(reasons)}.")

    def _compare_counts(self, products: Sequence[Mapping[str, Any]]) -> None:
        for name, key in (
            ("differences", "differences"),
            ("foreign accounts touched", "foreign_touched"),
            ("calls against the contract", "violations"),
        ):
            numbers = [len(each[key]) for each in products]
            self._stage.figures(name, numbers, good=not any(numbers))

    def _judge(self, products: Sequence[Mapping[str, Any]], graph: Mapping[str, Any]) -> bool:
        wrong = [f"Graph: {text}" for text in graph["violations"]]
        for name, each in zip(self._stage.products, products, strict=True):
            wrong += [f"{name}: {text}" for text in (*each["differences"], *each["violations"])]
        for text in wrong:
            self._stage.warn(text)
        if wrong:
            self._stage.verdict(False, f"{count(len(wrong), 'thing')} not as it should be.")
        elif self._late:
            self._stage.verdict(False, f"{count(self._late, 'change')} did not arrive in time.")
        else:
            foreign = sum(each["foreign"] for each in products)
            self._stage.verdict(
                True,
                f"{all_of(self._stage.products)} exactly as the tenant says;"
                f" {count(foreign, 'foreign account')} untouched.",
            )
        return not wrong and not self._late

    # The daemon, asked as an operator does --------------------------------------------------------

    def _until(
        self, fits: Callable[[StatusResult], bool], seconds: float, *, must: bool = True
    ) -> StatusResult:
        """The first status that fits, or the last one when time is up."""
        until, complaint = time.monotonic() + seconds, "it does not answer"
        status: StatusResult | None = None
        while time.monotonic() < until:
            self._daemon.must_live()
            try:
                status = ask_daemon(self._config, "status")
            except AzsyncdError as error:
                complaint = str(error)  # it is starting
            else:
                if fits(status):
                    return status
                complaint = "; ".join(status["problems"]) or "it does not get on"
            time.sleep(LOOK_SECONDS)
        if must or status is None:
            raise DemoFailed(f"after {seconds:.0f} s the daemon is not as expected: {complaint}")
        return status

    def _look_after_daemon(self) -> None:
        """It must live, and what it asks is answered."""
        self._daemon.must_live()
        try:
            holds = self._holds()
        except AzsyncdError:
            return  # it is starting again
        self._decide(holds)

    def _holds(self) -> list[HoldRow]:
        found: list[HoldRow] = ask_daemon(self._config, "holds")
        return [hold for hold in found if hold["state"] == "open"]

    def _decide(self, holds: Sequence[HoldRow]) -> None:
        """Approve, as somebody who has looked at the plan and found it right."""
        for hold in holds:
            words = ("approve", str(hold["id"]), "--expect", str(hold["items"]))
            self._stage.command(*self._typed(*words))

    def _typed(self, *words: str) -> tuple[str, str]:
        """One real command, and what it says."""
        done = azsyncd(self._config, *words)
        return shlex.join(["azsyncd", *words]), done.stdout + done.stderr


def progress_of(
    status: StatusResult,
) -> tuple[dict[str, tuple[int, int | None]], dict[str, str]]:
    """How far the daemon is with Entra, and then with each product; and what it does there."""
    entra = status["entra"]
    if not entra["revision"]:
        crawl = entra["crawl"] or {"objects": 0}
        return {"entra": (crawl["objects"], None)}, {"entra": "objects read"}
    figures = {each["target"]: (each["done"], each["total"]) for each in status["targets"]}
    steps = {each["target"]: each["step"] for each in status["targets"]}
    return figures, steps


def all_of(products: Sequence[str]) -> str:
    """`All five products are`."""
    if len(products) < 3:
        return "Both products are" if len(products) == 2 else "The product is"
    return f"All {('three', 'four', 'five')[len(products) - 3]} products are"


def _has_planned(status: StatusResult) -> bool:
    """Whether every target has something to do, is done, or asks."""
    return all(
        target["holds"]
        or target["linked_accounts"]
        or target["state"] not in ("starting", "working")
        for target in status["targets"]
    )
