"""The token endpoint: what it gives, and the numbers with which it refuses."""

from __future__ import annotations

import base64
from typing import Any

import aiohttp
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from azsyncd.sandbox.clock import FakeClock
from azsyncd.sandbox.entra import SECRET, Entra
from azsyncd.sandbox.tls import app_certificate

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Login:
    def __init__(self, entra: Entra, session: aiohttp.ClientSession) -> None:
        self.entra, self.session = entra, session

    async def __call__(self, *, tenant: str = "", **changes: str) -> tuple[int, dict[str, Any]]:
        form = {
            "grant_type": "client_credentials",
            "client_id": self.entra.registration.client_id,
            "scope": "https://graph.microsoft.com/.default",
            "client_secret": SECRET,
            **changes,
        }
        form = {name: value for name, value in form.items() if value}
        url = f"{self.entra.login_url}/{tenant or self.entra.tenant.tenant_id}/oauth2/v2.0/token"
        async with self.session.post(url, data=form) as answer:
            return answer.status, await answer.json()


@pytest.fixture
def login(entra: Entra, session: aiohttp.ClientSession) -> Login:
    return Login(entra, session)


async def test_token_carries_what_was_consented(entra: Entra, login: Login) -> None:
    """A JWT with roles, good for an hour, for the tenant's id or a domain of it."""
    status, body = await login(tenant=entra.tenant.domain)
    assert (status, body["token_type"], body["expires_in"]) == (200, "Bearer", 3599)
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert claims["roles"] == ["Group.Read.All", "GroupMember.Read.All", "User.Read.All"]
    assert claims["tid"] == entra.tenant.tenant_id
    assert claims["exp"] - claims["iat"] == 3599
    assert "xms_cc" not in claims
    app, roles = entra.apps.read(body["access_token"])
    assert (app, roles) == (entra.registration, frozenset(claims["roles"]))


async def test_capability_is_in_the_token(login: Login) -> None:
    """`cp1` as MSAL asks for it."""
    _, body = await login(claims='{"access_token": {"xms_cc": {"values": ["CP1"]}}}')
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert claims["xms_cc"] == ["CP1"]


@pytest.mark.parametrize(
    ("changes", "status", "error", "number"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"client_secret": "old"}, 401, "invalid_client", 7000222),
        ({"client_secret": ""}, 401, "invalid_client", 7000218),
        ({"client_id": "nobody"}, 400, "unauthorized_client", 700016),
        ({"tenant": "other.example"}, 400, "invalid_request", 90002),
        ({"scope": "User.Read"}, 400, "invalid_scope", 1002012),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
    ],
)
async def test_refusals(
    entra: Entra,
    login: Login,
    example: Any,
    changes: dict[str, str],
    status: int,
    error: str,
    number: int,
) -> None:
    """OAuth's error, Entra's number, and the body that is documented."""
    entra.registration.add_secret("old", lifetime=-1)
    found, body = await login(**changes)
    assert (found, body["error"], body["error_codes"]) == (status, error, [number])
    assert body.keys() == example("token-error-invalid-client-secret-wrong").keys()
    assert body["error_description"].startswith(f"AADSTS{number}: ")
    assert entra.login.refused == {number: 1}


async def test_two_secrets_are_good_side_by_side(entra: Entra, login: Login) -> None:
    """Rotation without a gap."""
    entra.registration.add_secret("second")
    assert (await login(client_secret="second"))[0] == 200
    assert (await login())[0] == 200
    entra.registration.secrets.pop(0)
    assert (await login())[1]["error_codes"] == [7000215]


async def test_refusal_on_demand(entra: Entra, login: Login) -> None:
    """Any number, so many times."""
    entra.login.refuse_next(53003, error="access_denied", status=400, count=2)
    answers = [await login() for _ in range(3)]
    assert [status for status, _ in answers] == [400, 400, 200]
    assert entra.login.token_requests == 3


async def test_outage_and_throttling(entra: Entra, login: Login) -> None:
    """By the same faults as everywhere."""
    entra.login.faults.add("throttle", path="/token", retry_after=30, body={})
    entra.login.faults.add("error", path="/token", status=503, body={})
    assert [(await login())[0] for _ in range(3)] == [429, 503, 200]


def assertion(entra: Entra, private: bytes, **changes: Any) -> str:
    now = entra.tenant.clock.now()
    client_id = entra.registration.client_id
    url = f"{entra.login_url}/{entra.tenant.tenant_id}/oauth2/v2.0/token"
    claims = {"iss": client_id, "sub": client_id, "aud": url, "nbf": now, "exp": now + 600}
    certificate = x509.load_pem_x509_certificate(private[private.index(b"-----BEGIN CERT") :])
    mark = base64.urlsafe_b64encode(certificate.fingerprint(SHA256())).decode().rstrip("=")
    key = private[: private.index(b"-----BEGIN CERT")].decode()
    return jwt.encode({**claims, **changes}, key, "PS256", headers={"x5t#S256": mark})


async def test_assertions_are_verified(entra: Entra, login: Login, clock: FakeClock) -> None:
    """Certificate, signature, audience, subject, time."""
    private, public = app_certificate(clock=clock)
    other, _ = app_certificate(clock=clock)
    uploaded = entra.registration.add_certificate(public)

    async def give(made: str) -> Any:
        status, body = await login(
            client_secret="", client_assertion_type=ASSERTION, client_assertion=made
        )
        return body["error_codes"][0] if status != 200 else "token"

    assert await give(assertion(entra, private)) == "token"
    assert await give(assertion(entra, other)) == 700027
    head, payload, _ = assertion(entra, private).split(".")
    assert await give(f"{head}.{payload}.{assertion(entra, other).split('.')[2]}") == 700027
    assert await give("garbage") == 50027
    assert await give(assertion(entra, private, sub="somebody")) == 700021
    assert await give(assertion(entra, private, aud="https://elsewhere.example")) == 700023
    assert await give(assertion(entra, private, exp=clock.now() - 3600)) == 700024
    assert await give(assertion(entra, private, nbf=clock.now() + 3600)) == 700024
    clock.jump(uploaded.ends_at - clock.now() + 1)
    assert await give(assertion(entra, private)) == 700027


async def test_discovery(entra: Entra, session: aiohttp.ClientSession) -> None:
    """Endpoints on the host that was asked; an unknown tenant is an OAuth error."""
    path = "v2.0/.well-known/openid-configuration"
    async with session.get(f"{entra.login_url}/{entra.tenant.tenant_id}/{path}") as answer:
        body = await answer.json()
    base = f"{entra.login_url}/{entra.tenant.tenant_id}"
    assert body["token_endpoint"] == f"{base}/oauth2/v2.0/token"
    assert body["issuer"] == f"{base}/v2.0"
    async with session.get(f"{entra.login_url}/nowhere/{path}") as answer:
        assert (answer.status, (await answer.json())["error"]) == (400, "invalid_tenant")
