"""Tokens for Graph by MSAL, off the event loop: the only place that imports msal.

MSAL keeps the tokens; it is asked before every request. What MSAL does not do is done here: a
refused credential is not asked again for 15 minutes unless its file changes, a Retry-After is
waited out, and a second secret is tried when the first is refused.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from azsyncd.answers import hide
from azsyncd.clock import Clock
from azsyncd.entra.credentials import Credential, ManagedIdentity, digest
from azsyncd.entra.refusals import TRANSIENT, refusal_from_json
from azsyncd.errors import CredentialRefused, SourceError, SourceUnavailable

if TYPE_CHECKING:
    from azsyncd.entra.login import LoginSession, NoAnswer

_REMEMBERED = 900.0
"""Seconds for which a refusal stands. Entra blocks clients that hammer it (AADSTS50196)."""

_PATIENCE = 10.0
"""Seconds between two questions to a login service that gives no answer, and no Retry-After."""

_LONGEST_WAIT = 3600.0

Ask = Callable[[str | None], dict[str, Any] | None]


class Tokens:
    """Tokens of one application in one tenant. A changed configuration builds a new object."""

    def __init__(
        self,
        *,
        tenant_id: str,
        client_id: str,
        credential: Credential,
        login_url: str,
        scope: str,
        clock: Clock,
        ca_file: str | None = None,
        proxy: str | None = None,
    ) -> None:
        self._client_id = client_id
        self._credential = credential
        self._authority = f"{login_url.rstrip('/')}/{tenant_id}"
        self._scope = scope
        self._clock = clock
        self._ca_file = ca_file
        self._proxy = proxy
        self._lock = asyncio.Lock()
        self._thread = threading.Lock()  # a cancelled caller leaves its thread behind
        self._session: LoginSession | None = None
        self._apps: dict[int, tuple[str, Ask]] = {}
        self._marks: dict[int, str] = {}
        self._current = 0
        self._held: SourceError | None = None
        self._refused_marks: frozenset[str] = frozenset()
        self._not_before = -math.inf

    async def token(self, claims: str | None = None) -> str:
        """A token that is good for at least five minutes.

        Raises CredentialRefused if Entra says no, SourceUnavailable if it cannot be asked.
        """
        async with self._lock:
            return await asyncio.to_thread(self._acquire, claims)

    def forget(self) -> None:
        """Drop the cached token: Graph did not accept it."""
        self._apps = {}

    def reset(self) -> None:
        """Forget a refusal: ask again at once."""
        self._held = None
        self._not_before = -math.inf

    async def roles(self) -> frozenset[str] | None:
        """The permissions that the token claims to carry, or None if it cannot be read.

        For diagnosis alone: by contract tokens are opaque to us.
        """
        parts = (await self.token()).split(".")
        try:
            claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "==="))
            return frozenset(str(role) for role in claims.get("roles", ()))
        except (IndexError, AttributeError, TypeError, ValueError, binascii.Error):
            return None

    # In a thread --------------------------------------------------------------------------------

    def _acquire(self, claims: str | None) -> str:
        from azsyncd.entra.login import NoAnswer, NotAsked

        with self._thread:
            try:
                return self._try_all(claims)
            except (NotAsked, NoAnswer):
                raise self._held_now() from None

    def _try_all(self, claims: str | None) -> str:
        """Each proof in turn, beginning with the one that worked last."""
        proofs = self._credential.proofs
        fallback: str | None = None
        refusal: dict[str, Any] | None = None
        for turn in range(len(proofs)):
            which = (self._current + turn) % len(proofs)
            token, refusal = self._ask(which, claims)
            if refusal is None and token:
                self._current = which
                return token
            fallback = fallback or token
            if refusal is None or refusal.get("error") != "invalid_client":
                break
        refused = self._judge(refusal or {})
        if fallback:  # MSAL wanted to renew early; the token at hand is still good
            return fallback
        raise refused

    def _ask(self, which: int, claims: str | None) -> tuple[str | None, dict[str, Any] | None]:
        """A token and what was refused on the way: both, where an early renewal failed."""
        from azsyncd.entra.login import Refused

        session = self._login()
        session.take_refusal()
        try:
            answer = self._app(which)(claims) or {}
        except Refused as error:
            return None, error.answer
        except ValueError as error:  # an authority or a managed identity that cannot be
            raise self._misconfigured(error) from None
        token = answer.get("access_token")
        hide(str(token or ""), passing=True)
        refused = session.take_refusal() or (None if token else answer)
        return (str(token) if token else None), refused

    def _judge(self, refusal: dict[str, Any]) -> SourceError:
        refused = refusal_from_json(refusal)
        if refusal.get("error") in TRANSIENT:
            self._hold(SourceUnavailable(refused.message), _PATIENCE)
            return self._held_now()
        self._refused_marks = frozenset(self._marks.values())
        return self._hold(refused, _REMEMBERED)

    def _app(self, which: int) -> Ask:
        """What asks with this proof. Built anew when the proof has changed after a refusal, for
        MSAL's credential is fixed, and it asks the network while it is made."""
        known = self._apps.get(which)
        refused = isinstance(self._held, CredentialRefused)
        if known is not None and not refused:
            return known[1]
        material, content = self._credential.proofs[which]()
        mark = self._marks[which] = digest(content)
        if known is not None and known[0] == mark:
            return known[1]
        if refused and mark not in self._refused_marks:
            self.reset()
        build = self._build_local if isinstance(self._credential, ManagedIdentity) else self._build
        ask = build(material)
        self._apps[which] = (mark, ask)
        return ask

    def _build(self, material: str | dict[str, Any]) -> Ask:
        import msal  # type: ignore[import-untyped]

        app = msal.ConfidentialClientApplication(
            self._client_id,
            client_credential=material,
            authority=self._authority,
            instance_discovery=False,
            client_capabilities=["CP1"],
            http_client=self._login(),
        )
        return lambda claims: app.acquire_token_for_client([self._scope], claims_challenge=claims)

    def _build_local(self, material: str | dict[str, Any]) -> Ask:
        import msal

        assert isinstance(self._credential, ManagedIdentity)
        of = self._credential.client_id
        identity = (
            msal.UserAssignedManagedIdentity(client_id=of)
            if of
            else msal.SystemAssignedManagedIdentity()
        )
        client = msal.ManagedIdentityClient(
            identity, http_client=self._login(), client_capabilities=["CP1"]
        )
        resource = self._scope.removesuffix("/.default")
        return lambda claims: client.acquire_token_for_client(
            resource=resource, claims_challenge=claims
        )

    def _login(self) -> LoginSession:
        if self._session is None:
            from azsyncd.entra.login import LoginSession

            try:
                self._session = LoginSession(
                    ca_file=self._ca_file,
                    proxy=self._proxy,
                    local=isinstance(self._credential, ManagedIdentity),
                    gate=self._gate,
                    failed=self._failed,
                    now=self._clock.now,
                )
            except OSError:  # ssl.SSLError is one
                raise SourceUnavailable(
                    f"{self._ca_file} cannot be read as a CA file", "check entra.ca_file"
                ) from None
        return self._session

    # When not to ask ----------------------------------------------------------------------------

    def _hold(self, reason: SourceError, seconds: float) -> SourceError:
        self._held = reason
        self._not_before = self._clock.monotonic() + min(seconds, _LONGEST_WAIT)
        return reason

    def _gate(self) -> None:
        from azsyncd.entra.login import NotAsked

        if self._clock.monotonic() < self._not_before:
            raise NotAsked("too early")
        self._held = None

    def _failed(self, failure: NoAnswer) -> None:
        self._hold(
            SourceUnavailable(
                f"the login service ({self._authority}) {failure.what}",
                failure.hint,
                failure.retry_after,
            ),
            failure.retry_after or _PATIENCE,
        )

    def _held_now(self) -> SourceError:
        """The reason why nothing is asked at present, as a new exception."""
        held = self._held
        if isinstance(held, CredentialRefused):
            return CredentialRefused(held.message, held.hint)
        left = max(0.0, self._not_before - self._clock.monotonic())
        if held is None:
            return SourceUnavailable("the login service was not asked", retry_after=left)
        return SourceUnavailable(held.message, held.hint, left)

    def _misconfigured(self, error: ValueError) -> CredentialRefused:
        if not self._authority.startswith("https://"):
            return CredentialRefused(
                f"{self._authority} is not https: no credential is sent there",
                "check entra.login_url",
            )
        if isinstance(self._credential, ManagedIdentity):
            return CredentialRefused(
                "this machine has no managed identity that azsyncd could use",
                "assign one to it, or use another entra.credential",
            )
        return CredentialRefused(
            f"the login service ({self._authority}) cannot be used: {type(error).__name__}",
            "check entra.login_url, tenant_id and credential",
        )
