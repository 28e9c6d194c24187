"""Memberships of one user: rules 21, 31 and 33."""

from dataclasses import replace

import pytest

from azsyncd.model.identities import ObjectId
from azsyncd.model.links import Edge
from azsyncd.plan.facts import Standing, WantedGroup
from azsyncd.plan.users import plan_user
from azsyncd.targets.memory import ABLE

from .making import CROWD, HERS, JIRA, STAFF, desk, facts, left, linked, planned, policy

KEEP = policy(accounts={"leavers": "strip_groups"})
REMOVE = policy(groups={"foreign_members": "remove"})
BLOCKED = {JIRA: WantedGroup(JIRA, "atl-jira", stands=True, blocked="protected")}


@pytest.mark.parametrize(
    ("ours", "wanted", "expected"),
    [
        (None, True, []),  # it is judged ours
        (None, False, []),  # it is judged foreign
        (True, True, []),
        (True, False, ["remove_member changed jira"]),
        (False, True, []),
        (False, False, []),
    ],
)
def test_rule_21_ours_not_wanted_is_removed_foreign_is_kept(
    ours: bool | None, wanted: bool, expected: list[str]
) -> None:
    known = linked(None, *([JIRA] if wanted else []), edges={JIRA: ours})
    assert planned(known) == expected
    assert plan_user(known, desk()).judged == ({JIRA: wanted} if ours is None else {})


def test_rule_21_wanted_and_absent_is_added() -> None:
    assert planned(linked(None, JIRA)) == ["add_member new jira"]
    assert planned(facts(None, JIRA)) == ["create new", "add_member new jira"]


def test_rule_21_foreign_members_are_removed_if_so_configured() -> None:
    known = linked(None, edges={JIRA: False, CROWD: None})
    assert planned(known, desk(REMOVE)) == [
        "remove_member drift jira",
        "remove_member drift crowd",
    ]


def test_rule_21_an_inherited_membership_is_not_tried_again() -> None:
    for known in (
        replace(linked(), edges={JIRA: Edge(JIRA, True, inherited=True)}),
        replace(linked(), edges={JIRA: Edge(JIRA, False, inherited=True)}),
    ):
        told = planned(known, desk(REMOVE))
        assert told == ["? remove_member unsupported"]
    shut = replace(left(), edges={JIRA: Edge(JIRA, True, inherited=True)})
    assert planned(shut, desk(KEEP)) == []


def test_rule_02_no_removal_before_a_complete_crawl() -> None:
    known = linked(None, edges={JIRA: True})
    assert planned(known, desk(proof=False)) == ["? remove_member incomplete_read"]
    adds = linked(None, CROWD, edges={JIRA: True})
    assert planned(adds, desk(proof=False))[0] == "add_member new crowd"


def test_a_group_that_is_blocked_is_not_written_to_in_any_way() -> None:
    on = desk(REMOVE, groups=BLOCKED)
    assert planned(linked(None, JIRA), on) == []
    for ours in (True, False):
        assert planned(linked(None, edges={JIRA: ours}), on) == []
    strip = desk(KEEP, groups=BLOCKED)
    assert planned(left(JIRA, edges={JIRA: True}), strip) == []
    assert planned(left(edges={JIRA: True}), strip) == []


def test_a_group_of_another_scope_is_nobodys_business_here() -> None:
    on = desk(KEEP, groups={})
    assert planned(linked(None, JIRA, edges={JIRA: True}), on) == []
    assert planned(left(JIRA, edges={JIRA: True}), on) == []


def test_a_group_that_does_not_stand_gets_nobody() -> None:
    groups = {JIRA: WantedGroup(JIRA, "atl-jira", stands=False)}
    assert planned(linked(None, JIRA), desk(groups=groups)) == []


def test_gone_empty_takes_what_is_ours_out() -> None:
    groups = {JIRA: WantedGroup(JIRA, "atl-jira", stands=True, emptied=True)}
    assert planned(linked(None, JIRA, edges={JIRA: True}), desk(groups=groups)) == [
        "remove_member left_scope jira"
    ]
    for ours in (False, None):
        assert planned(linked(None, JIRA, edges={JIRA: ours}), desk(groups=groups)) == []


def test_nested_groups_count_or_do_not() -> None:
    deep = linked(None, above=frozenset({STAFF, JIRA, CROWD}), direct=frozenset({STAFF, CROWD}))
    assert planned(deep) == ["add_member new jira", "add_member new crowd"]
    flat = desk(policy(groups={"nested": "ignore"}))
    assert planned(deep, flat) == ["add_member new crowd"]


@pytest.mark.parametrize(
    "known",
    [linked(None, JIRA), linked(None, edges={JIRA: True}), left(JIRA, edges={JIRA: True})],
)
def test_a_product_whose_memberships_cannot_be_written(known: object) -> None:
    able = replace(ABLE, writes_members=False)
    told = planned(known, desk(KEEP, able=able))  # type: ignore[arg-type]
    assert [words.split()[0] for words in told] == ["?"]
    assert told[0].endswith("unsupported")


def test_rule_20_what_would_be_adopted_brings_its_memberships() -> None:
    standing = Standing(HERS, edges={JIRA: Edge(JIRA, None), CROWD: Edge(CROWD, None)})
    plan = plan_user(facts(None, JIRA, under_name=standing), desk())
    assert [change.kind for change in plan.changes] == ["adopt"]
    assert plan.judged == {JIRA: True, CROWD: False}


def test_default_groups_are_for_everybody_who_is_synced_and_leavers_keep_them() -> None:
    users = ObjectId("own:users")
    groups = {users: WantedGroup(users, "users", stands=True, everybody=True)}
    on = desk(groups=groups, everybody=frozenset({users}))
    for known in (linked(), facts()):
        assert planned(known, on)[-1] == "add_member new ?"
    assert planned(linked(edges={users: True}), on) == []
    gone = left(edges={users: True})
    assert planned(gone, on) == ["deactivate left_scope"]
    strips = desk(KEEP, groups=groups, everybody=frozenset({users}))
    assert planned(gone, strips) == ["remove_member left_scope ?"]
    emptied = {users: WantedGroup(users, "users", stands=True, everybody=True, emptied=True)}
    assert planned(linked(edges={users: True}), desk(groups=emptied)) == [
        "remove_member left_scope ?"
    ]
