"""`entra`: which tenant is read, and how azsyncd proves who it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from azsyncd.config.fields import AbsolutePath, HttpsUrl, Proxy, Url
from azsyncd.config.secrets import KINDS, SCHEMA, SCHEMA_WITH_PATH, Secret, secret_or_path
from azsyncd.plan.policy import Settings


class Endpoints(NamedTuple):
    """A national cloud's hosts. https://learn.microsoft.com/en-us/graph/deployments"""

    login_url: str
    graph_url: str


CLOUDS = {
    "global": Endpoints("https://login.microsoftonline.com", "https://graph.microsoft.com"),
    "us_gov": Endpoints("https://login.microsoftonline.us", "https://graph.microsoft.us"),
    "us_gov_dod": Endpoints("https://login.microsoftonline.us", "https://dod-graph.microsoft.us"),
    "china": Endpoints("https://login.chinacloudapi.cn", "https://microsoftgraph.chinacloudapi.cn"),
}

_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _tenant(value: str) -> str:
    if value.lower() in ("common", "organizations", "consumers"):
        raise ValueError(f"{value!r} stands for any tenant; write the id of yours")
    if not _GUID.fullmatch(value) and not re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", value):
        raise ValueError("must be the tenant's id: Entra admin center, Overview, Tenant ID")
    return value.lower()


def _client(value: str) -> str:
    if not re.fullmatch(r"[^\s/]+", value):
        raise ValueError("must be the application (client) id of the app registration")
    return value


def _secrets(value: object) -> object:
    """One secret or several: always a list from here on."""
    return value if isinstance(value, (list, tuple)) else [value]


class Certificate(Settings):
    """A certificate with its private key: PEM, or .pfx."""

    credential: str | None = None
    """A file of this name in $CREDENTIALS_DIRECTORY or /etc/azsyncd/credentials."""
    file: str | None = None
    """The file: PEM with key and certificate, or .pfx."""
    env: str | None = None
    """An environment variable with the PEM text."""
    passphrase: Secret | None = None
    """The passphrase of the key, if it has one."""

    @model_validator(mode="after")
    def _is_one(self) -> Certificate:
        _ = self.source
        return self

    @property
    def source(self) -> Secret:
        """Where key and certificate are."""
        given = {kind: value for kind in KINDS if (value := getattr(self, kind)) is not None}
        return Secret.parse(given)


class Credential(Settings):
    """How azsyncd proves who it is: exactly one of the four kinds."""

    client_secret: Annotated[
        tuple[Secret, ...] | None,
        BeforeValidator(_secrets),
        Field(min_length=1, max_length=2),
        WithJsonSchema(
            {"anyOf": [SCHEMA, {"type": "array", "items": SCHEMA, "minItems": 1, "maxItems": 2}]}
        ),
    ] = None
    """The client secret's *value* (not its id), or a list of two that are tried in turn: rotation
    without a gap."""
    certificate: Annotated[Certificate | None, BeforeValidator(secret_or_path)] = None
    """A certificate with its private key."""
    passphrase: Secret | None = None
    """The certificate's passphrase, if it has one."""
    federated_token: Annotated[
        Secret | None, BeforeValidator(secret_or_path), WithJsonSchema(SCHEMA_WITH_PATH)
    ] = None
    """The file with another issuer's token (workload identity); read anew for every token."""
    managed_identity: Annotated[str | None, Field(min_length=1)] = None
    """`system`, or the client id of a user-assigned identity of this Azure machine."""
    expires_on: date | None = None
    """The day on which it ends, where that cannot be read: warnings begin 60 days before."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Credential:
        kinds = ("client_secret", "certificate", "federated_token", "managed_identity")
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(kinds)}")
        if self.federated_token is not None and self.federated_token.kind == "env":
            raise ValueError("federated_token must be a file: it is renewed all the time")
        if self.passphrase is not None and self.certificate is None:
            raise ValueError("passphrase belongs to a certificate")
        return self

    @property
    def certificate_passphrase(self) -> Secret | None:
        """The passphrase, wherever it was written."""
        inside = self.certificate.passphrase if self.certificate is not None else None
        return inside or self.passphrase

    def secrets(self) -> Iterator[tuple[str, Secret]]:
        """Each secret with its key."""
        for number, secret in enumerate(self.client_secret or ()):
            yield f"client_secret[{number}]", secret
        if self.certificate is not None:
            yield "certificate", self.certificate.source
        if self.certificate_passphrase is not None:
            yield "passphrase", self.certificate_passphrase
        if self.federated_token is not None:
            yield "federated_token", self.federated_token


class Entra(Settings):
    """The tenant."""

    tenant_id: Annotated[str, AfterValidator(_tenant)]
    """The tenant's id, a GUID. The state belongs to it: another tenant is refused."""
    client_id: Annotated[str, AfterValidator(_client)]
    """The application (client) id of the app registration."""
    credential: Credential
    """How azsyncd proves that it is this application."""
    cloud: Literal["global", "us_gov", "us_gov_dod", "china"] = "global"
    """The national cloud: decides the hosts below and the scope of tokens."""
    login_url: HttpsUrl = CLOUDS["global"].login_url
    """Overrides the login service's address (private cloud, tests). The authority is then
    login_url/tenant_id, without asking Microsoft which hosts are valid. Default: the cloud's."""
    graph_url: Url = CLOUDS["global"].graph_url
    """Overrides Graph's address. The scope of tokens stays the cloud's. Default: the cloud's."""
    ca_file: AbsolutePath | None = None
    """A PEM file of certificate authorities that are trusted beside the system's; also for targets
    that name none of their own."""
    proxy: Proxy | None = None
    """The proxy to Microsoft. Default: the usual environment variables (HTTPS_PROXY, NO_PROXY)."""

    @model_validator(mode="before")
    @classmethod
    def _endpoints_of_the_cloud(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        cloud = value.get("cloud", "global")
        if not isinstance(cloud, str) or cloud not in CLOUDS:
            return value
        return {**CLOUDS[cloud]._asdict(), **value}

    @property
    def token_scope(self) -> str:
        """The scope to ask a token for: the cloud's, whatever graph_url says."""
        return f"{CLOUDS[self.cloud].graph_url}/.default"
