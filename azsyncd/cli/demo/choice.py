"""Which products `azsyncd demo` shows, and in which versions."""

from __future__ import annotations

import re

import typer

ALL = ("jira", "confluence", "bitbucket", "crowd", "cloud")
NAMES = {
    "jira": "Jira",
    "confluence": "Confluence",
    "bitbucket": "Bitbucket",
    "crowd": "Crowd",
    "cloud": "Atlassian Cloud",
}
OLDEST = {"jira": (7, 0), "confluence": (8, 4), "bitbucket": (7, 0), "crowd": (3, 5)}
"""Before these, azsyncd creates no accounts there."""

_VERSION = re.compile(r"[0-9]{1,3}(\.[0-9]{1,4}){0,3}")


def chosen(text: str) -> dict[str, str | None]:
    """`jira=10.6,crowd` → {"jira": "10.6", "crowd": None}, in our order; raises BadParameter."""
    found: dict[str, str | None] = {}
    for each in text.split(","):
        name, given, version = (part.strip() for part in each.partition("="))
        name = name.casefold()
        if name not in ALL:
            raise _bad(f"{name!r} is none of {', '.join(ALL)}")
        if name in found:
            raise _bad(f"{name} is named twice")
        if given:
            _must_fit(name, version)
        found[name] = version or None
    return {name: found[name] for name in ALL if name in found}


def _must_fit(name: str, version: str) -> None:
    if name not in OLDEST:
        raise _bad(f"{NAMES[name]} has no versions")
    if not _VERSION.fullmatch(version):
        raise _bad(f"{version!r} is no version of {NAMES[name]}, e.g. {name}=10.2")
    if tuple(int(part) for part in version.split(".")) < OLDEST[name]:
        oldest = ".".join(map(str, OLDEST[name]))
        raise _bad(f"{NAMES[name]} {version} is too old for azsyncd: {oldest} or newer")


def _bad(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="--targets")
