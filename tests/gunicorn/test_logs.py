"""Where a gunicorn's error log is found: a file, docker's log of its container, the journal."""

import gzip
import json
from pathlib import Path

import pytest

from floodmark.gunicorn import logs
from floodmark.gunicorn.find import Master, describe
from floodmark.sources.available import Lack
from floodmark.sources.dockerlog import DockerLog
from floodmark.sources.journal import Journal
from floodmark.sources.logtail import LogTail
from floodmark.sources.procfs.process import Identity
from tests.support.proc_tree import GUNICORN, add

JOURNAL = Path(__file__).parent.parent / "fixtures/attribution/journal-compact.gz"
ID = "2f1c" * 16


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    return tmp_path / "proc"


def gunicorn(proc: Path, stderr: str, *flags: str) -> Master:
    proc.mkdir()
    add(proc, 9, (*GUNICORN, *flags))
    (proc / "9/fd/2").symlink_to(stderr)
    (proc / "9/cgroup").write_text("0::/system.slice/shop.service\n")
    (proc / "9/mountinfo").write_text("")
    return describe(proc, Identity(9, 90), {})


def follow(proc: Path, master: Master) -> object:
    return logs.follow(proc, proc.parent, master, None)


def test_a_file_is_followed(proc: Path) -> None:
    log = proc.parent / "error.log"
    log.touch()
    assert isinstance(follow(proc, gunicorn(proc, str(log))), LogTail)


def test_a_containers_output_is_followed_where_docker_keeps_it(proc: Path) -> None:
    master = gunicorn(proc, "pipe:[4711]", "--error-logfile", "-")
    (proc / "9/cgroup").write_text(f"0::/system.slice/docker-{ID}.scope\n")
    kept = proc.parent / f"var/lib/docker/containers/{ID}/{ID}-json.log"
    kept.parent.mkdir(parents=True)
    kept.touch()
    log = follow(proc, master)
    assert isinstance(log, DockerLog)
    with kept.open("a") as file:
        file.write(json.dumps({"log": "line\n", "stream": "stderr"}) + "\n")
    assert list(log.lines()) == ["line"]


def test_an_unreadable_container_log_is_a_lack_with_its_path_and_grant(proc: Path) -> None:
    master = gunicorn(proc, "pipe:[4711]")
    (proc / "9/cgroup").write_text(f"0::/docker/{ID}\n")
    lack = follow(proc, master)
    assert isinstance(lack, Lack)
    assert f"var/lib/docker/containers/{ID}/{ID}-json.log: No such file" in lack.problem
    assert "cap_add: [DAC_READ_SEARCH]" in lack.grant


def test_a_pipe_outside_of_a_container_is_a_lack_that_a_log_file_mends(proc: Path) -> None:
    lack = follow(proc, gunicorn(proc, "pipe:[4711]"))
    assert isinstance(lack, Lack)
    assert "--error-logfile FILE" in lack.grant


def test_the_journal_is_followed_where_standard_error_is_a_socket(proc: Path) -> None:
    master = gunicorn(proc, "socket:[4711]")
    kept = proc.parent / "var/log/journal/m/system.journal"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(gzip.decompress(JOURNAL.read_bytes()))
    assert isinstance(follow(proc, master), Journal)


def test_no_journal_is_a_lack_that_names_the_group(proc: Path) -> None:
    lack = follow(proc, gunicorn(proc, "socket:[4711]"))
    assert isinstance(lack, Lack)
    assert "it goes to the journal, which has no files" in lack.problem
    assert "systemd-journal" in lack.grant


def test_a_log_file_that_is_missing_is_not_looked_for_elsewhere(proc: Path) -> None:
    lack = follow(proc, gunicorn(proc, "socket:[4711]", "--error-logfile", "/none.log"))
    assert isinstance(lack, Lack)
    assert "none.log: No such file" in lack.problem
