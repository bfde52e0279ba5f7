"""Grafana's own model of a dashboard: what of ours it would lose or change."""

from __future__ import annotations

import json
import warnings
from typing import Any

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder

with warnings.catch_warnings():
    # The SDK would have us write the model of Grafana 13; classic JSON is what Grafana 10 to 13 all read.
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.models.dashboard import Dashboard


def lost(dashboard: dict[str, Any]) -> list[str]:
    """Return where a dashboard isn't the same any more once the model has read and written it."""
    plugins.register_default_plugins()
    theirs = json.loads(json.dumps(Dashboard.from_json(_without_nulls(dashboard)), cls=JSONEncoder))
    return _lost(dashboard, theirs)


def _without_nulls(value: Any) -> Any:  # noqa: ANN401 - any JSON in, the same out
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value


def _lost(mine: object, theirs: object, path: str = "") -> list[str]:
    """Where ``theirs`` lacks or changes what ``mine`` says; what it adds are Grafana's defaults."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return [
            where
            for key, value in mine.items()
            if value is not None
            for where in _lost(value, theirs.get(key), f"{path}.{key}")
        ]
    if isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        return [where for pair in zip(mine, theirs, strict=True) for where in _lost(*pair, f"{path}[]")]
    return [] if mine == theirs else [f"{path}: {mine!r} became {theirs!r}"]
