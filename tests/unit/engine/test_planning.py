"""What the planner remembers between slices, and when it must not be believed."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from azsyncd.engine import planning
from azsyncd.engine.status import doubted
from azsyncd.errors import StateError, TargetUnavailable
from azsyncd.model.identities import MemberKind, MemberSeen, ObjectId, Seen
from azsyncd.plan.policy import Entry, GroupScope, Policy, Scope, UserScope
from azsyncd.state import waiting
from azsyncd.state.store import Connection

from .office import opened

STAFF = Policy(
    scope=Scope(
        users=UserScope(members_of=(Entry(name="staff*"),)),
        groups=GroupScope(include=(Entry(name="atl-*"),)),
    )
)


def person(id_: str) -> Seen:
    name = f"{id_}@x.org"
    shown = {"userPrincipalName": name, "mail": name, "displayName": id_, "accountEnabled": True}
    return Seen(ObjectId(id_), shown)


def group(id_: str, name: str, *members: str) -> Seen:
    shown = {"displayName": name, "securityEnabled": True, "groupTypes": [], "mailEnabled": False}
    inside = tuple(MemberSeen(ObjectId(each), MemberKind.USER) for each in members)
    return Seen(ObjectId(id_), shown, members=inside)


async def test_what_a_failed_slice_has_learnt_is_learnt_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction is taken back, but not what the planner remembers of it."""
    async with opened(tmp_path) as office:
        product = await office.open("jira", STAFF)
        everybody = [person("u1"), person("u2")]
        await office.crawl(*everybody, group("g1", "staff", "u1"), group("g2", "sales", "u2"))
        await office.turn("jira")
        await office.crawl(group("g2", "staff-sales"), whole=False)

        def full_disk(db: Connection, t: int, numbers: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(planning.facts_, "owe", full_disk)
            with pytest.raises(StateError, match="full"):
                await office.turn("jira")
        await office.turn("jira")
        assert {each.username for each in product.held.values()} == {"u1@x.org", "u2@x.org"}


async def test_what_is_learnt_between_two_slices_hides_no_change(tmp_path: Path) -> None:
    """A look at the product, for a question, learns the groups as they are by then."""
    async with opened(tmp_path) as office:
        product = await office.open("jira", STAFF)
        everybody = [person("u1"), person("u2")]
        await office.crawl(*everybody, group("g1", "staff", "u1"), group("g2", "sales", "u2"))
        await office.turn("jira")
        await office.crawl(group("g2", "staff-sales"), whole=False)
        await office.reconciles["jira"].look(anew=True)
        await office.turn("jira")
        assert {each.username for each in product.held.values()} == {"u1@x.org", "u2@x.org"}


def called(id_: str, name: str) -> Seen:
    shown = {"userPrincipalName": name, "displayName": id_, "accountEnabled": True}
    return Seen(ObjectId(id_), {**shown, "mail": f"{id_}@x.org"})


async def test_rule_16_a_name_whose_owner_cannot_leave_it_is_taken(tmp_path: Path) -> None:
    """u1 wants the name that two others want, so nobody gets it; u4 is told, and nothing is tried
    that the product would refuse. When the two give it up everybody moves on."""
    async with opened(tmp_path) as office:
        product = await office.open("jira")
        group_ = group("g1", "staff")
        await office.crawl(called("u1", "x"), group_)
        await office.turn("jira")
        changes = [called("u1", "y"), called("u2", "y"), called("u3", "y"), called("u4", "x")]
        await office.crawl(*changes, whole=False)
        await office.turn("jira")
        assert sorted(each.username for each in product.held.values()) == ["x"]
        assert {call for call, _ in product.calls} == {"create_account"}
        rows = await office.store.read(lambda db: waiting.listed(db, 1))
        assert {row["reason"] for row in rows} == {"conflict"} and len(rows) == 4
        await office.crawl(called("u2", "b"), called("u3", "c"), whole=False)
        await office.turn("jira")
        shown = {each.display_name: each.username for each in product.held.values()}
        assert shown == {"u1": "y", "u2": "b", "u3": "c", "u4": "x"}


async def test_rule_11_a_scope_that_is_in_doubt_is_said(tmp_path: Path) -> None:
    async with opened(tmp_path) as office:
        await office.open("jira", STAFF)
        await office.crawl(person("u1"), group("g1", "staff", "u1"))
        await office.turn("jira")
        assert await doubted(office, office.reconciles["jira"]) == ""  # type: ignore[arg-type]
        await office.crawl(group("g1", "people"), whole=False)
        told = await office.operations.sync(by="jo")
        assert told["outcome"] == "failures"
        assert "matched a group once and matches none now" in told["targets"][0]["error"]
        await office.crawl(group("g1", "staff-b"), whole=False)
        assert (await office.operations.sync(by="jo"))["outcome"] == "converged"


async def test_a_product_that_is_down_is_asked_before_anything_is_planned(tmp_path: Path) -> None:
    """All that is behind would be planned again every five minutes, for days."""
    async with opened(tmp_path) as office:
        product = await office.open("jira", STAFF)
        await office.crawl(person("u1"), group("g1", "staff", "u1"))
        await office.turn("jira")
        reconcile = office.reconciles["jira"]

        async def down(when: str, method: str) -> None:
            raise TargetUnavailable(method)

        product.faults = down
        reconcile.state.state = "down"
        with pytest.raises(TargetUnavailable, match="ask"):
            await office.turn("jira")
