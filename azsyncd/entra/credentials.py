"""How azsyncd proves to Entra who it is: secrets, a certificate, a federated token, an identity.

Everything is read when it is needed and through callables, so that a renewed file is seen.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azsyncd.errors import CredentialRefused


@dataclass(frozen=True, slots=True, repr=False)
class ClientSecret:
    """One secret, or two that are tried in turn: rotation without a gap."""

    values: tuple[Callable[[], str], ...]

    @property
    def proofs(self) -> tuple[Proof, ...]:
        return tuple(_secret_proof(value) for value in self.values)


@dataclass(frozen=True, slots=True, repr=False)
class Certificate:
    """A certificate with its private key: PEM (both in one file, encrypted or not) or PFX."""

    load: Callable[[], bytes]
    passphrase: Callable[[], str] | None = None

    @property
    def proofs(self) -> tuple[Proof, ...]:
        return (lambda: _certificate_proof(self),)


@dataclass(frozen=True, slots=True)
class FederatedToken:
    """A token of another issuer in a file that somebody renews: read anew for every token."""

    path: str

    @property
    def proofs(self) -> tuple[Proof, ...]:
        return (lambda: ({"client_assertion": lambda: _read(self.path)}, _read(self.path)),)


@dataclass(frozen=True, slots=True)
class ManagedIdentity:
    """The identity of the Azure machine; `client_id` None = the system-assigned one."""

    client_id: str | None = None

    @property
    def proofs(self) -> tuple[Proof, ...]:
        return (lambda: ({}, self.client_id or "system"),)


Credential = ClientSecret | Certificate | FederatedToken | ManagedIdentity

Proof = Callable[[], tuple[str | dict[str, Any], str]]
"""Reads a proof: what MSAL takes as client_credential, and what changes when it was renewed."""


def digest(material: str) -> str:
    """Tells whether a credential is another one, without keeping it."""
    return hashlib.sha256(material.encode()).hexdigest()


def certificate_end(certificate: Certificate) -> float:
    """The moment at which the certificate ends; raises CredentialRefused if it cannot be read."""
    return float(_parse(certificate)[1].not_valid_after_utc.timestamp())


def _secret_proof(value: Callable[[], str]) -> Proof:
    def proof() -> tuple[str | dict[str, Any], str]:
        secret = value()
        if not secret:
            raise CredentialRefused("the client secret is empty", "check entra.credential")
        return secret, secret

    return proof


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise CredentialRefused(
            f"the federated token {path} cannot be read: {error.strerror}",
            "check entra.credential.federated_token and the file's rights",
        ) from None


def _certificate_proof(certificate: Certificate) -> tuple[str | dict[str, Any], str]:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    key, leaf = _parse(certificate)
    public = leaf.public_bytes(Encoding.PEM).decode()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    # With the certificate and no thumbprint MSAL signs by PS256 and names the SHA-256 thumbprint.
    return {"private_key": private, "public_certificate": public}, public


_CERT = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_KEY = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.+?-----END \1-----", re.DOTALL)


def _parse(certificate: Certificate) -> tuple[Any, Any]:
    """The RSA key and the certificate that belongs to it."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    try:
        content = certificate.load()
    except OSError as error:
        raise _unusable(f"cannot be read: {error.strerror}") from None
    passphrase = certificate.passphrase().encode() if certificate.passphrase else None
    try:
        read = _pem if b"-----BEGIN" in content else _pfx
        key, found = read(content, passphrase)
    except (ValueError, TypeError):
        raise _unusable("cannot be opened: is the passphrase right?") from None
    if not isinstance(key, RSAPrivateKey):
        raise _unusable("has no RSA private key in it")
    for candidate in found:
        if candidate.public_key() == key.public_key():
            return key, candidate
    raise _unusable("has no certificate in it that belongs to its private key")


def _pem(content: bytes, passphrase: bytes | None) -> tuple[Any, list[Any]]:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509 import load_pem_x509_certificate

    match = _KEY.search(content)
    if match is None:
        return None, []
    encrypted = b"ENCRYPTED" in match[0][:400]
    key = load_pem_private_key(match[0], passphrase if encrypted else None)
    return key, [load_pem_x509_certificate(block) for block in _CERT.findall(content)]


def _pfx(content: bytes, passphrase: bytes | None) -> tuple[Any, list[Any]]:
    from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates

    key, leaf, others = load_key_and_certificates(content, passphrase)
    return key, [found for found in (leaf, *others) if found is not None]


def _unusable(why: str) -> CredentialRefused:
    return CredentialRefused(
        f"the certificate for Entra {why}",
        "entra.credential.certificate wants a PEM file with key and certificate, or a .pfx",
    )
