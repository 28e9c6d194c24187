"""Graph's side of notifications: the handshake, and deliveries that are batched, repeated and lost.

Changes are collected for a moment, and then go out in one POST for each address, whoever's
subscriptions they belong to. What is not answered 2xx in time is sent again, for up to four hours.
https://learn.microsoft.com/en-us/graph/change-notifications-delivery-webhooks
"""

from __future__ import annotations

import asyncio
import heapq
import html
import json
import random
import ssl
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

import aiohttp

from azsyncd.clock import Clock, SystemClock, iso, utc
from azsyncd.sandbox.nodes import Event

DELAY_SECONDS = 0.2
"""From a change to its notification. Microsoft promises nothing; minutes are normal."""

RETRY_FOR_SECONDS = 4 * 3600.0
HANDSHAKE_SECONDS = 10.0
FIRST_TIMEOUT, RETRY_TIMEOUT = 3.0, 10.0
MOST_IN_ONE_POST = 100
_LONGEST_PAUSE = 600.0

Post = Callable[[str, bytes, Mapping[str, str], float], Awaitable[tuple[int, str, str]]]
"""`await post(url, body, headers, timeout)` → status, content type, text; raises OSError or
TimeoutError. The default speaks HTTP; a simulation brings its own."""


@dataclass(slots=True, eq=False)
class Subscription:
    """What somebody has subscribed to. `feed` and `object_id` are the resource, taken apart."""

    id: str
    resource: str
    feed: str
    object_id: str
    change_types: frozenset[str]
    change_type: str
    notification_url: str
    lifecycle_url: str | None
    expires_at: float
    client_state: str | None
    application_id: str
    creator_id: str
    tls_version: str = "v1_2"

    def wants(self, event: Event) -> bool:
        """Whether this change is one to tell."""
        return (
            event.feed == self.feed
            and event.change_type in self.change_types
            and self.object_id in ("", event.id)
        )


@dataclass(slots=True, kw_only=True)
class HookFaults:
    """What happens to notifications: shares from 0 to 1, decided one by one from the seed."""

    lost: float = 0.0  # nobody ever hears of it
    doubled: float = 0.0
    forged: float = 0.0  # somebody adds one with a clientState that is not ours
    mixed: float = 0.0  # another tenant's subscription has one in the same POST
    delayed: float = 0.0  # it comes `delay_seconds` later, after younger ones
    delay_seconds: float = 5.0
    silent: bool = False  # an outage: all are lost


@dataclass(frozen=True, slots=True)
class Delivery:
    """One POST and its answer (status 0: none)."""

    at: float
    url: str
    items: tuple[dict[str, Any], ...]
    status: int
    seconds: float
    attempt: int


_Parcel = tuple[float, int, dict[str, Any], float]
"""Due at, number, item, give up at."""


class Hooks:
    """Delivers. Close it when the server stops."""

    def __init__(
        self,
        tenant_id: str,
        *,
        clock: Clock | None = None,
        tls: ssl.SSLContext | None = None,
        delay: float = DELAY_SECONDS,
        post: Post | None = None,
        seed: int = 0,
    ) -> None:
        self.tenant_id = tenant_id
        self.clock: Clock = clock or SystemClock()
        self.delay = delay
        self.retry_pause = 1.0  # before the second attempt; doubled each time
        self.faults = HookFaults()
        self.deliveries: deque[Delivery] = deque(maxlen=10_000)
        self.handshakes: list[tuple[str, str]] = []
        self.happened: Counter[str] = Counter()
        self._tls = tls
        self._post = post or self._post_over_http
        self._random = random.Random(f"hooks {seed}")
        self._session: aiohttp.ClientSession | None = None
        self._waiting: dict[str, list[_Parcel]] = {}
        self._couriers: dict[str, asyncio.Task[None]] = {}
        self._count = 0

    # Telling ------------------------------------------------------------------------------------

    def notify(self, subscription: Subscription, event: Event) -> None:
        """Tell a subscriber of a change, a little later and perhaps."""
        kind, name = ("User", "Users") if event.feed == "users" else ("Group", "Groups")
        where = f"{name}/{event.id}"
        item = {
            "changeType": event.change_type,
            **_client_state(subscription),
            "resource": where,
            "resourceData": {
                "@odata.type": f"#Microsoft.Graph.{kind}",
                "@odata.id": where,
                "id": event.id,
                "organizationId": self.tenant_id,
                "eventTime": _long_iso(event.at),
                "sequenceNumber": int(event.at * 10_000_000) + 621_355_968_000_000_000,
            },
            **self._envelope(subscription),
        }
        self._send(subscription.notification_url, item)

    def lifecycle(self, subscription: Subscription, event: str) -> bool:
        """`reauthorizationRequired`, `subscriptionRemoved` or `missed`; False = it has no address
        for these."""
        if not subscription.lifecycle_url:
            return False
        item = {
            "lifecycleEvent": event,
            **self._envelope(subscription),
            **_client_state(subscription),
        }
        self._send(subscription.lifecycle_url, item)
        return True

    async def shake_hands(self, url: str) -> str:
        """Ask an address whether it wants notifications; "" = yes, else what Graph says of it."""
        token = f"Validation: Testing client application reachability for +%/&é {self._guid()}"
        joint = "&" if "?" in url else "?"
        asked = f"{url}{joint}validationToken={quote_plus(token)}"
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        try:
            status, content_type, text = await asyncio.wait_for(
                self._post(asked, b"", headers, HANDSHAKE_SECONDS), HANDSHAKE_SECONDS
            )
        except TimeoutError:
            return self._shook(url, "Subscription validation request timed out.")
        except OSError:
            return self._shook(
                url,
                "Subscription validation request failed. Unable to connect to the remote server.",
            )
        if status != 200:
            return self._shook(
                url,
                "Subscription validation request failed. Notification endpoint must respond with "
                f"200 OK to validation request. HTTP status code is '{status}'.",
            )
        if content_type.partition(";")[0].strip().lower() != "text/plain" or text not in (
            token,
            html.escape(token),
        ):
            return self._shook(
                url,
                "Subscription validation request failed. Must respond with 200 OK to this request,"
                " with the decoded validation token as plain text.",
            )
        return self._shook(url, "")

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._couriers:
            await asyncio.gather(*self._couriers.values(), return_exceptions=True)

    async def close(self) -> None:
        """Stop; what is under way is lost."""
        couriers = list(self._couriers.values())
        for courier in couriers:
            courier.cancel()
        await asyncio.gather(*couriers, return_exceptions=True)
        self._waiting.clear()
        if self._session is not None:
            await self._session.close()

    # ---

    def _shook(self, url: str, complaint: str) -> str:
        self.handshakes.append((url, complaint))
        return complaint

    def _envelope(self, subscription: Subscription) -> dict[str, Any]:
        return {
            "subscriptionExpirationDateTime": _long_iso(subscription.expires_at, "+00:00"),
            "subscriptionId": subscription.id,
            "tenantId": self.tenant_id,
        }

    def _send(self, url: str, item: dict[str, Any]) -> None:
        faults = self.faults
        if faults.silent or self._happens("lost", faults.lost):
            self.happened["silent"] += faults.silent
            return
        late = faults.delay_seconds if self._happens("delayed", faults.delayed) else 0.0
        self._enqueue(url, item, late)
        if self._happens("doubled", faults.doubled):
            self._enqueue(url, dict(item), self.delay)
        if self._happens("forged", faults.forged):
            self._enqueue(url, {**item, "clientState": "guessed"}, 0.0)
        if self._happens("mixed", faults.mixed):
            other = {**item, "subscriptionId": self._guid(), "tenantId": self._guid()}
            self._enqueue(url, {**other, "clientState": "theirs"}, 0.0)

    def _guid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def _happens(self, name: str, share: float) -> bool:
        happens = share > 0 and self._random.random() < share
        self.happened[name] += happens
        return happens

    def _enqueue(self, url: str, item: dict[str, Any], late: float) -> None:
        due_at = self.clock.monotonic() + self.delay + late
        self._count += 1
        parcel = (due_at, self._count, item, due_at + RETRY_FOR_SECONDS)
        heapq.heappush(self._waiting.setdefault(url, []), parcel)
        if url not in self._couriers:
            loop = asyncio.get_running_loop()
            self._couriers[url] = loop.create_task(self._carry(url), name=f"courier to {url}")

    async def _carry(self, url: str) -> None:
        """Carry to one address until nothing waits. A POST that fails holds up the others there."""
        attempt = 0
        try:
            while waiting := self._waiting.get(url):
                now = self.clock.monotonic()
                ready: list[_Parcel] = []
                while waiting and waiting[0][0] <= now and len(ready) < MOST_IN_ONE_POST:
                    ready.append(heapq.heappop(waiting))
                if not ready:
                    # Not until the first is due, for a younger one may be due before it.
                    step = min(waiting[0][0] - now, max(self.delay, 0.05))
                    await self.clock.sleep(step)
                    continue
                attempt += 1
                if await self._deliver(url, [item for _, _, item, _ in ready], attempt):
                    attempt = 0
                    continue
                now = self.clock.monotonic()
                for parcel in ready:
                    if parcel[3] > now:
                        heapq.heappush(waiting, parcel)
                    else:
                        self.happened["given up"] += 1
                await self.clock.sleep(min(_LONGEST_PAUSE, self.retry_pause * 2 ** (attempt - 1)))
        finally:
            # Without an await between the last look and this, so that nothing is left behind.
            self._couriers.pop(url, None)

    async def _deliver(self, url: str, items: list[dict[str, Any]], attempt: int) -> bool:
        body = json.dumps({"value": items}, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json; charset=utf-8"}
        timeout = FIRST_TIMEOUT if attempt == 1 else RETRY_TIMEOUT
        started = self.clock.monotonic()
        try:
            status, _, _ = await self._post(url, body, headers, timeout)
        except (OSError, TimeoutError):
            status = 0
        taken = self.clock.monotonic() - started
        self.deliveries.append(
            Delivery(self.clock.now(), url, tuple(items), status, taken, attempt)
        )
        self.happened["delivered" if 200 <= status < 300 else "failed"] += 1
        self.happened["slow"] += taken > FIRST_TIMEOUT
        return 200 <= status < 300

    async def _post_over_http(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> tuple[int, str, str]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls or True, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        try:
            async with self._session.post(
                url,
                data=body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=timeout),
                allow_redirects=False,
            ) as answer:
                text = await answer.text(errors="replace")
                return answer.status, answer.headers.get("Content-Type", ""), text
        except aiohttp.ClientError as error:
            raise OSError(str(error)) from error


def _client_state(subscription: Subscription) -> dict[str, str]:
    state = subscription.client_state
    return {} if state is None else {"clientState": state}


def _long_iso(moment: float, zone: str = "Z") -> str:
    """With seven digits of a second, as Graph writes it here."""
    return f"{(iso(moment) or '').removesuffix('Z')}.{utc(moment).microsecond:06d}0{zone}"
