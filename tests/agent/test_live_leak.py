"""Ten routes in a real gunicorn, one of which leaks: the blocks that its requests leave behind name it."""

from __future__ import annotations

import contextlib
import http.client
import random
from typing import TYPE_CHECKING

import pytest

from floodmark.agent import ledger
from floodmark.agent.rows import ROUTE_BLOCKS, ROUTE_MEASURED
from tests.support.leaky import LEAKED
from tests.support.live import Gunicorn, gunicorn, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.live

TRAFFIC = {
    "/": "/",
    "/report/<int:year>": "/report/2026",
    "/json": "/json",
    "/stream": "/stream",
    "/cycles": "/cycles",
    "/recent/<name>": "/recent/ann",
    "/missing/<name>": "/missing/ann",
    "/upload": "/upload",
    "/shop/item/<int:item>": "/shop/item/7",
    "/shop/list": "/shop/list",
}
MEASURED = 5  # requests of each route


def rounds(app: Gunicorn, count: int) -> None:
    """Send requests to all routes in turn."""
    for _ in range(count):
        for route, path in random.sample(list(TRAFFIC.items()), len(TRAFFIC)):
            connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=20)
            with contextlib.closing(connection):
                connection.request("POST" if route == "/upload" else "GET", path)
                connection.getresponse().read()


def measured(base: Path, app: Gunicorn) -> dict[str, tuple[float, float]]:
    """Return by route the blocks left behind, and by how many requests."""
    (folder,) = base.glob(f"*/{app.name}")
    ((_, slab),) = ledger.slabs(str(folder))
    return {
        name.removeprefix("route "): (values[ROUTE_BLOCKS], values[ROUTE_MEASURED])
        for name, values in slab.rows().items()
        if name.startswith("route /")
    }


@pytest.mark.parametrize(
    # A gthread worker still holds some 40 blocks of the last request when the next one starts.
    ("kind", "noise"),
    [("sync", 5), ("gthread", LEAKED / 2)],
)
def test_of_ten_routes_the_one_that_leaks_is_named(kind: str, noise: float, tmp_path: Path) -> None:
    def with_agent(command: list[str]) -> list[str]:
        return ["env", f"FLOODMARK_AGENT_DIR={tmp_path}", *command]

    flags = ("--logger-class", "floodmark.agent.Logger", "--worker-class", kind)
    target = "tests.support.leaky:app"
    with gunicorn("leaky", tmp_path, *flags, workers=1, enter=with_agent, target=target) as app:
        rounds(app, 5)  # what is made once, at first use
        before = measured(tmp_path, app)
        assert before.keys() == TRAFFIC.keys()

        def growth() -> dict[str, float]:
            rounds(app, 5)
            now = measured(tmp_path, app)
            found = {
                route: (now[route][0] - blocks, now[route][1] - requests)
                for route, (blocks, requests) in before.items()
            }
            enough = all(requests >= MEASURED for _, requests in found.values())
            return {route: blocks / requests for route, (blocks, requests) in found.items()} if enough else {}

        left = until(growth, 120, f"each route is measured {MEASURED} times")
    assert left.pop("/report/<int:year>") == pytest.approx(LEAKED, abs=noise)
    assert all(abs(blocks) < noise for blocks in left.values()), left
