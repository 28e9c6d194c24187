"""What the planner is told: one value per user or group, with everything that its decision needs.

The state loads these, the planner only looks at them. A slice is a sequence of such values, a full
plan is the same for everybody: that is why planning a slice equals planning everything, restricted
to what differs (architecture.md, decision 5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from azsyncd.model.accounts import Account, TargetGroup
from azsyncd.model.identities import Group, ObjectId, User
from azsyncd.model.links import AccountLink, Edge, GroupLink

OWN = "own:"
"""How the id of a group begins that stands for none of Entra's: its name follows, folded."""


@dataclass(frozen=True, slots=True)
class Standing:
    """An account that stands in the target, and whose it is.

    `wants` is the username that its owner wants now, None if nobody owns it or its owner wants
    none: a name is about to become free if its owner wants another one. `gone` says how far the
    owner is gone from Entra (for re-hires): None, "soft_deleted" or "purged". `deactivated`: it was
    us who deactivated it. `administers`: it is in an administrators' group. `edges` are its
    memberships, as in `UserFacts`.
    """

    account: Account
    owner: ObjectId | None = None
    wants: str | None = None
    gone: str | None = None
    owner_employee: str | None = None
    deactivated: bool = False
    administers: bool = False
    edges: Mapping[ObjectId, Edge] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NameFacts:
    """What is known about the names that a user wants.

    `rivals`: other unlinked objects that want the same username. `mail_rivals`: other unlinked
    objects that want the same address. `under_name`: who has the username. `under_mail`: all who
    have the address. `under_mark`: all that carry a mark for this very object.
    """

    rivals: tuple[ObjectId, ...] = ()
    mail_rivals: tuple[ObjectId, ...] = ()
    under_name: Standing | None = None
    under_mail: tuple[Standing, ...] = ()
    under_mark: tuple[Standing, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UserFacts:
    """A user, where she stands in Entra, and what stands in the target for her.

    `edges` are the memberships of her account in groups that are linked or would be adopted, by
    the group's object id. `blocked`: the product refuses to deactivate the account (rule 32).
    `last_admin`: in how many administrators' groups it is, if no other active account is left in
    any (rule 24); 0 if there is one.
    `licensed`: it is in a group that gives a licence, whoever put it there. `lost`: groups that
    somebody else took it out of, although the membership was ours.
    """

    user: User
    groups: frozenset[ObjectId]  # at any depth
    direct: frozenset[ObjectId]
    verified: bool = True
    link: AccountLink | None = None
    account: Account | None = None
    edges: Mapping[ObjectId, Edge] = field(default_factory=dict)
    names: NameFacts = NameFacts()
    blocked: bool = False
    last_admin: int = 0
    licensed: bool = False
    lost: frozenset[ObjectId] = frozenset()


@dataclass(frozen=True, slots=True)
class GroupStanding:
    """A group that stands in the target, and whose it is. `deleted`: the owner, if it was deleted
    in Entra, perhaps not for good. `passed_on`: the owner gets another one that stands, in the same
    moment: names go round in a ring."""

    group: TargetGroup
    owner: ObjectId | None = None
    called: str = ""  # the owner, in Entra
    deleted: Group | None = None
    passed_on: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFacts:
    """A group, and what stands in the target for it.

    `followed`: the scope's entry that it once matched is still in the file (rule 12). `moved`: it
    has left a group that it was linked to for another, which may not be there yet; `left`: that
    group, while it stands. `awaited`: whoever left it has not arrived, or another one waits for
    it: what it gives is kept.
    """

    group: Group
    link: GroupLink | None = None
    standing: TargetGroup | None = None  # the linked one
    rivals: tuple[ObjectId, ...] = ()
    under_name: GroupStanding | None = None
    followed: bool = False
    moved: bool = False
    left: ObjectId | None = None
    awaited: bool = False
    former_name: str | None = None  # its display name before its last change (rule 12)


@dataclass(frozen=True, slots=True)
class WantedGroup:
    """A group of the scope as far as memberships are concerned.

    `stands`: it is linked, or will be when its own change was made. `blocked`: why nobody can be
    put into it or taken out of it now (conflict, protected …); None = all is well. `emptied`: it
    left the scope, and what is ours in it is removed (`gone: empty`). `everybody`: one of
    `groups.default`; nobody of Entra's is its member, everybody who is synced belongs in.
    """

    object_id: ObjectId
    name: str
    stands: bool
    blocked: str | None = None
    emptied: bool = False
    everybody: bool = False
