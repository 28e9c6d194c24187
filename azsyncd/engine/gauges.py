"""Sets the metrics that take a look into the database, between scrapes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from azsyncd.engine.reconcile import Reconcile
from azsyncd.state import holds, questions

if TYPE_CHECKING:
    from azsyncd.engine.running import Running

PROMPT_SECONDS = 1.0
"""Between two looks at what costs little, while something happens."""

THOROUGH_SECONDS = 30.0
"""Between two counts of whole tables: what one change costs must not grow with the tenant."""


class Gauges:
    """The gauges of one configuration at work."""

    def __init__(self, running: Running) -> None:
        self._running = running

    async def run(self) -> None:
        """Look soon after something happened, and count everything now and then."""
        clock = self._running.clock
        seen: tuple[object, ...] = ()
        counted_at = float("-inf")
        while True:
            now = (
                self._running.pull.rounds,
                *((r.state.runs, r.state.state) for r in self._running.reconciles.values()),
            )
            first = any(r.state.runs == 1 for r in self._running.reconciles.values())
            if clock.monotonic() - counted_at >= THOROUGH_SECONDS or (first and now != seen):
                await self.refresh()
                seen, counted_at = now, clock.monotonic()
            elif now != seen:
                await self.glance()
                seen = now
            await clock.sleep(PROMPT_SECONDS)

    async def refresh(self) -> None:
        """Set every gauge."""
        running, metrics = self._running, self._running.metrics
        users, groups, edges = await running.store.read(questions.mirror_counts)
        for kind, number in (("users", users), ("groups", groups), ("memberships", edges)):
            metrics.mirror_objects.labels(kind).set(number)
        ours = running.signed_in_as()
        for name, reconcile in running.reconciles.items():
            counts = await running.store.read(
                lambda db, t=reconcile.t: questions.target_counts(db, t, ours)  # type: ignore[misc]
            )
            metrics.linked_accounts.labels(name).set(counts.accounts)
            metrics.unexplained_accounts.labels(name).set(counts.unexplained)
            metrics.foreign_members.labels(name).set(counts.foreign_members)
        await self.glance()

    async def glance(self) -> None:
        """Set what is looked up without counting."""
        running, metrics = self._running, self._running.metrics
        for feed, issued in (await running.store.read(questions.feed_ages)).items():
            age = max(0.0, running.clock.now() - issued)
            metrics.delta_link_age_seconds.labels(feed).set(age)
        for kept in running.keeper.kept() if running.keeper else ():
            metrics.subscription_expiry_timestamp_seconds.labels(kept.resource).set(kept.expires_at)
        doubt = await running.store.read(lambda db: holds.standing(db, None, holds.SOURCE))
        metrics.holds.labels("entra").set(doubt is not None)
        for name, reconcile in running.reconciles.items():
            await self._glance_at(name, reconcile)

    async def _glance_at(self, name: str, reconcile: Reconcile) -> None:
        running, metrics = self._running, self._running.metrics
        waits = await running.store.read(lambda db: questions.what_waits(db, reconcile.t))
        state = reconcile.state.state
        metrics.target_up.labels(name).set(state not in ("down", "refused", "starting"))
        metrics.target_lag_seconds.labels(name).set(running.lag_of(reconcile))
        metrics.paused.labels(name).set(state == "paused")
        metrics.holds.labels(name).set(waits.holds)
        metrics.leavers_with_access.labels(name).set(waits.leavers_with_access)
        metrics.show_withheld(name, waits.withheld)
        for seats in reconcile.capabilities.seats if reconcile.capabilities else ():
            if seats.remaining is not None:
                metrics.seats_remaining.labels(name, seats.application).set(seats.remaining)
        for class_, budget in (await running.budgets(reconcile)).items():
            left = math.inf
            if budget["allowance"] is not None:
                left = max(0.0, budget["allowance"] - (budget["spent"] or 0.0))
            metrics.guard_budget_remaining.labels(name, class_).set(left)
