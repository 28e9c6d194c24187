"""Compares what the products hold with what they should hold (I1), and says what differs."""

from __future__ import annotations

from azsyncd.model.accounts import Account

from .expected import Expected, Person, expected
from .watching import SWAP
from .world import World


def differences(world: World) -> list[str]:
    """One line for everything that is not as it should be; empty = converged."""
    want = expected(world.tenant, world.scope)
    found: list[str] = []
    for name in world.products:
        found += [f"{name}: {line}" for line in _of(world, name, want)]
    return found


def _of(world: World, name: str, want: Expected) -> list[str]:
    product = world.products[name]
    found: list[str] = []
    names = [account.username.lower() for account in product.held.values()]
    found += [f"two accounts are called {n}" for n in set(names) if names.count(n) > 1]
    keys: dict[str, str] = {}
    waiting = contested(world, want)
    disputed = {n for n, ids in world.watch.names.items() if ids & waiting}
    disputed |= {f"{SWAP}{found}" for found in waiting}
    wanted_names = {person.username for person in want.people.values()}
    for person in want.people.values():
        account = product.account(person.username)
        if person.id in waiting:
            continue
        if account is not None:
            keys[person.id] = str(account.key)
        found += _person(world, name, person, account)
    for account in product.held.values():
        foreign = account.username in world.foreign
        known = foreign or account.username in wanted_names or account.username in disputed
        if account.active and not known:
            found.append(f"{account.username} should not be active")
    for group, ids in want.members.items():
        if len(world.watch.group_names.get(group, ())) > 1:
            continue  # two groups had this name: the first may hold it for ever
        held = product.held_groups.get(group)
        if held is None:
            found.append(f"there is no group {group}")
            continue
        wanted = {keys[i] for i in ids if i in keys}
        for key in sorted(wanted - held.members):
            found.append(f"{product.held[key].username} is missing in {group}")
        for key in sorted(held.members - wanted):
            account = product.held[key]
            of_leaver = account.username not in wanted_names or account.username in disputed
            by_hand = (group, key) in world.by_hand.get(name, set())
            if not of_leaver and not by_hand:
                found.append(f"{account.username} should not be in {group}")
    return found


def contested(world: World, want: Expected) -> set[str]:
    """Whose name may belong to the account of somebody who left (rule 23), or of somebody who
    cannot leave it for that reason."""
    found: set[str] = set()
    while True:
        more = {
            person.id
            for person in want.people.values()
            if any(
                other != person.id and (other not in want.people or other in found)
                for other in world.watch.names.get(person.username, ())
            )
        }
        if more <= found:
            return found
        found |= more


def _person(world: World, name: str, person: Person, account: Account | None) -> list[str]:
    if account is None:
        return [f"{person.username} has no account"] if person.active else []
    found = []
    if account.active != person.active:
        found.append(f"{person.username} is active: {account.active}")
    if account.email != person.email:
        found.append(f"{person.username} has the address {account.email}, not {person.email}")
    if account.display_name != person.display_name:
        found.append(f"{person.username} is called {account.display_name}")
    if account.mark is not None and account.mark.object_id != person.id:
        found.append(f"{person.username} carries the mark of {account.mark.object_id}")
    return found
