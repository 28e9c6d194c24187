"""Calls to Graph: what each answer means, and where tokens go."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from azsyncd.entra.client import ForeignLink, Graph, GraphRefused
from azsyncd.errors import CredentialRefused, DeltaExpired, SourceError, SourceUnavailable
from azsyncd.http import Limits, Peer
from azsyncd.sandbox.clock import FakeClock

CLAIMS = '{"access_token":{"nbf":{"essential":true, "value":"1604106651"}}}'


def error(code: str, message: str = "words", **inner: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "innerError": inner}}


async def test_token_goes_with_every_call(graph: Graph, fake: Any) -> None:
    """A bearer token, and a path under v1.0."""
    fake.says(200, {"id": "x"})
    assert await graph.get("users/x", params={"$select": "id,mail"}) == {"id": "x"}
    ((method, path, headers, _),) = fake.requests
    assert (method, path) == ("GET", "/v1.0/users/x?$select=id,mail")
    assert headers["Authorization"] == "Bearer secret-1"


async def test_links_are_followed_whole_and_unchanged(graph: Graph, fake: Any) -> None:
    """What Graph encoded stays encoded."""
    fake.says(200, {"value": []})
    await graph.get(f"{fake.url}/v1.0/users/delta?$skiptoken=a%2Bb%20c%2525_-")
    assert fake.requests[0][1] == "/v1.0/users/delta?$skiptoken=a%2Bb%20c%2525_-"


async def test_claims_challenge_is_answered_once(
    graph: Graph, fake: Any, tokens: Any, example: Any
) -> None:
    """The documented challenge: a token with these claims, and the call again."""
    challenge = example("cae-claims-challenge-401")["headers"]["www-authenticate"]
    fake.says(401, error("InvalidAuthenticationToken"), WWW_Authenticate=challenge)
    fake.says(200, {"id": "x"})
    assert await graph.get("users/x") == {"id": "x"}
    assert tokens.claims[0] is None
    assert "1604106651" in tokens.claims[1]
    assert tokens.forgotten == 0
    assert fake.requests[1][2]["Authorization"] == "Bearer secret-2"


async def test_403_with_claims_is_a_challenge_too(graph: Graph, fake: Any, tokens: Any) -> None:
    """Under conditional access Graph says 403 insufficient_claims."""
    encoded = base64.urlsafe_b64encode(CLAIMS.encode()).decode().rstrip("=")
    challenge = f'Bearer error="insufficient_claims", claims="{encoded}"'
    fake.says(403, error("Authorization_RequestDenied"), WWW_Authenticate=challenge)
    fake.says(200, {})
    await graph.get("users/x")
    assert tokens.claims == [None, CLAIMS]


@pytest.mark.parametrize("challenge", ["Bearer", 'Bearer claims="!!"', 'Bearer claims="W10="'])
async def test_401_without_claims_asks_for_another_token_once(
    graph: Graph, fake: Any, tokens: Any, challenge: str
) -> None:
    """Then it is a refusal: no loop on a revoked token."""
    fake.says(401, error("InvalidAuthenticationToken"), WWW_Authenticate=challenge)
    with pytest.raises(CredentialRefused, match="does not accept our token"):
        await graph.get("users/x")
    assert tokens.forgotten == 1
    assert len(fake.requests) == 2


@pytest.mark.parametrize(
    ("path", "permission"),
    [
        ("users/delta?$select=id", "User.Read.All"),
        ("groups/delta", "GroupMember.Read.All"),
        ("groups/x/members", "GroupMember.Read.All"),
        ("directory/deletedItems/x", "User.Read.All"),
        ("applications(appId='x')", "Application.Read.All"),
        ("subscriptions", "Group.Read.All"),
    ],
)
async def test_missing_permission_is_named(
    graph: Graph, fake: Any, example: Any, path: str, permission: str
) -> None:
    """403 Authorization_RequestDenied says what to grant, and the id that support asks for."""
    fake.says(403, example("error-403-authorization-requestdenied"))
    with pytest.raises(CredentialRefused) as caught:
        await graph.get(path)
    assert permission in caught.value.hint
    assert "93b6f17e" in caught.value.message


EXPIRED = [
    (410, error("resyncRequired")),
    (410, ""),
    (400, error("syncStateNotFound")),
    (404, error("itemNotFound", innererror={"code": "resyncRequired"})),
    (400, error("BadRequest", innerError={"code": "SyncStateNotFound"})),
]


@pytest.mark.parametrize(("status", "body"), EXPIRED)
async def test_dead_delta_tokens_are_told_by_code_not_by_words(
    graph: Graph, fake: Any, status: int, body: Any
) -> None:
    """410, or the codes at any depth of innererror."""
    fake.says(status, body)
    with pytest.raises(DeltaExpired):
        await graph.get("users/delta?$deltatoken=x")


async def test_documented_expiry(graph: Graph, fake: Any, example: Any) -> None:
    """400 syncStateNotFound as printed."""
    fake.says(400, example("error-400-delta-syncstatenotfound"))
    with pytest.raises(DeltaExpired, match="eac0ce13"):
        await graph.get("users/delta?$deltatoken=x")


async def test_words_of_an_error_decide_nothing(graph: Graph, fake: Any) -> None:
    """A message that speaks of expired tokens is no code."""
    fake.says(400, error("BadRequest", "The delta token is expired: syncStateNotFound"))
    with pytest.raises(GraphRefused) as caught:
        await graph.get("users/delta?$deltatoken=x")
    assert (caught.value.status, caught.value.codes) == (400, ("BadRequest",))


HTML = "<html><title>Sign in</title><form><input name=password></form></html>"


@pytest.mark.parametrize(
    ("status", "body", "headers", "said"),
    [
        (429, error("TooManyRequests"), {"Retry_After": "2.128"}, "429"),
        (503, "", {}, "503"),
        (500, "", {}, "500"),
        (505, "", {}, "505"),
        (200, HTML, {"Content_Type": "text/html"}, "HTML page"),
        (404, HTML, {"Content_Type": "text/html"}, "HTML page"),
        (403, "Blocked by proxy", {}, "Blocked by proxy"),
        (200, '{"value": [', {}, "no JSON"),
        (200, "[]", {"Content_Type": "application/json"}, "no object"),
        (200, "", {}, "nothing"),
        (302, "", {"Location": "https://login.example/"}, "redirect"),
    ],
)
async def test_what_is_not_graph_s_word_is_unavailable(
    graph: Graph, fake: Any, status: int, body: Any, headers: dict[str, str], said: str
) -> None:
    """Throttling, outages, proxies and login pages: one clear line, asked again later."""
    fake.says(status, body, **headers)
    with pytest.raises(SourceUnavailable, match=said) as caught:
        await graph.get("users/x")
    assert "secret" not in str(caught.value)


async def test_retry_after_reaches_the_engine(graph: Graph, fake: Any) -> None:
    """A wait that is too long for a call is the pull's to keep."""
    fake.says(429, error("TooManyRequests"), Retry_After="315.5")
    with pytest.raises(SourceUnavailable) as caught:
        await graph.get("users/x")
    assert caught.value.retry_after == pytest.approx(315.5, abs=1)
    with pytest.raises(SourceUnavailable):
        await graph.get("users/x")
    assert len(fake.requests) == 1


async def test_writes_are_not_repeated(graph: Graph, fake: Any) -> None:
    """A POST that may have taken effect is Graph's to show."""
    fake.says(503)
    with pytest.raises(SourceUnavailable):
        await graph.post("subscriptions", {"resource": "/users"})
    assert [(m, b) for m, _, _, b in fake.requests] == [("POST", {"resource": "/users"})]


FOREIGN = [
    "https://evil.example/v1.0/users",
    "https://graph.microsoft.com.evil.example/v1.0/users",
    "https://graph.microsoft.com@evil.example/v1.0/users",
    "https://user:pw@graph.microsoft.com/v1.0/users",
    "http://graph.microsoft.com/v1.0/users",
    "https://graph.microsoft.com:8443/v1.0/users",
    "https://graph.microsoft.com\\@evil.example/v1.0/users",
    "https://evil.example\t/v1.0/users",
    "//evil.example/v1.0/users",
    "ftp://graph.microsoft.com/v1.0/users",
    "https://",
    "https://graph.microsoft.com:port/",
]


@pytest.mark.parametrize("link", FOREIGN)
async def test_foreign_links_get_no_token(tokens: Any, clock: FakeClock, link: str) -> None:
    """Rule 8: only the configured host, over its scheme; no token is even asked for."""
    peer = Peer("graph", "https://graph.microsoft.com", clock=clock, limits=Limits())
    graph = Graph(peer, tokens, "https://graph.microsoft.com")
    with pytest.raises(ForeignLink):
        await graph.get(link)
    assert tokens.claims == []


@pytest.mark.parametrize(
    "link",
    ["https://graph.microsoft.com/v1.0/users", "https://GRAPH.microsoft.com:443/v1.0/users"],
)
def test_own_links_are_taken(tokens: Any, clock: FakeClock, link: str) -> None:
    """The same host in another spelling is the same host."""
    peer = Peer("graph", "https://graph.microsoft.com", clock=clock, limits=Limits())
    assert Graph(peer, tokens, "https://graph.microsoft.com/").own(link) == link


@pytest.mark.parametrize("base", ["https://g.example", "https://g.example/v1.0"])
def test_graph_url_with_or_without_version(tokens: Any, clock: FakeClock, base: str) -> None:
    """Either spelling of graph_url leads to v1.0, once."""
    peer = Peer("graph", base, clock=clock, limits=Limits())
    assert Graph(peer, tokens, base).own("/users") == "https://g.example/v1.0/users"


async def test_every_error_is_a_source_error(graph: Graph, fake: Any, example: Any) -> None:
    """Whatever 4xx the documentation shows, the engine understands its class."""
    for name in (
        "error-404-user-resourcenotfound-after-softdelete",
        "error-shape-generic",
        "error-501-notimplemented-delta-national-cloud-2021",
    ):
        status = int(name.split("-")[1]) if name.split("-")[1].isdigit() else 416
        fake.replies[:] = []
        fake.says(status, example(name))
        with pytest.raises(SourceError):
            await graph.get("users/x")
