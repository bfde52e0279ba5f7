"""Requests: of an app with an agent as that counts them, of others from gunicorn's own StatsD packets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from floodmark import catalogue
from floodmark.agent.rows import (
    BOUNDS,
    ROUTE_BLOCKS,
    ROUTE_MEASURED,
    ROUTE_SECONDS,
    ROUTE_STATUS,
    SUM,
)
from floodmark.metric import Distribution

if TYPE_CHECKING:
    from collections.abc import Iterator

    from floodmark.facts import Facts
    from floodmark.gunicorn.agents import AppAgents
    from floodmark.metric import Sample

_BUCKETS = len(BOUNDS) + 1


def collect(facts: Facts) -> Iterator[Sample]:
    """Yield requests by app, and how many packets weren't understood."""
    apps = facts.watch.state()
    prefixes = {app.name: app.masters[0].settings.text("statsd_prefix") or "" for app in apps if app.masters}
    packets = facts.requests.by_app(prefixes)
    # Never both: each would count the same requests.
    agents = {
        app: told
        for app, told in facts.agents.told("requests", apps).items()
        if told.speaks or app not in packets
    }
    for app, told in agents.items():
        yield from _by_agent(app, told)
    for app, requests in packets.items():
        if app not in agents:
            for status, count in requests.by_status.items():
                yield catalogue.REQUESTS(count, app=app, method="", status=status)
            yield catalogue.REQUEST_DURATION(requests.durations, app=app)
    yield catalogue.STATSD_REJECTED(facts.requests.rejected)


def _by_agent(app: str, told: AppAgents) -> Iterator[Sample]:
    every = [0.0] * (SUM + 1)
    for name, values in told.rows.items():
        kind, _, rest = name.partition(" ")
        if kind == "request":
            method, _, status = rest.rpartition(" ")
            if count := sum(values[:_BUCKETS]):
                yield catalogue.REQUESTS(count, app=app, method=method, status=status)
            every = [total + value for total, value in zip(every, values, strict=True)]
        elif kind == "route":
            yield from _route(app, rest, values)
    yield catalogue.REQUEST_DURATION(_distribution(every), app=app)
    yield catalogue.REQUEST_BUSY(told.busy, app=app)
    if (waits := told.rows.get("wait")) and any(waits):
        yield catalogue.REQUEST_QUEUE(_distribution(waits), app=app)
    for worker in told.workers.values():
        yield catalogue.WORKER_REQUESTS(worker.requests, app=app, worker=str(worker.slot))


def _distribution(values: list[float]) -> Distribution:
    return Distribution(BOUNDS, tuple(map(int, values[:_BUCKETS])), values[SUM])


def _route(app: str, route: str, values: list[float]) -> Iterator[Sample]:
    by_class = values[ROUTE_STATUS:ROUTE_SECONDS]
    if not any(by_class):
        return
    for first, count in enumerate(by_class, start=1):
        if count:
            yield catalogue.ROUTE_REQUESTS(count, app=app, route=route, status=f"{first}xx")
    yield catalogue.ROUTE_DURATION(values[ROUTE_SECONDS], app=app, route=route)
    if measured := values[ROUTE_MEASURED]:
        blocks = values[ROUTE_BLOCKS] / measured * sum(by_class)
        yield catalogue.ROUTE_BLOCKS(blocks, app=app, route=route)
