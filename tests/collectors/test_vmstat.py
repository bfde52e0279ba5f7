"""The vmstat collector."""

from pathlib import Path

from floodmark.collectors import vmstat
from tests.fixtures.hosts import FIXTURES, facts, series


def test_swapping_and_oom_kills_are_told() -> None:
    assert series(vmstat.collect(facts(FIXTURES / "t3-micro"))) == {
        ("node_vmstat_pswpin",): 1204881,
        ("node_vmstat_pswpout",): 1633420,
        ("node_vmstat_pgmajfault",): 388120,
        ("node_vmstat_oom_kill",): 3,
    }


def test_a_kernel_that_does_not_count_oom_kills_tells_the_rest(tmp_path: Path) -> None:
    host = facts(tmp_path)
    host.proc.mkdir()
    (host.proc / "vmstat").write_text("pswpin 1\npswpout 2\npgmajfault 3\n")
    found = series(vmstat.collect(host))
    assert list(found.values()) == [1, 2, 3]
