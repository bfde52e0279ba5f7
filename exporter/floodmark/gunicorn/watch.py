"""Follows every gunicorn of the host: its workers, their slots, and how each of them ended.

A worker is (pid, start time). It is noticed by process events or by a look at /proc, its end by process
events, its pidfd or /proc, whichever is first, and counted once. The verdict waits for late evidence.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import os
import select
import signal
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from floodmark.gunicorn import asked, deaths, find, logs, replay
from floodmark.gunicorn import kept as form
from floodmark.gunicorn.inside import Inside, is_masters_word
from floodmark.gunicorn.kept import Kept, KeptGunicorn
from floodmark.gunicorn.model import AppState, Gunicorn, LiveWorker, Tally, Worker
from floodmark.gunicorn.record import circumstances, record
from floodmark.gunicorn.verdict import WANTED, Evidence, judge
from floodmark.sources import agentfolder, cgroup, gunicornlog, pidfd
from floodmark.sources.available import BROKEN_LEDGER, NO_AGENT_EXITS, NO_HEARTBEAT, Lack
from floodmark.sources.gunicornlog import Booting, Ended, MasterSignal, Recycle, Timeout
from floodmark.sources.heartbeat import Heartbeat
from floodmark.sources.kernel import Kernel, era
from floodmark.sources.logtail import LogTail
from floodmark.sources.procevents import Exec, Exit, Fork
from floodmark.sources.procfs import process, stat
from floodmark.sources.procfs.process import Identity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from floodmark.config import App
    from floodmark.gunicorn.find import Master
    from floodmark.sources.available import Available
    from floodmark.sources.cgroup import MemoryCgroup
    from floodmark.sources.kmsg import OomKill
    from floodmark.sources.logposition import Position

log = logging.getLogger(__name__)

LOOK = 1.0  # seconds between looks at the workers
SEARCH = 5.0  # seconds between searches for new masters
SETTLE = 1.2  # seconds from an end to its verdict: the kernel's log and gunicorn's may come late
_BATCH = 0.02  # seconds: on a host that forks without pause, look at events together
_KILLS_KEPT = 60.0  # seconds; a kill's record comes tens of milliseconds before the end it explains
_OOM_KEPT = 10.0  # seconds; the same for a cgroup's counter, which could mean any process in there
_STOPS_ALL = frozenset({"hup", "term", "int", "quit", "winch"})


class Clock(NamedTuple):
    """Unix time, and one that never jumps; both in seconds."""

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic


class Earlier(NamedTuple):
    """The earlier run of floodmark that this one goes on from.

    Attributes:
        saved: Unix time of what is known from it.
        kernel_log_complete: the kernel's log since then was there to be read.
    """

    saved: float = 0.0
    kernel_log_complete: bool = False


_NOTHING = Kernel()
_CLOCK = Clock()


class Watch:
    """Follows all gunicorns below a /proc folder. ``advance`` does the work, ``run`` repeats it.

    Args:
        root: the host's root folder.
        proc: the host's /proc.
        apps: configured apps by label.
        available: where missing sources are noted.
        kernel: what the running kernel tells; nothing for a recorded tree.
        clock: injected for tests.

    Attributes:
        failure: why the last round of ``run`` failed, None where it didn't.
    """

    def __init__(  # noqa: PLR0913 - all of it is injected
        self,
        root: Path,
        proc: Path,
        apps: Mapping[str, App],
        available: Available,
        *,
        kernel: Kernel = _NOTHING,
        clock: Clock = _CLOCK,
    ) -> None:
        self.available = available
        self.failure: str | None = None
        self._root, self._proc, self._apps = root, proc, apps
        self._clock = clock
        self._lock = threading.Lock()
        self._gunicorns: list[Gunicorn] = []
        self._tallies: dict[str, Tally] = {}
        self._deaths = deaths.Deaths(clock.wall())
        self._seen: dict[str, float] = {}
        self._earlier = Earlier()
        self._insides: dict[str, Inside] = {}
        self._kills: dict[int, tuple[OomKill, float]] = {}
        self._pidfds: dict[int, Worker] = {}
        self._poll = select.poll()
        self._looked = self._searched = float("-inf")
        self._began = clock.wall()
        self._boot_time = stat.read(proc).boot_time
        self._kernel_log, self._events, self._exit_information = kernel
        for source in (kernel.log, kernel.events):
            if source:
                self._poll.register(source, select.POLLIN)

    # --- what others see

    def state(self) -> list[AppState]:
        """Return the state of every app seen so far."""
        with self._lock:
            return [self._app_state(name, tally) for name, tally in self._tallies.items()]

    def deaths(self) -> bytes:
        """Return the death records as /deaths serves them."""
        with self._lock:
            since, records = self._deaths.since, self._deaths.all()
        return deaths.page(since, records)

    def kept(self) -> Kept:
        """Return what a restart must not lose."""
        with self._lock:
            return self._kept()

    def restore(self, kept: Kept) -> None:
        """Go on from an earlier run: its counts, its records, its slots, and what ended since."""
        with self._lock:
            self._restore(kept)

    def run(self) -> None:
        """Follow for ever."""
        while True:
            self._poll.poll(1000 * self._next())
            try:
                self.advance()
            except Exception as error:
                if str(error) != self.failure:
                    log.exception("watching gunicorns failed; trying again each second")
                self.failure = str(error)
                time.sleep(LOOK)
            else:
                self.failure = None
            time.sleep(_BATCH)

    def advance(self) -> None:
        """Take in all that happened since the last call."""
        with self._lock:
            now = self._clock.steady()
            # Read before the events, understood after them: by then each pid in it is known.
            lines = self._read_logs()
            self._read_kernel_log(now)
            self._read_cgroups(now)
            self._read_events()
            self._read_pidfds()
            if now - self._searched >= SEARCH:
                self._searched = now
                self._search()
            if now - self._looked >= LOOK:
                self._looked = now
                self._look()
            for gunicorn, line in lines:
                self._log_line(gunicorn, line)
            self._settle(now)
        if now == self._looked:
            self._ask_masters(now)

    # --- sources

    def _ask_masters(self, now: float) -> None:
        """Ask masters over their control sockets: not under the lock, for one may not answer."""
        for gunicorn in [each for each in self._gunicorns if not each.gone]:
            answer = asked.ask(self._proc, self._root, gunicorn, now)
            if answer:
                with self._lock:
                    self._take_answer(gunicorn, answer)

    def _take_answer(self, gunicorn: Gunicorn, answer: asked.Answer) -> None:
        app = gunicorn.master.app
        if answer.lack:
            self.available.lacking(answer.lack, "control_socket", app)
        elif answer.good:
            self.available.good("control_socket", app)
        settings = gunicorn.master.settings.told(gunicorn.asked.told)
        gunicorn.master = dataclasses.replace(gunicorn.master, settings=settings)
        for worker in gunicorn.workers.values():
            worker.aborted |= worker.namespace_pid in answer.aborted

    def _read_kernel_log(self, now: float) -> None:
        if self._kernel_log is None:
            return
        for kill in self._kernel_log.kills():
            self._kills[kill.pid] = kill, now
        self._kills = {pid: seen for pid, seen in self._kills.items() if now - seen[1] < _KILLS_KEPT}

    def _read_cgroups(self, now: float) -> None:
        """Note OOM kills that a cgroup counts, where the kernel's log can't name the victims."""
        for gunicorn in self._gunicorns if self._kernel_log is None else ():
            count = _oom_kills(gunicorn.cgroup)
            if count is not None and gunicorn.oom_count is not None:
                gunicorn.oom_kills += [now] * (count - gunicorn.oom_count)
            gunicorn.oom_count = count
            gunicorn.oom_kills = [when for when in gunicorn.oom_kills if now - when < _OOM_KEPT]

    def _read_events(self) -> None:
        for event in self._events.read() if self._events else ():
            match event:
                case Fork(parent, pid) if gunicorn := self._masters.get(parent):
                    self._add(gunicorn, pid, sure=False)
                case Exec(pid):
                    for gunicorn, worker in self._find(pid):  # a program that the master runs
                        self._drop(gunicorn, worker)
                        self._searched = float("-inf")  # after USR2 it is the next master
                case Exit(pid, status):
                    for _, worker in self._find(pid):
                        self._end(worker, status)
                case None:  # some were lost
                    self._looked = float("-inf")

    def _read_pidfds(self) -> None:
        for descriptor, _ in self._poll.poll(0) if self._pidfds else ():
            if worker := self._pidfds.get(descriptor):
                self._end(worker, pidfd.exit_status(descriptor))
                self._release_pidfd(worker)

    def _read_logs(self) -> list[tuple[Gunicorn, gunicornlog.Line]]:
        return [
            (gunicorn, line)
            for gunicorn in self._gunicorns
            if gunicorn.log
            for text in gunicorn.log.lines()
            if (line := gunicornlog.parse(text))
        ]

    def _log_line(self, gunicorn: Gunicorn, line: gunicornlog.Line) -> None:
        by_log_pid = {worker.namespace_pid: worker for worker in gunicorn.workers.values()}
        if line.writer != gunicorn.master.namespace_pid and line.writer not in by_log_pid:
            return  # another master's line in a shared file
        gunicorn.log_understood = True
        gunicorn.log_at_info |= line.level == "INFO"
        match line.event:
            case Timeout(pid) if pid in by_log_pid:
                by_log_pid[pid].timeout_logged = True
            case Recycle(pid) if pid in by_log_pid:
                by_log_pid[pid].recycle_logged = True
            case Ended(pid, status) if pid in by_log_pid:
                by_log_pid[pid].named = True
                self._end(by_log_pid[pid], status)
            case MasterSignal(_, name):
                if name == "hup":
                    self._reloaded(gunicorn)
                self._order(gunicorn, name)
            case Booting(pid) if pid in by_log_pid:
                by_log_pid[pid].named = True
                by_log_pid[pid].order = None  # it was made after the order

    def _reloaded(self, gunicorn: Gunicorn) -> None:
        self._tally(gunicorn).reloads += 1
        with contextlib.suppress(OSError, ValueError):  # it ended meanwhile
            again = find.describe(self._proc, gunicorn.master.identity, self._apps)
            # Its settings may have changed. A new name counts from its next start on.
            settings = gunicorn.asked.reloaded(again.settings, self._clock.steady())
            gunicorn.master = dataclasses.replace(again, app=gunicorn.master.app, settings=settings)

    @staticmethod
    def _order(gunicorn: Gunicorn, name: str) -> None:
        """Note which workers a signal to the master tells to end."""
        # It may have acted on the order already by the time the line is read.
        ordered = [
            worker
            for worker in gunicorn.workers.values()
            if worker.order is None and worker.status in (None, 0, signal.SIGTERM)
        ]
        if name == "ttou":  # the oldest only, and never the last one
            oldest = sorted(ordered, key=lambda worker: (worker.identity.start_ticks, worker.identity.pid))
            ordered = oldest[:1] if len(oldest) > 1 else []
        elif name not in _STOPS_ALL:
            ordered = []
        for worker in ordered:
            worker.order = name

    # --- masters and workers

    def _search(self) -> None:
        known = {gunicorn.master.identity for gunicorn in self._gunicorns}
        workers = {worker.identity for gunicorn in self._gunicorns for worker in gunicorn.workers.values()}
        for master in find.masters(self._proc, self._apps, known, workers):
            gunicorn = self._follow(master)
            self._open_log(gunicorn)
            self._adopt(gunicorn, boots=False)
            self._say_found(gunicorn)
        for gunicorn in self._gunicorns:
            if gunicorn.inside is None and not gunicorn.gone:
                self._find_inside(gunicorn, self._clock.wall())

    def _follow(self, master: Master) -> Gunicorn:
        found = cgroup.find(self._proc, self._root, master.identity.pid)
        gunicorn = Gunicorn(master, found, _oom_kills(found))
        self._gunicorns.append(gunicorn)
        self._tally(gunicorn)
        return gunicorn

    @staticmethod
    def _say_found(gunicorn: Gunicorn) -> None:
        log.info(
            "gunicorn found",
            extra={
                "app": gunicorn.master.app,
                "pid": gunicorn.master.identity.pid,
                "version": gunicorn.master.version,
                "workers": sum(worker.ended is None for worker in gunicorn.workers.values()),
            },
        )

    def _look(self) -> None:
        for gunicorn in list(self._gunicorns):
            gunicorn.gone = gunicorn.gone or not self._alive(gunicorn.master.identity)
            # Ends first: who replaces a worker takes its slot.
            for worker in list(gunicorn.workers.values()):
                if worker.ended is None and not self._alive(worker.identity):
                    self._end(worker, None)
                    continue
                if worker.ended is None and worker.sure:
                    self._weigh(worker)
                if worker.heartbeat is None and worker.sure:
                    self._find_heartbeat(gunicorn, worker)
            if not gunicorn.gone:
                self._adopt(gunicorn, boots=True)
                self._keep_log(gunicorn)
        self._read_insides()
        for gunicorn in list(self._gunicorns):
            if gunicorn.gone and not gunicorn.workers:
                self._forget(gunicorn)
        self._forget_apps()

    def _alive(self, identity: Identity) -> bool:
        try:
            seen = process.read_stat(self._proc, identity.pid)
        except (OSError, ValueError):
            return False
        return seen.start_ticks == identity.start_ticks and seen.state not in "ZX"

    def _adopt(self, gunicorn: Gunicorn, *, boots: bool) -> None:
        """Take in children of the master that aren't known yet."""
        master = gunicorn.master.identity.pid
        try:
            children = process.read_children(self._proc, master)
        except OSError:
            return
        for pid in children:
            worker = gunicorn.workers.get(pid)
            if worker and (worker.sure or worker.ended is not None):
                continue
            try:
                if find.is_worker(self._proc, pid, master):
                    worker = worker or self._add(gunicorn, pid, sure=True)
                    worker.sure = True
                    self._tally(gunicorn).boots += boots
                elif worker and worker.doubted:
                    self._drop(gunicorn, worker)
                elif worker:
                    worker.doubted = True
            except (OSError, ValueError):
                continue

    def _add(self, gunicorn: Gunicorn, pid: int, *, sure: bool) -> Worker:
        try:
            ticks = process.read_stat(self._proc, pid).start_ticks
            namespace_pid = process.namespace_pid(process.read_status(self._proc, pid))
        except (OSError, ValueError):  # it ended already: a worker of a crash loop
            ticks, namespace_pid = -1, pid
        if known := gunicorn.workers.get(pid):
            if ticks in (known.identity.start_ticks, -1):  # /proc showed it before its fork's event came
                return known
            self._judge(gunicorn, known)  # the pid is used again before its last owner was judged
        worker = Worker(
            identity=Identity(pid, ticks),
            namespace_pid=namespace_pid,
            slot=self._free_slot(gunicorn.master.app),
            started=self._boot_time + ticks / process.HERTZ,
            sure=sure,
        )
        gunicorn.workers[pid] = worker
        if self._exit_information and ticks >= 0:
            self._open_pidfd(worker)
        return worker

    def _open_pidfd(self, worker: Worker) -> None:
        try:
            worker.descriptor = pidfd.open_pidfd(worker.identity.pid)
        except OSError:
            return
        self._pidfds[worker.descriptor] = worker
        self._poll.register(worker.descriptor, 0)  # POLLHUP comes unasked; POLLIN would not stop for a zombie

    def _weigh(self, worker: Worker) -> None:
        with contextlib.suppress(OSError, ValueError):
            memory = process.memory(process.read_status(self._proc, worker.identity.pid))
            if memory.resident:  # a zombie has none
                worker.memory = memory.resident, memory.peak

    def _find_heartbeat(self, gunicorn: Gunicorn, worker: Worker) -> None:
        try:
            worker.heartbeat = Heartbeat.of(self._proc, worker.identity.pid)
        except PermissionError:
            self.available.lacking(NO_HEARTBEAT, "heartbeat", gunicorn.master.app)
        except OSError:
            return
        else:
            if worker.heartbeat:
                self.available.good("heartbeat", gunicorn.master.app)

    def _open_log(self, gunicorn: Gunicorn, since: Position | None = None) -> None:
        app = gunicorn.master.app
        configured = self._apps[app].log if app in self._apps else None
        found = logs.follow(self._proc, self._root, gunicorn.master, configured, since)
        if isinstance(found, Lack):
            self.available.lacking(found, "gunicorn_log", app)
        else:
            gunicorn.log = found
            self.available.good("gunicorn_log", app)

    def _keep_log(self, gunicorn: Gunicorn) -> None:
        if gunicorn.log and gunicorn.log.lost:  # from now on a line that isn't there means nothing
            gunicorn.log.close()
            gunicorn.log, gunicorn.log_understood, gunicorn.log_at_info = None, False, False
        if gunicorn.log is None:
            self._open_log(gunicorn)

    # --- the agent in a master

    def _find_inside(self, gunicorn: Gunicorn, since: float) -> None:
        try:
            folder = agentfolder.find(self._root, self._proc, gunicorn.master)
        except PermissionError as error:
            self._no_inside(gunicorn, error)
        except OSError:  # it ended meanwhile
            return
        else:
            if folder:
                gunicorn.inside = self._inside(folder, since)

    def _inside(self, folder: str, since: float) -> Inside:
        return self._insides.setdefault(folder, Inside(folder, since))

    def _read_insides(self) -> None:
        for inside in list(self._insides.values()):
            gunicorns = [each for each in self._gunicorns if each.inside is inside]
            if not gunicorns:
                del self._insides[inside.folder]
                continue
            try:
                inside.read()
            except (OSError, ValueError) as error:
                self._no_inside(gunicorns[0], error)
            else:
                self.available.good("agent_exits", gunicorns[0].master.app)
                self._take_untold(inside, gunicorns)

    def _take_untold(self, inside: Inside, gunicorns: list[Gunicorn]) -> None:
        """Take in the ends in a ledger that nothing else told of."""
        known = {
            (worker.namespace_pid, ticks)
            for each in gunicorns
            for worker in each.workers.values()
            for ticks in (worker.identity.start_ticks, inside.ticks_of(worker))
        }
        for told in inside.untold(self._clock.wall() - SETTLE):
            if (told.pid, told.ticks) not in known:
                worker = replay.add(gunicorns[-1], told.pid, told.ticks)
                worker.started = self._boot_time + told.ticks / process.HERTZ
                worker.named = True
                worker.recovered = told.time < self._began
                self._end(worker, told.status)
                worker.died = told.time

    def _no_inside(self, gunicorn: Gunicorn, error: Exception) -> None:
        lack, reason = BROKEN_LEDGER, str(error)
        if isinstance(error, OSError):
            lack, reason = NO_AGENT_EXITS, f"{error.filename}: {error.strerror}"
        lack = lack._replace(problem=lack.problem.format(reason))
        self.available.lacking(lack, "agent_exits", gunicorn.master.app)

    def _free_slot(self, app: str) -> int:
        taken = {
            worker.slot
            for gunicorn in self._gunicorns
            if gunicorn.master.app == app
            for worker in gunicorn.workers.values()
            if worker.ended is None
        }
        return next(slot for slot in range(len(taken) + 1) if slot not in taken)

    # --- ends

    def _end(self, worker: Worker, status: int | None) -> None:
        if worker.ended is None:
            worker.ended = self._clock.steady()
            worker.died = self._clock.wall()
            worker.heartbeat_age = self._heartbeat_age(worker)
        if worker.status is None:
            worker.status = status

    def _settle(self, now: float) -> None:
        for gunicorn in self._gunicorns:
            for worker in list(gunicorn.workers.values()):
                if worker.ended is not None and now - worker.ended >= SETTLE:
                    self._judge(gunicorn, worker)

    def _judge(self, gunicorn: Gunicorn, worker: Worker) -> None:
        if gunicorn.log_at_info and not (worker.sure or worker.named) and worker.identity.start_ticks >= 0:
            self._drop(gunicorn, worker)  # a worker's boot would be in the log: a hook forked it
            return
        if worker.status is None and worker.descriptor is not None:
            worker.status = pidfd.exit_status(worker.descriptor)
        self._ask_inside(gunicorn, worker)
        evidence = self._evidence(gunicorn, worker)
        found = judge(evidence)
        tally = self._tally(gunicorn)
        tally.exits[found.cause] += 1
        tally.boots += not worker.sure
        tally.sigkills += _was_killed(evidence.status)
        gunicorn.judged.append(worker.namespace_pid)
        if worker.recovered:
            found = found._replace(evidence=(*found.evidence, replay.unwatched(self._earlier.saved)))
        if found.cause not in WANTED:
            tally.recovered += worker.recovered
            lacks = self.available.lacks(gunicorn.master.app)
            around = circumstances(self._proc, gunicorn, evidence, lacks)
            self._deaths.add(record(gunicorn, worker, found, around, self._clock.wall()))
        log.log(
            logging.INFO if found.cause in WANTED else logging.WARNING,
            "worker ended",
            extra={
                "app": gunicorn.master.app,
                "worker": worker.slot if worker.slot >= 0 else "unknown",
                "pid": worker.identity.pid,
                "cause": found.cause,
                "confidence": found.confidence,
                "evidence": "; ".join(found.evidence),
            },
        )
        self._drop(gunicorn, worker)

    def _ask_inside(self, gunicorn: Gunicorn, worker: Worker) -> None:
        if gunicorn.inside is None:
            return
        with contextlib.suppress(OSError, ValueError):  # said at the next look
            gunicorn.inside.read()
        worker.told = told = gunicorn.inside.of(worker)
        gunicorn.inside.counted(worker, told)
        if told and worker.status is None:
            worker.status = told.status
        if told and worker.recovered:
            worker.died = told.time

    def _evidence(self, gunicorn: Gunicorn, worker: Worker) -> Evidence:
        kill, _ = self._kills.pop(worker.identity.pid, (None, 0.0))
        cgroup_oom = self._unexplained_oom_kill(gunicorn, worker)
        evidence = Evidence(
            status=worker.status,
            oom_kill=kill,
            cgroup_oom=cgroup_oom,
            oom_in_doubt=worker.oom_in_doubt,
            timeout_logged=worker.timeout_logged,
            aborted=worker.aborted,
            recycle_logged=worker.recycle_logged,
            master_signal=worker.order,
            master_gone=not self._alive(gunicorn.master.identity),
            heartbeat_age=worker.heartbeat_age,
            timeout=gunicorn.master.settings.number("timeout"),
            log_tells_kills=gunicorn.log_understood,
            log_tells_all=gunicorn.log_at_info,
            oom_tells=worker.identity.pid > 0
            and (self._kernel_log is not None or gunicorn.oom_count is not None),
            told=worker.told if worker.told and is_masters_word(worker.told) else None,
        )
        if not worker.recovered:
            return evidence
        return replay.what_is_left(
            evidence, gunicorn, worker, kernel_log_complete=self._earlier.kernel_log_complete
        )

    def _unexplained_oom_kill(self, gunicorn: Gunicorn, worker: Worker) -> bool:
        """Take one of the cgroup's OOM kills, which names no victim, for this end."""
        kills = len(gunicorn.oom_kills)
        if worker.recovered or not kills or worker.oom_in_doubt or not _may_be_killed(worker):
            return False
        sharing = (
            [each for each in self._gunicorns if each.cgroup and each.cgroup.path == gunicorn.cgroup.path]
            if gunicorn.cgroup
            else []
        )
        ended = [
            each
            for other in sharing
            for each in other.workers.values()
            if each.ended is not None and _may_be_killed(each)
        ]
        if len(ended) > kills:  # which of them was it?
            for each in ended:
                each.oom_in_doubt = True
            for other in sharing:
                other.oom_kills.clear()
            return False
        for other in sharing:
            del other.oom_kills[:1]
        return True

    def _drop(self, gunicorn: Gunicorn, worker: Worker) -> None:
        if worker.heartbeat:
            worker.heartbeat.close()
        self._release_pidfd(worker)
        del gunicorn.workers[worker.identity.pid]

    def _release_pidfd(self, worker: Worker) -> None:
        if worker.descriptor is not None:
            self._poll.unregister(worker.descriptor)
            del self._pidfds[worker.descriptor]
            os.close(worker.descriptor)
            worker.descriptor = None

    def _forget(self, gunicorn: Gunicorn) -> None:
        if gunicorn.log:
            gunicorn.log.close()
        self._gunicorns.remove(gunicorn)
        app = gunicorn.master.app
        if all(other.master.app != app for other in self._gunicorns):
            self.available.forget(app)
        log.info("gunicorn gone", extra={"app": app, "pid": gunicorn.master.identity.pid})

    def _forget_apps(self) -> None:
        """Drop apps that stopped long ago, or the series of names like app-$RELEASE would add up for ever."""
        now = self._clock.wall()
        running = {gunicorn.master.app for gunicorn in self._gunicorns}
        self._seen = {app: now if app in running else self._seen.get(app, now) for app in self._tallies}
        stopped = sorted(self._seen.keys() - running, key=self._seen.__getitem__)
        surplus = max(0, len(stopped) - form.STOPPED)
        for place, app in enumerate(stopped):
            if place < surplus or now - self._seen[app] >= form.FORGOTTEN:
                del self._tallies[app], self._seen[app]

    # --- over a restart

    def _kept(self) -> Kept:
        return Kept(
            host=era(self._proc),
            saved=self._clock.wall(),
            since=self._deaths.since,
            kernel_log=self._kernel_log.sequence if self._kernel_log else None,
            kills=tuple(kill for kill, _ in self._kills.values()),
            tallies={app: _copy(tally) for app, tally in self._tallies.items()},
            seen={app: self._seen.get(app, self._clock.wall()) for app in self._tallies},
            gunicorns=tuple(map(form.of, self._gunicorns)),
            deaths=self._deaths.all(),
        )

    def _restore(self, kept: Kept) -> None:
        self._deaths = deaths.Deaths(kept.since, kept.deaths)
        for app, tally in kept.tallies.items():
            if kept.saved - kept.seen[app] < form.FORGOTTEN:
                self._tallies[app], self._seen[app] = _copy(tally), kept.seen[app]
        if not kept.host or kept.host != era(self._proc):
            return  # after a reboot no pid means anything, and no worker died for a reason of its own
        kills, complete = list(kept.kills), False
        if self._kernel_log and kept.kernel_log is not None:
            with contextlib.suppress(OSError):
                since, complete = self._kernel_log.kills_since(kept.kernel_log)
                kills += since
        self._kills |= {kill.pid: (kill, self._clock.steady()) for kill in kills}
        self._earlier = Earlier(kept.saved, complete)
        files = collections.Counter(each.log[1:3] for each in kept.gunicorns if each.log)
        for each in kept.gunicorns:
            self._resume(each, alone=each.log is not None and files[each.log[1:3]] == 1)

    def _resume(self, kept: KeptGunicorn, *, alone: bool) -> None:
        """Follow a gunicorn again, and end those of its workers that are gone."""
        gunicorn = self._follow_again(kept)
        if gunicorn.log:  # it may be closed to this run: then a line that isn't there means nothing
            gunicorn.log_understood, gunicorn.log_at_info = kept.log_understood, kept.log_at_info
        gunicorn.judged.extend(kept.judged)
        if gunicorn.gone and kept.folder and not kept.folder.startswith(f"{self._proc}/"):
            gunicorn.inside = self._inside(kept.folder, self._earlier.saved)
        for worker in kept.workers:
            self._take_back(gunicorn, worker)
        told = replay.Replay(gunicorn, self._earlier.saved, alone=alone)
        for line in told.lines():
            self._log_line(gunicorn, line)
        gunicorn.log_complete = told.complete
        for worker in told.unexplained(self._living_log_pids(gunicorn)):
            self._end(worker, None)
        told.date()
        if not gunicorn.gone:
            self._adopt(gunicorn, boots=True)
            self._say_found(gunicorn)

    def _follow_again(self, kept: KeptGunicorn) -> Gunicorn:
        with contextlib.suppress(OSError, ValueError):
            if self._alive(kept.master):
                master = find.describe(self._proc, kept.master, self._apps)
                gunicorn = self._follow(dataclasses.replace(master, app=kept.app))
                self._open_log(gunicorn, kept.log)
                self._find_inside(gunicorn, self._earlier.saved)
                return gunicorn
        gunicorn = Gunicorn(form.gone(kept), None, None, gone=True)
        self._gunicorns.append(gunicorn)
        if kept.log:
            with contextlib.suppress(OSError, ValueError):
                gunicorn.log = LogTail(kept.log.path, since=kept.log)
        return gunicorn

    def _take_back(self, gunicorn: Gunicorn, kept: Worker) -> None:
        worker = dataclasses.replace(kept)
        gunicorn.workers[worker.identity.pid] = worker
        if worker.died is not None:  # only its verdict was still to come
            worker.ended = self._clock.steady()
        elif not self._alive(worker.identity):
            worker.recovered = True
        elif self._exit_information:
            self._open_pidfd(worker)

    def _living_log_pids(self, gunicorn: Gunicorn) -> set[int]:
        living = set()
        with contextlib.suppress(OSError):
            for pid in process.read_children(self._proc, gunicorn.master.identity.pid):
                with contextlib.suppress(OSError, ValueError):
                    living.add(process.namespace_pid(process.read_status(self._proc, pid)))
        return living

    # --- small things

    @property
    def _masters(self) -> dict[int, Gunicorn]:
        return {each.master.identity.pid: each for each in self._gunicorns if not each.gone}

    def _heartbeat_age(self, worker: Worker) -> float | None:
        return max(0.0, self._clock.wall() - worker.heartbeat.last()) if worker.heartbeat else None

    def _find(self, pid: int) -> list[tuple[Gunicorn, Worker]]:
        return [(each, each.workers[pid]) for each in self._gunicorns if pid in each.workers]

    def _tally(self, gunicorn: Gunicorn) -> Tally:
        return self._tallies.setdefault(gunicorn.master.app, Tally())

    def _next(self) -> float:
        """Return the seconds until something is due."""
        now = self._clock.steady()
        due = [self._looked + LOOK]
        due += [
            worker.ended + SETTLE
            for gunicorn in self._gunicorns
            for worker in gunicorn.workers.values()
            if worker.ended is not None
        ]
        return max(0.0, min(due) - now)

    def _app_state(self, name: str, tally: Tally) -> AppState:
        mine = [each for each in self._gunicorns if each.master.app == name]
        cgroups = {each.cgroup.path: each.cgroup for each in mine if each.cgroup}
        workers = [
            LiveWorker(
                worker.identity,
                worker.namespace_pid,
                worker.slot,
                worker.started,
                self._heartbeat_age(worker),
            )
            for each in mine
            for worker in each.workers.values()
            if worker.ended is None and worker.sure
        ]
        return AppState(
            name,
            tuple(each.master for each in mine if not each.gone),
            tuple(cgroups.values()),
            tuple(sorted(workers, key=lambda worker: worker.slot)),
            _copy(tally),
            self._deaths.last(name, self._clock.wall()),
        )


def _copy(tally: Tally) -> Tally:
    return dataclasses.replace(tally, exits=dict(tally.exits))


def _may_be_killed(worker: Worker) -> bool:
    return worker.status in (None, signal.SIGKILL) and not worker.timeout_logged


def _was_killed(status: int | None) -> bool:
    return status is not None and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def _oom_kills(found: MemoryCgroup | None) -> int | None:
    if found is None:
        return None
    try:
        return found.oom_kills()
    except (OSError, ValueError):
        return None
