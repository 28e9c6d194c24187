"""Jira Data Center and Server, by its REST API version 2."""

from azsyncd.targets.jira.connector import Jira

__all__ = ["Jira"]
