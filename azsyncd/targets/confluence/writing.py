"""Writing to Confluence. Memberships and activity are idempotent there; what a refusal means is
found by reading again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from urllib.parse import quote

from azsyncd.answers import Response
from azsyncd.errors import AlreadyExists, ChangeRejected, NotFound, TargetUnavailable
from azsyncd.model.accounts import Account, Mark, TargetGroup, fold
from azsyncd.targets.confluence import wire
from azsyncd.targets.confluence.reading import Reading
from azsyncd.targets.rest import MISSING, map_of, rows_of, text_of

_SEATS = "free seats, or buy some; it goes on by itself"
_READ_ONLY = "the directory must be writable for Confluence, and external user management off"
_NOT_HERE = "upgrade Confluence: user administration by REST came with 8.2, 8.4 and 9.3"
_TASK_WAITS = (0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0)
"""Seconds between questions about a deletion; after these, the next look at the target tells."""


class Writing(Reading):
    """What can be written to a Confluence."""

    # Accounts -----------------------------------------------------------------------------------

    async def create_account(self, account: Account) -> Account:
        """Confluence wants a password or mails the user: it gets one that nobody ever knows."""
        body = {
            "userName": account.username,
            "fullName": account.display_name,
            "email": account.email,
            "password": self._secret(),
        }
        answer = await self._write("POST", "/admin/user", json=body)
        if answer.status >= 400:
            raise await self._not_created(account, answer)
        stored = await self.find_account(account.username)
        if stored is None:
            raise self._rest.strange(f"{account.username} was created and is not shown")
        if account.email:
            self._remember(str(stored.key), account.email)
            stored = replace(stored, email=account.email)
        if self._product_access == "by_groups":
            await self._take_no_seat(stored)
        return stored

    async def finish_account(self, have: Account, sent: Account) -> None:
        """It may be some time ago: groups that give no licence, she was put into by somebody."""
        if self._product_access != "by_groups":
            return
        licences = self._licensed | wire.LICENCE_GROUPS
        await self._leave(
            have, [each for each in await self._groups_of(have) if fold(each.name) in licences]
        )

    async def _not_created(self, account: Account, answer: Response) -> ChangeRejected:
        if answer.status == 402:
            return self._rest.rejected(answer, "no licence seat", _SEATS, reason="licence")
        if answer.status == 409 or await self.find_account(account.username) is not None:
            return AlreadyExists(
                f"an account {account.username!r} exists", target=self.name, reason="conflict"
            )
        if answer.status == 400:
            words = self._rest.said(answer)
            reason = "read_only" if wire.sounds_read_only(words) else "invalid_value"
            return self._rest.rejected(answer, "not a value for Confluence", reason=reason)
        return self._no(answer, f"{account.username} cannot be created")

    async def _take_no_seat(self, account: Account) -> None:
        """Confluence puts a new account into its default group, which takes a licence: she gets
        one by the groups that she is meant to be in, and not by being there. Where that is refused
        she keeps the seat: the account stands all the same."""
        await self._leave(account, await self._groups_of(account))

    async def _leave(self, account: Account, groups: Iterable[TargetGroup]) -> None:
        for group in groups:
            with suppress(ChangeRejected):
                await self._membership("DELETE", group, account)

    async def update_account(self, have: Account, want: Account) -> Account:
        """Both values go together; an address that nobody can see is not sent again."""
        if not await self._has_active():
            raise ChangeRejected(
                "this Confluence cannot change accounts",
                _NOT_HERE,
                target=self.name,
                reason="unsupported",
            )
        email = want.email if want.email is not None else await self._mail_of(have)
        body = {"fullName": want.display_name or have.display_name}
        if email is not None:
            body["email"] = email
        answer = await self._write("PUT", self._path(have), json=body, repeatable=True)
        if answer.status >= 400:
            raise await self._not_changed(have, answer)
        if email is not None:
            self._remember(str(have.key), email)
        return await self._again(have)

    async def _not_changed(self, have: Account, answer: Response) -> ChangeRejected:
        if await self.read_account(have) is None:
            return self._gone(have)
        if answer.status == 400 and not wire.sounds_read_only(self._rest.said(answer)):
            return self._rest.rejected(answer, "not a value for Confluence", reason="invalid_value")
        return self._no(answer, f"{have.username} cannot be changed")

    async def rename_account(self, have: Account, want: Account) -> Account:
        raise ChangeRejected(
            "Confluence cannot rename accounts through its API",
            "rename it in Confluence's user management; it goes on being synced as it is called",
            target=self.name,
            reason="unsupported",
        )

    async def set_active(self, have: Account, active: bool) -> Account:
        what = "enable" if active else "disable"
        answer = await self._write("PUT", f"{self._path(have)}/{what}", repeatable=True)
        now = await self.read_account(have)
        if now is None:
            raise self._gone(have)
        if now.active is active or (now.active is None and answer.status < 400):
            return replace(now, active=active)
        if answer.status < 400:
            raise self._rest.rejected(
                answer,
                "Confluence took the change and did nothing",
                "the directory does not keep who is active",
                reason="unsupported",
            )
        raise self._no(answer, f"{have.username} cannot be {what}d")

    async def strip_account(self, have: Account, groups: Collection[str]) -> list[str]:
        """Never asked for: accounts can be deactivated."""
        return []

    async def mark_account(self, have: Account, mark: Mark) -> None:
        """Confluence has no place for it."""

    async def delete_account(self, have: Account) -> None:
        """202 and a task, which is waited for a while."""
        answer = await self._write("DELETE", self._path(have))
        if answer.status >= 400:
            if await self.read_account(have) is not None:
                raise self._no(answer, f"{have.username} cannot be deleted")
            return
        try:
            task = text_of(map_of(self._rest.json(answer)).get("id"))
        except TargetUnavailable:  # nothing, or garbled: the next look tells
            return
        if task:
            await self._finish(task, have)

    async def _finish(self, task: str, have: Account) -> None:
        path = f"/longtask/{quote(task, safe='')}"
        for seconds in _TASK_WAITS:
            shape = map_of(await self._rest.read(path, absent=MISSING))
            percent = shape.get("percentageComplete")
            if not shape or (isinstance(percent, int) and percent >= 100):
                break
            await self._clock.sleep(seconds)
        else:
            return
        if shape.get("successful") is False:
            words = "; ".join(
                text_of(each.get("translation")) for each in rows_of(shape.get("messages"))
            )
            raise ChangeRejected(
                f"{have.username} was not deleted" + (f": {words}" if words else ""),
                "leave it deactivated, or delete it in Confluence, which says why it cannot",
                target=self.name,
            )

    async def _again(self, have: Account) -> Account:
        now = await self.read_account(have)
        if now is None:
            raise self._gone(have)
        return now

    def _path(self, account: Account) -> str:
        if "/" in account.username or "\\" in account.username:
            raise ChangeRejected(
                f"{account.username!r} has a slash, which Confluence's API cannot be told",
                "rename it in Confluence",
                target=self.name,
                reason="unsupported",
            )
        return f"/admin/user/{quote(account.username, safe='')}"

    def _remember(self, key: str, email: str) -> None:
        """What was just written counts until the search index shows it."""
        self._mails[key] = self._written[key] = email

    # Groups -------------------------------------------------------------------------------------

    async def create_group(self, group: TargetGroup) -> TargetGroup:
        body = {"name": group.name, "type": "group"}
        answer = await self._write("POST", "/admin/group", json=body)
        if answer.status < 400:
            return replace(wire.group_of(body), description=group.description)
        if answer.status == 409 or await self.find_group(group.name) is not None:
            raise AlreadyExists(
                f"a group {group.name!r} exists", target=self.name, reason="conflict"
            )
        raise self._no(answer, f"the group {group.name!r} cannot be created")

    async def delete_group(self, group: TargetGroup) -> None:
        path = f"/admin/group/{self._in_path(group)}"
        answer = await self._write("DELETE", path)
        if answer.status >= 400 and await self.find_group(group.name) is not None:
            raise self._no(answer, f"the group {group.name!r} cannot be deleted")

    def _in_path(self, group: TargetGroup) -> str:
        if "/" in group.name or "\\" in group.name:
            raise ChangeRejected(
                f"the group {group.name!r} has a slash, which Confluence's API cannot be told",
                "sync another group: groups.name can replace the slash",
                target=self.name,
                reason="unsupported",
            )
        return quote(group.name, safe="")

    # Members ------------------------------------------------------------------------------------

    async def add_members(
        self, group: TargetGroup, accounts: Sequence[Account]
    ) -> Mapping[str, ChangeRejected]:
        return await self._each("PUT", group, accounts)

    async def remove_members(
        self, group: TargetGroup, accounts: Sequence[Account]
    ) -> Mapping[str, ChangeRejected]:
        return await self._each("DELETE", group, accounts)

    async def _each(
        self, method: str, group: TargetGroup, accounts: Sequence[Account]
    ) -> Mapping[str, ChangeRejected]:
        self._in_path(group)
        refused: dict[str, ChangeRejected] = {}
        for account in accounts:
            if (error := await self._membership(method, group, account)) is not None:
                refused[str(account.key)] = error
        return refused

    async def _membership(
        self, method: str, group: TargetGroup, account: Account
    ) -> ChangeRejected | None:
        """One membership; 204 whether it was so or not, hence it may be repeated."""
        path = f"/user/{quote(account.username, safe='')}/group/{self._in_path(group)}"
        try:
            async with self._on_group[fold(group.name)]:  # whoever is made leaves groups by herself
                answer = await self._write(method, path, repeatable=True)
        except ChangeRejected as error:
            return error
        if answer.status < 400:
            return None
        if await self.find_group(group.name) is None:
            raise NotFound(f"the group {group.name!r} is gone", target=self.name, reason="conflict")
        if await self.read_account(account) is None:
            return None if method == "DELETE" else self._gone(account)
        return self._no(
            answer, f"the membership of {account.username} in {group.name!r} cannot be changed"
        )

    # Refusals -----------------------------------------------------------------------------------

    async def _write(
        self, method: str, path: str, *, json: object | None = None, repeatable: bool = False
    ) -> Response:
        """A refused directory is said to be so; the whole product in its read-only mode is a
        matter of the target."""
        try:
            answer = await self._rest.write(method, path, json=json, repeatable=repeatable)
        except ChangeRejected as error:
            if error.status == 403 and wire.sounds_read_only(error.message):
                error.reason, error.hint = "read_only", _READ_ONLY
            raise
        if wire.only_reads(answer):
            raise TargetUnavailable(
                "Confluence is in read-only mode", "it goes on when that ends", target=self.name
            )
        return answer

    def _no(self, answer: Response, what: str) -> ChangeRejected:
        if wire.sounds_read_only(self._rest.said(answer)):
            return self._rest.rejected(answer, what, _READ_ONLY, reason="read_only")
        if answer.status == 405:
            return self._rest.rejected(answer, what, _NOT_HERE, reason="unsupported")
        return self._rest.rejected(answer, what)

    def _gone(self, account: Account) -> NotFound:
        return NotFound(
            f"the account {account.username!r} is gone",
            target=self.name,
            reason="conflict",
            status=404,
        )
