"""The company that `azsyncd demo` shows: a tenant, and Atlassian products that have seen years.

Everything follows from a seed. What stands in the products already: accounts of people who are in
Entra too (to be adopted), accounts and groups that are nobody's business (to be left alone).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from azsyncd.clock import Clock
from azsyncd.sandbox.crowd import Crowd
from azsyncd.sandbox.datacenter import DataCenter
from azsyncd.sandbox.jira import Jira
from azsyncd.sandbox.nodes import Node
from azsyncd.sandbox.people import ODD, Odd, mailbox, names
from azsyncd.sandbox.products import product as make_product
from azsyncd.sandbox.tenant import Tenant

SCOPE_GROUP = "Atlassian Users"
"""Whoever is in this group, at any depth, has an account."""
PREFIX = "atl-"
"""Security groups of such names are written to the products."""
DOMAIN = "fabrikam.example"
TENANT_DOMAIN = "fabrikam.onmicrosoft.com"

INSIDE = ("Engineering", "Sales", "Support", "Finance", "Design", "Legal", "Marketing", "Research")
OUTSIDE = ("Warehouse", "Canteen")
"""Departments whose people need no account."""

_PROJECTS = (
    "apollo borealis cygnus draco elara fornax gemini hydra icarus juno kepler lyra mensa nova "
    "orion pavo quasar rigel sirius titan umbra vega wega xena ymir zenit"
)
PROJECTS = _PROJECTS.split()

ODD_GROUPS = (
    "atl-Ärzte & Söhne",
    "ATL-Upper Case",
    "atl-o'neill's crew",
    "atl-rocket 🚀",
    "atl-50% a/b+c?d=e",
    "atl-" + "very-" * 50 + "x",
)
STANDING_GROUPS = ("old-team", "contractors")
LICENCE_GROUPS = {"confluence": "confluence-users", "bitbucket": "stash-users"}
"""Where accounts that were made by hand are, by product; `jira-software-users` elsewhere."""
FOREIGN = (
    ("svc-build", "Build Server"),
    ("svc-monitoring", "Monitoring"),
    ("root.cause", "Root Cause"),
    ("jane.contractor", "Jane Contractor"),
    ("old.employee", "Old Employee"),
    ("Project Board", "Project Board"),
)
"""Accounts that nobody in Entra explains: username and display name."""


JIRA_AND_CROWD: Mapping[str, str | None] = {"jira": None, "crowd": None}


@dataclass(slots=True)
class World:
    """What was built. `teams`: the groups whose members work somewhere, by department."""

    tenant: Tenant
    products: dict[str, DataCenter]  # under the names that the configuration gives them
    teams: dict[str, list[str]] = field(default_factory=dict)
    projects: list[str] = field(default_factory=list)
    scope_group: str = ""
    guests: str = ""

    @property
    def jira(self) -> Jira:
        """The Jira of the company."""
        found = self.products["jira"]
        assert isinstance(found, Jira)
        return found

    @property
    def crowd(self) -> Crowd:
        """The Crowd of the company."""
        found = self.products["crowd"]
        assert isinstance(found, Crowd)
        return found

    def employees(self) -> list[Node]:
        """Living people who are no guests, in the order in which they came."""
        return [u for u in self.tenant.users() if u.properties["userType"] == "Member"]


def build(
    users: int = 1000,
    groups: int | None = None,
    *,
    seed: int = 1,
    clock: Clock | None = None,
    products: Mapping[str, str | None] = JIRA_AND_CROWD,
) -> World:
    """A company of so many users; 120 groups for every 1,000 of them, and never less than 60.

    `products` names its products and their versions (None: the sandbox's own).
    """
    rng = random.Random(seed)
    tenant = Tenant(domain=TENANT_DOMAIN, clock=clock, seed=seed)
    world = World(tenant, {name: _install(name, version) for name, version in products.items()})
    wanted = max(60, round(users * 0.12)) if groups is None else groups
    _found_company(world, rng, wanted)
    for person in _people(rng, users, world):
        _hire(world, rng, person)
    _staff_projects(world, rng)
    _age(world, seed)
    return world


def _install(name: str, version: str | None) -> DataCenter:
    made = make_product(name, version)
    assert isinstance(made, DataCenter)
    return made


# Groups -------------------------------------------------------------------------------------------


def _found_company(world: World, rng: random.Random, wanted: int) -> None:
    """The groups, nested three to four levels deep, with a ring, twins, and odd names."""
    tenant = world.tenant
    world.scope_group = tenant.add_group(SCOPE_GROUP, description="Has accounts in our products")
    world.guests = tenant.add_group("Guests of our projects")
    tenant.add_member(world.scope_group, world.guests)
    for department in (*INSIDE, *OUTSIDE):
        _found_department(world, department)
    ring = [tenant.add_group(f"{PREFIX}circle-{where}") for where in ("north", "east", "south")]
    for each, following in zip(ring, [*ring[1:], ring[0]], strict=True):
        tenant.add_member(each, following)
    twins = [tenant.add_group(f"{PREFIX}twins") for _ in range(2)]
    odd = [tenant.add_group(name) for name in ODD_GROUPS]
    world.projects += [*ring, *odd]
    for name in ("Newsletter", f"{PREFIX}social", "All hands"):
        tenant.add_group(name, kind="m365", members=[])
    for department in ("Sales", "Support"):
        tenant.add_group(f"{PREFIX}dynamic-{department.lower()}", rule=("department", department))
    made = len(list(tenant.groups()))
    _found_teams_and_projects(world, rng, max(0, wanted - made))
    for twin in twins:
        tenant.add_member(twin, world.teams["Legal"][0])


def _found_department(world: World, department: str) -> None:
    """`Sales` in the scope group and in `atl-sales`; its first team below it."""
    tenant = world.tenant
    whole = tenant.add_group(department)
    team = tenant.add_group(f"{department} Team 1")
    tenant.add_member(whole, team)
    world.teams[department] = [team]
    if department in INSIDE:
        tenant.add_member(world.scope_group, whole)
        tenant.add_group(f"{PREFIX}{department.lower()}", members=[whole])


def _found_teams_and_projects(world: World, rng: random.Random, count: int) -> None:
    """Half of them teams (now and then below another team), half of them projects."""
    tenant = world.tenant
    for number in range(count):
        if number % 2:
            department = rng.choice((*INSIDE, *OUTSIDE))
            teams = world.teams[department]
            team = tenant.add_group(f"{department} Team {len(teams) + 1}")
            below = teams[-1] if rng.random() < 0.3 else tenant.group(department).id
            tenant.add_member(below, team)
            teams.append(team)
            continue
        name = PROJECTS[number // 2 % len(PROJECTS)]
        again = number // 2 // len(PROJECTS)
        project = tenant.add_group(f"{PREFIX}project-{name}" + (f"-{again + 1}" if again else ""))
        if rng.random() < 0.3:
            tenant.add_member(rng.choice(world.projects), project)
        world.projects.append(project)


def _staff_projects(world: World, rng: random.Random) -> None:
    """Some people here and there, and now and then a whole team."""
    tenant, people = world.tenant, [user.id for user in world.tenant.users()]
    teams = [team for department in INSIDE for team in world.teams[department]]
    for project in world.projects:
        for person in rng.sample(people, min(len(people), rng.randint(2, 9))):
            tenant.add_member(project, person)
        if rng.random() < 0.25:
            tenant.add_member(project, rng.choice(teams))
    for name in ("Newsletter", f"{PREFIX}social", "All hands"):
        for person in rng.sample(people, min(len(people), 20)):
            tenant.add_member(tenant.group(name).id, person)


# People -------------------------------------------------------------------------------------------


def _people(rng: random.Random, count: int, world: World) -> Iterator[dict[str, Any]]:
    """The properties of so many users: the odd ones first, a guest among twenty-five."""
    odd = ODD[: count // 2]
    yield from (odd_person(each) for each in odd)
    invented = names(rng)
    for number in range(count - len(odd)):
        given, surname = next(invented)
        if number % 25 == 12:
            yield guest(world.tenant, given, surname)
        else:
            yield employee(world.tenant, given, surname)


def odd_person(odd: Odd) -> dict[str, Any]:
    """Somebody with an odd name."""
    upn = f"{odd.upn}@{DOMAIN}"
    return {
        "upn": upn,
        "displayName": odd.display_name[:256],
        "givenName": odd.given or None,
        "surname": odd.surname or None,
        "mail": upn if odd.mail else None,
    }


def employee(tenant: Tenant, given: str, surname: str) -> dict[str, Any]:
    """A colleague with an address that is still free."""
    upn = free_upn(tenant, mailbox(given, surname))
    return {
        "upn": upn,
        "displayName": f"{given} {surname}",
        "givenName": given,
        "surname": surname,
        "mail": upn,
    }


def guest(tenant: Tenant, given: str, surname: str) -> dict[str, Any]:
    """Somebody of another company, with the UPN that Entra makes of an invitation."""
    name, number = mailbox(given, surname), 1
    while True:
        local = name if number == 1 else f"{name}{number}"
        upn = f"{local}_contoso.example#EXT#@{TENANT_DOMAIN}"
        if tenant.find(upn) is None:
            break
        number += 1
    return {
        "upn": upn,
        "displayName": f"{given} {surname} (Contoso)",
        "givenName": given,
        "surname": surname,
        "mail": f"{local}@contoso.example",
        "userType": "Guest",
        "creationType": "Invitation",
        "externalUserState": "Accepted",
    }


def free_upn(tenant: Tenant, name: str) -> str:
    """`ann.lee@…`, or `ann.lee2@…` where that is taken, also by somebody soft-deleted."""
    taken = {str(user.properties["userPrincipalName"]) for user in tenant.deleted("users")}
    number = 1
    while True:
        upn = f"{name}{number if number > 1 else ''}@{DOMAIN}"
        if tenant.find(upn) is None and upn not in taken:
            return upn
        number += 1


def _hire(world: World, rng: random.Random, person: dict[str, Any]) -> None:
    properties = dict(person)
    upn = str(properties.pop("upn"))
    number = len(world.tenant.ids["users"])
    if properties.get("userType") == "Guest":
        made = world.tenant.add_user(upn, **properties)
        world.tenant.add_member(world.guests, made)
        return
    department = OUTSIDE[number % 2] if number % 12 == 11 else INSIDE[number % len(INSIDE)]
    made = world.tenant.add_user(
        upn,
        department=department,
        companyName="Fabrikam",
        employeeId=f"E{number:06d}",
        jobTitle=rng.choice(("Engineer", "Specialist", "Manager", "Lead", None)),
        accountEnabled=number % 24 != 17,
        **properties,
    )
    world.tenant.add_member(rng.choice(world.teams[department]), made)


# What stands in the products already --------------------------------------------------------------


def _age(world: World, seed: int) -> None:
    """Years of work by hand, in each product differently."""
    inside = [
        member
        for member in world.tenant.transitive_members(world.scope_group)
        if member.feed == "users"
    ]
    inside.sort(key=lambda user: user.name)
    for name, product in world.products.items():
        rng = random.Random(f"{seed} {name}")  # whatever else is there
        _add_foreign(product)
        known = rng.sample(inside, min(len(inside), max(2, len(inside) // 30)))
        disabled = next((user for user in inside if not user.properties["accountEnabled"]), None)
        if disabled is not None and disabled not in known:
            known.append(disabled)
        for number, user in enumerate(known):
            _add_known(product, user, number)
        _add_groups(world, product, [user.name for user in known])


def licence_group(product: DataCenter) -> str:
    """The group that lets people in."""
    return LICENCE_GROUPS.get(product.kind, "jira-software-users")


def _add_foreign(product: DataCenter) -> None:
    standing = (licence_group(product), *STANDING_GROUPS)
    for name in standing:
        product.add_group(name)
    for number, (name, display_name) in enumerate(FOREIGN):
        product.add_user(
            name,
            display_name=display_name,
            email=f"foreign{number}@elsewhere.example",
            active=name != "old.employee",
            groups=[standing[number % len(standing)]],
            attributes={"locale": ["en_GB"]},
        )
    product.add_user("admin", display_name="Administrator", groups=product.admin_groups)


def _add_known(product: DataCenter, user: Node, number: int) -> None:
    """An account that somebody made by hand for a person who is in Entra too."""
    name = user.name if number % 2 else user.name.upper()
    product.add_user(
        name if len(name) < 60 else user.name,
        display_name=f"{user.properties['displayName']} (old)"[:255],
        email=f"by.hand{number}@{DOMAIN}" if number % 3 == 0 else user.name,
        groups=[licence_group(product)],
    )


def _add_groups(world: World, product: DataCenter, known: list[str]) -> None:
    """Two groups that stand under names that are wanted, with members of both sorts."""
    standing = [f"{PREFIX}sales", world.tenant.nodes[world.projects[-1]].name]
    for name in standing:
        product.add_group(name.upper() if name == standing[0] else name)
        product.add_member(name, "svc-build")
        for member in known[::2]:
            product.add_member(name, member)
