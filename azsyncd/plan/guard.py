"""The guard: a function from a plan to the part of it that waits for a person (rules 35 to 38).

An allowance is the larger of a count and a share of what the target has. If what one round wants
of a class does not fit into what is left of it, *all* of that class of that round is held, so that
nothing trickles out; everything else goes on. Single changes of later rounds pass while there is
room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from azsyncd.model.accounts import Account, fold
from azsyncd.model.changes import Change, Kind, Reason
from azsyncd.model.identities import ObjectId
from azsyncd.plan.order import is_step
from azsyncd.plan.policy import GuardClass, GuardRules, Mode

_CLASSES = {
    Kind.RENAME: GuardClass.RENAME,
    Kind.REMOVE_MEMBER: GuardClass.REMOVE_MEMBER,
    Kind.REMOVE_CHILD: GuardClass.REMOVE_MEMBER,
    Kind.DELETE: GuardClass.DELETE,
    Kind.DELETE_GROUP: GuardClass.DELETE_GROUP,
    Kind.CREATE: GuardClass.CREATE,
    Kind.ADD_MEMBER: GuardClass.ADD_MEMBER,
    Kind.ADD_CHILD: GuardClass.ADD_MEMBER,
}

SHRINKS = (Kind.REMOVE_MEMBER, Kind.REMOVE_CHILD)
"""What takes people out of a group."""

DESTRUCTIVE = frozenset({Kind.DEACTIVATE, Kind.STRIP, Kind.DELETE, Kind.DELETE_GROUP, *SHRINKS})
"""What `mode: additions_only` never sends (rule 40)."""


def class_of(change: Change) -> GuardClass | None:
    """The class that a change is counted in; None = not counted. A swap counts each account once.

    An update is counted if it changes the mail of an existing account; a display name is harmless.
    """
    if change.kind in (Kind.DEACTIVATE, Kind.STRIP):
        entra_says_so = change.reason in (Reason.DISABLED, Reason.DELETED)
        return GuardClass.DISABLE if entra_says_so else GuardClass.DEACTIVATE
    if change.kind is Kind.RENAME and is_step(change):
        return None
    if change.kind is Kind.UPDATE:
        before, after = change.before, change.after
        if isinstance(before, Account) and isinstance(after, Account):
            moved = fold(before.email or "") != fold(after.email or "")
            return GuardClass.UPDATE if moved else None
    return _CLASSES.get(change.kind)


def permitted(change: Change, mode: Mode) -> bool:
    """Whether the target's mode lets such a change pass at all (rule 40)."""
    return mode is Mode.SYNC or (mode is Mode.ADDITIONS_ONLY and change.kind not in DESTRUCTIVE)


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a target had when its window began: the base of the percentages."""

    accounts: int = 0  # active linked accounts
    edges: int = 0  # memberships that are ours
    groups: int = 0  # linked groups
    members: Mapping[ObjectId, int] = field(default_factory=dict)  # by group, for shrink_group

    def of(self, class_: GuardClass, group: ObjectId | None = None) -> int:
        """The base of one class."""
        if class_ is GuardClass.SHRINK_GROUP:
            return self.members.get(group, 0) if group else 0
        if class_ in (GuardClass.REMOVE_MEMBER, GuardClass.ADD_MEMBER):
            return self.edges
        return self.groups if class_ is GuardClass.DELETE_GROUP else self.accounts


Spent = Mapping[tuple[GuardClass, ObjectId | None], int]
"""Allowance that is spent in the window, by class and (for shrink_group) group."""


def allowance(
    class_: GuardClass, rules: GuardRules, sizes: Sizes, group: ObjectId | None = None
) -> int | None:
    """How many changes of a class one window allows; None = unlimited (rule 35)."""
    limit = rules.limit(class_)
    if limit is None:
        return None
    share = sizes.of(class_, group) * limit.percent / 100
    return max(limit.count, int(share + 1e-9))  # 7 % of 100 are 7, whatever binary fractions say


@dataclass(slots=True)
class Tally:
    """What one round wants, counted while it is planned: a full plan never stands in memory."""

    classes: Counter[GuardClass] = field(default_factory=Counter)
    groups: Counter[ObjectId] = field(default_factory=Counter)

    def add(self, change: Change, times: int = 1) -> GuardClass | None:
        """Count a change that no earlier decision of a person covers; -1 takes it back."""
        class_ = class_of(change)
        if class_ is not None:
            self.classes[class_] += times * change.people
            if change.kind in SHRINKS and change.group_id is not None:
                self.groups[change.group_id] += times * change.people
        return class_


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which classes, and which groups' removals, are held; with one line of evidence each."""

    classes: Mapping[GuardClass, str]
    groups: Mapping[ObjectId, str]

    def held(self, change: Change) -> tuple[GuardClass, str] | None:
        """The class that holds a change, and why; None = it passes."""
        class_ = class_of(change)
        if class_ is None:
            return None
        if class_ in self.classes:
            return class_, self.classes[class_]
        group = change.group_id
        if change.kind in SHRINKS and group is not None and group in self.groups:
            return GuardClass.SHRINK_GROUP, self.groups[group]
        return None


def judge(tally: Tally, rules: GuardRules, sizes: Sizes, spent: Spent) -> Verdict:
    """Decide about one round (rule 36)."""
    classes = {}
    for class_, wants in tally.classes.items():
        why = _too_much(class_, wants, rules, sizes, spent, None)
        if why:
            classes[class_] = why
    groups = {}
    for group, wants in tally.groups.items():
        why = _too_much(GuardClass.SHRINK_GROUP, wants, rules, sizes, spent, group)
        if why:
            groups[group] = why
    return Verdict(classes, groups)


def _too_much(
    class_: GuardClass,
    wants: int,
    rules: GuardRules,
    sizes: Sizes,
    spent: Spent,
    group: ObjectId | None,
) -> str:
    allowed = allowance(class_, rules, sizes, group)
    used = spent.get((class_, group), 0)
    if allowed is None or wants <= allowed - used:
        return ""
    base = sizes.of(class_, group)
    return f"{wants} wanted, {max(0, allowed - used)} of {allowed} left (of {base})"
