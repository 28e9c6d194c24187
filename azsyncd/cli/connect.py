"""Where an operation is carried out: by the running daemon through its socket, else right here.

The daemon is asked in plain HTTP/1.0 over the unix socket, one request a connection, with nothing
but the standard library: `status` and its like must feel instant.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from azsyncd.cli.output import TERMINATED, warn
from azsyncd.errors import AzsyncdError, ConfigError, Problem, StateError, StateInUse
from azsyncd.operations import Operations, Progress
from azsyncd.sockets import connect_unix

DEFAULT_SOCKET = Path("/run/azsyncd/admin.sock")

Tell = Callable[[Progress], None]

_CONNECT_TIMEOUT = 5.0
_START_SECONDS = 5.0
"""How long a daemon may take from its lock to its socket."""
_LOOK_AGAIN = 0.25
_GOES_ON = frozenset({"apply", "sync", "reload"})
"""What the daemon does to its end although nobody waits any more."""
_SCALAR = re.compile(
    r"""(?:"([^"\\]*)"|'([^']*)'|([^\s"'#&*!|>{}\[\],][^#{}\[\],]*?))\s*(?:#.*)?"""
)
_NEAR = re.compile(r"""["']?admin["']?\s*:\s*\{[^}]*?["']?socket["']?\s*:\s*["']?(/[^"',}\s]+)""")


def ask(config: Path, operation: str, *, tell: Tell | None = None, **arguments: Any) -> Any:
    """The operation's result, from the daemon if one runs. Raises AzsyncdError."""
    given = {key: value for key, value in arguments.items() if value is not None}
    patience = _START_SECONDS
    while True:
        with _daemon(config) as connection:
            if connection is not None:
                return _asked(connection, operation, given, tell)
        try:
            return here(config, operation, dict(given), tell)
        except StateInUse:
            # A daemon that is starting has the lock, and no socket yet.
            if patience <= 0:
                raise
        time.sleep(_LOOK_AGAIN)
        patience -= _LOOK_AGAIN


def ask_daemon(config: Path, operation: str, **arguments: Any) -> Any:
    """The same, where only a running daemon makes sense."""
    given = {key: value for key, value in arguments.items() if value is not None}
    with _daemon(config) as connection:
        if connection is None:
            _must_be_readable(config)
            raise AzsyncdError(
                f"no daemon answers at {socket_of(config)}",
                "start it with `systemctl start azsyncd` or `azsyncd run`; if the file moves"
                " admin.socket, `systemctl kill -s HUP azsyncd` brings it into force",
            )
        return _asked(connection, operation, given, None)


def _must_be_readable(config: Path) -> None:
    """Where the file is at fault nobody can say which daemon was meant; raises ConfigError."""
    from azsyncd.config import load

    load(config)


def is_running(config: Path) -> bool:
    """Whether a daemon answers at the socket of this file."""
    with _daemon(config) as connection:
        return connection is not None


def socket_of(config: Path) -> Path:
    """The `admin.socket` of a file, without reading the whole of it where that can be avoided.

    A file that cannot be read, or is wrong, does not keep anybody from asking a running daemon.
    """
    try:
        text = config.read_text()
    except (OSError, UnicodeDecodeError):
        return DEFAULT_SOCKET
    found = _scan(text)
    if found is not None:
        return Path(found) if found else DEFAULT_SOCKET
    return Path(_parse(text) or DEFAULT_SOCKET)


def _scan(text: str) -> str | None:
    """The socket's path as written; "" = not there; None = only a YAML parser can tell."""
    significant = [line for line in text.splitlines() if line.strip()[:1] not in ("", "#")]
    if not significant or significant[0][:1] in "{%&!":
        return None if significant else ""
    inside = False
    for line in significant:
        if not line[:1].isspace():
            inside = re.match(r"""["']?admin["']?\s*:""", line) is not None
            if inside and not re.fullmatch(r"admin:\s*(#.*)?", line):
                return None
        elif inside and "socket" in line:
            key, _, value = line.partition(":")
            match = _SCALAR.fullmatch(value.strip())
            if key.strip() != "socket" or match is None:
                return None
            return next(group for group in match.groups() if group is not None)
    return ""


def _parse(text: str) -> str:
    """The same by a YAML parser, whatever else is wrong with the file; "" = not there."""
    from azsyncd.config import marks

    try:
        data = marks.read(text, "").data
    except ConfigError:
        near = _NEAR.search(text)
        return near[1] if near else ""
    admin = data.get("admin") if isinstance(data, dict) else None
    path = admin.get("socket") if isinstance(admin, dict) else None
    return path if isinstance(path, str) else ""


@contextmanager
def _daemon(config: Path) -> Iterator[socket.socket | None]:
    path = socket_of(config)
    try:
        connection = connect_unix(path, _CONNECT_TIMEOUT)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        yield None
        return
    except PermissionError as error:
        raise AzsyncdError(
            f"you may not talk to the daemon at {path}",
            "run this as root, or as a member of azsyncd's group",
        ) from error
    except OSError as error:
        raise AzsyncdError(f"the daemon at {path} does not answer: {error}") from error
    with connection:
        yield connection


def _asked(
    connection: socket.socket, operation: str, arguments: Mapping[str, Any], tell: Tell | None
) -> Any:
    connection.settimeout(None)
    try:
        connection.sendall(_request(operation, arguments))
        with connection.makefile("rb") as answer:
            return _read(answer, tell)
    except KeyboardInterrupt:
        if operation in _GOES_ON:
            warn("\nazsyncd: the daemon goes on with it; `azsyncd status` shows how far it is")
        raise
    except OSError as error:
        raise AzsyncdError(f"the daemon went away: {error}", "look into its log") from error


def _request(operation: str, arguments: Mapping[str, Any]) -> bytes:
    body = json.dumps(arguments).encode()
    behalf = os.environ.get("SUDO_USER", "")
    head = [
        f"POST /api/v1/ops/{operation} HTTP/1.0",
        "Host: azsyncd",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    if behalf.isprintable() and behalf.isascii() and behalf:
        head.append(f"X-On-Behalf-Of: {behalf}")
    return "\r\n".join([*head, "", ""]).encode() + body


def _read(answer: BinaryIO, tell: Tell | None) -> Any:
    while answer.readline().strip():
        pass  # the status and the headers: the lines that follow say everything
    for raw in answer:
        try:
            line = json.loads(raw)
        except ValueError:
            break
        if "progress" in line:
            if tell is not None:
                tell(line["progress"])
        elif "result" in line:
            return line["result"]
        elif "error" in line:
            raise _error(line["error"])
    raise AzsyncdError("the daemon went away before its answer was complete", "look into its log")


def _error(told: Mapping[str, Any]) -> AzsyncdError:
    message, hint = str(told.get("message", "")), str(told.get("hint", ""))
    if told.get("kind") == "ConfigError":
        return ConfigError([Problem(**problem) for problem in told.get("problems", [])], hint)
    if told.get("kind") == "StateError":
        return StateError(message, hint)
    return AzsyncdError(message, hint)


def here(config: Path, operation: str, arguments: dict[str, Any], tell: Tell | None) -> Any:
    """The operation's result without a daemon, as the state's owner. Raises AzsyncdError."""
    import asyncio
    import inspect

    from azsyncd import logs
    from azsyncd.cli.privileges import step_down
    from azsyncd.daemon import offline

    logs.configure("warning", "auto")
    arguments = {key: value for key, value in arguments.items() if value is not None}
    parameters = inspect.signature(getattr(Operations, operation)).parameters
    if "by" in parameters:
        arguments["by"] = _me()
    if "tell" in parameters:
        arguments["tell"] = tell
    config = config.absolute()
    step_down(config)

    async def work() -> Any:
        task = asyncio.current_task()
        assert task is not None
        # As Ctrl-C does: what is in flight is finished, the rest is the next run's.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        async with offline(config) as operations:
            return await getattr(operations, operation)(**arguments)

    try:
        return asyncio.run(work())
    except asyncio.CancelledError:
        raise SystemExit(TERMINATED) from None


def _me() -> str:
    user = os.getuid()
    try:
        name = f"uid {user} ({pwd.getpwuid(user).pw_name})"
    except KeyError:
        name = f"uid {user}"
    behalf = os.environ.get("SUDO_USER", "")
    return f"{name} for {behalf}" if behalf and user == 0 else name
