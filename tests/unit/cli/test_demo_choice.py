"""What may be said after `demo --targets`."""

from __future__ import annotations

import inspect

import pytest
import typer

from azsyncd.cli.app import demo
from azsyncd.cli.demo.choice import ALL, NAMES, OLDEST, chosen
from azsyncd.sandbox.products import PRODUCTS


def test_by_default_it_is_every_product_that_is_simulated() -> None:
    assert set(ALL) == set(NAMES) == set(PRODUCTS)
    given = inspect.signature(demo).parameters["targets"].default
    assert chosen(given) == dict.fromkeys(ALL)


def test_names_and_versions_come_in_our_order() -> None:
    found = chosen(" Confluence = 9.2,jira=10.6 , crowd")
    assert found == {"jira": "10.6", "confluence": "9.2", "crowd": None}
    assert list(found) == ["jira", "confluence", "crowd"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is none of jira, confluence"),
        ("jira,hipchat", "'hipchat' is none of"),
        ("jira,jira=9.4", "jira is named twice"),
        ("jira=", "'' is no version of Jira"),
        ("jira=latest", "'latest' is no version of Jira, e.g. jira=10.2"),
        ("confluence=8.2", "Confluence 8.2 is too old for azsyncd: 8.4 or newer"),
        ("cloud=2", "Atlassian Cloud has no versions"),
    ],
)
def test_anything_else_is_refused_with_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(typer.BadParameter, match=said):
        chosen(text)


@pytest.mark.parametrize("name", OLDEST)
def test_the_oldest_versions_are_accepted(name: str) -> None:
    version = ".".join(map(str, OLDEST[name]))
    assert chosen(f"{name}={version}") == {name: version}
