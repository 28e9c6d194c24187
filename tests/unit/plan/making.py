"""Small facts and desks for the planner's tables: everything ordinary unless said otherwise."""

from __future__ import annotations

from typing import Any

from azsyncd.model.accounts import Account, Capabilities, TargetGroup
from azsyncd.model.changes import Change
from azsyncd.model.identities import Group, ObjectId, User
from azsyncd.model.links import AccountLink, Edge, GroupLink, LinkState, Origin
from azsyncd.plan.desk import Desk
from azsyncd.plan.facts import GroupFacts, NameFacts, Standing, UserFacts, WantedGroup
from azsyncd.plan.mapping import AccountMapping, GroupMapping
from azsyncd.plan.policy import (
    AccountRules,
    Entry,
    GroupRules,
    GroupScope,
    Policy,
    Scope,
    UserScope,
)
from azsyncd.plan.scope import GroupRule, ScopeFacts, UserRule
from azsyncd.plan.users import UserPlan, plan_user
from azsyncd.targets.memory import ABLE, MemoryDialect

DAY = 86400.0
NOW = 1_800_000_000.0
INSTANCE = "azsyncd"
ANA_ID = ObjectId("00000000-0000-0000-0000-000000000001")
BEN_ID = ObjectId("00000000-0000-0000-0000-000000000002")
STAFF = ObjectId("00000000-0000-0000-0000-00000000000a")
JIRA = ObjectId("00000000-0000-0000-0000-00000000000b")
CROWD = ObjectId("00000000-0000-0000-0000-00000000000c")


def user(**properties: object) -> User:
    """Ana, a member of the staff."""
    common = {
        "accountEnabled": True,
        "userPrincipalName": "ana@x.org",
        "mail": "ana@x.org",
        "displayName": "Ana",
        "userType": "Member",
        "employeeId": "17",
    }
    return User(ANA_ID, {**common, **properties})


HERS = Account(username="ana@x.org", email="ana@x.org", display_name="Ana", active=True, key="A1")
"""Ana's account, as Entra wants it."""


def policy(*, scope: Scope | None = None, **parts: Any) -> Policy:
    """A policy whose scope is the members of the staff and the groups `atl-*`."""
    accounts = AccountRules(**parts.pop("accounts", {}))
    groups = GroupRules(**parts.pop("groups", {}))
    scope = scope or Scope(
        users=UserScope(members_of=(Entry(name="staff"),)),
        groups=GroupScope(include=(Entry(name="atl-*"),)),
    )
    return Policy(scope=scope, accounts=accounts, groups=groups, **parts)


def desk(
    rules: Policy | None = None,
    *,
    able: Capabilities = ABLE,
    groups: dict[ObjectId, WantedGroup] | None = None,
    uncertain: str | None = None,
    **rest: Any,
) -> Desk:
    """A desk with the groups `atl-jira` and `atl-crowd`, both standing."""
    rules = rules or policy()
    dialect = MemoryDialect()
    standing = {
        JIRA: WantedGroup(JIRA, "atl-jira", stands=True),
        CROWD: WantedGroup(CROWD, "atl-crowd", stands=True),
    }
    return Desk(
        instance=INSTANCE,
        policy=rules,
        capabilities=able,
        dialect=dialect,
        users=UserRule(rules.scope.users),
        mapping=AccountMapping(rules.accounts, dialect),
        group_rule=GroupRule(rules.scope.groups),
        group_mapping=GroupMapping(rules.groups),
        scope=ScopeFacts(member_of=frozenset({STAFF}), uncertain=uncertain),
        groups=standing if groups is None else groups,
        now=NOW,
        **rest,
    )


def link(account: Account | None = HERS, **values: Any) -> AccountLink:
    """A live link to an account that we created, and last wrote as it stands."""
    common: dict[str, Any] = {
        "object_id": ANA_ID,
        "origin": Origin.CREATED,
        "state": LinkState.LIVE if account else LinkState.MISSING,
        "key": account.key if account else None,
        "written": account,
    }
    return AccountLink(**{**common, **values})


def facts(
    who: User | None = None,
    *groups: ObjectId,
    account: Account | None = None,
    link: AccountLink | None = None,
    edges: dict[ObjectId, bool | None] | None = None,
    under_name: Standing | None = None,
    **rest: Any,
) -> UserFacts:
    """Ana in the staff and in these groups. `edges`: the groups she is in there, and whose each
    membership is."""
    found = frozenset({STAFF, *groups})
    names = rest.pop("names", NameFacts(under_name=under_name))
    return UserFacts(
        user=who or user(),
        groups=rest.pop("above", found),
        direct=rest.pop("direct", found),
        link=link,
        account=account,
        edges={g: Edge(g, ours) for g, ours in (edges or {}).items()},
        names=names,
        **rest,
    )


def linked(who: User | None = None, *groups: ObjectId, **rest: Any) -> UserFacts:
    """The same with her own account."""
    account = rest.pop("account", HERS)
    return facts(who, *groups, account=account, link=rest.pop("link", link(account)), **rest)


def left(*groups: ObjectId, **rest: Any) -> UserFacts:
    """Ana has an account, and is in the staff no more."""
    who = rest.pop("who", None)
    return linked(who, above=frozenset(groups), direct=frozenset(groups), **rest)


def said(plan: UserPlan) -> list[str]:
    """A plan in words: `kind reason`, and `? kind reason` for what waits."""
    told = [_words(change) for change in sorted(plan.changes, key=lambda c: c.order)]
    for each in plan.waiting:
        told.append(f"? {each.change.kind if each.change else '-'} {each.reason}")
    return told


def _words(change: Change) -> str:
    names = {JIRA: " jira", CROWD: " crowd", None: ""}
    return f"{change.kind} {change.reason}{names.get(change.group_id, ' ?')}"


def planned(known: UserFacts, on: Desk | None = None) -> list[str]:
    """What is planned for a user, in words."""
    return said(plan_user(known, on or desk()))


# Groups -----------------------------------------------------------------------------------------


def group(name: str = "atl-jira", **properties: object) -> Group:
    """A security group."""
    common = {"displayName": name, "securityEnabled": True, "groupTypes": [], "mailEnabled": False}
    return Group(JIRA, {**common, **properties})


THERE = TargetGroup(name="atl-jira", key="atl-jira")


def group_link(standing: TargetGroup | None = THERE) -> GroupLink:
    """A link to a group that we created."""
    return GroupLink(
        object_id=JIRA,
        origin=Origin.CREATED,
        state=LinkState.LIVE if standing else LinkState.MISSING,
        key=standing.key if standing else None,
        name=standing.name if standing else "",
    )


def group_facts(of: Group | None = None, **rest: Any) -> GroupFacts:
    """A group that nothing stands for."""
    return GroupFacts(group=of or group(), **rest)


def linked_group(
    of: Group | None = None, standing: TargetGroup | None = THERE, **rest: Any
) -> GroupFacts:
    """A group that is linked."""
    return group_facts(of, link=group_link(standing), standing=standing, **rest)
