"""Every number that azsyncd shows to Prometheus, by the names and labels of the documentation.

One `Metrics` a daemon, with a registry of its own: nothing is global. What an alert looks at is
there from the start, for a series that appears only with its first failure cannot be alerted on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from azsyncd.model.changes import Kind, Withheld

disable_created_metrics()  # type: ignore[no-untyped-call]  # twice the series, to no use

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

OUTCOMES = ("done", "already", "rejected", "unknown")
"""Of one write: done · it was so already · this object refused · the answer was lost."""

_PROPAGATION_BUCKETS = (
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
)  # fmt: skip
_ROUND_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)


class Metrics:
    """The metrics of one daemon, an attribute each, named as in Prometheus without `azsyncd_`."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._before_scrape: list[Callable[[], None]] = []
        self._define_targets()
        self._define_source()
        self._define_daemon()
        ProcessCollector(registry=self.registry)
        Info("azsyncd_build", "The version that runs", registry=self.registry).info(
            {"version": version}
        )
        for outcome in ("success", "failure"):
            self.full_sync_timestamp_seconds.labels(outcome).set(0)
        for result in ("accepted", "lifecycle", "foreign", "forged", "garbage"):
            self.notifications_total.labels(result)
        self.config_last_reload_successful.set(1)

    def introduce_target(self, target: str, *, classes: Iterable[str] = ()) -> None:
        """Make the target's series appear, at zero, before anything has happened to it."""
        for kind in Kind:
            for outcome in OUTCOMES:
                self.changes_total.labels(target, kind.value, outcome)
        for reason in Withheld:
            self.withheld.labels(target, reason.value)
        for each in classes:
            self.guard_budget_remaining.labels(target, each)
        self.propagation_seconds.labels(target)
        for gauge in self._per_target:
            gauge.labels(target)

    def forget_target(self, target: str) -> None:
        """Drop every series of a target that is no longer configured."""
        for metric in (
            *self._per_target,
            self.changes_total,
            self.withheld,
            self.guard_budget_remaining,
            self.seats_remaining,
            self.drift_total,
            self.propagation_seconds,
        ):
            metric.remove_by_labels({"target": target})

    def show_withheld(self, target: str, counts: Mapping[str, int]) -> None:
        """Set every reason of a target: what is not counted is zero."""
        for reason in Withheld:
            self.withheld.labels(target, reason.value).set(counts.get(reason.value, 0))

    def on_scrape(self, refresh: Callable[[], None]) -> None:
        """Call `refresh` before each exposition: for ages, which grow by themselves."""
        self._before_scrape.append(refresh)

    def exposition(self) -> bytes:
        """What `/metrics` answers, in the text format of `CONTENT_TYPE`."""
        for refresh in self._before_scrape:
            refresh()
        return generate_latest(self.registry)

    def _define_targets(self) -> None:
        self.changes_total = self._counter(
            "changes_total", "Writes to targets", "target", "change", "outcome"
        )
        self.propagation_seconds = Histogram(
            "azsyncd_propagation_seconds",
            "From the notification or poll that showed a change to the answer of its write",
            ("target",),
            buckets=_PROPAGATION_BUCKETS,
            registry=self.registry,
        )
        gauge = self._gauge
        self.target_up = gauge("target_up", "1 while the target answers", "target")
        self.target_lag_seconds = gauge(
            "target_lag_seconds", "Age of the oldest change not yet written", "target"
        )
        self.withheld = gauge("withheld", "Changes planned and not sent", "target", "reason")
        self.holds = gauge("holds", "Open holds of the guard", "target")
        self.guard_budget_remaining = gauge(
            "guard_budget_remaining",
            "Writes that the guard lets pass now; +Inf where the class is unlimited",
            "target",
            "class",
        )
        self.linked_accounts = gauge("linked_accounts", "Accounts of an identity", "target")
        self.unexplained_accounts = gauge(
            "unexplained_accounts", "Accounts that nobody in Entra explains", "target"
        )
        self.foreign_members = gauge(
            "foreign_members", "Members of synced groups whom Entra never wanted", "target"
        )
        self.leavers_with_access = gauge(
            "leavers_with_access", "Leavers who cannot be deactivated and still have a way in",
            "target",
        )  # fmt: skip
        self.seats_remaining = gauge("seats_remaining", "Free licences", "target", "application")
        self.paused = gauge("paused", "1 while an operator has paused the target", "target")
        self.drift_total = self._counter(
            "drift_total", "Differences found that azsyncd did not make", "target", "kind"
        )
        self._per_target = (
            self.target_up,
            self.target_lag_seconds,
            self.holds,
            self.linked_accounts,
            self.unexplained_accounts,
            self.foreign_members,
            self.leavers_with_access,
            self.paused,
        )

    def _define_source(self) -> None:
        gauge = self._gauge
        self.round_seconds = Histogram(
            "azsyncd_round_seconds",
            "Duration of a round of the delta feeds",
            ("trigger",),
            buckets=_ROUND_BUCKETS,
            registry=self.registry,
        )
        self.last_round_timestamp_seconds = gauge(
            "last_round_timestamp_seconds", "When the last round closed"
        )
        self.delta_link_age_seconds = gauge(
            "delta_link_age_seconds", "Age of the stored deltaLink", "feed"
        )
        self.mirror_objects = gauge("mirror_objects", "Objects in the mirror of Entra", "kind")
        self.notifications_total = self._counter(
            "notifications_total", "Notifications from Graph", "result"
        )
        self.subscription_expiry_timestamp_seconds = gauge(
            "subscription_expiry_timestamp_seconds", "When a subscription ends", "resource"
        )
        self.full_sync_timestamp_seconds = gauge(
            "full_sync_timestamp_seconds", "When the last full sync ended; 0 = never", "outcome"
        )

    def _define_daemon(self) -> None:
        gauge = self._gauge
        self.http_requests_total = self._counter(
            "http_requests_total", "Requests sent, by peer and status", "peer", "status"
        )
        self.credential_expiry_timestamp_seconds = gauge(
            "credential_expiry_timestamp_seconds", "When a credential ends", "credential"
        )
        self.config_last_reload_successful = gauge(
            "config_last_reload_successful", "1 if the last file that was read is in force"
        )
        self.config_last_reload_success_timestamp_seconds = gauge(
            "config_last_reload_success_timestamp_seconds", "When a file last came into force"
        )

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(f"azsyncd_{name}", what, labels, registry=self.registry)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"azsyncd_{name}", what, labels, registry=self.registry)
