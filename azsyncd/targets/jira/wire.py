"""How Jira spells accounts, groups, errors and our mark; and its rules for names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from azsyncd.answers import NotJson, Response
from azsyncd.model.accounts import Account, Mark, TargetGroup, fold
from azsyncd.targets.names import legal, mail, shown
from azsyncd.targets.rest import map_of, text_of

API = "/rest/api/2"
MARK = "azsyncd"
"""The user property that holds our mark: `{"instance": …, "object_id": …}`."""

ADMIN_GROUPS = frozenset(
    {
        "administrators",
        "jira-administrators",
        "jira-system-administrators",
        "system-administrators",
        "site-admins",
        "org-admins",
    }
)
"""Groups that administer a Jira by default; beside them whatever is called `…administrators`."""

FORBIDDEN = "<>&"

SIGN_IN_HINT = (
    "make a new token, or check the password, and reload; tokens came with Jira 8.14, and from 11.0"
    " on passwords are only taken where System → Authentication methods allows them"
)


class JiraDialect:
    """Names keep their case: Jira compares without it. Mail and full name are required."""

    def account(self, account: Account) -> Account:
        return replace(
            account,
            username=legal(account.username, "username", without=FORBIDDEN),
            email=mail(account.email),
            display_name=shown(account.display_name),
        )

    def group(self, name: str) -> str:
        return legal(name, "group name")


def account_of(shape: Mapping[str, Any]) -> Account:
    """An account as Jira shows it, without what needs a question of its own."""
    name = text_of(shape.get("name"))
    active = shape.get("active")
    return Account(
        username=name,
        email=_known(shape.get("emailAddress")),
        display_name=_known(shape.get("displayName")),
        active=active if isinstance(active, bool) else None,
        # Before Jira 8.4 the key was the name in lower case; it never changes.
        key=text_of(shape.get("key")) or fold(name),
    )


def _known(value: object) -> str | None:
    return None if value is None else text_of(value)


def group_of(name: str) -> TargetGroup:
    """A group: Jira knows it by nothing but its name."""
    return TargetGroup(name=name, key=fold(name))


def mark_of(value: object) -> Mark | None:
    """Our mark in the value of a property; None if it is something else."""
    shape = map_of(value)
    instance, object_id = shape.get("instance"), shape.get("object_id")
    if not isinstance(instance, str) or not isinstance(object_id, str):
        return None
    return Mark(instance, object_id)


def mark_value(mark: Mark) -> dict[str, str]:
    """The value of the property."""
    return {"instance": mark.instance, "object_id": mark.object_id}


def error_text(body: object) -> str:
    """`{"errorMessages": […], "errors": {field: text}}` on one line."""
    shape = map_of(body)
    messages = shape.get("errorMessages")
    texts = [text_of(each) for each in messages] if isinstance(messages, list) else []
    texts += [text_of(text) for text in map_of(shape.get("errors")).values()]
    return "; ".join(text for text in texts if text) or text_of(shape.get("message"))


def fields(answer: Response) -> frozenset[str]:
    """The fields that a refusal names: unlike its texts they are never translated."""
    try:
        return frozenset(map_of(map_of(answer.json()).get("errors")))
    except NotJson:
        return frozenset()


_READ_ONLY = (
    "read only",
    "read-only",
    "read.only",  # the key of a text that is not translated
    "readonly",
    "external user management",
    "schreibgeschützt",
)


def sounds_read_only(words: str) -> bool:
    """Whether a refusal reads as if nothing could be written there at all.

    The API has no other word for it. This chooses the words that are shown and how soon it is tried
    again, not what is done: whether a change took effect is read, and it is withheld either way.
    """
    return any(each in words.casefold() for each in _READ_ONLY)
