"""How each kind of change is written: what is asked first, what is sent, what is then known.

Every function sends one change and returns what has to be recorded, in the transaction of its
outcome; it raises what the product said. Before a create stands a commit: "we may have made this"
(rule 18).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

from azsyncd.clock import Clock
from azsyncd.engine.ledger import Ledger, Record
from azsyncd.errors import AlreadyExists, ChangeRejected, NotFound
from azsyncd.model.accounts import Account, Capabilities, Mark, TargetGroup, fold
from azsyncd.model.changes import Kind, Withheld
from azsyncd.model.identities import ObjectId
from azsyncd.model.links import Origin
from azsyncd.plan.matching import is_same
from azsyncd.state import codec, facts, links, nesting, targets, waiting
from azsyncd.state.spill import Planned
from azsyncd.state.standing import (
    Standing,
    found_again,
    group_deleted,
    group_is_in_use,
    owner_of_account,
    wake_for,
)
from azsyncd.state.store import Connection, Store
from azsyncd.targets.base import Target

MOST_STRANGERS = 50
"""Of a group that is adopted; the next inventory knows the rest."""

Send = Callable[[Planned, Standing], Awaitable[Record]]


class Writes:
    """The changes of accounts and groups, one at a time; people's memberships go in batches
    (apply.py)."""

    def __init__(
        self,
        target: Target,
        t: int,
        store: Store,
        ledger: Ledger,
        clock: Clock,
        capabilities: Capabilities,
        instance: str,
    ) -> None:
        self._target = target
        self._t = t
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._capabilities = capabilities
        self._instance = instance
        self._by_kind: dict[Kind, Send] = {
            Kind.ADOPT: self._adopt,
            Kind.CREATE: self._create,
            Kind.UPDATE: self._update,
            Kind.RENAME: self._rename,
            Kind.DEACTIVATE: self._set_active,
            Kind.REACTIVATE: self._set_active,
            Kind.STRIP: self._strip,
            Kind.DELETE: self._delete,
            Kind.ADOPT_GROUP: self._adopt_group,
            Kind.CREATE_GROUP: self._create_group,
            Kind.DELETE_GROUP: self._delete_group,
            Kind.ADD_CHILD: self._add_child,
            Kind.REMOVE_CHILD: self._remove_child,
        }

    async def send(self, planned: Planned, now: Standing) -> Record:
        """Write it; what is returned is recorded together with the outcome."""
        return await self._by_kind[planned.change.kind](planned, now)

    # Accounts -------------------------------------------------------------------------------------

    def _mark(self, object_id: ObjectId) -> Mark | None:
        return Mark(self._instance, object_id) if self._capabilities.has_marks else None

    async def _create(self, planned: Planned, now: Standing) -> Record:
        """Read the name; only if it is absent, commit "we may have made this", then create (18)."""
        wanted = planned.change.after
        assert isinstance(wanted, Account)
        assert now.object_id is not None
        n, t, object_id = planned.item.n, self._t, now.object_id
        back = await self._confirm_missing(n, object_id, now)
        if back is not None:
            return lambda db: found_again(db, t, n, back, self._clock.now())
        standing = await self._target.find_account(wanted.username)
        if standing is not None:
            await self._store.write(lambda db: targets.put_account(db, t, standing))
            raise AlreadyExists(
                f"an account {wanted.username!r} stands there already",
                "it is looked at again: adopted, or a conflict",
                reason=Withheld.CONFLICT,
            )
        sent = replace(wanted, mark=self._mark(object_id))
        text = codec.dump(codec.account_to_dict(sent))
        await self._ledger.commit(lambda db: links.begin_create(db, t, n, text))
        created = await self._target.create_account(sent)

        def record(db: Connection) -> None:
            a = targets.put_account(db, t, created)
            origin = Origin(str(now.link["origin"])) if now.link else Origin.CREATED
            links.settle_account(db, t, n, a, origin, created)
            if now.waited == Withheld.LICENCE:  # there are seats again
                wake_for(db, t, Withheld.LICENCE, self._clock.now())

        return record

    async def _confirm_missing(self, n: int, object_id: ObjectId, now: Standing) -> Account | None:
        """An account that was there once: a second read by its id decides (rule 19). What stands
        there may be somebody else's by now, where the name is the id."""
        known = codec.account_of(now.link["written"]) if now.link is not None else None
        found = await self._target.read_account(known) if known is not None else None
        if known is None or found is None:
            return None
        t = self._t

        def taken(db: Connection) -> bool:
            return owner_of_account(db, targets.put_account(db, t, found), n)

        if await self._store.write(taken):
            return None
        return found if is_same(known, found, object_id, self._instance) else None

    async def _adopt(self, planned: Planned, now: Standing) -> Record:
        """Read it once more: what we adopt must be what we saw (rule 20)."""
        seen = planned.change.before
        assert isinstance(seen, Account)
        assert now.object_id is not None
        n, t, object_id = planned.item.n, self._t, now.object_id
        # What carried our mark when it was planned was hers before (the state was lost).
        known = seen.mark is not None and seen.mark.instance == self._instance
        origin = Origin.CREATED if known and _same(seen.mark, object_id) else Origin.ADOPTED
        standing = await self._target.read_account(seen)
        if standing is None:
            raise NotFound(f"the account {seen.username!r} is gone", reason=Withheld.CONFLICT)
        found: Account = standing
        mark = found.mark
        owner = await self._store.read(lambda db: links.owner_of(db, t, found.key))
        ours = mark is not None and mark.instance == self._instance
        if mark is not None and not (ours and (_same(mark, object_id) or _same(mark, owner))):
            await self._store.write(lambda db: targets.put_account(db, t, found))
            raise ChangeRejected(
                f"the account {seen.username!r} carries the mark of {mark.instance!r}",
                "two azsyncd write to this product",
                reason=Withheld.NOT_OWNED,
            )
        if not _same(mark, object_id) and self._capabilities.has_marks:
            await self._target.mark_account(found, Mark(self._instance, object_id))
            found = replace(found, mark=Mark(self._instance, object_id))

        def record(db: Connection) -> None:
            a = targets.put_account(db, t, found)
            links.settle_account(db, t, n, a, origin, found)

        return record

    async def _update(self, planned: Planned, now: Standing) -> Record:
        have = _present(now)
        wanted = planned.change.after
        assert isinstance(wanted, Account)
        stored = await self._target.update_account(have, wanted)
        return self._written(planned, now, stored, wanted)

    def _written(
        self, planned: Planned, now: Standing, stored: Account, wanted: Account | None = None
    ) -> Record:
        t, n, a = self._t, planned.item.n, now.a
        # The product may not show what we wrote (Confluence's mail): the baseline remembers it.
        baseline = stored
        if wanted is not None and stored.email is None:
            baseline = replace(stored, email=wanted.email)

        def record(db: Connection) -> None:
            key = stored.key or fold(stored.username)
            if a is not None and now.account is not None and now.account.key != key:
                targets.rekey_account(db, a, key)
            targets.put_account(db, t, stored)
            links.written(db, t, n, baseline)

        return record

    async def _rename(self, planned: Planned, now: Standing) -> Record:
        have = _present(now)
        wanted = planned.change.after
        assert isinstance(wanted, Account)
        stored = await self._target.rename_account(have, wanted)
        record = self._written(planned, now, stored, wanted)
        moment = self._clock.now()

        def renamed(db: Connection) -> None:
            record(db)
            facts.wake_claimants(db, self._t, "username", have.username, moment)

        return renamed

    async def _set_active(self, planned: Planned, now: Standing) -> Record:
        active = planned.change.kind is Kind.REACTIVATE
        stored = await self._target.set_active(_present(now), active)
        record = self._written(planned, now, stored, now.account)

        def switched(db: Connection) -> None:
            record(db)
            links.deactivated(db, self._t, planned.item.n, not active)

        return switched

    async def _strip(self, planned: Planned, now: Standing) -> Record:
        """Rights and licence groups, whoever gave them: nothing else shuts her out (rule 32)."""
        licence = self._capabilities.licence_groups
        taken = await self._target.strip_account(_present(now), licence)
        t, n, a = self._t, planned.item.n, now.a

        def record(db: Connection) -> str:
            links.deactivated(db, t, n, True)
            if a is not None:
                links.edges_stripped(db, t, a, licence)
            return f"taken away: {', '.join(taken)}" if taken else "nothing was left to take away"

        return record

    async def _delete(self, planned: Planned, now: Standing) -> Record:
        have = _present(now)
        await self._target.delete_account(have)
        if await self._target.read_account(have) is not None:
            raise ChangeRejected(
                f"{have.username!r} still stands after it was deleted",
                "some products delete slowly; it is looked at again",
                reason=Withheld.BACKING_OFF,
            )
        t, n, a = self._t, planned.item.n, now.a
        moment = self._clock.now()

        def record(db: Connection) -> None:
            links.drop(db, t, n)
            waiting.forget(db, t, n)
            if a is not None:
                targets.drop_account(db, a)
            facts.wake_claimants(db, t, "username", have.username, moment)

        return record

    # Groups ---------------------------------------------------------------------------------------

    async def _create_group(self, planned: Planned, now: Standing) -> Record:
        wanted = planned.change.after
        assert isinstance(wanted, TargetGroup)
        n, t = planned.item.n, self._t
        standing = await self._target.find_group(wanted.name)
        if standing is not None:
            await self._store.write(lambda db: targets.put_group(db, t, standing))
            raise AlreadyExists(
                f"a group {wanted.name!r} stands there already",
                "it is looked at again: adopted, or a conflict",
                reason=Withheld.CONFLICT,
            )
        text = codec.dump(codec.group_to_dict(wanted))
        await self._ledger.commit(lambda db: links.begin_create(db, t, n, text))
        created = await self._target.create_group(wanted)

        def record(db: Connection) -> None:
            g = targets.put_group(db, t, created)
            links.settle_group(db, t, n, g, Origin.CREATED, self._clock.now())

        return record

    async def _adopt_group(self, planned: Planned, at: Standing) -> Record:
        seen = planned.change.before
        assert isinstance(seen, TargetGroup)
        n, t = planned.item.n, self._t
        found = await self._target.find_group(seen.name)
        if found is None:
            raise NotFound(f"the group {seen.name!r} is gone", reason=Withheld.CONFLICT)

        def taken(db: Connection) -> bool:
            return group_is_in_use(db, targets.put_group(db, t, found), n)

        if await self._store.write(taken):  # it was renamed in the product
            raise ChangeRejected(
                f"the group that is called {seen.name!r} now is another one's",
                "it is looked at again when the product is read as a whole",
                reason=Withheld.CONFLICT,
            )

        unread = await self._store.read(lambda db: targets.is_unread(db, t, seen.name))
        members = await self._members_of(found) if unread else None
        strangers = await self._strangers(members or ())

        def record(db: Connection) -> None:
            g = targets.put_group(db, t, found)
            for each in strangers:
                targets.put_account(db, t, each)
            if members is not None:
                targets.put_members_now(db, t, str(found.key), members)
            now = self._clock.now()
            links.settle_group(db, t, n, g, Origin.ADOPTED, now, anew=members is not None)

        return record

    async def _members_of(self, group: TargetGroup) -> list[str] | None:
        """Who stands in a group that no inventory had a reason to read (rule 2); None if the
        product says nothing of it, which is not "nobody"."""
        found: list[str] | None = None
        async for _, portion in self._target.members([group]):
            found = [*(found or ()), *portion]
        return found

    async def _strangers(self, members: Sequence[str]) -> list[Account]:
        """Those of them whom the last inventory did not know; a few, for it is a call for each."""
        keys = await self._store.read(partial(targets.unknown_keys, t=self._t, keys=members))
        found = []
        for key in keys[:MOST_STRANGERS]:
            account = await account_by_key(self._target, key)
            if account is not None:
                found.append(account)
        return found

    async def _delete_group(self, planned: Planned, now: Standing) -> Record:
        if now.group is None:
            raise NotFound("the group is not there any more", reason=Withheld.CONFLICT)
        await self._target.delete_group(now.group)
        t, n, g, name = self._t, planned.item.n, now.g, now.group.name
        moment = self._clock.now()
        return lambda db: group_deleted(db, t, n, g, name, moment)

    async def _add_child(self, planned: Planned, now: Standing) -> Record:
        above, below = _both(now)
        await self._target.add_child(above, below)
        p, c = now.g, now.c
        assert p is not None
        assert c is not None
        return lambda db: nesting.added(db, p, c)

    async def _remove_child(self, planned: Planned, now: Standing) -> Record:
        above, below = _both(now)
        await self._target.remove_child(above, below)
        t, p, c, moment = self._t, now.g, now.c, self._clock.now()
        assert p is not None
        assert c is not None
        return lambda db: nesting.removed(db, t, p, c, moment)


def _both(now: Standing) -> tuple[TargetGroup, TargetGroup]:
    if now.group is None or now.child is None:
        raise NotFound("one of the groups is not there any more", reason=Withheld.CONFLICT)
    return now.group, now.child


def _same(mark: Mark | None, object_id: str | None) -> bool:
    return mark is not None and object_id is not None and fold(mark.object_id) == fold(object_id)


def _present(now: Standing) -> Account:
    if now.account is None:
        raise NotFound("the account is not there any more", reason=Withheld.CONFLICT)
    return now.account


async def account_by_key(target: Target, key: str) -> Account | None:
    """An account of which nothing is known but its key: in some products that is its name."""
    for name in (key, f"={key}"):  # nobody's, so that it is looked for by its key
        try:
            found = await target.read_account(Account(username=name, key=key))
        except ChangeRejected:
            continue
        if found is not None and found.key == key:
            return found
    return None
