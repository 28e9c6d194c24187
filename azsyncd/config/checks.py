"""What one key alone cannot tell. These look at the file as it was written, whatever else is wrong
in it, so that all problems are told at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from azsyncd.config.marks import Path
from azsyncd.config.targets import CLOUD_URL
from azsyncd.plan.expressions import ExpressionProblem, Template
from azsyncd.plan.properties import Noun

Found = Iterator[tuple[Path, str]]

_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ADDRESS = re.compile(r"[^\r\n]*[^\s@<>]@[^\s@<>]+>?")
_PORTS = {"http": 80, "https": 443}
_SHOW_NO_SEATS = frozenset({"confluence", "crowd", "cloud"})
_NEST_NO_GROUPS = frozenset({"jira", "confluence", "bitbucket", "cloud"})


def problems(data: dict[str, Any]) -> Found:
    """(path, message) for every mistake."""
    targets = _mapping(data.get("targets"))
    yield from _webhook(_mapping(data.get("notifications")))
    yield from _heartbeat(_mapping(data.get("heartbeat")))
    for where, mail in _mails(data):
        yield from _mail(where, mail)
    yield from _scopes(data, targets)
    yield from _one_url(targets)
    for name, target in targets.items():
        at: Path = ("targets", name)
        yield from _auth_of_the_type(at, _mapping(target))
        yield from _constant(at, _mapping(target))
        yield from _marks(at, _mapping(target))
        yield from _seats(at, _mapping(target))
        yield from _nested(at, _mapping(target))
        yield from _stages((*at, "accounts", "leavers"), target)


def warnings(data: dict[str, Any]) -> Found:
    """(path, message) for what works, and should be known."""
    addresses: list[tuple[Path, Any]] = [
        (("entra", "graph_url"), _mapping(data.get("entra")).get("graph_url")),
        (("notifications", "public_url"), _mapping(data.get("notifications")).get("public_url")),
    ]
    for name, target in _mapping(data.get("targets")).items():
        addresses.append((("targets", name, "url"), _mapping(target).get("url")))
    for path, url in addresses:
        if isinstance(url, str) and url.strip().lower().startswith("http://"):
            why = (
                "Graph calls https addresses alone"
                if path[-1] == "public_url"
                else "passwords and tokens travel unprotected"
            )
            yield path, f"http:// without TLS: {why}"
    client = _mapping(data.get("entra")).get("client_id")
    if isinstance(client, str) and client and not _GUID.fullmatch(client):
        yield ("entra", "client_id"), "is no GUID; it is the application (client) id"
    for at, mail in _mails(data):
        if mail.get("tls") == "none" and mail.get("username"):
            yield (*at, "tls"), "none: the password travels unprotected"


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _webhook(notifications: dict[str, Any]) -> Found:
    if notifications.get("mode") == "webhook" and not notifications.get("public_url"):
        yield (
            ("notifications", "public_url"),
            "is missing: mode webhook needs the address at which Microsoft reaches azsyncd",
        )


def _heartbeat(heartbeat: dict[str, Any]) -> Found:
    if heartbeat and not heartbeat.get("url"):
        yield ("heartbeat", "url"), "is missing: the address to call"


def _mails(data: dict[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    for index, alert in enumerate(_list(data.get("alerts"))):
        if mail := _mapping(_mapping(alert).get("email")):
            yield ("alerts", index, "email"), mail


def _mail(at: Path, mail: dict[str, Any]) -> Found:
    for one, other in (("username", "password"), ("password", "username")):
        if mail.get(one) and not mail.get(other):
            yield (*at, one), f"needs {other} beside it"
    addresses: list[tuple[Path, Any]] = [((*at, "from"), mail.get("from"))]
    addresses += [((*at, "to", n), each) for n, each in enumerate(_list(mail.get("to")))]
    for path, address in addresses:
        if isinstance(address, str) and not _ADDRESS.fullmatch(address):
            yield path, f"{address!r} is no mail address"


# Scope ----------------------------------------------------------------------------------------


def _scopes(data: dict[str, Any], targets: dict[str, Any]) -> Found:
    common = _mapping(data.get("scope"))
    yield from _ids(("scope",), common)
    nobody = not _names_somebody(_mapping(common.get("users")))
    missing = []
    for name, target in targets.items():
        own = _mapping(_mapping(target).get("scope"))
        yield from _ids(("targets", name, "scope"), own)
        if nobody and not _names_somebody(_mapping(own.get("users"))):
            missing.append(name)
    if missing or (nobody and not targets):
        whose = "" if len(missing) == len(targets) else f" for {', '.join(missing)}"
        yield (
            ("scope", "users"),
            f"says nobody{whose}; name groups in members_of, or a condition in where, or write "
            "everybody: true",
        )


def _names_somebody(users: dict[str, Any]) -> bool:
    return bool(users.get("everybody")) or any(
        users.get(key) is not None for key in ("where", "members_of")
    )


def _ids(at: Path, scope: dict[str, Any]) -> Found:
    users, groups = _mapping(scope.get("users")), _mapping(scope.get("groups"))
    for index, who in enumerate(_list(users.get("exclude"))):
        if isinstance(who, str) and not _GUID.fullmatch(who) and "@" not in who:
            path: Path = (*at, "users", "exclude", index)
            yield path, f"{who!r} is neither an object id nor a user principal name"
    lists = (
        ((*at, "users", "members_of"), users.get("members_of")),
        ((*at, "groups", "include"), groups.get("include")),
        ((*at, "groups", "exclude"), groups.get("exclude")),
    )
    for path, entries in lists:
        for index, entry in enumerate(_list(entries)):
            id_ = _mapping(entry).get("id")
            if isinstance(id_, str) and not _GUID.fullmatch(id_):
                yield (*path, index, "id"), f"{id_!r} is no object id; by its name: `name:`"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


# Targets --------------------------------------------------------------------------------------


def _one_url(targets: dict[str, Any]) -> Found:
    """Rule 25: two targets with one product would undo one another's work."""
    seen: dict[tuple[Any, ...], str] = {}
    for name, target in targets.items():
        settings = _mapping(target)
        url = settings.get("url", CLOUD_URL if settings.get("type") == "cloud" else None)
        if not isinstance(url, str):
            continue
        try:
            parts = urlsplit(url.strip().rstrip("/"))
            port = parts.port or _PORTS.get(parts.scheme)
        except ValueError:
            continue
        key = (parts.hostname, port, parts.path, str(settings.get("directory_id")))
        if key in seen:
            yield ("targets", name, "url"), f"is the same product as targets.{seen[key]}"
        seen.setdefault(key, name)


def _auth_of_the_type(at: Path, target: dict[str, Any]) -> Found:
    kind, auth = target.get("type"), _mapping(target.get("auth"))
    if kind == "crowd" and "token" in auth:
        yield (
            (*at, "auth", "token"),
            "Crowd has none: write the application's name as username, and its password",
        )
    if kind == "cloud":
        if "password" in auth:
            yield (*at, "auth", "password"), "Atlassian Cloud takes the directory's API key: token"
        if not target.get("directory_id"):
            yield (*at, "directory_id"), "is missing: it stands on the SCIM directory's page"
    elif "directory_id" in target:
        yield (*at, "directory_id"), "belongs to the type cloud alone"


def _marks(at: Path, target: dict[str, Any]) -> Found:
    """Whose an account is stands beside the attributes, and a lost database is rebuilt from it."""
    for name in _mapping(_mapping(target.get("accounts")).get("attributes")):
        if str(name).casefold() == "azsyncd" or str(name).casefold().startswith("azsyncd."):
            path: Path = (*at, "accounts", "attributes", name)
            yield path, "is where azsyncd notes whose account it is; take another name"


def _constant(at: Path, target: dict[str, Any]) -> Found:
    """A name that is the same for everybody is a template without its braces."""
    wanted: tuple[tuple[str, str, Noun], ...] = (
        ("accounts", "username", "user"),
        ("groups", "name", "group"),
    )
    for section, key, noun in wanted:
        source = _mapping(target.get(section)).get(key)
        if not isinstance(source, str):
            continue
        try:
            constant = Template(source, noun).is_constant
        except ExpressionProblem:
            continue  # told where it is read
        if constant and "{{" not in source:
            yield (*at, section, key), f"{source!r} is the same for every {noun}"


def _seats(at: Path, target: dict[str, Any]) -> Found:
    kind = target.get("type")
    if _mapping(target.get("seats")).get("keep_free") and kind in _SHOW_NO_SEATS:
        yield (*at, "seats", "keep_free"), f"cannot be kept: {kind} does not show its seats"


def _nested(at: Path, target: dict[str, Any]) -> Found:
    kind = target.get("type")
    if _mapping(target.get("groups")).get("nested") == "keep" and kind in _NEST_NO_GROUPS:
        why = f"{kind} takes no groups into groups; flatten puts everybody into each of them"
        yield (*at, "groups", "nested"), why


def _stages(path: Path, target: Any) -> Found:
    leavers = _mapping(_mapping(target).get("accounts")).get("leavers")
    if leavers == []:
        yield path, "has no stage; write keep to leave accounts as they are"
