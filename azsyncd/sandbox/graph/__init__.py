"""A simulated Microsoft Graph: the part of v1.0 that azsyncd asks."""

from azsyncd.sandbox.graph.server import GraphServer

__all__ = ["GraphServer"]
