"""One group: the table of plan/groups.py, and rules 12, 16, 19, 24 and 31."""

from dataclasses import replace

import pytest

from azsyncd.model.accounts import TargetGroup
from azsyncd.model.changes import Kind, Reason, Withheld
from azsyncd.model.identities import Group, ObjectId, Presence
from azsyncd.plan.facts import OWN, GroupFacts, GroupStanding, WantedGroup
from azsyncd.plan.groups import GroupPlan, plan_group, plan_own
from azsyncd.plan.policy import Entry, GroupScope, Policy, Scope, UserScope
from azsyncd.targets.memory import ABLE

from .making import (
    BEN_ID,
    CROWD,
    JIRA,
    THERE,
    desk,
    group,
    group_facts,
    group_link,
    linked_group,
    policy,
)  # fmt: skip

OUT = group("other")
DELETED = replace(group(), presence=Presence.SOFT_DELETED)
ADMINS = replace(ABLE, admin_groups=frozenset({"atl-jira"}))
UNWRITABLE = replace(THERE, writable=False)


def told(known: GroupFacts, rules: Policy | None = None, **rest: object) -> list[str]:
    plan = plan_group(known, desk(rules, **rest))  # type: ignore[arg-type]
    return words(plan)


def words(plan: GroupPlan) -> list[str]:
    changes = [f"{change.kind} {change.reason}" for change in plan.changes]
    return changes + [f"? {each.reason}" for each in plan.waiting]


def wanted(known: GroupFacts, rules: Policy | None = None, **rest: object) -> WantedGroup | None:
    return plan_group(known, desk(rules, **rest)).wanted  # type: ignore[arg-type]


def where(expression: str, *, exclude: str = "") -> Policy:
    return policy(
        scope=Scope(
            users=UserScope(everybody=True),
            groups=GroupScope(
                include=(Entry(where=expression),), exclude=(exclude,) if exclude else ()
            ),
        )
    )


def test_not_there_is_created() -> None:
    assert told(group_facts()) == ["create_group new"]
    assert wanted(group_facts()) == WantedGroup(JIRA, "atl-jira", stands=True)


def test_there_and_nobodys_is_adopted() -> None:
    assert told(group_facts(under_name=GroupStanding(THERE))) == ["adopt_group adopted"]


@pytest.mark.parametrize(
    ("known", "rules", "expected"),
    [
        (group_facts(), {"create": False}, "? not_owned"),
        (group_facts(under_name=GroupStanding(THERE)), {"adopt": False}, "? not_owned"),
        (group_facts(under_name=GroupStanding(THERE, owner=CROWD)), {}, "? conflict"),
        (group_facts(rivals=(CROWD,)), {}, "? conflict"),
        (group_facts(under_name=GroupStanding(UNWRITABLE)), {}, "? read_only"),
        (group_facts(group("atl-\x07")), {}, "? invalid_value"),
    ],
)
def test_what_cannot_be_had_blocks_its_members(
    known: GroupFacts, rules: dict[str, bool], expected: str
) -> None:
    assert told(known, policy(groups=rules)) == [expected]
    found = wanted(known, policy(groups=rules))
    assert found is None or (not found.stands and found.blocked)


def test_rule_19_a_group_that_somebody_deleted_is_created_again_like_a_new_one() -> None:
    missing = linked_group(standing=None)
    assert told(missing) == ["create_group drift"]
    assert told(missing, policy(drift="report")) == ["? mode"]
    assert told(missing, policy(groups={"create": False})) == ["? not_owned"]
    assert told(replace(missing, rivals=(CROWD,))) == ["? conflict"]
    assert told(missing, able=replace(ABLE, creates_groups=False)) == ["? unsupported"]
    back = replace(missing, under_name=GroupStanding(THERE))
    assert told(back) == ["adopt_group adopted"]
    assert told(missing, able=ADMINS) == ["? protected"]


def test_rule_31_a_renamed_group_keeps_its_name_and_goes_on() -> None:
    known = linked_group(group("atl-new"))
    assert told(known) == ["? unsupported"]
    assert wanted(known) == WantedGroup(JIRA, "atl-jira", stands=True)
    assert told(linked_group(group("ATL-Jira"))) == []


def test_rule_12_a_linked_group_is_followed_by_id() -> None:
    known = linked_group(OUT, followed=True)
    assert wanted(known) == WantedGroup(JIRA, "atl-jira", stands=True)
    assert wanted(linked_group(OUT)) is None
    assert wanted(linked_group(replace(DELETED), followed=True)) is None


def test_rule_12_a_group_renamed_into_the_scope_is_a_hold() -> None:
    renamed = group_facts(former_name="party")
    assert plan_group(renamed, desk()).hold
    assert not plan_group(group_facts(former_name="atl-old"), desk()).hold
    assert not plan_group(group_facts(), desk()).hold


@pytest.mark.parametrize("presence", list(Presence))
def test_rule_09_an_excluded_group_is_left_exactly_as_it_is(presence: Presence) -> None:
    rules = where("true", exclude="atl-jira").model_copy(
        update={"groups": policy(groups={"gone": "delete"}).groups}
    )
    known = linked_group(replace(group(), presence=presence))
    assert told(known, rules) == ["? excluded"]
    assert wanted(known, rules) is None
    assert told(group_facts(), rules) == []


def test_rule_13_a_group_that_nobody_can_judge_is_frozen() -> None:
    rules = where("group.description.startswith('x')")
    known = linked_group(group(description=None))
    assert told(known, rules) == ["? undecided"]
    found = wanted(known, rules)
    assert found is not None and found.stands and found.blocked
    assert wanted(group_facts(group(description=None)), rules) is None


def test_rule_15_a_linked_group_without_a_legal_name_goes_on_under_the_one_that_it_has() -> None:
    known = linked_group(group("atl-\x07"))
    assert told(known) == ["? invalid_value"]
    assert wanted(known) == WantedGroup(JIRA, "atl-jira", stands=True)


def test_rule_24_administrators_groups_are_protected_unless_allowed() -> None:
    for known in (group_facts(), linked_group(), group_facts(under_name=GroupStanding(THERE))):
        assert told(known, able=ADMINS) == ["? protected"]
        found = wanted(known, able=ADMINS)
        assert found is not None and found.blocked
    assert told(linked_group(), policy(protect={"allow": ("ATL-*",)}), able=ADMINS) == []
    assert told(linked_group(), policy(protect={"groups": ("atl-*",)})) == ["? protected"]
    licence = replace(ABLE, licence_groups=frozenset({"atl-jira"}))
    assert told(linked_group(), able=licence) == []


def test_rule_24_a_protected_group_stays_frozen_whatever_else_is_wrong_with_it() -> None:
    found = wanted(linked_group(group("atl-\x07")), able=ADMINS)
    assert found is not None and found.blocked


def test_a_read_only_group_is_not_written_to() -> None:
    known = linked_group(standing=UNWRITABLE)
    assert told(known) == ["? read_only"]
    found = wanted(known)
    assert found is not None and found.blocked


@pytest.mark.parametrize(
    ("of", "gone", "expected"),
    [
        (OUT, "keep", []),
        (OUT, "empty", []),
        (OUT, "delete", ["delete_group left_scope"]),
        (DELETED, "delete", ["delete_group deleted"]),
    ],
)
def test_a_group_that_left_the_scope(of: object, gone: str, expected: list[str]) -> None:
    rules = policy(groups={"gone": gone})
    known = linked_group(of)  # type: ignore[arg-type]
    assert told(known, rules) == expected
    found = wanted(known, rules)
    assert (found is not None and found.emptied) == (gone == "empty")


def test_a_group_that_left_the_scope_and_may_not_be_touched() -> None:
    delete, empty = policy(groups={"gone": "delete"}), policy(groups={"gone": "empty"})
    for rules in (delete, empty):
        assert told(linked_group(OUT), rules, able=ADMINS) == ["? protected"]
        assert told(linked_group(OUT, UNWRITABLE), rules) == ["? read_only"]
        assert told(linked_group(OUT, None), rules) == []
        assert told(group_facts(OUT, under_name=GroupStanding(THERE)), rules) == []
    assert told(linked_group(OUT), delete, able=replace(ABLE, deletes_groups=False)) == [
        "? unsupported"
    ]


def test_rule_02_a_group_left_the_scope_only_if_entra_was_read_completely() -> None:
    delete = policy(groups={"gone": "delete"})
    assert told(linked_group(OUT), delete, proof=False) == ["? incomplete_read"]
    assert told(linked_group(DELETED), delete, proof=False) == ["delete_group deleted"]


def test_the_description_goes_along() -> None:
    plan = plan_group(group_facts(group(description="For Jira")), desk())
    after = plan.changes[0].after
    assert isinstance(after, TargetGroup) and after.description == "For Jira"


# Groups of the product's own --------------------------------------------------------------------

USERS = ObjectId(OWN + "users")
DEFAULT = policy(groups={"default": ("Users",)})


def own(**rest: object) -> GroupFacts:
    return group_facts(Group(USERS, {"displayName": "Users"}), **rest)


def test_a_default_group_is_created_or_taken_over_and_everybody_belongs_in() -> None:
    strict = policy(groups={"default": ("Users",), "adopt": False})
    stands = GroupStanding(TargetGroup(name="users", key="users"))
    for facts_, on, kind in (
        (own(), DEFAULT, Kind.CREATE_GROUP),
        (own(under_name=stands), DEFAULT, Kind.ADOPT_GROUP),
        (own(under_name=stands), strict, Kind.ADOPT_GROUP),  # it is named: that says enough
    ):
        plan = plan_own(facts_, desk(on))
        assert [change.kind for change in plan.changes] == [kind]
        assert plan.wanted is not None and plan.wanted.everybody and plan.wanted.stands
    absent = policy(groups={"default": ("Users",), "create": False})
    plan = plan_own(own(), desk(absent))
    assert [waits.reason for waits in plan.waiting] == [Withheld.NOT_OWNED]
    assert plan.wanted is not None and plan.wanted.blocked


def test_rule_24_administrators_and_protected_groups_are_no_default() -> None:
    for on in (
        desk(DEFAULT, able=replace(ABLE, admin_groups=frozenset({"users"}))),
        desk(
            policy(groups={"default": ("Users",)}, protect={"allow": ("*",)}),
            able=replace(ABLE, admin_groups=frozenset({"users"})),
        ),
        desk(policy(groups={"default": ("Users",)}, protect={"groups": ("use*",)})),
    ):
        plan = plan_own(own(), on)
        assert [waits.reason for waits in plan.waiting] == [Withheld.PROTECTED]
        assert plan.wanted is None or plan.wanted.blocked


@pytest.mark.parametrize(
    ("gone", "emptied", "kinds"),
    [("keep", None, []), ("empty", True, []), ("delete", None, [Kind.DELETE_GROUP])],
)
def test_a_default_group_that_left_the_file_goes_the_way_of_gone(
    gone: str, emptied: bool | None, kinds: list[Kind]
) -> None:
    standing = TargetGroup(name="users", key="users")
    link = replace(group_link(standing), object_id=USERS)
    plan = plan_own(own(link=link, standing=standing), desk(policy(groups={"gone": gone})))
    assert (plan.wanted and plan.wanted.emptied) == emptied
    assert [change.kind for change in plan.changes] == kinds


MOVES = policy(groups={"on_rename": "new_group"})
RENAMED = group("atl-new")


def test_rule_31_on_request_a_renamed_group_moves_to_another_group() -> None:
    plan = plan_group(linked_group(RENAMED), desk(MOVES))
    assert plan.leaves and plan.takes_over is None
    assert [(c.kind, c.reason) for c in plan.changes] == [(Kind.CREATE_GROUP, Reason.CHANGED)]
    stands = GroupStanding(TargetGroup(name="atl-new", key="atl-new"))
    plan = plan_group(linked_group(RENAMED, under_name=stands), desk(MOVES))
    assert plan.leaves and [c.kind for c in plan.changes] == [Kind.ADOPT_GROUP]


def test_rule_31_it_comes_back_to_the_group_that_it_had() -> None:
    once = GroupStanding(TargetGroup(name="atl-new", key="atl-new"), ObjectId(OWN + "atl-new"))
    plan = plan_group(linked_group(RENAMED, under_name=once), desk(MOVES))
    assert plan.leaves and plan.takes_over == once.owner and not plan.changes
    listed = policy(groups={"on_rename": "new_group", "default": ("ATL-new",)})
    plan = plan_group(linked_group(RENAMED, under_name=once), desk(listed))
    assert not plan.leaves and [w.reason for w in plan.waiting] == [Withheld.CONFLICT]


def test_rule_31_while_the_new_name_cannot_be_had_the_old_group_goes_on() -> None:
    for facts_ in (
        linked_group(RENAMED, rivals=(BEN_ID,)),
        linked_group(
            RENAMED,
            under_name=GroupStanding(TargetGroup(name="atl-new", key="atl-new"), CROWD),
        ),
    ):
        plan = plan_group(facts_, desk(MOVES))
        assert not plan.leaves and not plan.changes
        assert plan.wanted is not None and plan.wanted.name == "atl-jira"
        assert plan.wanted.blocked is None
        assert [w.reason for w in plan.waiting] == [Withheld.CONFLICT]
