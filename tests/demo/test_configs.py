from __future__ import annotations

from pathlib import Path

import yaml

from deploy.demo import configs

SHIPPED = """\
global:
  slack_api_url_file: /etc/alertmanager/slack_webhook
templates: [templates/*.tmpl, languages/en.tmpl]
route:
  receiver: slack
  group_wait: 30s
  routes:
    - matchers: [severity="critical"]
      group_wait: 10s
      repeat_interval: 1h
receivers:
  - name: slack
    slack_configs:
      - channel: "#alerts"
        api_url_file: /run/secrets/slack
        title: '{{ template "floodmark.title" . }}'
inhibit_rules:
  - source_matchers: [alertname="TargetDown"]
"""


def test_alertmanager_is_the_shipped_one_with_another_webhook_and_no_waiting(tmp_path: Path) -> None:
    shipped = tmp_path / "alertmanager.yml"
    shipped.write_text(SHIPPED)
    ours = yaml.safe_load(configs.alertmanager(shipped, Path("/demo/webhook"), "ko"))
    assert ours["global"] == {"slack_api_url_file": "/demo/webhook"}
    assert ours["templates"] == [str(tmp_path / "templates/*.tmpl"), str(tmp_path / "languages/ko.tmpl")]
    assert ours["route"]["group_wait"] == ours["route"]["routes"][0]["group_wait"] == "1s"
    assert ours["route"]["repeat_interval"] == ours["route"]["routes"][0]["repeat_interval"] == "2m"
    assert ours["receivers"][0]["slack_configs"] == [
        {"channel": "#alerts", "title": '{{ template "floodmark.title" . }}'}
    ]
    assert ours["inhibit_rules"] == yaml.safe_load(SHIPPED)["inhibit_rules"]


def test_prometheus_is_the_shipped_one_with_our_addresses_and_a_name_for_the_host(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "deploy/prometheus/prometheus.yml"
    theirs = yaml.safe_load(shipped.read_text())
    targets = {"floodmark": "127.0.0.1:1", "prometheus": "127.0.0.1:2", "alertmanager": "127.0.0.1:3"}
    ours = yaml.safe_load(configs.prometheus(shipped, tmp_path, targets))
    assert [job.pop("static_configs") for job in ours["scrape_configs"]] == [
        [{"targets": ["127.0.0.1:1"], "labels": {"instance": "demo"}}],
        [{"targets": ["127.0.0.1:2"], "labels": {"instance": "prometheus"}}],
        [{"targets": ["127.0.0.1:3"], "labels": {"instance": "alertmanager"}}],
    ]
    jobs = [job for job in theirs["scrape_configs"] if job.pop("static_configs", None)]
    assert ours["scrape_configs"] == jobs
    assert ours["alerting"] == {"alertmanagers": [{"static_configs": [{"targets": ["127.0.0.1:3"]}]}]}
    assert ours["rule_files"] == [f"{tmp_path}/*.rules.yml"]
    assert ours["global"]["scrape_interval"] == "5s"
