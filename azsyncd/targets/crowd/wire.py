"""How Crowd spells accounts, groups, errors and our mark; and its rules for names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from azsyncd.answers import NotJson, Response
from azsyncd.model.accounts import Account, InvalidValue, Mark, TargetGroup, fold
from azsyncd.targets.names import LONGEST, legal, mail, shown
from azsyncd.targets.rest import map_of, rows_of, text_of

API = "/rest/usermanagement/1"
CHILDREN = "/group/child-group/direct"
OBJECT_ID = "azsyncd.objectId"
INSTANCE = "azsyncd.owner"
"""The two attributes that are our mark."""

SIGN_IN_HINT = "username and password are those of an application in Crowd, not of a person"

NOT_NESTED = frozenset({"UNSUPPORTED_OPERATION", "NESTED_GROUPS_NOT_SUPPORTED"})
"""How Crowd says that a directory takes no groups into groups."""

ADMIN_GROUPS = frozenset({"crowd-administrators", "administrators", "system-administrators"})


class CrowdDialect:
    """Crowd keeps the case of names and compares without it."""

    def account(self, account: Account) -> Account:
        for name, value in account.attributes.items():
            if len(value) > LONGEST:
                raise InvalidValue(f"the attribute {name!r} is longer than {LONGEST} characters")
        return replace(
            account,
            username=legal(account.username, "username"),
            email=mail(account.email),
            display_name=shown(account.display_name),
        )

    def group(self, name: str) -> str:
        return legal(name, "group name")


def account_of(shape: Mapping[str, Any], attributes: Iterable[str] = ()) -> Account:
    """An account with its mark, and with those attributes that are ours to keep."""
    name = text_of(shape.get("name"))
    found = attributes_of(shape)
    instance, object_id = found.get(INSTANCE), found.get(OBJECT_ID)
    active = shape.get("active")
    return Account(
        username=name,
        email=text_of(shape.get("email")),
        display_name=text_of(shape.get("display-name")),
        active=active if isinstance(active, bool) else None,
        attributes={each: found.get(each, "") for each in attributes},
        key=text_of(shape.get("key")) or fold(name),
        mark=Mark(instance, object_id) if instance and object_id else None,
    )


def attributes_of(shape: Mapping[str, Any]) -> dict[str, str]:
    """The first value of each attribute."""
    found: dict[str, str] = {}
    for each in rows_of(map_of(shape.get("attributes")).get("attributes")):
        values = each.get("values")
        if isinstance(values, list) and values:
            found[text_of(each.get("name"))] = text_of(values[0])
    return found


def attributes_body(values: Mapping[str, str]) -> dict[str, Any]:
    """Attributes to write; an empty list of values takes one away."""
    return {
        "attributes": [
            {"name": name, "values": [value] if value else []} for name, value in values.items()
        ]
    }


def mark_values(mark: Mark) -> dict[str, str]:
    """The mark as attributes."""
    return {OBJECT_ID: mark.object_id, INSTANCE: mark.instance}


def group_of(shape: Mapping[str, Any]) -> TargetGroup:
    """A group: Crowd knows it by nothing but its name."""
    name = text_of(shape.get("name"))
    description = text_of(shape.get("description")) or None
    return TargetGroup(name=name, key=fold(name), description=description)


def first_and_last(display_name: str) -> tuple[str, str]:
    """First and last name, where nobody gave them: the last word is the last name."""
    first, _, last = display_name.rpartition(" ")
    return first or last, last


def replacement(shape: Mapping[str, Any], **values: object) -> dict[str, Any]:
    """The whole account for a PUT, with some fields replaced: what a PUT leaves out is wiped.

    Whoever is not said to be inactive is not made so. First and last name follow the display name
    only if they had been made from it.
    """
    body: dict[str, Any] = {
        "name": text_of(shape.get("name")),
        "active": shape.get("active") is not False,
        "first-name": text_of(shape.get("first-name")),
        "last-name": text_of(shape.get("last-name")),
        "display-name": text_of(shape.get("display-name")),
        "email": text_of(shape.get("email")),
    }
    made = first_and_last(body["display-name"]) == (body["first-name"], body["last-name"])
    body |= {key.replace("_", "-"): value for key, value in values.items() if value is not None}
    if made:
        body["first-name"], body["last-name"] = first_and_last(body["display-name"])
    return body


def error_text(body: object) -> str:
    """`{reason, message}`."""
    shape = map_of(body)
    return text_of(shape.get("message")) or text_of(shape.get("reason"))


def reason_of(answer: Response) -> str:
    """Crowd's reason for a refusal; empty where it is a text: then it did not know us."""
    try:
        return text_of(map_of(answer.json()).get("reason"))
    except NotJson:
        return ""
