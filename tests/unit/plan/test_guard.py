"""What waits for a person: rules 35, 36 and 40."""

from dataclasses import replace

import pytest

from azsyncd.model.accounts import Account
from azsyncd.model.changes import Change, Kind, Phase, Reason
from azsyncd.model.identities import ObjectId
from azsyncd.plan.guard import Sizes, Spent, Tally, Verdict, allowance, class_of, judge, permitted
from azsyncd.plan.order import temporary_name
from azsyncd.plan.policy import Budget, GuardClass, GuardRules, Mode

from .making import CROWD, HERS, JIRA

C = GuardClass


def change(
    kind: Kind = Kind.DEACTIVATE,
    reason: Reason = Reason.LEFT_SCOPE,
    group: ObjectId | None = None,
    before: Account | None = None,
    after: Account | None = None,
) -> Change:
    return Change(
        kind=kind,
        reason=reason,
        object_id=ObjectId("x"),
        group_id=group,
        before=before,
        after=after,
        phase=Phase.ACCOUNTS,
    )


def round_of(*wants: tuple[int, Change]) -> Tally:
    tally = Tally()
    for many, one in wants:
        for _ in range(many):
            tally.add(one)
    return tally


def verdict(
    tally: Tally, sizes: Sizes | None = None, spent: Spent | None = None, **rules: object
) -> Verdict:
    return judge(tally, GuardRules(**rules), sizes or Sizes(), spent or {})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "class_"),
    [
        (change(Kind.DEACTIVATE, Reason.LEFT_SCOPE), C.DEACTIVATE),
        (change(Kind.DEACTIVATE, Reason.DISABLED), C.DISABLE),
        (change(Kind.DEACTIVATE, Reason.DELETED), C.DISABLE),
        (change(Kind.STRIP, Reason.LEFT_SCOPE), C.DEACTIVATE),
        (change(Kind.STRIP, Reason.DELETED), C.DISABLE),
        (change(Kind.ADD_CHILD, group=JIRA), C.ADD_MEMBER),
        (change(Kind.REMOVE_CHILD, group=JIRA), C.REMOVE_MEMBER),
        (change(Kind.RENAME, before=HERS, after=replace(HERS, username="b")), C.RENAME),
        (change(Kind.UPDATE, before=HERS, after=replace(HERS, email="b@x.org")), C.UPDATE),
        (change(Kind.UPDATE, before=HERS, after=replace(HERS, email="ANA@x.org")), None),
        (change(Kind.UPDATE, before=HERS, after=replace(HERS, display_name="B")), None),
        (change(Kind.REMOVE_MEMBER, group=JIRA), C.REMOVE_MEMBER),
        (change(Kind.DELETE), C.DELETE),
        (change(Kind.DELETE_GROUP), C.DELETE_GROUP),
        (change(Kind.CREATE), C.CREATE),
        (change(Kind.ADD_MEMBER, group=JIRA), C.ADD_MEMBER),
        (change(Kind.REACTIVATE), None),
        (change(Kind.ADOPT), None),
        (change(Kind.ADOPT_GROUP), None),
        (change(Kind.CREATE_GROUP), None),
    ],
)
def test_each_change_is_counted_in_its_class(one: Change, class_: GuardClass | None) -> None:
    assert class_of(one) is class_


def test_a_swap_counts_each_account_once() -> None:
    real = change(Kind.RENAME, before=HERS, after=replace(HERS, username="b"))
    step = replace(real, after=replace(HERS, username=temporary_name(real)))
    assert round_of((1, real), (1, step)).classes == {C.RENAME: 1}


@pytest.mark.parametrize(
    ("size", "allowed"),
    [(0, 20), (1, 20), (2000, 20), (2099, 20), (2100, 21), (50_000, 500)],
)
def test_rule_35_the_larger_of_count_and_percent(size: int, allowed: int) -> None:
    assert allowance(C.DEACTIVATE, GuardRules(), Sizes(accounts=size)) == allowed


@pytest.mark.parametrize("percent", [0.1, 0.7, 1.1, 2.9, 7, 14.5, 29, 57])
def test_rule_35_a_percentage_is_not_lost_to_binary_fractions(percent: float) -> None:
    rules = GuardRules(delete=Budget(percent=percent))
    assert allowance(C.DELETE, rules, Sizes(accounts=1000)) == round(percent * 10)


@pytest.mark.parametrize(
    ("class_", "size"),
    [
        (C.DEACTIVATE, 1000), (C.DISABLE, 1000), (C.RENAME, 1000), (C.UPDATE, 1000),
        (C.DELETE, 1000), (C.CREATE, 1000), (C.REMOVE_MEMBER, 5000), (C.ADD_MEMBER, 5000),
        (C.DELETE_GROUP, 30), (C.SHRINK_GROUP, 12),
    ],
)  # fmt: skip
def test_rule_35_each_class_has_its_base(class_: GuardClass, size: int) -> None:
    sizes = Sizes(accounts=1000, edges=5000, groups=30, members={JIRA: 12})
    assert sizes.of(class_, JIRA) == size


def test_rule_35_unlimited() -> None:
    assert allowance(C.CREATE, GuardRules(), Sizes()) is None
    held = verdict(round_of((10_000, change(Kind.CREATE))))
    assert not held.classes


def test_rule_36_a_class_that_does_not_fit_is_held_whole_and_all_else_goes_on() -> None:
    tally = round_of((21, change()), (5, change(reason=Reason.DISABLED)))
    told = verdict(tally)
    assert set(told.classes) == {C.DEACTIVATE}
    assert told.held(change()) == (C.DEACTIVATE, "21 wanted, 20 of 20 left (of 0)")
    assert told.held(change(reason=Reason.DISABLED)) is None
    assert told.held(change(Kind.REACTIVATE)) is None


def test_rule_36_what_fits_passes_to_the_last_one() -> None:
    assert not verdict(round_of((20, change()))).classes


def test_rule_36_single_changes_of_later_rounds_pass_while_there_is_room() -> None:
    spent: Spent = {(C.DEACTIVATE, None): 19}
    assert not verdict(round_of((1, change())), spent=spent).classes
    assert verdict(round_of((2, change())), spent=spent).classes
    assert verdict(round_of((1, change())), spent={(C.DEACTIVATE, None): 25}).classes


def test_rule_35_shrink_group_is_counted_per_group() -> None:
    sizes = Sizes(edges=100_000, members={JIRA: 40, CROWD: 1000})
    out = change(Kind.REMOVE_MEMBER, group=JIRA)
    elsewhere = change(Kind.REMOVE_MEMBER, group=CROWD)
    told = verdict(round_of((21, out), (21, elsewhere)), sizes)
    assert set(told.groups) == {JIRA} and not told.classes
    held = told.held(out)
    assert held is not None and held[0] is C.SHRINK_GROUP
    assert told.held(elsewhere) is None
    spent: Spent = {(C.SHRINK_GROUP, JIRA): 20}
    assert set(verdict(round_of((1, out), (1, elsewhere)), sizes, spent).groups) == {JIRA}


def test_rule_36_deletes_are_held_unless_somebody_gives_an_allowance() -> None:
    for one, class_ in (
        (change(Kind.DELETE), C.DELETE),
        (change(Kind.DELETE_GROUP), C.DELETE_GROUP),
    ):
        assert set(verdict(round_of((1, one))).classes) == {class_}
        assert not verdict(round_of((1, one)), **{class_.value: Budget(count=1)}).classes


@pytest.mark.parametrize("kind", list(Kind))
def test_rule_40_modes(kind: Kind) -> None:
    destructive = kind in (
        Kind.DEACTIVATE, Kind.STRIP, Kind.DELETE, Kind.DELETE_GROUP, Kind.REMOVE_MEMBER,
        Kind.REMOVE_CHILD,
    )  # fmt: skip
    assert permitted(change(kind), Mode.SYNC)
    assert permitted(change(kind), Mode.ADDITIONS_ONLY) is not destructive
    assert not permitted(change(kind), Mode.REPORT)


def test_i5_a_child_group_counts_as_many_as_stand_in_it() -> None:
    """In its class, and in the group that it is taken out of."""
    tally = round_of((1, replace(change(Kind.REMOVE_CHILD, group=JIRA), people=201)))
    assert C.REMOVE_MEMBER in verdict(tally).classes
    tally = round_of((1, replace(change(Kind.REMOVE_CHILD, group=JIRA), people=21)))
    found = verdict(tally)
    assert (list(found.classes), list(found.groups)) == ([], [JIRA])
    held = found.held(change(Kind.REMOVE_CHILD, group=JIRA))
    assert held is not None
    assert held[0] is C.SHRINK_GROUP
    assert not permitted(change(Kind.REMOVE_CHILD), Mode.ADDITIONS_ONLY)
    assert permitted(change(Kind.ADD_CHILD), Mode.ADDITIONS_ONLY)
