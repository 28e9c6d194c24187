"""What every connector promises (targets/base.py), on every target."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from azsyncd.engine.writes import account_by_key
from azsyncd.errors import AlreadyExists, ChangeRejected, NotFound
from azsyncd.model.accounts import Account, InvalidValue, Mark, TargetGroup

from .rigs import INSTANCE, OBJECT_ID, Rig, standing, wanted

NAMES = {
    "guest": "eve_contoso.com#EXT#@fabrikam.onmicrosoft.com",
    "blank": "mary ann",
    "slash": "a/b\\c",
    "plus": "plus+sign@example.com",
    "percent": "100%25",
    "apostrophe": "o'brien",
    "quotes": 'the "one"',
    "query": "a?b=c&d",
    "right to left": "\u05d3\u05d5\u05d3",
    "emoji": "zoë🦊",
    "long": "x" * 255,
    "upper": "ANN.Upper@Example.COM",
    "dots": "..",
    "semicolon": "a;b=c",
}


def group(name: str) -> TargetGroup:
    return TargetGroup(name=name, key=name.casefold())


# What it is -----------------------------------------------------------------------------------


async def test_a_fingerprint_stays_and_tells_installations_apart(rig: Rig) -> None:
    """Also for another connector to the same product (rule 25)."""
    before = await rig.target.fingerprint()
    await rig.target.probe()
    assert await rig.target.fingerprint() == before != ""
    if rig.entry.kind != "memory":
        other = rig.again()
        assert await other.fingerprint() == before
        await other.close()
        async with standing(rig.entry) as elsewhere:
            assert await elsewhere.target.fingerprint() != before


async def test_probing_says_what_it_can(rig: Rig) -> None:
    """What cannot be done comes with what a person can do instead."""
    found = rig.capabilities
    assert found.version
    assert found.deactivates_accounts is rig.can("deactivate")
    assert found.lists_all_accounts is rig.can("list")
    for ability in ("deactivates_accounts", "renames_accounts", "deletes_accounts"):
        assert getattr(found, ability) or found.instead[ability]
    await rig.target.ask()
    await rig.target.seats()


# Accounts -------------------------------------------------------------------------------------


async def test_a_created_account_stands_as_it_was_wanted(rig: Rig) -> None:
    """With a key, with its mark, active, and found whatever the case."""
    want = rig.target.dialect.account(wanted("Ann@Example.com", attributes={"department": "R&D"}))
    made = await rig.target.create_account(want)
    found = await rig.target.find_account("aNN@example.COM")
    assert found is not None and found.key == made.key
    assert found.username == rig.spelt(want.username)
    assert (found.email, found.display_name) == (want.email, want.display_name)
    assert found.active is True
    assert found.mark == rig.shown(want).mark == made.mark
    assert found.attributes == rig.shown(want).attributes
    assert await rig.target.read_account(made) == found


async def test_an_account_is_found_by_its_key_alone(rig: Rig) -> None:
    """A stranger in a group that is adopted: nothing else is known of her."""
    made = await rig.make()
    found = await account_by_key(rig.target, str(made.key))
    assert found is not None and found.username == made.username
    assert await account_by_key(rig.target, "nobody-has-this-one") is None


async def test_who_is_absent_is_none(rig: Rig) -> None:
    """Absence is an answer, no error."""
    assert await rig.target.find_account("nobody") is None
    made = await rig.make()
    await rig.target.delete_account(made)
    assert await rig.target.read_account(made) is None
    assert await rig.target.find_group("nothing") is None


async def test_a_taken_name_already_exists(rig: Rig) -> None:
    """Whatever its case, active or not."""
    rig.hands.add_user("ann", active=False)
    with pytest.raises(AlreadyExists):
        await rig.make("ANN")


async def test_an_update_writes_what_differs_and_nothing_else(rig: Rig) -> None:
    """Mail alone, then the name alone; the other value that somebody changed by hand stays."""
    made = await rig.make()
    if not rig.can("update"):
        with pytest.raises(ChangeRejected) as caught:
            await rig.target.update_account(made, replace(made, email="new@example.com"))
        assert caught.value.reason == "unsupported" and caught.value.hint
        return
    stored = await rig.target.update_account(made, replace(made, email="new@example.com"))
    assert (stored.email, stored.display_name) == ("new@example.com", "Person 1")
    assert (stored.key, stored.mark, stored.active) == (made.key, made.mark, True)
    found = await rig.target.update_account(
        stored, Account(username=made.username, display_name="Ann Other")
    )
    assert (found.email, found.display_name) == ("new@example.com", "Ann Other")
    assert await rig.target.read_account(made) == found


async def test_attributes_are_written_changed_and_cleared(rig: Rig) -> None:
    """An empty value clears; what is not named stays."""
    assert rig.capabilities.has_attributes is rig.can("attributes")
    if not rig.can("attributes"):
        pytest.skip("keeps no attributes")
    made = await rig.make(attributes={"department": "one"})
    for value in ("two", ""):
        made = await rig.target.update_account(
            made, replace(made, attributes={"department": value})
        )
        found = await rig.target.read_account(made)
        assert found is not None and found.attributes.get("department", "") == value
        assert found.mark == made.mark


async def test_a_rename_keeps_key_mark_and_memberships(rig: Rig) -> None:
    """Where it cannot be done it says `unsupported`, and nothing has changed."""
    made = await rig.make()
    rig.hands.add_group("staff", ["ann"])
    if not rig.can("rename"):
        with pytest.raises(ChangeRejected) as caught:
            await rig.target.rename_account(made, replace(made, username="ann.other"))
        assert caught.value.reason == "unsupported" and caught.value.hint
        assert await rig.target.read_account(made) == made
        return
    stored = await rig.target.rename_account(made, replace(made, username="ann.other"))
    assert (stored.username, stored.key, stored.mark) == ("ann.other", made.key, made.mark)
    assert await rig.target.find_account("ann") is None
    assert rig.hands.members("staff") == {"ann.other"}
    assert await rig.keys("staff") == [made.key]
    again = await rig.target.rename_account(stored, replace(stored, username="ann.other"))
    assert again.username == "ann.other"
    cased = await rig.target.rename_account(stored, replace(stored, username="Ann.Other"))
    assert cased.username == rig.spelt("Ann.Other") and cased.key == made.key


async def test_nobody_is_renamed_to_a_taken_name(rig: Rig) -> None:
    """Both stay as they are."""
    if not rig.can("rename"):
        pytest.skip("does not rename")
    ann, bob = await rig.make("ann", 1), await rig.make("bob", 2)
    with pytest.raises(AlreadyExists):
        await rig.target.rename_account(ann, replace(ann, username="BOB"))
    assert await rig.target.read_account(ann) == ann
    assert await rig.target.read_account(bob) == bob


async def test_accounts_are_deactivated_and_reactivated(rig: Rig) -> None:
    """What is so already is success; nothing else about them changes."""
    made = await rig.make()
    rig.hands.add_group("staff", ["ann"])
    if not rig.can("deactivate"):
        with pytest.raises(ChangeRejected) as caught:
            await rig.target.set_active(made, False)
        assert caught.value.reason == "unsupported" and caught.value.hint
        return
    for active in (False, False, True, True):
        stored = await rig.target.set_active(made, active)
        assert stored == replace(made, active=active)
        assert await rig.target.read_account(made) == stored
    assert rig.hands.members("staff") == {"ann"}


async def test_rule_32_who_cannot_be_deactivated_is_stripped_and_already_so_is_success(
    rig: Rig,
) -> None:
    """Only of the groups that are named; where accounts are always deactivated nobody asks."""
    made = await rig.make()
    rig.hands.add_group("staff", ["ann"])
    assert rig.capabilities.strips_accounts is (rig.entry.kind == "bitbucket")
    assert rig.capabilities.strips_licences is (rig.entry.kind == "jira")
    if rig.capabilities.strips_licences:
        rig.hands.add_group("other", ["ann"])
        for taken in (["staff"], []):
            assert await rig.target.strip_account(made, {"staff"}) == taken
            assert (rig.hands.members("staff"), rig.hands.members("other")) == (set(), {"ann"})
        return
    if not rig.capabilities.strips_accounts:
        if rig.entry.kind != "memory":
            assert await rig.target.strip_account(made, {"staff"}) == []
            assert rig.hands.members("staff") == {"ann"}
        return
    rig.hands.grant("ann", "PROJECT_CREATE")
    for name in ("licensed", "spared"):
        rig.hands.add_group(name, ["ann"])
        rig.hands.grant(name, "LICENSED_USER", group=True)
    able = await rig.target.probe()
    assert {"licensed", "spared"} <= able.licence_groups
    for taken in (["its own global permissions", "licensed"], []):
        assert await rig.target.strip_account(made, able.licence_groups - {"spared"}) == taken
        assert not rig.hands.granted_users
        groups = [n for n in ("licensed", "spared", "staff") if rig.hands.members(n)]
        assert groups == ["spared", "staff"]


async def test_a_deleted_account_is_gone_and_deleting_again_is_success(rig: Rig) -> None:
    """With its memberships."""
    made = await rig.make()
    rig.hands.add_group("staff", ["ann"])
    await rig.target.delete_account(made)
    await rig.target.delete_account(made)
    assert rig.hands.user("ann") is None
    assert await rig.keys("staff") == []


async def test_who_has_gone_is_not_found(rig: Rig) -> None:
    """By every change of an account."""
    made = await rig.make()
    rig.hands.remove_user("ann")
    if rig.can("update"):
        with pytest.raises(NotFound):
            await rig.target.update_account(made, replace(made, email="new@example.com"))
    if rig.can("deactivate"):
        with pytest.raises(NotFound):
            await rig.target.set_active(made, False)
    if rig.can("marks"):
        with pytest.raises(NotFound):
            await rig.target.mark_account(made, Mark(INSTANCE, OBJECT_ID % 1))
    if rig.can("rename"):
        with pytest.raises(NotFound):
            await rig.target.rename_account(made, replace(made, username="ann.other"))


async def test_an_adopted_account_gets_the_mark_and_keeps_it(rig: Rig) -> None:
    """Through every later change; another installation's mark is seen."""
    assert rig.capabilities.has_marks is rig.can("marks")
    rig.hands.add_user("ann", display_name="Ann", email="ann@example.com")
    found = await rig.target.find_account("ann")
    assert found is not None and found.mark is None
    mark = Mark("another" if rig.can("instance") else INSTANCE, OBJECT_ID % 9)
    await rig.target.mark_account(found, mark)
    if not rig.can("marks"):
        assert await rig.target.read_account(found) == found
        return
    found = await rig.target.read_account(found)
    assert found is not None and found.mark == mark
    found = await rig.target.update_account(found, replace(found, display_name="Ann B."))
    if rig.can("deactivate"):
        await rig.target.set_active(found, False)
    if rig.can("rename"):
        found = await rig.target.rename_account(found, replace(found, username="ann.b"))
    again = await rig.target.read_account(found)
    assert again is not None and again.mark == mark


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
async def test_odd_names_go_there_and_come_back(rig: Rig, name: str) -> None:
    """Every step of a life, for whatever name the dialect lets through."""
    try:
        want = rig.target.dialect.account(wanted(name, display_name=f"{name[:200]} 🦊 א"))
    except InvalidValue:
        assert rig.refuses(name)
        return
    assert not rig.refuses(name)
    made = await rig.target.create_account(want)
    assert made.username == rig.spelt(want.username)
    assert await rig.target.find_account(name) == made
    assert made.display_name == want.display_name
    with pytest.raises(AlreadyExists):
        await rig.target.create_account(want)
    if rig.refuses(name, group=True):
        with pytest.raises(InvalidValue):
            rig.target.dialect.group(name)
        return
    odd = await rig.target.create_group(TargetGroup(name=rig.target.dialect.group(name)))
    assert await rig.target.find_group(name) == odd
    assert await rig.target.add_members(odd, [made]) == {}
    assert await rig.target.add_members(odd, [made]) == {}
    assert await rig.keys(name) == [made.key]
    if rig.can("deactivate"):
        made = await rig.target.set_active(made, False)
    assert await rig.target.remove_members(odd, [made]) == {}
    assert await rig.keys(name) == []
    if rig.can("rename"):
        made = await rig.target.rename_account(made, replace(made, username="plain"))
    await rig.target.delete_account(made)
    await rig.target.delete_group(odd)
    assert await rig.target.find_group(name) is None


@pytest.mark.parametrize(
    "bad",
    [
        {"username": " "},
        {"username": "x" * 256},
        {"username": "a\nb"},
        {"email": ""},
        {"email": "no address"},
        {"display_name": ""},
    ],
    ids=repr,
)
async def test_rule_15_a_dialect_refuses_what_cannot_be_made_legal(
    rig: Rig, bad: dict[str, str]
) -> None:
    """Before anything is sent; a display name that is only too long or has a line end is mended."""
    with pytest.raises(InvalidValue):
        rig.target.dialect.account(replace(wanted(), **bad))
    long = rig.target.dialect.account(wanted(display_name="Ann\n" + "x" * 300))
    made = await rig.target.create_account(long)
    assert made.display_name == long.display_name != ""


# Groups and members ---------------------------------------------------------------------------


async def test_a_group_is_made_once_and_found_by_any_case(rig: Rig) -> None:
    """A second one of the name already exists; deleting one that is gone is success."""
    made = await rig.target.create_group(TargetGroup(name="Atl Staff"))
    assert made.name == rig.spelt_group("Atl Staff")
    assert made.key == "atl staff" or rig.entry.group_ids
    assert await rig.target.find_group("aTL staff") == made
    with pytest.raises(AlreadyExists):
        await rig.target.create_group(TargetGroup(name="ATL STAFF"))
    assert made.key in [each.key async for each in rig.target.groups()]
    await rig.target.delete_group(made)
    await rig.target.delete_group(made)
    assert await rig.target.find_group("Atl Staff") is None


async def test_members_are_added_and_removed_and_already_so_is_success(rig: Rig) -> None:
    """In every dialect, also for inactive ones; foreign members stay."""
    ann, bob = await rig.make("ann", 1), await rig.make("bob", 2)
    rig.hands.add_user("foreign")
    rig.hands.add_user("sleeper", active=False)
    sleeper = await rig.target.find_account("sleeper")
    assert sleeper is not None
    rig.hands.add_group("staff", ["foreign"])
    for _ in range(2):
        assert await rig.target.add_members(group("staff"), [ann, bob, sleeper]) == {}
        assert rig.hands.members("staff") == {"ann", "bob", "sleeper", "foreign"}
    assert await rig.members("staff") == {"ann", "bob", "sleeper", "foreign"}
    for _ in range(2):
        assert await rig.target.remove_members(group("staff"), [bob, sleeper]) == {}
        assert rig.hands.members("staff") == {"ann", "foreign"}


async def test_one_bad_member_is_one_bad_member(rig: Rig) -> None:
    """Who is gone is named by key; the others are in (I7)."""
    ann, bob, eve = await rig.make("ann", 1), await rig.make("bob", 2), await rig.make("eve", 3)
    rig.hands.add_group("staff")
    rig.hands.remove_user("bob")
    refused = await rig.target.add_members(group("staff"), [ann, bob, eve])
    assert list(refused) == [bob.key]
    assert isinstance(refused[str(bob.key)], NotFound)
    assert rig.hands.members("staff") == {"ann", "eve"}
    assert await rig.target.remove_members(group("staff"), [ann, bob]) == {}


async def test_a_group_that_is_gone_is_not_found(rig: Rig) -> None:
    """By adding and by removing; and it yields nothing when members are read."""
    ann = await rig.make()
    with pytest.raises(NotFound):
        await rig.target.add_members(group("staff"), [ann])
    with pytest.raises(NotFound):
        await rig.target.remove_members(group("staff"), [ann])
    rig.hands.add_group("other", ["ann"])
    asked = [group("staff"), group("other")]
    assert [each async for each in rig.target.members(asked)] == [("other", [ann.key])]


# Groups in groups -----------------------------------------------------------------------------


async def children(rig: Rig, *names: str) -> dict[str, set[str]]:
    return {key: set(found) async for key, found in rig.target.children([group(n) for n in names])}


async def test_a_group_goes_into_a_group_and_already_so_is_success(rig: Rig) -> None:
    """Where the product has such; where it has it switched off, or in a ring, it is refused."""
    for name in ("top", "mid", "low"):
        rig.hands.add_group(name)
    top, mid, low = group("top"), group("mid"), group("low")
    if not rig.capabilities.nests_groups or not rig.can("nest"):
        for _ in range(2):
            with pytest.raises(ChangeRejected) as refused:
                await rig.target.add_child(top, mid)
            assert refused.value.reason == "unsupported"
        return
    for _ in range(2):
        await rig.target.add_child(top, mid)
        await rig.target.add_child(mid, low)
        assert await children(rig, "top", "mid") == {"top": {"mid"}, "mid": {"low"}}
    with pytest.raises(ChangeRejected) as ring:
        await rig.target.add_child(low, top)
    assert ring.value.reason == "unsupported"
    for _ in range(2):
        await rig.target.remove_child(mid, low)
        assert await children(rig, "top", "mid", "none") == {"top": {"mid"}, "mid": set()}


async def test_a_group_that_is_gone_goes_nowhere(rig: Rig) -> None:
    """Neither the upper one nor the lower one is there."""
    if not rig.capabilities.nests_groups:
        pytest.skip("nests no groups")
    rig.hands.add_group("top")
    for above, below in (("top", "none"), ("none", "top")):
        with pytest.raises(NotFound):
            await rig.target.add_child(group(above), group(below))
    with pytest.raises(NotFound):
        await rig.target.remove_child(group("none"), group("top"))
    await rig.target.remove_child(group("top"), group("none"))


async def test_the_groups_in_many_groups_are_read(rig: Rig) -> None:
    """However few or many there are."""
    if not rig.capabilities.nests_groups or not rig.can("nest"):
        pytest.skip("nests no groups")
    names = [f"Group {number}" for number in range(14)]
    for name in names:
        rig.hands.add_group(name)
    for above, below in pairwise(names):
        await rig.target.add_child(group(above), group(below))
    found = await children(rig, *names)
    assert found == {
        **{above.lower(): {below.lower()} for above, below in pairwise(names)},
        "group 13": set(),
    }


# Reading much ---------------------------------------------------------------------------------


async def test_every_account_is_read_once_inactive_ones_too(rig: Rig) -> None:
    """More than a search shows at once (100 or 50)."""
    names = {f"person{n:03}@example.com" for n in range(130)}
    for n, name in enumerate(sorted(names)):
        rig.hands.add_user(name, active=n % 10 != 0)
    rig.hands.add_group("staff", sorted(names))
    found = [each async for each in rig.target.accounts()]
    assert len(found) == len({each.key for each in found})
    assert names <= {each.username for each in found}
    assert all(rig.hands.user(each.username) is not None for each in found)
    inactive = {each.username for each in found if each.active is False}
    assert inactive & names == {name for n, name in enumerate(sorted(names)) if n % 10 == 0}


async def test_every_group_is_read_once(rig: Rig) -> None:
    """Also where the product shows only some of those that fit."""
    names = {f"{kind}-{n:02}" for kind in ("atl", "team", "Team B") for n in range(20)}
    for name in names:
        rig.hands.add_group(name)
    found = [each async for each in rig.target.groups()]
    assert len(found) == len({each.key for each in found})
    assert {rig.spelt_group(name) for name in names} <= {each.name for each in found}
    assert len(found) == len(rig.hands.groups())


@pytest.mark.parametrize("count", [3, 14])
async def test_all_members_of_many_groups_are_read(rig: Rig, count: int) -> None:
    """More than a page of fifty of them; an empty group shows no members, and still shows."""
    names = [f"p{n:03}" for n in range(120)]
    for n, name in enumerate(names):
        rig.hands.add_user(name, active=n % 7 != 0)
    sizes = [0, 1, 50, 51, 100, 101, 120] + [n % 5 for n in range(count)]
    asked = []
    for n in range(count):
        rig.hands.add_group(f"Group {n}", names[: sizes[n]])
        asked.append(group(f"Group {n}"))
    people = {each.key: each.username for each in [a async for a in rig.target.accounts()]}
    found: dict[str, list[str]] = {}
    async for key, members in rig.target.members([*asked, group("nothing")]):
        found.setdefault(key, []).extend(people[each] for each in members)
    assert {key: sorted(each) for key, each in found.items()} == {
        f"group {n}": names[: sizes[n]] for n in range(count)
    }
