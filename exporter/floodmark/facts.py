"""What collectors are given to make samples from."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from floodmark.sources.procfs.diskstats import QueueDepth
from floodmark.sources.procfs.stat import Ratchet
from floodmark.sources.statvfs import FileSystems

if TYPE_CHECKING:
    from pathlib import Path

    from floodmark.gunicorn.agents import Agents
    from floodmark.gunicorn.proportional import ProportionalMemory
    from floodmark.gunicorn.sockets import Sockets
    from floodmark.gunicorn.watch import Watch
    from floodmark.requests import Requests


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """The world as collectors see it.

    Attributes:
        root: the host's root folder: / or where a container has it mounted.
        proc: the host's /proc.
        watch: the gunicorns of the host and how their workers ended.
        requests: what gunicorn's StatsD told so far.
        sockets: looks at what gunicorns listen on and what their workers hold.
        proportional: their memory with shared pages counted once.
        agents: what the agents inside their workers tell.
        cpu_ratchet: keeps CPU times from running backwards between scrapes.
        disk_queue: remembers the last reading of the disks.
        file_systems: remembers which of them don't answer.
    """

    root: Path
    proc: Path
    watch: Watch
    requests: Requests
    sockets: Sockets
    proportional: ProportionalMemory
    agents: Agents
    cpu_ratchet: Ratchet = dataclasses.field(default_factory=Ratchet)
    disk_queue: QueueDepth = dataclasses.field(default_factory=QueueDepth)
    file_systems: FileSystems = dataclasses.field(default_factory=FileSystems)
