"""App registrations of a simulated tenant, and the tokens that were issued to them.

The login service writes here, Graph reads: what a token allows is what it carries *and* what the
registration still has, so that a permission taken away is gone at once.
https://learn.microsoft.com/en-us/entra/identity-platform/access-token-claims-reference
"""

from __future__ import annotations

import random
import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from azsyncd.clock import Clock, SystemClock, iso

LEAST_ROLES = ("User.Read.All", "GroupMember.Read.All", "Group.Read.All")
"""What azsyncd needs, notifications of groups included."""

SECRET_SECONDS = 180 * 86400.0
TOKEN_SECONDS = 3599
_ALGORITHM = "HS256"


@dataclass(slots=True, eq=False)
class Secret:
    """A client secret and its end."""

    value: str
    ends_at: float
    key_id: str
    name: str
    starts_at: float = 0.0


@dataclass(slots=True, eq=False)
class Uploaded:
    """A certificate that was uploaded to the registration."""

    certificate: x509.Certificate
    key_id: str
    name: str

    @property
    def ends_at(self) -> float:
        """When it ends."""
        return self.certificate.not_valid_after_utc.timestamp()

    @property
    def thumbprints(self) -> frozenset[bytes]:
        """SHA-1 and SHA-256, as `x5t` and `x5t#S256` name them."""
        made = (hashes.SHA1(), hashes.SHA256())
        return frozenset(self.certificate.fingerprint(algorithm) for algorithm in made)


@dataclass(slots=True, eq=False)
class App:
    """One app registration."""

    client_id: str
    name: str
    object_id: str
    service_principal_id: str
    roles: set[str]
    clock: Clock
    secrets: list[Secret] = field(default_factory=list)
    certificates: list[Uploaded] = field(default_factory=list)

    def add_secret(self, value: str, *, lifetime: float = SECRET_SECONDS, name: str = "") -> Secret:
        """Another secret beside those it has; a negative lifetime makes one that has ended."""
        now, made = self.clock.now(), str(uuid.uuid4())
        added = Secret(value, now + lifetime, made, name or f"secret {len(self.secrets) + 1}", now)
        self.secrets.append(added)
        return added

    def add_certificate(self, pem: bytes, *, name: str = "") -> Uploaded:
        """Upload a certificate."""
        added = Uploaded(
            x509.load_pem_x509_certificate(pem), str(uuid.uuid4()), name or "CN=azsyncd"
        )
        self.certificates.append(added)
        return added

    def grant(self, *roles: str) -> None:
        """Admin consent: the next token carries them."""
        self.roles.update(roles)

    def revoke(self, *roles: str) -> None:
        """Take permissions away, also from tokens that are out already."""
        self.roles.difference_update(roles)

    def to_json(self) -> dict[str, Any]:
        """The registration as Graph shows it; a secret's value is never shown again."""
        return {
            "id": self.object_id,
            "appId": self.client_id,
            "displayName": self.name,
            "keyCredentials": [
                {
                    "customKeyIdentifier": None,
                    "displayName": uploaded.name,
                    "endDateTime": iso(uploaded.ends_at),
                    "key": None,
                    "keyId": uploaded.key_id,
                    "startDateTime": iso(uploaded.certificate.not_valid_before_utc.timestamp()),
                    "type": "AsymmetricX509Cert",
                    "usage": "Verify",
                }
                for uploaded in self.certificates
            ],
            "passwordCredentials": [
                {
                    "customKeyIdentifier": None,
                    "displayName": secret.name,
                    "endDateTime": iso(secret.ends_at),
                    "hint": secret.value[:3],
                    "keyId": secret.key_id,
                    "secretText": None,
                    "startDateTime": iso(secret.starts_at),
                }
                for secret in self.secrets
            ],
        }


@dataclass(frozen=True, slots=True)
class Token:
    """What an access token says."""

    client_id: str
    number: int
    expires_at: float
    roles: frozenset[str]
    can_be_challenged: bool


class BadToken(Exception):
    """Graph does not accept a token; `challenge`: it wants one with these claims."""

    def __init__(self, message: str, *, challenge: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.challenge = challenge


class Apps:
    """The registrations of one tenant."""

    def __init__(self, tenant_id: str, *, clock: Clock | None = None, seed: int = 0) -> None:
        self.tenant_id = tenant_id.lower()
        self.clock: Clock = clock or SystemClock()
        self.token_seconds = TOKEN_SECONDS
        self.issued = 0
        self._random = random.Random(f"apps {seed}")
        self._apps: dict[str, App] = {}
        self._key = secrets.token_bytes(32)
        self._known: dict[str, Token] = {}
        self._revoked = 0  # tokens up to this number are dead
        self._challenged = False

    def register(
        self,
        name: str = "azsyncd",
        *,
        client_id: str = "",
        secret: str = "",
        certificate: bytes = b"",
        roles: Iterable[str] = LEAST_ROLES,
    ) -> App:
        """A new registration with admin consent to these application permissions."""
        app = App(
            client_id=(client_id or self._guid()).lower(),
            name=name,
            object_id=self._guid(),
            service_principal_id=self._guid(),
            roles=set(roles),
            clock=self.clock,
        )
        if secret:
            app.add_secret(secret)
        if certificate:
            app.add_certificate(certificate)
        self._apps[app.client_id] = app
        return app

    def find(self, client_id: str) -> App | None:
        """By client id (`appId`)."""
        return self._apps.get(client_id.lower())

    def remove(self, client_id: str) -> None:
        """Delete a registration; its tokens die with it."""
        self._apps.pop(client_id.lower(), None)

    def issue(self, app: App, *, audience: str, can_be_challenged: bool = False) -> str:
        """A token with the permissions of this moment."""
        self.issued += 1
        now = self.clock.now()
        claims = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{self.tenant_id}/",
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now + self.token_seconds),
            "appid": app.client_id,
            "app_displayname": app.name,
            "idtyp": "app",
            "oid": app.service_principal_id,
            "sub": app.service_principal_id,
            "tid": self.tenant_id,
            "roles": sorted(app.roles),
            "uti": f"sandbox-{self.issued}",
            "ver": "1.0",
        }
        if can_be_challenged:
            claims["xms_cc"] = ["CP1"]
        token = jwt.encode(claims, self._key, algorithm=_ALGORITHM)
        self._remember(token, claims)
        return token

    def revoke_tokens(self, *, challenge: bool = True) -> None:
        """Every token that is out is dead. Who can be challenged is asked for new claims."""
        self._revoked, self._challenged = self.issued, challenge

    def read(self, token: str) -> tuple[App, frozenset[str]]:
        """Who asks, and what it may do; raises BadToken."""
        said = self._known.get(token) or self._decode(token)
        now = self.clock.now()
        if said.expires_at <= now:
            raise BadToken("Lifetime validation failed, the token is expired.")
        if said.number <= self._revoked:
            challenge = ""
            if self._challenged and said.can_be_challenged:
                challenge = (
                    f'{{"access_token":{{"nbf":{{"essential":true, "value":"{int(now)}"}}}}}}'
                )
            raise BadToken(
                "Continuous access evaluation resulted in challenge with result: "
                "InteractionRequired and code: TokenIssuedBeforeRevocationTimestamp"
                if challenge
                else "Access token has been revoked.",
                challenge=challenge,
            )
        app = self._apps.get(said.client_id)
        if app is None:
            raise BadToken("The identity of the calling application could not be established.")
        return app, said.roles & app.roles

    def _decode(self, token: str) -> Token:
        """A token that was issued a thousand tokens ago, or that is none of ours."""
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                options={
                    "verify_exp": False,
                    "verify_aud": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
            return self._remember(token, claims)
        except (jwt.InvalidTokenError, KeyError, ValueError):
            raise BadToken("Access token validation failure. Invalid signature.") from None

    def _remember(self, token: str, claims: dict[str, Any]) -> Token:
        if len(self._known) > 1000:
            self._known.clear()
        said = self._known[token] = Token(
            client_id=claims["appid"],
            number=int(claims["uti"].removeprefix("sandbox-")),
            expires_at=float(claims["exp"]),
            roles=frozenset(claims["roles"]),
            can_be_challenged="CP1" in claims.get("xms_cc", ()),
        )
        return said

    def _guid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))
