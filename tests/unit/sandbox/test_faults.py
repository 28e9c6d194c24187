"""Faults happen when, how often and how the rule says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web

from azsyncd.sandbox.clock import START, FakeClock
from azsyncd.sandbox.faults import Faults, faults_middleware
from azsyncd.sandbox.loopback import serving
from azsyncd.sandbox.recording import Recording, recording_middleware


@dataclass
class Till:
    """A server that counts what took effect, with its faults and its recording."""

    clock: FakeClock = field(default_factory=FakeClock)
    effects: int = 0

    def __post_init__(self) -> None:
        self.faults = Faults(seed=1, clock=self.clock)
        self.recording = Recording(clock=self.clock)

    def app(self) -> web.Application:
        async def pay(_request: web.Request) -> web.Response:
            self.effects += 1
            return web.json_response({"paid": self.effects})

        app = web.Application(
            middlewares=[recording_middleware(self.recording), faults_middleware(self.faults)]
        )
        app.router.add_route("*", "/{tail:.*}", pay)
        return app


@pytest.fixture
def till() -> Till:
    return Till()


@pytest.fixture
async def ask(till: Till) -> AsyncIterator[aiohttp.ClientSession]:
    async with serving({"/till": till.app()}) as base, aiohttp.ClientSession(base) as session:
        yield session


async def test_a_rule_ends_after_its_times(till: Till, ask: aiohttp.ClientSession) -> None:
    """Two refusals were ordered, the third request is served."""
    till.faults.add("error", times=2)
    statuses = [(await ask.get("/till/x")).status for _ in range(3)]
    assert statuses == [503, 503, 200]
    assert till.effects == 1
    assert till.faults.happened == {"error": 2}


async def test_a_rule_picks_by_method_and_path(till: Till, ask: aiohttp.ClientSession) -> None:
    """Only what matches both is hit, from the one after `skip` on."""
    till.faults.add("error", method="POST", path=r"/user\?name=a", skip=1, times=None)
    assert (await ask.post("/till/user?name=ann")).status == 200
    assert (await ask.post("/till/user?name=ann")).status == 503
    assert (await ask.get("/till/user?name=ann")).status == 200
    assert (await ask.post("/till/user?name=bob")).status == 200


@pytest.mark.parametrize(
    ("ordered", "header"),
    [
        (3, "3"),
        (2.128, "2.128"),
        ("date:60", "Mon, 23 Nov 2026 12:01:00 GMT"),
        (None, None),
        (86400, "86400"),
        ("soon", "soon"),
        (0, "0"),
        ("-5", "-5"),
    ],
)
async def test_a_retry_after_is_spelled_as_ordered(
    till: Till, ask: aiohttp.ClientSession, ordered: float | str | None, header: str | None
) -> None:
    """All spellings that servers are known to send, and some that they should not."""
    assert till.clock.now() == START
    till.faults.add("throttle", retry_after=ordered)
    answer = await ask.get("/till/x")
    assert answer.status == 429
    assert answer.headers.get("Retry-After") == header


@pytest.mark.parametrize(("late", "effects"), [(False, 0), (True, 1)])
async def test_a_reset_comes_before_or_after_the_effect(
    till: Till, ask: aiohttp.ClientSession, late: bool, effects: int
) -> None:
    """A lost answer hides that the request took effect."""
    till.faults.add("reset", late=late)
    with pytest.raises(aiohttp.ClientError):
        await ask.post("/till/x")
    assert till.effects == effects


async def test_a_late_error_hides_the_effect(till: Till, ask: aiohttp.ClientSession) -> None:
    """504 after the deed: the gateway gave up, the server did not."""
    till.faults.add("error", status=504, late=True)
    assert (await ask.post("/till/x")).status == 504
    assert till.effects == 1


async def test_an_answer_is_cut_in_the_middle(till: Till, ask: aiohttp.ClientSession) -> None:
    """The head comes, then half of the body, then nothing."""
    till.faults.add("cut")
    answer = await ask.get("/till/x")
    assert answer.status == 200
    with pytest.raises(aiohttp.ClientPayloadError):
        await answer.read()


@pytest.mark.parametrize("kind", ["truncated", "garbage", "empty"])
async def test_an_answer_is_no_json(till: Till, ask: aiohttp.ClientSession, kind: str) -> None:
    """Status 200 and application/json, and still nothing that can be parsed."""
    till.faults.add(kind)
    answer = await ask.get("/till/x")
    assert (answer.status, answer.content_type) == (200, "application/json")
    with pytest.raises(ValueError):
        json.loads(await answer.read())


@pytest.mark.parametrize("status", [200, 302])
async def test_a_login_page_takes_the_place_of_an_answer(
    till: Till, ask: aiohttp.ClientSession, status: int
) -> None:
    """HTML with status 200, or a redirect to it."""
    till.faults.add("login_page", status=status)
    answer = await ask.get("/till/x", allow_redirects=False)
    assert (answer.status, answer.content_type) == (status, "text/html")
    assert till.effects == 0


async def test_delays_use_the_clock_and_add_up(till: Till, ask: aiohttp.ClientSession) -> None:
    """Before and after the effect."""
    till.faults.add("delay", seconds=4)
    till.faults.add("delay", seconds=5, late=True)
    assert (await ask.get("/till/x")).status == 200
    assert till.clock.now() == START + 9
    assert till.recording.requests[-1].seconds == 9


async def test_chance_comes_from_the_seed() -> None:
    """The same seed draws the same faults."""

    def drawn(seed: int) -> list[int]:
        faults = Faults(seed=seed)
        faults.add("error", probability=0.5, times=None)
        return [len(faults.draw("GET", "/")) for _ in range(40)]

    assert drawn(3) == drawn(3) != drawn(4)
    assert 5 < sum(drawn(3)) < 35


async def test_a_product_speaks_its_own_dialect_of_errors() -> None:
    """Where a rule names no body, the server's own is used."""
    faults = Faults(error_body=lambda status: {"error": {"code": str(status)}})
    answer = faults.refusal(faults.add("throttle", retry_after=1))
    assert json.loads(answer.text or "") == {"error": {"code": "429"}}


async def test_a_request_during_a_retry_after_is_counted(
    till: Till, ask: aiohttp.ClientSession
) -> None:
    """Who comes back too early is seen, who waits is not."""
    till.faults.add("throttle", retry_after=10)
    await ask.get("/till/x")
    till.clock.advance(5)
    await ask.get("/till/early")
    till.clock.advance(6)
    await ask.get("/till/late")
    assert till.recording.early_requests == 1
    assert till.recording.counters()["by_status"] == {"429": 1, "200": 2}
    assert till.recording.count("GET", "/early") == 1
    assert [seen["path"] for seen in till.recording.last(2)] == ["/till/early", "/till/late"]
    till.recording.clear()
    assert till.recording.counters()["requests"] == 0
