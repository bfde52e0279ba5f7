"""Makes a death record of a judged end: what it was, and the circumstances that decide what to do next."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from floodmark.gunicorn.deaths import Circumstances, Death
from floodmark.gunicorn.inside import in_flight
from floodmark.sources.procfs import meminfo

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from floodmark.gunicorn.model import Gunicorn, Worker
    from floodmark.gunicorn.verdict import Evidence, Verdict
    from floodmark.sources.available import Lack

_IN_DOUBT = frozenset({"sigkill_unknown", "unknown"})
# The sources that can tell one cause from another; the rest is said where it is missed.
_TELLING = ("kernel_log", "gunicorn_log", "heartbeat", "agent_exits", "exit_status", "process_events")


def record(
    gunicorn: Gunicorn, worker: Worker, verdict: Verdict, circumstances: Circumstances, now: float
) -> Death:
    """Return the record of a worker that was judged; ``now`` is Unix time, for an end that nothing dated."""
    died = worker.died or now
    resident, peak = worker.memory or (None, None)
    return Death(
        time=died,
        app=gunicorn.master.app,
        pid=worker.identity.pid if worker.identity.pid > 0 else worker.namespace_pid,
        slot=worker.slot if worker.slot >= 0 else None,
        age=max(0.0, died - worker.started) if worker.started > 0 else None,
        cause=verdict.cause,
        confidence=verdict.confidence,
        evidence=verdict.evidence,
        resident_bytes=resident,
        peak_bytes=peak,
        recovered=worker.recovered,
        in_flight=in_flight(worker.told),
        stack=worker.told.stack if worker.told else None,
        circumstances=circumstances
        if verdict.cause in _IN_DOUBT
        else dataclasses.replace(circumstances, lacks=()),
    )


def circumstances(
    proc: Path, gunicorn: Gunicorn, evidence: Evidence, lacks: Mapping[str, Lack]
) -> Circumstances:
    """Return what is known of the circumstances; ``lacks`` is what is missing for this app, by source."""
    number = gunicorn.master.settings.number
    memory, swap = _host_memory(proc)
    return Circumstances(
        oom_limit=evidence.oom_kill.scope if evidence.oom_kill else "cgroup" if evidence.cgroup_oom else None,
        limit_bytes=_limit(gunicorn),
        memory_bytes=memory,
        swap_bytes=swap,
        workers=number("workers"),
        timeout=number("timeout"),
        graceful_timeout=number("graceful_timeout"),
        max_requests=number("max_requests"),
        lacks=tuple(
            f"{lacks[source].problem}. To mend it: {lacks[source].grant}"
            for source in _TELLING
            if source in lacks
        ),
    )


def _host_memory(proc: Path) -> tuple[int | None, int | None]:
    try:
        values = meminfo.read(proc)
    except (OSError, ValueError):
        return None, None
    return values.get("MemTotal"), values.get("SwapTotal")


def _limit(gunicorn: Gunicorn) -> int | None:
    try:
        found = gunicorn.cgroup.limit_and_headroom() if gunicorn.cgroup else None
    except (OSError, ValueError):
        return None
    return found[0] if found else None
