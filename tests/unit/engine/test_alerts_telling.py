"""Telling, with time in our hands: what is told survives restarts, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from azsyncd.clock import utc
from azsyncd.config import Config, loads
from azsyncd.engine import digest, lastdays, noticing
from azsyncd.engine.alerts import DAY, HOUR
from azsyncd.engine.doors import NotDelivered
from azsyncd.engine.heartbeat import Heartbeat
from azsyncd.engine.notices import Notice, as_text
from azsyncd.engine.pull import PullState
from azsyncd.engine.reconcile import TargetState
from azsyncd.engine.running import Running
from azsyncd.engine.telling import Telling
from azsyncd.errors import SourceError
from azsyncd.metrics import Metrics
from azsyncd.model.accounts import Capabilities, Seats
from azsyncd.sandbox.clock import FakeClock
from azsyncd.state import alerts, codec, holds, questions, targets
from azsyncd.state.store import Connection, Store, open_store, set_meta

FILE = {
    "instance": "prod",
    "entra": {
        "tenant_id": "11111111-2222-3333-4444-555555555555",
        "client_id": "66666666-7777-8888-9999-000000000000",
        "credential": {"client_secret": {"env": "S"}},
    },
    "scope": {"users": {"everybody": True}},
    "targets": {
        name: {
            "type": "jira",
            "url": f"https://{name}.example.com",
            "auth": {"token": {"env": "T"}},
        }
        for name in ("jira", "second")
    },
}


class Door:
    """Takes messages, or refuses them while `refuses`."""

    takes_digest = True

    def __init__(self, name: str = "door") -> None:
        self.name = self.identity = name
        self.got: list[Notice] = []
        self.tries = 0
        self.refuses = False

    async def send(self, notice: Notice, number: str) -> None:
        self.tries += 1
        if self.refuses:
            raise NotDelivered("the door is shut", "open it")
        self.got.append(notice)

    async def close(self) -> None:
        pass

    @property
    def told(self) -> list[str]:
        return [f"{n.edge.value} {n.title}" for notice in self.got for n in notice.news]


class Stage:
    """A configuration at work, as far as alerts look at it."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.door = Door()
        self.restart()

    def restart(self, **keys: Any) -> None:
        """A new process: what it has not asked yet it does not know."""
        self.reconciles = {
            name: SimpleNamespace(t=number, state=TargetState(), capabilities=None)
            for number, name in enumerate(FILE["targets"], 1)  # type: ignore[arg-type]
        }
        self.pull = SimpleNamespace(state=PullState(), crawls=0)
        self.reload_ok = True
        self.running = cast(
            Running,
            SimpleNamespace(
                store=self.store,
                clock=self.clock,
                config=loads(yaml.safe_dump({**FILE, **keys})).config,
                reconciles=self.reconciles,
                pull=self.pull,
                keeper=None,
                metrics=Metrics("1"),
                graph=None,
                credential_ends={},
                credential_stages={},
                config_state=lambda: {"last_reload_ok": self.reload_ok},
                watch=SimpleNamespace(audit=SimpleNamespace(problem="")),
            ),
        )
        self.telling = Telling(self.running, [self.door])

    def well(self) -> None:
        """Everything was asked and is as it should be."""
        for reconcile in self.reconciles.values():
            reconcile.state.state = "idle"
        self.pull.state.state = "idle"

    async def look(self, after: float = 0.0) -> list[str]:
        """What is told after so much more time, if the door is open."""
        self.clock.advance(after)
        self.door.got.clear()
        await self.telling.look()
        await self.deliver()
        return self.door.told

    async def deliver(self) -> None:
        (postman,) = self.telling._postmen
        while letter := await self.store.read(lambda db: alerts.next_letter(db, "door")):
            if not await postman.deliver(letter):
                return

    async def hold(self, kind: str = "deactivate", t: int | None = 1) -> int:
        now = self.clock.now()
        return await self.store.write(lambda db: holds.open_hold(db, t, kind, "too many", now))

    async def decide(self, hold: int) -> None:
        def close(db: Connection) -> None:
            questions.close_hold(db, hold, "approved", "root", "seen", self.clock.now())

        await self.store.write(close)

    async def pause(self, *names: str, until: float | None = None) -> None:
        told = codec.dump({"reason": "upgrade", "by": "root", "until": until})

        def note(db: Connection) -> None:
            for name in names:
                t = self.reconciles[name].t
                targets.update(db, t, paused=told)

        await self.store.write(note)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    store = await open_store(tmp_path / "azsyncd.db")
    for name in FILE["targets"]:  # type: ignore[attr-defined]
        await store.write(lambda db, n=name: targets.ensure(db, n, "jira"))  # type: ignore[misc]
    made = Stage(store, FakeClock(moves=False))
    made.well()
    yield made
    await store.close()


# What is noticed ------------------------------------------------------------------------------


async def test_a_hold_is_told_with_the_command_that_helps(stage: Stage) -> None:
    """Opened, still open after a day, decided."""
    number = await stage.hold()
    assert await stage.look() == [f"opened jira: 0 changes held (deactivate): hold {number}"]
    assert f"azsyncd holds show {number}" in as_text(stage.door.got[0])
    assert await stage.look(5) == []
    assert [each.split()[0] for each in await stage.look(DAY)] == ["still_open"]
    await stage.decide(number)
    assert [each.split()[0] for each in await stage.look(5)] == ["recovered"]
    assert "approved by root: seen" in as_text(stage.door.got[0])


async def test_a_target_that_refuses_or_is_down_is_told_after_its_time(stage: Stage) -> None:
    """With what the product said."""
    state = stage.reconciles["jira"].state
    state.state, state.detail, state.hint = "refused", "shows a captcha", "sign in once"
    assert await stage.look() == []
    (told,) = await stage.look(30)
    assert told == "opened jira: it refuses azsyncd, nothing is written there"
    assert "shows a captcha" in as_text(stage.door.got[0])
    state.state = "idle"
    await stage.look(5)
    assert [each.split()[0] for each in await stage.look(30)] == ["recovered"]
    state.state = "down"
    assert await stage.look(5) == []
    assert await stage.look(899) == []
    assert await stage.look(1) == ["opened jira: it does not answer, changes wait"]


async def test_entra_crawls_files_and_full_syncs_are_noticed(stage: Stage) -> None:
    """Each by its own name."""
    stage.pull.state.state, stage.pull.state.detail = "refused", "the client secret has expired"
    stage.pull.state.failed_crawls = 3
    stage.reload_ok = False
    long_ago = stage.clock.now() - 3 * DAY
    await stage.store.write(lambda db: set_meta(db, "full_sync_at", long_ago))
    stage.clock.jump(12 * HOUR)  # past the slot of the night
    told = await stage.look()
    assert [each.partition(" ")[2][:30] for each in told] == [
        "Entra refuses azsyncd: nothing",
        "Entra could not be read comple",
        "the configuration file was rej",
    ]
    assert len(stage.door.got) == 1  # one message, not three
    (told_later,) = await stage.look(HOUR)
    assert told_later.startswith("opened no full sync has ended well since ")
    stage.well()
    stage.pull.state.failed_crawls, stage.pull.crawls, stage.reload_ok = 0, 1, True
    now = stage.clock.now()
    await stage.store.write(lambda db: set_meta(db, "full_sync_at", now))
    assert len(await stage.look(5)) == 3
    assert len(await stage.look(120)) == 1


async def test_rule_40_paused_is_silent(stage: Stage) -> None:
    """The paused target alone, until the pause ends; paused altogether, everything."""
    await stage.pause("jira", until=stage.clock.now() + HOUR)
    first, second = await stage.hold(t=1), await stage.hold(t=2)
    stage.reconciles["jira"].state.state = "down"
    assert await stage.look(1000) == [f"opened second: 0 changes held (deactivate): hold {second}"]
    told = await stage.look(HOUR)
    assert told == [f"opened jira: 0 changes held (deactivate): hold {first}"]
    assert await stage.look(900) == ["opened jira: it does not answer, changes wait"]
    await stage.pause("jira", "second")
    stage.reload_ok = False
    await stage.decide(first)
    assert await stage.look(DAY) == []


async def test_a_restart_tells_nothing_twice_and_takes_nothing_for_over(stage: Stage) -> None:
    """While targets and Entra have not been asked yet."""
    stage.reconciles["jira"].state.state = stage.pull.state.state = "down"
    await stage.hold()
    await stage.look()
    assert len(await stage.look(1000)) == 2
    stage.restart()
    assert await stage.look(5) == [] and await stage.look(300) == []
    stage.well()
    await stage.look(5)
    told = await stage.look(120)
    assert sorted(told) == [
        "recovered Entra cannot be read",
        "recovered jira: it does not answer, changes wait",
    ]


async def test_a_full_sync_that_is_on_its_way_is_no_alert(stage: Stage) -> None:
    """After a long sleep it is made up for; while Entra is read nothing is said."""
    long_ago = stage.clock.now() - 3 * DAY
    await stage.store.write(lambda db: set_meta(db, "full_sync_at", long_ago))
    stage.clock.jump(12 * HOUR)
    assert await stage.look() == []
    stage.pull.state.crawling = True
    assert await stage.look(3 * HOUR) == []
    stage.pull.state.crawling = False
    now = stage.clock.now()
    await stage.store.write(lambda db: set_meta(db, "full_sync_at", now))
    assert await stage.look(5) == []


async def test_doubt_about_entra_is_one_alert_however_often_it_is_confirmed(stage: Stage) -> None:
    """Each crawl closes the old hold and opens another one."""
    first = await stage.hold(holds.SOURCE, None)
    assert len(await stage.look()) == 1
    for _ in range(3):
        await stage.decide(first)
        first = await stage.hold(holds.SOURCE, None)
        assert await stage.look(HOUR) == []
    await stage.decide(first)
    assert [each.split()[0] for each in await stage.look(5)] == ["recovered"]


# On the way -----------------------------------------------------------------------------------


async def test_what_cannot_be_delivered_is_kept_shown_and_tried_less_and_less(
    stage: Stage,
) -> None:
    """And goes through in order when the door opens, also in another process."""
    stage.door.refuses = True
    stage.reload_ok = False
    await stage.telling.look()
    loops = [asyncio.create_task(run()) for name, run in stage.telling.loops() if name != "alerts"]
    for seconds in (0, 10, 60, 240, 1200, 3600):
        stage.clock.advance(seconds)
        await asyncio.sleep(0.05)
    assert 4 <= stage.door.tries <= 7
    (row,) = await stage.telling.undelivered()
    assert (row["door"], row["waiting"]) == ("door", 1)
    assert row["error"] == "the door is shut — open it"
    for loop in loops:
        loop.cancel()
    await asyncio.gather(*loops, return_exceptions=True)
    stage.restart()
    stage.door.refuses = False
    assert [each.split()[0] for each in await stage.look()] == ["opened", "recovered"]
    assert await stage.telling.undelivered() == []


async def test_what_is_too_old_or_for_a_door_that_is_gone_is_dropped(stage: Stage) -> None:
    """It would help nobody."""
    stage.door.refuses = True
    stage.reload_ok = False
    await stage.telling.look()
    await stage.telling._drop_stale()
    assert await stage.store.read(lambda db: alerts.next_letter(db, "door")) is not None
    stage.clock.advance(4 * DAY)
    await stage.telling._drop_stale()
    assert await stage.store.read(lambda db: alerts.next_letter(db, "door")) is None


async def test_a_flood_of_messages_is_bounded(stage: Stage) -> None:
    """I9: memory and disk too."""

    def flood(db: Connection) -> int:
        for number in range(3 * alerts.MOST):
            alerts.post(db, ["door"], f"{number}", float(number))
        return int(db.execute("SELECT count(*) FROM letter").fetchone()[0])

    assert await stage.store.write(flood) == alerts.MOST


async def test_a_message_that_is_refused_itself_lets_the_others_pass(stage: Stage) -> None:
    """After some tries; while the door is shut for all of them they keep their order."""

    def prepare(db: Connection) -> None:
        alerts.post(db, ["door"], "first", 1.0)
        alerts.post(db, ["door"], "second", 2.0)

    async def tried(times: int, *, refused: bool) -> list[str]:
        seen = []
        for _ in range(times):
            letter = await stage.store.read(lambda db: alerts.next_letter(db, "door"))
            assert letter is not None
            seen.append(letter.body)
            await stage.store.write(
                lambda db, n=letter.id: alerts.failed(db, n, "no", 1.0, refused=refused)  # type: ignore[misc]
            )
        return seen

    await stage.store.write(prepare)
    assert await tried(50, refused=False) == ["first"] * 50
    assert await tried(2, refused=True) == ["first", "second"]


async def test_the_test_sends_one_of_each_and_changes_nothing(stage: Stage) -> None:
    """Each says that it is only a test."""
    found = await stage.telling.test("uid 0 (root)")
    assert all(each["ok"] for each in found)
    assert len(stage.door.told) == len(noticing.EXAMPLES) == len(found) - 1
    assert all("test: " in notice.subject for notice in stage.door.got)
    assert await stage.store.read(alerts.load) == {}
    stage.door.refuses = True
    (refused,) = await stage.telling.test("uid 0 (root)")
    assert not refused["ok"] and "shut" in refused["error"]


# The weekly digest ----------------------------------------------------------------------------


async def test_the_digest_is_sent_once_a_week(stage: Stage) -> None:
    """Not at the first start; a Monday that was slept through is made up for, once."""
    weeks = []
    await stage.telling._digest()
    for _ in range(21 * 4):
        stage.clock.advance(DAY / 4)
        await stage.telling._digest()
        await stage.deliver()
        weeks += [notice.at for notice in stage.door.got]
        stage.door.got.clear()
    assert len(weeks) == 3
    stage.clock.advance(20 * DAY)
    stage.restart()
    for _ in range(3):
        await stage.telling._digest()
    await stage.deliver()
    assert len(stage.door.got) == 1


async def test_the_digest_counts_and_names_nobody(stage: Stage) -> None:
    """Joined, left, held, failing, seats, days left."""
    stage.reconciles["jira"].capabilities = Capabilities(
        seats=(Seats("jira-software", 100, 7), Seats("jira-core", None, None))
    )
    now = stage.clock.now()
    stage.running.credential_ends = {"jira": now + 40 * DAY, "entra": None}

    def write(db: Connection) -> None:
        for change, number in (("create", 3), ("adopt", 1), ("deactivate", 2), ("update", 5)):
            for _ in range(number):
                db.execute(
                    "INSERT INTO journal (at, t, run, revision, change, reason, n, name, outcome,"
                    " seconds) VALUES (?, 1, 'r', 1, ?, 'new', 1, 'jo@x.org', 'done', 0)",
                    (now - DAY, change),
                )
        db.execute("UPDATE journal SET at = ? WHERE id = 1", (now - 8 * DAY,))

    await stage.store.write(write)
    await stage.hold()
    text = await digest.compose(stage.running, now)
    assert "joined 3, left 2" in text and "other changes 5" in text
    assert "held 1 (open holds), failing 0" in text
    assert "seats of jira-software: 7 of 100 free" in text
    assert "seats of jira-core: unlimited" in text
    assert "the credential of jira ends in 40 days" in text
    assert "jo@" not in text


# Credentials ----------------------------------------------------------------------------------


def ending(days: float, now: float) -> dict[str, Any]:
    """The file, with a token of jira that ends then."""
    day = utc(now + days * DAY).date()
    jira = {**FILE["targets"]["jira"], "auth": {"token": {"env": "T"}, "expires_on": str(day)}}  # type: ignore[index]
    return {"targets": {**FILE["targets"], "jira": jira}}  # type: ignore[dict-item]


async def test_a_token_of_a_target_is_told_before_and_after_its_end(stage: Stage) -> None:
    """With the three steps."""
    stage.restart(**ending(20, stage.clock.now()))
    stage.well()
    assert await stage.look() == []  # not looked at yet
    await lastdays.look(stage.running, ask_graph=False)
    (told,) = await stage.look()
    assert told.startswith("opened the credential of jira ends in 19 days (")
    said = as_text(stage.door.got[0])
    assert "1. make a new token in jira; 2. put it into the environment variable T; 3. " in said
    (told,) = await stage.look(19.9 * DAY)
    assert "has ended" in told


async def test_what_graph_said_is_remembered_when_nobody_answers_any_more(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An expired secret cannot be asked for its end."""
    monkeypatch.setenv("S", "abcdef")
    end = stage.clock.now() + 5 * DAY
    answer: list[Any] = [[("secret ours", end), ("secret old", end - 100 * DAY)]]

    async def credential_end(graph: Any, client_id: str, hints: set[str]) -> Any:
        assert hints == {"abc"}
        if isinstance(answer[0], Exception):
            raise answer[0]
        return answer[0]

    monkeypatch.setattr(lastdays, "credential_end", credential_end)
    assert (await lastdays.look(stage.running))["entra"] == end
    answer[0] = SourceError("down")
    assert (await lastdays.look(stage.running))["entra"] == end
    answer[0], stage.pull.state.state = None, "refused"
    assert (await lastdays.look(stage.running))["entra"] == end
    stage.pull.state.state = "idle"  # the permission was taken away: nothing is known any more
    assert (await lastdays.look(stage.running))["entra"] is None


def with_token(**reference: str) -> Config:
    """The file, with this token of jira."""
    target = {"type": "jira", "url": "https://jira.example.com", "auth": {"token": reference}}
    return loads(yaml.safe_dump({**FILE, "targets": {"jira": target}})).config


def test_a_secret_that_is_newer_than_the_one_held_is_seen(tmp_path: Path) -> None:
    """By its file; Entra's is read anew anyway, unless it was refused."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    config = with_token(file=str(secret))
    written = secret.stat().st_mtime
    assert lastdays.unread(config, written + 1) == []
    (line,) = lastdays.unread(config, written - 1)
    assert str(secret) in line and line.endswith("azsyncd reload")


def test_a_secret_that_systemd_handed_over_wants_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The original is newer than the copy."""
    copies, originals = tmp_path / "copies", tmp_path / "originals"
    for folder in (copies, originals):
        folder.mkdir()
        (folder / "jira-token").write_text("x")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(copies))
    monkeypatch.setattr("azsyncd.config.secrets.CREDENTIALS", originals)
    config = with_token(credential="jira-token")
    os.utime(originals / "jira-token", (1e9, 1e9))
    os.utime(originals, (1e9, 1e9))
    assert lastdays.unread(config, 0.0) == []
    os.utime(originals / "jira-token", (4e9, 4e9))
    (line,) = lastdays.unread(config, 0.0)
    assert line.endswith("systemctl restart azsyncd")


# The heartbeat --------------------------------------------------------------------------------


class FakePeer:
    """Answers with `status`."""

    name = "heartbeat"
    status = 200

    def __init__(self) -> None:
        self.calls = 0

    async def request(self, method: str, url: str, json: Any = None) -> Any:
        self.calls += 1
        return SimpleNamespace(status=self.status)

    async def close(self) -> None:
        pass


async def test_the_heartbeat_is_called_while_all_is_well_and_not_else() -> None:
    """Every so often; soon again when it is well again."""
    clock, peer, well = FakeClock(moves=False), FakePeer(), [True]

    async def is_well() -> bool:
        return well[0]

    beat = Heartbeat(cast(Any, peer), "http://h/x", 300.0, clock, is_well)
    task = asyncio.create_task(beat.run())

    async def wait(seconds: float, step: float = 5.0) -> int:
        before = peer.calls
        for _ in range(int(seconds / step)):
            for _ in range(5):
                await asyncio.sleep(0)
            clock.advance(step)
        for _ in range(5):
            await asyncio.sleep(0)
        return peer.calls - before

    assert await wait(1495) == 5
    well[0] = False
    assert await wait(3000) <= 1
    assert await wait(3000) == 0
    well[0] = True
    assert await wait(15) == 1
    peer.status = 500
    await wait(300)
    assert beat.problem == "heartbeat answered 500"
    peer.status = 200
    await wait(300)
    assert beat.problem == ""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
