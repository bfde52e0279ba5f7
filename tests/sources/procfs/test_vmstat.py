"""/proc/vmstat."""

import pytest

from floodmark.sources.procfs import vmstat
from tests.fixtures.hosts import FIXTURES


def test_counts_are_read_by_name() -> None:
    assert vmstat.parse("pswpin 12\noom_kill 3\n") == {"pswpin": 12, "oom_kill": 3}


def test_a_recorded_host_is_read() -> None:
    assert {"pswpin", "pswpout", "pgmajfault", "oom_kill"} <= vmstat.read(
        FIXTURES / "vm-cgroup1" / "proc"
    ).keys()


@pytest.mark.parametrize("text", ["", "pswpin 12\npswpo", "pswpin 12\npswpout many\n", "pswpin 1 2\n"])
def test_a_truncated_file_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"^vmstat: .*expected"):
        vmstat.parse(text)
