"""Settles creates whose answer is unknown: looks up the *sent* name (rule 18).

What stands there is ours if it is linked to nobody and carries our mark, or, where no mark is
possible, equals all that was sent and can be read. Else the link goes, and the ordinary rules
apply.
"""

from __future__ import annotations

import structlog

from azsyncd.clock import Clock
from azsyncd.engine.unanswered import note_create
from azsyncd.errors import ChangeRejected
from azsyncd.model.accounts import Account, TargetGroup
from azsyncd.model.identities import ObjectId
from azsyncd.model.links import Origin
from azsyncd.plan.matching import is_ours
from azsyncd.state import codec, links, targets, waiting
from azsyncd.state.standing import owner_of_account, owner_of_group
from azsyncd.state.store import Connection, Store
from azsyncd.targets.base import Target

log = structlog.get_logger()


async def settle_pending(target: Target, t: int, store: Store, clock: Clock, instance: str) -> None:
    """Settle every pending link of a target; raises TargetError."""
    for n, object_id, kind, sent in await store.read(lambda db: links.pending(db, t)):
        try:
            if kind == "user":
                account = codec.account_of(sent)
                await _account(target, t, store, clock, instance, n, object_id, account)
            else:
                await _group(target, t, store, clock, n, codec.group_of(sent))
        except ChangeRejected as error:  # this one stays pending, the rest goes on (I7)
            log.warning("pending.unread", target=target.name, object_id=object_id, error=str(error))
            continue
        log.info("pending.settled", target=target.name, object_id=object_id)


async def _account(
    target: Target,
    t: int,
    store: Store,
    clock: Clock,
    instance: str,
    n: int,
    object_id: ObjectId,
    sent: Account | None,
) -> None:
    found = await target.find_account(sent.username) if sent else None

    def ours(db: Connection) -> int | None:
        """The row of the account, if it is the one that we made."""
        if found is None or sent is None:
            return None
        a = targets.put_account(db, t, found)
        mine = not owner_of_account(db, a, n) and is_ours(sent, found, object_id, instance)
        return a if mine else None

    if await store.write(ours) is not None and found is not None and sent is not None:
        # Before the link is live: a second crash leads here again.
        await target.finish_account(found, sent)

    def settle(db: Connection) -> None:
        a = ours(db)
        if a is not None and sent is not None:
            links.settle_account(db, t, n, a, Origin.CREATED, sent)
            note_create(db, t, clock, n)
        else:
            links.drop(db, t, n)
        waiting.make_due(db, t, n, clock.now())

    await store.write(settle)


async def _group(
    target: Target, t: int, store: Store, clock: Clock, n: int, sent: TargetGroup | None
) -> None:
    found = await target.find_group(sent.name) if sent else None

    def settle(db: Connection) -> None:
        ours = False
        if found is not None:
            g = targets.put_group(db, t, found)
            if not owner_of_group(db, g, n):
                ours = True
                links.settle_group(db, t, n, g, Origin.CREATED)
                note_create(db, t, clock, n)
        if not ours:
            links.drop(db, t, n)
        waiting.make_due(db, t, n, clock.now())

    await store.write(settle)
