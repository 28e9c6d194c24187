"""Bitbucket's state: global permissions, licence, tombstones, slugs, and its pages and errors."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from aiohttp import web

from azsyncd.model.accounts import fold
from azsyncd.sandbox.base import Ask, Handler, Refusal, operation, version_of
from azsyncd.sandbox.datacenter import DataCenter
from azsyncd.sandbox.directories import Directory, Group, Person

API = "/rest/api/latest"
PAGE = "start limit"
TOMBSTONE_SECONDS = 7 * 86400.0
"""So long the grants of a deleted account wait for somebody of the same name (BSERV-10550)."""

_INSTALLATIONS = itertools.count(1)

HIGHEST = ("LICENSED_USER", "PROJECT_CREATE", "ADMIN", "SYS_ADMIN")

NO_USER = "com.atlassian.bitbucket.user.NoSuchUserException"
NO_GROUP = "com.atlassian.bitbucket.user.NoSuchGroupException"
NOT_AUTHORISED = "com.atlassian.bitbucket.AuthorisationException"
NOT_AUTHENTICATED = "com.atlassian.bitbucket.auth.IncorrectPasswordAuthenticationException"
LICENCE = "com.atlassian.bitbucket.license.LicenseLimitException"
TAKEN = "com.atlassian.bitbucket.IntegrityException"
BAD_VALUE = "com.atlassian.bitbucket.validation.ArgumentValidationException"
IMMUTABLE = "com.atlassian.bitbucket.user.UnmodifiableUserException"


def call(method: str, path: str, **more: Any) -> Callable[[Handler], Handler]:
    """Document a call below `/rest/api/latest`."""
    return operation(method, f"{API}{path}", **more)


class BitbucketState(DataCenter):
    """What Bitbucket knows.

    `token_is_admin=False`: the token belongs to an administrator and does not carry that right.
    `missing_group_status` and `not_member_status` are what the contract leaves open; `stride` is
    how far apart rows stand in the server's own counting, so that whoever adds up `limit` errs.
    """

    kind: ClassVar[str] = "bitbucket"
    admin_groups: ClassVar[tuple[str, ...]] = ("bitbucket-administrators",)
    aliases: ClassVar[Mapping[str, str]] = {"/rest/api/1.0/": f"{API}/"}

    def __init__(
        self,
        *,
        version: str = "9.4.2",
        token: str | None = "bitbucket-token",
        username: str | None = "azsyncd",
        password: str | None = "bitbucket-password",
        seats: int | None = None,
        page_cap: int = 1000,
        stride: int = 2,
        token_is_admin: bool = True,
        missing_group_status: int = 200,
        not_member_status: int = 404,
        rate_limited: bool = False,
        says_who: bool = True,
        **given: Any,
    ) -> None:
        self.numbers = version_of(version)
        self.server_id = f"BTST-{next(_INSTALLATIONS):04}"
        super().__init__(
            version=version, token=token, username=username, password=password, **given
        )
        self.seats = seats
        self.page_cap = page_cap
        self.stride = stride
        self.token_is_admin = token_is_admin
        self.missing_group_status = missing_group_status
        self.not_member_status = not_member_status
        self.rate_limited = rate_limited
        self.says_who = says_who
        self.default_group = "stash-users"
        self.granted_groups = {
            "bitbucket-administrators": "SYS_ADMIN",
            self.default_group: "LICENSED_USER",
        }
        self.granted_users: dict[str, str] = {}  # by folded name
        self.tombstones: dict[str, tuple[float, str]] = {}  # deleted at, what she was granted
        self.settle([self.default_group])

    def default_directory(self) -> Directory:
        return Directory("Bitbucket Internal Directory", kind="Bitbucket Internal Directory")

    def grant(self, name: str, permission: str, *, group: bool = False) -> None:
        """Grant a global permission by hand."""
        (self.granted_groups if group else self.granted_users)[fold(name)] = permission
        self.people.changed()

    # Licence and permissions ----------------------------------------------------------------------

    def licensed(self, person: Person) -> bool:
        """Whether an account takes a seat."""
        return person.active and self.highest(person) is not None

    def highest(self, person: Person) -> str | None:
        """The highest global permission of an account, its own or a group's."""
        held = [self.granted_users.get(fold(person.name))]
        held += [self.granted_groups.get(name) for name in person.groups]
        found = [each for each in held if each is not None]
        return max(found, key=HIGHEST.index) if found else None

    def seats_taken(self) -> int:
        """How many accounts take one."""
        return sum(map(self.licensed, self.people.everyone()))

    def need_seats(self, people: Iterable[Person | None]) -> None:
        """403 where so many more cannot be licensed. None stands for a new account."""
        if self.seats is None:
            return
        more = sum(person is None or not self.licensed(person) for person in people)
        if more and self.seats_taken() + more > self.seats:
            raise Refusal(403, "The license limit would be exceeded", reason=LICENCE)

    def need_admin(self, ask: Ask) -> None:
        """401, where other products answer 403."""
        by_token = ask.request.headers.get("Authorization", "").lower().startswith("bearer")
        if not self.is_admin(ask.who) or (by_token and not self.token_is_admin):
            text = "You are not permitted to access this resource"
            raise Refusal(401, text, reason=NOT_AUTHORISED)

    # Who is meant ---------------------------------------------------------------------------------

    def the_user(self, ask: Ask, name: str) -> Person:
        """The account under this name."""
        ask.touch("user", name)
        person = self.people.person(name)
        if person is None:
            raise Refusal(404, f"No user with the name {name} exists", reason=NO_USER)
        return person

    def the_group(self, ask: Ask, name: str) -> Group:
        """The group under this name."""
        ask.touch("group", name)
        group = self.people.group(name)
        if group is None:
            raise Refusal(404, f"No group with the name {name} exists", reason=NO_GROUP)
        return group

    def may(self, person: Person, right: str) -> bool:
        """Whether something can be done in the account's directory."""
        return right in self.people[person.directory].may

    def need_mutable(self, person: Person, right: str, status: int = 400) -> None:
        """Refused where the account's directory is read-only."""
        if not self.may(person, right):
            text = f"The user {person.name} cannot be modified in {person.directory}"
            raise Refusal(status, text, reason=IMMUTABLE)

    # Answers --------------------------------------------------------------------------------------

    def person_json(self, ask: Ask, person: Person) -> dict[str, Any]:
        """An account with all its details."""
        shown = {
            "name": person.name,
            "slug": slug_of(person.name),
            "id": person.number,
            "emailAddress": person.email,
            "displayName": person.display_name,
            "active": person.active,
            "type": "NORMAL",
            "links": {"self": [{"href": f"{ask.base}/users/{slug_of(person.name)}"}]},
            "directoryName": person.directory,
            "deletable": self.may(person, "delete_user"),
            "mutableDetails": self.may(person, "update_user"),
            "mutableGroups": self.may(person, "update_group"),
        }
        return shown | ({"createdTimestamp": 1_760_000_000_000} if self.numbers >= (10,) else {})

    def group_json(self, ask: Ask, group: Group) -> dict[str, Any]:
        """A group as it is shown."""
        return {"name": group.name, "deletable": "delete_group" in self.people[group.directory].may}

    def page(
        self, ask: Ask, found: Sequence[Any], show: Callable[[Ask, Any], Mapping[str, Any]]
    ) -> web.Response:
        """A page; where the next one starts only the server knows."""
        start, limit = ask.number("start", 0), ask.number("limit", 25)
        if start < 0 or limit < 1:
            raise Refusal(400, "start and limit must be positive", reason=BAD_VALUE)
        first = -(-start // self.stride)
        size = min(limit, self.page_cap)
        rows = found[first : first + size]
        is_last = first + size >= len(found)
        body = {
            "size": len(rows),
            "limit": size,
            "isLastPage": is_last,
            "values": [show(ask, each) for each in rows],
            "start": start,
        }
        return web.json_response(
            body if is_last else {**body, "nextPageStart": (first + size) * self.stride}
        )

    def refusal(self, refusal: Refusal, ask: Ask | None) -> web.StreamResponse:
        """`{"errors": [{context, message, exceptionName}]}`."""
        error = {
            "context": refusal.field or None,
            "message": refusal.message,
            "exceptionName": refusal.reason if "." in refusal.reason else None,
        }
        return web.json_response({"errors": [error]}, status=refusal.status)

    def login_refusal(self, message: str) -> Refusal:
        return Refusal(401, "Authentication failed.", reason=NOT_AUTHENTICATED)

    def captcha_refusal(self) -> Refusal:
        refusal = super().captcha_refusal()
        refusal.reason = "com.atlassian.bitbucket.auth.CaptchaRequiredAuthenticationException"
        return refusal

    def decorate(self, ask: Ask, response: web.StreamResponse) -> None:
        response.headers["X-AREQUESTID"] = "@1TEST00x1x1x0"
        if self.says_who:
            response.headers["X-AUSERNAME"] = quote(ask.who, safe="")


def slug_of(name: str) -> str:
    """What stands in paths: the name with special characters folded."""
    return re.sub(r"[^a-z0-9._-]", "_", name.lower())


def matches(needle: str, *texts: str) -> bool:
    """Whether a filter finds one of these."""
    return any(fold(needle) in fold(text) for text in texts)
