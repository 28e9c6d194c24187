"""A database in memory, and short ways to fold rounds and crawls into its mirror."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from azsyncd.model.accounts import Account, TargetGroup
from azsyncd.model.identities import (
    FEEDS,
    GROUP_PROPERTIES,
    MANAGER,
    MANAGERS,
    USER_PROPERTIES,
    MemberKind,
    MemberSeen,
    ObjectId,
    Page,
    Seen,
)
from azsyncd.model.links import Origin
from azsyncd.state import folding, links, mirror, staging, targets
from azsyncd.state.schema import MIGRATIONS

DAY = 86400.0
NOW = 1_800_000_000.0
SELECTED = {"user": USER_PROPERTIES, "group": GROUP_PROPERTIES}
MANAGED = {**SELECTED, "user": (*USER_PROPERTIES, MANAGER)}
URLS = {feed: (f"https://graph/{feed}", "s") for feed in ("users", "groups")}


def database() -> sqlite3.Connection:
    """An empty database of ours."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.row_factory = sqlite3.Row
    for script in MIGRATIONS:
        db.executescript(script)
    return db


def user(id_: str, **properties: object) -> Seen:
    """A living user on a page."""
    common = {"userPrincipalName": f"{id_}@x.org", "displayName": id_, "accountEnabled": True}
    return Seen(ObjectId(id_), {**common, **properties})


def group(id_: str, *members: str, name: str | None = None, without: Sequence[str] = ()) -> Seen:
    """A living group on a page: members that begin with `g` are groups, with `d` devices."""
    seen = [MemberSeen(ObjectId(m), _kind(m)) for m in members]
    seen += [MemberSeen(ObjectId(m), _kind(m), removed=True) for m in without]
    return Seen(
        ObjectId(id_), {"displayName": name or id_, "securityEnabled": True}, None, tuple(seen)
    )


def members(id_: str, *members: str, without: Sequence[str] = ()) -> Seen:
    """A group of which only the members changed."""
    whole = group(id_, *members, without=without)
    return Seen(whole.id, {}, None, whole.members)


def gone(id_: str, reason: str = "changed") -> Seen:
    """`@removed`."""
    return Seen(ObjectId(id_), {}, reason)


def bare(id_: str) -> Seen:
    """What a missing permission leaves of an object."""
    return Seen(ObjectId(id_), {"displayName": None, "userPrincipalName": None})


def _kind(id_: str) -> MemberKind:
    return {"g": MemberKind.GROUP, "d": MemberKind.OTHER}.get(id_[0], MemberKind.USER)


def begin(db: sqlite3.Connection, pass_: str, now: float = NOW) -> None:
    staging.begin(db, pass_, URLS, now)


def stage(db: sqlite3.Connection, pass_: str, *seen: Seen, pages: int = 1) -> None:
    """Stage these on so many pages, and both feeds' ends."""
    for feed in ("users", "groups"):
        mine = [each for each in seen if (each.id[0] == "g") == (feed == "groups")]
        size = max(1, -(-len(mine) // pages))
        for start in range(0, len(mine), size):
            page = Page(tuple(mine[start : start + size]), next_link="next")
            staging.stage(db, pass_, feed, page)
        staging.stage(db, pass_, feed, Page((), delta_link=f"delta-{feed}"))


def round_(
    db: sqlite3.Connection,
    *seen: Seen,
    now: float = NOW,
    pages: int = 1,
    selected: folding.Selected = SELECTED,
) -> folding.Closed:
    """A whole round."""
    begin(db, staging.ROUND, now)
    stage(db, staging.ROUND, *seen, pages=pages)
    return folding.fold_round(db, selected, now)


def crawl(db: sqlite3.Connection, *seen: Seen, now: float = NOW, pages: int = 1) -> folding.Closed:
    """A whole crawl."""
    begin(db, staging.CRAWL, now)
    stage(db, staging.CRAWL, *seen, pages=pages)
    return folding.fold_crawl(db, SELECTED, now)


def listed(db: sqlite3.Connection, managers: Mapping[str, str | None]) -> None:
    """The listing of managers, as a part of the crawl that is being read."""
    seen = (Seen(ObjectId(who), {MANAGER: manager}) for who, manager in managers.items())
    staging.stage(db, staging.CRAWL, MANAGERS, Page(tuple(seen), delta_link="listing"))


def managed_crawl(
    db: sqlite3.Connection, *seen: Seen, managers: Mapping[str, str | None]
) -> folding.Closed:
    """A whole crawl, with the listing."""
    begin_managed(db)
    stage(db, staging.CRAWL, *seen)
    listed(db, managers)
    return folding.fold_crawl(db, MANAGED, NOW)


def begin_managed(db: sqlite3.Connection) -> None:
    staging.begin(db, staging.CRAWL, dict.fromkeys((*FEEDS, MANAGERS), ("url", "s")), NOW)


def n(db: sqlite3.Connection, id_: str) -> int:
    found = mirror.number_of(db, id_)
    assert found is not None
    return found


def row(db: sqlite3.Connection, id_: str) -> sqlite3.Row:
    found: sqlite3.Row = db.execute("SELECT * FROM object WHERE id = ?", (id_,)).fetchone()
    return found


def presence(db: sqlite3.Connection, id_: str) -> str:
    return str(row(db, id_)["presence"])


def above(db: sqlite3.Connection, id_: str) -> set[str]:
    """The groups that an object is in, at any depth."""
    return {str(each) for each in mirror.groups_above(db, n(db, id_))[1]}


def dump(db: sqlite3.Connection) -> list[tuple[object, ...]]:
    """The mirror, without the marks of when it was seen."""
    objects = db.execute(
        "SELECT id, kind, properties, presence, since, name, mail, unverified FROM object"
        " ORDER BY id"
    )
    edges = db.execute(
        "SELECT p.id, c.id FROM member m JOIN object p ON p.n = m.parent"
        " JOIN object c ON c.n = m.child ORDER BY 1, 2"
    )
    return [tuple(each) for each in (*objects.fetchall(), *edges.fetchall())]


# Targets ----------------------------------------------------------------------------------------


def target(db: sqlite3.Connection, name: str = "jira") -> int:
    return targets.ensure(db, name, "memory").t


def give(
    db: sqlite3.Connection, t: int, id_: str, *, active: bool = True, key: str | None = None
) -> int:
    """Link a user to an account of her own."""
    key = key or f"A-{id_}"
    account = Account(username=f"{id_}@x.org", display_name=id_, active=active, key=key)
    a = targets.put_account(db, t, account)
    links.settle_account(db, t, n(db, id_), a, Origin.CREATED, account)
    return a


def give_group(db: sqlite3.Connection, t: int, id_: str, members: Iterable[int] = ()) -> int:
    """Link a group to one of its own, with these accounts put in by us."""
    g = targets.put_group(db, t, TargetGroup(name=id_, key=id_))
    links.settle_group(db, t, n(db, id_), g, Origin.CREATED, NOW)
    for a in members:
        links.edge_added(db, g, a)
    return g
