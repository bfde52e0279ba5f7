"""Settings that hurt sooner or later: a pure judgement of the gunicorns that run here."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    from floodmark.gunicorn.settings import Settings
    from floodmark.sources.proxyconf import ProxyTimeout

_MIB = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A master and its workers, as they run now.

    Attributes:
        app: its label.
        pid: of the master.
        parent: the master's parent's pid: during an upgrade that is the master it replaces.
        settings: what is known of them.
        private: private memory of each live worker in bytes: anonymous and swapped.
        limit: memory there is for it in bytes: of its cgroups and the host the least.
        control: what tells the file of its control socket from all others; None where it has none, or that
            can't be seen.
    """

    app: str
    pid: int
    parent: int
    settings: Settings
    private: tuple[int, ...]
    limit: int
    control: Hashable | None = None


class Risk(NamedTuple):
    """A risky setting: whose (no app: the host's), what, what it leads to, and what to type or change."""

    apps: tuple[str, ...]
    problem: str
    costs: str
    advice: str


def _no_recycling(running: Sequence[Running]) -> Iterator[Risk]:
    for each in running:
        if each.settings.number("max_requests") == 0:
            yield Risk(
                (each.app,),
                "no max_requests",
                "memory that a worker leaks is never given back: it grows until the kernel kills",
                "--max-requests 1000 --max-requests-jitter 100",
            )


def _no_timeout(running: Sequence[Running]) -> Iterator[Risk]:
    for each in running:
        if each.settings.number("timeout") == 0:
            yield Risk(
                (each.app,),
                "no timeout",
                "a worker that hangs hangs for ever, and with the last of them the site",
                "--timeout 30, or as long as the slowest request may take",
            )


def _recycled_together(running: Sequence[Running]) -> Iterator[Risk]:
    for each in running:
        limit, workers = each.settings.number("max_requests"), each.settings.number("workers")
        if limit and each.settings.number("max_requests_jitter") == 0 and workers != 1:
            yield Risk(
                (each.app,),
                f"max_requests {limit:g} without jitter",
                "workers are recycled all at once, and requests wait meanwhile",
                f"--max-requests-jitter {max(1, round(limit / 10))}",
            )


def _over_budget(running: Sequence[Running]) -> Iterator[Risk]:
    for each in running:
        # Under preload workers share what they were forked with: their sizes may not be added up.
        if not each.private or each.settings.text("preload_app") != "False":
            continue
        largest = max(each.private)
        workers = int(each.settings.number("workers") or 0) or len(each.private)
        if workers * largest > each.limit:
            fitting = each.limit // largest
            yield Risk(
                (each.app,),
                f"{workers} workers as large as the largest need {workers * largest // _MIB} MiB,"
                f" there are {each.limit // _MIB}",
                "memory runs out when all have grown to that size",
                f"--workers {fitting}, or fewer: others need memory too" if fitting else "more memory",
            )


def _one_control_socket(running: Sequence[Running]) -> Iterator[Risk]:
    for sharing in _groups(running, lambda each: each.control):
        # An upgraded gunicorn hands it on; one label for two is a risk of its own.
        if len({each.app for each in sharing}) > 1:
            yield Risk(
                tuple(sorted({each.app for each in sharing})),
                "one control socket for several gunicorns",
                "the one that started last has it: the others can be neither asked nor controlled",
                "give each its own --control-socket PATH, or --no-control-socket",
            )


def _one_name(running: Sequence[Running]) -> Iterator[Risk]:
    pids = {each.pid for each in running}
    first = [each for each in running if each.parent not in pids]  # the others are upgrades of these
    for sharing in _groups(first, lambda each: each.app):
        yield Risk(
            (sharing[0].app,),
            f"one name for {len(sharing)} gunicorns (pids {', '.join(str(each.pid) for each in sharing)})",
            "their workers and exits are added up, and the settings of one are shown for all",
            "give each its own --name",
        )


def _statsd_without_prefix(running: Sequence[Running]) -> Iterator[Risk]:
    # A unix socket of its own says whose the packets are.
    sending = [each for each in running if not _host(each.settings).startswith("unix:")]
    sending = [each for each in sending if _host(each.settings)]
    nameless = [each.app for each in sending if each.settings.text("statsd_prefix") == ""]
    if nameless and len({each.app for each in sending}) > 1:
        yield Risk(
            tuple(sorted(set(nameless))),
            "StatsD without prefix from a host with several gunicorns",
            "packets don't say whose requests they count",
            "give each its own --statsd-prefix NAME",
        )


def _gives_up_before_the_proxy(running: Sequence[Running], proxies: Sequence[ProxyTimeout]) -> Iterator[Risk]:
    for each, proxy in itertools.product(running, proxies):
        timeout = each.settings.number("timeout")
        # Of the other classes no single request can run into it.
        if each.settings.worker_class == "sync" and timeout and timeout < proxy.seconds:
            limit = "no limit" if math.isinf(proxy.seconds) else f"{proxy.seconds:g} s"
            yield Risk(
                (each.app,),
                f"timeout {timeout:g} s is below {proxy.name} ({limit})",
                "a slow request costs its worker, and shows as a 502, before the proxy would give up on it",
                "a time limit on what the app waits for; then the proxy's a little below gunicorn's",
            )


def _host(settings: Settings) -> str:
    return settings.text("statsd_host") or ""


_RULES = (
    _no_recycling,
    _no_timeout,
    _recycled_together,
    _over_budget,
    _one_control_socket,
    _one_name,
    _statsd_without_prefix,
)


def find(running: Sequence[Running], swap: int | None, proxies: Sequence[ProxyTimeout] = ()) -> list[Risk]:
    """Return the risks of these settings; what is unknown is none.

    Args:
        running: every master of the host.
        swap: of the host in bytes, None where unknown.
        proxies: how long the proxies of the host wait for an answer.
    """
    found = [risk for rule in _RULES for risk in rule(running)]
    found += _gives_up_before_the_proxy(running, proxies)
    if swap == 0 and running:
        advice = "fallocate -l 1G /swapfile && chmod 600 /swapfile && mkswap /swapfile && swapon /swapfile"
        costs = (
            "the kernel kills at once when memory is full; swap gives time to see it, though it cures no leak"
        )
        found.append(Risk((), "no swap", costs, advice))
    return _merged(found)


def _merged(risks: Iterable[Risk]) -> list[Risk]:
    """Put those of several apps that differ in nothing else into one."""
    apps: dict[Risk, dict[str, None]] = {}
    for risk in risks:
        apps.setdefault(risk._replace(apps=()), {}).update(dict.fromkeys(risk.apps))
    return [risk._replace(apps=tuple(names)) for risk, names in apps.items()]


def _groups(running: Iterable[Running], key: Callable[[Running], object]) -> Iterator[list[Running]]:
    """Yield those that have a key in common with another."""
    keyed = sorted((each for each in running if key(each) is not None), key=lambda each: repr(key(each)))
    for _, group in itertools.groupby(keyed, key):
        sharing = list(group)
        if len(sharing) > 1:
            yield sharing
