"""Writing to the directory. Everything is a PATCH of what differs: a PUT would wipe the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from azsyncd.answers import Response
from azsyncd.errors import AlreadyExists, ChangeRejected, NotFound, TargetUnavailable
from azsyncd.model.accounts import Account, Mark, TargetGroup, fold
from azsyncd.targets.cloud import wire
from azsyncd.targets.cloud.reading import Reading
from azsyncd.targets.rest import map_of, text_of

_DOMAIN = (
    "Atlassian takes addresses of verified domains: verify the domain in admin.atlassian.com, or"
    " leave the user out of the scope"
)
_OWNED = (
    "another account has this name or address, in this directory or in Atlassian: give it another"
    " one, or unlink the old account in admin.atlassian.com"
)


class Writing(Reading):
    """What can be written to a SCIM directory."""

    # Accounts -----------------------------------------------------------------------------------

    async def create_account(self, account: Account) -> Account:
        """An Atlassian account with this address is linked, and nobody is mailed. A record that
        carries our mark for the same object under another name is taken up again."""
        standing = await self._marked_so(account)
        if standing is not None:
            if fold(text_of(standing.get("userName"))) == fold(account.username):
                raise self._exists(account)
            return await self._take_up(standing, account)
        body = wire.new_user(account, self._places)
        answer = await self._rest.write("POST", "/Users", json=body)
        if answer.status >= 400:
            raise await self._not_created(account, answer)
        shape = self._in(answer)
        stored = self._account_of(shape) if shape else await self.find_account(account.username)
        if stored is None:
            raise self._rest.strange(f"{account.username} was created and is not shown")
        if self._marked is not None and stored.mark is not None:
            self._marked.add(stored.mark.object_id)
        return stored

    def _in(self, answer: Response) -> Mapping[str, Any]:
        """The resource in the answer to a write; empty if there is none or it is garbled: what was
        written stands all the same, and can be read."""
        try:
            return map_of(self._rest.json(answer))
        except TargetUnavailable:
            return {}

    async def _marked_so(self, account: Account) -> Mapping[str, Any] | None:
        """The account that carries this mark. The directory does not keep marks unique: without
        this question somebody whose name has changed would get a second account."""
        if account.mark is None:
            return None
        object_id = account.mark.object_id
        if self._marked is not None and object_id not in self._marked:
            return None
        return await self._found("/Users", "externalId", object_id)

    async def _take_up(self, shape: Mapping[str, Any], want: Account) -> Account:
        have = self._account_of(shape)
        operations = [
            wire.put("userName", want.username),
            *wire.changes(shape, want, self._places),
        ]
        if have.active is not want.active:
            operations.append(wire.put("active", want.active is not False))
        return await self._patch(have, operations)

    def _exists(self, account: Account) -> AlreadyExists:
        return AlreadyExists(
            f"an account {account.username!r} exists", target=self.name, reason="conflict"
        )

    async def _not_created(self, account: Account, answer: Response) -> ChangeRejected:
        if answer.status == 409 or wire.kind_of(answer) == "uniqueness":
            if await self.find_account(account.username) is not None:
                return self._exists(account)
            return self._rest.rejected(
                answer, f"{account.email} is taken", _OWNED, reason="conflict"
            )
        if answer.status == 400:
            what = f"{account.email} is not taken by Atlassian"
            return self._rest.rejected(answer, what, _DOMAIN, reason="invalid_value")
        return self._rest.rejected(answer, f"{account.username} cannot be created")

    async def finish_account(self, have: Account, sent: Account) -> None:
        """Creating is one call."""

    async def update_account(self, have: Account, want: Account) -> Account:
        shape = await self._shape(have)
        if shape is None:
            raise self._gone(have)
        operations = wire.changes(shape, want, self._places)
        return await self._patch(have, operations) if operations else self._account_of(shape)

    async def rename_account(self, have: Account, want: Account) -> Account:
        """Username and address in one request: each is its owner's alone."""
        shape = await self._shape(have)
        if shape is None:
            raise self._gone(have)
        operations = wire.names(shape, want)
        try:
            return await self._patch(have, operations) if operations else self._account_of(shape)
        except ChangeRejected as error:
            if error.reason != "conflict" or isinstance(error, NotFound):
                raise
            what = f"the username {want.username!r} or the address {want.email!r} is taken"
            raise AlreadyExists(what, _OWNED, target=self.name, reason="conflict") from error

    async def set_active(self, have: Account, active: bool) -> Account:
        """An inactive account keeps its record, and loses every access."""
        stored = await self._patch(have, [wire.put("active", active)])
        if stored.active is not active:
            raise ChangeRejected(
                "Atlassian took the change and did nothing",
                "look at the account in admin.atlassian.com",
                target=self.name,
                reason="blocked",
            )
        return stored

    async def strip_account(self, have: Account, groups: Collection[str]) -> list[str]:
        """Never asked for: accounts can be deactivated."""
        return []

    async def mark_account(self, have: Account, mark: Mark) -> None:
        await self._patch(have, [wire.put("externalId", mark.object_id)])

    async def delete_account(self, have: Account) -> None:
        """For ever: the record is gone, and its managed account is deactivated."""
        answer = await self._rest.write("DELETE", self._path(have), repeatable=True)
        if answer.status >= 400 and answer.status != 404:
            raise self._rest.rejected(answer, f"{have.username} cannot be deleted")

    async def _patch(self, have: Account, operations: Iterable[Mapping[str, Any]]) -> Account:
        answer = await self._rest.write(
            "PATCH", self._path(have), json=wire.patch(operations), repeatable=True
        )
        if answer.status == 404:
            raise self._gone(have)
        if answer.status == 409 or wire.kind_of(answer) == "uniqueness":
            what = f"{have.username} cannot have this name or address"
            raise self._rest.rejected(answer, what, _OWNED, reason="conflict")
        if answer.status >= 400:
            what = f"{have.username} cannot be changed so"
            raise self._rest.rejected(answer, what, reason="invalid_value")
        shape = self._in(answer) or await self._shape(have)
        if shape is None:
            raise self._gone(have)
        return self._account_of(shape)

    # Groups -------------------------------------------------------------------------------------

    async def create_group(self, group: TargetGroup) -> TargetGroup:
        body = {"schemas": [wire.CORE_GROUP], "displayName": group.name}
        answer = await self._rest.write("POST", "/Groups", json=body)
        if answer.status < 400:
            shape = self._in(answer)
            stored = wire.group_of(shape) if shape else await self.find_group(group.name)
            if stored is None:
                raise self._rest.strange(f"the group {group.name!r} was created and is not shown")
            return replace(stored, description=group.description)
        if answer.status == 409 or await self.find_group(group.name) is not None:
            raise AlreadyExists(
                f"a group {group.name!r} exists", target=self.name, reason="conflict"
            )
        raise self._rest.rejected(
            answer, f"the group {group.name!r} cannot be created", reason="invalid_value"
        )

    async def delete_group(self, group: TargetGroup) -> None:
        path = await self._group_path(group)
        if path is None:
            return
        answer = await self._rest.write("DELETE", path, repeatable=True)
        if answer.status >= 400 and answer.status != 404:
            raise self._rest.rejected(answer, f"the group {group.name!r} cannot be deleted")

    # Members ------------------------------------------------------------------------------------

    async def add_members(
        self, group: TargetGroup, accounts: Sequence[Account]
    ) -> Mapping[str, ChangeRejected]:
        return await self._change("add", group, accounts)

    async def remove_members(
        self, group: TargetGroup, accounts: Sequence[Account]
    ) -> Mapping[str, ChangeRejected]:
        return await self._change("remove", group, accounts)

    async def _change(
        self, op: str, group: TargetGroup, accounts: Sequence[Account]
    ) -> Mapping[str, ChangeRejected]:
        """All at once: an unknown one spoils it for all, and then each half is tried by itself."""
        if not accounts:
            return {}
        path = await self._group_path(group)
        if path is None:
            raise self._no_group(group)
        keys = [str(account.key) for account in accounts]
        body = wire.patch([wire.of_members(op, keys)])
        try:
            answer = await self._rest.write("PATCH", path, json=body, repeatable=True)
        except ChangeRejected as error:
            return _all(keys, error)
        if answer.status < 400:
            return {}
        if await self._members_of(group) is None:
            raise self._no_group(group)
        return await self._halves(op, group, accounts, answer)

    async def _halves(
        self, op: str, group: TargetGroup, accounts: Sequence[Account], answer: Response
    ) -> Mapping[str, ChangeRejected]:
        if len(accounts) > 1:
            half = len(accounts) // 2
            refused = dict(await self._change(op, group, accounts[:half]))
            return {**refused, **await self._change(op, group, accounts[half:])}
        account = accounts[0]
        if await self._shape(account) is None:
            return {} if op == "remove" else {str(account.key): self._gone(account)}
        what = f"the membership of {account.username} in {group.name!r} cannot be changed"
        return {str(account.key): self._rest.rejected(answer, what)}

    def _no_group(self, group: TargetGroup) -> NotFound:
        return NotFound(f"the group {group.name!r} is gone", target=self.name, reason="conflict")

    def _gone(self, account: Account) -> NotFound:
        return NotFound(
            f"the account {account.username!r} is gone",
            target=self.name,
            reason="conflict",
            status=404,
        )


def _all(keys: Sequence[str], error: ChangeRejected) -> Mapping[str, ChangeRejected]:
    """One refusal for all; a single question to the product decides what it means (rule 30)."""
    rest = ChangeRejected(
        error.message, error.hint, target=error.target, reason=error.reason, status=error.status
    )
    return {key: rest if number else error for number, key in enumerate(keys)}
