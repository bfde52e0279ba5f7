"""A real Debian 12 in a virtual machine, where what deploy/README.md says under "Without Docker" is typed.

Its own kernel, systemd, Prometheus and Alertmanager; floodmark as a service beside one run by root; workers
that die in each way, of apps with and without the drop-in. It is installed before it is booted, as images are
made: pip takes minutes where there is no KVM. Wants root, debootstrap and 3 GB of disk.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

from deploy.demo import servers
from tests.support.live import ROOT, until

HERE = Path(__file__).parent
_PACKAGES = (
    *("systemd-sysv", "udev", "dbus", "sudo", "curl", "make", "python3-venv", "linux-image-cloud-amd64"),
    *("gunicorn", "prometheus", "prometheus-alertmanager"),
    "qemu-system-x86",  # runs the machine from its own root: nothing is installed here
)
# Plays, says on a second serial line what came of it, and switches the machine off.
_PLAY = """\
[Unit]
After=multi-user.target
[Service]
Type=oneshot
Environment=HOME=/root
ExecStart=-/bin/bash /play.sh
ExecStopPost=/bin/systemctl poweroff --force
StandardOutput=file:/dev/ttyS1
StandardError=file:/dev/ttyS1
"""
# In a mount namespace: broken off, it leaves nothing mounted.
_CHROOT = """\
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount --bind /dev dev
hostname debian
exec chroot . bash /install.sh
"""
_QEMU = """\
mount --make-rprivate /
mount --bind /dev "$1/dev"
mount --bind "$2" "$1/mnt"
cd /
exec chroot "$1" \
qemu-system-x86_64 -accel "$3" -machine q35 -cpu max,-arch-capabilities -smp 2 -m 1024 \
-nodefaults -display none -no-reboot -kernel /vmlinuz -initrd /initrd.img \
-append "root=/dev/vda rw console=ttyS0 systemd.wants=play.service" \
-drive file=/mnt/disk,format=raw,if=virtio -serial file:/mnt/console -serial file:/mnt/said
"""
_SECONDS = 1500


def root() -> Path:
    """Return Debian's root file system, made if it isn't there yet."""
    made_of = hashlib.sha256(repr(_PACKAGES).encode()).hexdigest()[:12]
    kept = servers.cache().parent / f"machine-{made_of}"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".machine-", dir=kept.parent))
        scratch.chmod(0o755)
        _say("making a Debian 12 (once, several minutes)")
        packages = ("--variant=minbase", f"--include={','.join(_PACKAGES)}")
        try:
            # In a mount namespace, as it mounts /proc into the folder: broken off, it would leave that there.
            command = ("unshare", "--mount", "debootstrap", *packages, "bookworm", str(scratch))
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            shutil.rmtree(scratch / "var/cache/apt/archives")
            scratch.rename(kept)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return kept


def lay_out(folder: Path) -> None:
    """Put into the machine's root what it has no network for: the clone, wheels, an app, what to type."""
    clone = folder / "root/floodmark"
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    for name in listed:
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name, follow_symlinks=False)
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--python-version=3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    subprocess.run([*pip, "--dest", folder / "wheels", *packages], check=True, stderr=subprocess.DEVNULL)
    (folder / "etc/pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    (folder / "etc/hostname").write_text("debian\n")
    (folder / "etc/hosts").write_text("127.0.0.1 localhost debian\n")
    (folder / "etc/systemd/system/play.service").write_text(_PLAY)
    (folder / "srv/shop").mkdir(parents=True)
    shutil.copy(ROOT / "tests/support/killable.py", folder / "srv/shop")
    for script in ("install.sh", "play.sh"):
        shutil.copy(HERE / script, folder)
    (folder / "readme").mkdir()
    section = (
        (ROOT / "deploy/README.md").read_text().partition("\n## Without Docker\n")[2].partition("\n## ")[0]
    )
    for number, block in enumerate(re.findall(r"```sh\n(.*?)```", section, re.DOTALL), 1):
        (folder / f"readme/{number}.sh").write_text(block)


def play(folder: Path) -> str:
    """Install in the machine's root, boot it, and return what both said.

    Raises:
        RuntimeError: it can't be installed, or said nothing.
    """
    system = folder / "root"
    subprocess.run(["cp", "--archive", root(), system], check=True)
    lay_out(system)
    command = ["unshare", "--mount", "--uts", "sh", "-euc", _CHROOT, "sh", str(system)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"it can't be installed: {done.stdout}")
    subprocess.run(["truncate", "--size=4G", folder / "disk"], check=True)
    subprocess.run(["/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-d", system, folder / "disk"], check=True)
    console, said = folder / "console", folder / "said"
    # KVM can be there and do nothing, in a virtual machine: then the kernel says no word.
    for accelerator in ("kvm", "tcg,thread=multi"):
        _say(f"booting it, -accel {accelerator}")
        command = ["unshare", "--mount", "sh", "-euc", _QEMU, "sh", str(system), str(folder), accelerator]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as machine:
            try:
                until(
                    lambda: machine.poll() is not None or (console.exists() and console.stat().st_size),
                    30,
                    "",
                )
                machine.wait(_SECONDS)
            except AssertionError:
                continue
            finally:
                machine.kill()
        if said.exists() and said.stat().st_size:
            return done.stdout + said.read_text().replace("\r\n", "\n")
    raise RuntimeError(f"it said nothing; its console: {console.read_text()[-2000:]}")


def main() -> int:
    """Play, print all that was said, and compare what was told with what should be."""
    if os.geteuid() or not shutil.which("debootstrap"):
        _say("wants root, and debootstrap: sudo apt-get install debootstrap")
        return 2
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        said = play(Path(folder))
    print(said)  # noqa: T201 - a command that prints
    told = [line.removeprefix("@ ").strip() for line in said.splitlines() if line.startswith("@ ")]
    expected = (HERE / "expected").read_text().splitlines()
    for line in sorted(set(expected) - set(told)):
        _say(f"should have been told, and wasn't: {line}")
    for line in sorted(set(told) - set(expected)):
        _say(f"was told, and shouldn't: {line}")
    right = told == expected
    _say(f"{'as it should be' if right else 'WRONG'}, in {time.monotonic() - started:.0f} s")
    return int(not right)


def _say(line: str) -> None:
    print(f"floodmark: {line}", file=sys.stderr, flush=True)  # noqa: T201 - as above


if __name__ == "__main__":
    sys.exit(main())
