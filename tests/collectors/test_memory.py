"""The memory collector."""

from pathlib import Path

from floodmark.collectors import memory
from tests.fixtures.hosts import FIXTURES, facts, series


def test_memory_and_swap_are_told_in_bytes() -> None:
    found = series(memory.collect(facts(FIXTURES / "t3-micro")))
    assert found["node_memory_MemTotal_bytes",] == 989596 * 1024
    assert found["node_memory_MemAvailable_bytes",] == 188460 * 1024
    assert found["node_memory_SwapFree_bytes",] == 1690620 * 1024
    assert len(found) == 9


def test_what_an_old_kernel_does_not_tell_is_left_out_and_not_zero(tmp_path: Path) -> None:
    host = facts(tmp_path)
    host.proc.mkdir()
    (host.proc / "meminfo").write_text("MemTotal: 9 kB\nMemFree: 4 kB\n")
    assert series(memory.collect(host)) == {
        ("node_memory_MemTotal_bytes",): 9216,
        ("node_memory_MemFree_bytes",): 4096,
    }
