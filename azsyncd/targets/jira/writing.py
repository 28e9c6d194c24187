"""Writing to Jira. What a refusal means is found by reading again, never by its translated text."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote

from azsyncd.answers import NotJson, Response
from azsyncd.errors import AlreadyExists, ChangeRejected, NotFound, TargetError
from azsyncd.model.accounts import Account, Mark, TargetGroup, fold
from azsyncd.targets.jira import wire
from azsyncd.targets.jira.reading import Reading
from azsyncd.targets.rest import map_of, rows_of, text_of

_LEADS = "make somebody else the lead of these projects and components; it is tried again"
_SEATS = "free seats, or buy some; it goes on by itself"
_STAYS = (
    "the membership comes from a nested group or another directory, or it is the last one that"
    " administers Jira"
)
_OLD = "Jira can do this from 8.3; older ones through their Crowd interface"
_READ_ONLY = "the directory must be writable for Jira, and external user management off"


class Writing(Reading):
    """What can be written to a Jira."""

    # Accounts -----------------------------------------------------------------------------------

    async def create_account(self, account: Account) -> Account:
        """Without a password of ours (Jira makes one that nobody knows) and without a mail."""
        body: dict[str, object] = {
            "name": account.username,
            "emailAddress": account.email,
            "displayName": account.display_name,
        }
        if self._product_access == "by_groups":
            body["applicationKeys"] = []
        answer = await self._rest.write("POST", "/user", json=body)
        if answer.status >= 400:
            raise await self._not_created(account, answer)
        shape = _account_in(answer)
        stored = wire.account_of(shape) if shape else await self._created(account)
        # It stands now: whatever fails from here on does not undo that, and is found as drift.
        try:
            if account.mark is not None and self._has_marks:
                await self.mark_account(stored, account.mark)
                stored = replace(stored, mark=account.mark)
            stored = await self._write_attributes(stored, account.attributes)
        except ChangeRejected:
            pass
        if self._product_access == "by_groups":
            await self._take_access(stored, shape)
        return stored

    async def finish_account(self, have: Account, sent: Account) -> None:
        if sent.mark is not None and have.mark is None and self._has_marks:
            try:
                await self.mark_account(have, sent.mark)
            except ChangeRejected:
                pass
        if self._product_access == "by_groups":
            await self._take_access(have, {"applicationRoles": {"size": 1}})

    async def _created(self, account: Account) -> Account:
        stored = await self._plain({"username": account.username})
        if stored is None:
            raise self._rest.strange(f"{account.username} was created and is not shown")
        return stored

    async def _take_access(self, account: Account, shape: Mapping[str, object]) -> None:
        """Take back what a Jira gave that passes over `applicationKeys: []`. Failing that fails
        nothing: the account stands, and a seat too many is no reason to lose it."""
        if not map_of(shape.get("applicationRoles")).get("size"):
            return
        try:
            params = {"username": account.username, "expand": "applicationRoles"}
            body = map_of(await self._rest.read("/user", params, of_one=True))
            for role in rows_of(map_of(body.get("applicationRoles")).get("items")):
                params = {"username": account.username, "applicationKey": text_of(role.get("key"))}
                await self._rest.write("DELETE", "/user/application", params=params)
        except ChangeRejected:
            pass

    async def _not_created(self, account: Account, answer: Response) -> ChangeRejected:
        if await self._plain({"username": account.username}) is not None:
            return AlreadyExists(
                f"an account {account.username!r} exists", target=self.name, reason="conflict"
            )
        named = wire.fields(answer)
        if "applicationKeys" in named or await self._lacks_seats(account):
            return self._rest.rejected(answer, "no licence seat", _SEATS, reason="licence")
        if named & {"username", "email", "emailAddress", "displayName", "name"}:
            return self._rest.rejected(answer, "not a value for Jira", reason="invalid_value")
        return self._no(answer, "cannot be created")

    async def _lacks_seats(self, account: Account) -> bool:
        """Only an account that gets a product by itself takes a seat at once."""
        if self._product_access == "by_groups":
            return False
        return any(
            self._full(role) for role in await self._roles() if role.get("selectedByDefault")
        )

    async def update_account(self, have: Account, want: Account) -> Account:
        body: dict[str, object] = {}
        if want.email is not None and want.email != have.email:
            body["emailAddress"] = want.email
        if want.display_name is not None and want.display_name != have.display_name:
            body["displayName"] = want.display_name
        stored = have
        if body:
            stored = await self._edit(have, body, "cannot be edited")
        return await self._write_attributes(stored, want.attributes)

    async def rename_account(self, have: Account, want: Account) -> Account:
        username = want.username
        answer = await self._put(have, {"name": username})
        now = await self._plain({"key": str(have.key)})
        if now is None:
            raise self._gone(have)
        if fold(now.username) == fold(username):
            return self._kept(have, now)
        other = await self._plain({"username": username})
        if other is not None and other.key != have.key:
            raise AlreadyExists(
                f"the username {username!r} is taken", target=self.name, reason="conflict"
            )
        raise self._rest.rejected(
            answer,
            f"{have.username} cannot be renamed here",
            "rename it in the directory where it stands; it goes on being synced as it is called",
            reason="unsupported",
        )

    async def set_active(self, have: Account, active: bool) -> Account:
        """From 8.3. Leads of projects and components cannot be deactivated."""
        answer = await self._put(have, {"active": active})
        now = await self._stored(have, answer) if answer.status < 400 else have
        if answer.status >= 400 or now.active is not active:
            read = await self._plain({"key": str(have.key)})
            if read is None:
                raise self._gone(have)
            now = read
        if now.active is not active:
            raise self._still(have, answer, active)
        if not active:
            await self._end_sessions(have)
        return self._kept(have, now)

    def _still(self, have: Account, answer: Response, active: bool) -> ChangeRejected:
        if answer.status < 400:
            return self._rest.rejected(
                answer,
                "Jira took the change and did nothing",
                _OLD,
                reason="unsupported",
            )
        if not self._deactivates:
            return self._rest.rejected(answer, "this Jira is too old", _OLD, reason="unsupported")
        if "active" in wire.fields(answer) and not active:
            return self._rest.rejected(answer, f"{have.username} is still needed", _LEADS)
        return self._no(answer, f"{have.username} stays {'inactive' if active else 'active'}")

    async def _end_sessions(self, account: Account) -> None:
        """Whoever is logged in goes at once. That is a courtesy: failing it fails nothing."""
        name = account.username
        if "/" in name or "\\" in name or not name.strip("."):
            return  # servers, and proxies before them, make other paths of these
        try:
            await self._rest.write("DELETE", f"/user/session/{quote(name, safe='')}")
        except TargetError:
            pass

    async def strip_account(self, have: Account, groups: Collection[str]) -> list[str]:
        """A lead cannot be deactivated: without a licence group nobody signs in either."""
        params = {"key": str(have.key), "expand": "groups"}
        body = map_of(await self._rest.read("/user", params, of_one=True))
        taken: list[str] = []
        refused: ChangeRejected | None = None
        for each in rows_of(map_of(body.get("groups")).get("items")):
            name = text_of(each.get("name"))
            if fold(name) in groups:
                refused = await self._remove(TargetGroup(name=name), have) or refused
                taken.append(name)
        if refused is not None:
            raise refused
        return taken

    async def mark_account(self, have: Account, mark: Mark) -> None:
        if self._has_marks:
            await self._put_property(have, wire.MARK, wire.mark_value(mark))

    async def delete_account(self, have: Account) -> None:
        """Refused while anything in Jira belongs to the account."""
        answer = await self._rest.write("DELETE", "/user", params={"key": have.key})
        if answer.status >= 400 and await self._plain({"key": str(have.key)}) is not None:
            raise self._rest.rejected(
                answer,
                f"{have.username} cannot be deleted",
                "its issues, comments or projects need it: leave it deactivated, or anonymise it",
            )

    async def _edit(self, have: Account, body: Mapping[str, object], what: str) -> Account:
        answer = await self._put(have, body)
        if answer.status < 400:
            return await self._stored(have, answer)
        if answer.status == 404 and await self._plain({"key": str(have.key)}) is None:
            raise self._gone(have)
        if wire.fields(answer) & {"email", "emailAddress", "displayName", "fullName"}:
            raise self._rest.rejected(answer, "not a value for Jira", reason="invalid_value")
        raise self._no(answer, f"{have.username} {what}")

    async def _put(self, have: Account, body: Mapping[str, object]) -> Response:
        """Once more does no harm, a rename apart: somebody else may have the old name by then."""
        return await self._rest.write(
            "PUT", "/user", params={"key": have.key}, json=body, repeatable="name" not in body
        )

    async def _stored(self, have: Account, answer: Response) -> Account:
        """The account in the answer to a change of it; read again where it is not in there."""
        if shape := _account_in(answer):
            return self._kept(have, wire.account_of(shape))
        now = await self._plain({"key": str(have.key)})
        if now is None:
            raise self._gone(have)
        return self._kept(have, now)

    def _kept(self, have: Account, now: Account) -> Account:
        return replace(
            now, key=now.key or have.key, mark=have.mark, attributes=dict(have.attributes)
        )

    # Properties ---------------------------------------------------------------------------------

    async def _write_attributes(self, account: Account, wanted: Mapping[str, str]) -> Account:
        """One user property each, under its own name; an empty one is taken away."""
        if not self._has_marks:
            return account
        stored = {**dict.fromkeys(self._attributes, ""), **account.attributes}
        for name, value in wanted.items():
            if stored.get(name, "") == value:
                continue
            if value:
                await self._put_property(account, name, value)
            else:
                await self._drop_property(account, name)
            stored[name] = value
        return replace(account, attributes=stored)

    async def _put_property(self, account: Account, name: str, value: object) -> None:
        path = f"/user/properties/{quote(name, safe='')}"
        params = {"userKey": account.key}
        answer = await self._rest.write("PUT", path, params=params, json=value, repeatable=True)
        if answer.status == 404:
            raise self._gone(account)
        if answer.status >= 400:
            what = f"the property {name!r} cannot be written"
            raise self._rest.rejected(answer, what, reason="invalid_value")

    async def _drop_property(self, account: Account, name: str) -> None:
        path = f"/user/properties/{quote(name, safe='')}"
        answer = await self._rest.write("DELETE", path, params={"userKey": account.key})
        if answer.status >= 400 and answer.status != 404:
            raise self._rest.rejected(answer, f"the property {name!r} cannot be taken away")

    # Groups -------------------------------------------------------------------------------------

    async def create_group(self, group: TargetGroup) -> TargetGroup:
        answer = await self._rest.write("POST", "/group", json={"name": group.name})
        if answer.status < 400:
            return wire.group_of(group.name)
        if await self.find_group(group.name) is not None:
            raise AlreadyExists(
                f"a group {group.name!r} exists", target=self.name, reason="conflict"
            )
        raise self._no(answer, f"the group {group.name!r} cannot be created")

    async def delete_group(self, group: TargetGroup) -> None:
        params = {"groupname": group.name}
        answer = await self._rest.write("DELETE", "/group", params=params)
        if answer.status >= 400 and await self.find_group(group.name) is not None:
            raise self._no(answer, f"the group {group.name!r} cannot be deleted")

    # Members ------------------------------------------------------------------------------------

    async def add_members(
        self, group: TargetGroup, accounts: Sequence[Account]
    ) -> Mapping[str, ChangeRejected]:
        refused: dict[str, ChangeRejected] = {}
        for account in accounts:
            if (error := await self._add(group, account)) is not None:
                refused[str(account.key)] = error
        return refused

    async def _add(self, group: TargetGroup, account: Account) -> ChangeRejected | None:
        params, body = {"groupname": group.name}, {"name": account.username}
        try:
            answer = await self._rest.write("POST", "/group/user", params=params, json=body)
        except ChangeRejected as error:
            return error
        if answer.status < 400 or await self._stands(group, account):
            return None
        return await self._not_added(group, account, answer)

    async def _not_added(
        self, group: TargetGroup, account: Account, answer: Response
    ) -> ChangeRejected:
        if await self._plain({"key": str(account.key)}) is None:
            return NotFound(
                f"the account {account.username!r} is gone",
                target=self.name,
                reason="conflict",
                status=answer.status,
            )
        for role in await self._roles():
            licensed = role.get("groups")
            names = {fold(str(name)) for name in licensed} if isinstance(licensed, list) else set()
            if fold(group.name) in names and self._full(role):
                return self._rest.rejected(answer, "no licence seat", _SEATS, reason="licence")
        return self._no(answer, f"{account.username} cannot be put into {group.name!r}")

    async def remove_members(
        self, group: TargetGroup, accounts: Sequence[Account]
    ) -> Mapping[str, ChangeRejected]:
        refused: dict[str, ChangeRejected] = {}
        for account in accounts:
            if (error := await self._remove(group, account)) is not None:
                refused[str(account.key)] = error
        return refused

    async def _remove(self, group: TargetGroup, account: Account) -> ChangeRejected | None:
        params = {"groupname": group.name, "username": account.username}
        try:
            answer = await self._rest.write("DELETE", "/group/user", params=params)
        except ChangeRejected as error:
            return error
        if answer.status < 400 or not await self._stands(group, account):
            return None
        return self._no(answer, f"{account.username} is still in {group.name!r}", _STAYS)

    async def _stands(self, group: TargetGroup, account: Account) -> bool:
        """Whether the membership is there now; raises NotFound if the group is not."""
        is_member = await self._is_member(group, account)
        if is_member is None:
            raise NotFound(f"the group {group.name!r} is gone", target=self.name, reason="conflict")
        return is_member

    # Refusals -----------------------------------------------------------------------------------

    def _no(self, answer: Response, what: str, hint: str = "") -> ChangeRejected:
        if wire.sounds_read_only(self._rest.said(answer)):
            return self._rest.rejected(answer, what, _READ_ONLY, reason="read_only")
        return self._rest.rejected(answer, what, hint)

    def _gone(self, account: Account) -> NotFound:
        return NotFound(
            f"the account {account.username!r} is gone",
            target=self.name,
            reason="conflict",
            status=404,
        )

    def _full(self, role: Mapping[str, object]) -> bool:
        """Whether an application has no seat left."""
        remaining = role.get("remainingSeats")
        unlimited = role.get("hasUnlimitedSeats") is True
        return not unlimited and isinstance(remaining, int) and remaining <= 0


def _account_in(answer: Response) -> Mapping[str, object]:
    """The account in a good answer; nothing where none is in it, or it came garbled."""
    try:
        shape = map_of(answer.json())
    except NotJson:
        return {}
    return shape if shape.get("name") else {}
