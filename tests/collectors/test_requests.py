"""The requests collector: an app's agent, or its StatsD packets, and never both."""

from types import SimpleNamespace
from typing import Any, cast

from floodmark.agent.rows import BOUNDS, ROUTE_BLOCKS, ROUTE_MEASURED, ROUTE_SECONDS, SUM
from floodmark.agent.slab import VALUES
from floodmark.collectors import requests
from floodmark.gunicorn.agents import AppAgents, Told
from floodmark.metric import Distribution
from floodmark.requests import Requests
from floodmark.sources.procfs.process import Identity

WORKER = Told(2, 7, 1, None, None, None, None, ())


def row(**values: float) -> list[float]:
    """A row by ``v0``, ``v1``, ... and what is left 0."""
    return [values.get(f"v{number}", 0.0) for number in range(VALUES)]


def samples(agents: dict[str, AppAgents], *packets: bytes) -> dict[tuple[str, ...], float | Distribution]:
    told = Requests()
    for packet in packets:
        told.take("shop", packet)
    facts = SimpleNamespace(
        watch=SimpleNamespace(state=list), requests=told, agents=SimpleNamespace(told=lambda *_: agents)
    )
    found = requests.collect(cast("Any", facts))
    return {(sample.metric.name, *sample.labels): sample.value for sample in found}


def agents(*, speaks: bool = True, **rows: list[float]) -> dict[str, AppAgents]:
    named = {name.replace("_", " ", 2).replace("__", " /"): values for name, values in rows.items()}
    return {"shop": AppAgents(named, 4.5, {Identity(1, 1): WORKER}, speaks)}


OK = b"gunicorn.request.status.200:1|c|@1.0"


def test_an_app_with_an_agent_has_its_packets_left_out() -> None:
    found = samples(agents(request_GET_200=row(v0=3)), OK)
    counts = {key[1:]: value for key, value in found.items() if key[0] == "gunicorn_requests_total"}
    assert counts == {("shop", "GET", "200"): 3}


def test_a_ledger_of_an_agent_that_is_no_more_yields_to_packets() -> None:
    found = samples(agents(speaks=False, request_GET_200=row(v0=3)), OK)
    counts = {key[1:]: value for key, value in found.items() if key[0] == "gunicorn_requests_total"}
    assert counts == {("shop", "", "200"): 1}


def test_durations_are_those_of_all_methods_and_statuses_with_what_a_worker_died_on() -> None:
    rows = {f"v{SUM}": 0.5, "v0": 2, "v13": 1}
    found = samples(agents(request_GET_200=row(**rows), request_POST_unknown=row(v11=1, v15=30)))
    expected = Distribution(BOUNDS, (2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1), 30.5)
    assert found["gunicorn_request_duration_seconds", "shop"] == expected
    assert found["gunicorn_requests_total", "shop", "POST", "unknown"] == 1
    assert found["gunicorn_request_busy_seconds_total", "shop"] == 4.5
    assert found["gunicorn_worker_requests_total", "shop", "2"] == 7


def test_waiting_is_told_once_a_proxy_sent_a_time() -> None:
    assert ("gunicorn_request_queue_seconds", "shop") not in samples(agents(wait=row()))
    found = samples(agents(wait=row(v1=1, v15=0.007)))
    assert found["gunicorn_request_queue_seconds", "shop"] == Distribution(
        BOUNDS, (0, 1, *(0 for _ in range(12))), 0.007
    )


def test_a_routes_blocks_are_those_measured_times_all_its_requests() -> None:
    values = row(v1=8, v4=2)
    values[ROUTE_SECONDS], values[ROUTE_BLOCKS], values[ROUTE_MEASURED] = 3.5, 60, 2
    found = samples({"shop": AppAgents({"route /leak": values, "route other": row()}, 0, {}, speaks=True)})
    routes = {key: value for key, value in found.items() if key[0].startswith("gunicorn_route")}
    assert routes == {
        ("gunicorn_route_requests_total", "shop", "/leak", "2xx"): 8,
        ("gunicorn_route_requests_total", "shop", "/leak", "5xx"): 2,
        ("gunicorn_route_duration_seconds_total", "shop", "/leak"): 3.5,
        ("gunicorn_route_allocated_blocks", "shop", "/leak"): 300,
    }


def test_of_a_route_that_was_never_measured_no_blocks_are_told() -> None:
    found = samples({"shop": AppAgents({"route /new": row(v1=1)}, 0, {}, speaks=True)})
    assert ("gunicorn_route_requests_total", "shop", "/new", "2xx") in found
    assert ("gunicorn_route_allocated_blocks", "shop", "/new") not in found
