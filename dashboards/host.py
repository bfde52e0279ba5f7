"""floodmark-host: is the machine the problem?

The first screen answers it: how much of each part of the machine is used up, what waits for it, and whether
the kernel had to kill or drop. The collapsed rows below say more of each part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from floodmark.catalogue import (
    CPU_SECONDS,
    CPU_WAITING,
    DISK_IO_TIME_WEIGHTED,
    DISK_READ_BYTES,
    DISK_READ_TIME,
    DISK_READS,
    DISK_WRITE_TIME,
    DISK_WRITES,
    DISK_WRITTEN_BYTES,
    FS_AVAIL,
    FS_READONLY,
    FS_SIZE,
    HOST_OOM_KILLS,
    IO_STALLED,
    IO_WAITING,
    LISTEN_DROPS,
    LISTEN_OVERFLOWS,
    LOAD1,
    MAJOR_FAULTS,
    MEM_AVAILABLE,
    MEM_TOTAL,
    MEMORY_STALLED,
    MEMORY_WAITING,
    SWAP_FREE,
    SWAP_IN,
    SWAP_OUT,
    SWAP_TOTAL,
)

from . import palette
from .outside import BURST_CAPACITY, CPU_CREDITS
from .panels import HOST, Json, Query, bargauge, dashboard, row, stat, threshold, timeseries
from .query import BY_HOST, at_most, count, rate, recorded, select
from .query import threshold as threshold_series

if TYPE_CHECKING:
    from .panels import Panel, Row

DEVICE = "{{device}} {{instance}}"

# Copies of memory, not devices; and what sits on top of a device that is counted already.
_DEVICES = "!~(loop|zram|ram|dm-|md|sr).*"
# What lives in memory, and images that are full by design.
_FILE_SYSTEMS = "!~(tmp|ram|squash|ero)fs|iso9660|udf"

CPU_BUSY = (
    f"1 - sum by ({BY_HOST}) ({rate(CPU_SECONDS, mode='=~idle|iowait')})"
    f" / sum by ({BY_HOST}) ({rate(CPU_SECONDS)})"
)
_CPUS = f"count by ({BY_HOST}) ({rate(CPU_SECONDS, mode='idle')})"
_AVAILABLE = f"{select(MEM_AVAILABLE)} / {select(MEM_TOTAL)}"
STEAL = f"sum by ({BY_HOST}) ({rate(CPU_SECONDS, mode='steal')}) / sum by ({BY_HOST}) ({rate(CPU_SECONDS)})"
SWAP_USED = f"sum({select(SWAP_TOTAL)} - {select(SWAP_FREE)})"
DISK_QUEUE = rate(DISK_IO_TIME_WEIGHTED, device=_DEVICES)
_AWAIT = (
    f"({rate(DISK_READ_TIME, device=_DEVICES)} + {rate(DISK_WRITE_TIME, device=_DEVICES)})"
    f" / ({rate(DISK_READS, device=_DEVICES)} + {rate(DISK_WRITES, device=_DEVICES)} > 0)"
)
# The alert wants both, so the smaller of the two shares says how near it is. A disk at rest has no await.
_QUEUE_SHARE = f"{DISK_QUEUE} / scalar({threshold_series('disk_queue_depth')})"
_AWAIT_SHARE = f"{_AWAIT} / scalar({threshold_series('disk_await_seconds')})"
DISK_USED = f"({_QUEUE_SHARE} < {_AWAIT_SHARE}) or {_AWAIT_SHARE} or {_QUEUE_SHARE}"
_FREE = (
    f"{select(FS_AVAIL, fstype=_FILE_SYSTEMS)} / ({select(FS_SIZE, fstype=_FILE_SYSTEMS)} > 0)"
    f" unless {select(FS_READONLY)} == 1"
)


def build() -> Json:
    """The dashboard as classic JSON."""
    return dashboard(
        "floodmark-host",
        "floodmark: is the machine the problem?",
        "Which part of the host is used up, what waits for it, and what the kernel had to kill or drop.",
        [*_first_screen(), _cpu(), _memory(), _disk(), _space(), _network()],
    )


def _first_screen() -> list[Panel]:
    return [
        stat(
            401,
            "Is it the machine? The highest one",
            """How much of each is used up, on the worst host, disk and file system of what is selected. CPU:
            all but idle and waiting for a disk, steal included. Memory: what new work can't have. Disk: queue
            and await against the thresholds of the alert DiskQueueHigh, which fires from 100 %. Space: the
            fullest file system. Bad: red, where the alerts of each begin; yellow is before. All green: it
            isn't the machine; look at the database and at what the workers wait for.""",
            Query(f"max({CPU_BUSY})", "CPU", scale=palette.CPU),
            Query(f"max(1 - {_AVAILABLE})", "Memory", scale=palette.MEMORY),
            Query(at_most(f"max({DISK_USED})"), "Disk", scale=palette.OF_ALERT),
            Query(f"max(1 - ({_FREE}))", "Space", scale=palette.SPACE),
            unit="percentunit",
            decimals=0,
            width=11,
        ),
        stat(
            402,
            "OOM kills, 24 h",
            """Processes that the kernel killed in the last day because memory was full, workers or others.
            Bad: any. 0 while workers die by signal 9: it is not memory; look at timeouts.""",
            Query(f"sum({count(HOST_OOM_KILLS, window='24h')})", "killed"),
            unit="none",
            width=4,
            scale=palette.NONE_IS_GOOD,
        ),
        stat(
            403,
            "Clients lost, 24 h",
            """Connections to any listening socket of the host that the kernel dropped in the last day: users
            who saw nothing but a time-out. Bad: any.""",
            Query(f"sum({count(LISTEN_DROPS, window='24h')})", "dropped"),
            unit="none",
            width=4,
            scale=palette.NONE_IS_GOOD,
        ),
        stat(
            404,
            "Swap",
            """Swap in use on all hosts, and the smallest size of any. Bad: a size of 0 on a small host: there
            memory that is full kills at once. In use and growing: it only delays the kill.""",
            Query(SWAP_USED, "in use"),
            Query(f"min({select(SWAP_TOTAL)})", "size"),
            unit="bytes",
            width=5,
        ),
        timeseries(
            405,
            "Disk queue depth",
            """Average number of requests queued or in service at each disk. A healthy one stays under 0.5;
            a disk that was asked too much had 30. Bad: above the dashed line, with await above its own: all
            that asks this disk waits, with an idle CPU.""",
            Query(DISK_QUEUE, DEVICE),
            threshold("disk_queue_depth"),
            unit="none",
            height=5,
        ),
        timeseries(
            406,
            "CPU by mode",
            """Share of all CPUs by what they do; the rest is idle. Bad: the stack at 100 %. Red (steal) is
            taken by the cloud: credits are spent. Orange (iowait) is no work: it waits for a disk.""",
            Query(
                f"sum by (mode) ({rate(CPU_SECONDS, mode='!~idle|guest.*')})"
                f" / on () group_left () sum({rate(CPU_SECONDS, mode='!~guest.*')})",
                "{{mode}}",
            ),
            unit="percentunit",
            most=1,
            stack=True,
            height=5,
            colours=palette.CPU_MODES,
            name_zeros=False,
        ),
        memory_available(407),
        timeseries(
            408,
            "Disk await",
            """Average time a read or write takes, its wait in the queue included. Bad: above the dashed line
            together with the queue. A gap: nothing was read or written.""",
            Query(_AWAIT, DEVICE),
            threshold("disk_await_seconds"),
            unit="s",
            width=6,
            height=5,
        ),
        timeseries(
            409,
            "Load per CPU",
            """Processes that run, want to run or wait for a disk, for each CPU. Bad: above the dashed line
            for minutes. With busy CPUs: too much to compute. With idle ones: they wait for a disk.""",
            Query(f"{select(LOAD1)} / on ({BY_HOST}) {_CPUS}", HOST),
            threshold("load_per_cpu"),
            unit="none",
            width=6,
            height=5,
        ),
        timeseries(
            410,
            "Pressure",
            """Share of time in which some process could not go on for want of CPU, memory or disk, on the
            worst host. Bad: any of memory; of CPU and disk, above 20 % for minutes. No data: the kernel has
            it switched off.""",
            Query(f"max({rate(CPU_WAITING)})", "cpu"),
            Query(f"max({rate(MEMORY_WAITING)})", "memory"),
            Query(f"max({rate(IO_WAITING)})", "disk"),
            unit="percentunit",
            width=6,
            height=5,
            colours=palette.RESOURCES,
        ),
        timeseries(
            411,
            "Swap traffic, pages/s",
            """Pages read back from swap (in) and written to it (out), a second, on the worst host. Bad: both
            above the dashed line: thrashing, the host works for its own memory instead of for users.""",
            Query(f"max({rate(SWAP_IN)})", "in"),
            Query(f"max({rate(SWAP_OUT)})", "out"),
            threshold("swap_pages_rate"),
            unit="short",
            width=6,
            height=5,
            colours=palette.RESOURCES,
        ),
    ]


def _cpu() -> Row:
    return row(
        "CPU: too much work, or too little given?",
        timeseries(
            412,
            "CPU busy",
            """Share of CPU time that wasn't idle, over five minutes; waiting for a disk is idle. Bad: above
            the dashed line with the load above its own: the alert CpuSaturated.""",
            Query(recorded("instance:node_cpu_busy_ratio:rate5m"), HOST),
            threshold("cpu_busy_ratio"),
            unit="percentunit",
            most=1,
            width=6,
        ),
        timeseries(
            413,
            "Steal",
            """Share of CPU time that the hypervisor gave to others while this host had work. Bad: above the
            dashed line: credits are spent, or neighbours are busy. No code of yours is the cause.""",
            Query(STEAL, HOST),
            threshold("cpu_steal_ratio"),
            unit="percentunit",
            width=6,
        ),
        timeseries(
            414,
            "CPU credits",
            """Credits left on EC2, each one minute of one CPU. Bad: falling to the dashed line: at 0 the host
            is held to a fraction of a CPU, or billed more. Many left: credits are not the problem. No data:
            no cloud collector, or no t instance.""",
            Query(select(CPU_CREDITS), HOST),
            threshold("cpu_credits"),
            unit="none",
            width=6,
        ),
        timeseries(
            415,
            "Burst capacity",
            """Burst capacity left on Lightsail. Bad: falling to the dashed line: at 0 the host is held to a
            fraction of a CPU. No data: no cloud collector, or not on Lightsail.""",
            Query(select(BURST_CAPACITY), HOST),
            threshold("burst_capacity_ratio"),
            unit="percentunit",
            most=1,
            width=6,
        ),
    )


def _memory() -> Row:
    return row(
        "Memory: how much, and does the host fight for it?",
        timeseries(
            416,
            "Memory available, bytes",
            """Memory that the host can give to new work without swapping; dashed is all it has. Bad: under
            the size of one worker: the next one brings the kernel's OOM killer.""",
            Query(f"sum by ({BY_HOST}) ({select(MEM_AVAILABLE)})", HOST),
            Query(f"sum by ({BY_HOST}) ({select(MEM_TOTAL)})", f"all of {HOST}", line=palette.LIMIT),
            unit="bytes",
        ),
        swap_in_use(417, width=8),
        timeseries(
            418,
            "Processes killed for memory",
            """Each bar: processes that the kernel killed then because memory was full. Bad: any. What the
            victim was, `floodmark why` says, and the kernel's log.""",
            Query(f"sum by ({BY_HOST}) ({count(HOST_OOM_KILLS)})", HOST),
            unit="none",
            draw="bars",
            every="1m",
        ),
        timeseries(
            419,
            "Memory pressure",
            """Share of time in which some process, or all that had work at once, waited for memory. Bad:
            "some" above the dashed line; any of "all": nobody works then. No data: the kernel has it
            switched off.""",
            Query(rate(MEMORY_WAITING), f"some {HOST}"),
            Query(rate(MEMORY_STALLED), f"all {HOST}"),
            threshold("memory_waiting_ratio"),
            unit="percentunit",
            width=12,
        ),
        timeseries(
            420,
            "Major page faults/s",
            """Times a second a process had to wait until a piece of its memory or program was read from a
            disk. Bad: hundreds for minutes with little memory available: thrashing, which a host without
            swap does too, with its programs. A burst at a start is normal.""",
            Query(rate(MAJOR_FAULTS), HOST),
            unit="short",
            width=12,
        ),
    )


def _disk() -> Row:
    return row(
        "Disk: who asks so much of it?",
        timeseries(
            421,
            "Reads and writes a second",
            """Requests that each disk completed. Bad: flat at the top while the queue is deep: that is the
            most this disk, or its cloud plan, gives.""",
            Query(rate(DISK_READS, device=_DEVICES), f"reads {DEVICE}"),
            Query(rate(DISK_WRITES, device=_DEVICES), f"writes {DEVICE}"),
            unit="iops",
        ),
        timeseries(
            422,
            "Throughput",
            """Bytes a second that each disk read and wrote. Bad: flat at the top while the queue is deep.
            Much reading with little memory available: programs are read again and again.""",
            Query(rate(DISK_READ_BYTES, device=_DEVICES), f"reads {DEVICE}"),
            Query(rate(DISK_WRITTEN_BYTES, device=_DEVICES), f"writes {DEVICE}"),
            unit="Bps",
        ),
        timeseries(
            423,
            "Disk pressure",
            """Share of time in which some process, or all that had work at once, waited for a disk. Bad:
            "all" above 20 % for minutes: the host does nothing but wait. No data: the kernel has it switched
            off.""",
            Query(rate(IO_WAITING), f"some {HOST}"),
            Query(rate(IO_STALLED), f"all {HOST}"),
            unit="percentunit",
        ),
    )


def _space() -> Row:
    # The alert looks at the recorded series; the size beside it tells the labels that it has.
    share = f"{recorded('mountpoint:node_filesystem_avail_bytes:writable')} / {select(FS_SIZE)}"
    return row(
        "File systems: what fills up?",
        bargauge(
            424,
            "Free space",
            """Share of each file system that ordinary users can still fill. Bad: red, where the alert
            FilesystemFillingUp fires; yellow, where it looks at the pace. At 0 a database stops and logs are
            lost.""",
            Query(f"sort({_FREE})", "{{mountpoint}} {{instance}}"),
            unit="percentunit",
            most=1,
            width=12,
            scale=palette.SPACE_LEFT,
        ),
        timeseries(
            425,
            "Free space over time",
            """The same over time. Bad: below red dashed. Below orange dashed on a slope that leads to 0
            within a day: the alert FilesystemFillingUp. A saw is logs that are rotated. No data: Prometheus
            doesn't evaluate floodmark's rules.""",
            Query(share, "{{mountpoint}} {{instance}}"),
            threshold("filesystem_avail_ratio", "watched below"),
            Query(threshold_series("filesystem_full_ratio"), "full", line=palette.LIMIT),
            unit="percentunit",
            most=1,
            width=12,
        ),
    )


def _network() -> Row:
    return row(
        "Network: who was turned away?",
        timeseries(
            426,
            "Listen queue overflows",
            """Connections the kernel dropped as an application's queue was full: users who saw nothing but a
            time-out. Bad: any.""",
            Query(f"sum by ({BY_HOST}) ({count(LISTEN_OVERFLOWS)})", HOST),
            unit="none",
            width=12,
            draw="bars",
            every="1m",
        ),
        timeseries(
            427,
            "Connections dropped for any reason",
            """Overflows, and what was dropped for want of memory or ports. Bad: any; more than overflows: it
            isn't the queue but the host.""",
            Query(f"sum by ({BY_HOST}) ({count(LISTEN_DROPS)})", HOST),
            unit="none",
            width=12,
            draw="bars",
            every="1m",
        ),
    )


def memory_available(number: int, width: int = 8, height: int = 5) -> Panel:
    """How near each host is to killing."""
    return timeseries(
        number,
        "Memory available",
        """Share of memory that new work can have without swapping. Bad: below the dashed line, where the
        alert MemoryLow fires; a slope towards it that lasts for days is a leak.""",
        Query(_AVAILABLE, HOST),
        threshold("memory_available_ratio"),
        unit="percentunit",
        most=1,
        width=width,
        height=height,
    )


def swap_in_use(number: int, width: int) -> Panel:
    """Swap of each host, and how much there is."""
    return timeseries(
        number,
        "Swap in use",
        """Swap taken; dashed is its size, at 0 where there is none. Bad: growing with every hour: memory
        is full and swap only delays the kill. A little, at rest, is harmless.""",
        Query(f"{select(SWAP_TOTAL)} - {select(SWAP_FREE)}", HOST),
        Query(f"sum by ({BY_HOST}) ({select(SWAP_TOTAL)})", f"size on {HOST}", line=palette.LIMIT),
        unit="bytes",
        width=width,
    )
