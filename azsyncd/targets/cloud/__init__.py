"""Atlassian Cloud, by the SCIM directory of its user provisioning API."""

from azsyncd.targets.cloud.connector import Cloud

__all__ = ["Cloud"]
