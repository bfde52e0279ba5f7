"""The real demo, played once: gunicorn, floodmark, Prometheus, Alertmanager and the message at the end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import psutil
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from deploy.demo import memory_cgroup, servers
from deploy.demo.ports import Ports
from floodmark import catalogue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]
APP = f"shop-{os.getpid()}"  # another demo on this machine has a shop too
WORKERS = 4

# The exporter's samples by metric name: labels and value.
Series: TypeAlias = dict[str, list[tuple[dict[str, str], float]]]

pytestmark = pytest.mark.live


class Run:
    """A running demo, in an environment that would bring down what listens to it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        base = next(base for base in range(25000, 60000, 10) if not Ports.above(base).busy())
        self.ports = Ports.above(base)
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        for module in ("yaml", "gunicorn", "deploy"):
            (folder / f"{module}.py").write_text("raise RuntimeError('somebody else')\n")
        self.process = subprocess.Popen(
            [
                sys.executable,
                ROOT / "deploy/demo/demo.py",
                f"--port-base={base}",
                f"--name={APP}",
                *arguments,
            ],
            env={
                "HOME": os.environ.get("HOME", str(folder)),
                "PATH": os.environ["PATH"],
                "TMPDIR": str(self.temporary),
                "PYTHONPATH": str(folder),
                "GUNICORN_CMD_ARGS": "--workers 1 --worker-class nonsense",
                "http_proxy": "http://127.0.0.1:1",
                "all_proxy": "http://127.0.0.1:1",
                "FLOODMARK_LISTEN": "nonsense",
            }
            | {name: os.environ[name] for name in ("XDG_CACHE_HOME",) if name in os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        self._lines.extend(self.process.stdout)

    @property
    def told(self) -> str:
        """What it has written so far."""
        return "".join(self._lines)

    def wait_for(self, what: str, condition: Callable[[], bool], seconds: float) -> None:
        """Until the condition holds; the demo's own words stand in the failure."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(
                    f"{what}: not after {seconds} s, demo {self.process.poll()}. It said:\n{self.told}"
                )
            time.sleep(0.2)

    def get(self, port: int, path: str) -> requests.Response:
        """GET from one of the demo's ports."""
        return requests.get(f"http://127.0.0.1:{port}{path}", proxies={"no_proxy": "*"}, timeout=10)

    def messages(self) -> list[dict[str, Any]]:
        """The attachments that have come to the Slack page."""
        messages = self.get(self.ports.slack, "/messages").json()
        return [attachment for message in messages for attachment in message["payload"]["attachments"]]

    def told_slack(self, alert: str) -> Callable[[], bool]:
        """Condition: a message about the alert has arrived."""
        return lambda: any(_leads(message, alert) for message in self.messages())

    def metrics(self) -> Series:
        """The exporter's series of the app."""
        series: Series = defaultdict(list)
        with contextlib.suppress(requests.ConnectionError):  # it is starting
            for family in text_string_to_metric_families(self.get(self.ports.exporter, "/metrics").text):
                for name, labels, value, *_ in family.samples:
                    if labels.get("app") == APP:
                        series[name].append((labels, value))
        return series

    def part(self, *words: str) -> psutil.Process:
        """The demo's child whose command line has all the words."""
        children = psutil.Process(self.process.pid).children()
        return next(child for child in children if set(words) <= set(child.cmdline()))

    def stop(self, number: signal.Signals) -> tuple[int, str]:
        """Send it a signal.

        Returns:
            Its exit status, and what is left of it.
        """
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(number)
        return self._end(family)

    def end(self) -> tuple[int, str]:
        """Wait for its own end, then as for `stop`."""
        return self._end([])

    def _end(self, family: list[psutil.Process]) -> tuple[int, str]:
        status = self.process.wait(timeout=30)
        self._reader.join(timeout=10)
        assert self.process.stdout
        self.process.stdout.close()
        _, alive = psutil.wait_procs(family, timeout=1)
        mounts, own = (Path("/proc/self", name).read_text() for name in ("mountinfo", "cgroup"))
        cgroups = [
            place / f"floodmark-demo-{self.process.pid}" for place, _ in memory_cgroup.places(mounts, own)
        ]
        left = [
            *(str(process) for process in alive),
            *(f"port {busy}" for busy in self.ports.busy()),
            *(str(path) for path in self.temporary.iterdir()),
            *(str(cgroup) for cgroup in cgroups if cgroup.exists()),
        ]
        return status, ", ".join(left)


@dataclass(frozen=True)
class Story:
    """What was seen while the demo played.

    Attributes:
        told: the demo's own words.
        messages: attachments at the Slack page.
        after_kills: the app's series when the messages had arrived.
        after_restart: the same after the exporter was killed and had come back.
        status: exit status after SIGINT.
        left: what it left behind, empty if nothing.
        log: the exporter's log, to explain a failure.
    """

    told: str
    messages: list[dict[str, Any]]
    after_kills: Series
    after_restart: Series
    status: int
    left: str
    log: str

    @property
    def oom(self) -> bool:
        """Whether the demo could play the OOM kill."""
        return "No memory cgroup" not in self.told

    def text(self, alert: str) -> str:
        """The text of the first message that leads with the alert."""
        return next(str(message["text"]) for message in self.messages if _leads(message, alert))


def _exits(series: Series) -> dict[str, float]:
    """Exits by cause, without the zeros."""
    return {labels["cause"]: count for labels, count in series[catalogue.EXITS.name] if count}


def _workers(series: Series) -> tuple[set[str], set[float]]:
    """Pids and start times of the workers."""
    pids = {labels["pid"] for labels, _ in series[catalogue.WORKER_INFO.name]}
    return pids, {started for _, started in series[catalogue.WORKER_START.name]}


def _leads(message: dict[str, Any], alert: str) -> bool:
    # Whatever other gunicorns run on this machine, the demo watches them too.
    return alert in message["title"] and APP in message["title"]


def _missing(why: str) -> NoReturn:
    """Skip; where the machine is there for these tests, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="module")
def _servers() -> None:
    try:
        servers.find("prometheus")
        servers.find("alertmanager")
    except servers.UnavailableError as error:
        _missing(str(error))


@contextlib.contextmanager
def _demo(folder: Path, *arguments: str) -> Iterator[Run]:
    run = Run(folder, *arguments)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.stop(signal.SIGTERM)


@pytest.fixture(scope="module")
def story(_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The demo from its start to Ctrl-C, with the exporter killed on the way."""
    with _demo(tmp_path_factory.mktemp("demo")) as run:
        run.wait_for("everything answers", lambda: "Everything answers" in run.told, 120)
        run.wait_for("timeout message", run.told_slack("WorkerTimeout"), 60)
        if "No memory cgroup" not in run.told:
            run.wait_for("OOM message", run.told_slack("WorkerOomKilled"), 60)
        run.wait_for("a new worker", lambda: len(run.metrics()[catalogue.WORKER_INFO.name]) == WORKERS, 30)
        after_kills = run.metrics()

        run.part("serve").kill()
        run.wait_for("exporter again", lambda: len(run.metrics()[catalogue.WORKER_INFO.name]) == WORKERS, 30)
        time.sleep(3)  # a verdict takes its time: an invented exit would be there by then
        after_restart = run.metrics()

        messages = run.messages()
        log = next(run.temporary.glob("*/floodmark.log")).read_text()
        status, left = run.stop(signal.SIGINT)
        return Story(run.told, messages, after_kills, after_restart, status, left, log)


def test_a_worker_killed_at_its_timeout_is_told_as_a_timeout_and_not_as_memory(story: Story) -> None:
    text = story.text("WorkerTimeout")
    assert "timeout" in text
    assert "oom_kill" not in text
    assert _exits(story.after_kills)["timeout"] == 1


def test_a_worker_killed_by_the_kernel_for_memory_is_told_as_an_oom_kill(story: Story) -> None:
    if not story.oom:
        _missing("no memory cgroup may be made here: the demo played no OOM kill")
    assert "oom_kill" in story.text("WorkerOomKilled")
    assert _exits(story.after_kills)["oom_kill"] == 1


def test_every_exit_of_the_demo_has_its_one_true_cause_and_there_is_no_other(story: Story) -> None:
    assert _exits(story.after_kills) == {"timeout": 1} | ({"oom_kill": 1} if story.oom else {}), story.log


def test_the_terminal_shows_what_slack_got(story: Story) -> None:
    for message in story.messages:
        assert f"Slack: {message['title']}" in story.told


def test_requests_are_counted_for_the_app_whatever_other_gunicorns_run(story: Story) -> None:
    served = {labels["status"]: count for labels, count in story.after_kills[catalogue.REQUESTS.name]}
    assert served["200"] > 0
    assert served["404"] > 0


def test_a_killed_exporter_comes_back_with_the_same_workers_and_invents_no_exit(story: Story) -> None:
    assert "floodmark has ended (signal 9): starting it again" in story.told
    assert _workers(story.after_restart) == _workers(story.after_kills)
    before, after = _exits(story.after_kills), _exits(story.after_restart)
    assert {cause for cause in after if after[cause] > before.get(cause, 0)} == set()


def test_ctrl_c_ends_it_with_0_and_leaves_no_process_port_folder_or_cgroup(story: Story) -> None:
    assert story.status == 0
    assert story.left == ""


@pytest.mark.usefixtures("_servers")
def test_when_a_part_dies_the_demo_says_which_with_its_last_words_and_stops_all(tmp_path: Path) -> None:
    with _demo(tmp_path, "--no-kills") as run:
        run.wait_for("everything answers", lambda: "Everything answers" in run.told, 120)
        master = run.part(APP)
        master.kill()
        status, left = run.end()
        assert status == 1
        assert "app has ended (signal 9). The last it said:" in run.told
        assert "Booting worker with pid" in run.told
        assert left == ""
