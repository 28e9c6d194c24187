"""How Bitbucket spells accounts, groups, permissions and errors; and its rules for names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from azsyncd.answers import NotJson, Response
from azsyncd.model.accounts import Account, Directory, Seats, TargetGroup, fold
from azsyncd.targets.names import legal, mail, shown
from azsyncd.targets.rest import map_of, rows_of, text_of

API = "/rest/api/latest"

ADMIN_GROUPS = frozenset(
    {
        "administrators",
        "bitbucket-administrators",
        "stash-administrators",
        "system-administrators",
        "site-admins",
        "org-admins",
    }
)
"""Groups that administer by custom; beside them whoever holds ADMIN or SYS_ADMIN."""

ADMINISTERS = frozenset({"ADMIN", "SYS_ADMIN"})
LICENSED = frozenset({"LICENSED_USER", "PROJECT_CREATE"})
"""Global permissions that take a seat and administer nothing."""


class BitbucketDialect:
    """Names keep their case: Bitbucket compares without it. Mail and full name are required."""

    def account(self, account: Account) -> Account:
        return replace(
            account,
            username=legal(account.username, "username"),
            email=mail(account.email),
            display_name=shown(account.display_name),
        )

    def group(self, name: str) -> str:
        return legal(name, "group name")


def account_of(shape: Mapping[str, Any]) -> Account:
    """An account. Bitbucket tells beforehand whether it can be written."""
    name = text_of(shape.get("name"))
    number = shape.get("id")
    active = shape.get("active")
    return Account(
        username=name,
        email=_known(shape.get("emailAddress")),
        display_name=_known(shape.get("displayName")),
        active=active if isinstance(active, bool) else None,
        key=str(number) if isinstance(number, int) else fold(name),
        writable=shape.get("mutableDetails") is not False,
        directory=text_of(shape.get("directoryName")) or None,
    )


def _known(value: object) -> str | None:
    return None if value is None else text_of(value)


def group_of(name: str) -> TargetGroup:
    """A group: Bitbucket knows it by nothing but its name."""
    return TargetGroup(name=name, key=fold(name))


def directory_of(shape: Mapping[str, Any]) -> Directory:
    """A user directory; only of internal ones it is known that they can be written."""
    kind = text_of(shape.get("type"))
    internal = "internal" in kind.casefold()
    return Directory(
        name=text_of(shape.get("name")),
        kind=kind,
        writable=True if internal else None,
        active=shape.get("active") is not False,
    )


def seats_of(body: object) -> tuple[Seats, ...]:
    """The licence; nothing where none is installed."""
    shape = map_of(body)
    total, taken = shape.get("maximumNumberOfUsers"), map_of(shape.get("status"))
    used = taken.get("currentNumberOfUsers")
    if shape.get("unlimitedNumberOfUsers") is True:
        return (Seats("bitbucket", None, None),)
    if not isinstance(total, int) or total < 0:
        return ()
    return (Seats("bitbucket", total, max(0, total - used) if isinstance(used, int) else None),)


def error_text(body: object) -> str:
    """`{"errors": [{context, message, exceptionName}]}` on one line."""
    errors = rows_of(map_of(body).get("errors"))
    texts = []
    for each in errors:
        context, message = text_of(each.get("context")), text_of(each.get("message"))
        texts.append(f"{context}: {message}" if context and message else context or message)
    return "; ".join(text for text in texts if text) or text_of(map_of(body).get("message"))


def exceptions(answer: Response) -> str:
    """The short names of the exceptions of a refusal: unlike texts they are not translated."""
    names = (text_of(each.get("exceptionName")) for each in _errors(answer))
    return " ".join(name.rpartition(".")[2] for name in names)


def contexts(answer: Response) -> frozenset[str]:
    """The fields that a refusal is about."""
    return frozenset(text_of(each.get("context")) for each in _errors(answer)) - {""}


def _errors(answer: Response) -> Sequence[Mapping[str, Any]]:
    """What a refusal lists; nothing where it is something else than JSON."""
    try:
        return rows_of(map_of(answer.json()).get("errors"))
    except NotJson:
        return ()


def is_about_licence(answer: Response) -> bool:
    """Whether a refusal is one for want of seats."""
    return "licen" in exceptions(answer).casefold()


def lacks_rights(answer: Response) -> bool:
    """Bitbucket answers 401 where others answer 403: we are known, and may not."""
    if answer.status != 401:
        return False
    names = exceptions(answer).casefold()
    return "authoris" in names or "authoriz" in names
