"""The targets that the contract suite runs on: one entry each, with what it cannot do.

A further product joins by one entry: how its simulation is made, how azsyncd signs in there, and
`cannot`: the promises that it has no means to keep. What stands in there is tried as well: the
connector must say so by `Capabilities` and a line in `instead`, or by a `ChangeRejected`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from azsyncd.http import Limits
from azsyncd.model.accounts import Account, Capabilities, Mark, TargetGroup
from azsyncd.sandbox.base import Product
from azsyncd.sandbox.clock import FakeClock
from azsyncd.sandbox.faults import Faults, faults_middleware
from azsyncd.sandbox.loopback import serving
from azsyncd.sandbox.products import product
from azsyncd.sandbox.recording import Recording, recording_middleware
from azsyncd.targets.base import Target
from azsyncd.targets.connect import SignIn, connect
from azsyncd.targets.memory import Memory

from .specs import Requests, remembering

INSTANCE = "azsyncd"
OBJECT_ID = "00000000-aaaa-bbbb-cccc-0000000000%02d"
DIRECTORY = "7d1c2f0e-1111-4222-8333-944445555666"
LIMITS = Limits(concurrency=4, requests_per_second=1000, timeout=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One target. `cannot`: deactivate, rename, update, list, marks, attributes, nest …"""

    name: str
    kind: str
    version: str | None = None
    flags: dict[str, Any] = field(default_factory=dict)
    sign_in: SignIn | None = None
    connecting: dict[str, Any] = field(default_factory=dict)
    context: str = "/base"
    cannot: frozenset[str] = frozenset()
    illegal: str = ""
    """Characters that its dialect must refuse in usernames."""
    reserved: frozenset[str] = frozenset()
    """Names that its dialect must refuse as a whole."""
    lowers: bool = False
    """Shows names in lower case only."""
    lowers_usernames: bool = False
    """Shows usernames so, and groups as they were named."""
    group_ids: bool = False
    """Knows groups by an id, and not by their names."""
    forbidden: str = ""
    """Characters that its dialect must refuse in names of groups."""
    typical: bool = False
    """Stands for its kind where the network misbehaves: that is much the same for all of them."""


JIRA_TOKEN = SignIn(token="jira-token")
JIRA_BASIC = SignIn(username="azsyncd", password="jira-password")
CROWD = SignIn(username="azsyncd", password="crowd-password")


def _jira(version: str, sign_in: SignIn = JIRA_TOKEN, **more: Any) -> Entry:
    cannot = frozenset(more.pop("cannot", ()))
    return Entry(
        name=more.pop("name", f"jira-{version}"),
        kind="jira",
        version=version,
        flags=more,
        sign_in=sign_in,
        cannot=cannot,
        illegal="<>&",
        typical=version in ("8.20.0", "11.3.0"),
    )


def _crowd(name: str, version: str = "6.0.3", **more: Any) -> Entry:
    return Entry(
        name=name,
        kind="crowd",
        version=version,
        sign_in=CROWD,
        cannot=frozenset(more.pop("cannot", ())),
        lowers=bool(more.get("lower_case_output")),
        flags=more,
        context="/crowd",
        typical=name == "crowd-6",
    )


def _confluence(version: str, **more: Any) -> Entry:
    """Shows no mark and keeps no attributes; changes accounts from 9.3, renames none."""
    numbers = tuple(int(part) for part in version.split("."))
    old = frozenset() if numbers >= (9, 3) else frozenset({"update"})
    return Entry(
        name=f"confluence-{version}",
        kind="confluence",
        version=version,
        sign_in=more.pop("sign_in", SignIn(token="confluence-token")),
        flags=more,
        cannot=frozenset({"rename", "marks", "attributes", "email"}) | old,
        illegal="\\,+<>'\"/ ",
        forbidden="/\\",
        reserved=frozenset({".", ".."}),
        lowers_usernames=True,
        typical=version == "10.2.14",
    )


def _bitbucket(version: str, **more: Any) -> Entry:
    """Deactivates nobody; keeps neither marks nor attributes."""
    return Entry(
        name=f"bitbucket-{version}",
        kind="bitbucket",
        version=version,
        sign_in=more.pop("sign_in", SignIn(token="bitbucket-token")),
        flags=more,
        cannot=frozenset({"deactivate", "marks", "attributes"}),
        typical=version == "9.4.2",
    )


ENTRIES = [
    Entry(name="memory", kind="memory"),
    _jira("8.1.0", JIRA_BASIC, cannot={"deactivate", "list"}),
    _jira("8.20.0", JIRA_BASIC, picker_limit=25, cannot={"list"}),
    _jira("9.12.0", language="de", cannot={"list"}),
    _jira("10.3.8", user_list=True, remove_nonmember_status=404),
    _jira("10.6.0", JIRA_BASIC, cannot={"list"}),
    _jira("11.3.0"),
    _crowd("crowd-6"),
    _crowd("crowd-3-small-pages", "3.5.0", page_cap=7, nested_groups=False, cannot={"nest"}),
    _crowd("crowd-lower-case", "5.1.1", lower_case_output=True, dump_json_status=404),
    _crowd("jira-as-crowd", "8.5.0", jira_user_server=True, cannot={"rename"}),
    _confluence("8.5.16", sign_in=SignIn(username="azsyncd", password="confluence-password")),
    _confluence("9.2.21", missing_group_status=403),
    _confluence("9.5.4", page_cap=25),
    _confluence("10.2.14", task_seconds=2.0),
    _bitbucket("8.19.12", sign_in=SignIn(username="azsyncd", password="bitbucket-password")),
    _bitbucket("9.4.2"),
    _bitbucket("10.3.0", missing_group_status=404, not_member_status=200, page_cap=30),
    Entry(
        name="cloud",
        kind="cloud",
        sign_in=SignIn(token="cloud-api-key"),
        connecting={"directory_id": DIRECTORY},
        flags={"directory_id": DIRECTORY, "page_cap": 25},
        cannot=frozenset({"captcha", "instance", "directories"}),
        group_ids=True,
        typical=True,
    ),
]


class MemoryHands:
    """An administrator's hands at the product in memory, as the simulated ones have them."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    def add_user(self, name: str, **values: Any) -> None:
        groups = values.pop("groups", ())
        values.setdefault("email", f"{name}@example.com")
        values.setdefault("display_name", name)
        self.memory.put(Account(username=name, **values), *groups)

    def add_group(self, name: str, members: Iterable[str] = ()) -> None:
        self.memory.put_group(name)
        for member in members:
            self.add_member(name, member)

    def add_member(self, group: str, name: str) -> None:
        self.memory.put_group(group).members.add(self._key(name))

    def remove_user(self, name: str) -> None:
        key = self._key(name)
        del self.memory.held[key]
        for held in self.memory.held_groups.values():
            held.members.discard(key)

    def remove_group(self, name: str) -> None:
        del self.memory.held_groups[name.casefold()]

    def user(self, name: str) -> Account | None:
        return self.memory.account(name)

    def users(self) -> list[Account]:
        return list(self.memory.held.values())

    def groups(self) -> list[str]:
        return [held.group.name for held in self.memory.held_groups.values()]

    def members(self, group: str) -> set[str]:
        return self.memory.members_of(group)

    def _key(self, name: str) -> str:
        found = self.memory.account(name)
        assert found is not None
        return str(found.key)


@dataclass(slots=True)
class Rig:
    """A target, the product behind it, and whatever can be done to them."""

    entry: Entry
    target: Target
    hands: Any
    clock: FakeClock
    faults: Faults
    recording: Recording
    requests: Requests
    url: str = ""
    capabilities: Capabilities = field(default_factory=Capabilities)

    def can(self, what: str) -> bool:
        return what not in self.entry.cannot

    @property
    def product(self) -> Product:
        assert isinstance(self.hands, Product)
        return self.hands

    def again(self, **more: Any) -> Target:
        """Another connector to the same product."""
        assert self.entry.sign_in is not None
        given: dict[str, Any] = {"sign_in": self.entry.sign_in, **self.entry.connecting, **more}
        return connect(
            self.entry.kind,
            "main",
            url=self.url,
            clock=self.clock,
            limits=LIMITS,
            instance=INSTANCE,
            **given,
        )

    def spelt(self, name: str) -> str:
        """A username as this product shows it."""
        return name.lower() if self.entry.lowers_usernames else self.spelt_group(name)

    def spelt_group(self, name: str) -> str:
        """The same for a group."""
        return name.lower() if self.entry.lowers else name

    def refuses(self, name: str, *, group: bool = False) -> bool:
        """Whether the dialect must refuse this name."""
        illegal = self.entry.forbidden if group else self.entry.illegal
        return bool(set(name) & set(illegal)) or name in self.entry.reserved

    def shown(self, account: Account) -> Account:
        """As much of an account as this product has a place for."""
        if not self.can("marks"):
            account = replace(account, mark=None)
        return account if self.can("attributes") else replace(account, attributes={})

    async def make(self, username: str = "ann", n: int = 1, **more: Any) -> Account:
        """An account that the connector made."""
        return await self.target.create_account(wanted(username, n, **more))

    async def members(self, group: str) -> set[str]:
        """The usernames in a group, as the connector reads them."""
        keys = await self.keys(group)
        names = {each.key: each.username for each in [a async for a in self.target.accounts()]}
        return {names[key] for key in keys}

    async def keys(self, group: str) -> list[str]:
        asked = [TargetGroup(name=group, key=group.casefold())]
        return [key async for _, keys in self.target.members(asked) for key in keys]


def wanted(username: str = "ann", n: int = 1, **more: Any) -> Account:
    """An account as planning wants it."""
    given: dict[str, Any] = {
        "email": f"person{n}@example.com",
        "display_name": f"Person {n}",
        "active": True,
        "mark": Mark(INSTANCE, OBJECT_ID % n),
        **more,
    }
    return Account(username=username, **given)


@asynccontextmanager
async def standing(entry: Entry, **connecting: Any) -> AsyncIterator[Rig]:
    """A fresh product of this kind, served over HTTP, and the connector to it."""
    clock = FakeClock()
    faults, recording = Faults(clock=clock), Recording(clock=clock)
    requests = Requests(entry.kind, entry.version or "", entry.context)
    if entry.kind == "memory":
        memory = Memory()
        yield Rig(entry, memory, MemoryHands(memory), clock, faults, recording, requests)
        return
    middlewares: list[Callable[..., Any]] = [
        recording_middleware(recording),
        remembering(requests),
        faults_middleware(faults),
    ]
    flags = {"clock": clock, "middlewares": middlewares, **entry.flags}
    simulated = product(entry.kind, entry.version, **flags)
    async with serving({entry.context: simulated.app()}) as address:
        url = address + entry.context
        rig = Rig(entry, Memory(), simulated, clock, faults, recording, requests, url)
        rig.target = rig.again(**connecting)
        try:
            yield rig
        finally:
            await rig.target.close()
