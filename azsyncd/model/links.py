"""Which account is whose, and what is known of a membership."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from azsyncd.model.accounts import Account, TargetGroup
from azsyncd.model.identities import ObjectId


class Origin(StrEnum):
    """How an account or group became ours."""

    CREATED = "created"
    ADOPTED = "adopted"


class LinkState(StrEnum):
    """`pending`: a create was sent, or is about to be. `missing`: read once and not found."""

    PENDING = "pending"
    LIVE = "live"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountLink:
    """ObjectId ↔ the target's account.

    `sent` is what the pending create carried. `written` is what we last wrote (the baseline's
    written side; for an adopted account: what we agreed with). `deactivated` remembers that it was
    us who deactivated the account: only those are reactivated (rule 22).
    """

    object_id: ObjectId
    origin: Origin
    state: LinkState
    key: str | None = None
    sent: Account | None = None
    written: Account | None = None
    deactivated: bool = False
    left_at: float | None = None  # since when its owner is a leaver: stages count from here
    stripped: tuple[ObjectId, ...] = ()  # groups taken away by strip_groups, put back on return


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLink:
    """ObjectId ↔ the target's group."""

    object_id: ObjectId
    origin: Origin
    state: LinkState
    key: str | None = None
    sent: TargetGroup | None = None
    name: str = ""  # the target's own spelling


@dataclass(frozen=True, slots=True)
class Edge:
    """One membership that stands in the target, as we see it (rule 21).

    `ours` is None until it was decided: seen in a complete inventory and not judged yet.
    `inherited`: still shown after a confirmed removal, so it comes from elsewhere. `unsure`: the
    answer to our last write of it was lost, so that it may stand or not.
    """

    group: ObjectId
    ours: bool | None
    inherited: bool = False
    unsure: bool = False
