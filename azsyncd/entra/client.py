"""Calls to Graph: token, claims challenges, links to our own host alone, and errors by their codes.

410, or 400/404 with syncStateNotFound, resyncRequired    DeltaExpired
401 (after a new token), 403                              CredentialRefused
429, 5xx, network, redirects, HTML                        SourceUnavailable
any other 4xx                                             GraphRefused
"""

from __future__ import annotations

from typing import Any, Protocol
from urllib.parse import urlsplit

from azsyncd.answers import redact
from azsyncd.entra import wire
from azsyncd.errors import CredentialRefused, DeltaExpired, SourceError, SourceUnavailable
from azsyncd.http import HttpUnavailable, NotJson, Peer, Response

Params = dict[str, str]


class TokenSource(Protocol):
    """Where tokens come from; see `azsyncd.entra.auth.Tokens`."""

    async def token(self, claims: str | None = None) -> str: ...

    def forget(self) -> None: ...


class GraphRefused(SourceError):
    """Graph understood and says no: a 4xx that is neither about rights nor about dead links."""

    def __init__(self, message: str, hint: str = "", *, status: int, codes: tuple[str, ...]):
        super().__init__(message, hint)
        self.status = status
        self.codes = codes


class ForeignLink(SourceError):
    """Graph's answer leads to another host: it is not followed, and no token is sent (rule 8)."""


class Graph:
    """Graph, as one application sees it."""

    def __init__(self, peer: Peer, tokens: TokenSource, graph_url: str) -> None:
        self._peer = peer
        self._tokens = tokens
        base = graph_url.rstrip("/")
        self.root = base if base.endswith(("/v1.0", "/beta")) else f"{base}/v1.0"
        self._origin = _origin(self.root)

    async def get(
        self, url: str, params: Params | None = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Read. `url` is a path under v1.0, or a link that Graph gave us."""
        return await self._call("GET", url, params=params, headers=headers)

    async def post(self, url: str, body: object) -> dict[str, Any]:
        """Create. Never repeated by itself."""
        return await self._call("POST", url, body=body)

    async def patch(self, url: str, body: object) -> dict[str, Any]:
        """Change. Never repeated by itself."""
        return await self._call("PATCH", url, body=body)

    async def delete(self, url: str) -> None:
        """Delete; what is gone already is a GraphRefused with status 404."""
        await self._call("DELETE", url)

    def own(self, link: str) -> str:
        """The link, if it leads to the configured Graph; raises ForeignLink."""
        if not link.startswith(("http://", "https://")):
            if "://" in link or link.startswith("//"):
                raise self._foreign(link)
            return f"{self.root}/{link.lstrip('/')}"
        if _origin(link) != self._origin:
            raise self._foreign(link)
        return link

    # ---

    async def _call(
        self,
        method: str,
        url: str,
        *,
        params: Params | None = None,
        body: object | None = None,
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        url = self.own(url)
        token = await self._tokens.token()
        answer = await self._send(method, url, token, params, body, headers)
        challenge = answer.headers.get("WWW-Authenticate", "")
        if answer.status == 401 or (answer.status == 403 and "insufficient_claims" in challenge):
            claims = wire.claims_of(challenge)
            if claims is None:
                self._tokens.forget()
            token = await self._tokens.token(claims)
            answer = await self._send(method, url, token, params, body, headers)
        if answer.status < 300:
            return self._body(answer)
        raise self._error(answer, url)

    async def _send(
        self,
        method: str,
        url: str,
        token: str,
        params: Params | None,
        body: object | None,
        headers: dict[str, str] | None,
    ) -> Response:
        try:
            return await self._peer.request(
                method,
                url,
                params=params,
                json=body,
                headers={
                    "Accept": "application/json",
                    **(headers or {}),
                    "Authorization": f"Bearer {token}",
                },
            )
        except HttpUnavailable as error:
            raise SourceUnavailable(error.message, error.hint, error.retry_after) from error

    def _body(self, answer: Response) -> dict[str, Any]:
        if answer.status == 204 or (not answer.body and answer.status != 200):
            return {}
        try:
            body = answer.json()
        except NotJson as error:
            raise SourceUnavailable(f"Graph {error.message}", error.hint) from error
        if not isinstance(body, dict):
            raise SourceUnavailable("Graph answered with JSON that is no object")
        return body

    def _error(self, answer: Response, url: str) -> SourceError:
        if answer.status < 400 or answer.status >= 500:
            return self._unavailable(answer)
        try:
            body = answer.json()
        except NotJson:
            body = None
        codes = wire.codes_of(body)
        lower = {code.lower() for code in codes}
        told = self._told(answer, body, codes)
        if answer.status == 410 or lower & wire.EXPIRED_CODES:
            return DeltaExpired(f"Graph no longer knows the delta link: {told}")
        if answer.status == 401:
            return CredentialRefused(
                f"Graph does not accept our token: {told}",
                "check tenant_id, client_id and cloud, and this machine's clock",
            )
        if answer.is_html or not codes:
            return self._unavailable(answer)
        if answer.status == 403:
            return self._denied(told, codes, lower, answer.status, url)
        return GraphRefused(f"Graph refuses: {told}", status=answer.status, codes=codes)

    def _denied(
        self, told: str, codes: tuple[str, ...], lower: set[str], status: int, url: str
    ) -> SourceError:
        if not lower & wire.DENIED_CODES:
            return GraphRefused(f"Graph refuses: {told}", status=status, codes=codes)
        permission = wire.permission_for(urlsplit(url).path)
        return CredentialRefused(
            f"Graph denies {urlsplit(url).path}: {told}",
            f"grant the application permission {permission} (Microsoft Graph) to the app "
            "registration and give admin consent",
        )

    def _unavailable(self, answer: Response) -> SourceUnavailable:
        if 300 <= answer.status < 400:
            what, hint = "a redirect", "check graph_url and whether a proxy stands in between"
        elif answer.is_html:
            what = f"an HTML page ({answer.excerpt})"
            hint = "check graph_url and whether a proxy or a login page stands in between"
        else:
            what, hint = answer.excerpt or "nothing", ""
        return SourceUnavailable(f"Graph answered {answer.status} with {what}", hint)

    def _told(self, answer: Response, body: Any, codes: tuple[str, ...]) -> str:
        """Status, most specific code, Graph's words and the id that Microsoft asks for."""
        request_id = answer.headers.get("request-id") or wire.request_id_of(body)
        told = " ".join([str(answer.status), *codes[-1:]])
        if words := wire.message_of(body):
            told += f", {words}"
        return redact(f"{told} (request-id {request_id})" if request_id else told)

    def _foreign(self, link: str) -> ForeignLink:
        host = urlsplit(link).netloc if "@" not in link else "an address with user information"
        return ForeignLink(
            f"Graph's answer leads to {host}, which is not {urlsplit(self.root).netloc}: "
            "not followed",
            "check graph_url and whether a proxy changes what Graph says",
        )


def _origin(url: str) -> tuple[str, str, int | None] | None:
    """Scheme, host and port; None for what cannot be trusted to mean what it shows."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return None
    if "@" in parts.netloc or "\\" in url or any(c.isspace() for c in url) or not parts.hostname:
        return None
    return (parts.scheme, parts.hostname, port)
