"""Gunicorn from outside: masters, workers, memory, and how workers ended."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from floodmark import catalogue
from floodmark.gunicorn.deaths import doing
from floodmark.gunicorn.saturation import THREADED, State, Work, judge
from floodmark.gunicorn.settings import PUBLISHED, UNKNOWN
from floodmark.sources.procfs import meminfo, process

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from floodmark.facts import Facts
    from floodmark.gunicorn.agents import Told
    from floodmark.gunicorn.find import Master
    from floodmark.gunicorn.model import AppState, LiveWorker
    from floodmark.gunicorn.sockets import AppSockets
    from floodmark.metric import Sample
    from floodmark.sources.procfs.process import Files, Identity, Memory


def collect(facts: Facts) -> Iterator[Sample]:
    """Yield everything about every app seen since the start, and which sources could be used for it."""
    if facts.watch.failure:
        raise RuntimeError(f"watching gunicorns failed: {facts.watch.failure}")
    apps = facts.watch.state()
    agents = facts.agents.look(apps)
    for app in apps:
        yield catalogue.UP(bool(app.masters), app=app.name)
        yield from _tally(app)
        for master in app.masters[:1]:
            yield from _settings(app.name, master)
        yield from _workers(facts, app, agents[app.name].workers if app.name in agents else {})
    # Last: looking is what shows whether a source can be used.
    for source, works in facts.watch.available.by_source().items():
        yield catalogue.SOURCE_AVAILABLE(works, source=source)


def _tally(app: AppState) -> Iterator[Sample]:
    for cause, count in app.tally.exits.items():
        yield catalogue.EXITS(count, app=app.name, cause=cause)
    yield catalogue.SIGKILLS(app.tally.sigkills, app=app.name)
    yield catalogue.BOOTS(app.tally.boots, app=app.name)
    yield catalogue.RELOADS(app.tally.reloads, app=app.name)
    yield catalogue.DEATHS_RECOVERED(app.tally.recovered, app=app.name)
    if death := app.last_death:
        yield catalogue.LAST_DEATH(
            1, app=app.name, cause=death.cause, confidence=death.confidence, doing=doing(death)
        )


def _settings(name: str, master: Master) -> Iterator[Sample]:
    settings = master.settings
    yield catalogue.INFO(
        1,
        app=name,
        version=master.version,
        worker_class=settings.worker_class or "unknown",
        preload=(settings.text("preload_app") or "unknown").lower(),
    )
    numbers = {setting: settings.number(setting) for setting in PUBLISHED}
    for setting, value in numbers.items():
        if value is not None:
            yield catalogue.SETTING(value, app=name, setting=setting)
    workers = numbers["workers"]
    if workers is not None:
        yield catalogue.WORKERS_TARGET(workers, app=name)
        each = numbers["threads" if settings.worker_class in THREADED else "worker_connections"]
        if settings.worker_class and each is not None:
            yield catalogue.SLOTS(workers * each, app=name)


def _workers(facts: Facts, app: AppState, told: Mapping[Identity, Told]) -> Iterator[Sample]:
    totals = [_memory(facts.proc, master.identity) for master in app.masters]
    sockets = facts.sockets.look(app, told.keys())
    live: set[Identity] = set()
    for worker in app.workers:
        memory = _memory(facts.proc, worker.identity)
        if memory is None:
            continue
        live.add(worker.identity)
        totals.append(memory)
        yield from _worker(facts, app.name, worker, memory, sockets.files.get(worker.identity))
    yield from _backlog(app, sockets)
    yield from _saturation(app, sockets, live, told)
    yield from _proportional(facts, app)
    known = [memory for memory in totals if memory]
    for kind in ("resident", "anonymous", "swap"):
        yield catalogue.MEMORY(sum(getattr(memory, kind) for memory in known), app=app.name, kind=kind)
    if app.masters:
        yield from _limit(facts, app)


def _proportional(facts: Facts, app: AppState) -> Iterator[Sample]:
    """Yield memory with shared pages counted once; the sum only where every process was read."""
    for worker in app.workers:
        if reading := facts.proportional.of(worker.identity):
            yield catalogue.WORKER_PROPORTIONAL(reading.size, app=app.name, worker=str(worker.slot))
    every = [facts.proportional.of(identity) for identity in app.processes]
    readings = [reading for reading in every if reading]
    if readings and len(readings) == len(every):
        total = sum(reading.size for reading in readings)
        yield catalogue.MEMORY(total, app=app.name, kind="proportional")
        yield catalogue.PROPORTIONAL_AGE(max(reading.age for reading in readings), app=app.name)


def _backlog(app: AppState, sockets: AppSockets) -> Iterator[Sample]:
    for listener in sockets.listeners or ():
        labels = {"app": app.name, "listener": listener.address}
        if listener.queued is not None:
            yield catalogue.BACKLOG(listener.queued, **labels)
        if listener.limit is not None:
            yield catalogue.BACKLOG_LIMIT(listener.limit, **labels)
    queues = [listener.queued for listener in sockets.listeners or () if listener.queued is not None]
    if sockets.listeners and len(queues) == len(sockets.listeners):
        yield catalogue.REQUESTS_QUEUED(sum(queues), app=app.name, where="listen")


def _saturation(
    app: AppState, sockets: AppSockets, live: AbstractSet[Identity], told: Mapping[Identity, Told]
) -> Iterator[Sample]:
    settings = app.masters[0].settings if app.masters else UNKNOWN
    threads = settings.number("threads")
    known = {
        identity: judge(settings.worker_class, None if threads is None else int(threads), seen)
        for identity, seen in sockets.seen.items()
        if identity in live
    }
    # A worker knows better than what can be seen of it, of gevent's and asyncio's connections above all.
    known |= {identity: _by_agent(told[identity]) for identity in live if identity in told}
    works = list(known.values())
    states = Counter(work.state for work in works)
    states[State.UNKNOWN] += len(live) - len(works)  # what can't be seen is not idle
    for state in State:
        yield catalogue.WORKERS(states[state], app=app.name, state=state)
    if works and not states[State.UNKNOWN]:
        yield catalogue.IN_FLIGHT(sum(work.in_flight for work in works), app=app.name)
        if settings.worker_class == "gthread":
            queued = sum(work.queued for work in works)
            yield catalogue.REQUESTS_QUEUED(queued, app=app.name, where="worker")


def _by_agent(told: Told) -> Work:
    queued = int(told.queued or 0)
    state = State.BUSY if told.in_flight or queued else State.IDLE
    return Work(state, told.in_flight, queued)


def _worker(
    facts: Facts, name: str, worker: LiveWorker, memory: Memory, files: Files | None
) -> Iterator[Sample]:
    pid = worker.identity.pid
    labels = {"app": name, "worker": str(worker.slot)}
    try:
        stat = process.read_stat(facts.proc, pid)
    except (FileNotFoundError, ProcessLookupError):  # it ended before it was opened, or before it was read
        return
    yield catalogue.WORKER_INFO(1, pid=str(pid), **labels)
    yield catalogue.WORKER_START(worker.started, **labels)
    yield catalogue.WORKER_CPU(stat.cpu_seconds, **labels)
    yield catalogue.WORKER_THREADS(stat.threads, **labels)
    yield catalogue.WORKER_RESIDENT(memory.resident, **labels)
    yield catalogue.WORKER_SWAP(memory.swap, **labels)
    yield catalogue.HEAP_USED(memory.anonymous, **labels)
    if worker.heartbeat_age is not None:
        yield catalogue.WORKER_HEARTBEAT(worker.heartbeat_age, **labels)
    if files is not None:
        yield catalogue.WORKER_FDS(files.opened, **labels)


def _memory(proc: Path, identity: Identity) -> Memory | None:
    """Return the memory of a process, None if it ended meanwhile."""
    try:
        return process.memory(process.read_status(proc, identity.pid))
    except (FileNotFoundError, ProcessLookupError):
        return None


def _limit(facts: Facts, app: AppState) -> Iterator[Sample]:
    host = meminfo.read(facts.proc)
    limits = [(host["MemTotal"], host["MemAvailable"])]
    limits += filter(None, (cgroup.limit_and_headroom() for cgroup in app.cgroups))
    limit = min(limit for limit, _ in limits)
    yield catalogue.MEMORY_LIMIT(limit, app=app.name)
    yield catalogue.HEAP_MAX(limit, app=app.name)
    yield catalogue.MEMORY_HEADROOM(min(left for _, left in limits), app=app.name)
