#!/usr/bin/env python3
"""Find Prometheus, Alertmanager and their tools, or get them without root and without installing anything.

Looked for on PATH, then in the cache folder (${XDG_CACHE_HOME:-~/.cache}/floodmark/servers). What is in
neither is taken from the distribution's own packages (apt-get download, dpkg -x) into that folder: no root,
nothing installed, no service started, 150 MB unpacked. Delete the folder to be rid of them.
"""

# Standard library only: the Makefile runs this before there is a virtual environment.
from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Server(NamedTuple):
    """Where a program is had: its names on PATH (upstream's, Debian's), its package, its path in there."""

    commands: tuple[str, ...]
    package: str
    path: str


SERVERS = {
    "prometheus": Server(("prometheus",), "prometheus", "usr/bin/prometheus"),
    "promtool": Server(("promtool",), "prometheus", "usr/bin/promtool"),
    "alertmanager": Server(
        ("alertmanager", "prometheus-alertmanager"),
        "prometheus-alertmanager",
        "run/alertmanager",
    ),
    "amtool": Server(("amtool",), "prometheus-alertmanager", "usr/bin/amtool"),
    "prometheus-node-exporter": Server(
        ("prometheus-node-exporter", "node_exporter"),
        "prometheus-node-exporter",
        "usr/bin/prometheus-node-exporter",
    ),
    "prometheus-process-exporter": Server(
        ("prometheus-process-exporter", "process-exporter"),
        "prometheus-process-exporter",
        "usr/bin/prometheus-process-exporter",
    ),
}

_BY_HAND = "Put prometheus, promtool, alertmanager and amtool on PATH (https://prometheus.io/download)"


class UnavailableError(Exception):
    """A program is neither here nor to be had; the text says the one thing to do."""


def find(name: str) -> Path:
    """Path of a program of SERVERS, fetched first if need be.

    Raises:
        KeyError: SERVERS has no such name.
        UnavailableError: it is nowhere, and apt or dpkg is missing or failed.
    """
    server = SERVERS[name]
    for command in server.commands:
        if on_path := shutil.which(command):
            return Path(on_path)
    return unpacked(server.package) / server.path


def unpacked(package: str) -> Path:
    """The folder a Debian package is unpacked in, fetched first if need be.

    Raises:
        UnavailableError: it isn't there, and apt or dpkg is missing or failed.
    """
    home = cache() / package
    if not home.exists():
        _fetch(package)
    return home


def cache() -> Path:
    """The folder that keeps what was fetched: one folder for each package."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification has relative paths ignored.
    return (given if given.is_absolute() else Path.home() / ".cache") / "floodmark" / "servers"


def _fetch(package: str) -> None:
    """Unpack a Debian package into its folder of the cache: whole or not at all, once even if two ask."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise UnavailableError(f"{package} isn't here, nor apt-get and dpkg to get it with. {_BY_HAND}.")
    with _locked(cache()):
        home = cache() / package
        if home.exists():  # the one who held the lock before has brought it
            return
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=cache()) as temporary:
            _say(f"getting {package} (no root needed, nothing is installed)")
            deb = _download(package, Path(temporary))
            unpacked = Path(temporary) / "unpacked"
            _run("dpkg", "-x", str(deb), str(unpacked))
            if package == "prometheus-alertmanager":
                relocate_alertmanager(unpacked)
            unpacked.rename(home)


def _download(package: str, folder: Path) -> Path:
    """Download a package with apt's lists, else (fresh machine, stale lists) with fresh lists of our own."""
    try:
        _run("apt-get", *_APT, "download", package, cwd=folder)
    except UnavailableError:
        _say("apt's package lists are missing or old here: reading fresh ones into the cache (a minute)")
        own = _own_lists()
        _run("apt-get", *_APT, *own, "update", cwd=folder)
        _run("apt-get", *_APT, *own, "download", package, cwd=folder)
    return next(folder.glob("*.deb"))


# Debian's Alertmanager reads its built-in templates from this folder and won't start without them.
_SHARE = b"/usr/share/prometheus/alertmanager"

_LAUNCHER = """\
#!/bin/sh
# Gives Alertmanager its own files as file descriptor 9: servers.py has written that into the program.
home=$(dirname "$(dirname "$(readlink -f "$0")")")
exec 9<"$home/usr/share/prometheus/alertmanager" "$home/usr/bin/prometheus-alertmanager" "$@"
"""


def relocate_alertmanager(unpacked: Path) -> None:
    """Have Alertmanager find its templates where they were unpacked.

    The path stands in the program, and what replaces it must be as long: a descriptor's, filled with slashes.
    """
    program = unpacked / "usr/bin/prometheus-alertmanager"
    program.write_bytes(program.read_bytes().replace(_SHARE, b"/proc/self/fd/9".ljust(len(_SHARE), b"/")))
    launcher = unpacked / "run" / "alertmanager"
    launcher.parent.mkdir()
    launcher.write_text(_LAUNCHER)
    launcher.chmod(0o755)


# The sandbox user _apt can't enter root's cache folder; for anyone else the option changes nothing.
_APT = ("--quiet=2", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2")


def _own_lists() -> tuple[str, ...]:
    """Options that make apt keep its state in our cache, where an ordinary user may write."""
    state, archives = cache() / "apt" / "state", cache() / "apt" / "cache"
    (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (archives / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    return (
        *("-o", f"Dir::State={state}"),
        *("-o", f"Dir::Cache={archives}"),
        # Packagers' hooks (command-not-found, desktop catalogues) write where only root may.
        *("-o", "APT::Update::Post-Invoke-Success=", "-o", "APT::Update::Post-Invoke="),
        *("-o", "Acquire::Languages=none"),
    )


def _run(*command: str, cwd: Path | None = None) -> None:
    """Run a command quietly; its own words stand in the error when it fails."""
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        told = (done.stderr + done.stdout).decode(errors="replace").strip()
        raise UnavailableError(f"{command[0]} failed:\n{told}\n{_BY_HAND}, or mend apt.")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the kernel lets go of it even when we are killed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise UnavailableError(f"{error}. Set XDG_CACHE_HOME to a folder you may write to.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another process is getting the servers: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(line: str) -> None:
    print(f"floodmark: {line}", file=sys.stderr, flush=True)


def main() -> int:
    """Fetch what is missing and print where each program is; exit 1 if one can't be had."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("name", nargs="*", help=f"one of {', '.join(SERVERS)} (default: all)")
    names = parser.parse_args().name or list(SERVERS)
    if unknown := sorted(set(names) - set(SERVERS)):
        parser.error(f"there is no {unknown[0]} here: one of {', '.join(SERVERS)}")
    try:
        for name in names:
            print(f"{name:28}{find(name)}")
    except UnavailableError as error:
        _say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
