"""Block devices: requests, bytes, time and queue."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from floodmark import catalogue
from floodmark.sources.procfs import diskstats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from floodmark.facts import Facts
    from floodmark.metric import Sample

# node_exporter's default: partitions, and what is no disk.
_EXCLUDED = re.compile(r"(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+")


def collect(facts: Facts) -> Iterator[Sample]:
    """Yield the counters of each disk, and its average queue once two readings tell it."""
    found = diskstats.read(facts.proc)
    disks = {device: disk for device, disk in found.items() if not _EXCLUDED.fullmatch(device)}
    for device, disk in disks.items():
        yield catalogue.DISK_READS(disk.reads, device=device)
        yield catalogue.DISK_READ_BYTES(disk.read_bytes, device=device)
        yield catalogue.DISK_READ_TIME(disk.read_seconds, device=device)
        yield catalogue.DISK_WRITES(disk.writes, device=device)
        yield catalogue.DISK_WRITTEN_BYTES(disk.written_bytes, device=device)
        yield catalogue.DISK_WRITE_TIME(disk.write_seconds, device=device)
        yield catalogue.DISK_IO_NOW(disk.in_flight, device=device)
        yield catalogue.DISK_IO_TIME(disk.busy_seconds, device=device)
        yield catalogue.DISK_IO_TIME_WEIGHTED(disk.weighted_seconds, device=device)
    for device, depth in facts.disk_queue.depth(disks).items():
        yield catalogue.DISK_QUEUE_DEPTH(depth, device=device)
