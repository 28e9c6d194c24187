"""Who is in scope: rules 9 to 13."""

from dataclasses import replace

import pytest

from azsyncd.model.identities import Group, ObjectId, Presence, User
from azsyncd.plan.expressions import ExpressionFailed, Unread
from azsyncd.plan.policy import Entry, GroupScope, Scope, UserScope
from azsyncd.plan.scope import Entries, GroupRule, ScopeFacts, UserRule, Verdict, merged

IN, OUT, EXCLUDED, UNDECIDED = Verdict.IN, Verdict.OUT, Verdict.EXCLUDED, Verdict.UNDECIDED

STAFF = ObjectId("00000000-0000-0000-0000-00000000000a")
OTHERS = ObjectId("00000000-0000-0000-0000-00000000000b")
ANA = User(
    ObjectId("00000000-0000-0000-0000-000000000001"),
    {"userPrincipalName": "Ana@Contoso.com", "userType": "Member", "department": None},
)
NOBODY: frozenset[ObjectId] = frozenset()
BY_STAFF = ScopeFacts(member_of=frozenset({STAFF}))


def group(name: str = "atl-jira", **properties: object) -> Group:
    common = {"displayName": name, "securityEnabled": True, "groupTypes": [], "mailEnabled": False}
    return Group(STAFF, {**common, **properties})


M365 = group("atl-party", securityEnabled=False, mailEnabled=True, groupTypes=["Unified"])
M365_SECURE = replace(M365, properties={**M365.properties, "securityEnabled": True})

# Groups ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "name", "matches"),
    [
        (Entry(name="atl-*"), "ATL-Jira", True),
        (Entry(name="ATL-*"), "atl-jira", True),
        (Entry(name="atl-*"), "my atl-jira", False),
        (Entry(name="Jira Users"), "jira users", True),
        (Entry(name="Jira Users"), "jira users 2", False),
        (Entry(name="App [EU] Users"), "App [EU] Users", True),
        (Entry(name="atl-??"), "atl-eu", True),
        (Entry(name="STRASSE*"), "Straße 1", True),
        (Entry(name="*"), "", True),
        (Entry(regex="atl-(jira|crowd)"), "atl-jira", True),
        (Entry(regex="atl-(jira|crowd)"), "atl-jira-2", False),
        (Entry(regex="atl-.*"), "ATL-jira", False),
        (Entry(regex="(?i)atl-.*"), "ATL-jira", True),
        (Entry(id=STAFF.upper()), "whatever", True),
        (Entry(id=OTHERS), "whatever", False),
        (Entry(where="group.displayName.startswith('atl')"), "atl-jira", True),
        (Entry(where="group.mailEnabled"), "atl-jira", False),
        (Entry(where=f"group.id == '{STAFF}'"), "atl-jira", True),
        (Entry(where=True), "atl-jira", True),
    ],
)
def test_entries_name_groups(entry: Entry, name: str, matches: bool) -> None:
    """By glob (case ignored), regex (whole name), id, and expression."""
    assert Entries([entry]).matches(entry, group(name)) is matches


@pytest.mark.parametrize(
    ("entry", "matches"),
    [
        (Entry(name="atl-*"), (True, False, False)),
        (Entry(regex="atl-.*"), (True, False, False)),
        (Entry(name="atl-*", type="any"), (True, True, True)),
        (Entry(regex="atl-.*", type="any"), (True, True, True)),
        (Entry(id=STAFF), (True, True, True)),
        (Entry(where="group.displayName[:4] == 'atl-'"), (True, True, True)),
    ],
)
def test_rule_12_patterns_match_security_groups_only(
    entry: Entry, matches: tuple[bool, ...]
) -> None:
    """Every employee can create a Microsoft 365 group of any name."""
    entries = Entries([entry])
    assert tuple(entries.matches(entry, g) for g in (group(), M365, M365_SECURE)) == matches


@pytest.mark.parametrize("presence", [Presence.SOFT_DELETED, Presence.PURGED])
def test_a_group_that_is_gone_is_named_by_nothing(presence: Presence) -> None:
    """Neither by name nor by id."""
    gone = replace(group(), presence=presence)
    for entry in (Entry(name="atl-*"), Entry(id=STAFF), Entry(where=True)):
        assert not Entries([entry]).matches(entry, gone)
    assert GroupRule(GroupScope(include=(Entry(id=STAFF),))).verdict(gone).verdict is OUT


@pytest.mark.parametrize("missing", ["displayName", "securityEnabled", "groupTypes"])
def test_rule_5_a_group_whose_name_was_not_read_is_undecided(missing: str) -> None:
    """Bare ids match nothing and are not out either."""
    known = dict(group().properties)
    del known[missing]
    bare = Group(STAFF, known)
    entry = Entry(name="atl-*")
    with pytest.raises(Unread):
        Entries([entry]).matches(entry, bare)
    found = GroupRule(GroupScope(include=(entry,))).verdict(bare)
    assert (found.verdict, found.entry) == (UNDECIDED, None)
    assert missing in found.why


def test_rule_13_a_failing_where_of_a_group_is_undecided() -> None:
    """With the reason; another entry that matches decides all the same."""
    failing = Entry(where="group.description > 3")
    with pytest.raises(ExpressionFailed):
        Entries([failing]).matches(failing, group(description="x"))
    rule = GroupRule(GroupScope(include=(failing,)))
    assert rule.verdict(group(description="x")).verdict is UNDECIDED
    both = GroupRule(GroupScope(include=(failing, Entry(name="atl-*"))))
    found = both.verdict(group(description="x"))
    assert (found.verdict, found.entry) == (IN, "name: atl-*")


@pytest.mark.parametrize(
    "exclude",
    [
        "atl-j*",
        STAFF,
        STAFF.upper(),
        Entry(name="atl-jira"),
        Entry(id=STAFF),
        Entry(where="group.displayName == 'atl-jira'"),
    ],
)
def test_rule_9_an_excluded_group_is_hands_off(exclude: Entry | str) -> None:
    """Also when it matches an include, and also when it is gone."""
    rule = GroupRule(GroupScope(include=(Entry(name="*"),), exclude=(exclude,)))
    assert rule.verdict(group()).verdict is EXCLUDED
    gone = replace(group(), presence=Presence.SOFT_DELETED)
    assert rule.verdict(gone).verdict is EXCLUDED
    assert rule.verdict(replace(group("other"), id=OTHERS)).verdict is IN


def test_rule_9_excludes_are_meant_for_groups_of_any_type() -> None:
    """Who excludes `atl-*` means Microsoft 365 groups too."""
    rule = GroupRule(
        GroupScope(include=(Entry(where=True),), exclude=(Entry(name="atl-*"),))
    )  # fmt: skip
    assert rule.verdict(M365).verdict is EXCLUDED


def test_an_exclude_that_cannot_be_judged_leaves_the_group_undecided() -> None:
    """It might be hands off."""
    scope = GroupScope(include=(Entry(name="*"),), exclude=(Entry(where="group.theme == 'x'"),))
    found = GroupRule(scope).verdict(group())
    assert found.verdict is UNDECIDED
    assert "theme" in found.why


def test_no_include_means_no_groups() -> None:
    """And says so; a group of the wrong type is told what is missing."""
    assert "empty" in GroupRule(GroupScope()).verdict(group()).why
    out = GroupRule(GroupScope(include=(Entry(name="atl-*"),))).verdict(M365)
    assert out.verdict is OUT
    assert "type: any" in out.why


# Users ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "groups", "verdict"),
    [
        (UserScope(everybody=True), set(), IN),
        (UserScope(), {STAFF}, OUT),
        (UserScope(members_of=(Entry(name="staff"),)), {STAFF, OTHERS}, IN),
        (UserScope(members_of=(Entry(name="staff"),)), {OTHERS}, OUT),
        (UserScope(members_of=(Entry(name="staff"),)), set(), OUT),
        (UserScope(where="user.userType == 'Member'"), set(), IN),
        (UserScope(where="user.userType == 'Guest'"), set(), OUT),
        (UserScope(where=True), set(), IN),
        (UserScope(where=False), set(), OUT),
        (UserScope(where=True, members_of=(Entry(name="staff"),)), {STAFF}, IN),
        (UserScope(where=True, members_of=(Entry(name="staff"),)), set(), OUT),
        (UserScope(where=False, members_of=(Entry(name="staff"),)), {STAFF}, OUT),
        (UserScope(everybody=True, where=False), set(), OUT),
        (UserScope(everybody=True, members_of=(Entry(name="staff"),)), set(), OUT),
        (UserScope(where=f"user.id == '{ANA.id}'"), set(), IN),
    ],
)
def test_every_condition_that_is_given_must_hold(
    scope: UserScope, groups: set[ObjectId], verdict: Verdict
) -> None:
    """where, members_of, everybody."""
    found = UserRule(scope).verdict(ANA, frozenset(groups), BY_STAFF)
    assert found.verdict is verdict
    assert found.why


@pytest.mark.parametrize("name", [ANA.id, ANA.id.upper(), "ana@contoso.com", "ANA@CONTOSO.COM"])
def test_rule_9_an_excluded_user_is_hands_off(name: str) -> None:
    """By object id or UPN, whatever the case."""
    rule = UserRule(UserScope(everybody=True, exclude=("x@contoso.com", name)))
    assert rule.verdict(ANA, NOBODY, ScopeFacts()).verdict is EXCLUDED
    other = User(OTHERS, {"userPrincipalName": "jo@contoso.com"})
    assert rule.verdict(other, NOBODY, ScopeFacts()).verdict is IN


def test_rule_9_an_exclude_by_upn_stays_with_the_object() -> None:
    """The id was pinned when the UPN matched first; a rename does not bring her back."""
    rule = UserRule(UserScope(everybody=True, exclude=("ana@contoso.com",)))
    renamed = replace(ANA, properties={**ANA.properties, "userPrincipalName": "a@contoso.com"})
    assert rule.verdict(renamed, NOBODY, ScopeFacts()).verdict is IN
    pinned = ScopeFacts(excluded=frozenset({ANA.id}))
    assert rule.verdict(renamed, NOBODY, pinned).verdict is EXCLUDED


def test_rule_9_who_might_be_excluded_is_undecided() -> None:
    """Her UPN was not read; excludes by id alone need none."""
    bare = User(ANA.id, {"userType": "Member"})
    by_upn = UserRule(UserScope(everybody=True, exclude=("jo@contoso.com",)))
    assert by_upn.verdict(bare, NOBODY, ScopeFacts()).verdict is UNDECIDED
    by_id = UserRule(UserScope(everybody=True, exclude=(OTHERS,)))
    assert by_id.verdict(bare, NOBODY, ScopeFacts()).verdict is IN


def test_rule_11_an_entry_that_matches_nothing_any_more_is_not_nobody() -> None:
    """Who would be out because of it is undecided; who is in by another entry stays in."""
    rule = UserRule(UserScope(members_of=(Entry(name="staff"), Entry(name="gone"))))
    facts = replace(BY_STAFF, uncertain="members_of (name: gone) matches none now")
    lost = rule.verdict(ANA, frozenset({OTHERS}), facts)
    assert (lost.verdict, lost.why) == (UNDECIDED, "members_of (name: gone) matches none now")
    assert rule.verdict(ANA, frozenset({STAFF}), facts).verdict is IN


def test_rule_11_where_still_decides_alone() -> None:
    """Both conditions must hold: one that surely does not is enough to be out."""
    rule = UserRule(UserScope(where="user.userType == 'Guest'", members_of=(Entry(name="x"),)))
    assert rule.verdict(ANA, NOBODY, ScopeFacts(uncertain="?")).verdict is OUT


@pytest.mark.parametrize(
    "where", ["user.department > 3", "user.department", "user.city == 'Rome'", "user.userType"]
)
def test_rule_13_a_failing_where_is_undecided(where: str) -> None:
    """Failing, giving no boolean, or not read: she keeps what she has, with the reason."""
    found = UserRule(UserScope(where=where)).verdict(ANA, NOBODY, ScopeFacts())
    assert found.verdict is UNDECIDED
    assert found.why.startswith("scope.users.where: ")


def test_rule_10_groups_are_asked_at_any_depth() -> None:
    """The caller hands in all groups that she is in; which of them counted is told."""
    rule = UserRule(UserScope(members_of=(Entry(name="staff"),)))
    found = rule.verdict(ANA, frozenset({OTHERS, STAFF}), BY_STAFF)
    assert found.member_of == {STAFF}


def test_a_deleted_user_is_judged_by_the_same_rules() -> None:
    """Presence is another matter."""
    gone = replace(ANA, presence=Presence.SOFT_DELETED)
    rule = UserRule(UserScope(members_of=(Entry(name="staff"),)))
    assert rule.verdict(gone, frozenset({STAFF}), BY_STAFF).verdict is IN


def test_a_verdict_shows_its_evidence() -> None:
    """The expression, and the values that it saw."""
    rule = UserRule(UserScope(where="user.userType == 'Guest'"))
    why = rule.verdict(ANA, NOBODY, ScopeFacts()).why
    assert why == "scope.users.where (user.userType == 'Guest') is false: userType = 'Member'"


def test_a_verdict_that_looks_at_the_manager_shows_it() -> None:
    """Under its own name: her department is not her manager's."""
    rule = UserRule(UserScope(where="user.manager.department == 'Sales'"))
    led = replace(ANA, properties={**ANA.properties, "manager": {"department": "Sales"}})
    why = rule.verdict(led, NOBODY, ScopeFacts()).why
    assert why.endswith("is true: manager.department = 'Sales'")
    alone = replace(ANA, properties={**ANA.properties, "manager": None})
    verdict = rule.verdict(alone, NOBODY, ScopeFacts())
    assert (verdict.verdict, verdict.why[-25:]) == (OUT, "manager.department = None")


# A target's own scope -------------------------------------------------------------------------

STAFF_SCOPE = UserScope(where=True, members_of=(Entry(name="staff"),), exclude=("a@x.com",))


@pytest.mark.parametrize(
    ("own", "effective"),
    [
        (UserScope(), STAFF_SCOPE),
        (
            UserScope(where="user.accountEnabled"),
            STAFF_SCOPE.model_copy(update={"where": "user.accountEnabled"}),
        ),
        (
            UserScope(members_of=(Entry(name="pilot"),)),
            STAFF_SCOPE.model_copy(update={"members_of": (Entry(name="pilot"),)}),
        ),
        (UserScope(where=None), STAFF_SCOPE.model_copy(update={"where": None})),
        (
            UserScope(exclude=("b@x.com",)),
            STAFF_SCOPE.model_copy(update={"exclude": ("a@x.com", "b@x.com")}),
        ),
        (UserScope(everybody=True), UserScope(everybody=True, exclude=("a@x.com",))),
        (
            UserScope(everybody=True, where="user.accountEnabled"),
            UserScope(everybody=True, where="user.accountEnabled", exclude=("a@x.com",)),
        ),
    ],
)
def test_a_targets_own_keys_replace_the_common_ones_one_by_one(
    own: UserScope, effective: UserScope
) -> None:
    """`exclude` adds up, and everybody means everybody."""
    assert merged(Scope(users=STAFF_SCOPE), Scope(users=own)).users == effective


def test_group_scopes_are_merged_in_the_same_way() -> None:
    """include replaces, exclude adds up."""
    common = GroupScope(include=(Entry(name="a*"),), exclude=("ab",))
    own = GroupScope(include=(Entry(name="b*"),), exclude=("bc",))
    both = merged(Scope(groups=common), Scope(groups=own)).groups
    assert both == GroupScope(include=own.include, exclude=("ab", "bc"))
    assert merged(Scope(groups=common), Scope()).groups == common
    none = merged(Scope(groups=common), Scope(groups=GroupScope(include=()))).groups
    assert none.include == ()
