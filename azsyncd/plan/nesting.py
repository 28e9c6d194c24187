"""Which groups stand in which, where the product keeps them nested (`groups.nested: keep`).

A pair is (the group above, the group in it). Of a pair of two groups of the scope:

 Entra    product    →
 ─────    ───────       ──────────────────────────────────────────────────────────────────────────
 yes      -             add child, unless it closes a ring, or one of the two cannot be relied on
 yes      yes           nothing: whoever is in the lower group is in the upper one
 -        ours          remove child
 -        foreign       kept: not ours (also with foreign_members: remove)
A ring is opened where it closes: what stands stays, of what does not the lowest ids come first.
Whatever a pair does not give, its people are given one by one (edges.wanted_groups).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from azsyncd.model.changes import Change, Kind, Phase, Reason, Waiting, Withheld
from azsyncd.model.identities import ObjectId
from azsyncd.plan.desk import Desk
from azsyncd.plan.edges import Part
from azsyncd.plan.facts import WantedGroup

Pair = tuple[ObjectId, ObjectId]
"""(the group above, the group in it)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NestingFacts:
    """What is known of groups in groups.

    `asked`: directly so in Entra. `standing`: directly so in the product, and whether by us (None:
    not judged yet). `lost`: somebody else ended what was ours. `refused`: the product said no to
    the pair. `unsure`: groups that may not come to stand soon.
    """

    asked: Set[Pair] = frozenset()
    standing: Mapping[Pair, bool | None] = field(default_factory=dict)
    lost: Set[Pair] = frozenset()
    refused: Set[Pair] = frozenset()
    unsure: Set[ObjectId] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Nesting:
    """What follows. `passes`: by the group above, the groups whose people it has through them.
    `judged`: whose the pairs are that are seen for the first time."""

    passes: Mapping[ObjectId, frozenset[ObjectId]] = field(default_factory=dict)
    adds: frozenset[Pair] = frozenset()
    removes: frozenset[Pair] = frozenset()
    rings: frozenset[Pair] = frozenset()
    lost: frozenset[Pair] = frozenset()
    judged: Mapping[Pair, bool] = field(default_factory=dict)

    @property
    def passing(self) -> set[Pair]:
        """`passes` as pairs."""
        return {(above, below) for above, all_ in self.passes.items() for below in all_}

    def moved(self, now: Nesting) -> set[ObjectId]:
        """The lower groups of which something else is planned now."""
        pairs = (self.adds ^ now.adds) | (self.removes ^ now.removes)
        pairs |= (self.rings ^ now.rings) | (self.lost ^ now.lost)
        return {below for _, below in pairs}


FLAT = Nesting()


def nest(facts: NestingFacts, groups: Mapping[ObjectId, WantedGroup], *, keep: bool) -> Nesting:
    """Decide about all groups at once: rings concern more than two. `keep` False: nothing is to be
    nested, and what we nested before is to be undone."""

    def wanted(id_: ObjectId) -> bool:
        return id_ in groups and not groups[id_].emptied and not groups[id_].everybody

    def open_(id_: ObjectId) -> bool:
        return groups[id_].stands and groups[id_].blocked is None and id_ not in facts.unsure

    asked = {pair for pair in facts.asked if keep and all(map(wanted, pair))}
    there = _graph(set(facts.standing))
    passes: dict[ObjectId, set[ObjectId]] = {}
    for above, below in sorted(asked & set(facts.standing)):
        if not _leads(passes, below, above):  # no product shows a ring, but if one does
            passes.setdefault(above, set()).add(below)
    adds: set[Pair] = set()
    rings: set[Pair] = set()
    for above, below in sorted(asked - set(facts.standing)):
        if not (open_(above) and open_(below)):
            continue  # the group itself says why
        if _leads(there, below, above):
            rings.add((above, below))
            continue
        there.setdefault(above, set()).add(below)
        adds.add((above, below))
        if (above, below) not in facts.refused:
            passes.setdefault(above, set()).add(below)
    removes = {
        (above, below)
        for (above, below), ours in facts.standing.items()
        if ours and above in groups and (above, below) not in asked
        if groups[above].blocked is None
    }
    judged = {p: p in asked for p, ours in facts.standing.items() if keep and ours is None}
    return Nesting(
        passes={above: frozenset(all_) for above, all_ in passes.items()},
        adds=frozenset(adds),
        removes=frozenset(removes),
        rings=frozenset(rings),
        lost=frozenset(adds & facts.lost),
        judged=judged,
    )


def plan_nesting(
    group: ObjectId, nesting: Nesting, people: int, desk: Desk, names: Mapping[ObjectId, str]
) -> Part:
    """The changes of one group as the lower one. `people`: how many stand in it, and below it."""
    changes: list[Change] = []
    waiting: list[Waiting] = []

    def change(kind: Kind, above: ObjectId, reason: Reason, phase: Phase, rank: int) -> Change:
        return Change(
            kind=kind,
            reason=reason,
            object_id=group,
            group_id=above,
            phase=phase,
            rank=rank,
            people=max(1, people),
        )

    def wait(reason: Withheld, detail: str, hint: str, about: Change) -> None:
        waiting.append(
            Waiting(object_id=group, reason=reason, detail=detail, hint=hint, change=about)
        )

    for above, _ in sorted(pair for pair in nesting.adds | nesting.rings if pair[1] == group):
        name = names.get(above, above)
        by_hand = (above, group) in nesting.lost
        why = Reason.DRIFT if by_hand else Reason.NEW
        # Before the people: one write puts many of them where they belong.
        adding = change(Kind.ADD_CHILD, above, why, Phase.ADD, -1)
        if (above, group) in nesting.rings:
            detail = f"{name} would be in itself: groups stand in a ring, and no product takes that"
            hint = "its people are put into both; take one of the groups out of the other in Entra"
            wait(Withheld.UNSUPPORTED, detail, hint, adding)
        elif by_hand and desk.policy.drift == "report":
            detail = f"taken out of {name} by hand in the product"
            wait(Withheld.MODE, detail, "drift: report", adding)
        else:
            changes.append(adding)
    for above, _ in sorted(pair for pair in nesting.removes if pair[1] == group):
        left = group not in desk.groups or desk.groups[above].emptied
        why = Reason.LEFT_SCOPE if left else Reason.CHANGED
        # After the people: whoever goes on belonging into the upper group was put there before.
        removing = change(Kind.REMOVE_CHILD, above, why, Phase.REMOVE, 1)
        if desk.proof:
            changes.append(removing)
        else:
            detail = f"leaves {names.get(above, above)} when Entra has been read completely"
            wait(Withheld.INCOMPLETE_READ, detail, "", removing)
    return Part(tuple(changes), tuple(waiting))


def _graph(pairs: Set[Pair]) -> dict[ObjectId, set[ObjectId]]:
    found: defaultdict[ObjectId, set[ObjectId]] = defaultdict(set)
    for above, below in pairs:
        found[above].add(below)
    return dict(found)


def _leads(graph: Mapping[ObjectId, Set[ObjectId]], start: ObjectId, end: ObjectId) -> bool:
    """Whether one group is at or below another."""
    seen: set[ObjectId] = set()
    todo = [start]
    while todo:
        here = todo.pop()
        if here == end:
            return True
        if here not in seen:
            seen.add(here)
            todo.extend(graph.get(here, ()))
    return False
