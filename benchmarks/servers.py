"""A tenant of any size and an empty Crowd, served by this process; azsyncd runs in another."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from azsyncd.sandbox.apps import Apps
from azsyncd.sandbox.crowd import Crowd
from azsyncd.sandbox.graph import GraphServer
from azsyncd.sandbox.hooks import Hooks
from azsyncd.sandbox.login import LoginServer
from azsyncd.sandbox.loopback import serving
from azsyncd.sandbox.tenant import Tenant
from azsyncd.sandbox.tls import Authority

SECRET = "benchmark-client-secret"
PASSWORD = "benchmark-password"
TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Bench:
    """One tenant, its Crowd, and the daemon that keeps them equal."""

    folder: Path
    tenant: Tenant
    crowd: Crowd
    graph: GraphServer
    process: asyncio.subprocess.Process
    groups: list[str]

    def cpu(self) -> float:
        """Seconds of CPU that the daemon has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def peak(self) -> float:
        """The daemon's greatest resident memory, in MB (10^6 bytes)."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
        raise RuntimeError("the kernel does not tell")

    def members(self) -> int:
        """Memberships that stand in Crowd."""
        return sum(len(list(self.crowd.members(name))) for name in self.crowd.groups())

    async def command(self, *arguments: str) -> None:
        """A command to the daemon."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "azsyncd", *arguments,
            "--config", str(self.folder / "config.yaml"), stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        if await process.wait() != 0:
            raise RuntimeError(f"azsyncd {' '.join(arguments)} failed")

    def later(self, seconds: float) -> Callable[[], bool]:
        """A fact that becomes true after a while."""
        until = time.monotonic() + seconds
        return lambda: time.monotonic() > until

    async def wait(self, what: str, fact: Callable[[], bool], seconds: float = 3600) -> None:
        """Until `fact()` is true."""
        async with asyncio.timeout(seconds):
            while not fact():
                if self.process.returncode is not None:
                    log = (self.folder / "azsyncd.log").read_text()[-3000:]
                    raise RuntimeError(f"the daemon ended while waiting for {what}\n{log}")
                await asyncio.sleep(0.02)


def company(users: int, groups: int, memberships: int, seed: int = 1) -> tuple[Tenant, list[str]]:
    """A tenant with so many users, groups and memberships, all of them synced."""
    rng = random.Random(seed)
    tenant = Tenant(seed=seed)
    ids = [
        tenant.add_user(
            f"user{n}@fabrikam.example",
            displayName=f"User Number {n}",
            mail=f"user{n}@fabrikam.example",
            department=f"Department {n % 50}",
        )
        for n in range(users)
    ]
    made = [tenant.add_group(f"atl-{n}") for n in range(groups)]
    count = 0
    while count < memberships:
        count += tenant.add_member(rng.choice(made), rng.choice(ids))
    return tenant, made


def fill(crowd: Crowd, tenant: Tenant) -> None:
    """Put everybody into Crowd as azsyncd would."""
    for user in tenant.users():
        of = user.properties
        crowd.add_user(of["userPrincipalName"], display_name=of["displayName"], email=of["mail"])
    for group in tenant.groups():
        crowd.add_group(group.name)
        for member in tenant.members(group.id):
            crowd.add_member(group.name, member.name)


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def bench(
    folder: Path, users: int, groups: int, memberships: int, *, standing: bool = False
) -> AsyncIterator[Bench]:
    """Serve a company, and run the daemon against it. `standing`: Crowd holds everybody already,
    to be adopted. Changes are heard of by notification alone."""
    folder.mkdir(parents=True)
    tenant, made = company(users, groups, memberships)
    authority = Authority(folder / "tls")
    apps = Apps(tenant.tenant_id)
    app = apps.register(secret=SECRET)
    hooks = Hooks(tenant.tenant_id, tls=authority.client_context(), delay=0.0)
    graph = GraphServer(tenant, apps, hooks=hooks)
    crowd = Crowd(username="azsyncd", password=PASSWORD)
    if standing:
        fill(crowd, tenant)
    for name, value in (("entra", SECRET), ("crowd", PASSWORD)):
        (folder / name).write_text(value)
        (folder / name).chmod(0o600)
    async with AsyncExitStack() as stack:
        tls = authority.server_context()
        login = await stack.enter_async_context(serving({"/": LoginServer(apps).app()}, tls=tls))
        graph_url = await stack.enter_async_context(serving({"/": graph.app()}))
        products = await stack.enter_async_context(serving({"/crowd": crowd.app()}))
        port, pem = free_port(), str(authority.issue("hook"))
        config = {
            "entra": {
                "tenant_id": tenant.tenant_id,
                "client_id": app.client_id,
                "credential": {"client_secret": {"file": str(folder / "entra")}},
                "login_url": login,
                "graph_url": graph_url,
                "ca_file": str(authority.ca_file),
            },
            "schedule": {"delta_poll": "1h", "full_sync": ""},
            "notifications": {
                "mode": "webhook",
                "public_url": f"https://127.0.0.1:{port}/notifications",
                "listen": f"127.0.0.1:{port}",
                "tls": {"certificate": pem, "private_key": pem},
            },
            "scope": {"users": {"everybody": True}, "groups": {"include": [{"name": "atl-*"}]}},
            "targets": {
                "crowd": {
                    "type": "crowd",
                    "url": f"{products}/crowd",
                    "auth": {"username": "azsyncd", "password": {"file": str(folder / "crowd")}},
                    "limits": {"requests_per_second": 1000, "concurrency": 16},
                }
            },
            "state": {"path": str(folder / "state" / "azsyncd.db")},
            "admin": {"socket": str(folder / "admin.sock")},
            "logging": {"level": "warning"},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        with (folder / "azsyncd.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "azsyncd", "run", "--config", str(folder / "config.yaml"),
                stdout=log, stderr=log,
            )  # fmt: skip
        try:
            yield Bench(folder, tenant, crowd, graph, process, made)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                await process.wait()
            await hooks.close()
