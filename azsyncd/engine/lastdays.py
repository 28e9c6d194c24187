"""When credentials end, how that is said, and what to do before and after.

The end is read from a certificate itself, from the file's `expires_on`, or from Graph, where the
permission is there; what Graph said last is remembered, for once a secret has ended nobody can ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import structlog

from azsyncd.clock import iso
from azsyncd.config import Config, Secret
from azsyncd.config import secrets as places
from azsyncd.engine.alerts import DAY, stage_of
from azsyncd.engine.credentials import credential_of, midnight
from azsyncd.entra.credentials import (
    Certificate,
    ClientSecret,
    FederatedToken,
    ManagedIdentity,
    certificate_end,
)
from azsyncd.entra.permissions import credential_end
from azsyncd.errors import AzsyncdError, SourceError
from azsyncd.state.store import get_meta, set_meta

if TYPE_CHECKING:
    from azsyncd.engine.running import Running

log = structlog.get_logger()

ENTRA = "entra"
SAID = "entra_credential_end"
"""What Graph said last of the end of Entra's credential."""

Ends = dict[str, float | None]


async def look(running: Running, *, ask_graph: bool = True) -> Ends:
    """When each credential ends, in seconds since the epoch; None = not known. What somebody else
    renews is not among them."""
    ends: Ends = {}
    credential = await asyncio.to_thread(credential_of, running.config)
    if not isinstance(credential, (ManagedIdentity, FederatedToken)):
        ends[ENTRA] = midnight(running.config.entra.credential.expires_on)
        if isinstance(credential, Certificate):
            with contextlib.suppress(AzsyncdError):
                ends[ENTRA] = await asyncio.to_thread(certificate_end, credential)
        elif ends[ENTRA] is None:
            ends[ENTRA] = await _from_graph(running, credential, ask_graph)
    for name, settings in running.config.targets.items():
        ends[name] = midnight(settings.auth.expires_on)
    running.credential_ends = ends
    for name, end in ends.items():
        if end is not None:
            running.metrics.credential_expiry_timestamp_seconds.labels(name).set(end)
    return ends


async def keep_watch(running: Running) -> None:
    """Look, and log whatever has become more urgent."""
    now = running.clock.now()
    for name, end in (await look(running)).items():
        stage = "" if end is None else stage_of(end - now)
        if stage and running.credential_stages.get(name) != stage:
            ended = stage == "ended"
            (log.error if ended else log.warning)(
                "credential.ended" if ended else "credential.ends",
                credential=name,
                expires_at=iso(end),
                hint=what_to_do(running.config, name),
            )
        running.credential_stages[name] = stage


async def _from_graph(running: Running, credential: ClientSecret, ask: bool) -> float | None:
    said: float | None = await running.store.read(lambda db: get_meta(db, SAID))
    if not ask:
        return said
    hints = set()
    for value in credential.values:
        with contextlib.suppress(AzsyncdError):
            hints.add((await asyncio.to_thread(value))[:3])
    try:
        found = await credential_end(running.graph, running.config.entra.client_id, hints)
    except SourceError:
        return said
    if found is None and running.pull.state.state not in ("reading", "idle"):
        return said  # perhaps because it has ended: then nobody answers us any more
    ends = [end for _, end in found or ()]
    alive = [end for end in ends if end > running.clock.now()]
    end = max(alive or ends, default=None)
    if end != said:
        await running.store.write(lambda db: set_meta(db, SAID, end))
    return end


# In words ---------------------------------------------------------------------------------------


def words(end: float, now: float) -> str:
    """`ends in 13 days (2026-12-08)`, `ends today (…)`, `has ended (…)`."""
    day = (iso(end) or "")[:10]
    if end <= now:
        return f"has ended ({day})"
    days = int((end - now) // DAY)
    when = "in less than a day" if days < 1 else "in 1 day" if days == 1 else f"in {days} days"
    return f"ends {when} ({day})"


def what_to_do(config: Config, name: str) -> str:
    """The three steps."""
    secret = _secret(config, name)
    if secret is None:
        return "make a new one and put it in place"
    if name == ENTRA and config.entra.credential.certificate is not None:
        make = "make a new certificate and upload it to the app registration"
    elif name == ENTRA:
        make = "make a new client secret in the app registration"
    elif config.targets[name].auth.token is not None:
        make = f"make a new token in {name}"
    else:
        make = f"give azsyncd's account in {name} a new password"
    return f"1. {make}; 2. put it into {_place(secret)}; 3. {_take_up(secret)}"


def unread(config: Config, opened_at: float, *, refused: bool = False) -> list[str]:
    """A line for each secret whose file is newer than what this process holds. `refused`: Entra
    does not take the one that we have, and a new one is not tried before somebody says so."""
    found = []
    for name, secret in _named(config):
        try:
            newer = _is_newer(secret, opened_at, read_anew=name == ENTRA and not refused)
        except OSError:
            continue
        if newer:
            found.append(
                f"the secret of {name} in {_place(secret)} is newer than the one that azsyncd"
                f" holds: {_take_up(secret)}"
            )
    return found or _folder(config)


def _is_newer(secret: Secret, opened_at: float, *, read_anew: bool) -> bool:
    """`read_anew`: the file is read whenever it is needed, unless systemd handed over a copy."""
    path = secret.path()
    if path is None:
        return False
    original = places.CREDENTIALS / secret.name
    if secret.kind == "credential" and path != original:
        return original.stat().st_mtime > path.stat().st_mtime
    return not read_anew and path.stat().st_mtime > opened_at


def _folder(config: Config) -> list[str]:
    """Inside the unit only root may look at the originals; when their folder changed is seen."""
    copies = [
        path
        for _, secret in _named(config)
        if secret.kind == "credential"
        and (path := secret.path()) is not None
        and path.parent != places.CREDENTIALS
    ]
    try:
        changed = places.CREDENTIALS.stat().st_mtime
        if not copies or changed <= max(path.stat().st_mtime for path in copies):
            return []
    except OSError:
        return []
    return [
        f"{places.CREDENTIALS} has changed since azsyncd was started with what is in it:"
        " systemctl restart azsyncd takes up a new secret"
    ]


def _secret(config: Config, name: str) -> Secret | None:
    return next((secret for each, secret in _named(config) if each == name), None)


def _named(config: Config) -> Iterator[tuple[str, Secret]]:
    """The secrets with an end: (credential, secret)."""
    credential = config.entra.credential
    for secret in credential.client_secret or ():
        yield ENTRA, secret
    if credential.certificate is not None:
        yield ENTRA, credential.certificate.source
    for name, target in config.targets.items():
        for given in (target.auth.token, target.auth.password):
            if given is not None:
                yield name, given


def _place(secret: Secret) -> str:
    if secret.kind == "env":
        return f"the environment variable {secret.name}"
    return secret.name if secret.kind == "file" else str(places.CREDENTIALS / secret.name)


def _take_up(secret: Secret) -> str:
    """How a running azsyncd comes to hold it."""
    handed_over = secret.kind == "credential" and "CREDENTIALS_DIRECTORY" in os.environ
    return "systemctl restart azsyncd" if handed_over or secret.kind == "env" else "azsyncd reload"
