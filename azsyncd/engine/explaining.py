"""Why somebody has, or has not, what she has: found, in scope, matched, mapped, planned."""

from __future__ import annotations

from typing import Any

from azsyncd.clock import iso
from azsyncd.engine.figures import change_row
from azsyncd.engine.planning import Planning
from azsyncd.engine.reconcile import Reconcile
from azsyncd.errors import AzsyncdError
from azsyncd.model.accounts import InvalidValue
from azsyncd.model.identities import Group, ObjectId, User
from azsyncd.plan.edges import wanted_groups
from azsyncd.plan.expressions import ExpressionFailed, Unread
from azsyncd.plan.users import plan_user
from azsyncd.plan.wishes import Kind, wish_for
from azsyncd.state import codec, facts, links, mirror, questions
from azsyncd.state.store import Connection, Row

_SHOWN = ("userPrincipalName", "displayName", "mail", "accountEnabled", "userType", "employeeId")


def explain(
    db: Connection, reconciles: list[Reconcile], who: str, group: str | None
) -> dict[str, Any]:
    """Everything about a user or group, target by target. Raises AzsyncdError if nobody is meant,
    or several are."""
    n, kind = _meant(db, who, None)
    if kind == "group":
        return _group(db, n, reconciles)
    about = _meant(db, group, "group")[0] if group is not None else None
    return _user(db, n, reconciles, about)


def _meant(db: Connection, who: str, kind: str | None) -> tuple[int, str]:
    found = [each for each in questions.numbers_of(db, who) if kind in (None, each[1])]
    if not found:
        raise AzsyncdError(
            f"{who!r} is not known",
            "give a UPN, mail, object id, account or display name; who was created in Entra a"
            " moment ago comes with the next round",
        )
    if len(found) > 1:
        names = ", ".join(questions.id_of(db, n) for n, _ in found[:10])
        raise AzsyncdError(f"{who!r} can mean {len(found)} objects: {names}", "give an object id")
    return found[0]


# A user -------------------------------------------------------------------------------------------


def _user(db: Connection, n: int, reconciles: list[Reconcile], about: int | None) -> dict[str, Any]:
    base = next(facts.bases(db, [n]))
    told: dict[str, Any] = {"kind": "user", "entra": _identity(base.user, base.verified)}
    told["targets"] = [_user_in(db, base, each, about) for each in reconciles]
    told["what_to_do"] = _advice(told["targets"])
    return told


def _identity(user: User | Group, verified: bool = True) -> dict[str, Any]:
    told: dict[str, Any] = {"object_id": user.id}
    told.update({name: user.properties[name] for name in _SHOWN if name in user.properties})
    told["presence"] = user.presence.value
    if user.since is not None:
        told["gone_since"] = iso(user.since)
    if not verified:
        told["note"] = "restored a moment ago: her groups are being verified"
    return told


def _user_in(
    db: Connection, base: facts.UserBase, reconcile: Reconcile, about: int | None
) -> dict[str, Any]:
    planning, t = reconcile.planning, reconcile.t
    if not planning.ready:
        planning.learn_groups(db)
    desk = planning.desk(db)
    wish = wish_for(base.user, base.groups, desk)
    admins, licences = planning.capabilities.admin_groups, planning.strip_groups
    known = facts.user_facts(db, t, base, wish.account, admins, licences)
    plan = plan_user(known, desk, wish)
    told: dict[str, Any] = {"target": reconcile.target.name, "mode": planning.policy.mode.value}
    told["in_scope"] = {"verdict": _VERDICTS[wish.kind], "why": wish.why}
    if wish.account is not None:
        told["mapped"] = codec.account_to_dict(wish.account)
    row = links.get(db, t, base.n)
    if row is not None:
        told["link"] = {"origin": row["origin"], "state": row["state"]}
        if row["left_at"] is not None:
            told["link"]["left_at"] = iso(row["left_at"])
    told["account"] = codec.account_to_dict(known.account) if known.account else None
    told["groups"] = _groups_of(db, base, known.edges, wanted_groups(known, desk), planning)
    told["planned"] = [
        change_row(
            reconcile.target.name,
            change,
            name=base.user.name,
            group=_group_name(planning, change.group_id),
        )
        for change in plan.changes
    ]
    told["withheld"] = [
        {"reason": each.reason.value, "detail": each.detail, "hint": each.hint}
        for each in plan.waiting
    ]
    told["withheld"] += [_waits(each) for each in questions.waiting_of(db, t, base.n)
                         if each["attempts"]]  # fmt: skip
    told["held"] = [
        {"hold": each["hold"], "kind": each["kind"], "change": each["change"],
         "state": each["state"], "why": each["detail"]}
        for each in questions.held_of(db, t, base.n)
    ]  # fmt: skip
    if about is not None:
        told["in_group"] = _membership(db, base, about, known.edges, planning)
    return told


_VERDICTS = {
    Kind.ACCOUNT: "in scope",
    Kind.GONE: "not in scope",
    Kind.HANDS_OFF: "excluded",
    Kind.UNDECIDED: "undecided",
}


def _waits(row: Row) -> dict[str, Any]:
    return {
        "reason": row["reason"],
        "detail": row["detail"],
        "hint": row["hint"],
        "attempts": row["attempts"],
        "next_try": iso(row["retry_at"]),
    }


def _groups_of(
    db: Connection,
    base: facts.UserBase,
    edges: Any,
    wanted: set[ObjectId],
    planning: Planning,
) -> list[dict[str, Any]]:
    rows = []
    for group in sorted(wanted | set(edges), key=lambda each: _group_name(planning, each) or each):
        path = questions.path(db, base.n, group)
        edge = edges.get(group)
        rows.append(
            {
                "group": _group_name(planning, group) or group,
                "wanted": group in wanted,
                "in_product": edge is not None,
                "whose": None if edge is None else "ours" if edge.ours else "foreign",
                "through": " > ".join(path) if len(path) > 1 else "",
                "blocked": planning.groups[group].blocked if group in planning.groups else None,
            }
        )
    return rows


def _group_name(planning: Planning, group: ObjectId | None) -> str | None:
    wanted = planning.groups.get(group) if group is not None else None
    return wanted.name if wanted is not None else None


def _membership(
    db: Connection, base: facts.UserBase, about: int, edges: Any, planning: Planning
) -> dict[str, Any]:
    """Why (not) in this group."""
    group = ObjectId(questions.id_of(db, about))
    name = questions.name_of(db, about)
    path = questions.path(db, base.n, group)
    told: dict[str, Any] = {
        "group": name,
        "in_entra": bool(path),
        "path": " > ".join([base.user.name, *path]) if path else "",
        "in_product": group in edges,
    }
    if not path:
        told["why"] = f"{base.user.name} is no member of {name} in Entra, not through others either"
    elif group not in planning.groups:
        told["why"] = f"{name} is not among the synced groups: see `azsyncd explain {group}`"
    elif planning.groups[group].blocked:
        told["why"] = f"nobody can be put into {name} now: {planning.groups[group].blocked}"
    else:
        told["why"] = f"Entra has her in {name}"
    return told


# A group ------------------------------------------------------------------------------------------


def _group(db: Connection, n: int, reconciles: list[Reconcile]) -> dict[str, Any]:
    group = facts.group_base(db, n)
    if group is None:
        raise AzsyncdError("Entra has shown nothing but the id of this group so far")
    _, above = mirror.groups_above(db, n)
    told: dict[str, Any] = {"kind": "group", "entra": _identity(group)}
    told["entra"]["members"] = questions.member_count(db, n)
    told["entra"]["inside"] = len(above)
    told["targets"] = [_group_in(db, n, group, each) for each in reconciles]
    told["what_to_do"] = _advice(told["targets"])
    return told


def _group_in(db: Connection, n: int, group: Group, reconcile: Reconcile) -> dict[str, Any]:
    planning = reconcile.planning
    if not planning.ready:
        planning.learn_groups(db)
    plan, verdict, why = planning.judge_group(db, n, group)
    told: dict[str, Any] = {
        "target": reconcile.target.name,
        "in_scope": {"verdict": verdict, "why": why},
    }
    row = links.get(db, reconcile.t, n)
    if row is not None:
        told["link"] = {"origin": row["origin"], "state": row["state"]}
    if plan.wanted is not None:
        told["name"] = plan.wanted.name
        if plan.wanted.blocked:
            told["blocked"] = plan.wanted.blocked
    told["planned"] = [
        change_row(reconcile.target.name, each, name=group.name) for each in plan.changes
    ]
    told["withheld"] = [
        {"reason": each.reason.value, "detail": each.detail, "hint": each.hint}
        for each in plan.waiting
    ]
    told["withheld"] += [_waits(each) for each in questions.waiting_of(db, reconcile.t, n)
                         if each["attempts"]]  # fmt: skip
    return told


def mapping_problem(planning: Planning, user: User, db: Connection) -> str | None:
    """What is wrong with the values of one user, for `check`; None = nothing."""
    base = facts.UserBase(0, user, frozenset(), frozenset(), True)
    try:
        desk = planning.desk(db)
        desk.mapping.account(base.user)
        desk.mapping.active(base.user)
    except (Unread, ExpressionFailed, InvalidValue) as error:
        return str(error)
    return None


def _advice(rows: list[dict[str, Any]]) -> str:
    """The last line: what to do."""
    for row in rows:
        if row.get("held"):
            hold = row["held"][0]
            return f"azsyncd holds show {hold['hold']}, then approve or reject it"
        for waits in row["withheld"]:
            if waits["hint"]:
                return str(waits["hint"])
        if row["withheld"]:
            return f"{row['target']}: {row['withheld'][0]['detail']}"
    if any(row["planned"] for row in rows):
        return "nothing: it is written with the next run, or by azsyncd sync"
    return "nothing: all is as Entra and the configuration say"
