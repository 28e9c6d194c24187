"""The metrics are promises: dashboards and alerts of others are built on their names."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from azsyncd.metrics import CONTENT_TYPE, Metrics

PROMISED = {
    "azsyncd_changes_total": {"target", "change", "outcome"},
    "azsyncd_propagation_seconds": {"target"},
    "azsyncd_round_seconds": {"trigger"},
    "azsyncd_last_round_timestamp_seconds": set(),
    "azsyncd_delta_link_age_seconds": {"feed"},
    "azsyncd_mirror_objects": {"kind"},
    "azsyncd_target_up": {"target"},
    "azsyncd_target_lag_seconds": {"target"},
    "azsyncd_withheld": {"target", "reason"},
    "azsyncd_holds": {"target"},
    "azsyncd_guard_budget_remaining": {"target", "class"},
    "azsyncd_linked_accounts": {"target"},
    "azsyncd_unexplained_accounts": {"target"},
    "azsyncd_foreign_members": {"target"},
    "azsyncd_leavers_with_access": {"target"},
    "azsyncd_seats_remaining": {"target", "application"},
    "azsyncd_paused": {"target"},
    "azsyncd_drift_total": {"target", "kind"},
    "azsyncd_http_requests_total": {"peer", "status"},
    "azsyncd_notifications_total": {"result"},
    "azsyncd_subscription_expiry_timestamp_seconds": {"resource"},
    "azsyncd_credential_expiry_timestamp_seconds": {"credential"},
    "azsyncd_full_sync_timestamp_seconds": {"outcome"},
    "azsyncd_config_last_reload_successful": set(),
    "azsyncd_config_last_reload_success_timestamp_seconds": set(),
    "azsyncd_build_info": {"version"},
}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("1.2.3")


def labels_of(text: str) -> dict[str, set[str]]:
    """Every sample's own name → the names of its labels, as a scraper sees them."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = re.sub(r"_(bucket|sum|count)$", "", sample.name)
            found.setdefault(name, set()).update(set(sample.labels) - {"le"})
    return found


def use_all(metrics: Metrics) -> None:
    """One sample of everything that has labels."""
    metrics.introduce_target("jira", classes=["delete"])
    metrics.seats_remaining.labels("jira", "jira-software").set(3)
    metrics.drift_total.labels("jira", "update").inc()
    metrics.round_seconds.labels("poll").observe(0.2)
    metrics.delta_link_age_seconds.labels("users").set(1)
    metrics.mirror_objects.labels("users").set(1)
    metrics.http_requests_total.labels("graph", "200").inc()
    metrics.subscription_expiry_timestamp_seconds.labels("users").set(1)
    metrics.credential_expiry_timestamp_seconds.labels("entra").set(1)


def test_every_promised_metric_is_there_by_its_name_and_labels(metrics: Metrics) -> None:
    """And nothing else of ours: what is not documented is not shown."""
    use_all(metrics)
    found = labels_of(metrics.exposition().decode())
    assert {name: found[name] for name in found if name.startswith("azsyncd_")} == PROMISED


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_every_metric_says_what_it_means(metrics: Metrics, name: str) -> None:
    """HELP and TYPE stand above each."""
    use_all(metrics)
    text = metrics.exposition().decode()
    assert re.search(rf"^# HELP {name} \S+", text, re.MULTILINE)
    assert re.search(rf"^# TYPE {name} (counter|gauge|histogram)$", text, re.MULTILINE)


def test_what_alerts_look_at_is_there_before_anything_happened(metrics: Metrics) -> None:
    """A series that begins with the first failure cannot be alerted on."""
    metrics.introduce_target("jira")
    text = metrics.exposition().decode()
    for line in (
        'azsyncd_changes_total{change="deactivate",outcome="rejected",target="jira"} 0.0',
        'azsyncd_withheld{reason="guard",target="jira"} 0.0',
        'azsyncd_holds{target="jira"} 0.0',
        'azsyncd_target_up{target="jira"} 0.0',
        'azsyncd_full_sync_timestamp_seconds{outcome="failure"} 0.0',
        'azsyncd_notifications_total{result="forged"} 0.0',
        "azsyncd_config_last_reload_successful 1.0",
        'azsyncd_propagation_seconds_count{target="jira"} 0.0',
        'azsyncd_build_info{version="1.2.3"} 1.0',
    ):
        assert line in text


def test_a_target_taken_out_of_the_file_leaves_no_series_behind(metrics: Metrics) -> None:
    """Or its last numbers would alert for ever."""
    use_all(metrics)
    metrics.introduce_target("crowd")
    metrics.forget_target("jira")
    text = metrics.exposition().decode()
    assert 'target="jira"' not in text
    assert 'azsyncd_holds{target="crowd"} 0.0' in text


def test_propagation_is_counted_from_a_tenth_of_a_second_to_an_hour(metrics: Metrics) -> None:
    """The buckets answer the question 'how many within five seconds?'."""
    for seconds in (0.05, 3.0, 4000.0):
        metrics.propagation_seconds.labels("jira").observe(seconds)
    text = metrics.exposition().decode()
    for bound, count in (("0.1", 1), ("5.0", 2), ("3600.0", 2), ("+Inf", 3)):
        line = f'azsyncd_propagation_seconds_bucket{{le="{bound}",target="jira"}} {count}.0'
        assert line in text


def test_ages_are_refreshed_before_each_scrape(metrics: Metrics) -> None:
    """They grow although nothing happens."""
    ages = iter((1.0, 2.0))
    metrics.on_scrape(lambda: metrics.delta_link_age_seconds.labels("users").set(next(ages)))
    assert b'azsyncd_delta_link_age_seconds{feed="users"} 1.0' in metrics.exposition()
    assert b'azsyncd_delta_link_age_seconds{feed="users"} 2.0' in metrics.exposition()


def test_two_daemons_in_one_process_share_nothing() -> None:
    """The registry is each one's own."""
    one, two = Metrics("1"), Metrics("2")
    one.http_requests_total.labels("graph", "200").inc()
    assert b'peer="graph"' not in two.exposition()


def test_the_content_type_is_the_text_format() -> None:
    """What the exposition is written in."""
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")
