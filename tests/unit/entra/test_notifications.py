"""The doorbell: what rings, what is dropped, and that nothing can break it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azsyncd.entra.notifications import RESULTS, Accepted, Doorbell
from azsyncd.model.subscriptions import fingerprint

TENANT = "9f4ebab6-520d-49c0-85cc-7b25c78d4a93"
OURS = "d850b120-19bb-4291-b9c4-845ea04dd38d"
SECRET = "s3cret-state"


def bell() -> Doorbell:
    return Doorbell(
        tenant_id=TENANT.upper(),
        known=lambda: {OURS: fingerprint(SECRET), "g1": fingerprint("other-state")},
    )


def item(**changed: Any) -> dict[str, Any]:
    return {
        "subscriptionId": OURS,
        "clientState": SECRET,
        "tenantId": TENANT,
        "changeType": "updated",
        "resource": "Users/0F7E3B1A",
        "resourceData": {"id": "0F7E3B1A", "sequenceNumber": 636830000000000000},
    } | changed


def post(*items: Any) -> Accepted:
    return bell().accept(orjson.dumps({"value": list(items)}))


JUDGED = [
    ({}, "accepted", {"users"}),
    ({"changeType": "deleted"}, "accepted", {"users"}),
    ({"changeType": "unknownFutureValue"}, "accepted", {"users"}),
    ({"changeType": None}, "accepted", {"users"}),
    ({"resource": "groups/x"}, "accepted", {"groups"}),
    ({"resource": "Groups('x')"}, "accepted", {"groups"}),
    ({"resource": "applications/x"}, "accepted", {"users", "groups"}),
    ({"resource": None}, "accepted", {"users", "groups"}),
    ({"subscriptionId": OURS.upper()}, "accepted", {"users"}),
    ({"tenantId": TENANT.upper()}, "accepted", {"users"}),
    ({"tenantId": None}, "accepted", {"users"}),
    ({"resourceData": None}, "accepted", {"users"}),
    ({"resourceData": {"id": 7}}, "accepted", {"users"}),
    ({"tenantId": "84bd8158"}, "foreign", set()),
    ({"subscriptionId": "unknown"}, "foreign", set()),
    ({"subscriptionId": "NA"}, "foreign", set()),
    ({"clientState": None}, "forged", set()),
    ({"clientState": ""}, "forged", set()),
    ({"clientState": "other-state"}, "forged", set()),
    ({"clientState": SECRET + "x"}, "forged", set()),
    ({"clientState": 7}, "forged", set()),
    ({"clientState": "ü"}, "forged", set()),
    ({"subscriptionId": None}, "garbage", set()),
]


@pytest.mark.parametrize(("changed", "result", "rings"), JUDGED)
def test_each_item_is_judged_by_itself(changed: Any, result: str, rings: set[str]) -> None:
    """Known subscription, equal clientState, our tenant; unknown kinds of change ring."""
    got = post(item(**changed))
    assert got.counts == {result: 1}
    assert got.rings == rings
    assert result in RESULTS


def test_mixed_post_keeps_what_is_ours() -> None:
    """One POST may carry several subscriptions, tenants and applications."""
    got = post(
        item(),
        item(tenantId="other"),
        item(clientState="guess"),
        item(subscriptionId="g1", clientState="other-state", resource="groups/G"),
        "nonsense",
    )
    assert got.counts == {"accepted": 2, "foreign": 1, "forged": 1, "garbage": 1}
    assert got.rings == {"users", "groups"}
    assert got.object_ids == {"0f7e3b1a"}


@pytest.mark.parametrize(
    "event", ["reauthorizationRequired", "missed", "subscriptionRemoved", "somethingNew"]
)
def test_lifecycle_events_are_verified_and_passed_on(event: str) -> None:
    """Once each, whoever repeats them; they ring nothing by themselves."""
    got = post(item(lifecycleEvent=event), item(lifecycleEvent=event))
    assert got.lifecycle == ((event, OURS),)
    assert (got.rings, got.counts) == (frozenset(), {"lifecycle": 2})
    assert post(item(lifecycleEvent=event, clientState="guess")).lifecycle == ()


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b'{"value": {}}', b'{"value": [', b"\xff\xfe", b"[" * 100_000],
)
def test_garbage_is_counted(body: bytes) -> None:
    """And nothing else."""
    assert bell().accept(body) == Accepted(counts={"garbage": 1})


def test_empty_list_is_nothing() -> None:
    """No item, no count."""
    assert post() == Accepted()


def test_documented_bodies(example: Any) -> None:
    """With our secret in them they ring for their feed; lifecycle ones are told apart."""
    for name, feed in (
        ("changenotification-user-updated", "users"),
        ("changenotification-user-softdelete-arrives-as-updated", "users"),
        ("changenotification-user-deleted-permanent", "users"),
        ("changenotification-group-updated", "groups"),
        ("changenotification-group-softdelete-arrives-as-updated", "groups"),
        ("changenotification-group-deleted-permanent", "groups"),
    ):
        (body,) = example(name)["value"]
        state = body["clientState"] = body["clientState"] or "state"
        known = {body["subscriptionId"]: fingerprint(state)}
        door = Doorbell(tenant_id=body["tenantId"], known=lambda known=known: known)
        assert door.accept(orjson.dumps({"value": [body]})).rings == {feed}, name
    for event in ("missed", "reauthorizationrequired", "subscriptionremoved"):
        (body,) = example(f"lifecycle-notification-{event}")["value"]
        known = {body["subscriptionId"]: fingerprint(body["clientState"])}
        door = Doorbell(tenant_id=body["tenantId"], known=lambda known=known: known)
        ((told, _),) = door.accept(orjson.dumps({"value": [body]})).lifecycle
        assert told.lower() == event


json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["subscriptionId", "clientState", "tenantId", "resourceData", "resource"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=10,
)


@given(st.lists(json, max_size=4))
def test_nothing_that_is_posted_raises(items: list[Any]) -> None:
    """Whatever JSON it is; and nothing of it rings without the secret."""
    body = orjson.dumps({"value": items}, option=orjson.OPT_NON_STR_KEYS, default=str)
    got = bell().accept(body)
    assert got.rings == frozenset()
    assert sum(got.counts.values()) == len(items)


@given(st.binary(max_size=64))
def test_no_bytes_raise(body: bytes) -> None:
    """Whatever they are."""
    bell().accept(body)
