"""Proportional memory: sampled slowly on any host, right on a real one."""

import contextlib
import os
from pathlib import Path

import pytest

from floodmark.gunicorn.find import Master
from floodmark.gunicorn.model import AppState, LiveWorker, Tally
from floodmark.gunicorn.proportional import EACH, STALE, ProportionalMemory
from floodmark.gunicorn.settings import UNKNOWN
from floodmark.sources.available import Available
from floodmark.sources.procfs.process import Identity
from tests.support.live import floodmark, gunicorn, until

MASTER, *WORKERS = [Identity(pid, pid * 10) for pid in (100, 101, 102)]


class Host:
    """A host with a master and two workers, and its clock."""

    def __init__(self, proc: Path) -> None:
        self.now = 1000.0
        self.proc = proc
        self.available = Available()
        self.memory = ProportionalMemory(proc, self.available, lambda: self.now)
        for identity in (MASTER, *WORKERS):
            self.uses(identity, identity.pid)

    def uses(self, identity: Identity, kibibytes: int) -> None:
        folder = self.proc / str(identity.pid)
        folder.mkdir(exist_ok=True)
        (folder / "smaps_rollup").write_text(
            f"555-7ff ---p 0 00:00 0 [rollup]\nRss: 9 kB\nPss: {kibibytes} kB\n"
        )

    def read(self, workers: list[Identity], most: int | None = None) -> None:
        masters = (Master(MASTER, "shop", UNKNOWN, "27.0.1", MASTER.pid),)
        live = tuple(LiveWorker(each, each.pid, slot, 0, None) for slot, each in enumerate(workers))
        self.memory.read([AppState("shop", masters, (), live, Tally())], most)

    def sizes(self) -> list[int | None]:
        readings = [self.memory.of(each) for each in (MASTER, *WORKERS)]
        return [reading and reading.size // 1024 for reading in readings]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_one_is_read_at_a_time_and_none_again_before_its_minute_is_over(host: Host) -> None:
    seen = []
    for _ in range(4):
        host.read(WORKERS, most=1)
        seen.append(host.sizes())
        host.now += 1
    assert seen == [[100, None, None], [100, 101, None], [100, 101, 102], [100, 101, 102]]
    for identity in (MASTER, *WORKERS):
        host.uses(identity, 7)
    host.read(WORKERS, most=1)
    assert host.sizes() == [100, 101, 102]
    host.now = 1000 + EACH
    host.read(WORKERS, most=1)
    assert host.sizes() == [7, 101, 102]


def test_a_new_worker_comes_before_one_that_is_due_again(host: Host) -> None:
    host.read(WORKERS[:1])
    host.now += 2 * EACH
    host.read(WORKERS, most=1)
    assert host.sizes() == [100, 101, 102]


def test_a_reading_knows_its_age_and_says_nothing_once_it_is_too_old(host: Host) -> None:
    host.read(WORKERS)
    host.now += STALE
    reading = host.memory.of(MASTER)
    assert reading
    assert reading.age == STALE
    host.now += 1
    assert host.memory.of(MASTER) is None


def test_readings_of_those_that_are_gone_are_dropped(host: Host) -> None:
    host.read(WORKERS)
    host.read(WORKERS[:1])
    assert host.sizes() == [100, 101, None]


def test_one_that_ended_is_no_lack_and_keeps_none_of_the_others_from_being_read(host: Host) -> None:
    (host.proc / "101/smaps_rollup").unlink()
    (host.proc / "102/smaps_rollup").write_text("")
    host.read(WORKERS)
    assert host.sizes() == [100, None, None]
    assert host.available.by_source() == {"proportional_memory": True}


MIB = 1 << 20
TABLE = 120


def pss(pids: list[int]) -> int:
    """Add up the proportional memory of each mapping: what the kernel's own sum is made of."""
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024


@pytest.mark.live
def test_a_table_shared_under_preload_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOADED_TABLE_MIB", str(TABLE))
    with contextlib.ExitStack() as stack:
        app = stack.enter_context(
            gunicorn("shared", tmp_path, "--preload", workers=4, target="tests.support.loaded:app")
        )
        watcher = stack.enter_context(floodmark(tmp_path))
        memory = until(
            lambda: {
                kind: size
                for (kind,), size in watcher.values("gunicorn_memory_bytes", app=app.name).items()
                if watcher.values("gunicorn_memory_proportional_age_seconds", app=app.name)
            },
            30,
            "every process is read",
        )
        truth = pss([app.process.pid, *app.workers()])
        assert memory["resident"] > 5 * TABLE * MIB
        assert TABLE * MIB < memory["proportional"] < 2 * TABLE * MIB
        assert memory["proportional"] == pytest.approx(truth, rel=0.1)
        each = watcher.values("gunicorn_worker_proportional_memory_bytes", app=app.name)
        assert len(each) == 4
        assert all(size < TABLE * MIB / 2 for size in each.values())


@pytest.mark.live
def test_without_the_right_there_is_no_proportional_memory_and_that_is_said_once(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can run a gunicorn that floodmark has no right to look into")
    with (
        gunicorn("closed", tmp_path) as app,
        floodmark(tmp_path, prefix=("setpriv", "--bounding-set", "-all")) as watcher,
    ):
        kinds = watcher.values("gunicorn_memory_bytes", app=app.name)
        assert {kind for (kind,) in kinds} == {"resident", "anonymous", "swap"}
        said = [line for line in watcher.lines() if line.get("source") == "proportional_memory"]
        said = [line for line in said if line["app"] == app.name]
        assert len(said) == 1
        assert "CAP_SYS_PTRACE" in said[0]["grant"]
