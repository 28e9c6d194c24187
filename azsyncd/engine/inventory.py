"""Reads what stands in a target: accounts, groups, and the members of the groups that matter.

An inventory is numbered, and closed when it is complete: only then does absence count (rule 2).
One that fails half-way leaves what was seen, and proves nothing. Whoever is linked and was not seen
is asked for by the account's id before that counts (rule 19); and whose account was lost sight of
has it again when it is seen again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog

from azsyncd.clock import Clock
from azsyncd.engine.planning import Planning
from azsyncd.errors import ChangeRejected
from azsyncd.model.accounts import Account, Capabilities, TargetGroup, fold
from azsyncd.plan.matching import is_same
from azsyncd.state import facts, links, nesting, targets, waiting
from azsyncd.state.standing import account_gone, account_number, owner_of_account
from azsyncd.state.store import Connection, Store
from azsyncd.targets.base import Target

log = structlog.get_logger()

BATCH = 500
MOST_LEFT_OUT = 100
"""Where a listing left out so many who stand, it proves the absence of nobody (rule 2)."""
MEMBERS = 5000
"""So many memberships are kept in one transaction."""

Step = Callable[[str, int, int | None], None]
"""(step, done, total), for progress bars. It may raise, to leave off."""


class Inventory:
    """One reading of a target."""

    def __init__(
        self,
        target: Target,
        t: int,
        store: Store,
        clock: Clock,
        planning: Planning,
        capabilities: Capabilities,
        instance: str,
        step: Step,
    ) -> None:
        self._target = target
        self._t = t
        self._store = store
        self._clock = clock
        self._planning = planning
        self._capabilities = capabilities
        self._instance = instance
        self._step = step
        self._number = 0

    async def take(self) -> None:
        """Read everything; raises TargetError."""
        self._number = await self._store.write(lambda db: targets.begin_inventory(db, self._t))
        count = await self._accounts()
        complete = await self._confirm_absent() and self._capabilities.lists_all_accounts
        await self._groups()
        await self._confirm_groups()
        self._planning.forget()
        await self._store.write(self._planning.learn_groups)
        wanted = await self._store.read(
            lambda db: targets.groups_to_read(
                db, self._t, self._capabilities.admin_groups | self._planning.licence_groups
            )
        )
        await self._members(wanted)
        await self._children(wanted)

        def close(db: Connection) -> None:
            now = self._clock.now()
            targets.close_inventory(db, self._t, self._number, now, complete=complete)
            _find_again(db, self._t, self._instance, now)

        await self._store.write(close)
        log.info("inventory.completed", target=self._target.name, accounts=count)

    async def _accounts(self) -> int:
        count = 0
        batch: list[Account] = []

        async def keep() -> None:
            found = tuple(batch)
            batch.clear()
            await self._store.write(lambda db: self._keep_accounts(db, found))

        async for account in self._target.accounts():
            batch.append(account)
            count += 1
            if len(batch) >= BATCH:
                await keep()
                self._step("reading accounts", count, None)
        await keep()
        return count

    async def _confirm_absent(self) -> bool:
        """A listing may leave somebody out. What is taken for gone loses its memberships, and a
        leaver's account is not looked for again. Returns whether absence from it counts."""
        unseen = await self._store.read(lambda db: links.unseen(db, self._t, self._number))
        left_out: list[Account] = []
        gone: list[Account] = []
        for done, account in enumerate(unseen):
            self._step("looking for accounts", done, len(unseen))
            try:
                found = await self._target.read_account(account)
            except ChangeRejected:  # this one cannot be read: it is as the listing says
                continue
            if found is not None and found.key == account.key:
                left_out.append(found)
            else:
                gone.append(account)
            if len(left_out) == MOST_LEFT_OUT:
                if self._capabilities.lists_all_accounts:
                    name = self._target.name
                    log.warning("inventory.incomplete", target=name, left_out=MOST_LEFT_OUT)
                break

        def note(db: Connection) -> None:
            self._keep_accounts(db, tuple(left_out))
            for account in gone:  # asked for by id: that counts, also where a listing lies
                account_gone(db, self._t, account.key)

        await self._store.write(note)
        return len(left_out) < MOST_LEFT_OUT

    def _keep_accounts(self, db: Connection, accounts: tuple[Account, ...]) -> None:
        # Marks and attributes have one place: a listing shows both, or neither.
        partly = not self._capabilities.lists_marks
        for account in accounts:
            targets.put_account(db, self._t, account, self._number, partly=partly)

    async def _groups(self) -> None:
        batch: list[TargetGroup] = []

        async def keep() -> None:
            found = tuple(batch)
            batch.clear()
            await self._store.write(lambda db: _groups(db, self._t, found, self._number))

        async for group in self._target.groups():
            batch.append(group)
            if len(batch) >= BATCH:
                await keep()
        await keep()

    async def _confirm_groups(self) -> None:
        """The same for groups: what is taken for gone is known no more."""
        unseen = await self._store.read(lambda db: links.unseen_groups(db, self._t, self._number))
        left_out: list[TargetGroup] = []
        for group in unseen:
            found = await self._target.find_group(group.name)
            if found is not None and found.key == group.key:
                left_out.append(found)
        await self._store.write(
            partial(_groups, t=self._t, groups=tuple(left_out), number=self._number)
        )

    async def _members(self, groups: list[TargetGroup]) -> None:
        done: set[str] = set()
        portion: list[tuple[str, tuple[str, ...]]] = []
        size = 0

        async def keep() -> None:
            found = tuple(portion)
            portion.clear()
            await self._store.write(lambda db: _members(db, self._t, found, self._number))

        async for key, members in self._target.members(groups):
            portion.append((key, tuple(members)))
            size += len(members)
            if key not in done:
                done.add(key)
                self._step("reading memberships", len(done), len(groups))
            if size >= MEMBERS:
                await keep()
                size = 0
        await keep()
        read = [group.key or "" for group in groups if group.key in done]
        await self._store.write(lambda db: targets.members_read(db, self._t, read, self._number))

    async def _children(self, groups: list[TargetGroup]) -> None:
        """The groups in groups, where they are kept so, or were."""
        may = self._capabilities.nests_groups
        if not may or not await self._store.read(self._planning.may_nest):
            return
        found: list[tuple[str, tuple[str, ...]]] = []
        async for key, children in self._target.children(groups):
            found.append((key, tuple(children)))
        await self._store.write(lambda db: _children(db, self._t, found, self._number))


def _groups(db: Connection, t: int, groups: tuple[TargetGroup, ...], number: int) -> None:
    for group in groups:
        targets.put_group(db, t, group, number)


def _find_again(db: Connection, t: int, instance: str, now: float) -> None:
    for n, object_id, known in links.lost_accounts(db, t):
        a = account_number(db, t, known.key or fold(known.username))
        found = facts.account_at(db, a)
        if a is None or found is None or owner_of_account(db, a, n):
            continue
        if is_same(known, found, object_id, instance):
            links.found(db, t, n, a)
            waiting.make_due(db, t, n, now)


def _members(
    db: Connection, t: int, found: tuple[tuple[str, tuple[str, ...]], ...], number: int
) -> None:
    for key, members in found:
        targets.put_members(db, t, key, members, number)


def _children(
    db: Connection, t: int, found: list[tuple[str, tuple[str, ...]]], number: int
) -> None:
    for key, children in found:
        nesting.put_children(db, t, key, children, number)
