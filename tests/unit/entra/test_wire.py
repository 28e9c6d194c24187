"""Graph's JSON, by the documented bodies and by what can be wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from azsyncd.entra import wire
from azsyncd.errors import SourceError
from azsyncd.model.identities import MemberKind, MemberSeen, ObjectId, Seen

NEXT = {"@odata.nextLink": "https://g.example/next"}
DELTA = {"@odata.deltaLink": "https://g.example/delta"}


def page(*value: Any, link: dict[str, str] = DELTA) -> Any:
    return wire.page_from_json("users", {"value": list(value), **link})


def test_null_absent_and_value_are_three_things() -> None:
    """Rule 5: null stays None, absent stays absent."""
    (item,) = page({"id": "A", "mail": None, "displayName": "Jo"}).items
    assert item.properties == {"mail": None, "displayName": "Jo"}


def test_ids_are_lower_case() -> None:
    """GUIDs come in either case; the only join key must not care."""
    (item,) = page({"id": "72052A9A", "members@delta": [{"id": "D0486C85"}]}).items
    assert item.id == "72052a9a"
    assert item.members[0].id == "d0486c85"


@pytest.mark.parametrize(
    ("removed", "reason"),
    [
        (None, None),
        ({"reason": "changed"}, "changed"),
        ({"reason": "deleted"}, "deleted"),
        ({"reason": "Deleted"}, "deleted"),
        ({"reason": "unheardOf"}, "changed"),
        ({}, "changed"),
        ("deleted", "changed"),
    ],
)
def test_removal_of_an_object(removed: Any, reason: str | None) -> None:
    """What is not known is read as the milder reason."""
    body = {"id": "a"} if removed is None else {"id": "a", "@removed": removed}
    assert page(body).items[0].removed == reason


BOSS = {"@odata.type": "#microsoft.graph.user", "id": "B0"}
GONE = {**BOSS, "@removed": {"reason": "deleted"}}
CONTACT = {"@odata.type": "#microsoft.graph.orgContact", "id": "C0"}


@pytest.mark.parametrize(
    ("said", "properties"),
    [
        ({}, {}),
        ({"manager@delta": []}, {}),
        ({"manager@delta": [BOSS]}, {"manager": "b0"}),
        ({"manager@delta": BOSS}, {"manager": "b0"}),
        ({"manager@delta": [{"id": "B1"}]}, {"manager": "b1"}),
        ({"manager@delta": [GONE]}, {"manager": None}),
        ({"manager@delta": [GONE, {"id": "B1"}]}, {"manager": "b1"}),
        ({"manager@delta": [{"id": "B1"}, GONE]}, {"manager": "b1"}),
        ({"manager@delta": [CONTACT]}, {"manager": None}),
        ({"manager": None}, {}),
    ],
)
def test_managers_as_delta_tells_of_them(
    said: dict[str, object], properties: dict[str, object]
) -> None:
    """A contact of the organization is no user; what is not said is not known."""
    assert page({"id": "A", **said}).items[0].properties == properties


@pytest.mark.parametrize("said", ["x", ["x"], [{}], {"id": 1}, 7 * [None]])
def test_what_is_no_manager(said: object) -> None:
    with pytest.raises(SourceError, match="a manager without an id"):
        page({"id": "A", "manager@delta": said})


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("#microsoft.graph.user", MemberKind.USER),
        ("#Microsoft.Graph.User", MemberKind.USER),
        ("#microsoft.graph.group", MemberKind.GROUP),
        ("#microsoft.graph.device", MemberKind.OTHER),
        ("#microsoft.graph.servicePrincipal", MemberKind.OTHER),
        ("#microsoft.graph.orgContact", MemberKind.OTHER),
        ("#microsoft.graph.somethingNew", MemberKind.OTHER),
        (None, MemberKind.USER),
    ],
)
def test_kinds_of_members(kind: str | None, wanted: MemberKind) -> None:
    """Unknown types are kept out of every count; a missing one removes nobody."""
    body = {"id": "M"} if kind is None else {"id": "M", "@odata.type": kind}
    assert wire.member_from_json(body) == MemberSeen(ObjectId("m"), wanted)


def test_removed_member_is_a_removal_and_says_nothing_of_the_user(example: Any) -> None:
    """`deleted` inside members@delta is a mere removal, also in the first round."""
    page = wire.page_from_json("groups", example("groups-delta-initial-with-removed-members"))
    (group,) = page.items
    assert group.removed is None
    assert [member.removed for member in group.members] == [True, True, False]
    assert group.properties == {"displayName": "All Company"}


@pytest.mark.parametrize(
    ("links", "said"),
    [({}, "neither"), ({**NEXT, **DELTA}, "both"), ({"@odata.nextLink": None}, "neither")],
)
def test_page_needs_exactly_one_link(links: Any, said: str) -> None:
    """Otherwise nobody knows whether the round is closed."""
    with pytest.raises(SourceError, match=said):
        page(link=links)


@pytest.mark.parametrize("body", [{}, {"value": None, **DELTA}, {"value": {}, **DELTA}, [], None])
def test_what_is_no_page(body: Any) -> None:
    """An empty 200 is not "nobody is there"."""
    with pytest.raises(SourceError, match="no list"):
        wire.page_from_json("users", body)


@pytest.mark.parametrize("item", [{}, {"id": None}, {"id": ""}, {"id": 7}, "x", None])
def test_page_with_an_object_without_id_is_not_half_read(item: Any) -> None:
    """Whole or not at all."""
    with pytest.raises(SourceError, match="without an id"):
        page({"id": "fine"}, item)


@pytest.mark.parametrize(
    ("name", "feed", "objects", "closed"),
    [
        ("users-delta-initial-page1", "users", None, False),
        ("users-delta-initial-final-deltalink", "users", None, True),
        ("users-delta-empty-page-with-nextlink", "users", 0, False),
        ("users-delta-deltatoken-latest", "users", 0, True),
        ("groups-delta-initial-final-deltalink", "groups", 2, True),
        ("groups-delta-default-properties", "groups", None, None),
    ],
)
def test_documented_pages(
    example: Any, name: str, feed: str, objects: int | None, closed: bool | None
) -> None:
    """Empty pages with a nextLink are legal."""
    page = wire.page_from_json(feed, with_ids(example(name)))
    assert objects is None or len(page.items) == objects
    assert closed is None or (page.delta_link is not None) == closed
    assert all(isinstance(item, Seen) and item.id == item.id.lower() for item in page.items)


def test_minimal_page_of_the_documentation(example: Any) -> None:
    """Prefer: return=minimal pages are read the same way; a cleared property is there, as None."""
    page = wire.page_from_json("groups", with_ids(example("groups-delta-select-prefer-minimal")))
    assert page.items[0].properties["description"] is None


def with_ids(body: Any) -> Any:
    """The documentation leaves ids out where they do not matter to it; Graph never does."""
    for item in body["value"]:
        item.setdefault("id", "00000000-0000-0000-0000-000000000000")
    return body


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        ({"error": {"code": "A", "innerError": {"code": "B", "innererror": {"code": "C"}}}}, "ABC"),
        ({"error": {"code": "A"}}, "A"),
        ({"error": "A"}, ""),
        ({}, ""),
        (None, ""),
        ([], ""),
    ],
)
def test_codes_are_found_at_any_depth(body: Any, codes: str) -> None:
    """The most specific comes last."""
    assert wire.codes_of(body) == tuple(codes)


def test_nest_without_end_ends() -> None:
    """A body that nests for ever is cut."""
    node: dict[str, Any] = {"code": "x"}
    node["innerError"] = node
    assert len(wire.codes_of({"error": node})) == 10


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2016-11-20T18:23:45.9356913Z", 1479666225.935691),
        ("2019-01-17T12:48:43.7825578+00:00", 1547729323.782557),
        ("2022-01-01T00:00:00", 1640995200.0),
        ("soon", None),
        (None, None),
    ],
)
def test_moments(text: Any, seconds: float | None) -> None:
    """Graph writes seven digits of a second."""
    assert wire.timestamp(text) == pytest.approx(seconds, abs=1e-3)


@pytest.mark.parametrize(
    ("resource", "feed"),
    [
        ("/users", "users"),
        ("Users/0f7e", "users"),
        ("groups", "groups"),
        ("/Groups/x/members", "groups"),
        ("me/messages", "me/messages"),
        ("users('x')", "users"),
        ("", ""),
    ],
)
def test_feed_of_a_resource(resource: str, feed: str) -> None:
    """The case of `Users/` varies."""
    assert wire.feed_of(resource) == feed


@pytest.mark.parametrize(
    "name",
    ["subscription-get-response", "subscription-create-response-groups-201-real"],
)
def test_documented_subscriptions(example: Any, name: str) -> None:
    """As shown and as reported."""
    found = wire.subscription_from_json(example(name))
    assert found.id and found.expires_at > 0 and found.notification_url


def test_subscription_without_its_end_is_refused() -> None:
    """Nobody could renew it in time."""
    with pytest.raises(SourceError):
        wire.subscription_from_json({"id": "x"})
    with pytest.raises(SourceError):
        wire.subscription_from_json([])


def test_ends_of_credentials_are_sorted() -> None:
    """The next one first; what has no end is left out."""
    found = wire.credential_ends(
        {
            "passwordCredentials": [
                {"displayName": "b", "endDateTime": "2030-01-01T00:00:00Z"},
                {"displayName": "none", "endDateTime": None},
            ],
            "keyCredentials": [
                {"keyId": "12345678-aaaa", "endDateTime": "2029-01-01T00:00:00Z"},
            ],
        }
    )
    assert [name for name, _ in found] == ["certificate 12345678", "secret b"]


def test_the_end_of_our_own_secret_is_told_by_how_it_begins() -> None:
    """Another one that lasts longer must not hide it; without a hint that fits, all of them."""
    application = {
        "passwordCredentials": [
            {"displayName": "ours", "hint": "abc", "endDateTime": "2027-01-01T00:00:00Z"},
            {"displayName": "other", "hint": "xyz", "endDateTime": "2030-01-01T00:00:00Z"},
        ]
    }
    assert [name for name, _ in wire.credential_ends(application, {"abc"})] == ["secret ours"]
    assert len(wire.credential_ends(application, {"no"})) == 2
