"""`azsyncd forget`: blanks one person's values in the journal; what was done, and why, stays."""

from __future__ import annotations

from typing import Any

import structlog

from azsyncd.errors import AzsyncdError
from azsyncd.model.accounts import fold
from azsyncd.state import journal, questions
from azsyncd.state.store import Connection, Store

log = structlog.get_logger()

MARK = "(forgotten)"
"""What stands in place of the name."""


async def forget(store: Store, who: str, by: str) -> dict[str, Any]:
    """{object_id, entries: how many were blanked, by}. Raises AzsyncdError if nobody, or more than
    one person, is meant."""

    def blank(db: Connection) -> dict[str, Any]:
        n = _person(db, who)
        entries = journal.forget(db, n, MARK)
        return {"object_id": questions.id_of(db, n), "entries": entries, "by": by}

    told = await store.write(blank)
    log.info("journal.forgotten", object_id=told["object_id"], entries=told["entries"], by=by)
    return told


def _person(db: Connection, who: str) -> int:
    people = {n for n, kind in questions.numbers_of(db, who) if kind == "user"}
    people |= set(journal.people_named(db, fold(who.strip())))
    if not people:
        raise AzsyncdError(f"nobody is known as {who!r}", "give a UPN, a mail or an object id")
    if len(people) > 1:
        ids = ", ".join(questions.id_of(db, n) for n in sorted(people)[:10])
        raise AzsyncdError(f"{len(people)} people are known as {who!r}: {ids}", "give an object id")
    return people.pop()
