"""What the Data Center products share: directories, an administrator's hands, and logging in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from azsyncd.sandbox.base import (
    Ask,
    Product,
    Refusal,
    basic_credentials,
    same_secret,
    version_of,
)
from azsyncd.sandbox.directories import EVERYTHING, LOCAL_GROUPS, Directories, Directory, Person


class DataCenter(Product):
    """A product with user directories and an account of its own for azsyncd."""

    admin_groups: ClassVar[tuple[str, ...]] = ()
    tokens_since: ClassVar[tuple[int, ...]] = ()

    def __init__(
        self,
        *,
        directories: Sequence[Directory] = (),
        people: Directories | None = None,
        basic_enabled: bool = True,
        captcha_after: int = 0,
        **given: Any,
    ) -> None:
        super().__init__(**given)
        self.people = people or Directories(directories or [self.default_directory()])
        self.basic_enabled = basic_enabled
        self._captcha_after = captcha_after
        self._failed_logins = 0
        self.groups_without_right: set[str] = set()

    def default_directory(self) -> Directory:
        """The directory of a fresh installation."""
        return Directory(f"{type(self).__name__} Internal Directory")

    def settle(self, groups: Iterable[str] = ()) -> None:
        """Set up a fresh installation: its groups, and azsyncd's account as an administrator."""
        home = self.people.all[0]
        for name in (*self.admin_groups, *groups):
            self.people.add_group(home, name)
        if self.username is not None:
            self.add_user(self.username, groups=self.admin_groups[:1])
            self.protect(users=[self.username])
        self.protect(groups=self.admin_groups)

    @property
    def revision(self) -> int:
        """Grows with every real change of the state."""
        return self.people.revision

    def new_key(self, name: str) -> str:
        """The key of the next account."""
        return f"{type(self).__name__.upper()}USER{self.people.next_number()}"

    # Reading, for tests and the demo --------------------------------------------------------------

    def users(self) -> list[Person]:
        """Every account that counts, by name."""
        return list(self.people.everyone())

    def user(self, name: str) -> Person | None:
        """The account under this name."""
        return self.people.person(name)

    def groups(self) -> list[str]:
        """The names of all groups."""
        return [group.name for group in self.people.all_groups()]

    def members(self, group: str) -> set[str]:
        """The usernames of a group's direct members."""
        return {person.name for person in self.people.members(group)}

    # An administrator's hands ---------------------------------------------------------------------

    def add_user(
        self,
        name: str,
        *,
        display_name: str = "",
        email: str = "",
        active: bool = True,
        directory: str = "",
        groups: Iterable[str] = (),
        **more: Any,
    ) -> Person:
        """Make an account by hand, past all rules."""
        home = self.people[directory] if directory else self.people.all[0]
        person = Person(
            key=self.new_key(name),
            name=name,
            display_name=display_name or name,
            email=email or f"{name.partition('@')[0]}@example.com",
            number=self.people.next_number(),
            active=active,
            **more,
        )
        self.people.add_person(home, person)
        for group in groups:
            self.people.add_member(group, person)
        return person

    def edit_user(self, name: str, /, **values: Any) -> None:
        """Change an account by hand; `name=` renames it."""
        person = self._the(name)
        if "name" in values:
            self.people.rename_person(person, values.pop("name"))
        self.people.edit_person(person, **values)

    def remove_user(self, name: str) -> None:
        """Delete an account by hand."""
        self.people.remove_person(self._the(name))

    def add_group(
        self, name: str, members: Iterable[str] = (), *, directory: str = "", description: str = ""
    ) -> None:
        """Make a group by hand, or put members into the one that is there."""
        home = self.people[directory] if directory else self.people.all[0]
        if self.people.group(name) is None:
            self.people.add_group(home, name, description)
        for member in members:
            self.people.add_member(name, self._the(member))

    def remove_group(self, name: str) -> None:
        """Delete a group by hand."""
        self.people.remove_group(name)

    def add_member(self, group: str, name: str) -> None:
        """Put somebody into a group by hand."""
        self.people.add_member(group, self._the(name))

    def remove_member(self, group: str, name: str) -> None:
        """Take somebody out of a group by hand."""
        self.people.remove_member(group, self._the(name))

    def set_read_only(
        self, directory: str = "", *, users: bool = True, groups: bool = True
    ) -> None:
        """Make a directory read-only; `groups=False` leaves local groups; neither opens it."""
        home = self.people[directory] if directory else self.people.all[0]
        home.read_only = users
        if users:
            home.may = frozenset() if groups else LOCAL_GROUPS
        else:
            home.may = EVERYTHING - LOCAL_GROUPS if groups else EVERYTHING

    def take_away_rights(self, taken: bool = True) -> None:
        """azsyncd's account is no administrator any more (or again)."""
        self.has_rights = not taken

    def _the(self, name: str) -> Person:
        person = self.people.person(name)
        if person is None:
            raise LookupError(name)
        return person

    # Logging in -----------------------------------------------------------------------------------

    def authenticate(self, ask: Ask) -> str:
        """By token, or by name and password where the product still takes them."""
        header = ask.request.headers.get("Authorization", "")
        if self.captcha:
            raise self.captcha_refusal()
        if not header:
            raise self.login_refusal("You are not authenticated.")
        scheme, _, value = header.partition(" ")
        if scheme.lower() == "bearer":
            known = version_of(self.version) >= self.tokens_since and same_secret(value, self.token)
        else:
            known = self._password_fits(header)
        person = self.people.person(self.username) if self.username else None
        if not known or (person is not None and not person.active):
            self._count_failure(scheme)
            raise self.login_refusal("Client must be authenticated to access this resource.")
        self._failed_logins = 0
        return self.username or ""

    def login_refusal(self, message: str) -> Refusal:
        """A 401 for somebody who is not known."""
        headers = {"X-Seraph-LoginReason": "AUTHENTICATED_FAILED", "WWW-Authenticate": "OAuth"}
        return Refusal(401, message, headers=headers)

    def captcha_refusal(self) -> Refusal:
        """Too many failed logins: only a person can help."""
        login = "login-url=http://127.0.0.1/login.jsp"
        headers = {
            "X-Authentication-Denied-Reason": f"CAPTCHA_CHALLENGE; {login}",
            "X-Seraph-LoginReason": "AUTHENTICATION_DENIED",
        }
        return Refusal(403, "Basic Authentication Failure - Reason : CAPTCHA", headers=headers)

    def _password_fits(self, header: str) -> bool:
        given = basic_credentials(header)
        if given is None or not self.basic_enabled or self.username is None:
            return False
        name, password = given
        return name.lower() == self.username.lower() and same_secret(password, self.password)

    def _count_failure(self, scheme: str) -> None:
        if scheme.lower() != "basic":  # a wrong token locks nobody out
            return
        self._failed_logins += 1
        if self._captcha_after and self._failed_logins >= self._captcha_after:
            self.captcha = True

    def is_admin(self, name: str) -> bool:
        """Whether an account is in a group that administers the product."""
        person = self.people.person(name)
        if person is None or not self.has_rights:
            return False
        return any(self.people.is_member(group, person) for group in self.admin_groups)
