"""The real node_exporter beside floodmark: the same series with the same values.

On this machine, and on the recorded hosts, which have what this one may lack: swap, stolen time, odd mounts.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.demo import servers
from floodmark import catalogue
from floodmark.metric import Kind
from tests.fixtures.hosts import NAMES, lay_out
from tests.fixtures.serving import fetched, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from floodmark.metric import Metric

    Series = tuple[str, frozenset[tuple[str, str]]]
    Page = dict[Series, float]

pytestmark = pytest.mark.live

ROWS = {row.name: row for row in catalogue.ALL if row.name.startswith("node_")}

# Debian 12 has 1.5.0. What newer ones leave out by default, and floodmark with them, it must be told.
EXCLUDED = {
    "diskstats.device": r"(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$",
    "filesystem.mount-points": (
        "/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)"
    ),
    "filesystem.fs-types": (
        "(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|iso9660|mqueue|nsfs"
        "|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|erofs|sysfs|tracefs)$"
    ),
}
COLLECTORS = (
    *("cpu", "diskstats", "filefd", "filesystem", "loadavg", "meminfo", "netstat", "pressure", "stat"),
    "vmstat",
)
FLAGS = (
    "--collector.disable-defaults",
    *(f"--collector.{name}" for name in COLLECTORS),
    *(f"--collector.{what}-exclude=^{pattern}" for what, pattern in EXCLUDED.items()),
)

# A row that this host doesn't have must be missing on both sides, and for one of these reasons.
MAY_BE_MISSING = {
    r"node_pressure_\w+": "the kernel was built or started without PSI",
    r"node_vmstat_(pswpin|pswpout)|node_memory_SwapCached_bytes": "the kernel was built without swap",
    r"node_vmstat_oom_kill": "the kernel is older than 4.13",
    r"node_disk_\w+": "the host (a container's sandbox) has no disks of its own",
}

# A mount of t3-micro with another one on top. node_exporter gives it the other one's numbers; floodmark
# leaves out what can't be known.
HIDDEN = {
    (row, frozenset({("device", "staging"), ("fstype", "tmpfs"), ("mountpoint", "/srv/media")}))
    for row in ROWS
    if row.startswith("node_filesystem_")
}

# The same at any time.
CONSTANT = re.compile(
    r"node_(boot_time_seconds|memory_(Mem|Swap)Total_bytes|filesystem_(size_bytes|readonly|device_error))"
)
# How far a gauge may lie outside our two readings around it, as others use the machine meanwhile.
TOLERANCE = {
    r"node_load\d+": 0.5,
    r"node_memory_\w+": 256 * 1024**2,
    r"node_disk_io_now": 64,
    r"node_filesystem_\w+": 1024**3,
    r"node_filefd_allocated": 512,
}
# The kernel lets these fall by some ticks between two readings.
FALLING = frozenset({("mode", "idle"), ("mode", "iowait")})
FALL_SECONDS = 0.1


class Readings(NamedTuple):
    """Ours, node_exporter's, ours again."""

    before: Page
    theirs: Page
    after: Page


@contextmanager
def node_exporter(*flags: str) -> Iterator[str]:
    """Run it on a free port; yield the URL of its metrics."""
    try:
        program = servers.find("prometheus-node-exporter")
    except servers.UnavailableError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    with subprocess.Popen(
        [program, f"--web.listen-address={address}", *FLAGS, *flags], stderr=subprocess.DEVNULL
    ) as process:
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    assert process.poll() is None, "node_exporter ended"
                    assert time.monotonic() < deadline, "node_exporter doesn't answer"
                    time.sleep(0.05)
            yield f"http://{address}/metrics"
        finally:
            process.terminate()


def shared(url: str) -> Page:
    """The series of a page that have a row in the catalogue."""
    page = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(fetched(url))
        for sample in family.samples
        if sample.name in ROWS
    }
    # Whether a file system that fails is read-only is told since 1.6 only.
    failing = {labels for (name, labels), value in page.items() if name == catalogue.FS_ERROR.name and value}
    return {
        key: value
        for key, value in page.items()
        if key[0] != catalogue.FS_READONLY.name or key[1] not in failing
    }


def readable(root: Path) -> Path:
    """Give a recorded host what node_exporter 1.5 reads in floodmark's files' stead."""
    proc = root / "proc"
    (proc / "net").mkdir()
    shutil.copy(proc / "1" / "net" / "netstat", proc / "net")
    (proc / "net" / "snmp").write_text("Ip: Forwarding\nIp: 1\n")
    with (proc / "1" / "mounts").open("w") as mounts:
        for line in (proc / "1" / "mountinfo").read_text().splitlines():
            mount, _, super_block = line.partition(" - ")
            fstype, device, super_options = super_block.split()
            options = "ro" if super_options.startswith("ro") else mount.split()[5]
            mounts.write(f"{device} {mount.split()[4]} {fstype} {options} 0 0\n")
    return root


@pytest.fixture(scope="module", params=["this machine", *NAMES])
def readings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Readings:
    ours, theirs = ["--disable", "gunicorn,requests"], []
    if request.param in NAMES:
        root = readable(lay_out(request.param, tmp_path_factory.mktemp("recorded") / "host"))
        ours += ["--root", str(root)]
        theirs += [f"--path.procfs={root}/proc", f"--path.rootfs={root}"]
    with serving(*ours) as our_url, node_exporter(*theirs) as their_url:
        for _ in range(10):
            taken = Readings(shared(our_url), shared(their_url), shared(our_url))
            # Something mounted or unplugged in between: the three don't speak of the same host.
            if taken.before.keys() == taken.after.keys():
                return taken
    raise AssertionError("this host changes its mounts or devices all the time")


def names(page: Page) -> set[str]:
    return {name for name, _ in page}


def test_every_row_is_on_both_pages_or_missing_on_both_for_a_known_reason(readings: Readings) -> None:
    assert names(readings.before) == names(readings.theirs)
    missing = ROWS.keys() - names(readings.before)
    unexplained = {name for name in missing if not any(re.fullmatch(known, name) for known in MAY_BE_MISSING)}
    assert not unexplained


def test_both_tell_of_the_same_cpus_devices_and_file_systems(readings: Readings) -> None:
    assert readings.before.keys() == readings.theirs.keys() - HIDDEN


def test_every_value_is_node_exporters(readings: Readings) -> None:
    wrong = [
        f"{name} {dict(labels)}: {before}, node_exporter {theirs}, {after}"
        for (name, labels), theirs in readings.theirs.items()
        if (name, labels) not in HIDDEN
        for before, after in [(readings.before[name, labels], readings.after[name, labels])]
        if not agree(ROWS[name], labels, before, theirs, after)
    ]
    assert not wrong


def agree(
    row: Metric, labels: frozenset[tuple[str, str]], before: float, theirs: float, after: float
) -> bool:
    if CONSTANT.fullmatch(row.name):
        return before == theirs == after
    # They divide ticks, milliseconds and microseconds in their own way: the last bit may differ.
    slack = 1e-9 * abs(theirs)
    if row.kind is Kind.GAUGE:
        slack += next(allowed for known, allowed in TOLERANCE.items() if re.fullmatch(known, row.name))
        before, after = sorted((before, after))
    elif labels & FALLING:
        slack += FALL_SECONDS
    return before - slack <= theirs <= after + slack


@pytest.mark.parametrize(
    ("row", "labels", "theirs", "agrees"),
    [
        (catalogue.MEM_TOTAL, {}, 1001.0, False),
        (catalogue.CPU_SECONDS, {"mode": "user"}, 1005.0, True),
        (catalogue.CPU_SECONDS, {"mode": "user"}, 999.99, False),
        (catalogue.CPU_SECONDS, {"mode": "idle"}, 999.99, True),
        (catalogue.CPU_SECONDS, {"mode": "idle"}, 1010.2, False),
        (catalogue.DISK_READ_TIME, {}, math.nextafter(1000.0, 0), True),
        (catalogue.LOAD1, {}, 999.6, True),
        (catalogue.LOAD1, {}, 999.4, False),
    ],
)
def test_the_comparison_itself_tells_right_from_wrong(
    row: Metric,
    labels: dict[str, str],
    theirs: float,
    agrees: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert agree(row, frozenset(labels.items()), 1000.0, theirs, 1010.0) is agrees
