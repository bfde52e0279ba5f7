"""The files of prometheus_client's multiprocess mode (PROMETHEUS_MULTIPROC_DIR), by the library's own code.

    counter_3231.db  histogram_3231.db  summary_3231.db  gauge_all_3231.db  gauge_livesum_3231.db

Each process has one of each type, mapped into its memory: https://prometheus.github.io/client_python/multiprocess/
A row is a key, a value and a timestamp; of the key it is written here what the library's mmap_key makes:

    ["http_requests", "http_requests_total", {"method": "GET"}, "Requests."]

Before prometheus_client 0.18 rows had no timestamp: such files are unreadable here, as in the library today.
"""

from __future__ import annotations

import functools
import json
import os
import re
import stat
import struct
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

if TYPE_CHECKING:
    from collections.abc import Iterable

Family = Metric  # the library's: floodmark's own Metric is another thing
Row = tuple[str, float, float]  # key, value, Unix time
Values = dict[str, tuple[float, float]]  # value and Unix time, by key

_NAME = re.compile(r"(counter|histogram|summary|gauge_(?:live)?(?:all|min|max|sum|mostrecent))_.+\.db")
_USED = struct.Struct("i")  # how every file starts: the bytes that are in use
_HEADER = 8
_ROW = 32  # bytes of a row beside its key, at most
_SMALLEST = 1 << 16  # bytes: the library's own initial size
_OLD = "not a file of prometheus_client 0.18 or newer"


class UnreadableError(ValueError):
    """What is in a file isn't what prometheus_client writes."""


def group(name: str) -> str | None:
    """Return what a file's rows may be merged with: ``counter``, ``gauge_max``; None for a foreign name."""
    found = _NAME.fullmatch(name)
    return found[1] if found else None


def is_live(of: str) -> bool:
    """Tell whether a group counts only while its process lives."""
    return of.startswith("gauge_live")


def is_by_process(of: str) -> bool:
    """Tell whether each process of a group has series of its own: the label pid, out of its file's name."""
    return of in ("gauge_all", "gauge_liveall")


def opened(folder: int, name: str) -> int:
    """Open a file of a folder (a descriptor) for reading.

    The folder is the app's, and floodmark may be root: no link is followed, and no pipe waited for.

    Raises:
        UnreadableError: it is no regular file.
        OSError: it can't be opened.
    """
    if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        raise UnreadableError("no regular file")
    return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)


def read(descriptor: int) -> list[Row]:
    """Return a file's rows; a process may be writing it meanwhile.

    Raises:
        UnreadableError: it isn't what prometheus_client writes today.
    """
    start = os.pread(descriptor, _USED.size, 0)
    # A file that was just made is empty, then all zeros.
    used = _USED.unpack(start)[0] if len(start) == _USED.size else 0
    if not used and not start.strip(b"\0"):
        return []
    if not _HEADER <= used <= os.fstat(descriptor).st_size:
        raise UnreadableError(_OLD)
    rows, end = [], _HEADER
    try:
        for key, value, timestamp, position in MmapedDict.read_all_values_from_file(_path(descriptor)):
            _check(key)
            rows.append((key, value, timestamp))
            end = position + 16
    except (RuntimeError, struct.error, ValueError) as error:
        raise UnreadableError(_OLD) from error
    if end < used:
        raise UnreadableError(_OLD)
    # Where rows are shorter (before 0.18) the last one reaches beyond what is in use, unless more was added
    # since: then that many bytes are in use by now.
    if end > _USED.unpack(os.pread(descriptor, _USED.size, 0))[0]:
        raise UnreadableError(_OLD)
    return rows


@functools.lru_cache(maxsize=1024)  # each process writes the same ones
def _check(key: str) -> None:
    try:
        metric, name, labels, text = json.loads(key)
    except (TypeError, RecursionError) as error:
        raise ValueError(key) from error
    if not (isinstance(labels, dict) and all(isinstance(each, str) for each in (metric, name, text))):
        raise ValueError(key)


def fold(values: Values, rows: Iterable[Row], of: str) -> None:
    """Merge rows into ``values`` as prometheus_client's collector would at each scrape."""
    how = of.rpartition("_")[2].removeprefix("live")
    for key, value, timestamp in rows:
        old, stamp = values.get(key, (None, 0.0))
        if old is None:
            values[key] = value, timestamp
        elif how == "min":
            values[key] = min(old, value), timestamp
        elif how == "max":
            values[key] = max(old, value), timestamp
        elif how == "mostrecent":
            values[key] = (value, timestamp) if stamp < timestamp else (old, stamp)
        else:
            values[key] = old + value, 0.0


def write(descriptor: int, values: Values) -> None:
    """Write rows into an empty file.

    Raises:
        OSError: no space is left.
    """
    wanted = _HEADER + sum(len(key.encode()) + _ROW for key in values)
    # The library maps a file with holes: on a full disk that would end us by SIGBUS.
    os.posix_fallocate(descriptor, 0, max(_SMALLEST, -(-wanted // _SMALLEST) * _SMALLEST))
    file = MmapedDict(_path(descriptor))
    try:
        for key, (value, timestamp) in values.items():
            file.write_value(key, value, timestamp)
    finally:
        file.close()


def families(paths: Iterable[str]) -> list[Family]:
    """Return what the library's own collector makes of files."""
    return list(MultiProcessCollector.merge(list(paths), accumulate=True))


def _path(descriptor: int) -> str:
    # The library opens by name; this one is that very file, whatever became of its name.
    return f"/proc/self/fd/{descriptor}"
