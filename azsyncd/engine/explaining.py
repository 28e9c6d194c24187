"""Why somebody has, or has not, what she has: found, in scope, matched, mapped, planned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from azsyncd.clock import iso
from azsyncd.engine import steps, strays
from azsyncd.engine.figures import change_row
from azsyncd.engine.planning import Planning
from azsyncd.engine.reconcile import Reconcile
from azsyncd.errors import AzsyncdError
from azsyncd.model.accounts import InvalidValue
from azsyncd.model.changes import Kind as ChangeKind
from azsyncd.model.identities import MANAGER, Group, ObjectId, User
from azsyncd.plan import guard
from azsyncd.plan.desk import Desk
from azsyncd.plan.edges import wanted_groups
from azsyncd.plan.expressions import ExpressionFailed, Unread
from azsyncd.plan.facts import UserFacts
from azsyncd.plan.policy import Mode
from azsyncd.plan.users import UserPlan, plan_user
from azsyncd.plan.wishes import Kind, wish_for
from azsyncd.state import codec, facts, links, mirror, questions
from azsyncd.state.store import Connection, Row

_SHOWN = ("userPrincipalName", "displayName", "mail", "accountEnabled", "userType", "employeeId")


def explain(
    db: Connection,
    reconciles: list[Reconcile],
    who: str,
    group: str | None,
    not_asked: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Everything about a user or group, target by target, or about an account that nobody in Entra
    explains. `not_asked`: the targets that could not be asked, and why. Raises AzsyncdError if
    nobody is meant, or several are."""
    found = questions.numbers_of(db, who)
    if not found and group is None and (stray := strays.explain(db, reconciles, who)) is not None:
        return stray
    n, kind = _meant(db, who, found)
    if kind != "user":
        told = _group(db, n, reconciles)
    else:
        about = None
        if group is not None:
            groups = [each for each in questions.numbers_of(db, group) if each[1] != "user"]
            about = _meant(db, group, groups)[0]
        told = _user(db, n, reconciles, about)
    for row in told["targets"]:
        if why := (not_asked or {}).get(row["target"]):
            row["not_asked"] = why
    return told


def _meant(db: Connection, who: str, found: list[tuple[int, str]]) -> tuple[int, str]:
    if not found:
        raise AzsyncdError(
            f"{who!r} is not known",
            "give a UPN, mail, object id, account or display name; who was created in Entra a"
            " moment ago comes with the next round",
        )
    if len(found) > 1:
        names = ", ".join(
            f"{questions.id_of(db, n)} ({questions.name_of(db, n)})" for n, _ in found[:10]
        )
        raise AzsyncdError(f"{who!r} can mean {len(found)} objects: {names}", "give an object id")
    return found[0]


# A user -------------------------------------------------------------------------------------------


def _user(db: Connection, n: int, reconciles: list[Reconcile], about: int | None) -> dict[str, Any]:
    base = next(facts.bases(db, [n]))
    told: dict[str, Any] = {"kind": "user", "entra": _identity(base.user, base.verified)}
    told["targets"] = [_user_in(db, base, each, about) for each in reconciles]
    told["what_to_do"] = _advice(told["targets"])
    if questions.is_doubted(db, n):
        told["entra"]["note"] = (
            "Entra did not show her when it was last read, which is not believed"
        )
        told["what_to_do"] = questions.not_believed(db)[1]
    return told


def _identity(user: User | Group, verified: bool = True) -> dict[str, Any]:
    told: dict[str, Any] = {"object_id": user.id}
    told.update({name: user.properties[name] for name in _SHOWN if name in user.properties})
    if MANAGER in user.properties:  # it is read where an expression mentions it
        manager = user.properties[MANAGER]
        known = manager if isinstance(manager, Mapping) else {}
        told[MANAGER] = known.get(_SHOWN[0]) or known.get("id")
    told["presence"] = user.presence.value
    if user.since is not None:
        told["gone_since"] = iso(user.since)
    if not verified:
        told["note"] = "restored a moment ago: her groups are being verified"
    return told


def _user_in(
    db: Connection, base: facts.UserBase, reconcile: Reconcile, about: int | None
) -> dict[str, Any]:
    planning, t = reconcile.planning.apart(db), reconcile.t
    desk = planning.desk(db)
    wish = wish_for(base.user, base.groups, desk)
    admins, licences = planning.capabilities.admin_groups, planning.strip_groups
    known = facts.user_facts(db, t, base, wish.account, admins, licences)
    plan = plan_user(known, desk, wish)
    told: dict[str, Any] = {"target": reconcile.target.name, "mode": planning.policy.mode.value}
    told["in_scope"] = {"verdict": _VERDICTS[wish.kind], "why": wish.why}
    told["rules"] = _rules(db, base, desk)
    if wish.account is not None:
        told["mapped"] = codec.account_to_dict(wish.account)
    row = links.get(db, t, base.n)
    if row is not None:
        told["link"] = {"origin": row["origin"], "state": row["state"]}
        if row["left_at"] is not None:
            told["link"]["left_at"] = iso(row["left_at"])
    told["account"] = codec.account_to_dict(known.account) if known.account else None
    wanted = wanted_groups(known, desk)
    told["groups"] = _groups_of(db, base, known.edges, wanted, planning, _STAYS_OUT.get(wish.kind))
    noted, mode = _noted(db, t, base.n, desk.now), planning.policy.mode
    now = [c for c in plan.changes if (c.kind.value, c.group_id) not in noted]
    sent = [c for c in now if mode is not Mode.ADDITIONS_ONLY or guard.permitted(c, mode)]
    told["planned"] = [
        change_row(
            reconcile.target.name,
            change,
            name=base.user.name,
            group=_group_name(planning, change.group_id),
        )
        for change in sent
    ]
    told["withheld"] = [
        {"reason": each.reason.value, "detail": each.detail, "hint": each.hint}
        for each in plan.waiting
    ]
    if len(sent) < len(now):
        why = "mode: additions_only takes nobody's access away"
        hint = "take it away in the product, or set mode: sync"
        told["withheld"].append({"reason": "mode", "detail": why, "hint": hint})
    said = {each.detail for each in plan.waiting}
    told["withheld"] += [_waits(row) for row in noted.values() if row["detail"] not in said]
    told["held"] = _held(db, t, base.n)
    if about is not None:
        told["in_group"] = _membership(db, base, about, known, plan, planning)
    told["steps"] = steps.of_user(known, wish, desk, told)
    return told


def _rules(db: Connection, base: facts.UserBase, desk: Desk) -> list[dict[str, Any]]:
    """What each rule of the scope says, and by which path she is in its groups."""
    if why := desk.let_go.get(base.user.id):
        return [{"rule": "unlink", "verdict": "excluded", "why": why, "paths": []}]
    rows = []
    for rule, verdict, why in desk.users.evidence(base.user, base.groups, desk.scope):
        paths: list[str] = []
        if rule == "members_of":
            found = sorted(base.groups & desk.scope.member_of)
            chains = (questions.path(db, base.n, group) for group in found[:_PATHS])
            paths = [" > ".join([base.user.name, *chain]) for chain in chains if chain]
        rows.append({"rule": f"scope.users.{rule}", "verdict": verdict, "why": why, "paths": paths})
    return rows


_PATHS = 3

_VERDICTS = {
    Kind.ACCOUNT: "in scope",
    Kind.GONE: "not in scope",
    Kind.HANDS_OFF: "excluded",
    Kind.UNDECIDED: "undecided",
}


_STAYS_OUT = {Kind.GONE: "she is not in scope", Kind.HANDS_OFF: "hands off"}


def _held(db: Connection, t: int, n: int) -> list[dict[str, Any]]:
    return [
        {"hold": each["hold"], "kind": each["kind"], "change": each["change"],
         "state": each["state"], "why": each["detail"]}
        for each in questions.held_of(db, t, n)
    ]  # fmt: skip


def _noted(db: Connection, t: int, n: int, now: float) -> dict[tuple[str, str | None], Row]:
    """The changes of an object that are not sent now although they are planned, by (kind, group):
    refused before, not possible yet, or contested."""
    return {
        (row["change"], questions.id_of(db, row["gn"]) if row["gn"] else None): row
        for row in questions.waiting_of(db, t, n)
        if row["change"] and (row["attempts"] or row["retry_at"] is None or row["retry_at"] > now)
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
    blocked: str | None,
) -> list[dict[str, Any]]:
    """`blocked`: why she is put into none of them."""
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
                "blocked": blocked
                or (planning.groups[group].blocked if group in planning.groups else None),
            }
        )
    return rows


def _group_name(planning: Planning, group: ObjectId | None) -> str | None:
    wanted = planning.groups.get(group) if group is not None else None
    return wanted.name if wanted is not None else None


def _membership(
    db: Connection,
    base: facts.UserBase,
    about: int,
    known: UserFacts,
    plan: UserPlan,
    planning: Planning,
) -> dict[str, Any]:
    """Why (not) in this group."""
    group = ObjectId(questions.id_of(db, about))
    name, who = questions.name_of(db, about), base.user.name
    path = questions.path(db, base.n, group)
    edge = known.edges.get(group)
    told: dict[str, Any] = {
        "group": name,
        "in_entra": bool(path) or planning.desk(db).gives(group),
        "path": " > ".join([who, *path]) if path else "",
        "in_product": edge is not None,
        "whose": None if edge is None else "ours" if edge.ours else "foreign",
    }
    change = next((c for c in plan.changes if c.group_id == group), None)
    waits = next((w for w in plan.waiting if w.change and w.change.group_id == group), None)
    noted = next(
        (w for w in questions.waiting_of(db, planning.t, base.n) if w["gn"] == about), None
    )
    held = next((h for h in questions.held_of(db, planning.t, base.n) if h["gn"] == about), None)
    if group not in planning.groups:
        why = f"{name} is not among the synced groups: see `azsyncd explain {group}`"
    elif not told["in_entra"] and edge is None:
        why = f"{who} is no member of {name} in Entra, not through others either"
    elif planning.groups[group].blocked:
        why = f"nobody can be put into {name} now: {planning.groups[group].blocked}"
    elif known.account is None and change is None:
        why = f"{who} has no account here: see the steps above"
    elif waits is not None:
        why = f"it waits: {waits.detail}"
    elif held is not None:
        why = f"it is held: azsyncd holds show {held['hold']}"
    elif noted is not None and noted["attempts"]:
        why = f"the product refused it {noted['attempts']} times: {noted['detail']}"
    elif noted is not None and change is not None:
        why = f"it waits: {noted['detail']}"
    elif change is not None:
        doing = "put into" if change.kind is ChangeKind.ADD_MEMBER else "taken out of"
        why = f"{who} is {doing} {name} with the next run"
    elif told["in_entra"] and edge is None and (lower := _through(group, known, planning)):
        why = f"{who} is in {name} through {lower}: in the product that stands in it as well"
    elif not told["in_entra"]:
        whose = "it was never azsyncd's" if not edge or not edge.ours else "it is kept as it is"
        why = f"Entra does not have {who} in {name}; the product does, and {whose}"
    elif edge is not None:
        why = f"Entra has {who} in {name}, and so has the product"
    else:
        why = f"Entra has {who} in {name}, but leavers are put into no group"
    return {**told, "why": why}


def _through(group: ObjectId, known: UserFacts, planning: Planning) -> str:
    """The groups that have her in this one, where the product nests them."""
    lower = planning.nesting.passes.get(group, frozenset()) & known.groups
    return ", ".join(sorted(planning.groups[each].name for each in lower))


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
    planning = reconcile.planning.apart(db)
    plan, verdict, why = planning.judge_group(db, n, group)
    told: dict[str, Any] = {
        "target": reconcile.target.name,
        "in_scope": {"verdict": verdict, "why": why},
    }
    told["mode"] = planning.policy.mode.value
    row = links.get(db, reconcile.t, n)
    if row is not None:
        told["link"] = {"origin": row["origin"], "state": row["state"]}
    if plan.wanted is not None:
        told["name"] = plan.wanted.name
        if plan.wanted.blocked:
            told["blocked"] = plan.wanted.blocked
    told["planned"] = [
        change_row(
            reconcile.target.name,
            each,
            name=group.name,
            group=_group_name(planning, each.group_id),
        )
        for each in plan.changes
    ]
    told["withheld"] = [
        {"reason": each.reason.value, "detail": each.detail, "hint": each.hint}
        for each in plan.waiting
    ]
    told["withheld"] += [_waits(each) for each in questions.waiting_of(db, reconcile.t, n)
                         if each["attempts"]]  # fmt: skip
    told["held"] = _held(db, reconcile.t, n)
    if row is not None and row["g"] is not None:
        told["in_product"] = questions.group_counts(db, row["g"])
    told["steps"] = steps.of_group(group, plan, told)
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
            if hold["state"] == "rejected":
                return f"azsyncd release {hold['hold']} takes the rejection back"
            return f"azsyncd holds show {hold['hold']}, then approve or reject it"
        for waits in row["withheld"]:
            if waits["hint"] and not waits["hint"].startswith("azsyncd explain "):
                return str(waits["hint"])
        if row["withheld"]:
            return f"{row['target']}: {row['withheld'][0]['detail']}"
    if any(row["planned"] for row in rows):
        return "nothing: it is written with the next run, or by azsyncd sync"
    verdicts = {row["in_scope"]["verdict"] for row in rows}
    if verdicts <= {"not in scope", "out"}:
        return (
            "nothing, if that is right; else change scope in the file, or put her into one of its"
            " groups"
        )
    if verdicts == {"excluded"}:
        return "nothing, if that is right; else take the exclude away, or azsyncd link"
    return "nothing: all is as Entra and the configuration say"
