"""Knowing accounts again by our mark, where the state was lost, or is older than the product.

Crowd and the Cloud show marks in their listings. Jira keeps them in a property of each account:
asking everybody costs a call or two per account, so only those are asked who may be somebody's
without a link: those under her address, unless one stands there under her name as well, and those
under her name that `adopt` would leave alone. Each is asked once.
"""

from __future__ import annotations

from collections.abc import Callable

from azsyncd.errors import ChangeRejected, TargetRefused
from azsyncd.model.accounts import Account, Capabilities
from azsyncd.state import links, marks
from azsyncd.state.store import Connection, Store
from azsyncd.targets.base import Target

_AT_ONCE = 50

Step = Callable[[str, int, int | None], None]
"""(step, done, total), for progress bars. It may raise, to leave off."""


async def ask_for_marks(
    target: Target, t: int, store: Store, capabilities: Capabilities, adopt: str, step: Step
) -> None:
    """Read the marks that matter and that no listing shows; raises TargetError."""
    if not capabilities.has_marks or capabilities.lists_marks:
        return

    def whom(db: Connection) -> list[tuple[int, Account]]:
        found = dict(marks.to_ask(db, t, adopt))
        if not links.any_settled(db, t):
            found |= dict(marks.sample(db, t))
        return sorted(found.items())

    todo = await store.read(whom)
    for start in range(0, len(todo), _AT_ONCE):
        step("reading ownership marks", start, len(todo))
        answers = [(a, await _read(target, known)) for a, known in todo[start : start + _AT_ONCE]]
        await store.write(lambda db, found=answers: marks.asked(db, t, found))  # type: ignore[misc]


async def _read(target: Target, account: Account) -> Account | None:
    try:
        return await target.read_account(account)
    except ChangeRejected:  # this one cannot be read: it is as if it had no mark
        return None


FEW, SHARE = 3, 0.1
"""Fewer marks of another instance, or a smaller share of those that are known, may be left from a
trial: those accounts alone are let be (rule 20)."""


def refuse_second(
    db: Connection, t: int, name: str, instance: str, capabilities: Capabilities
) -> None:
    """Two azsyncd on one product: the one that has no account of its own there stops. Raises
    TargetRefused."""
    others = marks.by_others(db, t, instance)
    if not others or links.any_settled(db, t) or marks.any_ours(db, t, instance):
        return
    who, number = max(others.items(), key=lambda pair: pair[1])
    if number < max(FEW, SHARE * marks.known(db, t, listed=capabilities.lists_marks)):
        return
    raise TargetRefused(
        f"another azsyncd, {who!r}, works on this product: {number} accounts carry its mark",
        f"if that was this one under another name, set `instance: {who}`; else stop one of the two",
        target=name,
    )
