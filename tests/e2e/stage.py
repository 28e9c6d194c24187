"""A stage for whole runs: simulated Entra and products in this process, over TLS on 127.0.0.1, and
the unmodified daemon and commands as processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from azsyncd.sandbox.apps import Apps
from azsyncd.sandbox.expected import Expectation
from azsyncd.sandbox.faults import Faults, faults_middleware
from azsyncd.sandbox.graph import GraphServer
from azsyncd.sandbox.hooks import Hooks
from azsyncd.sandbox.login import LoginServer
from azsyncd.sandbox.loopback import serving
from azsyncd.sandbox.tls import Authority
from azsyncd.sandbox.world import PREFIX, SCOPE_GROUP, World, build

SECRET = "sandbox-client-secret"
TOKEN = "sandbox-jira-token"
PASSWORD = "sandbox-crowd-password"


@dataclass
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Stage:
    """Everything that one test needs."""

    folder: Path
    world: World
    apps: Apps
    graph: GraphServer
    login: LoginServer
    hooks: Hooks
    authority: Authority
    config: dict[str, Any]
    expected: dict[str, Expectation]
    faults: dict[str, Faults]
    daemons: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def file(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def log(self) -> Path:
        return self.folder / "azsyncd.log"

    def write_config(self) -> None:
        self.file.write_text(yaml.safe_dump(self.config, sort_keys=False))

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        return {**kept, "AZSYNCD_CONFIG": str(self.file)}

    async def start(self, *before: str) -> asyncio.subprocess.Process:
        """The daemon, behind another command (strace …) if one is given."""
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *before, sys.executable, "-m", "azsyncd", "run",
                env=self.environment(), stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.daemons.append(process)
        return process

    async def stop(self, process: asyncio.subprocess.Process, number: int = signal.SIGTERM) -> int:
        """End one of ours; its exit code."""
        if process.returncode is None:
            process.send_signal(number)
        async with asyncio.timeout(40):
            return await process.wait()

    async def run(self, *arguments: str, expect: int | None = 0, timeout: float = 120) -> Ran:
        """A command line; its outcome."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "azsyncd", *arguments,
            env=self.environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(timeout):
                out, err = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        ran = Ran(process.returncode or 0, out.decode(), err.decode())
        if expect is not None:
            assert ran.code == expect, (
                f"{arguments}: {ran.code}\n{ran.out}\n{ran.err}\n{self.tail()}"
            )
        return ran

    async def until(self, what: str, fact: Any, timeout: float = 60) -> None:
        """Wait until `fact()` is true."""
        try:
            async with asyncio.timeout(timeout):
                while not fact():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{what}: not within {timeout} s\n{self.tail()}") from None

    async def answers(self, process: asyncio.subprocess.Process) -> None:
        """Wait for the admin socket."""
        socket = Path(self.config["admin"]["socket"])

        def up() -> bool:
            assert process.returncode is None, f"the daemon ended\n{self.tail()}"
            return socket.exists()

        await self.until("admin socket", up)

    def tail(self, lines: int = 25) -> str:
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def differences(self) -> list[str]:
        """What the products lack or have too much, by the demo's own oracle."""
        found = []
        for name, expectation in self.expected.items():
            expectation.look()
            found += [f"{name}: {text}" for text in expectation.differences().values()]
        return found

    async def converged(self, timeout: float = 90) -> None:
        """Wait until both products hold what they should."""
        left: list[str] = []
        try:
            async with asyncio.timeout(timeout):
                while left := self.differences():
                    await asyncio.sleep(0.2)
        except TimeoutError:
            text = "\n".join(left[:20])
            raise AssertionError(f"not equal after {timeout} s:\n{text}\n{self.tail()}") from None

    def violations(self) -> list[str]:
        """Requests that no product documents, and needless ones."""
        found = [f"graph: {each}" for each in self.graph.violations]
        for name, product in self.world.products.items():
            found += [f"{name}: {each}" for each in product.violations]
        return found


@asynccontextmanager
async def staged(folder: Path, *, users: int = 60, seed: int = 1) -> AsyncIterator[Stage]:
    """Build the world, serve it, write the configuration; end every process at the end."""
    world = build(users, seed=seed)
    authority = Authority(folder / "tls")
    apps = Apps(world.tenant.tenant_id)
    app = apps.register(secret=SECRET)
    hooks = Hooks(world.tenant.tenant_id, tls=authority.client_context(), delay=0.05)
    graph = GraphServer(world.tenant, apps, hooks=hooks)
    login = LoginServer(apps)
    world.jira.token = TOKEN
    world.crowd.username, world.crowd.password = "azsyncd", PASSWORD
    secrets = folder / "secrets"
    secrets.mkdir()
    for name, value in (("entra", SECRET), ("jira", TOKEN), ("crowd", PASSWORD)):
        (secrets / name).write_text(value + "\n")
        (secrets / name).chmod(0o600)
    async with AsyncExitStack() as stack:
        tls = authority.server_context()
        login_url = await stack.enter_async_context(serving({"/": login.app()}, tls=tls))
        graph_url = await stack.enter_async_context(serving({"/": graph.app()}, tls=tls))
        faults = {name: Faults(seed=seed) for name in world.products}
        served = {f"/{name}": product.app() for name, product in world.products.items()}
        for name, spoiled in faults.items():
            served[f"/{name}"].middlewares.insert(0, faults_middleware(spoiled))
        products = await stack.enter_async_context(serving(served, tls=tls))
        config = {
            "entra": {
                "tenant_id": world.tenant.tenant_id,
                "client_id": app.client_id,
                "credential": {"client_secret": {"file": str(secrets / "entra")}},
                "login_url": login_url,
                "graph_url": graph_url,
                "ca_file": str(authority.ca_file),
            },
            "schedule": {"delta_poll": "1s"},
            "scope": {
                "users": {"members_of": [{"name": SCOPE_GROUP}]},
                "groups": {"include": [{"name": f"{PREFIX}*"}]},
            },
            "targets": {
                "jira": {
                    "type": "jira",
                    "url": f"{products}/jira",
                    "auth": {"token": {"file": str(secrets / "jira")}},
                    "limits": {"requests_per_second": 1000, "concurrency": 8},
                    "guard": {"deactivate": {"count": 100}, "disable": {"count": 100},
                              "rename": {"count": 100}, "update": {"count": 1000},
                              "remove_member": {"count": 1000}, "shrink_group": "unlimited"},
                },
                "crowd": {
                    "type": "crowd",
                    "url": f"{products}/crowd",
                    "auth": {"username": "azsyncd", "password": {"file": str(secrets / "crowd")}},
                    "limits": {"requests_per_second": 1000, "concurrency": 8},
                    "guard": {"deactivate": {"count": 100}, "disable": {"count": 100},
                              "rename": {"count": 100}, "update": {"count": 1000},
                              "remove_member": {"count": 1000}, "shrink_group": "unlimited"},
                },
            },
            "state": {"path": str(folder / "state" / "azsyncd.db")},
            "admin": {"socket": str(folder / "admin.sock")},
        }  # fmt: skip
        expected = {
            name: Expectation(
                world.tenant, product, scope_group=world.scope_group, pattern=f"{PREFIX}*"
            )
            for name, product in world.products.items()
        }
        stage = Stage(folder, world, apps, graph, login, hooks, authority, config, expected, faults)
        stage.write_config()
        try:
            yield stage
        finally:
            for process in stage.daemons:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            await hooks.close()
