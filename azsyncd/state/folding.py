"""Takes a whole staged pass into the mirror, together with its links (rules 1 to 7).

`fold_round` and `fold_crawl` run in the caller's transaction, and are replay-safe: the same pages
again change nothing. What a round brought while a crawl was being read is newer than the crawl's
pages, and wins. What a crawl does not show is gone only if the crawl is plausible. Whose manager
nobody has said is due to be asked for (decision 012).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from azsyncd.model.accounts import fold
from azsyncd.model.identities import (
    FEEDS,
    MANAGER,
    MANAGERS,
    MemberKind,
    MemberSeen,
    Presence,
    Seen,
)
from azsyncd.state import codec, mirror
from azsyncd.state.mirror import NEW, RESTORED, Counts, number_of, revision
from azsyncd.state.staging import CRAWL, ROUND, abandon, crawl_number, cursors
from azsyncd.state.store import get_meta, set_meta

SOFT_DELETE_SECONDS = 31 * 86400.0
"""A soft-deleted object can be restored for 30 days (graph.md §2.5); a day of grace."""

PLAUSIBLE = 0.8
"""A crawl with less than this part of the last one's users, groups or edges proves nothing."""

_KIND = {"users": "user", "groups": "group"}


@dataclass(frozen=True, slots=True)
class Closed:
    """A pass that was folded. `proof` is None for a round; for a crawl: was it accepted?"""

    revision: int
    changed: int
    counts: Counts | None = None
    proof: bool | None = None
    doubt: str = ""
    absent: int = 0
    hidden: int = 0  # objects that came without a word: what changed of them is not known


class _Fold:
    """One pass on its way into the mirror."""

    def __init__(self, db: sqlite3.Connection, pass_: str, selected: dict[str, tuple[str, ...]]):
        self.db = db
        self.pass_ = pass_
        self.manages = MANAGER in selected["user"]  # who is whose manager is followed
        self.selected = {
            kind: [n for n in names if n != MANAGER] for kind, names in selected.items()
        }
        self.revision = revision(db) + 1
        # What a round sees while a crawl is being read counts as seen by it.
        self.crawling = pass_ == ROUND and bool(cursors(db, CRAWL))
        number = pass_ == CRAWL or self.crawling
        self.crawl = crawl_number(db) if number else int(get_meta(db, "crawl", 0))
        self.now = 0.0
        self.changed = 0
        self._numbers: dict[str, int] = {}
        self._bare: set[str] = set()
        self.hidden = 0  # appearances that said nothing at all: a permission seems to be missing
        self._newer: set[str] = set()

    @property
    def bare(self) -> int:
        """Objects of which this pass brought nothing but the id."""
        return len(self._bare)

    def run(self, now: float) -> None:
        self.now = now
        if self.pass_ == CRAWL:
            rows = self.db.execute("SELECT id FROM object WHERE crawl = ?", (self.crawl,))
            self._newer = {row["id"] for row in rows}
        for feed in FEEDS:
            kind = _KIND[feed]
            rows = self.db.execute(
                "SELECT page FROM staged WHERE pass = ? AND feed = ? ORDER BY seq",
                (self.pass_, feed),
            )
            for row in rows:
                for seen in codec.page_items(row["page"]):
                    self._object(kind, seen)
        for row in self.db.execute(
            "SELECT page FROM staged WHERE pass = ? AND feed = ? ORDER BY seq",
            (self.pass_, MANAGERS),
        ):
            for seen in codec.page_items(row["page"]):
                self._listed(seen)
        if self.pass_ == CRAWL and self.manages:
            mirror.owe_unread_managers(self.db)
        elif self.pass_ == CRAWL:
            mirror.forget_managers(self.db)

    def touch(self, n: int) -> None:
        self.changed += 1
        self.db.execute("UPDATE object SET touched = ? WHERE n = ?", (self.revision, n))

    def affect(self, n: int) -> None:
        self.changed += 1
        self.db.execute("INSERT OR IGNORE INTO affected VALUES (?, ?)", (self.revision, n))

    def _object(self, kind: str, seen: Seen) -> None:
        row = self.db.execute("SELECT * FROM object WHERE id = ?", (seen.id,)).fetchone()
        if seen.removed is not None:
            if row is not None and seen.id not in self._newer:
                self._gone(row, kind, seen.removed)
            return  # never seen, and gone already: nothing depends on it
        if row is None:
            n = self._insert(seen.id, kind)
            row = self.db.execute("SELECT * FROM object WHERE n = ?", (n,)).fetchone()
        if kind == "user" and self.manages:
            self._manager(row, seen)
        if seen.id not in self._newer:
            self._alive(row, kind, seen)
        elif row["presence"] == Presence.PURGED:
            return
        if seen.members:
            self._members(int(row["n"]), seen.members)

    def _manager(self, row: sqlite3.Row, seen: Seen) -> None:
        """What a delta feed says of her manager, or does not."""
        if self.pass_ == CRAWL:
            return  # the listing says it, of everybody
        if seen.properties.get(MANAGER) is not None:
            self._set_manager(row, self._manager_number(seen))
        else:  # also where it says nobody: it may be late, and absence waits (rule 2)
            mirror.owe_manager(self.db, int(row["n"]))

    def _listed(self, seen: Seen) -> None:
        """What a crawl's listing says of her manager. What a round has told since is newer, and
        that she has none any more is asked for once more: absence waits (rule 2)."""
        sql = "SELECT n, kind, manager, manager_due FROM object WHERE id = ?"
        row = self.db.execute(sql, (seen.id,)).fetchone()
        if row is None or row["kind"] != "user":
            return  # new since the feed was read: the next round brings her
        manager = self._manager_number(seen)
        newer = seen.id in self._newer
        if manager == row["manager"]:
            if row["manager_due"] and not newer:
                mirror.set_manager(self.db, row["n"], manager)
        elif row["manager"] is None or (manager and not newer):
            self._set_manager(row, manager)
            if newer and row["manager_due"]:
                mirror.owe_manager(self.db, row["n"])
        else:
            mirror.owe_manager(self.db, row["n"])

    def _set_manager(self, row: sqlite3.Row, manager: int) -> None:
        if mirror.set_manager(self.db, row["n"], manager):
            self.touch(int(row["n"]))

    def _manager_number(self, seen: Seen) -> int:
        """The database's own number of her manager; 0 if she has none. One who is new here may come
        with the next round: she is no ghost before the next crawl."""
        if (manager := seen.properties[MANAGER]) is None:
            return 0
        known = str(manager) in self._numbers or number_of(self.db, str(manager)) is not None
        n = self._number(str(manager))
        if not known:
            self.db.execute("UPDATE object SET crawl = ? WHERE n = ?", (self.crawl, n))
        return n

    def _insert(self, id_: str, kind: str) -> int:
        cursor = self.db.execute(
            "INSERT INTO object (id, kind, crawl) VALUES (?, ?, ?)", (id_, kind, 0)
        )
        return int(cursor.lastrowid or 0)

    def _alive(self, row: sqlite3.Row, kind: str, seen: Seen) -> None:
        n = int(row["n"])
        known = codec.load(row["properties"]) if row["properties"] else None
        was = Presence(row["presence"])
        if was is Presence.PURGED:
            known = None
        first = row["crawl"] != self.crawl
        properties = self._merged(kind, seen, known, first=first or seen.id in self._bare)
        if properties is not None:
            self._bare.discard(seen.id)
        else:
            self.hidden += not seen.members
            if first:
                self._bare.add(seen.id)
        text = None if properties is None else codec.dump(properties)
        back = was is not Presence.PRESENT
        different = text is not None and text != row["properties"]
        if different or back:
            self._store(row, kind, properties, text or row["properties"], back)
            self.touch(n)
            if back and kind == "group":
                self.affect(n)
            elif back and self.manages:  # her reports may have been given to nobody meanwhile
                mirror.owe_reports(self.db, n)
        if row["crawl"] != self.crawl:
            self.db.execute("UPDATE object SET crawl = ? WHERE n = ?", (self.crawl, n))

    def _merged(
        self, kind: str, seen: Seen, known: dict[str, Any] | None, *, first: bool
    ) -> dict[str, Any] | None:
        """The properties after this appearance; None = nothing was learnt.

        A body that has an id and nulls alone comes of a missing permission (graph.md §6.3): it
        never overwrites what is known (rule 7). A property that is absent was never set, as far as
        a new object or a fresh crawl is concerned; in a later round it is merely unchanged.
        """
        if _is_bare(kind, seen, known):
            return None
        whole = known is None or (self.pass_ == CRAWL and first)
        base: dict[str, Any] = {}
        if whole:
            base = dict.fromkeys(self.selected[kind])
            if known is not None:  # properties beyond this selection stay known
                base = {**known, **base}
        else:
            base = dict(known or {})
        base.update(seen.properties)
        base.pop(MANAGER, None)
        return base

    def _store(
        self,
        row: sqlite3.Row,
        kind: str,
        properties: dict[str, Any] | None,
        text: str | None,
        back: bool,
    ) -> None:
        name, mail, former = row["name"], row["mail"], row["former_name"]
        if properties is not None:
            shown = "userPrincipalName" if kind == "user" else "displayName"
            new = properties.get(shown)
            if kind == "group" and row["properties"]:
                old = codec.load(row["properties"]).get("displayName")
                if old is not None and old != new:
                    former = old
            name = fold(new) if isinstance(new, str) else None
            address = properties.get("mail")
            mail = fold(address) if isinstance(address, str) else None
        unverified = row["unverified"]
        if not row["properties"] and self.pass_ == ROUND:
            unverified = NEW
        elif back and kind == "user":
            unverified = RESTORED
        self.db.execute(
            "UPDATE object SET properties = ?, name = ?, mail = ?, former_name = ?,"
            " presence = 'present', since = NULL, unverified = ? WHERE n = ?",
            (text, name, mail, former, unverified, row["n"]),
        )

    def _gone(self, row: sqlite3.Row, kind: str, reason: str) -> None:
        presence = Presence.SOFT_DELETED if reason == "changed" else Presence.PURGED
        was = Presence(row["presence"])
        self.db.execute("UPDATE object SET crawl = ? WHERE n = ?", (self.crawl, row["n"]))
        if was is presence or was is Presence.PURGED:
            return
        set_presence(self.db, int(row["n"]), presence, row["since"] or self.now)
        self.touch(int(row["n"]))
        if kind == "group":
            self._group_gone(int(row["n"]), presence)
        elif presence is Presence.PURGED:
            self._forget_memberships(int(row["n"]))

    def _group_gone(self, n: int, presence: Presence) -> None:
        if presence is Presence.PURGED:
            for child in self.db.execute("SELECT child FROM member WHERE parent = ?", (n,)):
                self.affect(child["child"])
            self.db.execute("DELETE FROM member WHERE parent = ?", (n,))
        self.affect(n)

    def _forget_memberships(self, n: int) -> None:
        """A user is gone for good: her object id never comes back."""
        if self.crawling:
            self.db.execute(
                "INSERT OR IGNORE INTO member_gone SELECT parent, child FROM member"
                " WHERE child = ?",
                (n,),
            )
        self.db.execute("DELETE FROM member WHERE child = ?", (n,))

    def _members(self, parent: int, members: Iterable[MemberSeen]) -> None:
        for member in members:
            if member.kind is MemberKind.OTHER:
                continue
            if member.removed and not self.crawling and number_of(self.db, member.id) is None:
                continue  # never seen, and no member: nothing would ever be read of her
            child = self._number(member.id, member.kind)
            if member.removed:
                cursor = self.db.execute(
                    "DELETE FROM member WHERE parent = ? AND child = ?", (parent, child)
                )
                if cursor.rowcount:
                    self.affect(child)
                if self.crawling:
                    self.db.execute(
                        "INSERT OR IGNORE INTO member_gone VALUES (?, ?)", (parent, child)
                    )
                continue
            if self._was_removed(parent, child):
                continue
            cursor = self.db.execute(
                "INSERT OR IGNORE INTO member VALUES (?, ?, ?)", (parent, child, self.crawl)
            )
            if cursor.rowcount:
                self.affect(child)
            elif self.pass_ == CRAWL or self.crawling:
                self.db.execute(
                    "UPDATE member SET crawl = ? WHERE parent = ? AND child = ?",
                    (self.crawl, parent, child),
                )

    def _was_removed(self, parent: int, child: int) -> bool:
        """Whether a round has removed this member after the crawl saw it. A round that adds it
        again has the last word."""
        pair = (parent, child)
        if self.pass_ == CRAWL:
            sql = "SELECT 1 FROM member_gone WHERE parent = ? AND child = ?"
            return self.db.execute(sql, pair).fetchone() is not None
        if self.crawling:
            self.db.execute("DELETE FROM member_gone WHERE parent = ? AND child = ?", pair)
        return False

    def _number(self, id_: str, kind: str = MemberKind.USER) -> int:
        if (n := self._numbers.get(id_)) is not None:
            return n
        found = number_of(self.db, id_)
        n = self._insert(id_, kind) if found is None else found
        if len(self._numbers) < 50_000:  # bounded: a cache, not a store
            self._numbers[id_] = n
        return n

    def close(self) -> int:
        """Age soft deletes, replace the links, advance the revision if something changed."""
        ancient = self.db.execute(
            "SELECT n, kind FROM object WHERE presence = 'soft_deleted' AND since < ?",
            (self.now - SOFT_DELETE_SECONDS,),
        ).fetchall()
        for row in ancient:
            set_presence(self.db, row["n"], Presence.PURGED, None)
            self.touch(row["n"])
            if row["kind"] == "group":
                self._group_gone(row["n"], Presence.PURGED)
            else:
                self._forget_memberships(row["n"])
        kept = cursors(self.db, self.pass_)
        self.db.executemany(
            "INSERT OR REPLACE INTO feed VALUES (?, ?, ?, ?)",
            [(feed, kept[feed].delta_link, kept[feed].selection, self.now) for feed in FEEDS],
        )
        mirror.touch_reports(self.db, self.revision)
        abandon(self.db, self.pass_)
        set_meta(self.db, "last_round_at", self.now)
        if self.changed:
            set_meta(self.db, "revision", self.revision)
            return self.revision
        return self.revision - 1


def _is_bare(kind: str, seen: Seen, known: dict[str, Any] | None) -> bool:
    names = ("displayName", "userPrincipalName") if kind == "user" else ("displayName",)
    if any(seen.properties.get(name) is not None for name in names):
        return False
    if known is None:
        return True
    # An update names what changed; only the names being null (never legal) betray a bare body.
    return not seen.properties or any(name in seen.properties for name in names)


def set_presence(db: sqlite3.Connection, n: int, presence: Presence, since: float | None) -> None:
    """Note that an object is gone; `since` None keeps the moment at which it was seen gone."""
    db.execute(
        "UPDATE object SET presence = ?, since = coalesce(?, since) WHERE n = ?",
        (presence, since, n),
    )


Selected = dict[str, tuple[str, ...]]
"""The selected properties, by 'user' and 'group'."""


def fold_round(db: sqlite3.Connection, selected: Selected, now: float) -> Closed:
    """Take a complete round into the mirror, with its links."""
    fold_ = _Fold(db, ROUND, selected)
    fold_.run(now)
    if fold_.hidden:
        set_meta(db, "gaps", 1)
    return Closed(fold_.close(), fold_.changed, hidden=fold_.hidden)


def fold_crawl(db: sqlite3.Connection, selected: Selected, now: float) -> Closed:
    """Take a complete crawl into the mirror; absence counts if the crawl is plausible (rule 7).

    An implausible one brings its positive facts and its links; what it did not show stays, and
    the caller opens a hold `source`.
    """
    fold_ = _Fold(db, CRAWL, selected)
    fold_.run(now)
    counts = count_crawl(db, fold_.crawl, fold_.bare)
    doubt = _doubt(db, counts, fold_.crawl)
    set_meta(db, "crawl", fold_.crawl)
    absent = 0
    if not doubt:
        fold_.changed += mirror.end_ghosts(db, fold_.crawl, fold_.revision)
        fold_.changed += sweep(db, fold_.crawl, fold_.revision, now)
        accept_crawl(db, fold_.crawl, counts, now)
    else:
        absent = absent_count(db, fold_.crawl)
    closed = fold_.close()
    set_meta(db, "last_crawl_at", now)
    return Closed(closed, fold_.changed, counts, not doubt, doubt, absent)


def accept_crawl(db: sqlite3.Connection, crawl: int, counts: Counts, now: float) -> None:
    """Remember a crawl as proof, and as the measure of the next one."""
    set_meta(db, "crawl_accepted", crawl)
    set_meta(db, "gaps", 0)
    set_meta(db, "crawl_accepted_at", now)
    set_meta(db, "crawl_counts", codec.dump([counts.users, counts.groups, counts.edges]))


def count_crawl(db: sqlite3.Connection, crawl: int, bare: int = 0) -> Counts:
    """What this crawl, and whatever was read after it, have seen."""

    def one(sql: str) -> int:
        return int(db.execute(sql, (crawl,)).fetchone()[0])

    alive = "SELECT count(*) FROM object WHERE crawl >= ? AND presence = 'present'"
    return Counts(
        users=one(f"{alive} AND kind = 'user' AND properties IS NOT NULL"),
        groups=one(f"{alive} AND kind = 'group' AND properties IS NOT NULL"),
        edges=one("SELECT count(*) FROM member WHERE crawl >= ?"),
        bare=bare,
    )


def _doubt(db: sqlite3.Connection, counts: Counts, crawl: int) -> str:
    """Why this crawl is no proof of absence; empty if it is one. That there is less of a kind is no
    reason where none of it is absent: rounds have told of it."""
    last = get_meta(db, "crawl_counts")
    before = dict(zip(("users", "groups", "edges"), codec.load(last), strict=True)) if last else {}
    for kind in ("users", "groups", "edges"):
        have, had = getattr(counts, kind), before.get(kind)
        what = "memberships" if kind == "edges" else kind
        if had and have < PLAUSIBLE * had and _absent(db, crawl)[kind]:
            return f"Entra showed {have} {what}, at the last complete reading there were {had}"
        # A tenant without groups may be; one without users shows them to nobody.
        if not have and (had is None or kind == "users") and kind != "edges":
            return f"Entra showed no {what} at all"
    if counts.bare:
        return f"{counts.bare} objects came without any property: a permission seems to be missing"
    return ""


_ABSENT = (
    "SELECT n, kind FROM object WHERE crawl < :crawl AND presence = 'present'"
    " AND properties IS NOT NULL"
)
_ABSENT_EDGES = (
    "SELECT m.parent, m.child FROM member m JOIN object p ON p.n = m.parent"
    " JOIN object c ON c.n = m.child"
    " WHERE m.crawl < :crawl AND p.crawl >= :crawl AND p.presence = 'present'"
    " AND c.presence = 'present' AND (c.crawl >= :crawl OR c.properties IS NULL)"
)


def absent_count(db: sqlite3.Connection, crawl: int) -> int:
    """How many objects and memberships the crawl did not show, and nobody saw since."""
    return sum(_absent(db, crawl).values())


def absent(db: sqlite3.Connection, crawl: int, most: int) -> list[tuple[str, int, int | None]]:
    """The first of them: (user, group or member; the number of the object; of a member's group)."""
    told: list[tuple[str, int, int | None]] = []
    for row in db.execute(f"{_ABSENT} ORDER BY kind DESC, n LIMIT :most",
                          {"crawl": crawl, "most": most}):  # fmt: skip
        told.append((row["kind"], row["n"], None))
    rest = {"crawl": crawl, "most": most - len(told)}
    for row in db.execute(f"{_ABSENT_EDGES} LIMIT :most", rest):
        told.append(("member", row["child"], row["parent"]))
    return told


def _absent(db: sqlite3.Connection, crawl: int) -> dict[str, int]:
    asked = {
        "users": f"{_ABSENT} AND kind = 'user'",
        "groups": f"{_ABSENT} AND kind = 'group'",
        "edges": _ABSENT_EDGES,
    }
    return {
        kind: int(db.execute(f"SELECT count(*) FROM ({sql})", {"crawl": crawl}).fetchone()[0])
        for kind, sql in asked.items()
    }


def sweep(db: sqlite3.Connection, crawl: int, at_revision: int, now: float) -> int:
    """Absence from a complete crawl: users and groups are soft-deleted, edges removed (rule 6).

    The edge of a soft-deleted member is never removed: Graph does not announce it again.
    Returns how many facts changed.
    """
    edges = db.execute(_ABSENT_EDGES, {"crawl": crawl}).fetchall()
    objects = db.execute(_ABSENT, {"crawl": crawl}).fetchall()
    for edge in edges:
        db.execute("DELETE FROM member WHERE parent = ? AND child = ?", tuple(edge))
        db.execute("INSERT OR IGNORE INTO affected VALUES (?, ?)", (at_revision, edge["child"]))
    for row in objects:
        set_presence(db, row["n"], Presence.SOFT_DELETED, now)
        db.execute("UPDATE object SET touched = ? WHERE n = ?", (at_revision, row["n"]))
        if row["kind"] == "group":
            db.execute("INSERT OR IGNORE INTO affected VALUES (?, ?)", (at_revision, row["n"]))
    return len(edges) + len(objects)


def approve_sweep(db: sqlite3.Connection, crawl: int, now: float) -> int:
    """A person let an implausible crawl through: what is still absent counts as absent now."""
    at_revision = revision(db) + 1
    changed = sweep(db, crawl, at_revision, now)
    mirror.touch_reports(db, at_revision)
    accept_crawl(db, crawl, count_crawl(db, crawl), now)
    set_meta(db, "revision", at_revision)
    return changed
