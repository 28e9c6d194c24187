"""A simulated Jira Data Center: users, groups, properties and licences of its REST API."""

from azsyncd.sandbox.jira.groups import GroupCalls
from azsyncd.sandbox.jira.state import Application
from azsyncd.sandbox.jira.system import SystemCalls
from azsyncd.sandbox.jira.users import UserCalls

__all__ = ["Application", "Jira"]


class Jira(UserCalls, GroupCalls, SystemCalls):
    """Jira in one of its versions, from 7 to 11; see `JiraState` for what can be chosen."""
