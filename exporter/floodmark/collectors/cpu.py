"""Time of each CPU by mode, and when the host booted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from floodmark import catalogue
from floodmark.sources.procfs import stat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from floodmark.facts import Facts
    from floodmark.metric import Sample


def collect(facts: Facts) -> Iterator[Sample]:
    """Yield eight modes for each CPU that is online, and the boot time."""
    cpus, boot_time = stat.read(facts.proc)
    for cpu, times in facts.cpu_ratchet.hold(cpus).items():
        for mode, seconds in zip(times._fields, times, strict=True):
            yield catalogue.CPU_SECONDS(seconds, cpu=cpu, mode=mode)
    yield catalogue.BOOT_TIME(boot_time)
