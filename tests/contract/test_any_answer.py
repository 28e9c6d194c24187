"""Whatever a product answers, a connector raises only what its callers know how to take."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from azsyncd.errors import ChangeRejected, TargetError, TargetUnavailable
from azsyncd.model.accounts import Account, Mark, TargetGroup
from azsyncd.targets.base import Target

from .rigs import INSTANCE, OBJECT_ID, Rig, wanted

pytestmark = pytest.mark.slow

STATUSES = [200, 204, 302, 400, 401, 403, 404, 405, 409, 422, 500, 501]
BODIES: dict[str, Any] = {
    "nothing": "",
    "text": "no",
    "page": "<html><title>No</title></html>",
    "null": None,
    "list": [1, "two", None],
    "number": 3,
    "errors": {"errorMessages": ["no"], "errors": {"active": "no", "username": None}},
    "odd errors": {"errorMessages": {"a": 1}, "errors": ["no"], "reason": ["x"], "message": 7},
    "odd lists": {"values": {"a": 1}, "users": "none", "groups": 3, "isLast": "yes", "total": "x"},
}
STAFF = TargetGroup(name="staff", key="staff")


async def every(things: AsyncIterator[Any]) -> list[Any]:
    return [each async for each in things]


Calls = dict[str, Callable[[], Awaitable[Any]]]


def questions(target: Target, have: Account) -> Calls:
    return {
        "fingerprint": target.fingerprint,
        "probe": target.probe,
        "ask": target.ask,
        "seats": target.seats,
        "accounts": lambda: every(target.accounts()),
        "groups": lambda: every(target.groups()),
        "members": lambda: every(target.members([STAFF])),
        "all members": lambda: every(target.members([STAFF] * 12)),
        "find_account": lambda: target.find_account("ann"),
        "read_account": lambda: target.read_account(have),
        "find_group": lambda: target.find_group("staff"),
    }


def changes(target: Target, have: Account) -> Calls:
    changed = replace(have, email="new@example.com", attributes={"department": "new"})
    return {
        "create_account": lambda: target.create_account(wanted("bob", 2)),
        "update_account": lambda: target.update_account(have, changed),
        "rename_account": lambda: target.rename_account(have, replace(have, username="eve")),
        "set_active": lambda: target.set_active(have, False),
        "strip_account": lambda: target.strip_account(have, {"staff"}),
        "mark_account": lambda: target.mark_account(have, Mark(INSTANCE, OBJECT_ID % 5)),
        "delete_account": lambda: target.delete_account(have),
        "create_group": lambda: target.create_group(TargetGroup(name="more")),
        "delete_group": lambda: target.delete_group(STAFF),
        "add_members": lambda: target.add_members(STAFF, [have]),
        "remove_members": lambda: target.remove_members(STAFF, [have]),
    }


@pytest.mark.parametrize("status", STATUSES)
async def test_any_answer_ends_in_an_error_that_is_known(over_http: Rig, status: int) -> None:
    """To questions, and to changes whose questions are answered well; each says what to do."""
    have = await over_http.make()
    over_http.hands.add_group("staff")
    target, faults = over_http.target, over_http.faults
    for body in BODIES.values():
        for name, call in {**questions(target, have), **changes(target, have)}.items():
            asks = name in questions(target, have)
            faults.clear()
            for method in [""] if asks else ["POST", "PUT", "DELETE", "PATCH"]:
                faults.add("error", method=method, status=status, body=body, times=None)
            ending = await ended(call)
            if isinstance(ending, TargetError):
                assert ending.message and ending.target == "main", name
                assert not isinstance(ending, ChangeRejected) or ending.reason, name
                may_be_unavailable = asks or status in (200, 204, 500)
                assert may_be_unavailable or not isinstance(ending, TargetUnavailable), (name, body)
            for refused in ending.values() if isinstance(ending, dict) else ():
                assert isinstance(refused, ChangeRejected), name
    faults.clear()


async def ended(call: Callable[[], Awaitable[Any]]) -> Any:
    """What a call came to: its answer, or the error that is known."""
    try:
        return await call()
    except TargetError as error:
        return error
