"""Secrets by reference: the file says where one is, and it is read when it is used.

`{credential: NAME}` is looked for in `$CREDENTIALS_DIRECTORY` (systemd's LoadCredential=), then in
/etc/azsyncd/credentials, so that the same file works inside the unit and in a shell.
https://systemd.io/CREDENTIALS/
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from azsyncd.errors import ConfigError, Problem

Kind = Literal["credential", "file", "env"]

KINDS: tuple[Kind, ...] = ("credential", "file", "env")

CREDENTIALS = Path("/etc/azsyncd/credentials")

FROM_DIRECTORY = "credentials_"
"""What systemd puts before the names of files that it loads from the directory above: the unit says
LoadCredential=credentials:/etc/azsyncd/credentials."""

HOW = "write {credential: NAME}, {file: PATH} or {env: NAME} instead"

SCHEMA: dict[str, Any] = {
    "oneOf": [
        {
            "type": "object",
            "properties": {kind: {"type": "string", "description": description}},
            "required": [kind],
            "additionalProperties": False,
        }
        for kind, description in {
            "credential": f"A file of this name in $CREDENTIALS_DIRECTORY or in {CREDENTIALS}.",
            "file": "A file, by its absolute path.",
            "env": "An environment variable.",
        }.items()
    ]
}
"""A reference to a secret, for editors."""

SCHEMA_WITH_PATH: dict[str, Any] = {
    "anyOf": [{"type": "string", "pattern": "^/"}, SCHEMA],
}

_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret is. Never what it is: that is only given by `read`, and kept nowhere."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{{{self.kind}: {self.name}}}"

    @property
    def reference(self) -> dict[str, str]:
        """As it stands in the file."""
        return {self.kind: self.name}

    def path(self, environment: Mapping[str, str] = os.environ) -> Path | None:
        """The file that holds it, whether it is there or not; None for an environment variable."""
        if self.kind == "env":
            return None
        if self.kind == "file":
            return Path(self.name)
        given = environment.get("CREDENTIALS_DIRECTORY", "")
        for name in (self.name, FROM_DIRECTORY + self.name) if given else ():
            if (path := Path(given) / name).exists():
                return path
        return CREDENTIALS / self.name

    def read(self, environment: Mapping[str, str] = os.environ) -> str:
        """The secret as it is now, without a trailing newline; raises ConfigError if it is missing.

        Reads a file: call it where that may take a moment.
        """
        content = self.read_bytes(environment)
        try:
            return content.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise self._missing("is no text") from None

    def read_bytes(self, environment: Mapping[str, str] = os.environ) -> bytes:
        """The same for what need not be text, such as a .pfx file; nothing is stripped."""
        path = self.path(environment)
        if path is None:
            value = environment.get(self.name)
            if not value:
                raise self._missing("is not set", f"set {self.name} in the service's environment")
            return value.encode()
        try:
            content = _content(path)
        except FileNotFoundError:
            raise self._missing(f"is not there: {path}", self._how_to_add()) from None
        except OSError as error:
            hint = f"azsyncd's user must be able to read {path}"
            raise self._missing(f"cannot be read: {error.strerror}", hint) from None
        if not content.strip():
            raise self._missing("is empty", f"put the secret into {path}")
        return content

    def warnings(self, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
        """What is wrong with the way in which it is kept."""
        path = self.path(environment)
        try:
            mode = path.stat().st_mode if path is not None else 0
        except OSError:
            return ()
        if mode & stat.S_IROTH or mode & stat.S_IWOTH:
            return (f"{path} can be read by everybody on this machine; chmod o-rwx {path}",)
        return ()

    def modified_at(self, environment: Mapping[str, str] = os.environ) -> float | None:
        """When its file was written, in seconds since the epoch; None where that cannot be said."""
        path = self.path(environment)
        try:
            return None if path is None else path.stat().st_mtime
        except OSError:
            return None

    def _missing(self, what: str, hint: str = "") -> ConfigError:
        return ConfigError([Problem(key=str(self), message=f"the secret {what}")], hint)

    def _how_to_add(self) -> str:
        if self.kind == "file":
            return "create it, readable for azsyncd's user alone"
        path = CREDENTIALS / self.name
        return f"put it into {path} (the unit's LoadCredential= takes it at the next start)"

    # For the schema -----------------------------------------------------------------------------

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda secret: secret.reference
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return SCHEMA

    @classmethod
    def parse(cls, value: object) -> Secret:
        """Raises ValueError without ever repeating the value: it may be the secret itself."""
        if isinstance(value, Secret):
            return value
        if not isinstance(value, Mapping):
            raise ValueError(f"a secret does not stand in the file itself; {HOW}")
        return cls._from(value)

    @classmethod
    def _from(cls, value: Mapping[Any, Any]) -> Secret:
        if len(value) != 1 or next(iter(value)) not in KINDS:
            raise ValueError(f"must have exactly one of credential, file, env; {HOW}")
        kind, name = next(iter(value.items()))
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{kind} must name something; {HOW}")
        if kind == "credential" and ("/" in name or name in (".", "..")):
            raise ValueError("credential is the name of a file, without a path; or write {file: …}")
        if kind == "file" and not name.startswith("/"):
            raise ValueError("file must be an absolute path")
        if kind == "env" and not name.isidentifier():
            raise ValueError("env must be the name of an environment variable")
        return cls(kind, name)


_opened: dict[Path, int] = {}
"""Files that were opened by root, before it became somebody who may not."""


def keep_open(secrets: Iterable[Secret], environment: Mapping[str, str] = os.environ) -> None:
    """For a process that is about to give up root: open what root alone may read.

    What cannot be opened now is left out, and complained about when it is read.
    """
    for secret in secrets:
        path = secret.path(environment)
        if path is None or path in _opened:
            continue
        try:
            _opened[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue


def _is_there(path: Path) -> bool:
    try:
        return path in _opened or path.exists()
    except OSError:
        return False  # a folder that we may not look into


def _content(path: Path) -> bytes:
    """As it is now; where only root may say that, as it was opened. Raises OSError."""
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST)
    except PermissionError:
        if path not in _opened:
            raise
        return os.pread(_opened[path], _LARGEST, 0)


def secret_or_path(value: object) -> object:
    """A plain absolute path stands for `{file: PATH}`, where a file is what one expects."""
    return {"file": value} if isinstance(value, str) and value.startswith("/") else value
