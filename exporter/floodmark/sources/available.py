"""Which sources can be used here, and what would mend those that can't: said once, not each second."""

from __future__ import annotations

import logging
from typing import NamedTuple

log = logging.getLogger(__name__)


class Lack(NamedTuple):
    """Why a source can't be used.

    Attributes:
        problem: what was tried and refused.
        costs: what can't be told without it.
        grant: what to type or change.
    """

    problem: str
    costs: str
    grant: str


NO_KERNEL_LOG = Lack(
    "kernel log can't be read: {}",
    "an OOM kill is at best probable, by the cgroup's counter",
    "CAP_SYSLOG and /dev/kmsg (systemd: AmbientCapabilities=CAP_SYSLOG;"
    " compose: cap_add: [SYSLOG] and devices: [/dev/kmsg])",
)
FOREIGN_KERNEL_LOG = Lack(
    "kernel log isn't used: it names host pids, and this is another pid namespace",
    NO_KERNEL_LOG.costs,
    "run in the host's pid namespace (compose: pid: host; docker: --pid=host)",
)
NO_EVENTS = Lack(
    "process events can't be had: {}",
    "workers that live less than a second may be missed",
    "run in the host's network namespace; kernels before 6.18 may want CAP_NET_ADMIN too",
)
NO_STATUS = Lack(
    "no source tells how a process ended: no process events, and this kernel's pidfd has no exit information",
    "exit status is known only where gunicorn logs it",
    "CAP_NET_ADMIN for process events, or Linux 6.15 or newer",
)
NO_LOG = Lack(
    "gunicorn's log can't be followed: {}",
    "recycles, reloads and shutdowns can't be told apart; a timeout is at best probable",
    "start gunicorn with --error-logfile FILE that floodmark may read, or set apps: {{{}: {{log: FILE}}}}",
)
UNREADABLE_LOG = Lack(
    NO_LOG.problem,
    NO_LOG.costs,
    "let floodmark's user read it (chmod, or the file's group), or CAP_DAC_READ_SEARCH",
)
NO_OUTPUT = Lack(
    "gunicorn's log can't be followed: it goes to its standard error, {}",
    NO_LOG.costs,
    "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, to see where that leads (compose: cap_add: [SYS_PTRACE,"
    " DAC_READ_SEARCH]), or start gunicorn with --error-logfile FILE that floodmark may read",
)
NO_DOCKER_LOG = Lack(
    "gunicorn's log can't be followed: it goes to docker, {}",
    NO_LOG.costs,
    "CAP_DAC_READ_SEARCH (compose: cap_add: [DAC_READ_SEARCH] and volumes: [/:/host:ro,rslave]) and docker's"
    " json-file log driver, or start gunicorn with --error-logfile FILE that floodmark may read",
)
NO_JOURNAL = Lack(
    "gunicorn's log can't be followed: it goes to the journal, {}",
    NO_LOG.costs,
    "usermod --append --groups systemd-journal USER (systemd: SupplementaryGroups=systemd-journal;"
    " compose: cap_add: [DAC_READ_SEARCH] and volumes: [/:/host:ro,rslave])",
)
NO_CONTROL_SOCKET = Lack(
    "gunicorn's control socket can't be asked: {}",
    "settings that neither its command line nor its config file shows stay unknown; without its log, timeouts"
    " are less sure",
    "{}",
)
NO_HEARTBEAT = Lack(
    "workers' heartbeats can't be seen: permission denied",
    "without gunicorn's log a timeout can't be told from another kill",
    "run as the app's user, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
    " (compose: cap_add: [SYS_PTRACE, DAC_READ_SEARCH])",
)
NO_AGENT_EXITS = Lack(
    "what the agent in the master writes of its workers' ends can't be read: {}",
    "how they ended is known from outside alone, and what they were doing isn't",
    "let floodmark's user into FLOODMARK_AGENT_DIR and the folders above it (chmod o+x), or"
    " CAP_DAC_READ_SEARCH",
)
BROKEN_LEDGER = Lack(
    NO_AGENT_EXITS.problem,
    NO_AGENT_EXITS.costs,
    "nothing needs to be done: the master puts it aside when its next worker ends, and begins a new one",
)

NO_BUSY = Lack(
    "workers' connections can't be seen: permission denied",
    "busy and idle workers, and requests in flight, are unknown",
    "run as the app's user, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
    " (compose: cap_add: [SYS_PTRACE, DAC_READ_SEARCH])",
)
NO_BACKLOG = Lack(
    "the sockets that gunicorn listens on can't be found",
    "how many connections wait, and how many workers are busy, is unknown",
    "run as the app's user, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
    " (compose: cap_add: [SYS_PTRACE, DAC_READ_SEARCH]); or --bind with a numeric address",
)
NO_PROPORTIONAL = Lack(
    "workers' proportional memory can't be read: permission denied",
    "memory that workers share (--preload) is counted once for each of them",
    "run as the app's user, or CAP_SYS_PTRACE",
)
NO_AGENT = Lack(
    "what the agent in the app writes can't be read: {}",
    "requests, queue, heap and garbage collection of the app are unknown",
    "run as the app's user, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH (compose: cap_add: [SYS_PTRACE,"
    " DAC_READ_SEARCH]); or let the app's FLOODMARK_AGENT_DIR and floodmark's agent_dirs be one folder that"
    " floodmark may read",
)
NO_AGENT_DIR = Lack(
    "folder of agent_dirs can't be read: {}",
    "what agents write there is unknown",
    "make it (mkdir -m 1777), let floodmark's user read it, or take it out of agent_dirs",
)


class Available:
    """Remembers each source's state, and logs when it changes.

    A source that every app has of its own (its log, its heartbeat) is kept by app.
    """

    def __init__(self) -> None:
        self._lacks: dict[tuple[str, str], Lack | None] = {}

    def good(self, source: str, app: str = "") -> None:
        """Note that a source works."""
        if self._lacks.get((source, app)):
            log.info("source works again", extra=_fields(source, app))
        self._lacks[source, app] = None

    def lacking(self, lack: Lack, source: str, app: str = "") -> None:
        """Note that a source can't be used."""
        if self._lacks.get((source, app)) != lack:
            log.warning(lack.problem, extra=_fields(source, app) | {"costs": lack.costs, "grant": lack.grant})
        self._lacks[source, app] = lack

    def forget(self, app: str) -> None:
        """Drop what is known of an app that is gone."""
        for key in [key for key in self._lacks if key[1] == app]:
            del self._lacks[key]

    def lacks(self, app: str) -> dict[str, Lack]:
        """Return what is lacking for an app, by source."""
        states = list(self._lacks.items())
        return {source: lack for (source, of), lack in states if lack and of in ("", app)}

    def states(self) -> list[tuple[str, str, Lack | None]]:
        """Return each source, the app it is kept by (or nothing), and what it lacks: None for a good one."""
        states = sorted(list(self._lacks.items()), key=_by_name)  # noqa: C414 - other threads add to it
        return [(source, app, lack) for (source, app), lack in states]

    def by_source(self) -> dict[str, bool]:
        """Return for each source whether it works, for every app that has it."""
        states: dict[str, bool] = {}
        for (source, _), lack in list(self._lacks.items()):  # other threads add to it
            states[source] = states.get(source, True) and lack is None
        return states


def _by_name(item: tuple[tuple[str, str], Lack | None]) -> tuple[str, str]:
    return item[0]


def _fields(source: str, app: str) -> dict[str, str]:
    return {"source": source, "app": app} if app else {"source": source}
