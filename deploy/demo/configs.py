"""The demo's Prometheus and Alertmanager configuration: what is shipped, made quick, on the demo's ports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from deploy.alertmanager import variants

if TYPE_CHECKING:
    from pathlib import Path

# Someone is watching: don't have them wait as long as a night's on-call would.
_EVERY = "5s"
_AGAIN = "2m"  # more deaths by the same cause are the same alert: tell of it again while someone plays
INSTANCE = "demo"  # what messages call this host


def prometheus(shipped: Path, rules: Path, targets: dict[str, str]) -> str:
    """The shipped Prometheus configuration with other addresses and hardly any time between scrapes.

    Args:
        shipped: the prometheus.yml to start from.
        rules: the folder with *.rules.yml.
        targets: host:port by job: floodmark, prometheus, alertmanager. Other jobs are left out.
    """
    config: dict[str, Any] = yaml.safe_load(shipped.read_text(encoding="utf-8"))
    config["global"] |= {"scrape_interval": _EVERY, "scrape_timeout": "4s", "evaluation_interval": _EVERY}
    config["rule_files"] = [str(rules / "*.rules.yml")]
    config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [targets["alertmanager"]]}]}]}
    config["scrape_configs"] = [job for job in config["scrape_configs"] if job["job_name"] in targets]
    for job in config["scrape_configs"]:
        (static,) = job["static_configs"]
        static["targets"] = [targets[job["job_name"]]]
        if job["job_name"] == "floodmark":
            static["labels"] = {"instance": INSTANCE}
    return yaml.safe_dump(config, sort_keys=False)


def alertmanager(shipped: Path, webhook_file: Path, language: str) -> str:
    """The shipped Alertmanager configuration with another webhook, no heartbeat and hardly any delay.

    Args:
        shipped: the alertmanager.yml to start from; its templates stay where they are.
        webhook_file: the file that has the Slack webhook's address.
        language: of the messages: a file of languages/ by its name.
    """
    config = variants.variant(yaml.safe_load(shipped.read_text(encoding="utf-8")), ["slack"])
    everywhere = config.setdefault("global", {})
    everywhere.pop("slack_api_url", None)
    everywhere["slack_api_url_file"] = str(webhook_file)
    # Relative paths are relative to the configuration's own folder, and this one gets a folder elsewhere.
    config["templates"] = [
        str(shipped.parent / template.replace("languages/en.", f"languages/{language}."))
        for template in config.get("templates", [])
    ]
    for receiver in config["receivers"]:
        for slack in receiver.get("slack_configs", []):
            slack.pop("api_url_file", None)
            slack.pop("api_url", None)
    _hurry(config["route"])
    return variants.dump(config)


def _hurry(route: dict[str, Any]) -> None:
    route["group_wait"] = "1s"
    route["group_interval"] = _EVERY
    route["repeat_interval"] = _AGAIN
    for child in route.get("routes", []):
        _hurry(child)
