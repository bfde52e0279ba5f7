"""Routes as a real gunicorn's worker counts them, told by the adapters from inside real apps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from floodmark.agent import ledger
from tests.support.live import gunicorn, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.live

PATHS = ["/shop/cat", "/shop/dog", "/shop/gone/cat", "/shop/fail/cat", "/nowhere", "/shop/cat"]
# Answers of class 1xx to 5xx.
WSGI = {
    "route /shop/<item>": [0, 3, 0, 0, 0],
    "route /shop/gone/<item>": [0, 0, 0, 1, 0],
    "route /shop/fail/<item>": [0, 0, 0, 0, 1],
}
ASGI = {
    "route /shop/{item}": [0, 3, 0, 0, 0],
    "route /shop/gone/{item}": [0, 0, 0, 1, 0],
    "route /shop/fail/{item}": [0, 0, 0, 0, 1],
}


@pytest.mark.parametrize(
    ("kind", "app", "expected"),
    [("sync", "wsgi", WSGI), ("gthread", "wsgi", WSGI), ("gevent", "wsgi", WSGI), ("asgi", "asgi", ASGI)],
)
def test_each_answer_is_counted_under_its_routes_template_and_never_its_path(
    kind: str, app: str, expected: dict[str, list[float]], tmp_path: Path
) -> None:
    def with_agent(command: list[str]) -> list[str]:
        return ["env", f"FLOODMARK_AGENT_DIR={tmp_path}", *command]

    flags = ("--logger-class", "floodmark.agent.Logger", "--worker-class", kind)
    target = f"tests.support.routed:{app}"
    with gunicorn("routed", tmp_path, *flags, workers=1, enter=with_agent, target=target) as running:
        for path in PATHS:
            running.get(path)
        (folder,) = tmp_path.glob(f"*/{running.name}")

        def counted() -> dict[str, list[float]]:
            ((_, slab),) = ledger.slabs(str(folder))
            rows = {name: row[:5] for name, row in slab.rows().items() if name.startswith("route ")}
            return {name: row for name, row in rows.items() if any(row)}

        # A request is counted just after its client has the answer.
        until(lambda: sum(map(sum, counted().values())) >= 5, 5, "all are counted")
        assert counted() == expected
