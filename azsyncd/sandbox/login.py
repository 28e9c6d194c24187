"""The simulated login service: OpenID discovery and the token endpoint, as MSAL asks them.

Proofs: client secret, or an assertion signed with an uploaded certificate. Refusals carry Entra's
numbers. https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any

import jwt
import jwt.types
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from azsyncd.clock import Clock, utc
from azsyncd.sandbox.apps import App, Apps, Uploaded
from azsyncd.sandbox.faults import Faults, faults_middleware
from azsyncd.sandbox.recording import Recording, recording_middleware

_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_SKEW = 300.0
"""Seconds that a caller's clock may be wrong."""


class _Refused(Exception):
    """An OAuth error with Entra's number."""

    def __init__(self, status: int, error: str, number: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.number = number
        self.message = message


class LoginServer:
    """Serves one tenant. `app()` belongs at the root of a TLS server: MSAL allows the authority
    exactly one path segment, and nothing but https.

    Bad days: `faults` for outages and throttling, the registrations' own secrets and certificates
    for expiry and rotation, `refuse_next` for any other number.
    """

    def __init__(
        self,
        apps: Apps,
        *,
        domains: tuple[str, ...] = (),
        clock: Clock | None = None,
        faults: Faults | None = None,
        recording: Recording | None = None,
    ) -> None:
        self.apps = apps
        self.clock: Clock = clock or apps.clock
        self.faults = faults or Faults(clock=self.clock)
        self.recording = recording or Recording(clock=self.clock)
        self.refused: Counter[int] = Counter()
        self.granted = 0
        self._tenants = {apps.tenant_id, *(domain.lower() for domain in domains)}
        self._refusals: list[_Refused] = []

    @property
    def token_requests(self) -> int:
        """How often somebody asked for a token, and was answered by us (not by a fault)."""
        return self.granted + self.refused.total()

    def refuse_next(
        self, number: int, *, error: str = "invalid_client", status: int = 401, count: int = 1
    ) -> None:
        """Refuse the next requests for a token with this number, whatever they bring."""
        text = "Refused because the sandbox was told to."
        self._refusals += [_Refused(status, error, number, text) for _ in range(count)]

    def app(self) -> web.Application:
        """The server."""
        app = web.Application(
            middlewares=[recording_middleware(self.recording), faults_middleware(self.faults)]
        )
        app.router.add_get("/{tenant}/v2.0/.well-known/openid-configuration", self._discovery)
        app.router.add_post("/{tenant}/oauth2/v2.0/token", self._token)
        return app

    # ---

    async def _discovery(self, request: web.Request) -> web.Response:
        try:
            tenant = self._tenant(request)
        except _Refused as refused:
            return self._refusal(_Refused(400, "invalid_tenant", refused.number, refused.message))
        origin = request.url.origin()
        base = f"{origin}/{tenant}"
        return web.json_response(
            {
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "token_endpoint_auth_methods_supported": [
                    "client_secret_post",
                    "private_key_jwt",
                    "client_secret_basic",
                ],
                "jwks_uri": f"{base}/discovery/v2.0/keys",
                "response_modes_supported": ["query", "fragment", "form_post"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "response_types_supported": ["code", "id_token", "code id_token"],
                "scopes_supported": ["openid", "profile", "email", "offline_access"],
                "issuer": f"{base}/v2.0",
                "request_uri_parameter_supported": False,
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "tenant_region_scope": "EU",
                "cloud_instance_name": origin.host,
            }
        )

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        try:
            app, audience = self._check(request, form)
        except _Refused as refused:
            return self._refusal(refused)
        self.granted += 1
        token = self.apps.issue(
            app, audience=audience, can_be_challenged=_capable(form.get("claims", ""))
        )
        seconds = self.apps.token_seconds
        return web.json_response(
            {
                "token_type": "Bearer",
                "expires_in": seconds,
                "ext_expires_in": seconds,
                "access_token": token,
            },
            headers={"Cache-Control": "no-store, no-cache", "Pragma": "no-cache"},
        )

    def _check(self, request: web.Request, form: Mapping[str, str]) -> tuple[App, str]:
        self._tenant(request)
        if self._refusals:
            raise self._refusals.pop(0)
        if form.get("grant_type") != "client_credentials":
            raise _Refused(
                400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type."
            )
        client_id = form.get("client_id", "")
        app = self.apps.find(client_id)
        if app is None:
            raise _Refused(
                400,
                "unauthorized_client",
                700016,
                f"Application with identifier '{client_id}' was not found in the directory "
                f"'{self.apps.tenant_id}'. This can happen if the application has not been "
                "installed by the administrator of the tenant or consented to by any user in the "
                "tenant. You may have sent your authentication request to the wrong tenant.",
            )
        audience = self._audience(form.get("scope", ""))
        if form.get("client_assertion_type") == _ASSERTION:
            self._check_assertion(app, form.get("client_assertion", ""), str(request.url))
        else:
            self._check_secret(app, form.get("client_secret", ""))
        return app, audience

    def _tenant(self, request: web.Request) -> str:
        asked = request.match_info["tenant"]
        if asked.lower() not in self._tenants:
            raise _Refused(
                400,
                "invalid_request",
                90002,
                f"Tenant '{asked}' not found. Check to make sure you have the correct tenant ID "
                "and are signing into the correct cloud. Check with your subscription "
                "administrator, this may happen if there are no active subscriptions for the "
                "tenant.",
            )
        return self.apps.tenant_id

    def _audience(self, scope: str) -> str:
        resource = scope.removesuffix("/.default")
        if resource in ("", scope) or " " in resource:
            raise _Refused(
                400,
                "invalid_scope",
                1002012,
                f"The provided value for scope {scope} is not valid. Client credential flows must "
                "have a scope value with /.default suffixed to the resource identifier "
                "(application ID URI).",
            )
        return resource

    # Proofs -------------------------------------------------------------------------------------

    def _check_secret(self, app: App, given: str) -> None:
        if not given:
            raise _Refused(
                401,
                "invalid_client",
                7000218,
                "The request body must contain the following parameter: 'client_assertion' or "
                "'client_secret'.",
            )
        for secret in app.secrets:
            if not hmac.compare_digest(secret.value.encode(), given.encode()):
                continue
            if secret.ends_at > self.clock.now():
                return
            raise _Refused(
                401,
                "invalid_client",
                7000222,
                f"The provided client secret keys for app '{app.client_id}' are expired. Visit "
                "the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, "
                "or consider using certificate credentials for added security: "
                "https://aka.ms/certCreds.",
            )
        raise _Refused(
            401,
            "invalid_client",
            7000215,
            "Invalid client secret provided. Ensure the secret being sent in the request is the "
            "client secret value, not the client secret ID, for a secret added to app "
            f"'{app.client_id}'.",
        )

    def _check_assertion(self, app: App, assertion: str, url: str) -> None:
        try:
            header = jwt.get_unverified_header(assertion)
        except jwt.InvalidTokenError:
            raise _Refused(
                401, "invalid_client", 50027, "JWT token is invalid or malformed."
            ) from None
        claims = self._verified(app, assertion, header)
        if claims is None:
            raise _Refused(
                401,
                "invalid_client",
                700027,
                "The certificate with identifier used to sign the client assertion is not "
                "registered on application, or client assertion failed signature validation. "
                "[Reason - The key was not found.]",
            )
        if {str(claims.get("iss", "")).lower(), str(claims.get("sub", "")).lower()} != {
            app.client_id
        }:
            raise _Refused(
                401,
                "invalid_client",
                700021,
                "Client assertion application identifier doesn't match 'client_id' parameter.",
            )
        if claims.get("aud") not in (url, url.removesuffix("/oauth2/v2.0/token") + "/v2.0"):
            raise _Refused(
                401,
                "invalid_client",
                700023,
                "Client assertion audience claim does not match Realm issuer.",
            )
        now = self.clock.now()
        ends, begins = _number(claims.get("exp")), _number(claims.get("nbf"))
        if ends is None or ends < now - _SKEW or (begins is not None and begins > now + _SKEW):
            raise _Refused(
                401,
                "invalid_client",
                700024,
                "Client assertion is not within its valid time range.",
            )

    def _verified(
        self, app: App, assertion: str, header: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """The claims, if a certificate that was uploaded, and is still good, has signed them."""
        named = {_bytes(header.get(name)) for name in ("x5t", "x5t#S256")} - {b""}
        for uploaded in app.certificates:
            if uploaded.ends_at > self.clock.now() and named & uploaded.thumbprints:
                return _signed_by(uploaded, assertion)
        return None

    # ---

    def _refusal(self, refused: _Refused) -> web.Response:
        self.refused[refused.number] += 1
        trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
        moment = utc(self.clock.now()).strftime("%Y-%m-%d %H:%M:%SZ")
        return web.json_response(
            {
                "error": refused.error,
                "error_description": (
                    f"AADSTS{refused.number}: {refused.message} Trace ID: {trace} "
                    f"Correlation ID: {correlation} Timestamp: {moment}"
                ),
                "error_codes": [refused.number],
                "timestamp": moment,
                "trace_id": trace,
                "correlation_id": correlation,
                "error_uri": f"https://login.microsoftonline.com/error?code={refused.number}",
            },
            status=refused.status,
            headers={"Cache-Control": "no-store, no-cache"},
        )


def _signed_by(uploaded: Uploaded, assertion: str) -> dict[str, Any] | None:
    key = uploaded.certificate.public_key()
    if not isinstance(key, RSAPublicKey):
        return None
    options: jwt.types.Options = {
        "verify_exp": False,  # by our own clock, and with Entra's own numbers
        "verify_nbf": False,
        "verify_iat": False,
        "verify_aud": False,
        "verify_iss": False,
        "verify_sub": False,
    }
    try:
        claims = jwt.decode(assertion, key, algorithms=["RS256", "PS256"], options=options)
    except jwt.InvalidTokenError:
        return None
    return dict(claims)


def _capable(claims: str) -> bool:
    """Whether the application says that it understands claims challenges."""
    try:
        wanted = json.loads(claims)["access_token"]["xms_cc"]["values"]
    except (ValueError, KeyError, TypeError):
        return False
    return isinstance(wanted, list) and "CP1" in wanted


def _bytes(text: object) -> bytes:
    try:
        return base64.urlsafe_b64decode(f"{text or ''}===")
    except (binascii.Error, ValueError):
        return b""


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
