"""The simulated products document nothing that the vendor does not: held against Atlassian's own
specifications, where those are at hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from azsyncd.sandbox.base import Operation, Product, documented
from azsyncd.sandbox.bitbucket import Bitbucket
from azsyncd.sandbox.cloud import Cloud
from azsyncd.sandbox.confluence import Confluence

FOLDER = Path(__file__).parents[3].parent / "shared" / "contracts" / "openapi"

SPECIFIED: list[tuple[type[Product], str, str]] = [
    (Confluence, "confluence-dc-10.2.14.rebuilt.openapi.json", ""),
    (Bitbucket, "bitbucket-dc-9.4.openapi.json", "/rest"),
    (Cloud, "cloud-scim-user-provisioning.teamapis-2022-08-29.json", ""),
]

BESIDE = {
    ("GET", "/rest/applinks/{}/manifest"),  # of application links, and not of this API
    ("GET", "/rest/applinks/1.0/manifest"),
}


def shape(path: str) -> str:
    """A path without the names of its variables."""
    return re.sub(r"\{[^}]*\}", "{}", path)


def operations(name: str, prefix: str) -> dict[tuple[str, str], dict[str, Any]]:
    path = FOLDER / name
    if not path.exists():
        pytest.skip("the vendors' specifications are not at hand")
    whole = json.loads(path.read_text())
    return {
        (method.upper(), prefix + shape(template)): operation
        for template, methods in whole["paths"].items()
        for method, operation in methods.items()
        if method in {"get", "post", "put", "delete", "patch"}
    }


@pytest.mark.parametrize(("product", "name", "prefix"), SPECIFIED, ids=lambda each: str(each)[:20])
def test_every_simulated_call_is_documented(product: type[Product], name: str, prefix: str) -> None:
    """Its path, its method, and each parameter of its query."""
    known = operations(name, prefix)
    found: list[Operation] = list(documented(product))
    assert len(found) > 10
    for each in found:
        key = (each.method, shape(each.path))
        if key in BESIDE:
            continue
        assert key in known, key
        query = {
            parameter["name"]
            for parameter in known[key].get("parameters", [])
            if parameter["in"] == "query"
        }
        assert each.query <= query, (key, each.query - query)


def test_every_simulated_status_of_a_write_is_one_that_is_documented() -> None:
    """What Confluence answers to good writes: 200, 201, 202 and 204 are not the same."""
    known = operations(*SPECIFIED[0][1:])
    wanted = {
        ("POST", "/rest/api/admin/user"): "201",
        ("POST", "/rest/api/admin/group"): "200",
        ("DELETE", "/rest/api/admin/user/{}"): "202",
        ("PUT", "/rest/api/user/{}/group/{}"): "204",
    }
    for key, status in wanted.items():
        assert status in known[key]["responses"]
