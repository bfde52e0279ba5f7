"""/proc/loadavg."""

import pytest

from floodmark.sources.procfs import loadavg


def test_the_three_averages_are_read() -> None:
    assert loadavg.parse("0.20 0.18 0.12 1/80 11206\n") == (0.20, 0.18, 0.12)


def test_a_truncated_file_is_an_error_that_shows_it() -> None:
    with pytest.raises(ValueError, match=r"'0\.20 '"):
        loadavg.parse("0.20 ")
