"""floodmark-database: is the database the problem?

The first screen answers it for RDS, Lightsail and a PostgreSQL of one's own alike: what is used up, how deep
its disk's queue is, who holds its connections, which queries are slow. The collapsed rows below say more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import palette
from .host import DISK_QUEUE, DISK_USED
from .outside import (
    DB_BURST,
    DB_CONNECTIONS,
    DB_CPU,
    DB_FREE,
    DB_QUEUE,
    PG_ACTIVITY,
    PG_BLOCKS_HIT,
    PG_BLOCKS_READ,
    PG_CALLS,
    PG_COMMITS,
    PG_DEADLOCKS,
    PG_LOCKS,
    PG_MAX_CONNECTIONS,
    PG_OLDEST,
    PG_ROLLBACKS,
    PG_SECONDS,
    PG_TEMP_BYTES,
    SAMPLE_AGE,
)
from .panels import Json, Query, dashboard, row, stat, table, threshold, timeseries
from .query import at_most, count, rate, recorded, select
from .query import threshold as threshold_series

if TYPE_CHECKING:
    from .panels import Panel, Row

# One server, and the server that the exporter says where it watches several (until 0.19).
BY_SERVER = "job, instance, server"
BY_DATABASE = "job, instance, datname"
BY_QUERY = "job, instance, datname, queryid"
CLOUD = "{{database}}"
SERVER = "{{instance}}"
DATABASE = "{{datname}} {{instance}}"
# Without its database: the legend has no room, and the table of slow queries tells it.
QUERY = "{{queryid}}"


def _of_alert(share: str, alert: str) -> str:
    return f"{share} / scalar({threshold_series(alert)})"


_CLOUD_DISK = _of_alert(select(DB_QUEUE), "db_disk_queue_depth")
# A database on a host of one's own tells its disk's queue as a host. Where a cloud tells it, hosts' disks are
# left out: they are the app's.
_HOST_QUEUE = f"{DISK_QUEUE} unless on () {select(DB_QUEUE)}"
_HOST_DISK = f"({DISK_USED}) unless on () {select(DB_QUEUE)}"
# What runs in the background takes none of the connections; before 0.17 the exporter didn't tell it apart.
_CONNECTIONS = f"sum by ({BY_SERVER}) ({select(PG_ACTIVITY, backend_type='=~|client backend')})"
_MOST = f"max by ({BY_SERVER}) ({select(PG_MAX_CONNECTIONS)})"
# The nearest of all to where an alert begins, whichever database and whatever of it. No alert is about its
# CPU: that of a host is taken.
DATABASE_USED = " or ".join(
    f'label_replace({_of_alert(share, alert)}, "of", "{alert}", "", "")'
    for share, alert in (
        (select(DB_QUEUE), "db_disk_queue_depth"),
        (select(DB_CPU), "cpu_busy_ratio"),
        (f"{_CONNECTIONS} / {_MOST}", "db_connections_ratio"),
    )
)
_BLOCKS_HIT = f"sum by ({BY_DATABASE}) ({rate(PG_BLOCKS_HIT)})"
_BLOCKS_READ = f"sum by ({BY_DATABASE}) ({rate(PG_BLOCKS_READ)})"

_MEAN = recorded("query:pg_stat_statements_seconds:mean10m")
_OFTEN = recorded("query:pg_stat_statements_calls:increase10m")
# Those that the alert DbSlowQueries looks at: called often enough to matter.
_SLOW = (
    f"{_MEAN} > scalar({threshold_series('db_slow_query_seconds')})"
    f" and {_OFTEN} > scalar({threshold_series('db_slow_query_calls')})"
)
# A query that nobody calls has no mean.
_RUNNING = f"{_MEAN} and on ({BY_QUERY}) {rate(PG_CALLS)} > 0"

_WAITING = select(PG_ACTIVITY, wait_event_type="Lock")
# Before 0.17 the exporter didn't tell what a session waits for; then nobody knows, which is not 0.
_WAITS_KNOWN = select(PG_ACTIVITY, wait_event_type="!=")


def build() -> Json:
    """The dashboard as classic JSON."""
    return dashboard(
        "floodmark-database",
        "floodmark: is the database the problem?",
        "What of the database is used up, how deep its disk's queue is, and which queries are slow.",
        [*_first_screen(), _queries(), _sessions(), _disk(), _sight()],
        targets=(DB_QUEUE, PG_MAX_CONNECTIONS),
    )


def _first_screen() -> list[Panel]:
    return [
        stat(
            461,
            "Is it the database? The highest one",
            """How much of each is used up, on the worst database of what is selected. Disk: its queue against
            the threshold of the alert DbDiskQueueHigh, which fires from 100 % (999 %: ten times that, or
            more). CPU: of its host. Connections: taken of those allowed. Burst spent: of the disk's burst
            balance, without colour as no alert is about it. Bad: red, where the alerts of each begin, of CPU
            that of a host; yellow is near. All green: it isn't the database; don't resize it. Missing: a
            cloud tells no limit of connections, postgres_exporter neither CPU nor burst.""",
            Query(at_most(f"max({_CLOUD_DISK} or {_HOST_DISK})"), "Disk", scale=palette.OF_ALERT),
            Query(f"max({select(DB_CPU)})", "CPU", scale=palette.CPU),
            Query(
                f"max({_CONNECTIONS} / {_MOST})", "Connections", scale=palette.rises("db_connections_ratio")
            ),
            Query(f"max(1 - {select(DB_BURST)})", "Burst spent"),
            unit="percentunit",
            decimals=0,
            width=12,
        ),
        stat(
            462,
            "Slow queries",
            """Queries that are called often and whose calls take longer than the alert DbSlowQueries allows.
            Bad: any: usually an index is missing. No data: postgres_exporter runs without
            --collector.stat_statements.""",
            Query(f"count({_SLOW}) or 0 * count({_MEAN})", "slow"),
            unit="none",
            width=4,
            scale=palette.NONE_IS_GOOD,
        ),
        stat(
            463,
            "Waiting for a lock",
            """Sessions that wait for a lock which another one holds. Bad: any that stays: somebody forgot a
            transaction open, or alters a table in use. No data: postgres_exporter is missing or older than
            0.17.""",
            Query(f"sum({_WAITING}) or 0 * sum({_WAITS_KNOWN})", "waiting"),
            unit="none",
            width=4,
            scale=palette.NONE_IS_GOOD,
        ),
        stat(
            464,
            "Free storage, least",
            """Storage that the fullest database has left. Bad: less than it grows in a week; at 0 it stops.
            No data: no cloud collector; a database on a host of your own is on that host's dashboard.""",
            Query(f"min({select(DB_FREE)})", "free"),
            unit="bytes",
            decimals=1,
            width=4,
        ),
        timeseries(
            465,
            "Disk queue depth",
            """Requests that wait at the database's disk. A healthy one stays under 0.5; one that took a site
            down had 30. Bad: above the dashed line: every query waits for the disk while CPU is idle; a
            bigger database doesn't help, an index or a faster disk does. Where no cloud tells it, these are
            the disks of the hosts selected (Job at All): a deep queue is bad there if await is high too.""",
            Query(select(DB_QUEUE), CLOUD),
            Query(_HOST_QUEUE, "{{device}} {{instance}}"),
            threshold("db_disk_queue_depth"),
            unit="none",
            height=5,
        ),
        timeseries(
            466,
            "Connections",
            """Connections in use; red dashed is how many PostgreSQL takes. Bad: above orange dashed; at red
            the next one is refused. Flat at a round number below: the app's pool is full, not the
            database.""",
            Query(select(DB_CONNECTIONS), CLOUD),
            Query(_CONNECTIONS, SERVER),
            Query(_MOST, f"limit {SERVER}", line=palette.LIMIT),
            Query(
                f"scalar({threshold_series('db_connections_ratio')}) * {_MOST}",
                "alert threshold",
                line=palette.THRESHOLD,
            ),
            unit="none",
            height=5,
        ),
        timeseries(
            467,
            "Slowest queries, mean",
            """Mean time of the three slowest queries that run, over 10 minutes. Bad: above the dashed line.
            A query's text: SELECT query FROM pg_stat_statements WHERE queryid = the number. No data:
            postgres_exporter runs without --collector.stat_statements.""",
            Query(f"topk(3, {_RUNNING})", QUERY),
            threshold("db_slow_query_seconds"),
            unit="s",
            height=5,
        ),
        timeseries(
            468,
            "CPU",
            """CPU of the database's host. Bad: near 100 % for minutes. Low while the app is down: the
            database is not the bottleneck, or its disk is. No data: no cloud collector; a host of your own
            is on the host's dashboard.""",
            Query(select(DB_CPU), CLOUD),
            unit="percentunit",
            most=1,
            width=6,
            height=5,
        ),
        timeseries(
            469,
            "Cache hits",
            """Share of blocks that PostgreSQL found in its own cache. Bad: a fall below 90 % that lasts: it
            reads tables whole (a missing index), or they have outgrown memory. No data: no
            postgres_exporter.""",
            Query(f"{_BLOCKS_HIT} / ({_BLOCKS_HIT} + {_BLOCKS_READ} > 0)", DATABASE),
            unit="percentunit",
            most=1,
            width=6,
            height=5,
        ),
        timeseries(
            470,
            "Sessions by state",
            """What the connections do. Bad: active ones piling up: queries wait. Idle in transaction for
            long: they hold locks and do nothing. No data: no postgres_exporter.""",
            Query(f"sum by (state) ({select(PG_ACTIVITY, state='!=')})", "{{state}}"),
            unit="none",
            width=6,
            height=5,
            stack=True,
            name_zeros=False,
        ),
        timeseries(
            471,
            "Burst balance",
            """Burst left to the database's disk. Bad: falling to 0 %: from there the disk is held to its
            baseline and its queue grows. No data: no cloud collector, or a disk without bursts.""",
            Query(select(DB_BURST), CLOUD),
            unit="percentunit",
            most=1,
            width=6,
            height=5,
        ),
    ]


def _queries() -> Row:
    return row(
        "Queries: which are slow, and which take the time?",
        table(
            472,
            "Slow queries",
            """Queries that are called often and are slow by the alert DbSlowQueries, and the mean of a call
            over 10 minutes. Bad: any row. Its text: SELECT query FROM pg_stat_statements WHERE queryid = the
            number; EXPLAIN says whether an index is missing.""",
            # As text: Grafana takes a query's number for a number, and rounds it.
            f"round(max by (instance, datname, queryid) ({_RUNNING} and {_SLOW}), 0.001)",
            unit="string",
            headings={"Value": "mean seconds"},
        ),
        timeseries(
            473,
            "Time by query",
            """Seconds a second that the five dearest queries take of the database: 1 is one busy connection.
            Bad: one far above the others, or one that grows while its calls don't.""",
            Query(f"topk(5, sum by ({BY_QUERY}) ({rate(PG_SECONDS)}))", QUERY),
            unit="none",
            width=12,
        ),
        timeseries(
            474,
            "Calls a second by query",
            """How often the five most frequent queries are called. Bad: hundreds for each request: a query in
            a loop (N+1).""",
            Query(f"topk(5, sum by ({BY_QUERY}) ({rate(PG_CALLS)}))", QUERY),
            unit="none",
            width=12,
        ),
        timeseries(
            475,
            "Transactions a second",
            """Transactions committed and rolled back. Bad: rollbacks growing: errors or time-outs in the app;
            all falling to nothing while people still come: it can't work.""",
            Query(f"sum by ({BY_DATABASE}) ({rate(PG_COMMITS)})", f"committed {DATABASE}"),
            Query(f"sum by ({BY_DATABASE}) ({rate(PG_ROLLBACKS)})", f"rolled back {DATABASE}"),
            unit="none",
            width=12,
        ),
    )


def _sessions() -> Row:
    return row(
        "Sessions and locks: who waits for whom?",
        timeseries(
            476,
            "What sessions wait for",
            """Sessions by what they wait for. Client is idle, waiting for the app. Bad: IO (the disk) or Lock
            (each other) piling up. No data: postgres_exporter is missing or older than 0.17.""",
            Query(f"sum by (wait_event_type) ({_WAITS_KNOWN})", "{{wait_event_type}}"),
            unit="none",
            width=6,
            stack=True,
            name_zeros=False,
        ),
        timeseries(
            477,
            "Oldest transaction",
            """Age of the oldest open transaction by state. Bad: idle in transaction for minutes: it holds its
            locks until the app's worker ends it, and keeps the tables from being cleaned.""",
            Query(f"max by (state) ({select(PG_OLDEST, state='!=')})", "{{state}}"),
            unit="s",
            width=6,
            name_zeros=False,
        ),
        timeseries(
            478,
            "Locks by mode",
            """Locks held or waited for. accessshare is reading, rowexclusive is writing. Bad:
            accessexclusivelock that stays: nobody can even read that table; or any that grow without end.""",
            Query(f"sum by (mode) ({select(PG_LOCKS)})", "{{mode}}"),
            unit="none",
            width=6,
            name_zeros=False,
        ),
        timeseries(
            479,
            "Deadlocks",
            """Each bar: transactions that waited for each other, of which PostgreSQL ended one. Bad: any: two
            parts of the app lock the same rows in another order.""",
            Query(f"sum by ({BY_DATABASE}) ({count(PG_DEADLOCKS)})", DATABASE),
            unit="none",
            width=6,
            draw="bars",
            every="1m",
            name_zeros=False,
        ),
    )


def _disk() -> Row:
    return row(
        "Storage: what asks so much of the disk?",
        timeseries(
            480,
            "Free storage",
            """Storage left. Bad: a slope that leads to 0 within days; at 0 the database stops. No data: no
            cloud collector; a host of your own is on the host's dashboard.""",
            Query(select(DB_FREE), CLOUD),
            unit="bytes",
        ),
        timeseries(
            481,
            "Blocks read a second",
            """Blocks of 8 KiB that PostgreSQL didn't have in its cache: from the system's cache or from the
            disk. Bad: growing with the disk's queue: large tables are read whole.""",
            Query(_BLOCKS_READ, DATABASE),
            unit="short",
        ),
        timeseries(
            482,
            "Temporary files",
            """Bytes a second that queries write because a sort or a join didn't fit work_mem. Bad: steadily
            above 0: the disk is used as memory.""",
            Query(f"sum by ({BY_DATABASE}) ({rate(PG_TEMP_BYTES)})", DATABASE),
            unit="Bps",
        ),
    )


def _sight() -> Row:
    return row(
        "How old is what is shown?",
        timeseries(
            483,
            "Age of the cloud's newest sample",
            """Clouds tell minutes late. Bad: above the dashed line: what is shown of the cloud's databases is
            old, and DbDiskQueueHigh stays silent. No data: no cloud collector.""",
            Query(select(SAMPLE_AGE), "{{instance}}"),
            threshold("cloud_sample_age_seconds"),
            unit="s",
            width=24,
        ),
    )
