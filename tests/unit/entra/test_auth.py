"""Tokens by the real MSAL against a real TLS server."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from azsyncd.entra.auth import Tokens
from azsyncd.entra.credentials import (
    Certificate,
    ClientSecret,
    Credential,
    FederatedToken,
    certificate_end,
)
from azsyncd.entra.refusals import refusal_from_json
from azsyncd.errors import CredentialRefused, SourceUnavailable
from azsyncd.sandbox.clock import FakeClock

TENANT = "11111111-2222-3333-4444-555555555555"
REFUSED = {"error": "invalid_client", "error_codes": [7000222], "error_description": "AADSTS…"}
END = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


def secret(*values: str) -> ClientSecret:
    return ClientSecret(tuple(lambda value=value: value for value in values))


@pytest.fixture
def make(login: Any, clock: FakeClock) -> Callable[..., Tokens]:
    def make(credential: Credential | None = None, **given: Any) -> Tokens:
        given = {"login_url": login.url, "ca_file": login.ca_file, **given}
        return Tokens(
            tenant_id=TENANT,
            client_id="66666666-7777-8888-9999-000000000000",
            credential=credential or secret("s3cret-value"),
            scope="https://graph.microsoft.com/.default",
            clock=clock,
            **given,
        )

    return make


async def test_token_is_fetched_once_and_kept(login: Any, make: Any) -> None:
    """MSAL is asked before every request, Entra is not; discovery goes to our host alone."""
    tokens = make()
    assert await tokens.token() == "token-1"
    assert await tokens.token() == "token-1"
    assert login.discovered == 1
    (form,) = login.forms
    assert form["client_secret"] == "s3cret-value"
    assert form["scope"] == "https://graph.microsoft.com/.default"
    assert "xms_cc" in form["claims"]  # CP1: we handle claims challenges


async def test_claims_skip_the_cache_and_travel_with_the_request(login: Any, make: Any) -> None:
    """A claims challenge is answered with a token of its own."""
    tokens = make()
    await tokens.token()
    claims = '{"access_token": {"nbf": {"essential": true, "value": "1604106651"}}}'
    assert await tokens.token(claims) == "token-2"
    assert orjson.loads(login.forms[1]["claims"])["access_token"]["nbf"]["value"] == "1604106651"


async def test_forgotten_token_is_fetched_again(make: Any) -> None:
    """After a 401 without claims the cached token is not used again."""
    tokens = make()
    await tokens.token()
    tokens.forget()
    assert await tokens.token() == "token-2"


async def test_expired_secret_is_refused_once_and_not_asked_again(
    login: Any, make: Any, clock: FakeClock
) -> None:
    """No storm: one refusal stands for 15 minutes, then it is asked once more."""
    tokens = make()
    login.replies += [(401, REFUSED, {})] * 2
    for _ in range(5):
        with pytest.raises(CredentialRefused, match="secret has expired") as caught:
            await tokens.token()
        assert "make a new client secret" in caught.value.hint
        assert "s3cret" not in str(caught.value)
    assert len(login.forms) == 1
    clock.advance(899)
    with pytest.raises(CredentialRefused):
        await tokens.token()
    assert len(login.forms) == 1
    clock.advance(2)
    with pytest.raises(CredentialRefused):
        await tokens.token()
    assert len(login.forms) == 2
    tokens.reset()
    assert await tokens.token() == "token-3"


async def test_renewed_secret_file_is_used_at_once(login: Any, make: Any) -> None:
    """A refusal belongs to the secret that was refused, not to the one that replaced it."""
    value = ["old"]
    tokens = make(ClientSecret((lambda: value[0],)))
    login.replies.append((401, REFUSED, {}))
    with pytest.raises(CredentialRefused):
        await tokens.token()
    value[0] = "new"
    assert await tokens.token() == "token-2"
    assert [form["client_secret"] for form in login.forms] == ["old", "new"]


async def test_second_secret_is_tried_when_the_first_is_refused(login: Any, make: Any) -> None:
    """Rotation without a gap; the one that works is asked first from then on."""
    tokens = make(secret("first", "second"))
    login.replies.append((401, REFUSED, {}))
    assert await tokens.token() == "token-2"
    tokens.forget()
    await tokens.token()
    assert [form["client_secret"] for form in login.forms] == ["first", "second", "second"]


async def test_both_secrets_refused_is_a_refusal(login: Any, make: Any) -> None:
    """Each is asked once."""
    tokens = make(secret("first", "second"))
    login.replies += [(401, REFUSED, {})] * 2
    for _ in range(3):
        with pytest.raises(CredentialRefused):
            await tokens.token()
    assert len(login.forms) == 2


async def test_early_renewal_that_is_refused_keeps_the_good_token(login: Any, make: Any) -> None:
    """refresh_in has passed, the secret has expired: the token at hand is used, without a storm."""
    login.extra = {"refresh_in": 0}
    tokens = make()
    assert await tokens.token() == "token-1"
    login.replies += [(401, REFUSED, {})] * 9
    for _ in range(4):
        assert await tokens.token() == "token-1"
    assert len(login.forms) == 2


@pytest.mark.parametrize(
    ("reply", "said", "wait"),
    [
        ((429, {"error": "x"}, {"Retry-After": "7"}), "answered 429", 7),
        ((503, "down", {}), "answered 503", 10),
        ((500, {"error": "server_error"}, {"Retry-After": "2.5"}), "answered 500", 2.5),
        ((400, {"error": "temporarily_unavailable"}, {}), "no reason given", 10),
        ((200, "<html><title>Sign in</title>", {"Content-Type": "text/html"}), "HTML page", 10),
        ((302, "", {"Location": "https://elsewhere.example"}), "redirect", 10),
        ((200, "not json", {}), "no JSON", 10),
    ],
)
async def test_transient_trouble_is_waited_out(
    login: Any, make: Any, clock: FakeClock, reply: Any, said: str, wait: float
) -> None:
    """Unavailable, with the seconds to wait, during which nothing is sent."""
    tokens = make()
    login.replies.append(reply)
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match=said):
            await tokens.token()
    assert len(login.forms) == 1
    with pytest.raises(SourceUnavailable) as caught:
        await tokens.token()
    assert caught.value.retry_after == pytest.approx(wait)
    clock.advance(wait + 1)
    assert await tokens.token() == "token-2"


async def test_unknown_tenant_is_told_from_the_discovery(login: Any, make: Any) -> None:
    """MSAL's constructor fails there; the operator hears of the tenant id."""
    body = {"error": "invalid_tenant", "error_codes": [90002], "error_description": "AADSTS90002"}
    login.discovery += [(400, body, {})] * 3
    tokens = make()
    for _ in range(3):
        with pytest.raises(CredentialRefused, match="tenant does not exist"):
            await tokens.token()
    assert login.discovered == 1


async def test_certificate_of_the_login_service_must_be_trusted(
    make: Any, monkeypatch: pytest.MonkeyPatch, login: Any
) -> None:
    """Without ca_file the private CA is not accepted, whatever REQUESTS_CA_BUNDLE says."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", login.ca_file)
    with pytest.raises(SourceUnavailable, match="certificate that is not accepted"):
        await make(ca_file=None).token()


async def test_environment_cannot_replace_ca_file(
    make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """REQUESTS_CA_BUNDLE would override verify= in requests; it has no say here."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    assert await make().token() == "token-1"


async def test_unreadable_ca_file_is_one_clear_line(make: Any, tmp_path: Path) -> None:
    """No traceback."""
    with pytest.raises(SourceUnavailable, match="cannot be read as a CA file"):
        await make(ca_file=str(tmp_path / "missing.pem")).token()


async def test_nobody_listens(make: Any, login: Any) -> None:
    """No connection is unavailable, not refused."""
    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        await make(login_url="https://localhost:9").token()
    with pytest.raises(SourceUnavailable, match="proxy"):
        await make(proxy="http://127.0.0.1:9").token()
    assert login.discovered == 0


async def test_secret_is_never_sent_without_tls(make: Any, login: Any) -> None:
    """An http login_url is refused before anything is sent."""
    with pytest.raises(CredentialRefused, match="not https"):
        await make(login_url=login.url.replace("https", "http")).token()
    assert login.discovered == 0


async def test_roles_are_read_for_diagnosis(login: Any, make: Any) -> None:
    """The roles claim of a JWT, and None for a token that is opaque."""
    tokens = make()
    assert await tokens.roles() is None
    payload = base64.urlsafe_b64encode(orjson.dumps({"roles": ["User.Read.All"]})).decode()
    login.token = lambda count: f"eyJ.{payload.rstrip('=')}.sig"
    tokens.forget()
    assert await tokens.roles() == {"User.Read.All"}


@pytest.fixture(scope="session")
def pair() -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "azsyncd")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(END - datetime.timedelta(days=3650))
        .not_valid_after(END)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def pem(pair: Any, passphrase: bytes | None = None) -> bytes:
    how = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    key = pair[0].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)
    return bytes(key) + bytes(pair[1].public_bytes(Encoding.PEM))


def pfx(pair: Any, passphrase: bytes | None) -> bytes:
    how = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return bytes(pkcs12.serialize_key_and_certificates(b"azsyncd", *pair, None, how))


CERTIFICATES = [
    ("pem", lambda pair: Certificate(lambda: pem(pair))),
    ("pem reversed", lambda pair: Certificate(lambda: b"\n".join(reversed(split(pem(pair)))))),
    ("encrypted pem", lambda pair: Certificate(lambda: pem(pair, b"pw"), lambda: "pw")),
    ("pfx", lambda pair: Certificate(lambda: pfx(pair, b"pw"), lambda: "pw")),
    ("pfx without passphrase", lambda pair: Certificate(lambda: pfx(pair, None))),
]


def split(content: bytes) -> list[bytes]:
    key, mark, certificate = content.partition(b"-----BEGIN CERTIFICATE-----")
    return [key, mark + certificate]


@pytest.mark.parametrize(("kind", "of"), CERTIFICATES, ids=[name for name, _ in CERTIFICATES])
async def test_certificates_sign_an_assertion(
    login: Any, make: Any, pair: Any, kind: str, of: Any
) -> None:
    """PEM and PFX, encrypted or not; no key and no passphrase leaves the machine."""
    assert await make(of(pair)).token() == "token-1"
    (form,) = login.forms
    head = orjson.loads(base64.urlsafe_b64decode(form["client_assertion"].split(".")[0] + "==="))
    assert head["alg"] == "PS256"
    thumbprint = base64.urlsafe_b64encode(pair[1].fingerprint(hashes.SHA256())).decode().rstrip("=")
    assert head["x5t#S256"].rstrip("=") == thumbprint
    assert "client_secret" not in form
    assert certificate_end(of(pair)) == END.timestamp()


@pytest.mark.parametrize(
    ("credential", "said"),
    [
        (lambda pair: Certificate(lambda: pem(pair, b"pw"), lambda: "wrong"), "passphrase"),
        (lambda pair: Certificate(lambda: pem(pair, b"pw")), "passphrase"),
        (lambda pair: Certificate(lambda: b"\x30garbage"), "cannot be opened"),
        (lambda pair: Certificate(lambda: split(pem(pair))[0]), "no certificate in it"),
        (lambda pair: Certificate(lambda: split(pem(pair))[1]), "no RSA private key"),
        (lambda pair: Certificate(Path("/nonexistent/entra.pem").read_bytes), "cannot be read"),
        (lambda pair: FederatedToken("/nonexistent/token"), "cannot be read"),
        (lambda pair: secret(""), "empty"),
    ],
)
async def test_unusable_credentials_are_one_clear_line(
    make: Any, pair: Any, credential: Any, said: str
) -> None:
    """Refused before anything is sent."""
    with pytest.raises(CredentialRefused, match=said):
        await make(credential(pair)).token()


async def test_federated_token_is_read_for_every_token(
    login: Any, make: Any, tmp_path: Path
) -> None:
    """The file is renewed about hourly by others."""
    file = tmp_path / "token"
    file.write_text("one\n")
    tokens = make(FederatedToken(str(file)))
    await tokens.token()
    file.write_text("two\n")
    await tokens.token('{"access_token": {}}')
    assert [form["client_assertion"] for form in login.forms] == ["one", "two"]


@pytest.mark.parametrize(
    ("code", "said", "todo"),
    [
        (7000222, "expired", "make a new client secret"),
        (7000215, "wrong", "not its id"),
        (700027, "signature", "upload this certificate"),
        (700016, "not known in this tenant", "client_id"),
        (700021, "subject or issuer", "client_id"),
        (700023, "another audience", "cloud"),
        (700024, "time of validity", "clock"),
        (70021, "federated", "issuer, subject and audience"),
        (700213, "subject", "federated"),
        (90002, "tenant does not exist", "tenant_id"),
        (500011, "Microsoft Graph", "cloud"),
        (53003, "conditional access", "exempt"),
        (50196, "too many", "wait"),
    ],
)
def test_each_known_code_has_a_line_and_a_hint(code: int, said: str, todo: str) -> None:
    """Codes make the message; nothing is decided by them."""
    error = refusal_from_json({"error": "invalid_client", "error_codes": [code], "trace_id": "t-1"})
    assert said in error.message
    assert f"AADSTS{code}" in error.message
    assert "t-1" in error.message
    assert todo in error.hint


def test_unknown_code_shows_entra_s_own_words(example: Any) -> None:
    """Cut before the trace noise."""
    error = refusal_from_json(example("token-error-invalid-scope-doc") | {"error_codes": [1]})
    assert "The provided value for the input parameter 'scope'" in error.message
    assert "Correlation" not in error.message


def test_wrong_secret_example(example: Any) -> None:
    """The documented body of a pasted secret id."""
    error = refusal_from_json(example("token-error-invalid-client-secret-wrong"))
    assert "not its id" in error.hint
