"""Gunicorn's control socket, 25.1 and newer: a unix stream socket of its master, mode 0600.

A message is its length in 4 bytes, big-endian, and JSON, each way:

    {"id": 1, "command": "show workers", "args": []}
    {"id": 1, "status": "ok", "data": {"workers": [{"pid": 561, "age": 1, "booted": false,
        "aborted": false, "last_heartbeat": 0.41}], "count": 1}}

It takes orders too (shutdown, reload, worker kill): what is sent from here are the two constant questions
below and nothing else. Of its answers ``booted`` is always false and ``workers_killed`` counts too many:
neither is used. Gunicorn closes and makes it anew at each fork, and may wait for those connected: connections
are short. Two gunicorns of one user have the same default path, and the later one takes it: the kernel
tells whose socket it is (SO_PEERCRED).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pwd
import re
import socket
import struct
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PATIENCE = 0.2  # seconds for a whole answer; it takes half a millisecond
_LARGEST = 256 << 10  # bytes; a worker takes some 90
_LENGTH = struct.Struct(">I")
_CREDENTIALS = struct.Struct("=iII")  # struct ucred: pid, uid, gid
_SINCE = (25, 1)
_LISTENING = ["00010000", "0001"]  # __SO_ACCEPTCON, SOCK_STREAM
_PAUSES = (0.02, 0.04)  # seconds


def _question(command: str) -> bytes:
    payload = json.dumps({"id": 1, "command": command, "args": []}).encode()
    return _LENGTH.pack(len(payload)) + payload


_WORKERS = _question("show workers")
_CONFIG = _question("show config")


class AnotherMasterError(OSError):
    """The socket belongs to another process, whose pid this is."""

    def __init__(self, pid: int) -> None:
        whose = f"process {pid}" if pid else "a process of another pid namespace"
        super().__init__(errno.EPERM, f"it belongs to {whose}")


class Worker(NamedTuple):
    """A worker as its master has it: pid in the master's namespace; ``aborted``: given up for its silence."""

    pid: int
    aborted: bool


def supported(version: str) -> bool | None:
    """Tell whether a gunicorn of this version has a control socket, None for an unknown version."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return (int(numbers[1]), int(numbers[2])) >= _SINCE if numbers else None


def workers(path: str, master: int) -> list[Worker]:
    """Return the workers that a master has.

    Args:
        path: of its socket.
        master: its pid, as this process sees it.

    Raises:
        OSError: no such socket, no right to it, or no answer in time.
        AnotherMasterError: it is another's.
        ValueError: no answer of a control socket.
    """
    answer = _ask(path, master, _WORKERS)
    try:
        return [Worker(worker["pid"], worker["aborted"] is True) for worker in answer["workers"]]
    except (KeyError, TypeError) as error:
        raise ValueError("it answers without workers") from error


def config(path: str, master: int) -> dict[str, object]:
    """Return the settings that a gunicorn runs with, by its own names; what has no plain value is left out.

    Raises the same as ``workers``.
    """
    found: dict[str, object] = {
        name: value
        for name, value in _ask(path, master, _CONFIG).items()
        if isinstance(value, (str, int, float))  # bool is an int
    }
    if isinstance(worker_class := found.get("worker_class"), str):
        found["worker_class"] = _short(worker_class)
    return found


def candidates(process: str, host: str, told: str, environ: Mapping[str, str], user: int) -> Iterator[str]:
    """Yield where a master's socket may be, best first; whose it is shows when it is asked.

    Args:
        process: the master's folder in /proc; it leads into its own mount namespace.
        host: the host's root folder, for those without the right to look into the process.
        told: its --control-socket, empty for the default.
        environ: its environment; empty where it can't be read.
        user: its user id.
    """
    if told.startswith("/"):
        yield f"{process}/root{told}"
        yield f"{host}{told}"
    elif told:
        yield f"{process}/cwd/{told}"
    else:
        runtime, home = environ.get("XDG_RUNTIME_DIR"), environ.get("HOME")
        if runtime or not home:
            yield f"{process}/root{runtime or f'/run/user/{user}'}/gunicorn.ctl"
        # Gunicorn goes there where the other folder doesn't exist.
        yield f"{process}/root{home or _home(user)}/.gunicorn/gunicorn.ctl"


def listening(process: str) -> Iterator[str]:
    """Yield what looks like a control socket by its name among those a process listens on.

    For a process whose title took the place of its environment, or whose configuration can't be seen. Others
    that it listens on are its app's: those aren't asked. Of /proc/PID/net/unix (flags, type, inode, path):

        0000000000000000: 00000002 00000000 00010000 0001 01 361756 /run/user/1000/gunicorn.ctl

    Args:
        process: its folder in /proc.

    Raises:
        OSError: it has ended, or may not be looked into.
    """
    own = set(_descriptors(process))
    with open(f"{process}/net/unix", errors="surrogateescape") as table:  # noqa: PTH123 - as in _descriptors
        for line in table:
            fields = line.split(maxsplit=7)
            if fields[3:5] == _LISTENING and f"socket:[{fields[6]}]" in own:
                path = fields[7].rstrip("\n") if len(fields) > 7 else ""  # noqa: PLR2004 - unnamed ones have none
                if path.startswith("/") and path.endswith(".ctl"):
                    yield f"{process}/root{path}"


def _descriptors(process: str) -> Iterator[str]:
    # By text: the way leads through another's folder in /proc, which Path resolves.
    for name in os.listdir(f"{process}/fd"):  # noqa: PTH208 - as said
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            yield os.readlink(f"{process}/fd/{name}")  # noqa: PTH115 - as said


def _home(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_dir
    except KeyError:
        return "/root"


def _short(worker_class: str) -> str:
    """Return a class by the name it is set by: ``<class 'gunicorn.workers.gthread.ThreadWorker'>``."""
    match = re.fullmatch(r"<class '(.+)'>", worker_class)
    if not match:
        return worker_class
    package, _, module = match[1].rpartition(".")[0].rpartition(".")
    # gunicorn's own: sync, gthread, gasgi, ggevent, gtornado
    if package != "gunicorn.workers":
        return match[1]
    return module if module in {"sync", "gthread"} else module.removeprefix("g")


def _ask(path: str, master: int, question: bytes) -> dict[str, Any]:
    folder, name = os.path.split(path)
    # A unix address has 108 bytes at most; the way through an open folder is short.
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    address = f"/proc/self/fd/{descriptor}/{name}"
    try:
        for pause in _PAUSES:
            try:
                return _ask_once(address, master, question)
            except (FileNotFoundError, ConnectionError):  # it was about to fork
                time.sleep(pause)
        return _ask_once(address, master, question)
    finally:
        os.close(descriptor)


def _ask_once(address: str, master: int, question: bytes) -> dict[str, Any]:
    until = time.monotonic() + PATIENCE
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(PATIENCE)
        asking.connect(address)
        credentials = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, _, _ = _CREDENTIALS.unpack(credentials)
        if pid != master:
            raise AnotherMasterError(pid)
        asking.sendall(question)
        (length,) = _LENGTH.unpack(_receive(asking, _LENGTH.size, until))
        if length > _LARGEST:
            raise ValueError(f"it answers with {length} bytes")
        text = _receive(asking, length, until)
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("it answers rubbish") from error
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, dict) or answer.get("status") != "ok":
        raise ValueError("it answers rubbish")
    return data


def _receive(asking: socket.socket, size: int, until: float) -> bytes:
    parts = []
    while size:
        left = until - time.monotonic()
        if left <= 0:  # it sends, but drop by drop
            raise TimeoutError(errno.ETIMEDOUT, "no answer in time")
        asking.settimeout(left)
        try:
            part = asking.recv(size)
        except TimeoutError as error:
            raise TimeoutError(errno.ETIMEDOUT, "no answer in time") from error
        if not part:
            raise ValueError("its answer breaks off")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
