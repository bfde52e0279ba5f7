"""Agents' folders: real slabs and ledgers, whose they are, and what strangers put beside them."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from floodmark.agent import slab
from floodmark.agent.ledger import Ledger
from floodmark.agent.rows import SUM
from floodmark.agent.slab import SLOT, Cell, Slab
from floodmark.config import App
from floodmark.gunicorn.agents import Agents, AppAgents
from floodmark.gunicorn.find import Master
from floodmark.gunicorn.model import AppState, LiveWorker, Tally
from floodmark.gunicorn.settings import UNKNOWN
from floodmark.sources import slabs
from floodmark.sources.available import Available
from floodmark.sources.procfs.process import Identity

US = os.geteuid()
STRANGER = US or 4242
# In the app's own pid namespace: master and two workers.
MASTER, FIRST, SECOND = (slab.Identity(pid, 9000 + pid) for pid in (1, 7, 8))
GET = "request GET 200"

WRITE = """
import json, os, sys
from floodmark.agent.slab import Identity, Slab
folder, worker, master, rows = json.loads(sys.argv[1])
written = Slab(folder, Identity(*worker), Identity(*master))
for name, count in rows.items():
    written.cells[written.row(name)] = count
os._exit(9)
"""


class Host:
    """A host with a gunicorn in a container, whose agents write to a folder of the host."""

    def __init__(self, root: Path) -> None:
        self.root, self.now, self.available = root, 1000.0, Available()
        self.shm = root / "dev/shm"
        self.shm.mkdir(parents=True)
        self.apps: list[AppState] = [self.watched()]
        self.agents = self.exporter()
        self.open: list[Slab] = []

    def exporter(self, *folders: Path, apps: dict[str, App] | None = None) -> Agents:
        return Agents(self.root, folders, apps or {}, self.available, lambda: self.now)

    def watched(self, name: str = "shop", first: int = 900, agent_dir: str = "") -> AppState:
        """A gunicorn as it is watched: other pids, the same start times."""
        master = Identity(first, MASTER.ticks)
        for pid in (first, first + 1):
            status = self.root / f"proc/{pid}/status"
            status.parent.mkdir(parents=True, exist_ok=True)
            status.write_text(f"Name:\tgunicorn\nPid:\t{pid}\nUid:\t{US}\t{US}\t{US}\t{US}\n")
        workers = tuple(
            LiveWorker(Identity(first + 1 + slot, own.ticks), own.pid, slot, 0.0, None)
            for slot, own in enumerate((FIRST, SECOND))
        )
        masters = (Master(master, name, UNKNOWN, "27.0.1", MASTER.pid, agent_dir),)
        return AppState(name, masters, (), workers, Tally())

    def folder(self, app: str = "shop", user: int = US) -> Path:
        path = self.shm / f"floodmark-{user}" / app
        path.mkdir(parents=True, exist_ok=True)
        return path

    def alive(self, worker: slab.Identity, folder: Path | None = None, **rows: float) -> Slab:
        written = Slab(str(folder or self.folder()), worker, MASTER)
        for name, count in rows.items():
            written.cells[written.row(name.replace("_", " "))] = count
        self.open.append(written)
        return written

    def dead(self, worker: slab.Identity, folder: Path | None = None, **rows: float) -> Path:
        path = folder or self.folder()
        named = {name.replace("_", " "): count for name, count in rows.items()}
        command = [sys.executable, "-c", WRITE, json.dumps([str(path), worker, MASTER, named])]
        assert subprocess.run(command, check=False).returncode == 9
        return path / f"{worker.pid}-{worker.ticks}.slab"

    def told(self) -> dict[str, AppAgents]:
        return dict(self.agents.look(self.apps))

    def counts(self) -> dict[str, float]:
        """GETs answered with 200, by app."""
        return {app: agents.rows[GET][0] for app, agents in self.told().items() if GET in agents.rows}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def fly(written: Slab, started: float, number: int = 0) -> int:
    at, _, _, cell = written.slot(number)
    SLOT.pack_into(written.raw, at, b"GET /slow", 0.0, 0.0, started)
    return cell


def test_no_agent_anywhere_is_normal(host: Host) -> None:
    assert host.told() == {}
    assert host.available.states() == []


def test_a_live_slab_is_its_workers_by_pid_in_its_namespace_and_start_time(host: Host) -> None:
    written = host.alive(FIRST, request_GET_200=3, request_POST_302=1, gc_0=5)
    fly(written, host.now - 2)
    written.cells[Cell.BLOCKS] = 1234
    shop = host.told()["shop"]
    ((worker, told),) = shop.workers.items()
    assert worker == Identity(901, FIRST.ticks)
    assert (told.slot, told.requests, told.in_flight, told.collections) == (0, 4, 1, (5,))
    assert (told.blocks, told.live_blocks, told.live_bytes, told.queued) == (1234, None, None, None)
    assert shop.speaks
    assert host.available.by_source() == {"agent": True}


def test_a_pid_that_is_used_again_is_not_the_worker(host: Host) -> None:
    host.alive(slab.Identity(FIRST.pid, FIRST.ticks + 1), request_GET_200=3)
    assert host.counts() == {"shop": 3}
    assert host.told()["shop"].workers == {}


def test_the_dead_count_before_and_after_they_are_folded_and_never_twice(host: Host) -> None:
    host.alive(FIRST, request_GET_200=3)
    path = host.dead(SECOND, request_GET_200=4)
    assert host.counts() == {"shop": 7}
    assert host.told()["shop"].workers.keys() == {Identity(901, FIRST.ticks)}
    kept = path.read_bytes()
    Ledger(str(host.folder())).fold([])
    assert not path.exists()
    assert host.counts() == {"shop": 7}
    path.write_bytes(kept)  # the master was killed between its ledger and the slab's removal
    assert host.counts() == {"shop": 7}


def test_an_exporter_that_starts_when_all_are_dead_finds_what_they_counted(host: Host) -> None:
    host.dead(FIRST, request_GET_200=3)
    assert host.counts() == {"shop": 3}
    Ledger(str(host.folder())).fold([])
    host.agents = host.exporter()
    assert host.counts() == {"shop": 3}
    host.agents = host.exporter()
    host.alive(SECOND, request_GET_200=1)
    assert host.counts() == {"shop": 4}


def test_what_a_stopped_app_that_nobody_knows_left_behind_is_not_told(host: Host) -> None:
    """Folders of names like shop-$RELEASE are there for a day: each would be a hundred series."""
    host.apps = []
    host.dead(FIRST, request_GET_200=3)
    assert host.told() == {}
    host.alive(SECOND, request_GET_200=1)
    assert host.counts() == {"shop": 4}


def test_what_matches_no_gunicorn_goes_by_its_folders_name_with_counters_alone(host: Host) -> None:
    host.apps = []
    host.alive(FIRST, host.folder("blog.wsgi:app"), request_GET_200=3)
    told = host.told()
    assert host.counts() == {"blog.wsgi:app": 3}
    assert told["blog.wsgi:app"].workers == {}
    assert told["blog.wsgi:app"].speaks
    assert host.available.states() == []


def test_a_configured_label_is_the_folders_too_before_anything_matches(host: Host) -> None:
    host.apps = []
    host.agents = host.exporter(apps={"blog": App(target="blog/wsgi.py")})
    host.alive(FIRST, host.folder("blog_wsgi.py"), request_GET_200=3)
    assert host.counts() == {"blog": 3}


def test_two_folders_of_one_app_add_up_and_one_that_goes_takes_no_count_along(host: Host) -> None:
    container = host.root / "container"
    second = container / f"floodmark-{US}" / "shop"
    second.mkdir(parents=True)
    host.agents = host.exporter(Path("/container"))
    host.dead(FIRST, request_GET_200=3)
    host.dead(SECOND, second, request_GET_200=4)
    assert host.counts()["shop"] == 7
    aside = host.root / "aside"
    container.rename(aside)
    assert host.counts()["shop"] == 7
    aside.rename(container)
    assert host.counts()["shop"] == 7


def test_of_many_folders_that_went_all_counts_are_kept(host: Host) -> None:
    """A container for each deploy: each has a folder of its own, and takes it along."""
    for number in range(8):
        path = host.dead(FIRST, request_GET_200=1)
        assert host.counts() == {"shop": number + 1}
        # Another inode stays in use for each, as it would be.
        shutil.move(path.parent, host.root / f"gone-{number}")
    assert host.counts() == {"shop": 8}


def test_busy_seconds_grow_with_a_request_in_flight_and_never_step_back(host: Host) -> None:
    written = host.alive(FIRST, request_GET_200=1)
    cell = fly(written, host.now - 2)
    assert host.told()["shop"].busy == 2
    host.now += 3
    assert host.told()["shop"].busy == 5
    written.cells[cell] = 0.0  # its client went away: it is never counted
    assert host.told()["shop"].busy == 5
    fly(written, host.now)
    host.now += 7
    assert host.told()["shop"].busy == 7


def test_a_ledger_that_starts_again_is_a_new_count_not_one_that_stands_still(host: Host) -> None:
    host.alive(FIRST, request_GET_200=1)
    written = host.alive(SECOND, request_GET_200=5)
    fly(written, host.now - 100)
    assert host.told()["shop"].busy == 100
    Path(written.path).unlink()
    assert host.told()["shop"].busy == 0


@pytest.mark.parametrize("kind", ["fifo", "link", "folder", "short", "text", "infinite"])
def test_what_is_no_slab_is_left_out_and_said_once(
    host: Host, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    host.alive(FIRST, request_GET_200=3)
    bad = host.folder() / "99-1.slab"
    match kind:
        case "fifo":
            os.mkfifo(bad)
        case "link":
            bad.symlink_to(host.folder() / f"{FIRST.pid}-{FIRST.ticks}.slab")
        case "folder":
            bad.mkdir()
        case "short":
            bad.write_bytes(slab.MAGIC + bytes(100))
        case "text":
            bad.write_bytes(b"x" * slab.SIZE)
        case "infinite":
            host.alive(slab.Identity(99, 1), request_GET_200=float("inf"))
    with caplog.at_level(logging.ERROR):
        assert [host.counts() for _ in range(3)] == [{"shop": 3}] * 3
    (said,) = caplog.records
    assert "99-1.slab" in said.__dict__["reason"]


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"version": 2, "counts": {}, "folded": []}',
        b'{"version": 1, "counts": [], "folded": []}',
        b'{"version": 1, "counts": {"request GET 200": "many"}, "folded": []}',
        b'{"version": 1, "counts": {"request GET 200": [NaN]}, "folded": []}',
        b'{"version": 1, "counts": {"request GET 200": [1' + b"0" * 400 + b']}, "folded": []}',
        b'{"version": 1, "counts": {}, "folded": 7}',
        b"[" * 30000,
    ],
)
def test_a_ledger_that_is_none_holds_its_app_where_it_was_and_is_said_once(
    host: Host, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    host.alive(FIRST, request_GET_200=3)
    host.alive(FIRST, host.folder("blog"), request_GET_200=1)
    assert host.counts()["shop"] == 4  # both are of the one gunicorn that is watched
    (host.folder() / "ledger").write_bytes(content)
    with caplog.at_level(logging.ERROR):
        assert [host.counts() for _ in range(3)] == [{"shop": 4}] * 3
    (said,) = caplog.records
    assert said.__dict__["app"] == "shop"


def test_a_ledger_behind_a_link_or_a_pipe_is_not_read(host: Host) -> None:
    host.alive(FIRST, request_GET_200=3)
    ledger = host.folder() / "ledger"
    ledger.symlink_to("/dev/zero")
    assert host.counts() == {}
    ledger.unlink()
    os.mkfifo(ledger)
    assert host.counts() == {"shop": 3}  # an empty one: nobody writes to it


def test_half_characters_in_a_name_are_no_characters_of_the_page(host: Host) -> None:
    host.apps = []
    folder = Path(os.fsdecode(os.fsencode(host.folder()) + b"\xff"))
    folder.mkdir()
    row = b'{"version": 1, "counts": {"route /\\ud800": [1]}, "folded": []}'
    (folder / "ledger").write_bytes(row)
    host.alive(FIRST, folder)
    assert host.told()["shop?"].rows.keys() == {"route /?"}


def test_folders_that_are_links_or_not_their_users_are_not_looked_into(host: Host) -> None:
    host.apps = []
    host.alive(FIRST, request_GET_200=3)
    (host.shm / f"floodmark-{US + 1}").symlink_to(host.shm / f"floodmark-{US}")
    host.dead(SECOND, host.folder("blog", user=US + 2), request_GET_200=9)  # it isn't user US + 2's
    (host.shm / f"floodmark-{US}" / "linked").symlink_to(host.folder("blog", user=US + 2))
    (host.shm / f"floodmark-{US}" / "file").touch()
    (host.shm / "floodmark-99999999999999").mkdir()
    assert host.counts() == {"shop": 3}


def test_a_strangers_folder_of_a_watched_apps_name_is_refused_and_said_once(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    for status in host.root.glob("proc/*/status"):  # a user that is neither root nor the stranger
        status.write_text("Uid:\t33\t33\t33\t33\n")
    folder = host.folder(user=STRANGER)
    host.dead(FIRST, folder, request_GET_200=1000)
    if os.geteuid() == 0:
        for path in (folder.parent, folder, *folder.iterdir()):
            os.chown(path, STRANGER, -1)
    with caplog.at_level(logging.ERROR):
        assert [host.told() for _ in range(3)] == [{}] * 3
    (said,) = caplog.records
    assert said.__dict__["reason"] == f"user {STRANGER} is neither root nor the user of shop"
    host.apps = []


def test_a_flood_of_slabs_is_an_error_of_its_app_and_one_of_apps_is_cut(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.alive(FIRST, request_GET_200=3)
    flooded = host.folder("blog")
    for number in range(slabs.MOST_SLABS + 1):
        (flooded / f"{number}.slab").touch()
    with caplog.at_level(logging.ERROR):
        assert host.counts() == {"shop": 3}
    assert [said.__dict__["reason"] for said in caplog.records] == [f"more than {slabs.MOST_SLABS} slabs"]
    host.apps = []
    for number in range(slabs.MOST_APPS + 8):
        host.alive(FIRST, host.folder(f"app-{number}"), request_GET_200=1)
    assert len(host.told()) == slabs.MOST_APPS
    host.apps = [host.watched("zoo")]  # its name is the last, but it is watched
    host.dead(SECOND, host.folder("zoo"), request_GET_200=1)
    assert "zoo" in host.told()


def test_a_folder_that_the_apps_environment_names_is_found_below_the_masters_own_root(host: Host) -> None:
    host.apps = [host.watched("blog", 950, "/run/agents")]
    inside = host.root / "proc/950/root"
    (inside / "run/agents").mkdir(parents=True)
    folder = inside / f"run/agents/floodmark-{US}/blog"
    folder.mkdir(parents=True)
    host.alive(FIRST, folder, request_GET_200=3)
    assert host.counts() == {"blog": 3}


def test_a_link_in_a_container_leads_nowhere(host: Host) -> None:
    """It would be followed from the host's root: into folders that aren't the container's to name."""
    host.apps = [host.watched("blog", 950, "/run/agents")]
    inside = host.root / "proc/950/root"
    (inside / "run").mkdir(parents=True)
    elsewhere = host.root / "elsewhere"
    (inside / "run/agents").symlink_to(elsewhere)
    folder = elsewhere / f"floodmark-{US}/blog"
    folder.mkdir(parents=True)
    host.alive(FIRST, folder, request_GET_200=3)
    assert host.told() == {}


def test_two_containers_that_started_at_once_are_told_apart_by_their_folders(host: Host) -> None:
    host.apps = [host.watched("blog", 950, "/a"), host.watched("wiki", 970, "/b")]
    for pid, path, app, count in ((950, "a", "blog", 3), (970, "b", "wiki", 4)):
        folder = host.root / f"proc/{pid}/root/{path}/floodmark-{US}/{app}"
        folder.mkdir(parents=True)
        host.alive(FIRST, folder, request_GET_200=count)
    assert host.counts() == {"blog": 3, "wiki": 4}
    assert {app: len(told.workers) for app, told in host.told().items()} == {"blog": 1, "wiki": 1}


def test_a_configured_folder_that_is_not_there_is_said_with_what_to_do(host: Host) -> None:
    host.agents = host.exporter(Path("/srv/agents"))
    assert host.told() == {}
    ((source, _, lack),) = host.available.states()
    assert source == "agent_dirs"
    assert lack
    assert "/srv/agents: No such file or directory" in lack.problem
    (host.root / "srv/agents").mkdir(parents=True)
    host.told()
    assert host.available.by_source() == {"agent_dirs": True}


def test_an_app_speaks_for_itself_until_its_master_is_another_without_agent(host: Host) -> None:
    written = host.alive(FIRST, request_GET_200=1)
    assert host.told()["shop"].speaks
    Path(written.path).unlink()  # all its workers died at once
    (host.folder() / "ledger").write_bytes(
        b'{"version": 1, "counts": {"request GET 200": [1]}, "folded": []}'
    )
    assert host.told()["shop"].speaks
    (master,) = host.apps[0].masters
    other = dataclasses.replace(master, identity=Identity(990, 99999))
    host.apps = [host.apps[0]._replace(masters=(other,), workers=())]
    assert not host.told()["shop"].speaks


def test_one_look_serves_all_who_ask_in_a_scrape_and_none_gets_it_again_in_the_next(host: Host) -> None:
    host.alive(FIRST, request_GET_200=1)
    for _ in range(2):
        looked = host.agents.look(host.apps)
        assert host.agents.told("requests", host.apps) is looked
        assert host.agents.told("runtime", host.apps) is looked
    # The collector that looks is disabled, or failed before it did.
    assert host.agents.told("requests", host.apps) is not looked
    host.now += 15
    early = host.agents.told("runtime", host.apps)
    assert host.agents.told("requests", host.apps) is early


def test_a_reading_that_fails_as_a_whole_says_so_and_the_next_may_work(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.alive(FIRST, request_GET_200=1)
    with monkeypatch.context() as broken:
        broken.setattr("floodmark.sources.slabs.MOST_SLABS", None)
        assert host.agents.look(host.apps) == {}
        assert host.agents.failure
    assert "shop" in host.agents.look(host.apps)
    assert host.agents.failure is None


def test_durations_add_up_too(host: Host) -> None:
    for identity in (FIRST, SECOND):
        written = host.alive(identity)
        row = written.row(GET)
        written.cells[row], written.cells[row + SUM] = 1.0, 0.25
    told = host.told()["shop"]
    assert (told.rows[GET][SUM], told.busy) == (0.5, 0.5)
