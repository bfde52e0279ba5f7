"""The rules of the compose file, each held twice: as it is written, and as Docker Compose understands it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from floodmark.config import Address, load

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
FILE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
MIB = 2**20
EXPORTERS = {"floodmark"}
TOGETHER = {
    "prometheus": "prom/prometheus:v3.13.2",
    "alertmanager": "prom/alertmanager:v0.33.1",
    "grafana": "grafana/grafana:13.1.3",
}

Services = dict[str, dict[str, Any]]


@pytest.fixture(params=["written", "resolved"])
def services(request: pytest.FixtureRequest) -> Services:
    document = FILE if request.param == "written" else request.getfixturevalue("resolved")
    found: Services = document["services"]
    return found


def usual(text: str) -> str:
    """A text of the file with the defaults of its variables, as Compose fills them in."""
    return re.sub(r"\$\{\w+:-(\w+)\}", r"\1", text)


def memory(limit: str) -> int:
    """Bytes of a mem_limit: a plain number, or one with the suffix m."""
    return int(limit.removesuffix("m")) * (MIB if limit.endswith("m") else 1)


def host_address(port: str | dict[str, Any]) -> str:
    """Address of the host a port is published on, empty for all of them."""
    if isinstance(port, dict):
        return str(port.get("host_ip", ""))
    return port.rpartition(":")[0].rpartition(":")[0]


def mount(volume: str | dict[str, Any]) -> tuple[str, str, bool]:
    """Source, target, and whether it is read-only, of a volume in short or long form."""
    if isinstance(volume, dict):
        return volume["source"], volume["target"], volume.get("read_only", False)
    source, target, *options = volume.split(":")
    return source, target, "ro" in ",".join(options).split(",")


def test_images_have_exact_versions(services: Services) -> None:
    for name, service in services.items():
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", service["image"]), name


def test_the_versions_are_those_known_to_go_together(services: Services) -> None:
    assert {name: services[name]["image"] for name in TOGETHER} == TOGETHER
    assert set(services) == TOGETHER.keys() | EXPORTERS


def test_the_exporters_image_has_floodmarks_version(services: Services) -> None:
    from floodmark import __version__  # noqa: PLC0415 - only this test wants it

    assert services["floodmark"]["image"] == f"floodmark:{__version__}"


def test_two_copies_can_run_as_no_container_has_a_fixed_name(services: Services) -> None:
    assert not [name for name, service in services.items() if "container_name" in service]


def test_every_root_file_system_is_read_only_beside_a_bounded_tmpfs(services: Services) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert all(re.search(r"[:,]size=\d+m\b", tmpfs) for tmpfs in service["tmpfs"]), name


def test_no_service_keeps_a_capability_or_can_gain_one_but_the_exporter(services: Services) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not service.get("privileged"), name
        assert name == "floodmark" or "cap_add" not in service, name


def test_nothing_runs_as_root_but_the_exporters_first_step(services: Services) -> None:
    users = {name: service["user"].partition(":")[0] for name, service in services.items()}
    assert users == {"floodmark": "0", "prometheus": "65534", "alertmanager": "65534", "grafana": "472"}


def test_the_exporter_leaves_root_with_three_capabilities_and_keeps_nothing_else(services: Services) -> None:
    exporter = services["floodmark"]
    wanted = {"SYS_PTRACE", "DAC_READ_SEARCH", "SYSLOG"}
    capabilities = "-all,+sys_ptrace,+dac_read_search,+syslog"
    assert set(exporter["cap_add"]) == wanted | {"SETUID", "SETGID"}
    assert exporter["entrypoint"] == [
        "setpriv",
        "--reuid=9717",
        "--regid=9717",
        "--clear-groups",
        f"--inh-caps={capabilities}",
        f"--ambient-caps={capabilities}",
        "floodmark",
    ]


def test_all_memory_limits_together_fit_beside_the_app(services: Services) -> None:
    limits = {name: memory(service["mem_limit"]) for name, service in services.items()}
    assert sum(limits.values()) <= 480 * MIB
    assert sum(limits[name] for name in EXPORTERS) <= 64 * MIB


def test_memory_is_limited_in_one_way_only(services: Services) -> None:
    assert not [name for name, service in services.items() if "deploy" in service]


def test_gos_soft_memory_limit_is_below_the_hard_one(services: Services) -> None:
    for name in ("alertmanager", "grafana"):  # Prometheus 3 sets its own from the cgroup
        soft = int(services[name]["environment"]["GOMEMLIMIT"].removesuffix("MiB")) * MIB
        assert 0.7 <= soft / memory(services[name]["mem_limit"]) <= 0.9, name


def test_every_port_is_published_on_loopback_alone(services: Services) -> None:
    for name, service in services.items():
        assert {host_address(port) for port in service["ports"]} == {"127.0.0.1"}, name


def test_logs_are_rotated(services: Services) -> None:
    for name, service in services.items():
        assert service["logging"] == {
            "driver": "json-file",
            "options": {"max-size": "10m", "max-file": "3"},
        }, name


def test_every_service_has_a_healthcheck_that_needs_no_shell(services: Services) -> None:
    for name, service in services.items():
        assert service["healthcheck"]["test"][0] == "CMD", name


def test_each_service_waits_until_what_it_needs_is_healthy(services: Services) -> None:
    waits = {
        name: {needed: how["condition"] for needed, how in service.get("depends_on", {}).items()}
        for name, service in services.items()
    }
    assert waits == {
        "floodmark": {},
        "alertmanager": {},
        "prometheus": {"floodmark": "service_healthy", "alertmanager": "service_healthy"},
        "grafana": {"prometheus": "service_healthy"},
    }


def test_state_lives_in_named_volumes_and_all_else_is_mounted_read_only(services: Services) -> None:
    writable = {
        name: [(source, target) for source, target, read_only in map(mount, volumes) if not read_only]
        for name, service in services.items()
        if (volumes := service.get("volumes"))
    }
    assert writable == {
        "floodmark": [],
        "prometheus": [("prometheus", "/prometheus")],
        "alertmanager": [("alertmanager", "/alertmanager")],
        "grafana": [("grafana", "/var/lib/grafana")],
    }


def test_all_that_is_mounted_from_the_repository_exists(services: Services) -> None:
    for name, service in services.items():
        for source, _, read_only in map(mount, service["volumes"]):
            assert not read_only or (ROOT / usual(source)).exists(), (name, source)


def test_the_exporter_sees_the_hosts_processes_files_and_kernel_log(services: Services) -> None:
    exporter = services["floodmark"]
    assert exporter["pid"] == "host"
    assert [mount(volume) for volume in exporter["volumes"]] == [("/", "/host", True)]
    assert "rslave" in json.dumps(exporter["volumes"])
    kmsg = {"source": "/dev/kmsg", "target": "/dev/kmsg", "permissions": "r"}
    assert exporter["devices"] in (["/dev/kmsg:/dev/kmsg:r"], [kmsg])
    assert "apparmor:unconfined" in exporter["security_opt"]


def test_the_exporter_accepts_its_environment_and_listens_where_it_is_asked(services: Services) -> None:
    environment = services["floodmark"]["environment"]
    settings = load(None, {name: usual(value) for name, value in environment.items()}, {})
    assert (settings.root, settings.listen, settings.statsd_listen) == (
        Path("/host"),
        Address("0.0.0.0", 9717),  # noqa: S104 - inside the container; published on loopback
        Address("0.0.0.0", 8125),  # noqa: S104 - the same
    )


def test_app_containers_reach_the_exporter_and_no_other_service(services: Services) -> None:
    assert [name for name, service in services.items() if "apps" in service.get("networks", ())] == [
        "floodmark"
    ]


def test_prometheus_keeps_a_bounded_time_and_size_and_takes_no_orders(services: Services) -> None:
    flags = dict(flag.partition("=")[::2] for flag in services["prometheus"]["command"])
    assert re.fullmatch(r"\d+d", flags["--storage.tsdb.retention.time"])
    assert re.fullmatch(r"\d+GB", flags["--storage.tsdb.retention.size"])
    assert not {"--web.enable-lifecycle", "--web.enable-admin-api"} & flags.keys()


def test_an_address_with_a_path_moves_no_api_that_others_of_the_stack_ask(services: Services) -> None:
    for name in ("prometheus", "alertmanager"):
        assert "--web.route-prefix=/" in services[name]["command"], name


def test_prometheus_finds_its_targets_alertmanager_and_rules_where_compose_puts_them(
    services: Services,
) -> None:
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    groups = prometheus["scrape_configs"] + prometheus["alerting"]["alertmanagers"]
    targets = {t for group in groups for static in group["static_configs"] for t in static["targets"]}
    assert {"floodmark:9717", "alertmanager:9093"} <= targets
    assert {target.partition(":")[0] for target in targets} <= services.keys() | {"localhost"}
    rules = next(
        target for source, target, _ in map(mount, services["prometheus"]["volumes"]) if "alerts" in source
    )
    assert {str(Path(pattern).parent) for pattern in prometheus["rule_files"]} == {rules}


def alertmanager(resolved: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration Alertmanager would run with; its secrets and templates are where it looks."""
    service = resolved["services"]["alertmanager"]
    inside = Path(service["command"][0].removeprefix("--config.file="))
    mounts = {target: source for source, target, _ in map(mount, service["volumes"])}
    read: dict[str, Any] = yaml.safe_load((Path(mounts[str(inside.parent)]) / inside.name).read_text())
    files = [os.path.normpath(inside.parent / template) for template in read.get("templates", [])]
    assert {file.removesuffix("/*.tmpl") for file in files} <= mounts.keys()
    assert all(Path(mounts[file.removesuffix("/*.tmpl")]).exists() for file in files)
    return read


@pytest.mark.parametrize("slack", [False, True])
@pytest.mark.parametrize("heartbeat", [False, True])
def test_alertmanager_sends_to_those_whose_secret_is_given_and_starts_without(
    slack: bool,  # noqa: FBT001 - what is tried
    heartbeat: bool,  # noqa: FBT001 - same
    config: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    given = {
        name: str(tmp_path / name)
        for name, there in (("SLACK_WEBHOOK_FILE", slack), ("HEARTBEAT_FILE", heartbeat))
        if there
    }
    resolved = json.loads(config(GRAFANA_ADMIN_PASSWORD="chosen", **given).stdout)  # noqa: S106 - made up
    configuration = alertmanager(resolved)
    ways = {key for receiver in configuration["receivers"] for key in receiver} - {"name"}
    assert ways == {*["slack_configs"] * slack, *["webhook_configs"] * heartbeat}
    files = {name: secret["file"] for name, secret in resolved["secrets"].items()}
    assert files == {
        "slack_webhook": given.get("SLACK_WEBHOOK_FILE", os.devnull),
        "heartbeat": given.get("HEARTBEAT_FILE", os.devnull),
    }
    asked = re.findall(r"/run/secrets/(\w+)", json.dumps(configuration))
    assert set(asked) == {*["slack_webhook"] * slack, *["heartbeat"] * heartbeat}


def test_messages_are_in_the_language_asked_for(
    config: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = config(GRAFANA_ADMIN_PASSWORD="chosen", FLOODMARK_LANG="ko")  # noqa: S106 - a made-up one
    volumes = json.loads(done.stdout)["services"]["alertmanager"]["volumes"]
    (language,) = (source for source, target, _ in map(mount, volumes) if target.endswith("language.tmpl"))
    assert language == str(ROOT / "deploy/alertmanager/languages/ko.tmpl")


def test_without_an_admin_password_compose_refuses_and_names_it(
    config: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = config()
    assert done.returncode != 0
    assert "GRAFANA_ADMIN_PASSWORD" in done.stderr


def test_the_unprivileged_override_leaves_the_exporter_neither_root_nor_any_right(
    config: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = config("deploy/docker/unprivileged.yml", GRAFANA_ADMIN_PASSWORD="chosen")  # noqa: S106 - a made-up one
    exporter = json.loads(done.stdout)["services"]["floodmark"]
    assert exporter["user"] == "9717:9717"
    assert exporter["entrypoint"] == ["floodmark"]
    assert exporter["cap_drop"] == ["ALL"]
    assert exporter["security_opt"] == ["no-new-privileges:true"]
    assert not exporter.keys() & {"cap_add", "devices"}


def test_no_password_or_webhook_stands_in_the_file() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert re.findall(r"PASSWORD: *(.*)", text) == [
        "${GRAFANA_ADMIN_PASSWORD:?set it in .env; there is no default}"
    ]
    assert "hooks.slack.com" not in text
