"""Making the connector of a product from what the configuration says about it."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from azsyncd.answers import hide
from azsyncd.clock import Clock
from azsyncd.errors import ConfigError, Problem
from azsyncd.http import Limits, Peer
from azsyncd.targets.base import Target
from azsyncd.targets.bitbucket import Bitbucket
from azsyncd.targets.cloud import Cloud
from azsyncd.targets.confluence import Confluence
from azsyncd.targets.crowd import Crowd
from azsyncd.targets.jira import Jira

Value = str | Callable[[], str]
"""A secret, or how to read it; it is read once, when the connector is made."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """A token, or username and password (Crowd: the application's). Never shown (I10)."""

    token: Value | None = field(default=None, repr=False)
    username: str | None = None
    password: Value | None = field(default=None, repr=False)

    def header(self) -> str:
        """The Authorization header; raises ConfigError where a secret cannot be sent."""
        if self.token is not None:
            return f"Bearer {_sendable(_read(self.token), 'token')}"
        pair = f"{self.username or ''}:{_read(self.password or '')}"
        encoded = b64encode(pair.encode()).decode()
        hide(encoded)
        return f"Basic {encoded}"


def _read(value: Value) -> str:
    return value() if callable(value) else value


def _sendable(secret: str, what: str) -> str:
    """A header takes visible ASCII: a blank or a line end inside is a mistake of copying."""
    if not secret or not secret.isascii() or not all(letter > " " for letter in secret):
        raise ConfigError(
            [Problem(key=f"auth.{what}", message=f"the {what} is empty or has blanks inside")],
            "copy it again, as one line",
        )
    return secret


def unknowable() -> str:
    """A password that nobody will ever know (rule 43), whatever the product demands of one."""
    return f"{secrets.token_urlsafe(32)}aA1!"


def connect(
    type: str,  # noqa: A002  # the configuration's word
    name: str,
    *,
    url: str,
    sign_in: SignIn,
    clock: Clock,
    limits: Limits,
    instance: str,
    product_access: str = "by_groups",
    attributes: Iterable[str] = (),
    directory_id: str | None = None,
    ca_file: str | None = None,
    proxy: str | None = None,
    on_response: Callable[[str, str], None] | None = None,
    secret: Callable[[], str] = unknowable,
) -> Target:
    """The connector of one product, not yet spoken to.

    `attributes` are the names of those that are kept in the product; `on_response(peer, status)` is
    told of every answer. Raises ConfigError. Reads secrets: call it where a file may be read.
    """
    if type == "cloud" and directory_id:
        # Atlassian shows the address with the directory in it, and people copy it whole.
        url = url.rstrip("/").removesuffix(f"/scim/directory/{directory_id}")
    peer = Peer(
        name,
        url,
        clock=clock,
        limits=limits,
        headers={"Authorization": sign_in.header()},
        ca_file=ca_file,
        proxy=proxy,
        on_response=on_response,
    )
    if type == "jira":
        return Jira(
            name, peer, instance=instance, product_access=product_access, attributes=attributes
        )
    if type == "crowd":
        return Crowd(name, peer, instance=instance, attributes=attributes, secret=secret)
    if type == "confluence":
        return Confluence(
            name,
            peer,
            clock=clock,
            secret=secret,
            product_access=product_access,
            attributes=attributes,
        )
    if type == "bitbucket":
        return Bitbucket(
            name,
            peer,
            secret=secret,
            username=sign_in.username,
            product_access=product_access,
            attributes=attributes,
        )
    if type == "cloud":
        if not directory_id:
            raise ConfigError([Problem(key="directory_id", message="is missing")])
        return Cloud(
            name, peer, directory_id=directory_id, instance=instance, attributes=attributes
        )
    raise ConfigError([Problem(key="type", message=f"{type} is not yet available")])
