"""How a process ended: process events and pidfd, by captured bytes and by real children."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import pytest

from floodmark.sources import pidfd, procevents
from floodmark.sources.procevents import Exit, Fork, ProcessEvents

CAPTURED = json.loads((Path(__file__).parent.parent / "fixtures/attribution/binary.json").read_text())


@pytest.mark.parametrize("sample", CAPTURED, ids=lambda sample: sample["kind"])
def test_captured_bytes_are_read_as_they_were_meant(sample: dict[str, object]) -> None:
    data = bytes.fromhex(str(sample["hex"]))
    if sample["kind"] == "pidfd_info_after_reap":
        word, number = str(sample["status"]).split()
        expected = int(number) << 8 if word == "exit" else int(number)
        assert pidfd.parse(data) == expected
    else:
        parsed = sample["parsed"]
        assert isinstance(parsed, dict)
        event = (
            Fork(parsed["ppid"], parsed["pid"])
            if parsed["what"] == "fork"
            else Exit(parsed["pid"], parsed["code"])
        )
        assert procevents.parse(data) == event


def test_pidfd_info_of_a_live_process_holds_no_status() -> None:
    assert pidfd.parse(bytes(64)) is None


@pytest.mark.parametrize("length", [0, 20, 52, 60])
def test_a_truncated_datagram_is_no_event(length: int) -> None:
    sample = next(each for each in CAPTURED if each["kind"] == "cn_exit")
    assert procevents.parse(bytes.fromhex(sample["hex"])[:length]) is None


def child(status: int) -> int:
    pid = os.fork()
    if not pid:
        if status < 0:
            os.kill(os.getpid(), -status)
            time.sleep(10)
        os._exit(status)
    return pid


@pytest.mark.live
@pytest.mark.parametrize("status", [0, 7, -signal.SIGKILL, -signal.SIGUSR1])
def test_pidfd_tells_the_wait_status_once_the_process_is_reaped(status: int) -> None:
    if not pidfd.available():
        pytest.skip("this kernel has no PIDFD_GET_INFO with exit information (Linux 6.15)")
    pid = child(status)
    descriptor = pidfd.open_pidfd(pid)
    _, truth = os.waitpid(pid, 0)
    assert pidfd.exit_status(descriptor) == truth
    os.close(descriptor)


@pytest.mark.live
def test_process_events_tell_fork_and_wait_status_of_a_child() -> None:
    try:
        events = ProcessEvents()
    except OSError as error:
        pytest.skip(f"process events can't be had here: {error}")
    with contextlib.closing(events):
        pid = child(-signal.SIGKILL)
        os.waitpid(pid, 0)
        seen: list[object] = []
        deadline = time.monotonic() + 5
        while Exit(pid, 9) not in seen and time.monotonic() < deadline:
            seen += events.read()
        assert Fork(os.getpid(), pid) in seen
        assert Exit(pid, 9) in seen
