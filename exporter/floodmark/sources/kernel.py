"""What the running kernel tells of other processes: its log, process events, exit status by pidfd."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from floodmark.sources import pidfd
from floodmark.sources.available import FOREIGN_KERNEL_LOG, NO_EVENTS, NO_KERNEL_LOG, NO_STATUS
from floodmark.sources.kmsg import KernelLog
from floodmark.sources.procevents import ProcessEvents

if TYPE_CHECKING:
    from floodmark.sources.available import Available


_FIRST_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO, linux/proc_ns.h


class Kernel(NamedTuple):
    """The sources that could be opened; ``exit_information``: pidfds tell how a process ended."""

    log: KernelLog | None = None
    events: ProcessEvents | None = None
    exit_information: bool = False

    def close(self) -> None:
        """Stop listening."""
        for source in (self.log, self.events):
            if source:
                source.close()


def listen(root: Path, proc: Path, available: Available) -> Kernel:
    """Open what may be opened here, and note what may not and what would mend it.

    In a recorded /proc, or one of another pid namespace, pids are no processes the kernel could be asked
    about: nothing is opened then.
    """
    if not is_own(proc):
        return Kernel()
    log, events = _log(root, proc, available), _events(available)
    exit_information = pidfd.available()
    if events or exit_information:
        available.good("exit_status")
    else:
        available.lacking(NO_STATUS, "exit_status")
    return Kernel(log, events, exit_information)


def era(proc: Path) -> str:
    """Return what tells one life of pids from another: boot id and pid namespace; empty if not known."""
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {(proc / 'self/ns/pid').readlink()}"
    except OSError:
        return ""


def is_own(proc: Path) -> bool:
    """Tell whether this is the running kernel's /proc, with pids as we have them."""
    try:
        return (proc / "self").readlink().name == str(os.getpid())
    except OSError:
        return False


def _log(root: Path, proc: Path, available: Available) -> KernelLog | None:
    if (proc / "self/ns/pid").stat().st_ino != _FIRST_PID_NAMESPACE:
        # Its pids are the host's: one of them could be another process's here.
        available.lacking(FOREIGN_KERNEL_LOG, "kernel_log")
        return None
    try:
        # A container has the device under its own root, where it was given it.
        log = KernelLog.open_first((root / "dev/kmsg", Path("/dev/kmsg")))
    except OSError as error:
        problem = NO_KERNEL_LOG.problem.format(error.strerror)
        available.lacking(NO_KERNEL_LOG._replace(problem=problem), "kernel_log")
        return None
    available.good("kernel_log")
    return log


def _events(available: Available) -> ProcessEvents | None:
    try:
        events = ProcessEvents()
    except OSError as error:
        problem = NO_EVENTS.problem.format(error.strerror)
        available.lacking(NO_EVENTS._replace(problem=problem), "process_events")
        return None
    available.good("process_events")
    return events
