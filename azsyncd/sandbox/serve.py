"""`python -m azsyncd.sandbox.serve`: a whole simulated company behind TLS, in one process.

It serves the login service, Graph (whose subscriptions really call) and the products that
`--targets` names (`jira=10.6,crowd`; all by default), each at an address of its own, and obeys its
parent: one JSON object a line on standard input, answers on standard output. Each answer carries
the `id` of its request: any number of `told`, then `result` or `error`. The first line is `ready`.
The end of standard input, or SIGTERM, ends the process.

    {"id": 1, "do": "happen", "kinds": ["joiner"]}  everyday changes, all at once; tells what was
                                                     done, then of each product when it was right
    {"id": 2, "do": "figures"}                       how much of what should be there is there
    {"id": 3, "do": "compare", "wait": 5}            every difference, once equal or time is up
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from azsyncd.clock import Clock, SystemClock
from azsyncd.sandbox.apps import Apps
from azsyncd.sandbox.base import version_of
from azsyncd.sandbox.cloud import Cloud
from azsyncd.sandbox.datacenter import DataCenter
from azsyncd.sandbox.everyday import Everyday
from azsyncd.sandbox.expected import Expectation, Moment
from azsyncd.sandbox.graph import GraphServer
from azsyncd.sandbox.hooks import Hooks
from azsyncd.sandbox.login import LoginServer
from azsyncd.sandbox.products import PRODUCTS
from azsyncd.sandbox.tls import Authority
from azsyncd.sandbox.world import PREFIX, World, build

CLIENT_ID = "66666666-7777-8888-9999-000000000000"
LOOK_SECONDS = 0.01
"""How often the products are looked at while a change is on its way."""
MOST_TEXTS = 200
"""Differences that are listed one by one; the rest is counted."""

KEEP_DEPARTMENTS = ("crowd", "cloud")
"""Products whose accounts have a place for the department."""

Tell = Callable[[Mapping[str, Any]], None]


class Sandbox:
    """The company while it is served: what may be asked of it."""

    def __init__(
        self, world: World, *, secret: str, seed: int = 1, hooks: Hooks | None = None
    ) -> None:
        self.world = world
        self.clock: Clock = world.tenant.clock
        self.apps = Apps(world.tenant.tenant_id, clock=self.clock, seed=seed)
        self.apps.register(client_id=CLIENT_ID, secret=secret)
        self.login = LoginServer(self.apps, clock=self.clock)
        self.graph = GraphServer(world.tenant, self.apps, hooks=hooks, seed=seed)
        self.days = Everyday(world, seed=seed)
        self.expected = {
            name: Expectation(
                world.tenant,
                product,
                scope_group=world.scope_group,
                pattern=f"{PREFIX}*",
                attributes=name in KEEP_DEPARTMENTS,
            )
            for name, product in world.products.items()
        }
        self._look()

    def _look(self) -> None:
        moment = Moment(self.world.tenant)
        for expectation in self.expected.values():
            expectation.look(moment)

    # What may be asked ----------------------------------------------------------------------------

    async def happen(self, tell: Tell, kinds: list[str], within: float = 60.0) -> dict[str, Any]:
        """Let these things happen in one moment and watch the products until all are right again.

        Tells `{text}` and for each product `{product, seconds}`. `seconds` None: nothing to do
        there; a product under `late` was not right in time, with what was wrong.
        """
        started = self.clock.monotonic()
        happened = [found for kind in kinds if (found := self.days.happen(kind)) is not None]
        if not happened:
            return {"text": "", "changes": 0, "seconds": {}, "late": {}}
        text = happened[0].text if len(kinds) == 1 else f"{len(happened)} changes at once"
        self._look()
        waits = {name: set(each.differences()) for name, each in self.expected.items()}
        tell({"text": text, "waits": {name: len(keys) for name, keys in waits.items()}})
        seconds: dict[str, float | None] = {name: None for name, keys in waits.items() if not keys}
        late: dict[str, list[str]] = {}
        while len(seconds) + len(late) < len(waits):
            await self.clock.sleep(LOOK_SECONDS)
            passed = self.clock.monotonic() - started
            for name in waits.keys() - seconds.keys() - late.keys():
                left = self.expected[name].differences(waits[name])
                if not left:
                    seconds[name] = round(passed, 3)
                    tell({"product": name, "seconds": seconds[name]})
                elif passed > within:
                    late[name] = _listed(left.values())
        return {"text": text, "changes": len(happened), "seconds": seconds, "late": late}

    def figures(self) -> dict[str, Any]:
        """By product: how much of accounts, groups and memberships is there, of how much."""
        told = {}
        for name, expectation in self.expected.items():
            done, total = expectation.progress()
            told[name] = {"done": done, "total": total}
        return told

    async def compare(self, wait: float = 0.0) -> dict[str, Any]:
        """The products against what they should hold, and what everybody saw meanwhile."""
        until = self.clock.monotonic() + wait
        while (
            any(each.differences() for each in self.expected.values())
            and self.clock.monotonic() < until
        ):
            await self.clock.sleep(0.2)
        tenant = self.world.tenant
        return {
            "users": sum(1 for _ in tenant.users()),
            "groups": sum(1 for _ in tenant.groups()),
            "products": {name: self._compared(name) for name in self.expected},
            "graph": {
                "requests": self.graph.requests.total(),
                "tokens": self.login.token_requests,
                "notifications": self.graph.hooks.happened["delivered"],
                "violations": _listed(self.graph.violations),
            },
        }

    def _compared(self, name: str) -> dict[str, Any]:
        expectation, product = self.expected[name], self.world.products[name]
        found = expectation.differences()
        counters = product.count()
        violations = list(product.violations)
        if counters["protected_writes"]:
            violations.append(f"{counters['protected_writes']} writes to protected accounts")
        if counters["early_requests"]:
            violations.append(f"{counters['early_requests']} requests before Retry-After was over")
        touched = [text for (kind, _), text in found.items() if kind.startswith("foreign")]
        return {
            "accounts": len(expectation.accounts),
            "active": sum(account.active for account in expectation.accounts.values()),
            "adopted": sum(account.adopted for account in expectation.accounts.values()),
            "groups": len(expectation.groups),
            "memberships": expectation.memberships(),
            "foreign": len(expectation.foreign),
            "foreign_touched": _listed(touched),
            "differences": _listed(found.values()),
            "violations": _listed(violations),
            "requests": counters["requests"],
            "writes": counters["writes"],
            "needless": counters["duplicate_writes"],
        }


def _listed(texts: Any) -> list[str]:
    found = list(texts)
    rest = len(found) - MOST_TEXTS
    return found[:MOST_TEXTS] + ([f"… and {rest} more"] if rest > 0 else [])


# Serving ------------------------------------------------------------------------------------------


@asynccontextmanager
async def served(
    world: World, folder: Path, *, seed: int = 1
) -> AsyncIterator[tuple[Sandbox, Any]]:
    """Serve a company; the second value is what a client must know to use it.

    In `folder` are the authority's `ca.pem`, and `webhook.pem` with key and certificate for
    whoever wants to be called.
    """
    authority = Authority(folder, clock=world.tenant.clock)
    webhook = authority.issue("webhook")
    secret = f"demo-{seed}-client-secret"
    hooks = Hooks(
        world.tenant.tenant_id, clock=world.tenant.clock, tls=authority.client_context(), seed=seed
    )
    sandbox = Sandbox(world, secret=secret, seed=seed, hooks=hooks)
    tls = authority.server_context()
    async with AsyncExitStack() as stack:
        addresses = {
            "login": await stack.enter_async_context(_listening(sandbox.login.app(), tls)),
            "graph": await stack.enter_async_context(_listening(sandbox.graph.app(), tls)),
        }
        targets = {}
        for name, product in world.products.items():
            root = web.Application()
            root.add_subapp(f"/{name}", product.app())
            address = await stack.enter_async_context(_listening(root, tls))
            targets[name] = _door(product, f"{address}/{name}")
        yield (
            sandbox,
            {
                "tenant_id": world.tenant.tenant_id,
                "client_id": CLIENT_ID,
                "client_secret": secret,
                "addresses": addresses,
                "ca_file": str(authority.ca_file),
                "webhook_file": str(webhook),
                "targets": targets,
                "notifies": hooks.delay,
                "kinds": list(sandbox.days.kinds),
                "tenant": _described(world),
            },
        )


def _door(product: DataCenter, address: str) -> dict[str, str]:
    """Where a product is and how to sign in: by token, or by name and password."""
    told = {"type": product.kind, "version": product.version, "url": address}
    if version_of(product.version) >= product.tokens_since and product.token:
        told["token"] = product.token
    else:
        told |= {"username": product.username or "", "password": product.password or ""}
    if isinstance(product, Cloud):
        told["directory_id"] = product.directory_id
    return told


def _described(world: World) -> dict[str, int]:
    users = [user.properties for user in world.tenant.users()]
    return {
        "users": len(users),
        "guests": sum(user["userType"] == "Guest" for user in users),
        "disabled": sum(not user["accountEnabled"] for user in users),
        "groups": sum(1 for _ in world.tenant.groups()),
    }


@asynccontextmanager
async def _listening(app: web.Application, tls: ssl.SSLContext) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


# The parent's line --------------------------------------------------------------------------------


async def obey(sandbox: Sandbox, lines: AsyncIterator[bytes], say: Tell) -> None:
    """Answer requests, each as soon as it can be. When there are no more lines nobody listens any
    more, and what is under way is given up."""
    async with asyncio.TaskGroup() as answering:
        tasks = {answering.create_task(_answer(sandbox, line, say)) async for line in lines}
        for task in tasks:
            task.cancel()


async def _answer(sandbox: Sandbox, line: bytes, say: Tell) -> None:
    number: Any = None
    try:
        asked = json.loads(line)
        number, what = asked.pop("id"), asked.pop("do")
        if what == "happen":
            result = await sandbox.happen(lambda told: say({"id": number, "told": told}), **asked)
        elif what == "figures":
            result = sandbox.figures(**asked)
        elif what == "compare":
            result = await sandbox.compare(**asked)
        else:
            raise ValueError(f"cannot do {what!r}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        say({"id": number, "error": f"{type(error).__name__}: {error}"})
    else:
        say({"id": number, "result": result})


def _say(message: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(message, ensure_ascii=False) + "\n")
    sys.stdout.flush()


async def _input() -> AsyncIterator[bytes]:
    reader = asyncio.StreamReader(limit=2**20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line


async def _run(options: argparse.Namespace) -> None:
    world = build(options.users, seed=options.seed, clock=SystemClock(), products=options.targets)
    async with served(world, options.folder, seed=options.seed) as (sandbox, ready):
        _say({"ready": ready})
        obeying = asyncio.ensure_future(obey(sandbox, _input(), _say))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, obeying.cancel)
        try:
            await obeying
        except asyncio.CancelledError:
            pass  # told to end


def _targets(text: str) -> dict[str, str | None]:
    """`jira=10.6,crowd` → names and versions."""
    pairs = (each.partition("=") for each in text.split(","))
    return {name: version or None for name, _, version in pairs}


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser(prog="azsyncd.sandbox.serve")
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--targets", type=_targets, default=dict.fromkeys(PRODUCTS))
    parser.add_argument("--folder", type=Path, required=True, help="where certificates are put")
    options = parser.parse_args()
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(options))


if __name__ == "__main__":
    main()
