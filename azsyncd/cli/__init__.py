"""The command line: one file a command."""

from __future__ import annotations


def main() -> None:
    """Run the `azsyncd` command."""
    raise SystemExit("not built yet")
