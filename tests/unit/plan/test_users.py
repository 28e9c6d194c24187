"""The decision table, row by row, and the rules about one user's account."""

from dataclasses import replace

import pytest

from azsyncd.model.accounts import Account, Capabilities, Mark
from azsyncd.model.changes import Kind, Phase
from azsyncd.model.identities import ObjectId, Presence, User
from azsyncd.model.links import LinkState, Origin
from azsyncd.plan.facts import NameFacts, Standing, UserFacts
from azsyncd.plan.policy import Stage
from azsyncd.plan.users import plan_user
from azsyncd.targets.memory import ABLE

from .making import (
    ANA_ID,
    BEN_ID,
    CROWD,
    DAY,
    HERS,
    INSTANCE,
    JIRA,
    NOW,
    STAFF,
    desk,
    facts,
    left,
    link,
    linked,
    planned,
    policy,
    user,
)

DISABLED = user(accountEnabled=False)
SOFT = replace(user(), presence=Presence.SOFT_DELETED)
PURGED = replace(user(), presence=Presence.PURGED)
INACTIVE = replace(HERS, active=False)
REPORT = policy(drift="report")

# The decision table -----------------------------------------------------------------------------


def test_wanted_and_not_there_is_created() -> None:
    assert planned(facts()) == ["create new"]


def test_wanted_linked_and_gone_is_created_again_under_the_same_link() -> None:
    missing = facts(link=link(None, written=HERS))
    assert planned(missing) == ["create drift"]


def test_rule_22_whose_account_was_tidied_up_while_she_was_away_gets_it_again() -> None:
    """It is no drift, and she has left until it stands: also with `drift: report`."""
    missing = link(None, written=HERS)
    assert planned(facts(link=missing), desk(REPORT)) == ["? create mode"]
    back = facts(link=replace(missing, left_at=NOW - DAY))
    assert planned(back, desk(REPORT)) == ["create returned"]
    assert plan_user(back, desk(REPORT)).leaver is None


def test_wanted_linked_gone_and_standing_again_is_taken_back() -> None:
    again = Standing(replace(HERS, key="A2"))
    found = facts(link=link(None, written=HERS), under_name=again)
    assert planned(found) == ["adopt adopted"]


def test_wanted_and_standing_is_adopted_then_updated() -> None:
    standing = Standing(replace(HERS, display_name="A."))
    assert planned(facts(under_name=standing)) == ["adopt adopted", "update adopted"]


def test_two_matches_are_a_conflict() -> None:
    two = (Standing(replace(HERS, key="A1")), Standing(replace(HERS, key="A2")))
    known = facts(names=NameFacts(under_mail=two))
    assert planned(known, desk(policy(accounts={"adopt": "email"}))) == ["? - conflict"]


def test_another_name_is_a_rename() -> None:
    old = replace(HERS, username="anna@x.org")
    assert planned(linked(account=old)) == ["rename changed"]


def test_rule_31_who_cannot_be_renamed_goes_on_being_synced() -> None:
    old = replace(HERS, username="anna@x.org", display_name="Anna")
    able = replace(ABLE, renames_accounts=False)
    assert planned(linked(None, JIRA, account=old), desk(able=able)) == [
        "update changed",
        "add_member new jira",
        "? rename unsupported",
    ]


@pytest.mark.parametrize(
    ("account", "expected"),
    [
        (replace(HERS, display_name="Anna"), ["update changed"]),
        (replace(HERS, email="old@x.org"), ["update changed"]),
        (replace(HERS, email="ANA@x.org"), []),
        (replace(HERS, username="ANA@X.ORG"), []),
        (replace(HERS, display_name=None), []),
    ],
)
def test_other_values_are_an_update(account: Account, expected: list[str]) -> None:
    assert planned(linked(account=account)) == expected


def test_disabled_is_deactivated_before_everything_else() -> None:
    plan = plan_user(linked(DISABLED), desk())
    assert [(c.kind, c.reason, c.phase) for c in plan.changes] == [
        ("deactivate", "disabled", Phase.BLOCK)
    ]


def test_enabled_again_is_reactivated() -> None:
    ours = link(INACTIVE, deactivated=True)
    assert planned(linked(account=INACTIVE, link=ours)) == ["reactivate changed"]


def test_a_leaver_is_deactivated() -> None:
    assert planned(left()) == ["deactivate left_scope"]
    assert planned(linked(SOFT)) == ["deactivate deleted"]


def test_not_wanted_and_not_linked_is_never_touched() -> None:
    standing = Standing(HERS)
    gone = facts(above=frozenset(), direct=frozenset(), under_name=standing)
    assert planned(gone) == []
    assert planned(facts(SOFT, under_name=standing)) == []


def test_pending_waits_until_it_is_settled() -> None:
    pending = link(None, state=LinkState.PENDING, sent=HERS)
    assert planned(facts(link=pending)) == []
    assert planned(left(account=None, link=pending)) == []


# Reading ----------------------------------------------------------------------------------------


def test_rule_02_absence_waits_for_a_complete_crawl() -> None:
    assert planned(left(), desk(proof=False)) == ["? - incomplete_read"]
    assert planned(linked(DISABLED), desk(proof=False)) == ["deactivate disabled"]
    assert planned(linked(SOFT), desk(proof=False)) == ["deactivate deleted"]


@pytest.mark.parametrize(
    ("doubt", "waits"),
    [
        ({"proof": False}, "incomplete_read"),
        ({"uncertain": "members_of (name: staff) matches none now"}, "undecided"),
    ],
)
def test_rule_02_who_is_disabled_is_shut_out_whatever_her_scope_waits_for(
    doubt: dict[str, object], waits: str
) -> None:
    rules = desk(stages((30, "strip_groups"), (60, "deactivate")), **doubt)  # type: ignore[arg-type]
    known = left(who=DISABLED, edges={JIRA: True})
    assert planned(known, rules) == ["deactivate disabled", f"? - {waits}"]
    hers = desk(policy(protect={"users": ("ana@*",)}), **doubt)  # type: ignore[arg-type]
    assert "deactivate disabled" not in planned(known, hers)


def test_rule_09_who_may_be_excluded_is_left_as_she_is() -> None:
    known = dict(DISABLED.properties)
    del known["userPrincipalName"]
    scope = policy().scope
    users = scope.users.model_copy(update={"exclude": ("ben@x.org",)})
    rules = policy(scope=scope.model_copy(update={"users": users}))
    assert planned(linked(replace(DISABLED, properties=known)), desk(rules)) == ["? - undecided"]


def test_rule_05_an_unread_property_decides_nothing() -> None:
    known = dict(user().properties)
    del known["displayName"]
    assert planned(linked(replace(user(), properties=known))) == ["? - undecided"]
    assert planned(facts(replace(user(), properties={}))) == ["? - undecided"]


def test_rule_06_nothing_is_removed_of_a_restored_user_before_her_groups_are_verified() -> None:
    known = left(verified=False, edges={JIRA: True})
    assert planned(known) == ["? - incomplete_read"]
    stays = linked(None, verified=False, edges={JIRA: True})
    assert planned(stays) == ["? remove_member incomplete_read"]


def test_rule_09_an_excluded_user_is_left_exactly_as_she_is() -> None:
    scope = policy().scope
    users = scope.users.model_copy(update={"exclude": ("ana@x.org",)})
    rules = policy(scope=scope.model_copy(update={"users": users}))
    for known in (linked(DISABLED), linked(SOFT), left(edges={JIRA: True})):
        assert planned(known, desk(rules)) == ["? - excluded"]
    assert planned(facts(), desk(rules)) == []


def test_rule_11_a_doubtful_scope_removes_nobody() -> None:
    doubt = desk(uncertain="members_of (name: staff) matches none now")
    assert planned(left(edges={JIRA: True}), doubt) == ["? - undecided"]
    stranger = facts(above=frozenset(), direct=frozenset())
    assert planned(stranger, doubt) == []


def test_rule_13_a_failing_rule_keeps_what_she_has() -> None:
    rules = policy(accounts={"active": "user.department.startswith('x')"})
    assert planned(linked(user(department=None), edges={JIRA: True}), desk(rules)) == [
        "? - undecided"
    ]


def test_rule_14_an_empty_name_is_invalid_but_a_disabled_user_is_shut_out_all_the_same() -> None:
    assert planned(linked(user(displayName=None))) == ["? - invalid_value"]
    shut = planned(linked(user(displayName=None, accountEnabled=False)))
    assert shut == ["deactivate disabled", "? - invalid_value"]


# Whose account it is ----------------------------------------------------------------------------


def test_rule_17_nobody_gets_an_account_that_would_be_inactive() -> None:
    assert planned(facts(DISABLED)) == []
    assert planned(facts(DISABLED, link=link(None, written=HERS))) == []


def test_rule_17_an_existing_one_is_adopted_and_then_deactivated() -> None:
    plan = plan_user(facts(DISABLED, under_name=Standing(HERS)), desk())
    ordered = sorted(plan.changes, key=lambda change: change.order)
    assert [change.kind for change in ordered] == [Kind.ADOPT, Kind.DEACTIVATE]


def test_rule_22_drift_compares_with_what_we_last_wrote() -> None:
    by_hand = linked(account=replace(HERS, display_name="Anna"), link=link(HERS))
    assert planned(by_hand) == ["update drift"]
    assert planned(by_hand, desk(REPORT)) == ["? update mode"]
    renamed = linked(account=replace(HERS, username="a@x.org"), link=link(HERS))
    assert planned(renamed) == ["rename drift"]
    assert planned(renamed, desk(REPORT)) == ["? rename mode"]
    deleted = facts(link=link(None, written=HERS))
    assert planned(deleted, desk(REPORT)) == ["? create mode"]


def test_rule_22_what_somebody_locked_by_hand_stays_locked_if_drift_is_reported() -> None:
    locked = linked(account=INACTIVE, link=link(HERS))
    assert planned(locked, desk(REPORT)) == ["? reactivate blocked"]
    assert planned(locked) == ["reactivate drift"]


def test_rule_22_what_a_product_does_not_show_is_what_we_wrote() -> None:
    blind = replace(HERS, email=None, active=None)
    assert planned(linked(account=blind, link=link(HERS))) == []
    assert planned(linked(DISABLED, account=blind, link=link(HERS))) == ["deactivate disabled"]
    shut = link(HERS, deactivated=True)
    assert planned(linked(DISABLED, account=blind, link=shut)) == []
    assert planned(linked(account=blind, link=shut)) == ["reactivate changed"]


def test_rule_23_who_is_hired_again_takes_the_old_account_with_its_lock_over() -> None:
    old = Standing(INACTIVE, owner=BEN_ID, gone="purged", deactivated=True)
    plan = plan_user(facts(under_name=old), desk(REPORT))
    assert [change.kind for change in plan.changes] == [Kind.ADOPT, Kind.REACTIVATE]
    assert plan.takes_over == BEN_ID


def test_rule_24_protected_accounts_are_never_written_to() -> None:
    named = desk(policy(protect={"users": ("ANA@*",)}))
    own = desk(signed_in_as=frozenset({"ana@x.org"}))
    for on in (named, own):
        assert planned(facts(), on) == ["? - protected"]
        assert planned(linked(DISABLED), on) == ["? - protected"]
        assert planned(left(edges={JIRA: True}), on) == ["? - protected"]


def test_rule_24_the_last_administrator_stays() -> None:
    rules = desk(policy(accounts={"leavers": "delete"}))
    assert planned(linked(DISABLED, last_admin=True)) == ["? deactivate protected"]
    assert planned(left(last_admin=True), rules) == [
        "? deactivate protected",
        "? delete protected",
    ]
    assert planned(left(last_admin=False), rules) == ["deactivate left_scope", "delete left_scope"]


@pytest.mark.parametrize("who", [DISABLED, user(displayName="Anna")])
def test_read_only_directories_are_left_alone(who: object) -> None:
    locked = replace(HERS, writable=False)
    told = planned(linked(who, account=locked, link=link(locked)))  # type: ignore[arg-type]
    assert [words.split()[-1] for words in told] == ["read_only"]
    asleep = replace(locked, active=False)
    assert planned(linked(account=asleep, link=link(asleep, deactivated=True))) == [
        "? reactivate read_only"
    ]


@pytest.mark.parametrize(
    ("ability", "known", "expected"),
    [
        ("creates_accounts", facts(), "? create unsupported"),
        ("updates_accounts", linked(user(displayName="B")), "? update unsupported"),
        ("deactivates_accounts", linked(DISABLED), "? deactivate unsupported"),
    ],
)
def test_what_a_product_cannot_do_is_said(ability: str, known: object, expected: str) -> None:
    able: Capabilities = replace(ABLE, **{ability: False})  # type: ignore[arg-type]
    assert planned(known, desk(able=able)) == [expected]  # type: ignore[arg-type]


def test_rule_32_who_cannot_be_deactivated_loses_the_groups_and_gets_none_back() -> None:
    able = replace(ABLE, deactivates_accounts=False)
    known = linked(DISABLED, JIRA, CROWD, edges={JIRA: True})
    assert planned(known, desk(able=able)) == [
        "remove_member disabled jira",
        "? deactivate unsupported",
    ]
    stripped = linked(DISABLED, JIRA, CROWD)
    assert planned(stripped, desk(able=able)) == ["? deactivate unsupported"]
    leaver = left(edges={JIRA: True, CROWD: False})
    assert planned(leaver, desk(able=able)) == [
        "remove_member left_scope jira",
        "? deactivate unsupported",
    ]


def test_rule_32_a_membership_seen_for_the_first_time_is_stripped_too() -> None:
    able = replace(ABLE, deactivates_accounts=False)
    plan = plan_user(linked(DISABLED, JIRA, edges={JIRA: None}), desk(able=able))
    assert [change.kind for change in plan.changes] == [Kind.REMOVE_MEMBER]
    assert plan.judged == {JIRA: True}


def test_rule_32_whom_the_product_refuses_to_deactivate_is_stripped() -> None:
    known = linked(DISABLED, JIRA, edges={JIRA: True}, blocked=True)
    assert planned(known) == ["deactivate disabled", "remove_member disabled jira"]


def test_rule_32_whom_it_refuses_loses_her_licence_as_well_and_may_come_back() -> None:
    """Once: the refused change is tried again, and whoever gives it back does so knowingly."""
    able = desk(able=replace(ABLE, strips_licences=True))
    known = linked(DISABLED, JIRA, edges={JIRA: True}, blocked=True)
    said = ["deactivate disabled", "strip disabled", "remove_member disabled jira"]
    assert planned(known, able) == said
    stripped = replace(known, link=link(HERS, deactivated=True))
    assert "strip disabled" not in planned(stripped, able)
    back = linked(user(), JIRA, edges={JIRA: True}, link=link(HERS, deactivated=True))
    assert plan_user(back, able).opened  # her account was active all the time


def test_rule_32_a_read_only_account_loses_the_groups_that_can_be_written() -> None:
    """Bitbucket says of each account whether its details, and whether its groups, can be."""
    locked = replace(HERS, writable=False)
    known = linked(DISABLED, JIRA, account=locked, link=link(locked), edges={JIRA: True})
    assert planned(known) == ["remove_member disabled jira", "? deactivate read_only"]
    gone = left(account=locked, link=link(locked), edges={JIRA: True})
    assert planned(gone) == ["remove_member left_scope jira", "? deactivate read_only"]
    rest = linked(DISABLED, JIRA, account=locked, link=link(locked))
    assert planned(rest) == ["? deactivate read_only"]


STRIPS = replace(ABLE, deactivates_accounts=False, strips_accounts=True)


def test_rule_32_rights_are_taken_away_once_and_again_when_there_is_a_licence_again() -> None:
    first = linked(DISABLED, JIRA, edges={JIRA: True})
    assert planned(first, desk(able=STRIPS)) == [
        "strip disabled",
        "remove_member disabled jira",
        "? deactivate unsupported",
    ]
    done = link(deactivated=True)
    assert planned(linked(DISABLED, JIRA, link=done), desk(able=STRIPS)) == [
        "? deactivate unsupported"
    ]
    again = linked(DISABLED, JIRA, link=done, licensed=True)
    assert planned(again, desk(able=STRIPS))[0] == "strip disabled"
    assert planned(linked(DISABLED, last_admin=True), desk(able=STRIPS)) == [
        "? deactivate protected"
    ]


def test_rule_32_who_comes_back_after_it_gets_what_was_ours() -> None:
    back = linked(None, JIRA, link=link(deactivated=True))
    plan = plan_user(back, desk(able=STRIPS))
    assert plan.opened and [change.kind for change in plan.changes] == [Kind.ADD_MEMBER]
    assert not plan_user(linked(), desk(able=STRIPS)).opened
    asleep = replace(HERS, active=False)
    elsewhere = linked(account=asleep, link=link(asleep, deactivated=True))
    assert not plan_user(elsewhere, desk()).opened  # there it is reactivated


# Leavers ----------------------------------------------------------------------------------------


def stages(*steps: tuple[float, str]) -> object:
    return policy(accounts={"leavers": tuple(Stage(after=a * DAY, do=d) for a, d in steps)})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("leavers", "expected"),
    [
        ("keep", []),
        ("strip_groups", ["remove_member left_scope jira"]),
        ("deactivate", ["deactivate left_scope"]),
        ("delete", ["deactivate left_scope", "delete left_scope"]),
    ],
)
def test_rule_33_leavers(leavers: str, expected: list[str]) -> None:
    rules = policy(accounts={"leavers": leavers})
    assert planned(left(JIRA, edges={JIRA: True, CROWD: False}), desk(rules)) == expected


def test_rule_33_an_explicit_removal_applies_to_leavers_too() -> None:
    keep = desk(policy(accounts={"leavers": "keep"}))
    assert planned(left(JIRA, edges={JIRA: True, CROWD: True}), keep) == [
        "remove_member changed crowd"
    ]
    assert planned(linked(SOFT, JIRA, edges={CROWD: True}), keep) == []


def test_rule_33_disabled_is_inactive_and_its_edges_follow_entra() -> None:
    known = linked(DISABLED, JIRA, edges={CROWD: True})
    assert planned(known) == [
        "deactivate disabled",
        "add_member new jira",
        "remove_member changed crowd",
    ]


def test_rule_33_what_was_stripped_is_remembered_and_put_back_on_return() -> None:
    rules = desk(policy(accounts={"leavers": "strip_groups"}))
    gone = plan_user(left(JIRA, edges={JIRA: True}), rules)
    assert gone.stripped == (JIRA,)
    back = link(HERS, left_at=NOW - DAY, stripped=(JIRA,))
    returned = plan_user(linked(None, JIRA, link=back), rules)
    assert [change.kind for change in returned.changes] == [Kind.ADD_MEMBER]
    assert (returned.leaver, returned.stripped) == (False, ())


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (0, ["? - grace"]),
        (1.5, ["remove_member left_scope jira", "? - grace"]),
        (31, ["remove_member left_scope jira", "deactivate left_scope", "? - grace"]),
        (
            400,
            ["remove_member left_scope jira", "deactivate left_scope", "delete left_scope"],
        ),
    ],
)
def test_rule_34_stages_count_from_when_she_was_seen_gone(age: float, expected: list[str]) -> None:
    rules = desk(stages((1, "strip_groups"), (30, "deactivate"), (365, "delete")))  # type: ignore[arg-type]
    known = left(JIRA, edges={JIRA: True}, link=link(HERS, left_at=NOW - age * DAY))
    assert planned(known, rules) == expected


def test_rule_34_the_next_stage_is_due_at_its_time() -> None:
    rules = desk(stages((30, "deactivate")))  # type: ignore[arg-type]
    plan = plan_user(left(link=link(HERS, left_at=NOW - 2 * DAY)), rules)
    assert [each.retry_at for each in plan.waiting] == [NOW + 28 * DAY]


def test_rule_34_a_soft_delete_skips_the_stages_before_the_first_deactivating_one() -> None:
    rules = desk(stages((0, "strip_groups"), (30, "deactivate"), (365, "delete")))  # type: ignore[arg-type]
    known = linked(SOFT, JIRA, edges={JIRA: True})
    assert planned(known, rules) == ["deactivate deleted", "? - grace"]
    late = linked(SOFT, JIRA, edges={JIRA: True}, link=link(HERS, left_at=NOW - 366 * DAY))
    assert planned(late, rules) == ["deactivate deleted", "delete deleted"]


def test_rule_34_a_policy_that_only_deletes_shuts_out_at_once() -> None:
    rules = desk(stages((30, "delete")))  # type: ignore[arg-type]
    assert planned(linked(SOFT), rules) == ["deactivate deleted", "? - grace"]
    assert planned(left(), rules) == ["? - grace"]


def test_rule_34_a_soft_delete_keeps_all_if_the_policy_never_deactivates() -> None:
    assert planned(linked(SOFT), desk(policy(accounts={"leavers": "keep"}))) == []
    strip = desk(policy(accounts={"leavers": "strip_groups"}))
    assert planned(linked(SOFT, JIRA, edges={JIRA: True}), strip) == ["remove_member deleted jira"]


def test_rule_34_who_is_disabled_and_leaves_the_scope_has_no_days_of_grace() -> None:
    rules = desk(stages((0, "strip_groups"), (30, "deactivate"), (365, "delete")))  # type: ignore[arg-type]
    known = left(JIRA, who=DISABLED, edges={JIRA: True})
    assert planned(known, rules) == [
        "deactivate disabled",
        "remove_member left_scope jira",
        "? - grace",
    ]
    assert planned(known, desk(policy(accounts={"leavers": "keep"}))) == []


def test_a_leaver_whose_account_is_gone_needs_nothing() -> None:
    assert planned(left(account=None, link=link(None))) == []


def test_an_adopted_account_keeps_its_name() -> None:
    old = replace(HERS, username="anna")
    adopted = link(old, origin=Origin.ADOPTED)
    assert planned(linked(account=old, link=adopted)) == []
    follows = desk(policy(accounts={"rename_adopted": True}))
    assert planned(linked(account=old, link=adopted), follows) == ["rename changed"]
    never = desk(policy(accounts={"rename": False}))
    assert planned(linked(account=old), never) == []


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (NameFacts(rivals=(BEN_ID,)), "? rename conflict"),
        (NameFacts(under_name=Standing(HERS)), "? rename conflict"),
        (NameFacts(under_name=Standing(HERS, BEN_ID, wants="ana@x.org")), "? rename conflict"),
        (NameFacts(under_name=Standing(HERS, BEN_ID, wants="ben@x.org")), "rename changed"),
    ],
)
def test_rule_16_a_name_that_is_wanted_or_taken_is_no_rename(
    names: NameFacts, expected: str
) -> None:
    old = replace(HERS, username="anna@x.org", key="A7")
    assert planned(linked(account=old, names=names)) == [expected]


def test_the_plan_names_the_object() -> None:
    assert {change.object_id for change in plan_user(facts(None, JIRA), desk()).changes} == {ANA_ID}


# Lost databases ---------------------------------------------------------------------------------

MARKED = Standing(replace(HERS, username="old@x.org", mark=Mark(INSTANCE, ANA_ID)))


def by_mark(
    who: User | None = None, *, above: frozenset[ObjectId] = frozenset({STAFF})
) -> UserFacts:
    names = NameFacts(under_mark=(MARKED,))
    return facts(who, names=names, above=above, direct=above)


def test_an_account_with_our_mark_is_taken_up_again_and_renamed() -> None:
    assert planned(by_mark())[:2] == ["adopt adopted", "rename changed"]


def test_whom_entra_has_disabled_meanwhile_is_taken_up_and_shut_out() -> None:
    told = planned(by_mark(user(accountEnabled=False)))
    assert "deactivate disabled" in told and "adopt adopted" in told


def test_whom_entra_has_deleted_meanwhile_is_taken_up_and_shut_out() -> None:
    gone = replace(user(), presence=Presence.SOFT_DELETED)
    assert planned(by_mark(gone)) == ["adopt adopted", "deactivate deleted"]


def test_who_is_merely_out_of_scope_is_left_to_a_person() -> None:
    """It may be another azsyncd of our name, whose scope she is in."""
    assert planned(by_mark(above=frozenset())) == ["? - not_owned"]
