"""YAML with the line and column of every key and value. The only module that knows ruamel.yaml.

The text is composed into nodes and these are read here, so that every duplicate key and every
syntax that does not belong into a configuration is found at once and has its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLStreamError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from azsyncd.errors import ConfigError, Problem

Path = tuple[str | int, ...]

_MERGE = "tag:yaml.org,2002:merge"
_PLAIN = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "value")
)
_MOST_VALUES = 100_000
"""Aliases of aliases can stand for more than fits into memory."""


@dataclass(slots=True)
class Marked:
    """What the file says, and where it says it: (line, column) from 1, by path."""

    data: Any
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    values: dict[Path, tuple[int, int]] = field(default_factory=dict)
    problems: list[tuple[Path, str]] = field(default_factory=list)
    unreadable: set[Path] = field(default_factory=set)

    def place(self, path: Path) -> tuple[int, int] | tuple[None, None]:
        """The place of a key, or of what is nearest around it."""
        for length in range(len(path), -1, -1):
            for marks in (self.keys, self.values):
                if (found := marks.get(path[:length])) is not None:
                    return found
        return None, None


def read(text: str, name: str) -> Marked:
    """Raises ConfigError where the text is no YAML at all."""
    yaml = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(text)
        marked = Marked(None)
        marked.data = _Reader(yaml, marked).value(node, (), ()) if node is not None else None
    except (MarkedYAMLError, YAMLStreamError, YAMLError, ValueError, RecursionError) as error:
        raise ConfigError([_syntax(error, text, name)]) from None
    return marked


class _Reader:
    def __init__(self, yaml: Any, marked: Marked) -> None:
        self._constructor = yaml.constructor
        self._marked = marked
        self._count = 0

    def value(self, node: Node, path: Path, above: tuple[int, ...]) -> Any:
        self._count += 1
        if id(node) in above or self._count > _MOST_VALUES:
            raise ValueError("aliases that contain themselves, or far too many values")
        self._marked.values.setdefault(path, _place(node))
        if isinstance(node, MappingNode):
            return self._mapping(node, path, (*above, id(node)))
        if isinstance(node, SequenceNode):
            above = (*above, id(node))
            return [
                self.value(child, (*path, index), above) for index, child in enumerate(node.value)
            ]
        return self._scalar(node, path) if isinstance(node, ScalarNode) else None

    def _mapping(self, node: MappingNode, path: Path, above: tuple[int, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                for part in self._merged(value_node, path, above):
                    merged = {**part, **merged}
                continue
            key = self._key(key_node, path)
            if key is None:
                continue
            below = (*path, key)
            if key in found:
                line = self._marked.keys[below][0]
                self._marked.problems.append((below, f"is there twice; first on line {line}"))
                self._marked.keys[below] = _place(key_node)
                continue
            self._marked.keys[below] = _place(key_node)
            self._marked.values.pop(below, None)
            found[key] = self.value(value_node, below, above)
        return {**merged, **found}

    def _merged(self, node: Node, path: Path, above: tuple[int, ...]) -> Iterator[dict[str, Any]]:
        parts = node.value if isinstance(node, SequenceNode) else [node]
        for part in parts:
            value = self.value(part, path, above)
            if isinstance(value, dict):
                yield value
            else:
                self._marked.problems.append((path, "<< must name a mapping"))

    def _key(self, node: Node, path: Path) -> str | None:
        if isinstance(node, ScalarNode):
            return str(node.value)
        self._marked.problems.append((path, 'must be in quotes if it is a template: "{{ … }}"'))
        self._marked.unreadable.add(path)
        return None

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        # What stands there may be a secret: it is never repeated.
        if node.tag not in _PLAIN:
            self._marked.problems.append((path, "begins with !; put the text in quotes"))
            self._marked.unreadable.add(path)
            return None
        try:
            return self._constructor.construct_object(node, deep=True)
        except (YAMLError, ValueError):
            what = "looks like a date or a number, and is none; put it in quotes if it is text"
            self._marked.problems.append((path, what))
            self._marked.unreadable.add(path)
            return None


def _place(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _syntax(error: Exception, text: str, name: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return Problem(key="", message=f"is no YAML: {_first_line(error)}", file=name)
    what = getattr(error, "problem", None) or str(error)
    if "alias" in what:
        what = "an alias that is not there; put text that begins with * in quotes"
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    if "\t" in line[: mark.column + 1]:
        what += "; indent with blanks, not with tabs"
    return Problem(
        key="", message=f"is no YAML: {what}", file=name, line=mark.line + 1, column=mark.column + 1
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
