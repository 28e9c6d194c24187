"""Graph's properties of users and groups, as far as the sandbox knows them, and how they are shown.

https://learn.microsoft.com/en-us/graph/api/resources/user
https://learn.microsoft.com/en-us/graph/api/resources/group
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

USER_DEFAULT = (
    "businessPhones",
    "displayName",
    "givenName",
    "jobTitle",
    "mail",
    "mobilePhone",
    "officeLocation",
    "preferredLanguage",
    "surname",
    "userPrincipalName",
)
"""What `GET /users` shows, and what delta tracks, without `$select`."""

USER_KNOWN = frozenset(
    {
        *USER_DEFAULT,
        "id",
        "accountEnabled",
        "ageGroup",
        "assignedLicenses",
        "city",
        "companyName",
        "country",
        "createdDateTime",
        "creationType",
        "deletedDateTime",
        "department",
        "employeeId",
        "employeeOrgData",
        "employeeType",
        "externalUserState",
        "faxNumber",
        "identities",
        "imAddresses",
        "lastPasswordChangeDateTime",
        "mailNickname",
        "manager",
        "onPremisesDistinguishedName",
        "onPremisesDomainName",
        "onPremisesExtensionAttributes",
        "onPremisesImmutableId",
        "onPremisesLastSyncDateTime",
        "onPremisesSamAccountName",
        "onPremisesSecurityIdentifier",
        "onPremisesSyncEnabled",
        "onPremisesUserPrincipalName",
        "otherMails",
        "postalCode",
        "proxyAddresses",
        "state",
        "streetAddress",
        "usageLocation",
        "userType",
    }
)

GROUP_DEFAULT = (
    "classification",
    "createdDateTime",
    "description",
    "displayName",
    "groupTypes",
    "isAssignableToRole",
    "mail",
    "mailEnabled",
    "mailNickname",
    "membershipRule",
    "membershipRuleProcessingState",
    "onPremisesDomainName",
    "onPremisesLastSyncDateTime",
    "onPremisesSamAccountName",
    "onPremisesSecurityIdentifier",
    "onPremisesSyncEnabled",
    "proxyAddresses",
    "securityEnabled",
    "visibility",
)

GROUP_KNOWN = frozenset(
    {*GROUP_DEFAULT, "id", "assignedLicenses", "deletedDateTime", "expirationDateTime", "members"}
)

NOT_IN_DELTA = {
    "users": frozenset(
        {
            "signInActivity",
            "licenseAssignmentStates",
            "aboutMe",
            "birthday",
            "hireDate",
            "interests",
            "mySite",
            "pastProjects",
            "preferredName",
            "responsibilities",
            "schools",
            "skills",
            "mailboxSettings",
        }
    ),
    "groups": frozenset({"allowExternalSenders", "hideFromAddressLists", "accessType"}),
}
"""Kept elsewhere than in the directory: asking delta for them is an error."""

KNOWN = {"users": USER_KNOWN, "groups": GROUP_KNOWN}
DEFAULT = {"users": USER_DEFAULT, "groups": GROUP_DEFAULT}
RELATIONS = frozenset({"members", "manager"})
"""Not properties but navigations: delta shows them as `…@delta`."""


def chosen(properties: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The properties under these names that were ever set: null is shown, never set is absent."""
    return {name: properties[name] for name in names if name in properties}


def listed(properties: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """As lists and single reads show them: what was never set is null."""
    return {name: properties.get(name) for name in names if name not in RELATIONS}
