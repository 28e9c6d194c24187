"""Memberships of one user: which to add, which to remove, and whose they are (rule 21).

A membership is ours if we added it, or if it was there *and* wanted when it was first seen in a
complete inventory. Everything else is foreign and stays, unless `foreign_members: remove`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from azsyncd.model.changes import Change, Kind, Phase, Reason, Waiting, Withheld
from azsyncd.model.identities import ObjectId, Presence
from azsyncd.model.links import Edge
from azsyncd.plan.desk import Desk
from azsyncd.plan.facts import UserFacts


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a user's plan."""

    changes: tuple[Change, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    judged: Mapping[ObjectId, bool] = field(default_factory=dict)


def entitled_groups(
    above: frozenset[ObjectId], direct: frozenset[ObjectId], desk: Desk
) -> set[ObjectId]:
    """The groups of the scope whose members have to have what she has, by the nesting rule, and
    those for everybody. `above`: those that she is in at any depth."""
    mine = direct if desk.policy.groups.nested == "ignore" else above
    found = {group for group in mine if group in desk.groups and not desk.groups[group].emptied}
    return found | desk.everybody if desk.everybody else found


def entitled(facts: UserFacts, desk: Desk) -> set[ObjectId]:
    """The same, of these facts."""
    return entitled_groups(facts.groups, facts.direct, desk)


def wanted_groups(facts: UserFacts, desk: Desk) -> set[ObjectId]:
    """Those of them that she is put into herself: all but the ones that have her through another
    group, where the product nests them."""
    found = entitled(facts, desk)
    if not desk.passes:
        return found
    return {g for g in found if g in facts.direct or not _has_through(g, found, facts, desk)}


def _has_through(group: ObjectId, hers: set[ObjectId], facts: UserFacts, desk: Desk) -> bool:
    """Whether one of her groups stands in this one, or will, and she in that."""
    return any(
        desk.groups[below].blocked is None or below in facts.edges
        for below in desk.passes.get(group, ())
        if below in hers
    )


def plan_edges(facts: UserFacts, desk: Desk) -> Part:
    """The memberships of somebody who is in scope; disabled in Entra or not."""
    wanted = wanted_groups(facts, desk)
    hers = entitled(facts, desk)
    changes: list[Change] = []
    waiting: list[Waiting] = []
    for group in sorted(wanted):
        target = desk.groups[group]
        edge = facts.edges.get(group)
        if not target.stands or target.blocked is not None:
            continue
        if edge is not None and not edge.unsure:
            continue
        by_hand = group in facts.lost
        why = Reason.DRIFT if by_hand else Reason.NEW
        change = _edge(facts, Kind.ADD_MEMBER, group, why, Phase.ADD)
        if by_hand and desk.policy.drift == "report":
            detail = f"taken out of {target.name} by hand in the product"
            waiting.append(_wait(facts, Withheld.MODE, detail, "drift: report", change))
        else:
            changes.append(change)
    for group, edge in sorted(facts.edges.items()):
        if group in wanted or group not in desk.groups:
            continue  # a group that left the scope is decided as a group (groups.gone)
        part = _unwanted(facts, group, edge, desk, through=group in hers)
        changes += part.changes
        waiting += part.waiting
    judged = {
        group: group in hers
        for group, edge in facts.edges.items()
        if edge.ours is None and group in desk.groups
    }
    return _writable(facts, Part(tuple(changes), tuple(waiting), judged), desk)


def _writable(facts: UserFacts, part: Part, desk: Desk) -> Part:
    """The same, withheld where the product's memberships cannot be written."""
    if not part.changes or desk.capabilities.writes_members:
        return part
    hint = desk.capabilities.instead.get("writes_members", "")
    detail = "this product's memberships cannot be written"
    waits = [_wait(facts, Withheld.UNSUPPORTED, detail, hint, c) for c in part.changes]
    return Part((), (*part.waiting, *waits), part.judged)


def _unwanted(facts: UserFacts, group: ObjectId, edge: Edge, desk: Desk, *, through: bool) -> Part:
    """`through`: the group has her through another one. That this really is so is seen once more
    right before the membership is ended (engine/lifeline.py)."""
    foreign = not (edge.ours or (edge.ours is None and through))
    if foreign and desk.policy.groups.foreign_members == "keep":
        return Part()
    kept = Reason.LEFT_SCOPE if desk.groups[group].emptied else Reason.CHANGED
    reason = Reason.DRIFT if foreign else kept
    change = _edge(facts, Kind.REMOVE_MEMBER, group, reason, Phase.REMOVE)
    name = desk.groups[group].name
    if desk.groups[group].blocked is not None:
        return Part()  # the group itself says why
    if edge.inherited:
        detail = f"the membership in {name} is inherited, removing it had no effect"
        hint = "find the nested group or default that it comes from, in the product"
        return Part(waiting=(_wait(facts, Withheld.UNSUPPORTED, detail, hint, change),))
    if not desk.proof or not facts.verified:
        detail = f"leaves {name} when Entra has been read completely"
        return Part(waiting=(_wait(facts, Withheld.INCOMPLETE_READ, detail, change=change),))
    return _but_the_last(facts, Part(changes=(change,)), desk)


LAST_ADMIN_SECONDS = 900.0
"""How often it is looked whether there is another administrator, in case that nobody says so."""


def last_admin(facts: UserFacts, change: Change, desk: Desk) -> Waiting:
    """Until there is another: whoever makes one wakes it, and it is looked at now and then."""
    name = facts.account.username if facts.account is not None else facts.user.name
    detail = f"{name} is the last active administrator"
    wait = _wait(facts, Withheld.PROTECTED, detail, "make somebody else one first", change)
    return replace(wait, retry_at=desk.now + LAST_ADMIN_SECONDS)


def _but_the_last(facts: UserFacts, part: Part, desk: Desk) -> Part:
    """The same, without taking the last administrator out of the last such group (rule 24). Groups
    below one are seen when it is written (engine/admins.py)."""
    if facts.last_admin != 1:
        return part
    stays = [
        change
        for change in part.changes
        if change.kind is Kind.REMOVE_MEMBER
        and change.group_id is not None
        and desk.capabilities.administers(desk.groups[change.group_id].name)
    ]
    changes = tuple(change for change in part.changes if change not in stays)
    waits = (last_admin(facts, change, desk) for change in stays)
    return Part(changes, (*part.waiting, *waits), part.judged)


def follow_leaver(facts: UserFacts, desk: Desk) -> Part:
    """A leaver's memberships are frozen, but an explicit removal in Entra applies (rule 33)."""
    wanted = entitled(facts, desk)
    judged = {
        group: group in wanted
        for group, edge in facts.edges.items()
        if edge.ours is None and group in desk.groups
    }
    if facts.user.presence is not Presence.PRESENT or not facts.verified or not desk.proof:
        return Part(judged=judged)
    gone = [group for group in _removable(facts, desk) if group not in wanted]
    changes = [_edge(facts, Kind.REMOVE_MEMBER, g, Reason.CHANGED, Phase.REMOVE) for g in gone]
    return _writable(facts, _but_the_last(facts, Part(tuple(changes), (), judged), desk), desk)


def strip(facts: UserFacts, desk: Desk, reason: Reason) -> Part:
    """Take all memberships that are ours away, in groups of the scope that may be written to."""
    changes = [
        _edge(facts, Kind.REMOVE_MEMBER, group, reason, Phase.REMOVE)
        for group in _removable(facts, desk)
    ]
    return _writable(facts, _but_the_last(facts, Part(tuple(changes)), desk), desk)


def _removable(facts: UserFacts, desk: Desk) -> list[ObjectId]:
    """The groups whose membership is ours, and can be ended. One that is seen for the first time
    counts as what it is judged to be by this very look."""
    wanted = entitled(facts, desk)
    return [
        group
        for group, edge in sorted(facts.edges.items())
        if (edge.ours or (edge.ours is None and group in wanted))
        and not edge.inherited
        and group in desk.groups
        and desk.groups[group].blocked is None
    ]


def _edge(facts: UserFacts, kind: Kind, group: ObjectId, reason: Reason, phase: Phase) -> Change:
    return Change(kind=kind, reason=reason, object_id=facts.user.id, group_id=group, phase=phase)


def _wait(
    facts: UserFacts, reason: Withheld, detail: str, hint: str = "", change: Change | None = None
) -> Waiting:
    return Waiting(object_id=facts.user.id, reason=reason, detail=detail, hint=hint, change=change)
