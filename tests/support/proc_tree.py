"""A /proc of our own making, in the real files' formats, for what can't be brought about on a live host."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

GUNICORN = ("/venv/bin/python", "/venv/bin/gunicorn", "shop.wsgi:application")


def add(  # noqa: PLR0913 - what a process is
    proc: Path,
    pid: int,
    cmdline: tuple[str, ...],
    *,
    ppid: int = 1,
    environ: tuple[str, ...] = (),
    ticks: int | None = None,
    beats: int | None = None,
) -> None:
    """Add a process, or put another in the place of an earlier one; it started ``ticks`` after boot.

    One with a parent is a worker: the two share a heartbeat, or ``beats`` is another process that shares it.
    """
    folder = proc / str(pid)
    (folder / f"task/{pid}").mkdir(parents=True, exist_ok=True)
    (folder / f"task/{pid}/children").touch()
    (folder / "cmdline").write_text("".join(word + "\0" for word in cmdline))
    (folder / "environ").write_text("".join(word + "\0" for word in environ))
    (folder / "status").write_text(f"Name:\tgunicorn\nPid:\t{pid}\nNSpid:\t{pid}\n")
    (folder / "cgroup").write_text("0::/\n")
    (folder / "fd").mkdir(exist_ok=True)
    if ppid != 1:
        for owner in (pid, ppid if beats is None else beats):
            _hold(proc / f"{owner}/fd/{pid + 10}", f"/tmp/wgunicorn-{pid} (deleted)")  # noqa: S108 - only a name
    _stat(proc, pid, "S", ppid, pid * 10 if ticks is None else ticks)
    parent = proc / f"{ppid}/task/{ppid}/children"
    if parent.exists() and str(pid) not in parent.read_text().split():
        parent.write_text(f"{parent.read_text()}{pid} ")


def end(proc: Path, pid: int) -> None:
    """Make a process a zombie: it stays listed, without command line, until its parent has reaped it."""
    fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    (proc / str(pid) / "cmdline").write_text("")
    _stat(proc, pid, "Z", int(fields[1]), int(fields[19]))


def _hold(descriptor: Path, name: str) -> None:
    if descriptor.parent.exists() and not descriptor.is_symlink():
        descriptor.symlink_to(name)


def _stat(proc: Path, pid: int, state: str, ppid: int, ticks: int) -> None:
    zeros = " ".join("0" for _ in range(17))
    (proc / str(pid) / "stat").write_text(f"{pid} (a b) c) {state} {ppid} {zeros} {ticks} 0 0 0 0\n")
