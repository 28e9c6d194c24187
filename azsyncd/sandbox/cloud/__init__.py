"""A simulated Atlassian Cloud: the SCIM directory of its user provisioning API."""

from azsyncd.sandbox.cloud.discovery import DiscoveryCalls
from azsyncd.sandbox.cloud.groups import GroupCalls
from azsyncd.sandbox.cloud.users import UserCalls

__all__ = ["Cloud"]


class Cloud(UserCalls, GroupCalls, DiscoveryCalls):
    """One SCIM directory; see `CloudState` for what can be chosen."""
