"""What a floodmark that starts again knows of the time it wasn't there: all the logs prove, and no more."""

import dataclasses
from pathlib import Path

import pytest

from floodmark.gunicorn.deaths import KEPT, STACKS, Death, Deaths
from floodmark.gunicorn.watch import SETTLE
from floodmark.sources.kmsg import OomKill
from tests.gunicorn.test_watch import MASTER, pids
from tests.support.proc_tree import GUNICORN, add, end
from tests.support.restarts import RestartedHost

BOOTING = "Booting worker with pid: {}"
KILLED = "Worker (pid:{}) was sent SIGKILL! Perhaps out of memory?"


@pytest.fixture
def host(tmp_path: Path) -> RestartedHost:
    host = RestartedHost(tmp_path)
    for pid in (101, 102, 103):
        host.worker(pid)
    host.start()
    host.says(MASTER, "Listening")
    host.passes()
    return host


def dies_unwatched(host: RestartedHost, pid: int, *, says: str = "", level: str = "ERROR") -> None:
    """Stop floodmark, let a worker die, start floodmark."""
    kept = host.watch.kept()
    host.dies(pid)
    if says:
        host.says(MASTER, says, level)
    host.now += 10
    host.start(kept)


def test_counts_and_slots_come_back(host: RestartedHost) -> None:
    host.says(MASTER, "Worker (pid:101) exited with code 7.", "ERROR")
    host.dies(101)
    assert host.judged() == {"nonzero_exit": 1}
    host.worker(104)
    host.worker(99)  # a lower pid, which a start that knew nothing would put first
    before = host.passes()
    host.restart()
    after = host.passes()
    assert after.tally == before.tally
    assert pids(after) == pids(before) == {99: 3, 102: 1, 103: 2, 104: 0}


def test_a_worker_killed_meanwhile_is_counted_once_over_many_restarts_and_marked(host: RestartedHost) -> None:
    dies_unwatched(host, 102, says=KILLED.format(102))
    assert host.judged() == {"external_kill": 1}
    for _ in range(3):
        host.restart()
        assert host.judged() == {"external_kill": 1}
    assert host.passes().tally.recovered == host.passes().tally.sigkills == 1
    (death,) = host.deaths()
    assert (death.recovered, death.pid, death.slot) == (True, 102, 1)
    assert death.time == 1795159671  # what gunicorn's log says, not when floodmark came back
    assert "floodmark wasn't running then" in death.evidence[-1]


def test_the_silence_of_a_log_that_a_later_run_may_not_read_is_no_evidence(host: RestartedHost) -> None:
    host.log.unlink()
    host.log.mkdir()
    host.restart()
    host.restart()  # from what that one kept
    host.dies(102)
    assert host.judged() == {"unknown": 1}
    assert "gunicorn's log" in host.deaths()[0].evidence[-1]  # among what would have told


def test_a_timeout_meanwhile_is_told_by_gunicorns_log(host: RestartedHost) -> None:
    dies_unwatched(host, 102, says="WORKER TIMEOUT (pid:102)", level="CRITICAL")
    assert host.judged() == {"timeout": 1}


def test_an_oom_kill_meanwhile_is_told_by_the_kernels_log(host: RestartedHost) -> None:
    host.missed = [OomKill(102, "host", 1 << 20), OomKill(5555, "host", 1)]
    dies_unwatched(host, 102, says=KILLED.format(102))
    assert host.judged() == {"oom_kill": 1}
    assert host.deaths()[0].circumstances.oom_limit == "host"


def test_a_kernel_log_that_was_overwritten_denies_nothing(host: RestartedHost) -> None:
    host.kernel_log_complete = False
    dies_unwatched(host, 102, says=KILLED.format(102))
    assert host.judged() == {"sigkill_unknown": 1}


def test_a_log_that_was_rotated_away_denies_nothing(host: RestartedHost) -> None:
    kept = host.watch.kept()
    host.dies(102)
    host.log.unlink()
    host.log.touch()
    host.start(kept)
    assert host.judged() == {"unknown": 1}


def test_a_kill_in_a_log_with_a_gap_may_have_been_a_timeout(host: RestartedHost) -> None:
    kept = host.watch.kept()
    host.dies(102)
    host.log.unlink()
    host.says(MASTER, KILLED.format(102), "ERROR")
    host.start(kept)
    assert host.judged() == {"sigkill_unknown": 1}


def test_a_log_that_was_rotated_is_read_to_its_end_and_on(host: RestartedHost) -> None:
    kept = host.watch.kept()
    host.dies(101)
    host.dies(102)
    host.says(MASTER, KILLED.format(101), "ERROR")
    host.log.rename(host.log.with_name("error.log.1"))
    host.says(MASTER, "WORKER TIMEOUT (pid:102)", "CRITICAL")
    host.start(kept)
    assert host.judged() == {"external_kill": 1, "timeout": 1}


def test_lines_counted_before_count_no_more_in_a_log_that_was_written_anew(host: RestartedHost) -> None:
    host.now = 1795159680.0
    host.says(MASTER, KILLED.format(900), "ERROR")
    kept = host.watch.kept()
    host.log.write_bytes(b"edited\n" + host.log.read_bytes())
    host.start(kept)
    assert host.judged() == {}


def test_workers_born_and_dead_meanwhile_are_known_by_the_log_alone(host: RestartedHost) -> None:
    kept = host.watch.kept()
    host.dies(101)
    host.says(101, "Autorestarting worker after current request.")
    for pid in (201, 202):
        host.says(pid, BOOTING.format(pid))
        host.says(pid, "Autorestarting worker after current request.")
    host.says(203, BOOTING.format(203))
    host.says(MASTER, "Worker (pid:203) was sent SIGSEGV!", "WARNING")
    host.says(204, BOOTING.format(204))
    host.worker(204)
    host.start(kept)
    assert host.judged() == {"max_requests": 3, "crash_signal": 1}
    app = host.passes()
    assert app.tally.boots == 4
    assert pids(app) == {204: 0, 102: 1, 103: 2}
    (death,) = host.deaths()
    assert (death.pid, death.slot, death.resident_bytes) == (203, None, None)


def test_a_pid_used_again_meanwhile_is_two_workers(host: RestartedHost) -> None:
    kept = host.watch.kept()
    host.says(MASTER, KILLED.format(101), "ERROR")
    host.says(101, BOOTING.format(101))
    host.says(MASTER, "Worker (pid:101) exited with code 7", "ERROR")
    host.says(MASTER, "Worker (pid:101) exited with code 7.", "ERROR")
    host.says(101, BOOTING.format(101))
    host.worker(101, ticks=9999)
    host.start(kept)
    assert host.judged() == {"external_kill": 1, "nonzero_exit": 1}
    assert pids(host.passes()) == {101: 0, 102: 1, 103: 2}


def test_a_line_that_comes_after_its_worker_was_judged_is_no_second_death(host: RestartedHost) -> None:
    host.says(MASTER, KILLED.format(101), "ERROR")
    host.dies(101)
    assert host.judged() == {"external_kill": 1}
    kept = host.watch.kept()
    host.says(MASTER, KILLED.format(101), "ERROR")
    host.start(kept)
    assert host.judged() == {"external_kill": 1}


def test_an_end_that_was_seen_but_not_judged_is_judged_by_what_was_seen(host: RestartedHost) -> None:
    host.says(MASTER, "WORKER TIMEOUT (pid:101)", "CRITICAL")
    host.dies(101)
    host.passes()
    assert host.watch.state()[0].tally.exits["timeout"] == 0
    host.restart()
    assert host.judged() == {"timeout": 1}
    assert not host.deaths()[0].recovered


def test_a_kill_the_kernel_told_of_just_before_the_stop_is_not_forgotten(host: RestartedHost) -> None:
    host.oom_kills = [OomKill(101, "cgroup", 1)]
    host.passes(0.1)
    dies_unwatched(host, 101)
    assert host.judged() == {"oom_kill": 1}


def test_after_a_reboot_no_death_is_invented_and_no_record_lost(host: RestartedHost) -> None:
    dies_unwatched(host, 102, says=KILLED.format(102))
    host.judged()
    kept = host.watch.kept()
    host.boot("two")
    for pid in (101, 103, MASTER):
        end(host.proc, pid)
    host.says(MASTER, KILLED.format(103), "ERROR")
    host.start(kept)
    assert host.judged() == {"external_kill": 1}
    assert len(host.deaths()) == 1


def test_an_app_that_was_stopped_meanwhile_has_no_unwanted_death(host: RestartedHost) -> None:
    kept = host.watch.kept()
    for pid in (101, 102, 103, MASTER):
        end(host.proc, pid)
    host.log.unlink()
    host.start(kept)
    assert host.judged() == {"shutdown": 3}
    assert host.deaths() == []
    assert host.passes().masters == ()


def test_what_the_log_of_a_stopped_app_proves_is_counted(host: RestartedHost) -> None:
    kept = host.watch.kept()
    host.says(MASTER, "WORKER TIMEOUT (pid:101)", "CRITICAL")
    host.says(301, BOOTING.format(301))  # where that one went nobody knows
    host.says(MASTER, "Handling signal: term")
    for pid in (101, 102, 103, MASTER):
        end(host.proc, pid)
    add(host.proc, 500, GUNICORN)
    host.says(500, "Starting gunicorn 27.0.1")
    host.says(501, BOOTING.format(501))
    host.says(500, KILLED.format(501), "ERROR")
    host.start(kept)
    assert host.judged() == {"timeout": 1, "shutdown": 2}
    assert host.passes().tally.boots == 0


def test_a_worker_in_a_log_that_two_gunicorns_share_may_be_the_others(host: RestartedHost) -> None:
    add(host.proc, 400, (*GUNICORN, "--name", "other"))
    (host.proc / "400/fd/2").symlink_to(host.log)
    host.now += 10
    host.watch.advance()
    kept = host.watch.kept()
    host.says(201, BOOTING.format(201))
    host.says(400, KILLED.format(201), "ERROR")
    host.start(kept)
    host.now += SETTLE + 1
    host.watch.advance()
    exits = {
        app.name: {cause for cause, count in app.tally.exits.items() if count} for app in host.watch.state()
    }
    assert exits == {"shop.wsgi:application": set(), "other": {"external_kill"}}


def test_once_another_gunicorn_writes_to_the_log_a_worker_in_it_may_be_that_ones(host: RestartedHost) -> None:
    kept = host.watch.kept()
    host.says(900, "Starting gunicorn 27.0.1")
    host.says(901, BOOTING.format(901))
    host.says(901, "Autorestarting worker after current request.")
    host.start(kept)
    assert host.judged() == {}


def test_a_reload_meanwhile_is_counted_once_and_explains_the_old_workers(host: RestartedHost) -> None:
    kept = host.watch.kept()
    host.says(MASTER, "Handling signal: hup")
    for old, new in ((101, 201), (102, 202), (103, 203)):
        host.dies(old)
        host.worker(new)
        host.says(new, BOOTING.format(new))
    host.start(kept)
    assert host.judged() == {"reload": 3}
    host.restart()
    assert host.judged() == {"reload": 3}
    tally = host.passes().tally
    assert (tally.reloads, tally.boots, tally.recovered) == (1, 3, 0)


def test_an_app_that_had_not_run_for_an_hour_is_not_taken_over(host: RestartedHost) -> None:
    for pid in (101, 102, 103, MASTER):
        end(host.proc, pid)
    host.judged()
    host.watch.kept()
    host.now += 1800
    host.restart()
    assert len(host.watch.state()) == 1
    host.now += 3600
    host.restart()
    assert host.watch.state() == []


def test_an_app_in_a_crash_loop_pushes_out_its_own_records_alone() -> None:
    records = Deaths(0.0, (death("quiet", 1),))
    for number in range(KEPT + 5):
        records.add(death("loop", number))
    assert len(records.all()) == KEPT
    assert records.all()[0] == death("quiet", 1)
    assert [each.pid for each in records.all()[1:]] == list(range(6, KEPT + 5))


def test_only_the_newest_records_keep_their_stacks() -> None:
    records = Deaths(0.0)
    for number in range(STACKS + 5):
        records.add(dataclasses.replace(death("shop", number), stack="a stack"))
        records.add(death("shop", number))
    assert [each.pid for each in records.all() if each.stack] == list(range(5, STACKS + 5))
    assert len(records.all()) == 2 * (STACKS + 5)


def death(app: str, pid: int) -> Death:
    return Death(
        time=1.0, app=app, pid=pid, slot=0, age=1.0, cause="timeout", confidence="probable", evidence=()
    )
