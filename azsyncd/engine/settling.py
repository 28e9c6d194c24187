"""Settles what was on its way when a turn ended: its answer was lost, or we died over it.

Entra may say something else by the time of the next turn, and then nobody would send it again: what
was added would be somebody else's for ever, and who was let in would stay in. So before anything is
planned each account is read by its id, and each membership is noted as one that may stand or not:
whoever is not to have it is taken out, whoever is to have it is put in.

Creates have a memory of their own, the pending link (rule 18): the *sent* name is looked up. What
stands there is ours if it is linked to nobody and carries our mark, or, where no mark is possible,
equals all that was sent and can be read. Else the link goes, and the ordinary rules apply.
"""

from __future__ import annotations

from dataclasses import replace

import structlog

from azsyncd.clock import Clock
from azsyncd.errors import ChangeRejected
from azsyncd.model.accounts import Account, TargetGroup, differences, fold
from azsyncd.model.changes import Kind
from azsyncd.model.identities import ObjectId
from azsyncd.model.links import Origin
from azsyncd.plan.matching import is_ours
from azsyncd.plan.order import names_of, takes
from azsyncd.state import (
    codec,
    facts,
    holds,
    journal,
    links,
    mirror,
    nesting,
    spill,
    targets,
    waiting,
)
from azsyncd.state.spill import Planned
from azsyncd.state.standing import (
    Standing,
    group_deleted,
    owner_of_account,
    owner_of_group,
    standing,
)
from azsyncd.state.store import Connection, Store
from azsyncd.targets.base import Target

log = structlog.get_logger()

_MEMBERSHIPS = (Kind.ADD_MEMBER, Kind.REMOVE_MEMBER)
_CHILDREN = (Kind.ADD_CHILD, Kind.REMOVE_CHILD)
_CREATES = (Kind.CREATE, Kind.CREATE_GROUP)
ANSWER = "its answer was lost; it is done, as the product shows"


class Settling:
    """What of one target is not known to have happened, and is found out."""

    def __init__(self, target: Target, t: int, store: Store, clock: Clock, instance: str) -> None:
        self._target = target
        self._t = t
        self._store = store
        self._clock = clock
        self._instance = instance

    async def everything(self, *, creates: bool) -> None:
        """Settle all of it; raises TargetError, and is gone on with then. `creates`: also those,
        which makes links."""
        await self._unanswered()
        if creates:
            await self._pending()

    # Writes whose answer was lost -----------------------------------------------------------------

    async def _unanswered(self) -> None:
        t = self._t
        left = await self._store.read(lambda db: spill.unanswered(db, t))
        if not left:
            return

        def memberships(db: Connection) -> list[tuple[Planned, Standing]]:
            rest = []
            for planned in left:
                now = standing(db, t, planned)
                if planned.change.kind in _MEMBERSHIPS:
                    if now.g is not None and now.a is not None:
                        added = planned.change.kind is Kind.ADD_MEMBER
                        links.edge_unsure(db, now.g, now.a, added=added)
                    spill.done(db, planned.seq)
                elif planned.change.kind not in _CREATES:
                    rest.append((planned, now))
            return rest

        for planned, now in await self._store.write(memberships):
            if planned.change.kind is Kind.DELETE_GROUP:
                await self._deleted_group(planned, now)
            elif planned.change.kind in _CHILDREN:
                await self._child(planned, now)
            else:
                await self._account(planned, now)
        log.info("unanswered.settled", target=self._target.name, changes=len(left))

    async def _deleted_group(self, planned: Planned, now: Standing) -> None:
        group, t, n = now.group, self._t, planned.item.n
        gone = group is not None and await self._target.find_group(group.name) is None

        def settle(db: Connection) -> None:
            spill.done(db, planned.seq)
            if gone and group is not None:
                group_deleted(db, t, n, now.g, group.name, self._clock.now())
                waiting.make_due(db, t, n, self._clock.now())  # it may be wanted by now
                self._journal(db, planned, now)

        await self._store.write(settle)

    async def _child(self, planned: Planned, now: Standing) -> None:
        stands = False
        if now.group is not None and now.child is not None:
            async for _, children in self._target.children([now.group]):
                stands = stands or now.child.key in children
        adds = planned.change.kind is Kind.ADD_CHILD

        def settle(db: Connection) -> None:
            spill.done(db, planned.seq)
            if now.g is None or now.c is None or stands is not adds:
                return
            if adds:
                nesting.added(db, now.g, now.c)
            else:
                nesting.removed(db, self._t, now.g, now.c, self._clock.now())
            self._journal(db, planned, now)

        await self._store.write(settle)

    async def _account(self, planned: Planned, now: Standing) -> None:
        known = now.account
        try:
            found = await self._target.read_account(known) if known is not None else None
            if found is None and known is not None and planned.change.kind is Kind.RENAME:
                found = await self._under_new_name(known, planned, now)
        except ChangeRejected:  # this one cannot be read: it is as it was known, the rest goes on
            found = known

        def settle(db: Connection) -> None:
            spill.done(db, planned.seq)
            if now.a is None or known is None:
                return
            if found is None:
                self._account_gone(db, known, planned, now)
            else:
                self._account_found(db, known, found, planned, now)

        await self._store.write(settle)

    def _account_gone(
        self, db: Connection, known: Account, planned: Planned, now: Standing
    ) -> None:
        t, n = self._t, planned.item.n
        if planned.change.kind is Kind.DELETE:
            links.drop(db, t, n)
            waiting.forget(db, t, n)
            facts.wake_claimants(db, t, "username", known.username, self._clock.now())
            self._journal(db, planned, now)
        if now.a is not None:
            targets.drop_account(db, now.a)

    def _account_found(
        self, db: Connection, known: Account, found: Account, planned: Planned, now: Standing
    ) -> None:
        t, n, change = self._t, planned.item.n, planned.change
        assert now.a is not None
        key = found.key or fold(found.username)
        if key != known.key:
            targets.rekey_account(db, now.a, key)
        targets.put_account(db, t, found)
        if change.kind is Kind.STRIP:
            links.edges_unsure(db, now.a)
        if now.link is None or not _took_effect(planned, found):
            return
        if change.kind in (Kind.DEACTIVATE, Kind.REACTIVATE):
            links.deactivated(db, t, n, change.kind is Kind.DEACTIVATE)
        wrote = change.after if isinstance(change.after, Account) else found
        links.written(db, t, n, replace(found, email=found.email or wrote.email))
        if change.kind is Kind.RENAME:
            facts.wake_claimants(db, t, "username", known.username, self._clock.now())
        waiting.succeeded(db, t, n, change)
        self._journal(db, planned, now)
        if planned.free:
            holds.used_up(db, t, planned.item)

    async def _under_new_name(
        self, known: Account, planned: Planned, now: Standing
    ) -> Account | None:
        """Where the name is the key, it is not found under the old one any more."""
        wanted = planned.change.after
        if known.key not in (None, fold(known.username)) or not isinstance(wanted, Account):
            return None
        found = await self._target.find_account(wanted.username)
        if found is None or not is_ours(wanted, found, str(now.object_id), self._instance):
            return None
        key = found.key or fold(found.username)
        owner = await self._store.read(lambda db: links.owner_of(db, self._t, key))
        return found if owner is None else None

    # Creates --------------------------------------------------------------------------------------

    async def _pending(self) -> None:
        """Settle every pending link of a target."""
        pending = await self._store.read(lambda db: links.pending(db, self._t))
        for n, object_id, kind, sent in pending:
            try:
                if kind == "user":
                    await self._created_account(n, object_id, codec.account_of(sent))
                else:
                    await self._created_group(n, codec.group_of(sent))
            except ChangeRejected as error:  # this one stays pending, the rest goes on (I7)
                name, why = self._target.name, str(error)
                log.warning("pending.unread", target=name, object_id=object_id, error=why)
                continue
            log.info("pending.settled", target=self._target.name, object_id=object_id)

    async def _created_account(self, n: int, object_id: ObjectId, sent: Account | None) -> None:
        t = self._t
        found = await self._target.find_account(sent.username) if sent else None

        def ours(db: Connection) -> int | None:
            """The row of the account, if it is the one that we made."""
            if found is None or sent is None:
                return None
            a = targets.put_account(db, t, found)
            mine = is_ours(sent, found, object_id, self._instance)
            return a if mine and not owner_of_account(db, a, n) else None

        if await self._store.write(ours) is not None and found is not None and sent is not None:
            # Before the link is live: a second crash leads here again.
            await self._target.finish_account(found, sent)

        def settle(db: Connection) -> None:
            a = ours(db)
            if a is not None and sent is not None:
                links.settle_account(db, t, n, a, Origin.CREATED, sent)
                self._note_create(db, n)
            else:
                links.drop(db, t, n)
            waiting.make_due(db, t, n, self._clock.now())

        await self._store.write(settle)

    async def _created_group(self, n: int, sent: TargetGroup | None) -> None:
        t = self._t
        found = await self._target.find_group(sent.name) if sent else None

        def settle(db: Connection) -> None:
            g = None if found is None else targets.put_group(db, t, found)
            if g is not None and not owner_of_group(db, g, n):
                links.settle_group(db, t, n, g, Origin.CREATED, self._clock.now())
                self._note_create(db, n)
            else:
                links.drop(db, t, n)
            waiting.make_due(db, t, n, self._clock.now())

        await self._store.write(settle)

    def _note_create(self, db: Connection, n: int) -> None:
        """A create of this object is found done."""
        for planned in spill.unanswered(db, self._t):
            if planned.item.n == n and planned.change.kind in _CREATES:
                self._journal(db, planned, standing(db, self._t, planned))
                spill.done(db, planned.seq)
                if planned.free:
                    holds.used_up(db, self._t, planned.item)

    def _journal(self, db: Connection, planned: Planned, now: Standing) -> None:
        """Nobody sends it again, so nobody else would write it down (I12)."""
        journal.write(
            db,
            journal.Entry(
                at=self._clock.now(),
                t=self._t,
                run="",
                revision=mirror.revision(db),
                change=planned.change,
                n=planned.item.n,
                gn=planned.item.gn,
                name=now.name,
                outcome="done",
                answer=ANSWER,
                cause="settled",
                seconds=0.0,
            ),
        )


def _took_effect(planned: Planned, found: Account) -> bool:
    wanted = planned.change.after
    if not isinstance(wanted, Account):
        return False
    match planned.change.kind:
        case Kind.DEACTIVATE:
            return found.active is False
        case Kind.REACTIVATE:
            return found.active is True
        case Kind.RENAME:
            return takes(planned.change) <= names_of(found)
        case Kind.UPDATE:
            return not differences(found, wanted)
        case _:
            return False
