"""Which application permissions each call takes. https://learn.microsoft.com/en-us/graph/permissions-reference"""

from __future__ import annotations

from azsyncd.sandbox.nodes import Node, Sort
from azsyncd.sandbox.odata import Ask, Refused

ANY_DIRECTORY = frozenset({"Directory.Read.All", "Directory.ReadWrite.All"})
USERS = ANY_DIRECTORY | {"User.Read.All", "User.ReadWrite.All"}
WHOLE_GROUPS = ANY_DIRECTORY | {"Group.Read.All", "Group.ReadWrite.All"}
GROUPS = WHOLE_GROUPS | {"GroupMember.Read.All", "GroupMember.ReadWrite.All"}
APPLICATIONS = ANY_DIRECTORY | {"Application.Read.All", "Application.ReadWrite.All"}
HIDDEN_MEMBERS = "Member.Read.Hidden"

BY_SORT = {
    Sort.USER: USERS,
    Sort.GROUP: GROUPS,
    Sort.DEVICE: ANY_DIRECTORY | {"Device.Read.All"},
    Sort.SERVICE_PRINCIPAL: APPLICATIONS,
    Sort.CONTACT: ANY_DIRECTORY | {"OrgContact.Read.All"},
}
BY_FEED = {"users": USERS, "groups": GROUPS}
FOR_SUBSCRIBING = {"users": USERS, "groups": WHOLE_GROUPS}


def need(ask: Ask, roles: frozenset[str]) -> None:
    """Raises Refused (403) unless the caller has one of these."""
    if not ask.may(roles):
        raise Refused(
            403,
            "Authorization_RequestDenied",
            "Insufficient privileges to complete the operation.",
        )


def hides_members(ask: Ask, group: Node) -> bool:
    """Whether the group keeps its members from this caller."""
    hidden = group.properties.get("visibility") == "HiddenMembership"
    return hidden and HIDDEN_MEMBERS not in ask.roles
