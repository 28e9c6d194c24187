"""What lies on the planner's desk beside the facts: rules, abilities, and the moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from azsyncd.model.accounts import Account, Capabilities, Dialect, fold
from azsyncd.model.identities import ObjectId
from azsyncd.plan.facts import OWN, WantedGroup
from azsyncd.plan.mapping import AccountMapping, GroupMapping
from azsyncd.plan.policy import Policy
from azsyncd.plan.scope import GroupRule, ScopeFacts, UserRule


def spared(capabilities: Capabilities, policy: Policy) -> Capabilities:
    """What a product can do, without the licence groups that are never written to: nobody is taken
    out of those (rule 32)."""
    globs = [fold(glob) for glob in policy.protect.groups]
    free = {
        name
        for name in capabilities.licence_groups
        if not any(fnmatchcase(name, glob) for glob in globs)
    }
    return replace(capabilities, licence_groups=frozenset(free))


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Everything that is the same for all of a target's users and groups during one plan.

    `proof`: a complete crawl of Entra was accepted, so absence counts (rule 2). `doubt`: why a
    scope entry cannot be trusted to be complete just now (rule 11). `signed_in_as`: the accounts
    that azsyncd uses, in every target, folded (rule 24). `now`: seconds since the epoch, of the
    closed round. `passes`: by group, the groups whose people it has through them (nesting.py).
    """

    instance: str
    policy: Policy
    capabilities: Capabilities
    dialect: Dialect
    users: UserRule
    mapping: AccountMapping
    group_rule: GroupRule
    group_mapping: GroupMapping
    scope: ScopeFacts
    groups: Mapping[ObjectId, WantedGroup]
    now: float
    proof: bool = True
    signed_in_as: frozenset[str] = frozenset()
    let_go: Mapping[ObjectId, str] = field(default_factory=dict)  # by `unlink`: why, in words
    everybody: frozenset[ObjectId] = frozenset()  # `groups.default`, as far as they are wanted
    passes: Mapping[ObjectId, frozenset[ObjectId]] = field(default_factory=dict)
    allowed_groups: tuple[str, ...] = field(default=())

    def protects_user(self, *names: str | None) -> str | None:
        """Why nothing is ever written to an account of one of these names; None if it may be."""
        for name in names:
            if not name:
                continue
            if fold(name) in self.signed_in_as:
                return "azsyncd signs in as this account"
            if any(fnmatchcase(fold(name), fold(glob)) for glob in self.policy.protect.users):
                return "protected by protect.users"
        return None

    def protects_group(self, name: str) -> str | None:
        """Why nothing is ever written to a group of this name; None if it may be."""
        folded = fold(name)
        if any(fnmatchcase(folded, fold(glob)) for glob in self.policy.protect.groups):
            return "protected by protect.groups"
        if self.capabilities.administers(name) and not any(
            fnmatchcase(folded, fold(glob)) for glob in self.policy.protect.allow
        ):
            return "an administrators' group; name it in protect.allow to sync it"
        return None

    def gives(self, own: ObjectId) -> bool:
        """Whether an own group is one of `groups.default`."""
        return any(own == OWN + fold(name) for name in self.policy.groups.default)

    def foreign_mark(self, account: Account, owner: ObjectId) -> str | None:
        """Whose mark an account carries, if it is not ours for this object (rule 20)."""
        mark = account.mark
        if mark is None or (mark.instance == self.instance and mark.object_id == owner):
            return None
        if mark.instance != self.instance:
            return f"it carries the mark of another azsyncd, {mark.instance!r}"
        return f"it carries our mark for another object, {mark.object_id}"
