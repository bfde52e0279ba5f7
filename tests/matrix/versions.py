"""The gunicorns that workers die under, each version in a virtual environment of its own, made once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_GEVENT = "gevent==25.9.1"
# Its asgi worker class is older than gunicorn's own, which came with 25.0.
_UVICORN = "uvicorn==0.34.3"

# What each version is run with. 20.1.0 imports pkg_resources, which setuptools 81 has no more; 27's gevent
# worker imports packaging, which its gunicorn doesn't ask for.
VERSIONS = {
    "20.1.0": ("gunicorn==20.1.0", "setuptools==80.9.0", _GEVENT, _UVICORN),
    "21.2.0": ("gunicorn==21.2.0", _GEVENT, _UVICORN),
    "23.0.0": ("gunicorn==23.0.0", _GEVENT, _UVICORN),
    "25.3.0": ("gunicorn==25.3.0", _GEVENT),
    "27.0.1": ("gunicorn==27.0.1", _GEVENT, "packaging==25.0"),
}
_CONTROL_SOCKET = (25, 1)  # the first version that has one


def program(version: str) -> str:
    """Return the gunicorn of a version, installed into the user's cache if it isn't there yet.

    Raises:
        subprocess.CalledProcessError: it can't be installed; pip has said why.
    """
    return str(environment(f"gunicorn-{version}", *VERSIONS[version]) / "gunicorn")


def environment(name: str, *packages: str) -> Path:
    """Return the folder of programs of a virtual environment in the user's cache, made if it isn't there yet.

    Raises:
        subprocess.CalledProcessError: a package can't be installed; pip has said why.
    """
    folder = _cache() / name
    wanted = "\n".join(packages)
    made = folder / "made-of"  # written last: what broke off before is made anew
    if not made.exists() or made.read_text() != wanted:
        sys.stderr.write(f"installing {', '.join(packages)} into {folder}\n")
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        _install(folder / "bin/python", *packages)
        made.write_text(wanted)
    return folder / "bin"


def asgi_worker(version: str) -> str:
    """Return the worker class of a version that serves ASGI: its own, or uvicorn's."""
    return "uvicorn.workers.UvicornWorker" if _UVICORN in VERSIONS[version] else "asgi"


def titles() -> str:
    """Return a folder for PYTHONPATH with setproctitle, by which gunicorn's processes have titles.

    Raises:
        subprocess.CalledProcessError: as above.
    """
    folder = _cache() / "setproctitle-1.3.7"
    if not (folder / "setproctitle").exists():
        _install(Path(sys.executable), "--target", str(folder), "setproctitle==1.3.7")
    return str(folder)


def quiet_flags(version: str) -> tuple[str, ...]:
    """Return the flags that keep gunicorns from taking their user's one control socket from each other."""
    numbers = tuple(int(part) for part in version.split(".")[:2])
    return ("--no-control-socket",) if numbers >= _CONTROL_SOCKET else ()


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "floodmark"


def _install(python: Path, *what: str) -> None:
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    subprocess.run([*pip, *what], check=True)
