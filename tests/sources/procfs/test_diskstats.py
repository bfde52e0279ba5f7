"""/proc/diskstats, and the queue depth made of two readings."""

import pytest

from floodmark.sources.procfs import diskstats
from floodmark.sources.procfs.diskstats import Disk, QueueDepth
from tests.fixtures.hosts import FIXTURES

LINE = " 254  0 vda 100 7 2048 1500 50 8 4096 250 3 1200 90000"


class Clock:
    """A clock that goes when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        """Tell the time in seconds."""
        return self.now


def disk(weighted_seconds: float) -> Disk:
    return Disk(0, 0, 0, 0, 0, 0, 0, 0, weighted_seconds)


@pytest.mark.parametrize("more", ["", " 1 2 3 4", " 1 2 3 4 5 6"], ids=["2.6", "4.18", "5.5"])
def test_sectors_become_bytes_and_milliseconds_seconds_on_every_kernel(more: str) -> None:
    assert diskstats.parse(f"{LINE}{more}\n") == {
        "vda": Disk(
            reads=100,
            read_bytes=1048576,
            read_seconds=1.5,
            writes=50,
            written_bytes=2097152,
            write_seconds=0.25,
            in_flight=3,
            busy_seconds=1.2,
            weighted_seconds=90.0,
        )
    }


def test_a_device_may_have_a_slash_in_its_name() -> None:
    assert list(diskstats.parse(LINE.replace("vda", "cciss/c0d0"))) == ["cciss/c0d0"]


def test_a_recorded_host_is_read() -> None:
    assert diskstats.read(FIXTURES / "vm-cgroup1" / "proc")["vda"].reads > 0


@pytest.mark.parametrize("broken", [" 254  0 vda 100 7", LINE[:-9], LINE.replace("100", "x")])
def test_a_truncated_line_is_an_error_that_shows_it(broken: str) -> None:
    with pytest.raises(ValueError, match=rf"^diskstats: .*expected.*{broken}"):
        diskstats.parse(broken)


def test_the_queue_depth_is_unknown_until_the_second_reading() -> None:
    clock = Clock()
    queue = QueueDepth(clock)
    assert queue.depth({"vda": disk(100)}) == {}
    clock.now += 10
    assert queue.depth({"vda": disk(400)}) == {"vda": 30.0}


def test_a_second_scraper_does_not_shorten_the_first_ones_interval() -> None:
    clock = Clock()
    queue = QueueDepth(clock)
    queue.depth({"vda": disk(100)})
    clock.now += 10
    queue.depth({"vda": disk(400)})
    clock.now += 1
    assert queue.depth({"vda": disk(400)}) == {"vda": 30.0}, "one second later: the reading before holds"
    clock.now += 4
    assert queue.depth({"vda": disk(410)}) == {"vda": 2.0}


def test_the_queue_depth_of_a_new_disk_and_of_one_that_began_anew_is_unknown() -> None:
    clock = Clock()
    queue = QueueDepth(clock)
    queue.depth({"vda": disk(100)})
    clock.now += 10
    assert queue.depth({"vda": disk(7), "vdb": disk(100)}) == {}
    clock.now += 10
    assert queue.depth({"vda": disk(17), "vdb": disk(100)}) == {"vda": 1.0, "vdb": 0.0}
