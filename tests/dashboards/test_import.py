"""One file serves both ways in: whichever data source the reader has, each query asks that one and no other.

Filled in here as Grafana does it: the variable `datasource` stands for the uid of what was chosen.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.grafana_model import lost

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "dashboards/json").glob("*.json"))
(PROVISIONED,) = yaml.safe_load(
    (ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8")
)["datasources"]
# What every Grafana has beside the data sources one adds: the annotations that are posted to it.
BUILT_IN = {"type": "grafana", "uid": "-- Grafana --"}
VARIABLE = re.compile(r"\$(?:{(\w+)[^}]*}|(\w+))|\[\[(\w+)[^]]*]]")


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def committed(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A committed dashboard."""
    document: dict[str, Any] = json.loads(request.param.read_text(encoding="utf-8"))
    return document


@pytest.fixture(params=["provisioned", "imported"])
def chosen(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The data source: the stack's own, or one that somebody has, whose uid Grafana made up."""
    ours: dict[str, Any] = PROVISIONED
    return ours if request.param == "provisioned" else {"uid": "PBFA97CFB590B2093", "type": "prometheus"}


def filled(value: Any, uid: str) -> Any:  # noqa: ANN401  # any JSON in, the same out
    """Return what Grafana makes of it."""
    match value:
        case dict():
            return {key: filled(inner, uid) for key, inner in value.items()}
        case list():
            return [filled(inner, uid) for inner in value]
        case str():
            return VARIABLE.sub(lambda found: uid if "datasource" in found.groups() else found[0], value)
    return value


def asking(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all that asks a data source: panels and what they query, variables, annotations."""
    panels = [inner for panel in dashboard["panels"] for inner in (panel, *panel.get("panels", ()))]
    panels = [panel for panel in panels if panel["type"] != "row"]
    variables = [each for each in dashboard["templating"]["list"] if each["type"] == "query"]
    targets = [target for panel in panels for target in panel["targets"]]
    return [*panels, *targets, *variables, *dashboard["annotations"]["list"]]


def test_the_variable_offers_the_data_source_that_is_there(
    committed: dict[str, Any], chosen: dict[str, Any]
) -> None:
    (variable,) = [each for each in committed["templating"]["list"] if each["type"] == "datasource"]
    assert variable["name"] == "datasource"
    assert variable["query"] == chosen["type"]
    assert variable["regex"] == ""
    assert not variable.get("current"), "it would open on a data source that others don't have"


def test_everything_asks_exactly_the_chosen_data_source(
    committed: dict[str, Any], chosen: dict[str, Any]
) -> None:
    asks = [each["datasource"] for each in asking(filled(committed, chosen["uid"]))]
    assert len(asks) > 10
    own = [each for each in asks if each != BUILT_IN]
    assert own == [{"type": "prometheus", "uid": chosen["uid"]}] * len(own)
    built_in = [each for each in committed["annotations"]["list"] if each["datasource"] == BUILT_IN]
    assert len(asks) - len(own) == len(built_in), "only annotations are Grafana's own"


def test_nothing_is_left_that_grafana_can_not_fill_in(
    committed: dict[str, Any], chosen: dict[str, Any]
) -> None:
    text = json.dumps(filled(committed, chosen["uid"]))
    named = {next(filter(None, groups)) for groups in VARIABLE.findall(text)}
    known = {each["name"] for each in committed["templating"]["list"]} - {"datasource"}
    assert {name for name in named if not name.startswith("__")} <= known  # __: Grafana's own
    assert "__inputs" not in committed
    assert "__requires" not in committed


def test_grafanas_own_model_reads_it_filled_in(committed: dict[str, Any], chosen: dict[str, Any]) -> None:
    assert lost(filled(committed, chosen["uid"])) == []
