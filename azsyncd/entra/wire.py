"""The only place that spells Graph's JSON.

Ids are lower-cased here, so that nobody else compares GUIDs with care. A property that a page does
not carry does not appear in `Seen.properties`; one that is null there is None (rule 5).
https://learn.microsoft.com/en-us/graph/delta-query-overview
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from azsyncd.answers import redact
from azsyncd.clock import iso
from azsyncd.errors import SourceError
from azsyncd.model.identities import MANAGER, MemberKind, MemberSeen, ObjectId, Page, Seen
from azsyncd.model.subscriptions import Subscription

_KINDS = {
    "#microsoft.graph.user": MemberKind.USER,
    "#microsoft.graph.group": MemberKind.GROUP,
}

EXPIRED_CODES = frozenset({"syncstatenotfound", "syncstateinvalid", "resyncrequired"})
"""Codes that mean: the delta token is gone, read everything again. Compared in lower case."""

DENIED_CODES = frozenset({"authorization_requestdenied", "accessdenied", "forbidden"})


# Delta pages ------------------------------------------------------------------------------------


def page_from_json(feed: str, body: Any) -> Page:
    """One page of a delta feed; raises SourceError for what cannot be one, whole or not at all."""
    if not isinstance(body, dict) or not isinstance(body.get("value"), list):
        raise SourceError(f"Graph's page of {feed} has no list of objects in it")
    next_link, delta_link = _link(body, "@odata.nextLink"), _link(body, "@odata.deltaLink")
    if (next_link is None) == (delta_link is None):
        which = "both" if next_link else "neither"
        raise SourceError(
            f"Graph's page of {feed} has {which} of nextLink and deltaLink, so it cannot be trusted"
        )
    return Page(tuple(_seen(feed, item) for item in body["value"]), next_link, delta_link)


def _seen(feed: str, item: Any) -> Seen:
    removed = item.get("@removed") if isinstance(item, dict) else None
    found = object_id(item, f"an object of {feed}")
    # Annotations (@odata.type, members@delta, @removed) are not properties.
    properties = {k: v for k, v in item.items() if k not in ("id", MANAGER) and "@" not in k}
    if said := item.get("manager@delta"):
        managers = [_manager(each) for each in (said if isinstance(said, list) else [said])]
        living = [each for each in managers if each is not None]  # wherever it stands in the list
        properties[MANAGER] = living[-1] if living else None
    return Seen(
        id=found,
        properties=properties,
        # A reason that is not known yet is read as the milder one: restorable.
        removed=None if removed is None else "deleted" if _reason(removed) else "changed",
        members=tuple(member_from_json(m) for m in item.get("members@delta") or ()),
    )


def member_from_json(item: Any, what: str = "a member") -> MemberSeen:
    """A member, or its removal. `@removed.reason` says nothing about the member itself here.

    Graph always names the type; should it be missing, a user is the guess that removes nobody.
    """
    found = object_id(item, what)
    kind = str(item.get("@odata.type") or "#microsoft.graph.user").lower()
    return MemberSeen(
        id=found,
        kind=_KINDS.get(kind, MemberKind.OTHER),
        removed=item.get("@removed") is not None,
    )


def manager_from_json(item: Any) -> ObjectId | None:
    """A manager's id; None for nobody, and for a contact of the organization: it is no user.

    https://learn.microsoft.com/en-us/graph/api/user-list-manager
    """
    return None if item is None else _manager(item)


def _manager(item: Any) -> ObjectId | None:
    seen = member_from_json(item, "a manager")
    return seen.id if seen.kind is MemberKind.USER and not seen.removed else None


def object_id(item: Any, what: str) -> ObjectId:
    """The lower-cased id of an object; raises SourceError where there is none."""
    found = item.get("id") if isinstance(item, dict) else None
    if not isinstance(found, str) or not found:
        raise SourceError(f"Graph sent {what} without an id")
    return ObjectId(found.lower())


def items_of(body: Any) -> tuple[list[Any], str | None]:
    """The objects of one page of an ordinary list, and where the next page is."""
    if not isinstance(body, dict) or not isinstance(body.get("value"), list):
        raise SourceError("Graph's answer has no list of objects in it")
    return body["value"], _link(body, "@odata.nextLink")


def _reason(removed: Any) -> bool:
    return isinstance(removed, dict) and str(removed.get("reason", "")).lower() == "deleted"


def _link(body: Mapping[str, Any], name: str) -> str | None:
    link = body.get(name)
    return link if isinstance(link, str) and link else None


# Errors -----------------------------------------------------------------------------------------


def codes_of(body: Any) -> tuple[str, ...]:
    """Every error code of an answer, the most specific last: codes are branched on, no messages.

    https://learn.microsoft.com/en-us/graph/errors
    """
    return tuple(str(node["code"]) for node in _errors(body) if node.get("code"))


def message_of(body: Any) -> str:
    """Graph's own words, for people."""
    for node in _errors(body):
        if isinstance(node.get("message"), str) and node["message"]:
            return redact(" ".join(node["message"].split()))[:256]
    return ""


def request_id_of(body: Any) -> str | None:
    """What Microsoft's support asks for."""
    for node in _errors(body):
        found = node.get("request-id") or node.get("requestId")
        if isinstance(found, str):
            return found
    return None


def _errors(body: Any) -> Iterator[Mapping[str, Any]]:
    node = body.get("error") if isinstance(body, dict) else None
    for _ in range(10):  # a nest without an end is somebody's joke
        if not isinstance(node, dict):
            return
        yield node
        node = next((v for k, v in node.items() if k.lower() == "innererror"), None)


_CLAIMS = re.compile(r'\bclaims="([^"]+)"')


def claims_of(challenge: str) -> str | None:
    """The claims that Graph wants in the next token, as JSON; None = it says nothing of claims.

    https://learn.microsoft.com/en-us/entra/identity-platform/claims-challenge
    """
    match = _CLAIMS.search(challenge)
    if match is None:
        return None
    try:
        raw = base64.urlsafe_b64decode(match[1].translate(_URLSAFE).rstrip("=") + "===")
        return raw.decode() if isinstance(orjson.loads(raw), dict) else None
    except (binascii.Error, ValueError):
        return None


_URLSAFE = str.maketrans("+/", "-_")


# Permissions ------------------------------------------------------------------------------------

_PERMISSIONS = (
    (re.compile(r"/users(?:/|\?|$)"), "User.Read.All"),
    (re.compile(r"/groups(?:/|\?|$)"), "GroupMember.Read.All"),
    (re.compile(r"/directory/deletedItems"), "User.Read.All"),
    (re.compile(r"/applications"), "Application.Read.All"),
    (re.compile(r"/subscriptions"), "User.Read.All and Group.Read.All"),
)

ROLES_THAT_SERVE = {
    "users": frozenset({"User.Read.All", "Directory.Read.All"}),
    "groups": frozenset({"GroupMember.Read.All", "Group.Read.All", "Directory.Read.All"}),
    "groups subscription": frozenset({"Group.Read.All", "Directory.Read.All"}),
}
"""Application permissions of which one suffices for a purpose."""

ROLES_WE_USE = frozenset(
    {
        "User.Read.All",
        "GroupMember.Read.All",
        "Group.Read.All",
        "Directory.Read.All",
        "Member.Read.Hidden",
        "Application.Read.All",
    }
)
"""Everything else is granted in excess."""


INSTEAD_OF = {
    "signInActivity": "signInActivity cannot be followed: decide by accountEnabled",
    "licenseAssignmentStates": "licenseAssignmentStates cannot be followed: decide by a group",
    "mailboxSettings": "mailboxSettings lives in Exchange: use preferredLanguage or usageLocation",
    "customSecurityAttributes": "use onPremisesExtensionAttributes or a directory extension",
    "employeeLeaveDateTime": "decide by accountEnabled",
}
"""What delta cannot track, and what to use. The list is what was seen; Graph's 400 decides."""


def permission_for(url: str) -> str:
    """The least application permission that a refused call needs."""
    return next((name for form, name in _PERMISSIONS if form.search(url)), "Directory.Read.All")


def credential_ends(application: Any, hints: Collection[str] = ()) -> list[tuple[str, float]]:
    """The ends of an application's secrets and certificates, the next one first.

    Graph's `hint` is how a secret begins: if it fits one of `hints`, only those are meant.
    """
    found = []
    ours = [
        item
        for item in application.get("passwordCredentials") or ()
        if item.get("hint") and item["hint"] in hints
    ]
    if ours:
        application = {"passwordCredentials": ours}
    for kind, name in (("passwordCredentials", "secret"), ("keyCredentials", "certificate")):
        for item in application.get(kind) or ():
            ends = timestamp(item.get("endDateTime"))
            if ends is not None:
                label = item.get("displayName") or str(item.get("keyId") or "")[:8]
                found.append((f"{name} {label}".strip(), ends))
    return sorted(found, key=lambda pair: pair[1])


# Subscriptions ----------------------------------------------------------------------------------


def subscription_from_json(body: Any) -> Subscription:
    """A subscription as Graph shows it; raises SourceError without id or end."""
    ends = timestamp(body.get("expirationDateTime")) if isinstance(body, dict) else None
    if ends is None or not isinstance(body.get("id"), str):
        raise SourceError("Graph sent a subscription without an id or without its end")
    return Subscription(
        id=body["id"].lower(),
        resource=feed_of(str(body.get("resource") or "")),
        notification_url=str(body.get("notificationUrl") or ""),
        lifecycle_url=body.get("lifecycleNotificationUrl") or None,
        expires_at=ends,
        application_id=str(body.get("applicationId") or "").lower(),
    )


def subscription_to_json(
    resource: str, expires_at: float, client_state: str, notification_url: str
) -> dict[str, object]:
    """What creates a subscription. `created` never fires for users: creation comes as `updated`.

    https://learn.microsoft.com/en-us/graph/api/resources/subscription
    """
    return {
        "changeType": "updated,deleted",
        "resource": f"/{resource}",
        "notificationUrl": notification_url,
        "lifecycleNotificationUrl": notification_url,
        "expirationDateTime": iso(expires_at),
        "clientState": client_state,
        "latestSupportedTlsVersion": "v1_2",
    }


def feed_of(resource: str) -> str:
    """`/Users`, `users`, `Users/{id}` → `users`; what is no feed stays as it is, in lower case."""
    whole = resource.strip("/").lower()
    first = whole.split("/", 1)[0].split("?", 1)[0].split("(", 1)[0]
    return first if first in ("users", "groups") else whole


def timestamp(value: object) -> float | None:
    """`2026-11-20T18:23:45.9356913Z` in seconds since the epoch; None if it is no moment.

    Graph writes seven digits of a second, which `fromisoformat` takes only since Python 3.11.
    """
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
