"""Expressions and templates: null, unread, failing, and the words that azsyncd adds."""

import pytest

from azsyncd.plan.expressions import (
    Expression,
    ExpressionFailed,
    ExpressionProblem,
    Template,
    Unread,
)

ANA = {
    "userPrincipalName": "Ana.Garcia@Contoso.com",
    "displayName": "Ana García",
    "givenName": "Ana",
    "surname": "García",
    "mail": None,
    "department": None,
    "userType": "Member",
    "accountEnabled": True,
    "otherMails": ["ana@home.example", "ana@old.example"],
    "businessPhones": [],
    "onPremisesExtensionAttributes": {"extensionAttribute1": "x1", "extensionAttribute2": None},
    "employeeOrgData": None,
}


def shown(source: str, properties: dict[str, object] | None = None) -> str:
    return Template(source, "user")(ANA if properties is None else properties)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ user.mail }}", ""),
        ("{{ user.mail | lower }}", ""),
        ("{{ user.mail | upper | trim | replace('a', 'b') }}", ""),
        ("{{ user.mail | before('@') | ascii | guest_address }}", ""),
        ("{{ user.mail or user.userPrincipalName }}", "Ana.Garcia@Contoso.com"),
        ("{{ user.mail | lower or user.displayName }}", "Ana García"),
        ("{{ user.mail ~ '.' ~ user.givenName }}", ".Ana"),
        ("{{ [user.givenName, user.department, user.surname] | join('.') }}", "Ana.García"),
        ("{{ '%s-%s' | format(user.department, user.givenName) }}", "-Ana"),
        ("{{ '%s-%s' % (user.department, user.givenName) }}", "-Ana"),
        ("{{ '{}-{}'.format(user.department, user.givenName) }}", "-Ana"),
        ("{{ user.mail | default('none@example.com') }}", "none@example.com"),
        ("{{ user.givenName | default('x') }}", "Ana"),
        ("{{ user.givenName | replace('A', user.department) }}", "na"),
        ("{% if user.mail is none %}no mail{% else %}mail{% endif %}", "no mail"),
        ("{% if user.mail == none %}no mail{% endif %}", "no mail"),
        ("{% if user.mail is defined %}there{% endif %}", "there"),
        ("{% for each in user.department %}x{% endfor %}", ""),
        ("{{ none }}{{ none | lower }}", ""),
        ("{{ 'x' if user.mail }}", ""),
    ],
)
def test_rule_14_null_is_empty_text_and_filters_on_null_give_null(source: str, text: str) -> None:
    """Nobody is ever called "none"."""
    assert shown(source) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ user.userPrincipalName | lower }}", "ana.garcia@contoso.com"),
        ("{{ user['userPrincipalName'] | lower }}", "ana.garcia@contoso.com"),
        ("  {{ user.displayName }}\n", "Ana García"),
        ("{{ user.givenName[:1] }}{{ user.surname }}", "AGarcía"),
        ("{{ user.onPremisesExtensionAttributes.extensionAttribute1 }}", "x1"),
        ("{{ user.onPremisesExtensionAttributes['extensionAttribute1'] }}", "x1"),
        ("{{ user.onPremisesExtensionAttributes.extensionAttribute2 }}", ""),
        ("{{ user.onPremisesExtensionAttributes.extensionAttribute15 | lower }}", ""),
        ("{{ user.employeeOrgData.costCenter }}", ""),
        ("{{ user.otherMails | first }}", "ana@home.example"),
        ("{{ user.otherMails }}", "ana@home.example, ana@old.example"),
        ("{{ user.otherMails | select('ne', 'ana@home.example') }}", "ana@old.example"),
        ("{{ user.businessPhones }}", ""),
        ("{{ user.businessPhones | first or 'none' }}", "none"),
        ("{{ user.otherMails[1] }}{{ user.businessPhones[0] }}", "ana@old.example"),
        ("{{ user.department[0] }}{{ user.department[:3] }}", ""),
        ("{% set name = user.givenName | lower %}{{ name }}.{{ name }}", "ana.ana"),
        ("{{ user.accountEnabled }}", "True"),
    ],
)
def test_templates_compose_text(source: str, text: str) -> None:
    """Properties by name or index, objects, lists; no blanks around the result."""
    assert shown(source) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ 'jo@contoso.com' | before('@') }}", "jo"),
        ("{{ 'jo' | before('@') }}", "jo"),
        ("{{ 'a@b@c' | before('@') }}", "a"),
        ("{{ 'CORP\\\\jo' | after('\\\\') }}", "jo"),
        ("{{ 'atl-jira' | after('atl-') }}", "jira"),
        ("{{ 'jira' | after('atl-') }}", "jira"),
        ("{{ 'a-b-c' | after('-') }}", "b-c"),
        ("{{ 'jo.doe' | regex_replace('[.]', '_') }}", "jo_doe"),
        ("{{ 'doe, jo' | regex_replace('(\\\\w+), (\\\\w+)', '\\\\2 \\\\1') }}", "jo doe"),
        ("{{ 'José' | ascii }}", "Jose"),
        ("{{ 'Straße' | ascii }}", "Strasse"),
        ("{{ 'Søren Ørsted Łukasz Đorđe Þór' | ascii }}", "Soren Orsted Lukasz Dorde THor"),
        ("{{ 'Ærø Œuvre' | ascii }}", "AEro OEuvre"),
        ("{{ 'Ångström Žižek Ñandú' | ascii }}", "Angstrom Zizek Nandu"),
        ("{{ 'İstanbul ısı' | ascii }}", "Istanbul isi"),
        ("{{ 'O’Brien–Nguyễn' | ascii }}", "O'Brien-Nguyen"),
        ("{{ 'e\u0301' | ascii }}", "e"),
        ("{{ '李' | ascii }}", ""),
        (
            "{{ 'jo_contoso.com#EXT#@fabrikam.onmicrosoft.com' | guest_address }}",
            "jo@contoso.com",
        ),
        ("{{ 'jo_doe_contoso.com#ext#@fabrikam.com' | guest_address }}", "jo_doe@contoso.com"),
        ("{{ 'jo@contoso.com' | guest_address }}", "jo@contoso.com"),
        ("{{ 'jo_contoso.com#EXT#2@fabrikam.com' | guest_address }}", "jo@contoso.com"),
        ("{{ 'odd#EXT#@fabrikam.com' | guest_address }}", "odd"),
        ("{{ first_of(user.mail, '', ' ', user.givenName, 'x') }}", "Ana"),
        ("{{ user.mail | first_of(user.userPrincipalName) | lower }}", "ana.garcia@contoso.com"),
        ("{{ first_of(user.mail, user.department) }}", ""),
        ("{{ guest_address(user.userPrincipalName) }}", "Ana.Garcia@Contoso.com"),
    ],
)
def test_words_of_our_own(source: str, text: str) -> None:
    """before, after, regex_replace, ascii, guest_address, first_of."""
    assert shown(source) == text


@pytest.mark.parametrize(
    "source",
    ["{{ user.mail }}", "{{ user.mail | lower }}", "{{ user.mail or user.userPrincipalName }}"],
)
def test_rule_5_what_was_not_read_is_undecided(source: str) -> None:
    """A missing key is no null: whatever depends on it is not worked out."""
    with pytest.raises(Unread) as caught:
        shown(source, {"userPrincipalName": "jo@contoso.com"})
    assert caught.value.property == "mail"


def test_rule_5_a_property_that_is_not_needed_need_not_be_read() -> None:
    """Only what an expression really looks at counts."""
    first = Template("{{ user.mail or user.userPrincipalName }}", "user")
    assert first({"mail": "jo@contoso.com"}) == "jo@contoso.com"


@pytest.mark.parametrize(
    ("source", "result"),
    [
        (True, True),
        (False, False),
        ("user.accountEnabled", True),
        ("not user.accountEnabled", False),
        ("user.userType == 'Member'", True),
        ("user.userType == 'Member' and user.department == 'Sales'", False),
        ("user.department is none", True),
        ("user.department == none", True),
        ("none == user.department", True),
        ("'sales' in user.department", False),
        ("'ana@old.example' in user.otherMails", True),
        ("user.mail | lower == ''", False),
        ("(user.mail or user.userPrincipalName) | lower | after('@') == 'contoso.com'", True),
        ("user.userPrincipalName.lower().endswith('@contoso.com')", True),
        ("user.onPremisesExtensionAttributes.extensionAttribute1 in ['x1', 'x2']", True),
        ("user.onPremisesExtensionAttributes.extensionAttribute9 == 'x'", False),
    ],
)
def test_expressions_give_true_or_false(source: str | bool, result: bool) -> None:
    """Null is an ordinary value in comparisons."""
    assert Expression(source, "user")(ANA) is result


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("user.department", "gives null, neither true nor false"),
        ("user.userType", "gives 'Member', neither true nor false"),
        ("user.mail and user.accountEnabled", "gives null"),
        ("user.department.startswith('x')", "null has no startswith"),
        ("user.department > 3", "'>' not supported between instances of null and 'int'"),
        ("user.givenName / 2 == 1", "unsupported operand"),
        ("user.givenName.nothing == 1", "has no attribute 'nothing'"),
    ],
)
def test_rule_13_what_gives_no_boolean_fails(source: str, why: str) -> None:
    """The user is undecided, with the reason."""
    with pytest.raises(ExpressionFailed) as caught:
        Expression(source, "user")(ANA)
    assert why in str(caught.value)
    assert "Null" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ user.manager.displayName }}", "Boss"),
        ("{{ user['manager']['displayName'] | lower }}", "boss"),
        ("{{ user.manager.mail }}", ""),
        ("{{ user.manager.id }}", "b1"),
        ("{{ user.manager.onPremisesExtensionAttributes.extensionAttribute1 }}", "y1"),
        ("{{ 'led' if user.manager.id is not none else 'leads' }}", "led"),
    ],
)
def test_a_managers_properties(source: str, text: str) -> None:
    """As of any user; null is null there too."""
    boss = {
        "id": "b1",
        "displayName": "Boss",
        "mail": None,
        "onPremisesExtensionAttributes": {"extensionAttribute1": "y1"},
    }
    assert shown(source, {"manager": boss}) == text


def test_whoever_has_no_manager_has_null_in_place_of_all_that_is_hers() -> None:
    source = "{{ user.manager.displayName | upper }}{{ user.manager.employeeOrgData.division }}"
    assert shown(source, {"manager": None}) == ""
    assert not Expression("user.manager.department == 'Sales'", "user")({"manager": None})


@pytest.mark.parametrize("properties", [{}, {"manager": {"id": "b1"}}])
def test_rule_5_a_manager_that_was_not_read_is_not_null(properties: dict[str, object]) -> None:
    """Neither who it is, nor what she is called."""
    with pytest.raises(Unread):
        shown("{{ user.manager.displayName }}", properties)


def test_what_is_to_be_read_for_a_manager() -> None:
    """The relation, and the property of everybody: a manager is a user as any other."""
    read = Template("{{ user.manager.city }} {{ user.manager.id }}", "user").properties
    assert read == {"manager", "city"}


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 100000 }}",
        "{{ 100000 * 'x' }}",
        "{{ ['x'] * 100000 }}",
        "{{ 9 ** 99999 }}",
        "{{ 'x' | center(99999999) }}",
        "{{ '%099999999d' | format(1) }}",
        "{{ '%99999999s' % 'x' }}",
        "{{ '{:>99999999}'.format('x') }}",
        "{{ 'x'.zfill(99999999) }}",
        "{{ user.displayName.ljust(99999999) }}",
        "{% for a in 'x' * 4000 %}{{ user.displayName }}{% endfor %}",
        "{{ user.displayName.__class__ }}",
        "{{ user.displayName + user.department }}",
    ],
)
def test_expensive_and_unsafe_templates_fail_for_one_user(source: str) -> None:
    """No template takes the memory or the time that the others need."""
    with pytest.raises(ExpressionFailed):
        shown(source)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{{ user.maill }}", "user.maill is no property of a user in Microsoft Graph; "),
        ("{{ user.upn }}", "did you mean userPrincipalName?"),
        ("{{ user.Department }}", "did you mean department?"),
        ("{{ user.extensionAttribute3 }}", "onPremisesExtensionAttributes.extensionAttribute3"),
        ("{{ user.onPremisesExtensionAttributes.extensionAttribute16 }}", "has no"),
        ("{{ user.signInActivity }}", "cannot be followed: a delta query refuses it"),
        ("{{ user.manager }}", "write user.manager.NAME"),
        ("{% if user.manager %}x{% endif %}", "write user.manager.NAME"),
        ("{{ user.manager[user.mail] }}", "write user.manager.NAME"),
        ("{{ user.manager.maill }}", "user.manager.maill is no property of a user"),
        ("{{ user.manager.manager.mail }}", "only a user's own manager is read"),
        ("{{ user.manager.skills }}", "user.manager.skills cannot be followed"),
        ("{{ user.manager.employeeOrgData.costCentre }}", "did you mean costCenter?"),
        ("{{ user.skills }}", "cannot be followed"),
        ("{{ user.extension_abc_x }}", "is no directory extension"),
        ("{{ group.mail }}", "group is not known here, only user"),
        ("{{ mail }}", "did you mean user.mail?"),
        ("{{ user }}", "user alone says nothing"),
        ("{{ user[user.mail] }}", "write the property's name"),
        ("{{ user.mail | lwoer }}", "there is no filter lwoer; did you mean lower?"),
        ("{{ 1 is odder }}", "there is no test odder; did you mean odd?"),
        ("{{ user.mail", "is no template"),
        ("{% import 'x' as x %}{{ user.mail }}", "import is not available"),
        ("{% macro x() %}{% endmacro %}{{ user.mail }}", "macro is not available"),
        ("{{ range(9) }}", "range is not known"),
        ("{{ user.otherMails | random }}", "there is no filter random"),
        ("{{ user.mail | regex_replace('(', '') }}", "regex_replace('(')"),
        ("user.mail", "write '{{ user.mail }}'"),
        (
            "{% for a in user.mail %}{% for b in a %}{% for c in b %}{% endfor %}{% endfor %}"
            "{% endfor %}",
            "more than two loops",
        ),
    ],
)
def test_mistakes_are_found_before_anybody_is_mapped(source: str, problem: str) -> None:
    """What is wrong for every object is an error of the file."""
    with pytest.raises(ExpressionProblem) as caught:
        Template(source, "user")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{{ user.accountEnabled }}", "an expression is written without {{ }}"),
        ("user.accountEnabled and", "is no expression"),
        ("user.mail user.mail", "unexpected 'user'"),
        ("department == 'x'", "did you mean user.department?"),
        ("user.mail | lower; user.maill", "is no expression"),
    ],
)
def test_mistakes_in_expressions_are_found_too(source: str, problem: str) -> None:
    """Also braces where none belong."""
    with pytest.raises(ExpressionProblem) as caught:
        Expression(source, "user")
    assert problem in str(caught.value)


def test_every_mistake_of_one_template_is_told() -> None:
    """Nobody wants to correct a line five times."""
    with pytest.raises(ExpressionProblem) as caught:
        Template("{{ user.maill | lwoer }}{{ nothing }}", "user")
    assert str(caught.value).count(";") >= 3


@pytest.mark.parametrize(
    ("source", "properties"),
    [
        ("{{ user.mail or user['displayName'] }}", {"mail", "displayName"}),
        ("{% if user.userType == 'Guest' %}{{ user.mail }}{% endif %}", {"userType", "mail"}),
        ("{{ user.onPremisesExtensionAttributes.extensionAttribute1 }}",
         {"onPremisesExtensionAttributes"}),
        ("{{ user.extension_0123456789abcdef0123456789abcdef_costCenter }}",
         {"extension_0123456789abcdef0123456789abcdef_costCenter"}),
        ("{{ user.id }}", set()),
        ("fixed", set()),
    ],
)  # fmt: skip
def test_properties_are_known_before_it_runs(source: str, properties: set[str]) -> None:
    """They must be selected; `id` always is."""
    assert Template(source, "user").properties == properties


def test_groups_have_properties_of_their_own() -> None:
    """`group` where groups are named."""
    template = Template("{{ group.displayName | lower }}", "group")
    assert template({"displayName": "Atl Jira"}) == "atl jira"
    with pytest.raises(ExpressionProblem):
        Template("{{ group.department }}", "group")
    with pytest.raises(ExpressionProblem):
        Expression("user.accountEnabled", "group")


def test_the_fast_path_gives_what_the_slow_one_gives() -> None:
    """For every kind of value."""
    values = ["Ana ", None, "", "ÄÖ", True, 7, ["A", "b"], [], "x" * 5000, " \n"]
    for value in values:
        outcomes = []
        for source in ("{{ user.mail | lower }}", "{{ (user.mail) | lower }}{{ '' }}"):
            try:
                outcomes.append(shown(source, {"mail": value}))
            except ExpressionFailed as error:
                outcomes.append(str(error).rpartition(":")[2])
        assert outcomes[0] == outcomes[1], value
