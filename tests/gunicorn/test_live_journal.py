"""A gunicorn that logs to a real journald, in a mount namespace of its own: this host's is left alone."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.live import BIN, ROOT, floodmark, free_port, until

pytestmark = pytest.mark.live

JOURNALD = Path("/usr/lib/systemd/systemd-journald")
# Of the host's it reads nothing, and it doesn't turn on the kernel's audit.
SCRIPT = f"""
set -e
mount -t tmpfs none /run
mount -t tmpfs none /var/log
mkdir -p /run/systemd/journal /run/log/journal /run/systemd/journald.conf.d
printf '[Journal]\\nReadKMsg=no\\nAudit=no\\n' > /run/systemd/journald.conf.d/test.conf
{JOURNALD} &
trap "kill $!; wait" EXIT
until [ -S /run/systemd/journal/stdout ]; do sleep 0.1; done
systemd-cat -t gunicorn "$@" &
echo $! > "$READY"
wait $! || true
"""


@contextlib.contextmanager
def journaled(name: str, folder: Path) -> Iterator[int]:
    """Run a gunicorn that logs to the journal; yields its master's pid."""
    ready = folder / "ready"
    command = [
        *(str(BIN / "gunicorn"), "tests.support.killable:app", "--chdir", str(ROOT), "--name", name),
        *("--bind", f"127.0.0.1:{free_port()}", "--timeout", "2", "--no-control-socket"),
    ]
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", SCRIPT, "sh", *command], env=os.environ | {"READY": str(ready)}
    ) as process:
        pid = 0
        try:
            until(lambda: ready.exists() and ready.read_text(), 20, "journald runs")
            pid = int(ready.read_text())
            until(lambda: children(pid), 20, "gunicorn runs")
            yield pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid or process.pid, signal.SIGTERM)
            process.wait(20)


def children(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return ""


def test_a_death_is_judged_by_what_gunicorn_told_the_journal(tmp_path: Path) -> None:
    if os.geteuid() != 0 or not JOURNALD.exists() or not shutil.which("systemd-cat"):
        pytest.skip("wants root and systemd's journald, to run one of its own")
    name = f"journaled-{os.getpid()}"
    with journaled(name, tmp_path) as master, floodmark(tmp_path) as watcher:
        lines = watcher.lines()
        assert [line for line in lines if line.get("app") == name and "grant" in line] == []
        os.kill(master, signal.SIGHUP)
        until(lambda: watcher.ends(name), 15, "the reload's end is judged")
        assert watcher.ends(name) == [("reload", "confirmed")]
        os.kill(int(children(master).split()[0]), signal.SIGSTOP)  # it beats no more
        until(lambda: len(watcher.ends(name)) == 2, 20, "the timeout is judged")
        assert watcher.ends(name)[1] == ("timeout", "confirmed")
        evidence = [
            line["evidence"] for line in watcher.lines() if line.get("evidence") and line["app"] == name
        ]
        assert "gunicorn's log: WORKER TIMEOUT" in evidence[1]
