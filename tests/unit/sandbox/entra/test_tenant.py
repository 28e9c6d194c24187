"""The directory by itself: what it allows, and what it tells."""

from __future__ import annotations

import pytest

from azsyncd.sandbox.clock import FakeClock
from azsyncd.sandbox.nodes import Event, Refusal
from azsyncd.sandbox.tenant import RETENTION_SECONDS, Tenant


@pytest.fixture
def tenant() -> Tenant:
    return Tenant(clock=FakeClock(moves=False), seed=5)


def test_same_seed_makes_the_same_ids() -> None:
    """One seed, one tenant."""
    made = [Tenant(clock=FakeClock(), seed=9).add_user("ann@x.example") for _ in range(2)]
    assert made[0] == made[1]


def test_users_are_found_by_id_and_by_name(tenant: Tenant) -> None:
    """Whatever the case."""
    ann = tenant.add_user("Ann@x.example")
    assert tenant.user("ann@X.example").id == ann
    assert tenant.user(ann.upper()).id == ann
    with pytest.raises(KeyError):
        tenant.user("bob@x.example")
    with pytest.raises(KeyError):
        tenant.group(ann)


def test_name_is_taken_while_its_user_lives(tenant: Tenant) -> None:
    """A soft-deleted user gives it free, and cannot come back while another has it."""
    ann = tenant.add_user("ann@x.example")
    with pytest.raises(Refusal):
        tenant.add_user("ANN@x.example")
    bob = tenant.add_user("bob@x.example")
    with pytest.raises(Refusal):
        tenant.update(bob, userPrincipalName="ann@x.example")
    tenant.delete(ann)
    tenant.update(bob, userPrincipalName="ann@x.example")
    with pytest.raises(Refusal):
        tenant.restore(ann)
    tenant.update(bob, userPrincipalName="bob@x.example")
    tenant.restore(ann)
    assert tenant.user("ann@x.example").id == ann


def test_name_may_change_its_case(tenant: Tenant) -> None:
    """That is a rename to itself."""
    ann = tenant.add_user("ann@x.example")
    assert tenant.update(ann, userPrincipalName="Ann@x.example")
    assert tenant.user("ann@x.example").name == "Ann@x.example"


def test_groups_may_share_a_name(tenant: Tenant) -> None:
    """displayName is not unique."""
    assert tenant.add_group("Team") != tenant.add_group("Team")


def test_what_changes_nothing_is_not_logged(tenant: Tenant) -> None:
    """Nor does anybody hear of it."""
    ann = tenant.add_user("ann@x.example", department="A")
    team = tenant.add_group("team", members=[ann])
    heard: list[Event] = []
    tenant.listeners.append(heard.append)
    assert not tenant.update(ann, department="A")
    assert not tenant.add_member(team, ann)
    assert tenant.remove_member(team, ann)
    assert not tenant.remove_member(team, ann)
    assert [(event.feed, event.id) for event in heard] == [("groups", team)]


def test_only_a_purge_is_told_as_deleted(tenant: Tenant) -> None:
    """Creation, soft deletion and restore are `updated`."""
    heard: list[Event] = []
    tenant.listeners.append(heard.append)
    ann = tenant.add_user("ann@x.example")
    tenant.delete(ann)
    tenant.restore(ann)
    tenant.purge(ann)
    assert [event.change_type for event in heard] == ["updated", "updated", "updated", "deleted"]


def test_soft_deleted_user_keeps_memberships(tenant: Tenant) -> None:
    """They are there again after a restore, and gone after a purge."""
    ann = tenant.add_user("ann@x.example")
    team = tenant.add_group("team", members=[ann])
    tenant.delete(ann)
    assert list(tenant.members(team)) == []
    tenant.restore(ann)
    assert [member.id for member in tenant.members(team)] == [ann]
    assert [group.id for group in tenant.parents(ann)] == [team]
    tenant.purge(ann)
    assert list(tenant.members(team)) == []
    with pytest.raises(KeyError):
        tenant.restore(ann)


def test_after_thirty_days_it_is_gone_for_good(tenant: Tenant) -> None:
    """Counted anew after a restore."""
    clock = tenant.clock
    assert isinstance(clock, FakeClock)
    ann, bob = tenant.add_user("ann@x.example"), tenant.add_user("bob@x.example")
    tenant.delete(ann), tenant.delete(bob)
    clock.advance(RETENTION_SECONDS - 10)
    tenant.restore(bob)
    tenant.delete(bob)
    clock.advance(20)
    assert [node.id for node in tenant.deleted("users")] == [bob]
    assert tenant.nodes[ann].purged


def test_nested_groups_and_cycles_end(tenant: Tenant) -> None:
    """Everything below, each once, but not the group itself."""
    ann = tenant.add_user("ann@x.example")
    inner = tenant.add_group("inner", members=[ann])
    outer = tenant.add_group("outer", members=[inner, ann])
    tenant.add_member(inner, outer)
    assert {node.id for node in tenant.transitive_members(outer)} == {inner, ann}


def test_what_the_directory_does_not_allow(tenant: Tenant) -> None:
    """Groups in Microsoft 365 groups, members of users."""
    ann = tenant.add_user("ann@x.example")
    group, modern = tenant.add_group("group"), tenant.add_group("modern", kind="m365")
    with pytest.raises(Refusal):
        tenant.add_member(modern, group)
    with pytest.raises(Refusal):
        tenant.add_member(ann, group)
    with pytest.raises(KeyError):
        tenant.add_member(group, "nobody")


def test_dynamic_groups_follow_their_rule(tenant: Tenant) -> None:
    """Users come and go with the property."""
    ann = tenant.add_user("ann@x.example", department="Sales")
    sales = tenant.add_group("sales", rule=("department", "Sales"))
    bob = tenant.add_user("bob@x.example", department="Sales")
    assert tenant.nodes[sales].properties["groupTypes"] == ["DynamicMembership"]
    assert [node.id for node in tenant.members(sales)] == [ann, bob]
    tenant.update(ann, department="Support")
    assert [node.id for node in tenant.members(sales)] == [bob]
    tenant.update(ann, department="Sales")
    assert {node.id for node in tenant.members(sales)} == {ann, bob}
