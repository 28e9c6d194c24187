"""azsyncd's own reading, mirror and all, against random histories of the simulated Entra.

Without sockets and in seconds: what the wire may do to it is tried elsewhere.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import orjson
import pytest
from multidict import CIMultiDict
from yarl import URL

from azsyncd.answers import Response
from azsyncd.engine.pull import Pull
from azsyncd.entra.client import Graph
from azsyncd.entra.delta import Delta
from azsyncd.errors import SourceError
from azsyncd.sandbox.apps import Apps
from azsyncd.sandbox.clock import FakeClock
from azsyncd.sandbox.graph import GraphServer
from azsyncd.sandbox.layout import Oddities
from azsyncd.sandbox.nodes import Refusal
from azsyncd.sandbox.tenant import Tenant
from azsyncd.state import codec
from azsyncd.state.store import Connection, open_store

SELECTED = {
    "users": ("displayName", "userPrincipalName", "accountEnabled", "department"),
    "groups": ("displayName", "securityEnabled"),
}


class Socketless:
    """A peer that hands requests to the server, and lets the tenant live on meanwhile."""

    def __init__(self, server: GraphServer) -> None:
        self.server = server
        self.chance: random.Random | None = None

    async def request(
        self, method: str, url: str, *, params: Any = None, json: Any = None, headers: Any = None
    ) -> Response:
        whole = URL(url, encoded=True)
        if params:
            whole = whole.update_query(params)
        body = b"" if json is None else orjson.dumps(json)
        answer = await self.server.call(method, str(whole), headers, body)
        if self.chance is not None:
            live_on(self.server.tenant, self.chance, 1)
        content = b"" if answer.body is None else orjson.dumps(answer.body)
        given = {"Content-Type": "application/json", **answer.headers}
        return Response(answer.status, CIMultiDict(given), content, url)


class Token:
    """A token that is always good."""

    def __init__(self, apps: Apps) -> None:
        self._token = apps.issue(apps.register(roles=["Directory.Read.All"]), audience="graph")

    async def token(self, claims: str | None = None) -> str:
        return self._token

    def forget(self) -> None:
        """Nothing is kept."""


def live_on(tenant: Tenant, chance: random.Random, steps: int) -> None:
    for _ in range(steps):
        users = [node.id for node in tenant.users()]
        groups = [node.id for node in tenant.groups()]
        gone = [n.id for feed in ("users", "groups") for n in tenant.deleted(feed)]
        some = users + groups
        what = chance.randrange(10)
        try:
            if what == 0 or len(users) < 8:
                tenant.add_user(f"u{tenant.seq}@x.example", department=chance.choice("AB"))
            elif what == 1 or len(groups) < 3:
                chosen = chance.sample(some, min(len(some), chance.randrange(8)))
                tenant.add_group(f"g{tenant.seq}", members=chosen)
            elif what == 2:
                tenant.update(chance.choice(users), accountEnabled=chance.random() < 0.5)
            elif what == 3:
                tenant.update(chance.choice(users), department=chance.choice(["A", "B", None]))
            elif what in (4, 5):
                tenant.add_member(chance.choice(groups), chance.choice(some))
            elif what == 6:
                group = chance.choice(groups)
                if tenant.nodes[group].places:
                    tenant.remove_member(group, chance.choice(list(tenant.nodes[group].places)))
            elif what == 7:
                tenant.delete(chance.choice(some))
            elif what == 8 and gone:
                tenant.restore(chance.choice(gone))
            elif what == 9 and gone and chance.random() < 0.3:
                tenant.purge(chance.choice(gone))
        except (Refusal, KeyError):
            pass  # the directory does not allow it just now


def seen_by_mirror(db: Connection) -> tuple[dict[str, Any], set[tuple[str, str]]]:
    rows = db.execute("SELECT * FROM object WHERE presence = 'present' AND properties IS NOT NULL")
    objects = {row["id"]: codec.load(row["properties"]) for row in rows}
    edges = db.execute(
        "SELECT p.id, c.id FROM member m JOIN object p ON p.n = m.parent"
        " JOIN object c ON c.n = m.child"
        " WHERE p.presence = 'present' AND c.presence = 'present'"
        " AND p.properties IS NOT NULL AND c.properties IS NOT NULL"
    )
    return objects, {(row[0], row[1]) for row in edges}


def agree(db: Connection, tenant: Tenant) -> None:
    """The mirror has who lives, and who is directly in what."""
    objects, edges = seen_by_mirror(db)
    living = {node.id: node for node in (*tenant.users(), *tenant.groups())}
    assert objects.keys() == living.keys()
    for found, node in living.items():
        for name in SELECTED[node.feed]:
            assert objects[found].get(name) == node.properties.get(name), (node.name, name)
    expected = {(g.id, m.id) for g in tenant.groups() for m in tenant.members(g.id)}
    assert edges == expected


WAYS: dict[str, dict[str, Any]] = {
    "a good day": {},
    "empty pages": {"empty_pages": 1},
    "any order, and twice": {"shuffles": True, "repeats": 0.4},
    "replays": {"replays": 7},
    "gone ones in the crawl": {"removed_in_first_round": True},
    "soft-deleted members hidden": {"lists_soft_deleted_members": False},
    "dead pages": {"dead_pages": 2},
    "a circle": {"loops": 1},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(2))
async def test_mirror_has_what_the_tenant_has(way: str, seed: int, tmp_path: Path) -> None:
    """Crawls and rounds while the tenant lives on; once it rests, both agree (I1)."""
    clock, chance = FakeClock(seed=seed), random.Random(seed)
    tenant = Tenant(clock=clock, seed=seed)
    for number in range(12):
        tenant.add_user(f"first{number}@x.example", department="A")
    tenant.add_group("all", members=[node.id for node in tenant.users()])
    apps = Apps(tenant.tenant_id, clock=clock, seed=seed)
    usual = {"page_size": 4, "member_slice": 3, "lists_soft_deleted_members": True}
    oddities = Oddities(**{**usual, **WAYS[way]})
    # Deleted, hidden from the page of the group, restored, all between two pages: nobody can know.
    rests_meanwhile = not oddities.lists_soft_deleted_members
    peer = Socketless(GraphServer(tenant, apps, oddities=oddities, seed=seed))
    graph = Graph(peer, Token(apps), "https://graph.example")  # type: ignore[arg-type]
    delta = Delta(graph, user_properties=SELECTED["users"], group_properties=SELECTED["groups"])
    store = await open_store(tmp_path / "state.db")
    try:
        pull = Pull(
            delta,
            store,
            clock,
            selected={"user": SELECTED["users"], "group": SELECTED["groups"]},
            poll_seconds=30,
            on_advance=lambda revision, seen_at: None,
        )

        async def look(*, crawl: bool) -> None:
            for _ in range(8):
                try:
                    await pull.once(crawl=crawl)
                    return
                except SourceError:
                    continue  # asked again, as the loop would
            raise AssertionError("no end")

        for turn in range(4):
            peer.chance = None if rests_meanwhile else chance
            await look(crawl=turn in (0, 3))
            peer.chance = None
            await look(crawl=False)
            await store.read(lambda db: agree(db, tenant))
            live_on(tenant, chance, 15)
        assert peer.server.violations == []
    finally:
        await store.close()
