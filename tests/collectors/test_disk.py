"""The disk collector."""

import dataclasses
import re
from pathlib import Path

import pytest

from floodmark.collectors import disk
from floodmark.sources.procfs.diskstats import QueueDepth
from tests.fixtures.hosts import FIXTURES, facts, series


def test_whole_disks_and_mapped_ones_are_told_but_no_partitions_and_no_snaps() -> None:
    found = series(disk.collect(facts(FIXTURES / "t3-micro")))
    assert {key[1] for key in found} == {"nvme0n1", "nvme1n1", "dm-0"}


def test_every_value_has_the_unit_of_its_name() -> None:
    found = series(disk.collect(facts(FIXTURES / "t3-micro")))
    assert {name: value for (name, device), value in found.items() if device == "nvme1n1"} == {
        "node_disk_reads_completed_total": 90211,
        "node_disk_read_bytes_total": 7212088 * 512,
        "node_disk_read_time_seconds_total": 312.204,
        "node_disk_writes_completed_total": 880131,
        "node_disk_written_bytes_total": 55120344 * 512,
        "node_disk_write_time_seconds_total": 90881.123,
        "node_disk_io_now": 31,
        "node_disk_io_time_seconds_total": 3920.188,
        "node_disk_io_time_weighted_seconds_total": 91193.327,
    }


@pytest.mark.parametrize(
    ("device", "told"),
    [
        *(
            (name, True)
            for name in ("sda", "vdb", "xvdf", "nvme0n1", "dm-0", "md127", "mmcblk0", "cciss/c0d0", "loop0p1")
        ),
        *(
            (name, False)
            for name in ("sda1", "vdb15", "xvdf1", "nvme10n1p1", "ram0", "zram0", "loop12", "fd0")
        ),
    ],
)
def test_what_a_disk_is_follows_node_exporter(tmp_path: Path, device: str, told: bool) -> None:  # noqa: FBT001 - a column of the table
    host = facts(tmp_path)
    host.proc.mkdir()
    (host.proc / "diskstats").write_text(f" 8 0 {device} 1 2 3 4 5 6 7 8 9 10 11\n")
    assert bool(series(disk.collect(host))) is told


def test_the_queue_depth_of_each_disk_is_told_from_the_second_reading_on(tmp_path: Path) -> None:
    clock = iter((0.0, 10.0))
    host = dataclasses.replace(facts(tmp_path), disk_queue=QueueDepth(lambda: next(clock)))
    host.proc.mkdir()
    text = (FIXTURES / "t3-micro" / "proc" / "diskstats").read_text()
    (host.proc / "diskstats").write_text(text)
    assert ("floodmark_disk_queue_depth", "nvme1n1") not in series(disk.collect(host))
    (host.proc / "diskstats").write_text(re.sub(r"91193327", str(91193327 + 305_000), text))
    found = series(disk.collect(host))
    assert found["floodmark_disk_queue_depth", "nvme1n1"] == pytest.approx(30.5)
    assert found["floodmark_disk_queue_depth", "nvme0n1"] == 0
