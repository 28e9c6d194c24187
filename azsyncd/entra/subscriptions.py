"""Graph's webhook subscriptions: list, create, renew, delete.

https://learn.microsoft.com/en-us/graph/api/resources/subscription
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from azsyncd.clock import iso
from azsyncd.entra import wire
from azsyncd.entra.client import Graph, GraphRefused
from azsyncd.errors import CredentialRefused, SourceError
from azsyncd.model.subscriptions import Subscription

_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_MOST_PAGES = 100


class SubscriptionExists(SourceError):
    """Graph has one for the same resource and kind of change; `existing_id` where it says which."""

    def __init__(self, message: str, existing_id: str | None) -> None:
        super().__init__(message, "use one app registration for each installation of azsyncd")
        self.existing_id = existing_id


class EndpointRefused(SourceError):
    """Graph could not validate our notification endpoint: it is not reachable from outside."""


class Subscriptions:
    """The subscriptions of this application in this tenant."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    async def list(self) -> Sequence[Subscription]:
        """All that Graph has for the application, ours and others'."""
        found: list[Subscription] = []
        link: str | None = "subscriptions"
        for _ in range(_MOST_PAGES):
            if link is None:
                return found
            items, link = wire.items_of(await self._graph.get(link))
            found += [wire.subscription_from_json(item) for item in items]
        raise SourceError("Graph's list of subscriptions has no end")

    async def create(
        self, resource: str, expires_at: float, client_state: str, notification_url: str
    ) -> Subscription:
        """Subscribe to a feed. Graph calls the endpoint while this waits: it must listen already.

        Raises SubscriptionExists, EndpointRefused, or CredentialRefused with the permission.
        """
        body = wire.subscription_to_json(resource, expires_at, client_state, notification_url)
        try:
            made = await self._graph.post("subscriptions", body)
        except CredentialRefused as error:
            raise _without_permission(resource, error) from error
        except GraphRefused as error:
            raise _why(resource, notification_url, error) from error
        return wire.subscription_from_json(made)

    async def renew(self, subscription_id: str, expires_at: float) -> Subscription:
        """Give it a new end, which also refreshes the token in it. GraphRefused (404) = gone."""
        answer = await self._graph.patch(
            f"subscriptions/{subscription_id}", {"expirationDateTime": iso(expires_at)}
        )
        return wire.subscription_from_json(answer)

    async def delete(self, subscription_id: str) -> None:
        """Delete it; one that is gone already is deleted."""
        try:
            await self._graph.delete(f"subscriptions/{subscription_id}")
        except GraphRefused as error:
            if error.status != 404:
                raise


def _why(resource: str, notification_url: str, error: GraphRefused) -> SourceError:
    if error.status == 409:
        found = _GUID.search(error.message.partition("(request-id")[0])
        return SubscriptionExists(error.message, found[0].lower() if found else None)
    if error.status == 400 and {c.lower() for c in error.codes} & _VALIDATION:
        return EndpointRefused(
            f"Graph cannot subscribe us to {resource}: {error.message}",
            f"{notification_url} must be reachable from the internet over https with a public "
            "certificate, and lead to notifications.listen without a log-in",
        )
    if {c.lower() for c in error.codes} & {"extensionerror"}:
        return _without_permission(resource, error)
    if error.status == 403:
        return CredentialRefused(
            f"Graph allows no further subscription to {resource}: {error.message}",
            "delete subscriptions that nobody needs: at most 100 per app and tenant",
        )
    return error


_VALIDATION = frozenset({"validationerror", "invalidrequest"})


def _without_permission(resource: str, error: SourceError) -> CredentialRefused:
    permission = "Group.Read.All" if resource == "groups" else "User.Read.All"
    return CredentialRefused(
        f"Graph does not let us subscribe to {resource}: {error.message}",
        f"grant the application permission {permission} and give admin consent, or set "
        "notifications.mode: none",
    )
