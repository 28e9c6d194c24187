"""Which groups stand in which, and who is in a group through another one (decision 007)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from azsyncd.model.changes import Kind
from azsyncd.model.identities import ObjectId
from azsyncd.plan.desk import Desk
from azsyncd.plan.facts import WantedGroup
from azsyncd.plan.nesting import Nesting, NestingFacts, nest, plan_nesting
from azsyncd.plan.users import plan_user

from .making import CROWD, JIRA, STAFF, desk, left, linked, planned, policy

A, B, C, D = (ObjectId(f"g-{letter}") for letter in "abcd")
NAMES = {A: "a", B: "b", C: "c", D: "d"}
KEEP = policy(groups={"nested": "keep"})
INSIDE = {JIRA: frozenset({CROWD})}
"""`atl-crowd` stands in `atl-jira`."""


def wanted(*ids: ObjectId, **values: Any) -> dict[ObjectId, WantedGroup]:
    return {id_: WantedGroup(id_, NAMES[id_], **{"stands": True, **values}) for id_ in ids}


def pairs(*words: str) -> set[tuple[ObjectId, ObjectId]]:
    """`ab`: b is in a."""
    return {(ObjectId(f"g-{word[0]}"), ObjectId(f"g-{word[1]}")) for word in words}


def words(found: Any) -> list[str]:
    return sorted(above[-1] + below[-1] for above, below in found)


def nested(
    *asked: str, ours: str = "", foreign: str = "", new: str = "", keep: bool = True, **more: Any
) -> Nesting:
    """`ours`, `foreign`, `new` (not judged yet): what stands in the product, with blanks."""
    standing: dict[Any, bool | None] = dict.fromkeys(pairs(*ours.split()), True)
    standing |= dict.fromkeys(pairs(*foreign.split()), False)
    standing |= dict.fromkeys(pairs(*new.split()), None)
    groups = more.pop("groups", wanted(A, B, C, D))
    facts = NestingFacts(asked=pairs(*asked), standing=standing, **more)
    return nest(facts, groups, keep=keep)


@pytest.mark.parametrize(
    ("found", "adds", "removes", "passing"),
    [
        (nested("ab"), ["ab"], [], ["ab"]),
        (nested("ab", "bc"), ["ab", "bc"], [], ["ab", "bc"]),
        (nested("ab", ours="ab"), [], [], ["ab"]),
        (nested("ab", foreign="ab"), [], [], ["ab"]),
        (nested(ours="ab"), [], ["ab"], []),
        (nested(foreign="ab"), [], [], []),
        (nested(new="ab"), [], [], []),
        (nested("ab", ours="ab", keep=False), [], ["ab"], []),
        (nested("ab", keep=False), [], [], []),
    ],
)
def test_rule_21_a_child_group_is_ours_or_foreign_as_a_membership_is(
    found: Nesting, adds: list[str], removes: list[str], passing: list[str]
) -> None:
    assert words(found.adds) == adds
    assert words(found.removes) == removes
    assert words(found.passing) == passing


def test_rule_21_it_is_judged_when_it_is_first_seen() -> None:
    assert nested("ab", new="ab cd").judged == {(A, B): True, (C, D): False}
    assert nested("ab", new="ab cd", keep=False).judged == {}


@pytest.mark.parametrize(
    ("found", "adds", "rings"),
    [
        (nested("ab", "ba"), ["ab"], ["ba"]),
        (nested("ab", "bc", "ca"), ["ab", "bc"], ["ca"]),
        (nested("ab", "bc", "ca", ours="bc ca"), [], ["ab"]),  # what stands stays
        (nested("ab", foreign="bc ca"), [], ["ab"]),
        (nested("ab", ours="ba"), [], ["ab"]),  # until that is taken out
        (nested("ab", "ba", "cd", "dc"), ["ab", "cd"], ["ba", "dc"]),
    ],
)
def test_a_ring_is_opened_where_it_closes(
    found: Nesting, adds: list[str], rings: list[str]
) -> None:
    assert words(found.adds) == adds
    assert words(found.rings) == rings
    assert not set(words(found.passing)) & set(rings)


def test_a_ring_that_a_product_shows_cuts_nobody_off() -> None:
    """However that came to be: one of the two has its people itself."""
    assert words(nested("ab", "ba", ours="ab ba").passing) == ["ab"]


@pytest.mark.parametrize(
    "more",
    [
        {"groups": wanted(A)},
        {"groups": wanted(B)},
        {"groups": wanted(A) | wanted(B, blocked="protected")},
        {"groups": wanted(A, stands=False, blocked="conflict") | wanted(B)},
        {"groups": wanted(A, emptied=True) | wanted(B)},
        {"groups": wanted(A) | wanted(B, everybody=True)},
        {"unsure": {B}},
    ],
)
def test_nobody_relies_on_a_group_that_may_not_stand(more: dict[str, Any]) -> None:
    found = nested("ab", **more)
    assert (words(found.adds), words(found.passing), words(found.rings)) == ([], [], [])


def test_what_the_product_refused_is_tried_and_not_relied_on() -> None:
    found = nested("ab", refused=pairs("ab"))
    assert (words(found.adds), words(found.passing)) == (["ab"], [])


@pytest.mark.parametrize(
    ("groups", "removes"),
    [
        (wanted(A), ["ab"]),  # the lower one left the scope: its people may be others now
        (wanted(B), []),  # the upper one did: `groups.gone` decides
        (wanted(B) | wanted(A, emptied=True), ["ab"]),
        (wanted(B) | wanted(A, blocked="protected"), []),
        (wanted(A) | wanted(B, blocked="protected"), []),
    ],
)
def test_groups_that_leave_the_scope(
    groups: dict[ObjectId, WantedGroup], removes: list[str]
) -> None:
    assert words(nested("ab", ours="ab", groups=groups).removes) == removes


# The changes ------------------------------------------------------------------------------------


def told(group: ObjectId, found: Nesting, on: Desk | None = None, people: int = 0) -> list[str]:
    part = plan_nesting(group, found, people, on or desk(KEEP, groups=wanted(A, B, C, D)), NAMES)
    said = [f"{c.kind} {c.reason} {NAMES[c.group_id or A]} x{c.people}" for c in part.changes]
    return said + [f"? {w.change.kind if w.change else '-'} {w.reason}" for w in part.waiting]


def test_a_group_goes_into_a_group_and_out_again() -> None:
    assert told(B, nested("ab")) == ["add_child new a x1"]
    assert told(A, nested("ab")) == []
    assert told(B, nested("ab", lost=pairs("ab")), people=7) == ["add_child drift a x7"]
    assert told(B, nested(ours="ab"), people=7) == ["remove_child changed a x7"]
    gone = nested("ab", ours="ab", groups=wanted(A))
    assert told(B, gone, desk(KEEP, groups=wanted(A))) == ["remove_child left_scope a x1"]


def test_rule_02_no_child_group_is_removed_before_a_complete_crawl() -> None:
    on = desk(KEEP, groups=wanted(A, B), proof=False)
    assert told(B, nested(ours="ab"), on) == ["? remove_child incomplete_read"]
    assert told(B, nested("ab"), on) == ["add_child new a x1"]


def test_rule_22_what_was_ended_by_hand_may_only_be_reported() -> None:
    on = desk(policy(groups={"nested": "keep"}, drift="report"), groups=wanted(A, B))
    assert told(B, nested("ab", lost=pairs("ab")), on) == ["? add_child mode"]


def test_a_ring_is_listed() -> None:
    assert told(A, nested("ab", "ba")) == ["? add_child unsupported"]


def test_rule_27_child_groups_come_before_people_and_go_after_them() -> None:
    on = desk(KEEP, groups=wanted(A, B, C))
    [adding] = plan_nesting(B, nested("ab"), 1, on, NAMES).changes
    [removing] = plan_nesting(B, nested(ours="ab"), 1, on, NAMES).changes
    known = linked(None, JIRA, edges={CROWD: True})
    joins, parts = sorted(plan_user(known, desk()).changes, key=lambda change: change.phase)
    assert (joins.kind, parts.kind) == (Kind.ADD_MEMBER, Kind.REMOVE_MEMBER)
    assert sorted([removing, parts, joins, adding], key=lambda change: change.order) == [
        adding, joins, parts, removing,
    ]  # fmt: skip


# Whoever is in them -----------------------------------------------------------------------------


ON = desk(KEEP, passes=INSIDE)


def hers(*direct: ObjectId, edges: dict[ObjectId, bool | None] | None = None) -> Any:
    """Ana is in `atl-crowd`, and so in `atl-jira`; `direct`: those that she is in herself."""
    above = frozenset({STAFF, JIRA, CROWD})
    return linked(None, above=above, direct=frozenset({STAFF, *direct}), edges=edges)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (hers(CROWD), ["add_member new crowd"]),
        (hers(CROWD, JIRA), ["add_member new jira", "add_member new crowd"]),
        (hers(), ["add_member new crowd"]),  # through a group that is not written
        (hers(CROWD, edges={CROWD: True}), []),
        (hers(CROWD, edges={CROWD: True, JIRA: True}), ["remove_member changed jira"]),
        (hers(CROWD, edges={CROWD: True, JIRA: None}), ["remove_member changed jira"]),
        (hers(CROWD, edges={CROWD: True, JIRA: False}), []),
        (hers(CROWD, JIRA, edges={CROWD: True, JIRA: True}), []),
    ],
)
def test_people_are_put_where_no_child_group_has_them(known: Any, expected: list[str]) -> None:
    assert planned(known, ON) == expected


def test_rule_21_a_membership_that_is_replaced_is_ours() -> None:
    known = hers(CROWD, edges={CROWD: True, JIRA: None})
    assert plan_user(known, ON).judged == {JIRA: True}


def test_without_child_groups_it_is_flattened() -> None:
    assert planned(hers(CROWD), desk(KEEP)) == ["add_member new jira", "add_member new crowd"]


@pytest.mark.parametrize(
    ("edges", "expected"), [({}, ["add_member new jira"]), ({CROWD: True}, [])]
)
def test_nobody_comes_through_a_group_that_nobody_can_be_put_into(
    edges: dict[ObjectId, bool | None], expected: list[str]
) -> None:
    """But whoever is in it does."""
    blocked = {**ON.groups, CROWD: replace(ON.groups[CROWD], blocked="read-only")}
    assert planned(hers(CROWD, edges=edges), replace(ON, groups=blocked)) == expected


def test_rule_33_a_leavers_replaced_membership_is_frozen() -> None:
    """An explicit removal is one in Entra."""
    gone = left(JIRA, CROWD, edges={JIRA: True, CROWD: True})
    assert planned(gone, ON) == ["deactivate left_scope"]
    out = left(CROWD, edges={JIRA: True, CROWD: True})
    assert "remove_member changed jira" in planned(out, ON)
