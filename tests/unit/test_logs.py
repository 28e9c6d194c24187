"""The log: one event a line, readable by machines, and without a secret."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from azsyncd import answers, logs
from azsyncd.errors import SourceUnavailable
from azsyncd.model.changes import Kind


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """Where the log goes; everything is as before afterwards."""
    handlers, level = logging.root.handlers[:], logging.root.level
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    yield stream
    logging.captureWarnings(False)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.reset_defaults()


def events(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_one_event_is_one_line_of_json_in_utc(out: io.StringIO) -> None:
    """ts, level and event first, then what was bound."""
    log = structlog.get_logger().bind(target="jira")
    log.info("account.created", object_id="1", run="r1")
    (event,) = events(out)
    assert list(event)[:3] == ["ts", "level", "event"]
    assert event["event"] == "account.created"
    assert (event["target"], event["object_id"], event["run"]) == ("jira", "1", "r1")
    assert event["ts"].endswith("Z")


def test_debug_is_silent_at_info(out: io.StringIO) -> None:
    """The level of the file is kept, by our loggers and by libraries."""
    structlog.get_logger().debug("user.read")
    logging.getLogger("msal").info("anything")
    assert out.getvalue() == ""


SECRETS = [
    ({"authorization": "Bearer abcdefgh.123"}, "abcdefgh"),
    ({"headers": {"Authorization": "Basic c2VjcmV0OnNlY3JldA=="}}, "c2VjcmV0"),
    ({"headers": {"Cookie": "JSESSIONID=abc123"}}, "abc123"),
    ({"client_secret": "hush-hush"}, "hush"),
    ({"body": "grant_type=x&client_secret=hush-hush&scope=y"}, "hush"),
    ({"body": '{"password": "hu\\"sh"}'}, "hu"),
    ({"url": "https://jo:hush@proxy.example.com:3128/"}, "hush"),
    ({"url": "https://graph/v1.0/users/delta?$deltatoken=abcDEF123"}, "abcDEF"),
    ({"url": "https://graph/v1.0/users/delta?$skiptoken=abcDEF123&x=1"}, "abcDEF"),
    ({"url": "https://x/?%24top=1&sig=abcDEF123"}, "abcDEF"),
    ({"answer": "token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln is bad"}, "eyJ"),
    ({"list": ["password=hush"]}, "hush"),
    ({"error": ValueError("password=hush")}, "hush"),
    ({"clientState": "hushhush"}, "hushhush"),
]


@pytest.mark.parametrize(("fields", "secret"), SECRETS, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("style", ["json", "console"])
def test_a_secret_is_never_printed(
    out: io.StringIO, style: logs.Format, fields: dict[str, Any], secret: str
) -> None:
    """Whatever the caller put into the event, and however it is printed (I10)."""
    logs.configure("info", style, out)
    structlog.get_logger().info("test.done", **fields)
    assert "test.done" in out.getvalue()
    assert secret not in out.getvalue()


def test_a_known_secret_is_hidden_wherever_it_turns_up(out: io.StringIO) -> None:
    """Values that were opened as secrets are remembered; short ones would hide half the log."""
    answers.hide("s3cr3t value")
    answers.hide("a")
    structlog.get_logger().info("target.answered", body="it said s3cr3t value, a pity")
    assert events(out)[0]["body"] == "it said ***, a pity"


def test_a_known_secret_that_begins_like_another_leaves_nothing_of_it(out: io.StringIO) -> None:
    for secret in ("hunter", "hunter2-and-more", "hunter2", "pass word/1"):
        answers.hide(secret)
    structlog.get_logger().info("target.answered", body="hunter2-and-more, pass%20word%2F1")
    assert events(out)[0]["body"] == "***, ***"


def test_ids_numbers_and_words_stay(out: io.StringIO) -> None:
    """Redaction takes secrets only."""
    fields = {"object_id": "6f1c", "count": 3, "token_expires_in": 3600, "ok": True, "gone": None}
    structlog.get_logger().info("round.completed", **fields)
    assert events(out)[0].items() >= fields.items()


def test_an_operators_error_is_one_line_without_a_traceback(out: io.StringIO) -> None:
    """Even where the caller logs it with exc_info at error."""
    try:
        raise SourceUnavailable("Graph cannot be reached", "check the proxy")
    except SourceUnavailable:
        structlog.get_logger().exception("round.failed")
    (event,) = events(out)
    assert event["error"] == "Graph cannot be reached — check the proxy"
    assert "traceback" not in event


def test_an_unexpected_error_shows_where_it_was_and_no_secret(out: io.StringIO) -> None:
    """A traceback is kept for what nobody foresaw, redacted; a warning has none."""
    for method in ("error", "warning"):
        try:
            raise KeyError("password=hush")
        except KeyError as error:
            getattr(structlog.get_logger(), method)("round.failed", exc_info=error)
    loud, quiet = events(out)
    assert "test_logs.py" in loud["traceback"]
    assert "traceback" not in quiet
    assert quiet["error"] == "KeyError: 'password=***'"
    assert "hush" not in out.getvalue()


def test_libraries_write_into_the_same_log(out: io.StringIO) -> None:
    """stdlib loggers become events with the text as `message`, redacted as well."""
    logging.getLogger("msal.authority").warning("refused %s", "password=hush")
    (event,) = events(out)
    assert event["event"] == "msal.logged"
    assert event["logger"] == "msal.authority"
    assert event["message"] == "refused password=***"
    assert event["level"] == "warning"


def test_a_librarys_unexpected_error_is_reported_with_its_traceback(out: io.StringIO) -> None:
    """aiohttp logs failing handlers like this."""
    try:
        raise RuntimeError("token=abcdef")
    except RuntimeError:
        logging.getLogger("aiohttp.server").exception("Error handling request")
    (event,) = events(out)
    assert event["error"] == "RuntimeError: token=***"
    assert "abcdef" not in event["traceback"]


def test_columns_for_people_have_the_time_the_level_and_the_event(out: io.StringIO) -> None:
    """On a terminal."""
    logs.configure("info", "console", out)
    structlog.get_logger().warning("target.unavailable", target="jira", error="no answer")
    moment, level, rest = out.getvalue().split(maxsplit=2)
    assert moment.count(":") == 2
    assert level == "warning"
    assert rest.split(maxsplit=1) == ["target.unavailable", "target=jira error='no answer'\n"]


def test_a_new_level_reaches_loggers_that_exist(out: io.StringIO) -> None:
    """A reload changes the level of everybody."""
    log = structlog.get_logger().bind(target="jira")
    log.info("one.made")
    log.debug("nothing.made")
    logs.configure("debug", "json", out)
    log.debug("two.made")
    assert [event["event"] for event in events(out)] == ["one.made", "two.made"]


def test_auto_is_json_unless_on_a_terminal(out: io.StringIO) -> None:
    """journald and files get JSON."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    logs.configure("info", "auto", out)
    terminal = Terminal()
    structlog.get_logger().info("one.made")
    logs.configure("info", "auto", terminal)
    structlog.get_logger().info("two.made")
    assert out.getvalue().startswith("{")
    assert "two.made" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")


def test_logging_needs_no_formatter_of_tracebacks(out: io.StringIO) -> None:
    """A fresh interpreter logs one line to standard error."""
    code = "from azsyncd import logs; import structlog; logs.configure();" + (
        "structlog.get_logger().info('daemon.started')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stderr)["event"] == "daemon.started"
    assert done.stdout == ""


def test_counts_by_kind_are_logged(out: io.StringIO) -> None:
    """A StrEnum is a key like any other."""
    structlog.get_logger().info("run.completed", done={Kind.CREATE: 2})
    assert events(out)[-1]["done"] == {"create": 2}
