"""Facts to samples, one file each. The file's name is the collector's name, in flags and labels too."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from floodmark.collectors import (
    cpu,
    disk,
    filefd,
    filesystem,
    gunicorn,
    load,
    memory,
    netstat,
    pressure,
    requests,
    runtime,
    vmstat,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from floodmark.facts import Facts
    from floodmark.metric import Sample


class Collector(NamedTuple):
    """A name and what makes the samples. ``collect`` may raise: its own samples are lost, no others."""

    name: str
    collect: Callable[[Facts], Iterable[Sample]]


COLLECTORS: tuple[Collector, ...] = (
    Collector("load", load.collect),
    Collector("cpu", cpu.collect),
    Collector("memory", memory.collect),
    Collector("vmstat", vmstat.collect),
    Collector("pressure", pressure.collect),
    Collector("disk", disk.collect),
    Collector("filesystem", filesystem.collect),
    Collector("netstat", netstat.collect),
    Collector("filefd", filefd.collect),
    Collector("gunicorn", gunicorn.collect),
    Collector("requests", requests.collect),
    Collector("runtime", runtime.collect),
)
