"""Which attribute names the accounts that stand there."""

from __future__ import annotations

from typing import Any

import pytest

from azsyncd.model.accounts import Account
from azsyncd.model.identities import USER_PROPERTIES, ObjectId, User
from azsyncd.plan.expressions import Template
from azsyncd.plan.suggesting import EMAILS, USERNAMES, Counting, Suggestion


def person(number: int, **properties: Any) -> User:
    common = dict.fromkeys(USER_PROPERTIES) | {
        "userPrincipalName": f"p{number}@corp.example",
        "mail": f"First{number}.Last@corp.example",
        "onPremisesSamAccountName": f"SAM{number}",
        "employeeId": f"{number:05}",
        "displayName": f"Person {number}",
        "otherMails": [],
    }
    return User(ObjectId(f"u{number}"), {**common, **properties})


def suggested(accounts: list[Account], people: list[User]) -> Suggestion:
    counting = Counting(accounts)
    for each in people:
        counting.add(each)
    return counting.suggestion()


PEOPLE = [person(number) for number in range(20)]


@pytest.mark.parametrize(
    ("names", "template"),
    [
        ("p{}@corp.example", "{{ user.userPrincipalName | lower }}"),
        ("p{}", "{{ user.userPrincipalName | before('@') | lower }}"),
        ("sam{}", "{{ user.onPremisesSamAccountName | lower }}"),
        ("SAM{}", "{{ user.onPremisesSamAccountName | upper }}"),
        ("{:05}", "{{ user.employeeId | lower }}"),
        ("First{}.Last", "{{ user.mail | before('@') }}"),
        ("first{}.last@corp.example", "{{ user.mail | lower }}"),
    ],
)
def test_the_attribute_and_the_case_are_found(names: str, template: str) -> None:
    accounts = [Account(username=names.format(number)) for number in range(15)]
    found = suggested([*accounts, Account(username="admin")], PEOPLE)
    assert (found.username, found.adopt) == (template, "username")
    assert (found.accounts, found.identities, found.usernames[0].matches) == (16, 20, 15)
    # What is proposed gives the very names that stand there.
    proposed = Template(found.username, "user")
    values = {proposed({**each.properties, "id": each.id}) for each in PEOPLE}
    assert {account.username for account in accounts} <= values


def test_accounts_that_only_the_address_explains_are_adopted_by_it() -> None:
    accounts = [
        Account(username=f"nick{number}", email=f"first{number}.last@corp.example")
        for number in range(15)
    ]
    found = suggested([*accounts, Account(username="p19@corp.example")], PEOPLE)
    assert found.adopt == "email" and found.emails[0].matches == 15
    assert found.email == "{{ user.mail or user.userPrincipalName }}"


def test_names_with_somebody_elses_address_want_both() -> None:
    accounts = [
        Account(
            username=f"p{number}@corp.example",
            email=f"first{number}.last@corp.example" if number % 2 else f"x{number}@else.example",
        )
        for number in range(20)
    ]
    found = suggested(accounts, PEOPLE)
    assert found.adopt == "username_and_email" and "10 accounts" in found.why


def test_what_two_people_would_have_is_no_match() -> None:
    twins = [person(1), person(2, employeeId="00001")]
    found = suggested([Account(username="00001")], twins)
    (row,) = [each for each in found.usernames if "employeeId" in each.template]
    assert (row.matches, row.shared) == (0, 1)
    assert found.adopt == "never"


def test_an_empty_product_and_unread_properties_are_no_trouble() -> None:
    found = suggested([], [User(ObjectId("u"), {"userPrincipalName": "a@b"})])
    assert (found.accounts, found.adopt) == (0, "username")
    assert found.username == "{{ user.userPrincipalName | lower }}"
    assert [each.template for each in found.usernames if each.unread]


def test_guests_are_found_by_their_real_address() -> None:
    guests = [
        person(n, userPrincipalName=f"g{n}_else.example#EXT#@corp.example", mail=None)
        for n in range(5)
    ]
    accounts = [Account(username=f"g{n}@else.example") for n in range(5)]
    found = suggested(accounts, guests)
    assert found.username == "{{ user.userPrincipalName | guest_address | lower }}"


def test_every_proposal_is_a_template_that_the_file_may_have() -> None:
    for text in (*USERNAMES, *EMAILS):
        assert not Template(text, "user").is_constant
