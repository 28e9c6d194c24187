"""How Confluence spells accounts, groups, permissions and errors; and its rules for names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from azsyncd.answers import NotJson, Response
from azsyncd.model.accounts import Account, InvalidValue, TargetGroup, fold
from azsyncd.targets.names import legal, mail, shown
from azsyncd.targets.rest import map_of, rows_of, text_of

API = "/rest/api"
EXPAND = "status"

ADMIN_GROUPS = frozenset(
    {
        "administrators",
        "confluence-administrators",
        "system-administrators",
        "site-admins",
        "org-admins",
    }
)
"""Groups that administer a Confluence by default; beside them whoever is granted it."""

LICENCE_GROUPS = frozenset({"confluence-users"})

FORBIDDEN = "\\,+<>'\"/"
"""What a username must not have; the slash because it cannot stand in the path of a write."""

_IN_PATHS = frozenset({".", ".."})


class ConfluenceDialect:
    """Usernames are in lower case and have no blanks; groups stand in paths, so without slashes."""

    def account(self, account: Account) -> Account:
        username = legal(account.username, "username", without=FORBIDDEN).lower()
        if any(letter.isspace() for letter in username):
            raise InvalidValue(f"the username {username!r} has blanks, which Confluence forbids")
        if username == "anonymous" or username in _IN_PATHS:
            raise InvalidValue(f"the username {username!r} is reserved in Confluence")
        display_name = shown(account.display_name, without="<>")
        if fold(display_name) == "anonymous":
            raise InvalidValue("the display name 'anonymous' is reserved in Confluence")
        return replace(
            account, username=username, email=mail(account.email), display_name=display_name
        )

    def group(self, name: str) -> str:
        found = legal(name, "group name", without="/\\")
        if found in _IN_PATHS:
            raise InvalidValue(f"the group name {found!r} is none")
        return found


def account_of(shape: Mapping[str, Any], email: str | None = None) -> Account:
    """An account as Confluence shows it: the address only where another question gave it."""
    name = text_of(shape.get("username"))
    display_name = shape.get("displayName")
    return Account(
        username=name,
        email=email,
        display_name=None if display_name is None else text_of(display_name),
        active=_is_active(shape.get("status")),
        key=text_of(shape.get("userKey")) or fold(name),
    )


_INACTIVE = frozenset({"deactivated", "disabled", "inactive"})


def _is_active(status: object) -> bool | None:
    """Which words there are is not documented: whatever does not say that somebody is shut out
    says that she is not. None where nothing is said at all."""
    word = text_of(map_of(status).get("value") or map_of(status).get("name"))
    word = status if isinstance(status, str) else word
    return word.casefold() not in _INACTIVE if word else None


def is_account(shape: Mapping[str, Any]) -> bool:
    """Whether this is somebody: not the anonymous visitor, nor the trace of a deleted account."""
    return bool(text_of(shape.get("username"))) and shape.get("type") in (None, "known", "user")


def group_of(shape: Mapping[str, Any]) -> TargetGroup:
    """A group: Confluence knows it by nothing but its name."""
    name = text_of(shape.get("name"))
    return TargetGroup(name=name, key=fold(name))


def granted(body: object) -> tuple[frozenset[str], frozenset[str]]:
    """The groups that administer, and those that may use (and so take seats), folded."""
    admins, users = set(), set()
    for each in body if isinstance(body, list) else ():
        grant = map_of(each)
        operation, subject = map_of(grant.get("operation")), map_of(grant.get("subject"))
        name = text_of(subject.get("name")) or text_of(subject.get("groupName"))
        if not name or subject.get("type") not in (None, "group"):
            continue
        key = text_of(operation.get("operationKey")) or text_of(operation.get("operation"))
        if key.casefold() == "administer":
            admins.add(fold(name))
        elif key.casefold() == "use" and text_of(operation.get("targetType")) == "application":
            users.add(fold(name))
    return frozenset(admins), frozenset(users - admins)


def error_text(body: object) -> str:
    """A RestError's message, with what its validation found."""
    shape = map_of(body)
    texts = [text_of(shape.get("message"))]
    for each in rows_of(map_of(shape.get("data")).get("errors")):
        message = each.get("message")
        texts.append(text_of(map_of(message).get("translation") or map_of(message).get("key")))
    return "; ".join(text for text in texts if text) or text_of(shape.get("reason"))


def only_reads(answer: Response) -> bool:
    """Whether Confluence itself is in its read-only mode: a flag says so, in no language."""
    if answer.status != 405:
        return False
    try:
        shape = map_of(answer.json())
    except NotJson:
        return False
    return map_of(shape.get("data")).get("allowedInReadOnlyMode") is False


_READ_ONLY = ("read only", "read-only", "does not allow updates", "external user management")


def sounds_read_only(words: str) -> bool:
    """Whether a refusal reads as if the directory could not be written.

    The API has no other word for it. This chooses the words that are shown and how soon it is tried
    again, not what is done: whether a change took effect is read, and it is withheld either way.
    """
    return any(each in words.casefold() for each in _READ_ONLY)
