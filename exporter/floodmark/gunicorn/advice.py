"""What to do next about a death: a pure function of its cause and its circumstances."""

from __future__ import annotations

from typing import TYPE_CHECKING

from floodmark.gunicorn import stack

if TYPE_CHECKING:
    from collections.abc import Callable

    from floodmark.gunicorn.deaths import Death

MIB = 1 << 20


def advise(death: Death) -> tuple[str, ...]:
    """Return the next steps in words, the most useful first."""
    return tuple(_BY_CAUSE.get(death.cause, _in_doubt)(death))


def _oom_kill(death: Death) -> list[str]:
    around = death.circumstances
    workers = f"workers than {around.workers:g}" if around.workers else "workers"
    if around.oom_limit == "cgroup":
        limit = f" of {_size(around.limit_bytes)}" if around.limit_bytes else ""
        steps = [
            (
                f"The app's own memory limit{limit} was reached, not the host's: run fewer {workers}"
                " (--workers), or raise the limit (systemd MemoryMax=, compose mem_limit). Swap on the host"
                " won't help below such a limit."
            )
        ]
    else:
        host = f"The host's {_size(around.memory_bytes)} were" if around.memory_bytes else "Memory was"
        steps = [f"{host} used up: run fewer {workers} (--workers), or take a host with more memory."]
        if around.swap_bytes == 0:
            steps.append(
                "This host has no swap. Some gives you time to act, no cure: fallocate -l 1G /swapfile &&"
                " chmod 600 /swapfile && mkswap /swapfile && swapon /swapfile"
            )
        elif around.swap_bytes:
            steps.append(
                f"Its {_size(around.swap_bytes)} of swap didn't save it: more swap would only delay."
            )
    if around.max_requests == 0:
        steps.append(
            "No worker is ever recycled. If their memory creeps up over hours or days: --max-requests 1000"
            " --max-requests-jitter 100"
        )
    elif around.max_requests:
        steps.append(
            f"Recycling after {around.max_requests:g} requests came too late for it: lower --max-requests."
        )
    return steps


def _timeout(death: Death) -> list[str]:
    timeout = death.circumstances.timeout
    limit = f" of {timeout:g} s" if timeout else ""
    where = stack.doing(death.stack)
    found = f"It was in {where.function} at {where.file}:{where.line}. See" if where else "Find"
    return [
        (
            f"Not memory: gunicorn gave it up after its timeout{limit}. {found} what the request waited for:"
            " a slow query, the database's disk (a queue above 1 is too long), another service without"
            " a time limit."
        ),
        "Give each such call a time limit below gunicorn's. A longer --timeout only hides it: do that last.",
    ]


def _external_kill(_death: Death) -> list[str]:
    return [
        (
            "Neither the kernel nor gunicorn did this: something on this host sent SIGKILL. Look at deploy"
            " scripts, monit and the like, and: journalctl --since '-1h' | grep -iE 'kill|oomd|stopp'"
        ),
        (
            "To name the sender next time: auditctl -a always,exit -F arch=b64 -S kill -F a1=9 -k floodmark;"
            " then: ausearch -i -k floodmark"
        ),
    ]


def _crash_signal(death: Death) -> list[str]:
    where = stack.doing(death.stack)
    python = (
        f"called by {where.function} at {where.file}:{where.line}; the stack below says by which way."
        if where
        else "mostly a C extension: set PYTHONFAULTHANDLER=1 for gunicorn, and its log has the Python stack"
        " of the next crash."
    )
    return [
        f"Native code crashed, {python} Where systemd keeps core dumps: coredumpctl info",
        (
            "Look at what was installed or upgraded last (pip list): a C library loaded before the fork"
            " (--preload) is a usual cause too."
        ),
    ]


def _boot_error(_death: Death) -> list[str]:
    return [
        (
            "The app can't start: gunicorn's log has the traceback. Type in the app's folder, with its"
            " environment: gunicorn --check-config TARGET"
        ),
        "If it came with a deploy: go back to the one before.",
    ]


def _nonzero_exit(_death: Death) -> list[str]:
    return [
        (
            "Something in the app ended the process with that code: look for sys.exit and os._exit in it and"
            " in what it imports, and at the last lines of gunicorn's log before it."
        )
    ]


def _exit_unrequested(_death: Death) -> list[str]:
    return [
        (
            "Nobody asked it to end: either the app called os._exit(0) or sys.exit(), or someone sent SIGTERM"
            " to the worker itself. Signals belong to the master: kill -TERM MASTER, or systemctl stop."
        ),
    ]


def _shutdown_kill(death: Death) -> list[str]:
    grace = death.circumstances.graceful_timeout
    limit = f" of {grace:g} s" if grace else ""
    return [
        (
            f"It was still serving when the grace{limit} had run out, and that request was cut off. Make"
            " requests shorter, or raise --graceful-timeout."
        ),
        "What stops gunicorn must wait longer than that: systemd TimeoutStopSec=, compose stop_grace_period.",
    ]


def _in_doubt(death: Death) -> list[str]:
    steps = [f"What is missing to tell: {lack}" for lack in death.circumstances.lacks]
    if steps:
        return steps
    if death.recovered:
        return [
            (
                "It ended while floodmark wasn't running, and the logs of that time don't say why: let"
                " floodmark start before the app and stop after it."
            )
        ]
    return ["Look at the last lines of gunicorn's log before it, and keep that log at level info."]


_BY_CAUSE: dict[str, Callable[[Death], list[str]]] = {
    "oom_kill": _oom_kill,
    "timeout": _timeout,
    "external_kill": _external_kill,
    "crash_signal": _crash_signal,
    "boot_error": _boot_error,
    "nonzero_exit": _nonzero_exit,
    "exit_unrequested": _exit_unrequested,
    "shutdown_kill": _shutdown_kill,
}


def _size(value: int) -> str:
    return f"{value / (MIB << 10):.1f} GiB" if value >= MIB << 10 else f"{value / MIB:.0f} MiB"
