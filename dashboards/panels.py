"""Grafana panels with sane defaults, and the classic JSON (schemaVersion 42) they become.

The only import of grafanalib. Version 0.7.1 writes the model of 2017 (schemaVersion 12) with panels of
several ages; what Grafana reads today comes through ``extraJson``, what it no longer reads is dropped by
``_normalise``. https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from __future__ import annotations

import dataclasses
import json
import string
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from grafanalib import core
from grafanalib._gen import DashboardEncoder

from floodmark import catalogue

from . import palette, query

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from floodmark.metric import Metric

    from .palette import Scale

Json = dict[str, Any]
Panel: TypeAlias = core.Panel
Row: TypeAlias = core.RowPanel

SCHEMA_VERSION = 42
# Legends.
APP = "{{app}}@{{instance}}"
HOST = "{{instance}}"
WORKER = f"{{{{worker}}}} {APP}"
COLUMNS = 24
# Numbers beside each other that may be large: more of them overlap on a phone.
_LARGE = 4
TAG = "floodmark"
DEPLOY = "floodmark-deploy"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

# What grafanalib writes and today's Grafana doesn't know, or would obey to our harm: maxDataPoints 100
# and intervalFactor 2 hide spikes. All are at their default wherever they may be dropped.
_DEAD: Mapping[str, frozenset[str]] = {
    "dashboard": frozenset({"__inputs", "gnetId", "hideControls", "rows", "sharedCrosshair", "style"}),
    "panel": frozenset(
        {
            *("cacheTimeout", "color", "columns", "editable", "error", "fontSize", "height"),
            *("hideTimeOverride", "mappings", "maxDataPoints", "minSpan", "span", "transparent"),
        }
    ),
    "options": frozenset({"fieldOptions", "showThresholdLabels", "showThresholdMarkers"}),
    "timepicker": frozenset({"time_options"}),
    "target": frozenset({"hide", "interval", "intervalFactor", "metric", "query", "step", "target"}),
}

_UNNAMED_ZEROS = {
    "matcher": {"id": "byValue", "options": {"reducer": "allIsZero", "op": "gte", "value": 0}},
    "properties": [{"id": "custom.hideFrom", "value": {"legend": True, "tooltip": True, "viz": False}}],
}


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """One PromQL query of a panel.

    Attributes:
        expr: PromQL, made with the functions of query.py.
        legend: what each of its series is called; Grafana fills in {{label}}.
        line: draws it as a dashed line of this colour: a threshold or a limit, not a measurement.
        mark: draws it as points of this colour, which no legend names: moments at which something happened.
        unit: Grafana's name of its unit, where it isn't the panel's.
        scale: its steps of colour, where they aren't the panel's.
    """

    expr: str
    legend: str
    line: str = ""
    mark: str = ""
    unit: str = ""
    scale: Scale = ()


def threshold(name: str, legend: str = "alert threshold") -> Query:
    """The dashed line from which on an alert fires: the series that the alert itself compares with."""
    return Query(query.threshold(name), legend, line=palette.THRESHOLD)


def percentiles(metric: Metric) -> list[Query]:
    """What half, 95 % and 99 % of a histogram's observations stay below: palette.QUANTILES colours them."""
    return [Query(query.quantile(metric, q), f"p{q * 100:.0f}") for q in (0.5, 0.95, 0.99)]


def stat(  # noqa: PLR0913 - what differs between panels is exactly this
    number: int,
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    width: int = 6,
    height: int = 3,
    scale: Scale = palette.PLAIN,
    colours: Mapping[str, str] | None = None,
    spark: bool = False,
    words: Mapping[int, tuple[str, str]] | None = None,
    decimals: int | None = None,
) -> Panel:
    """Big numbers, the newest of each series. ``spark`` draws the recent past behind them.

    ``words`` maps a value to (text, colour), for states. Without ``spark`` the query is instant: what is
    shown is true now, and a series that has ended is not shown.
    """
    mappings = [
        {"type": "value", "options": {str(value): {"text": text, "color": colour, "index": index}}}
        for index, (value, (text, colour)) in enumerate((words or {}).items())
    ]
    return _panel(
        core.Stat,
        number,
        title,
        description,
        [_target(letter, each, instant=not spark) for letter, each in _lettered(queries)],
        size=(width, height),
        defaults={
            "unit": unit,
            "decimals": decimals,
            "color": {"mode": "thresholds"},
            "thresholds": _steps(scale),
            "mappings": mappings,
            "noValue": None,
        },
        overrides=[*_overrides(queries), *_coloured(colours)],
        options={
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "graphMode": "area" if spark else "none",
            "colorMode": "value",
            "justifyMode": "auto",
            "orientation": "auto",
            # Alone, the title says what it is; together, each needs its name.
            "textMode": "auto" if len(queries) == 1 and "{{" not in queries[0].legend else "value_and_name",
            # Grafana fits text to the panel, so that names beside big numbers can't be read.
            "text": {"titleSize": 12, "valueSize": 16}
            if words
            else {"titleSize": 13, "valueSize": 26 if len(queries) <= _LARGE else 19},
            "wideLayout": False,  # the name above its number, not left of it: a phone has no room there
        },
    )


def timeseries(  # noqa: PLR0913 - what differs between panels is exactly this
    number: int,
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    width: int = 8,
    height: int = 7,
    colours: Mapping[str, str] | None = None,
    draw: Literal["line", "bars"] = "line",
    stack: bool = False,
    least: float | None = 0,
    most: float | None = None,
    every: str = "",
    name_zeros: bool = True,
) -> Panel:
    """Lines over time; or bars, for events. Gaps stay gaps: a hole in the data is a finding.

    ``least`` and ``most`` are the ends of the axis (None: as the data has it), ``every`` is the shortest
    step of the query ("1m"). Without ``name_zeros`` the legend leaves out what is 0 all the time.
    """
    bars = draw == "bars"
    return _panel(
        core.TimeSeries,
        number,
        title,
        description,
        [_target(letter, each) for letter, each in _lettered(queries)],
        size=(width, height),
        interval=every or None,
        defaults={
            "unit": unit,
            "min": least,
            "max": most,
            "decimals": 0 if bars else None,  # events are whole
            "color": {"mode": "palette-classic"},
            "thresholds": _steps(palette.PLAIN),
            "custom": {
                "drawStyle": draw,
                "fillOpacity": 80 if bars else 40 if stack else 0,
                "lineWidth": 0 if bars or stack else 2,
                "showPoints": "never",
                "spanNulls": False,
                "stacking": {"group": "A", "mode": "normal" if stack or bars else "none"},
            },
        },
        overrides=[*_coloured(colours), *_overrides(queries), *([] if name_zeros else [_UNNAMED_ZEROS])],
        options={
            "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    )


def bargauge(  # noqa: PLR0913 - what differs between panels is exactly this
    number: int,
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    width: int = 8,
    height: int = 7,
    colours: Mapping[str, str] | None = None,
    scale: Scale = palette.PLAIN,
    most: float | None = None,
) -> Panel:
    """One horizontal bar for each series, now."""
    return _panel(
        core.BarGauge,
        number,
        title,
        description,
        [_target(letter, each, instant=True) for letter, each in _lettered(queries)],
        size=(width, height),
        defaults={
            "unit": unit,
            "min": 0,
            "max": most,
            "color": {"mode": "thresholds"},
            "thresholds": _steps(scale),
        },
        overrides=[*_coloured(colours), *_overrides(queries)],
        options={
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "displayMode": "basic",
            "orientation": "horizontal",
            "showUnfilled": True,
            "text": {"titleSize": 13, "valueSize": 16},
            "valueMode": "color",
        },
    )


class _Heatmap(Panel):  # type: ignore[misc]  # grafanalib is untyped
    """Grafana's heatmap; grafanalib's is that of Grafana before 9, of which no key is left."""

    def to_json_data(self) -> Json:
        plain: Json = self.panel_json({"type": "heatmap"})
        return plain


def heatmap(  # noqa: PLR0913 - what differs between panels is exactly this
    number: int,
    title: str,
    description: str,
    expr: str,
    *,
    unit: str,
    cells: str,
    width: int = 24,
    height: int = 7,
) -> Panel:
    """A histogram over time: at each moment a column of cells, one for each bucket (its le).

    ``unit`` is that of the buckets' bounds, ``cells`` that of what is in them.
    """
    return _panel(
        _Heatmap,
        number,
        title,
        description,
        [_target("A", Query(expr, "{{le}}")) | {"format": "heatmap"}],
        size=(width, height),
        defaults={
            "unit": cells,
            "custom": {"scaleDistribution": {"type": "linear"}},
            "thresholds": _steps(palette.PLAIN),
        },
        overrides=[],
        options={
            "calculate": False,  # they are buckets already
            "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit},
            "rowsFrame": {"layout": "auto"},
            "cellGap": 1,
            "cellValues": {"unit": cells},
            "showValue": "never",
            "filterValues": {"le": 1e-9},  # empty cells stay empty
            # A few slow requests are the news, beside many fast ones: the root lifts them.
            "color": {
                "mode": "scheme",
                "scheme": "Oranges",
                "fill": "dark-orange",
                "scale": "exponential",
                "exponent": 0.5,
                "steps": 64,
                "reverse": False,
            },
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
            "legend": {"show": True},
            "tooltip": {"mode": "single", "yHistogram": True, "showColorScale": False},
        },
    )


def table(  # noqa: PLR0913 - what differs between panels is exactly this
    number: int,
    title: str,
    description: str,
    expr: str,
    *,
    unit: str = "none",
    width: int = 12,
    height: int = 7,
    headings: Mapping[str, str] | None = None,
    history: bool = False,
) -> Panel:
    """One row for each series of ``expr``: its labels, and under the heading of ``Value`` what it is now.

    With ``history`` a row for each moment at which there was one, the newest first, and when that was. Which
    columns there are, the expression says by what it groups by: six at most read on a phone. ``headings`` are
    of columns (labels, Time, Value) that aren't called as they are; an empty one hides its column.
    """
    headings = {"Time": "Time" if history else "", "Value": ""} | dict(headings or {})
    # For a value that nobody knows (NaN), as a row without it would be no row.
    unknown = {"type": "special", "options": {"match": "nan", "result": {"text": "unknown", "index": 0}}}
    return _panel(
        core.Table,
        number,
        title,
        description,
        [_target("A", Query(expr, "__auto"), instant=not history) | {"format": "table"}],
        size=(width, height),
        defaults={
            "unit": unit,
            "custom": {"align": "auto", "cellOptions": {"type": "auto"}, "displayMode": None},
            "mappings": [unknown],
            "thresholds": _steps(palette.PLAIN),
        },
        overrides=[
            {"matcher": {"id": "byName", "options": column}, "properties": _column(column, heading)}
            for column, heading in headings.items()
        ],
        options={"showHeader": True, "cellHeight": "sm"}
        | ({"sortBy": [{"displayName": headings["Time"], "desc": True}]} if history else {}),
    )


def _column(name: str, heading: str) -> list[Json]:
    if not heading:
        return [{"id": "custom.hidden", "value": True}]
    when: list[Json] = [
        {"id": "unit", "value": "dateTimeAsIso"},
        {"id": "custom.width", "value": 170},
    ]
    return [{"id": "displayName", "value": heading}, *(when if name == "Time" else [])]


def row(title: str, *panels: Panel) -> Row:
    """A collapsed row: what to look at once the first screen has said where."""
    return Row(title=title, collapsed=True, panels=list(panels))


def dashboard(  # noqa: PLR0913 - what differs between dashboards is exactly this
    uid: str,
    title: str,
    description: str,
    panels: Sequence[Panel],
    *,
    targets: Sequence[Metric] = (catalogue.BUILD_INFO,),
    apps: Metric = catalogue.UP,
) -> Json:
    """The whole dashboard, as Grafana's classic JSON: for provisioning and for import alike.

    Panels flow from left to right in the order given and wrap at 24 columns. The variables job and instance
    offer what has one of ``targets``, app what ``apps`` has. Every floodmark has its build info, whether it
    sees a gunicorn or not.
    """
    _lay_out(panels)
    model = core.Dashboard(
        uid=uid,
        title=title,
        description=description,
        schemaVersion=SCHEMA_VERSION,
        editable=False,
        tags=[TAG],
        graphTooltip=1,
        timezone="browser",
        refresh="30s",
        time=core.Time("now-1h", "now"),
        timePicker=core.TimePicker(
            # The shortest is 30 s: more often, and the dashboard is load on the host it watches.
            refreshIntervals=["30s", "1m", "5m", "15m", "1h"],
            timeOptions=[],
        ),
        templating=core.Templating(list=_variables(targets, apps)),
        annotations=core.Annotations(list=_annotations()),
        links=[
            {
                "type": "dashboards",
                "tags": [TAG],
                "title": TAG,
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "icon": "external link",
                "tooltip": "The other dashboards, for the same time and the same choice",
                "url": "",
            }
        ],
        panels=list(panels),
    )
    plain: Json = json.loads(json.dumps(model.to_json_data(), cls=DashboardEncoder))
    return _normalise(plain)


def render(plain: Json) -> str:
    """The text of a dashboard's file: keys sorted, so that equal dashboards are equal files."""
    return json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _panel(  # noqa: PLR0913 - the parts every panel has
    kind: type[Panel],
    number: int,
    title: str,
    description: str,
    targets: list[Json],
    *,
    size: tuple[int, int],
    defaults: Json,
    overrides: list[Json],
    options: Json,
    interval: str | None = None,
) -> Panel:
    width, height = size
    return kind(
        id=number,
        title=title,
        description=" ".join(description.split()),
        dataSource=DATASOURCE,
        targets=targets,
        interval=interval,
        gridPos=core.GridPos(h=height, w=width, x=0, y=0),
        extraJson={"fieldConfig": {"defaults": defaults, "overrides": overrides}, "options": options},
    )


def _lettered(queries: Iterable[Query]) -> Iterable[tuple[str, Query]]:
    return zip(string.ascii_uppercase, queries, strict=False)


def _target(letter: str, each: Query, *, instant: bool = False) -> Json:
    plain: Json = core.Target(
        expr=each.expr, legendFormat=each.legend, refId=letter, instant=instant, datasource=DATASOURCE
    ).to_json_data()
    return plain | {"editorMode": "code", "range": not instant}


def _steps(scale: Scale) -> Json:
    return {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in scale]}


def _coloured(colours: Mapping[str, str] | None) -> list[Json]:
    return [
        {
            # A whole word ("in" is not "instance"), but the first digit of a status: 5 is 502.
            "matcher": {"id": "byRegexp", "options": f"/^{name}/" if name.isdigit() else f"/^{name}\\b/"},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
        }
        for name, colour in (colours or {}).items()
    ]


def _overrides(queries: Iterable[Query]) -> list[Json]:
    found = []
    for letter, each in _lettered(queries):
        properties: list[Json] = []
        if each.unit:
            properties.append({"id": "unit", "value": each.unit})
        if each.scale:
            properties.append({"id": "thresholds", "value": _steps(each.scale)})
        if each.line:
            properties += [
                {"id": "color", "value": {"mode": "fixed", "fixedColor": each.line}},
                {"id": "custom.drawStyle", "value": "line"},
                {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}},
                {"id": "custom.lineWidth", "value": 2},
                {"id": "custom.fillOpacity", "value": 0},
                {"id": "custom.stacking", "value": {"group": "A", "mode": "none"}},
            ]
        if each.mark:
            properties += [
                {"id": "color", "value": {"mode": "fixed", "fixedColor": each.mark}},
                {"id": "custom.drawStyle", "value": "points"},
                {"id": "custom.lineWidth", "value": 0},
                {"id": "custom.pointSize", "value": 6},
                {"id": "custom.showPoints", "value": "always"},
                # With a name for each, the legend of many workers would be twice as long.
                {"id": "custom.hideFrom", "value": {"legend": True, "tooltip": False, "viz": False}},
            ]
        if properties:
            found.append({"matcher": {"id": "byFrameRefID", "options": letter}, "properties": properties})
    return found


def _variables(targets: Sequence[Metric], apps: Metric) -> list[Json]:
    """The variables data source, job, instance and app, each narrowing the next."""
    source = {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "regex": "",
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "options": [],
    }
    if len(targets) == 1:
        all_, of_job = targets[0].name, f'{targets[0].name}{{job=~"$job"}}'
    else:
        names = f'__name__=~"{"|".join(metric.name for metric in targets)}"'
        all_, of_job = f"{{{names}}}", f'{{{names},job=~"$job"}}'
    app = "app" if "app" in apps.labels else "application"
    return [
        source,
        _variable("job", f"label_values({all_}, job)"),
        _variable("instance", f"label_values({of_job}, instance)"),
        _variable("app", f'label_values({apps.name}{{job=~"$job",instance=~"$instance"}}, {app})'),
    ]


def _variable(name: str, values: str) -> Json:
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": DATASOURCE,
        "query": values,
        "definition": values,
        "refresh": 2,  # on every change of the time range: what ran then, not what runs now
        "sort": 1,
        "regex": "",
        "hide": 0,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "options": [],
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _annotations() -> list[Json]:
    """Alerts when they begin to fire, deaths and deploys, on every time series of every dashboard.

    While it fires, each would shade the graph: a dozen of them, as in an incident, would hide it.

    A deploy is what gunicorn was told: to load the app anew, or to stop. Where that can't be seen, or says
    too little, a deploy script tells Grafana itself: DEPLOY is the tag it gives.
    """
    began = f"{query.FIRING} unless {query.FIRING} offset $__interval"
    deaths = query.news(catalogue.EXITS, cause=query.UNWANTED)
    stops = query.news(catalogue.EXITS, cause="=~reload|shutdown")
    by_app = f"sum by ({query.BY_APP})"
    return [
        _annotation("Alerts", began, "{{alertname}}", "{{app}} {{instance}} {{device}}", palette.ALERT),
        _annotation(
            "Deaths",
            f"sum by (job, instance, app, cause) ({deaths})",
            "{{cause}}",
            "a worker of {{app}} on {{instance}}",
            palette.DEATH,
        ),
        _annotation(
            "Deploys",
            f"{by_app} ({stops}) or {by_app} ({query.news(catalogue.RELOADS)})",
            "deploy",
            "{{app}} on {{instance}} was reloaded or restarted",
            palette.DEPLOY,
        ),
        {
            "name": "Deploys told by CI",
            # Every Grafana has it built in: nothing to choose at import.
            "datasource": {"type": "grafana", "uid": "-- Grafana --"},
            "enable": True,
            "hide": False,
            "iconColor": palette.DEPLOY,
            "target": {"type": "tags", "tags": [DEPLOY], "matchAny": False, "limit": 100},
        },
    ]


def _annotation(name: str, expr: str, title: str, text: str, colour: str) -> Json:
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": colour,
        "target": {"expr": expr, "interval": "1m", "refId": "Anno"},
        "titleFormat": title,
        "textFormat": text,
        "tagKeys": "",
    }


def _lay_out(panels: Iterable[Panel]) -> None:
    """Give every panel its place: in the order given, each as high up as it fits, then as far left.

    A collapsed row is one line high; its panels lie below it, as they will when it is opened.
    """
    skyline = [0] * COLUMNS
    for panel in panels:
        if isinstance(panel, core.RowPanel):
            panel.gridPos = core.GridPos(h=1, w=COLUMNS, x=0, y=0)
            _lay_out(panel.panels)
        place = panel.gridPos
        place.y, place.x = min(
            (max(skyline[left : left + place.w]), left) for left in range(COLUMNS - place.w + 1)
        )
        skyline[place.x : place.x + place.w] = [place.y + place.h] * place.w
        if isinstance(panel, core.RowPanel):
            for inner in panel.panels:
                inner.gridPos.y += place.y + 1


def _normalise(plain: Json) -> Json:
    """What grafanalib wrote, as today's Grafana would save it."""
    kept = _without("dashboard", plain) | {"id": None}
    kept["panels"] = [_normal_panel(panel) for panel in plain["panels"]]
    kept["timepicker"] = _without("timepicker", plain["timepicker"])
    # No panel may link to a row, so rows need no number of their own choice: they come after all panels.
    for number, panel in enumerate((panel for panel in kept["panels"] if panel["type"] == "row"), 1000):
        panel["id"] = number
    return kept


def _normal_panel(panel: Json) -> Json:
    if panel["type"] == "row":
        return {
            "type": "row",
            "title": panel["title"],
            "collapsed": True,
            "gridPos": panel["gridPos"],
            "panels": [_normal_panel(inner) for inner in panel["panels"]],
        }
    kept = _without("panel", panel)
    kept["options"] = _without("options", panel["options"])
    kept["targets"] = [_without("target", target) for target in panel["targets"]]
    return {key: value for key, value in kept.items() if value != []}


def _without(part: str, plain: Json) -> Json:
    """A part of the model without its dead keys, and without what isn't set at any depth."""
    return {key: value for key, value in _set(plain).items() if key not in _DEAD[part]}


def _set(value: Any) -> Any:  # noqa: ANN401 - any JSON in, the same out
    if isinstance(value, dict):
        # The base step of a scale starts at minus infinity, written null: the one null with a meaning.
        return {key: _set(inner) for key, inner in value.items() if inner is not None or key == "value"}
    if isinstance(value, list):
        return [_set(inner) for inner in value]
    return value
