"""What .env says reaches the files of servers that read no environment, or is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.demo import servers

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy/docker/start.sh"
PROMETHEUS = ROOT / "deploy/prometheus/prometheus.yml"
AGENT = ROOT / "deploy/prometheus/agent.yml"
TEMPLATES = ROOT / "deploy/alertmanager/templates"
NOTHING = {
    "FLOODMARK_HOST": "floodmark",
    "GRAFANA_URL": "",
    "REMOTE_WRITE_URL": "https://metrics.example.org/api/v1/write",
    "REMOTE_WRITE_USER": "",
    "REMOTE_WRITE_PASSWORD_FILE": "",
}


def start(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run start.sh as a container would, with this of the environment beside the defaults."""
    return subprocess.run(
        ["sh", SCRIPT, *arguments],
        env={"PATH": os.environ["PATH"]} | NOTHING | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def tool(name: str, *arguments: str | Path) -> str:
    """What promtool or amtool says; a skip where they can't be had, which CI doesn't accept.

    Raises:
        AssertionError: it found something wrong.
    """
    try:
        program = servers.find(name)
    except servers.UnavailableError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["floodmark", "web-1", "10.0.0.7", "0x1f", "true", "null"])
def test_the_hosts_name_becomes_its_instance_whatever_yaml_would_take_it_for(
    name: str, tmp_path: Path
) -> None:
    written = tmp_path / "prometheus.yml"
    done = start("host", PROMETHEUS, written, "echo", "started", FLOODMARK_HOST=name)
    assert (done.stdout, done.stderr) == ("started\n", "")
    jobs = {job["job_name"]: job for job in yaml.safe_load(written.read_text())["scrape_configs"]}
    assert jobs["postgres"]["relabel_configs"] == [{"target_label": "instance", "replacement": name}]
    said = tool("promtool", "check", "service-discovery", "--timeout=1s", written, "floodmark")
    assert [found["labels"]["instance"] for found in json.loads(said)] == [name]


def test_without_a_name_nothing_else_changes_in_prometheus_configuration(tmp_path: Path) -> None:
    start("host", PROMETHEUS, tmp_path / "prometheus.yml", "true")
    assert yaml.safe_load((tmp_path / "prometheus.yml").read_text()) == yaml.safe_load(PROMETHEUS.read_text())


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        *(("FLOODMARK_HOST", bad) for bad in ('a"b', "a b", "a'b", "a/b", "a\nb", "$1", "a&b", "é")),
        *(("GRAFANA_URL", bad) for bad in ('https://a"b', "https://a b", "https://a|b", "grafana:3000", "x")),
        *(("REMOTE_WRITE_URL", bad) for bad in ("", 'https://a"', "https://a b", "metrics.example.org")),
        *(("REMOTE_WRITE_USER", bad) for bad in ('a"b', "a b", "a\nb")),
    ],
)
def test_a_value_that_would_break_the_file_is_refused_by_name_and_nothing_starts(
    variable: str, value: str, tmp_path: Path
) -> None:
    what = {"FLOODMARK_HOST": ("host", PROMETHEUS), "GRAFANA_URL": ("grafana", TEMPLATES)}
    kind, shipped = what.get(variable, ("agent", AGENT))
    target = tmp_path if kind == "grafana" else tmp_path / "written.yml"
    done = start(kind, shipped, target, "echo", "started", **{variable: value})
    assert (done.returncode, done.stdout) == (2, "")
    assert variable in done.stderr


def test_messages_lead_to_grafana_where_it_has_an_address_and_all_templates_come_along(
    tmp_path: Path,
) -> None:
    template = (TEMPLATES / "grafana.tmpl").read_text()
    for given, written in (("", ""), ("https://ops.example.org/g/", "https://ops.example.org/g")):
        done = start("grafana", TEMPLATES, tmp_path, "true", GRAFANA_URL=given)
        assert done.returncode == 0, done.stderr
        assert {path.name for path in tmp_path.iterdir()} == {path.name for path in TEMPLATES.iterdir()}
        # tests/alerts/test_slack.py has a real Alertmanager make a button of that line.
        wanted = template.replace('$grafana := ""', f'$grafana := "{written}"')
        assert (tmp_path / "grafana.tmpl").read_text() == wanted


def test_amtool_accepts_the_templates_it_writes(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "deploy/alertmanager", tmp_path / "etc")
    shutil.copy(tmp_path / "etc/languages/en.tmpl", tmp_path / "etc/language.tmpl")
    start("grafana", TEMPLATES, tmp_path / "etc/templates", "true", GRAFANA_URL="https://g.example.org")
    assert "2 templates" in tool("amtool", "check-config", tmp_path / "etc/variants/alertmanager-slack.yml")


@pytest.mark.parametrize(
    ("user", "secret", "asked"),
    [
        ("", "", {}),
        (
            "1234",
            "./secrets/x",
            {"basic_auth": {"username": "1234", "password_file": "/run/secrets/remote_write_password"}},
        ),
        ("", "./secrets/x", {"authorization": {"credentials_file": "/run/secrets/remote_write_password"}}),
    ],
)
def test_the_agent_sends_with_a_password_a_token_or_neither(
    user: str, secret: str, asked: dict[str, Any], tmp_path: Path
) -> None:
    written = tmp_path / "agent.yml"
    done = start(
        *("agent", AGENT, written, "true"),
        REMOTE_WRITE_USER=user,
        REMOTE_WRITE_PASSWORD_FILE=secret,
        FLOODMARK_HOST="web-1",
    )
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load(written.read_text())
    assert config["remote_write"] == [{"url": NOTHING["REMOTE_WRITE_URL"]} | asked]
    assert config["scrape_configs"][0]["static_configs"][0]["labels"] == {"instance": "web-1"}
    tool("promtool", "check", "config", "--agent", "--syntax-only", written)


def test_the_agent_scrapes_floodmark_as_prometheus_does() -> None:
    agent, prometheus = (yaml.safe_load(path.read_text()) for path in (AGENT, PROMETHEUS))
    assert agent["scrape_configs"] == prometheus["scrape_configs"][:1]
    assert agent["global"].items() <= prometheus["global"].items()


def test_the_databases_address_comes_out_of_its_file_unchanged(tmp_path: Path) -> None:
    address = "postgresql://floodmark:a%22b'c$d\"e f@db:5432/postgres?sslmode=disable"
    (tmp_path / "secret").write_text(address + "\n")
    done = start("dsn", tmp_path / "secret", "sh", "-c", 'printf %s "$DATA_SOURCE_NAME"')
    assert done.stdout == address


@pytest.mark.parametrize(
    ("service", "missing"),
    [
        ("prometheus", None),
        ("alertmanager", None),
        ("agent", "REMOTE_WRITE_URL"),
        ("postgres-exporter", "POSTGRES_DSN_FILE"),
    ],
)
def test_with_what_compose_gives_it_each_starts_or_says_what_it_needs(
    service: str, missing: str | None, resolved: dict[str, Any], tmp_path: Path
) -> None:
    given = resolved["services"][service]
    inside = {volume["target"]: volume["source"] for volume in given["volumes"]}
    inside |= {f"/run/secrets/{s['source']}": os.devnull for s in given.get("secrets", ())}
    for mount in given["tmpfs"]:
        target = mount.partition(":")[0]
        (tmp_path / target[1:]).mkdir(parents=True)
        inside[target] = str(tmp_path / target[1:])
    shell, script, what, *paths, _ = given["entrypoint"]

    def outside(path: str) -> str:
        """Where a path of the container lies on this host: the path itself is mounted, or its folder."""
        folder, _, name = path.rpartition("/")
        return inside.get(path) or f"{inside[folder]}/{name}"

    done = subprocess.run(
        [shell, inside[script], what, *map(outside, paths), "echo", "started"],
        env={"PATH": os.environ["PATH"]} | given["environment"],
        capture_output=True,
        text=True,
        check=False,
    )
    if missing is None:
        assert (done.returncode, done.stdout) == (0, "started\n"), done.stderr
        configuration = next(flag for flag in given["command"] if flag.startswith("--config.file="))
        assert configuration.partition("=")[2] in paths or service == "alertmanager"
    else:
        assert done.returncode == 2
        assert missing in done.stderr
