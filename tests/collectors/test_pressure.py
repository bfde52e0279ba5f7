"""The pressure collector."""

import shutil
from pathlib import Path

import pytest

from floodmark.collectors import pressure
from tests.fixtures.hosts import FIXTURES, facts, series


def test_waiting_and_stalled_time_of_each_resource_is_told() -> None:
    host = facts(FIXTURES / "t3-micro")
    assert series(pressure.collect(host)) == {
        ("node_pressure_cpu_waiting_seconds_total",): 9120.883451,
        ("node_pressure_memory_waiting_seconds_total",): 4402.118220,
        ("node_pressure_memory_stalled_seconds_total",): 3981.002311,
        ("node_pressure_io_waiting_seconds_total",): 6120.883451,
        ("node_pressure_io_stalled_seconds_total",): 5733.110920,
    }
    assert host.watch.available.by_source() == {"pressure": True}


def test_a_kernel_without_it_is_a_missing_source_said_once_and_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = facts(tmp_path)
    for _ in range(3):
        assert series(pressure.collect(host)) == {}
    assert host.watch.available.by_source() == {"pressure": False}
    assert len(caplog.records) == 1


def test_a_truncated_file_is_a_failure_and_no_missing_source(tmp_path: Path) -> None:
    host = facts(tmp_path)
    shutil.copytree(FIXTURES / "t3-micro" / "proc" / "pressure", host.proc / "pressure")
    (host.proc / "pressure" / "io").write_text("some avg10=0.4")
    with pytest.raises(ValueError, match="pressure"):
        list(pressure.collect(host))
