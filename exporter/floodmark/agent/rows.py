"""What the rows of slabs and ledgers are called, and what their values mean.

    request METHOD STATUS   histogram of durations; the status is "unknown" of those a worker died on
    wait                    histogram of the time before a worker began
    route TEMPLATE          ROUTE_STATUS by class 1xx to 5xx, ROUTE_SECONDS, ROUTE_BLOCKS, ROUTE_MEASURED
    gc GENERATION           COLLECTIONS, COLLECTED, UNCOLLECTABLE
    pause GENERATION        histogram of the collections' durations

A histogram has a count for each bound, one for what is beyond the last, and in SUM the sum of seconds.
"""

from __future__ import annotations

from floodmark.agent.slab import VALUES

# Seconds. From a cached page to gunicorn's usual timeout of 30 s, and the 60 s of the proxies before it.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# Seconds. A young collection takes microseconds; a full one of a large heap holds all threads for a second.
PAUSE_BOUNDS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
SUM = VALUES - 1

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})
UNKNOWN = "unknown"

ROUTE_STATUS, ROUTE_SECONDS = 0, 5
ROUTE_BLOCKS = 6  # blocks that requests left allocated, ROUTE_MEASURED how many requests that was measured of
ROUTE_MEASURED = 7

COLLECTIONS, COLLECTED, UNCOLLECTABLE = 0, 1, 2
GENERATIONS = 3

QUOTAS = {"request": 20, "route": 64}  # rows of a kind; what comes beyond is in its "other"
OTHER = {"request": "request other other", "route": "route other"}
