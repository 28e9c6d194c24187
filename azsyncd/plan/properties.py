"""Which of Graph's properties of users and groups expressions may mention.

Only what a delta query tracks can be used: anything else would be right once and then grow old in
silence. The others are known by name too, so that the answer can say what to use instead.

https://learn.microsoft.com/en-us/graph/delta-query-overview
https://learn.microsoft.com/en-us/graph/api/resources/user
https://learn.microsoft.com/en-us/graph/api/resources/group
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Literal

Noun = Literal["user", "group"]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BOTH = _names(
    """
    id displayName mail mailNickname proxyAddresses createdDateTime
    onPremisesDomainName onPremisesSamAccountName onPremisesSecurityIdentifier
    onPremisesSyncEnabled onPremisesLastSyncDateTime
    """
)

TRACKABLE: Mapping[Noun, frozenset[str]] = {
    "user": _BOTH
    | _names(
        """
        accountEnabled ageGroup businessPhones city companyName consentProvidedForMinor country
        creationType department employeeHireDate employeeId employeeOrgData employeeType
        externalUserState externalUserStateChangeDateTime faxNumber givenName identities imAddresses
        jobTitle legalAgeGroupClassification mobilePhone officeLocation
        onPremisesDistinguishedName onPremisesExtensionAttributes onPremisesImmutableId
        onPremisesUserPrincipalName otherMails passwordPolicies postalCode preferredDataLocation
        preferredLanguage showInAddressList state streetAddress surname usageLocation
        userPrincipalName userType
        """
    ),
    "group": _BOTH
    | _names(
        """
        classification description expirationDateTime groupTypes isAssignableToRole mailEnabled
        membershipRule membershipRuleProcessingState onPremisesNetBiosName preferredDataLocation
        preferredLanguage renewedDateTime resourceBehaviorOptions resourceProvisioningOptions
        securityEnabled securityIdentifier theme visibility
        """
    ),
}
"""What a delta query tells about when it changes. `id` is always there."""

_ELSEWHERE = "Graph keeps it outside the directory and reports no changes of it"

UNTRACKABLE: Mapping[Noun, Mapping[str, str]] = {
    "user": {
        **dict.fromkeys(
            _names(
                """
                aboutMe birthday hireDate interests mySite pastProjects preferredName
                responsibilities schools skills mailboxSettings photo
                """
            ),
            f"{_ELSEWHERE}; use onPremisesExtensionAttributes or a directory extension "
            "(extension_APPID_NAME)",
        ),
        "signInActivity": "a delta query refuses it; use a group that an access review or a "
        "life-cycle workflow keeps, and members_of",
        "licenseAssignmentStates": "a delta query does not track it; assign the licence to a "
        "group, and use members_of",
        "assignedLicenses": "assign the licence to a group, and use members_of",
        "assignedPlans": "assign the licence to a group, and use members_of",
        "memberOf": "use members_of",
        "customSecurityAttributes": "a delta query does not tell about it; use "
        "onPremisesExtensionAttributes or a directory extension (extension_APPID_NAME)",
        "employeeLeaveDateTime": "a delta query does not tell about it; use accountEnabled, or a "
        "group that a life-cycle workflow keeps",
        "deletedDateTime": "a deleted user is a leaver already: see accounts.leavers",
    },
    "group": {
        "members": "see groups.include and scope.users.members_of",
        "owners": "changes of owners are not read",
        "assignedLicenses": "a delta query does not track it; name the groups",
        "assignedLabels": "a delta query does not track it; use classification or visibility",
        "isManagementRestricted": "a delta query does not track it; name the groups",
        "allowExternalSenders": "Graph shows it for single groups only",
        "hideFromAddressLists": "Graph shows it for single groups only",
        "accessType": "Graph shows it for single groups only",
        "deletedDateTime": "a deleted group is gone already: see groups.gone",
    },
}
"""What exists but cannot be followed, and what to do instead."""

OBJECTS: Mapping[str, frozenset[str]] = {
    "onPremisesExtensionAttributes": frozenset(
        f"extensionAttribute{number}" for number in range(1, 16)
    ),
    "employeeOrgData": frozenset({"costCenter", "division"}),
}
"""Properties that are objects, and what is in them. They are always selected whole."""

PEOPLE = frozenset({"manager"})
"""Relations of a user to another one, whose properties follow: `user.manager.displayName`. They are
not properties of Graph's, and are followed in a way of their own (decision 012)."""

_DIRECTORY_EXTENSION = re.compile(r"extension_[0-9a-fA-F]{32}_\w+")


def problem_with(noun: Noun, name: str, *inside: str) -> str | None:
    """What is wrong with `user.NAME` (or `user.NAME.INNER`); None if it can be used."""
    if noun == "user" and name in PEOPLE:
        return _problem_of_person(name, *inside)
    if _DIRECTORY_EXTENSION.fullmatch(name):
        return None
    if name in TRACKABLE[noun]:
        return _problem_inside(noun, name, *inside)
    if (instead := UNTRACKABLE[noun].get(name)) is not None:
        return f"{noun}.{name} cannot be followed: {instead}"
    if name.startswith("extension_"):
        return (
            f"{noun}.{name} is no directory extension: those are called extension_APPID_NAME, "
            "with the application's id in 32 hexadecimal digits without dashes"
        )
    return f"{noun}.{name} is no property of a {noun} in Microsoft Graph{_guess(noun, name)}"


def did_you_mean(name: str, candidates: frozenset[str] | set[str] | list[str]) -> str:
    """`; did you mean X?`, or nothing where no candidate is near."""
    lowered = {candidate.lower(): candidate for candidate in sorted(candidates)}
    near = get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return f"; did you mean {lowered[near[0]]}?" if near else ""


_ALIASES = {
    "upn": "userPrincipalName",
    "username": "userPrincipalName",
    "email": "mail",
    "firstname": "givenName",
    "lastname": "surname",
    "name": "displayName",
    "enabled": "accountEnabled",
    "company": "companyName",
    "samaccountname": "onPremisesSamAccountName",
    "phone": "businessPhones",
    "title": "jobTitle",
    "objectid": "id",
    "type": "userType",
}


def _guess(noun: Noun, name: str) -> str:
    alias = _ALIASES.get(name.lower().replace("_", ""))
    if alias in TRACKABLE[noun]:
        return f"; did you mean {alias}?"
    if re.fullmatch(r"extensionAttribute\d+", name, re.IGNORECASE):
        return f"; did you mean onPremisesExtensionAttributes.{name}?"
    return did_you_mean(name, TRACKABLE[noun])


def _problem_of_person(name: str, *inside: str) -> str | None:
    if not inside:
        return f"user.{name} is another user; write user.{name}.NAME, as in user.{name}.mail"
    if inside[0] in PEOPLE:
        return f"user.{name}.{inside[0]} cannot be followed: only a user's own {name} is read"
    problem = problem_with("user", *inside)
    return problem and problem.replace(f"user.{inside[0]}", f"user.{name}.{inside[0]}", 1)


def _problem_inside(noun: Noun, name: str, inner: str | None = None, *_: str) -> str | None:
    known = OBJECTS.get(name)
    if known is None or inner is None or inner in known:
        return None
    return f"{noun}.{name} has no {inner}{did_you_mean(inner, known)}"
