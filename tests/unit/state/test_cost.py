"""What one change costs, whatever the tenant's size; and that a crawl is folded in seconds."""

from __future__ import annotations

import sqlite3
import time
import tracemalloc

import pytest

from azsyncd.model.identities import ObjectId
from azsyncd.state import facts, folding, holds, links, mirror, staging

from .making import (
    MANAGED,
    NOW,
    SELECTED,
    begin,
    database,
    give,
    give_group,
    gone,
    group,
    members,
    n,
    round_,
    stage,
    target,
    user,
)


def tenant(users: int, edges: int = 3) -> sqlite3.Connection:
    """So many users, each in so many of a hundred groups; a few of them linked."""
    db = database()
    db.execute("BEGIN")
    begin(db, staging.CRAWL)
    held: dict[str, list[str]] = {f"g{number}": [] for number in range(100)}
    people = []
    for number in range(users):
        people.append(user(f"u{number}"))
        for step in range(edges):
            held[f"g{(number + step * 7) % 100}"].append(f"u{number}")
    stage(db, staging.CRAWL, *people, *(group(g, *m) for g, m in held.items()), pages=100)
    folding.fold_crawl(db, SELECTED, NOW)
    t = target(db)
    accounts = [give(db, t, f"u{number}") for number in range(users)]
    for g in ("g0", "g1"):
        give_group(db, t, g, accounts)
    db.execute("COMMIT")
    return db


def one_change(db: sqlite3.Connection) -> int:
    """A round with one change, its slice, and what a write asks; in steps of SQLite's machine."""
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    t = target(db)
    db.set_progress_handler(step, 10)
    since = mirror.revision(db)
    round_(db, members("g0", "u3", without=["u0"]), now=NOW + 60)
    found = facts.slice_since(db, t, since, NOW + 60)
    assert found.users == {n(db, "u0"), n(db, "u3")} or found.users == {n(db, "u0")}
    for base in facts.bases(db, sorted(found.users)):
        facts.user_facts(db, t, base, None, ())
    mirror.has_proof(db)
    holds.now_sizes(db, t)
    holds.sizes(db, t, NOW, [ObjectId("g0")])
    holds.spent(db, t, NOW)
    facts.next_due(db, t)
    links.pending(db, t)
    db.set_progress_handler(None, 0)
    return steps


def one_return(db: sqlite3.Connection) -> int:
    """A manager of ten goes and is restored."""
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    db.execute("UPDATE object SET manager = n / 10 + 1 WHERE kind = 'user'")
    db.set_progress_handler(step, 10)
    round_(db, gone("u3"), now=NOW + 60, selected=MANAGED)
    round_(db, user("u3"), now=NOW + 120, selected=MANAGED)
    assert len(mirror.managers_due(db)) == 11
    db.set_progress_handler(None, 0)
    return steps


def test_a_manager_costs_the_same_in_a_tenant_of_any_size() -> None:
    small, large = one_return(tenant(500)), one_return(tenant(5_000))
    assert large < 1.2 * small, f"{small} → {large} steps"


def test_one_change_costs_the_same_in_a_tenant_of_any_size() -> None:
    small, large = one_change(tenant(500)), one_change(tenant(5_000))
    assert large <= small * 1.2 + 2


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_one_change_costs_the_same_among_50_000_users_as_among_500() -> None:
    small, large = one_change(tenant(500)), one_change(tenant(50_000, 2))
    assert large <= small * 1.2 + 2


ASKED = (
    ("SELECT * FROM object WHERE id = ?", ("u1",)),
    ("SELECT n, kind FROM object WHERE touched > ?", (1,)),
    ("SELECT n FROM affected WHERE revision > ?", (1,)),
    ("SELECT n, kind FROM object WHERE presence = 'soft_deleted' AND since < ?", (1,)),
    ("SELECT n, id FROM object WHERE unverified AND presence = 'present' ORDER BY unverified", ()),
    ("SELECT min(retry_at) FROM waiting WHERE t = ?", (1,)),
    ("SELECT n FROM waiting WHERE t = ? AND retry_at <= ?", (1, 1)),
    ("SELECT n FROM link WHERE t = ? AND state = 'pending'", (1,)),
    ("SELECT seq FROM planned WHERE t = ? AND held IS NULL ORDER BY phase, rank LIMIT 1", (1,)),
)


@pytest.mark.parametrize(("sql", "values"), ASKED)
def test_what_every_round_asks_scans_no_table(sql: str, values: tuple[object, ...]) -> None:
    plan = database().execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
    assert not [row["detail"] for row in plan if row["detail"].startswith("SCAN")
                and "INDEX" not in row["detail"]]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_crawl_of_50_000_users_and_500_000_memberships_is_folded_in_seconds() -> None:
    db = database()
    db.execute("BEGIN")
    begin(db, staging.CRAWL)
    people = [user(f"u{number}") for number in range(50_000)]
    held = {f"g{g}": [f"u{(g * 250 + m) % 50_000}" for m in range(250)] for g in range(2_000)}
    stage(db, staging.CRAWL, *people, *(group(g, *m) for g, m in held.items()), pages=500)
    del people, held
    began = time.process_time()
    tracemalloc.start()
    closed = folding.fold_crawl(db, SELECTED, NOW)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    seconds = time.process_time() - began
    assert closed.counts is not None and closed.counts.edges == 500_000
    print(f"{seconds:.1f} s (traced), {peak / 1e6:.1f} MB")
    assert peak < 30e6
    assert seconds < 90  # traced: several times slower than in life
