"""Writing to Crowd, and what it can do.

Every write goes where the application's directories and permissions send it: one application, one
directory. Changing an account is reading it, and putting it back whole.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from azsyncd.answers import Response
from azsyncd.errors import AlreadyExists, ChangeRejected, NotFound
from azsyncd.model.accounts import Account, Capabilities, Mark, Seats, TargetGroup, fold
from azsyncd.targets.crowd import wire
from azsyncd.targets.crowd.reading import Reading
from azsyncd.targets.rest import MISSING, installation, map_of, rows_of, text_of

_PERMISSIONS = (
    "give the application this permission in its directory (Crowd: the application's Directories &"
    " groups), and make that directory writable"
)


class Crowd(Reading):
    """The connector of a Crowd. `secret` makes the password that nobody will ever know."""

    # What it is ---------------------------------------------------------------------------------

    async def fingerprint(self) -> str:
        """Crowd shows no id of its own."""
        return f"crowd:{installation(self._peer.base_url)}"

    async def ask(self) -> None:
        await self._look()

    async def _look(self) -> Response:
        params = {"entity-type": "user", "start-index": 0, "max-results": 1}
        answer = await self._rest.ask("/search", params)
        if answer.status == 403 and not answer.is_html and not wire.reason_of(answer):
            raise self._rest.refused(
                f"this machine may not speak for the application (403): {self._rest.said(answer)}",
                "add its address to the application's remote addresses in Crowd",
            )
        self._rest.settle(answer)
        return answer

    async def seats(self) -> tuple[Seats, ...]:
        return ()

    async def probe(self) -> Capabilities:
        answer = await self._look()
        shown = answer.headers.get("X-Embedded-Crowd-Version", "")
        names = [
            fold(name)
            async for page in self._pages("/search", {"entity-type": "group"}, "groups")
            for shape in page or ()
            if (name := text_of(shape.get("name")))
        ]
        administrators = [name for name in names if name.endswith("administrators")]
        return Capabilities(
            version=shown.partition("/")[2] or shown,
            signed_in_as=None,  # an application, not an account
            has_attributes=True,
            has_marks=True,
            nests_groups=True,  # unless its directory has it switched off: that shows at a write
            admin_groups=wire.ADMIN_GROUPS | frozenset(administrators),
        )

    async def close(self) -> None:
        await self._peer.close()

    # Accounts -----------------------------------------------------------------------------------

    async def create_account(self, account: Account) -> Account:
        display_name = account.display_name or account.username
        first, last = wire.first_and_last(display_name)
        attributes = {name: value for name, value in account.attributes.items() if value}
        if account.mark is not None:
            attributes |= wire.mark_values(account.mark)
        body = {
            "name": account.username,
            "password": {"value": self._secret()},
            "active": account.active is not False,
            "first-name": first,
            "last-name": last,
            "display-name": display_name,
            "email": account.email or "",
            "attributes": wire.attributes_body(attributes),
        }
        answer = await self._write("POST", "/user", json=body)
        if answer.status >= 400:
            raise await self._not_created(account, answer)
        stored = await self._shape({"username": account.username})
        if stored is None:
            raise self._rest.strange(f"{account.username} was created and is not shown")
        kept = wire.attributes_of(stored)
        lost = {name: value for name, value in attributes.items() if kept.get(name) != value}
        if lost:  # Crowd before 2.9 takes no attributes with a new account
            try:
                await self._write_attributes(account.username, lost)
                stored = await self._shape({"username": account.username}) or stored
            except ChangeRejected:
                pass  # the account stands now; what it lacks is found as drift
        return self._remember(stored)

    async def _not_created(self, account: Account, answer: Response) -> ChangeRejected:
        if await self.find_account(account.username) is not None:
            return AlreadyExists(
                f"an account {account.username!r} exists", target=self.name, reason="conflict"
            )
        return self._rest.rejected(
            answer, f"{account.username} cannot be created", reason="invalid_value"
        )

    async def finish_account(self, have: Account, sent: Account) -> None:
        """Creating is one call."""

    async def update_account(self, have: Account, want: Account) -> Account:
        shape = await self._must_stand(have)
        body = wire.replacement(shape, email=want.email, display_name=want.display_name)
        if body != wire.replacement(shape):
            await self._put(have, body)
        known = wire.attributes_of(shape)
        changed = {
            name: value for name, value in want.attributes.items() if known.get(name, "") != value
        }
        if changed:
            await self._write_attributes(body["name"], changed)
        return await self._again(have)

    async def set_active(self, have: Account, active: bool) -> Account:
        shape = await self._must_stand(have)
        if shape.get("active") is not active:
            await self._put(have, wire.replacement(shape, active=active))
        stored = await self._again(have)
        if stored.active is not active:
            raise ChangeRejected(
                "Crowd took the change and did nothing",
                "the directory does not keep who is active",
                target=self.name,
                reason="unsupported",
            )
        return stored

    async def rename_account(self, have: Account, want: Account) -> Account:
        username = want.username
        shape = await self._must_stand(have)
        name = text_of(shape.get("name"))
        if name == username:
            return self._remember(shape)
        params, body = {"username": name}, {"new-name": username}
        try:
            answer = await self._write("POST", "/user/rename", params=params, json=body)
        except ChangeRejected as error:
            if error.doubtful:
                raise
            raise self._cannot_rename(error) from error
        if answer.status >= 400:
            raise await self._not_renamed(have, username, answer)
        stored = await self._shape({"username": username})
        if stored is None:
            raise self._gone(have)
        if self._keys is not None:  # whoever gets the old name is somebody else
            self._keys.pop(fold(name), None)
        return self._remember(stored)

    async def _not_renamed(self, have: Account, username: str, answer: Response) -> ChangeRejected:
        other = await self.find_account(username)
        if other is not None and other.key != have.key:
            return AlreadyExists(
                f"the username {username!r} is taken", target=self.name, reason="conflict"
            )
        standing = await self._current(have)
        if standing is None:
            return self._gone(have)
        what = f"{have.username} cannot be called {username!r}"
        if wire.reason_of(answer) == "INVALID_USER":
            return self._rest.rejected(answer, what, reason="invalid_value")
        return self._cannot_rename(self._rest.rejected(answer, what))

    def _cannot_rename(self, error: ChangeRejected) -> ChangeRejected:
        return ChangeRejected(
            error.message,
            "rename it in the product that stands behind; it goes on being synced as it is called",
            target=self.name,
            reason="unsupported",
            status=error.status,
        )

    async def strip_account(self, have: Account, groups: Collection[str]) -> list[str]:
        """Never asked for: accounts can be deactivated."""
        return []

    async def mark_account(self, have: Account, mark: Mark) -> None:
        shape = await self._must_stand(have)
        await self._write_attributes(text_of(shape.get("name")), wire.mark_values(mark))

    async def delete_account(self, have: Account) -> None:
        shape = await self._current(have)
        if shape is None:
            return
        params = {"username": text_of(shape.get("name"))}
        answer = await self._write("DELETE", "/user", params=params)
        if answer.status >= 400 and await self._current(have) is not None:
            raise self._rest.rejected(answer, f"{have.username} cannot be deleted")

    async def _put(self, have: Account, body: Mapping[str, Any]) -> None:
        params = {"username": body["name"]}
        answer = await self._write("PUT", "/user", params=params, json=body, repeatable=True)
        if answer.status == 404:
            raise self._gone(have)
        if answer.status >= 400:
            raise self._rest.rejected(
                answer, f"{have.username} cannot be changed", reason="invalid_value"
            )

    async def _write_attributes(self, username: str, values: Mapping[str, str]) -> None:
        answer = await self._write(
            "POST",
            "/user/attribute",
            params={"username": username},
            json=wire.attributes_body(values),
            repeatable=True,
        )
        if answer.status >= 400:
            raise self._rest.rejected(
                answer, f"attributes of {username} cannot be written", reason="invalid_value"
            )

    async def _must_stand(self, account: Account) -> Mapping[str, Any]:
        shape = await self._current(account)
        if shape is None:
            raise self._gone(account)
        return shape

    async def _again(self, account: Account) -> Account:
        return self._remember(await self._must_stand(account))

    def _remember(self, shape: Mapping[str, Any]) -> Account:
        account = wire.account_of(shape, self._attributes)
        if self._keys is not None:
            self._keys[fold(account.username)] = str(account.key)
        return account

    # Groups -------------------------------------------------------------------------------------

    async def create_group(self, group: TargetGroup) -> TargetGroup:
        body = {
            "name": group.name,
            "type": "GROUP",
            "active": True,
            "description": group.description or "",
        }
        answer = await self._write("POST", "/group", json=body)
        stored = await self.find_group(group.name)
        if answer.status >= 400:
            if stored is not None:
                raise AlreadyExists(
                    f"a group {group.name!r} exists", target=self.name, reason="conflict"
                )
            raise self._rest.rejected(
                answer, f"the group {group.name!r} cannot be created", reason="invalid_value"
            )
        return stored or wire.group_of(body)

    async def delete_group(self, group: TargetGroup) -> None:
        params = {"groupname": group.name}
        answer = await self._write("DELETE", "/group", params=params)
        if answer.status >= 400 and await self.find_group(group.name) is not None:
            raise self._rest.rejected(answer, f"the group {group.name!r} cannot be deleted")

    async def add_members(
        self, group: TargetGroup, accounts: Sequence[Account]
    ) -> Mapping[str, ChangeRejected]:
        return await self._each(group, accounts, adds=True)

    async def remove_members(
        self, group: TargetGroup, accounts: Sequence[Account]
    ) -> Mapping[str, ChangeRejected]:
        return await self._each(group, accounts, adds=False)

    async def _each(
        self, group: TargetGroup, accounts: Sequence[Account], *, adds: bool
    ) -> Mapping[str, ChangeRejected]:
        refused: dict[str, ChangeRejected] = {}
        for account in accounts:
            try:
                answer = await self._membership(group, account, adds=adds)
            except ChangeRejected as error:
                refused[str(account.key)] = error
                continue
            if answer.status >= 400 and await self._stands(group, account) is not adds:
                refused[str(account.key)] = await self._not_changed(group, account, answer)
        return refused

    async def _membership(self, group: TargetGroup, account: Account, *, adds: bool) -> Response:
        path, params = "/group/user/direct", {"groupname": group.name}
        if adds:
            body = {"name": account.username}
            return await self._write("POST", path, params=params, json=body)
        return await self._write("DELETE", path, params={**params, "username": account.username})

    async def _stands(self, group: TargetGroup, account: Account) -> bool:
        params = {"groupname": group.name, "username": account.username}
        body = await self._rest.read("/group/user/direct", params, absent=MISSING, of_one=True)
        if body is not None:
            users = map_of(body).get("users")
            if not isinstance(users, list):
                return True
            names = {fold(text_of(each.get("name"))) for each in rows_of(users)}
            return fold(account.username) in names
        if await self.find_group(group.name) is None:
            raise self._no_group(group)
        return False

    async def _not_changed(
        self, group: TargetGroup, account: Account, answer: Response
    ) -> ChangeRejected:
        if await self._current(account) is None:
            return self._gone(account)
        return self._rest.rejected(
            answer, f"the membership of {account.username} in {group.name!r} cannot be changed"
        )

    # Groups in groups ---------------------------------------------------------------------------

    async def add_child(self, group: TargetGroup, child: TargetGroup) -> None:
        params, body = {"groupname": group.name}, {"name": child.name}
        answer = await self._write(
            "POST", wire.CHILDREN, params=params, json=body, takes=wire.NOT_NESTED
        )
        if answer.status >= 400 and not await self._holds(group, child):
            raise await self._not_nested(group, child, answer)

    async def remove_child(self, group: TargetGroup, child: TargetGroup) -> None:
        params = {"groupname": group.name, "child-groupname": child.name}
        answer = await self._write("DELETE", wire.CHILDREN, params=params)
        if answer.status >= 400 and await self._holds(group, child):
            what = f"the group {child.name!r} cannot be taken out of {group.name!r}"
            raise self._rest.rejected(answer, what)

    async def _holds(self, group: TargetGroup, child: TargetGroup) -> bool:
        names = await self._child_names(group)
        if names is None:
            raise self._no_group(group)
        return fold(child.name) in map(fold, names)

    async def _not_nested(
        self, group: TargetGroup, child: TargetGroup, answer: Response
    ) -> ChangeRejected:
        if await self.find_group(child.name) is None:
            return self._no_group(child)
        what = f"the group {child.name!r} cannot be put into {group.name!r}"
        hint = "its people are put into both"
        if wire.reason_of(answer) in wire.NOT_NESTED:
            hint = f"switch nested groups on in the application's directory; until then {hint}"
        return self._rest.rejected(answer, what, hint, reason="unsupported")

    # Refusals -----------------------------------------------------------------------------------

    async def _write(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, object] | None = None,
        json: object | None = None,
        repeatable: bool = False,
        takes: Collection[str] = (),
    ) -> Response:
        """A 403 with a reason is Crowd's clear no to this one thing: the application has not the
        permission, or the directory is read-only. Without one it may be about us. `takes`: reasons
        that are the caller's to read."""
        answer = await self._rest.write(
            method, path, params=params, json=json, repeatable=repeatable, readable=(403,)
        )
        if answer.status != 403 or wire.reason_of(answer) in takes:
            return answer
        if wire.reason_of(answer):
            raise self._rest.rejected(answer, "not permitted", _PERMISSIONS, reason="read_only")
        raise self._rest.doubtful(answer)

    def _no_group(self, group: TargetGroup) -> NotFound:
        return NotFound(f"the group {group.name!r} is gone", target=self.name, reason="conflict")

    def _gone(self, account: Account) -> NotFound:
        return NotFound(
            f"the account {account.username!r} is gone", target=self.name, reason="conflict"
        )
