"""What comes back from a peer: a whole answer, or the reason why there is none.

Bodies are cut and redacted before they enter an error (I10).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape
from typing import Any
from urllib.parse import quote

import orjson

from azsyncd.errors import AzsyncdError

_EXCERPT = 256


class HttpUnavailable(AzsyncdError):
    """A peer gave no usable answer: network, timeout, TLS, 429, 5xx, after all attempts.

    `uncertain`: the request may have taken effect although no answer came.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        peer: str,
        status: int | None = None,
        retry_after: float | None = None,
        uncertain: bool = False,
    ) -> None:
        super().__init__(message, hint)
        self.peer = peer
        self.status = status
        self.retry_after = retry_after
        self.uncertain = uncertain


class NotJson(AzsyncdError):
    """An answer that should have been JSON is HTML, plain text, cut or garbage."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer. `headers` ignore case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    def json(self) -> Any:
        """The body as JSON; raises NotJson."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            pass
        what = "an HTML page" if self.is_html else "no JSON" if self.body else "nothing"
        excerpt = f": {self.excerpt}" if self.excerpt else ""
        raise NotJson(
            f"answered {self.status} with {what} instead of JSON{excerpt}",
            "check the url, and whether a proxy or a login page stands in between",
        )

    @property
    def is_html(self) -> bool:
        """A page for people: a proxy's, or a login page."""
        start = self.body[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        declared = self.headers.get("Content-Type", "").lower()
        return "html" in declared or start.startswith((b"<!doctype html", b"<html"))

    @property
    def text(self) -> str:
        """The body as text, whatever it is."""
        return self.body.decode("utf-8", "replace")

    @property
    def excerpt(self) -> str:
        """One line of at most 256 characters without secrets, for errors."""
        text = self.body[: 64 * 1024].decode("utf-8", "replace")
        if self.is_html:
            title = _TITLE.search(text)
            text = title[1] if title else _TAG.sub(" ", text)
        text = redact(unescape(" ".join(text.split())))
        return text if len(text) <= _EXCERPT else text[: _EXCERPT - 1] + "…"


_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)
_SECRETS = (
    re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*){0,4}"),  # a JWT
    re.compile(r"(?i)(?<=\bbearer )\S+|(?<=\bbasic )[\w+/=.-]{8,}"),
    re.compile(
        r"(?i)((?:password|passwd|secret|token|assertion|api[_-]?key|authorization|clientState)"
        r"""["']?\s*[:=]\s*(?:\{\s*["']?value["']?\s*[:=]\s*)?)"""
        r"""("(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s&,;}"']+)"""
    ),
)


_MARK = "***"
_SHORTEST_SECRET = 6
_hidden: set[str] = set()
_passing: tuple[str, ...] = ()
"""The newest of those that are good for an hour; replaced, not changed, for threads add to it."""


def hide(secret: str, *, passing: bool = False) -> None:
    """Never show this value again, wherever and however spelt it turns up. Called when a secret is
    opened; shorter ones than six characters would hide half of every text. `passing`: it is
    replaced soon, and then forgotten."""
    global _passing
    if len(secret) < _SHORTEST_SECRET:
        return
    if passing:
        _passing = (*_passing[-15:], secret)
        return
    as_json = orjson.dumps(secret).decode()[1:-1]
    _hidden.update((secret, quote(secret, safe=""), as_json))


def forget_hidden() -> None:
    """For tests, which open secrets by the hundred."""
    global _passing
    _hidden.clear()
    _passing = ()


def redact(text: str) -> str:
    """The text without known secrets, and without what looks like a token, password or key."""
    known = (*_hidden, *_passing)
    for secret in sorted(known, key=len, reverse=True):  # one may begin with another
        text = text.replace(secret, _MARK)
    text = _SECRETS[0].sub("***", text)
    text = _SECRETS[1].sub("***", text)
    return _SECRETS[2].sub(r"\1***", text)
