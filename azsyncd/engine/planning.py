"""Plans one target from the state: loads facts, asks the pure planner, spills what it says.

One object of this class per target keeps the two things that must not be computed anew for every
slice: which groups are wanted (`groups`), and which groups the scope's `members_of` entries resolve
to (`member_of`). Both are brought up to date by the groups that a slice touches; whoever is below
a group that enters or leaves them joins the slice.

Everything here runs inside a transaction of the caller's (functions of a `Connection`), so
that a dry run is the same code, rolled back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from azsyncd.clock import Clock
from azsyncd.model.accounts import Account, Capabilities, Dialect, InvalidValue, fold
from azsyncd.model.changes import Change, Kind, Phase, Reason, Waiting, Withheld
from azsyncd.model.identities import Group, ObjectId
from azsyncd.plan import guard
from azsyncd.plan.desk import Desk
from azsyncd.plan.expressions import ExpressionFailed, Unread
from azsyncd.plan.facts import WantedGroup
from azsyncd.plan.groups import GroupPlan, in_scope, plan_group, wanted_name
from azsyncd.plan.mapping import AccountMapping, GroupMapping
from azsyncd.plan.order import is_step, ordered_renames
from azsyncd.plan.policy import GuardClass, Mode, Policy
from azsyncd.plan.scope import Entries, GroupRule, ScopeFacts, UserRule, Verdict
from azsyncd.plan.users import UserPlan, plan_user
from azsyncd.plan.wishes import Kind as WishKind
from azsyncd.plan.wishes import Wish, wish_for
from azsyncd.state import codec, holds, links, mirror, spill, targets, waiting
from azsyncd.state import facts as facts_
from azsyncd.state.holds import Item
from azsyncd.state.store import Connection, Row

BATCH = 200

Told = Callable[[str, int, int | None], None]
"""(step, done, total): for progress bars."""


def batched(numbers: Iterable[int], size: int = BATCH) -> Iterator[list[int]]:
    """Numbers in lists of at most `size`."""
    iterator = iter(numbers)
    while batch := list(islice(iterator, size)):
        yield batch


@dataclass(slots=True)
class Draft:
    """One plan while it is made."""

    t: int
    full: bool
    upto: int  # the mirror's revision that it is made from
    tally: guard.Tally = field(default_factory=guard.Tally)
    users: set[int] = field(default_factory=set)
    groups: set[int] = field(default_factory=set)
    renames: list[tuple[Change, int]] = field(default_factory=list)
    after: int = 0  # what the spill held before it: earlier slices' changes, not sent yet


class Planning:
    """The planner of one target, with what it remembers between slices."""

    def __init__(
        self,
        t: int,
        policy: Policy,
        dialect: Dialect,
        *,
        instance: str,
        clock: Clock,
        signed_in_as: Callable[[], frozenset[str]],
    ) -> None:
        self.t = t
        self.policy = policy
        self.capabilities = Capabilities()
        self.groups: dict[ObjectId, WantedGroup] = {}
        self.ready = False
        self._instance = instance
        self._dialect = dialect
        self._clock = clock
        self.signed_in_as = signed_in_as
        self._users = UserRule(policy.scope.users)
        self._group_rule = GroupRule(policy.scope.groups)
        self._mapping = AccountMapping(policy.accounts, dialect)
        self._group_mapping = GroupMapping(policy.groups)
        self._member_entries = Entries(policy.scope.users.members_of or ())
        self._members: dict[str, set[ObjectId]] = {}
        self._include_keys = {entry.key for entry in policy.scope.groups.include}

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
            scope=self._scope_facts(db),
            groups=self.groups,
            now=self._clock.now(),
            proof=mirror.has_proof(db),
            signed_in_as=self.signed_in_as(),
        )

    def _scope_facts(self, db: Connection) -> ScopeFacts:
        return ScopeFacts(
            member_of=frozenset(id_ for ids in self._members.values() for id_ in ids),
            uncertain=self._uncertain(db),
            excluded=self._pinned(db),
        )

    def _uncertain(self, db: Connection) -> str | None:
        """Rule 11: an entry that matched once and matches nothing now, or one exact name that
        several groups have now."""
        matched = facts_.remembered(db, self.t, "members_of")
        for entry in self._member_entries.entries:
            now = self._members.get(entry.key, set())
            if not now and 0 in matched.get(entry.key, ()):
                return f"members_of ({entry.key}) matched a group once and matches none now"
            exact = entry.name is not None and not set(entry.name) & set("*?[")
            if exact and len(now) > 1 and 0 in matched.get(entry.key, ()):
                return f"members_of ({entry.key}) is ambiguous: {len(now)} groups have that name"
        return None

    def _pinned(self, db: Connection) -> frozenset[ObjectId]:
        """Rule 9: an exclude by UPN pins the object id at its first match."""
        found: set[ObjectId] = set()
        for name in self.policy.scope.users.exclude:
            numbers = facts_.remembered(db, self.t, "exclude").get(name, set())
            if not numbers:
                row = db.execute(
                    "SELECT n FROM object WHERE kind = 'user' AND (name = ?1 OR id = ?1) LIMIT 1",
                    (fold(name),),
                ).fetchone()
                if row is None:
                    continue
                facts_.remember(db, self.t, "exclude", name, row["n"])
                numbers = {row["n"]}
            for n in numbers:
                row = db.execute("SELECT id FROM object WHERE n = ?", (n,)).fetchone()
                found.add(row["id"])
        return frozenset(found)

    # Groups ---------------------------------------------------------------------------------------

    def learn_groups(self, db: Connection) -> None:
        """Work out the wanted groups from nothing, after a start or a change of the settings."""
        self.groups.clear()
        self._members = {entry.key: set() for entry in self._member_entries.entries}
        numbers = facts_.every(db, "group")
        for n in numbers:
            group = facts_.group_base(db, n)
            if group is not None:
                self._resolve(db, n, group)
        desk = self.desk(db)
        known = [(n, g) for n in numbers if (g := facts_.group_base(db, n)) is not None]
        for n, group in known:
            self._claim_group(db, n, group, desk)
        for n, group in known:
            plan = self._group_plan(db, n, group, desk)
            if plan.wanted is not None:
                self.groups[group.id] = plan.wanted
        self.ready = True

    def _resolve(self, db: Connection, n: int, group: Group) -> bool:
        """Whether a group counts for `members_of`, entry by entry; True if that changed."""
        changed = False
        for entry in self._member_entries.entries:
            ids = self._members.setdefault(entry.key, set())
            try:
                matches = self._member_entries.matches(entry, group)
            except (Unread, ExpressionFailed):
                continue  # undecided: it stays as it was
            if matches == (group.id in ids):
                continue
            changed = True
            if matches:
                ids.add(group.id)
                facts_.remember(db, self.t, "members_of", entry.key, 0)
            else:
                ids.discard(group.id)
        return changed

    def _claim_group(
        self, db: Connection, n: int, group: Group, desk: Desk
    ) -> set[tuple[str, str]]:
        facts = replace(
            facts_.group_facts(db, self.t, n, group, None), followed=self._followed(db, n)
        )
        verdict, _ = in_scope(facts, desk)
        wanted: dict[str, str] = {}
        if verdict is Verdict.IN:
            try:
                wanted["group"] = fold(wanted_name(facts, desk))
            except (Unread, ExpressionFailed, InvalidValue):
                pass  # reported when it is planned
        return facts_.claim(db, self.t, n, wanted)

    def _followed(self, db: Connection, n: int) -> bool:
        """Whether the entry that this group once matched is still in the file (rule 12)."""
        rows = db.execute(
            "SELECT entry FROM scope_match WHERE t = ? AND role = 'include' AND n = ?", (self.t, n)
        )
        return any(row["entry"] in self._include_keys for row in rows)

    def _group_plan(self, db: Connection, n: int, group: Group, desk: Desk) -> GroupPlan:
        followed = self._followed(db, n)
        base = replace(facts_.group_facts(db, self.t, n, group, None), followed=followed)
        name = None
        if in_scope(base, desk)[0] is Verdict.IN:
            try:
                name = wanted_name(base, desk)
            except (Unread, ExpressionFailed, InvalidValue):
                pass  # plan_group says so
        facts = facts_.group_facts(db, self.t, n, group, name)
        return plan_group(replace(facts, followed=followed), desk)

    def judge_group(self, db: Connection, n: int, group: Group) -> tuple[GroupPlan, str, str]:
        """For `explain`: the group's plan, the scope's verdict, and its evidence."""
        desk = self.desk(db)
        base = replace(
            facts_.group_facts(db, self.t, n, group, None), followed=self._followed(db, n)
        )
        verdict, why = in_scope(base, desk)
        return self._group_plan(db, n, group, desk), verdict.value, why

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
                if self._resolve(db, n, group):
                    heads.add(n)
                keys |= self._claim_group(db, n, group, desk)
            seen.update(todo)
            todo = sorted(facts_.sharers(db, self.t, keys) - seen)
        spill.drop(db, draft.t, seen)
        desk = self.desk(db)
        for n in sorted(seen):
            group = facts_.group_base(db, n)
            if group is not None and self._draft_group(db, draft, n, group, desk):
                # Not only whoever is in it: also whoever is still in the product's.
                heads |= {n, *links.holders(db, self.t, n)}
        if self._note_doubt(db):
            heads |= facts_.concerned(db, self.t)
        return heads

    def _note_doubt(self, db: Connection) -> bool:
        """Whether the scope came into doubt, or out of it, since it was last noted (rule 11)."""
        why = self._uncertain(db)
        noted = facts_.remembered(db, self.t, "uncertain")
        if (why is None) == (not noted):
            return False
        for entry in noted:
            facts_.forget(db, self.t, "uncertain", entry)
        if why is not None:
            facts_.remember(db, self.t, "uncertain", "members_of", 0)
        return True

    def _draft_group(self, db: Connection, draft: Draft, n: int, group: Group, desk: Desk) -> bool:
        plan = self._group_plan(db, n, group, desk)
        before = self.groups.get(group.id)
        if plan.wanted is None:
            self.groups.pop(group.id, None)
        else:
            self.groups[group.id] = plan.wanted
            entry = self._group_rule.verdict(group).entry
            if entry is not None:
                facts_.remember(db, self.t, "include", entry, n)
        draft.groups.add(n)
        self._record(db, draft, n, plan.changes, plan.waiting, hold=plan.hold)
        return before != plan.wanted

    def draft_foreign(
        self, db: Connection, draft: Draft, numbers: Collection[int] | None = None
    ) -> None:
        """`foreign_members: remove`: also people whom azsyncd does not know (rule 21), in all
        wanted groups or only in these."""
        if self.policy.groups.foreign_members != "remove" or not mirror.has_proof(db):
            return
        desk = self.desk(db)
        for group in sorted(self.groups.values(), key=lambda wanted: wanted.object_id):
            if not group.stands or group.blocked is not None:
                continue
            g = links.group_number(db, self.t, group.object_id)
            n = mirror.number_of(db, group.object_id)
            if g is None or n is None or (numbers is not None and n not in numbers):
                continue
            planned: list[tuple[str, int, str]] = []
            for account in links.foreign_members(db, self.t, g):
                if desk.protects_user(account.username) is None:
                    change = Change(
                        kind=Kind.REMOVE_MEMBER,
                        reason=Reason.DRIFT,
                        object_id=None,
                        group_id=group.object_id,
                        account_key=account.key,
                        before=account,
                        phase=Phase.REMOVE,
                    )
                    planned.append((change.kind, n, str(account.key)))
                    self._plan_change(db, draft, n, change, None)
            holds.keep_only(db, self.t, n, planned, foreign=True)

    # Users ----------------------------------------------------------------------------------------

    def claim_users(
        self, db: Connection, numbers: Sequence[int], desk: Desk
    ) -> set[tuple[str, str]]:
        """Keep what these users want to be called; returns the names that changed hands."""
        keys: set[tuple[str, str]] = set()
        for base in facts_.bases(db, numbers):
            wish = wish_for(base.user, base.groups, desk)
            keys |= facts_.claim(db, self.t, base.n, self._wanted_names(db, base.n, wish))
        return keys

    def _wanted_names(self, db: Connection, n: int, wish: Wish) -> dict[str, str]:
        account = wish.account
        if wish.kind is not WishKind.ACCOUNT or account is None:
            return {}
        row = links.get(db, self.t, n)
        if row is None and not account.active:
            return {}  # nobody gets an account that would be inactive: no claim either
        username = account.username
        rules = self.policy.accounts
        keeps = not rules.rename or (
            row is not None and row["origin"] == "adopted" and not rules.rename_adopted
        )
        if row is not None and row["a"] is not None and keeps:
            have = db.execute("SELECT name FROM account WHERE a = ?", (row["a"],)).fetchone()
            username = have["name"]
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
                db, self.t, base, wish.account, self.capabilities.admin_groups
            )
            plan = plan_user(facts, desk, wish)
            draft.users.add(base.n)
            self._record_user(db, draft, base.n, plan, desk)

    def _record_user(
        self, db: Connection, draft: Draft, n: int, plan: UserPlan, desk: Desk
    ) -> None:
        row = links.get(db, self.t, n)
        if plan.leaver is not None and row is not None and self._writes_links:
            left_at = desk.now if plan.leaver else None
            if (row["left_at"] is None) != (left_at is None) or plan.stripped is not None:
                links.leaver(db, self.t, n, left_at, plan.stripped)
        if plan.judged and self._writes_links:
            a = row["a"] if row is not None else self._adoptee(db, plan)
            if a is not None:
                links.judge_edges(db, self.t, a, plan.judged)
        self._record(db, draft, n, plan.changes, plan.waiting)

    @property
    def _writes_links(self) -> bool:
        return self.policy.mode is not Mode.REPORT

    def _adoptee(self, db: Connection, plan: UserPlan) -> int | None:
        for change in plan.changes:
            if change.kind is Kind.ADOPT and isinstance(change.before, Account):
                row = db.execute(
                    "SELECT a FROM account WHERE t = ? AND key = ?", (self.t, change.before.key)
                ).fetchone()
                return None if row is None else int(row["a"])
        return None

    # Recording ------------------------------------------------------------------------------------

    def _record(
        self,
        db: Connection,
        draft: Draft,
        n: int,
        changes: Iterable[Change],
        waits: Sequence[Waiting],
        hold: str = "",
    ) -> None:
        """Spill the changes of one object and replace what waits of it."""
        tried = waiting.attempts_of(db, self.t, n)
        now = self._clock.now()
        keep: list[Waiting] = list(waits)
        planned: list[tuple[str, int, str]] = []
        for change in changes:
            gn = self._number(db, change.group_id)
            before = tried.get((change.kind, gn))
            if before is not None and _still_backs_off(before, change, now):
                keep.append(_waiting_of(before, change))
                continue
            planned.append((change.kind, gn, ""))
            self._plan_change(db, draft, n, change, hold or None)
        tries = {(kind, gn) for kind, gn, _ in planned}
        waiting.replace_all(db, self.t, n, keep, now, tries)
        holds.keep_only(db, self.t, n, planned)

    def _number(self, db: Connection, id_: ObjectId | None) -> int:
        return 0 if id_ is None else (mirror.number_of(db, id_) or 0)

    def _plan_change(
        self, db: Connection, draft: Draft, n: int, change: Change, hold: str | None
    ) -> None:
        if change.kind is Kind.RENAME:
            draft.renames.append((change, n))  # ranked when all of them are known
            return
        self._spill(db, draft, n, change, hold)

    def flush_renames(self, db: Connection, draft: Draft) -> None:
        """All renames are known now: put them in an order in which each name is free in time."""
        asked = {change.object_id: (change, n) for change, n in draft.renames}
        for change in ordered_renames(change for change, _ in draft.renames):
            decided, n = asked[change.object_id]
            self._spill(db, draft, n, change, None, decided)
        draft.renames.clear()

    def _spill(
        self,
        db: Connection,
        draft: Draft,
        n: int,
        change: Change,
        hold: str | None,
        decided: Change | None = None,
    ) -> None:
        """`decided`: what people decide about, where that is more than this change (a swap)."""
        gn = self._number(db, change.group_id)
        akey = "" if change.object_id is not None else str(change.account_key)
        item = Item(n, gn, akey, change)
        about = item if decided is None else Item(n, gn, akey, decided)
        held: str | None = None
        free = False
        if not guard.permitted(change, self.policy.mode):
            held = Withheld.MODE
        else:
            decision = holds.decision_of(db, draft.t, about, self._clock.now())
            if decision is not None and decision[0] == "approved":
                free = not is_step(change)  # the approval is used up by the change itself
            elif decision is not None:
                held = Withheld.GUARD if decision[0] == "open" else Withheld.REJECTED
            elif hold:
                held = Withheld.GUARD
                holds.open_hold(db, draft.t, holds.RENAMED_GROUP, hold, self._clock.now(), [item])
        class_ = guard.class_of(change)
        if held is None and not free:
            draft.tally.add(change)
        spill.add(db, draft.t, item, class_=class_, free=free, held=held)

    # The guard ------------------------------------------------------------------------------------

    def judge(self, db: Connection, draft: Draft, window_start: float) -> int:
        """Hold what does not fit (rule 36); returns how many changes are held anew."""
        rules = self.policy.guard
        sizes = holds.sizes(db, draft.t, window_start, draft.tally.groups)
        spent = self._spent(db, draft, window_start)
        verdict = guard.judge(draft.tally, rules, sizes, spent)
        held = 0
        for class_, why in verdict.classes.items():
            rows = spill.of_class(db, draft.t, class_, after=draft.after)
            held += self._hold(db, draft, class_, rows, why)
        for group, why in verdict.groups.items():
            gn = self._number(db, group)
            rows = spill.of_class(db, draft.t, GuardClass.REMOVE_MEMBER, gn, draft.after)
            held += self._hold(db, draft, GuardClass.SHRINK_GROUP, rows, why)
        holds.close_empty(db, draft.t)
        return held

    def _spent(self, db: Connection, draft: Draft, window_start: float) -> guard.Spent:
        """What the window has spent, and what earlier slices may still send."""
        spent = Counter(holds.spent(db, draft.t, window_start))
        for (class_, gn), number in spill.outstanding(db, draft.t, draft.after).items():
            group = self._id(db, gn) if gn else None
            spent[GuardClass(class_), group] += number
        return spent

    def _id(self, db: Connection, n: int) -> ObjectId | None:
        row = db.execute("SELECT id FROM object WHERE n = ?", (n,)).fetchone()
        return None if row is None else row["id"]

    def _hold(
        self,
        db: Connection,
        draft: Draft,
        class_: GuardClass,
        rows: Sequence[spill.Planned],
        why: str,
    ) -> int:
        if not rows:
            return 0
        items = [row.item for row in rows]
        holds.open_hold(db, draft.t, class_.value, why, self._clock.now(), items)
        spill.hold(db, [row.seq for row in rows], Withheld.GUARD)
        if class_ is GuardClass.RENAME:
            spill.hold_steps(db, draft.t, [row.item.n for row in rows], Withheld.GUARD)
        return len(rows)

    # Whole plans ----------------------------------------------------------------------------------

    def draft_slice(self, db: Connection, draft: Draft, since: int, *, fresh_index: bool) -> None:
        """Plan everybody who may be concerned by what happened since a revision."""
        draft.after = spill.last(db)
        slice_ = facts_.slice_since(db, self.t, since, self._clock.now())
        heads = self.draft_groups(db, draft, slice_.groups)
        if fresh_index:
            # The index was built from the mirror as it is: it cannot tell what a touched group was
            # before. Whoever is below one of them is looked at.
            for n in slice_.groups:
                heads |= {n, *links.holders(db, self.t, n)}
        users = set(slice_.users) | set(mirror.users_below(db, heads))
        desk = self.desk(db)
        users = self.close_users(db, users, desk)
        spill.drop(db, draft.t, users)
        for batch in batched(sorted(users)):
            self.draft_users(db, draft, batch, desk)
        self.draft_foreign(db, draft, draft.groups)
        self.flush_renames(db, draft)

    def account_count(self, db: Connection) -> int:
        """How many links this target has: a target without any is a first contact (rule 26)."""
        row = db.execute(
            "SELECT count(*) FROM link WHERE t = ? AND state != 'pending'", (self.t,)
        ).fetchone()
        return int(row[0])

    def first_contact(self, db: Connection, draft: Draft) -> bool:
        """Whether this plan would adopt or change what stands there, in a target without links."""
        row = targets.get(db, self.t)
        if row.first_contact == "done" or self.account_count(db):
            return False
        kinds = spill.counts(db, draft.t)
        return any(kind in kinds for kind in (Kind.ADOPT, Kind.ADOPT_GROUP))


def _still_backs_off(row: Row, change: Change, now: float) -> bool:
    """A refused change is tried again when its time comes, or when something else is wanted."""
    if row["retry_at"] is None or row["retry_at"] <= now or row["body"] is None:
        return False
    return codec.change_digest(codec.change_of(row["body"])) == codec.change_digest(change)


def _waiting_of(row: Row, change: Change) -> Waiting:
    return Waiting(
        object_id=change.object_id,
        reason=Withheld(row["reason"]),
        detail=row["detail"],
        hint=row["hint"],
        change=change,
        retry_at=row["retry_at"],
    )
