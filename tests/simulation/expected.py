"""What a target should hold, worked out naively from the tenant itself.

It knows nothing of planner, mirror or state: it walks the simulated directory as a person would.
The scope is fixed: members (at any depth) of the groups whose names match (`staff` unless said
otherwise); groups called `atl-…`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from azsyncd.sandbox.nodes import Node, Sort
from azsyncd.sandbox.tenant import Tenant

SCOPE = "staff"
PREFIX = "atl-"


@dataclass(frozen=True, slots=True)
class Person:
    """One user who should have an account, or none that works."""

    id: str
    username: str
    email: str
    display_name: str
    active: bool


@dataclass(slots=True)
class Expected:
    """`people` by id: everybody in scope. `members`: by group name, the ids of those in scope."""

    people: dict[str, Person] = field(default_factory=dict)
    members: dict[str, set[str]] = field(default_factory=dict)
    doubles: set[str] = field(default_factory=set)  # names that two groups have: nobody gets them


def below(tenant: Tenant, group: Node) -> set[str]:
    """The ids of all living users below a group, walking through living groups only."""
    found: set[str] = set()
    seen: set[str] = set()
    todo = [group]
    while todo:
        here = todo.pop()
        if here.id in seen:
            continue
        seen.add(here.id)
        for child in here.places:
            node = tenant.nodes[child]
            if not node.living:
                continue
            if node.sort is Sort.USER:
                found.add(node.id)
            elif node.sort is Sort.GROUP:
                todo.append(node)
    return found


def expected(tenant: Tenant, scope: str = SCOPE) -> Expected:
    """The whole of it. `scope`: the name of the groups whose members are in, a glob."""
    result = Expected()
    in_scope: set[str] = set()
    names: dict[str, list[Node]] = {}
    for node in tenant.nodes.values():
        if node.sort is not Sort.GROUP or not node.living:
            continue
        name = str(node.properties["displayName"])
        if fnmatchcase(name.lower(), scope):
            in_scope |= below(tenant, node)
        if name.lower().startswith(PREFIX) and "Unified" not in node.properties["groupTypes"]:
            names.setdefault(name.lower(), []).append(node)
    for found in sorted(in_scope):
        user = tenant.nodes[found].properties
        upn = str(user["userPrincipalName"])
        result.people[found] = Person(
            id=found,
            username=upn.lower(),
            email=str(user.get("mail") or upn),
            display_name=str(user["displayName"]),
            active=bool(user["accountEnabled"]),
        )
    for name, nodes in names.items():
        if len(nodes) > 1:
            result.doubles.add(name)
            continue
        result.members[name] = below(tenant, nodes[0]) & in_scope
    return result
