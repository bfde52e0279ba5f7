r"""What a container wrote to its output, as docker's json-file driver keeps it (the default driver).

<docker's folder>/containers/ID/ID-json.log, a record for each line; one longer than 16 KiB comes in parts, of
which only the last ends in a line feed:

    {"log":"[2026-11-20 07:27:51 +0000] [7] [CRITICAL] WORKER TIMEOUT (pid:9)\n","stream":"stderr",
     "time":"2026-11-20T07:27:51.523Z"}

The container's id stands in its cgroup's path on the host, or in what docker mounts into it (mountinfo):

    0::/system.slice/docker-2f1c...9d.scope
    612 590 8:1 /var/lib/docker/containers/2f1c...9d/hostname /etc/hostname rw,relatime - ext4 /dev/sda1 rw
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from floodmark.sources.logtail import LogTail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from floodmark.sources.logposition import Position

_IN_CGROUP = re.compile(r"docker[-/](?P<id>[0-9a-f]{64})")
_IN_MOUNTS = re.compile(r"/containers/(?P<id>[0-9a-f]{64})/(hostname|resolv\.conf|hosts) ")
_LONGEST_LINE = 16 << 10  # characters; of a longer one only the end is kept


def container(cgroup: str, mountinfo: str) -> str | None:
    """Return the id of the docker container of a process, None for one in none.

    Args:
        cgroup: text of /proc/PID/cgroup.
        mountinfo: text of /proc/PID/mountinfo.
    """
    match = _IN_CGROUP.search(cgroup) or _IN_MOUNTS.search(mountinfo)
    return match["id"] if match else None


class DockerLog:
    """Follows a container's log from now on, or from where an earlier run had read it.

    Attributes:
        complete: nothing is missing since then.
        lost: docker writes to a file that can't be opened.

    Raises:
        OSError: it can't be read.
    """

    def __init__(self, path: str, since: Position | None = None) -> None:
        self._tail = LogTail(path, since=since)
        self.complete = self._tail.complete
        self._parts = {"stdout": "", "stderr": ""}

    @property
    def lost(self) -> bool:
        """See above."""
        return self._tail.lost

    def lines(self) -> Iterator[str]:
        """Yield the lines that the container completed since the last call."""
        for record in self._tail.lines():
            try:
                fields = json.loads(record)
                stream, text = fields["stream"], fields["log"]
                line = self._parts[stream] + text
            except (ValueError, KeyError, TypeError, RecursionError):  # cut off when the disk was full
                continue
            complete = line.endswith("\n")
            self._parts[stream] = "" if complete else line[-_LONGEST_LINE:]
            if complete:
                yield line[:-1]

    def position(self) -> Position:
        """Return how far it was read."""
        return self._tail.position()

    def close(self) -> None:
        """Stop following."""
        self._tail.close()
