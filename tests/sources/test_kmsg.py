"""The kernel's log."""

from pathlib import Path

import pytest

from floodmark.sources import kmsg
from floodmark.sources.kmsg import OomKill

CAPTURED = Path(__file__).parent.parent / "fixtures/attribution/kmsg_memcg_oom.txt"


def test_a_captured_oom_kill_of_a_cgroup_names_its_victim_once() -> None:
    kills = [kmsg.parse(record) for record in CAPTURED.read_bytes().splitlines()]
    assert [kill for kill in kills if kill] == [OomKill(557, "cgroup", 191864 * 1024)]


def test_an_oom_kill_of_the_whole_host_is_told_from_a_cgroups() -> None:
    record = (
        b"3,768,1186878355,-;Out of memory: Killed process 1234 (gunicorn: worker [a b]) total-vm:812345kB, "
        b"anon-rss:612345kB, file-rss:0kB, shmem-rss:0kB, UID:33 pgtables:1400kB oom_score_adj:0"
    )
    assert kmsg.parse(record) == OomKill(1234, "host", 612345 * 1024)


def test_what_a_user_writes_into_the_log_is_no_kill() -> None:
    forged = b"12,768,1186878355,-;app: Out of memory: Killed process 1 (x) anon-rss:1kB"
    assert kmsg.parse(forged) is None


def test_the_first_device_that_opens_is_followed_and_the_first_error_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="first"):
        kmsg.KernelLog.open_first((tmp_path / "first", tmp_path / "second"))


def test_what_was_logged_since_a_record_is_read_and_it_is_known_if_some_is_lost() -> None:
    try:
        log = kmsg.KernelLog(Path("/dev/kmsg"))
    except OSError as error:
        pytest.skip(f"no kernel log here: {error}")
    try:
        if log.sequence < 0:
            pytest.skip("this kernel's log is empty")
        assert log.kills_since(log.sequence) == ([], True)
        kills, complete = log.kills_since(-1000)
        assert not complete
        assert list(log.kills()) == []
        again, _ = log.kills_since(-1000)
        assert again[: len(kills)] == kills
    finally:
        log.close()
