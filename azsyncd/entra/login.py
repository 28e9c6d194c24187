"""The HTTP session that MSAL is given, so that trust, proxy, time-outs and retries are ours.

MSAL's own would let REQUESTS_CA_BUNDLE replace the configured CA, wait for ever, and cache failures
under rules of its own. Imported only when the first token is wanted: requests is slow to import.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import ConnectionPool

from azsyncd.answers import Response
from azsyncd.pace import retry_after

_CONNECT, _READ = 10.0, 15.0
"""A thread cannot be cancelled: the daemon's stop waits at most this long."""


class NotAsked(requests.RequestException):
    """Nothing was sent: it is too early to ask again."""


class NoAnswer(requests.RequestException):
    """The login service gave no usable answer."""

    def __init__(self, what: str, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.retry_after = retry_after


class Refused(requests.RequestException):
    """The login service says no: an OAuth error."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__("refused")
        self.answer = answer


class LoginSession(requests.Session):
    """Trusts the system's CAs and `ca_file`; follows no redirect; raises for every refusal, and
    keeps the last one, for MSAL swallows the exception where it has a good token.

    `gate` is called before anything is sent and may raise NotAsked; `failed` hears of every
    failure. These exceptions pass through MSAL, which falls back to a cached token that is still
    good where it has one.
    """

    def __init__(
        self,
        *,
        ca_file: str | None,
        proxy: str | None,
        local: bool,
        gate: Callable[[], None],
        failed: Callable[[NoAnswer], None],
        now: Callable[[], float],
    ) -> None:
        super().__init__()
        self._refusal: dict[str, Any] | None = None
        self._local = local
        self._failed = failed
        self._gate = gate
        self._now = now
        context = ssl.create_default_context()
        if ca_file:
            context.load_verify_locations(cafile=ca_file)
        self.mount("https://", _Adapter(context))
        self.auth = _as_it_is  # or ~/.netrc has a say
        self.headers["Connection"] = "close"  # the next token is wanted in an hour
        # A managed identity's endpoint is this machine's own: never through a proxy.
        self.trust_env = proxy is None and not local
        if proxy and not local:
            self.proxies = {"http": proxy, "https": proxy}

    def request(self, method: str, url: str, **given: Any) -> requests.Response:  # type: ignore[override]
        self._gate()
        given["timeout"] = (_CONNECT, _READ)
        given["allow_redirects"] = False
        try:
            answer = super().request(method, url, **given)
            self._judge(answer)
        except Refused:
            raise
        except requests.RequestException as error:
            failure = _no_answer(error)
            self._failed(failure)
            raise failure from None
        return answer

    def take_refusal(self) -> dict[str, Any] | None:
        """The OAuth error that came since the last call of this."""
        refusal, self._refusal = self._refusal, None
        return refusal

    def _judge(self, answer: requests.Response) -> None:
        seen = Response(answer.status_code, answer.headers, answer.content, "")
        status = answer.status_code
        if status == 429 or status >= 500 or (self._local and status in (404, 410)):
            wait = retry_after(answer.headers, self._now())
            raise NoAnswer(f"answered {status} {seen.excerpt}".strip(), "", wait)
        if 300 <= status < 400 or seen.is_html:
            what = "an HTML page" if seen.is_html else "a redirect"
            raise NoAnswer(
                f"answered {status} with {what}",
                "check login_url and whether a proxy stands in between",
            )
        if self._local and status == 401:  # Azure Arc's challenge is part of its protocol
            return
        try:
            body = answer.json()
        except ValueError:
            raise NoAnswer(f"answered {status} with no JSON: {seen.excerpt}", "") from None
        if status >= 400:
            self._refusal = body if isinstance(body, dict) else {}
            raise Refused(self._refusal)


class _Adapter(HTTPAdapter):
    """TLS with our own context, whatever the environment says."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def build_connection_pool_key_attributes(  # type: ignore[override]
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[Any, dict[str, Any]]:
        host, _ = super().build_connection_pool_key_attributes(request, True, None)
        return host, {"ssl_context": self._context}

    def cert_verify(self, conn: ConnectionPool, url: str, verify: Any, cert: Any) -> None:
        """Nothing to do: the context knows whom to trust."""


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _no_answer(error: requests.RequestException) -> NoAnswer:
    if isinstance(error, NoAnswer):
        return error
    if isinstance(error, requests.exceptions.SSLError):
        return NoAnswer("shows a certificate that is not accepted", "check login_url and ca_file")
    if isinstance(error, requests.exceptions.ProxyError):
        return NoAnswer("cannot be reached: the proxy does not let us through", "check proxy")
    if isinstance(error, requests.exceptions.Timeout):
        return NoAnswer("did not answer in time", "check the firewall and the proxy")
    return NoAnswer("cannot be reached", "check the network, DNS, the firewall and the proxy")
