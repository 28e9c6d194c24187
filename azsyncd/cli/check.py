"""`azsyncd check`: is everything as it must be before the first sync?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from azsyncd.cli.connect import ask
from azsyncd.cli.options import Config, Json, config_of
from azsyncd.cli.output import FAILED, OK, coloured, count, say, say_json, table
from azsyncd.cli.progress import shown_progress
from azsyncd.operations import CheckLine

if TYPE_CHECKING:
    from azsyncd.config import Config as Settings
    from azsyncd.config import Secret

_SIGNS = {"ok": "+", "warning": "!", "failed": "-"}
_PORTS = {"https": 443, "http": 80}


def check(
    ctx: typer.Context,
    offline: Annotated[
        bool, typer.Option("--offline", help="The file alone; no secret is opened.")
    ] = False,
    connections: Annotated[
        bool, typer.Option("--connections", help="Hosts and ports, for the firewall request.")
    ] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Check the file, Entra, every target and the templates.

    A line each: ok, a warning or failed, and what to do. Nothing is written.

    Exit code: 0, 1 something failed, 78 the file is wrong.
    """
    from azsyncd.config import load

    file = config_of(ctx, config)
    loaded = load(file)
    if connections:
        rows = list(_connections(loaded.config))
        if json:
            say_json([dict(zip(_COLUMNS, row, strict=True)) for row in rows])
            return
        for line in table([[column.upper() for column in _COLUMNS], *rows]):
            say(line)
        return
    lines = [CheckLine(subject="config", verdict="ok", message=f"{file} is valid", hint="")]
    if offline:
        lines += [
            CheckLine(subject="config", verdict="warning", message=str(each), hint="")
            for each in loaded.warnings
        ]
    else:
        with shown_progress() as tell:
            lines += ask(file, "check", tell=tell)
    if json:
        say_json(lines)
    else:
        for each in check_lines(lines):
            say(each)
    raise typer.Exit(FAILED if any(line["verdict"] == "failed" for line in lines) else OK)


def check_lines(lines: list[CheckLine]) -> Iterator[str]:
    """A line each: the verdict, the subject, what was found and what to do; then the sum."""
    subject = max((len(line["subject"]) for line in lines), default=0)
    for line in lines:
        verdict = coloured(_SIGNS.get(line["verdict"], ""), f"{line['verdict']:<8}")
        hint = f" — {line['hint']}" if line["hint"] else ""
        yield f"{verdict} {line['subject']:<{subject}}  {line['message']}{hint}"
    sums = Counter(line["verdict"] for line in lines)
    yield f"{sums['ok']} ok, {count(sums['warning'], 'warning')}, {sums['failed']} failed"


_COLUMNS = ("direction", "host", "port", "for")


def _connections(settings: Settings) -> Iterator[tuple[str, str, str, str]]:
    """What must be let through, as the file says it."""
    entra = settings.entra
    yield _outbound(entra.login_url, "tokens from Entra ID", entra.proxy)
    yield _outbound(entra.graph_url, "Microsoft Graph", entra.proxy)
    for name, target in settings.targets.items():
        yield _outbound(target.url, f"target {name}", target.proxy)
    for alert in settings.alerts:
        if alert.email is not None:
            host, _, port = alert.email.smtp.rpartition(":")
            yield "out", host, port, "alerts by mail"
        if alert.webhook is not None:
            yield _secretly(alert.webhook.url, "alerts by webhook", alert.webhook.proxy)
    beat = settings.heartbeat
    if beat.url is not None:
        yield _secretly(beat.url, "heartbeat", beat.proxy)
    if settings.notifications.mode == "webhook":
        listen = str(settings.notifications.listen)
        host, _, port = listen.rpartition(":")
        yield (
            "in",
            host or listen,
            port if host else "",
            (f"Graph's notifications, for {settings.notifications.public_url}"),
        )


def _outbound(url: str, purpose: str, proxy: str | None) -> tuple[str, str, str, str]:
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme, 0)
    return "out", parts.hostname or url, str(port), purpose + _through(proxy)


def _secretly(url: Secret, purpose: str, proxy: str | None) -> tuple[str, str, str, str]:
    """An address that is a secret: only whoever may read it knows the host."""
    return "out", f"the host in {url}", "443", purpose + _through(proxy)


def _through(proxy: str | None) -> str:
    return f", through {_without_login(proxy)}" if proxy else ""


def _without_login(proxy: str) -> str:
    return f"{proxy.partition('://')[0]}://{proxy.rpartition('@')[2].rpartition('/')[2]}"
