"""Whose account it is: rules 16, 18, 20 and 23."""

from dataclasses import replace

import pytest

from azsyncd.model.accounts import Account, Mark
from azsyncd.model.changes import Withheld
from azsyncd.plan.facts import NameFacts, Standing
from azsyncd.plan.matching import Match, is_ours, match
from azsyncd.targets.memory import ABLE

from .making import ANA_ID, BEN_ID, HERS, INSTANCE, desk, policy, user

OTHER_MAIL = replace(HERS, email="else@x.org")
MINE = Mark(INSTANCE, ANA_ID)


def found(names: NameFacts, adopt: str = "username", **accounts: str) -> tuple[Match, str]:
    rules = policy(accounts={"adopt": adopt, **accounts})
    told = match(user(), HERS, names, desk(rules))
    return told.match, told.withheld if told.match is Match.NONE else ""


@pytest.mark.parametrize(
    ("adopt", "standing", "expected"),
    [
        ("never", HERS, (Match.NONE, "conflict")),
        ("username", OTHER_MAIL, (Match.ADOPT, "")),
        ("username_and_email", HERS, (Match.ADOPT, "")),
        ("username_and_email", OTHER_MAIL, (Match.NONE, "conflict")),
        ("username_and_email", replace(HERS, email=None), (Match.NONE, "conflict")),
        ("email", OTHER_MAIL, (Match.NONE, "conflict")),
    ],
)
def test_adopt_says_what_is_taken_over(
    adopt: str, standing: Account, expected: tuple[Match, str]
) -> None:
    assert found(NameFacts(under_name=Standing(standing)), adopt) == expected


def test_adopt_by_mail_takes_the_one_account_that_nobody_has() -> None:
    free, taken = Standing(replace(HERS, username="x")), Standing(HERS, owner=BEN_ID)
    told = match(
        user(), HERS, NameFacts(under_mail=(taken, free)), desk(policy(accounts={"adopt": "email"}))
    )
    assert (told.match, told.standing) == (Match.ADOPT, free)


def test_nobody_there_means_create() -> None:
    for adopt in ("never", "username", "email", "username_and_email"):
        assert found(NameFacts(), adopt)[0] is Match.CREATE


def test_rule_16_among_others_with_one_wish_nobody_gets_it() -> None:
    assert found(NameFacts(rivals=(BEN_ID,))) == (Match.NONE, "conflict")
    assert found(NameFacts(rivals=(BEN_ID,), under_name=Standing(HERS)))[0] is Match.NONE


def test_rule_16_an_address_that_two_want_is_adopted_by_neither() -> None:
    names = NameFacts(under_mail=(Standing(HERS),), mail_rivals=(BEN_ID,))
    assert found(names, "email") == (Match.NONE, "conflict")
    assert found(NameFacts(mail_rivals=(BEN_ID,)), "email")[0] is Match.CREATE


def test_rule_16_a_name_that_its_owner_is_leaving_is_waited_for_and_created() -> None:
    leaving = NameFacts(under_name=Standing(HERS, BEN_ID, wants="ben@x.org"))
    assert found(leaving)[0] is Match.CREATE
    for able, rules in (
        (replace(ABLE, renames_accounts=False), policy()),
        (ABLE, policy(accounts={"rename": False})),
    ):
        told = match(user(), HERS, leaving, desk(rules, able=able))
        assert (told.match, told.withheld) == (Match.NONE, Withheld.CONFLICT)


@pytest.mark.parametrize("adopt", ["username", "email", "username_and_email"])
def test_rule_20_never_adopted(adopt: str) -> None:
    def told(standing: Standing) -> tuple[Match, str]:
        return found(NameFacts(under_name=standing, under_mail=(standing,)), adopt)

    other = replace(HERS, mark=Mark("another", ANA_ID))
    elses = replace(HERS, mark=Mark(INSTANCE, BEN_ID))
    assert told(Standing(other)) == (Match.NONE, "not_owned")
    assert told(Standing(elses)) == (Match.NONE, "not_owned")
    assert told(Standing(HERS, owner=BEN_ID)) == (Match.NONE, "conflict")
    assert told(Standing(HERS, administers=True)) == (Match.NONE, "protected")


def test_rule_20_by_mail_never_a_guest() -> None:
    guest = user(userType="Guest")
    names = NameFacts(under_mail=(Standing(replace(HERS, username="x")),))
    on = desk(policy(accounts={"adopt": "email"}))
    assert match(guest, HERS, names, on).match is Match.CREATE
    assert match(user(), HERS, names, on).match is Match.ADOPT


def test_an_account_with_our_mark_is_known_again_whatever_adopt_says() -> None:
    marked = Standing(replace(HERS, username="old", mark=MINE))
    assert found(NameFacts(under_mail=(marked,)), "never")[0] is Match.ADOPT
    owned = Standing(replace(HERS, mark=MINE), owner=BEN_ID)
    assert found(NameFacts(under_name=owned), "never")[0] is Match.NONE


@pytest.mark.parametrize(
    ("rehire", "gone", "employee", "taken"),
    [
        ("never", "purged", "17", False),
        ("purged", "purged", None, True),
        ("purged", "soft_deleted", "17", False),
        ("deleted", "soft_deleted", "17", True),
        ("deleted", "soft_deleted", "18", False),
        ("deleted", "soft_deleted", None, False),
        ("deleted", "purged", None, True),
        ("deleted", None, "17", False),
    ],
)
def test_rule_23_rehire(rehire: str, gone: str | None, employee: str | None, taken: bool) -> None:
    old = Standing(HERS, owner=BEN_ID, gone=gone, owner_employee=employee)
    expected = Match.REHIRE if taken else Match.NONE
    assert found(NameFacts(under_name=old), rehire=rehire)[0] is expected


def test_rule_23_who_had_an_account_of_her_own_is_nobodys_successor() -> None:
    """She was renamed, and somebody deleted her account: she gets it again, under another name."""
    names = NameFacts(under_name=Standing(HERS, owner=BEN_ID, gone="purged"))
    on = desk(policy(accounts={"rehire": "purged"}))
    assert match(user(), HERS, names, on).match is Match.REHIRE
    assert match(user(), HERS, names, on, known=True).match is Match.NONE


def test_rule_23_nobody_takes_an_administrators_account_over() -> None:
    old = Standing(HERS, owner=BEN_ID, gone="purged", administers=True)
    assert found(NameFacts(under_name=old)) == (Match.NONE, "protected")


def test_rule_24_a_protected_name_is_never_taken() -> None:
    on = desk(signed_in_as=frozenset({"ana@x.org"}))
    told = match(user(), HERS, NameFacts(), on)
    assert (told.match, told.withheld) == (Match.NONE, Withheld.PROTECTED)


@pytest.mark.parametrize(
    ("found", "ours"),
    [
        (replace(HERS, mark=MINE), True),
        (replace(HERS, mark=MINE, email="corrected@x.org"), True),
        (replace(HERS, mark=Mark(INSTANCE, BEN_ID)), False),
        (replace(HERS, mark=Mark("another", ANA_ID)), False),
        (HERS, True),
        (replace(HERS, email=None, display_name=None), True),
        (OTHER_MAIL, False),
        (replace(HERS, display_name="Anna"), False),
        (replace(HERS, username="ANA@X.ORG", email="Ana@X.org"), True),
    ],
)
def test_rule_18_what_stands_there_is_ours_by_its_mark_or_by_all_that_was_sent(
    found: Account, ours: bool
) -> None:
    assert is_ours(HERS, found, ANA_ID, INSTANCE) is ours


def test_a_mark_counts_whatever_the_account_is_called() -> None:
    marked = Standing(replace(HERS, username="old", email="old@x.org", mark=MINE))
    free = Standing(replace(HERS, key="A2"))
    for adopt in ("never", "username", "email", "username_and_email"):
        names = NameFacts(under_mark=(marked,), under_name=free, rivals=(BEN_ID,))
        told = match(user(), HERS, names, desk(policy(accounts={"adopt": adopt})))
        assert (told.match, told.standing) == (Match.ADOPT, marked)


def test_a_mark_on_two_accounts_is_never_guessed_about() -> None:
    marked = tuple(Standing(replace(HERS, key=key, mark=MINE)) for key in ("A1", "A2"))
    assert found(NameFacts(under_mark=marked)) == (Match.NONE, "conflict")


def test_rule_20_a_mark_of_another_instance_makes_nobody_ours() -> None:
    marked = Standing(replace(HERS, username="old", mark=Mark("another", ANA_ID)))
    assert found(NameFacts(under_mark=(marked,)))[0] is Match.CREATE
