"""/proc/stat."""

import pytest

from floodmark.sources.procfs import stat
from floodmark.sources.procfs.stat import CpuTimes, Ratchet
from tests.fixtures.hosts import FIXTURES

TEXT = """cpu  30 0 0 0 0 0 0 0 0 0
cpu0 10 1 2 3 4 5 6 7 8 9
cpu2 20 0 0 0 0 0 0 0 0 0
intr 5
btime 1700000000
"""


def times(idle: float, iowait: float = 0) -> CpuTimes:
    return CpuTimes(1, 1, 1, idle, iowait, 1, 1, 1)


def test_each_cpu_is_read_in_seconds_and_their_sum_is_none_of_them() -> None:
    cpus, boot_time = stat.parse(TEXT)
    assert cpus["0"] == (0.1, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07)
    assert boot_time == 1700000000
    assert list(cpus) == ["0", "2"], "CPU 1 is offline: it has no line"


def test_a_recorded_host_is_read() -> None:
    cpus, boot_time = stat.read(FIXTURES / "vm-cgroup1" / "proc")
    assert list(cpus) == ["0", "1"]
    assert cpus["0"].idle > cpus["0"].user > 0
    assert boot_time > 1_600_000_000


@pytest.mark.parametrize("broken", ["cpu0 10 1 2", "cpu0 10 1 2 3 4 5 6 x", "btime soon"])
def test_a_truncated_line_is_an_error_that_shows_it(broken: str) -> None:
    with pytest.raises(ValueError, match=rf"^stat: .*expected.*{broken}"):
        stat.parse(f"{TEXT}{broken}\n")


@pytest.mark.parametrize("text", ["", "btime 1700000000\n", "cpu0 10 1 2 3 4 5 6 7\n"])
def test_a_file_cut_between_lines_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"^stat: .*missing"):
        stat.parse(text)


def test_idle_and_iowait_that_fall_a_little_are_held() -> None:
    ratchet = Ratchet()
    ratchet.hold({"0": times(idle=100, iowait=5)})
    assert ratchet.hold({"0": times(idle=99.9, iowait=4)}) == {"0": times(idle=100, iowait=5)}
    assert ratchet.hold({"0": times(idle=101, iowait=6)}) == {"0": times(idle=101, iowait=6)}


def test_a_cpu_that_was_unplugged_and_put_back_begins_anew() -> None:
    ratchet = Ratchet()
    ratchet.hold({"0": times(idle=100, iowait=5)})
    assert ratchet.hold({"0": times(idle=2)}) == {"0": times(idle=2)}


def test_a_cpu_that_went_offline_is_forgotten() -> None:
    ratchet = Ratchet()
    ratchet.hold({"0": times(idle=100), "1": times(idle=100)})
    assert list(ratchet.hold({"0": times(idle=101)})) == ["0"]
