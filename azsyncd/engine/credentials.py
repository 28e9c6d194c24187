"""The file's secrets: opened when they are needed, never printed, and when they end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

from azsyncd.answers import hide
from azsyncd.config import Config, Secret
from azsyncd.entra.credentials import (
    Certificate,
    ClientSecret,
    Credential,
    FederatedToken,
    ManagedIdentity,
)
from azsyncd.errors import ConfigError, CredentialRefused, Problem


def midnight(day: date | None) -> float | None:
    """The first moment of a day in UTC, on which a credential ends."""
    return None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def open_secrets(config: Config) -> dict[str, str]:
    """Every secret of the file that is text, by key; raises ConfigError with all that are missing.
    What was opened is never printed again (I10)."""
    opened: dict[str, str] = {}
    problems: list[Problem] = []
    hint = ""
    for key, secret in config.secrets():
        try:
            if key == "entra.credential.certificate":
                secret.read_bytes()
                continue
            opened[key] = secret.read()
        except ConfigError as error:
            problems += [Problem(key, each.message) for each in error.problems]
            hint = hint or error.hint
            continue
        hide(opened[key])
    if problems:
        raise ConfigError(problems, hint)
    return opened


def credential_of(config: Config) -> Credential:
    """How azsyncd proves who it is. Files are read anew whenever they are needed."""
    credential = config.entra.credential
    if credential.client_secret is not None:
        return ClientSecret(tuple(_reader(secret) for secret in credential.client_secret))
    if credential.certificate is not None:
        passphrase = credential.certificate_passphrase
        return Certificate(
            _bytes_reader(credential.certificate.source),
            _reader(passphrase) if passphrase is not None else None,
        )
    if credential.federated_token is not None:
        return FederatedToken(str(credential.federated_token.path()))
    identity = credential.managed_identity
    return ManagedIdentity(None if identity == "system" else identity)


def _reader(secret: Secret) -> Callable[[], str]:
    def read() -> str:
        try:
            value = secret.read()
        except ConfigError as error:
            raise CredentialRefused(str(error.problems[0]), error.hint) from None
        hide(value)
        return value

    return read


def _bytes_reader(secret: Secret) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            return secret.read_bytes()
        except ConfigError as error:
            raise CredentialRefused(str(error.problems[0]), error.hint) from None

    return read
