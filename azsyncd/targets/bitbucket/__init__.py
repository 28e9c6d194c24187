"""Bitbucket Data Center, by its REST API."""

from azsyncd.targets.bitbucket.connector import Bitbucket

__all__ = ["Bitbucket"]
