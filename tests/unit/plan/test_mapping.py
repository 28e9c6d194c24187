"""Accounts and group names out of Entra's properties: rules 5, 13, 14, 15."""

from dataclasses import replace

import pytest

from azsyncd.model.accounts import Account, InvalidValue
from azsyncd.model.identities import Group, ObjectId, User
from azsyncd.plan.expressions import ExpressionFailed, Unread
from azsyncd.plan.mapping import AccountMapping, GroupMapping
from azsyncd.plan.policy import AccountRules, GroupRules


class LowerCase:
    """A product that lower-cases names, and takes none with a slash."""

    def account(self, account: Account) -> Account:
        if "/" in account.username:
            raise InvalidValue(f"{account.username!r}: no / allowed")
        return replace(account, username=account.username.lower())

    def group(self, name: str) -> str:
        return name.lower()


def user(**properties: object) -> User:
    common: dict[str, object] = {
        "userPrincipalName": "Jo.Doe@Contoso.com",
        "mail": "jo@contoso.com",
        "displayName": "Jo Doe",
        "givenName": "Jo",
        "surname": "Doe",
        "accountEnabled": True,
        "department": None,
        "onPremisesSamAccountName": None,
    }
    return User(ObjectId("00000000-0000-0000-0000-000000000001"), {**common, **properties})


def mapping(**rules: object) -> AccountMapping:
    return AccountMapping(AccountRules.model_validate(rules), LowerCase())


def test_the_default_mapping() -> None:
    """UPN, mail, display name, accountEnabled."""
    assert mapping().account(user()) == Account(
        username="jo.doe@contoso.com",
        email="jo@contoso.com",
        display_name="Jo Doe",
        active=True,
    )
    assert mapping().account(user(mail=None)).email == "Jo.Doe@Contoso.com"
    assert mapping().account(user(accountEnabled=False)).active is False


PEOPLE = [
    ("José", "Müller-Lüdenscheidt", "jose.muller-ludenscheidt"),
    ("Anne Marie", "O'Brien", "annemarie.obrien"),
    ("Søren", "Ærøskøbing", "soren.aeroskobing"),
    ("Łukasz", "Żółć", "lukasz.zolc"),
    ("Nguyễn", "Thị Minh", "nguyen.thiminh"),
    ("İbrahim", "Çağlar", "ibrahim.caglar"),
    ("Straße", "Weiß", "strasse.weiss"),
    ("Jo", None, "jo"),
    (None, "Madonna", "madonna"),
    ("JO ", " doe", "jo.doe"),
]


@pytest.mark.parametrize(("given", "surname", "username"), PEOPLE)
def test_real_names_become_usernames(given: str | None, surname: str | None, username: str) -> None:
    """first.last without accents, blanks and apostrophes; a missing half leaves no dot."""
    template = (
        "{{ [user.givenName, user.surname] | join('.') | ascii | lower"
        " | regex_replace(\"[^a-z0-9.-]\", '') }}"
    )
    found = mapping(username=template).account(user(givenName=given, surname=surname))
    assert found.username == username


RECIPES = [
    ("{{ user.userPrincipalName | before('@') }}", {}, "jo.doe"),
    ("{{ user.onPremisesSamAccountName | lower }}", {"onPremisesSamAccountName": "JDOE"}, "jdoe"),
    (
        "{{ user.onPremisesSamAccountName or (user.userPrincipalName | before('@')) }}",
        {},
        "jo.doe",
    ),
    (
        "{{ user.userPrincipalName | guest_address | lower }}",
        {"userPrincipalName": "Ext_Partner.com#EXT#@contoso.onmicrosoft.com"},
        "ext@partner.com",
    ),
    (
        "{{ first_of(user.mail, user.userPrincipalName | guest_address) | lower }}",
        {"userPrincipalName": "ext_partner.com#EXT#@c.onmicrosoft.com", "mail": None},
        "ext@partner.com",
    ),
    ("{{ user.givenName[:1] }}{{ user.surname }}", {}, "jdoe"),
    ("{{ user.id }}", {}, "00000000-0000-0000-0000-000000000001"),
]


@pytest.mark.parametrize(("template", "properties", "username"), RECIPES)
def test_recipes_of_the_documentation(
    template: str, properties: dict[str, object], username: str
) -> None:
    """What docs/configuration.md promises."""
    assert mapping(username=template).account(user(**properties)).username == username


@pytest.mark.parametrize(
    ("rules", "properties", "named"),
    [
        ({"username": "{{ user.onPremisesSamAccountName | lower }}"}, {}, "accounts.username"),
        ({"email": "{{ user.mail }}"}, {"mail": None}, "accounts.email"),
        ({"email": "{{ user.mail }}"}, {"mail": "  "}, "accounts.email"),
        ({}, {"displayName": None}, "accounts.display_name"),
    ],
)
def test_rule_14_an_empty_name_withholds_the_user(
    rules: dict[str, str], properties: dict[str, object], named: str
) -> None:
    """It says which of them is empty; it is never `none`."""
    with pytest.raises(InvalidValue) as caught:
        mapping(**rules).account(user(**properties))
    assert named in str(caught.value)


def test_rule_14_an_empty_attribute_is_cleared() -> None:
    """Empty text is a value here."""
    rules = mapping(attributes={"department": "{{ user.department }}", "first": "{{ user.mail }}"})
    assert rules.account(user()).attributes == {"department": "", "first": "jo@contoso.com"}


def test_rule_15_the_products_rules_come_after_the_template() -> None:
    """Case first; what cannot be made legal withholds the user."""
    rules = mapping(username="{{ user.userPrincipalName }}")
    assert rules.account(user()).username == "jo.doe@contoso.com"
    with pytest.raises(InvalidValue):
        rules.account(user(userPrincipalName="jo/doe@contoso.com"))


def test_rule_5_what_was_not_read_is_undecided() -> None:
    """Also an attribute, also `active`."""
    rules = mapping(attributes={"city": "{{ user.city }}"}, active="user.showInAddressList")
    assert {"city", "showInAddressList"} <= rules.properties
    with pytest.raises(Unread):
        rules.account(user(showInAddressList=True))
    with pytest.raises(Unread):
        rules.active(user())


def test_rule_13_a_failing_active_is_undecided() -> None:
    """No boolean, or an error."""
    for active in ("user.mail", "user.department.lower() == 'x'"):
        with pytest.raises(ExpressionFailed):
            mapping(active=active).active(user())
    assert mapping(active=True).active(user()) is True


def test_a_failing_template_says_which() -> None:
    """The key stands before the reason."""
    with pytest.raises(ExpressionFailed, match=r"accounts\.attributes\.x: "):
        mapping(attributes={"x": "{{ user.department.lower() }}"}).account(user())


def test_group_names() -> None:
    """By template; an empty one is invalid; the reason names the key."""
    group = Group(ObjectId("g"), {"displayName": "ATL Jira Users", "description": None})
    rules = GroupRules(name="entra-{{ group.displayName | after('ATL ') | replace(' ', '-') }}")
    assert GroupMapping(rules).name(group) == "entra-Jira-Users"
    assert GroupMapping(rules).properties == {"displayName"}
    with pytest.raises(InvalidValue, match=r"groups\.name"):
        GroupMapping(GroupRules(name="{{ group.description }}")).name(group)
    with pytest.raises(ExpressionFailed, match=r"groups\.name: "):
        GroupMapping(GroupRules(name="{{ group.description.lower() }}")).name(group)
    with pytest.raises(Unread):
        GroupMapping(GroupRules(name="{{ group.mail }}")).name(group)
