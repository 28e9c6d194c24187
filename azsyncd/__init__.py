"""Makes Atlassian products follow a Microsoft Entra ID tenant, almost as it changes."""

__version__ = "0.1.0"
