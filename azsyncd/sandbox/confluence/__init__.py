"""A simulated Confluence Data Center: the user and group calls of its REST API."""

from azsyncd.sandbox.confluence.groups import GroupCalls
from azsyncd.sandbox.confluence.users import UserCalls

__all__ = ["Confluence"]


class Confluence(UserCalls, GroupCalls):
    """Confluence, from 8.0 to 10; see `ConfluenceState` for what can be chosen."""
