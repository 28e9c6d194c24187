"""`targets`: one Atlassian product each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from azsyncd.config.fields import AbsolutePath, Proxy, Timeout, Url
from azsyncd.config.secrets import Secret
from azsyncd.plan.policy import Policy, Scope, Settings
from azsyncd.plan.scope import merged

Type = Literal["jira", "confluence", "bitbucket", "crowd", "cloud"]

CLOUD_URL = "https://api.atlassian.com"

LIMITS: dict[str, tuple[int, int]] = {
    "jira": (4, 20),
    "confluence": (3, 10),
    "bitbucket": (4, 5),
    "crowd": (4, 20),
    "cloud": (3, 5),
}
"""By type: concurrency and requests a second that a product bears without being felt."""


class Auth(Settings):
    """How azsyncd signs in: a token, or username and password."""

    token: Secret | None = None
    """A personal access token; for cloud the SCIM directory's API key."""
    username: Annotated[str | None, Field(min_length=1)] = None
    """The account, where there is no token; for Crowd the application's name."""
    password: Secret | None = None
    """The password that belongs to `username`."""
    expires_on: date | None = None
    """The day on which token or password ends: warnings begin 60 days before."""

    @model_validator(mode="after")
    def _one_way(self) -> Auth:
        if self.token is not None:
            if self.password is not None:
                raise ValueError("needs either token, or username and password; not both")
        elif self.username is None or self.password is None:
            raise ValueError("needs either token, or username and password")
        return self


def _optional(*names: str) -> Callable[[dict[str, Any]], None]:
    """For editors: keys that are filled in by the product's type."""

    def change(schema: dict[str, Any]) -> None:
        schema["required"] = [each for each in schema.get("required", []) if each not in names]

    return change


class Limits(Settings):
    """How hard a product is asked."""

    model_config = ConfigDict(json_schema_extra=_optional("concurrency", "requests_per_second"))

    concurrency: Annotated[int, Field(ge=1, le=64)]
    """Requests at the same time. Default: jira 4, confluence 3, bitbucket 4, crowd 4, cloud 3."""
    requests_per_second: Annotated[float, Field(gt=0, le=1000)]
    """Requests a second. Default: jira 20, confluence 10, bitbucket 5, crowd 20, cloud 5."""
    timeout: Timeout = 30.0
    """The longest time for one request."""


class Target(Policy):
    """One product: where it is, and everything that is decided about it."""

    model_config = ConfigDict(json_schema_extra=_optional("limits", "url"))

    type: Type
    """The product."""
    url: Url
    """The base URL with its context path (Crowd's is usually …/crowd). For cloud it may be left
    out: https://api.atlassian.com."""
    auth: Auth
    """How azsyncd signs in."""
    limits: Limits
    """How hard the product is asked; keys left out have the type's defaults."""
    ca_file: AbsolutePath | None = None
    """A PEM file of certificate authorities that are trusted beside the system's.
    Default: that of `entra`."""
    proxy: Proxy | None = None
    """The proxy to this product. Default: the usual environment variables (HTTPS_PROXY,
    NO_PROXY)."""
    directory_id: Annotated[str | None, Field(min_length=1)] = None
    """cloud: the id of the SCIM directory, from its settings page."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_type(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        filled = dict(value)
        concurrency, rate = LIMITS.get(str(value.get("type")), LIMITS["jira"])
        given = value.get("limits", {})
        if isinstance(given, dict):
            defaults = {"concurrency": concurrency, "requests_per_second": rate}
            filled["limits"] = {**defaults, **given}
        if value.get("type") == "cloud":
            filled.setdefault("url", CLOUD_URL)
        return filled

    def policy(self, common: Scope) -> Policy:
        """What planning needs, with the scope that this target really has."""
        given = {name: getattr(self, name) for name in Policy.model_fields}
        return Policy(**{**given, "scope": merged(common, self.scope)})

    def secrets(self) -> Iterator[tuple[str, Secret]]:
        """Each secret with its key."""
        if self.auth.token is not None:
            yield "auth.token", self.auth.token
        if self.auth.password is not None:
            yield "auth.password", self.auth.password
