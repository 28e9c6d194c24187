"""The command line: one file a command. What is heavy is imported where it is used."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the `azsyncd` command."""
    try:
        from azsyncd.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before there is a command, or after it
        code = 130
    sys.exit(code)
