"""A target's side: accounts and groups as they are, or as they should be.

One type serves desired, observed and baseline, so that a difference is a comparison of two equals.
`None` in a field means "not known" (the product does not show it, or nobody asked for it): unknown
is never different.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Mark:
    """The ownership mark that azsyncd leaves on an account where the product has a place for it."""

    instance: str
    object_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account in a target.

    `key` is the product's own, immutable id where it has one (Jira's user key, Crowd's key, SCIM's
    id) and None while the account is only desired. `writable` is False where the account stands in
    a read-only directory. `directory` is the directory's name, where it can be seen.
    """

    username: str
    email: str | None = None
    display_name: str | None = None
    active: bool | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    mark: Mark | None = None
    writable: bool = True
    directory: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetGroup:
    """A group in a target. `key` is the product's own id, or its name where it has none."""

    name: str
    key: str | None = None
    description: str | None = None
    writable: bool = True


@dataclass(frozen=True, slots=True)
class Seats:
    """One application's licence: `remaining` None = unlimited. `groups`: those that give it, as
    far as the product says (names, folded); none = any group that gives a licence."""

    application: str
    total: int | None
    remaining: int | None
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Directory:
    """One user directory of a product, as far as it can be seen."""

    name: str
    kind: str = ""
    writable: bool | None = None
    active: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a product can do, as probed and not as its version number suggests.

    A False comes with a line in `instead`, keyed by the field's name: what a person can do.
    """

    version: str = ""
    signed_in_as: str | None = None
    creates_accounts: bool = True
    updates_accounts: bool = True
    renames_accounts: bool = True
    deactivates_accounts: bool = True
    deletes_accounts: bool = True
    strips_accounts: bool = False  # True: `strip_account` takes rights away instead (rule 32)
    strips_licences: bool = False  # likewise the licences of one whose deactivation is refused
    creates_groups: bool = True
    deletes_groups: bool = True
    writes_members: bool = True
    lists_all_accounts: bool = True  # False: only a targeted read proves absence
    shows_email: bool = True
    unique_emails: bool = False  # an address is a name: it goes with the username
    has_attributes: bool = False
    has_marks: bool = False
    lists_marks: bool = True  # False: a mark is a question of its own
    nests_groups: bool = False
    members_per_call: int = 1  # so many are added at once
    removals_per_call: int = 1  # and taken out
    admin_groups: frozenset[str] = frozenset()  # names, casefolded: protected (rule 24)
    admin_endings: tuple[str, ...] = ("administrators",)  # so do such names end, standing or not
    licence_groups: frozenset[str] = frozenset()
    directories: tuple[Directory, ...] = ()
    seats: tuple[Seats, ...] = ()
    instead: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()  # one line each, for `azsyncd check`

    def administers(self, name: str) -> bool:
        """Whether a group of this name has administrative rights, or would have by its name."""
        folded = fold(name)
        return folded in self.admin_groups or folded.endswith(self.admin_endings)


class InvalidValue(ValueError):
    """A value that cannot be made legal for the product; the message says why (rule 15)."""


class Dialect(Protocol):
    """A product's rules for names: pure, so that planning can use them (rule 15)."""

    def account(self, account: Account) -> Account:
        """The account as the product would store it (case, blanks); raises InvalidValue."""
        ...

    def group(self, name: str) -> str:
        """The group's name as the product would store it; raises InvalidValue."""
        ...


def fold(name: str) -> str:
    """The form in which names are compared: every product of ours ignores case."""
    return name.casefold()


DIFFERENCES = ("email", "display_name", "attributes")
"""What an `update` writes, in the order in which it is shown; the username is a rename."""


def differences(have: Account, want: Account) -> tuple[str, ...]:
    """The fields of DIFFERENCES in which `have` is known to differ from `want`."""
    found = []
    if want.email is not None and have.email is not None and fold(have.email) != fold(want.email):
        found.append("email")
    if want.display_name is not None and have.display_name not in (None, want.display_name):
        found.append("display_name")
    if any(have.attributes.get(name, "") != value for name, value in want.attributes.items()):
        found.append("attributes")
    return tuple(found)
