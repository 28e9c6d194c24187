"""Turns what pydantic finds into sentences that say what would be right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from azsyncd.config.marks import Path
from azsyncd.config.secrets import Secret
from azsyncd.plan.properties import did_you_mean

_WORDS = {
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "tuple_type": "must be a list: each entry on a line of its own behind a dash, or in [ ]",
    "list_type": "must be a list: each entry on a line of its own behind a dash, or in [ ]",
    "dict_type": "must be a mapping: keys and values",
    "model_type": "must be a mapping: keys and values",
    "model_attributes_type": "must be a mapping: keys and values",
    "mapping_type": "must be a mapping: keys and values",
    "date_type": "must be a day such as 2028-11-22",
    "date_parsing": "must be a day such as 2028-11-22",
    "date_from_datetime_parsing": "must be a day such as 2028-11-22",
    "date_from_datetime_inexact": "must be a day such as 2028-11-22",
}

_ALTERNATIVES = frozenset(_WORDS) | {"literal_error"}


def complaints(
    error: ValidationError, model: type[BaseModel], data: Any
) -> Iterator[tuple[Path, str]]:
    """(path, message) for everything that is wrong; alternatives of one value are put together."""
    found: dict[Path, list[ErrorDetails]] = defaultdict(list)
    for detail in error.errors(include_url=False):
        found[_path_in(data, detail)].append(detail)
    for path, details in found.items():
        deeper = any(other[: len(path)] == path and other != path for other in found)
        if deeper and isinstance(_at(data, path), (dict, list)):
            # One alternative of a union fits, and its own problems are told.
            details = [each for each in details if each["type"] not in _ALTERNATIVES]
        messages = list(dict.fromkeys(_message(each, path, model, data) for each in details))
        if messages:
            yield path, _either(messages)


def _either(messages: list[str]) -> str:
    start = "must be "
    if all(message.startswith(start) for message in messages):
        return start + ", or ".join(message.removeprefix(start) for message in messages)
    return ", or ".join(messages)


def _path_in(data: Any, detail: ErrorDetails) -> Path:
    """Pydantic's location without the names of alternatives that it puts in between."""
    path: list[str | int] = []
    here = data
    for number, part in enumerate(detail["loc"], 1):
        is_there = (isinstance(here, dict) and part in here) or (
            isinstance(here, list) and isinstance(part, int) and part < len(here)
        )
        if is_there:
            here = here[part]
        elif number < len(detail["loc"]) or detail["type"] != "missing":
            continue
        path.append(part)
    return tuple(path)


def _at(data: Any, path: Path) -> Any:
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _message(detail: ErrorDetails, path: Path, model: type[BaseModel], data: Any) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return f"is an unknown key{_near(str(path[-1]), model, path[:-1])}"
    if kind in ("literal_error", "enum"):
        return _expected(str(context["expected"]), _at(data, path))
    if kind in ("string_pattern_mismatch", "string_too_short", "too_short", "too_long"):
        return _size(kind, context)
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        return detail["msg"].replace("Input should be", "must be")
    value = _at(data, path)
    message = _WORDS.get(kind, detail["msg"][:1].lower() + detail["msg"][1:])
    if kind == "string_type":
        return message + _why_no_text(value)
    if value is None and kind.endswith("_type"):
        return f"{message}; it is empty here: leave the key out to have the default"
    return message


def _why_no_text(value: Any) -> str:
    if isinstance(value, dict):
        return '; put it in quotes if it is a template: "{{ … }}"'
    if isinstance(value, (bool, int, float)):
        return "; put it in quotes"
    if value is None:
        return "; it is empty here: leave the key out to have the default"
    return ""


def _size(kind: str, context: Mapping[str, Any]) -> str:
    if kind == "too_long":
        return f"must have at most {context['max_length']} entries"
    if kind == "string_pattern_mismatch":
        return "must be letters, digits, dot, dash or underscore, at most 63 of them"
    return "must not be empty"


def _expected(expected: str, value: Any) -> str:
    choices = expected.replace("'", "").replace(" or ", ", ").split(", ")
    if isinstance(value, (dict, list)):
        return f"must be {_or(choices)}"
    guess = did_you_mean(str(value), choices)
    return f"must be {_or(choices)}, and is {str(value)!r}{guess if len(choices) > 1 else ''}"


def _or(choices: list[str]) -> str:
    return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"


# Which keys there are -------------------------------------------------------------------------


def _near(key: str, model: type[BaseModel], path: Path) -> str:
    keys = set().union(*(_keys(each) for each in models_at(model, path)))
    return did_you_mean(key, keys) or (f"; there are {', '.join(sorted(keys))}" if keys else "")


def _keys(model: Any) -> set[str]:
    if model is Secret:
        return {"credential", "file", "env"}
    return {field.alias or name for name, field in model.model_fields.items()}


def models_at(model: type[BaseModel], path: Path) -> list[Any]:
    """The classes (of the schema, or Secret) that may stand at a path."""
    found: list[Any] = [model]
    for part in path:
        found = [below for each in found for below in _step(each, part)]
    return [each for kind in found for each in _classes(kind)]


def _step(kind: Any, part: str | int) -> Iterator[Any]:
    for each in _classes(kind, containers=True):
        origin = get_origin(each)
        if origin is tuple and isinstance(part, int):
            yield get_args(each)[0]
        elif origin is dict:
            yield get_args(each)[1]
        elif isinstance(each, type) and issubclass(each, BaseModel):
            for name, field in each.model_fields.items():
                if part == (field.alias or name):
                    yield field.annotation


def _classes(kind: Any, containers: bool = False) -> Iterator[Any]:
    origin = get_origin(kind)
    if origin is Annotated:
        yield from _classes(get_args(kind)[0], containers)
    elif origin in (Union, UnionType):
        for each in get_args(kind):
            yield from _classes(each, containers)
    elif origin in (tuple, dict):
        if containers:
            yield kind
    elif isinstance(kind, type) and (issubclass(kind, BaseModel) or kind is Secret):
        yield kind
