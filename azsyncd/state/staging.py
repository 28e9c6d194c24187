"""Pages on their way into the mirror: kept with their link as they come (rule 1).

A pass is one reading of both feeds to their deltaLink: a `round` from the stored links, or a
`crawl` from the beginning, which may read the listing of managers too. Each page and the link that
follows it commit together, so that a crash resumes where it stood, even in the middle of a crawl of
400,000 users.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from azsyncd.model.identities import Page
from azsyncd.state import codec
from azsyncd.state.store import get_meta, set_meta

ROUND = "round"
CRAWL = "crawl"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where one feed of a pass stands: `delta_link` set = this feed is read to its end."""

    feed: str
    next_link: str | None
    delta_link: str | None
    selection: str
    started_at: float
    pages: int
    items: int


@dataclass(frozen=True, slots=True)
class FeedLink:
    """A committed deltaLink."""

    feed: str
    delta_link: str
    selection: str
    issued_at: float


def links(db: sqlite3.Connection) -> dict[str, FeedLink]:
    """The deltaLinks in force, by feed."""
    rows = db.execute("SELECT name, delta_link, selection, issued_at FROM feed")
    return {row["name"]: FeedLink(*row) for row in rows}


def forget_links(db: sqlite3.Connection) -> None:
    """The deltaLinks are dead: only a crawl helps. The mirror stays in force (rule 4)."""
    db.execute("DELETE FROM feed")


def cursors(db: sqlite3.Connection, pass_: str) -> dict[str, Cursor]:
    """Where a pass stands, by feed; empty if none is under way."""
    rows = db.execute(
        "SELECT feed, next_link, delta_link, selection, started_at, pages, items"
        " FROM cursor WHERE pass = ?",
        (pass_,),
    )
    return {row["feed"]: Cursor(*row) for row in rows}


def begin(db: sqlite3.Connection, pass_: str, urls: dict[str, tuple[str, str]], now: float) -> None:
    """Start a pass over from {feed: (first url, selection)}; what was staged of it is dropped."""
    abandon(db, pass_)
    if pass_ == CRAWL:
        set_meta(db, "crawl_begun", crawl_number(db) + 1)
        db.execute("DELETE FROM member_gone")
    db.executemany(
        "INSERT INTO cursor (pass, feed, next_link, selection, started_at) VALUES (?, ?, ?, ?, ?)",
        [(pass_, feed, *urls[feed], now) for feed in urls],
    )


def crawl_number(db: sqlite3.Connection) -> int:
    """The number of the newest crawl that was begun: each one has its own."""
    return int(get_meta(db, "crawl_begun", get_meta(db, "crawl", 0)))


def abandon(db: sqlite3.Connection, pass_: str) -> None:
    """Forget a pass and what it staged."""
    db.execute("DELETE FROM cursor WHERE pass = ?", (pass_,))
    db.execute("DELETE FROM staged WHERE pass = ?", (pass_,))


def stage(db: sqlite3.Connection, pass_: str, feed: str, page: Page) -> None:
    """Keep a page together with the link that it ends in."""
    if page.items:
        db.execute(
            "INSERT INTO staged (pass, feed, page) VALUES (?, ?, ?)",
            (pass_, feed, codec.page_text(page)),
        )
    db.execute(
        "UPDATE cursor SET next_link = ?, delta_link = ?, pages = pages + 1, items = items + ?"
        " WHERE pass = ? AND feed = ?",
        (page.next_link, page.delta_link, len(page.items), pass_, feed),
    )
