"""One event a line, `noun.verb`, in UTC, without a secret: JSON for machines, columns for people.

structlog is set up explicitly (its default imports rich), and the standard library's loggers
(aiohttp, msal, asyncio) go through the same processors. Whoever logs a name or an address does so
at debug; everything that looks like a secret is taken out here whatever the caller did (I10).
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import orjson
import structlog

from azsyncd.answers import redact
from azsyncd.errors import AzsyncdError

Format = Literal["auto", "json", "console"]
Level = Literal["debug", "info", "warning", "error"]
Event = MutableMapping[str, Any]

_NOISY = {
    "aiohttp.access": logging.WARNING,
    "asyncio": logging.WARNING,
    "msal": logging.WARNING,
    "urllib3": logging.WARNING,
}
_SECRET_KEY = re.compile(
    r"(?i)(^|_|-)(authorization|cookie|password|passwd|passphrase|secret|token|assertion|"
    r"api_?key|client_?state|private_?key)$"
)
_URL_LOGIN = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s@\"']+@")
_QUERY = re.compile(r"(?i)([?&](?:\$?skiptoken|\$?deltatoken|sig|code|key)=)[^&\s\"']+")
_MARK = "***"
_chain: list[Any] = []


def configure(
    level: Level = "info",
    style: Format = "auto",
    stream: TextIO | None = None,
) -> None:
    """Send every log line of this process to `stream` (standard error) from now on.

    May be called again, on reload: loggers made before follow.
    """
    out = stream or sys.stderr
    as_json = style == "json" or (style == "auto" and not out.isatty())
    render = _as_json if as_json else _as_columns
    # Loggers that were bound before hold on to this very list: it is changed, never replaced.
    _chain[:] = [
        structlog.contextvars.merge_contextvars,
        _Threshold(_number(level)),
        structlog.processors.add_log_level,
        _stamp,
        _explain_exception,
        _redact_event,
        render,
    ]
    structlog.configure(
        processors=_chain,
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_name_foreign, structlog.processors.add_log_level, _stamp],
            processors=[
                _adopt_foreign,
                _explain_exception,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _redact_event,
                render,
            ],
        )
    )
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(_number(level))
    for name, lowest in _NOISY.items():
        logging.getLogger(name).setLevel(max(lowest, _number(level)))
    logging.captureWarnings(True)


def redacted(text: str) -> str:
    """The text without credentials: known ones, and whatever looks like one."""
    text = _URL_LOGIN.sub(rf"\1{_MARK}@", text)
    text = _QUERY.sub(rf"\1{_MARK}", text)
    return redact(text)


def one_line(error: BaseException) -> str:
    """An exception as one redacted line: an operator's error in its own words."""
    text = str(error) if isinstance(error, AzsyncdError) else f"{type(error).__name__}: {error}"
    return redacted(" ".join(text.split()))


class _Threshold:
    """Drops what is less urgent than the file's level, before any work is spent on it."""

    def __init__(self, lowest: int) -> None:
        self._lowest = lowest

    def __call__(self, _logger: Any, method: str, event: Event) -> Event:
        if structlog.processors.NAME_TO_LEVEL.get(method, logging.ERROR) < self._lowest:
            raise structlog.DropEvent
        return event


def _stamp(_logger: Any, _method: str, event: Event) -> Event:
    moment = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {"ts": moment.replace("+00:00", "Z"), **event}


def _explain_exception(_logger: Any, method: str, event: Event) -> Event:
    """Exceptions are one line; only the unexpected, from error upwards, shows where it was."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event.setdefault("error", error)
        loud = method in ("error", "critical", "exception") or event.get("level") in (
            "error",
            "critical",
        )
        if loud and not isinstance(error, AzsyncdError):
            event["traceback"] = "".join(traceback.format_exception(error))
    return event


def _redact_event(_logger: Any, _method: str, event: Event) -> Event:
    return {key: _clean(key, value) for key, value in event.items()}


def _clean(key: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if _SECRET_KEY.search(key):
        return _MARK
    if isinstance(value, BaseException):
        return one_line(value)
    if isinstance(value, Mapping):
        return {str(name): _clean(str(name), each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean("", each) for each in value]
    return redacted(value if isinstance(value, str) else str(value))


def _name_foreign(_logger: Any, _method: str, event: Event) -> Event:
    record = event.get("_record")
    return {**event, "logger": record.name if record else "root"}


def _adopt_foreign(_logger: Any, _method: str, event: Event) -> Event:
    """A library's free text becomes `message` of an event of ours."""
    message = event.pop("event", "")
    name = str(event.get("logger", "root")).partition(".")[0].strip("_") or "library"
    return {**event, "event": f"{name}.logged", "message": message}


def _as_json(_logger: Any, _method: str, event: Event) -> str:
    order = ("ts", "level", "event")
    first = {key: event[key] for key in order if key in event}
    return orjson.dumps({**first, **event}, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _as_columns(_logger: Any, _method: str, event: Event) -> str:
    moment, level, name = (event.pop(key, "") for key in ("ts", "level", "event"))
    trace = event.pop("traceback", "")
    pairs = " ".join(f"{key}={_shown(value)}" for key, value in event.items())
    line = f"{moment[11:23]} {level:<8}{name:<26} {pairs}".rstrip()
    return f"{line}\n{trace.rstrip()}" if trace else line


def _shown(value: Any) -> str:
    text = str(value)
    return repr(text) if " " in text or not text else text


def _number(level: Level) -> int:
    return logging.getLevelNamesMapping()[level.upper()]
