"""What collectors are given to make samples from."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

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
    """

    root: Path
    proc: Path
    watch: Watch
    requests: Requests
