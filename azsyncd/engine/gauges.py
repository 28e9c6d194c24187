"""Sets the metrics that take a look into the database, between scrapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azsyncd.engine.reconcile import Reconcile
from azsyncd.state import questions, targets

if TYPE_CHECKING:
    from azsyncd.engine.running import Running

LOOK_SECONDS = 15.0
"""Between two looks when nothing happens."""


class Gauges:
    """The gauges of one configuration at work."""

    def __init__(self, running: Running) -> None:
        self._running = running

    async def run(self) -> None:
        """Look soon after something happened, and now and then."""
        clock = self._running.clock
        seen: tuple[object, ...] = ()
        looked_at = float("-inf")
        while True:
            now = (
                self._running.pull.rounds,
                *((r.state.runs, r.state.state) for r in self._running.reconciles.values()),
            )
            if now != seen or clock.monotonic() - looked_at >= LOOK_SECONDS:
                await self.refresh()
                seen, looked_at = now, clock.monotonic()
            await clock.sleep(1.0)

    async def refresh(self) -> None:
        """Set every gauge from the store."""
        running, metrics = self._running, self._running.metrics
        users, groups, edges = await running.store.read(questions.mirror_counts)
        for kind, number in (("users", users), ("groups", groups), ("memberships", edges)):
            metrics.mirror_objects.labels(kind).set(number)
        for feed, issued in (await running.store.read(questions.feed_ages)).items():
            age = max(0.0, running.clock.now() - issued)
            metrics.delta_link_age_seconds.labels(feed).set(age)
        for kept in running.keeper.kept() if running.keeper else ():
            metrics.subscription_expiry_timestamp_seconds.labels(kept.resource).set(kept.expires_at)
        for name, reconcile in running.reconciles.items():
            await self._target(name, reconcile)

    async def _target(self, name: str, reconcile: Reconcile) -> None:
        running, metrics = self._running, self._running.metrics
        row = await running.store.read(lambda db: targets.get(db, reconcile.t))
        ours = running.signed_in_as()
        counts = await running.store.read(
            lambda db: questions.target_counts(db, reconcile.t, row.revision, ours)
        )
        state = reconcile.state.state
        metrics.target_up.labels(name).set(state not in ("down", "refused", "starting"))
        metrics.target_lag_seconds.labels(name).set(running.lag_of(reconcile))
        metrics.holds.labels(name).set(counts.holds)
        metrics.linked_accounts.labels(name).set(counts.accounts)
        metrics.unexplained_accounts.labels(name).set(counts.unexplained)
        metrics.foreign_members.labels(name).set(counts.foreign_members)
        metrics.leavers_with_access.labels(name).set(counts.leavers_with_access)
        metrics.paused.labels(name).set(state == "paused")
        metrics.show_withheld(name, counts.withheld)
        for seats in reconcile.capabilities.seats if reconcile.capabilities else ():
            if seats.remaining is not None:
                metrics.seats_remaining.labels(name, seats.application).set(seats.remaining)
        for class_, budget in (await running.budgets(reconcile)).items():
            if budget["allowance"] is not None:
                left = max(0.0, budget["allowance"] - (budget["spent"] or 0.0))
                metrics.guard_budget_remaining.labels(name, class_).set(left)
