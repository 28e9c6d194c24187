"""Subscriptions to users and groups: made with a handshake, renewed, forgotten when they end.

https://learn.microsoft.com/en-us/graph/api/resources/subscription
"""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from azsyncd.clock import iso
from azsyncd.sandbox.apps import Apps
from azsyncd.sandbox.graph.rights import FOR_SUBSCRIBING
from azsyncd.sandbox.hooks import Hooks, Subscription
from azsyncd.sandbox.nodes import Event
from azsyncd.sandbox.odata import Answer, Ask, Refused
from azsyncd.sandbox.tenant import Tenant

LONGEST_SECONDS = 41_760 * 60.0
SHORTEST_SECONDS = 45 * 60.0
MOST_FOR_ONE_APP = 100
_CHANGES = frozenset({"created", "updated", "deleted"})
_RESOURCE = re.compile(
    r"(users|groups)(?:(?:/([0-9a-f-]{36})|\('([0-9a-f-]{36})'\))(?:/(?:members|owners))?)?",
    re.IGNORECASE,
)


class Subscriptions:
    """All subscriptions in a tenant; each application sees its own.

    `allows_http`: Graph wants https; a receiver on this machine may do without.
    `refuses_duplicates`: documented; people report that there were none refused.
    """

    def __init__(self, tenant: Tenant, apps: Apps, hooks: Hooks, *, seed: int = 0) -> None:
        self.all: dict[str, Subscription] = {}
        self.allows_http = False
        self.refuses_duplicates = True
        self._tenant = tenant
        self._apps = apps
        self._hooks = hooks
        self._random = random.Random(f"subscriptions {seed}")
        tenant.listeners.append(self._heard)

    # Switches -----------------------------------------------------------------------------------

    def vanish(self, subscription_id: str = "") -> None:
        """It (or all) is gone, and nobody is told: GET answers 404."""
        if subscription_id:
            del self.all[subscription_id]
        else:
            self.all.clear()

    def send(self, event: str, subscription_id: str = "") -> int:
        """A lifecycle event for it (or all); returns how many have an address for these."""
        found = [s for s in self._living() if subscription_id in ("", s.id)]
        sent = sum(self._hooks.lifecycle(subscription, event) for subscription in found)
        if event == "subscriptionRemoved":
            for subscription in found:
                del self.all[subscription.id]
        return sent

    # Calls --------------------------------------------------------------------------------------

    async def create(self, ask: Ask) -> Answer:
        """`POST /subscriptions`: both addresses are asked before it exists."""
        body = _object(ask.body)
        made = self._checked(ask, body)
        self._refuse_duplicate(made)
        if sum(s.application_id == ask.client_id for s in self._living()) >= MOST_FOR_ONE_APP:
            raise Refused(
                403,
                "Forbidden",
                f"The application has reached its limit of {MOST_FOR_ONE_APP} subscriptions in "
                "this tenant.",
            )
        await self._shake_hands(made.notification_url)
        if made.lifecycle_url:
            await self._shake_hands(made.lifecycle_url)
        self._refuse_duplicate(made)  # somebody may have been quicker
        self.all[made.id] = made
        return Answer(201, _entity(ask, made))

    def list(self, ask: Ask) -> Answer:
        """`GET /subscriptions`: the application's own."""
        value = [_shown(s) for s in self._living() if s.application_id == ask.client_id]
        context = f"{ask.base}/v1.0/$metadata#subscriptions"
        return Answer(200, {"@odata.context": context, "value": value})

    def get(self, ask: Ask, subscription_id: str) -> Answer:
        """`GET /subscriptions/{id}`."""
        return Answer(200, _entity(ask, self._own(ask, subscription_id)))

    async def update(self, ask: Ask, subscription_id: str) -> Answer:
        """`PATCH /subscriptions/{id}`: another end, another address; also reauthorizes."""
        found = self._own(ask, subscription_id)
        self._may_subscribe(ask, found.feed)
        body = _object(ask.body)
        if not body.keys() <= {"expirationDateTime", "notificationUrl", "@odata.type"} or not body:
            raise _invalid("Only expirationDateTime and notificationUrl can be updated.")
        ends = found.expires_at
        if "expirationDateTime" in body:
            ends = self._end(body["expirationDateTime"])
        if "notificationUrl" in body:
            url = self._url(body, "notificationUrl")
            await self._shake_hands(url)
            found.notification_url = url
        found.expires_at = ends
        return Answer(200, _entity(ask, found))

    def delete(self, ask: Ask, subscription_id: str) -> Answer:
        """`DELETE /subscriptions/{id}`."""
        del self.all[self._own(ask, subscription_id).id]
        return Answer(204)

    def reauthorize(self, ask: Ask, subscription_id: str) -> Answer:
        """`POST /subscriptions/{id}/reauthorize`: a fresh token, and the same end."""
        self._may_subscribe(ask, self._own(ask, subscription_id).feed)
        return Answer(204)

    # ---

    def _heard(self, event: Event) -> None:
        if not self.all:
            return
        for subscription in list(self._living()):
            if subscription.wants(event):
                self._hooks.notify(subscription, event)

    def _living(self) -> Iterator[Subscription]:
        """Those that have not ended; the others are forgotten."""
        now = self._tenant.clock.now()
        for subscription in list(self.all.values()):
            if subscription.expires_at > now:
                yield subscription
            else:
                del self.all[subscription.id]

    def _own(self, ask: Ask, subscription_id: str) -> Subscription:
        wanted = subscription_id.lower()
        for subscription in self._living():
            if subscription.id == wanted and subscription.application_id == ask.client_id:
                return subscription
        raise Refused(404, "ResourceNotFound", "The object was not found.")

    def _checked(self, ask: Ask, body: dict[str, Any]) -> Subscription:
        for name in ("changeType", "notificationUrl", "resource", "expirationDateTime"):
            if not isinstance(body.get(name), str) or not body[name]:
                raise _invalid(f"{name} is required.")
        changes = frozenset(part.strip().lower() for part in body["changeType"].split(","))
        if not changes <= _CHANGES:
            raise _invalid(f"Invalid '{body['changeType']}' value for changeType.")
        match = _RESOURCE.fullmatch(body["resource"].strip("/"))
        if match is None:
            raise Refused(
                400,
                "ExtensionError",
                f"Operation: Create; Exception: [Resource '{body['resource']}' is not supported.]",
            )
        state = body.get("clientState")
        if state is not None and (not isinstance(state, str) or len(state) > 128):
            raise _invalid("clientState must be a string of at most 128 characters.")
        if body.get("includeResourceData"):
            raise _invalid("includeResourceData is not supported for this resource.")
        feed = match[1].lower()
        self._may_subscribe(ask, feed)
        app = self._apps.find(ask.client_id)
        return Subscription(
            id=str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
            resource=body["resource"],
            feed=feed,
            object_id=(match[2] or match[3] or "").lower(),
            change_types=changes,
            change_type=body["changeType"],
            notification_url=self._url(body, "notificationUrl"),
            lifecycle_url=self._url(body, "lifecycleNotificationUrl")
            if body.get("lifecycleNotificationUrl")
            else None,
            expires_at=self._end(body["expirationDateTime"]),
            client_state=state,
            application_id=ask.client_id,
            creator_id=app.service_principal_id if app else "",
            tls_version=str(body.get("latestSupportedTlsVersion") or "v1_2"),
        )

    def _may_subscribe(self, ask: Ask, feed: str) -> None:
        if not ask.may(FOR_SUBSCRIBING[feed]):
            raise Refused(
                403,
                "ExtensionError",
                "Operation: Create; Exception: [Status Code: Forbidden; Reason: Access denied]",
            )

    def _refuse_duplicate(self, made: Subscription) -> None:
        if not self.refuses_duplicates:
            return
        for known in self._living():
            if (
                known.application_id == made.application_id
                and (known.feed, known.object_id) == (made.feed, made.object_id)
                and known.change_types == made.change_types
            ):
                raise Refused(
                    409,
                    "InvalidRequest",
                    f"Subscription Id <{known.id}> already exists for the requested combination",
                )

    def _url(self, body: dict[str, Any], name: str) -> str:
        url = body[name]
        schemes = ("https://", "http://") if self.allows_http else ("https://",)
        if not isinstance(url, str) or not url.lower().startswith(schemes):
            raise _invalid(f"The {name} must be an HTTPS URL.")
        return url

    def _end(self, text: object) -> float:
        try:
            moment = datetime.fromisoformat(str(text))
            ends = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            raise _invalid("expirationDateTime is not a date and time.") from None
        now = self._tenant.clock.now()
        if ends <= now:
            raise _invalid("Subscription expiration must be in the future.", "ValidationError")
        if ends > now + LONGEST_SECONDS + 60:  # a minute for the clocks
            raise _invalid(
                "Subscription expiration can only be 41760 minutes in the future.",
                "ValidationError",
            )
        return max(ends, now + SHORTEST_SECONDS)

    async def _shake_hands(self, url: str) -> None:
        complaint = await self._hooks.shake_hands(url)
        if complaint:
            code = "InvalidRequest" if complaint.endswith("timed out.") else "ValidationError"
            raise Refused(400, code, complaint)


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise _invalid("The request body is not an object.")
    return body


def _invalid(message: str, code: str = "InvalidRequest") -> Refused:
    return Refused(400, code, message)


def _entity(ask: Ask, subscription: Subscription) -> dict[str, Any]:
    context = f"{ask.base}/v1.0/$metadata#subscriptions/$entity"
    return {"@odata.context": context, **_shown(subscription)}


def _shown(subscription: Subscription) -> dict[str, Any]:
    return {
        "id": subscription.id,
        "resource": subscription.resource,
        "applicationId": subscription.application_id,
        "changeType": subscription.change_type,
        "clientState": None,  # never shown again, as in the documented list
        "notificationUrl": subscription.notification_url,
        "notificationQueryOptions": None,
        "lifecycleNotificationUrl": subscription.lifecycle_url,
        "expirationDateTime": iso(subscription.expires_at),
        "creatorId": subscription.creator_id,
        "includeResourceData": None,
        "latestSupportedTlsVersion": subscription.tls_version,
        "encryptionCertificate": None,
        "encryptionCertificateId": None,
        "notificationUrlAppId": None,
    }
