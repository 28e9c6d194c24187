"""Makes plans: everything, batch by batch in bounded memory, or the slice since a revision.

Whatever is planned stands in the spill afterwards, judged by the guard. A whole plan is made in
many transactions, so that the writer is free for rounds in between; what those bring is newer than
the plan's revision and is planned as a slice before anything else is sent (rule 28).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from azsyncd.engine.planning import Planning, batched
from azsyncd.engine.recording import Draft
from azsyncd.state import facts, mirror
from azsyncd.state.store import Connection, Store

T = TypeVar("T")

Step = Callable[[str, int, int | None], None]
"""(step, done, total), for progress bars. It may raise, to leave off."""


class Drafting:
    """The plans of one target."""

    def __init__(
        self,
        planning: Planning,
        store: Store,
        window_start: Callable[[], float],
        claimed: Callable[[Step], Awaitable[None]],
    ) -> None:
        self._planning = planning
        self._store = store
        self._window_start = window_start
        self._claimed = claimed
        self._t = planning.t

    async def everything(self, revision: int, step: Step) -> Draft:
        """Plan everybody, as of `revision` or later."""
        await self._learn()
        draft = Draft(self._t, True, revision)
        numbers = await self._store.read(lambda db: facts.every(db, "group"))
        for batch in batched(numbers):
            await self._write(lambda db, b=batch: self._groups(db, draft, b))  # type: ignore[misc]
        users = await self._store.read(lambda db: facts.every(db, "user"))
        for batch in batched(users):
            await self._write(lambda db, b=batch: self._claims(db, b))  # type: ignore[misc]
            step("planning", 0, len(users))
        await self._claimed(step)  # who wants what is known: whose accounts are these?
        done = 0
        for batch in batched(users):
            await self._write(lambda db, b=batch: self._users(db, draft, b))  # type: ignore[misc]
            done += len(batch)
            step("planning", done, len(users))
        await self._write(lambda db: self._finish(db, draft))
        return draft

    async def since(self, revision: int, *, owed: bool) -> Draft:
        """Plan everybody who may be concerned by what happened since; and (`owed`) whoever an
        earlier turn did not finish with."""
        await self._learn()
        return await self._write(lambda db: self._slice(db, revision, owed))

    async def judge(self, draft: Draft) -> int:
        """Hold what does not fit (rule 36); returns how many changes are held anew."""
        start = self._window_start()
        return await self._store.write(lambda db: self._planning.judge(db, draft, start))

    # In one transaction each ----------------------------------------------------------------------

    async def _learn(self) -> None:
        if not self._planning.ready:
            await self._write(self._planning.learn_groups)

    async def _write(self, work: Callable[[Connection], T]) -> T:
        try:
            return await self._store.write(work)
        except BaseException:
            self._planning.forget()
            raise

    def _slice(self, db: Connection, since: int, owed: bool) -> Draft:
        draft = Draft(self._t, False, mirror.revision(db))
        self._planning.draft_slice(db, draft, since, owed=owed)
        return draft

    def _groups(self, db: Connection, draft: Draft, batch: list[int]) -> None:
        self._planning.draft_groups(db, draft, batch)

    def _claims(self, db: Connection, batch: list[int]) -> None:
        self._planning.claim_users(db, batch, self._planning.desk(db))

    def _users(self, db: Connection, draft: Draft, batch: list[int]) -> None:
        self._planning.draft_users(db, draft, batch, self._planning.desk(db))

    def _finish(self, db: Connection, draft: Draft) -> None:
        self._planning.draft_foreign(db, draft)
        self._planning.flush_renames(db, draft)
