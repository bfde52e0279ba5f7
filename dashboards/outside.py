"""Metrics of others that panels and alerts ask for: rows as the catalogue has them, by who publishes them.

Each block names what its names, labels and types were checked against. Each row is on a page of
tests/fixtures/pages, and a test holds it to that. A row's "collector" is its exporter.
"""

from __future__ import annotations

from functools import partial

from floodmark.metric import Kind, Metric

# --- Cloud and proxy: floodmark's own names for what its collectors don't publish yet (interface.md).
_cloud = partial(Metric, "cloud")
_database = partial(Metric, "cloud", labels=("service", "database"))
CPU_CREDITS = _cloud("cloud_instance_cpu_credit_balance", "CPU credits left, in minutes of one CPU.")
BURST_CAPACITY = _cloud("cloud_instance_burst_capacity_ratio", "Burst capacity left (Lightsail), 0 to 1.")
SAMPLE_AGE = _cloud("cloud_sample_age_seconds", "Age of the cloud's newest sample.", unit="seconds")
DB_QUEUE = _database("cloud_db_disk_queue_depth", "Requests queued at the database's disk.")
DB_CONNECTIONS = _database("cloud_db_connections", "Connections to the database.")
DB_CPU = _database("cloud_db_cpu_ratio", "CPU of the database's host, 0 to 1.")
DB_FREE = _database("cloud_db_free_storage_bytes", "Free storage of the database.", unit="bytes")
DB_BURST = _database("cloud_db_burst_balance_ratio", "Burst balance of the database's disk, 0 to 1.")

_proxy = partial(Metric, "proxy", kind=Kind.COUNTER)
PROXY_REQUESTS = _proxy("proxy_requests_total", "Requests, by status.", labels=("server", "status"))
PROXY_GATEWAY_ERRORS = _proxy(
    "proxy_gateway_errors_total", "502 and 504 by what they look like.", labels=("server", "signature")
)
PROXY_DURATION = _proxy(
    "proxy_request_duration_seconds",
    "Time of a request as its visitor saw it.",
    kind=Kind.HISTOGRAM,
    unit="seconds",
    labels=("server", "status_class"),
)

# --- The JVM, by Micrometer (Spring Boot's /actuator/prometheus), and the common tag that most set. Names and
# values: micrometer-core's binder/jvm (JvmGcMetrics, JvmHeapPressureMetrics, JvmMemoryMetrics, JvmMemory) and
# PrometheusNamingConvention of both Prometheus clients; HikariCP's own MicrometerMetricsTracker.
_jvm = partial(Metric, "micrometer", labels=("application",))
JVM_LIVE = _jvm("jvm_gc_live_data_size_bytes", "Old generation after its collection.", unit="bytes")
JVM_LIVE_MAX = _jvm("jvm_gc_max_data_size_bytes", "Size of the old generation.", unit="bytes")
# The same: micrometer pull request 4765 took the unit away, as it was a ratio all along.
JVM_GC_OVERHEAD = _jvm("jvm_gc_overhead", "Share of CPU spent collecting, 0 to 1.")
JVM_GC_OVERHEAD_PERCENT = _jvm("jvm_gc_overhead_percent", "The same, by its older name.")
# Of the same two ages; the runbook of JvmOldGenAfterGcHigh says why they aren't used.
JVM_AFTER_GC = _jvm(
    "jvm_memory_usage_after_gc",
    "Heap after a collection, of any kind.",
    labels=("application", "area", "pool"),
)
JVM_AFTER_GC_PERCENT = _jvm(
    "jvm_memory_usage_after_gc_percent",
    "The same, by its older name.",
    labels=("application", "area", "pool"),
)
# Pages of Spring Boot 2 have no gc.
_pause = ("application", "action", "cause", "gc")
JVM_PAUSE_SUM = _jvm("jvm_gc_pause_seconds_sum", "Time in pauses.", Kind.COUNTER, "seconds", labels=_pause)
JVM_PAUSE_COUNT = _jvm("jvm_gc_pause_seconds_count", "Pauses.", Kind.COUNTER, labels=_pause)
JVM_PAUSE_MAX = _jvm("jvm_gc_pause_seconds_max", "Longest recent pause.", unit="seconds", labels=_pause)
_pool = ("application", "area", "id")
JVM_USED = _jvm("jvm_memory_used_bytes", "Memory of a pool.", unit="bytes", labels=_pool)
JVM_MAX = _jvm("jvm_memory_max_bytes", "Most it may have, -1 for no limit.", unit="bytes", labels=_pool)
# Threads, CPU, requests and Tomcat: names and labels as in pages that apps of Spring Boot 2 served, and all
# but Tomcat's as in those of 3.
JVM_THREADS = _jvm("jvm_threads_live_threads", "Live threads.")
JVM_THREAD_STATES = _jvm(
    "jvm_threads_states_threads", "Threads by what they do.", labels=("application", "state")
)
JVM_CPU = _jvm("process_cpu_usage", "CPU of the JVM, of all the host has, 0 to 1.")
JVM_HOST_CPU = _jvm("system_cpu_usage", "CPU of its whole host or container, 0 to 1.")
# Buckets only where the app asks for them: management.metrics.distribution.percentiles-histogram. Pages of
# Spring Boot 3 have the label error, those of 2 don't.
_http = ("application", "error", "exception", "method", "outcome", "status", "uri")
HTTP = _jvm("http_server_requests_seconds", "Time of requests.", Kind.HISTOGRAM, "seconds", labels=_http)
HTTP_MAX = _jvm("http_server_requests_seconds_max", "Slowest recent one.", unit="seconds", labels=_http)
# Only with server.tomcat.mbeanregistry.enabled=true.
_tomcat = ("application", "name")
TOMCAT_BUSY = _jvm("tomcat_threads_busy_threads", "Threads that serve a request.", labels=_tomcat)
TOMCAT_MAX = _jvm("tomcat_threads_config_max_threads", "Most there may be.", labels=_tomcat)
_hikari = partial(Metric, "micrometer", labels=("application", "pool"))
HIKARI_ACTIVE = _hikari("hikaricp_connections_active", "Connections lent out.")
HIKARI_MAX = _hikari("hikaricp_connections_max", "Most the pool may have.")
HIKARI_PENDING = _hikari("hikaricp_connections_pending", "Threads that wait for one.")
HIKARI_TIMEOUTS = _hikari("hikaricp_connections_timeout_total", "Threads that gave up.", Kind.COUNTER)

# --- PostgreSQL, by postgres_exporter: 0.11.1 and 0.17.1 run against PostgreSQL 15; of 0.20 collector/*.go
# and the changelog were read. Settings and activity lost `server` in 0.20, the other two in 0.13 (a page of a
# version between shows both); backend_type and wait_event* came in 0.17. Queries are of the collector
# stat_statements (0.13 on), off unless --collector.stat_statements is given.
_postgres = partial(Metric, "postgres")
PG_MAX_CONNECTIONS = _postgres(
    "pg_settings_max_connections", "Connections it takes at most.", labels=("server",)
)
PG_ACTIVITY = _postgres(
    "pg_stat_activity_count",
    "Sessions.",
    labels=(
        *("server", "datname", "state", "usename", "application_name"),
        *("backend_type", "wait_event_type", "wait_event"),
    ),
)
PG_OLDEST = _postgres(
    "pg_stat_activity_max_tx_duration",
    "Age of the oldest open transaction of such sessions.",
    unit="seconds",
    labels=PG_ACTIVITY.labels,
)
PG_LOCKS = _postgres("pg_locks_count", "Locks held or waited for.", labels=("server", "datname", "mode"))
# Not *_total: their names are those of the view's columns.
_pg_database = partial(Metric, "postgres", kind=Kind.COUNTER, labels=("server", "datid", "datname"))
PG_COMMITS = _pg_database("pg_stat_database_xact_commit", "Transactions committed.")
PG_ROLLBACKS = _pg_database("pg_stat_database_xact_rollback", "Transactions rolled back.")
PG_BLOCKS_HIT = _pg_database("pg_stat_database_blks_hit", "Blocks found in its own cache.")
PG_BLOCKS_READ = _pg_database("pg_stat_database_blks_read", "Blocks it had to ask the system for.")
PG_TEMP_BYTES = _pg_database(
    "pg_stat_database_temp_bytes", "Written to temporary files by queries.", unit="bytes"
)
PG_DEADLOCKS = _pg_database("pg_stat_database_deadlocks", "Deadlocks.")
_query = partial(Metric, "postgres", kind=Kind.COUNTER, labels=("datname", "user", "queryid"))
PG_CALLS = _query("pg_stat_statements_calls_total", "Calls of a query.")
PG_SECONDS = _query("pg_stat_statements_seconds_total", "Time they took.", unit="seconds")

# --- Prometheus and Alertmanager about themselves: /metrics of 2.42 and 0.25, and the sources of 3.x
# (notifier/, rules/, tsdb/) and of 0.28 and newer (notify/), which add the labels alertmanager, reason and
# receiver_name.
# deploy/prometheus/prometheus.yml keeps these names alone (tests/alerts/test_rules.py).
_judge = partial(Metric, "judges", kind=Kind.COUNTER)
DROPPED = _judge("prometheus_notifications_dropped_total", "Alerts not sent.", labels=("alertmanager",))
RULE_FAILURES = _judge("prometheus_rule_evaluation_failures_total", "Rules failed.", labels=("rule_group",))
COMPACTIONS_FAILED = _judge("prometheus_tsdb_compactions_failed_total", "Compactions that failed.")
WAL_FAILED = _judge("prometheus_tsdb_wal_writes_failed_total", "Writes that failed.")
NOTIFIED = _judge("alertmanager_notifications_total", "Notifications tried.", labels=("integration",))
NOTIFY_FAILED = _judge(
    "alertmanager_notifications_failed_total", "Notifications given up.", labels=("integration", "reason")
)

ALL: tuple[Metric, ...] = tuple(row for row in list(globals().values()) if isinstance(row, Metric))
