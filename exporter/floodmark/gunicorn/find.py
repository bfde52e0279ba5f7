"""Finds every gunicorn master of the host, with nothing configured: by command lines and process titles."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from floodmark.agent import ledger
from floodmark.gunicorn import settings
from floodmark.sources import heartbeat
from floodmark.sources.procfs import process
from floodmark.sources.procfs.process import Identity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from floodmark.config import App
    from floodmark.gunicorn.settings import Settings

_INTERPRETER = re.compile(r"(python|pypy)[\d.]*$")
_PROGRAM = re.compile(r"gunicorn[\d.]*$")
_MODULE = re.compile(r"gunicorn(\.app\.wsgiapp)?$")
_TITLE = re.compile(r"gunicorn: (?P<role>[\w-]+)(?: \[(?P<name>.*)\])?")
_TAKES_VALUE = frozenset({"-X", "-W", "--check-hash-based-pycs"})
# Runs that serve nothing.
_NO_SERVER = frozenset({"--check-config", "--print-config", "--version", "-v", "--help", "-h"})


@dataclasses.dataclass(frozen=True, slots=True)
class Master:
    """A running gunicorn.

    Attributes:
        identity: of its master process.
        app: the app label.
        settings: what can be known of its settings.
        version: of gunicorn, ``unknown`` where its installation can't be seen.
        namespace_pid: the master's pid as its own log has it.
        agent_dir: where its agent's folder was told to be, empty where that isn't told or can't be read.
    """

    identity: Identity
    app: str
    settings: Settings
    version: str
    namespace_pid: int
    agent_dir: str = ""


def arguments(cmdline: Sequence[str]) -> list[str] | None:
    """Return the arguments of a gunicorn's command line, None where it's another program's."""
    if not cmdline:
        return None
    if _PROGRAM.match(PurePath(cmdline[0]).name):
        return list(cmdline[1:])
    if not _INTERPRETER.match(PurePath(cmdline[0]).name):
        return None
    words = iter(cmdline[1:])
    for word in words:
        if word == "-m":
            return list(words) if _MODULE.match(next(words, "")) else None
        if word in _TAKES_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            return list(words) if _PROGRAM.match(PurePath(word).name) else None
    return None


def is_worker(proc: Path, pid: int, master: int) -> bool:
    """Tell whether a master's child is a worker: no program that it runs, no other fork, not its successor.

    Raises:
        OSError: one of the two has ended.
    """
    cmdline = process.read_cmdline(proc, pid)
    if not cmdline:  # a zombie has none, whatever it was
        raise ProcessLookupError(pid)
    if title := _title(cmdline):
        return title["role"] == "worker"
    if cmdline != process.read_cmdline(proc, master) or _is_successor(proc, pid, master):
        return False
    try:
        return heartbeat.shared(proc, pid, master)
    except PermissionError:
        return True


def masters(
    proc: Path, apps: Mapping[str, App], known: Collection[Identity], workers: Collection[Identity]
) -> Iterator[Master]:
    """Yield the masters that aren't known yet.

    Args:
        proc: the host's /proc.
        apps: configured apps, for their labels.
        known: masters that needn't be looked at again.
        workers: known workers: one that lost its master looks like a master.
    """
    cmdlines = dict(_gunicorns(proc))
    for pid, cmdline in cmdlines.items():
        try:
            stat = process.read_stat(proc, pid)
            identity = Identity(pid, stat.start_ticks)
            if identity in known or identity in workers or stat.state == "Z":
                continue
            title = _title(cmdline)
            is_master = stat.ppid not in cmdlines or _is_successor(proc, pid, stat.ppid)
            if title["role"] == "master" if title else is_master:
                yield describe(proc, identity, apps)
        except (OSError, ValueError):  # it ended while it was looked at
            continue


def _gunicorns(proc: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    for pid in process.pids(proc):
        try:
            cmdline = process.read_cmdline(proc, pid)
        except OSError:
            continue
        words = arguments(cmdline)
        if _title(cmdline) or (words is not None and _NO_SERVER.isdisjoint(words)):
            yield pid, cmdline


def _title(cmdline: Sequence[str]) -> re.Match[str] | None:
    return _TITLE.match(cmdline[0]) if cmdline else None


def _is_successor(proc: Path, pid: int, ppid: int) -> bool:
    # A gunicorn's child is a worker, or after USR2 the new master: that was told its parent's pid.
    try:
        return process.read_environ(proc, pid).get("GUNICORN_PID") == str(ppid)
    except PermissionError:
        return False


def describe(proc: Path, identity: Identity, apps: Mapping[str, App]) -> Master:
    """Return what can be known of a master.

    Raises:
        OSError: it has ended.
    """
    pid = identity.pid
    cmdline = process.read_cmdline(proc, pid)
    words = arguments(cmdline)
    try:
        environ = process.read_environ(proc, pid)
    except PermissionError:
        environ = None
    if words is None:  # its title took the place of its command line and its environment
        known = settings.UNKNOWN
    else:
        known = settings.read(words, environ, lambda path: _config_file(proc, pid, path))
    title = _title(cmdline)
    return Master(
        identity,
        _label(known, title["name"] if title else None, apps),
        known,
        _version(proc, pid, cmdline, environ or {}),
        process.namespace_pid(process.read_status(proc, pid)),
        (environ or {}).get(ledger.VARIABLE, ""),
    )


def _label(known: Settings, title: str | None, apps: Mapping[str, App]) -> str:
    if name := known.text("proc_name"):
        return name
    target = title or known.target
    configured = (label for label, app in apps.items() if app.target == target)
    return next(configured, target) or "gunicorn"


def _config_file(proc: Path, pid: int, path: str) -> str | None:
    if path.startswith("python:"):
        raise ValueError("its settings are in a module")
    try:
        # "cwd" and "root" lead to where the process is, in its own mount namespace too.
        start = proc / str(pid) / ("root" if path.startswith("/") else "cwd")
        return (start / path.lstrip("/")).read_text()
    except FileNotFoundError:
        return None


def _version(proc: Path, pid: int, cmdline: Sequence[str], environ: Mapping[str, str]) -> str:
    root = proc / str(pid) / "root"
    script = next((Path(word) for word in cmdline[1:] if _PROGRAM.match(PurePath(word).name)), None)
    prefixes = [environ.get("VIRTUAL_ENV", ""), str(script.parent.parent) if script else ""]
    prefixes.append(str(PurePath(cmdline[0]).parent.parent))
    for prefix in prefixes:
        if not prefix.startswith("/"):
            continue
        pattern = f"{prefix.lstrip('/')}/lib/python3*/*-packages/gunicorn-*.dist-info"
        try:
            found = min(root.glob(pattern), default=None)  # read to its end: what is left open warns
        except OSError:
            continue
        if found:
            return found.name.removeprefix("gunicorn-").removesuffix(".dist-info")
    return "unknown"


def log_paths(proc: Path, root: Path, master: Master, configured: Path | None) -> Iterator[str]:
    """Yield where a master's error log may be read, best first."""
    if configured:
        yield os.fspath(root / configured.relative_to("/"))
        return
    pid = master.identity.pid
    name = master.settings.text("errorlog")
    if name not in (None, "-"):
        chdir = master.settings.text("chdir") or ""
        path = PurePath(chdir) / str(name)
        start = "root" if path.is_absolute() else "cwd"
        yield f"{proc}/{pid}/{start}/{str(path).lstrip('/')}"
        if path.is_absolute():  # without the right to look into the process
            yield os.fspath(root / str(path).lstrip("/"))
    else:
        yield f"{proc}/{pid}/fd/2"
