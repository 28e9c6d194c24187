"""Writing to Bitbucket. It answers 401 where others answer 403, and many members at once all or
none: what a refusal means is found by reading again, and by halving."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from azsyncd.answers import Response
from azsyncd.errors import AlreadyExists, ChangeRejected, NotFound, TargetUnavailable
from azsyncd.model.accounts import Account, Mark, TargetGroup, fold
from azsyncd.targets.bitbucket import wire
from azsyncd.targets.bitbucket.reading import Reading
from azsyncd.targets.rest import map_of, text_of

_SEATS = "free seats, or buy some; it goes on by itself"
_READ_ONLY = "change it where its directory comes from, or make the directory writable"
_HIGHER = "only a system administrator can change this: make azsyncd's account one, or protect it"
NO_DEACTIVATION = (
    "its groups are taken away; deactivate it in the directory where it stands, take its own global"
    " permissions and keys away, or delete it"
)
_REFUSALS = (401, 403)


class Writing(Reading):
    """What can be written to a Bitbucket."""

    # Accounts -----------------------------------------------------------------------------------

    async def create_account(self, account: Account) -> Account:
        """Everything goes in the query, the password that nobody ever knows too."""
        params = {
            "name": account.username,
            "displayName": account.display_name,
            "emailAddress": account.email,
            "password": self._secret(),
            "addToDefaultGroup": self._product_access == "default",
        }
        answer = await self._write("POST", "/admin/users", params=params)
        if answer.status >= 400:
            raise await self._not_created(account, answer)
        stored = await self.find_account(account.username)
        if stored is None:
            raise self._rest.strange(f"{account.username} was created and is not shown")
        return stored

    async def _not_created(self, account: Account, answer: Response) -> ChangeRejected:
        if answer.status == 409 or await self.find_account(account.username) is not None:
            return AlreadyExists(
                f"an account {account.username!r} exists", target=self.name, reason="conflict"
            )
        if wire.is_about_licence(answer) or await self._lacks_seats(answer):
            return self._rest.rejected(answer, "no licence seat", _SEATS, reason="licence")
        return self._no(answer, f"{account.username} cannot be created")

    async def _lacks_seats(self, answer: Response) -> bool:
        """A 403 to a new account is one for want of seats, whatever the exception is called."""
        if answer.status != 403 or self._product_access == "by_groups":
            return False
        body = await self._rest.read("/admin/license", absent=frozenset({403, 404}))
        return any(each.remaining == 0 for each in wire.seats_of(body))

    async def finish_account(self, have: Account, sent: Account) -> None:
        """Creating is one call."""

    async def update_account(self, have: Account, want: Account) -> Account:
        """All three at once: what is not sent might be wiped."""
        body = {
            "name": have.username,
            "displayName": want.display_name or have.display_name,
            "email": want.email or have.email,
        }
        answer = await self._write("PUT", "/admin/users", json=body, repeatable=True)
        if answer.status >= 400:
            raise await self._not_changed(have, answer)
        return await self._stored(have, have.username, answer)

    async def _not_changed(self, have: Account, answer: Response) -> ChangeRejected:
        if answer.status in _REFUSALS:
            return self._no(answer, f"{have.username} cannot be changed")
        now = await self.read_account(have)
        if now is None or fold(now.username) != fold(have.username):
            return self._gone(have)
        if not now.writable:
            what = f"{have.username} stands in a read-only directory ({now.directory})"
            return self._rest.rejected(answer, what, _READ_ONLY, reason="read_only")
        return self._no(answer, f"{have.username} cannot be changed")

    async def rename_account(self, have: Account, want: Account) -> Account:
        username = want.username
        body = {"name": have.username, "newName": username}
        answer = await self._write("POST", "/admin/users/rename", json=body)
        if answer.status < 400:
            return await self._stored(have, username, answer)
        other = await self.find_account(username)
        if other is not None and other.key == have.key:
            return other
        if other is not None:
            raise AlreadyExists(
                f"the username {username!r} is taken", target=self.name, reason="conflict"
            )
        raise await self._not_changed(have, answer)

    async def _stored(self, have: Account, username: str, answer: Response) -> Account:
        """The account in the answer to a change of it, or as it is found."""
        try:
            shape = map_of(self._rest.json(answer))
        except TargetUnavailable:  # nothing, or garbled: the change stands all the same
            shape = {}
        if "mutableDetails" in shape and text_of(shape.get("name")):
            return wire.account_of(shape)
        found = await self.find_account(username)
        if found is None:
            raise self._gone(have)
        return found

    async def set_active(self, have: Account, active: bool) -> Account:
        """Not in Bitbucket (BSERV-8817): `strip_account` is what is nearest to it."""
        raise ChangeRejected(
            f"Bitbucket cannot {'reactivate' if active else 'deactivate'} accounts through its API",
            NO_DEACTIVATION if not active else "activate it in the directory where it stands",
            target=self.name,
            reason="unsupported",
        )

    async def strip_account(self, have: Account, groups: Collection[str]) -> list[str]:
        """Take away what lets an account in: its own global permissions, and the groups that hold
        nothing but the licence. Groups that administer are protected and stay (rule 24)."""
        taken: list[str] = []
        if await self._has_grant(have.username):
            params = {"name": have.username}
            answer = await self._write("DELETE", "/admin/permissions/users", params=params)
            if answer.status >= 400 and await self._has_grant(have.username):
                raise self._no(answer, f"{have.username} keeps its global permissions")
            taken.append("its own global permissions")
        granted = await self._granted_groups()
        for name in sorted(await self._groups_of(have.username)):
            if name in groups and granted.get(name) in wire.LICENSED:
                refused = await self._remove(wire.group_of(name), have)
                if refused is not None:
                    raise refused
                taken.append(name)
        return taken

    async def mark_account(self, have: Account, mark: Mark) -> None:
        """Bitbucket has no place for it."""

    async def delete_account(self, have: Account) -> None:
        """For seven days its permissions and keys wait for somebody of the same name."""
        now = await self.read_account(have)
        if now is None:
            return
        params = {"name": now.username}
        answer = await self._write("DELETE", "/admin/users", params=params)
        if answer.status >= 400 and await self.read_account(have) is not None:
            raise self._no(answer, f"{now.username} cannot be deleted")

    # Groups -------------------------------------------------------------------------------------

    async def create_group(self, group: TargetGroup) -> TargetGroup:
        answer = await self._write("POST", "/admin/groups", params={"name": group.name})
        if answer.status < 400:
            return wire.group_of(group.name)
        if answer.status == 409 or await self.find_group(group.name) is not None:
            raise AlreadyExists(
                f"a group {group.name!r} exists", target=self.name, reason="conflict"
            )
        raise self._no(answer, f"the group {group.name!r} cannot be created")

    async def delete_group(self, group: TargetGroup) -> None:
        answer = await self._write("DELETE", "/admin/groups", params={"name": group.name})
        if answer.status >= 400 and await self.find_group(group.name) is not None:
            raise self._no(answer, f"the group {group.name!r} cannot be deleted")

    # Members ------------------------------------------------------------------------------------

    async def add_members(
        self, group: TargetGroup, accounts: Sequence[Account]
    ) -> Mapping[str, ChangeRejected]:
        """All at once: if one of them cannot be, none is, and each half is tried by itself."""
        if not accounts:
            return {}
        body = {"group": group.name, "users": [account.username for account in accounts]}
        try:
            answer = await self._write("POST", "/admin/groups/add-users", json=body)
        except ChangeRejected as error:
            return {str(account.key): error for account in accounts}
        if answer.status < 400:
            return {}
        if answer.status in _REFUSALS and not wire.is_about_licence(answer):
            return self._none_added(group, accounts, answer)
        if len(accounts) > 1:
            if answer.status == 404 and await self.find_group(group.name) is None:
                raise self._no_group(group)
            half = len(accounts) // 2
            refused = dict(await self.add_members(group, accounts[:half]))
            return {**refused, **await self.add_members(group, accounts[half:])}
        alone = await self._not_added(group, accounts[0], answer)
        return {} if alone is None else {str(accounts[0].key): alone}

    def _none_added(
        self, group: TargetGroup, accounts: Sequence[Account], answer: Response
    ) -> Mapping[str, ChangeRejected]:
        """The group, or we, and not one of them: a single question decides for all (rule 30)."""
        first, *others = (
            self._no(answer, f"{account.username} cannot be put into {group.name!r}")
            for account in accounts
        )
        for error in others:
            error.doubtful = False
        keys = (str(account.key) for account in accounts)
        return dict(zip(keys, (first, *others), strict=True))

    async def _not_added(
        self, group: TargetGroup, account: Account, answer: Response
    ) -> ChangeRejected | None:
        if fold(group.name) in await self._groups_of(account.username):
            return None
        if await self.find_group(group.name) is None:
            raise self._no_group(group)
        shape = await self._shape(account.username)
        if shape is None:
            return self._gone(account)
        if wire.is_about_licence(answer):
            return self._rest.rejected(answer, "no licence seat", _SEATS, reason="licence")
        what = f"{account.username} cannot be put into {group.name!r}"
        if shape.get("mutableGroups") is False:
            return self._rest.rejected(answer, what, _READ_ONLY, reason="read_only")
        return self._no(answer, what)

    async def remove_members(
        self, group: TargetGroup, accounts: Sequence[Account]
    ) -> Mapping[str, ChangeRejected]:
        """One by one: Bitbucket has no way to remove many (BSERV-13707)."""
        refused: dict[str, ChangeRejected] = {}
        for account in accounts:
            if (error := await self._remove(group, account)) is not None:
                refused[str(account.key)] = error
        return refused

    async def _remove(self, group: TargetGroup, account: Account) -> ChangeRejected | None:
        body = {"context": account.username, "itemName": group.name}
        try:
            answer = await self._write("POST", "/admin/users/remove-group", json=body)
        except ChangeRejected as error:
            return error
        if answer.status < 400:
            return None
        if answer.status == 404 and await self.find_group(group.name) is None:
            raise self._no_group(group)
        shape = await self._shape(account.username)
        if shape is None or fold(group.name) not in await self._groups_of(account.username):
            return None
        what = f"{account.username} is still in {group.name!r}"
        if shape.get("mutableGroups") is False:
            return self._rest.rejected(answer, what, _READ_ONLY, reason="read_only")
        return self._no(answer, what)

    # Refusals -----------------------------------------------------------------------------------

    async def _write(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, object] | None = None,
        json: object | None = None,
        repeatable: bool = False,
    ) -> Response:
        return await self._rest.write(
            method, path, params=params, json=json, repeatable=repeatable, readable=_REFUSALS
        )

    def _no(self, answer: Response, what: str) -> ChangeRejected:
        """A 401 or 403 may be about us: the caller asks (rule 30)."""
        if answer.status in _REFUSALS:
            return self._rest.rejected(answer, what, _HIGHER, doubtful=True)
        if answer.status == 400 and wire.contexts(answer):
            return self._rest.rejected(answer, "not a value for Bitbucket", reason="invalid_value")
        return self._rest.rejected(answer, what)

    def _no_group(self, group: TargetGroup) -> NotFound:
        return NotFound(f"the group {group.name!r} is gone", target=self.name, reason="conflict")

    def _gone(self, account: Account) -> NotFound:
        return NotFound(
            f"the account {account.username!r} is gone",
            target=self.name,
            reason="conflict",
            status=404,
        )
