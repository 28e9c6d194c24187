"""What the administrator decided, in the words of the configuration file (surface.md §1).

These are the settings that planning reads. The file's schema (`azsyncd.config`) is put together
from them, so that there is no second vocabulary. Durations are seconds.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from azsyncd.plan.expressions import Expression, Template

DURATION_PATTERN = r"^\d+(\.\d+)?\s*(ms|s|m|h|d)$"

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(value: object) -> float:
    """`500ms 30s 15m 4h 7d` → seconds; raises ValueError for anything else."""
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is no duration; write e.g. 500ms, 30s, 15m, 4h or 7d")
    return float(match[1]) * _SECONDS[match[2]]


def _duration(value: object, info: ValidationInfo) -> float:
    """Bare seconds are for the program: in a file (`context="file"`) a duration has a unit."""
    return value if isinstance(value, float) and info.context != "file" else seconds(value)


Duration = Annotated[
    float,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN}),
]


def _user_expression(source: str | bool) -> str | bool:
    Expression(source, "user")
    return source


def _group_expression(source: str | bool) -> str | bool:
    Expression(source, "group")
    return source


def _user_template(source: str) -> str:
    Template(source, "user")
    return source


def _group_template(source: str) -> str:
    Template(source, "group")
    return source


UserExpression = Annotated[str | bool, AfterValidator(_user_expression)]
UserTemplate = Annotated[str, AfterValidator(_user_template)]


class Settings(BaseModel):
    """Frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Entry(Settings):
    """One way to name groups: exactly one of the four keys."""

    name: str | None = None
    """A glob over the display name (`atl-*`); case is ignored."""
    regex: str | None = None
    """A Python regular expression that must match the whole display name."""
    id: Annotated[str, AfterValidator(str.lower)] | None = None
    """The object id. It stays right when the group is renamed."""
    where: Annotated[str | bool, AfterValidator(_group_expression)] | None = None
    """An expression over `group`, e.g. `"group.onPremisesSyncEnabled"`."""
    type: Literal["security", "any"] = "security"
    """Which groups `name` and `regex` match. Every employee can create Microsoft 365 groups of any
    name, so those need `any`."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Entry:
        given = [key for key in ("name", "regex", "id", "where") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError("needs exactly one of name, regex, id, where")
        if self.regex is not None:
            try:
                re.compile(self.regex)
            except re.error as error:
                raise ValueError(f"regex {self.regex!r} is not valid: {error}") from None
        return self

    @property
    def key(self) -> str:
        """How the entry is remembered and shown: `name: atl-*`."""
        field = next(k for k in ("name", "regex", "id", "where") if getattr(self, k) is not None)
        kind = ", type: any" if self.type == "any" else ""
        return f"{field}: {getattr(self, field)}{kind}"


class UserScope(Settings):
    """Which users: `where` and `members_of` must both hold where both are given."""

    where: UserExpression | None = None
    """An expression over `user`, e.g. `"user.userType == 'Member'"`."""
    members_of: tuple[Entry, ...] | None = None
    """Members of these groups, at any depth. The groups need not be in `groups.include`."""
    everybody: bool = False
    """Everybody in the tenant, guests too."""
    exclude: tuple[str, ...] = ()
    """Object ids or user principal names: hands off. Never created, changed or removed."""

    @field_validator("members_of")
    @classmethod
    def _not_empty(cls, value: tuple[Entry, ...] | None) -> tuple[Entry, ...] | None:
        if value == ():
            raise ValueError("an empty list would be nobody; name a group, or leave the key out")
        return value


class GroupScope(Settings):
    """Which groups are written."""

    include: tuple[Entry, ...] = ()
    """Groups that are written; none given = no groups. A linked group is followed by its id."""
    exclude: tuple[Entry | str, ...] = ()
    """Groups that are never written: entries as in `include` (of any type), object ids, names."""


class Scope(Settings):
    """Who and what is synced."""

    users: UserScope = UserScope()
    """Whose accounts are synced. At least one of where, members_of, everybody must be there."""
    groups: GroupScope = GroupScope()
    """Which groups, with their memberships, are synced."""


class Stage(Settings):
    """One step of a leaver policy."""

    after: Duration
    """How long after azsyncd saw the user leave."""
    do: Literal["keep", "strip_groups", "deactivate", "delete"]
    """What happens then."""


class AccountRules(Settings):
    """How an account is derived from a user, and what happens to it over the years."""

    username: UserTemplate = "{{ user.userPrincipalName | lower }}"
    """Template of the username."""
    email: UserTemplate = "{{ user.mail or user.userPrincipalName }}"
    """Template of the address."""
    display_name: UserTemplate = "{{ user.displayName }}"
    """Template of the name that others see."""
    active: UserExpression = "user.accountEnabled"
    """Expression: may the account be used?"""
    attributes: dict[str, UserTemplate] = Field(default_factory=dict)
    """Further attributes where the product has them, each a template; an empty one is cleared."""
    adopt: Literal["never", "username", "email", "username_and_email"] = "username"
    """By what an account that stands there already is taken over."""
    rename: bool = True
    """Follow a changed username where the product can rename."""
    rename_adopted: bool = False
    """Rename adopted accounts too: they had their names before azsyncd came."""
    product_access: Literal["by_groups", "default"] = "by_groups"
    """by_groups: a new account gets no licence by itself. default: what the product gives."""
    leavers: Literal["keep", "strip_groups", "deactivate", "delete"] | tuple[Stage, ...] = (
        "deactivate"
    )
    """What happens to the account of somebody who left the scope or the tenant; one step, or
    stages with their delay."""
    rehire: Literal["never", "purged", "deleted"] = "purged"
    """When a new user may take over the account of an old one of the same name: never, when the
    old user is gone for good, or already when she is soft-deleted and the employee id is equal."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The leaver policy as stages in the order of time; `delete` is inactive at once (33)."""
        if not isinstance(self.leavers, str):
            return tuple(sorted(self.leavers, key=lambda stage: stage.after))
        if self.leavers == "delete":
            return (Stage(after=0.0, do="deactivate"), Stage(after=0.0, do="delete"))
        return (Stage(after=0.0, do=self.leavers),)


class GroupRules(Settings):
    """How groups are derived from groups."""

    name: Annotated[str, AfterValidator(_group_template)] = "{{ group.displayName }}"
    """Template of the group's name."""
    create: bool = True
    """Create groups that are not there. false: only fill those that are."""
    adopt: bool = True
    """Sync members into a group that stands there under the name."""
    on_rename: Literal["keep", "new_group"] = "keep"
    """Products cannot rename groups. keep: go on under the old name. new_group: make another."""
    nested: Literal["flatten", "ignore", "keep"] = "flatten"
    """Groups in groups. flatten: whoever is in one is put into those above it too. ignore: she is
    not. keep: the groups stand in one another in the product as well (Crowd alone)."""
    foreign_members: Literal["keep", "remove"] = "keep"
    """Members of a synced group whom Entra never wanted there."""
    gone: Literal["keep", "empty", "delete"] = "keep"
    """What happens to a group that left the scope, or is gone from Entra."""
    default: tuple[str, ...] = ()
    """Groups of the product that every synced account is put into."""


class Protect(Settings):
    """Names or globs that are never written to; `allow` names administrators' groups to sync."""

    users: tuple[str, ...] = ()
    """Usernames or globs that are never written to."""
    groups: tuple[str, ...] = ()
    """Group names or globs that are never written to. Administrators' groups always are."""
    allow: tuple[str, ...] = ()
    """Administrators' groups that may be synced all the same."""


class Budget(Settings):
    """Allowance of one class: the larger of the two (rule 35)."""

    count: Annotated[int, Field(ge=0)] = 0
    """So many in a window."""
    percent: Annotated[float, Field(ge=0, le=100)] = 0
    """Or so many per cent of what the target has at the window's start, if that is more."""


class GuardClass(StrEnum):
    """The classes of writes that the guard counts."""

    DEACTIVATE = "deactivate"
    DISABLE = "disable"
    RENAME = "rename"
    UPDATE = "update"
    REMOVE_MEMBER = "remove_member"
    SHRINK_GROUP = "shrink_group"
    DELETE = "delete"
    DELETE_GROUP = "delete_group"
    CREATE = "create"
    ADD_MEMBER = "add_member"


Limit = Budget | Literal["unlimited"]


class GuardRules(Settings):
    """The guard's allowances (rules 35 to 38)."""

    window: Duration = 86400.0
    """The time over which writes are counted; it slides, and survives restarts."""
    deactivate: Limit = Budget(count=20, percent=1)
    """Deactivations of those who left the scope or are absent."""
    disable: Limit = Budget(count=50, percent=3)
    """Deactivations because Entra says disabled or deleted."""
    rename: Limit = Budget(count=10, percent=1)
    """Changed usernames."""
    update: Limit = Budget(count=100, percent=5)
    """Changed mail addresses or usernames of existing accounts."""
    remove_member: Limit = Budget(count=200, percent=2)
    """Memberships removed, over all groups."""
    shrink_group: Limit = Budget(count=20, percent=30)
    """Memberships removed from any one group; per cent of its members."""
    delete: Limit = Budget(count=0, percent=0)
    """Accounts deleted."""
    delete_group: Limit = Budget(count=0, percent=0)
    """Groups deleted."""
    create: Limit = "unlimited"
    """Accounts created."""
    add_member: Limit = "unlimited"
    """Memberships added."""

    def limit(self, of: GuardClass) -> Budget | None:
        """The class's budget; None = unlimited."""
        limit: Any = getattr(self, of.value)
        return limit if isinstance(limit, Budget) else None


class SeatRules(Settings):
    """Licences that creates must leave."""

    keep_free: Annotated[int, Field(ge=0)] = 0
    """So many licences stay free: accounts that would take them wait."""


class Mode(StrEnum):
    """How far azsyncd goes in a target (rule 40)."""

    SYNC = "sync"
    ADDITIONS_ONLY = "additions_only"
    MANUAL = "manual"
    REPORT = "report"


class Policy(Settings):
    """Everything that planning for one target needs of the file."""

    mode: Mode = Mode.SYNC
    """How far azsyncd goes: sync; additions_only (never deactivates, removes or deletes); manual
    (writes what is approved); report (reads only)."""
    scope: Scope = Scope()
    """Who and what, for this target: keys replace the common ones one by one, `exclude` adds up."""
    accounts: AccountRules = AccountRules()
    """How accounts are derived from users."""
    groups: GroupRules = GroupRules()
    """How groups are derived from groups."""
    protect: Protect = Protect()
    """What is never written to."""
    drift: Literal["repair", "report"] = "repair"
    """What was changed by hand in the product: put right, or only reported."""
    seats: SeatRules = SeatRules()
    """Licences."""
    guard: GuardRules = GuardRules()
    """How much may happen before a person is asked. A class left out has its default."""
