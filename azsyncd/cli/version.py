"""`azsyncd version`."""

from __future__ import annotations

import sys

import azsyncd
from azsyncd.cli.options import Json
from azsyncd.cli.output import say, say_json


def version(json: Json = False) -> None:
    """Show the versions of azsyncd, Python and the state."""
    from azsyncd.state.schema import VERSION

    told = {
        "version": azsyncd.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "schema": VERSION,
    }
    if json:
        say_json(told)
    else:
        say(f"azsyncd {told['version']}, Python {told['python']}, schema {told['schema']}")
