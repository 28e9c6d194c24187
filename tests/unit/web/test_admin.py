"""The admin socket: who asks is what the kernel says, and every answer has an end."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, create_autospec

import aiohttp
import pytest

from azsyncd.errors import AzsyncdError, ConfigError, Problem, TargetRefused
from azsyncd.operations import Operations, Progress, Tell
from azsyncd.web.admin import Admin, serve_admin, serve_metrics

ME = f"uid {os.getuid()}"


class House:
    """A daemon's admin door on a real socket, with operations that only remember."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.operations = create_autospec(Operations, instance=True)
        self.is_ready = (False, "the first round is open")
        self.happenings: asyncio.Queue[Mapping[str, Any] | None] = asyncio.Queue()
        self.subscribers = 0
        self.client: aiohttp.ClientSession

    def admin(self) -> Admin:
        return Admin(
            operations=self.operations,
            ready=lambda: self.is_ready,
            metrics=lambda: b"azsyncd_holds 0\n",
            metrics_type="text/plain; version=0.0.4; charset=utf-8",
            subscribe=self.subscribe,
        )

    async def subscribe(self) -> AsyncGenerator[Mapping[str, Any], None]:
        self.subscribers += 1
        try:
            while (event := await self.happenings.get()) is not None:
                yield event
        finally:
            self.subscribers -= 1

    async def ask(self, name: str, body: Any = None, **headers: str) -> list[dict[str, Any]]:
        """All lines of the answer."""
        data = None if body is None else json.dumps(body)
        url = f"http://azsyncd/api/v1/ops/{name}"
        async with self.client.post(url, data=data, headers=headers) as answer:
            return [json.loads(line) for line in (await answer.text()).splitlines()]

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.client.get(f"http://azsyncd{path}") as answer:
            text = await answer.text()
            is_json = answer.content_type == "application/json"
            return answer.status, json.loads(text) if is_json else text

    async def post(self, path: str, body: Any = None) -> tuple[int, Any]:
        async with self.client.post(f"http://azsyncd{path}", json=body) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path / "admin.sock")
    runner = await serve_admin(house.admin(), house.path)
    house.client = aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(house.path)))
    try:
        yield house
    finally:
        await house.client.close()
        await runner.cleanup()


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_health_readiness_and_metrics(house: House) -> None:
    """Alive at once, ready only when the daemon says so, and why not."""
    assert await house.get("/healthz") == (200, "ok\n")
    assert await house.get("/readyz") == (503, "the first round is open\n")
    house.is_ready = (True, "ready")
    assert await house.get("/readyz") == (200, "ready\n")
    assert await house.get("/metrics") == (200, "azsyncd_holds 0\n")


async def test_the_socket_is_for_its_owner_and_group_alone(house: House) -> None:
    """Whoever may open it may do everything."""
    assert stat.S_IMODE(house.path.stat().st_mode) == 0o660


async def test_an_operation_is_asked_with_its_arguments_and_answers_its_result(
    house: House,
) -> None:
    """One line when there is no progress to tell; the kernel says who asks."""
    house.operations.pause.return_value = {"paused": True}
    lines = await house.ask("pause", {"reason": "change window", "seconds": 60, "target": "jira"})
    assert lines == [{"result": {"paused": True}}]
    (call,) = house.operations.pause.await_args_list
    assert call.kwargs.pop("by").startswith(ME)
    assert call.kwargs == {"reason": "change window", "seconds": 60, "target": "jira"}


async def test_progress_comes_before_the_result(house: House) -> None:
    """The latest of each step, in the order in which they last moved."""

    async def sync(*, by: str, tell: Tell, **_: Any) -> dict[str, Any]:
        tell(Progress(step="Reading users", done=1, total=None))
        tell(Progress(step="Reading users", done=2, total=2))
        tell(Progress(step="jira: creating accounts", done=1, total=9))
        return {"outcome": "converged"}

    house.operations.sync = sync
    assert await house.ask("sync", {"full": True}) == [
        {"progress": {"step": "Reading users", "done": 2, "total": 2}},
        {"progress": {"step": "jira: creating accounts", "done": 1, "total": 9}},
        {"result": {"outcome": "converged"}},
    ]


WRONG = [
    ("nothing", {}, "there is no operation 'nothing'"),
    ("__init__", {}, "there is no operation '__init__'"),
    ("approve", {}, "hold: Field required"),
    ("approve", {"hold": "3"}, "hold: Input should be a valid integer"),
    ("approve", {"hold": 3, "by": "somebody else"}, "by: Extra inputs are not permitted"),
    ("plan", {"tell": 1}, "tell: Extra inputs are not permitted"),
    ("plan", [], "the body must be a JSON object"),
]


@pytest.mark.parametrize(("name", "body", "message"), WRONG, ids=[w[2] for w in WRONG])
async def test_what_does_not_fit_is_refused_before_anything_is_done(
    house: House, name: str, body: Any, message: str
) -> None:
    """Nobody can claim to be somebody else, nor reach what is no operation."""
    (line,) = await house.ask(name, body)
    assert line["error"]["message"] == message
    assert line["error"]["kind"] == "WrongArguments"
    assert house.operations.mock_calls == []


async def test_an_operators_error_arrives_whole(house: House) -> None:
    """Message, hint and kind."""
    house.operations.status.side_effect = TargetRefused("jira wants a captcha", "log in once")
    assert await house.ask("status") == [
        {
            "error": {
                "message": "jira wants a captcha",
                "hint": "log in once",
                "kind": "TargetRefused",
            }
        }
    ]


async def test_every_problem_of_a_file_arrives(house: House) -> None:
    """With its line and key."""
    problem = Problem("targets.jira.ulr", "unknown", file="config.yaml", line=7, column=10)
    house.operations.reload.side_effect = ConfigError([problem])
    (line,) = await house.ask("reload", {"dry_run": True})
    assert line["error"]["kind"] == "ConfigError"
    assert line["error"]["problems"] == [
        {
            "key": "targets.jira.ulr",
            "message": "unknown",
            "file": "config.yaml",
            "line": 7,
            "column": 10,
        }
    ]


async def test_what_nobody_foresaw_is_told_in_general_terms(house: House) -> None:
    """The log has the details; an answer must not carry what an exception's text may hold."""
    house.operations.status.side_effect = KeyError("password=hush")
    (line,) = await house.ask("status")
    assert line["error"]["kind"] == "InternalError"
    assert "hush" not in json.dumps(line)


async def hang_up_during(house: House, name: str, body: dict[str, Any]) -> asyncio.Event:
    """Ask for something that lasts, and go away; says whether it was let to end."""
    begun, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
    cancelled = asyncio.Event()

    async def work(**_: Any) -> dict[str, Any]:
        begun.set()
        try:
            await go_on.wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        ended.set()
        return {}

    setattr(house.operations, name, work)
    asking = asyncio.ensure_future(house.ask(name, body))
    await begun.wait()
    asking.cancel()
    if name != "sync":
        await until(cancelled.is_set)
    else:
        await asyncio.sleep(0.05)
    go_on.set()
    await asyncio.sleep(0.05)
    return ended


async def test_a_question_ends_when_the_caller_hangs_up(house: House) -> None:
    """Nobody computes a plan for nobody."""
    assert not (await hang_up_during(house, "plan", {})).is_set()


async def test_a_decision_is_carried_out_although_the_caller_hangs_up(house: House) -> None:
    """Ctrl-C in front of `sync` does not leave half of it."""
    assert (await hang_up_during(house, "sync", {})).is_set()


async def test_the_resources_are_the_same_operations(house: House) -> None:
    """Plain HTTP for those who do not stream."""
    house.operations.status.return_value = {"health": "healthy"}
    house.operations.holds.return_value = [{"id": 3}]
    house.operations.approve.return_value = {"id": 3, "state": "approved"}
    house.operations.reject.return_value = {"id": 3, "state": "rejected"}
    house.operations.sync.return_value = {"outcome": "converged"}
    house.operations.plan.return_value = {"outcome": "nothing", "targets": []}
    house.operations.explain.return_value = {"found": True}
    house.operations.history.return_value = []
    assert await house.get("/api/v1/status") == (200, {"health": "healthy"})
    assert await house.get("/api/v1/holds") == (200, [{"id": 3}])
    assert await house.get("/api/v1/holds/3") == (200, {"id": 3})
    assert await house.post("/api/v1/holds/3/approve", {"expect": 5}) == (
        200,
        {"id": 3, "state": "approved"},
    )
    assert house.operations.approve.await_args.kwargs["hold"] == 3
    assert house.operations.approve.await_args.kwargs["expect"] == 5
    assert await house.post("/api/v1/holds/3/reject", {"reason": "no"}) == (
        200,
        {"id": 3, "state": "rejected"},
    )
    assert await house.post("/api/v1/sync", {"target": "jira"}) == (200, {"outcome": "converged"})
    assert (await house.get("/api/v1/plan?full=true&user=jo"))[0] == 200
    house.operations.plan.assert_awaited_with(full=True, user="jo")
    assert await house.get("/api/v1/explain?who=jo") == (200, {"found": True})
    assert await house.get("/api/v1/history?since=5&limit=10") == (200, [])
    house.operations.history.assert_awaited_with(since=5.0, limit=10)


async def test_a_failing_resource_says_whose_fault_it_is(house: House) -> None:
    """400 the question's, 404 nothing there, 409 the state of things, 500 ours."""
    house.operations.approve.side_effect = AzsyncdError("the hold has shrunk", "look again")
    house.operations.holds.return_value = []
    house.operations.status.side_effect = RuntimeError("x")
    assert (await house.get("/api/v1/plan?nothing=1"))[0] == 400
    assert (await house.get("/api/v1/history?since=yesterday"))[0] == 400
    assert (await house.get("/api/v1/holds/9"))[0] == 404
    assert (await house.get("/api/v1/nothing"))[0] == 404
    assert (await house.post("/api/v1/holds/3/approve"))[0] == 409
    assert (await house.get("/api/v1/status"))[0] == 500


async def test_events_are_sent_as_they_happen(house: House) -> None:
    """Each with its name; a listener that goes is forgotten."""
    async with house.client.get("http://azsyncd/api/v1/events") as answer:
        assert answer.content_type == "text/event-stream"
        house.happenings.put_nowait({"event": "change", "target": "jira"})
        assert await answer.content.readuntil(b"\n\n") == b": azsyncd\n\n"
        frame = await answer.content.readuntil(b"\n\n")
        assert frame == b'event: change\ndata: {"event":"change","target":"jira"}\n\n'
        assert house.subscribers == 1
        house.happenings.put_nowait(None)
        assert await answer.content.read() == b""
    assert house.subscribers == 0


async def test_open_event_streams_do_not_keep_the_daemon_from_stopping(tmp_path: Path) -> None:
    """They are cut after a moment."""
    house = House(tmp_path / "admin.sock")
    runner = await serve_admin(house.admin(), house.path)
    runner._shutdown_timeout = 0.05
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(house.path))) as client,
        client.get("http://azsyncd/api/v1/events") as answer,
    ):
        await answer.content.readuntil(b"\n\n")
        async with asyncio.timeout(3):
            await runner.cleanup()
    assert house.subscribers == 0


async def test_root_may_say_for_whom_it_asks(house: House) -> None:
    """sudo's user reaches the journal; from anybody else the header means nothing."""
    house.operations.resume = AsyncMock(return_value={})
    await house.ask("resume", {}, **{"X-On-Behalf-Of": "jo"})
    by = house.operations.resume.await_args.kwargs["by"]
    assert by.endswith(" for jo") is (os.getuid() == 0)


async def test_a_second_daemon_is_not_let_in(house: House) -> None:
    """A socket where somebody answers is not taken away."""
    with pytest.raises(AzsyncdError, match="another process answers"):
        await serve_admin(house.admin(), house.path)
    assert (await house.get("/healthz"))[0] == 200


async def test_the_socket_of_a_killed_daemon_is_replaced(tmp_path: Path) -> None:
    """kill -9 leaves the file behind."""
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    runner = await serve_admin(House(path).admin(), path)
    await runner.cleanup()


async def test_a_file_in_the_way_is_not_deleted(tmp_path: Path) -> None:
    """It is somebody's."""
    path = tmp_path / "admin.sock"
    path.write_text("mine")
    with pytest.raises(AzsyncdError, match="is no socket"):
        await serve_admin(House(path).admin(), path)
    assert path.read_text() == "mine"


async def test_the_metrics_listener_serves_metrics_and_nothing_else() -> None:
    """No token guards it."""
    runner = await serve_metrics("127.0.0.1", 0, lambda: b"azsyncd_holds 0\n", "text/plain")
    host, port = runner.addresses[0][:2]
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}") as client:
            for path, status in (("/metrics", 200), ("/healthz", 200), ("/api/v1/status", 404)):
                async with client.get(path) as answer:
                    assert answer.status == status
        with pytest.raises(AzsyncdError, match="cannot listen at"):
            await serve_metrics("127.0.0.1", port, lambda: b"", "text/plain")
    finally:
        await runner.cleanup()
