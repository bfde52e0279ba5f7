"""A logger class with the agent and StatsD at once, which gunicorn by its own choice never has."""

from gunicorn.instrument.statsd import Statsd

from floodmark.agent import Mixin


class Logger(Mixin, Statsd):  # type: ignore[misc] # gunicorn has no types
    """Counts each request twice over."""
