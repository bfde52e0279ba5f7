"""The compose project on a real engine, once from `up` to `down`, and what was seen on the way."""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from prometheus_client.parser import text_string_to_metric_families

from deploy.demo import slack, traffic
from floodmark import catalogue
from tests.docker import engine, images
from tests.support import compose
from tests.support.live import ROOT, gunicorn, until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.docker.engine import Engine
    from tests.support.live import Gunicorn

GRAFANA = "grafana"
HOST = "web-1"
GRAFANA_URL = "https://grafana.example.org"
APP = "boxed"  # the app project's gunicorn
THEIR_APP = "web"  # that of tests/deploy/app-project that has the agent
RIGHTS = ("SYS_PTRACE", "DAC_READ_SEARCH", "SYSLOG")
ALL_RIGHTS = " ".join(RIGHTS)
NO_PID_HOST = "P R K, no pid: host"
UNPRIVILEGED = "unprivileged.yml"

_APP_PORT, _SLACK_PORT = 8001, 8080
_THEIRS = ROOT / "tests/deploy/app-project"
_DEMO = {"demo", "demo-visitors"}
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


@dataclass
class Seen:
    """What one exporter says.

    Attributes:
        sources: whether it can use each source.
        exits: count by app and cause.
        deaths: cause and confidence by pid.
        workers: how many it sees, by app.
    """

    sources: dict[str, bool]
    exits: dict[tuple[str, str], float]
    deaths: dict[int, tuple[str, str]]
    workers: dict[str, int]

    def of(self, app: str) -> dict[str, float]:
        """An app's exits by cause, those that happened."""
        return {cause: count for (name, cause), count in self.exits.items() if name == app and count}


@dataclass
class Story:
    """What was seen.

    Attributes:
        version: the engine's.
        health: each service's, when all have been restarted.
        listening: the addresses the engine's network listens on, for TCP and UDP.
        targets: the value of `up` by job.
        hosted: the name of the gunicorn on the host.
        victims: pids, as the host has them, by what really ended them.
        seen: what floodmark said after the deaths, after its restart, and after it was made anew.
        rights: what an exporter with these rights said of the same deaths.
        messages: attachments at the webhook about our apps, those before any service was restarted.
        late: those that came after that.
        oldest: when Prometheus' oldest sample is from, before and after its restart.
        silences: Alertmanager's, before and after its restart.
        memory: the most bytes at once, and the limit, by service.
        grafana_limit: bytes that Grafana would be given.
        restarts: how often Docker had to start a service again, by service.
        included: requests by app, as floodmark counts them when it is a part of the app's own project.
        left: containers, volumes and networks after `down --volumes`.
        engine_left: processes, mounts and folders of the engine after its end.
        seconds: how long memory was looked at.
    """

    version: str = ""
    health: dict[str, str] = field(default_factory=dict)
    listening: set[str] = field(default_factory=set)
    targets: dict[str, str] = field(default_factory=dict)
    hosted: str = ""
    victims: dict[str, int] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    rights: dict[str, Seen] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)
    late: list[dict[str, Any]] = field(default_factory=list)
    oldest: list[float] = field(default_factory=list)
    silences: list[list[str]] = field(default_factory=list)
    memory: dict[str, tuple[float, float]] = field(default_factory=dict)
    grafana_limit: int = 0
    restarts: dict[str, int] = field(default_factory=dict)
    included: dict[str, float] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    engine_left: list[str] = field(default_factory=list)
    seconds: float = 0


@functools.cache
def played() -> Story:
    """Play it all, once: four minutes, and one more where the images' file system isn't in the cache yet.

    Raises:
        engine.NoEngineError: none can be started here.
        servers.UnavailableError: something can't be fetched, as without a network.
        subprocess.CalledProcessError: Compose can't.
        AssertionError: something did not come about; the text says what.
    """
    say = _Say()
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(engine.started())
        say("the engine runs")
        images.load(running)
        say("images are there under the names that the files ask for")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="floodmark-compose-")))
        story = _Play(running, folder, say, stack).all()
    story.engine_left = engine.left(running)
    say(f"the engine has ended and left {story.engine_left or 'nothing'}")
    return story


class _Say:
    """Tell how far it is."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, text: str) -> None:
        print(f"{time.monotonic() - self._start:6.1f} s  {text}", file=sys.stderr, flush=True)  # noqa: T201


class _Play:
    def __init__(self, running: Engine, folder: Path, say: _Say, stack: contextlib.ExitStack) -> None:
        self._engine = running
        self._folder = folder
        self._say = say
        self._stack = stack
        self._threads = ThreadPoolExecutor()
        self._program = compose.program()
        self._story = Story()
        self._files = {
            "floodmark": ROOT / "docker-compose.yml",
            "shop": ROOT / "tests/docker/app/compose.yml",
            "rights": folder / "rights.json",
            "theirs": _THEIRS / "compose.yml",
        }
        folder.chmod(0o755)  # what is in it is for others too
        webhook = folder / "slack_webhook"
        webhook.write_text(f"http://{engine.ADDRESS}:{_SLACK_PORT}{slack.WEBHOOK}")
        dsn = folder / "postgres_dsn"
        dsn.write_text("postgresql://nobody@127.0.0.1/postgres")  # no database: its exporter says so
        self._environment = {
            "GRAFANA_ADMIN_PASSWORD": "chosen",
            "SLACK_WEBHOOK_FILE": str(webhook),
            "POSTGRES_DSN_FILE": str(dsn),
            "COMPOSE_PROFILES": "demo,postgres",
            "FLOODMARK_HOST": HOST,
            "GRAFANA_URL": GRAFANA_URL,
            "DOCKER_BUILDKIT": "0",  # Debian's docker has no buildx
        }
        address = (engine.ADDRESS, _SLACK_PORT)
        self._page = running.inside.submit(slack.Page, address, lambda _: None).result()
        stack.callback(self._page.server_close)
        stack.callback(self._page.shutdown)
        threading.Thread(target=self._page.serve_forever, daemon=True).start()

    def all(self) -> Story:
        self._up()
        stop = threading.Event()
        self._stack.callback(stop.set)
        measuring = self._threads.submit(self._measure, stop)
        with gunicorn("hosted", self._folder) as hosted:
            self._story.hosted = hosted.name
            self._compose("up", "--build", "--detach", project="shop")
            self._say("beside it run an app project that knows nothing of it, and a gunicorn on the host")
            self._rights_up()
            self._engine.inside.submit(traffic.visit, _APP_PORT, stop)
            for app in (APP, hosted.name):
                self._wait_for_value(f'gunicorn_worker_exits_total{{app="{app}",cause="timeout"}}')
            self._story.targets = {row["metric"]["job"]: row["value"][1] for row in self._ask("up")}
            self._say(f"Prometheus has both gunicorns, and its targets are {self._story.targets}")
            self._die(hosted)
            self._wait_for_messages()
            self._look_at_rights()
            self._restart()
        self._count_restarts()
        stop.set()
        measuring.result()
        self._down()
        return self._story

    # What happens.

    def _up(self) -> None:
        story = self._story
        story.version = self._engine.run(
            "docker", "version", "--format", "{{.Server.Version}}"
        ).stdout.strip()
        self._say(
            f"LEFT OUT: {GRAFANA}. Without a registry its image can't be had: its container is NOT tried"
        )
        self._config = json.loads(self._compose("config", "--format", "json"))["services"]
        story.grafana_limit = int(self._config[GRAFANA]["mem_limit"])
        self._compose("build", "--quiet")
        self._say("floodmark's image is built by its own Dockerfile")
        self._services = sorted(self._config.keys() - {GRAFANA} - _DEMO)
        self._compose("up", "--detach", "--wait", *self._services)
        told = self._engine.run("nsenter", f"--net=/proc/{self._engine.process.pid}/ns/net", "ss", "-Hlntu")
        story.listening = {line.split()[4] for line in told.stdout.splitlines()}
        self._say(f"docker compose up --wait: {', '.join(self._services)} are healthy")
        # Its visitors start when it is healthy, half a minute later: nobody waits for that.
        self._later = self._threads.submit(self._compose, "up", "--detach", "--wait", *_DEMO)

    def _rights_up(self) -> None:
        """Exporters with fewer rights, all at once: the same deaths are seen by each."""
        as_it_is = self._config["floodmark"]
        overridden = json.loads(
            self._compose("config", "--format", "json", override=ROOT / "deploy/docker/unprivileged.yml")
        )["services"]["floodmark"]
        some = (rights for number in range(4) for rights in itertools.combinations(RIGHTS, number))
        services = {" ".join(rights): _with_rights(as_it_is, rights) for rights in some}
        services |= {NO_PID_HOST: copy.deepcopy(as_it_is), UNPRIVILEGED: overridden}
        del services[NO_PID_HOST]["pid"]
        self._exporters = {f"exporter-{number}": name for number, name in enumerate(services)}
        for service in services.values():
            for key in ("ports", "networks", "build"):
                service.pop(key, None)
            service["environment"].pop("FLOODMARK_STATE_DIR")
            service["volumes"] = [each for each in service["volumes"] if each["type"] == "bind"]
        project = {"name": "rights", "services": dict(zip(self._exporters, services.values(), strict=True))}
        self._files["rights"].write_text(json.dumps(project))
        self._compose("up", "--detach", "--wait", project="rights")
        self._say(f"so do {len(services)} exporters with other rights")

    def _die(self, hosted: Gunicorn) -> None:
        """A timeout, an OOM kill and a kill -9 in the container, a timeout on the host.

        All between two scrapes: what joins a group of messages later is told five minutes later.
        """
        scrape = "timestamp(up{job='floodmark'})"
        before = self._ask(scrape)[0]["value"][1]
        until(lambda: self._ask(scrape)[0]["value"][1] != before, 30, "the next scrape")
        there, outside = self._workers(), set(hosted.workers())
        killed = min(there)
        os.kill(killed, signal.SIGKILL)
        until(lambda: len(self._workers()) == len(there), 5, "a new worker")
        time.sleep(2)  # should it be the next to die: without process events it must have been seen before
        there |= self._workers()
        waiting: list[Future[Any]] = [
            self._threads.submit(hosted.get, "/stick-in-c?30"),
            self._engine.inside.submit(traffic.get, _APP_PORT, "/report?seconds=60", 30),
        ]
        while not (out_of_memory := there & _killed_by_the_kernel()):
            self._engine.inside.submit(traffic.get, _APP_PORT, "/upload?mib=64", 10).result()
        for each in waiting:
            each.result()
        (stuck,) = until(lambda: there - self._workers() - out_of_memory - {killed}, 10, "the timeout")
        (stuck_outside,) = until(lambda: outside - set(hosted.workers()), 10, "the timeout on the host")
        self._story.victims = {
            "kill -9": killed,
            "OOM kill": out_of_memory.pop(),
            "timeout": stuck,
            "timeout on the host": stuck_outside,
        }
        self._say(f"workers have died: {', '.join(self._story.victims)}")

    def _wait_for_messages(self) -> None:
        apps = (APP, self._story.hosted)
        until(lambda: all(any(app in m["title"] for m in self._messages()) for app in apps), 90, "messages")
        self._story.messages = self._messages()
        self._story.seen.append(self._seen("127.0.0.1"))
        self._say("; ".join(message["title"] for message in self._story.messages))

    def _look_at_rights(self) -> None:
        for container, name in self._exporters.items():
            form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
            self._story.rights[name] = self._seen(self._inspect(form, f"rights-{container}-1"))
        self._compose("down", "--volumes", "--timeout", "3", project="rights")

    def _restart(self) -> None:
        story = self._story
        self._silence()
        for service in self._services:
            if service == "prometheus":
                story.oldest.append(self._oldest())
            if service == "alertmanager":
                story.silences.append(self._silences())
            self._compose("restart", "--timeout", "10", service)
            self._compose("up", "--detach", "--wait", *self._services)
            if service == "floodmark":
                story.seen.append(self._seen("127.0.0.1"))
            self._say(f"{service} is back after a restart")
        self._later.result()
        rows = map(json.loads, self._compose("ps", "--all", "--format", "json").splitlines())
        story.health = {row["Service"]: row["Health"] for row in rows}
        self._compose("up", "--detach", "--wait", "--force-recreate", "--no-deps", "floodmark")
        story.seen.append(self._seen("127.0.0.1"))
        story.oldest.append(self._oldest())
        story.silences.append(self._silences())
        story.late = self._messages()[len(story.messages) :]
        self._say("floodmark is back in a new container")

    def _count_restarts(self) -> None:
        for service in (*self._services, *_DEMO):
            count = self._inspect("{{.RestartCount}}", f"floodmark-{service}-1")
            self._story.restarts[service] = int(count)

    def _include(self) -> None:
        """Run floodmark as a part of an app's own project: five requests to its web, seven to its api."""

        def theirs(*arguments: str) -> None:
            self._compose(*arguments, project="theirs", override=_THEIRS / "compose.override.yml")

        theirs("up", "--build", "--detach", "--wait", "floodmark", "web", "api")
        for _ in range(5):
            self._http("http://127.0.0.1:8080/")
        ask = (
            "from urllib.request import urlopen\nfor _ in range(7): urlopen('http://127.0.0.1:8000/').read()"
        )
        theirs("exec", "-T", "api", "python", "-c", ask)

        def counted() -> dict[str, float]:
            rows = self._samples("127.0.0.1")[catalogue.REQUESTS.name]
            return {labels["app"]: value for labels, value in rows if labels["status"] == "200"}

        until(lambda: {"api", THEIR_APP} <= counted().keys(), 10, "requests are counted")
        time.sleep(2)  # those that are counted twice would be by now
        self._story.included = counted()
        theirs("down", "--volumes", "--timeout", "3")
        self._say(f"included in an app's own project it has counted its requests: {self._story.included}")

    def _down(self) -> None:
        for project in ("shop", "floodmark"):
            self._compose("down", "--volumes", "--timeout", "3", project=project)
        self._include()
        for what in (("ps", "--all"), ("volume", "ls")):
            self._story.left += self._engine.run("docker", *what, "--quiet").stdout.split()
        networks = self._engine.run("docker", "network", "ls", "--format", "{{.Name}}").stdout.split()
        self._story.left += sorted(set(networks) - {"bridge", "host", "none"})
        self._say(f"down --volumes has left {self._story.left or 'nothing'}")

    # What is asked.

    def _compose(self, *arguments: str, project: str = "floodmark", override: Path | None = None) -> str:
        files = [part for file in (self._files[project], override) if file for part in ("-f", file)]
        command = (self._program, "--env-file", os.devnull, *files, *arguments)
        try:
            return self._engine.run(*command, **self._environment).stdout
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._last_words()}") from None

    def _last_words(self) -> str:
        """What containers say of themselves that are not well."""
        words = []
        for container in self._engine.run("docker", "ps", "--all", "--quiet").stdout.split():
            told = json.loads(self._engine.run("docker", "inspect", container).stdout)[0]
            state = told["State"]
            if state["Status"] != "running" or state.get("Health", {}).get("Status") == "unhealthy":
                log = self._engine.run("docker", "logs", "--tail=30", container)
                words.append(f"{told['Name']}: {json.dumps(state, indent=1)}\n{log.stdout}{log.stderr}")
        return "\n".join(words)

    def _http(self, url: str, **body: Any) -> Any:  # noqa: ANN401 - parsed JSON, or a text
        def ask() -> requests.Response:
            if body:
                return requests.post(url, json=body, timeout=10)
            return requests.get(url, timeout=10)

        answer = self._engine.inside.submit(ask).result()
        answer.raise_for_status()
        is_json = answer.headers["Content-Type"].startswith("application/json")
        return answer.json() if is_json else answer.text

    def _ask(self, query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._http(f"http://127.0.0.1:9090/api/v1/query?query={query}")["data"][
            "result"
        ]
        return found

    def _wait_for_value(self, query: str) -> None:
        until(lambda: self._ask(query), 60, f"Prometheus has {query}")

    def _oldest(self) -> float:
        return min(float(row["values"][0][0]) for row in self._ask("up[1h]"))

    def _silence(self) -> None:
        now = time.gmtime()
        later = time.gmtime(time.time() + 3600)
        self._http(
            "http://127.0.0.1:9093/api/v2/silences",
            matchers=[{"name": "alertname", "value": "Nothing", "isRegex": False, "isEqual": True}],
            startsAt=time.strftime("%Y-%m-%dT%H:%M:%SZ", now),
            endsAt=time.strftime("%Y-%m-%dT%H:%M:%SZ", later),
            createdBy="test",
            comment="to be kept",
        )

    def _silences(self) -> list[str]:
        return [silence["id"] for silence in self._http("http://127.0.0.1:9093/api/v2/silences")]

    def _messages(self) -> list[dict[str, Any]]:
        """Attachments about our apps; other gunicorns may run on this machine."""
        shown = (each for message in list(self._page.messages) for each in message.payload["attachments"])
        return [each for each in shown if any(app in each["title"] for app in (APP, self._story.hosted))]

    def _workers(self) -> set[int]:
        """The pids of the app's workers, as the host has them."""
        pid = int(self._inspect("{{.State.Pid}}", "shop-web-1"))
        return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

    def _inspect(self, form: str, container: str) -> str:
        return self._engine.run("docker", "inspect", "--format", form, container).stdout.strip()

    def _samples(self, host: str) -> dict[str, list[tuple[dict[str, str], float]]]:
        """Labels and values of an exporter's page, by name."""
        samples: dict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
        for family in text_string_to_metric_families(self._http(f"http://{host}:9717/metrics")):
            for name, labels, value, *_ in family.samples:
                samples[name].append((labels, value))
        return samples

    def _seen(self, host: str) -> Seen:
        samples = self._samples(host)
        workers: dict[str, int] = defaultdict(int)
        for labels, _ in samples[catalogue.WORKER_INFO.name]:
            workers[labels["app"]] += 1
        return Seen(
            {labels["source"]: bool(value) for labels, value in samples[catalogue.SOURCE_AVAILABLE.name]},
            {(labels["app"], labels["cause"]): value for labels, value in samples[catalogue.EXITS.name]},
            {
                death["pid"]: (death["cause"], death["confidence"])
                for death in self._http(f"http://{host}:9717/deaths")["deaths"]
                if death["app"] in (APP, self._story.hosted)
            },
            workers,
        )

    def _measure(self, stop: threading.Event) -> None:
        """Look at containers' memory again and again, as `docker stats` has it: without the page cache."""
        start = time.monotonic()
        while not stop.wait(2):
            told = self._engine.run("docker", "stats", "--no-stream", "--format", "{{json .}}").stdout
            for line in told.splitlines():
                row = json.loads(line)
                project, _, service = row["Name"].rpartition("-")[0].partition("-")
                if project == "floodmark":
                    used, limit = map(_bytes, row["MemUsage"].split(" / "))
                    most, _ = self._story.memory.get(service, (0, 0))
                    self._story.memory[service] = (max(used, most), limit)
        self._story.seconds = time.monotonic() - start


def _killed_by_the_kernel() -> set[int]:
    """The processes that the kernel's log says it has killed for memory."""
    told = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
    return {int(pid) for pid in re.findall(r"Killed process (\d+)", told)}


def _with_rights(service: dict[str, Any], rights: Iterable[str]) -> dict[str, Any]:
    """The exporter's service as it is, but with these rights alone."""
    changed = copy.deepcopy(service)
    changed["cap_add"] = ["SETUID", "SETGID", *rights]
    kept = ",".join(["-all", *(f"+{right.lower()}" for right in rights)])
    changed["entrypoint"] = [
        f"{part.partition('=')[0]}={kept}" if "-caps=" in part else part for part in service["entrypoint"]
    ]
    return changed


def _bytes(text: str) -> float:
    number = text.rstrip("KMGiB")
    return float(number) * _UNITS[text.removeprefix(number)]
