"""Why a worker ended: a pure judgement from evidence to cause. It claims no more than the evidence says."""

from __future__ import annotations

import dataclasses
import os
import signal
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from floodmark.agent.ledger import Exit
    from floodmark.sources.kmsg import OomKill

CAUSES = (
    "oom_kill",
    "timeout",
    "max_requests",
    "reload",
    "scale_down",
    "shutdown",
    "shutdown_kill",
    "crash_signal",
    "boot_error",
    "nonzero_exit",
    "external_kill",
    "exit_unrequested",
    "sigkill_unknown",
    "unknown",
)
WANTED = frozenset({"max_requests", "reload", "scale_down", "shutdown"})

CONFIRMED, PROBABLE, POSSIBLE = "confirmed", "probable", "possible"

_CRASHES = frozenset(
    {
        signal.SIGILL,
        signal.SIGTRAP,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGSEGV,
        signal.SIGSYS,
    }
)
_BOOT_ERRORS = {3: "the worker failed to boot", 4: "the app failed to load"}
_STOPS = {
    "term": "shutdown",
    "int": "shutdown",
    "quit": "shutdown",
    "winch": "shutdown",
    "hup": "reload",
    "ttou": "scale_down",
    "stop": "shutdown",  # by itself, as when a worker can't boot; the agent tells that so
}
_AGENT = "the agent in the master"
# The master looks at heartbeats once a second, floodmark's clock and the kernel's differ a little.
_HEARTBEAT_SLACK = 0.3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of one worker's end.

    Attributes:
        status: wait status, None where no source told.
        oom_kill: the kernel log's record that names the worker.
        cgroup_oom: the OOM counter of the worker's own cgroup rose for a death that no record names.
        oom_in_doubt: that counter rose for another that ended at the same time, or for this one.
        timeout_logged: gunicorn logged WORKER TIMEOUT for it.
        aborted: its master told over the control socket that it gave it up.
        recycle_logged: it logged that it reached max_requests.
        master_signal: the signal to its master (hup, term, ...) by which it was told to end, None for none.
        master_gone: the master ended too.
        heartbeat_age: seconds from its last heartbeat to its end, None where that can't be seen.
        timeout: gunicorn's timeout in seconds, None where it isn't known; 0 is no timeout.
        log_tells_kills: gunicorn's log was followed: a timeout would have been seen.
        log_tells_all: it is followed at level info: a recycle and a signal would have been seen.
        oom_tells: the kernel's log or the worker's own cgroup was read: an OOM kill would have been seen.
        told: the record of the agent in the master that reaped it: a timeout, a signal of the master's and a
            recycle would be in there.
    """

    status: int | None = None
    oom_kill: OomKill | None = None
    cgroup_oom: bool = False
    oom_in_doubt: bool = False
    timeout_logged: bool = False
    aborted: bool = False
    recycle_logged: bool = False
    master_signal: str | None = None
    master_gone: bool = False
    heartbeat_age: float | None = None
    timeout: float | None = None
    log_tells_kills: bool = False
    log_tells_all: bool = False
    oom_tells: bool = False
    told: Exit | None = None

    @property
    def silent(self) -> bool:
        """Whether its heartbeat had stopped for as long as gunicorn waits, and nobody knows better."""
        return bool(
            self.told is None
            and self.timeout
            and self.heartbeat_age is not None
            and self.heartbeat_age >= self.timeout - _HEARTBEAT_SLACK
        )

    @property
    def timeout_tells(self) -> bool:
        """Whether a timeout would have been seen."""
        return (
            self.told is not None
            or self.log_tells_kills
            or (self.timeout is not None and self.heartbeat_age is not None)
        )


class Verdict(NamedTuple):
    """A cause (of CAUSES), how sure it is (confirmed, probable, possible), and the evidence in words."""

    cause: str
    confidence: str
    evidence: tuple[str, ...]


def judge(evidence: Evidence) -> Verdict:
    """Judge why a worker ended."""
    if evidence.oom_kill:
        kill = evidence.oom_kill
        return Verdict(
            "oom_kill",
            CONFIRMED,
            (
                f"kernel log: killed process {kill.pid} for memory ({kill.scope} limit)",
                f"{kill.anonymous_bytes / 2**20:.0f} MiB anonymous memory at its death",
            ),
        )
    if told := _given_up(evidence):
        return Verdict("timeout", CONFIRMED, (told, *_heartbeat(evidence)))
    if evidence.status is None:
        return _without_status(evidence)
    if os.WIFSIGNALED(evidence.status):
        return _signalled(evidence, os.WTERMSIG(evidence.status))
    return _exited(evidence, os.WEXITSTATUS(evidence.status))


def _given_up(evidence: Evidence) -> str | None:
    """Return by whom it is told that gunicorn gave the worker up for its silence."""
    if evidence.timeout_logged:
        return "gunicorn's log: WORKER TIMEOUT"
    if evidence.told and evidence.told.aborted:
        return f"{_AGENT}: gave it up for its silence{_sent(evidence.told)}"
    return "gunicorn's control socket: aborted for its silence" if evidence.aborted else None


def _signalled(evidence: Evidence, number: int) -> Verdict:
    if number == signal.SIGKILL:
        return _killed_as_told(evidence, evidence.told) if evidence.told else _killed(evidence)
    if number in _CRASHES:
        if evidence.silent and number == signal.SIGABRT:  # what gunicorn sends at its timeout
            return Verdict("timeout", PROBABLE, ("ended by SIGABRT", *_heartbeat(evidence)))
        if number == signal.SIGABRT and not evidence.timeout_tells:
            return Verdict("crash_signal", PROBABLE, ("ended by SIGABRT", *_missing(evidence)))
        return Verdict("crash_signal", CONFIRMED, (f"ended by {_name(number)}",))
    if number == signal.SIGTERM:
        return _asked_to_end(evidence, "ended by SIGTERM")
    return Verdict("unknown", POSSIBLE, (f"ended by {_name(number)}, which gunicorn doesn't send",))


def _killed(evidence: Evidence) -> Verdict:
    if evidence.cgroup_oom:
        return Verdict("oom_kill", PROBABLE, ("ended by SIGKILL", "its cgroup's OOM counter rose"))
    if _STOPS.get(evidence.master_signal or "") == "shutdown":
        words = f"the master was stopping ({evidence.master_signal}) and its grace had run out"
        return Verdict("shutdown_kill", CONFIRMED, ("ended by SIGKILL", words))
    if evidence.master_gone and not evidence.log_tells_all:  # its log would have had the order to stop
        return Verdict("shutdown_kill", PROBABLE, ("ended by SIGKILL", "its master ended too"))
    if evidence.silent:
        return Verdict("timeout", PROBABLE, ("ended by SIGKILL", *_heartbeat(evidence)))
    if evidence.timeout_tells and evidence.oom_tells and not evidence.oom_in_doubt:
        confidence = CONFIRMED if evidence.log_tells_kills else PROBABLE
        denials = ["no sign of an OOM kill"]
        if evidence.log_tells_kills:
            denials.append("no timeout in gunicorn's log")
        return Verdict("external_kill", confidence, ("ended by SIGKILL", *denials, *_heartbeat(evidence)))
    return Verdict("sigkill_unknown", POSSIBLE, ("ended by SIGKILL", *_missing(evidence)))


def _killed_as_told(evidence: Evidence, told: Exit) -> Verdict:
    """Judge a SIGKILL whose master would have told if it had sent it. The kernel's it doesn't see."""
    if "SIGKILL" in told.signals:  # but to those it gave up, it sends that only when it stops
        words = f"{_AGENT}: was stopping and its grace had run out{_sent(told)}"
        return Verdict("shutdown_kill", CONFIRMED, ("ended by SIGKILL", words))
    if evidence.cgroup_oom:
        return Verdict("oom_kill", PROBABLE, ("ended by SIGKILL", "its cgroup's OOM counter rose"))
    facts = ("ended by SIGKILL", f"{_AGENT}: sent it no SIGKILL")
    if evidence.oom_tells and not evidence.oom_in_doubt:
        return Verdict("external_kill", CONFIRMED, (*facts, "no sign of an OOM kill", *_heartbeat(evidence)))
    return Verdict("sigkill_unknown", POSSIBLE, (*facts, *_missing(evidence)))


def _exited(evidence: Evidence, code: int) -> Verdict:
    # Gunicorn's own abort handler exits with 0 or 1. A worker that ends its long last request when asked
    # to stop was silent too: an order to stop comes first.
    if evidence.silent and code in (0, 1) and not evidence.master_signal and not evidence.master_gone:
        return Verdict("timeout", PROBABLE, (f"exit code {code}", *_heartbeat(evidence)))
    # The app may end so by itself: the agent knows that it had started.
    if code in _BOOT_ERRORS and not (evidence.told and evidence.told.booted):
        return Verdict("boot_error", CONFIRMED, (f"exit code {code}: {_BOOT_ERRORS[code]}",))
    if code == 1 and not evidence.timeout_tells:  # up to 23.0 a worker at its timeout exits so too
        return Verdict("nonzero_exit", PROBABLE, ("exit code 1", *_missing(evidence)))
    if code:
        return Verdict("nonzero_exit", CONFIRMED, (f"exit code {code}",))
    return _asked_to_end(evidence, "exit code 0")


def _asked_to_end(evidence: Evidence, how: str) -> Verdict:
    if reason := _reason(evidence):
        cause, words = reason
        return Verdict(cause, CONFIRMED, (how, words))
    if evidence.told:
        return _not_asked_as_told(evidence.told, how)
    if evidence.master_gone:
        return Verdict("shutdown", PROBABLE, (how, "its master ended too"))
    if evidence.log_tells_all:
        return Verdict("exit_unrequested", CONFIRMED, (how, "gunicorn's log has no reason for it"))
    return Verdict("unknown", POSSIBLE, (how, *_missing(evidence)))


def _reason(evidence: Evidence) -> tuple[str, str] | None:
    """Return why gunicorn had it end, and who says so."""
    told = evidence.told
    if evidence.recycle_logged:
        return "max_requests", "gunicorn's log: autorestarting worker"
    if told and told.recycled:
        return "max_requests", "the agent in the worker: it had reached max_requests"
    if told and told.signals and (cause := _STOPS.get(told.order or "")):
        return cause, f"{_AGENT}: {_got(told)}{_sent(told)}"
    if cause := _STOPS.get(evidence.master_signal or ""):
        return cause, f"gunicorn's log: handling signal {evidence.master_signal}"
    return None


def _not_asked_as_told(told: Exit, how: str) -> Verdict:
    if told.signals:
        return Verdict("unknown", POSSIBLE, (how, f"{_AGENT}: had no order that is known{_sent(told)}"))
    if _STOPS.get(told.order or "") == "shutdown":
        words = f"{_AGENT}: {_got(told)} just then, which may have been sent to the worker too"
        return Verdict("shutdown", PROBABLE, (how, words))
    way = "took gunicorn's own way out" if told.left else "took no way out of gunicorn's (os._exit?)"
    words = f"{_AGENT}: sent it no signal"
    return Verdict("exit_unrequested", CONFIRMED, (how, words, f"the agent in the worker: it {way}"))


def _without_status(evidence: Evidence) -> Verdict:
    if evidence.cgroup_oom:
        return Verdict("oom_kill", POSSIBLE, ("its cgroup's OOM counter rose", "how it ended wasn't seen"))
    if evidence.silent:
        return Verdict("timeout", POSSIBLE, ("how it ended wasn't seen", *_heartbeat(evidence)))
    if evidence.told and "SIGKILL" in evidence.told.signals:
        return _killed_as_told(evidence, evidence.told)._replace(confidence=PROBABLE)
    verdict = _asked_to_end(evidence, "how it ended wasn't seen")
    if verdict.cause in WANTED:
        return verdict._replace(confidence=PROBABLE)
    return Verdict("unknown", POSSIBLE, ("how it ended wasn't seen", *_missing(evidence)))


def _heartbeat(evidence: Evidence) -> tuple[str, ...]:
    if evidence.heartbeat_age is None:
        return ()
    limit = f", timeout {evidence.timeout:g} s" if evidence.timeout else ""
    return (f"last heartbeat {evidence.heartbeat_age:.1f} s before its end{limit}",)


def _got(told: Exit) -> str:
    return "was stopping by itself" if told.order == "stop" else f"got {told.order}"


def _sent(told: Exit) -> str:
    return f", sent {' and '.join(told.signals)}" if told.signals else ""


def _missing(evidence: Evidence) -> tuple[str, ...]:
    missing = []
    if evidence.oom_in_doubt:
        missing.append("its cgroup counted an OOM kill, of it or of another that was killed just then")
    if not evidence.timeout_tells:
        missing.append("no source that would have told of a timeout (gunicorn's log, heartbeat)")
    elif not (evidence.log_tells_all or evidence.told):
        missing.append("gunicorn's log wasn't read at level info")
    if not evidence.oom_tells:
        missing.append("no source that would have told of an OOM kill (the kernel's log, the cgroup)")
    return tuple(missing)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
