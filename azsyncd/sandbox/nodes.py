"""What a simulated tenant consists of: objects, the lines of its log, and what subscribers hear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

UNSET: Final = object()
"""A property that was never set, as opposed to one that is null."""

KINDS: Mapping[str, Mapping[str, Any]] = {
    "security": {"groupTypes": [], "mailEnabled": False, "securityEnabled": True},
    "m365": {"groupTypes": ["Unified"], "mailEnabled": True, "securityEnabled": False},
    "mail_security": {"groupTypes": [], "mailEnabled": True, "securityEnabled": True},
    "distribution": {"groupTypes": [], "mailEnabled": True, "securityEnabled": False},
}
"""The kinds of groups, by the properties that make them.

https://learn.microsoft.com/en-us/graph/api/resources/groups-overview
"""


class Sort(StrEnum):
    """What a directory object is, by its `@odata.type`."""

    USER = "user"
    GROUP = "group"
    DEVICE = "device"
    SERVICE_PRINCIPAL = "servicePrincipal"
    CONTACT = "orgContact"

    @property
    def odata(self) -> str:
        """`#microsoft.graph.user`."""
        return f"#microsoft.graph.{self.value}"


class What(StrEnum):
    """What an entry of the log says."""

    CREATED = "created"
    CHANGED = "changed"
    MEMBER = "member"
    DELETED = "deleted"
    RESTORED = "restored"
    PURGED = "purged"


@dataclass(slots=True, eq=False)
class Node:
    """One directory object. `slots` are a group's members in the order in which they came; a slot
    whose member has left stays, so that a slice of the list means the same a minute later."""

    id: str
    sort: Sort
    properties: dict[str, Any]
    deleted_at: float | None = None
    purged: bool = False
    slots: list[str] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    parents: dict[str, None] = field(default_factory=dict)

    @property
    def living(self) -> bool:
        """Neither soft-deleted nor purged."""
        return self.deleted_at is None and not self.purged

    @property
    def feed(self) -> str:
        """The delta feed and log in which it stands."""
        return "users" if self.sort is Sort.USER else "groups"

    @property
    def name(self) -> str:
        """How to speak of it."""
        names = self.properties
        return str(names.get("userPrincipalName") or names.get("displayName") or self.id)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log. `before` has the earlier values of the properties that changed."""

    seq: int
    at: float
    id: str
    what: What
    before: Mapping[str, Any] = field(default_factory=dict)
    member: str = ""
    added: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """What a subscription rings for. Only purging is `deleted`; all else is `updated`."""

    feed: str
    id: str
    change_type: str
    seq: int
    at: float


class Refusal(ValueError):
    """The directory does not allow it."""
