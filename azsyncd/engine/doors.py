"""The ways out of a message: a webhook, and a mail server.

A door's address is a secret or belongs to a person: it appears in no name, log, error or database
(I10). `identity` is what messages that wait are addressed to: it stays the same while the file says
the same, whatever the order of its entries.
"""

from __future__ import annotations

import asyncio
import hashlib
import smtplib
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from email.message import EmailMessage
from typing import Protocol
from urllib.parse import urlsplit

from azsyncd.clock import Clock
from azsyncd.config import Config
from azsyncd.config.sections import EmailAlert, WebhookAlert
from azsyncd.engine.notices import Notice, as_json, as_mail, as_slack
from azsyncd.errors import AzsyncdError, ConfigError, Problem
from azsyncd.http import Limits, Peer

TIMEOUT = 10.0
LIMITS = Limits(concurrency=1, requests_per_second=2.0, timeout=TIMEOUT)

Answered = Callable[[str, str], None]


class NotDelivered(AzsyncdError):
    """A message did not go through. `refused`: this very message is not taken."""

    def __init__(self, message: str, hint: str = "", *, refused: bool = False) -> None:
        super().__init__(message, hint)
        self.refused = refused


class Door(Protocol):
    """One way out."""

    @property
    def name(self) -> str:
        """For people: which of them it is."""
        ...

    @property
    def identity(self) -> str: ...

    @property
    def takes_digest(self) -> bool: ...

    async def send(self, notice: Notice, number: str) -> None:
        """Raises NotDelivered."""
        ...

    async def close(self) -> None: ...


class Webhook:
    """An HTTP address that takes JSON."""

    takes_digest = False

    def __init__(
        self, alert: WebhookAlert, url: str, clock: Clock, ca_file: str | None, answered: Answered
    ) -> None:
        self.name = f"webhook {alert.url}"
        self.identity = self.name
        self._url = url
        self._slack = (urlsplit(url).hostname or "").endswith(".slack.com")
        self._peer = peer_for("alerts", url, clock, ca_file, alert.proxy, answered)

    async def send(self, notice: Notice, number: str) -> None:
        body = as_slack(notice) if self._slack else as_json(notice)
        await call(self._peer, "POST", self._url, body)

    async def close(self) -> None:
        await self._peer.close()


class Mail:
    """A mail server. One connection a message: they are rare."""

    takes_digest = True

    def __init__(self, alert: EmailAlert, password: str | None, ca_file: str | None) -> None:
        self.name = f"mail through {alert.smtp}"
        said = "\n".join((alert.smtp, alert.sender, *sorted(alert.to)))
        self.identity = f"{self.name} {hashlib.sha256(said.encode()).hexdigest()[:8]}"
        self._alert = alert
        self._password = password
        self._ca_file = ca_file

    async def send(self, notice: Notice, number: str) -> None:
        try:
            mail = as_mail(notice, self._alert.sender, self._alert.to, number)
            await asyncio.to_thread(self._send, mail)
        except (smtplib.SMTPException, OSError, ValueError) as error:
            what, hint = _mail_trouble(error)
            refused = isinstance(error, smtplib.SMTPDataError) and error.smtp_code >= 500
            told = f"the mail server {self._alert.smtp} {what}"
            raise NotDelivered(told, hint, refused=refused) from None

    def _send(self, mail: EmailMessage) -> None:
        alert = self._alert
        host, _, port = alert.smtp.rpartition(":")
        host = host.strip("[]")
        me = socket.gethostname()
        if alert.tls == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                host, int(port), me, timeout=TIMEOUT, context=self._tls()
            )
        else:
            server = smtplib.SMTP(host, int(port), me, timeout=TIMEOUT)
        with server:
            if alert.tls == "starttls":
                server.starttls(context=self._tls())
            if alert.username is not None:
                server.login(alert.username, self._password or "")
            server.send_message(mail)

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._ca_file:
            context.load_verify_locations(cafile=self._ca_file)
        return context

    async def close(self) -> None:
        pass


def doors_of(
    config: Config, opened: Mapping[str, str], clock: Clock, answered: Answered
) -> list[Door]:
    """The doors of a file, in its order. Raises ConfigError for an address that is none."""
    found: list[Door] = []
    for number, alert in enumerate(config.alerts):
        if alert.webhook is not None:
            url = web_address(opened, f"alerts[{number}].webhook.url")
            found.append(Webhook(alert.webhook, url, clock, config.entra.ca_file, answered))
        if alert.email is not None:
            password = opened.get(f"alerts[{number}].email.password")
            found.append(Mail(alert.email, password, config.entra.ca_file))
    return list({door.identity: door for door in found}.values())


def web_address(opened: Mapping[str, str], key: str) -> str:
    """A secret that must be an address; it is never repeated in what is complained about."""
    url = opened[key].strip()
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError([Problem(key, "the secret is no http(s) address")], "put the URL there")
    return url


def peer_for(
    name: str,
    url: str,
    clock: Clock,
    ca_file: str | None,
    proxy: str | None,
    answered: Answered,
) -> Peer:
    """A party that is told something now and then; only its host is ever named."""
    return Peer(
        name,
        url,
        clock=clock,
        limits=LIMITS,
        ca_file=ca_file,
        proxy=proxy,
        max_attempts=2,
        max_total=3 * TIMEOUT,
        on_response=answered,
    )


async def call(peer: Peer, method: str, url: str, body: object | None = None) -> None:
    """One call that must be answered with 2xx; raises NotDelivered. The answer's body is not
    shown: it may repeat the address."""
    try:
        answer = await peer.request(method, url, json=body)
    except AzsyncdError as error:
        status = getattr(error, "status", None)
        what = error.message if status is None else f"{peer.name} answered {status}"
        raise NotDelivered(what, error.hint) from None
    if not 200 <= answer.status < 300:
        hint = "make a new address and put it in place" if answer.status in _GONE else ""
        told = f"{peer.name} answered {answer.status}"
        raise NotDelivered(told, hint, refused=answer.status in _REFUSED)


_GONE = (401, 403, 404, 410)
_REFUSED = (400, 413, 415, 422)


def _mail_trouble(error: Exception) -> tuple[str, str]:
    """In words, and without an address of anybody."""
    match error:
        case smtplib.SMTPAuthenticationError():
            return f"refuses the log-in ({error.smtp_code})", "check username and password"
        case smtplib.SMTPRecipientsRefused():
            codes = sorted({code for code, _ in error.recipients.values()})
            return f"refuses every recipient ({', '.join(map(str, codes))})", "check `to`"
        case smtplib.SMTPSenderRefused():
            return f"refuses the sender ({error.smtp_code})", "check `from`"
        case smtplib.SMTPNotSupportedError():
            return "offers no STARTTLS or no log-in", "check `tls` and `username`"
        case smtplib.SMTPResponseException():
            return f"answered {error.smtp_code}", ""
        case ssl.SSLError():
            reason = getattr(error, "verify_message", "") or "TLS failed"
            return f"cannot be trusted: {reason}", "check `tls`, the port and entra.ca_file"
        case TimeoutError():
            return "did not answer in time", "check host, port and firewall"
        case socket.gaierror():
            return "is not known by that name", "check `smtp` and DNS"
        case OSError() if error.strerror:
            return f"cannot be reached: {error.strerror}", "check host, port and firewall"
        case ValueError():
            return "was not asked: `from` or `to` is no address", "mend it in the file"
        case _:
            return f"broke off ({type(error).__name__})", ""


def recipients(config: Config) -> Iterator[tuple[str, str]]:
    """(subject, who would be told), for `check`."""
    for alert in config.alerts:
        if alert.webhook is not None:
            yield "webhook", f"the address in {alert.webhook.url}"
        if alert.email is not None:
            yield "mail", f"{_joined(alert.email.to)} through {alert.email.smtp}"


def _joined(names: Sequence[str]) -> str:
    return ", ".join(names)
