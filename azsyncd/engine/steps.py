"""The five steps from Entra to a product, each with its evidence: found, in scope, matched, mapped,
planned. The first one that stops is where to look."""

from __future__ import annotations

from typing import Any

from azsyncd.model.accounts import Account
from azsyncd.model.identities import Group, Presence
from azsyncd.model.links import LinkState
from azsyncd.plan.desk import Desk
from azsyncd.plan.facts import UserFacts
from azsyncd.plan.groups import GroupPlan
from azsyncd.plan.matching import Match, is_marked, match
from azsyncd.plan.wishes import Kind, Wish

Step = dict[str, Any]
"""{step, ok: True | False | None (does not apply, or goes on with a doubt), why}"""


def _step(name: str, ok: bool | None, why: str) -> Step:
    return {"step": name, "ok": ok, "why": why}


def of_user(known: UserFacts, wish: Wish, desk: Desk, told: dict[str, Any]) -> list[Step]:
    """For a user in one target; `told` is what explain says otherwise."""
    return [
        _found(known),
        _step("in scope", _SCOPED[wish.kind], f"{told['in_scope']['verdict']}: {wish.why}"),
        _matched(known, wish, desk),
        _mapped(wish),
        _planned(told),
    ]


_SCOPED = {Kind.ACCOUNT: True, Kind.GONE: False, Kind.HANDS_OFF: False, Kind.UNDECIDED: None}


def _found(known: UserFacts) -> Step:
    user = known.user
    if not user.properties:
        return _step("found", False, "only her id is known: the user feed has not shown her yet")
    if user.presence is not Presence.PRESENT:
        how = "deleted" if user.presence is Presence.SOFT_DELETED else "deleted for good"
        return _step("found", True, f"{user.name}, {how} in Entra")
    enabled = user.properties.get("accountEnabled")
    state = {True: "enabled", False: "disabled"}.get(bool(enabled), "")
    return _step("found", True, f"{user.name}, {state if enabled is not None else 'present'}")


def _matched(known: UserFacts, wish: Wish, desk: Desk) -> Step:
    link, account = known.link, known.account
    if link is not None:
        how = {"created": "made by azsyncd", "adopted": "adopted"}[link.origin.value]
        if account is not None:
            return _step("matched", True, f"linked to {_account(account)}, {how}")
        if link.state is LinkState.PENDING:
            return _step("matched", None, "an account is being made, its answer is awaited")
        return _step("matched", None, "her account is missing in the product")
    if wish.account is None or wish.kind is not Kind.ACCOUNT:
        return _step("matched", None, "no account of hers is known")
    found = match(known.user, wish.account, known.names, desk)
    if found.match is Match.CREATE:
        why = f"no account is called {wish.account.username!r}: one is made"
        return _step("matched", True, why if wish.account.active else "none, and she is disabled")
    if found.match is Match.NONE or found.standing is None:
        return _step("matched", False, found.why)
    standing = found.standing
    if is_marked(standing, known.user, desk):
        by = "it carries our mark for her"
    elif found.match is Match.REHIRE:
        by = f"its owner {standing.owner} is gone from Entra (accounts.rehire)"
    else:
        by = f"accounts.adopt is {desk.policy.accounts.adopt}"
    return _step("matched", True, f"takes over {_account(standing.account)}: {by}")


def _account(account: Account) -> str:
    state = "" if account.active is not False else ", inactive"
    where = f", in {account.directory}" if account.directory else ""
    return f"the account {account.username!r}{state}{where}"


def _mapped(wish: Wish) -> Step:
    account = wish.account
    if account is None:
        wrong = wish.kind is Kind.UNDECIDED
        return _step("mapped", False if wrong else None, wish.why if wrong else "not asked")
    return _step(
        "mapped", True, f"{account.username}, {account.email or '-'}, {account.display_name or '-'}"
    )


def of_group(group: Group, plan: GroupPlan, told: dict[str, Any]) -> list[Step]:
    """For a group in one target."""
    gone = group.presence is not Presence.PRESENT
    scope = told["in_scope"]
    wanted = plan.wanted
    if told.get("link"):
        matched = _step("matched", True, f"linked, {told['link']['origin']}")
    elif wanted is None:
        matched = _step("matched", None, "no group of its own is known")
    elif wanted.blocked:
        matched = _step("matched", False, wanted.blocked)
    else:
        adopts = any(row["change"] == "adopt_group" for row in told["planned"])
        why = f"takes over the group {wanted.name!r}" if adopts else "one is made"
        matched = _step("matched", True, why)
    return [
        _step("found", True, f"{group.name}, {'deleted in Entra' if gone else 'present'}"),
        _step("in scope", {"in": True, "undecided": None}.get(scope["verdict"], False),
              f"{scope['verdict']}: {scope['why']}"),
        matched,
        _step("mapped", True if wanted else None, wanted.name if wanted else "not asked"),
        _planned(told),
    ]  # fmt: skip


def _planned(told: dict[str, Any]) -> Step:
    parts = []
    if told["held"]:
        parts.append(f"hold {told['held'][0]['hold']} keeps {told['held'][0]['change']}")
    if told["planned"]:
        kinds = [row["change"] for row in told["planned"]]
        parts.append(", ".join(f"{kinds.count(k)} {k}" for k in dict.fromkeys(kinds)))
    if told["withheld"]:
        first = told["withheld"][0]
        parts.append(f"withheld, {first['reason']}: {first['detail']}")
    stopped = bool(told["held"] or told["withheld"])
    return _step("planned", None if stopped else True, "; ".join(parts) or "nothing to do")
