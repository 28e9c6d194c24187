"""`config show`, `config schema`, the example and the documentation."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from azsyncd.config import Config, Loaded, json_schema, load, loads, masked, shown
from azsyncd.config.fields import duration_text
from azsyncd.plan.policy import seconds

ROOT = Path(__file__).parents[3]

FULL: dict[str, Any] = {
    "instance": "test",
    "entra": {
        "credential": {
            "client_secret": ...,
            "certificate": {"file": "/a.pem", "passphrase": {"env": "P"}},
            "expires_on": "2028-11-22",
        },
        "cloud": "us_gov",
        "ca_file": "/ca.pem",
        "proxy": "http://proxy.example.com:3128",
    },
    "schedule": {"full_sync": "", "timezone": "Europe/Berlin", "delta_poll": "90s"},
    "notifications": {
        "mode": "webhook",
        "public_url": "https://azsyncd.example.com/notifications",
        "listen": "unix:/run/x.sock",
        "tls": {"certificate": "/c.pem", "private_key": {"credential": "k"}},
        "lifetime": "45m",
    },
    "scope": {
        "users": {"everybody": ..., "members_of": [{"name": "x", "type": "any"}], "where": True},
        "groups": {"include": [{"regex": "a.*"}], "exclude": ["b", {"where": "group.theme == 1"}]},
    },
    "targets": {
        "jira": {
            "scope": {"users": {"exclude": ["a@b.c"]}, "groups": {"include": []}},
            "accounts": {
                "attributes": {"a": "{{ user.department }}"},
                "leavers": [{"after": "0s", "do": "deactivate"}, {"after": "30d", "do": "delete"}],
            },
            "guard": {"window": "1h", "delete": "unlimited", "update": {"count": 1, "percent": 2}},
            "limits": {"timeout": "1500ms"},
        }
    },
}


@pytest.fixture
def full(loaded: Callable[..., Loaded]) -> Loaded:
    """A file with much in it."""
    return loaded(**FULL)


def test_what_is_shown_is_a_file_that_says_the_same(full: Loaded) -> None:
    """With every default filled in; read again it decides alike."""
    again = loads(shown(full.config)).config
    assert again.policy("jira") == full.config.policy("jira")
    assert again.properties() == full.config.properties()
    assert masked(again) == masked(full.config)


def test_what_is_shown_has_durations_as_they_are_written(full: Loaded) -> None:
    """No bare seconds."""
    values = yaml.safe_load(shown(full.config))
    assert values["schedule"]["delta_poll"] == "90s"
    assert values["notifications"]["lifetime"] == "45m"
    assert values["state"]["history"] == "400d"
    jira = values["targets"]["jira"]
    assert jira["limits"]["timeout"] == "1500ms"
    assert [stage["after"] for stage in jira["accounts"]["leavers"]] == ["0s", "30d"]
    assert jira["guard"]["window"] == "1h"
    json.dumps(masked(full.config))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0s"), (0.5, "500ms"), (1, "1s"), (90, "90s"), (120, "2m"), (5400, "90m"), (86400, "1d")],
)
def test_durations_there_and_back(value: float, text: str) -> None:
    """The largest unit that fits."""
    assert duration_text(value) == text
    assert seconds(text) == value


def test_the_schema_is_one_and_takes_what_the_program_takes(
    full: Loaded, text: Callable[..., str], good: str
) -> None:
    """Draft 2020-12, for editors."""
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for each in (good, text(**FULL), shown(full.config)):
        values = json.loads(json.dumps(yaml.safe_load(each), default=str))
        assert [error.message for error in validator.iter_errors(values)] == []
    for bad in (
        text(schedule={"delta_poll": 30}),
        text(targets={"jira": {"auth": {"token": "abc"}}}),
        text(targets={"jira": {"ulr": "x"}}),
        text(targets={"jira": {"mode": "synced"}}),
    ):
        assert not validator.is_valid(yaml.safe_load(bad))


def test_the_example_is_valid_and_short() -> None:
    """As it stands."""
    assert load(ROOT / "config.example.yaml").warnings == ()
    assert len((ROOT / "config.example.yaml").read_text().splitlines()) <= 30


def _models(model: type[BaseModel] = Config) -> Iterator[type[BaseModel]]:
    seen: list[type[BaseModel]] = []

    def walk(kind: Any) -> None:
        for each in getattr(kind, "__args__", ()):
            walk(each)
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in seen:
            seen.append(kind)
            for field in kind.model_fields.values():
                walk(field.annotation)

    walk(model)
    yield from seen


def test_every_key_is_described() -> None:
    """Editors show it."""
    lacking = [
        f"{model.__name__}.{name}"
        for model in _models()
        for name, field in model.model_fields.items()
        if not field.description
    ]
    assert lacking == []


def test_every_key_stands_in_the_documentation() -> None:
    """docs/configuration.md is complete."""
    documentation = (ROOT / "docs" / "configuration.md").read_text()
    lacking = [
        f"{model.__name__}.{key}"
        for model in _models()
        for name, field in model.model_fields.items()
        if f"`{(key := field.alias or name)}`" not in documentation
        and f"{key}:" not in documentation
    ]
    assert lacking == []


def _examples() -> list[str]:
    text = (ROOT / "docs" / "configuration.md").read_text()
    blocks = text.split("```yaml\n")[1:]
    return [block.split("```")[0] for block in blocks]


def test_the_documentation_has_examples() -> None:
    """For the next test."""
    assert len(_examples()) > 10


@pytest.mark.parametrize("number", range(len(_examples())))
def test_each_example_of_the_documentation_is_valid(number: int, text: Callable[..., str]) -> None:
    """Laid over a small file; what is coming is allowed to be shown."""
    sections = yaml.safe_load(_examples()[number])
    credential = sections.get("entra", {}).get("credential")
    if credential:
        credential.setdefault("client_secret", ...)
    try:
        loads(text(**sections))
    except Exception as error:
        told = getattr(error, "problems", None)
        if told is None:
            raise
        assert [str(each) for each in told if "not yet available" not in each.message] == []
