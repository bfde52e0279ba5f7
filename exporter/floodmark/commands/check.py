"""What floodmark finds here, what it can't see and the grant that mends it, and risky settings.

It looks for itself, for about a second: no running exporter is needed, and nothing is changed. Exit status
0: all is well; 1: a source is missing, a setting is risky, or no gunicorn was found; 2: wrong usage.

A proxy's timeout is known where nginx or Caddy is configured on this host, in the usual folders.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import os
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

from floodmark import config
from floodmark.collectors.gunicorn import collect
from floodmark.facts import Facts
from floodmark.gunicorn import asked, risks
from floodmark.gunicorn.agents import Agents
from floodmark.gunicorn.proportional import ProportionalMemory
from floodmark.gunicorn.risks import Risk, Running
from floodmark.gunicorn.sockets import Sockets
from floodmark.gunicorn.watch import LOOK, Watch
from floodmark.requests import Requests
from floodmark.sources import control, kernel, proxyconf
from floodmark.sources.available import Available, Lack
from floodmark.sources.procfs import meminfo, process

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from floodmark.gunicorn.find import Master
    from floodmark.gunicorn.model import AppState

_WIDTH = 80
_NOT_OWN = Lack(
    "{} is of another pid namespace, or recorded: the kernel isn't asked about its processes",
    "how workers ended is known only from gunicorn's log",
    "run on the host, or in its pid namespace (compose: pid: host)",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A gunicorn, in words."""

    app: str
    pid: int
    version: str
    worker_class: str
    workers: int
    unknown: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Missing:
    """A source that can't be used, and for which apps; none of them for one of the whole host."""

    source: str
    apps: tuple[str, ...]
    problem: str
    costs: str
    grant: str


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """All that was found."""

    gunicorns: tuple[Found, ...]
    working: tuple[str, ...]
    missing: tuple[Missing, ...]
    risks: tuple[Risk, ...]

    @property
    def status(self) -> int:
        """The exit status."""
        return int(not self.gunicorns or bool(self.missing) or bool(self.risks))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its flags."""
    parser.add_argument("--config", metavar="FILE", help="YAML file, as of floodmark serve")
    parser.add_argument(
        "--root", metavar="VALUE", help=config.FIELDS["root"].metadata["doc"] + " (default: /)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def run(arguments: argparse.Namespace) -> int:
    """Print what is found."""
    flags = {"root": arguments.root} if arguments.root else {}
    path = arguments.config or os.environ.get(config.ENV_PREFIX + "CONFIG")
    settings = config.load(Path(path) if path else None, os.environ, flags)
    # What the sources would log stands in the report.
    logging.getLogger("floodmark").addHandler(logging.NullHandler())
    report = look(settings)
    if arguments.json:
        document = dataclasses.asdict(report)
        document["risks"] = [risk._asdict() for risk in report.risks]
        text = json.dumps(document, indent=2)
    else:
        coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        text = "\n".join(lines(report, coloured=coloured))
    print(text)  # noqa: T201 - that is its job
    return report.status


def look(settings: config.Config) -> Report:
    """Look at the host.

    Raises:
        ConfigError: there is no /proc below its root.
    """
    proc, available = settings.root / "proc", Available()
    try:
        heard = kernel.listen(settings.root, proc, available)
        watch = Watch(settings.root, proc, settings.apps, available, kernel=heard)
    except (OSError, ValueError) as error:
        raise config.no_host(settings.root, error) from error
    try:
        watch.advance()
        time.sleep(LOOK)  # a worker that was just forked shows its heartbeat only now
        watch.advance()
        apps = watch.state()
        _try_all(settings, watch, available)
    finally:
        heard.close()
    if "exit_status" not in available.by_source():
        available.lacking(_NOT_OWN._replace(problem=_NOT_OWN.problem.format(proc)), "exit_status")
    host = meminfo.read(proc)
    running = [each for app in apps for each in _running(settings.root, proc, app, host["MemTotal"])]
    lacks = available.states()
    lacking = {source for source, _, lack in lacks if lack}
    return Report(
        tuple(_found(proc, app, master) for app in apps for master in app.masters),
        tuple(sorted(available.by_source().keys() - lacking)),
        tuple(_missing(lacks)),
        tuple(risks.find(running, host.get("SwapTotal"), proxyconf.read(settings.root))),
    )


def _try_all(settings: config.Config, watch: Watch, available: Available) -> None:
    """Make a page of the gunicorns as serve does: sources that are used only then show what they lack."""
    proc = settings.root / "proc"
    sockets = Sockets(proc, available, ask_kernel=kernel.is_own(proc))
    proportional = ProportionalMemory(proc, available)
    proportional.read(watch.state())
    agents = Agents(settings.root, settings.agent_dirs, settings.apps, available)
    for _ in collect(Facts(settings.root, proc, watch, Requests(), sockets, proportional, agents)):
        pass


def _found(proc: Path, app: AppState, master: Master) -> Found:
    return Found(
        app.name,
        master.identity.pid,
        master.version,
        master.settings.worker_class or "unknown",
        len(_workers(proc, app, master)),
        tuple(master.settings.unknown(asked.SETTINGS)),
    )


def _missing(lacks: Sequence[tuple[str, str, Lack | None]]) -> Iterator[Missing]:
    known = [(source, lack, app) for source, app, lack in lacks if lack]
    # The same grant mends the same problem of several apps, whatever files they have it with.
    same = sorted(known, key=lambda each: (each[0], each[1].costs, each[1].grant, each[1].problem))
    for (source, costs, grant), group in itertools.groupby(
        same, key=lambda each: (each[0], each[1].costs, each[1].grant)
    ):
        members = list(group)
        problems = dict.fromkeys(lack.problem for _, lack, _ in members)
        apps = tuple(app for _, _, app in members if app)
        yield Missing(source, apps, "; ".join(problems), costs, grant)


def _running(root: Path, proc: Path, app: AppState, memory: int) -> Iterator[Running]:
    limits = [found[0] for cgroup in app.cgroups if (found := cgroup.limit_and_headroom())]
    for master in app.masters:
        pid = master.identity.pid
        try:
            yield Running(
                app=app.name,
                pid=pid,
                parent=process.read_stat(proc, pid).ppid,
                settings=master.settings,
                private=tuple(_private(proc, _workers(proc, app, master))),
                limit=min([memory, *limits]),
                control=_control(root, proc, master),
            )
        except OSError:  # it ended meanwhile
            continue


def _workers(proc: Path, app: AppState, master: Master) -> list[int]:
    """Return the pids of a master's workers: an app can have two masters."""
    try:
        children = process.read_children(proc, master.identity.pid)
    except OSError:  # it ended meanwhile
        return []
    return [worker.identity.pid for worker in app.workers if worker.identity.pid in children]


def _private(proc: Path, workers: list[int]) -> Iterator[int]:
    for pid in workers:
        try:
            memory = process.memory(process.read_status(proc, pid))
        except OSError:
            continue
        yield memory.anonymous + memory.swap


def _control(root: Path, proc: Path, master: Master) -> tuple[int, int, str] | None:
    """Return the folder (device, inode) and the name of a master's control socket, None where unknown."""
    if not control.supported(master.version) or master.settings.text("control_socket_disable") != "False":
        return None
    for path in asked.sockets(proc, root, master):
        folder, name = os.path.split(path)
        try:
            status = os.stat(folder)  # noqa: PTH116 - the way leads through /proc/PID/root
        except OSError:
            continue
        return status.st_dev, status.st_ino, name
    return None


def lines(report: Report, *, coloured: bool = False) -> Iterator[str]:
    """Yield a report for a terminal of 80 columns."""
    bold, end = ("\033[1m", "\033[0m") if coloured else ("", "")
    yield f"{bold}Gunicorns{end}"
    if not report.gunicorns:
        yield "  none runs here, or none that this process may see"
    for found in report.gunicorns:
        workers = f"{found.workers} worker{'s' if found.workers != 1 else ''}"
        kind = f"{found.worker_class}, gunicorn {found.version}"
        yield from _wrapped(f"{found.app}: pid {found.pid}, {workers}, {kind}")
        if found.unknown:
            yield from _field("unknown", ", ".join(found.unknown))
    yield ""
    yield f"{bold}Sources{end}"
    if report.working:
        yield from _wrapped(f"working: {', '.join(report.working)}")
    for missing in report.missing:
        yield ""
        yield from _item(missing.source, missing.apps, bold, end)
        yield from _field("why", missing.problem)
        yield from _field("costs", missing.costs)
        yield from _field("grant", missing.grant)
    yield ""
    yield f"{bold}Risky settings{end}"
    if not report.risks:
        yield "  none found among those that are known"
    for number, risk in enumerate(report.risks):
        if number:
            yield ""
        yield from _item(risk.problem, risk.apps, bold, end)
        yield from _field("costs", risk.costs)
        yield from _field("do", risk.advice)


def _item(title: str, apps: tuple[str, ...], bold: str, end: str) -> Iterator[str]:
    text = f"{title}: {', '.join(apps)}" if apps else title
    yield from (f"{bold}{line}{end}" for line in _wrapped(text))


def _field(name: str, text: str) -> list[str]:
    return _wrapped(text, f"    {name:8}", " " * 12)


def _wrapped(text: str, first: str = "  ", others: str = "    ") -> list[str]:
    # A path or an option stays in one piece, to be copied.
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )
