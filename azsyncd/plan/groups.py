"""How it decides about one group; its members are planned user by user (edges.py).

 in scope   current    link    →  change                     reason
 ────────   ───────    ─────      ────────────────────────   ───────────────────────────────────
 yes        -          -          create group               new (groups.create: false: withheld)
 yes        yes        -          adopt group                adopted (groups.adopt: likewise)
 yes        -          live       create group, same link    drift
 yes        yes        live       -                          other name: unsupported, goes on
 -          yes        live       as `groups.gone` says      keep · empty · delete
 -          yes        -          -                          not ours: never touched
A linked group is followed by id for ever (rule 12). Products cannot rename groups: with `on_rename:
new_group` it moves to another group, and the old one is the product's own from then on. So are the
groups of `groups.default`; an own group that is wanted no more goes the way of `groups.gone`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from azsyncd.model.accounts import InvalidValue, TargetGroup, fold
from azsyncd.model.changes import Change, Kind, Phase, Reason, Waiting, Withheld
from azsyncd.model.identities import ObjectId, Presence
from azsyncd.model.links import LinkState
from azsyncd.plan.desk import Desk
from azsyncd.plan.expressions import ExpressionFailed, Unread
from azsyncd.plan.facts import OWN, GroupFacts, GroupStanding, WantedGroup
from azsyncd.plan.scope import Verdict

RENAMED_INTO_SCOPE = "came to match the scope by being renamed"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlan:
    """What follows for one group.

    `wanted`: memberships are planned for it: it is in scope, or is to be emptied. `hold`: a person
    decides before its first write (rule 12). `leaves`: the group that it is linked to is given up
    first. `takes_over`: who gives the group of that name up to it, with all that is ours in it: the
    product's own, one that was deleted in Entra, or one that gets another in a ring of names.
    """

    changes: tuple[Change, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    wanted: WantedGroup | None = None
    hold: str = ""
    leaves: bool = False
    takes_over: ObjectId | None = None


def wanted_name(facts: GroupFacts, desk: Desk) -> str:
    """The legal name of the group in the target; raises InvalidValue, Unread, ExpressionFailed."""
    return desk.dialect.group(desk.group_mapping.name(facts.group))


def is_own(id_: ObjectId) -> bool:
    """Whether this is a product's own group."""
    return id_.startswith(OWN)


def plan_own(facts: GroupFacts, desk: Desk) -> GroupPlan:
    """Decide for a group of `groups.default`, or one that stands for nothing any more."""
    listed = {OWN + fold(name) for name in desk.policy.groups.default}
    if facts.group.id not in listed:
        return _gone(facts, "it stands for no group of the scope any more", desk)
    try:
        name = desk.dialect.group(facts.group.name)
    except InvalidValue as error:
        return GroupPlan(waiting=(_wait(facts, Withheld.INVALID_VALUE, str(error)),))
    if desk.capabilities.administers(name):
        detail = f"{name}: an administrators' group is no default for everybody"
        return GroupPlan(waiting=(_wait(facts, Withheld.PROTECTED, detail),))
    if facts.link is None or facts.link.state is LinkState.PENDING:
        plan = _new(facts, name, desk, Reason.NEW)
    elif facts.standing is None:
        plan = _new(facts, name, desk, Reason.DRIFT)
    else:
        plan = _linked(facts, facts.standing, facts.standing.name, desk)
    wanted = plan.wanted and replace(plan.wanted, everybody=True)
    return replace(plan, wanted=wanted)


def in_scope(facts: GroupFacts, desk: Desk) -> tuple[Verdict, str]:
    """Whether the group is synced, and the evidence."""
    verdict = desk.group_rule.verdict(facts.group)
    here = facts.group.presence is Presence.PRESENT
    linked = facts.link is not None or facts.moved
    if here and linked and facts.followed and verdict.verdict is Verdict.OUT:
        return Verdict.IN, "followed by its id since it was linked"
    return verdict.verdict, verdict.why


def plan_group(facts: GroupFacts, desk: Desk) -> GroupPlan:
    """Decide for one group."""
    verdict, why = in_scope(facts, desk)
    if verdict is Verdict.EXCLUDED:
        waiting = (_wait(facts, Withheld.EXCLUDED, why),) if facts.link else ()
        return GroupPlan(waiting=waiting)
    if verdict is Verdict.UNDECIDED:
        waiting = (_wait(facts, Withheld.UNDECIDED, why),)
        return GroupPlan(waiting=waiting, wanted=_kept(facts, desk, frozen=why))
    if verdict is Verdict.OUT:
        return _gone(facts, why, desk)
    try:
        name = wanted_name(facts, desk)
    except (Unread, ExpressionFailed) as error:
        waiting = (_wait(facts, Withheld.UNDECIDED, str(error)),)
        return GroupPlan(waiting=waiting, wanted=_kept(facts, desk))
    except InvalidValue as error:
        waiting = (_wait(facts, Withheld.INVALID_VALUE, str(error)),)
        return GroupPlan(waiting=waiting, wanted=_kept(facts, desk))
    if facts.link is None or facts.link.state is LinkState.PENDING:
        return _back(facts, _new(facts, name, desk, Reason.NEW), desk)
    if facts.standing is None:
        return _new(facts, name, desk, Reason.DRIFT)
    return _linked(facts, facts.standing, name, desk)


def _back(facts: GroupFacts, plan: GroupPlan, desk: Desk) -> GroupPlan:
    """What has left its group for another that cannot be had any more has the old one again."""
    stuck = not plan.changes and plan.takes_over is None
    if facts.left is None or not stuck or desk.gives(facts.left):
        return plan
    return replace(plan, takes_over=facts.left)


def _kept(facts: GroupFacts, desk: Desk, *, frozen: str | None = None) -> WantedGroup | None:
    """A linked group whose name cannot be worked out goes on under the name that it has; while
    nobody knows whether it is in scope, nothing of it is changed (`frozen`)."""
    standing = facts.standing
    if facts.link is None or standing is None:
        return None
    blocked = frozen or _blocked(standing, desk)
    return WantedGroup(facts.group.id, standing.name, stands=True, blocked=blocked)


def _blocked(standing: TargetGroup, desk: Desk) -> str | None:
    """Why the members of a group that stands are not written."""
    if why := desk.protects_group(standing.name):
        return why
    return None if standing.writable else "it stands in a read-only directory"


def _wait(
    facts: GroupFacts, reason: Withheld, detail: str, hint: str = "", change: Change | None = None
) -> Waiting:
    return Waiting(object_id=facts.group.id, reason=reason, detail=detail, hint=hint, change=change)


def _change(
    facts: GroupFacts,
    kind: Kind,
    reason: Reason,
    phase: Phase,
    before: TargetGroup | None,
    after: TargetGroup | None,
) -> Change:
    return Change(
        kind=kind,
        reason=reason,
        object_id=facts.group.id,
        before=before,
        after=after,
        phase=phase,
    )


def _new(facts: GroupFacts, name: str, desk: Desk, reason: Reason) -> GroupPlan:
    """Nothing stands for it (`reason` NEW), or nothing any more (DRIFT)."""

    def withheld(
        reason: Withheld, detail: str, hint: str = "", change: Change | None = None
    ) -> GroupPlan:
        wanted = WantedGroup(facts.group.id, name, stands=False, blocked=detail)
        return GroupPlan(waiting=(_wait(facts, reason, detail, hint, change),), wanted=wanted)

    if why := desk.protects_group(name):
        return withheld(Withheld.PROTECTED, f"{name}: {why}")
    if facts.rivals:
        return withheld(
            Withheld.CONFLICT,
            f"{len(facts.rivals) + 1} groups want the name {name!r} ({facts.rivals[0]})",
            "rename one in Entra, exclude one, or tell them apart in groups.name",
        )
    hold = RENAMED_INTO_SCOPE if _came_by_renaming(facts, desk) else ""
    standing = facts.under_name
    wanted = WantedGroup(facts.group.id, name, stands=True)
    if standing is None:
        after = TargetGroup(name=name, description=_description(facts))
        change = _change(facts, Kind.CREATE_GROUP, reason, Phase.GROUPS, None, after)
        if not desk.policy.groups.create:
            return withheld(
                Withheld.NOT_OWNED,
                f"no group {name!r} stands in the product, and groups.create is false",
                "create it there by hand",
                change,
            )
        if not desk.capabilities.creates_groups:
            return withheld(
                Withheld.UNSUPPORTED,
                "this product's groups cannot be created through its API",
                desk.capabilities.instead.get("creates_groups", ""),
                change,
            )
        if reason is Reason.DRIFT and desk.policy.drift == "report":
            return withheld(
                Withheld.MODE, f"{name} was deleted by hand in the product", "drift: report", change
            )
        return GroupPlan(changes=(change,), wanted=wanted, hold=hold)
    left = standing.owner is not None and _is_left(standing, standing.owner, desk)
    if left and not hold:
        return GroupPlan(wanted=wanted, takes_over=standing.owner)
    if standing.owner is not None and (not left or standing.passed_on):
        return withheld(
            Withheld.CONFLICT,
            f"the name {name!r} belongs to {standing.called or 'a group'} ({standing.owner})",
            "products cannot rename groups: rename one in Entra, or delete the old one there",
        )
    if not desk.policy.groups.adopt and not is_own(facts.group.id):
        return withheld(
            Withheld.NOT_OWNED,
            f"a group {name!r} stands in the product, and groups.adopt is false",
            "set groups.adopt, or another groups.name",
        )
    change = _change(
        facts, Kind.ADOPT_GROUP, Reason.ADOPTED, Phase.GROUPS, standing.group, standing.group
    )
    if not standing.group.writable:
        return withheld(*_read_only(standing.group), change)
    return GroupPlan(changes=(change,), wanted=wanted, hold=hold)


def _is_left(standing: GroupStanding, owner: ObjectId, desk: Desk) -> bool:
    """Whether whoever has the group has it no more: the name of a group that was deleted in Entra
    is free for one that was made anew, with all that the product has granted to it."""
    if is_own(owner):
        return not desk.gives(owner)
    if standing.passed_on:
        return True
    if standing.deleted is None or not desk.policy.groups.adopt:
        return False
    return desk.group_rule.verdict(standing.deleted).verdict is Verdict.OUT  # else: hands off


def _read_only(group: TargetGroup) -> tuple[Withheld, str, str]:
    return (
        Withheld.READ_ONLY,
        f"{group.name} stands in a read-only directory",
        "change it where that directory comes from, or make the directory writable",
    )


def _came_by_renaming(facts: GroupFacts, desk: Desk) -> bool:
    """Rule 12: it matches by a name pattern that its former name did not match. One that was linked
    is followed, whatever it was called."""
    linked = facts.link is not None and facts.link.state is not LinkState.PENDING
    if facts.former_name is None or facts.moved or linked:
        return False
    before = {**facts.group.properties, "displayName": facts.former_name}
    return desk.group_rule.verdict(replace(facts.group, properties=before)).verdict is Verdict.OUT


def _description(facts: GroupFacts) -> str | None:
    value = facts.group.properties.get("description")
    return value if isinstance(value, str) and value else None


def _linked(facts: GroupFacts, standing: TargetGroup, name: str, desk: Desk) -> GroupPlan:
    blocked = _blocked(standing, desk)
    wanted = WantedGroup(facts.group.id, standing.name, stands=True, blocked=blocked)
    if why := desk.protects_group(standing.name):
        detail = f"{standing.name}: {why}"
        return GroupPlan(waiting=(_wait(facts, Withheld.PROTECTED, detail),), wanted=wanted)
    if not standing.writable:
        return GroupPlan(waiting=(_wait(facts, *_read_only(standing)),), wanted=wanted)
    if fold(standing.name) == fold(name):
        return GroupPlan(wanted=wanted)
    if desk.policy.groups.on_rename == "new_group":
        return _moves(facts, wanted, name, desk)
    detail = f"renamed to {name!r} in Entra; the product keeps {standing.name!r}"
    hint = "its members go on being synced; on_rename: new_group moves them, and you grant it anew"
    return GroupPlan(waiting=(_wait(facts, Withheld.UNSUPPORTED, detail, hint),), wanted=wanted)


def _moves(facts: GroupFacts, old: WantedGroup, name: str, desk: Desk) -> GroupPlan:
    """`on_rename: new_group`. While the new one cannot be had, it goes on under the old name."""
    free = replace(facts, link=None, standing=None, moved=True)
    plan = _new(free, name, desk, Reason.CHANGED)
    if plan.changes or plan.takes_over:
        return replace(plan, leaves=True)
    return GroupPlan(waiting=plan.waiting, wanted=old)


def would_take(facts: GroupFacts, desk: Desk) -> bool:
    """Whether it would move to the group of the name that it wants, if its owner had left that."""
    under = facts.under_name
    if under is None or under.owner is None or desk.policy.groups.on_rename != "new_group":
        return False
    left = GroupStanding(under.group, ObjectId(OWN + fold(under.group.name)))
    return plan_group(replace(facts, under_name=left), desk).takes_over is not None


def _gone(facts: GroupFacts, why: str, desk: Desk) -> GroupPlan:
    standing, gone = facts.standing, desk.policy.groups.gone
    if facts.link is None or standing is None or gone == "keep" or facts.awaited:
        return GroupPlan()
    present = facts.group.presence is Presence.PRESENT
    if present and not desk.proof:
        detail = f"{why}; but Entra was not read completely yet"
        return GroupPlan(waiting=(_wait(facts, Withheld.INCOMPLETE_READ, detail),))
    if protected := desk.protects_group(standing.name):
        detail = f"{standing.name}: {protected}"
        return GroupPlan(waiting=(_wait(facts, Withheld.PROTECTED, detail),))
    if not standing.writable:
        return GroupPlan(waiting=(_wait(facts, *_read_only(standing)),))
    if gone == "empty":
        wanted = WantedGroup(facts.group.id, standing.name, stands=True, emptied=True)
        return GroupPlan(wanted=wanted)
    reason = Reason.LEFT_SCOPE if present else Reason.DELETED
    change = _change(facts, Kind.DELETE_GROUP, reason, Phase.DELETE, standing, None)
    if not desk.capabilities.deletes_groups:
        hint = desk.capabilities.instead.get("deletes_groups", "")
        detail = "this product's groups cannot be deleted through its API"
        return GroupPlan(waiting=(_wait(facts, Withheld.UNSUPPORTED, detail, hint, change),))
    return GroupPlan(changes=(change,))
