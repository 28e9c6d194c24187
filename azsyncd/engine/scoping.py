"""What the scope's entries mean at present, and what they meant before (rules 9, 11 and 12).

An entry that matches nothing never reads as "nobody", once there are accounts; an exclude by UPN
holds on to the object that it first matched; a linked group is followed by its id while its entry
stands.
"""

from __future__ import annotations

from copy import copy

from azsyncd.model.accounts import fold
from azsyncd.model.identities import Group, ObjectId
from azsyncd.plan.expressions import ExpressionFailed, Unread
from azsyncd.plan.groups import is_own
from azsyncd.plan.policy import Entry, Policy, Scope
from azsyncd.plan.scope import Entries, ScopeFacts, excluding
from azsyncd.state import facts, links, scopes
from azsyncd.state.store import Connection

DOUBT_HINT = "name the group in the file as it is called in Entra, or take the entry out"

_MATCHED = 0
"""Remembered in the place of an object: the entry has matched something at some time."""


class Scoping:
    """The scope of one target, with the groups that its `members_of` entries resolve to."""

    def __init__(self, t: int, policy: Policy) -> None:
        self._t = t
        self._entries = Entries(policy.scope.users.members_of or ())
        self._exclude = policy.scope.users.exclude
        self._include_keys = {entry.key for entry in policy.scope.groups.include}
        self._members: dict[str, set[ObjectId]] = {}

    def forget(self) -> None:
        """All is worked out anew."""
        self._members = {entry.key: set() for entry in self._entries.entries}

    def apart(self) -> Scoping:
        """The same, which learns for itself."""
        twin = copy(self)
        twin._members = {key: set(ids) for key, ids in self._members.items()}
        return twin

    def facts(self, db: Connection) -> ScopeFacts:
        """What the pure planner needs of it."""
        return ScopeFacts(
            member_of=frozenset(id_ for ids in self._members.values() for id_ in ids),
            uncertain=self.uncertain(db),
            excluded=self._pinned(db),
        )

    def uncertain(self, db: Connection) -> str | None:
        """Rule 11: an entry that matches nothing, though it did once or there are accounts that
        it could be about; or one exact name that several groups have now."""
        matched = facts.remembered(db, self._t, "members_of")
        for entry in self._entries.entries:
            now = self._members.get(entry.key, set())
            if not now and _MATCHED in matched.get(entry.key, ()):
                return f"members_of ({entry.key}) matched a group once and matches none now"
            if not now and links.any_settled(db, self._t):
                return f"members_of ({entry.key}) matches no group"
            exact = entry.name is not None and not set(entry.name) & set("*?[")
            if exact and len(now) > 1:
                return f"members_of ({entry.key}) is ambiguous: {len(now)} groups have that name"
        return None

    def note_doubt(self, db: Connection) -> bool:
        """Whether the scope came into doubt, or out of it, since it was last noted (rule 11)."""
        why = self.uncertain(db)
        noted = scopes.doubt(db, self._t)
        if why == noted:
            return False
        if noted is not None:
            facts.forget(db, self._t, "uncertain", noted)
        if why is not None:
            facts.remember(db, self._t, "uncertain", why, _MATCHED)
        return (why is None) != (noted is None)

    def _pinned(self, db: Connection) -> frozenset[ObjectId]:
        """Rule 9: an exclude by UPN pins the object id at its first match."""
        found: set[ObjectId] = set()
        if not self._exclude:
            return frozenset()
        remembered = facts.remembered(db, self._t, "exclude")
        for name in self._exclude:
            numbers = remembered.get(name, set())
            if not numbers:
                n = scopes.user_called(db, fold(name))
                if n is None:
                    continue
                facts.remember(db, self._t, "exclude", name, n)
                numbers = {n}
            found |= {scopes.id_of(db, n) for n in numbers}
        return frozenset(found)

    def resolve(self, db: Connection, n: int, group: Group) -> bool:
        """Whether a group counts for `members_of`, entry by entry; True if that changed."""
        changed = False
        for entry in self._entries.entries:
            ids = self._members.setdefault(entry.key, set())
            matches = self._matches(db, n, entry, group)
            if matches == (group.id in ids):
                continue
            changed = True
            if matches:
                ids.add(group.id)
                facts.remember(db, self._t, "members_of", entry.key, _MATCHED)
                facts.remember(db, self._t, "members_of", entry.key, n)
            else:
                ids.discard(group.id)
                facts.forget(db, self._t, "members_of", entry.key, n)
        return changed

    def _matches(self, db: Connection, n: int, entry: Entry, group: Group) -> bool:
        try:
            return self._entries.matches(entry, group)
        except (Unread, ExpressionFailed):
            # Undecided: it stays as it was, also across a restart.
            return scopes.has_matched(db, self._t, "members_of", entry.key, n)

    def follows(self, db: Connection, n: int) -> bool:
        """Whether the entry that this group once matched is still in the file (rule 12)."""
        entries = scopes.entries_of(db, self._t, "include", n)
        return bool(entries & self._include_keys)

    def note_move(self, db: Connection, n: int, left: str) -> None:
        """This group leaves the one of that name, and is followed all the same (rule 12)."""
        facts.remember(db, self._t, "moved", fold(left), n)

    def forget_move(self, db: Connection, n: int) -> set[str]:
        """It is linked again, or is no group of ours any more: the names that it had left."""
        return scopes.forget_moves(db, self._t, n)

    def has_left(self, db: Connection, n: int) -> set[str]:
        """The groups that this one was linked to, while it is not linked again."""
        return scopes.entries_of(db, self._t, "moved", n)

    def is_awaited(self, db: Connection, name: str) -> bool:
        """Whether a group that has left this one has not arrived anywhere so far."""
        return scopes.is_named(db, self._t, "moved", fold(name))


def unmatched(db: Connection, scope: Scope) -> list[str]:
    """Entries that name nothing in Entra, a line each: mostly a slip of the pen, which brings
    nobody in, or keeps nobody out."""
    left: list[tuple[str, Entry, Entries]] = [
        (where, entry, Entries([entry]))
        for where, entries in (
            ("users.members_of", scope.users.members_of or ()),
            ("groups.include", scope.groups.include),
            ("groups.exclude", [excluding(entry) for entry in scope.groups.exclude]),
        )
        for entry in entries
    ]
    for n in facts.every(db, "group") if left else ():
        group = facts.group_base(db, n)
        if group is not None and not is_own(group.id):
            left = [each for each in left if not _names(each[2], each[1], group)]
    found = [f"scope.{where} ({entry.key}) matches no group in Entra" for where, entry, _ in left]
    found += [
        f"scope.users.exclude: nobody in Entra is called {name!r}, or has this id"
        for name in scope.users.exclude
        if scopes.user_called(db, fold(name)) is None
    ]
    return found


def _names(entries: Entries, entry: Entry, group: Group) -> bool:
    try:
        return entries.matches(entry, group)
    except (Unread, ExpressionFailed):
        return True  # it may
