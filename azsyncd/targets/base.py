"""What a connector promises, whatever the product.

A connector translates; it decides nothing. It knows nothing of Entra and nothing of SQL.
"Already so" is success in every dialect: adding a member who is one, removing one who is none,
deactivating an inactive account, deleting what is gone. A connector retries nothing itself:
`azsyncd.http` has the one retry loop for what may be repeated, above it all is planned again.

Every method raises `TargetUnavailable` (network, 429, 5xx on reads), `TargetRefused` (401/403 on
reads, login page, captcha) or, for one object, `ChangeRejected` and its children. A 401, 403 or
5xx on a *write* is a `ChangeRejected(doubtful=True)`: the caller decides with `ask` (rule 30).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Protocol

from azsyncd.errors import ChangeRejected
from azsyncd.model.accounts import Account, Capabilities, Dialect, Mark, Seats, TargetGroup


class Target(Protocol):
    """One product under one name of the configuration."""

    name: str
    type: str
    dialect: Dialect

    async def fingerprint(self) -> str:
        """What tells this installation from another (rule 25): stable across restarts, upgrades
        and changes of our own credentials; e.g. the server id, or the normalised base URL where
        the product shows none."""
        ...

    async def probe(self) -> Capabilities:
        """Version, rights, directories, seats, administrators' groups, our own account."""
        ...

    async def ask(self) -> None:
        """One cheap question that needs our rights; returns if the product is well, else raises."""
        ...

    async def seats(self) -> tuple[Seats, ...]:
        """Licences now; empty where the product has none or does not show them."""
        ...

    # Reading ------------------------------------------------------------------------------------

    def accounts(self) -> AsyncIterator[Account]:
        """Every account that can be listed, inactive ones included; complete if
        `Capabilities.lists_all_accounts`. The mark need not be read here where that costs a call
        per account."""
        ...

    def groups(self) -> AsyncIterator[TargetGroup]:
        """Every group that can be listed."""
        ...

    def members(self, groups: Sequence[TargetGroup]) -> AsyncIterator[tuple[str, Sequence[str]]]:
        """For each of these groups that exists: its key, and its direct members' account keys;
        one group may come in several portions. Nothing is yielded for a group that is gone."""
        ...

    def children(self, groups: Sequence[TargetGroup]) -> AsyncIterator[tuple[str, Sequence[str]]]:
        """For each of these groups that exists: its key, and the keys of all groups that stand
        directly in it. Asked for only where `Capabilities.nests_groups`."""
        ...

    async def find_account(self, username: str) -> Account | None:
        """The account under exactly this username (case ignored), with its mark; None = absent."""
        ...

    async def read_account(self, account: Account) -> Account | None:
        """The account by its key, whatever it is called now, with its mark; None = absent."""
        ...

    async def find_group(self, name: str) -> TargetGroup | None:
        """The group under this name (case ignored); None = absent."""
        ...

    # Writing ------------------------------------------------------------------------------------

    async def create_account(self, account: Account) -> Account:
        """Create it, with `account.mark` where the product has a place for it.

        Returns it as the product stored it, key included. No password that anybody could use, no
        mail to the user, no product access of its own when so configured. Raises AlreadyExists.
        """
        ...

    async def finish_account(self, have: Account, sent: Account) -> None:
        """What `create_account` does once the account stands, for one whose answer nobody got.
        May be repeated; where the product refuses, the account stands all the same."""
        ...

    async def update_account(self, have: Account, want: Account) -> Account:
        """Write mail, display name and attributes of `want` to the account `have` without wiping
        what others wrote. Returns it as stored."""
        ...

    async def rename_account(self, have: Account, want: Account) -> Account:
        """Follow a changed username; where `Capabilities.unique_emails`, and the address that
        goes with it, in one request. Raises AlreadyExists if either is taken."""
        ...

    async def set_active(self, have: Account, active: bool) -> Account:
        """Deactivate or reactivate."""
        ...

    async def strip_account(self, have: Account, groups: Collection[str]) -> list[str]:
        """Where `Capabilities.strips_accounts`, or `strips_licences`: take away the account's own
        rights, and its memberships in these licence groups (names, folded). Called nowhere else.
        Returns what was taken, in words for the journal; nothing where it was so already."""
        ...

    async def mark_account(self, have: Account, mark: Mark) -> None:
        """Put the mark on an adopted account; does nothing where the product has no place."""
        ...

    async def delete_account(self, have: Account) -> None:
        """Delete it."""
        ...

    async def create_group(self, group: TargetGroup) -> TargetGroup:
        """Create it. Raises AlreadyExists."""
        ...

    async def delete_group(self, group: TargetGroup) -> None:
        """Delete it."""
        ...

    async def add_members(
        self, group: TargetGroup, accounts: Sequence[Account]
    ) -> Mapping[str, ChangeRejected]:
        """Add them, at most `Capabilities.members_per_call` at once. Returns those that the
        product refused, by account key; empty = all are members now. Raises NotFound if the group
        is gone."""
        ...

    async def remove_members(
        self, group: TargetGroup, accounts: Sequence[Account]
    ) -> Mapping[str, ChangeRejected]:
        """The same for removal."""
        ...

    async def add_child(self, group: TargetGroup, child: TargetGroup) -> None:
        """Put a group into a group, so that its people are in both. Only where
        `Capabilities.nests_groups`; raises ChangeRejected `unsupported` where that turns out to be
        switched off, and for a ring. Raises NotFound if one of them is gone."""
        ...

    async def remove_child(self, group: TargetGroup, child: TargetGroup) -> None:
        """The reverse."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
