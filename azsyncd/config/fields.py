"""Kinds of values that several sections of the file share."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from azsyncd.plan.policy import Duration, seconds

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "m"), (1.0, "s"), (0.001, "ms"))


def duration_text(value: float) -> str:
    """Seconds as they are written: 86400 → `1d`, 5400 → `90m`, 0.5 → `500ms`."""
    for size, unit in _UNITS:
        if value >= size and abs(value / size - round(value / size)) < 1e-9:
            return f"{round(value / size)}{unit}"
    return "0s" if value == 0 else f"{value:g}s"


def _between(shortest: str, longest: str) -> AfterValidator:
    def check(value: float) -> float:
        if not seconds(shortest) <= value <= seconds(longest):
            raise ValueError(
                f"must be between {shortest} and {longest}, and is {duration_text(value)}"
            )
        return value

    return AfterValidator(check)


def _url(value: str) -> str:
    try:
        parts = urlsplit(value.strip())
        port = parts.port
    except ValueError as error:
        raise ValueError(f"is no URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL such as https://jira.example.com")
    if parts.username or parts.password:
        raise ValueError("must not carry a user name or password")
    if parts.query or parts.fragment:
        raise ValueError("must not have a query or a fragment: only scheme, host, port and path")
    if port == 0 or re.search(r"\s", value.strip()):
        raise ValueError("must be a URL such as https://jira.example.com")
    return value.strip().rstrip("/")


def _https(value: str) -> str:
    if urlsplit(value).scheme != "https":
        raise ValueError("must be https: tokens are never asked for without TLS")
    return value


def _proxy(value: str) -> str:
    try:
        parts = urlsplit(value.strip())
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"is no URL: {error}") from None
    if parts.username or parts.password:
        raise ValueError(
            "must not carry a password; leave the key out and set HTTPS_PROXY in the service's "
            "environment instead"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL such as http://proxy.example.com:3128")
    return value.strip()


def _address(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError("must be HOST:PORT, e.g. 127.0.0.1:9475")
    return value


def _listener(value: str) -> str:
    if value == "systemd" or re.fullmatch(r"unix:/.+", value):
        return value
    try:
        return _address(value)
    except ValueError:
        raise ValueError("must be HOST:PORT, unix:/path, or systemd") from None


def _absolute(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError("must be an absolute path")
    return value


Timeout = Annotated[Duration, _between("1s", "10m")]
Poll = Annotated[Duration, _between("1s", "1d")]
Lifetime = Annotated[Duration, _between("45m", "28d")]
History = Annotated[Duration, _between("1d", "3650d")]
Beat = Annotated[Duration, _between("10s", "1d")]

Url = Annotated[str, AfterValidator(_url), Field(json_schema_extra={"format": "uri"})]
HttpsUrl = Annotated[str, AfterValidator(_url), AfterValidator(_https)]
Proxy = Annotated[str, AfterValidator(_proxy)]
Address = Annotated[str, AfterValidator(_address)]
Listener = Annotated[str, AfterValidator(_listener)]
AbsolutePath = Annotated[str, AfterValidator(_absolute)]
