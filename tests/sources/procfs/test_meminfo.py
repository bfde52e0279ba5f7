"""/proc/meminfo."""

import pytest

from floodmark.sources.procfs import meminfo
from tests.fixtures.hosts import FIXTURES


def test_kilobytes_become_bytes_and_counts_stay() -> None:
    values = meminfo.parse("MemTotal:  989596 kB\nActive(anon):  12 kB\nHugePages_Total:   3\n")
    assert values == {"MemTotal": 989596 * 1024, "Active(anon)": 12 * 1024, "HugePages_Total": 3}


def test_a_recorded_host_is_read() -> None:
    values = meminfo.read(FIXTURES / "vm-cgroup1" / "proc")
    assert values["MemTotal"] > values["MemAvailable"] > values["Dirty"]
    assert values["SwapTotal"] == 0


@pytest.mark.parametrize("broken", ["MemFree:", "MemFree: many kB", "MemFree: 3 MB"])
def test_a_line_in_another_format_is_an_error_that_shows_it(broken: str) -> None:
    with pytest.raises(ValueError, match=rf"^meminfo: .*expected.*{broken}"):
        meminfo.parse(f"MemTotal: 9 kB\n{broken}\n")


def test_an_empty_file_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^meminfo: .*MemTotal"):
        meminfo.parse("")
