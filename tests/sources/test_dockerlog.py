"""A container's output as docker keeps it."""

import json
from pathlib import Path

import pytest

from floodmark.sources.dockerlog import DockerLog, container

ID = "2f1c" * 16
LINE = "[2026-11-20 07:27:51 +0000] [7] [CRITICAL] WORKER TIMEOUT (pid:9)"


def record(text: str, stream: str = "stderr") -> str:
    return json.dumps({"log": text, "stream": stream, "time": "2026-11-20T07:27:51.523Z"}) + "\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    log = tmp_path / f"{ID}-json.log"
    log.write_text(record("old\n"))
    return log


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_lines_are_taken_out_of_their_records(path: Path) -> None:
    log = DockerLog(str(path))
    append(path, record(LINE + "\n") + record("access\n", "stdout"))
    assert list(log.lines()) == [LINE, "access"]


def test_a_line_in_parts_is_put_together_again_beside_the_other_stream(path: Path) -> None:
    log = DockerLog(str(path))
    append(path, record(LINE[:20]) + record("access\n", "stdout"))
    assert list(log.lines()) == ["access"]
    append(path, record(LINE[20:] + "\n"))
    assert list(log.lines()) == [LINE]


def test_a_record_that_is_none_costs_itself_alone(path: Path) -> None:
    log = DockerLog(str(path))
    for rubbish in (
        '{"log":"cut',
        "[]",
        "7",
        '{"log":7,"stream":"stderr"}',
        '{"log":"x","stream":[]}',
        "[" * 9000,
    ):
        append(path, rubbish + "\n")
    append(path, record(LINE + "\n"))
    assert list(log.lines()) == [LINE]


def test_a_line_without_end_takes_no_more_than_its_share_of_memory(path: Path) -> None:
    log = DockerLog(str(path))
    for _ in range(100):
        append(path, record("x" * 16_000))
    append(path, record("end\n"))
    (line,) = log.lines()
    assert len(line) <= 17 * 1024


def test_rotation_loses_no_line(path: Path) -> None:
    log = DockerLog(str(path))
    append(path, record("last\n"))
    path.rename(path.with_suffix(".log.1"))
    path.write_text(record("first\n"))
    assert list(log.lines()) == ["last", "first"]


def test_a_later_run_goes_on_where_an_earlier_one_had_read_to(path: Path) -> None:
    earlier = DockerLog(str(path))
    append(path, record("read\n"))
    assert list(earlier.lines()) == ["read"]
    since = earlier.position()
    append(path, record(LINE + "\n"))
    later = DockerLog(str(path), since)
    assert later.complete
    assert list(later.lines()) == [LINE]


@pytest.mark.parametrize(
    ("cgroup", "mountinfo"),
    [
        (f"0::/system.slice/docker-{ID}.scope\n", ""),
        (f"4:memory:/docker/{ID}\n0::/\n", ""),
        (f"0::/../docker-{ID}.scope/init\n", ""),
        (
            "0::/\n",
            f"612 590 8:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n",
        ),
    ],
)
def test_a_containers_id_is_found(cgroup: str, mountinfo: str) -> None:
    assert container(cgroup, mountinfo) == ID


def test_outside_of_a_container_there_is_none() -> None:
    mounts = f"30 1 0:26 / /var/lib/docker/overlay2/{ID}/merged rw - overlay overlay rw\n"
    assert container("0::/system.slice/docker.service\n", mounts) is None
