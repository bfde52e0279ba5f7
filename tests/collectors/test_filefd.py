"""The filefd collector."""

from floodmark.collectors import filefd
from tests.fixtures.hosts import FIXTURES, facts, series


def test_open_files_of_the_whole_host_are_told() -> None:
    assert series(filefd.collect(facts(FIXTURES / "t3-micro"))) == {("node_filefd_allocated",): 2112}
