"""The series of others that rules and panels may ask for, by name, with their labels.

Each block names the page its names, labels and types were checked against. Scraping adds job and instance.
"""

from __future__ import annotations

from tests.support.promql import TARGET_LABELS


def _series(labels: str, *names: str) -> dict[str, frozenset[str]]:
    return {name: TARGET_LABELS | frozenset(labels.split()) for name in names}


def _histogram(labels: str, name: str) -> dict[str, frozenset[str]]:
    return _series(labels, f"{name}_sum", f"{name}_count") | _series(f"{labels} le", f"{name}_bucket")


# Prometheus' own. ALERTS has what the alert's expression and its rule have.
PROMETHEUS = {"up": TARGET_LABELS} | _series(
    "alertname alertstate severity kind app cause device server database mountpoint", "ALERTS"
)

# floodmark's own names for what its collectors don't publish yet (shared/interface.md: Cloud, Proxy).
CLOUD = (
    _series("", "cloud_instance_cpu_credit_balance", "cloud_instance_burst_capacity_ratio")
    | _series(
        "service database",
        "cloud_db_disk_queue_depth",
        "cloud_db_connections",
        "cloud_db_cpu_ratio",
        "cloud_db_free_storage_bytes",
        "cloud_db_burst_balance_ratio",
    )
    | _series("", "cloud_sample_age_seconds")
)
PROXY = (
    _series("server status", "proxy_requests_total")
    | _series("server signature", "proxy_gateway_errors_total")
    | _histogram("server status_class", "proxy_request_duration_seconds")
)

# The JVM, by Micrometer (Spring Boot's /actuator/prometheus).
JVM: dict[str, frozenset[str]] = {}

# PostgreSQL, by postgres_exporter.
POSTGRES: dict[str, frozenset[str]] = {}

# Prometheus and Alertmanager about themselves: /metrics of 2.42 and 0.25, and the sources of 3.x (notifier/,
# rules/, tsdb/) and of 0.28 and newer (notify/), which add the labels alertmanager, reason and receiver_name.
# deploy/prometheus/prometheus.yml keeps these names alone (tests/alerts/test_rules.py).
JUDGES = (
    _series("alertmanager", "prometheus_notifications_dropped_total")
    | _series("rule_group", "prometheus_rule_evaluation_failures_total")
    | _series("", "prometheus_tsdb_compactions_failed_total", "prometheus_tsdb_wal_writes_failed_total")
    | _series("integration", "alertmanager_notifications_total")
    | _series("integration reason", "alertmanager_notifications_failed_total")
)

OUTSIDE = PROMETHEUS | CLOUD | PROXY | JVM | POSTGRES | JUDGES
