"""Accounts and groups of a product that nobody in Entra explains: asked for by name, they get an
answer too."""

from __future__ import annotations

from typing import Any

from azsyncd.engine.reconcile import Reconcile
from azsyncd.model.accounts import Account, fold
from azsyncd.state import codec, questions
from azsyncd.state.store import Connection


def explain(db: Connection, reconciles: list[Reconcile], who: str) -> dict[str, Any] | None:
    """What is known of the accounts of this name or address, target by target; None if no target
    has one."""
    rows = []
    for reconcile in reconciles:
        for account in questions.strays(db, reconcile.t, who.strip()):
            rows.append(_account(db, reconcile, account))
    if not rows:
        return None
    return {
        "kind": "account",
        "entra": {"note": "nobody in Entra has, or is to have, this account"},
        "targets": rows,
        "what_to_do": _advice(rows),
    }


def _account(db: Connection, reconcile: Reconcile, account: Account) -> dict[str, Any]:
    planning, name = reconcile.planning.apart(db), reconcile.target.name
    desk = planning.desk(db)
    protected = desk.protects_user(account.username)
    claims = questions.claimants(db, reconcile.t, account)
    mark = account.mark
    if protected:
        why = protected
    elif mark is not None and mark.instance != reconcile.instance:
        why = f"it carries the mark of another azsyncd, {mark.instance!r}"
    elif mark is not None:
        why = f"it carries our mark for {mark.object_id}, whom it is not linked to"
    elif claims:
        why = f"its name or address is wanted by {', '.join(claims[:3])}, who did not get it"
    else:
        why = "nobody in Entra has its name or its address: it is left as it is"
    return {
        "target": name,
        "mode": planning.policy.mode.value,
        "in_scope": {"verdict": "not in Entra", "why": why},
        "account": codec.account_to_dict(account),
        "claimed_by": claims,
        "planned": [],
        "withheld": [],
        "held": [],
    }


def _advice(rows: list[dict[str, Any]]) -> str:
    for row in rows:
        if row["claimed_by"]:
            return f"azsyncd explain {row['claimed_by'][0]} says why it is not hers"
    name, username = rows[0]["target"], rows[0]["account"]["username"]
    if "mark" in rows[0]["in_scope"]["why"] or "signs in" in rows[0]["in_scope"]["why"]:
        return "nothing: azsyncd never touches it"
    return (
        f"nothing, if it is meant to be there; azsyncd link WHO {fold(username)} --target {name}"
        " says whose it is"
    )
