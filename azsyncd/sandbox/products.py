"""The simulated products by their type, as the configuration names them."""

from __future__ import annotations

from typing import Any

from azsyncd.sandbox.base import Product
from azsyncd.sandbox.bitbucket import Bitbucket
from azsyncd.sandbox.cloud import Cloud
from azsyncd.sandbox.confluence import Confluence
from azsyncd.sandbox.crowd import Crowd
from azsyncd.sandbox.jira import Jira

PRODUCTS: dict[str, type[Product]] = {
    "jira": Jira,
    "confluence": Confluence,
    "bitbucket": Bitbucket,
    "crowd": Crowd,
    "cloud": Cloud,
}


def product(kind: str, version: str | None = None, **flags: Any) -> Product:
    """A fresh product, e.g. `product("jira", "11.0.0", seats=25)`; `version` None: its default."""
    if version is not None:
        flags["version"] = version
    return PRODUCTS[kind](**flags)
