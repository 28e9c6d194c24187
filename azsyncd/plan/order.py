"""In which order a plan is sent: phases by kind, and inside "free names" the renames so that each
name is free when it is wanted (rule 27). A swap goes over a temporary name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from azsyncd.model.accounts import Account, fold
from azsyncd.model.changes import Change


def temporary_name(change: Change) -> str:
    """A legal name that nobody has, for an account that waits for its new one."""
    return f"azsyncd-swap-{change.object_id}"


def is_step(change: Change) -> bool:
    """Whether a change is only the detour of a swap: nothing to decide about, or to count."""
    after = change.after
    return isinstance(after, Account) and after.username == temporary_name(change)


def ordered_renames(changes: Iterable[Change]) -> list[Change]:
    """These renames with their ranks: whoever has the name that another wants goes first.

    Names form chains and rings. A chain is walked from its free end; a ring is opened by moving
    one account to a temporary name first, which costs that account a second rename at the end; to
    people it is one change, from its old name to its new one.
    """
    renames = sorted(changes, key=lambda change: change.order)
    by_old_name = {fold(_username(change.before)): change for change in renames}
    ranks: dict[str, int] = {}
    found: list[Change] = []
    for change in renames:
        if _id(change) in ranks:
            continue
        chain = _chain(change, by_old_name, ranks)
        blocker = by_old_name.get(fold(_username(chain[-1].after)))
        ring = blocker is not None and _id(blocker) == _id(chain[0])
        start = 0
        if blocker is not None and not ring and _id(blocker) in ranks:
            start = ranks[_id(blocker)] + 1
        if ring and len(chain) > 1:
            found.append(_to_temporary(chain[0]))
            start = 1
        for rank, member in enumerate(reversed(chain), start=start):
            ranks[_id(member)] = rank
            found.append(replace(member, rank=rank))
    return sorted(found, key=lambda change: change.order)


def _chain(start: Change, by_old_name: dict[str, Change], ranks: dict[str, int]) -> list[Change]:
    """`start` and those who must move before it, as far as they have no rank yet."""
    chain, seen = [start], {_id(start)}
    while (blocker := by_old_name.get(fold(_username(chain[-1].after)))) is not None:
        if _id(blocker) in seen or _id(blocker) in ranks:
            break
        chain.append(blocker)
        seen.add(_id(blocker))
    return chain


def _to_temporary(change: Change) -> Change:
    account = change.before
    assert isinstance(account, Account)
    after = replace(account, username=temporary_name(change))
    return replace(change, after=after, rank=0)


def _id(change: Change) -> str:
    return str(change.object_id)


def _username(side: object) -> str:
    assert isinstance(side, Account)
    return side.username
