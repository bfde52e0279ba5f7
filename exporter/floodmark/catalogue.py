"""Every metric floodmark publishes, on one page, grouped by the collector that makes it.

A metric exists here and nowhere else: collectors make samples by calling its row, dashboards and alerts
are held to these names and labels by the contract test, docs/metrics.md is generated from this page.
Host metrics carry node_exporter's own names and meanings, so that dashboards and alerts know either.
"""

from __future__ import annotations

from functools import partial

from floodmark.metric import Kind, Metric

_NODE = "node_exporter's own name, for the dashboards and alerts people already have"

# --- load: /proc/loadavg
_load = partial(Metric, "load")
LOAD1 = _load("node_load1", "Load average over 1 minute.")
LOAD5 = _load("node_load5", "Load average over 5 minutes.", unshown=_NODE)
LOAD15 = _load("node_load15", "Load average over 15 minutes.", unshown=_NODE)

# --- cpu: /proc/stat
_cpu = partial(Metric, "cpu")
CPU_SECONDS = _cpu(
    "node_cpu_seconds_total",
    "Seconds each CPU spent in each mode.",
    Kind.COUNTER,
    "seconds",
    ("cpu", "mode"),
)
BOOT_TIME = _cpu("node_boot_time_seconds", "Unix time the host booted.", unit="seconds", unshown=_NODE)

# --- memory: /proc/meminfo
_memory = partial(Metric, "memory", unit="bytes")
MEM_TOTAL = _memory("node_memory_MemTotal_bytes", "Usable memory of the host.")
MEM_FREE = _memory("node_memory_MemFree_bytes", "Memory used for nothing at all.", unshown=_NODE)
MEM_AVAILABLE = _memory("node_memory_MemAvailable_bytes", "Memory that new work can have without swapping.")
MEM_BUFFERS = _memory("node_memory_Buffers_bytes", "Block device buffers.", unshown=_NODE)
MEM_CACHED = _memory("node_memory_Cached_bytes", "Page cache.", unshown=_NODE)
SWAP_TOTAL = _memory("node_memory_SwapTotal_bytes", "Size of all swap.")
SWAP_FREE = _memory("node_memory_SwapFree_bytes", "Swap not in use.")
SWAP_CACHED = _memory("node_memory_SwapCached_bytes", "Memory that is in swap as well.", unshown=_NODE)
MEM_DIRTY = _memory("node_memory_Dirty_bytes", "Memory waiting to be written to disk.", unshown=_NODE)

# --- vmstat: /proc/vmstat
_vmstat = partial(Metric, "vmstat", kind=Kind.UNTYPED)
SWAP_IN = _vmstat("node_vmstat_pswpin", "Pages read back from swap since boot.")
SWAP_OUT = _vmstat("node_vmstat_pswpout", "Pages written to swap since boot.")
MAJOR_FAULTS = _vmstat("node_vmstat_pgmajfault", "Page faults that had to read a disk.")
HOST_OOM_KILLS = _vmstat("node_vmstat_oom_kill", "Processes the kernel killed for memory.")

# --- pressure: /proc/pressure
_pressure = partial(Metric, "pressure", kind=Kind.COUNTER, unit="seconds")
CPU_WAITING = _pressure("node_pressure_cpu_waiting_seconds_total", "Time some process waited for a CPU.")
MEMORY_WAITING = _pressure(
    "node_pressure_memory_waiting_seconds_total", "Time some process waited for memory."
)
MEMORY_STALLED = _pressure(
    "node_pressure_memory_stalled_seconds_total",
    "Time no process went on for want of memory.",
)
IO_WAITING = _pressure("node_pressure_io_waiting_seconds_total", "Time some process waited for a disk.")
IO_STALLED = _pressure(
    "node_pressure_io_stalled_seconds_total",
    "Time no process went on for want of a disk.",
)

# --- disk: /proc/diskstats
_disk = partial(Metric, "disk", kind=Kind.COUNTER, labels=("device",))
DISK_READS = _disk("node_disk_reads_completed_total", "Reads the device completed.")
DISK_WRITES = _disk("node_disk_writes_completed_total", "Writes the device completed.")
DISK_READ_BYTES = _disk("node_disk_read_bytes_total", "Bytes read.", unit="bytes")
DISK_WRITTEN_BYTES = _disk("node_disk_written_bytes_total", "Bytes written.", unit="bytes")
DISK_READ_TIME = _disk("node_disk_read_time_seconds_total", "Time all reads took.", unit="seconds")
DISK_WRITE_TIME = _disk("node_disk_write_time_seconds_total", "Time all writes took.", unit="seconds")
DISK_IO_NOW = _disk("node_disk_io_now", "Requests in flight now.", kind=Kind.GAUGE, unshown=_NODE)
DISK_IO_TIME = _disk(
    "node_disk_io_time_seconds_total", "Time the device was busy.", unit="seconds", unshown=_NODE
)
DISK_IO_TIME_WEIGHTED = _disk(
    "node_disk_io_time_weighted_seconds_total",
    "Time of all requests together: its rate is the average queue depth.",
    unit="seconds",
)
DISK_QUEUE_DEPTH = _disk(
    "floodmark_disk_queue_depth",
    "Average number of requests queued or in service over the exporter's own last interval.",
    kind=Kind.GAUGE,
    unshown="for those without a rate at hand: curl, scripts, the live page",
)

# --- filesystem: /proc/1/mountinfo, statvfs
_filesystem = partial(Metric, "filesystem", unit="bytes", labels=("device", "fstype", "mountpoint"))
FS_SIZE = _filesystem("node_filesystem_size_bytes", "Size of the file system.")
FS_FREE = _filesystem("node_filesystem_free_bytes", "Free bytes, root's reserve included.", unshown=_NODE)
FS_AVAIL = _filesystem("node_filesystem_avail_bytes", "Bytes free to ordinary users.")
FS_READONLY = _filesystem("node_filesystem_readonly", "1 if mounted read-only.", unit="")
FS_ERROR = _filesystem(
    "node_filesystem_device_error", "1 if the file system didn't answer.", unit="", unshown=_NODE
)

# --- netstat: /proc/net/netstat
_netstat = partial(Metric, "netstat", kind=Kind.UNTYPED)
LISTEN_OVERFLOWS = _netstat(
    "node_netstat_TcpExt_ListenOverflows", "Connections dropped as a listen queue was full."
)
LISTEN_DROPS = _netstat(
    "node_netstat_TcpExt_ListenDrops",
    "Connections to listening sockets dropped for any reason.",
)

# --- filefd: /proc/sys/fs/file-nr
FILES_OPEN = Metric("filefd", "node_filefd_allocated", "Open files of the whole host.", unshown=_NODE)

# --- gunicorn: every master on the host, from outside
_gunicorn = partial(Metric, "gunicorn", labels=("app",))
_worker = partial(Metric, "gunicorn", labels=("app", "worker"))
UP = _gunicorn("gunicorn_up", "1 while a master of the app runs; 0 once all are gone.")
INFO = _gunicorn(
    "gunicorn_info",
    "Always 1; what the master's command line, environment, config file and installation say.",
    labels=("app", "version", "worker_class", "preload"),
    unshown="joined by hand; a value that can't be known from outside is 'unknown'",
)
SETTING = _gunicorn(
    "gunicorn_config",
    "A numeric setting of the app, where it can be known from outside.",
    labels=("app", "setting"),
)
WORKERS = _gunicorn(
    "gunicorn_workers",
    "Live workers by what they are doing, by their agent or the connections they hold; unknown where neither"
    " can be seen.",
    labels=("app", "state"),
)
WORKERS_TARGET = _gunicorn("gunicorn_workers_target", "Workers the app is configured to have.")
SLOTS = _gunicorn(
    "gunicorn_slots",
    "Requests the app can serve at once: workers x threads.",
)
IN_FLIGHT = _gunicorn(
    "gunicorn_requests_in_flight",
    "Requests that workers are serving. The agent tells them of every worker class, once their head was read."
    " Without it they are the connections that workers have accepted: idle keep-alive ones don't count for"
    " sync and gthread workers; for other classes they can't be told apart and do.",
)
REQUESTS_QUEUED = _gunicorn(
    "gunicorn_requests_queued",
    "Connections that wait: to be accepted (listen), or for a thread of a gthread worker (worker).",
    labels=("app", "where"),
)
BACKLOG = _gunicorn(
    "gunicorn_listen_backlog",
    "Connections that wait to be accepted, by the address gunicorn listens on.",
    labels=("app", "listener"),
)
BACKLOG_LIMIT = _gunicorn(
    "gunicorn_listen_backlog_limit",
    "Connections that may wait there before the kernel turns more away; told for sockets in floodmark's own"
    " network namespace.",
    labels=("app", "listener"),
)
EXITS = _gunicorn(
    "gunicorn_worker_exits_total",
    "Worker exits by cause, since floodmark first saw the app.",
    Kind.COUNTER,
    labels=("app", "cause"),
)
SIGKILLS = _gunicorn(
    "gunicorn_worker_sigkills_total", "Workers ended by signal 9, whoever sent it.", Kind.COUNTER
)
BOOTS = _gunicorn(
    "gunicorn_worker_boots_total", "Workers started since floodmark first saw the app.", Kind.COUNTER
)
RELOADS = _gunicorn("gunicorn_reloads_total", "Reloads (SIGHUP) seen in gunicorn's log.", Kind.COUNTER)
DEATHS_RECOVERED = _gunicorn(
    "floodmark_deaths_recovered_total",
    "Unwanted exits that happened while floodmark wasn't running, told by the logs when it was again.",
    Kind.COUNTER,
    unshown="they are among gunicorn_worker_exits_total, which is shown; floodmark why marks each",
)
LAST_DEATH = _gunicorn(
    "gunicorn_last_death_info",
    "Always 1; the app's last unwanted death, for 15 minutes. doing is the innermost call of the app's own"
    " code with its file and line, or else the kind of request it served; empty where neither is known.",
    labels=("app", "cause", "confidence", "doing"),
)
WORKER_INFO = _worker(
    "gunicorn_worker_info",
    "Always 1; the pid behind a worker slot.",
    labels=("app", "worker", "pid"),
    unshown="to find the process to look at, by hand",
)
WORKER_START = _worker("gunicorn_worker_start_time_seconds", "Unix time the worker started.", unit="seconds")
WORKER_HEARTBEAT = _worker(
    "gunicorn_worker_heartbeat_age_seconds",
    "Time since the worker last told its master that it lives; gunicorn kills it at its timeout.",
    unit="seconds",
)
WORKER_CPU = _worker(
    "gunicorn_worker_cpu_seconds_total", "CPU time of the worker, user and system.", Kind.COUNTER, "seconds"
)
WORKER_RESIDENT = _worker(
    "gunicorn_worker_resident_memory_bytes", "Resident memory of the worker.", unit="bytes"
)
WORKER_PROPORTIONAL = _worker(
    "gunicorn_worker_proportional_memory_bytes",
    "Memory of the worker with each shared page divided by those who share it; read at most once a minute.",
    unit="bytes",
)
HEAP_USED = _worker(
    "python_heap_used_bytes",
    "Anonymous resident memory of the worker: Python's heap, and what libraries take beside it.",
    unit="bytes",
)
HEAP_MAX = _gunicorn(
    "python_heap_max_bytes",
    "Memory that all heaps of the app together run into: the app's memory limit. Python sets none of its own,"
    " and none for one worker.",
    unit="bytes",
)
WORKER_SWAP = _worker("gunicorn_worker_swap_bytes", "Memory of the worker in swap.", unit="bytes")
WORKER_FDS = _worker("gunicorn_worker_open_fds", "Open files of the worker.", unshown="for queries by hand")
WORKER_THREADS = _worker("gunicorn_worker_threads", "Threads of the worker.", unshown="for queries by hand")
MEMORY = _gunicorn(
    "gunicorn_memory_bytes",
    "Memory of the master and all workers together. Pages they share under preload are in resident and"
    " anonymous once for each of them, in proportional once; that is read at most once a minute.",
    unit="bytes",
    labels=("app", "kind"),
)
PROPORTIONAL_AGE = _gunicorn(
    "gunicorn_memory_proportional_age_seconds",
    "Age of the oldest reading in the app's proportional memory.",
    unit="seconds",
    unshown="to judge the proportional memory by: it is read slowly on purpose",
)
MEMORY_LIMIT = _gunicorn(
    "gunicorn_memory_limit_bytes",
    "The smallest of the app's cgroup limits and the host's memory.",
    unit="bytes",
)
MEMORY_HEADROOM = _gunicorn(
    "gunicorn_memory_headroom_bytes",
    "Memory left before that limit: the smaller of what its cgroup and the host have to give.",
    unit="bytes",
)

# --- requests: the agent, or gunicorn's own StatsD
_requests = partial(Metric, "requests", kind=Kind.COUNTER)
REQUESTS = _requests(
    "gunicorn_requests_total",
    "Requests served, by status code; method only where the agent tells it. Status unknown: the worker died"
    " on it, and its answer may be out or not.",
    labels=("app", "method", "status"),
)
REQUEST_DURATION = _requests(
    "gunicorn_request_duration_seconds",
    "Time from the worker's first look at a request to its last byte.",
    kind=Kind.HISTOGRAM,
    unit="seconds",
    labels=("app",),
)
REQUEST_QUEUE = _requests(
    "gunicorn_request_queue_seconds",
    "Time from the proxy's X-Request-Start or X-Queue-Start to the worker's first look; of requests that have"
    " one.",
    kind=Kind.HISTOGRAM,
    unit="seconds",
    labels=("app",),
)
REQUEST_BUSY = _requests(
    "gunicorn_request_busy_seconds_total",
    "Time that requests took, those in flight and those that workers died on included: its rate is how many"
    " are served at once.",
    unit="seconds",
    labels=("app",),
)
WORKER_REQUESTS = _requests(
    "gunicorn_worker_requests_total",
    "Requests that the worker has answered since it started.",
    labels=("app", "worker"),
    unshown="to see how far a worker is from its max_requests",
)
ROUTE_REQUESTS = _requests(
    "gunicorn_route_requests_total",
    "Requests by route template, where the app tells it, and class of status: 2xx, 4xx, ...; at most 64"
    " routes, the rest is other.",
    labels=("app", "route", "status"),
)
ROUTE_DURATION = _requests(
    "gunicorn_route_duration_seconds_total",
    "Time that requests of the route took.",
    unit="seconds",
    labels=("app", "route"),
)
ROUTE_BLOCKS = _requests(
    "gunicorn_route_allocated_blocks",
    "Memory blocks that requests of the route left allocated: an estimate, the mean of those measured times"
    " all of them, so it may fall. Caches count as leaks do; what grows on is a leak.",
    kind=Kind.GAUGE,
    labels=("app", "route"),
)
STATSD_REJECTED = _requests(
    "floodmark_statsd_rejected_total",
    "StatsD datagrams that were not understood, or came from one app too many.",
    unshown="to look at when requests are missing",
)

# --- runtime: Python inside the workers, by the agent
_runtime = partial(Metric, "runtime", kind=Kind.COUNTER, labels=("app", "generation"))
GC_COLLECTIONS = _runtime(
    "python_gc_collections_total",
    "Garbage collections in the worker, by generation; 2 is a full one. A free-threaded Python calls each 0,"
    " and 3.14.0 to 3.14.4 call each 1 and never do a full one by themselves.",
    labels=("app", "worker", "generation"),
)
GC_COLLECTED = _runtime(
    "python_gc_objects_collected_total",
    "Objects in reference cycles that collections freed.",
    unshown="for queries by hand: what the app leaves to the collector",
)
GC_UNCOLLECTABLE = _runtime(
    "python_gc_objects_uncollectable_total",
    "Objects in reference cycles that can't be freed: in today's Python only those of faulty C extensions.",
    unshown="0 in nearly every app; for queries by hand",
)
GC_PAUSE = _runtime(
    "python_gc_pause_seconds",
    "Time a collection took, in which no thread of the worker runs Python (free-threaded: most of it).",
    kind=Kind.HISTOGRAM,
    unit="seconds",
)
_heap = partial(Metric, "runtime", labels=("app", "worker"))
HEAP_BLOCKS = _heap(
    "python_heap_allocated_blocks",
    "Memory blocks that Python has allocated in the worker, garbage included; looked at every few seconds"
    " while requests come. An object has one or more, whatever its size.",
)
HEAP_LIVE_BLOCKS = _heap(
    "python_heap_live_blocks",
    "Blocks left after the last full collection: the live set. Absent before the first one, which a worker"
    " that leaks nothing may never have.",
)
HEAP_LIVE_BYTES = _heap(
    "python_heap_live_bytes",
    "Resident memory of the worker's own after the last full collection; what was freed may still be in it,"
    " for Python gives memory back in large pieces only.",
    unit="bytes",
)

# --- itself: made by the scrape, not by a collector
_itself = partial(Metric, "itself")
BUILD_INFO = _itself(
    "floodmark_build_info",
    "Always 1; floodmark's version.",
    labels=("version",),
    unshown="to see what runs where",
)
COLLECTOR_DURATION = _itself(
    "floodmark_scrape_collector_duration_seconds",
    "Time the collector took in this scrape.",
    unit="seconds",
    labels=("collector",),
    unshown="to look at when a scrape is slow",
)
COLLECTOR_SUCCESS = _itself(
    "floodmark_scrape_collector_success", "1 if the collector worked in this scrape.", labels=("collector",)
)
SOURCE_AVAILABLE = _itself(
    "floodmark_source_available",
    "1 if floodmark can use the source; 0 where something (mostly a permission) is missing.",
    labels=("source",),
)

ALL: tuple[Metric, ...] = tuple(row for row in list(globals().values()) if isinstance(row, Metric))
