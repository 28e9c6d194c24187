"""What the administrator decided, in the words of the configuration file (surface.md §1).

These are the settings that planning reads. The file's schema (`azsyncd.config`) is put together
from them, so that there is no second vocabulary. Durations are seconds.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(value: object) -> float:
    """`500ms 30s 15m 4h 7d` → seconds; raises ValueError for anything else."""
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is no duration; write e.g. 500ms, 30s, 15m, 4h or 7d")
    return float(match[1]) * _SECONDS[match[2]]


Duration = Annotated[float, BeforeValidator(lambda v: v if isinstance(v, float) else seconds(v))]


class Settings(BaseModel):
    """Frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Entry(Settings):
    """One way to name groups: exactly one of the four keys."""

    name: str | None = None  # a glob over displayName, case ignored
    regex: str | None = None  # must match the whole displayName
    id: str | None = None
    where: str | None = None  # expression over `group`
    type: Literal["security", "any"] = "security"  # of what name and regex match (rule 12)

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

    where: str | bool | None = None
    members_of: tuple[Entry, ...] | None = None
    everybody: bool = False
    exclude: tuple[str, ...] = ()  # object ids or UPNs: hands off


class GroupScope(Settings):
    """Which groups are written."""

    include: tuple[Entry, ...] = ()
    exclude: tuple[Entry | str, ...] = ()


class Scope(Settings):
    """Who and what is synced."""

    users: UserScope = UserScope()
    groups: GroupScope = GroupScope()


class Stage(Settings):
    """One step of a leaver policy."""

    after: Duration
    do: Literal["keep", "strip_groups", "deactivate", "delete"]


class AccountRules(Settings):
    """How an account is derived from a user, and what happens to it over the years."""

    username: str = "{{ user.userPrincipalName | lower }}"
    email: str = "{{ user.mail or user.userPrincipalName }}"
    display_name: str = "{{ user.displayName }}"
    active: str | bool = "user.accountEnabled"
    attributes: dict[str, str] = Field(default_factory=dict)
    adopt: Literal["never", "username", "email", "username_and_email"] = "username"
    rename: bool = True
    rename_adopted: bool = False
    product_access: Literal["by_groups", "default"] = "by_groups"
    leavers: Literal["keep", "strip_groups", "deactivate", "delete"] | tuple[Stage, ...] = (
        "deactivate"
    )
    rehire: Literal["never", "purged", "deleted"] = "purged"

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

    name: str = "{{ group.displayName }}"
    create: bool = True
    adopt: bool = True
    on_rename: Literal["keep", "new_group"] = "keep"
    nested: Literal["flatten", "ignore", "keep"] = "flatten"
    foreign_members: Literal["keep", "remove"] = "keep"
    gone: Literal["keep", "empty", "delete"] = "keep"
    default: tuple[str, ...] = ()


class Protect(Settings):
    """Names or globs that are never written to; `allow` names administrators' groups to sync."""

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()


class Budget(Settings):
    """Allowance of one class: the larger of the two (rule 35)."""

    count: Annotated[int, Field(ge=0)]
    percent: Annotated[float, Field(ge=0, le=100)]


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
    deactivate: Limit = Budget(count=20, percent=1)
    disable: Limit = Budget(count=50, percent=3)
    rename: Limit = Budget(count=10, percent=1)
    update: Limit = Budget(count=100, percent=5)
    remove_member: Limit = Budget(count=200, percent=2)
    shrink_group: Limit = Budget(count=20, percent=30)
    delete: Limit = Budget(count=0, percent=0)
    delete_group: Limit = Budget(count=0, percent=0)
    create: Limit = "unlimited"
    add_member: Limit = "unlimited"

    def limit(self, of: GuardClass) -> Budget | None:
        """The class's budget; None = unlimited."""
        limit: Any = getattr(self, of.value)
        return limit if isinstance(limit, Budget) else None


class SeatRules(Settings):
    """Licences that creates must leave."""

    keep_free: Annotated[int, Field(ge=0)] = 0


class Mode(StrEnum):
    """How far azsyncd goes in a target (rule 40)."""

    SYNC = "sync"
    ADDITIONS_ONLY = "additions_only"
    MANUAL = "manual"
    REPORT = "report"


class Policy(Settings):
    """Everything that planning for one target needs of the file."""

    mode: Mode = Mode.SYNC
    scope: Scope = Scope()
    accounts: AccountRules = AccountRules()
    groups: GroupRules = GroupRules()
    protect: Protect = Protect()
    drift: Literal["repair", "report"] = "repair"
    seats: SeatRules = SeatRules()
    guard: GuardRules = GuardRules()
