"""A throw-away certificate authority, so that the sandbox speaks TLS like the real thing.

Whoever is to trust a sandbox is handed `ca.pem`; nothing is ever added to a system's trust.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from azsyncd.clock import Clock, SystemClock, utc

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_LIFETIME = timedelta(days=30)
_SLACK = timedelta(hours=1)  # clocks that are a little behind

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Authority:
    """Makes certificates in a folder: `ca.pem`, and for each server `NAME.pem` with its key.

    Example:
        authority = Authority(folder)
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=authority.server_context())
        ...  # clients trust authority.ca_file
    """

    def __init__(self, folder: Path, *, clock: Clock | None = None) -> None:
        self._folder = folder
        self._now = utc((clock or SystemClock()).now())
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("azsyncd sandbox CA")
        self._certificate = self._make_own()
        folder.mkdir(parents=True, exist_ok=True)
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(self._certificate.public_bytes(Encoding.PEM))

    def issue(self, name: str = "server", hosts: Sequence[str] = LOOPBACK) -> Path:
        """Write a certificate for these hosts and its key into one file that only we can read."""
        key = ec.generate_private_key(ec.SECP256R1())
        found = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        certificate = (
            _begun(_name(hosts[0]), self._name, key, self._now)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([_host(h) for h in hosts]), critical=False)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found.value),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        path = self._folder / f"{name}.pem"
        _write_private(path, _with_key(key, certificate))
        return path

    def server_context(
        self, name: str = "server", hosts: Sequence[str] = LOOPBACK
    ) -> ssl.SSLContext:
        """A server's side, with a certificate of its own."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.issue(name, hosts))
        return context

    def client_context(self) -> ssl.SSLContext:
        """A client's side, which trusts this authority and nobody else."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    def _make_own(self) -> x509.Certificate:
        return (
            _begun(self._name, self._name, self._key, self._now)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(ca=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )


def app_certificate(
    name: str = "azsyncd", *, clock: Clock | None = None, lifetime: timedelta = _LIFETIME
) -> tuple[bytes, bytes]:
    """What proves to Entra who we are: a self-signed certificate, with its key and without.

    The second is what one uploads to the app registration.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    now = utc((clock or SystemClock()).now())
    certificate = (
        _begun(_name(name), _name(name), key, now, lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _with_key(key, certificate), certificate.public_bytes(Encoding.PEM)


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    key: PrivateKey,
    now: datetime,
    lifetime: timedelta = _LIFETIME,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _with_key(key: PrivateKey, certificate: x509.Certificate) -> bytes:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)


def _write_private(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
