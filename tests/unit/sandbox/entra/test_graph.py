"""The simulated Graph over HTTPS: lists, single objects, rights, errors, subscriptions."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from azsyncd.clock import utc
from azsyncd.sandbox.clock import FakeClock
from azsyncd.sandbox.entra import Entra
from azsyncd.sandbox.nodes import Sort


def shape(value: Any) -> Any:
    """The keys of a body and the kinds of its values; what is null has any kind."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def populate(entra: Entra, users: int = 5) -> list[str]:
    tenant = entra.tenant
    ids = [tenant.add_user(f"u{n}@{tenant.domain}", department="Sales") for n in range(users)]
    tenant.add_group("team", members=ids)
    return ids


# Lists and objects ------------------------------------------------------------------------------


async def test_lists_go_on_by_skiptoken(entra: Entra, ask: Any) -> None:
    """100 a page, at most 999; the selection is carried along."""
    ids = populate(entra, 250)
    status, body, _ = await ask("GET", "/users", params={"$select": "id,department"})
    assert (status, len(body["value"])) == (200, 100)
    assert body["value"][0] == {"id": ids[0], "department": "Sales"}
    found, _ = await ask.crawl("/users", **{"$select": "id,department", "$top": "99"})
    assert [item["id"] for item in found] == ids
    assert found[-1] == {"id": ids[-1], "department": "Sales"}
    team = entra.tenant.group("team").id
    found, _ = await ask.crawl(f"/groups/{team}/members", **{"$select": "id", "$top": "60"})
    assert [item["id"] for item in found] == ids
    status, body, _ = await ask("GET", "/users", params={"$top": "1000"})
    assert (status, body["error"]["code"]) == (400, "Request_UnsupportedQuery")


async def test_lists_filter_by_equality_and_count(entra: Entra, ask: Any) -> None:
    """Without regard to case, as the directory compares."""
    ids = populate(entra, 3)
    entra.tenant.update(ids[1], department="Support", accountEnabled=False)
    query = {"$filter": "department eq 'SUPPORT' and accountEnabled eq false", "$count": "true"}
    _, body, _ = await ask("GET", "/users", params=query)
    assert [item["id"] for item in body["value"]] == [ids[1]]
    assert body["@odata.count"] == 1
    status, _, _ = await ask("GET", "/users", params={"$filter": "startswith(mail,'a')"})
    assert status == 400


async def test_single_user_by_id_and_by_name(entra: Entra, ask: Any) -> None:
    """The default properties, null where nothing was ever set; guests have a # in their name."""
    guest = entra.tenant.add_user(
        f"eve_other.example#EXT#@{entra.tenant.domain}", userType="Guest", mail="eve@other.example"
    )
    status, body, headers = await ask(
        "GET", f"/users/eve_other.example%23EXT%23@{entra.tenant.domain}"
    )
    assert (status, body["id"], body["jobTitle"]) == (200, guest, None)
    assert "userType" not in body
    assert body["@odata.context"].endswith("$metadata#users/$entity")
    assert headers["request-id"]
    assert headers["x-ms-resource-unit"] == "1"
    _, body, _ = await ask("GET", f"/users/{guest.upper()}", params={"$select": "id,userType"})
    assert body["userType"] == "Guest"


async def test_soft_deleted_user_is_404_and_in_the_bin(
    entra: Entra, ask: Any, example: Any
) -> None:
    """As printed; purged it is nowhere."""
    ann, *_ = populate(entra, 2)
    entra.tenant.delete(ann)
    status, body, _ = await ask("GET", f"/users/{ann}")
    assert (status, body["error"]["code"]) == (404, "Request_ResourceNotFound")
    expected = example("error-404-user-resourcenotfound-after-softdelete")
    assert expected["error"].keys() <= body["error"].keys()
    status, body, _ = await ask("GET", f"/directory/deletedItems/{ann}")
    assert (status, body["id"]) == (200, ann)
    assert body["userPrincipalName"].startswith(ann.replace("-", ""))
    _, body, _ = await ask("GET", "/directory/deletedItems/microsoft.graph.user")
    assert [item["id"] for item in body["value"]] == [ann]
    _, body, _ = await ask("GET", "/directory/deletedItems/microsoft.graph.group")
    assert body["value"] == []
    entra.tenant.purge(ann)
    assert (await ask("GET", f"/directory/deletedItems/{ann}"))[0] == 404


async def test_deleted_group_looks_as_documented(entra: Entra, ask: Any, example: Any) -> None:
    """`deletedItems` with what the sample shows."""
    group = entra.tenant.add_group("SampleGroup", kind="m365", visibility="Public")
    entra.tenant.delete(group)
    _, body, _ = await ask("GET", f"/directory/deletedItems/{group}")
    sample = example("deleteditems-get")
    assert sample.keys() <= body.keys()
    assert (body["displayName"], body["groupTypes"]) == ("SampleGroup", ["Unified"])


async def test_members_of_every_kind(entra: Entra, ask: Any) -> None:
    """By type; v1.0 leaves service principals out; casts pick one kind."""
    tenant = entra.tenant
    ann = tenant.add_user("ann@x.example")
    inner = tenant.add_group("inner", members=[ann])
    device = tenant.add_other(Sort.DEVICE, "laptop")
    principal = tenant.add_other(Sort.SERVICE_PRINCIPAL, "robot")
    outer = tenant.add_group("outer", members=[inner, device, principal])
    _, body, _ = await ask("GET", f"/groups/{outer}/members")
    assert [(m["@odata.type"], m["id"]) for m in body["value"]] == [
        ("#microsoft.graph.group", inner),
        ("#microsoft.graph.device", device),
    ]
    assert body["value"][1]["displayName"] is None  # devices may not be read
    _, body, _ = await ask("GET", f"/groups/{outer}/members/microsoft.graph.group")
    assert [m["id"] for m in body["value"]] == [inner]
    _, body, _ = await ask("GET", f"/groups/{outer}/transitiveMembers/microsoft.graph.user")
    assert [m["id"] for m in body["value"]] == [ann]
    _, body, _ = await ask("GET", f"/users/{ann}/memberOf")
    assert [m["id"] for m in body["value"]] == [inner]
    _, body, _ = await ask("GET", f"/groups/{inner}/memberOf")
    assert [m["id"] for m in body["value"]] == [outer]
    assert (await ask("GET", f"/groups/{outer}/members/microsoft.graph.chair"))[0] == 400


async def test_members_that_may_not_be_read_come_without_properties(entra: Entra, ask: Any) -> None:
    """200 with type and id, and null for all else: that is no cleared attribute."""
    ann, *_ = populate(entra, 1)
    entra.registration.revoke("User.Read.All")
    team = entra.tenant.group("team").id
    _, body, _ = await ask("GET", f"/groups/{team}/members", params={"$select": "id,displayName"})
    assert body["value"] == [
        {"@odata.type": "#microsoft.graph.user", "id": ann, "displayName": None}
    ]


async def test_manager(entra: Entra, ask: Any, example: Any) -> None:
    """A user, or 404."""
    boss, ann = populate(entra, 2)
    assert (await ask("GET", f"/users/{ann}/manager"))[0] == 404
    entra.tenant.update(ann, manager=boss)
    _, body, _ = await ask("GET", f"/users/{ann}/manager")
    assert body["id"] == boss
    assert example("user-manager").keys() <= body.keys()


@pytest.mark.parametrize(
    ("how", "shown"),
    [("$select=id", {"id"}), ("$select=id,mail", {"id", "mail"}), ("", {"id", "displayName"})],
)
async def test_managers_in_a_list(entra: Entra, ask: Any, how: str, shown: set[str]) -> None:
    """Whoever has none comes without the key, and so does everybody where it is ignored."""
    boss, ann = populate(entra, 2)
    entra.tenant.update(ann, manager=boss)
    params = {"$select": "id", "$expand": f"manager({how})" if how else "manager"}
    _, body, _ = await ask("GET", "/users", params=params)
    found = {user["id"]: user.get("manager") for user in body["value"]}
    assert found[boss] is None and found[ann]["id"] == boss
    assert shown <= found[ann].keys()
    entra.graph.reads.expands = "ignored"
    _, body, _ = await ask("GET", "/users", params=params)
    assert not any("manager" in user for user in body["value"])
    entra.graph.reads.expands = "refused"
    assert (await ask("GET", "/users", params=params))[0] == 400


async def test_other_expansions_are_refused(entra: Entra, ask: Any) -> None:
    """They show 20 objects and no more: nobody may rely on them."""
    for path, what in (("/users", "memberOf"), ("/groups", "members"), ("/groups", "manager")):
        assert (await ask("GET", path, params={"$expand": what}))[0] == 400


async def test_application_shows_the_ends_of_its_credentials(entra: Entra, ask: Any) -> None:
    """And no secret."""
    client_id = entra.registration.client_id
    path = f"/applications(appId='{client_id}')"
    status, body, _ = await ask("GET", path)
    assert (status, body["error"]["code"]) == (403, "Authorization_RequestDenied")
    entra.registration.grant("Application.Read.All")
    ask.new_token()
    _, body, _ = await ask("GET", path, params={"$select": "passwordCredentials,keyCredentials"})
    (secret,) = body["passwordCredentials"]
    assert (secret["displayName"], secret["secretText"]) == ("secret 1", None)
    assert secret["endDateTime"].endswith("Z")
    assert body["keyCredentials"] == []


async def test_feed_s_page_looks_as_documented(entra: Entra, ask: Any, example: Any) -> None:
    """The keys of the sample, no more annotations, links to the host that was asked."""
    entra.tenant.add_group("TestGroup5", description="Employees in test group 5")
    query = {"$select": "displayName,description"}
    _, body, _ = await ask("GET", "/groups/delta", params=query)
    sample = example("groups-delta-initial-final-deltalink")
    assert body.keys() == sample.keys()
    assert shape(body["value"]) == shape(sample["value"])
    assert body["@odata.deltaLink"].startswith(f"{entra.graph_url}/v1.0/groups/delta?$deltatoken=")


@pytest.mark.parametrize("name", ["delta", "delta()", "microsoft.graph.delta"])
async def test_feeds_have_several_spellings(entra: Entra, ask: Any, name: str) -> None:
    """One function."""
    populate(entra, 1)
    status, body, _ = await ask("GET", f"/users/{name}", params={"$select": "id"})
    assert (status, len(body["value"])) == (200, 1)


# Who asks, and what may be asked ----------------------------------------------------------------


async def test_bad_tokens(entra: Entra, ask: Any, clock: FakeClock) -> None:
    """None, nonsense, another tenant's, one that has ended."""
    for token in ("nonsense", "a.b.c"):
        ask.token = token
        status, body, headers = await ask("GET", "/users")
        assert (status, body["error"]["code"]) == (401, "InvalidAuthenticationToken")
        assert headers["WWW-Authenticate"].startswith("Bearer ")
        assert "claims" not in headers["WWW-Authenticate"]
    ask.new_token()
    assert (await ask("GET", "/users"))[0] == 200
    clock.jump(entra.apps.token_seconds + 1)
    assert (await ask("GET", "/users"))[0] == 401
    status, _, _ = await ask("GET", "/users", headers={"Authorization": "Basic eA=="})
    assert status == 401


async def test_challenge_looks_as_documented(entra: Entra, ask: Any, example: Any) -> None:
    """Only who said that it can is challenged."""
    sample = example("cae-claims-challenge-401")
    ask.new_token(can_be_challenged=True)
    entra.apps.revoke_tokens()
    status, _, headers = await ask("GET", "/users")
    assert status == sample["status"]
    challenge = headers["WWW-Authenticate"]
    assert 'error="insufficient_claims"' in challenge
    encoded = challenge.partition('claims="')[2].partition('"')[0]
    assert shape(json.loads(base64.b64decode(encoded))) == shape(sample["decoded_claims"])
    ask.new_token()
    assert (await ask("GET", "/users"))[0] == 200
    entra.apps.revoke_tokens()
    _, _, headers = await ask("GET", "/users")
    assert "claims" not in headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("/users/delta?$select=id", "User.Read.All"),
        ("/users", "User.Read.All"),
        ("/groups/delta?$select=id", "GroupMember.Read.All"),
        ("/groups", "GroupMember.Read.All"),
        ("/directory/deletedItems/microsoft.graph.user", "User.Read.All"),
    ],
)
async def test_each_permission_can_be_missed(
    entra: Entra, ask: Any, example: Any, path: str, role: str
) -> None:
    """403 as printed, at once; Directory.Read.All does too."""
    assert (await ask("GET", path))[0] == 200
    entra.registration.revoke("Group.Read.All", role)
    status, body, _ = await ask("GET", path)
    assert (status, body["error"]["code"]) == (403, "Authorization_RequestDenied")
    assert shape(body) == shape(example("error-403-authorization-requestdenied"))
    entra.registration.grant("Directory.Read.All")
    ask.new_token()
    assert (await ask("GET", path))[0] == 200


async def test_errors_of_delta_look_as_documented(entra: Entra, ask: Any, example: Any) -> None:
    """400 for a property that is not tracked, and for a dead token."""
    _, body, _ = await ask("GET", "/users/delta", params={"$select": "id,signInActivity"})
    sample = example("error-400-users-delta-select-signinactivity")
    assert (body["error"]["code"], shape(body)) == (sample["error"]["code"], shape(sample))
    _, link = await ask.crawl("/users/delta", **{"$select": "id"})
    entra.graph.delta.expire()
    status, body, _ = await ask("GET", link)
    sample = example("error-400-delta-syncstatenotfound")
    assert (status, body["error"]["code"]) == (400, sample["error"]["code"])
    assert body["error"]["message"] == sample["error"]["message"]


async def test_what_graph_does_not_have_is_written_down(entra: Entra, ask: Any) -> None:
    """400, and a line in `violations`."""
    for method, path in (("GET", "/groups/x/members/delta/y"), ("POST", "/users"), ("GET", "/x")):
        status, body, _ = await ask(method, path, json={} if method == "POST" else None)
        assert (status, body["error"]["code"]) == (400, "BadRequest")
    assert entra.graph.violations == ["GET /groups/x/members/delta/y", "POST /users", "GET /x"]


async def test_faults_speak_graph_s_dialect(entra: Entra, ask: Any, example: Any) -> None:
    """429 with a fraction of a second, 503 without anything."""
    entra.graph.faults.add("throttle", path="/users", retry_after=2.128)
    status, body, headers = await ask("GET", "/users")
    assert (status, headers["Retry-After"]) == (429, "2.128")
    sample = example("error-429-toomanyrequests")
    assert body["error"]["code"] == sample["error"]["code"]
    assert headers["request-id"]
    entra.graph.faults.add("error", path="/groups")
    status, body, _ = await ask("GET", "/groups")
    assert (status, body["error"]["code"]) == (503, "ServiceUnavailable")
    assert (await ask("GET", "/groups"))[0] == 200


async def test_resource_units_run_out(entra: Entra, ask: Any, clock: FakeClock) -> None:
    """Graph's own throttling: units in ten seconds, and when to come again."""
    entra.graph.units_per_window = 5
    answers = [await ask("GET", "/users") for _ in range(3)]
    assert [status for status, _, _ in answers] == [200, 200, 429]
    wait = float(answers[-1][2]["Retry-After"])
    assert 0 < wait <= 10
    clock.advance(wait)
    assert (await ask("GET", "/users"))[0] == 200


async def test_requests_are_counted_by_template(entra: Entra, ask: Any) -> None:
    """So that a test can say: one delta request per feed."""
    ann, *_ = populate(entra, 1)
    await ask("GET", f"/users/{ann}")
    await ask("GET", "/users/delta", params={"$select": "id"})
    await ask("GET", "/USERS/u0@fabrikam.onmicrosoft.com")
    assert entra.graph.requests == {"GET /users/{}": 2, "GET /users/delta": 1}


async def test_call_without_a_socket(entra: Entra, ask: Any) -> None:
    """For simulations: the same answer."""
    populate(entra, 2)
    headers = {"Authorization": f"Bearer {ask.new_token()}"}
    answer = await entra.graph.call(
        "GET", "https://graph.microsoft.com/v1.0/users/delta?$select=id,mail", headers
    )
    assert (answer.status, len(answer.body["value"])) == (200, 2)
    link = answer.body["@odata.deltaLink"]
    assert link.startswith("https://graph.microsoft.com/v1.0/users/delta?")
    assert (await entra.graph.call("GET", link, headers)).body["value"] == []
    refused = await entra.graph.call("GET", "https://graph.microsoft.com/v1.0/users")
    assert refused.status == 401


# Subscriptions ----------------------------------------------------------------------------------


def wish(entra: Entra, receiver: Any, **changes: Any) -> dict[str, Any]:
    made = {
        "changeType": "updated,deleted",
        "notificationUrl": receiver.url,
        "lifecycleNotificationUrl": receiver.url,
        "resource": "/users",
        "expirationDateTime": iso(entra, 3 * 86400),
        "clientState": "0123456789abcdef",
        "latestSupportedTlsVersion": "v1_2",
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


def iso(entra: Entra, seconds: float) -> str:
    return utc(entra.tenant.clock.now() + seconds).strftime("%Y-%m-%dT%H:%M:%S.0000000Z")


async def test_subscription_is_made_after_two_handshakes(
    entra: Entra, ask: Any, receiver: Any, example: Any
) -> None:
    """One for each address, twice if they are equal; a token that must be decoded once."""
    status, body, _ = await ask("POST", "/subscriptions", json=wish(entra, receiver))
    assert status == 201
    assert body.keys() == example("subscription-create-response-groups-201-real").keys()
    assert (body["resource"], body["clientState"]) == ("/users", None)
    assert len(receiver.tokens) == 2
    assert "+%/&" in receiver.tokens[0]
    assert receiver.tokens[0] != receiver.tokens[1]
    _, listed, _ = await ask("GET", "/subscriptions")
    _, one, _ = await ask("GET", f"/subscriptions/{body['id']}")
    assert listed["value"] == [{k: v for k, v in one.items() if k != "@odata.context"}]


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"expirationDateTime": "soon"}, 400, "not a date"),
        ({"expirationDateTime": "2020-01-01T00:00:00Z"}, 400, "future"),
        ({"expirationDateTime": "2031-01-01T00:00:00Z"}, 400, "41760 minutes"),
        ({"changeType": "moved"}, 400, "changeType"),
        ({"changeType": None}, 400, "changeType"),
        ({"resource": "/chats"}, 400, "not supported"),
        ({"notificationUrl": "http://127.0.0.1/notify"}, 400, "HTTPS"),
        ({"notificationUrl": "https://127.0.0.1:1/notify"}, 400, "Unable to connect"),
        ({"lifecycleNotificationUrl": "https://127.0.0.1:1/x"}, 400, "Unable to connect"),
        ({"clientState": "x" * 129}, 400, "128"),
        ({"includeResourceData": True}, 400, "includeResourceData"),
    ],
)
async def test_bad_wishes_are_refused(
    entra: Entra, ask: Any, receiver: Any, changes: dict[str, Any], status: int, words: str
) -> None:
    """400 that says why, and nothing is made."""
    answer = await ask("POST", "/subscriptions", json=wish(entra, receiver, **changes))
    assert answer[0] == status
    assert words in answer[1]["error"]["message"]
    assert entra.graph.subscriptions.all == {}


async def test_failed_handshake_looks_as_documented(
    entra: Entra, ask: Any, receiver: Any, example: Any
) -> None:
    """Refused by a firewall, or not plain text."""
    sample = example("error-400-subscription-validationerror")
    receiver.content_type = "application/json"
    _, body, _ = await ask("POST", "/subscriptions", json=wish(entra, receiver))
    assert (body["error"]["code"], shape(body)) == (sample["error"]["code"], shape(sample))
    receiver.answers_handshake = False
    _, body, _ = await ask("POST", "/subscriptions", json=wish(entra, receiver))
    assert body["error"]["message"].startswith(sample["error"]["message"].removesuffix("."))


async def test_second_one_for_the_same_is_a_conflict(entra: Entra, ask: Any, receiver: Any) -> None:
    """409 that names the first; the other feed, or another application, is another matter."""
    _, first, _ = await ask("POST", "/subscriptions", json=wish(entra, receiver))
    again = wish(entra, receiver, resource="Users", changeType="deleted,updated")
    status, body, _ = await ask("POST", "/subscriptions", json=again)
    assert status == 409
    assert f"Subscription Id <{first['id']}> already exists" in body["error"]["message"]
    groups = wish(entra, receiver, resource="groups")
    assert (await ask("POST", "/subscriptions", json=groups))[0] == 201
    entra.registration = entra.apps.register("other")
    ask.new_token()
    assert (await ask("GET", "/subscriptions"))[1]["value"] == []
    assert (await ask("GET", f"/subscriptions/{first['id']}"))[0] == 404
    assert (await ask("POST", "/subscriptions", json=wish(entra, receiver)))[0] == 201


async def test_lifetimes(entra: Entra, ask: Any, receiver: Any, clock: FakeClock) -> None:
    """Raised to 45 minutes, renewed, gone when they end."""
    short = wish(entra, receiver, expirationDateTime=iso(entra, 60))
    _, made, _ = await ask("POST", "/subscriptions", json=short)
    assert made["expirationDateTime"] == iso(entra, 45 * 60).replace(".0000000", "")
    path = f"/subscriptions/{made['id']}"
    status, body, _ = await ask("PATCH", path, json={"expirationDateTime": iso(entra, 7200)})
    assert (status, body["expirationDateTime"]) == (200, iso(entra, 7200).replace(".0000000", ""))
    status, body, _ = await ask("PATCH", path, json={"resource": "/groups"})
    assert status == 400
    assert (await ask("POST", f"{path}/reauthorize"))[0] == 204
    clock.advance(7201)
    ask.new_token()
    assert (await ask("GET", path))[0] == 404
    assert (await ask("PATCH", path, json={"expirationDateTime": iso(entra, 7200)}))[0] == 404


async def test_it_can_vanish_and_be_deleted(entra: Entra, ask: Any, receiver: Any) -> None:
    """Without a word; then there is room for a new one."""
    _, made, _ = await ask("POST", "/subscriptions", json=wish(entra, receiver))
    entra.graph.subscriptions.vanish()
    assert (await ask("GET", f"/subscriptions/{made['id']}"))[0] == 404
    _, made, _ = await ask("POST", "/subscriptions", json=wish(entra, receiver))
    assert (await ask("DELETE", f"/subscriptions/{made['id']}"))[0] == 204
    assert (await ask("DELETE", f"/subscriptions/{made['id']}"))[0] == 404


async def test_quota(entra: Entra, ask: Any, receiver: Any) -> None:
    """A hundred for one application."""
    entra.graph.subscriptions.refuses_duplicates = False
    one = wish(entra, receiver, lifecycleNotificationUrl=None)
    answers = [(await ask("POST", "/subscriptions", json=one))[0] for _ in range(101)]
    assert answers == [201] * 100 + [403]


async def test_subscribing_to_groups_takes_group_read_all(
    entra: Entra, ask: Any, receiver: Any, example: Any
) -> None:
    """As the directory's own refusal was seen."""
    entra.registration.revoke("Group.Read.All")
    groups = wish(entra, receiver, resource="/groups")
    status, body, _ = await ask("POST", "/subscriptions", json=groups)
    sample = example("error-subscription-extensionerror-forbidden")
    assert (status, body["error"]["code"]) == (403, sample["error"]["code"])
    assert body["error"]["message"] == sample["error"]["message"]
