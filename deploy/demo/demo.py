"""floodmark on this machine, with something to see: a real gunicorn whose workers really die.

Starts a small app under gunicorn, visitors, floodmark, Prometheus with the alert rules, Alertmanager, and
a page that shows the messages as Slack would. Then has gunicorn kill a worker at its timeout and, where a
memory cgroup may be made (root, or a delegated cgroup v2), the kernel kill one for memory. Gunicorn's log
says "Perhaps out of memory?" of both; the messages tell them apart.

Needs no root, no account and no Docker. Listens on 127.0.0.1 only. Ctrl-C stops all of it and leaves
nothing behind but the downloaded servers (~/.cache/floodmark).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    # A package of the same name on somebody's PYTHONPATH would win over ours.
    foreign = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [str(ROOT), *(entry for entry in sys.path if entry not in foreign)]

from prometheus_client.parser import text_string_to_metric_families  # noqa: E402  # after the path is right

from deploy.demo import configs, memory_cgroup, servers, slack, traffic  # noqa: E402  # same
from deploy.demo.part import Part, stop  # noqa: E402  # same
from deploy.demo.ports import BusyError, Ports  # noqa: E402  # same
from floodmark.config import LANGUAGES  # noqa: E402  # same

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.demo.memory_cgroup import MemoryCgroup

WORKERS = 4
TIMEOUT = 10  # seconds a worker may hang: gunicorn's default of 30 would be dull to watch
MEMORY = 256 << 20  # bytes for the app, a third of it used at rest
_UPLOAD = 32  # MiB a leaking upload leaves
_LEAK_MOST = 128  # MiB a worker may leak where no cgroup guards the machine
_START = 90  # seconds all parts together have to answer; a tenth of it is usual
_BEFORE = 5  # seconds between "everything answers" and the first kill
_BETWEEN = 15  # seconds between the kills, so that each has a message of its own
_STOP = 10  # seconds all parts together have to stop


class TroubleError(Exception):
    """The demo can't go on; the text says why and what to do."""


class Demo:
    """The parts, and what is done to them.

    Args:
        ports: where they listen.
        app: what the app is called.
        folder: where they keep their files; removed by the caller.
        webhook: the Slack webhook to use, None for the local page.
        language: of the messages, en or ko.
    """

    def __init__(self, ports: Ports, app: str, folder: Path, webhook: str | None, language: str) -> None:
        self.ports = ports
        self.app = app
        self.parts: list[Part] = []
        self.stopping = threading.Event()
        self._folder = folder
        self._webhook = webhook
        self._language = language
        self._messages = "" if webhook else f"http://127.0.0.1:{ports.slack}"
        self._cgroup: MemoryCgroup | None = None
        self._exporter: Part
        self._exporter_started = 0.0

    def start(self, cleanup: contextlib.ExitStack) -> None:
        """Start everything; `cleanup` gets what stops it."""
        cleanup.callback(self._leave_cgroup)
        cleanup.callback(lambda: stop(self.parts, _STOP))
        cleanup.callback(self.stopping.set)
        self._make_cgroup()
        self._start_slack(cleanup)
        self._start_exporter()
        self._start_alertmanager()
        self._start_prometheus()
        self._start_app()
        threading.Thread(target=traffic.visit, args=(self.ports.app, self.stopping), daemon=True).start()

    def answers(self) -> dict[str, Callable[[], bool]]:
        """A check for each part, by the name of the part: does it do its work?"""
        return {
            "app": lambda: _status(self.ports.app, "/") == 200,  # noqa: PLR2004  # HTTP
            # A gunicorn of the user's with the same name counts for the same app.
            "floodmark": lambda: self._workers() >= WORKERS,
            "Alertmanager": lambda: _status(self.ports.alertmanager, "/-/ready") == 200,  # noqa: PLR2004  # HTTP
            "Prometheus": self._prometheus_works,
        }

    def supervise(self) -> None:
        """Start the exporter again if it died.

        Raises:
            TroubleError: another part died, or the exporter soon after its start.
        """
        for part in self.parts:
            if (status := part.died()) is None:
                continue
            how = f"signal {-status}" if status < 0 else f"exit status {status}"
            lived = time.monotonic() - self._exporter_started
            if part is not self._exporter or lived < _BEFORE:
                raise TroubleError(f"{part.name} has ended ({how}). The last it said:\n\n{part.last_words()}")
            say(f"{part.name} has ended ({how}): starting it again")
            self._exporter_started = time.monotonic()
            part.start()

    def play(self) -> None:
        """Kill workers, one for each cause the demo can bring about here."""
        if self.stopping.wait(_BEFORE):
            return
        self._play_timeout()
        if self._cgroup and not self.stopping.wait(_BETWEEN):
            self._play_oom(self._cgroup)
        if not self.stopping.wait(_BETWEEN):
            say(f"Played. Go on by hand at http://127.0.0.1:{self.ports.app}; Ctrl-C stops it all.")

    def _play_timeout(self) -> None:
        say(
            "Playing: a request that waits for a database for an hour. Gunicorn will kill its worker at the "
            f'timeout of {TIMEOUT} s, and ask in its log: "Perhaps out of memory?"'
        )
        traffic.get(self.ports.app, "/report?seconds=3600", seconds=3 * TIMEOUT)

    def _play_oom(self, cgroup: MemoryCgroup) -> None:
        say(f"Playing: uploads that leak {_UPLOAD} MiB each, until the kernel kills a worker for memory.")
        before = cgroup.oom_kills()
        for _ in range(2 * MEMORY // (_UPLOAD << 20)):
            if self.stopping.wait(0.5) or cgroup.oom_kills() > before:
                break
            traffic.get(self.ports.app, f"/upload?mib={_UPLOAD}", seconds=TIMEOUT)

    def _make_cgroup(self) -> None:
        try:
            self._cgroup = memory_cgroup.make(f"floodmark-demo-{os.getpid()}", MEMORY)
        except memory_cgroup.NoCgroupError as error:
            say(
                f"No memory cgroup may be made here ({error}): plays the timeout kill, not the OOM kill, "
                "which needs root or a delegated cgroup."
            )

    def _leave_cgroup(self) -> None:
        if self._cgroup is not None:
            self._cgroup.remove()

    def _start_app(self) -> None:
        version = importlib.metadata.version("gunicorn")
        bounds = f"memory limit {MEMORY >> 20} MiB" if self._cgroup else "no memory limit"
        say(f"Starting the app: gunicorn {version}, {WORKERS} sync workers, timeout {TIMEOUT} s, {bounds}")
        log = self._folder / "app.log"
        agent = self._folder / "agent"
        agent.mkdir(exist_ok=True)
        command = [
            # Where an app needs no folder of its own the agent takes /dev/shm, and leaves its counts there.
            *("env", f"FLOODMARK_AGENT_DIR={agent}", str(_beside("gunicorn"))),
            *("--logger-class", "floodmark.agent.Logger", "--name", self.app, "--chdir", str(ROOT)),
            *("--bind", f"127.0.0.1:{self.ports.app}", "--workers", str(WORKERS), "--timeout", str(TIMEOUT)),
            *("--graceful-timeout", "3", "--error-logfile", str(log)),
            # Its default path belongs to the user's own gunicorn, if there is one.
            *("--control-socket", str(self._folder / "gunicorn.ctl")),
            *("--env", f"DEMO_LEAK_MOST={'inf' if self._cgroup else _LEAK_MOST}"),
            *(("--env", f"DEMO_MESSAGES={self._messages}") if self._messages else ()),
            "deploy.demo.app:app",
        ]
        self._start_part("app", self._cgroup.entering(command) if self._cgroup else command, log)

    def _start_exporter(self) -> None:
        say("Starting floodmark")
        self._exporter = self._start_part(
            "floodmark",
            [
                *(str(_beside("floodmark")), "serve"),
                *("--listen", f"127.0.0.1:{self.ports.exporter}"),
                *("--statsd-listen", ""),
                *("--state-dir", str(self._folder / "state")),
            ],
            self._folder / "floodmark.log",
        )
        self._exporter_started = time.monotonic()

    def _start_slack(self, cleanup: contextlib.ExitStack) -> None:
        (self._folder / "webhook").touch(0o600)
        if self._webhook is None:
            page = slack.Page(("127.0.0.1", self.ports.slack), self._heard)
            threading.Thread(target=page.serve_forever, args=(0.1,), daemon=True).start()
            cleanup.callback(page.server_close)
            cleanup.callback(page.shutdown)
            self._webhook = f"http://127.0.0.1:{self.ports.slack}{slack.WEBHOOK}"
        (self._folder / "webhook").write_text(self._webhook)

    @staticmethod
    def _heard(message: slack.Message) -> None:
        say("Slack: " + message.notice().replace("\n", "\n       "))

    def _start_alertmanager(self) -> None:
        say("Starting Alertmanager")
        shipped = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
        config = self._folder / "alertmanager.yml"
        config.write_text(
            configs.alertmanager(shipped, self._folder / "webhook", self._language), encoding="utf-8"
        )
        self._start_part(
            "Alertmanager",
            [
                *(str(servers.find("alertmanager")), f"--config.file={config}", "--log.level=warn"),
                *(f"--storage.path={self._folder / 'alertmanager'}", "--cluster.listen-address="),
                f"--web.listen-address=127.0.0.1:{self.ports.alertmanager}",
                f"--web.external-url=http://127.0.0.1:{self.ports.alertmanager}",
            ],
            self._folder / "alertmanager.log",
        )

    def _start_prometheus(self) -> None:
        say("Starting Prometheus with the alert rules")
        shipped = ROOT / "deploy" / "prometheus" / "prometheus.yml"
        config = self._folder / "prometheus.yml"
        targets = {
            "floodmark": self.ports.exporter,
            "prometheus": self.ports.prometheus,
            "alertmanager": self.ports.alertmanager,
        }
        config.write_text(
            configs.prometheus(
                shipped, ROOT / "alerts", {job: f"127.0.0.1:{port}" for job, port in targets.items()}
            ),
            encoding="utf-8",
        )
        self._start_part(
            "Prometheus",
            [
                *(str(servers.find("prometheus")), f"--config.file={config}", "--log.level=warn"),
                *(f"--storage.tsdb.path={self._folder / 'prometheus'}", "--storage.tsdb.retention.time=6h"),
                f"--web.listen-address=127.0.0.1:{self.ports.prometheus}",
                f"--web.external-url=http://127.0.0.1:{self.ports.prometheus}",
                # By default an alert that Alertmanager missed comes again only after a minute.
                "--rules.alert.resend-delay=5s",
            ],
            self._folder / "prometheus.log",
        )

    def _start_part(self, name: str, command: list[str], log: Path) -> Part:
        part = Part(name, command, log)
        self.parts.append(part)
        part.start()
        return part

    def _workers(self) -> int:
        """How many workers of the app floodmark lists."""
        answer = traffic.get(self.ports.exporter, "/metrics", seconds=5)
        families = text_string_to_metric_families(answer.body.decode()) if answer else ()
        return int(
            sum(
                sample.value
                for family in families
                if family.name == "gunicorn_workers"
                for sample in family.samples
                if sample.labels["app"] == self.app
            )
        )

    def _prometheus_works(self) -> bool:
        """It has scraped, has the rules, and knows Alertmanager."""
        targets = self._prometheus_says("targets").get("activeTargets", [])
        return (
            {target["health"] for target in targets} == {"up"}
            and bool(self._prometheus_says("rules").get("groups"))
            and bool(self._prometheus_says("alertmanagers").get("activeAlertmanagers"))
        )

    def _prometheus_says(self, what: str) -> dict[str, list[dict[str, str]]]:
        answer = traffic.get(self.ports.prometheus, f"/api/v1/{what}", seconds=5)
        if answer is None or answer.status != 200:  # noqa: PLR2004  # HTTP
            return {}
        said: dict[str, list[dict[str, str]]] = json.loads(answer.body)["data"]
        return said


def run(ports: Ports, app: str, *, kills: bool, webhook: str | None, language: str) -> None:
    """Run the demo until SIGINT, SIGTERM or SIGHUP.

    Raises:
        BusyError: a port is in use.
        TroubleError: it can't start, or a part died.
        servers.UnavailableError: Prometheus or Alertmanager can't be had.
    """
    ports.check()
    for server in ("prometheus", "alertmanager"):
        servers.find(server)
    asked = _asked_to_stop()
    began = time.monotonic()
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(say, "Stopped: nothing of it is left running.")
        folder = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="floodmark-demo-"))
        demo = Demo(ports, app, Path(folder), webhook, language)
        demo.start(cleanup)
        waiting = demo.answers()
        while waiting and not asked:
            demo.supervise()
            waiting = {name: works for name, works in waiting.items() if not works()}
            if time.monotonic() - began > _START:
                raise TroubleError(_silence(demo.parts, next(iter(waiting))))
            time.sleep(0.2)
        if not asked:
            say(f"Everything answers after {time.monotonic() - began:.0f} s:\n{_table(ports, webhook)}")
            if kills:
                threading.Thread(target=demo.play, daemon=True).start()
        while not asked:
            demo.supervise()
            time.sleep(0.2)
        say("Stopping.")


def say(text: str) -> None:
    """One thing to the person at the terminal; when nobody reads any more, stop."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        os.kill(os.getpid(), signal.SIGTERM)


def _beside(command: str) -> Path:
    """A command of the virtual environment this runs in."""
    return Path(sys.executable).with_name(command)


def _status(port: int, path: str) -> int | None:
    answer = traffic.get(port, path, seconds=5)
    return answer and answer.status


def _silence(parts: list[Part], name: str) -> str:
    part = next(part for part in parts if part.name == name)
    return f"{name} doesn't answer after {_START} s. The last it said:\n\n{part.last_words()}"


def _table(ports: Ports, webhook: str | None) -> str:
    rows = [
        ("app", f"http://127.0.0.1:{ports.app}", "harm it yourself"),
        ("floodmark", f"http://127.0.0.1:{ports.exporter}/metrics", "what it knows"),
        ("Prometheus", _shown(ports.prometheus, "/alerts", "/api/v1/alerts"), "the alerts"),
        ("Alertmanager", _shown(ports.alertmanager, "/", "/api/v2/alerts"), "what it sends on"),
        ("Slack", f"http://127.0.0.1:{ports.slack}", "the messages as Slack shows them"),
        ("", f"http://127.0.0.1:{ports.slack}{slack.WEBHOOK}", "its webhook"),
    ]
    if webhook:
        rows[-2:] = [("Slack", "your channel", "the webhook in SLACK_WEBHOOK_URL")]
    why = f"  Why they die: .venv/bin/floodmark why --url http://127.0.0.1:{ports.exporter}\n"
    return "\n" + "".join(f"  {name:14}{address:53}{what}\n" for name, address, what in rows) + "\n" + why


def _shown(port: int, page: str, api: str) -> str:
    """The address to look at: Debian's packages leave the servers' own pages out."""
    answer = traffic.get(port, page, seconds=5)
    has_page = answer is not None and answer.status == 200 and b"does not include" not in answer.body  # noqa: PLR2004  # HTTP
    return f"http://127.0.0.1:{port}{page if has_page else api}"


def _asked_to_stop() -> list[int]:
    """A list that gets the signals that ask for an end; a handler must do no more than that."""
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: asked.append(number))
    return asked


def main() -> int:
    """Run it; exit 0 when stopped, 1 on trouble, 2 on a wrong argument."""
    parser = argparse.ArgumentParser(
        prog='make demo DEMO_ARGS="..."',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="%(prog)s",
        epilog="SLACK_WEBHOOK_URL, if set, gets the messages in place of the local page; FLOODMARK_LANG=ko"
        " has them in Korean.",
    )
    usual = ", ".join(f"{name} {port}" for name, port in Ports()._asdict().items())
    parser.add_argument(
        "--port-base", type=int, metavar="N", help=f"six ports in a row from N, in place of: {usual}"
    )
    parser.add_argument(
        "--name", default="shop", help="what the app is called (default: %(default)s); for a second demo"
    )
    parser.add_argument("--no-kills", action="store_true", help="kill no worker: leave that to you")
    given = parser.parse_args()
    try:
        ports = Ports() if given.port_base is None else Ports.above(given.port_base)
    except ValueError as error:
        parser.error(f"--port-base: {error}")
    webhook = os.environ.get("SLACK_WEBHOOK_URL") or None
    if webhook and not webhook.startswith(("https://", "http://")):
        parser.error("SLACK_WEBHOOK_URL is the address Slack gave you, https://hooks.slack.com/services/...")
    language = os.environ.get("FLOODMARK_LANG") or LANGUAGES[0]
    if language not in LANGUAGES:
        parser.error(f"FLOODMARK_LANG must be one of {', '.join(LANGUAGES)}, not {language!r}")
    # Until there is something to stop in order, a TERM is as good as a Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(ports, given.name, kills=not given.no_kills, webhook=webhook, language=language)
    except (BusyError, TroubleError, servers.UnavailableError) as error:
        print(f"floodmark demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("Stopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
