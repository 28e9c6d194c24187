"""One write, with its before, its after and its reason; and what is withheld, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from azsyncd.model.accounts import Account, TargetGroup
from azsyncd.model.identities import ObjectId


class Kind(StrEnum):
    """What a change does. The values are promises: metrics and plan files show them."""

    ADOPT = "adopt"
    CREATE = "create"
    UPDATE = "update"
    RENAME = "rename"
    DEACTIVATE = "deactivate"
    REACTIVATE = "reactivate"
    STRIP = "strip"  # rights taken away where an account cannot be deactivated (rule 32)
    DELETE = "delete"
    ADOPT_GROUP = "adopt_group"
    CREATE_GROUP = "create_group"
    DELETE_GROUP = "delete_group"
    ADD_MEMBER = "add_member"
    REMOVE_MEMBER = "remove_member"
    ADD_CHILD = "add_child"  # a group into a group, where the product nests them
    REMOVE_CHILD = "remove_child"


class Reason(StrEnum):
    """Why a change is wanted."""

    NEW = "new"
    CHANGED = "changed"
    ADOPTED = "adopted"
    DRIFT = "drift"
    LEFT_SCOPE = "left_scope"
    DISABLED = "disabled"
    DELETED = "deleted"
    RETURNED = "returned"


class Withheld(StrEnum):
    """Why a change is not sent (surface.md §4)."""

    GUARD = "guard"
    FIRST_CONTACT = "first_contact"
    REJECTED = "rejected"
    SOURCE = "source"
    EXCLUDED = "excluded"
    PROTECTED = "protected"
    NOT_OWNED = "not_owned"
    CONFLICT = "conflict"
    UNSUPPORTED = "unsupported"
    INVALID_VALUE = "invalid_value"
    UNDECIDED = "undecided"
    INCOMPLETE_READ = "incomplete_read"
    LICENCE = "licence"
    READ_ONLY = "read_only"
    BLOCKED = "blocked"
    GRACE = "grace"
    MODE = "mode"
    PAUSED = "paused"
    BACKING_OFF = "backing_off"


class Phase(IntEnum):
    """The order in which a plan is sent (rule 27)."""

    BLOCK = 0  # deactivations because Entra says disabled or deleted
    FREE_NAMES = 1  # renames, in topological order
    ACCOUNTS = 2  # adopt, create, reactivate, update
    GROUPS = 3  # adopt and create groups
    ADD = 4
    REMOVE = 5
    DEACTIVATE = 6
    DELETE = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One write.

    `object_id` is the user's or, for changes of a group itself, the group's; it is None only for a
    foreign member, who is then named by `account_key`. `group_id` is set for memberships; where a
    group goes into a group it is the one above, and `people` is how many stand in the one below:
    the guard counts them all.
    `before` and `after` carry as much as the change shows: an Account for accounts, a TargetGroup
    for groups, None on the side that does not exist.
    """

    kind: Kind
    reason: Reason
    object_id: ObjectId | None
    group_id: ObjectId | None = None
    account_key: str | None = None
    before: Account | TargetGroup | None = None
    after: Account | TargetGroup | None = None
    phase: Phase
    rank: int = 0  # inside the phase, before the id: topological order of renames
    people: int = 1

    @property
    def akey(self) -> str:
        """The key of a foreign member's account; "" for whoever has an object in Entra."""
        return "" if self.object_id is not None else str(self.account_key)

    @property
    def order(self) -> tuple[int, int, str, str, str]:
        """The place in a plan: always the same for the same plan."""
        return (
            self.phase,
            self.rank,
            self.group_id or "",
            self.object_id or self.account_key or "",
            self.kind,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A change, or an object, that is not sent, and why. `hint` says what a person can do."""

    object_id: ObjectId | None
    reason: Withheld
    detail: str
    hint: str = ""
    change: Change | None = None
    retry_at: float | None = None  # None: not before something about it changes
