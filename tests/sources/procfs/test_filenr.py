"""/proc/sys/fs/file-nr."""

import pytest

from floodmark.sources.procfs import filenr
from tests.fixtures.hosts import FIXTURES


def test_open_files_come_first() -> None:
    assert filenr.parse("2112\t0\t9223372036854775807\n") == 2112


def test_a_recorded_host_is_read() -> None:
    assert filenr.read(FIXTURES / "vm-cgroup1" / "proc") > 0


@pytest.mark.parametrize("text", ["", "2112\t0\n", "2112\t0\tall\n"])
def test_a_truncated_file_is_an_error_that_shows_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"^file-nr: three numbers expected, got ") as error:
        filenr.parse(text)
    assert repr(text) in str(error.value)
