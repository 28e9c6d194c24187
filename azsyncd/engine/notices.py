"""What a message says: as text, as JSON for Teams, Slack and programs, and as a mail. Pure.

No names and no addresses of people: a chat channel has readers who may not see them. Each line says
the command that shows them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

import orjson

from azsyncd import __version__
from azsyncd.clock import iso, utc
from azsyncd.engine.alerts import DAY, HOUR, Edge, News
from azsyncd.model.alerts import AlertKind

MOST_LINES = 20
"""Of one message; the rest is counted."""

_WORDS = {Edge.OPENED: "", Edge.STILL_OPEN: "still: ", Edge.RECOVERED: "over: ", Edge.TEST: ""}
_COLOURS = {Edge.OPENED: "Attention", Edge.STILL_OPEN: "Warning", Edge.RECOVERED: "Good"}


@dataclass(frozen=True, slots=True)
class Notice:
    """One message: news, or (a digest) a text."""

    at: float
    instance: str
    news: tuple[News, ...] = ()
    headline: str = ""
    text: str = ""

    @property
    def subject(self) -> str:
        """One line."""
        return f"[{self._sender}] {self.headline or _headline(self.news)}"

    @property
    def _sender(self) -> str:
        return "azsyncd" if self.instance == "azsyncd" else f"azsyncd {self.instance}"


def dump(notice: Notice) -> str:
    """For the time on its way."""
    return orjson.dumps(asdict(notice)).decode()


def load(body: str) -> Notice:
    """The inverse of `dump`; raises ValueError for what another version wrote in its own way."""
    try:
        return _loaded(body)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a notice of ours: {type(error).__name__}") from error


def _loaded(body: str) -> Notice:
    found = orjson.loads(body)
    news = tuple(
        News(**{**each, "kind": AlertKind(each["kind"]), "edge": Edge(each["edge"])})
        for each in found.pop("news")
    )
    return Notice(**found, news=news)


def _headline(news: Sequence[News]) -> str:
    if len(news) == 1:
        return _WORDS[news[0].edge] + news[0].title
    over = sum(each.edge is Edge.RECOVERED for each in news)
    wrong = len(news) - over
    parts = [f"{wrong} problem{'s' * (wrong != 1)}"] * bool(wrong) + [f"{over} over"] * bool(over)
    return ", ".join(parts)


# Text -------------------------------------------------------------------------------------------


def as_text(notice: Notice) -> str:
    """The whole message."""
    if notice.text:
        return f"{notice.subject}\n\n{notice.text}"
    lines = [line for each in notice.news[:MOST_LINES] for line in _lines(notice, each)]
    return "\n".join([notice.subject, "", *lines, *_rest(notice)])


def _lines(notice: Notice, news: News) -> Iterator[str]:
    sign = {Edge.RECOVERED: "+", Edge.TEST: "*"}.get(news.edge, "!")
    yield f"{sign} {_WORDS[news.edge]}{news.title}{_lasting(notice, news)}"
    if news.detail:
        yield f"  {news.detail}"
    if news.hint:
        yield f"  → {news.hint}"


def _lasting(notice: Notice, news: News) -> str:
    seconds = notice.at - news.since
    if news.edge is Edge.TEST or seconds < 60:
        return ""
    word = "after" if news.edge is Edge.RECOVERED else "for"
    return f" ({word} {span(seconds)})"


def span(seconds: float) -> str:
    """A length of time: `5 min`, `3 h`, `2 days`."""
    for size, unit in ((DAY, "days"), (HOUR, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1, seconds / 60):.0f} min"


def _rest(notice: Notice) -> list[str]:
    more = len(notice.news) - MOST_LINES
    return [f"… and {more} more: azsyncd status"] if more > 0 else []


# JSON -------------------------------------------------------------------------------------------


def as_slack(notice: Notice) -> dict[str, Any]:
    """Slack takes `text` and refuses attachments of another make."""
    text = as_text(notice)
    for sign, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(sign, escaped)
    return {"text": text}


def as_json(notice: Notice) -> dict[str, Any]:
    """A message that Teams workflows take (an Adaptive Card among `attachments`), that chats in
    Slack's manner take (`text`), and that a program can read (`alerts`)."""
    return {
        "type": "message",
        "text": as_text(notice),
        "attachments": [
            {
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": None,
                "content": _card(notice),
            }
        ],
        "instance": notice.instance,
        "version": __version__,
        "at": iso(notice.at),
        "alerts": [
            {
                "kind": each.kind.value,
                "state": each.edge.value,
                "target": each.target,
                "title": each.title,
                "detail": each.detail,
                "hint": each.hint,
                "since": iso(each.since),
            }
            for each in notice.news
        ],
    }


def _card(notice: Notice) -> dict[str, Any]:
    """An Adaptive Card; 1.4 is what every Teams client shows. https://adaptivecards.io/explorer"""
    body = [_block(notice.subject, weight="Bolder", size="Medium")]
    if notice.text:
        body += [_block(part) for part in notice.text.split("\n\n")]
    for each in notice.news[:MOST_LINES]:
        first, *more = _lines(notice, each)
        body.append(_block(first[2:], color=_COLOURS.get(each.edge, "Default"), separator=True))
        body += [_block(line.strip(), spacing="None", isSubtle=True) for line in more]
    body += [_block(line) for line in _rest(notice)]
    return {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": body,
    }


def _block(text: str, **more: object) -> dict[str, Any]:
    for sign in "\\*_[]":  # a TextBlock is Markdown
        text = text.replace(sign, f"\\{sign}")
    return {"type": "TextBlock", "text": text, "wrap": True, **more}


# Mail -------------------------------------------------------------------------------------------


def as_mail(notice: Notice, sender: str, to: Sequence[str], number: str) -> EmailMessage:
    """A mail; `number` makes its id, the same whenever it is tried again."""
    mail = EmailMessage()
    mail["Subject"] = notice.subject
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Date"] = format_datetime(utc(notice.at))
    domain = sender.rpartition("@")[2].strip("> ") or "localhost"
    mail["Message-ID"] = f"<azsyncd.{notice.instance}.{number}.{int(notice.at)}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(as_text(notice).partition("\n\n")[2] + "\n")
    return mail
