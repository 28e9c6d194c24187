"""azsyncd's own client against the simulated Entra, over TLS, with real MSAL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from azsyncd.entra import permissions
from azsyncd.entra.auth import Tokens
from azsyncd.entra.client import ForeignLink, Graph
from azsyncd.entra.credentials import Certificate, ClientSecret, Credential
from azsyncd.entra.delta import Delta
from azsyncd.entra.notifications import Doorbell
from azsyncd.entra.subscriptions import EndpointRefused, SubscriptionExists, Subscriptions
from azsyncd.errors import CredentialRefused, DeltaExpired, PageExpired, SourceUnavailable
from azsyncd.http import Limits, Peer
from azsyncd.model.identities import MemberKind, Page, Seen
from azsyncd.model.subscriptions import fingerprint
from azsyncd.sandbox.clock import FakeClock
from azsyncd.sandbox.entra import SECRET, Entra
from azsyncd.sandbox.tls import app_certificate

SCOPE = "https://graph.microsoft.com/.default"


@dataclass
class Client:
    tokens: Tokens
    graph: Graph
    delta: Delta
    subscriptions: Subscriptions


@pytest.fixture
async def client(entra: Entra, clock: FakeClock) -> AsyncIterator[Client]:
    peer = Peer(
        "graph",
        entra.graph_url,
        clock=clock,
        limits=Limits(),
        ca_file=entra.ca_file,
        max_attempts=3,
    )
    tokens = new_tokens(entra, clock)
    graph = Graph(peer, tokens, entra.graph_url)
    delta = Delta(
        graph,
        user_properties=("displayName", "userPrincipalName", "accountEnabled", "department"),
        group_properties=("displayName", "securityEnabled"),
    )
    yield Client(tokens, graph, delta, Subscriptions(graph))
    await peer.close()
    await asyncio.sleep(0)


def new_tokens(entra: Entra, clock: FakeClock, credential: Credential | None = None) -> Tokens:
    return Tokens(
        tenant_id=entra.tenant.tenant_id,
        client_id=entra.registration.client_id,
        credential=credential or ClientSecret((lambda: SECRET,)),
        login_url=entra.login_url,
        scope=SCOPE,
        clock=clock,
        ca_file=entra.ca_file,
    )


async def walk(client: Client, feed: str, url: str | None = None) -> tuple[list[Seen], str]:
    """One round: what it said, and the link of the next."""
    url = url or client.delta.first_url(feed)
    seen: list[Seen] = []
    for _ in range(500):
        page: Page = await client.delta.page(feed, url)
        seen += page.items
        if page.delta_link:
            return seen, page.delta_link
        assert page.next_link
        url = page.next_link
    raise AssertionError("no end")


def populate(entra: Entra, users: int = 450) -> list[str]:
    tenant = entra.tenant
    ids = [tenant.add_user(f"u{n}@{tenant.domain}", department="Sales") for n in range(users)]
    tenant.add_group("everyone", members=ids)
    tenant.add_group("few", members=ids[:3])
    return ids


async def test_crawl_and_rounds(entra: Entra, client: Client) -> None:
    """All that lives; then exactly what changed; then nothing."""
    ids = populate(entra, 1100)
    users, users_link = await walk(client, "users")
    groups, groups_link = await walk(client, "groups")
    assert [seen.id for seen in users] == ids
    assert users[0].properties["accountEnabled"] is True
    everyone = entra.tenant.group("everyone").id
    members = [m.id for seen in groups if seen.id == everyone for m in seen.members]
    assert members == ids
    entra.graph.requests.clear()

    entra.tenant.update(ids[5], accountEnabled=False)
    entra.tenant.delete(ids[6])
    entra.tenant.remove_member(everyone, ids[7])
    users, users_link = await walk(client, "users", users_link)
    groups, groups_link = await walk(client, "groups", groups_link)
    by_id = {seen.id: seen for seen in users}
    assert by_id.keys() == {ids[5], ids[6]}
    assert by_id[ids[5]].properties["accountEnabled"] is False
    assert by_id[ids[6]].removed == "changed"
    ((member,),) = [seen.members for seen in groups]
    assert (member.id, member.kind, member.removed) == (ids[7], MemberKind.USER, True)
    assert (await walk(client, "users", users_link))[0] == []
    assert (await walk(client, "groups", groups_link))[0] == []
    assert entra.graph.requests == {"GET /users/delta": 2, "GET /groups/delta": 2}
    assert entra.login.token_requests == 1


async def test_one_membership_costs_one_request_a_feed(entra: Entra, client: Client) -> None:
    """An answer costs what has changed."""
    ids = populate(entra)
    links = {feed: (await walk(client, feed))[1] for feed in ("users", "groups")}
    entra.graph.requests.clear()
    entra.tenant.add_member(entra.tenant.group("few").id, ids[9])
    for feed in ("users", "groups"):
        await walk(client, feed, links[feed])
    assert entra.graph.requests == {"GET /users/delta": 1, "GET /groups/delta": 1}


async def test_targeted_questions(entra: Entra, client: Client) -> None:
    """Members, groups of a user, alive or soft-deleted."""
    ids = populate(entra, 1200)
    few, everyone = entra.tenant.group("few").id, entra.tenant.group("everyone").id
    assert [m.id for m in await client.delta.group_members(few)] == ids[:3]
    assert len(await client.delta.group_members(everyone)) == 1200
    assert set(await client.delta.groups_of("users", ids[0])) == {few, everyone}
    assert await client.delta.user_exists(ids[0])
    assert not await client.delta.deleted_user(ids[0])
    entra.tenant.delete(ids[0])
    assert not await client.delta.user_exists(ids[0])
    assert await client.delta.deleted_user(ids[0])
    entra.tenant.purge(ids[0])
    assert not await client.delta.deleted_user(ids[0])


async def test_certificate_proves_who_we_are(entra: Entra, clock: FakeClock) -> None:
    """MSAL signs the assertion; the login service looks at the signature."""
    private, public = app_certificate()
    tokens = new_tokens(entra, clock, Certificate(lambda: private))
    with pytest.raises(CredentialRefused, match="700027"):
        await tokens.token()
    entra.registration.add_certificate(public)
    tokens = new_tokens(entra, clock, Certificate(lambda: private))
    # The assertion is dated by the real clock, which MSAL reads.
    clock.jump(time.time() - clock.now())
    entra.apps.read(await tokens.token())
    assert entra.login.refused == {700027: 1}


async def test_refusals_of_the_login_service(entra: Entra, clock: FakeClock) -> None:
    """The numbers that operators see."""
    wrong = new_tokens(entra, clock, ClientSecret((lambda: "wrong",)))
    with pytest.raises(CredentialRefused, match="7000215"):
        await wrong.token()
    entra.registration.secrets[0].ends_at = clock.now() - 1
    with pytest.raises(CredentialRefused, match="7000222"):
        await new_tokens(entra, clock).token()
    entra.apps.remove(entra.registration.client_id)
    with pytest.raises(CredentialRefused, match="700016"):
        await new_tokens(entra, clock).token()


async def test_unknown_tenant(entra: Entra, clock: FakeClock) -> None:
    """Discovery fails already."""
    entra.tenant.tenant_id = "22222222-2222-3333-4444-555555555555"
    with pytest.raises(CredentialRefused, match="90002"):
        await new_tokens(entra, clock).token()


async def test_claims_challenge_is_met(entra: Entra, client: Client) -> None:
    """A revoked token is challenged; the client comes back with a new one."""
    populate(entra, 3)
    _, link = await walk(client, "users")
    entra.apps.revoke_tokens()
    assert (await walk(client, "users", link))[0] == []
    assert entra.apps.issued == 2
    assert entra.graph.recording.by_status[401] == 1


async def test_token_that_ends_in_mid_crawl_is_replaced(
    entra: Entra, client: Client, clock: FakeClock
) -> None:
    """MSAL still believes in it; Graph does not; the page comes all the same."""
    populate(entra, 450)
    first = await client.delta.page("users", client.delta.first_url("users"))
    clock.jump(entra.apps.token_seconds + 1)
    assert first.next_link
    assert len((await walk(client, "users", first.next_link))[0]) == 250
    assert entra.apps.issued == 2


async def test_login_service_that_is_down(entra: Entra, client: Client) -> None:
    """No refusal, and no storm: one question, then a wait."""
    entra.login.faults.add("error", status=503, retry_after=60, times=None, body={})
    for _ in range(3):
        with pytest.raises(SourceUnavailable, match="503"):
            await walk(client, "users")
    assert len(entra.login.recording.requests) == 1
    assert entra.graph.requests == {}


async def test_throttled_page_comes_after_the_wait(
    entra: Entra, client: Client, clock: FakeClock
) -> None:
    """Graph's Retry-After is a fraction, and it is kept."""
    populate(entra, 3)
    entra.graph.faults.add("throttle", path="/users/delta", retry_after=2.128)
    entra.graph.faults.add("reset", path="/groups/delta")
    assert len((await walk(client, "users"))[0]) == 3
    assert len((await walk(client, "groups"))[0]) == 2
    assert max(clock.slept) >= 2.128
    assert entra.graph.recording.early_requests == 0


async def test_lost_permission_is_named(entra: Entra, client: Client) -> None:
    """403 at once, whatever the token says."""
    await walk(client, "users")
    entra.registration.revoke("User.Read.All")
    with pytest.raises(CredentialRefused) as caught:
        await walk(client, "users")
    assert "User.Read.All" in caught.value.hint


async def test_self_test_finds_everything_in_order(entra: Entra, client: Client) -> None:
    """`azsyncd check` on its Entra side, the end of the secret included."""
    found = await permissions.examine(client.graph, client.tokens, client.delta, webhook=True)
    assert {finding.verdict for finding in found} == {"ok"}
    client_id = entra.registration.client_id
    assert await permissions.credential_end(client.graph, client_id) is None
    entra.registration.grant("Application.Read.All")
    client.tokens.forget()
    ((name, _),) = await permissions.credential_end(client.graph, client_id) or []
    assert name == "secret secret 1"
    assert entra.graph.violations == []


@pytest.mark.parametrize(
    ("style", "error"),
    [
        ("sync_state_not_found", DeltaExpired),
        ("resync_required", DeltaExpired),
        ("gone", DeltaExpired),
        ("gone_elsewhere", DeltaExpired),
    ],
)
async def test_dead_delta_links(
    entra: Entra, client: Client, style: str, error: type[Exception]
) -> None:
    """Each way in which Graph says: read everything again."""
    _, link = await walk(client, "users")
    entra.graph.delta.expire(style=style)
    with pytest.raises(error):
        await walk(client, "users", link)


async def test_dead_page_in_mid_crawl(entra: Entra, client: Client) -> None:
    """The round is begun again from what is stored."""
    populate(entra, 450)
    entra.graph.oddities.dead_pages = 1
    with pytest.raises(PageExpired):
        await walk(client, "users")
    assert len((await walk(client, "users"))[0]) == 450


async def test_link_to_another_host_is_not_followed(entra: Entra, client: Client) -> None:
    """What a proxy might do to Graph's answer."""
    populate(entra, 450)
    entra.graph.oddities.foreign_links = 1
    with pytest.raises(ForeignLink):
        await walk(client, "users")


async def test_subscribing_ringing_and_renewing(
    entra: Entra, client: Client, receiver: Any, clock: FakeClock
) -> None:
    """Handshake, list, a change that rings, renewal, deletion."""
    ids = populate(entra, 3)
    made = {
        feed: await client.subscriptions.create(
            feed, clock.now() + 86400, f"state-{feed}", receiver.url
        )
        for feed in ("users", "groups")
    }
    listed = await client.subscriptions.list()
    assert {s.resource for s in listed} == {"users", "groups"}
    states = {made[feed].id: fingerprint(f"state-{feed}") for feed in made}
    bell = Doorbell(tenant_id=entra.tenant.tenant_id, known=lambda: states)

    entra.tenant.update(ids[0], department="Support")
    entra.tenant.remove_member(entra.tenant.group("few").id, ids[2])
    entra.tenant.add_member(entra.tenant.group("few").id, ids[2])
    await entra.hooks.settle()
    (raw,) = receiver.raw
    accepted = bell.accept(raw)
    assert accepted.rings == {"users", "groups"}
    assert accepted.object_ids == {ids[0], entra.tenant.group("few").id}
    assert accepted.counts == {"accepted": 3}

    renewed = await client.subscriptions.renew(made["users"].id, clock.now() + 2 * 86400)
    assert renewed.expires_at == pytest.approx(clock.now() + 2 * 86400, abs=1)
    with pytest.raises(SubscriptionExists) as caught:
        await client.subscriptions.create("users", clock.now() + 86400, "x", receiver.url)
    assert caught.value.existing_id == made["users"].id
    await client.subscriptions.delete(made["users"].id)
    assert [s.resource for s in await client.subscriptions.list()] == ["groups"]


async def test_endpoint_that_does_not_answer_is_refused(
    entra: Entra, client: Client, receiver: Any, clock: FakeClock
) -> None:
    """Nothing is subscribed, and the operator learns what to open."""
    receiver.answers_handshake = False
    with pytest.raises(EndpointRefused, match="403"):
        await client.subscriptions.create("users", clock.now() + 86400, "x", receiver.url)
    assert await client.subscriptions.list() == []


async def test_subscribing_to_groups_takes_more_than_reading_them(
    entra: Entra, client: Client, receiver: Any, clock: FakeClock
) -> None:
    """GroupMember.Read.All reads; Group.Read.All subscribes."""
    entra.registration.revoke("Group.Read.All")
    await walk(client, "groups")
    with pytest.raises(CredentialRefused) as caught:
        await client.subscriptions.create("groups", clock.now() + 86400, "x", receiver.url)
    assert "Group.Read.All" in caught.value.hint
