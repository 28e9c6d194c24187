"""Looks up what was on its way when a turn ended: its answer was lost, or we died over it.

Entra may say something else by the time of the next turn, and then nobody would send it again: what
was added would be somebody else's for ever, and who was let in would stay in. So before anything is
planned each account is read by its id, and each membership is noted as one that may stand or not:
whoever is not to have it is taken out, whoever is to have it is put in. Creates have their own
memory (pending.py).
"""

from __future__ import annotations

from dataclasses import replace

import structlog

from azsyncd.clock import Clock
from azsyncd.errors import ChangeRejected
from azsyncd.model.accounts import Account, differences, fold
from azsyncd.model.changes import Kind
from azsyncd.plan.matching import is_ours
from azsyncd.plan.order import names_of, takes
from azsyncd.state import facts, holds, journal, links, mirror, nesting, spill, targets, waiting
from azsyncd.state.spill import Planned
from azsyncd.state.standing import Standing, group_deleted, standing
from azsyncd.state.store import Connection, Store
from azsyncd.targets.base import Target

log = structlog.get_logger()

_MEMBERSHIPS = (Kind.ADD_MEMBER, Kind.REMOVE_MEMBER)
_CHILDREN = (Kind.ADD_CHILD, Kind.REMOVE_CHILD)
_CREATES = (Kind.CREATE, Kind.CREATE_GROUP)
ANSWER = "its answer was lost; it is done, as the product shows"


async def settle_unanswered(
    target: Target, t: int, store: Store, clock: Clock, instance: str
) -> None:
    """Settle everything that was on its way; raises TargetError, and is gone on with then."""
    left = await store.read(lambda db: spill.unanswered(db, t))
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

    for planned, now in await store.write(memberships):
        if planned.change.kind is Kind.DELETE_GROUP:
            await _group(target, t, store, clock, planned, now)
        elif planned.change.kind in _CHILDREN:
            await _child(target, t, store, clock, planned, now)
        else:
            await _account(target, t, store, clock, instance, planned, now)
    log.info("unanswered.settled", target=target.name, changes=len(left))


async def _group(
    target: Target, t: int, store: Store, clock: Clock, planned: Planned, now: Standing
) -> None:
    group = now.group
    gone = group is not None and await target.find_group(group.name) is None

    def settle(db: Connection) -> None:
        spill.done(db, planned.seq)
        if gone and group is not None:
            group_deleted(db, t, planned.item.n, now.g, group.name, clock.now())
            waiting.make_due(db, t, planned.item.n, clock.now())  # it may be wanted by now
            _journal(db, t, clock, planned, now)

    await store.write(settle)


async def _child(
    target: Target, t: int, store: Store, clock: Clock, planned: Planned, now: Standing
) -> None:
    stands = False
    if now.group is not None and now.child is not None:
        async for _, children in target.children([now.group]):
            stands = stands or now.child.key in children
    adds = planned.change.kind is Kind.ADD_CHILD

    def settle(db: Connection) -> None:
        spill.done(db, planned.seq)
        if now.g is None or now.c is None or stands is not adds:
            return
        if adds:
            nesting.added(db, now.g, now.c)
        else:
            nesting.removed(db, t, now.g, now.c, clock.now())
        _journal(db, t, clock, planned, now)

    await store.write(settle)


async def _account(
    target: Target,
    t: int,
    store: Store,
    clock: Clock,
    instance: str,
    planned: Planned,
    now: Standing,
) -> None:
    known, item, change = now.account, planned.item, planned.change
    try:
        found = await target.read_account(known) if known is not None else None
        if found is None and known is not None and change.kind is Kind.RENAME:
            found = await _under_new_name(target, t, store, known, planned, now, instance)
    except ChangeRejected:  # this one cannot be read: it is as it was known, and the rest goes on
        found = known

    def settle(db: Connection) -> None:
        spill.done(db, planned.seq)
        if now.a is None or known is None:
            return
        if found is None:
            if change.kind is Kind.DELETE:
                links.drop(db, t, item.n)
                waiting.forget(db, t, item.n)
                facts.wake_claimants(db, t, "username", known.username, clock.now())
                _journal(db, t, clock, planned, now)
            targets.drop_account(db, now.a)
            return
        key = found.key or fold(found.username)
        if key != known.key:
            targets.rekey_account(db, now.a, key)
        targets.put_account(db, t, found)
        if change.kind is Kind.STRIP:
            links.edges_unsure(db, now.a)
        if now.link is None or not _took_effect(planned, found):
            return
        if change.kind in (Kind.DEACTIVATE, Kind.REACTIVATE):
            links.deactivated(db, t, item.n, change.kind is Kind.DEACTIVATE)
        wrote = change.after if isinstance(change.after, Account) else found
        links.written(db, t, item.n, replace(found, email=found.email or wrote.email))
        if change.kind is Kind.RENAME:
            facts.wake_claimants(db, t, "username", known.username, clock.now())
        waiting.succeeded(db, t, item.n, change)
        _journal(db, t, clock, planned, now)
        if planned.free:
            holds.used_up(db, t, item)

    await store.write(settle)


async def _under_new_name(
    target: Target,
    t: int,
    store: Store,
    known: Account,
    planned: Planned,
    now: Standing,
    instance: str,
) -> Account | None:
    """Where the name is the key, it is not found under the old one any more."""
    wanted = planned.change.after
    if known.key not in (None, fold(known.username)) or not isinstance(wanted, Account):
        return None
    found = await target.find_account(wanted.username)
    if found is None or not is_ours(wanted, found, str(now.object_id), instance):
        return None
    key = found.key or fold(found.username)
    owner = await store.read(lambda db: links.owner_of(db, t, key))
    return found if owner is None else None


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


def note_create(db: Connection, t: int, clock: Clock, n: int) -> None:
    """A create of this object is found done (pending.py)."""
    for planned in spill.unanswered(db, t):
        if planned.item.n == n and planned.change.kind in _CREATES:
            _journal(db, t, clock, planned, standing(db, t, planned))
            spill.done(db, planned.seq)
            if planned.free:
                holds.used_up(db, t, planned.item)


def _journal(db: Connection, t: int, clock: Clock, planned: Planned, now: Standing) -> None:
    """Nobody sends it again, so nobody else would write it down (I12)."""
    journal.write(
        db,
        journal.Entry(
            at=clock.now(),
            t=t,
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
