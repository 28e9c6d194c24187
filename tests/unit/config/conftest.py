"""A small valid file, and ways to change it."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from azsyncd.config import Loaded, loads
from azsyncd.errors import ConfigError

GOOD = """
entra:
  tenant_id: 11111111-2222-3333-4444-555555555555
  client_id: 66666666-7777-8888-9999-000000000000
  credential:
    client_secret: {credential: entra-client-secret}
scope:
  users: {everybody: true}
targets:
  jira:
    type: jira
    url: https://jira.example.com
    auth: {token: {credential: jira-token}}
"""

Change = Callable[..., str]


def _overlaid(base: Any, change: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(change, dict):
        return change
    merged = {**base, **{key: _overlaid(base.get(key), value) for key, value in change.items()}}
    return {key: value for key, value in merged.items() if value is not ...}


@pytest.fixture
def good() -> str:
    """The file."""
    return GOOD


@pytest.fixture
def text() -> Change:
    """The file with sections replaced, key by key; `...` takes a key away."""

    def change(**sections: Any) -> str:
        return yaml.safe_dump(_overlaid(yaml.safe_load(GOOD), sections), sort_keys=False)

    return change


@pytest.fixture
def loaded(text: Change) -> Callable[..., Loaded]:
    """The changed file, loaded."""
    return lambda **sections: loads(text(**sections))


@pytest.fixture
def problems(text: Change) -> Callable[..., dict[str, str]]:
    """What is wrong with the changed file: messages by key; empty if nothing is."""

    def find(**sections: Any) -> dict[str, str]:
        try:
            loads(text(**sections))
        except ConfigError as error:
            return {problem.key: problem.message for problem in error.problems}
        return {}

    return find


@pytest.fixture
def jira(text: Change) -> Callable[..., dict[str, Any]]:
    """Sections in which the target `jira` has other keys."""
    return lambda **keys: {"targets": {"jira": keys}}
