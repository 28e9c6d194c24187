"""`azsyncd link` and `unlink`: a person says whose account it is, or that it is nobody's business.

What rule 20 forbids is refused here as well: an account that is linked to somebody else, that
azsyncd signs in as, that is protected or administers, or that carries another instance's mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from azsyncd.engine.reconcile import Reconcile
from azsyncd.errors import AzsyncdError
from azsyncd.model.accounts import Account, Mark, TargetGroup, fold
from azsyncd.model.links import LinkState, Origin
from azsyncd.plan.policy import Mode
from azsyncd.state import (
    codec,
    facts,
    holds,
    journal,
    links,
    mirror,
    questions,
    spill,
    targets,
    unlinked,
    waiting,
)
from azsyncd.state.standing import account_number
from azsyncd.state.store import Connection, Store

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Asked:
    """Who decides, when, and why."""

    by: str
    reason: str
    now: float

    def cause(self, what: str) -> str:
        return f"{what} by {self.by}" + (f": {self.reason}" if self.reason else "")


async def link(
    store: Store, reconcile: Reconcile, pairs: Sequence[Sequence[str]], asked: Asked
) -> list[dict[str, Any]]:
    """Give each of these people the account that is named for her; one refusal keeps nobody else
    from hers. Returns {who, account, object_id, outcome: linked | already | refused, message,
    hint} for each. Raises TargetError, and AzsyncdError where no pair could be carried out."""
    if reconcile.policy.mode is Mode.REPORT:
        raise AzsyncdError(
            f"{reconcile.target.name} is in mode report: nothing is linked there",
            "set another mode in the file",
        )
    told = []
    async with reconcile.quiet():
        await reconcile.look_alone()
        administrators = await _administrators(reconcile)
        for who, name in pairs:
            row: dict[str, Any] = {"who": who, "account": name, "object_id": None}
            try:
                row |= await _link(store, reconcile, who, name, administrators, asked)
                row |= {"message": "", "hint": ""}
            except AzsyncdError as error:
                row |= {"outcome": "refused", "message": error.message, "hint": error.hint}
            told.append(row)
    reconcile.bell.ring("operator")
    return told


async def _administrators(reconcile: Reconcile) -> set[str]:
    """The keys of everybody in an administrators' group, as of now."""
    capabilities = await reconcile.prepare()
    groups = [TargetGroup(name=each, key=each) for each in sorted(capabilities.admin_groups)]
    found: set[str] = set()
    if groups:
        async for _, members in reconcile.target.members(groups):
            found |= set(members)
    return found


async def _link(
    store: Store,
    reconcile: Reconcile,
    who: str,
    name: str,
    administrators: set[str],
    asked: Asked,
) -> dict[str, Any]:
    target, t = reconcile.target, reconcile.t
    n = await store.read(lambda db: person(db, who))
    object_id = await store.read(lambda db: questions.id_of(db, n))
    account = await target.find_account(name)
    if account is None:  # perhaps a key, or a name from before a rename
        known = await store.read(lambda db: _known(db, t, name))
        account = await target.read_account(known) if known is not None else None
    if account is None:
        raise AzsyncdError(
            f"{target.name} has no account {name!r}", "give its username as the product shows it"
        )
    found: Account = account
    if await store.read(lambda db: _may_link(db, t, n, found, target.name)) == "already":
        return {"object_id": object_id, "outcome": "already"}
    _must_not_be_protected(reconcile, found, administrators)
    capabilities = await reconcile.prepare()
    mark = Mark(reconcile.instance, object_id)
    if found.mark is not None and found.mark.instance != reconcile.instance:
        raise AzsyncdError(
            f"the account {found.username!r} carries the mark of another azsyncd,"
            f" {found.mark.instance!r}",
            "unlink it there first",
        )
    if capabilities.has_marks and found.mark != mark and found.writable:
        await target.mark_account(found, mark)
        found = replace(found, mark=mark)

    def settle(db: Connection) -> None:
        _may_link(db, t, n, found, target.name)
        if not links.any_settled(db, t) and targets.get(db, t).first_contact == "new":
            # One account by hand is no consent to what `adopt` would take over (rule 26).
            targets.update(db, t, first_contact="open")
        a = targets.put_account(db, t, found)
        links.settle_account(db, t, n, a, Origin.ADOPTED, found)
        unlinked.forget(db, t, n)
        _look_again(db, t, n, asked.now)
        facts.wake_claimants(db, t, "username", found.username, asked.now)
        _note(db, t, n, "link", asked, after=codec.account_to_dict(found))

    await store.write(settle)
    log.info("account.linked", target=target.name, object_id=object_id, by=asked.by)
    return {"object_id": object_id, "outcome": "linked"}


def person(db: Connection, who: str) -> int:
    """The one user who is meant. Raises AzsyncdError."""
    found = [n for n, kind in questions.numbers_of(db, who) if kind == "user"]
    if not found:
        raise AzsyncdError(f"nobody is known as {who!r}", "give a UPN, a mail or an object id")
    if len(found) > 1:
        ids = ", ".join(questions.id_of(db, n) for n in found[:10])
        raise AzsyncdError(f"{who!r} can mean {len(found)} people: {ids}", "give an object id")
    return found[0]


def _known(db: Connection, t: int, name: str) -> Account | None:
    rows = targets.account_rows(db, t, name)
    a = rows[0]["a"] if rows else account_number(db, t, name)
    return facts.account_at(db, a)


def _may_link(db: Connection, t: int, n: int, account: Account, target: str) -> str:
    """ "already" if it is hers; raises AzsyncdError where it is somebody else's, or she has one."""
    hers = links.get(db, t, n)
    if hers is not None and hers["state"] == LinkState.PENDING:
        raise AzsyncdError("an account is being made for her at this moment", "ask again later")
    owner = links.owner_of(db, t, account.key or fold(account.username))
    if owner is not None and owner == questions.id_of(db, n):
        return "already"
    if owner is not None:
        raise AzsyncdError(
            f"the account {account.username!r} is linked to {owner}",
            f"azsyncd unlink {owner} --target {target} first",
        )
    if hers is not None and hers["a"] is not None:
        have = facts.account_at(db, hers["a"])
        raise AzsyncdError(
            f"she has the account {have.username if have else '?'!r} already",
            f"azsyncd unlink {questions.id_of(db, n)} --target {target} first",
        )
    return ""


def _must_not_be_protected(
    reconcile: Reconcile, account: Account, administrators: set[str]
) -> None:
    name = account.username
    if fold(name) in reconcile.planning.signed_in_as():
        raise AzsyncdError(
            f"azsyncd signs in as {name!r}: that account is never linked",
            "give azsyncd an account of its own",
        )
    if reconcile.protects(name):
        raise AzsyncdError(f"{name!r} is protected by protect.users", "take it out of that list")
    if account.key in administrators:
        raise AzsyncdError(
            f"{name!r} is in an administrators' group: that account is never linked",
            "take it out of that group first",
        )


async def unlink(store: Store, reconcile: Reconcile, who: str, asked: Asked) -> dict[str, Any]:
    """Let her and her account go: both are left as they are. Returns {who, account, object_id}.
    Raises AzsyncdError."""
    t, name = reconcile.t, reconcile.target.name

    def settle(db: Connection) -> dict[str, Any]:
        n = person(db, who)
        row = links.get(db, t, n)
        if row is None:
            raise AzsyncdError(f"{who!r} has no account in {name} that azsyncd knows of")
        if row["state"] == LinkState.PENDING:
            raise AzsyncdError("an account is being made for her at this moment", "ask again later")
        account = facts.account_at(db, row["a"]) or codec.account_of(row["written"])
        if row["a"] is not None:
            links.let_go_edges(db, row["a"])
        links.drop(db, t, n)
        unlinked.note(db, t, n, account.key if account else None, asked.by, asked.reason, asked.now)
        _look_again(db, t, n, asked.now)
        if account is not None:
            facts.wake_claimants(db, t, "username", account.username, asked.now)
        before = codec.account_to_dict(account) if account else None
        _note(db, t, n, "unlink", asked, before=before)
        return {
            "who": who,
            "account": account.username if account else None,
            "object_id": questions.id_of(db, n),
        }

    async with reconcile.quiet():
        told = await store.write(settle)
    log.info("account.unlinked", target=name, object_id=told["object_id"], by=asked.by)
    reconcile.bell.ring("operator")
    return told


def _look_again(db: Connection, t: int, n: int, now: float) -> None:
    """What was planned, held or refused of her was about another state of things."""
    spill.drop(db, t, {n})
    holds.keep_only(db, t, n, ())
    holds.close_empty(db, t)
    waiting.forget(db, t, n)
    waiting.make_due(db, t, n, now)


def _note(
    db: Connection,
    t: int,
    n: int,
    what: str,
    asked: Asked,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    journal.note(
        db, t, n, what,
        name=questions.name_of(db, n), at=asked.now, revision=mirror.revision(db),
        cause=asked.cause(what), before=before, after=after,
    )  # fmt: skip
