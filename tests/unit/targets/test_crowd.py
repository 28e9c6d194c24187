"""What is Crowd's alone: whole replacements, the dump, permissions, and who may ask."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from aiohttp import web

from azsyncd.errors import ChangeRejected, TargetRefused, TargetUnavailable
from azsyncd.model.accounts import Account, Mark, TargetGroup
from azsyncd.sandbox.crowd import Crowd
from azsyncd.sandbox.directories import Directory
from azsyncd.targets.crowd.dump import PORTION, BadDump, memberships

STAFF = TargetGroup(name="staff", key="staff")


def ann(username: str = "ann", **more: Any) -> Account:
    given = {"email": "ann@example.com", "display_name": "Ann Mary Smith", "active": True, **more}
    return Account(username=username, **given)


# Accounts ---------------------------------------------------------------------------------------


async def test_a_change_wipes_nothing_that_others_wrote(served: Any) -> None:
    """A PUT replaces the whole account: names and attributes of others stay (§8.19)."""
    crowd, target = await served.connect(Crowd)
    made = await target.create_account(ann(mark=Mark("azsyncd", "1")))
    crowd.edit_user("ann", first_name="Annie", last_name="S.")
    crowd.user("ann").attributes["theirs"] = ["one", "two"]
    stored = await target.update_account(made, replace(made, email="new@example.com"))
    stored = await target.set_active(stored, False)
    person = crowd.user("ann")
    assert (person.first_name, person.last_name) == ("Annie", "S.")
    assert person.display_name == "Ann Mary Smith" and person.email == "new@example.com"
    assert person.attributes["theirs"] == ["one", "two"] and not person.active
    assert stored.mark == Mark("azsyncd", "1")


async def test_first_and_last_name_follow_where_they_were_made(served: Any) -> None:
    """The last word is the last name."""
    crowd, target = await served.connect(Crowd)
    made = await target.create_account(ann())
    person = crowd.user("ann")
    assert (person.first_name, person.last_name) == ("Ann Mary", "Smith")
    await target.update_account(made, replace(made, display_name="Ann Jones"))
    assert (person.first_name, person.last_name) == ("Ann", "Jones")


async def test_what_is_so_already_is_not_written(served: Any) -> None:
    """No needless write."""
    crowd, target = await served.connect(partial(Crowd), attributes=["department"])
    made = await target.create_account(ann(attributes={"department": "one"}))
    writes = crowd.count()["writes"]
    await target.update_account(made, made)
    await target.set_active(made, True)
    await target.rename_account(made, replace(made, username="ann"))
    assert crowd.count()["writes"] == writes and crowd.count()["duplicate_writes"] == 0


async def test_rule_43_no_two_passwords_are_the_same(served: Any) -> None:
    """Each is made anew and kept nowhere."""
    crowd, target = await served.connect(Crowd)
    await target.create_account(ann("ann"))
    await target.create_account(ann("bob"))
    passwords = {each.body["password"]["value"] for each in crowd.writes}
    assert len(passwords) == 2 and all(len(each) > 40 for each in passwords)


async def test_a_crowd_that_takes_no_attributes_with_a_new_account_gets_them_after(
    served: Any,
) -> None:
    """Crowd before 2.9."""

    class Old(Crowd):
        @functools.wraps(Crowd.create_user)
        def create_user(self, ask: Any) -> web.StreamResponse:
            ask.body.pop("attributes", None)
            return Crowd.create_user(self, ask)

    _, target = await served.connect(Old)
    made = await target.create_account(ann(mark=Mark("azsyncd", "1")))
    assert made.mark == Mark("azsyncd", "1")


async def test_a_crowd_that_cannot_look_up_keys_is_asked_by_name(served: Any) -> None:
    """And another account under that name is not taken for it."""

    class Keyless(Crowd):
        @functools.wraps(Crowd.read_user)
        def read_user(self, ask: Any) -> web.StreamResponse:
            if "username" not in ask.query:
                return web.json_response({"reason": "ILLEGAL_ARGUMENT"}, status=400)
            return Crowd.read_user(self, ask)

    crowd, target = await served.connect(Keyless)
    made = await target.create_account(ann())
    assert await target.read_account(made) == made
    crowd.remove_user("ann")
    crowd.add_user("ann")
    assert await target.read_account(made) is None


async def test_a_renamed_account_is_found_by_its_key(served: Any) -> None:
    """Whoever has the name now."""
    crowd, target = await served.connect(Crowd)
    made = await target.create_account(ann())
    crowd.edit_user("ann", name="bob")
    crowd.add_user("ann")
    found = await target.read_account(made)
    assert found is not None and found.username == "bob"
    stored = await target.set_active(made, False)
    assert stored.username == "bob" and crowd.user("ann").active


async def test_whoever_is_not_said_to_be_inactive_is_not_made_so(served: Any) -> None:
    """A PUT writes the whole account, also what the answer before it left out."""

    class Silent(Crowd):
        @functools.wraps(Crowd.read_user)
        def read_user(self, ask: Any) -> web.StreamResponse:
            answer = Crowd.read_user(self, ask)
            shape = json.loads(answer.body)  # type: ignore[attr-defined]
            shape.pop("active", None)
            return web.json_response(shape, status=answer.status)

    crowd, target = await served.connect(Silent)
    made = await target.create_account(ann())
    await target.update_account(made, replace(made, email="new@example.com"))
    assert crowd.user("ann").active


# Permissions ------------------------------------------------------------------------------------


async def test_an_application_without_a_permission_is_told_which(served: Any) -> None:
    """A clear no, and not our fault: the target goes on."""
    crowd, target = await served.connect(Crowd)
    made = await target.create_account(ann())
    crowd.allow("create_user")
    for change in (
        target.update_account(made, replace(made, email="new@example.com")),
        target.rename_account(made, replace(made, username="bob")),
        target.delete_account(made),
        target.create_group(STAFF),
    ):
        with pytest.raises(ChangeRejected) as caught:
            await change
        assert not caught.value.doubtful and caught.value.hint
        assert caught.value.reason in ("read_only", "unsupported")
    await target.ask()


async def test_a_machine_that_may_not_speak_is_told_so(served: Any) -> None:
    """A wrong address is a matter of the application's settings."""
    crowd, target = await served.connect(Crowd)
    crowd.address_allowed = False
    with pytest.raises(TargetRefused) as caught:
        await target.ask()
    assert "remote addresses" in caught.value.hint
    with pytest.raises(ChangeRejected) as refused:
        await target.create_account(ann())
    assert refused.value.doubtful


async def test_a_wrong_password_says_that_it_is_an_applications(served: Any) -> None:
    """Many try a person's."""
    crowd, target = await served.connect(Crowd)
    crowd.password = "changed"
    with pytest.raises(TargetRefused) as caught:
        await target.ask()
    assert "application" in caught.value.hint


async def test_a_synchronising_directory_is_waited_for(served: Any) -> None:
    """Reads are tried again."""
    crowd, target = await served.connect(Crowd)
    crowd.synchronising = 2
    assert await target.find_account("nobody") is None


async def test_rule_24_administrators_groups_are_known(served: Any) -> None:
    """The well-known ones, and whatever is called so, on whatever page."""
    crowd, target = await served.connect(partial(Crowd, page_cap=3))
    for n in range(10):
        crowd.add_group(f"a{n}")
    crowd.add_group("Wiki-Administrators")
    found = await target.probe()
    assert {"crowd-administrators", "wiki-administrators"} <= found.admin_groups
    assert found.version == "6.0.3" and found.signed_in_as is None


async def test_memberships_go_to_the_directory_of_the_account(served: Any) -> None:
    """Two directories behind one application: what Crowd decides is read again."""
    make = partial(Crowd, directories=[Directory("one"), Directory("two")])
    crowd, target = await served.connect(make)
    crowd.add_user("ann", directory="two")
    found = await target.find_account("ann")
    await target.create_group(STAFF)
    assert await target.add_members(STAFF, [found]) == {}
    assert [keys async for _, keys in target.members([STAFF])] == [[found.key]]


# Memberships ------------------------------------------------------------------------------------


async def test_more_than_a_page_of_accounts_and_members(served: Any) -> None:
    """Each once, by ever so many pages of five hundred."""
    crowd, target = await served.connect(Crowd)
    for n in range(1203):
        crowd.add_user(f"p{n:04}", active=n % 3 != 0, groups=["staff"])
    found = [each.key async for each in target.accounts()]
    assert len(found) == len(set(found)) == 1203
    keys = [key async for _, portion in target.members([STAFF]) for key in portion]
    assert sorted(keys) == sorted(found)


async def test_the_dump_is_asked_for_once(served: Any) -> None:
    """For many groups; a few are asked for one by one."""
    crowd, target = await served.connect(Crowd)
    groups = []
    for n in range(30):
        crowd.add_user(f"p{n}")
        crowd.add_group(f"g{n}", [f"p{n}"])
        groups.append(TargetGroup(name=f"g{n}", key=f"g{n}"))
    [each async for each in target.accounts()]
    before = crowd.counters.requests
    found = {key: keys async for key, keys in target.members(groups)}
    assert crowd.counters.requests - before == 1
    assert found == {f"g{n}": [crowd.user(f"p{n}").key] for n in range(30)}


async def test_a_crowd_without_the_dump_is_asked_group_by_group(served: Any) -> None:
    """It came with API 1.1."""
    served.faults.add("error", path="group/membership", status=404, times=None, body={"reason": ""})
    crowd, target = await served.connect(Crowd)
    crowd.add_user("ann")
    groups = [TargetGroup(name=f"g{n}", key=f"g{n}") for n in range(12)]
    for group in groups:
        crowd.add_group(group.name, ["ann"])
    found = {key: keys async for key, keys in target.members(groups)}
    assert found == {group.key: [crowd.user("ann").key] for group in groups}


@pytest.mark.parametrize("kind", ["truncated", "garbage", "empty", "cut"])
async def test_half_a_dump_is_no_dump(served: Any, kind: str) -> None:
    """Nobody has left because of it."""
    crowd, target = await served.connect(Crowd)
    crowd.add_user("ann")
    groups = [TargetGroup(name=f"g{n}", key=f"g{n}") for n in range(12)]
    for group in groups:
        crowd.add_group(group.name, ["ann"])
    served.faults.add(kind, path="group/membership", times=None)
    with pytest.raises(TargetUnavailable):
        [each async for each in target.members(groups)]


async def test_a_crowd_that_shows_only_names_is_asked_for_the_rest(served: Any) -> None:
    """Where `expand` has no effect."""

    class Terse(Crowd):
        def listed(self, ask: Any, found: Any, what: str) -> web.Response:
            ask.query = {**ask.query, "expand": ""}
            return super().listed(ask, found, what)

    crowd, target = await served.connect(Terse)
    made = await target.create_account(ann())
    crowd.add_group("staff", ["ann"])
    assert made in [each async for each in target.accounts()]
    assert [keys async for _, keys in target.members([STAFF])] == [[made.key]]


async def test_pages_that_never_move_on_end(served: Any) -> None:
    """A Crowd that passes over `start-index` (§8.24)."""

    class Stuck(Crowd):
        def listed(self, ask: Any, found: Any, what: str) -> web.Response:
            ask.query = {**ask.query, "start-index": "0"}
            return super().listed(ask, found, what)

    with pytest.raises(TargetUnavailable, match="again and again"):
        await served.connect(Stuck)


async def chunks(text: str, size: int) -> AsyncIterator[bytes]:
    data = text.encode()
    for at in range(0, len(data), size):
        yield data[at : at + size]


@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_a_dump_is_read_however_it_is_cut(size: int) -> None:
    """Entities, umlauts, child groups, empty groups."""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><memberships>'
        '<membership group="a &amp; b"><users><user name="zoë"/><user name="o&apos;b"/></users>'
        '<groups><group name="c"/></groups></membership>'
        '<membership group="c"><users/><groups/></membership></memberships>'
    )
    found = [each async for each in memberships(chunks(text, size))]
    assert found == [("a & b", ["zoë", "o'b"], ["c"]), ("c", [], [])]


async def test_a_large_group_comes_in_portions() -> None:
    """So that memory stays small."""
    users = "".join(f'<user name="u{n}"/>' for n in range(PORTION + 3))
    text = f'<memberships><membership group="g"><users>{users}</users></membership></memberships>'
    found = [each async for each in memberships(chunks(text, 1000))]
    assert [len(names) for _, names, _ in found] == [PORTION, 3]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<memberships><membership group='g'>",
        "<!DOCTYPE x [<!ENTITY a 'b'>]><memberships/>",
        "not xml",
        "<html><body>Log in</body></html>",
    ],
)
async def test_what_is_no_dump_is_said_to_be_none(text: str) -> None:
    """Cut, with a document type, or something else."""
    with pytest.raises(BadDump):
        [each async for each in memberships(chunks(text, 10))]
