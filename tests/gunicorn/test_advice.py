"""What to do next, by cause and circumstances."""

import dataclasses

import pytest

from floodmark.gunicorn.advice import advise
from floodmark.gunicorn.deaths import Circumstances, Death
from floodmark.gunicorn.verdict import CAUSES, WANTED

GIB = 1 << 30


NOTHING_KNOWN = Circumstances()


def death(cause: str, around: Circumstances = NOTHING_KNOWN, *, recovered: bool = False) -> Death:
    return Death(
        time=1.0,
        app="shop",
        pid=1,
        slot=0,
        age=1.0,
        cause=cause,
        confidence="confirmed",
        evidence=(),
        recovered=recovered,
        circumstances=around,
    )


CGROUP = Circumstances(oom_limit="cgroup", limit_bytes=180 << 20, swap_bytes=0, workers=4, max_requests=500)
NO_SWAP = Circumstances(oom_limit="host", memory_bytes=GIB, swap_bytes=0, workers=8, max_requests=0)
SWAP = Circumstances(oom_limit="host", memory_bytes=GIB, swap_bytes=2 * GIB)
GRANT = "kernel log can't be read: Permission denied. To mend it: CAP_SYSLOG"


@pytest.mark.parametrize(
    ("died", "says", "never"),
    [
        (
            death("oom_kill", CGROUP),
            ("limit of 180 MiB", "fewer workers than 4", "MemoryMax=", "after 500 requests"),
            ("swapon", "host's 1.0 GiB"),
        ),
        (
            death("oom_kill", NO_SWAP),
            ("1.0 GiB were used up", "fewer workers than 8", "no swap", "swapon", "--max-requests 1000"),
            ("MemoryMax=", "mem_limit"),
        ),
        (death("oom_kill", SWAP), ("2.0 GiB of swap didn't save it",), ("swapon", "--max-requests")),
        (death("oom_kill"), ("Memory was used up", "fewer workers"), ("None", "swap")),
        (death("timeout", Circumstances(timeout=30)), ("Not memory", "30 s", "disk"), ("swap", "kill -9")),
        (death("timeout"), ("after its timeout. ",), ("None",)),
        (death("external_kill"), ("Neither the kernel nor gunicorn", "auditctl", "journalctl"), ("swap",)),
        (death("crash_signal"), ("PYTHONFAULTHANDLER=1", "coredumpctl"), ()),
        (death("boot_error"), ("gunicorn --check-config", "traceback"), ("swap",)),
        (death("nonzero_exit"), ("sys.exit",), ()),
        (death("exit_unrequested"), ("os._exit(0)", "SIGTERM"), ()),
        (
            death("shutdown_kill", Circumstances(graceful_timeout=30)),
            ("grace of 30 s", "--graceful-timeout", "stop_grace_period"),
            (),
        ),
        (death("sigkill_unknown", Circumstances(lacks=(GRANT,))), (GRANT,), ("last lines",)),
        (death("unknown", Circumstances(lacks=(GRANT,))), (GRANT,), ()),
        (death("unknown"), ("gunicorn's log", "level info"), ("None",)),
        (death("unknown", recovered=True), ("floodmark wasn't running",), ()),
        (death("a cause of a later version"), ("gunicorn's log",), ()),
    ],
)
def test_the_advice_is_for_this_cause_and_this_host(
    died: Death, says: tuple[str, ...], never: tuple[str, ...]
) -> None:
    text = " ".join(advise(died))
    assert [words for words in says if words not in text] == []
    assert [words for words in never if words in text] == []


@pytest.mark.parametrize("cause", sorted({*CAUSES} - WANTED - {"unknown", "sigkill_unknown"}))
def test_every_unwanted_cause_has_an_advice_of_its_own(cause: str) -> None:
    assert advise(death(cause)) != advise(death("unknown"))


def test_a_stack_says_where_to_look_in_the_apps_own_code() -> None:
    stack = 'Current thread 0x1 (most recent call first):\n  File "/srv/shop/views.py", line 31 in report\n'
    for cause in ("timeout", "crash_signal"):
        words = " ".join(advise(dataclasses.replace(death(cause), stack=stack)))
        assert "report at /srv/shop/views.py:31" in words
        assert "PYTHONFAULTHANDLER" not in words
