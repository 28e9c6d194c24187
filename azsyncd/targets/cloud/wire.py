"""How the SCIM directory spells accounts, groups, patches and errors; and its rules for names.

The mark is `externalId`: it holds the object id of Entra, as Entra's own gallery application writes
it, so that whoever comes from there, or has lost the database, finds every account again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from azsyncd.answers import NotJson, Response
from azsyncd.model.accounts import Account, Mark, TargetGroup
from azsyncd.targets.names import legal, mail, shown
from azsyncd.targets.rest import map_of, rows_of, text_of

HEADERS = {
    "Accept": "application/scim+json, application/json",
    "X-Atlassian-Token": "no-check",
}
CORE_USER = "urn:ietf:params:scim:schemas:core:2.0:User"
CORE_GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"

ADMIN_GROUPS = frozenset(
    {
        "administrators",
        "atlassian-addons-admin",
        "jira-administrators",
        "confluence-administrators",
        "org-admins",
        "site-admins",
        "system-administrators",
    }
)
"""Groups that administer a site or the organisation; beside them whatever is called so."""

_OBJECT_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

NAMES = ("formatted", "familyName", "givenName", "middleName", "honorificPrefix", "honorificSuffix")
PHONES = {"phone": "work", "mobile": "mobile"}
ATTRIBUTES = frozenset(
    {
        "nickName",
        "title",
        "preferredLanguage",
        "timezone",
        "department",
        "organization",
        *NAMES,
        *PHONES,
    }
)
"""What `accounts.attributes` may name."""


class CloudDialect:
    """Names keep their case. An attribute that the directory does not have is left out."""

    def account(self, account: Account) -> Account:
        return replace(
            account,
            username=legal(account.username, "username"),
            email=mail(account.email),
            display_name=shown(account.display_name),
            attributes={k: v for k, v in account.attributes.items() if k in ATTRIBUTES},
        )

    def group(self, name: str) -> str:
        return legal(name, "group name")


@dataclass(frozen=True, slots=True)
class Places:
    """Where this directory keeps department and organisation: in the enterprise extension, or
    beside the others. Its own schemas say so."""

    extended: frozenset[str] = frozenset({"department", "organization"})

    def path(self, name: str) -> str:
        """The path of an attribute in a PATCH."""
        if name in NAMES:
            return f"name.{name}"
        return f"{ENTERPRISE}:{name}" if name in self.extended else name


def places_of(body: object) -> Places:
    """From the answer to `/Schemas`."""
    for schema in rows_of(map_of(body).get("Resources")):
        if schema.get("id") == ENTERPRISE:
            names = {
                text_of(each.get("name"))
                for each in rows_of(schema.get("attributes"))
                if each.get("mutability") != "readOnly"
            }
            return Places(frozenset(names) & {"department", "organization"})
    return Places(frozenset())


# Accounts ---------------------------------------------------------------------------------------


def account_of(shape: Mapping[str, Any], instance: str, attributes: Iterable[str] = ()) -> Account:
    """An account, with those attributes that are ours to keep."""
    external = text_of(shape.get("externalId"))
    active = shape.get("active")
    values = {name: value_of(shape, name) for name in attributes}
    return Account(
        username=text_of(shape.get("userName")),
        email=primary(shape),
        display_name=text_of(shape.get("displayName"))
        or text_of(map_of(shape.get("name")).get("formatted")),
        active=active if isinstance(active, bool) else None,
        attributes=values,
        key=text_of(shape.get("id")),
        mark=Mark(instance, external.lower()) if _OBJECT_ID.fullmatch(external) else None,
    )


def primary(shape: Mapping[str, Any]) -> str:
    """The address that counts: the primary one, else the first."""
    emails = rows_of(shape.get("emails"))
    chosen = [each for each in emails if each.get("primary") is True] or list(emails)
    return text_of(chosen[0].get("value")) if chosen else ""


def value_of(shape: Mapping[str, Any], name: str) -> str:
    """An attribute, wherever it is kept; empty if it is not set."""
    if name in NAMES:
        return text_of(map_of(shape.get("name")).get(name))
    if name in PHONES:
        numbers = rows_of(shape.get("phoneNumbers"))
        found = [each for each in numbers if each.get("type") == PHONES[name]]
        return text_of(found[0].get("value")) if found else ""
    return text_of(map_of(shape.get(ENTERPRISE)).get(name)) or text_of(shape.get(name))


def new_user(account: Account, places: Places) -> dict[str, Any]:
    """The body that creates an account."""
    values = {name: value for name, value in account.attributes.items() if value}
    body: dict[str, Any] = {
        "schemas": [CORE_USER],
        "userName": account.username,
        "emails": [{"value": account.email, "type": "work", "primary": True}],
        "displayName": account.display_name,
        "active": account.active is not False,
    }
    if account.mark is not None:
        body["externalId"] = account.mark.object_id
    if name := {each: values[each] for each in NAMES if each in values}:
        body["name"] = name
    if phones := _phones((), values):
        body["phoneNumbers"] = phones
    for each in values.keys() - set(NAMES) - set(PHONES):
        if each in places.extended:
            body.setdefault(ENTERPRISE, {})[each] = values[each]
        else:
            body[each] = values[each]
    if ENTERPRISE in body:
        body["schemas"].append(ENTERPRISE)
    return body


def changes(shape: Mapping[str, Any], want: Account, places: Places) -> list[dict[str, Any]]:
    """The operations that make an account what it should be; what others wrote stays."""
    found = _address(shape, want)
    if want.display_name and want.display_name != shape.get("displayName"):
        found.append(put("displayName", want.display_name))
    wanted = {k: v for k, v in want.attributes.items() if k in ATTRIBUTES}
    different = {name: value for name, value in wanted.items() if value_of(shape, name) != value}
    for name, value in different.items():
        if name not in PHONES:
            found.append(put(places.path(name), value))
    if different.keys() & PHONES.keys():
        phones = _phones(rows_of(shape.get("phoneNumbers")), different)
        found.append(put("phoneNumbers", phones))
    return found


def names(shape: Mapping[str, Any], want: Account) -> list[dict[str, Any]]:
    """The operations that give an account another username and address."""
    found = _address(shape, want)
    if want.username != text_of(shape.get("userName")):
        found.insert(0, put("userName", want.username))
    return found


def _address(shape: Mapping[str, Any], want: Account) -> list[dict[str, Any]]:
    if not want.email or want.email.casefold() == primary(shape).casefold():
        return []
    return [put("emails", _emails(shape, want.email))]


def _emails(shape: Mapping[str, Any], email: str) -> list[dict[str, Any]]:
    """The list with another primary address; the other addresses stay."""
    rest = [dict(each) for each in rows_of(shape.get("emails"))]
    old = next((each for each in rest if each.get("primary") is True), rest[0] if rest else None)
    kept = [
        {**each, "primary": False}
        for each in rest
        if each is not old and text_of(each.get("value")).casefold() != email.casefold()
    ]
    kind = text_of((old or {}).get("type")) or "work"
    return [{"value": email, "type": kind, "primary": True}, *kept]


def _phones(
    standing: Iterable[Mapping[str, Any]], values: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The list with these numbers, by their kind; an empty one is taken out."""
    kinds = {PHONES[name]: value for name, value in values.items() if name in PHONES}
    kept = [dict(each) for each in standing if each.get("type") not in kinds]
    return kept + [{"value": value, "type": kind} for kind, value in kinds.items() if value]


# Patches ----------------------------------------------------------------------------------------


def put(path: str, value: object) -> dict[str, Any]:
    """Replace a value; an empty text, or an empty list, clears it."""
    return {"op": "replace", "path": path, "value": value}


def patch(operations: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The body of a PATCH: with a large `Operations`, whatever the published schema says."""
    return {"schemas": [PATCH], "Operations": list(operations)}


def of_members(op: str, keys: Iterable[str]) -> dict[str, Any]:
    """Members to add or remove; both take an array here, other than RFC 7644 has it."""
    return {"op": op, "path": "members", "value": [{"value": key} for key in keys]}


def equals(name: str, value: str) -> str:
    """The one kind of filter there is."""
    return f"{name} eq {orjson.dumps(value).decode()}"


# Groups -----------------------------------------------------------------------------------------


def group_of(shape: Mapping[str, Any]) -> TargetGroup:
    """A group, by its id."""
    return TargetGroup(name=text_of(shape.get("displayName")), key=text_of(shape.get("id")))


def members_of(shape: Mapping[str, Any]) -> list[str] | None:
    """The ids of a group's members; None where the answer does not say."""
    if not isinstance(shape.get("members"), list):
        return None
    return [
        text_of(each.get("value"))
        for each in rows_of(shape["members"])
        if text_of(each.get("type")).casefold() in ("", "user")
    ]


# Errors -----------------------------------------------------------------------------------------


def error_text(body: object) -> str:
    """SCIM's detail; of the gateway its words and the trace that Atlassian's support asks for."""
    shape = map_of(body)
    words = text_of(shape.get("detail")) or text_of(shape.get("error"))
    trace = text_of(shape.get("traceId"))
    return f"{words} (trace {trace})" if trace else words


def kind_of(answer: Response) -> str:
    """The `scimType` of a refusal."""
    try:
        return text_of(map_of(answer.json()).get("scimType"))
    except NotJson:
        return ""
