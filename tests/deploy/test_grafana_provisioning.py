"""Grafana is told where its data and dashboards are, and lets nobody edit a generated dashboard in place."""

from __future__ import annotations

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PROVISIONING = ROOT / "deploy/grafana/provisioning"
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
MOUNTS = {target: source for source, target, *_ in (v.split(":") for v in SERVICES["grafana"]["volumes"])}


def test_the_datasource_has_a_stable_uid_and_is_the_prometheus_of_the_stack() -> None:
    (datasource,) = yaml.safe_load((PROVISIONING / "datasources/prometheus.yml").read_text())["datasources"]
    assert datasource["uid"] == "floodmark-prometheus"
    assert datasource["url"] == "http://prometheus:9090"
    assert "prometheus" in SERVICES
    assert datasource["isDefault"] is True
    assert datasource["editable"] is False


def test_the_datasource_knows_how_often_prometheus_scrapes() -> None:
    (datasource,) = yaml.safe_load((PROVISIONING / "datasources/prometheus.yml").read_text())["datasources"]
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    assert datasource["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]


def test_dashboards_come_read_only_from_the_generated_json() -> None:
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards/floodmark.yml").read_text())["providers"]
    assert provider["folder"] == "floodmark"
    assert provider["allowUiUpdates"] is False
    assert provider["disableDeletion"] is True
    assert MOUNTS[provider["options"]["path"]] == "./dashboards/json"


def test_unified_alerting_is_left_alone() -> None:
    assert {folder.name for folder in PROVISIONING.iterdir()} == {"datasources", "dashboards"}
    assert not [key for key in SERVICES["grafana"]["environment"] if "ALERTING" in key]
