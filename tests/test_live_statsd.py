"""Requests of real gunicorns, by their own StatsD packets over UDP and over a unix socket."""

from pathlib import Path

import pytest

from floodmark.sources.statsd import listen_udp
from tests.support.live import Floodmark, Gunicorn, floodmark, free_port, gunicorn, until

pytestmark = pytest.mark.live


def served(watcher: Floodmark, app: str) -> dict[str, float]:
    return {status: count for (status,), count in watcher.values("gunicorn_requests_total", app=app).items()}


def visit(app: Gunicorn, times: int) -> None:
    for _ in range(times):
        app.get("/")


def test_requests_come_by_prefix_over_udp_and_by_socket_with_status_and_duration(tmp_path: Path) -> None:
    port, path = free_port(), tmp_path / "blog.sock"
    config = tmp_path / "floodmark.yml"
    config.write_text(f"apps: {{blog: {{statsd_socket: {path}}}}}")
    # floodmark first: gunicorn looks for a unix socket only once, and loses the packet after a refused one.
    with (
        floodmark(tmp_path, "--config", str(config), "--statsd-listen", f"127.0.0.1:{port}") as watcher,
        gunicorn(
            "shop", tmp_path, "--statsd-host", f"127.0.0.1:{port}", "--statsd-prefix", f"any-{port}.name"
        ) as shop,
        gunicorn("other", tmp_path, "--statsd-host", f"unix://{path}") as blog,
    ):
        found = {line.get("app") for line in watcher.lines()}
        until(
            lambda: watcher.values("gunicorn_up", app=shop.name), 10, f"the shop is found, not only {found}"
        )
        visit(shop, 5)
        visit(blog, 3)
        shop.get("/nowhere")  # the app has no such page: it raises, and gunicorn answers 500
        until(lambda: served(watcher, shop.name) == {"200": 5, "500": 1}, 10, "six of the shop's")
        assert served(watcher, "blog") == {"200": 3}
        assert watcher.values("gunicorn_request_duration_seconds_count", app=shop.name) == {(): 6}
        assert watcher.values("floodmark_statsd_rejected_total") == {(): 0}


def test_a_busy_statsd_port_is_said_with_what_to_do_and_all_else_goes_on(tmp_path: Path) -> None:
    with listen_udp("127.0.0.1", 0) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with floodmark(tmp_path, "--statsd-listen", address) as watcher:
            (line,) = (line for line in watcher.lines() if line.get("source") == "statsd")
            assert line["msg"] == f"can't listen for StatsD on {address}: Address already in use"
            assert "--statsd-listen" in line["grant"]
            assert watcher.values("floodmark_source_available", source="statsd") == {(): 0}
            assert watcher.values("node_load1")
