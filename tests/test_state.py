"""The state file: whatever is wrong with it costs the state, never the exporter."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from floodmark import state as module
from floodmark.gunicorn import kept as form
from floodmark.gunicorn.deaths import Circumstances, Death
from floodmark.gunicorn.kept import Kept, KeptGunicorn
from floodmark.gunicorn.model import Tally, Worker
from floodmark.sources.available import Available
from floodmark.sources.kmsg import OomKill
from floodmark.sources.logposition import Position
from floodmark.sources.procfs.process import Identity
from floodmark.state import State

WORKER = Worker(Identity(101, 5), 7, 0, 1000.5, sure=True, status=9, died=1010.0, memory=(1, 2))
KEPT = Kept(
    host="boot pid:[1]",
    saved=1010.5,
    since=900.0,
    kernel_log=12,
    kills=(OomKill(101, "cgroup", 5),),
    tallies={"shop": Tally(sigkills=3, boots=4, reloads=1, recovered=2)},
    seen={"shop": 1010.5},
    gunicorns=(
        KeptGunicorn(
            app="shop",
            master=Identity(100, 4),
            namespace_pid=1,
            log=Position("/var/log/shop", 1, 2, 3, 4),
            log_understood=True,
            log_at_info=False,
            judged=(99,),
            workers=(),
        ),
    ),
    deaths=(
        Death(
            time=1000.0,
            app="shop",
            pid=1,
            slot=None,
            age=None,
            cause="oom_kill",
            confidence="confirmed",
            evidence=("a", "b"),
            in_flight=("GET /",),
            circumstances=Circumstances(oom_limit="host", lacks=("c",)),
        ),
    ),
)


def changed(kept: Kept) -> Kept:
    return kept._replace(tallies={"shop": Tally(sigkills=4)})


class Clock:
    """Unix time that a test moves."""

    now = 1795159671.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def available() -> Available:
    return Available()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_what_was_kept_comes_back(tmp_path: Path, available: Available) -> None:
    state = State(tmp_path / "made/here", available)
    assert state.load() is None
    (gunicorn,) = KEPT.gunicorns
    with_worker = KEPT._replace(gunicorns=(gunicorn._replace(workers=(WORKER,)),))
    state.keep(with_worker)
    found = module.read(tmp_path / "made/here")
    assert found is not None
    (back,) = found.gunicorns[0].workers
    assert [getattr(back, name) for name in Worker.__slots__] == [
        getattr(WORKER, name) for name in Worker.__slots__
    ]
    assert found._replace(gunicorns=KEPT.gunicorns) == KEPT
    assert available.by_source() == {"state": True}


def test_it_is_written_when_something_happened_or_a_minute_went_by_or_at_the_end(
    tmp_path: Path, available: Available, clock: Clock
) -> None:
    state = State(tmp_path, available, clock)
    path = tmp_path / module.NAME

    def written(kept: Kept, *, last: bool = False) -> bool:
        before = path.stat().st_ino, path.stat().st_mtime_ns
        state.keep(kept, last=last)
        return (path.stat().st_ino, path.stat().st_mtime_ns) != before

    state.keep(KEPT)
    assert not written(KEPT._replace(saved=1011.0, kernel_log=13))
    assert written(changed(KEPT))
    assert not written(changed(KEPT))
    assert written(changed(KEPT), last=True)
    clock.now += 61
    assert written(changed(KEPT))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is corrupt"),
        (b'{"version": 1, "host"', "is corrupt"),
        (b"\xff\xfe\x00", "is corrupt"),
        (b"[]", "is corrupt"),
        (b"[" * 100_000, "is corrupt"),
        (b'{"version": 1}', "is corrupt"),
        (json.dumps(json.loads(form.dumps(KEPT)) | {"deaths": [{}]}).encode(), "is corrupt"),
        (json.dumps(json.loads(form.dumps(KEPT)) | {"apps": {"shop": {}}}).encode(), "is corrupt"),
        (json.dumps(json.loads(form.dumps(KEPT)) | {"version": 2}).encode(), "is another version's"),
    ],
)
def test_a_file_that_cannot_be_used_is_put_aside_whole_and_said_once(
    content: bytes, why: str, tmp_path: Path, available: Available, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / module.NAME).write_bytes(content)
    state = State(tmp_path, available, Clock())
    assert state.load() is None
    aside = tmp_path / "state.json.unusable-20261120T072751Z"
    assert aside.read_bytes() == content
    (words,) = said(caplog)
    assert why in words
    assert str(aside) in str(caplog.records[0].__dict__["grant"])
    assert available.by_source() == {"state": False}
    state.keep(KEPT)
    assert module.read(tmp_path) == KEPT
    assert available.by_source() == {"state": True}


def test_a_file_that_cannot_be_read_is_not_replaced(
    tmp_path: Path, available: Available, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / module.NAME).mkdir()
    state = State(tmp_path, available)
    assert state.load() is None
    state.keep(KEPT, last=True)
    assert (tmp_path / module.NAME).is_dir()
    assert said(caplog) == ["the state file can't be read: Is a directory"]


def test_a_folder_that_cannot_be_had_is_said_once_and_nothing_is_kept(
    tmp_path: Path, available: Available, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    state = State(tmp_path / "file/state", available)
    assert state.load() is None
    state.keep(KEPT)
    state.run(lambda: KEPT)  # returns: there is nothing to do
    assert said(caplog) == [f"the state file can't be kept in {tmp_path}/file/state: Not a directory"]


def test_a_write_that_fails_leaves_the_last_good_state_and_is_said_once(
    tmp_path: Path, available: Available, caplog: pytest.LogCaptureFixture
) -> None:
    state = State(tmp_path, available)
    state.keep(KEPT)
    new = tmp_path / f"{module.NAME}.new"
    for _ in range(3):
        new.symlink_to("/dev/full")
        state.keep(changed(KEPT))
    assert said(caplog) == ["the state file can't be written: No space left on device"]
    assert module.read(tmp_path) == KEPT
    state.keep(changed(KEPT))
    assert module.read(tmp_path) == changed(KEPT)
    assert available.by_source() == {"state": True}


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_costs_what_is_new_and_nothing_that_was_kept(tiny: Path, available: Available) -> None:
    state = State(tiny, available)
    state.keep(KEPT)
    fill = tiny / "fill"
    with pytest.raises(OSError, match="No space left"):
        fill.write_bytes(b"\0" * (1 << 20))
    state.keep(changed(KEPT))
    assert available.by_source() == {"state": False}
    assert module.read(tiny) == KEPT
    assert not (tiny / f"{module.NAME}.new").exists()
    fill.unlink()
    state.keep(changed(KEPT))
    assert module.read(tiny) == changed(KEPT)


def test_what_a_crash_left_half_written_is_no_state(tmp_path: Path, available: Available) -> None:
    State(tmp_path, available).keep(KEPT)
    (tmp_path / f"{module.NAME}.new").write_bytes(b'{"version"')
    assert module.read(tmp_path) == KEPT


def test_two_exporters_do_not_count_in_one_file(
    tmp_path: Path, available: Available, caplog: pytest.LogCaptureFixture
) -> None:
    first = State(tmp_path, available)
    first.keep(KEPT)
    second = State(tmp_path, Available())
    assert second.load() is None
    second.keep(changed(KEPT), last=True)
    assert module.read(tmp_path) == KEPT
    assert said(caplog) == [f"the state file in {tmp_path} is in use by another floodmark"]


def test_without_a_folder_nothing_is_kept_and_nothing_said(available: Available) -> None:
    state = State(None, available)
    assert state.load() is None
    state.keep(KEPT, last=True)
    assert available.by_source() == {}
