"""A simulated Bitbucket Data Center: the user, group and permission calls of its REST API."""

from azsyncd.sandbox.bitbucket.groups import GroupCalls
from azsyncd.sandbox.bitbucket.system import SystemCalls
from azsyncd.sandbox.bitbucket.users import UserCalls

__all__ = ["Bitbucket"]


class Bitbucket(UserCalls, GroupCalls, SystemCalls):
    """Bitbucket, from 8 to 10; see `BitbucketState` for what can be chosen."""
