"""Gunicorn's log lines, by samples captured from every version that writes them differently."""

from pathlib import Path

import pytest

from floodmark.sources import gunicornlog
from floodmark.sources.gunicornlog import Booting, Ended, MasterSignal, Recycle, Timeout

SAMPLES = Path(__file__).parent.parent / "fixtures/attribution/log_samples.txt"


@pytest.mark.parametrize(
    ("message", "event"),
    [
        ("WORKER TIMEOUT (pid:561)", Timeout(561)),
        ("Worker (pid:561) was sent SIGKILL! Perhaps out of memory?", Ended(561, 9)),
        ("Worker (pid:561) was sent SIGSEGV!", Ended(561, 11)),
        ("Worker (pid:561) was sent signal 35!", Ended(561, 35)),
        ("Worker (pid:561) was sent code 139!", Ended(561, 11 | 0x80)),
        ("Worker with pid 561 was terminated due to signal 15", Ended(561, 15)),
        ("Worker (pid:561) exited with code 7", Ended(561, 7 << 8)),
        ("Worker (pid:561) exited with code 7.", Ended(561, 7 << 8)),
        ("Autorestarting worker after current request.", Recycle(539)),
        ("Maximum request limit of 20 exceeded. Terminating process.", Recycle(539)),
        ("Handling signal: hup", MasterSignal(539, "hup")),
        ("Booting worker with pid: 561", Booting(561)),
        ("Listening at: http://127.0.0.1:8000 (539)", None),
    ],
)
def test_each_message_tells_its_event(message: str, event: gunicornlog.Event | None) -> None:
    line = f"[2026-11-20 07:27:51 +0000] [539] [INFO] {message}"
    assert gunicornlog.parse(line) == (539, "INFO", event)


def test_every_captured_sample_of_every_version_is_understood() -> None:
    samples = [line for line in SAMPLES.read_text().splitlines() if line.rpartition("] [")[1]]
    not_understood = [line for line in samples if not (parsed := gunicornlog.parse(line)) or not parsed.event]
    assert len(samples) > 30
    assert not_understood == []


def test_a_journal_prefix_is_no_hindrance() -> None:
    line = (
        "Oct 03 09:38:09 host gunicorn[1407880]: "
        "[2025-10-03 09:38:09 +0000] [1407880] [CRITICAL] WORKER TIMEOUT (pid:1412221)"
    )
    assert gunicornlog.parse(line) == (1407880, "CRITICAL", Timeout(1412221))


@pytest.mark.parametrize(
    "line", ["", "\0\xff", "WORKER TIMEOUT (pid:1)", '{"message": "WORKER TIMEOUT (pid:1)"}']
)
def test_a_line_in_another_format_tells_nothing(line: str) -> None:
    assert gunicornlog.parse(line) is None


def test_a_lines_time_is_that_of_its_own_zone() -> None:
    line = "[{}] [539] [CRITICAL] WORKER TIMEOUT (pid:561)"
    for stamp in ("2026-11-20 07:27:51 +0000", "2026-11-20 09:57:51 +0230"):
        assert gunicornlog.when(f"Nov 20 host gunicorn[1]: {line.format(stamp)}") == 1795159671
    assert gunicornlog.when("CRITICAL WORKER TIMEOUT (pid:561)") is None
