"""What should be, before anybody looks at the target."""

from dataclasses import replace

import pytest

from azsyncd.model.changes import Reason, Withheld
from azsyncd.model.identities import ObjectId, Presence, User
from azsyncd.plan.wishes import Kind, Wish, wish_for

from .making import ANA_ID, STAFF, desk, policy, user

NOBODY: frozenset[ObjectId] = frozenset()


def wish(who: User, *, member: bool = True, **rest: object) -> Wish:
    groups = frozenset({STAFF}) if member else NOBODY
    return wish_for(who, groups, desk(**rest))  # type: ignore[arg-type]


def test_a_member_of_the_scope_has_an_account() -> None:
    found = wish(user(mail=None))
    assert found.kind is Kind.ACCOUNT and found.account is not None
    assert found.account.email == "ana@x.org"


@pytest.mark.parametrize(
    ("presence", "reason"),
    [(Presence.SOFT_DELETED, Reason.DELETED), (Presence.PURGED, Reason.DELETED)],
)
def test_rule_02_a_deleted_user_is_gone_wherever_her_groups_are(
    presence: Presence, reason: Reason
) -> None:
    found = wish(replace(user(), presence=presence), uncertain="who knows")
    assert (found.kind, found.reason) == (Kind.GONE, reason)


def test_who_is_nowhere_has_left_the_scope() -> None:
    found = wish(user(), member=False)
    assert (found.kind, found.reason) == (Kind.GONE, Reason.LEFT_SCOPE)


def test_rule_05_of_a_bare_id_nothing_follows() -> None:
    assert wish(User(ANA_ID, {})).kind is Kind.UNDECIDED


def test_rule_11_a_doubt_about_the_scope_is_no_leaving() -> None:
    found = wish(user(), member=False, uncertain="who knows")
    assert found.kind is Kind.UNDECIDED and found.by_absence
    assert wish(user(), uncertain="who knows").kind is Kind.ACCOUNT


def test_rule_13_a_failing_active_is_no_reason_to_shut_out() -> None:
    rules = policy(accounts={"active": "user.department + 1"})
    found = wish(user(department=None), rules=rules)
    assert found.kind is Kind.UNDECIDED and not found.inactive


@pytest.mark.parametrize("name", ["userPrincipalName", "displayName"])
def test_rule_14_empty_names_are_invalid(name: str) -> None:
    found = wish(user(**{name: None}))
    assert (found.kind, found.withheld) == (Kind.UNDECIDED, Withheld.INVALID_VALUE)


def test_rule_14_one_who_is_surely_disabled_is_known_as_such_in_spite_of_other_doubts() -> None:
    assert wish(user(displayName=None, accountEnabled=False)).inactive
    assert not wish(user(displayName=None)).inactive
