"""The self-test of the Entra side for `azsyncd check`: one cheap question per permission.

What counts is what Graph answers. The token's `roles` are read only to say what is granted in
excess: by contract tokens are opaque to us.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from azsyncd.entra import wire
from azsyncd.entra.client import Graph, GraphRefused
from azsyncd.entra.delta import Delta
from azsyncd.errors import AzsyncdError, CredentialRefused, SourceError
from azsyncd.model.identities import FEEDS

Verdict = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the self-test."""

    verdict: Verdict
    message: str
    hint: str = ""


class Roles(Protocol):
    """What the self-test asks `azsyncd.entra.auth.Tokens`."""

    async def token(self, claims: str | None = None) -> str: ...

    async def roles(self) -> frozenset[str] | None: ...


async def examine(graph: Graph, tokens: Roles, delta: Delta, webhook: bool) -> list[Finding]:
    """Ask everything that azsyncd will need; what fails does not keep the rest from being asked."""
    try:
        await tokens.token()
    except SourceError as error:
        return [Finding("failed", error.message, error.hint)]
    found = [Finding("ok", "Entra gives us a token")]
    found += [await _feed(delta, feed) for feed in FEEDS]
    roles = await tokens.roles()
    if webhook:
        found.append(await _subscriptions(graph, roles))
    found += _excess(roles, webhook)
    return found


async def credential_end(
    graph: Graph, client_id: str, hints: Collection[str] = ()
) -> list[tuple[str, float]] | None:
    """The ends of the application's secrets and certificates, by name; of those alone that begin
    like one of `hints`, where Graph says how they begin.

    None where we may not know: it takes Application.Read.All.
    """
    select = "$select=passwordCredentials,keyCredentials"
    try:
        body = await graph.get(f"applications(appId='{client_id}')?{select}")
    except (CredentialRefused, GraphRefused):
        return None
    return wire.credential_ends(body, hints)


async def _feed(delta: Delta, feed: str) -> Finding:
    try:
        await delta.probe(feed)
    except GraphRefused as error:
        return _selection(feed, error)
    except AzsyncdError as error:
        return Finding("failed", error.message, error.hint)
    return Finding("ok", f"{feed} can be read by delta query")


def _selection(feed: str, error: GraphRefused) -> Finding:
    """A 400 that names a property: Graph does not track it."""
    named = re.search(r"properties: ([\w, ]+)", error.message)
    if error.status != 400 or named is None:
        return Finding("failed", error.message, error.hint)
    names = re.findall(r"\w+", named[1])
    hints = [wire.INSTEAD_OF[name] for name in names if name in wire.INSTEAD_OF]
    return Finding(
        "failed",
        f"Graph does not track these properties of {feed}: {', '.join(names)}",
        "; ".join(hints) or "leave them out of scope and mapping",
    )


async def _subscriptions(graph: Graph, roles: frozenset[str] | None) -> Finding:
    try:
        await graph.get("subscriptions")
    except AzsyncdError as error:
        return Finding("failed", error.message, error.hint)
    if roles is not None and not roles & wire.ROLES_THAT_SERVE["groups subscription"]:
        return Finding(
            "warning",
            "subscribing to groups usually needs Group.Read.All, which the token does not carry",
            "grant Group.Read.All and give admin consent, or set notifications.mode: none",
        )
    return Finding("ok", "subscriptions can be listed")


def _excess(roles: frozenset[str] | None, webhook: bool) -> Sequence[Finding]:
    if roles is None:
        return [Finding("ok", "what is granted in excess cannot be seen: the token is opaque")]
    more = sorted(roles - wire.ROLES_WE_USE)
    if more:
        return [
            Finding(
                "warning",
                f"granted and not needed: {', '.join(more)}",
                "remove these application permissions from the app registration",
            )
        ]
    if not webhook and "Group.Read.All" in roles and "GroupMember.Read.All" in roles:
        return [
            Finding(
                "warning",
                "granted and not needed without notifications: Group.Read.All",
                "GroupMember.Read.All is enough for polling",
            )
        ]
    return [Finding("ok", "nothing is granted in excess")]
