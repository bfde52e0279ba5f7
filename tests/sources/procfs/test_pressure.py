"""/proc/pressure."""

from pathlib import Path

import pytest

from floodmark.sources.procfs import pressure
from tests.fixtures.hosts import FIXTURES

SOME = "some avg10=0.13 avg60=0.88 avg300=0.93 total=7888952\n"
FULL = "full avg10=0.06 avg60=0.83 avg300=0.91 total=7567122\n"


def test_totals_become_seconds() -> None:
    assert pressure.parse(SOME + FULL) == (7.888952, 7.567122)


def test_the_cpu_of_an_old_kernel_has_no_full_line() -> None:
    assert pressure.parse(SOME) == (7.888952, None)


@pytest.mark.parametrize("resource", ["cpu", "memory", "io"])
def test_a_recorded_host_is_read(resource: str) -> None:
    found = pressure.read(FIXTURES / "vm-cgroup1" / "proc", resource)
    assert found is not None
    assert found.full is not None
    assert found.some >= found.full


def test_a_kernel_without_it_is_no_error(tmp_path: Path) -> None:
    assert pressure.read(tmp_path, "cpu") is None


@pytest.mark.parametrize("text", ["", FULL, SOME[:40], "some avg10=0.13 total=\n"])
def test_a_truncated_file_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"^pressure: .*expected"):
        pressure.parse(text)
