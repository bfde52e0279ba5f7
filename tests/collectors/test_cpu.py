"""The cpu collector."""

from pathlib import Path

from floodmark.collectors import cpu
from tests.fixtures.hosts import FIXTURES, facts, series


def test_stolen_time_is_told_apart_and_guest_time_is_not_taken_out_of_user() -> None:
    found = series(cpu.collect(facts(FIXTURES / "t3-micro")))
    assert found["node_cpu_seconds_total", "0", "steal"] == 5227.14
    assert found["node_cpu_seconds_total", "1", "user"] == 12045.36
    assert found["node_boot_time_seconds",] == 1760000000
    assert len(found) == 2 * 8 + 1


def test_idle_time_does_not_run_back_between_two_scrapes(tmp_path: Path) -> None:
    host = facts(tmp_path)
    host.proc.mkdir()
    for idle in (5000, 4990):
        (host.proc / "stat").write_text(f"cpu0 1 1 1 {idle} 1 1 1 1 0 0\nbtime 1700000000\n")
        found = series(cpu.collect(host))
        assert found["node_cpu_seconds_total", "0", "idle"] == 50.0
