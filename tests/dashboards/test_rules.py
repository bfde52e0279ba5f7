"""What every dashboard is held to: Grafana's model, one data source, the variables, honest queries, order."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.models import units

from dashboards import outside
from floodmark import catalogue
from floodmark.gunicorn.verdict import CAUSES
from floodmark.metric import Kind
from tests.support.grafana_model import lost
from tests.support.promql import TARGET_LABELS, grouping_labels, known, selectors

Json = dict[str, Any]

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "dashboards" / "json").glob("*.json"))
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# The one query of another data source, one that every Grafana has built in: what a deploy script told it.
TOLD_BY_CI = {
    "name": "Deploys told by CI",
    "datasource": {"type": "grafana", "uid": "-- Grafana --"},
    "enable": True,
    "hide": False,
    "iconColor": "blue",
    "target": {"type": "tags", "tags": ["floodmark-deploy"], "matchAny": False, "limit": 100},
}
RULES = [
    rule
    for path in sorted((ROOT / "alerts").glob("*.rules.yml"))
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
UNITS = {value for name, value in vars(units).items() if name[0].isupper() and isinstance(value, str)}
# What Prometheus says of an alert: its own three labels, and those of the series it is about.
ALERT_LABELS = {"alertname", "alertstate", "severity", "app", "device", *TARGET_LABELS}
# Of grafanalib and of Grafana before 8: what today's Grafana ignores, or obeys to the reader's harm.
DEAD = {
    *("__inputs", "__requires", "gnetId", "hideControls", "rows", "sharedCrosshair", "style"),
    *("cacheTimeout", "error", "height", "hideTimeOverride", "maxDataPoints", "minSpan", "span"),
    *("fieldOptions", "showThresholdLabels", "intervalFactor", "metric", "step", "time_options"),
}


def _read(path: Path) -> Json:
    plain: Json = json.loads(path.read_text(encoding="utf-8"))
    return plain


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def dashboard(request: pytest.FixtureRequest) -> Json:
    """One committed dashboard; a test that asks for it runs over all of them."""
    return _read(request.param)


@pytest.fixture
def panels(dashboard: Json) -> list[Json]:
    """Every panel of it that shows something, those in collapsed rows too."""
    both = [inner for panel in dashboard["panels"] for inner in (panel, *panel.get("panels", ()))]
    return [panel for panel in both if panel["type"] != "row"]


@pytest.fixture
def expressions(dashboard: Json, panels: list[Json]) -> list[str]:
    """Every PromQL expression of it: panels' and annotations'."""
    annotations = [each["target"]["expr"] for each in _annotations(dashboard)]
    return [target["expr"] for panel in panels for target in panel["targets"]] + annotations


def _annotations(dashboard: Json) -> list[Json]:
    """Those that ask Prometheus: all but the last."""
    annotations: list[Json] = dashboard["annotations"]["list"]
    *asking, told = annotations
    assert told == TOLD_BY_CI
    return asking


def _keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for inner in value.values() for key in _keys(inner)}
    if isinstance(value, list):
        return {key for inner in value for key in _keys(inner)}
    return set()


def _datasources(value: object) -> list[object]:
    if isinstance(value, dict):
        here = [value["datasource"]] if "datasource" in value else []
        return here + [each for inner in value.values() for each in _datasources(inner)]
    if isinstance(value, list):
        return [each for inner in value for each in _datasources(inner)]
    return []


def _labels_of(name: str) -> set[str] | None:
    """Labels that a series name has; None where nobody makes such a series."""
    if name == "ALERTS":
        return ALERT_LABELS
    if name in RECORDED:
        # level:metric:operation, as Prometheus names recorded series: the level says what it is grouped by.
        level = name.partition(":")[0]
        by = {"application"} if level == "jvm" else set(level.split("_"))
        return set() if level == "floodmark" else {*TARGET_LABELS, *by}
    series = known().get(name)
    return None if series is None else set(series)


# 1. One model.


def test_it_is_classic_json_of_one_version_with_nothing_that_grafana_no_longer_reads(dashboard: Json) -> None:
    assert dashboard["schemaVersion"] == 42
    assert not _keys(dashboard) & DEAD
    assert dashboard["id"] is None
    assert dashboard["editable"] is False


def test_it_opens_on_hours_not_days_and_refreshes_no_faster_than_prometheus_learns(dashboard: Json) -> None:
    assert re.fullmatch(r"now-([1-6]h|\d{1,2}m)", dashboard["time"]["from"])
    for refresh in (dashboard["refresh"], *dashboard["timepicker"]["refresh_intervals"]):
        assert refresh == "30s" or refresh[-1] in "mh"
    assert (dashboard["timezone"], dashboard["graphTooltip"]) == ("browser", 1)


def test_its_uid_is_the_name_of_its_file_and_it_carries_the_projects_tag(
    dashboard: Json, request: pytest.FixtureRequest
) -> None:
    assert request.node.callspec.id == dashboard["uid"]
    assert dashboard["tags"] == ["floodmark"]


# 2. One file for provisioning and import.


def test_every_query_asks_the_data_source_that_the_reader_chose(dashboard: Json, panels: list[Json]) -> None:
    assert "${DS_" not in json.dumps(dashboard)
    asked = _datasources(dashboard)
    asked.remove(TOLD_BY_CI["datasource"])
    assert asked == [DATASOURCE] * len(asked)
    asking = [*panels, *(target for panel in panels for target in panel["targets"])]
    asking += _annotations(dashboard)
    asking += [each for each in dashboard["templating"]["list"] if each["type"] == "query"]
    assert all("datasource" in each for each in asking)


# 3. The variables.


def test_the_variables_narrow_from_data_source_to_app(dashboard: Json) -> None:
    source, *narrowing = dashboard["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert [each["name"] for each in narrowing] == ["job", "instance", "app"]
    for position, each in enumerate(narrowing):
        assert each["label"] == each["name"].capitalize()
        assert (each["multi"], each["includeAll"], each["allValue"]) == (True, True, ".+")
        assert (each["refresh"], each["sort"]) == (2, 1)
        for outer in narrowing[:position]:
            assert f'{outer["name"]}=~"${outer["name"]}"' in each["query"]


def test_every_query_is_filtered_by_every_variable_its_series_have_a_label_for(
    expressions: list[str],
) -> None:
    for expr in expressions:
        for found in selectors(expr):
            wanted = (_labels_of(found.name) or set()) & {"job", "instance", "app", "application"}
            assert found.labels >= wanted, expr
        # An alert about a vanished target or a host lacks a label; anything else has them all.
        empty = "|" if "ALERTS{" in expr else ""
        for label, matcher in re.findall(r'\b(job|instance|app)(=~|[!=]=?|!~)"', expr):
            assert matcher == "=~", expr
            assert f'{label}=~"${label}{empty}"' in expr


# 4. Panels that can be read.


def test_every_panel_says_what_it_shows_how_to_read_it_and_what_bad_looks_like(panels: list[Json]) -> None:
    for panel in panels:
        assert panel["title"]
        assert "Bad: " in panel["description"], panel["title"]
        assert panel["targets"], panel["title"]


def test_every_panel_has_a_unit_that_grafana_knows(panels: list[Json]) -> None:
    for panel in panels:
        units_given = {panel["fieldConfig"]["defaults"]["unit"]} | {
            each["value"]
            for override in panel["fieldConfig"]["overrides"]
            for each in override["properties"]
            if each["id"] == "unit"
        }
        assert units_given <= UNITS, panel["title"]


def test_every_panel_is_of_a_kind_that_any_grafana_has(panels: list[Json]) -> None:
    assert {panel["type"] for panel in panels} <= {"stat", "timeseries", "bargauge", "table", "heatmap"}


def test_every_legend_names_its_series_by_labels_they_have(panels: list[Json]) -> None:
    for panel in panels:
        for target in panel["targets"]:
            if panel["type"] == "table":
                continue  # its columns are the labels
            legend = target["legendFormat"]
            assert legend
            assert legend != "__auto"
            known = grouping_labels(target["expr"]) | {
                label for found in selectors(target["expr"]) for label in _labels_of(found.name) or ()
            }
            assert set(re.findall(r"{{(\w+)}}", legend)) <= known, legend


def test_every_base_step_of_a_colour_scale_is_a_real_null(panels: list[Json]) -> None:
    for panel in panels:
        base, *rest = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert base["value"] is None
        assert all(isinstance(step["value"], (int, float)) for step in rest)


def test_a_heatmap_is_of_buckets_by_their_bounds_as_todays_grafana_reads_it(panels: list[Json]) -> None:
    for panel in panels:
        formats = {target.get("format") for target in panel["targets"]}
        assert ("heatmap" in formats) == (panel["type"] == "heatmap"), panel["title"]
        if panel["type"] == "heatmap":
            (target,) = panel["targets"]
            assert re.match(r"sum by \(le\) \(rate\(\w+_bucket{", target["expr"]), panel["title"]
            assert panel["options"]["calculate"] is False
            assert {panel["options"]["yAxis"]["unit"], panel["options"]["cellValues"]["unit"]} <= UNITS


# 5. Queries that don't lie.


def test_every_metric_and_label_is_one_that_the_catalogue_or_the_rules_make(expressions: list[str]) -> None:
    for expr in expressions:
        found = selectors(expr)
        for each in found:
            labels = _labels_of(each.name)
            assert labels is not None, f"nobody makes {each.name}: {expr}"
            assert each.labels <= labels, expr
        all_labels = {label for each in found for label in _labels_of(each.name) or ()}
        assert grouping_labels(expr) <= all_labels, expr


def test_every_rate_spans_what_grafana_computes_from_the_scrape_interval(expressions: list[str]) -> None:
    for expr in expressions:
        rates = re.findall(r"\bi?rate\(\w+{[^}]*}\[([^]]*)\]", expr)
        assert set(rates) <= {"$__rate_interval"}, expr
        assert len(rates) == len(re.findall(r"\bi?rate\(", expr)), expr


def test_no_counter_is_shown_raw(expressions: list[str]) -> None:
    rows = {row.name: row for row in (*catalogue.ALL, *outside.ALL)}
    counters = {name for name, row in rows.items() if row.kind is Kind.COUNTER}
    # Parts of a histogram have no row of their own; pg_stat_activity_count has one: it is a gauge.
    counters |= {name for name in known().keys() - rows if name.endswith(("_bucket", "_sum", "_count"))}
    # What a counter is more than a step before is a count of events, and no counter any more.
    news = r"(\w+{[^}]*}) - last_over_time\(\1\[15m\] offset \$__interval\) > 0"
    for expr in (re.sub(news, "up", each) for each in expressions):
        for name in counters & {found.name for found in selectors(expr)}:
            uses = re.findall(rf"(\w*)\(?\b{name}{{[^}}]*}}(\[?)", expr)
            assert set(uses) <= {("rate", "["), ("increase", "[")}, expr


# 6. Thresholds and what happened.


def test_every_threshold_is_a_recorded_series_drawn_as_a_dashed_line(panels: list[Json]) -> None:
    for panel in panels:
        for target in panel["targets"]:
            names = re.findall(r"floodmark:threshold:\w+", target["expr"])
            assert set(names) <= RECORDED, panel["title"]
            if not names or panel["type"] != "timeseries":
                continue
            (override,) = [
                each
                for each in panel["fieldConfig"]["overrides"]
                if each["matcher"] == {"id": "byFrameRefID", "options": target["refId"]}
            ]
            styles = {each["id"]: each["value"] for each in override["properties"]}
            assert styles["custom.lineStyle"]["fill"] == "dash", panel["title"]


def test_what_is_drawn_apart_is_a_dashed_line_or_points_without_one(panels: list[Json]) -> None:
    for panel in panels:
        for override in panel["fieldConfig"]["overrides"]:
            styles = {each["id"]: each["value"] for each in override["properties"]}
            if override["matcher"]["id"] != "byFrameRefID" or not any(
                id_.startswith("custom.") for id_ in styles
            ):
                continue
            where = f"{panel['title']}: {override['matcher']['options']}"
            assert styles["color"]["mode"] == "fixed", where
            if styles["custom.drawStyle"] == "points":
                assert (styles["custom.lineWidth"], styles["custom.pointSize"]) == (0, 6), where
                assert styles["custom.hideFrom"]["legend"], where
            else:
                assert styles["custom.drawStyle"] == "line", where
                assert styles["custom.lineStyle"]["fill"] == "dash", where


def test_no_line_over_time_is_coloured_by_a_number_typed_here(panels: list[Json]) -> None:
    for panel in panels:
        if panel["type"] == "timeseries":
            assert len(panel["fieldConfig"]["defaults"]["thresholds"]["steps"]) == 1, panel["title"]
            ids = {each["id"] for over in panel["fieldConfig"]["overrides"] for each in over["properties"]}
            assert "thresholds" not in ids, panel["title"]


def test_alerts_deaths_and_deploys_are_marked_on_every_graph(dashboard: Json) -> None:
    marked = [
        {found.name for found in selectors(each["target"]["expr"])}
        for each in _annotations(dashboard)
        if each["enable"]
    ]
    assert marked == [{"ALERTS"}, {catalogue.EXITS.name}, {catalogue.EXITS.name, catalogue.RELOADS.name}]


def test_each_cause_of_death_has_a_colour_of_its_own(panels: list[Json]) -> None:
    for panel in panels:
        if not any("by (cause)" in target["expr"] for target in panel["targets"]):
            continue
        colours = {
            override["matcher"]["options"].strip("/^").removesuffix(r"\b"): each["value"]["fixedColor"]
            for override in panel["fieldConfig"]["overrides"]
            for each in override["properties"]
            if each["id"] == "color"
        }
        if panel["type"] != "stat":  # those are coloured by how many
            assert set(CAUSES) <= set(colours), panel["title"]
        assert len(set(colours.values())) == len(colours), panel["title"]


# 7. Ways from one to another.


def test_links_between_dashboards_keep_the_time_and_the_choice(dashboard: Json) -> None:
    assert dashboard["links"]
    assert all(link["keepTime"] and link["includeVars"] for link in dashboard["links"])


def test_every_alerts_dashboard_url_leads_to_a_dashboard_and_a_panel_that_exist() -> None:
    known = {}
    for path in FILES:
        plain = _read(path)
        known[plain["uid"]] = {
            inner["id"] for panel in plain["panels"] for inner in (panel, *panel.get("panels", ()))
        }
    alerts = [rule for rule in RULES if "alert" in rule]
    assert alerts
    for rule in alerts:
        url = rule["annotations"]["dashboard_url"]
        uid = re.search(r"/d/([\w-]+)", url)
        assert uid, url
        assert uid[1] in known, url
        panel = re.search(r"viewPanel=(?:panel-)?(\d+)", url)
        assert panel is None or int(panel[1]) in known[uid[1]], url


# 8. Order.


def test_the_first_screen_fits_a_laptop_and_the_rest_is_folded_away(dashboard: Json) -> None:
    rows = [panel for panel in dashboard["panels"] if panel["type"] == "row"]
    open_ = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len(dashboard["panels"]) <= 25
    assert all(row["collapsed"] and row["panels"] for row in rows)
    assert all(panel["type"] != "table" for panel in open_)
    if dashboard["uid"] == "floodmark-incident":
        # One time line to read downwards: one moment stands on one vertical line.
        assert {(panel["type"], panel["gridPos"]["w"]) for panel in open_} == {("timeseries", 24)}
        return
    # 13 lines of 38 pixels: what a browser on a 1366 x 768 laptop leaves below Grafana's own bars.
    assert max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in open_) <= 13


def test_no_table_is_too_wide_for_a_phone(panels: list[Json]) -> None:
    for panel in panels:
        if panel["type"] == "table":
            (target,) = panel["targets"]
            outermost = re.match(r"(?:round\()?\w+ by \(([\w, ]+)\)", target["expr"])
            assert outermost, panel["title"]
            columns = {"Time", "Value", *outermost[1].split(", ")}
            for override in panel["fieldConfig"]["overrides"]:
                assert override["matcher"]["options"] in columns, panel["title"]
                if {"id": "custom.hidden", "value": True} in override["properties"]:
                    columns.remove(override["matcher"]["options"])
            assert len(columns) <= 6, panel["title"]


def test_a_table_is_of_now_or_of_moments_that_it_shows_the_newest_first(panels: list[Json]) -> None:
    for panel in panels:
        if panel["type"] == "table":
            (target,) = panel["targets"]
            assert (target["format"], target["instant"]) == ("table", not target["range"]), panel["title"]
            (time,) = [o for o in panel["fieldConfig"]["overrides"] if o["matcher"]["options"] == "Time"]
            given = {each["id"]: each["value"] for each in time["properties"]}
            if target["instant"]:
                assert given == {"custom.hidden": True}, panel["title"]
            else:
                assert given["unit"].startswith("dateTime"), panel["title"]
                newest_first = [{"displayName": given["displayName"], "desc": True}]
                assert panel["options"]["sortBy"] == newest_first, panel["title"]


def test_a_title_fits_its_panel_on_a_laptop_and_on_a_phone(panels: list[Json]) -> None:
    for panel in panels:
        # A column is 54 pixels of 1366, a letter 8.2 on average; margins and the description's mark take 40.
        assert 8.2 * len(panel["title"]) <= min(54 * panel["gridPos"]["w"], 374) - 40, panel["title"]


def test_a_graph_begins_at_zero_but_where_it_compares_with_the_past(panels: list[Json]) -> None:
    for panel in panels:
        if panel["type"] == "timeseries" and panel["fieldConfig"]["defaults"].get("min") != 0:
            assert " offset " in panel["targets"][0]["expr"], panel["title"]


def test_a_legend_is_a_list_below_which_grafana_keeps_to_a_third_of_the_panel(panels: list[Json]) -> None:
    for panel in panels:
        if panel["type"] == "timeseries":
            legend = panel["options"]["legend"]
            assert (legend["displayMode"], legend["placement"]) == ("list", "bottom"), panel["title"]


def test_panels_neither_overlap_nor_share_a_number(dashboard: Json, panels: list[Json]) -> None:
    everything = panels + [panel for panel in dashboard["panels"] if panel["type"] == "row"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    for group in (dashboard["panels"], *(panel.get("panels", []) for panel in dashboard["panels"])):
        cells = [
            (x, y)
            for place in (panel["gridPos"] for panel in group)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        assert len(set(cells)) == len(cells)
        assert all(x < 24 for x, _ in cells)


# 10. Grafana's own model of a dashboard.


def test_grafanas_own_model_knows_every_key_and_keeps_every_value(dashboard: Json) -> None:
    assert lost(dashboard) == []
