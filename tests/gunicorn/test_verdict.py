"""The judgement: a table of evidence and what may be claimed from it, no more and no less."""

import pytest

from floodmark.agent.ledger import Exit
from floodmark.gunicorn.verdict import CAUSES, Evidence, judge
from floodmark.sources.kmsg import OomKill

KILL, TERM, ABRT, SEGV, ALRM = 9, 15, 6, 11, 14
OOM = OomKill(3231, "cgroup", 200 << 20)


def exit_code(code: int) -> int:
    return code << 8


def seen(**facts: object) -> Evidence:
    """Return evidence where all sources are healthy."""
    healthy = {
        "log_tells_kills": True,
        "log_tells_all": True,
        "oom_tells": True,
        "heartbeat_age": 0.5,
        "timeout": 30.0,
    }
    return Evidence(**(healthy | facts))  # type: ignore[arg-type] # a table of facts of many types


def blind(**facts: object) -> Evidence:
    """Return evidence where nothing but these facts is known."""
    return Evidence(**facts)  # type: ignore[arg-type] # as above


def told(status: int, *signals: str, order: str | None = None, **facts: object) -> dict[str, object]:
    """Return what is known where nothing but the agent tells of timeouts, signals and recycles."""
    ended = Exit(12, 99134, 1e9, status, signals=signals, order=order)._replace(**facts)  # type: ignore[arg-type] # as above
    return {"status": status, "told": ended}


TABLE = [
    # kernel: it names the victim, whatever else is there
    (seen(status=KILL, oom_kill=OOM), "oom_kill", "confirmed"),
    (seen(status=KILL, oom_kill=OOM, heartbeat_age=40.0), "oom_kill", "confirmed"),
    (seen(status=KILL, oom_kill=OOM, master_signal="term"), "oom_kill", "confirmed"),
    (blind(oom_kill=OOM), "oom_kill", "confirmed"),
    # timeouts: the exit code is 0, 1, SIGABRT or SIGKILL; the log line decides before any of them
    (seen(status=exit_code(0), timeout_logged=True), "timeout", "confirmed"),
    (seen(status=exit_code(1), timeout_logged=True), "timeout", "confirmed"),
    (seen(status=KILL, timeout_logged=True), "timeout", "confirmed"),
    (seen(status=ABRT, timeout_logged=True), "timeout", "confirmed"),
    (blind(status=KILL, heartbeat_age=31.0, timeout=30.0), "timeout", "probable"),
    (blind(status=ABRT, heartbeat_age=31.0, timeout=30.0), "timeout", "probable"),
    (blind(status=exit_code(0), heartbeat_age=30.2, timeout=30.0), "timeout", "probable"),
    (blind(heartbeat_age=30.2, timeout=30.0), "timeout", "possible"),
    (blind(status=KILL, heartbeat_age=99.0, timeout=0.0), "sigkill_unknown", "possible"),  # 0: no timeout
    # what its master told of it stands for the line in a log that can't be read
    (blind(status=KILL, aborted=True), "timeout", "confirmed"),
    (blind(status=exit_code(0), aborted=True), "timeout", "confirmed"),
    # the cgroup's counter names nobody
    (blind(status=KILL, cgroup_oom=True), "oom_kill", "probable"),
    (blind(cgroup_oom=True), "oom_kill", "possible"),
    # SIGKILL without a sign of either: external only where both would have been seen
    (seen(status=KILL), "external_kill", "confirmed"),
    (seen(status=KILL, log_tells_kills=False), "external_kill", "probable"),
    (seen(status=KILL, oom_tells=False), "sigkill_unknown", "possible"),
    (seen(status=KILL, oom_in_doubt=True), "sigkill_unknown", "possible"),
    (seen(status=KILL, log_tells_kills=False, heartbeat_age=None), "sigkill_unknown", "possible"),
    (seen(status=KILL, log_tells_kills=False, timeout=None), "sigkill_unknown", "possible"),
    (blind(status=KILL), "sigkill_unknown", "possible"),
    # shutdown: an overrun looks like a timeout by its heartbeat
    (seen(status=KILL, master_signal="term", heartbeat_age=33.0), "shutdown_kill", "confirmed"),
    (seen(status=KILL, master_signal="int"), "shutdown_kill", "confirmed"),
    (seen(status=KILL, master_signal="hup"), "external_kill", "confirmed"),
    (seen(status=KILL, master_gone=True), "external_kill", "confirmed"),  # the log has no order to stop
    (seen(status=KILL, master_gone=True, log_tells_all=False), "shutdown_kill", "probable"),
    (blind(status=KILL, master_gone=True, heartbeat_age=31.0, timeout=30.0), "shutdown_kill", "probable"),
    (blind(status=KILL, master_gone=True, cgroup_oom=True), "oom_kill", "probable"),
    # crashes
    (seen(status=SEGV), "crash_signal", "confirmed"),
    (seen(status=SEGV | 0x80), "crash_signal", "confirmed"),  # with a core dump
    (seen(status=ABRT), "crash_signal", "confirmed"),
    (blind(status=SEGV), "crash_signal", "confirmed"),
    (blind(status=ABRT), "crash_signal", "probable"),  # uvicorn's worker at its timeout ends so too
    (seen(status=ALRM), "unknown", "possible"),
    # exit codes
    (seen(status=exit_code(3)), "boot_error", "confirmed"),
    (seen(status=exit_code(4)), "boot_error", "confirmed"),
    (seen(status=exit_code(7)), "nonzero_exit", "confirmed"),
    (blind(status=exit_code(7)), "nonzero_exit", "confirmed"),
    (seen(status=exit_code(1)), "nonzero_exit", "confirmed"),
    (blind(status=exit_code(1)), "nonzero_exit", "probable"),  # an older gunicorn's timeout ends so too
    (seen(status=exit_code(1), heartbeat_age=31.0, master_signal="term"), "nonzero_exit", "confirmed"),
    # ends that were asked for, by exit code or by SIGTERM
    (seen(status=exit_code(0), recycle_logged=True), "max_requests", "confirmed"),
    (seen(status=exit_code(0), recycle_logged=True, master_signal="hup"), "max_requests", "confirmed"),
    (seen(status=exit_code(0), master_signal="hup"), "reload", "confirmed"),
    (seen(status=TERM, master_signal="hup"), "reload", "confirmed"),
    (seen(status=exit_code(0), master_signal="ttou"), "scale_down", "confirmed"),
    (seen(status=exit_code(0), master_signal="term"), "shutdown", "confirmed"),
    (seen(status=exit_code(0), master_signal="quit"), "shutdown", "confirmed"),
    # it ended its last long request when asked to stop: silent, but no timeout
    (seen(status=exit_code(0), master_signal="term", heartbeat_age=31.0), "shutdown", "confirmed"),
    (blind(status=exit_code(0), master_gone=True), "shutdown", "probable"),
    (blind(status=exit_code(0), master_gone=True, heartbeat_age=31.0, timeout=30.0), "shutdown", "probable"),
    (seen(status=exit_code(0)), "exit_unrequested", "confirmed"),
    (seen(status=TERM), "exit_unrequested", "confirmed"),
    (seen(status=exit_code(0), log_tells_all=False), "unknown", "possible"),
    (blind(status=exit_code(0)), "unknown", "possible"),
    # the agent: what the master did, in place of its log and its control socket
    (blind(**told(exit_code(0), "SIGABRT", aborted=True)), "timeout", "confirmed"),
    (blind(**told(KILL, "SIGABRT", "SIGKILL", aborted=True)), "timeout", "confirmed"),
    (blind(**told(KILL, "SIGABRT", "SIGKILL", aborted=True), oom_kill=OOM), "oom_kill", "confirmed"),
    (blind(**told(exit_code(0), recycled=True, left=True)), "max_requests", "confirmed"),
    (blind(**told(exit_code(0), "SIGTERM", order="hup", left=True)), "reload", "confirmed"),
    (blind(**told(TERM, "SIGTERM", order="hup")), "reload", "confirmed"),
    (blind(**told(exit_code(0), "SIGTERM", order="ttou")), "scale_down", "confirmed"),
    (blind(**told(exit_code(0), "SIGTERM", order="term")), "shutdown", "confirmed"),
    (blind(**told(exit_code(0), "SIGQUIT", order="int")), "shutdown", "confirmed"),
    (blind(**told(exit_code(0), "SIGTERM", order="stop")), "shutdown", "confirmed"),  # of its own accord
    (blind(**told(exit_code(0), "SIGTERM", order="winch")), "shutdown", "confirmed"),
    (blind(**told(exit_code(0), "SIGTERM")), "unknown", "possible"),  # why it sent that, isn't known
    # a worker that is reloaded and doesn't end is sent SIGKILL only by a master that stops
    (blind(**told(KILL, "SIGTERM", "SIGKILL", order="hup")), "shutdown_kill", "confirmed"),
    (blind(**told(KILL, "SIGTERM", "SIGKILL", order="term"), cgroup_oom=True), "shutdown_kill", "confirmed"),
    # of the kernel's kills the master knows nothing: that takes a source that does
    (blind(**told(KILL)), "sigkill_unknown", "possible"),
    (blind(**told(KILL), oom_tells=True), "external_kill", "confirmed"),
    (blind(**told(KILL), oom_tells=True, oom_in_doubt=True), "sigkill_unknown", "possible"),
    (blind(**told(KILL), cgroup_oom=True), "oom_kill", "probable"),
    (blind(**told(KILL, "SIGTERM", order="term"), oom_tells=True), "external_kill", "confirmed"),
    # a silence that the master hadn't noticed yet is no timeout
    (blind(**told(KILL), oom_tells=True, heartbeat_age=31.0, timeout=30.0), "external_kill", "confirmed"),
    (
        blind(**told(exit_code(0), left=True), heartbeat_age=31.0, timeout=30.0),
        "exit_unrequested",
        "confirmed",
    ),
    (blind(**told(ABRT)), "crash_signal", "confirmed"),
    (blind(**told(exit_code(1))), "nonzero_exit", "confirmed"),
    (blind(**told(exit_code(3))), "boot_error", "confirmed"),
    (blind(**told(exit_code(3), booted=True)), "nonzero_exit", "confirmed"),  # os._exit(3) of a request
    (blind(**told(exit_code(0), left=True)), "exit_unrequested", "confirmed"),
    (blind(**told(exit_code(0))), "exit_unrequested", "confirmed"),
    # Ctrl-C and systemd tell the workers beside their master, which may hear it later than they end
    (blind(**told(exit_code(0), order="int", left=True)), "shutdown", "probable"),
    (blind(**told(exit_code(0), left=True), master_signal="term"), "shutdown", "confirmed"),
    # nothing told how it ended
    (seen(recycle_logged=True), "max_requests", "probable"),
    (seen(master_signal="hup"), "reload", "probable"),
    (seen(), "unknown", "possible"),
    (blind(), "unknown", "possible"),
]


@pytest.mark.parametrize(("evidence", "cause", "confidence"), TABLE)
def test_evidence_gives_this_cause_with_this_confidence(
    evidence: Evidence, cause: str, confidence: str
) -> None:
    verdict = judge(evidence)
    assert (verdict.cause, verdict.confidence) == (cause, confidence)
    assert cause in CAUSES


def test_every_verdict_gives_its_evidence_in_words() -> None:
    assert all(judge(evidence).evidence for evidence, _, _ in TABLE)


def test_every_cause_is_reached_by_the_table() -> None:
    assert {cause for _, cause, _ in TABLE} == set(CAUSES)


def test_a_log_that_was_not_read_is_no_evidence() -> None:
    words = "; ".join(judge(seen(status=KILL, log_tells_kills=False)).evidence)
    assert "gunicorn" not in words


def test_what_the_agent_tells_is_named_as_its_own_word() -> None:
    timeout = judge(blind(**told(KILL, "SIGABRT", "SIGKILL", aborted=True)))
    assert timeout.evidence == (
        "the agent in the master: gave it up for its silence, sent SIGABRT and SIGKILL",
    )
    halted = judge(blind(**told(exit_code(0), "SIGTERM", order="stop")))
    assert halted.evidence[1] == "the agent in the master: was stopping by itself, sent SIGTERM"
    left, cut = (judge(blind(**told(exit_code(0), left=left))).evidence[-1] for left in (True, False))
    assert (left, cut) == (
        "the agent in the worker: it took gunicorn's own way out",
        "the agent in the worker: it took no way out of gunicorn's (os._exit?)",
    )


def test_what_the_agent_cannot_tell_is_still_named_as_missing() -> None:
    words = "; ".join(judge(blind(**told(KILL))).evidence)
    assert "sent it no SIGKILL" in words
    assert "no source that would have told of an OOM kill" in words
    assert "no source that would have told of a timeout" not in words


def test_what_is_missing_for_certainty_is_named() -> None:
    words = "; ".join(judge(blind(status=KILL)).evidence)
    assert "gunicorn's log" in words
    assert "kernel's log" in words
