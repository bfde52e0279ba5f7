"""The rules of the compose file, each held twice: as it is written, and as Docker Compose understands it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from floodmark.config import Address, load

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
FILE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
MIB = 2**20
OURS = {"floodmark", "demo", "demo-visitors"}
TOGETHER = {
    "prometheus": "prom/prometheus:v3.13.2",
    "agent": "prom/prometheus:v3.13.2",
    "alertmanager": "prom/alertmanager:v0.33.1",
    "grafana": "grafana/grafana:13.1.3",
    "postgres-exporter": "quay.io/prometheuscommunity/postgres-exporter:v0.20.1",
}
PASSWORD = {"GRAFANA_ADMIN_PASSWORD": "chosen"}
APP = "tests/deploy/app-project/compose.yml", "tests/deploy/app-project/compose.override.yml"

Services = dict[str, dict[str, Any]]


@pytest.fixture(params=["written", "resolved"])
def services(request: pytest.FixtureRequest) -> Services:
    document = FILE if request.param == "written" else request.getfixturevalue("resolved")
    found: Services = document["services"]
    return found


def usual(text: str) -> str:
    """A text of the file with the defaults of its variables, as Compose fills them in."""
    return re.sub(r"\$\{\w+:-([\w.]+)\}", r"\1", text)


def memory(limit: str) -> int:
    """Bytes of a mem_limit: a plain number, or one with the suffix m."""
    return int(limit.removesuffix("m")) * (MIB if limit.endswith("m") else 1)


def host_address(port: str | dict[str, Any]) -> str:
    """Address of the host a port is published on, empty for all of them."""
    if isinstance(port, dict):
        return str(port.get("host_ip", ""))
    return usual(port).rpartition(":")[0].rpartition(":")[0]


def mount(volume: str | dict[str, Any]) -> tuple[str, str, bool]:
    """Source, target, and whether it is read-only, of a volume in short or long form."""
    if isinstance(volume, dict):
        return volume["source"], volume["target"], volume.get("read_only", False)
    source, target, *options = volume.split(":")
    return source, target, "ro" in ",".join(options).split(",")


def total(services: Services, *names: str) -> int:
    """Bytes that these services may take together."""
    return sum(memory(services[name]["mem_limit"]) for name in names)


def of_profile(services: Services, profile: str | None) -> set[str]:
    """Names of the services of a profile; None for those that start without one."""
    return {
        name
        for name, service in services.items()
        if (profile in service["profiles"] if "profiles" in service else profile is None)
    }


def test_images_have_exact_versions(services: Services) -> None:
    for name, service in services.items():
        assert re.fullmatch(r"[a-z./-]+:v?\d+\.\d+\.\d+", service["image"]), name


def test_the_versions_are_those_known_to_go_together(services: Services) -> None:
    assert {name: services[name]["image"] for name in TOGETHER} == TOGETHER
    assert set(services) == TOGETHER.keys() | OURS


def test_our_images_have_floodmarks_version(services: Services) -> None:
    from floodmark import __version__  # noqa: PLC0415 - only this test wants it

    images = {services[name]["image"] for name in OURS}
    assert images == {f"floodmark:{__version__}", f"floodmark-demo:{__version__}"}


def test_each_profile_adds_what_its_name_says(services: Services) -> None:
    assert of_profile(services, None) == {"floodmark", "prometheus", "alertmanager", "grafana"}
    assert of_profile(services, "agent") == {"agent"}
    assert of_profile(services, "postgres") == {"postgres-exporter"}
    assert of_profile(services, "demo") == {"demo", "demo-visitors"}


def test_the_agent_named_alone_starts_with_the_exporter_and_nothing_else(
    config: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    for name in ("floodmark", "agent"):
        done = config(services=(name,), **PASSWORD)
        assert set(json.loads(done.stdout)["services"]) == {"floodmark", name}


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
    assert users.pop("floodmark") == "0"
    assert users.pop("grafana") == "472"  # what its image's files belong to
    assert set(users.values()) == {"65534"}


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
    assert total(services, *of_profile(services, None)) <= 480 * MIB
    assert total(services, "floodmark") <= 64 * MIB
    assert total(services, "floodmark", "agent") <= 128 * MIB


def test_the_readme_states_what_each_set_of_services_may_take(services: Services) -> None:
    readme = (ROOT / "deploy/README.md").read_text()
    for names in (
        of_profile(services, None),
        {"floodmark"},
        {"floodmark", "agent"},
        {"postgres-exporter"},
        {"demo", "demo-visitors"},
    ):
        assert f"{total(services, *names) // MIB} MiB |" in readme, names


def test_a_leak_in_the_demo_ends_in_the_oom_killer_and_not_in_swap(services: Services) -> None:
    assert services["demo"]["memswap_limit"] == services["demo"]["mem_limit"]


def test_memory_is_limited_in_one_way_only(services: Services) -> None:
    assert not [name for name, service in services.items() if "deploy" in service]


def test_gos_soft_memory_limit_is_below_the_hard_one(services: Services) -> None:
    # Prometheus 3 sets its own, from the cgroup.
    for name in TOGETHER.keys() - {"prometheus", "agent"}:
        soft = int(services[name]["environment"]["GOMEMLIMIT"].removesuffix("MiB")) * MIB
        assert 0.7 <= soft / memory(services[name]["mem_limit"]) <= 0.9, name


def test_every_port_is_published_on_loopback_alone(services: Services) -> None:
    for name, service in services.items():
        assert {host_address(port) for port in service.get("ports", ())} <= {"127.0.0.1"}, name
        assert service.get("network_mode") != "host", name


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
        "agent": {"floodmark": "service_healthy"},
        "postgres-exporter": {},
        "demo": {"floodmark": "service_healthy"},
        "demo-visitors": {"demo": "service_healthy"},
    }


def test_state_lives_in_named_volumes_and_all_else_is_mounted_read_only(services: Services) -> None:
    writable = {
        name: [(source, target) for source, target, read_only in map(mount, volumes) if not read_only]
        for name, service in services.items()
        if (volumes := service.get("volumes"))
    }
    assert writable == {
        "floodmark": [("floodmark", "/var/lib/floodmark")],
        "agent": [("agent", "/prometheus")],
        "postgres-exporter": [],
        "prometheus": [("prometheus", "/prometheus")],
        "alertmanager": [("alertmanager", "/alertmanager")],
        "grafana": [("grafana", "/var/lib/grafana")],
    }


def test_all_that_is_mounted_from_the_repository_exists(services: Services) -> None:
    for name, service in services.items():
        for source, _, read_only in map(mount, service.get("volumes", ())):
            assert not read_only or (ROOT / usual(source)).exists(), (name, source)


def test_the_exporter_sees_the_hosts_processes_files_and_kernel_log(services: Services) -> None:
    exporter = services["floodmark"]
    assert exporter["pid"] == "host"
    assert next(mount(volume) for volume in exporter["volumes"]) == ("/", "/host", True)
    assert "rslave" in json.dumps(exporter["volumes"])
    kmsg = {"source": "/dev/kmsg", "target": "/dev/kmsg", "permissions": "r"}
    assert exporter["devices"] in (["/dev/kmsg:/dev/kmsg:r"], [kmsg])
    assert "apparmor:unconfined" in exporter["security_opt"]


def test_the_exporter_accepts_its_environment_and_listens_where_it_is_asked(services: Services) -> None:
    environment = services["floodmark"]["environment"]
    settings = load(None, {name: usual(value) for name, value in environment.items()}, {})
    assert (settings.root, settings.state_dir, settings.listen, settings.statsd_listen) == (
        Path("/host"),
        Path("/var/lib/floodmark"),
        Address("0.0.0.0", 9717),  # noqa: S104 - inside the container; published on loopback
        Address("0.0.0.0", 8125),  # noqa: S104 - the same
    )


def test_app_containers_reach_the_exporter_and_no_other_service(services: Services) -> None:
    networks = {name: set(service.get("networks", ())) for name, service in services.items()}
    assert {name for name, joined in networks.items() if "apps" in joined} == {"floodmark", "demo"}
    # In an app's project `default` is the app's own: of ours it has who asks the database there.
    assert {name for name, joined in networks.items() if "default" in joined} == {"postgres-exporter"}
    assert "stack" not in networks["demo"]
    assert [name for name, joined in networks.items() if not joined] == ["demo-visitors"]
    assert services["demo-visitors"]["network_mode"] == "service:demo"


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
    targets = {
        t for group in groups for static in group.get("static_configs", ()) for t in static["targets"]
    } | {
        f"{name}:{asked['port']}"
        for group in groups
        for asked in group.get("dns_sd_configs", ())
        for name in asked["names"]
    }
    assert {"floodmark:9717", "alertmanager:9093", "postgres-exporter:9187"} <= targets
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
    *_, filled_from, filled_to, _ = service["entrypoint"]
    mounts[filled_to] = mounts[filled_from]
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
    resolved = json.loads(config(**PASSWORD, **given).stdout)
    configuration = alertmanager(resolved)
    ways = {key for receiver in configuration["receivers"] for key in receiver} - {"name"}
    assert ways == {*["slack_configs"] * slack, *["webhook_configs"] * heartbeat}
    files = {name: secret["file"] for name, secret in resolved["secrets"].items()}
    assert files == {
        "remote_write_password": os.devnull,
        "postgres_dsn": os.devnull,
        "slack_webhook": given.get("SLACK_WEBHOOK_FILE", os.devnull),
        "heartbeat": given.get("HEARTBEAT_FILE", os.devnull),
    }
    asked = re.findall(r"/run/secrets/(\w+)", json.dumps(configuration))
    assert set(asked) == {*["slack_webhook"] * slack, *["heartbeat"] * heartbeat}


def test_messages_are_in_the_language_asked_for(
    config: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = config(**PASSWORD, FLOODMARK_LANG="ko")
    volumes = json.loads(done.stdout)["services"]["alertmanager"]["volumes"]
    (language,) = (source for source, target, _ in map(mount, volumes) if target.endswith("language.tmpl"))
    assert language == str(ROOT / "deploy/alertmanager/languages/ko.tmpl")


def test_without_an_admin_password_compose_refuses_and_what_it_says_to_type_mends_that(
    config: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = config()
    assert done.returncode != 0
    assert "GRAFANA_ADMIN_PASSWORD" in done.stderr
    told = done.stderr.strip().partition("Type: ")[2]
    subprocess.run(told, shell=True, cwd=tmp_path, check=True)  # noqa: S602 - as a person would
    name, _, password = (tmp_path / ".env").read_text().strip().partition("=")
    assert len(password) >= 16
    grafana = json.loads(config(**{name: password}).stdout)["services"]["grafana"]
    assert grafana["environment"]["GF_SECURITY_ADMIN_PASSWORD"] == password


def test_grafanas_address_is_the_one_that_messages_lead_to(
    config: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    address = "https://grafana.example.org"
    services = json.loads(config(**PASSWORD, GRAFANA_URL=address).stdout)["services"]
    assert services["grafana"]["environment"]["GF_SERVER_ROOT_URL"] == address
    assert services["alertmanager"]["environment"]["GRAFANA_URL"] == address


def test_included_in_an_apps_project_nothing_of_floodmark_changes_but_its_network(
    config: Callable[..., subprocess.CompletedProcess[str]], resolved: dict[str, Any]
) -> None:
    done = config(APP[1], file=APP[0], **PASSWORD)
    assert done.returncode == 0, done.stderr
    together = json.loads(done.stdout)
    assert together["name"] == "app-project"
    theirs = {name: together["services"].pop(name) for name in ("web", "api")}
    assert together["services"] == resolved["services"]
    assert theirs["web"]["networks"].keys() == {"default"}
    assert theirs["api"]["networks"].keys() == {"default", "apps"}


def test_the_app_of_that_project_is_watched_by_what_the_second_file_adds_alone(
    config: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    alone = json.loads(config(file=APP[0]).stdout)["services"]
    watched = json.loads(config(APP[1], file=APP[0], **PASSWORD).stdout)["services"]
    assert "floodmark" not in (ROOT / APP[0]).read_text().partition("\n")[2]
    for name, service in alone.items():
        kept = service.keys() - {"environment", "networks"}
        assert {key: watched[name][key] for key in kept} == {key: service[key] for key in kept}
        assert service.get("environment", {}).items() <= watched[name]["environment"].items()
    agent = next(m for m in map(mount, watched["web"]["volumes"]) if m[1].startswith("/opt/floodmark"))
    assert Path(agent[0], "__init__.py").exists()
    assert f"{watched['web']['environment']['PYTHONPATH']}/floodmark/agent" == agent[1]


def test_the_unprivileged_override_leaves_the_exporter_neither_root_nor_any_right(
    config: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = config("deploy/docker/unprivileged.yml", **PASSWORD)
    exporter = json.loads(done.stdout)["services"]["floodmark"]
    assert exporter["user"] == "9717:9717"
    assert exporter["entrypoint"] == ["floodmark"]
    assert exporter["cap_drop"] == ["ALL"]
    assert exporter["security_opt"] == ["no-new-privileges:true"]
    assert not exporter.keys() & {"cap_add", "devices"}


def test_no_password_or_webhook_stands_in_the_file() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert re.findall(r"PASSWORD: *(.*)", text) == [
        (
            "'${GRAFANA_ADMIN_PASSWORD:?there is no default password for Grafana."
            ' Type: echo "GRAFANA_ADMIN_PASSWORD=$$(openssl rand -hex 12)" >> .env}\''
        )
    ]
    assert "hooks.slack.com" not in text
