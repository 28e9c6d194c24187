"""Plans one target from the state: loads facts, asks the pure planner, spills what it says.

One object of this class per target keeps what must not be computed anew for every slice: which
groups are wanted (`groups`), which of them are to stand in which (`nesting`), and which groups the
scope's `members_of` entries resolve to (`member_of`). All are brought up to date by the groups that
a slice touches; whoever is below a group that enters or leaves them joins the slice.

Everything here runs inside a transaction of the caller's (functions of a `Connection`), so
that a dry run is the same code, rolled back. What is remembered is not rolled back with it: a
question takes a planner `apart`, and who plans for real calls `forget` if the transaction fails.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from itertools import islice

from azsyncd.engine.recording import Draft, Recording
from azsyncd.engine.scoping import Scoping
from azsyncd.engine.steady import Steady
from azsyncd.model.accounts import Account, Capabilities, Dialect, InvalidValue, fold
from azsyncd.model.changes import Change, Kind, Phase, Reason, Waiting, Withheld
from azsyncd.model.identities import Group, ObjectId, Presence
from azsyncd.plan.desk import Desk
from azsyncd.plan.edges import Part, entitled_groups, wanted_groups
from azsyncd.plan.expressions import ExpressionFailed, Unread
from azsyncd.plan.facts import OWN, GroupFacts, WantedGroup
from azsyncd.plan.groups import (
    GroupPlan,
    in_scope,
    is_own,
    plan_group,
    plan_own,
    wanted_name,
    would_take,
)
from azsyncd.plan.mapping import AccountMapping, GroupMapping
from azsyncd.plan.nesting import FLAT, Nesting, nest, plan_nesting
from azsyncd.plan.policy import Mode, Policy
from azsyncd.plan.scope import GroupRule, UserRule, Verdict
from azsyncd.plan.users import UserPlan, plan_user
from azsyncd.plan.wishes import Kind as WishKind
from azsyncd.plan.wishes import Wish, wish_for
from azsyncd.state import facts as facts_
from azsyncd.state import links, mirror, nesting, own, spill, unlinked, waiting
from azsyncd.state.standing import account_name, account_number
from azsyncd.state.store import Connection

BATCH = 200

LONGEST_RING = 50
"""Groups that pass their names on in one moment; who would go round further waits as a conflict."""

Told = Callable[[str, int, int | None], None]
"""(step, done, total): for progress bars."""


def batched(numbers: Iterable[int], size: int = BATCH) -> Iterator[list[int]]:
    """Numbers in lists of at most `size`."""
    iterator = iter(numbers)
    while batch := list(islice(iterator, size)):
        yield batch


class Planning:
    """The planner of one target, with what it remembers between slices."""

    def __init__(
        self,
        t: int,
        policy: Policy,
        dialect: Dialect,
        *,
        instance: str,
        clock: Steady,
        signed_in_as: Callable[[], frozenset[str]],
    ) -> None:
        self.t = t
        self.policy = policy
        self.capabilities = Capabilities()
        self.groups: dict[ObjectId, WantedGroup] = {}
        self.nesting: Nesting = FLAT
        self._asks: set[ObjectId] = set()  # groups whose first write waits for a person (rule 12)
        self.ready = False
        self._fresh = False  # learnt since the last slice
        self._instance = instance
        self._dialect = dialect
        self._clock = clock
        self.signed_in_as = signed_in_as
        self._users = UserRule(policy.scope.users)
        self._group_rule = GroupRule(policy.scope.groups)
        self._mapping = AccountMapping(policy.accounts, dialect)
        self._group_mapping = GroupMapping(policy.groups)
        self._scope = Scoping(t, policy)
        self._recording = Recording(t, policy, clock)

    # The desk -------------------------------------------------------------------------------------

    def desk(self, db: Connection) -> Desk:
        """What the pure planner needs beside the facts, as of now."""
        return Desk(
            instance=self._instance,
            policy=self.policy,
            capabilities=self.capabilities,
            dialect=self._dialect,
            users=self._users,
            mapping=self._mapping,
            group_rule=self._group_rule,
            group_mapping=self._group_mapping,
            scope=self._scope.facts(db),
            groups=self.groups,
            everybody=frozenset(
                id_ for id_, group in self.groups.items() if group.everybody and not group.emptied
            ),
            now=self._clock.now(),
            proof=mirror.has_proof(db),
            signed_in_as=self.signed_in_as(),
            let_go=unlinked.reasons(db, self.t),
            passes=self.nesting.passes,
        )

    def forget(self) -> None:
        """What is remembered may be ahead of the state: it is learnt anew before it is used."""
        self.ready = False

    def apart(self, db: Connection) -> Planning:
        """The same planner for a question: it knows the groups, and what it learns is its own."""
        twin = copy(self)
        twin.groups = dict(self.groups)
        twin._asks = set(self._asks)
        twin._scope = self._scope.apart()
        if twin.ready:
            twin.nesting = twin._nest(db)  # what was planned may stand by now
        else:
            twin.learn_groups(db)
        return twin

    # Groups ---------------------------------------------------------------------------------------

    def learn_groups(self, db: Connection) -> None:
        """Work out the wanted groups from nothing, after a start or a change of the settings."""
        self.groups.clear()
        self._scope.forget()
        for name in self.policy.groups.default:
            own.ensure(db, name)
        numbers = facts_.every(db, "group")
        for n in numbers:
            group = facts_.group_base(db, n)
            if group is not None:
                self._scope.resolve(db, n, group)
        desk = self.desk(db)
        known = [(n, g) for n in numbers if (g := facts_.group_base(db, n)) is not None]
        keys: set[tuple[str, str]] = set()
        for n, group in known:
            keys |= self._claim_group(db, n, group, desk)
        for field, key in keys:  # what changed while we were away, or with the file
            facts_.wake_claimants(db, self.t, field, key, self._clock.now())
        for n, group in known:
            plan = self._asked(db, n, self._group_plan(db, n, group, desk))
            if plan.wanted is not None:
                self.groups[group.id] = plan.wanted
            self._note_hold(group.id, plan)
        self.nesting = self._nest(db)
        self.ready = self._fresh = True

    def _claim_group(
        self, db: Connection, n: int, group: Group, desk: Desk
    ) -> set[tuple[str, str]]:
        if is_own(group.id):
            name = {"group": fold(group.name)} if desk.gives(group.id) else {}
            return facts_.claim(db, self.t, n, name)
        facts = self._group_facts(db, n, group, None)
        verdict, _ = in_scope(facts, desk)
        wanted: dict[str, str] = {}
        if verdict is Verdict.IN:
            try:
                keeps = facts.standing if self.policy.groups.on_rename == "keep" else None
                wanted["group"] = fold(keeps.name if keeps else wanted_name(facts, desk))
            except (Unread, ExpressionFailed, InvalidValue):
                pass  # reported when it is planned
        keys = facts_.claim(db, self.t, n, wanted)
        if facts.standing is not None and not wanted:  # somebody may wait for what it leaves
            keys |= {("group", fold(facts.standing.name))}
        return keys

    def _group_plan(self, db: Connection, n: int, group: Group, desk: Desk) -> GroupPlan:
        if is_own(group.id):
            facts = facts_.group_facts(db, self.t, n, group, group.name)
            awaited = facts.awaited or self._scope.is_awaited(db, group.name)
            return plan_own(replace(facts, awaited=awaited), desk)
        facts = self._wanting(db, n, group, desk)
        if facts.under_name is not None and self._is_passed_on(db, facts, desk):
            facts = replace(facts, under_name=replace(facts.under_name, passed_on=True))
        return plan_group(facts, desk)

    def _wanting(self, db: Connection, n: int, group: Group, desk: Desk) -> GroupFacts:
        """A group's facts, with who has the name that it wants, if it wants one."""
        base = self._group_facts(db, n, group, None)
        if in_scope(base, desk)[0] is not Verdict.IN:
            return base
        try:
            return self._group_facts(db, n, group, wanted_name(base, desk))
        except (Unread, ExpressionFailed, InvalidValue):
            return base  # plan_group says so

    def _is_passed_on(self, db: Connection, facts: GroupFacts, desk: Desk) -> bool:
        """Whether the owner of the group that it wants moves at the same time: to one that is left
        already, or to its own. In a ring of names each would wait for the next for ever; in a
        chain, whose last one is made first, they need not."""
        wanting, seen = facts, set[ObjectId]()
        while would_take(wanting, desk):
            owner = wanting.under_name.owner if wanting.under_name else None
            if owner is None or owner in seen:
                return False
            if seen and (owner == facts.group.id or is_own(owner)):
                return True
            seen.add(owner)
            if len(seen) > LONGEST_RING:
                return False
            m = mirror.number_of(db, owner)
            group = None if m is None else facts_.group_base(db, m)
            if m is None or group is None or is_own(owner):
                return False
            wanting = self._wanting(db, m, group, desk)
        return False

    def _group_facts(self, db: Connection, n: int, group: Group, name: str | None) -> GroupFacts:
        facts = facts_.group_facts(db, self.t, n, group, name)
        gone_from = self._scope.has_left(db, n)
        stands = [OWN + each for each in gone_from if own.stands(db, self.t, each)]
        return replace(
            facts,
            followed=self._scope.follows(db, n),
            moved=bool(gone_from),
            left=ObjectId(stands[0]) if stands else None,
        )

    def judge_group(self, db: Connection, n: int, group: Group) -> tuple[GroupPlan, str, str]:
        """For `explain`: the group's plan, the scope's verdict, and its evidence."""
        desk = self.desk(db)
        verdict, why = in_scope(self._group_facts(db, n, group, None), desk)
        plan, inside = self._group_plan(db, n, group, desk), self._inside(db, group.id, desk)
        changes, waits = (*plan.changes, *inside.changes), (*plan.waiting, *inside.waiting)
        return replace(plan, changes=changes, waiting=waits), verdict.value, why

    def draft_groups(self, db: Connection, draft: Draft, numbers: Iterable[int]) -> set[int]:
        """Plan these groups and whoever shares a name with them; returns the groups whose members
        are affected: they entered or left the scope, or can be filled only now."""
        desk = self.desk(db)
        heads: set[int] = set()
        todo = sorted(set(numbers))
        seen: set[int] = set()
        while todo:
            keys: set[tuple[str, str]] = set()
            for n in todo:
                group = facts_.group_base(db, n)
                if group is None:
                    continue
                if self._scope.resolve(db, n, group):
                    heads.add(n)
                keys |= self._claim_group(db, n, group, desk)
            seen.update(todo)
            todo = sorted(facts_.sharers(db, self.t, keys) - seen)
        spill.drop(db, draft.t, seen)
        nests, before = bool(seen) and self.may_nest(db), self.nesting
        if nests:
            self.nesting = self._nest(db)
        desk = self.desk(db)
        for n in sorted(seen):
            group = facts_.group_base(db, n)
            if group is not None:
                heads |= self._draft_group(db, draft, n, group, desk)
        if nests:
            heads |= self._draft_nesting(db, draft, before, seen)
        if self._scope.note_doubt(db):
            heads |= facts_.concerned(db, self.t)
        return heads

    def _draft_group(
        self, db: Connection, draft: Draft, n: int, group: Group, desk: Desk
    ) -> set[int]:
        """Whose memberships have to be looked at because of it."""
        row = links.get(db, self.t, n)
        heads: set[int] = set()
        arrived = row is not None and row["g"] is not None
        if arrived or self._scope.has_left(db, n):
            base = self._group_facts(db, n, group, None)
            if arrived or in_scope(base, desk)[0] in (Verdict.OUT, Verdict.EXCLUDED):
                for name in self._scope.forget_move(db, n):
                    heads |= self._draft_own(db, draft, name, desk)
        plan = self._group_plan(db, n, group, desk)
        moves = plan.leaves or plan.takes_over is not None
        if moves and not self._writes_links:
            plan = replace(plan, waiting=(*plan.waiting, _moves(group, plan)))
        elif moves:
            heads |= self._move(db, draft, n, plan, desk)
            plan = self._group_plan(db, n, group, desk)
        plan = self._asked(db, n, plan)
        before = self.groups.get(group.id)
        self._note_hold(group.id, plan)
        if plan.wanted is None:
            self.groups.pop(group.id, None)
        else:
            self.groups[group.id] = plan.wanted
            entry = self._group_rule.verdict(group).entry
            if entry is not None:
                facts_.remember(db, self.t, "include", entry, n)
        draft.groups.add(n)
        inside = self._inside(db, group.id, desk)
        changes, waits = (*plan.changes, *inside.changes), (*plan.waiting, *inside.waiting)
        self._recording.record(db, draft, n, changes, waits, hold=plan.hold)
        if before != plan.wanted:
            # Not only whoever is in it: also whoever is still in the product's.
            heads |= {n, *links.holders(db, self.t, n)}
            if is_own(group.id):
                heads |= facts_.concerned(db, self.t)
        return heads

    def _asked(self, db: Connection, n: int, plan: GroupPlan) -> GroupPlan:
        """Nobody goes into a group that a person has to decide about, before that is done."""
        if plan.wanted is None or not self._recording.waits_for_a_person(db, n, plan):
            return plan
        blocked = "a person decides about it first: azsyncd holds"
        return replace(plan, wanted=replace(plan.wanted, blocked=blocked))

    def _move(self, db: Connection, draft: Draft, n: int, plan: GroupPlan, desk: Desk) -> set[int]:
        """A group gets another group of the product; what it leaves is the product's own."""
        heads = links.holders(db, self.t, n)
        row = links.get(db, self.t, n)
        if plan.leaves and row is not None and row["g"] is not None:
            self._scope.note_move(db, n, links.group_name(db, row["g"]))
        moved = [own.hand_over(db, self.t, n) if plan.leaves else None]
        if plan.takes_over is not None:
            m = own.take_over(db, self.t, plan.takes_over, n)
            moved.append(m)
            last = None if m is None or is_own(plan.takes_over) else facts_.group_base(db, m)
            if m is not None and last is not None and last.presence is Presence.PRESENT:
                had = links.get(db, self.t, n)  # from the last one, which moves as well
                self._scope.note_move(db, m, links.group_name(db, had["g"]) if had else "")
            for name in self._scope.forget_move(db, n):  # it has arrived by this
                moved.append(mirror.number_of(db, OWN + name))
        for m in dict.fromkeys(each for each in moved if each is not None):
            group = facts_.group_base(db, m)
            if group is not None:
                self._recording.take_back(db, draft, m)
                heads |= self._draft_group(db, draft, m, group, desk)
                # Whoever wants that name was told that it is taken, perhaps in this very slice.
                facts_.wake_claimants(db, self.t, "group", group.name, self._clock.now())
        return heads

    def _draft_own(self, db: Connection, draft: Draft, name: str, desk: Desk) -> set[int]:
        """Nobody waits any more for what has left this group."""
        m = mirror.number_of(db, OWN + name)
        group = None if m is None else facts_.group_base(db, m)
        if m is None or group is None:
            return set()
        self._recording.take_back(db, draft, m)
        return self._draft_group(db, draft, m, group, desk)

    # Groups in groups -----------------------------------------------------------------------------

    @property
    def nests(self) -> bool:
        """Whether groups are kept in groups here; else whoever is in one is put into all above."""
        return self.policy.groups.nested == "keep" and self.capabilities.nests_groups

    def may_nest(self, db: Connection) -> bool:
        """Whether groups are kept in groups here, or were."""
        return self.nests or nesting.any_known(db, self.t)

    def _nest(self, db: Connection) -> Nesting:
        """Which of the wanted groups stand in which, or will."""
        if not self.may_nest(db):
            return FLAT
        of = self.groups if self.nests else ()
        facts = nesting.facts_of(db, self.t, of, self._asks)
        return nest(facts, self.groups, keep=self.nests)

    def _note_hold(self, group: ObjectId, plan: GroupPlan) -> None:
        (self._asks.add if plan.hold else self._asks.discard)(group)

    def _inside(self, db: Connection, group: ObjectId, desk: Desk) -> Part:
        """What follows for one group from its place in others."""
        pairs = self.nesting.adds | self.nesting.rings | self.nesting.removes
        over = {above for above, below in pairs if below == group}
        if not over:
            return Part()
        people = nesting.people_below(db, self.t, group)
        names = {id_: self.groups[id_].name for id_ in over if id_ in self.groups}
        return plan_nesting(group, self.nesting, people, desk, names)

    def _draft_nesting(
        self, db: Connection, draft: Draft, before: Nesting, drafted: Collection[int]
    ) -> set[int]:
        """Groups entered or left others, or the scope: plan those whose place is another one now.
        `before`: their places before this slice; some were `drafted` in it already. Returns the
        groups whose people have to be looked at because of it."""
        early, now = self.nesting, self._nest(db)
        self.nesting = now
        if now.judged and self._writes_links:
            nesting.judge(db, self.t, now.judged)
        moved = self._numbers(db, before.moved(now)) - set(drafted)
        moved |= self._numbers(db, early.moved(now))
        desk = self.desk(db)
        for n in sorted(moved):
            group = facts_.group_base(db, n)
            if group is not None:
                self._recording.take_back(db, draft, n)
                self._draft_group(db, draft, n, group, desk)
        return self._numbers(db, {below for _, below in before.passing ^ now.passing})

    def _not_in_place(self, db: Connection) -> set[int]:
        pairs = self.nesting.adds | self.nesting.removes
        return self._numbers(db, {below for _, below in pairs})

    def _numbers(self, db: Connection, ids: Collection[ObjectId]) -> set[int]:
        return {n for id_ in ids if (n := mirror.number_of(db, id_)) is not None}

    def entitled(self, db: Connection, n: int) -> set[ObjectId]:
        """The groups that somebody is not to be cut off from, by whatever way she is in them."""
        for base in facts_.bases(db, [n]):
            desk = self.desk(db)
            kind = wish_for(base.user, base.groups, desk).kind
            if kind in (WishKind.ACCOUNT, WishKind.UNDECIDED):
                return entitled_groups(base.groups, base.direct, desk)
        return set()

    def draft_foreign(self, db: Connection, draft: Draft) -> None:
        """`foreign_members: remove`: also people whom azsyncd does not know (rule 21), in the
        groups of this draft."""
        if self.policy.groups.foreign_members != "remove":
            waiting.forget_foreign(db, self.t)
        elif mirror.has_proof(db):
            desk = self.desk(db)
            for n in sorted(draft.groups):
                group = facts_.group_base(db, n)
                wanted = None if group is None else self.groups.get(group.id)
                changes = [] if wanted is None else self._foreign_removals(db, wanted, desk)
                self._recording.record_foreign(db, draft, n, changes)

    def _foreign_removals(self, db: Connection, group: WantedGroup, desk: Desk) -> list[Change]:
        g = links.group_number(db, self.t, group.object_id)
        if g is None or not group.stands or group.blocked is not None or group.emptied:
            return []
        if group.everybody:  # Entra says nothing of who else belongs in
            return []
        return [
            Change(
                kind=Kind.REMOVE_MEMBER,
                reason=Reason.DRIFT,
                object_id=None,
                group_id=group.object_id,
                account_key=account.key,
                before=account,
                phase=Phase.REMOVE,
            )
            for account in links.foreign_members(db, self.t, g)
            if desk.protects_user(account.username) is None
        ]

    # Users ----------------------------------------------------------------------------------------

    def claim_users(
        self, db: Connection, numbers: Sequence[int], desk: Desk
    ) -> set[tuple[str, str]]:
        """Keep what these users want to be called; returns the names that changed hands, or that
        are still to do so: whoever has a name must be planned with whoever wants it."""
        keys: set[tuple[str, str]] = set()
        for base in facts_.bases(db, numbers):
            wish = wish_for(base.user, base.groups, desk)
            names = self._wanted_names(db, base.n, wish)
            keys |= facts_.claim(db, self.t, base.n, names)
            wanted, have = names.get("username"), self._present_name(db, base.n)
            # Whoever keeps the account of somebody who is gone may lose it to her successor.
            if wanted != have:
                keys |= {("username", name) for name in (wanted, have) if name is not None}
        return keys

    def _present_name(self, db: Connection, n: int) -> str | None:
        row = links.get(db, self.t, n)
        return None if row is None or row["a"] is None else account_name(db, row["a"])

    def _wanted_names(self, db: Connection, n: int, wish: Wish) -> dict[str, str]:
        account = wish.account
        if account is None:
            return {}
        row = links.get(db, self.t, n)
        if wish.kind is not WishKind.ACCOUNT or (row is None and not account.active):
            # She gets no account, and claims no name; but one that stands there is hers.
            return {"kept": fold(account.username)}
        username = account.username
        rules = self.policy.accounts
        keeps = not rules.rename or (
            row is not None and row["origin"] == "adopted" and not rules.rename_adopted
        )
        if row is not None and row["a"] is not None and keeps:
            username = account_name(db, row["a"])
        names = {"username": fold(username)}
        if account.email:
            names["email"] = fold(account.email)
        return names

    def close_users(self, db: Connection, numbers: Iterable[int], desk: Desk) -> set[int]:
        """A slice is closed under shared names (rule 16): claim, and add whoever is concerned."""
        found = set(numbers)
        todo = sorted(found)
        while todo:
            keys: set[tuple[str, str]] = set()
            for batch in batched(todo):
                keys |= self.claim_users(db, batch, desk)
            todo = sorted(facts_.sharers(db, self.t, keys) - found)
            found.update(todo)
        return found

    def draft_users(self, db: Connection, draft: Draft, numbers: Sequence[int], desk: Desk) -> None:
        """Plan these users, whose names were claimed before."""
        for base in facts_.bases(db, numbers):
            wish = wish_for(base.user, base.groups, desk)
            facts = facts_.user_facts(
                db,
                self.t,
                base,
                wish.account,
                self.capabilities.admin_groups,
                self.strip_groups,
            )
            plan = plan_user(facts, desk, wish)
            self._record_user(db, draft, base.n, plan, desk)
            if facts.lost and desk.proof and self._writes_links:
                self._forget_lost(db, base.n, facts.lost - wanted_groups(facts, desk))

    def _forget_lost(self, db: Connection, n: int, groups: frozenset[ObjectId]) -> None:
        row = links.get(db, self.t, n)
        if row is not None and row["a"] is not None:
            links.forget_lost(db, self.t, row["a"], groups)

    def _record_user(
        self, db: Connection, draft: Draft, n: int, plan: UserPlan, desk: Desk
    ) -> None:
        row = links.get(db, self.t, n)
        if plan.leaver is not None and row is not None and self._writes_links:
            left_at = desk.now if plan.leaver else None
            if (row["left_at"] is None) != (left_at is None) or plan.stripped is not None:
                links.leaver(db, self.t, n, left_at, plan.stripped)
        if plan.opened and self._writes_links:
            links.deactivated(db, self.t, n, False)
        if plan.judged and self._writes_links:
            a = row["a"] if row is not None else self._adoptee(db, plan)
            if a is not None:
                links.judge_edges(db, self.t, a, plan.judged)
        self._recording.record(db, draft, n, plan.changes, plan.waiting)

    @property
    def licence_groups(self) -> frozenset[str]:
        """The licence groups whose members have to be read."""
        able = self.capabilities
        counts = self.policy.seats.keep_free > 0
        return able.licence_groups if counts or able.strips_accounts else frozenset()

    @property
    def strip_groups(self) -> frozenset[str]:
        """The licence groups whose members matter, since nothing else can be taken away."""
        able = self.capabilities
        return able.licence_groups if able.strips_accounts else frozenset()

    @property
    def _writes_links(self) -> bool:
        return self.policy.mode is not Mode.REPORT

    def _adoptee(self, db: Connection, plan: UserPlan) -> int | None:
        for change in plan.changes:
            if change.kind is Kind.ADOPT and isinstance(change.before, Account):
                return account_number(db, self.t, change.before.key or "")
        return None

    # Whole plans ----------------------------------------------------------------------------------

    def draft_slice(self, db: Connection, draft: Draft, since: int, *, owed: bool) -> None:
        """Plan everybody who may be concerned by what happened since a revision, and (`owed`)
        whoever an earlier turn planned and did not finish: a group that comes into scope is news
        only once, and the turn that finds it may end before its members are right."""
        draft.after = spill.last(db)
        now, wall = self._clock.now(), self._clock.wall()
        slice_ = facts_.slice_since(db, self.t, since, now, wall)
        if owed:
            slice_ |= facts_.owed(db, self.t)
        groups = set(slice_.groups)
        if self.may_nest(db):
            groups |= nesting.touched_since(db, since)
            if self._fresh:  # likewise: what is not as it should be may be news
                groups |= self._not_in_place(db)
        heads = self.draft_groups(db, draft, groups)
        if self._fresh:
            # What is remembered was learnt from the mirror as it is: it cannot tell what a touched
            # group was before. Whoever is below one of them is looked at.
            self._fresh = False
            for n in groups:
                heads |= {n, *links.holders(db, self.t, n)}
                if own.is_number(db, n):
                    heads |= facts_.concerned(db, self.t)
        users = set(slice_.users) | set(mirror.users_below(db, heads))
        desk = self.desk(db)
        users = self.close_users(db, users, desk)
        spill.drop(db, draft.t, users)
        for batch in batched(sorted(users)):
            self.draft_users(db, draft, batch, desk)
        self.draft_foreign(db, draft)
        self.flush_renames(db, draft)
        facts_.owe(db, self.t, users | draft.groups)

    def flush_renames(self, db: Connection, draft: Draft) -> None:
        """All renames are known now."""
        self._recording.flush_renames(db, draft)

    def judge(self, db: Connection, draft: Draft, window_start: float) -> int:
        """Hold what does not fit (rule 36); returns how many changes are held anew."""
        return self._recording.judge(db, draft, window_start)


def _moves(group: Group, plan: GroupPlan) -> Waiting:
    """In a mode that keeps no links, what would become of a group that gets another one's."""
    name = plan.wanted.name if plan.wanted is not None else ""
    detail = f"gets the product's group {name!r}, with all in it that is ours"
    return Waiting(object_id=group.id, reason=Withheld.MODE, detail=detail)
