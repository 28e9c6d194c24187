"""What every connector makes of bad days: refused, throttled, garbled, lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from azsyncd.errors import AlreadyExists, ChangeRejected, TargetRefused, TargetUnavailable
from azsyncd.model.accounts import Account, TargetGroup
from azsyncd.targets.base import Target
from azsyncd.targets.connect import SignIn

from .rigs import Rig

STAFF = TargetGroup(name="staff", key="staff")


async def accounts(target: Target) -> list[Account]:
    return [each async for each in target.accounts()]


async def groups(target: Target) -> list[TargetGroup]:
    return [each async for each in target.groups()]


async def members(target: Target) -> list[Any]:
    return [each async for each in target.members([STAFF])]


async def all_members(target: Target) -> list[Any]:
    return [each async for each in target.members([STAFF] * 20)]


READS: dict[str, Callable[[Target], Awaitable[Any]]] = {
    "ask": lambda target: target.ask(),
    "probe": lambda target: target.probe(),
    "accounts": accounts,
    "groups": groups,
    "members": members,
    "all members": all_members,
    "find_account": lambda target: target.find_account("ann"),
    "find_group": lambda target: target.find_group("staff"),
}

reads = pytest.mark.parametrize("read", READS.values(), ids=READS)


def ready(rig: Rig) -> None:
    rig.hands.add_user("ann")
    rig.hands.add_group("staff", ["ann"])


# Refused ---------------------------------------------------------------------------------------


@reads
@pytest.mark.parametrize("status", [200, 302, 401, 403])
async def test_a_login_page_stops_the_target(
    over_http: Rig, read: Callable[[Target], Awaitable[Any]], status: int
) -> None:
    """HTML instead of JSON, whatever its status: never "nobody is there"."""
    ready(over_http)
    over_http.product.login_page = status
    with pytest.raises(TargetRefused) as caught:
        await read(over_http.target)
    assert caught.value.hint and caught.value.target == "main"


@reads
async def test_a_wrong_secret_stops_the_target(
    over_http: Rig, read: Callable[[Target], Awaitable[Any]]
) -> None:
    """And one question is enough to know: nothing is repeated."""
    ready(over_http)
    wrong = SignIn(token="wrong")
    if over_http.entry.kind == "crowd":
        wrong = SignIn(username="azsyncd", password="wrong")
    target = over_http.again(sign_in=wrong)
    with pytest.raises(TargetRefused) as caught:
        await read(target)
    assert "401" in caught.value.message and caught.value.hint
    assert over_http.product.counters.unauthenticated <= 4  # as many as go out together
    await target.close()


@reads
async def test_a_captcha_stops_the_target_at_once(
    over_http: Rig, read: Callable[[Target], Awaitable[Any]]
) -> None:
    """Each further try would deepen the lock."""
    if over_http.entry.kind == "crowd" or not over_http.can("captcha"):
        pytest.skip("is asked for none")
    ready(over_http)
    over_http.product.captcha = True
    before = over_http.product.counters.requests
    with pytest.raises(TargetRefused) as caught:
        await read(over_http.target)
    assert "captcha" in caught.value.message and caught.value.hint
    assert over_http.product.counters.requests - before <= 4


async def test_a_captcha_on_a_write_stops_the_target(over_http: Rig) -> None:
    """It is not that object's fault."""
    if over_http.entry.kind == "crowd" or not over_http.can("captcha"):
        pytest.skip("is asked for none")
    over_http.product.captcha = True
    with pytest.raises(TargetRefused):
        await over_http.make()


async def test_lost_rights_stop_the_target(over_http: Rig) -> None:
    """The cheap question finds out; a write that meets it is doubtful, so that it is asked."""
    made = await over_http.make()
    over_http.product.has_rights = False
    if over_http.entry.kind == "jira":
        for read in ("ask", "probe", "members"):
            with pytest.raises(TargetRefused):
                await READS[read](over_http.target)
    with pytest.raises((ChangeRejected, TargetRefused)) as caught:
        await over_http.target.update_account(made, replace(made, email="new@example.com"))
    assert caught.value.hint
    if isinstance(caught.value, ChangeRejected):
        assert caught.value.doubtful or caught.value.reason == "read_only"
        assert caught.value.status == (401 if over_http.entry.kind == "bitbucket" else 403)


# Unavailable -----------------------------------------------------------------------------------


@reads
async def test_a_product_that_is_down_is_unavailable(
    over_http: Rig, read: Callable[[Target], Awaitable[Any]]
) -> None:
    """After as many tries as are good for it."""
    ready(over_http)
    over_http.product.maintenance = True
    with pytest.raises(TargetUnavailable):
        await read(over_http.target)


@reads
@pytest.mark.parametrize("kind", ["truncated", "garbage", "empty"])
async def test_a_garbled_answer_is_unavailable(
    over_http: Rig, read: Callable[[Target], Awaitable[Any]], kind: str
) -> None:
    """Half an answer is never taken for a whole one."""
    ready(over_http)
    over_http.faults.add(kind, method="GET", times=None)
    with pytest.raises(TargetUnavailable):
        await read(over_http.target)


@reads
async def test_a_cut_answer_is_read_again(
    over_http: Rig, read: Callable[[Target], Awaitable[Any]]
) -> None:
    """A read does no harm twice."""
    ready(over_http)
    whole = await read(over_http.target)
    over_http.faults.add("reset", method="GET", times=2)
    over_http.faults.add("error", method="GET", status=503, retry_after=2)
    assert await read(over_http.target) == whole


@reads
async def test_an_http_error_in_the_middle_ends_the_reading(
    over_http: Rig, read: Callable[[Target], Awaitable[Any]]
) -> None:
    """A part of a listing is never taken for the whole of it."""
    ready(over_http)
    for n in range(60):
        over_http.hands.add_user(f"u{n}", groups=["staff"])
    over_http.faults.add("error", method="GET", status=500, times=None, skip=1)
    try:
        found = await read(over_http.target)
    except TargetUnavailable:
        return
    over_http.faults.clear()
    assert found == await read(over_http.target)


@pytest.mark.parametrize("retry_after", [7, 2.5, "date:9", None])
async def test_throttling_is_obeyed(over_http: Rig, retry_after: float | str | None) -> None:
    """For reads and writes alike; nothing is sent before the time."""
    over_http.faults.add("throttle", retry_after=retry_after, times=2)
    before = over_http.clock.monotonic()
    made = await over_http.make()
    over_http.faults.add("throttle", method="GET", retry_after=retry_after)
    assert await over_http.target.read_account(made) == made
    assert over_http.recording.early_requests == 0
    if isinstance(retry_after, int):
        assert over_http.clock.monotonic() - before >= 3 * retry_after


async def test_a_product_that_blocks_all_requests_is_unavailable(over_http: Rig) -> None:
    """Jira's rate limiting can; the tries are few."""
    over_http.product.block_all()
    before = over_http.recording.count()
    with pytest.raises(TargetUnavailable):
        await over_http.make()
    assert over_http.recording.count() - before <= 5


# Writes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_rule_30_a_broken_write_is_doubtful(over_http: Rig, status: int) -> None:
    """And it is not sent again by itself where that could do harm."""
    over_http.faults.add("error", method="POST", status=status, times=None)
    with pytest.raises(ChangeRejected) as caught:
        await over_http.make()
    assert caught.value.doubtful and caught.value.status == status
    assert over_http.recording.count("POST") == 1


async def test_rule_18_a_create_whose_answer_was_lost_is_found_again(over_http: Rig) -> None:
    """It is unavailable, not refused; the account stands under the name that was sent."""
    over_http.faults.add("reset", method="POST", late=True)
    with pytest.raises(TargetUnavailable):
        await over_http.make()
    found = await over_http.target.find_account("ann")
    assert found is not None and found.display_name == "Person 1"
    assert found.email == ("person1@example.com" if over_http.can("email") else None)
    with pytest.raises(AlreadyExists):
        await over_http.make()


async def test_rule_18_what_fails_after_a_create_does_not_undo_it(over_http: Rig) -> None:
    """The mark or an attribute is refused: the account stands, and is handed back."""
    over_http.faults.add("error", method="PUT", status=400, times=None, body={})
    over_http.faults.add("error", method="POST", path="attribute", status=400, times=None, body={})
    made = await over_http.make(attributes={"department": "one"})
    over_http.faults.clear()
    found = await over_http.target.find_account("ann")
    assert found is not None and found.key == made.key


async def test_a_garbled_answer_to_a_create_does_not_lose_the_account(over_http: Rig) -> None:
    """It is read again."""
    over_http.faults.add("garbage", method="POST")
    made = await over_http.make()
    assert await over_http.target.find_account("ann") == made


@pytest.mark.parametrize("kind", ["update", "rename", "deactivate", "delete", "add", "remove"])
async def test_i4_a_change_whose_answer_was_lost_can_be_made_again(
    over_http: Rig, kind: str
) -> None:
    """Once more is success, and comes to the same."""
    rig = over_http
    made = await rig.make()
    rig.hands.add_group("staff")
    if not rig.can(kind):
        pytest.skip("cannot")
    if kind == "remove":
        rig.hands.add_member("staff", "ann")
    changes: dict[str, Callable[[], Awaitable[Any]]] = {
        "update": lambda: rig.target.update_account(made, replace(made, email="new@example.com")),
        "rename": lambda: rig.target.rename_account(made, replace(made, username="bob")),
        "deactivate": lambda: rig.target.set_active(made, False),
        "delete": lambda: rig.target.delete_account(made),
        "add": lambda: rig.target.add_members(STAFF, [made]),
        "remove": lambda: rig.target.remove_members(STAFF, [made]),
    }
    for method in ("POST", "PUT", "DELETE"):
        rig.faults.add("reset", method=method, path="^(?!.*session)", late=True)
    try:
        await changes[kind]()
    except TargetUnavailable:
        pass
    rig.faults.clear()
    assert await changes[kind]() in ({}, None) or kind in ("update", "rename", "deactivate")
    after = rig.hands.user("bob" if kind == "rename" else "ann")
    assert (after is None) is (kind == "delete")
    if kind == "update":
        assert after.email == "new@example.com"
    if kind == "deactivate":
        assert after.active is False
    assert rig.hands.members("staff") == ({"ann"} if kind == "add" else set())


async def test_a_read_only_directory_is_named_as_the_reason(rig: Rig) -> None:
    """For each kind of write, and whatever language the product speaks."""
    if not hasattr(rig.hands, "set_read_only") or not rig.can("directories"):
        pytest.skip("has no directories")
    made = await rig.make()
    rig.hands.add_group("staff", ["ann"])
    rig.hands.add_user("bob")
    bob = await rig.target.find_account("bob")
    assert bob is not None
    rig.hands.set_read_only()
    with pytest.raises(ChangeRejected) as caught:
        await rig.target.update_account(made, replace(made, email="new@example.com"))
    assert caught.value.hint
    if rig.entry.kind in ("jira", "crowd"):
        assert caught.value.reason == "read_only"
    for change in (
        lambda: rig.make("eve", 2),
        lambda: rig.target.delete_account(made),
        lambda: rig.target.create_group(TargetGroup(name="more")),
    ):
        with pytest.raises(ChangeRejected) as caught:
            await change()
        assert caught.value.status in (400, 403)
    assert list(await rig.target.add_members(STAFF, [bob])) == [bob.key]
    assert list(await rig.target.remove_members(STAFF, [made])) == [made.key]
    assert rig.hands.members("staff") == {"ann"}


async def test_already_so_is_success_in_a_read_only_directory_too(rig: Rig) -> None:
    """What is decided by reading again does not depend on what was refused."""
    if not hasattr(rig.hands, "set_read_only") or not rig.can("directories"):
        pytest.skip("has no directories")
    made = await rig.make()
    rig.hands.add_group("staff", ["ann"])
    rig.hands.add_group("other")
    rig.hands.set_read_only()
    if rig.entry.kind == "jira":
        assert await rig.target.add_members(STAFF, [made]) == {}
        other = TargetGroup(name="other", key="other")
        assert await rig.target.remove_members(other, [made]) == {}


async def test_i10_no_secret_is_in_an_error(over_http: Rig) -> None:
    """Neither token nor password, whatever goes wrong."""
    rig = over_http
    ready(rig)
    texts = []
    for fault in ("reset", "garbage", "error"):
        rig.faults.add(fault, times=None)
        for read in READS.values():
            with pytest.raises(TargetUnavailable) as caught:
                await read(rig.target)
            texts.append(f"{caught.value!r} {caught.value} {caught.value.__cause__!r}")
        rig.faults.clear()
    with pytest.raises(AlreadyExists) as refused:
        await rig.make()
    texts.append(f"{refused.value!r} {refused.value}")
    for secret in (rig.product.token, rig.product.password):
        assert not secret or not any(secret in text for text in texts)
