"""Which configuration was in force when, and which entry was written under it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from azsyncd.model.changes import Change, Kind, Phase, Reason
from azsyncd.model.identities import ObjectId
from azsyncd.state import configurations, holds, journal, targets
from azsyncd.state.holds import Item
from azsyncd.state.store import Connection, Store, open_store

CHANGE = Change(
    kind=Kind.DEACTIVATE, reason=Reason.DISABLED, object_id=ObjectId("u1"), phase=Phase.BLOCK
)


@pytest.fixture
async def store(tmp_path: Path) -> Iterator[Store]:  # type: ignore[misc]
    store = await open_store(tmp_path / "state.db")
    yield store  # type: ignore[misc]
    await store.close()


def entry(at: float) -> journal.Entry:
    return journal.Entry(
        at=at, t=1, run="r1", revision=1, change=CHANGE, n=1, gn=0, name="u1", outcome="done",
        answer="", cause="daemon", seconds=0.1,
    )  # fmt: skip


async def test_each_entry_names_the_configuration_under_which_it_was_written(store: Store) -> None:
    def live(db: Connection) -> list[str | None]:
        targets.ensure(db, "jira", "jira")
        journal.write(db, entry(1.0))
        for number, digest in enumerate(("aa11", "aa11", "bb22", "aa11")):
            configurations.note(db, digest, "c.yaml", f"body of {digest}", "jo", float(number))
            journal.write(db, entry(2.0 + number))
        return [row["config"] for row in journal.read(db)]

    assert await store.write(live) == ["aa11", "bb22", "aa11", "aa11", None]
    rows = await store.read(configurations.listed)
    assert [(row["digest"], row["at"], row["writes"]) for row in rows] == [
        ("aa11", 3.0, 1),  # in force once more: a version of its own
        ("bb22", 2.0, 1),
        ("aa11", 0.0, 2),
    ]
    found = await store.read(lambda db: configurations.body_of(db, "aa"))
    assert found == ["body of aa11"]
    assert await store.read(lambda db: configurations.body_of(db, "cc")) == []


async def test_versions_go_with_the_entries_that_name_them_and_the_newest_stays(
    store: Store,
) -> None:
    def live(db: Connection) -> list[str]:
        targets.ensure(db, "jira", "jira")
        for number, digest in enumerate(("aa", "bb", "cc", "dd")):
            configurations.note(db, digest, "", "", "jo", float(number))
            if digest != "cc":
                journal.write(db, entry(float(number)))
        journal.prune(db, 1.0)
        configurations.prune(db)
        return [row["digest"] for row in configurations.listed(db)]

    assert await store.write(live) == ["dd", "bb"]


async def test_rule_38_the_journal_can_say_who_approved_in_which_hold_and_why(
    store: Store,
) -> None:
    item = Item(1, 0, "", CHANGE)

    def decide(db: Connection) -> tuple[str, str, int]:
        t = targets.ensure(db, "jira", "jira").t
        hold = holds.open_hold(db, t, "disable", "3 wanted", 1.0, [item])
        before = holds.approval_of(db, t, item)
        holds.decide(db, hold, "approved", "uid 0 (root)", "HR said so", 2.0)
        return before, holds.approval_of(db, t, item), hold

    before, after, hold = await store.write(decide)
    assert before == ""
    assert after == f"hold {hold} approved by uid 0 (root) (HR said so)"
