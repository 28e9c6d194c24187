"""Atlassian Crowd, by the API that it offers to applications."""

from azsyncd.targets.crowd.connector import Crowd

__all__ = ["Crowd"]
