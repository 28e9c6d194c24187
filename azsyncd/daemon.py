"""The composition root: builds what one file says, starts it, and listens to signals.

    start    load → open the state → build → listen → start → READY
    SIGHUP   load → build beside what runs → swap; a bad file changes nothing
    SIGTERM  finish the writes in flight (20 s at most), then go; a second one: now

`run` is the daemon; `offline` is the same without loops, for commands while no daemon runs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

from azsyncd import __version__, logs, systemd
from azsyncd.clock import Clock, SystemClock, iso
from azsyncd.config import Config, Loaded, load
from azsyncd.engine.events import Events
from azsyncd.engine.operations import EngineOperations
from azsyncd.engine.running import Running, covers, selection_of
from azsyncd.errors import AzsyncdError, ConfigError, Problem, StateError, StateInUse
from azsyncd.metrics import CONTENT_TYPE, Metrics
from azsyncd.state import troubles
from azsyncd.state.store import Store, open_store
from azsyncd.web.admin import Admin, serve_admin, serve_metrics
from azsyncd.web.listen import listen
from azsyncd.web.public import public_app

log = structlog.get_logger()

PATIENCE_SECONDS = 5.0
"""How long a start waits for a state that somebody else has open."""

NOTIFICATIONS = "notifications"
"""The FileDescriptorName of the socket unit."""


def run(path: Path) -> int:
    """Run the daemon until a signal; the exit code. Raises AzsyncdError if it cannot start."""
    logs.configure("info", "auto")
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(Daemon(path, SystemClock()).main())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # it runs without
        return None
    return uvloop.new_event_loop


@asynccontextmanager
async def offline(path: Path) -> AsyncIterator[EngineOperations]:
    """The operations without a daemon: takes the state's lock, works itself, lets go again."""
    loaded = await asyncio.to_thread(load, path)
    store = await open_store(Path(loaded.config.state.path))
    try:
        running = await Running.build(loaded, store, SystemClock(), Metrics(__version__), Events())
        try:
            await running.notice_copy()
            yield EngineOperations(lambda: running, live=False)
        finally:
            await running.watch.audit.finish(if_written=True)
            await running.close()
    finally:
        await store.close()


class Daemon:
    """One process: the configuration in force, its listeners, and its signals."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._metrics = Metrics(__version__)
        self._events = Events()
        self._ending = asyncio.Event()
        self._failed: BaseException | None = None
        self._signals = 0
        self._reloading = asyncio.Lock()
        self._reload_rung = False
        self._answering = False
        self._last_reload_ok = True
        self._loaded_at = clock.now()
        self._pending: Loaded | None = None
        self._pending_by = ""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listening = False
        self._running: Running | None = None
        self._listeners: dict[str, tuple[Any, AsyncExitStack]] = {}

    @property
    def running(self) -> Running:
        """The configuration at work."""
        assert self._running is not None
        return self._running

    async def main(self) -> int:
        """From start to end; the exit code."""
        self._listen_to_signals()
        loaded = await asyncio.to_thread(load, self._path)
        self._configure_logs(loaded.config)
        store = await self._open_state(Path(loaded.config.state.path))
        try:
            await self._live(loaded, store)
        finally:
            await self._close_listeners()
            await store.close()
        if isinstance(self._failed, AzsyncdError):
            raise self._failed
        log.info("daemon.stopped")
        return 0 if self._failed is None else 1

    async def _open_state(self, path: Path) -> Store:
        """A command that works by itself has the state for a moment; another daemon keeps it."""
        deadline = self._clock.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return await open_store(path)
            except StateInUse:
                if self._clock.monotonic() >= deadline or self._ending.is_set():
                    raise
            await self._clock.sleep(0.2)

    async def _live(self, loaded: Loaded, store: Store) -> None:
        self._running = await self._build(loaded, store)
        running = self.running
        try:
            changed = await running.config_changed()
            await store.write(troubles.clear)
            await running.notice_copy()
            operations = EngineOperations(
                lambda: self.running,
                live=True,
                since=self._clock.now(),
                config_state=self._config_state,
                reload=self.reload,
            )
            await self._open_listeners(operations, loaded.config)
            if changed:
                running.pull.owe_crawl("configuration")
            await running.note_configuration("start")
            running.start()
            await running.remember_config(crawl=changed)
            self._metrics.config_last_reload_success_timestamp_seconds.set(self._loaded_at)
            log.info("daemon.started", version=__version__, targets=list(running.reconciles))
            systemd.ready("running")
            self._task(self._keep_watchdog(), "watchdog")
            if self._reload_rung:
                self._hup()
            await self._ending.wait()
        finally:
            systemd.stopping("finishing what is in flight")
            log.info("daemon.stopping")
            for task in list(self._tasks):
                task.cancel()
            self._events.close()
            await self.running.stop()

    async def _build(self, loaded: Loaded, store: Store, **more: Any) -> Running:
        running = await Running.build(
            loaded, store, self._clock, self._metrics, self._events, **more
        )
        running.fatal = self._fatal
        running.on_selection = self._selection_read
        running.config_state = self._config_state
        return running

    def _fatal(self, error: BaseException) -> None:
        self._failed = error
        self._ending.set()

    # Signals ------------------------------------------------------------------------------------

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._term)
        loop.add_signal_handler(signal.SIGHUP, self._hup)

    def _term(self) -> None:
        self._signals += 1
        if self._signals > 1:
            log.warning("daemon.killed", reason="a second signal")
            os._exit(0)
        self._ending.set()

    def _hup(self) -> None:
        """Many of them in a row are one more."""
        self._reload_rung = True
        if self._running is not None and not self._answering:
            self._answering = True
            self._task(self._answer_hups(), "reload")

    async def _answer_hups(self) -> None:
        try:
            while self._reload_rung:
                self._reload_rung = False
                await self.reload(False, "SIGHUP", rehearse=False)
        finally:
            self._answering = False

    def _task(self, work: Any, name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task.failed", task=task.get_name(), exc_info=error)

    # Reload -------------------------------------------------------------------------------------

    async def reload(self, dry_run: bool, by: str, *, rehearse: bool = True) -> dict[str, Any]:
        """Read the file again: {outcome: reloaded | unchanged | pending | rejected | valid, …}."""
        # Whoever asks may go away, with the admin socket that the new file moves for one.
        work = asyncio.create_task(self._reload_alone(dry_run, by, rehearse), name="reload")
        self._tasks.add(work)
        work.add_done_callback(self._tasks.discard)
        return await asyncio.shield(work)

    async def _reload_alone(self, dry_run: bool, by: str, rehearse: bool) -> dict[str, Any]:
        async with self._reloading:
            if not dry_run:
                systemd.reloading("reading the configuration")
            try:
                return await self._reload(dry_run, rehearse, by)
            except ConfigError as error:
                return self._rejected([str(each) for each in error.problems], error.hint, dry_run)
            except StateError:
                raise
            except AzsyncdError as error:
                return self._rejected([error.message], error.hint, dry_run)
            finally:
                if not dry_run:
                    systemd.ready("running")

    def _rejected(self, problems: list[str], hint: str, dry_run: bool) -> dict[str, Any]:
        if not dry_run:
            self._last_reload_ok = False
            self._metrics.config_last_reload_successful.set(0)
            log.error("config.rejected", problems=problems, hint=hint)
            self._events.tell({"event": "config", "outcome": "rejected"})
        return {"outcome": "rejected", "problems": problems, "hint": hint}

    async def _reload(self, dry_run: bool, rehearse: bool, by: str) -> dict[str, Any]:
        loaded = await asyncio.to_thread(load, self._path)
        old = self.running
        self._must_be_reloadable(old.config, loaded.config)
        if dry_run:
            return {"outcome": "valid", "plan": await self._rehearse(loaded)}
        changed = loaded.digest != old.loaded.digest
        wanted = selection_of(loaded.config)
        if old.pull.state.revision and not covers(old.selected, wanted):
            # Rule 5: the old file stays in force until what the new one needs has been read.
            probe = await self._build(loaded, old.store, selected=wanted)
            await probe.close()
            self._pending, self._pending_by = loaded, by
            await old.crawl_for(wanted)
            log.info("config.pending", reason="it needs properties that were not read yet")
            return {"outcome": "pending", "problems": []}
        selected = old.selected if covers(old.selected, wanted) else None
        plan = await self._rehearse(loaded) if rehearse and changed else None
        await self._swap(loaded, selected, by)
        outcome: dict[str, Any] = {
            "outcome": "reloaded" if changed else "unchanged",
            "problems": [],
        }
        return outcome if plan is None else {**outcome, "plan": plan}

    def _must_be_reloadable(self, old: Config, new: Config) -> None:
        if old.state.path != new.state.path:
            raise ConfigError(
                [Problem("state.path", "cannot change while the daemon runs", str(self._path))],
                "restart azsyncd",
            )

    async def _rehearse(self, loaded: Loaded) -> dict[str, Any]:
        """What this file would do, on a copy of the state; nothing of it stays."""
        old = self.running
        folder = old.store.path.parent
        with tempfile.TemporaryDirectory(prefix=".rehearsal-", dir=folder) as place:
            copy = Path(place) / "state.db"
            await old.store.backup(copy)
            store = await open_store(copy, exclusive=False)
            try:
                running = await Running.build(
                    loaded, store, self._clock, Metrics(__version__), Events()
                )
                try:
                    plan = await EngineOperations(lambda: running, live=False).rehearse()
                finally:
                    await running.close()
            finally:
                await store.close()
        return dict(plan)

    async def _swap(self, loaded: Loaded, selected: Any, by: str) -> None:
        """Everything is built; now the old one stops and the new one starts."""
        old = self.running
        new = await self._build(loaded, old.store, selected=selected)
        new.keep_time(old)
        try:
            await self._move_listeners(loaded.config)
        except BaseException:
            await new.close()
            raise
        try:
            await old.stop()
            self._running = new
            self._pending = None
            for name in set(old.reconciles) - set(new.reconciles):
                self._metrics.forget_target(name)
            self._configure_logs(loaded.config)
            await new.note_configuration(by)
            new.start()
            await new.remember_config()
        except Exception as error:  # nobody works any more: systemd is to start us again
            self._fatal(error)
            raise
        self._loaded_at = self._clock.now()
        self._last_reload_ok = True
        self._metrics.config_last_reload_successful.set(1)
        self._metrics.config_last_reload_success_timestamp_seconds.set(self._loaded_at)
        log.info("config.reloaded", digest=loaded.digest[:12], targets=list(new.reconciles))
        self._events.tell({"event": "config", "outcome": "reloaded"})

    def _selection_read(self) -> None:
        """A crawl has closed: a file that waited for it may come into force."""
        if self._pending is not None:
            self._task(self._take_pending(), "reload")

    async def _take_pending(self) -> None:
        async with self._reloading:
            pending = self._pending
            if pending is None:
                return
            try:
                await self._swap(pending, None, self._pending_by)
            except ConfigError as error:
                self._pending = None
                self._rejected([str(each) for each in error.problems], error.hint, False)
            except StateError:
                raise
            except AzsyncdError as error:
                self._pending = None
                self._rejected([error.message], error.hint, False)

    # Listeners ----------------------------------------------------------------------------------

    async def _open_listeners(self, operations: EngineOperations, config: Config) -> None:
        self._admin = Admin(
            operations=operations,
            ready=self._ready,
            metrics=self._metrics.exposition,
            metrics_type=CONTENT_TYPE,
            subscribe=self._events.subscribe,
        )
        await self._move_listeners(config)
        self._listening = True

    async def _move_listeners(self, config: Config) -> None:
        """Listen where the file says; what has not changed goes on listening."""
        wanted = {
            "admin": config.admin.socket,
            "metrics": config.admin.metrics,
            NOTIFICATIONS: _public_key(config),
        }
        opened: dict[str, AsyncExitStack] = {}
        try:
            for name, key in wanted.items():
                old = self._listeners.get(name)
                if key is None or (old is not None and old[0] == key):
                    continue
                if old is not None and _same_address(old[0], key):
                    await self._close_listener(name)  # two cannot listen at one address
                opened[name] = await self._open(name, config)
        except BaseException:
            for stack in opened.values():
                await stack.aclose()
            raise
        for name, key in wanted.items():
            if key is None or name in opened:
                await self._close_listener(name)
            if name in opened:
                self._listeners[name] = (key, opened[name])

    async def _open(self, name: str, config: Config) -> AsyncExitStack:
        stack = AsyncExitStack()
        if name == "admin":
            path = Path(config.admin.socket)
            runner = await serve_admin(self._admin, path)
            stack.push_async_callback(runner.cleanup)
            stack.callback(path.unlink, missing_ok=True)  # first: nobody comes in any more
        elif name == "metrics":
            host, _, port = str(config.admin.metrics).rpartition(":")
            runner = await serve_metrics(
                host.strip("[]"), int(port), self._metrics.exposition, CONTENT_TYPE
            )
            stack.push_async_callback(runner.cleanup)
        else:
            app = public_app(config.notifications.path, lambda body: self.running.accept(body))
            addresses = await stack.enter_async_context(
                listen(app, config.notifications.listen, _tls(config), name=NOTIFICATIONS)
            )
            log.info("notifications.listening", addresses=list(addresses))
        return stack

    async def _close_listener(self, name: str) -> None:
        listener = self._listeners.pop(name, None)
        if listener is not None:
            await listener[1].aclose()

    async def _close_listeners(self) -> None:
        for name in list(self._listeners):
            with suppress(Exception):
                await self._close_listener(name)

    # What others see ----------------------------------------------------------------------------

    def _ready(self) -> tuple[bool, str]:
        """The state is open, the listeners are up and the first round is closed."""
        if not self._listening or self._ending.is_set():
            return False, "starting" if not self._ending.is_set() else "stopping"
        pull = self.running.pull
        if not pull.state.revision and not pull.rounds and not pull.crawls:
            return False, "Entra has not been read completely yet"
        return True, "ready"

    def _config_state(self) -> dict[str, Any]:
        return {
            "loaded_at": iso(self._loaded_at),
            "last_reload_ok": self._last_reload_ok,
            "pending": self._pending is not None,
        }

    def _configure_logs(self, config: Config) -> None:
        logs.configure(config.logging.level, config.logging.format)

    async def _keep_watchdog(self) -> None:
        """A sign of life from the loop that does the work, and the line of `systemctl status`."""
        interval = systemd.watchdog_interval()
        said = ""
        while True:
            systemd.alive()
            line = self._status_line()
            if line != said:
                systemd.status(line)
                said = line
            await asyncio.sleep(min(interval or 10.0, 10.0))

    def _status_line(self) -> str:
        running = self.running
        states = [f"{n}: {r.state.state}" for n, r in running.reconciles.items()]
        entra = running.pull.state.state
        if running.pull.state.crawling:
            entra = f"reading ({running.pull.state.crawl_items} objects)"
        return f"Entra: {entra}; {', '.join(states)}"


def _public_key(config: Config) -> tuple[Any, ...] | None:
    notifications = config.notifications
    if notifications.mode != "webhook":
        return None
    tls = notifications.tls
    files = None if tls is None else (str(tls.certificate.path()), str(tls.private_key.path()))
    stamps = None
    if tls is not None:
        stamps = (tls.certificate.modified_at(), tls.private_key.modified_at())
    return (notifications.listen, notifications.path, files, stamps)


def _same_address(old: Any, new: Any) -> bool:
    return isinstance(old, tuple) and isinstance(new, tuple) and old[0] == new[0]


def _tls(config: Config) -> ssl.SSLContext | None:
    tls = config.notifications.tls
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(str(tls.certificate.path()), str(tls.private_key.path()))
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or "certificate and key do not fit"
        raise ConfigError(
            [Problem("notifications.tls", f"cannot be used: {reason}")],
            "both must be PEM files that azsyncd's user can read",
        ) from None
    return context
