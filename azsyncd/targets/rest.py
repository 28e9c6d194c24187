"""How a connector asks its product, and what an answer means, whatever the product.

    no answer, 429, 5xx on a read            TargetUnavailable   back off
    401, 403 on a read; captcha; a page      TargetRefused       stop, and tell somebody
    for people instead of JSON; 3xx
    401, 403, 5xx on a write                 ChangeRejected(doubtful)   rule 30: first that object's
    any other 4xx                            the connector's to read

Texts of a product are shown to people; nothing is decided by them, for they are translated.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Container, Mapping, Sequence
from contextlib import asynccontextmanager
from html import unescape
from typing import Any

from azsyncd.answers import HttpUnavailable, NotJson, Response, redact
from azsyncd.errors import ChangeRejected, TargetRefused, TargetUnavailable
from azsyncd.http import Params, Peer, StreamedResponse

HEADERS = {"Accept": "application/json", "X-Atlassian-Token": "no-check"}
"""Without the second one a product may take a write for a forged form."""

MISSING = frozenset({404})
_UNFIT = frozenset({400, 414, 422})
"""What a product answers to a name that it could not even look for."""

ErrorText = Callable[[Any], str]


class Rest:
    """One product's API: `Peer` with the meaning of answers."""

    def __init__(
        self,
        target: str,
        peer: Peer,
        api: str,
        *,
        text: ErrorText,
        headers: Mapping[str, str] = HEADERS,
        sounds_read_only: Callable[[str], bool] = lambda words: False,
        sign_in_hint: str = "make a new token, or check the password, and reload",
    ) -> None:
        self.target = target
        self.api = api
        self._peer = peer
        self._text = text
        self._headers = dict(headers)
        self._sounds_read_only = sounds_read_only
        self._sign_in_hint = sign_in_hint

    # Reading ------------------------------------------------------------------------------------

    async def read(
        self,
        path: str,
        params: Params | None = None,
        *,
        absent: Container[int] = (),
        of_one: bool = False,
    ) -> Any:
        """The JSON of a GET; None where the status is one of `absent`.

        `of_one`: the question is about one object, so a 400 is a matter of that object alone.
        """
        answer = await self.ask(path, params)
        self._refuse_captcha(answer)
        if answer.status in absent and not answer.is_html:
            return None
        if of_one and answer.status in _UNFIT and not answer.is_html:
            raise self.rejected(answer, "cannot be asked about", reason="invalid_value")
        return self.settle(answer)

    def settle(self, answer: Response) -> Any:
        """The JSON of a good answer to a question; anything else raises."""
        self._refuse_strangers(answer)
        if answer.status >= 300:
            raise self._refused(answer)
        if answer.headers.get("X-AUSERNAME", "").lower() == "anonymous":
            # Strangers are shown an empty list of groups, with a 200.
            raise self.refused(
                "the product takes us for a stranger: our token or password did not reach it",
                "something in between takes the Authorization header away: exempt /rest from it",
            )
        return self.json(answer)

    async def ask(self, path: str, params: Params | None = None) -> Response:
        """A GET, whatever its answer: for probing."""
        try:
            return await self._peer.request(
                "GET", self.api + path, params=params, headers=self._headers
            )
        except HttpUnavailable as error:
            raise self.unavailable(error) from error

    @asynccontextmanager
    async def stream(
        self, path: str, *, headers: Mapping[str, str], absent: Container[int] = ()
    ) -> AsyncIterator[StreamedResponse | None]:
        """A GET whose body is read as it comes; None where the status is one of `absent`."""
        merged = {**self._headers, **headers}
        try:
            async with self._peer.stream("GET", self.api + path, headers=merged) as answer:
                is_page = "html" in answer.headers.get("Content-Type", "").lower()
                if answer.status in absent and not is_page:
                    yield None
                    return
                if answer.status != 200 or is_page:
                    whole = await answer.read()
                    self._refuse_strangers(whole)
                    raise self._refused(whole)
                yield answer
        except HttpUnavailable as error:
            raise self.unavailable(error) from error

    def json(self, answer: Response) -> Any:
        """The JSON of an answer: a page for people is a refusal, anything else a bad day."""
        try:
            return answer.json()
        except NotJson as error:
            if answer.is_html:
                raise self._page(answer) from error
            raise TargetUnavailable(error.message, error.hint, target=self.target) from error

    # Writing ------------------------------------------------------------------------------------

    async def write(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        json: object | None = None,
        repeatable: bool = False,
        readable: Container[int] = (),
    ) -> Response:
        """Send a write. Comes back with a success, or with a 4xx that the connector must read;
        a 401 or 403 only if it is one of `readable`."""
        try:
            answer = await self._peer.request(
                method,
                self.api + path,
                params=params,
                json=json,
                headers=self._headers,
                repeatable=repeatable,
            )
        except HttpUnavailable as error:
            if error.status is None or error.status == 429:
                raise self.unavailable(error) from error
            raise ChangeRejected(
                f"the product answered {error.status} to this change",
                "it is tried again; look at the product's own log if it stays so",
                target=self.target,
                reason="backing_off",
                status=error.status,
                doubtful=True,
            ) from error
        self._refuse_captcha(answer)
        if answer.status < 400:
            if answer.status >= 300 or (answer.is_html and answer.body.strip()):
                raise self._page(answer)
            return answer
        if answer.status in readable:
            return answer
        if answer.status in (401, 403) or answer.status >= 500:
            raise self.doubtful(answer)
        return answer

    # What it means ------------------------------------------------------------------------------

    def said(self, answer: Response) -> str:
        """The product's own words, on one line, without secrets."""
        try:
            words = self._text(answer.json())
        except NotJson:
            words = answer.excerpt
        words = redact(unescape(" ".join(words.split())))
        return words if len(words) <= 256 else words[:255] + "…"

    def rejected(
        self,
        answer: Response,
        what: str,
        hint: str = "",
        *,
        reason: str = "blocked",
        doubtful: bool = False,
    ) -> ChangeRejected:
        """The refusal of one object."""
        words = self.said(answer)
        message = f"{what} ({answer.status})" + (f": {words}" if words else "")
        return ChangeRejected(
            message,
            hint or (_RIGHTS if doubtful and answer.status < 500 else ""),
            target=self.target,
            reason=reason,
            status=answer.status,
            doubtful=doubtful,
        )

    def doubtful(self, answer: Response) -> ChangeRejected:
        """A refusal of which it is not clear whose fault it is (rule 30)."""
        read_only = answer.status == 403 and self._sounds_read_only(self.said(answer))
        reason = "read_only" if read_only else "blocked"
        return self.rejected(answer, "refused", reason=reason, doubtful=True)

    def unavailable(self, error: HttpUnavailable) -> TargetUnavailable:
        """Trouble on the way."""
        return TargetUnavailable(
            error.message, error.hint, target=self.target, retry_after=error.retry_after
        )

    def strange(self, what: str) -> TargetUnavailable:
        """An answer that is JSON and yet not what the product documents."""
        return TargetUnavailable(
            f"an answer that cannot be understood: {what}",
            "check the url, and whether something stands in between",
            target=self.target,
        )

    def refused(self, message: str, hint: str) -> TargetRefused:
        """The product does not let us work."""
        return TargetRefused(message, hint, target=self.target)

    def _refuse_strangers(self, answer: Response) -> None:
        self._refuse_captcha(answer)
        if answer.status == 401:
            raise self.refused(
                f"our token or password is not accepted (401){self._after(answer)}",
                self._sign_in_hint,
            )
        if answer.status == 403:
            raise self.refused(f"we are not let in (403){self._after(answer)}", _RIGHTS)
        if 300 <= answer.status < 400:
            raise self._page(answer)

    def _refuse_captcha(self, answer: Response) -> None:
        """Each further try would deepen the lock."""
        denied = answer.headers.get("X-Authentication-Denied-Reason", "")
        login = answer.headers.get("X-Seraph-LoginReason", "")
        if "CAPTCHA" in denied.upper() or "AUTHENTICATION_DENIED" in login.upper():
            raise self.refused(
                "the product asks our account for a captcha after failed logins",
                "log in once as that account in a browser, or use a token instead of a password",
            )

    def _refused(self, answer: Response) -> TargetRefused | TargetUnavailable:
        if answer.is_html and answer.status == 200:
            return self._page(answer)
        return self.refused(
            f"a question was answered {answer.status}{self._after(answer)}",
            "check the url with its context path, and the product's version",
        )

    def _page(self, answer: Response) -> TargetRefused:
        what = "a redirection" if answer.status >= 300 else "a page for people"
        if answer.is_html and answer.excerpt:
            what += f" ({answer.excerpt})"
        return self.refused(
            f"{what} came instead of an answer ({answer.status})",
            "a login page, single sign-on or a proxy stands in between: exempt /rest from it,"
            " and check the url",
        )

    def _after(self, answer: Response) -> str:
        words = self.said(answer)
        return f": {words}" if words else ""


_RIGHTS = "check the rights of the account that azsyncd signs in as"


# Looking into answers ---------------------------------------------------------------------------


def text_of(value: object) -> str:
    """A value of an answer as text; nothing for null."""
    return value if isinstance(value, str) else "" if value is None else str(value)


def rows_of(value: object) -> Sequence[Mapping[str, Any]]:
    """The objects of a list in an answer; nothing where it is no list."""
    if not isinstance(value, list):
        return ()
    return [each for each in value if isinstance(each, dict)]


def map_of(value: object) -> Mapping[str, Any]:
    """An object in an answer; an empty one where it is none."""
    return value if isinstance(value, dict) else {}


def installation(base_url: str) -> str:
    """A base URL in one spelling: what tells installations apart that show no id of their own."""
    scheme, _, rest = base_url.strip().rstrip("/").partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}://{host.lower()}{slash}{path}"
