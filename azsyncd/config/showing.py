"""The effective file, and its JSON Schema, for people and their editors."""

from __future__ import annotations

from io import StringIO
from typing import Any

from pydantic import WithJsonSchema
from ruamel.yaml import YAML

from azsyncd.config.fields import duration_text
from azsyncd.config.model import Config
from azsyncd.plan.policy import DURATION_PATTERN, Settings

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def masked(config: Config) -> dict[str, Any]:
    """Every value that is in force, defaults included. Secrets show where they are, not what."""
    values = _written(config)
    for name, target in values["targets"].items():
        target["scope"] = _written(config.policy(name).scope)
    if config.heartbeat.url is None:
        values["heartbeat"] = {}
    return values


def shown(config: Config) -> str:
    """The same as YAML."""
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 4096
    stream = StringIO()
    yaml.dump(masked(config), stream)
    return stream.getvalue()


def json_schema() -> dict[str, Any]:
    """The file's JSON Schema (draft 2020-12)."""
    schema = Config.model_json_schema(by_alias=True)
    return {"$schema": _DIALECT, "title": "The configuration of azsyncd", **_tidy(schema)}


def _written(settings: Settings) -> dict[str, Any]:
    values = settings.model_dump(mode="json", by_alias=True)
    result: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        key = field.alias or name
        result[key] = _value(getattr(settings, name), values[key], field.metadata)
    return {key: value for key, value in result.items() if value is not None}


def _value(value: Any, dumped: Any, metadata: list[Any]) -> Any:
    if isinstance(value, Settings):
        return _written(value)
    if isinstance(value, dict):
        return {key: _value(each, dumped[key], []) for key, each in value.items()}
    if isinstance(value, tuple):
        return [_value(each, dumped[index], []) for index, each in enumerate(value)]
    if isinstance(value, float) and _is_duration(metadata):
        return duration_text(value)
    return dumped


def _is_duration(metadata: list[Any]) -> bool:
    return any(
        isinstance(each, WithJsonSchema)
        and each.json_schema is not None
        and each.json_schema.get("pattern") == DURATION_PATTERN
        for each in metadata
    )


def _tidy(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_tidy(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    tidy = {key: _tidy(value) for key, value in schema.items()}
    if isinstance(tidy.get("title"), str):
        del tidy["title"]  # the key again, in capitals
    if isinstance(tidy.get("description"), str):
        tidy["description"] = " ".join(tidy["description"].split())
    default = tidy.get("default")
    if isinstance(default, float) and tidy.get("pattern") == DURATION_PATTERN:
        tidy["default"] = duration_text(default)
    elif (isinstance(default, dict) and "$ref" in tidy) or ("default" in tidy and default is None):
        del tidy["default"]  # a whole section, or nothing
    return tidy
