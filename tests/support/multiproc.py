"""Files of prometheus_client's multiprocess mode, written by the library as an app's processes write them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Self

from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from floodmark.sources.multiproc import Family

Page = dict[tuple[str, str, str, frozenset[tuple[str, str]]], float]
MODES = ("all", "min", "max", "sum", "mostrecent")
GAUGES = tuple(f"gauge_{live}{mode}" for live in ("", "live") for mode in MODES)


class Process:
    """A process that counts; it lives until it dies: its files are open and mapped as long."""

    def __init__(self, folder: Path, pid: int) -> None:
        self._folder = folder
        self._pid = pid
        self._files: dict[str, MmapedDict] = {}

    def add(
        self, file: str, name: str, value: float, labels: Mapping[str, str] | None = None, when: float = 0.0
    ) -> None:
        """Add to a value of a file (``counter``); a gauge is set."""
        if file not in self._files:
            self._files[file] = MmapedDict(str(self._folder / f"{file}_{self._pid}.db"))
        labels = labels or {}
        metric = (
            name.removesuffix("_total") if file == "counter" else name.partition("_seconds")[0] + "_seconds"
        )
        key = mmap_key(metric if file != "gauge" else name, name, [*labels], [*labels.values()], "Help.")
        old = 0.0 if file.startswith("gauge") else self._files[file].read_value(key)[0]
        self._files[file].write_value(key, old + value, when)

    def work(self, amount: int) -> None:
        """Count in every type there is, in numbers that add up exactly in whatever order."""
        for method in ("GET", "POST"):
            self.add("counter", "requests_total", amount, {"method": method})
        for bound in ("0.1", "1.0", "+Inf"):
            self.add("histogram", "duration_seconds_bucket", amount + len(bound), {"le": bound})
        self.add("histogram", "duration_seconds_sum", amount / 1024)
        self.add("summary", "size_seconds_count", amount)
        self.add("summary", "size_seconds_sum", amount / 512)
        for number, file in enumerate(GAUGES):
            self.add(file, f"{file}_level_seconds", amount + number, when=1000.0 + amount)

    def die(self) -> None:
        """Leave the files behind, as any end of a process does."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.die()


def workers(folder: Path, count: int, first: int = 1) -> None:
    """Leave the files of so many dead processes."""
    for pid in range(first, first + count):
        with Process(folder, pid) as process:
            process.work(pid)


def page(families: Iterable[Family]) -> Page:
    """Return samples by type, help, name and labels; each must be there once."""
    found: Page = {}
    for family in families:
        for sample in family.samples:
            key = family.type, family.documentation, sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


def collected(folder: Path) -> Page:
    """Return what prometheus_client's own collector says of a folder."""
    return page(MultiProcessCollector(None, str(folder)).collect())


def expected(folder: Path, scratch: Path, dead: Iterable[int] = ()) -> Page:
    """Return what it would say of an untouched copy in which its own bookkeeping of the dead was done."""
    copy = scratch / "untouched"
    shutil.copytree(folder, copy)
    for pid in dead:
        mark_process_dead(pid, str(copy))
    found = collected(copy)
    shutil.rmtree(copy)
    return found


def without(found: Page, gauge: str) -> Page:
    """Return a page without one gauge."""
    return {key: value for key, value in found.items() if key[2] != gauge}
