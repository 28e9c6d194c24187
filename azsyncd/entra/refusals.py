"""What the token endpoint's refusals mean, in one line each and with what to do.

Entra's numbers (AADSTS…) are for people: they may change, so nothing is decided by them; that is
done by the OAuth error. https://learn.microsoft.com/en-us/entra/identity-platform/reference-error-codes
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from azsyncd.answers import redact
from azsyncd.errors import CredentialRefused

TRANSIENT = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
"""OAuth errors after which the same question may be asked again."""

_NEW_SECRET = (
    "make a new client secret in the app registration (Certificates & secrets), put its value "
    "where entra.credential.client_secret points, then reload or restart azsyncd"
)
_MEANINGS: Mapping[int, tuple[str, str]] = {
    7000222: ("the client secret has expired", _NEW_SECRET),
    7000215: (
        "the client secret is wrong",
        "use the secret's value, not its id (a value is shown only once, when it is made)",
    ),
    7000216: ("no secret, certificate or token was accepted as proof", "check entra.credential"),
    7000218: ("no secret, certificate or token was accepted as proof", "check entra.credential"),
    700016: (
        "the application is not known in this tenant",
        "check entra.client_id and entra.tenant_id, and that admin consent was given",
    ),
    700027: (
        "the certificate's signature is not accepted",
        "upload this certificate to the app registration, and check that it has not expired",
    ),
    700021: ("the token's subject or issuer does not fit the application", "check entra.client_id"),
    700023: ("the token was made for another audience", "check entra.login_url and entra.cloud"),
    700024: (
        "the signed proof is outside its time of validity",
        "check this machine's clock (NTP), or that the federated token file is renewed",
    ),
    700030: ("the certificate has expired or is not valid", "upload a new one and use it here"),
    70021: ("no federated credential fits the token", "check issuer, subject and audience"),
    700211: ("no federated credential fits the token's issuer", "check the federated credential"),
    700212: ("no federated credential fits the token's audience", "check the federated credential"),
    700213: ("no federated credential fits the token's subject", "check the federated credential"),
    90002: ("the tenant does not exist", "check entra.tenant_id and entra.cloud"),
    900023: ("the tenant id is neither a GUID nor a domain", "check entra.tenant_id"),
    900382: ("the tenant is in another cloud", "check entra.cloud"),
    500011: (
        "Microsoft Graph is not known in this tenant",
        "check entra.cloud and entra.tenant_id",
    ),
    53003: (
        "a conditional access policy blocks the application",
        "exempt the workload identity, or allow the address that azsyncd comes from",
    ),
    7000112: ("the application is disabled", "enable it under Enterprise applications"),
    7000114: ("the application may not ask for tokens by itself", "check the app registration"),
    70011: ("the scope is not valid", "check entra.cloud"),
    50196: ("too many identical requests", "wait; nothing needs to be changed"),
}


def codes_of(answer: Mapping[str, Any]) -> tuple[int, ...]:
    """The AADSTS numbers of a refusal."""
    codes = answer.get("error_codes")
    return tuple(c for c in codes if isinstance(c, int)) if isinstance(codes, list) else ()


def refusal_from_json(answer: Mapping[str, Any]) -> CredentialRefused:
    """One clear line for the operator, with the ids that Microsoft's support asks for."""
    code = next((c for c in codes_of(answer) if c in _MEANINGS), None)
    if code is not None:
        meaning, hint = _MEANINGS[code]
        detail = f"AADSTS{code}"
    else:
        told = answer.get("error_description") or answer.get("message") or ""
        meaning = redact(" ".join(str(told).split()))
        meaning = meaning.partition(" Trace ID:")[0][:200] or "no reason given"
        detail = str(answer.get("error") or "error")
        hint = "check tenant_id, client_id and credential under entra"
    if trace := answer.get("trace_id"):
        detail += f", trace id {trace}"
    return CredentialRefused(f"Entra gives us no token; {meaning} ({detail})", hint)
