"""Following workers, in the orders of events that a live host brings about only now and then."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from floodmark.gunicorn.model import AppState
from floodmark.gunicorn.watch import LOOK, SETTLE, Clock, Watch
from floodmark.sources.available import Available
from floodmark.sources.kernel import Kernel
from floodmark.sources.kmsg import KernelLog, OomKill
from floodmark.sources.procevents import Exec, Exit, Fork, ProcessEvents
from tests.support.proc_tree import GUNICORN, add, end

MASTER = 100


class Host:
    """A host with one gunicorn, its clock, and the events and OOM kills that are to come."""

    def __init__(self, root: Path, *, kernel_log: bool = True) -> None:
        self.proc = root / "proc"
        self.proc.mkdir()
        (self.proc / "stat").write_text("cpu0 1 1 1 1 1 1 1 1 0 0\nbtime 1000\n")
        add(self.proc, MASTER, GUNICORN)
        self.log = root / "error.log"
        self.log.touch()
        (self.proc / f"{MASTER}/fd/2").symlink_to(self.log)
        self.now = 5000.0
        self.events: list[Fork | Exec | Exit | None] = []
        self.oom_kills: list[OomKill] = []
        self.wake, _ = os.pipe()
        kernel = Kernel(cast("KernelLog", self) if kernel_log else None, cast("ProcessEvents", self))
        clock = Clock(wall=lambda: self.now, steady=lambda: self.now)
        self.watch = Watch(root, self.proc, {}, Available(), kernel=kernel, clock=clock)

    def fileno(self) -> int:
        return self.wake

    def read(self) -> Iterator[Fork | Exec | Exit | None]:
        events, self.events = self.events, []
        return iter(events)

    def kills(self) -> Iterator[OomKill]:
        kills, self.oom_kills = self.oom_kills, []
        return iter(kills)

    def worker(self, pid: int, *, ticks: int | None = None) -> None:
        add(self.proc, pid, GUNICORN, ppid=MASTER, ticks=ticks)

    def says(self, writer: int, message: str, level: str = "INFO") -> None:
        with self.log.open("a") as file:
            file.write(f"[2026-11-20 07:27:51 +0000] [{writer}] [{level}] {message}\n")

    def passes(self, seconds: float = LOOK) -> AppState:
        """Let time pass, look, and return the app's state."""
        self.now += seconds
        self.watch.advance()
        (app,) = self.watch.state()
        return app

    def exits(self) -> dict[str, int]:
        """Let every verdict fall, and return the exits that happened."""
        return {cause: count for cause, count in self.passes(SETTLE + 0.1).tally.exits.items() if count}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    for pid in (101, 102):
        host.worker(pid)
    host.watch.advance()
    return host


def pids(app: AppState) -> dict[int, int]:
    return {worker.identity.pid: worker.slot for worker in app.workers}


def test_workers_that_were_there_first_are_no_boots(host: Host) -> None:
    app = host.passes()
    assert pids(app) == {101: 0, 102: 1}
    assert app.tally.boots == 0


def test_a_fork_told_after_proc_showed_the_worker_is_the_same_worker(host: Host) -> None:
    host.events = [Fork(MASTER, 101)]
    assert pids(host.passes()) == {101: 0, 102: 1}
    assert host.exits() == {}


def test_a_fork_is_a_worker_from_then_on_and_a_boot_once(host: Host) -> None:
    host.worker(103)
    host.events = [Fork(MASTER, 103)]
    assert host.passes().tally.boots == 1
    assert pids(host.passes()) == {101: 0, 102: 1, 103: 2}
    assert host.passes().tally.boots == 1


def test_a_worker_that_lived_too_short_to_be_seen_is_a_boot_and_an_exit(host: Host) -> None:
    host.events = [Fork(MASTER, 103), Exit(103, 7 << 8)]
    host.passes()
    assert host.exits() == {"nonzero_exit": 1}
    assert host.passes().tally.boots == 1


def test_a_program_that_the_master_runs_is_no_worker(host: Host) -> None:
    host.events = [Fork(MASTER, 103), Exec(103), Exit(103, 0)]
    host.passes()
    assert host.exits() == {}
    assert host.passes().tally.boots == 0


def test_the_successor_of_an_upgrade_is_an_own_master_not_a_worker(host: Host) -> None:
    add(host.proc, 200, GUNICORN, ppid=MASTER, environ=(f"GUNICORN_PID={MASTER}",))
    host.events = [Fork(MASTER, 200), Exec(200)]
    host.passes()
    add(host.proc, 201, GUNICORN, ppid=200, environ=(f"GUNICORN_PID={MASTER}",))
    app = host.passes(6)
    assert [master.identity.pid for master in app.masters] == [MASTER, 200]
    assert pids(app) == {101: 0, 102: 1, 201: 2}
    assert app.tally.exits["unknown"] == 0


def test_a_successor_is_found_at_once_so_that_no_boot_of_its_is_missed(host: Host) -> None:
    host.passes(6)
    add(host.proc, 200, GUNICORN, ppid=MASTER, environ=(f"GUNICORN_PID={MASTER}",))
    host.events = [Fork(MASTER, 200), Exec(200)]
    assert len(host.passes(0.1).masters) == 2  # sooner than the next search is due
    host.events = [Fork(200, 201), Exit(201, 7 << 8)]
    host.passes(0.1)
    assert host.exits() == {"nonzero_exit": 1}


def test_a_fork_of_a_hook_or_the_dirty_arbiter_is_no_worker(host: Host) -> None:
    add(host.proc, 103, GUNICORN, ppid=MASTER, beats=103)
    host.events = [Fork(MASTER, 103)]
    host.passes()
    assert pids(host.passes()) == {101: 0, 102: 1}
    host.events = [Exit(103, 1 << 8)]
    host.passes()
    assert host.exits() == {}
    assert host.passes().tally.boots == 0


def test_a_fork_that_the_log_never_calls_a_worker_ends_unjudged(host: Host) -> None:
    add(host.proc, 103, GUNICORN, ppid=MASTER, beats=103)
    host.worker(104)
    host.says(MASTER, "Listening")
    host.says(104, "Booting worker with pid: 104")
    host.events = [Fork(MASTER, 103), Fork(MASTER, 104), Exit(103, 7 << 8), Exit(104, 7 << 8)]
    host.passes(0.1)
    end(host.proc, 103)
    end(host.proc, 104)
    assert host.exits() == {"nonzero_exit": 1}
    assert host.passes().tally.boots == 1


def test_a_worker_that_lets_go_of_its_heartbeat_to_exit_is_still_a_worker(host: Host) -> None:
    add(host.proc, 103, GUNICORN, ppid=MASTER, beats=103)
    host.events = [Fork(MASTER, 103)]
    host.passes()
    host.events = [Exit(103, 7 << 8)]
    host.passes(0.1)
    assert host.exits() == {"nonzero_exit": 1}


def test_an_end_seen_as_zombie_then_by_event_and_log_is_counted_once(host: Host) -> None:
    end(host.proc, 101)
    assert pids(host.passes()) == {102: 1}
    host.events = [Exit(101, 7 << 8)]
    host.says(MASTER, "Worker (pid:101) exited with code 7.", "ERROR")
    host.passes(0.1)
    assert host.exits() == {"nonzero_exit": 1}
    assert host.exits() == {"nonzero_exit": 1}


def test_a_pid_used_again_at_once_is_two_workers(host: Host) -> None:
    host.events = [Exit(101, 7 << 8)]
    host.passes(0.1)
    host.worker(101, ticks=9999)
    host.events = [Fork(MASTER, 101)]
    assert pids(host.passes(0.1)) == {102: 1}  # not looked at yet: a fork alone may still become a program
    app = host.passes()
    assert pids(app) == {101: 0, 102: 1}
    assert app.tally.exits["nonzero_exit"] == 1


def test_lost_events_are_made_up_for_by_a_look(host: Host) -> None:
    host.passes()
    end(host.proc, 101)
    host.worker(103)
    host.events = [None]
    app = host.passes(0.1)  # sooner than the next look is due
    assert pids(app) == {102: 1, 103: 0}


def test_the_kernel_names_its_victim_before_or_after_the_end(host: Host) -> None:
    host.oom_kills = [OomKill(101, "cgroup", 1)]
    host.events = [Exit(101, 9)]
    host.passes(0.1)
    host.events = [Exit(102, 9)]
    host.passes(0.1)
    host.oom_kills = [OomKill(102, "host", 1)]
    host.passes(0.1)
    assert host.exits() == {"oom_kill": 2}


def test_an_oom_kill_of_another_process_explains_no_worker(host: Host) -> None:
    host.says(MASTER, "Listening")
    host.oom_kills = [OomKill(5555, "host", 1)]
    host.events = [Exit(101, 9)]
    host.passes(0.1)
    assert host.exits() == {"external_kill": 1}


def test_without_the_kernels_log_a_cgroups_counter_explains_one_end_soon_after(tmp_path: Path) -> None:
    cgroup = tmp_path / "sys/fs/cgroup"
    cgroup.mkdir(parents=True)
    (cgroup / "cgroup.procs").touch()
    counter = cgroup / "memory.events"
    counter.write_text("oom_kill 5\n")
    host = Host(tmp_path, kernel_log=False)
    for pid in (101, 102, 103):
        host.worker(pid)
    host.passes()
    host.says(MASTER, "Listening")
    host.passes()
    counter.write_text("oom_kill 6\n")
    host.events = [Exit(101, 9)]
    host.passes(0.1)
    assert host.exits() == {"oom_kill": 1}
    host.events = [Exit(102, 9)]
    host.passes(0.1)
    assert host.exits() == {"oom_kill": 1, "external_kill": 1}
    counter.write_text("oom_kill 7\n")  # of another process in there
    host.passes()
    host.passes(11)
    host.events = [Exit(103, 9)]
    host.passes(0.1)
    assert host.exits() == {"oom_kill": 1, "external_kill": 2}


def test_of_two_killed_at_once_a_cgroups_counter_names_neither(tmp_path: Path) -> None:
    cgroup = tmp_path / "sys/fs/cgroup"
    cgroup.mkdir(parents=True)
    (cgroup / "cgroup.procs").touch()
    counter = cgroup / "memory.events"
    counter.write_text("oom_kill 5\n")
    host = Host(tmp_path, kernel_log=False)
    for pid in (101, 102):
        host.worker(pid)
    host.passes()
    host.says(MASTER, "Listening")
    host.events = [Exit(101, 9)]
    host.passes(0.1)
    counter.write_text("oom_kill 6\n")  # the second one's
    host.events = [Exit(102, 9)]
    host.passes(0.5)
    assert host.exits() == {"sigkill_unknown": 2}


def test_a_reload_reads_the_settings_again(host: Host) -> None:
    add(host.proc, MASTER, GUNICORN, environ=("GUNICORN_CMD_ARGS=--timeout 77",))
    host.says(MASTER, "Handling signal: hup")
    (master,) = host.passes().masters
    assert master.settings.number("timeout") == 77


def test_a_log_in_a_foreign_format_is_no_healthy_log(host: Host) -> None:
    with host.log.open("a") as file:
        file.write('{"message": "WORKER TIMEOUT (pid:101)"}\n')
    host.events = [Exit(101, 9)]
    host.passes(0.1)
    assert host.exits() == {"sigkill_unknown": 1}


def test_once_the_log_goes_where_it_cant_be_read_its_silence_means_nothing(host: Host) -> None:
    host.says(MASTER, "Listening at: unix:/run/shop.sock")
    host.passes()
    host.log.rename(host.log.with_suffix(".1"))
    host.log.mkdir()
    host.passes()
    host.events = [Exit(101, 9)]
    host.passes(0.1)
    assert host.exits() == {"sigkill_unknown": 1}


def test_a_reload_explains_the_old_workers_and_no_new_one(host: Host) -> None:
    host.says(MASTER, "Handling signal: hup")
    host.worker(103)
    host.says(103, "Booting worker with pid: 103")
    host.events = [Fork(MASTER, 103), Exit(101, 0), Exit(102, 15), Exit(103, 0)]
    host.passes(0.1)
    assert host.exits() == {"reload": 2, "exit_unrequested": 1}
    assert host.passes().tally.reloads == 1


def test_a_scale_down_explains_one_end_that_of_the_oldest(host: Host) -> None:
    host.events = [Exit(101, 0)]
    host.says(MASTER, "Handling signal: ttou")
    host.passes(0.1)
    host.events = [Exit(102, 0)]
    host.passes(0.1)
    assert host.exits() == {"scale_down": 1, "exit_unrequested": 1}


def test_another_masters_lines_in_a_shared_log_mean_nothing_here(host: Host) -> None:
    host.says(999, "Handling signal: term")
    host.says(999, "WORKER TIMEOUT (pid:101)", "CRITICAL")
    host.says(MASTER, "Listening")
    host.events = [Exit(101, 0)]
    host.passes(0.1)
    assert host.exits() == {"exit_unrequested": 1}


def test_workers_of_a_master_that_is_gone_are_still_judged_and_the_app_is_down(host: Host) -> None:
    host.says(MASTER, "Handling signal: term")
    host.passes()
    for pid in (101, 102, MASTER):
        end(host.proc, pid)
    host.passes()
    assert host.exits() == {"shutdown": 2}
    app = host.passes()
    assert (app.masters, app.workers) == ((), ())
    assert app.tally.exits["shutdown"] == 2


def test_an_app_is_forgotten_an_hour_after_it_stopped_not_before(host: Host) -> None:
    for pid in (101, 102, MASTER):
        end(host.proc, pid)
    host.passes()
    host.exits()
    host.passes()
    assert host.passes(3000).masters == ()
    host.now += 700
    host.watch.advance()
    assert host.watch.state() == []


def test_names_that_change_with_every_release_do_not_add_up(host: Host) -> None:
    for release in range(200, 260):
        add(host.proc, release, (*GUNICORN, "--name", f"shop-{release}"))
        host.now += 6
        host.watch.advance()
        end(host.proc, release)
    host.now += 6
    host.watch.advance()
    apps = [app.name for app in host.watch.state()]
    assert len(apps) == 33
    assert "shop.wsgi:application" in apps
    assert "shop-259" in apps
