"""Requests by status and their durations, from gunicorn's own StatsD packets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from floodmark import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from floodmark.facts import Facts
    from floodmark.metric import Sample


def collect(facts: Facts) -> Iterator[Sample]:
    """Yield requests by app, and how many packets weren't understood."""
    prefixes = {
        app.name: app.masters[0].settings.text("statsd_prefix") or ""
        for app in facts.watch.state()
        if app.masters
    }
    for app, requests in facts.requests.by_app(prefixes).items():
        for status, count in requests.by_status.items():
            yield catalogue.REQUESTS(count, app=app, method="", status=status)
        yield catalogue.REQUEST_DURATION(requests.durations, app=app)
    yield catalogue.STATSD_REJECTED(facts.requests.rejected)
