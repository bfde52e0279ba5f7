"""A Docker engine of our own, for the time of a test run, on a machine that may have none.

It lives in a mount and a network namespace of its own: bridges, iptables rules, published ports and mounts
are gone with it, and nobody else's ports or rules are touched. Its pid namespace is the host's, so that
`pid: host` means what it says. What it needs is taken from PATH, or from the distribution's packages without
installing them (deploy/demo/servers.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.demo import servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Where Docker keeps its data everywhere, and floodmark looks for containers' output. Ours is mounted over it.
DATA = Path("/var/lib/docker")
# The engine's own address, as containers of every network reach it.
ADDRESS = "10.87.0.1"

_PROGRAMS = ("dockerd", "docker", "docker-proxy", "containerd", "runc", "iptables")
_PACKAGES = (
    *("docker.io", "containerd", "runc", "iptables"),
    *("libdevmapper1.02.1", "libseccomp2", "libip4tc2", "libip6tc2", "libxtables12"),
    *("libmnl0", "libnetfilter-conntrack3", "libnfnetlink0", "libnftnl11"),
)

# Mounts made in here are seen by nobody else, but by the containers that see the host's folders (rslave).
_START = """
mount --make-rshared /
mount --bind "$0" "$1"
ip link set lo up
shift
exec "$@"
"""
_PATIENCE = 300  # seconds for one command
_CLONE_NEWNET = 0x40000000  # linux/sched.h


class NoEngineError(Exception):
    """No engine can be started here; the text says why."""


class Engine:
    """A running engine.

    Attributes:
        folder: all that is its own.
        environment: of the programs that speak to it: docker and docker-compose.
        inside: runs functions in threads that are in the engine's network namespace, where its published
            ports are; a socket made there stays there.
    """

    def __init__(self, process: subprocess.Popen[bytes], environment: dict[str, str], folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.environment = environment
        self.inside = ThreadPoolExecutor(8, initializer=_enter, initargs=(process.pid,))

    def run(self, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program that speaks to the engine.

        Raises:
            AssertionError: it failed; the text is what it said.
        """
        done = subprocess.run(
            command,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        words = " ".join(map(str, command))
        assert done.returncode == 0, f"{words}\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}"
        return done


@contextlib.contextmanager
def started() -> Iterator[Engine]:
    """Start an engine; end it and remove all that was its.

    Raises:
        NoEngineError: that can't be done here.
        servers.UnavailableError: its programs can't be had.
    """
    if os.geteuid() != 0:
        raise NoEngineError("only root may start one")
    with _folder(Path(tempfile.gettempdir())) as folder, _mount_point(DATA):
        environment = _programs(folder)
        socket, log = folder / "docker.sock", folder / "dockerd.log"
        environment["DOCKER_HOST"] = f"unix://{socket}"
        (folder / "data").mkdir()
        (folder / "daemon.json").write_text("{}")  # not the machine's own
        command = [
            *("unshare", "--mount", "--net", "--", "sh", "-euc", _START, str(folder / "data"), str(DATA)),
            # It goes with us, however we go.
            *("setpriv", "--pdeathsig", "TERM", "dockerd", f"--host=unix://{socket}", f"--bip={ADDRESS}/24"),
            *(f"--data-root={DATA}", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid"),
            *("--storage-driver=overlay2", f"--config-file={folder}/daemon.json"),
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is ours: it ends when its containers are gone
            )
        with process:
            try:
                _wait_for(lambda: process.poll() is not None or b"API listen" in log.read_bytes(), 60)
                if process.poll() is not None or b"API listen" not in log.read_bytes():
                    raise NoEngineError(f"dockerd says:\n{log.read_text()[-2000:]}")
                engine = Engine(process, environment, folder)
                try:
                    yield engine
                finally:
                    engine.inside.shutdown()
                    _remove_containers(engine)
            finally:
                process.send_signal(signal.SIGTERM)  # containerd ends with it
                process.wait(60)


def left(ended: Engine) -> list[str]:
    """What an engine has left: its folder, mounts, and processes that know its folder."""
    name = ended.folder.name
    found = [str(ended.folder)] if ended.folder.exists() else []
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it is gone
            command = process.read_text(errors="replace").replace("\0", " ")
            found += [command] if name in command else []
    return found


def _programs(folder: Path) -> dict[str, str]:
    """The environment in which the engine's programs are found, fetched first if need be."""
    environment = dict(os.environ) | {"DOCKER_CONFIG": str(folder / "client")}  # nobody's logins
    environment = {name: value for name, value in environment.items() if not name.startswith("COMPOSE_")}
    if all(map(shutil.which, _PROGRAMS)):
        return environment
    homes = [servers.unpacked(package) for package in _PACKAGES]
    own = folder / "bin"
    own.mkdir()
    multi = next(home / "usr/sbin/xtables-nft-multi" for home in homes if home.name == "iptables")
    for name in ("iptables", "iptables-save", "iptables-restore", "ip6tables"):
        (own / name).symlink_to(multi)  # as the package's installation would have it
    paths = [own, *(home / each for home in homes for each in ("usr/bin", "usr/sbin")), os.environ["PATH"]]
    environment["PATH"] = ":".join(map(str, paths))
    libraries = [path for home in homes for path in home.glob("**/*-linux-gnu") if path.is_dir()]
    environment["LD_LIBRARY_PATH"] = ":".join(map(str, libraries))
    environment["XTABLES_LIBDIR"] = ":".join(str(path / "xtables") for path in libraries)
    return environment


@contextlib.contextmanager
def _folder(parent: Path) -> Iterator[Path]:
    """A folder of a short name: sockets' paths have 108 characters at most."""
    folder = Path(tempfile.mkdtemp(prefix="floodmark-engine-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def _mount_point(path: Path) -> Iterator[None]:
    missing = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if missing:
            path.rmdir()


def _remove_containers(engine: Engine) -> None:
    if containers := engine.run("docker", "ps", "--all", "--quiet").stdout.split():
        engine.run("docker", "rm", "--force", *containers)


def _enter(pid: int) -> None:
    """Move the calling thread into the network namespace of a process."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
        if libc.setns(namespace.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"the network namespace of {pid} is closed to us")


def _wait_for(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
