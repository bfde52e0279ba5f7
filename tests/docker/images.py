"""Images under the names that the project's files ask for, where no registry is reachable.

One root file system stands behind all of them: Debian's, made once by debootstrap and kept as a tar in the
cache. Trixie has the same Python as the real base image, 3.13, so that the wheels are those which
deploy/docker/requirements.txt has hashes for, and the newest Prometheus and Alertmanager that Debian has.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.demo import servers
from tests.support.live import ROOT

if TYPE_CHECKING:
    from tests.docker.engine import Engine

SUITE = "trixie"
MIRROR = "http://deb.debian.org/debian"
# Their programs only: nothing is configured, no user made, as in upstream's images.
_UNPACKED = ("prometheus", "promtool", "prometheus-alertmanager", "prometheus-postgres-exporter")
# What images are built with: their containers have no network.
_REQUIREMENTS = (ROOT / "deploy/docker/requirements.txt", ROOT / "deploy/demo/requirements.txt")
_BUILD = "hatchling==1.27.0"

_ROOT = "floodmark-test-root"
# Upstream's images have nothing but busybox beside the program.
_SERVER = f"""\
FROM {_ROOT}
ENV PATH=/busybox:/bin
USER nobody
"""
_DOCKERFILES = {
    "python:3.13.14-slim-bookworm": f"FROM {_ROOT}\nENV PATH=/usr/local/bin:/usr/bin:/bin\n",
    "prom/prometheus:v3.13.2": f'{_SERVER}WORKDIR /prometheus\nENTRYPOINT ["/bin/prometheus"]\n',
    "prom/alertmanager:v0.33.1": f'{_SERVER}WORKDIR /alertmanager\nENTRYPOINT ["/bin/alertmanager"]\n',
    "quay.io/prometheuscommunity/postgres-exporter:v0.20.1": (
        f'{_SERVER}ENTRYPOINT ["/bin/postgres_exporter"]\n'
    ),
}

_FINISH = r"""
cd "$(mktemp -d)"
apt-get --quiet=2 update
apt-get --quiet=2 -o APT::Sandbox::User=root download "$@"
for package in *.deb; do dpkg -x "$package" /; done
ln -s prometheus-alertmanager /bin/alertmanager
ln -s prometheus-postgres-exporter /bin/postgres_exporter
mkdir /prometheus /alertmanager /busybox
chown nobody: /prometheus /alertmanager
/bin/busybox --install -s /busybox
printf '[global]\nno-index = true\nfind-links = /opt/wheels\n' > /etc/pip.conf
# As in the real image: a Python in /usr/local that pip may install into.
python3 -m venv /usr/local
rm -rf /var/lib/apt/lists /var/cache/apt /usr/share/doc /usr/share/locale /usr/share/man /tmp/*
"""


def load(engine: Engine) -> None:
    """Give the engine an image for each name that the project's files ask for.

    Raises:
        servers.UnavailableError: debootstrap, apt or pip failed, as without a network; its words are in it.
    """
    engine.run("docker", "import", root(), _ROOT)
    for name, dockerfile in _DOCKERFILES.items():
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "Dockerfile").write_text(dockerfile)
            engine.run("docker", "build", "--quiet", "--tag", name, folder, DOCKER_BUILDKIT="0")


def root() -> Path:
    """Return the root file system's tar, made if it isn't there yet: a minute and a half, 100 MB fetched."""
    made_of = repr((SUITE, _UNPACKED, _BUILD, _FINISH, [file.read_text() for file in _REQUIREMENTS]))
    kept = servers.cache().parent / f"engine-root-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}.tar"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".engine-root-", dir=kept.parent))
        try:
            _make(folder / "root")
            _run("tar", "-C", str(folder / "root"), "-cf", str(folder / "tar"), ".")
            for older in kept.parent.glob("engine-root-*.tar"):
                older.unlink()
            (folder / "tar").rename(kept)
        finally:
            shutil.rmtree(folder)
    return kept


def _make(folder: Path) -> None:
    print(f"making Debian {SUITE}'s root file system for the images (once)", file=sys.stderr, flush=True)  # noqa: T201
    program, environment = shutil.which("debootstrap"), dict(os.environ)
    if program is None:
        home = servers.unpacked("debootstrap")
        program = str(home / "usr/sbin/debootstrap")
        environment["DEBOOTSTRAP_DIR"] = str(home / "usr/share/debootstrap")
    # In a mount namespace, as it mounts /proc into the folder: broken off, it would leave that there.
    unseen = ("unshare", "--mount", program, "--variant=minbase", "--include=python3-venv,busybox")
    _run(*unseen, SUITE, str(folder), MIRROR, **environment)
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
    to = ("--dest", str(folder / "opt/wheels"), "--only-binary=:all:")
    _run(*pip, *to, _BUILD)
    image = ("--python-version=3.13", f"--platform=manylinux2014_{platform.machine()}", "--no-deps")
    for file in _REQUIREMENTS:
        _run(*pip, *to, *image, "--requirement", str(file))
    _run("chroot", str(folder), "sh", "-euc", _FINISH, "sh", *_UNPACKED)


def _run(*command: str, **environment: str) -> None:
    """Run a command quietly; its own words stand in the error when it fails."""
    done = subprocess.run(
        command,
        env=environment or None,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode:
        raise servers.UnavailableError(f"{command[0]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
