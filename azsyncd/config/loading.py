"""Reads the file: one attempt, every problem, each with its line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path as File

from pydantic import ValidationError

from azsyncd.config import availability, checks, marks
from azsyncd.config.complaints import complaints
from azsyncd.config.marks import Marked, Path
from azsyncd.config.model import Config
from azsyncd.errors import ConfigError, Problem

_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file that can be used. `digest` changes when what it says changes, not when a comment
    does."""

    config: Config
    warnings: tuple[Problem, ...]
    digest: str
    path: File | None


def load(path: File) -> Loaded:
    """Raises ConfigError with every problem of the file. Opens no secret."""
    name = str(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        hint = "name another with --config or AZSYNCD_CONFIG"
        what = f"cannot be read: {error.strerror}"
        raise ConfigError([Problem(key="", message=what, file=name)], hint) from None
    if len(content) > _LARGEST:
        raise ConfigError([Problem(key="", message="is larger than 1 MiB", file=name)])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        problem = Problem(key="", message="is not written in UTF-8", file=name, line=line)
        raise ConfigError([problem]) from None
    return loads(text, name, path)


def loads(text: str, name: str = "config.yaml", path: File | None = None) -> Loaded:
    """The same for text; `name` stands in the problems."""
    marked = marks.read(text, name)
    if not isinstance(marked.data, dict):
        what = "is empty" if marked.data is None else "must be a mapping: keys and values"
        raise ConfigError([Problem(key="", message=what, file=name)])
    found = list(marked.problems)
    config: Config | None = None
    try:
        config = Config.model_validate(marked.data, context="file")
    except ValidationError as error:
        found += [
            (path, message)
            for path, message in complaints(error, Config, marked.data)
            if path not in marked.unreadable
        ]
    found += checks.problems(marked.data)
    found += availability.not_yet(marked.data)
    if found or config is None:
        raise ConfigError(_problems(found, marked, name))
    return Loaded(
        config=config,
        warnings=_problems(checks.warnings(marked.data), marked, name),
        digest=digest(config),
        path=path,
    )


def digest(config: Config) -> str:
    """The same for files that say the same."""
    said = json.dumps(config.model_dump(mode="json", by_alias=True), sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def _problems(found: Iterable[tuple[Path, str]], marked: Marked, name: str) -> tuple[Problem, ...]:
    """In the order of the file. What is said of a key that was not read well is said once."""
    problems = []
    for path, message in dict.fromkeys(found):
        line, column = marked.place(path)
        problems.append(Problem(key_text(path), message, name, line, column))
    return tuple(sorted(problems, key=lambda each: (each.line or 0, each.column or 0, each.key)))


def key_text(path: Path) -> str:
    """`targets.jira.scope.users.exclude[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
