"""Gunicorn from outside: masters, workers, memory, and how workers ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from floodmark import catalogue
from floodmark.gunicorn.settings import PUBLISHED
from floodmark.sources.procfs import meminfo, process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from floodmark.facts import Facts
    from floodmark.gunicorn.find import Master
    from floodmark.gunicorn.model import AppState, LiveWorker
    from floodmark.metric import Sample
    from floodmark.sources.procfs.process import Identity, Memory

# Worker classes that serve one request for each thread; others serve as many as worker_connections.
_THREADED = frozenset({"sync", "gthread"})


def collect(facts: Facts) -> Iterator[Sample]:
    """Yield everything about every app seen since the start, and which sources could be used for it."""
    if facts.watch.failure:
        raise RuntimeError(f"watching gunicorns failed: {facts.watch.failure}")
    for source, works in facts.watch.available.by_source().items():
        yield catalogue.SOURCE_AVAILABLE(works, source=source)
    for app in facts.watch.state():
        yield catalogue.UP(bool(app.masters), app=app.name)
        yield from _tally(app)
        for master in app.masters[:1]:
            yield from _settings(app.name, master)
        yield from _workers(facts, app)


def _tally(app: AppState) -> Iterator[Sample]:
    for cause, count in app.tally.exits.items():
        yield catalogue.EXITS(count, app=app.name, cause=cause)
    yield catalogue.SIGKILLS(app.tally.sigkills, app=app.name)
    yield catalogue.BOOTS(app.tally.boots, app=app.name)
    yield catalogue.RELOADS(app.tally.reloads, app=app.name)
    yield catalogue.DEATHS_RECOVERED(app.tally.recovered, app=app.name)


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
        each = numbers["threads" if settings.worker_class in _THREADED else "worker_connections"]
        if settings.worker_class and each is not None:
            yield catalogue.SLOTS(workers * each, app=name)


def _workers(facts: Facts, app: AppState) -> Iterator[Sample]:
    totals = [_memory(facts.proc, master.identity) for master in app.masters]
    live = 0
    for worker in app.workers:
        memory = _memory(facts.proc, worker.identity)
        if memory is None:
            continue
        live += 1
        totals.append(memory)
        yield from _worker(facts, app.name, worker, memory)
    # What a worker is doing can't be told yet: unknown is not idle.
    for state, count in (("busy", 0), ("idle", 0), ("unknown", live)):
        yield catalogue.WORKERS(count, app=app.name, state=state)
    known = [memory for memory in totals if memory]
    for kind in ("resident", "anonymous", "swap"):
        yield catalogue.MEMORY(sum(getattr(memory, kind) for memory in known), app=app.name, kind=kind)
    if app.masters:
        yield from _limit(facts, app)


def _worker(facts: Facts, name: str, worker: LiveWorker, memory: Memory) -> Iterator[Sample]:
    pid = worker.identity.pid
    labels = {"app": name, "worker": str(worker.slot)}
    try:
        stat = process.read_stat(facts.proc, pid)
    except FileNotFoundError:
        return
    yield catalogue.WORKER_INFO(1, pid=str(pid), **labels)
    yield catalogue.WORKER_START(worker.started, **labels)
    yield catalogue.WORKER_CPU(stat.cpu_seconds, **labels)
    yield catalogue.WORKER_THREADS(stat.threads, **labels)
    yield catalogue.WORKER_RESIDENT(memory.resident, **labels)
    yield catalogue.WORKER_SWAP(memory.swap, **labels)
    if worker.heartbeat_age is not None:
        yield catalogue.WORKER_HEARTBEAT(worker.heartbeat_age, **labels)
    files = process.count_files(facts.proc, pid)
    if files is not None:
        yield catalogue.WORKER_FDS(files, **labels)


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
    yield catalogue.MEMORY_LIMIT(min(limit for limit, _ in limits), app=app.name)
    yield catalogue.MEMORY_HEADROOM(min(left for _, left in limits), app=app.name)
