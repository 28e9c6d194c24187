"""In which order a plan is sent: phases by kind, and inside "free names" the renames so that each
name is free when it is wanted (rule 27). A swap goes over a temporary name.

Where addresses are unique too (`Capabilities.unique_emails`), a rename carries the address, and an
address is a name like any other here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from azsyncd.model.accounts import Account, fold
from azsyncd.model.changes import Change

Name = tuple[str, str]
"""("username" or "email", folded)."""


def temporary_name(change: Change) -> str:
    """A legal name that nobody has, for an account that waits for its new one."""
    return f"azsyncd-swap-{change.object_id}"


def is_step(change: Change) -> bool:
    """Whether a change is only the detour of a swap: nothing to decide about, or to count."""
    after = change.after
    if not isinstance(after, Account):
        return False
    name = temporary_name(change)
    return after.username == name or (after.email or "").startswith(f"{name}@")


def leaves(change: Change) -> frozenset[Name]:
    """The names that become free by a rename."""
    return names_of(change.before) - names_of(change.after)


def takes(change: Change) -> frozenset[Name]:
    """The names that must be free for it."""
    return names_of(change.after) - names_of(change.before)


def ordered_renames(changes: Iterable[Change]) -> list[Change]:
    """These renames with their ranks: whoever has the name that another wants goes first.

    Names form chains and rings. A chain is walked from its free end; a ring is opened by moving
    one account to a temporary name first, which costs that account a second rename at the end; to
    people it is one change, from its old name to its new one.
    """
    renames = {_id(change): change for change in sorted(changes, key=lambda change: change.order)}
    holders = {name: id_ for id_, change in renames.items() for name in leaves(change)}
    waits = {
        id_: {holders[name] for name in takes(change) if name in holders} - {id_}
        for id_, change in renames.items()
    }
    behind: dict[str, list[str]] = {}
    for id_, blockers in waits.items():
        for blocker in blockers:
            behind.setdefault(blocker, []).append(id_)
    ranks = dict.fromkeys(renames, 0)
    ready = deque(id_ for id_, blockers in waits.items() if not blockers)
    found: list[Change] = []

    def freed(id_: str, rank: int) -> None:
        """Its names are free from this rank on."""
        for waiter in behind.pop(id_, ()):
            waits[waiter].discard(id_)
            ranks[waiter] = max(ranks[waiter], rank)
            if not waits[waiter]:
                ready.append(waiter)

    for id_ in renames:
        while ready or waits.get(id_):
            if not ready:
                first = min(_ring(id_, waits), key=lambda each: renames[each].order)
                found.append(_to_temporary(renames[first]))
                freed(first, 1)
                continue
            moved = ready.popleft()
            del waits[moved]
            found.append(replace(renames[moved], rank=ranks[moved]))
            freed(moved, ranks[moved] + 1)
    return sorted(found, key=lambda change: change.order)


def _ring(start: str, waits: dict[str, set[str]]) -> list[str]:
    """Some who wait for one another in a ring, which `start` is in or waits for."""
    path: dict[str, None] = {}
    while start not in path:
        path[start] = None
        start = min(waits[start])
    members = list(path)
    return members[members.index(start) :]


def _to_temporary(change: Change) -> Change:
    """Only what another waits for need be given up, but an account has one name at a time."""
    before, after = change.before, change.after
    assert isinstance(before, Account)
    assert isinstance(after, Account)
    name, email = temporary_name(change), before.email
    if email is not None and fold(email) != fold(after.email or ""):
        email = f"{name}@{email.rpartition('@')[2]}"
    username = before.username if fold(before.username) == fold(after.username) else name
    return replace(change, after=replace(before, username=username, email=email), rank=0)


def names_of(side: object) -> frozenset[Name]:
    """The names of an account, by which a rename may have to wait for another."""
    assert isinstance(side, Account)
    names = {("username", fold(side.username))}
    if side.email:
        names.add(("email", fold(side.email)))
    return frozenset(names)


def _id(change: Change) -> str:
    return str(change.object_id)
