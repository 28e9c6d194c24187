"""What holds for every tenant, every history and every configuration."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azsyncd.model.accounts import Account
from azsyncd.plan.policy import Budget, GuardRules
from azsyncd.state import codec, holds, waiting
from azsyncd.targets.memory import ABLE, Memory

from .tenants import PLAIN, ROUNDS, SCOPE, Event, Set, World, policy, sets


def live(world: World, rounds: list[list[Event]]) -> None:
    world.turn()
    for events in rounds:
        world.live(events)
        world.turn()


@given(sets(), ROUNDS)
def test_i1_it_converges_and_then_writes_nothing(how: Set, rounds: list[list[Event]]) -> None:
    world = World(how)
    live(world, rounds)
    world.settle()
    calls = list(world.product.calls)
    world.turn(full=True)
    assert world.product.calls == calls
    assert world.product.needless == []


@given(ROUNDS)
def test_i1_in_the_end_the_product_equals_entra(rounds: list[list[Event]]) -> None:
    """An oracle of its own, for whoever shares a name with nobody."""
    world = World()
    live(world, rounds)
    world.settle()
    tenant, product = world.tenant, world.product
    names = [
        p.name
        for p in tenant.people.values()
        if p.presence == "present" and SCOPE in tenant.groups_of(p.id)
    ]
    scoped = tenant.teams[SCOPE].presence == "present"  # else rule 11: nobody left
    owners = {a.mark.object_id: a for a in product.held.values() if a.mark is not None}
    for person in tenant.people.values():
        groups = tenant.groups_of(person.id)
        account = owners.get(person.id)
        if person.presence != "present" or (SCOPE not in groups and scoped):
            assert account is None or account.active is False, person
        elif names.count(person.name) == 1 and person.enabled and _free(world, person.name):
            assert account is not None and account.active, person
            assert account.username == f"{person.name}@x.org"
            assert account.display_name == f"{person.name} {person.title}"
        if scoped and account is not None and account.active:
            for id_ in groups:
                held = product.held_groups.get(tenant.teams[id_].name)
                linked = _owner(world, tenant.teams[id_].name)
                if held is not None and linked == id_:
                    assert account.key in held.members, (person, id_)
    if scoped:
        for person in tenant.people.values():
            account = owners.get(person.id)
            if account is None or not account.active:
                continue
            for name, held in product.held_groups.items():
                if account.key in held.members:
                    owner = _owner(world, name)
                    team = tenant.teams[str(owner)]
                    assert owner in tenant.groups_of(person.id) or team.presence != "present"


def _owner(world: World, name: str) -> str | None:
    row = world.db.execute(
        "SELECT o.id FROM link l JOIN object o ON o.n = l.n JOIN target_group g ON g.g = l.g"
        " WHERE g.name = ?",
        (name,),
    ).fetchone()
    return None if row is None else str(row["id"])


def _free(world: World, name: str) -> bool:
    """Whether no account keeps the name: a leaver's, or one that cannot get the name it wants."""
    held = world.product.account(f"{name}@x.org")
    if held is None or held.mark is None:
        return True
    owner = world.tenant.people[held.mark.object_id]
    there = owner.presence == "present" and SCOPE in world.tenant.groups_of(owner.id)
    return there and owner.name == name


@given(sets(), ROUNDS)
def test_the_same_history_gives_the_same_writes(how: Set, rounds: list[list[Event]]) -> None:
    one, other = World(how), World(how)
    for world in (one, other):
        live(world, rounds)
    assert one.product.calls == other.product.calls


@given(sets(), ROUNDS)
def test_planning_slices_equals_planning_everything(how: Set, rounds: list[list[Event]]) -> None:
    """After each slice was sent, a plan of everything finds nothing more to do, and the same
    people waiting."""
    world = World(how)
    world.turn()
    for events in rounds:
        world.live(events)
        world.settle()
        planned, waits = world.whole()
        assert planned == []
        assert world.waits() == waits


@given(sets(), ROUNDS)
def test_planning_slices_equals_planning_everything_across_restarts(
    how: Set, rounds: list[list[Event]]
) -> None:
    world = World(how)
    world.turn()
    for events in rounds:
        world.live(events)
        world.reconcile = world.engine()
        world.settle()
        planned, waits = world.whole()
        assert planned == []
        assert world.waits() == waits


def test_whose_create_backs_off_has_nothing_else_planned() -> None:
    """She wants a name whose owner cannot leave it: no membership is planned without an account."""
    world = World(Set(policy(groups={"default": ("users",)}), replace(ABLE, has_marks=False)))
    world.turn()
    world.live([("rename", 0, 1), ("hire", 0, 0)])
    world.reconcile = world.engine()
    world.settle()
    planned, waits = world.whole()
    assert planned == []
    assert world.waits() == waits


@given(sets(), ROUNDS, st.lists(st.integers(0, 7), max_size=3, unique=True))
def test_i6_what_is_not_ours_is_untouched(
    how: Set, rounds: list[list[Event]], names: list[int]
) -> None:
    """Foreign, protected and unlinked accounts, and the service account: as they were."""
    product = Memory(capabilities=how.able)
    foreign = [
        product.put(Account(username="foreign1", email="foreign1@x.org", display_name="F")),
        product.put(Account(username="service", email="service@x.org", display_name="S")),
        product.put(Account(username="stranger", email="stranger@y.org", display_name="X")),
    ]
    product.put_group("elsewhere").members.update(str(a.key) for a in foreign)
    product.put_group("atl-3").members.update(str(a.key) for a in foreign)
    taken = [
        product.put(Account(username=f"n{name}@x.org", email=f"n{name}@x.org", display_name="T"))
        for name in names
    ]
    world = World(how, product)
    live(world, rounds)
    for account in foreign:
        assert product.held[str(account.key)] == account
    for group in ("elsewhere", "atl-3"):
        assert product.held_groups[group].members == {str(a.key) for a in foreign}
    if how.policy.accounts.adopt == "never":
        for account in taken:
            assert product.held[str(account.key)] == account


@given(st.permutations(range(6)), st.lists(st.integers(0, 5), max_size=2), st.booleans())
def test_rule_27_chains_and_swaps_of_names_converge(
    order: list[int], out: list[int], more: bool
) -> None:
    world = World(Set(PLAIN.policy, replace(PLAIN.able, has_marks=False)))
    world.turn()
    events: list[Event] = [("rename", n, 7 if n in out[:1] else order[n]) for n in range(6)]
    keys = {a.username: key for key, a in world.product.held.items()}
    world.live(events)
    if more:
        world.live([("rename", 0, 6)])
    world.settle()
    for n, person in enumerate(world.tenant.people.values()):
        key = keys.get(f"n{n}@x.org")
        rivals = [p.name for p in world.tenant.people.values()].count(person.name) > 1
        if key is not None and not rivals:
            assert world.product.held[key].username == f"{person.name}@x.org"


LIMITED = ("deactivate", "disable", "rename", "update", "remove_member", "delete")
COUNTS = st.fixed_dictionaries({name: st.integers(0, 2) for name in LIMITED})


@given(COUNTS, ROUNDS, st.booleans())
def test_i5_the_guard_counts_all(
    counts: dict[str, int], rounds: list[list[Event]], between: bool
) -> None:
    """Whatever comes, over restarts and with rounds between two writes: no window sees more of a
    class than it allows, and what is held is held whole."""
    limits = {name: Budget(count=count) for name, count in counts.items()}
    guard = GuardRules(**limits, shrink_group="unlimited", delete_group="unlimited")  # type: ignore[arg-type]
    rules = policy(guard, accounts={"leavers": "delete"})
    world = World(Set(rules, ABLE))
    world.turn()
    queue = list(rounds)

    async def faults(when: str, method: str) -> None:
        """A round closes in the middle of sending."""
        if between and queue and when == "before" and method in ("set_active", "remove_members"):
            world.live(queue.pop(0))

    world.product.faults = faults
    while queue:
        world.live(queue.pop(0))
        world.turn()
        world.reconcile = world.engine()
    world.turn()
    rows = world.db.execute(
        "SELECT change, reason, before, after FROM journal WHERE outcome = 'done'"
    ).fetchall()
    done = Counter(_class(row) for row in rows)
    for name, count in counts.items():
        assert done[name] <= count, (name, done)


def _class(row: sqlite3.Row) -> str | None:
    """The class of a write, worked out from the journal."""
    if row["change"] == "deactivate":
        return "disable" if row["reason"] in ("disabled", "deleted") else "deactivate"
    if row["change"] == "update":
        before, after = codec.load(row["before"]), codec.load(row["after"])
        return "update" if before.get("email") != after.get("email") else None
    if row["change"] == "rename" and codec.load(row["after"])["username"].startswith("azsyncd-"):
        return None
    return str(row["change"])


def test_i5_what_an_earlier_slice_has_not_sent_yet_is_counted_too() -> None:
    """Two fit; while the first of them is sent a third one comes."""
    world = World(Set(policy(GuardRules(disable=Budget(count=2))), ABLE))
    world.turn()
    later: list[list[Event]] = [[("disable", 2, 0)]]

    async def faults(when: str, method: str) -> None:
        if later and (when, method) == ("before", "set_active"):
            world.live(later.pop())

    world.product.faults = faults
    world.live([("disable", 0, 0), ("disable", 1, 0)])
    report = world.turn()
    assert [method for method, _ in world.product.calls].count("set_active") == 2
    assert report.held == 1


def test_rule_38_a_swap_of_names_is_asked_for_once_and_can_be_approved() -> None:
    world = World(Set(policy(GuardRules(rename=Budget())), ABLE))
    world.turn()
    world.live([("rename", 0, 1), ("rename", 1, 0)])
    for _ in range(3):
        world.turn()
        world.clock.at += 61.0
    opened = holds.listed(world.db, ("open", "approved", "gone"))
    assert [(hold.kind, hold.items) for hold in opened] == [("rename", 2)]
    for n in holds.decide(world.db, opened[0].id, "approved", "me", "", world.clock.at):
        waiting.make_due(world.db, world.t, n, world.clock.at)
    world.settle()
    assert {a.display_name: a.username for a in world.product.held.values()}["n1 x"] == "n1@x.org"
    ids = {a.mark.object_id: a.username for a in world.product.held.values() if a.mark}
    assert (ids["u0"], ids["u1"]) == ("n1@x.org", "n0@x.org")


def test_rule_38_foreign_members_are_held_counted_and_approved_one_by_one() -> None:
    product = Memory(capabilities=ABLE)
    strangers = [product.put(Account(username=f"s{n}", email=f"s{n}@y.org")) for n in range(3)]
    product.put_group("atl-0").members.update(str(a.key) for a in strangers)
    rules = policy(
        GuardRules(remove_member=Budget(count=2), shrink_group="unlimited"),
        groups={"foreign_members": "remove"},
    )
    world = World(Set(rules, ABLE), product)
    world.db.execute("UPDATE target SET first_contact = 'done'")
    world.turn()
    world.turn(full=True)
    opened = holds.listed(world.db)
    assert [(hold.kind, hold.items) for hold in opened] == [("remove_member", 3)]
    for n in holds.decide(world.db, opened[0].id, "approved", "me", "", world.clock.at):
        waiting.make_due(world.db, world.t, n, world.clock.at)
    world.settle()
    assert not product.held_groups["atl-0"].members & {str(a.key) for a in strangers}


def test_rule_20_whoever_is_about_to_be_adopted_is_no_foreign_member() -> None:
    product = Memory(capabilities=ABLE)
    product.put(Account(username="n0@x.org", email="n0@x.org", display_name="n0 x"), "atl-0")
    rules = policy(groups={"foreign_members": "remove"})
    world = World(Set(rules, ABLE), product)
    world.turn()
    assert "remove_members" not in [method for method, _ in product.calls]


def test_gone_empty_empties_the_group() -> None:
    world = World(Set(policy(groups={"gone": "empty"}), ABLE))
    world.turn()
    assert world.product.members_of("atl-0")
    world.live([("delete_group", 3, 0)])
    world.settle()
    assert world.product.members_of("atl-0") == set()


def test_rule_23_who_is_hired_again_gets_the_old_account_where_accounts_are_marked() -> None:
    world = World()
    world.turn()
    world.live([("delete", 0, 0)])
    world.settle()
    world.live([("purge", 0, 0), ("rehire", 0, 0)])
    world.settle()
    account = world.product.account("n0@x.org")
    assert account is not None and account.active and account.mark is not None
    assert account.mark.object_id == "u6"


@pytest.mark.parametrize("whose", ["excluded", "disabled"])
def test_rule_09_whoever_is_left_alone_is_no_foreign_member(whose: str) -> None:
    """Excluded: hands off. Disabled: adopted, and then deactivated (rule 17)."""
    product = Memory(capabilities=ABLE)
    hers = product.put(Account(username="n0@x.org", email="n0@x.org", display_name="n0 x"), "atl-0")
    rules = policy(groups={"foreign_members": "remove"})
    users = rules.scope.users.model_copy(update={"exclude": ("u0",)})
    scope = rules.scope.model_copy(update={"users": users})
    excluding = rules.model_copy(update={"scope": scope})
    world = World(Set(excluding if whose == "excluded" else rules, ABLE), product)
    if whose == "disabled":
        world.live([("disable", 0, 0)])
    world.settle()
    world.turn(full=True)
    assert str(hers.key) in product.held_groups["atl-0"].members
    assert product.held[str(hers.key)].active is (whose == "excluded")
