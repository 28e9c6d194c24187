"""Entra's side: users and groups as the mirror knows them, and as the delta feeds deliver them.

A property that is missing from `properties` was not read yet; `None` means that Entra says "never
set" or "cleared". The two are kept apart everywhere (rule 5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

ObjectId = NewType("ObjectId", str)
"""Entra's GUID of a user or group, in lower case: the only join key, never the UPN."""


class Presence(StrEnum):
    """Whether Entra still has an object."""

    PRESENT = "present"
    SOFT_DELETED = "soft_deleted"  # `@removed: changed`, or absent from a complete crawl
    PURGED = "purged"  # `@removed: deleted`, or soft-deleted for longer than 31 days


@dataclass(frozen=True, slots=True)
class User:
    """A user as last pulled. `properties` has Graph's names; `since` is when she was seen gone."""

    id: ObjectId
    properties: Mapping[str, object]
    presence: Presence = Presence.PRESENT
    since: float | None = None

    @property
    def name(self) -> str:
        """How to speak of her to an operator."""
        return str(self.properties.get("userPrincipalName") or self.id)


@dataclass(frozen=True, slots=True)
class Group:
    """A group as last pulled."""

    id: ObjectId
    properties: Mapping[str, object]
    presence: Presence = Presence.PRESENT
    since: float | None = None

    @property
    def name(self) -> str:
        """How to speak of it to an operator."""
        return str(self.properties.get("displayName") or self.id)

    @property
    def is_security(self) -> bool:
        """A security group, mail-enabled or not; never a Microsoft 365 group (rule 12)."""
        types = self.properties.get("groupTypes") or ()
        unified = isinstance(types, (list, tuple)) and "Unified" in types
        return bool(self.properties.get("securityEnabled")) and not unified


class MemberKind(StrEnum):
    """What a member of a group is, by its `@odata.type`."""

    USER = "user"
    GROUP = "group"
    OTHER = "other"  # device, servicePrincipal, orgContact: kept out of every count


@dataclass(frozen=True, slots=True)
class MemberSeen:
    """One element of `members@delta`: a change of the list, not the list."""

    id: ObjectId
    kind: MemberKind
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """One appearance of an object on a page of a delta feed.

    `properties` holds only what the page carried; `manager` among them is an ObjectId, or None for
    nobody. `removed` is Graph's reason (`changed` or `deleted`), None for a living object.
    `members` is empty for users.
    """

    id: ObjectId
    properties: Mapping[str, object] = field(default_factory=dict)
    removed: str | None = None
    members: tuple[MemberSeen, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a delta feed: exactly one of the two links is set. For a listing, which can only
    be read again whole, the deltaLink is its first address."""

    items: tuple[Seen, ...]
    next_link: str | None = None
    delta_link: str | None = None


FEEDS = ("users", "groups")
"""The delta feeds, in the order in which they are read."""

MANAGERS = "managers"
"""A listing of who is whose manager, read by crawls alone: delta does not report it reliably."""

MANAGER = "manager"
"""Selected like a property, and no property: a relation to another user (decision 012)."""

USER_PROPERTIES = (
    "accountEnabled",
    "userPrincipalName",
    "mail",
    "displayName",
    "givenName",
    "surname",
    "userType",
    "otherMails",
    "mailNickname",
    "department",
    "jobTitle",
    "companyName",
    "employeeId",
    "employeeType",
    "officeLocation",
    "city",
    "country",
    "usageLocation",
    "preferredLanguage",
    "mobilePhone",
    "businessPhones",
    "onPremisesSamAccountName",
    "onPremisesUserPrincipalName",
    "onPremisesDomainName",
    "onPremisesSyncEnabled",
    "onPremisesExtensionAttributes",
)
"""Always selected, so that ordinary changes of the configuration need no new crawl (rule 5)."""

GROUP_PROPERTIES = (
    "displayName",
    "description",
    "mail",
    "mailNickname",
    "mailEnabled",
    "securityEnabled",
    "groupTypes",
    "onPremisesSamAccountName",
    "onPremisesSyncEnabled",
)
"""Always selected for groups, beside `members`."""
