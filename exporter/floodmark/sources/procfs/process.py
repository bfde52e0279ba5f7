"""/proc/PID/stat, status, cmdline, environ, task/PID/children, fd, fdinfo, syscall, smaps_rollup, proc(5).

stat (fields after the last parenthesis; the name between the two may hold anything):

    3231 (gunicorn) S 3225 3225 3225 0 -1 4194368 812 0 0 0 14 3 0 0 20 0 1 0 120340 28561408 5873 ...

status:

    NSpid:	3231	12
    RssAnon:	   18060 kB
    VmSwap:	       0 kB

cmdline and environ: strings that each end in NUL. children: pids with a space after each.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HERTZ = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
_STAT_FIELDS = 22  # what is read of the fields after the name


class Identity(NamedTuple):
    """A process for good: pids are used again, (pid, start time) is not.

    ``start_ticks`` is the start time in clock ticks since boot.
    """

    pid: int
    start_ticks: int


class Stat(NamedTuple):
    """What is used of stat. ``cpu_seconds`` is user and system time without children's."""

    state: str
    ppid: int
    cpu_seconds: float
    threads: int
    start_ticks: int
    resident_bytes: int


class Memory(NamedTuple):
    """Memory of a process in bytes, from status; ``peak`` is the most that was ever resident.

    All 0 for a zombie, which has none.
    """

    resident: int
    anonymous: int
    swap: int
    peak: int


def parse_stat(text: str) -> Stat:
    """Parse stat.

    Raises:
        ValueError: not the format above.
    """
    fields = text[text.rfind(")") + 1 :].split()
    if len(fields) < _STAT_FIELDS:
        raise ValueError(f"process stat: {_STAT_FIELDS} fields expected after the name, got {text!r}")
    return Stat(
        state=fields[0],
        ppid=int(fields[1]),
        cpu_seconds=(int(fields[11]) + int(fields[12])) / HERTZ,
        threads=int(fields[17]),
        start_ticks=int(fields[19]),
        resident_bytes=int(fields[21]) * PAGE,
    )


def read_stat(proc: Path, pid: int) -> Stat:
    """Read stat of a process."""
    return parse_stat(_text(proc, pid, "stat"))


def parse_status(text: str) -> Mapping[str, str]:
    """Return status as a mapping of its lines."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {key: value.strip() for key, _, value in pairs}


def read_status(proc: Path, pid: int) -> Mapping[str, str]:
    """Read status of a process."""
    return parse_status(_text(proc, pid, "status"))


def memory(status: Mapping[str, str]) -> Memory:
    """Take the memory out of status."""

    def size(key: str) -> int:
        return int(status.get(key, "0 kB").split()[0]) * 1024

    return Memory(size("VmRSS"), size("RssAnon"), size("VmSwap"), size("VmHWM"))


def namespace_pid(status: Mapping[str, str]) -> int:
    """Return the pid in the process's own pid namespace: what its own log calls it."""
    return int(status.get("NSpid", status["Pid"]).split()[-1])


def user(status: Mapping[str, str]) -> int:
    """Return the effective user id, as floodmark's own user namespace has it."""
    return int(status["Uid"].split()[1])


def read_cmdline(proc: Path, pid: int) -> tuple[str, ...]:
    """Return the arguments; a process that set its title has that as one string, a kernel thread none."""
    return _strings(proc, pid, "cmdline")


def read_environ(proc: Path, pid: int) -> Mapping[str, str]:
    """Return the environment it was started with. Needs the same user or CAP_SYS_PTRACE."""
    pairs = (text.partition("=") for text in _strings(proc, pid, "environ"))
    return {key: value for key, _, value in pairs}


def read_children(proc: Path, pid: int) -> tuple[int, ...]:
    """Return the pids of the children that its main thread made, zombies included."""
    return tuple(map(int, _text(proc, pid, f"task/{pid}/children").split()))


class Files(NamedTuple):
    """What a process has open: how many, inodes of sockets by descriptor, and epoll descriptors."""

    opened: int
    sockets: Mapping[int, int]
    polls: tuple[int, ...]


def read_files(proc: Path, pid: int) -> Files:
    """Read a process's descriptors. Needs the same user or CAP_SYS_PTRACE.

    Raises:
        PermissionError: another user's process.
        OSError: it has ended.
    """
    folder = f"{proc}/{pid}/fd"
    numbers = os.listdir(folder)  # noqa: PTH208 - names are wanted
    sockets: dict[int, int] = {}
    polls: list[int] = []
    for number in numbers:
        try:
            link = os.readlink(f"{folder}/{number}")  # noqa: PTH115 - text is wanted
        except FileNotFoundError:  # closed meanwhile
            continue
        if link.startswith("socket:["):
            sockets[int(number)] = int(link[8:-1])
        elif link == "anon_inode:[eventpoll]":
            polls.append(int(number))
    return Files(len(numbers), sockets, tuple(polls))


def is_unix_socket(proc: Path, pid: int, number: int) -> bool:
    """Tell whether a socket that a process has open is a unix socket.

    Raises:
        OSError: it was closed.
    """
    return os.getxattr(f"{proc}/{pid}/fd/{number}", "system.sockprotoname").startswith(b"UNIX")


def read_polled(proc: Path, pid: int, poll: int) -> frozenset[int]:
    """Return the descriptors that an epoll descriptor watches, from fdinfo (``tfd:  11 events: ...``)."""
    lines = _text(proc, pid, f"fdinfo/{poll}").splitlines()
    return frozenset(int(line.split()[1]) for line in lines if line.startswith("tfd:"))


def read_syscall(proc: Path, pid: int) -> int | None:
    """Return the number of the system call its main thread waits in, None while it runs.

    Needs CAP_SYS_PTRACE; the same user is enough where yama's ptrace_scope is 0.
    """
    number = _text(proc, pid, "syscall").split()[0]
    return None if number in {"running", "-1"} else int(number)


def proportional_memory(proc: Path, pid: int) -> int:
    """Return the memory of a process in bytes, each shared page divided by those who share it (Pss).

    It takes the kernel milliseconds, for which the process can't change its mappings. Needs the same user or
    CAP_SYS_PTRACE.
    """
    for line in _text(proc, pid, "smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"smaps_rollup of process {pid} has no Pss")


def pids(proc: Path) -> list[int]:
    """Return the pids of all processes."""
    return [int(name) for name in os.listdir(proc) if name.isdecimal()]  # noqa: PTH208 - each second; a Path each is dear


def _text(proc: Path, pid: int, name: str) -> str:
    with open(f"{proc}/{pid}/{name}", errors="surrogateescape") as file:  # noqa: PTH123 - as above
        return file.read()


def _strings(proc: Path, pid: int, name: str) -> tuple[str, ...]:
    text = _text(proc, pid, name)
    return tuple(text.removesuffix("\0").split("\0")) if text else ()
