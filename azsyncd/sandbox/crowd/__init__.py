"""A simulated Atlassian Crowd: the user management API that an application speaks."""

from azsyncd.sandbox.crowd.groups import GroupCalls
from azsyncd.sandbox.crowd.users import UserCalls

__all__ = ["Crowd"]


class Crowd(UserCalls, GroupCalls):
    """Crowd, from 3 to 6; see `CrowdState` for what can be chosen."""
