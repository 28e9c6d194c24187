"""The other sections of the file."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import croniter
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from azsyncd.config.fields import (
    AbsolutePath,
    Address,
    Beat,
    History,
    Lifetime,
    Listener,
    Poll,
    Proxy,
    Url,
)
from azsyncd.config.secrets import SCHEMA_WITH_PATH, Secret, secret_or_path
from azsyncd.plan.policy import Settings


def _cron(value: str) -> str:
    text = value.strip()
    fields = len(text.split())
    if text and not ((fields == 5 or text.startswith("@")) and croniter.is_valid(text)):
        raise ValueError(
            f"{value!r} is no cron expression; it has five fields (minute hour day month weekday), "
            'e.g. "0 3 * * *"; "" = never by itself'
        )
    return text


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{value!r} is no timezone; write e.g. UTC or Europe/Berlin") from None
    return value


class Schedule(Settings):
    """When azsyncd looks, notifications apart."""

    full_sync: Annotated[str, AfterValidator(_cron)] = "0 3 * * *"
    """When everything is read and compared anew, as a cron expression; "" = never by itself."""
    timezone: Annotated[str, AfterValidator(_timezone)] = "UTC"
    """The timezone of `full_sync`. A slot runs once, also when clocks change."""
    delta_poll: Poll = 30.0
    """The longest time between two looks for changes, with or without notifications (1s … 1d).
    Graph loses notifications in silence: polling is what makes azsyncd right."""


SecretFile = Annotated[Secret, BeforeValidator(secret_or_path), WithJsonSchema(SCHEMA_WITH_PATH)]


class Tls(Settings):
    """TLS of the listener, when no reverse proxy stands in front."""

    certificate: SecretFile
    """The certificate with its chain, PEM."""
    private_key: SecretFile
    """The private key, PEM."""

    @model_validator(mode="after")
    def _are_files(self) -> Tls:
        if "env" in (self.certificate.kind, self.private_key.kind):
            raise ValueError("certificate and private_key must be files")
        return self


class Notifications(Settings):
    """How azsyncd hears of changes before the next poll."""

    mode: Literal["none", "webhook", "event_hubs"] = "none"
    """none: polling alone, no inbound connection. webhook: Graph calls us, changes arrive within
    seconds. event_hubs is coming."""
    public_url: Url | None = None
    """webhook: the address at which Microsoft reaches us. Its path is the only one served."""
    listen: Listener = "127.0.0.1:9475"
    """webhook: where we listen: HOST:PORT, unix:/path, or systemd (socket activation)."""
    tls: Tls | None = None
    """webhook: TLS of our own. Default: none, a reverse proxy has it."""
    lifetime: Lifetime = 259200.0
    """webhook: how long a subscription lives (45m … 28d); it is renewed at half of that."""

    @property
    def path(self) -> str:
        """The path that Graph calls."""
        return urlsplit(self.public_url or "").path or "/"


class State(Settings):
    """What azsyncd remembers."""

    path: AbsolutePath = "/var/lib/azsyncd/azsyncd.db"
    """The SQLite database. Its directory must belong to azsyncd alone."""
    history: History = 34560000.0
    """How long the journal of writes is kept."""


class Admin(Settings):
    """Where azsyncd answers its operators."""

    socket: AbsolutePath = "/run/azsyncd/admin.sock"
    """The unix socket through which the command line talks to a running daemon."""
    listen: Address | None = None
    """Dashboard, API and metrics over TCP as well; then `token` is required. Default: off."""
    token: Secret | None = None
    """The token that `listen` asks for."""
    metrics: Address | None = None
    """Metrics alone, without a token, e.g. 127.0.0.1:9477. Default: off."""

    @model_validator(mode="after")
    def _listens_with_a_token(self) -> Admin:
        if self.listen is not None and self.token is None:
            raise ValueError("listen needs a token: add `token: {credential: admin-token}`")
        return self


class WebhookAlert(Settings):
    """An HTTP address that is sent JSON; Teams workflows and Slack take it."""

    url: Secret
    """The address. It is a secret: whoever has it can write there."""
    proxy: Proxy | None = None
    """The way out. Default: HTTPS_PROXY, HTTP_PROXY and NO_PROXY of the service's environment."""


class EmailAlert(Settings):
    """A mail."""

    model_config = ConfigDict(populate_by_name=True)

    smtp: Address
    """The mail server, host:port."""
    tls: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is protected."""
    username: str | None = None
    """The account at the mail server. Default: no log-in."""
    password: Secret | None = None
    """The password that belongs to `username`."""
    sender: Annotated[str, Field(alias="from", min_length=3)]
    """The sender's address."""
    to: Annotated[tuple[str, ...], Field(min_length=1)]
    """Whom to write to."""


class Alert(Settings):
    """One way to tell somebody: webhook or email."""

    webhook: WebhookAlert | None = None
    """An HTTP address that is sent JSON."""
    email: EmailAlert | None = None
    """A mail."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Alert:
        if (self.webhook is None) == (self.email is None):
            raise ValueError("needs exactly one of webhook, email")
        return self


class Heartbeat(Settings):
    """An address that is called while all is well, for a dead man's switch."""

    url: Secret | None = None
    """The address. Default: none is called."""
    every: Beat = 300.0
    """How often."""
    proxy: Proxy | None = None
    """The way out, as for a webhook."""


class Audit(Settings):
    """A file for a SIEM."""

    file: AbsolutePath | None = None
    """One JSON line for each write goes here. Default: none."""


class Logging(Settings):
    """What is logged, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level. Names and addresses of people appear at debug alone."""
    format: Literal["auto", "json", "console"] = "auto"
    """auto: console on a terminal, else json."""
