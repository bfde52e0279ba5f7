"""Where a gunicorn's error log goes, to be followed there: file, docker's log of a container, journal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from floodmark.gunicorn import find
from floodmark.sources import dockerlog, journal
from floodmark.sources.available import NO_DOCKER_LOG, NO_JOURNAL, NO_LOG, NO_OUTPUT, UNREADABLE_LOG, Lack
from floodmark.sources.dockerlog import DockerLog
from floodmark.sources.journal import Journal
from floodmark.sources.logtail import LogTail

if TYPE_CHECKING:
    from pathlib import Path

    from floodmark.gunicorn.find import Master
    from floodmark.gunicorn.model import Log
    from floodmark.sources.logposition import Position

_STDERR = frozenset({"-", "/dev/stderr", "/proc/self/fd/2", "/dev/fd/2"})


def follow(
    proc: Path, root: Path, master: Master, configured: Path | None, since: Position | None = None
) -> Log | Lack:
    """Follow a master's error log, or say why it can't be.

    Args:
        proc: the host's /proc.
        root: the host's root folder.
        master: whose log.
        configured: where the configuration says it is, None where it says nothing.
        since: how far an earlier run had read it; the journal is followed from now on all the same.
    """
    file = _file(proc, root, master, configured, since)
    if isinstance(file, LogTail):
        return file
    lack, problem = file
    if configured is None and (master.settings.text("errorlog") or "-") in _STDERR:
        output = _stderr(proc, root, master.identity.pid, since)
        if output:
            return output
    return lack._replace(problem=lack.problem.format(problem), grant=lack.grant.format(master.app))


def _file(
    proc: Path, root: Path, master: Master, configured: Path | None, since: Position | None
) -> LogTail | tuple[Lack, str]:
    """Return the log that is a file, or what is missing and the problem with it."""
    lack, problem = NO_LOG, ""
    for path in find.log_paths(proc, root, master, configured):
        try:
            return LogTail(path, since=since)
        except OSError as error:
            lack = UNREADABLE_LOG if isinstance(error, PermissionError) else NO_LOG
            problem = f"{configured or path}: {error.strerror}"
        except ValueError as error:
            problem = str(error)
    return lack, problem


def _stderr(proc: Path, root: Path, pid: int, since: Position | None) -> Log | Lack | None:
    """Return what reads a master's standard error, what is missing for it, or None for none that is known."""
    process = proc / str(pid)
    try:
        kind = os.readlink(process / "fd/2").partition(":")[0]  # noqa: PTH115 - text is wanted
        if kind == "pipe":
            return _docker(process, root, since)
        if kind == "socket":
            return _journal(process, root)
    except PermissionError as error:
        return NO_OUTPUT._replace(problem=NO_OUTPUT.problem.format(f"{error.filename}: {error.strerror}"))
    except OSError:  # it ended: _file has said so
        pass
    return None


def _docker(process: Path, root: Path, since: Position | None) -> DockerLog | Lack | None:
    container = dockerlog.container((process / "cgroup").read_text(), (process / "mountinfo").read_text())
    if container is None:
        return None
    path = f"{root}/var/lib/docker/containers/{container}/{container}-json.log".replace("//", "/")
    try:
        return DockerLog(path, since)
    except OSError as error:
        return NO_DOCKER_LOG._replace(problem=NO_DOCKER_LOG.problem.format(f"{path}: {error.strerror}"))


def _journal(process: Path, root: Path) -> Journal | Lack:
    unit = journal.unit((process / "cgroup").read_text())
    try:
        # It logs to the journal that its own mount namespace has; for most that is the host's.
        files = journal.files(f"{process}/root") or journal.files(str(root))
        if files:
            return Journal(files, unit)
        problem = "which has no files in /var/log/journal and /run/log/journal"
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}"
    except ValueError as error:
        problem = str(error)
    return NO_JOURNAL._replace(problem=NO_JOURNAL.problem.format(problem))
