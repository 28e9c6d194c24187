"""What the two products are told, twice: as an operator writes it, and as plain Python.

The engine gets the file's text. The oracle gets the same choices, with a function of ours beside
each template and expression, and never reads what the engine makes of them.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

Properties = Mapping[str, Any]
HOUR = 3600.0
DAY = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Said:
    """One template or expression, and what it means."""

    text: str
    means: Callable[[Properties], Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of `include` or `members_of`: the operator's words, and the group it matches."""

    told: Mapping[str, Any]
    matches: Callable[[str, Properties], bool]


@dataclass(frozen=True, slots=True)
class Rules:
    """One product's part of the file. Stages are (hours, what)."""

    where: Said | None
    members_of: tuple[Entry, ...] | None
    exclude: tuple[str, ...]
    include: tuple[Entry, ...]
    exclude_groups: tuple[Entry, ...]
    username: Said
    email: Said
    display_name: Said
    active: Said
    attributes: Mapping[str, Said] = field(default_factory=dict)
    adopt: str = "username"
    rename: bool = True
    rename_adopted: bool = False
    leavers: tuple[tuple[float, str], ...] = ((0.0, "deactivate"),)
    rehire: str = "purged"
    on_rename: str = "keep"
    nested: str = "flatten"
    foreign_members: str = "keep"
    gone: str = "keep"
    default: tuple[str, ...] = ()
    drift: str = "repair"


# Words ----------------------------------------------------------------------------------------


def text(value: Any) -> str:
    """Null renders as empty text (rule 14)."""
    return "" if value is None else str(value)


def plain(value: Any) -> str:
    """`ascii`: é → e, ß → ss, ø → o; what has no Latin letter is left out."""
    folded = text(value).translate(str.maketrans({"ß": "ss", "ø": "o", "Ø": "O", "ł": "l",
                                                  "Ł": "L", "ı": "i"}))  # fmt: skip
    return "".join(c for c in unicodedata.normalize("NFKD", folded) if c.isascii())


def guest_address(value: Any) -> str:
    """`jo_contoso.com#EXT#@fabrikam…` → `jo@contoso.com`."""
    before, ext, _ = text(value).partition("#EXT#")
    if not ext:
        return text(value)
    name, _, domain = before.rpartition("_")
    return f"{name}@{domain}"


def upn(user: Properties) -> str:
    return text(user["userPrincipalName"])


def first_of(*values: Any) -> Any:
    return next((value for value in values if value not in (None, "")), "")


def joined(*values: Any) -> str:
    """`join` leaves nulls out."""
    return ".".join(text(value) for value in values if value is not None)


def manager_of(user: Properties) -> str:
    return "" if user["manager"] is None else upn(user["manager"]).lower()


MANAGER = Said("{{ user.manager.userPrincipalName | lower }}", manager_of)
BY_UPN = Said("{{ user.userPrincipalName | lower }}", lambda u: upn(u).lower())
BY_ADDRESS = Said(
    "{{ user.userPrincipalName | guest_address | lower }}", lambda u: guest_address(upn(u)).lower()
)
BEFORE_AT = Said(
    "{{ user.userPrincipalName | before('@') | lower }}", lambda u: upn(u).partition("@")[0].lower()
)
BY_NAME = Said(
    "{{ [user.givenName, user.surname] | join('.') | ascii | lower"
    " | regex_replace('[^a-z0-9.-]', '') }}",
    lambda u: re.sub(
        "[^a-z0-9.-]", "", plain(joined(u.get("givenName"), u.get("surname"))).lower()
    ),
)
BY_MAIL = Said(
    "{{ first_of(user.mail, user.userPrincipalName) }}", lambda u: first_of(u.get("mail"), upn(u))
)
MAIL_OR_UPN = Said(
    "{{ user.mail or user.userPrincipalName }}", lambda u: text(u.get("mail")) or upn(u)
)
MAIL_OR_ADDRESS = Said(
    "{{ first_of(user.mail, user.userPrincipalName | guest_address) }}",
    lambda u: first_of(u.get("mail"), guest_address(upn(u))),
)
MAIL = Said("{{ user.mail }}", lambda u: text(u.get("mail")))
DISPLAY = Said("{{ user.displayName }}", lambda u: text(u.get("displayName")))
LAST_FIRST = Said(
    "{{ user.surname }}, {{ user.givenName }}",
    lambda u: f"{text(u.get('surname'))}, {text(u.get('givenName'))}",
)
ENABLED = Said("user.accountEnabled", lambda u: u["accountEnabled"])
NOT_SUSPENDED = Said(
    "user.accountEnabled and user.employeeType != 'suspended'",
    lambda u: u["accountEnabled"] and u.get("employeeType") != "suspended",
)
DEPARTMENT = Said("{{ user.department }}", lambda u: text(u.get("department")))
MEMBERS = Said("user.userType == 'Member'", lambda u: u.get("userType") == "Member")
INSIDE = ("IT", "Sales", "Ops", "Research")
SOME = Said(
    f"user.department in {list(INSIDE)!r} or user.userType == 'Guest'",
    lambda u: u.get("department") in INSIDE or u.get("userType") == "Guest",
)
COMPANY = Said(
    "(user.companyName | lower) == 'fabrikam'",
    lambda u: text(u.get("companyName")).lower() == "fabrikam",
)


# Entries --------------------------------------------------------------------------------------


def is_security(group: Properties) -> bool:
    return bool(group["securityEnabled"]) and "Unified" not in group["groupTypes"]


def glob(pattern: str, kind: str = "security") -> Entry:
    """`atl-*`: a name with a star at its end, or a whole one; case ignored."""
    told = {"name": pattern} if kind == "security" else {"name": pattern, "type": kind}
    stem, star, _ = pattern.lower().partition("*")

    def matches(id_: str, group: Properties) -> bool:
        name = text(group["displayName"]).lower()
        fits = name.startswith(stem) if star else name == stem
        return fits and (kind == "any" or is_security(group))

    return Entry(told, matches)


def regex(pattern: str) -> Entry:
    found = re.compile(pattern)
    return Entry(
        {"regex": pattern},
        lambda id_, g: bool(found.fullmatch(text(g["displayName"]))) and is_security(g),
    )


def by_id(id_: str) -> Entry:
    return Entry({"id": id_}, lambda found, g: found == id_)


def where_synced() -> Entry:
    return Entry(
        {"where": "group.description == 'synced'"}, lambda id_, g: g.get("description") == "synced"
    )


# The two products -----------------------------------------------------------------------------

STAGES = (
    ((0.0, "strip_groups"), (60.0, "deactivate"), (204.0, "delete")),
    ((0.0, "deactivate"), (84.0, "strip_groups"), (156.0, "delete")),
    ((36.0, "strip_groups"), (84.0, "deactivate")),
    ((0.0, "delete"),),
    ((0.0, "keep"),),
    ((0.0, "strip_groups"),),
    ((0.0, "deactivate"),),
)


def two_products(draw: random.Random, fixed: bool, ids: Mapping[str, str]) -> dict[str, Rules]:
    """Two that contradict one another in everything; unless `fixed`, most of it is drawn.

    `ids`: object ids of groups and users that the file names."""

    def pick(fixed_one: Any, *others: Any) -> Any:
        return fixed_one if fixed else draw.choice((fixed_one, *others))

    excluded = (ids["break.glass"], "service.one@fabrikam.example")
    red = Rules(
        where=pick(MEMBERS, COMPANY, None),
        members_of=(glob("Atlassian Users"),),
        exclude=excluded,
        include=(glob("atl-*"), regex("team-(red|blue)-[0-9]+"), by_id(ids["odd group"])),
        exclude_groups=(glob("atl-x-*"),),
        username=pick(BY_UPN, BY_ADDRESS, BY_MAIL),
        email=pick(MAIL_OR_UPN, MAIL_OR_ADDRESS),
        display_name=DISPLAY,
        active=ENABLED,
        attributes={"department": DEPARTMENT, "manager": MANAGER},
        adopt=pick("username", "never"),
        rename_adopted=pick(False, True),
        leavers=pick(STAGES[6], *STAGES),
        rehire=pick("purged", "deleted", "never"),
        on_rename=pick("keep", "new_group"),
        foreign_members=pick("keep", "remove"),
        gone=pick("keep", "empty", "delete"),
        drift=pick("repair", "report"),
    )
    blue = Rules(
        where=pick(SOME, COMPANY, None),
        members_of=pick(None, (glob("Atlassian Users"), glob("Blue *"))),
        exclude=excluded[:1],
        include=(glob("Atl-*", "any"), where_synced()),
        exclude_groups=(),
        username=pick(BY_NAME, BEFORE_AT, BY_ADDRESS),
        email=pick(MAIL_OR_ADDRESS, MAIL),
        display_name=pick(LAST_FIRST, DISPLAY),
        active=pick(NOT_SUSPENDED, ENABLED),
        adopt=pick("never", "username"),
        leavers=pick(STAGES[0], *STAGES),
        rename=pick(True, True, False),
        rehire=pick("deleted", "purged", "never"),
        on_rename=pick("new_group", "keep"),
        nested=pick("flatten", "ignore"),
        foreign_members=pick("remove", "keep"),
        gone=pick("delete", "empty", "keep"),
        default=("everyone", "blue-users"),
        drift=pick("repair", "report"),
    )
    return {"red": red, "blue": blue}


CLASSES = ("deactivate", "disable", "rename", "update", "remove_member", "shrink_group", "delete",
           "delete_group")  # fmt: skip


def file(rules: Mapping[str, Rules]) -> str:
    """The file that an operator would write."""
    return yaml.safe_dump(
        {
            "entra": {
                "tenant_id": "11111111-2222-3333-4444-555555555555",
                "client_id": "66666666-7777-8888-9999-000000000000",
                "credential": {"client_secret": {"env": "SECRET"}},
            },
            "targets": {name: _target(name, each) for name, each in rules.items()},
        }
    )


def _target(name: str, rules: Rules) -> dict[str, Any]:
    users: dict[str, Any] = {"exclude": list(rules.exclude)}
    if rules.where is not None:
        users["where"] = rules.where.text
    if rules.members_of is not None:
        users["members_of"] = [dict(entry.told) for entry in rules.members_of]
    if len(users) == 1:
        users["everybody"] = True
    return {
        "type": "jira",
        "url": f"https://{name}.example",
        "auth": {"token": {"env": "TOKEN"}},
        "scope": {
            "users": users,
            "groups": {
                "include": [dict(entry.told) for entry in rules.include],
                "exclude": [dict(entry.told) for entry in rules.exclude_groups],
            },
        },
        "accounts": {
            "username": rules.username.text,
            "email": rules.email.text,
            "display_name": rules.display_name.text,
            "active": rules.active.text,
            "attributes": {name: said.text for name, said in rules.attributes.items()},
            "adopt": rules.adopt,
            "rename": rules.rename,
            "rename_adopted": rules.rename_adopted,
            "leavers": [{"after": f"{int(after)}h", "do": do} for after, do in rules.leavers],
            "rehire": rules.rehire,
        },
        "groups": {
            "on_rename": rules.on_rename,
            "nested": rules.nested,
            "foreign_members": rules.foreign_members,
            "gone": rules.gone,
            "default": list(rules.default),
        },
        "protect": {"users": ["local.*"]},
        "drift": rules.drift,
        "guard": dict.fromkeys(CLASSES, "unlimited"),
    }
