"""Confluence Data Center, by its REST API, from 8.2; complete from 9.3."""

from azsyncd.targets.confluence.connector import Confluence

__all__ = ["Confluence"]
