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

# The JVM, by Micrometer (Spring Boot's /actuator/prometheus), and the common tag that most set. Names and
# values: micrometer-core's binder/jvm (JvmGcMetrics, JvmHeapPressureMetrics, JvmMemoryMetrics, JvmMemory) and
# PrometheusNamingConvention of both Prometheus clients; HikariCP's own MicrometerMetricsTracker.
JVM = (
    _series("application", "jvm_gc_live_data_size_bytes", "jvm_gc_max_data_size_bytes")
    # The same: micrometer pull request 4765 took the unit away, as it was a ratio all along.
    | _series("application", "jvm_gc_overhead", "jvm_gc_overhead_percent")
    # Of the same two ages; the runbook of JvmOldGenAfterGcHigh says why it isn't used.
    | _series("application area pool", "jvm_memory_usage_after_gc", "jvm_memory_usage_after_gc_percent")
    | _series(
        "application action cause gc",
        "jvm_gc_pause_seconds_sum",
        "jvm_gc_pause_seconds_count",
        "jvm_gc_pause_seconds_max",
    )
    | _series("application area id", "jvm_memory_used_bytes", "jvm_memory_max_bytes")
    | _series(
        "application pool",
        "hikaricp_connections_active",
        "hikaricp_connections_max",
        "hikaricp_connections_pending",
        "hikaricp_connections_timeout_total",
    )
)

# PostgreSQL, by postgres_exporter: 0.11.1 and 0.17.1 run against PostgreSQL 15; of 0.20 collector/*.go and
# the changelog were read. The first two lost `server` in 0.20; backend_type came in 0.17; the queries are of
# the collector stat_statements (0.13 on), off unless --collector.stat_statements is given.
POSTGRES = (
    _series("server", "pg_settings_max_connections")
    | _series(
        "server datname state usename application_name backend_type wait_event_type wait_event",
        "pg_stat_activity_count",
    )
    | _series("datname user queryid", "pg_stat_statements_calls_total", "pg_stat_statements_seconds_total")
)

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
