"""The compose project on a real Docker engine, with an app beside it that knows nothing of floodmark."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest

from deploy.demo import servers
from tests.docker import engine, play
from tests.docker.play import ALL_RIGHTS, APP, GRAFANA_URL, HOST, NO_PID_HOST, THEIR_APP, UNPRIVILEGED, Story
from tests.support.live import ROOT, until

pytestmark = pytest.mark.live

TRUTH = {
    "kill -9": "external_kill",
    "OOM kill": "oom_kill",
    "timeout": "timeout",
    "timeout on the host": "timeout",
}


def missing(why: str) -> NoReturn:
    """Skip; where the machine is there for these tests, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="module")
def story() -> Story:
    try:
        return play.played()
    except engine.NoEngineError as error:
        pytest.skip(f"NO DOCKER ENGINE CAN BE STARTED HERE, the compose project is not tried: {error}")
    except (servers.UnavailableError, subprocess.CalledProcessError) as error:
        missing(f"what a Docker engine and its images need can't be fetched: {error}")


def test_grafanas_own_container_starts() -> None:
    pytest.skip("GRAFANA'S CONTAINER IS NOT TRIED: its image can be had from a registry alone")


def test_up_waits_until_every_service_is_healthy_and_each_is_again_after_a_restart(story: Story) -> None:
    services = {"floodmark", "prometheus", "alertmanager", "postgres-exporter", "demo", "demo-visitors"}
    assert story.health == dict.fromkeys(services, "healthy")


def test_nothing_listens_beyond_loopback(story: Story) -> None:
    ports = {address for address in story.listening if not address.startswith(engine.ADDRESS)}
    assert {"127.0.0.1:9090", "127.0.0.1:9093", "127.0.0.1:9717", "127.0.0.1:8125"} <= ports
    assert {address.rpartition(":")[0] for address in ports} == {"127.0.0.1"}


def test_prometheus_reaches_every_target(story: Story) -> None:
    jobs = ("floodmark", "prometheus", "alertmanager", "postgres")
    assert story.targets == dict.fromkeys(jobs, "1")


def test_from_its_container_floodmark_judges_deaths_in_another_container_and_on_the_host(
    story: Story,
) -> None:
    seen = story.seen[0]
    verdicts = {death: seen.deaths[pid] for death, pid in story.victims.items()}
    assert verdicts == {death: (cause, "confirmed") for death, cause in TRUTH.items()}
    assert seen.of(APP) == {"external_kill": 1, "oom_kill": 1, "timeout": 1}
    assert seen.of(story.hosted) == {"timeout": 1}
    assert (seen.workers[APP], seen.workers[story.hosted]) == (4, 2)


def test_one_message_for_each_app_tells_the_right_causes_and_leads_to_this_hosts_dashboard(
    story: Story,
) -> None:
    boxed, hosted = sorted(story.messages, key=lambda message: APP not in message["title"])
    assert boxed["title"] == f"[FIRING:3] critical · WorkerOomKilled · {APP}@{HOST}"
    for said in ("for memory", "not from the kernel or gunicorn", "for silence (NOT memory)"):
        assert said in boxed["text"]
    assert hosted["title"] == f"[FIRING:1] warning · WorkerTimeout · {story.hosted}@{HOST}"
    for message in (boxed, hosted):
        (dashboard,) = (action for action in message["actions"] if action["text"] == "Dashboard")
        assert dashboard["url"].startswith(f"{GRAFANA_URL}/d/floodmark-workers")


def test_counts_and_records_of_deaths_outlive_floodmarks_restart_and_its_container(story: Story) -> None:
    before, restarted, anew = story.seen
    assert before.deaths.items() <= restarted.deaths.items()
    assert before.deaths.items() <= anew.deaths.items()
    for app in (APP, story.hosted):
        assert before.of(app) == restarted.of(app) == anew.of(app)


def test_prometheus_keeps_its_samples_and_alertmanager_its_silences_over_a_restart(story: Story) -> None:
    assert story.oldest[0] == story.oldest[1]
    assert len(story.silences[0]) == 1
    assert story.silences[0] == story.silences[1]


def test_restarts_tell_nobody_twice(story: Story) -> None:
    assert story.late == []


def test_no_service_needed_more_memory_than_its_limit(story: Story) -> None:
    assert story.memory.keys() == story.restarts.keys()
    assert not any(story.restarts.values())
    assert all(most < limit for most, limit in story.memory.values())


def test_each_right_opens_the_sources_that_the_documentation_names(story: Story) -> None:
    def opened(rights: str) -> set[str]:
        with_it, without = story.rights[rights].sources, story.rights[""].sources
        return {source for source, works in with_it.items() if works and not without.get(source)}

    ptrace, reads = {"proportional_memory", "agent", "agent_exits"}, {"busy", "gunicorn_log", "heartbeat"}
    kernel = {"kernel_log"}
    assert {
        rights: opened(rights) for rights in story.rights if rights not in {UNPRIVILEGED, NO_PID_HOST}
    } == {
        "": set(),
        "SYS_PTRACE": ptrace,
        "DAC_READ_SEARCH": set(),
        "SYSLOG": kernel,
        "SYS_PTRACE DAC_READ_SEARCH": ptrace | reads,
        "SYS_PTRACE SYSLOG": ptrace | kernel,
        "DAC_READ_SEARCH SYSLOG": kernel,
        ALL_RIGHTS: ptrace | reads | kernel,
    }


def test_with_fewer_rights_floodmark_knows_less_but_claims_nothing_wrong(story: Story) -> None:
    for rights, seen in story.rights.items():
        for death, pid in story.victims.items():
            cause, confidence = seen.deaths[pid]
            assert cause == TRUTH[death] or (cause, confidence) == ("sigkill_unknown", "possible"), rights


def test_the_unprivileged_override_sees_what_no_right_sees(story: Story) -> None:
    assert story.rights[UNPRIVILEGED].sources == story.rights[""].sources


def test_as_a_part_of_an_apps_own_project_it_counts_requests_by_the_agent_and_by_statsd(story: Story) -> None:
    assert (story.included[THEIR_APP], story.included["api"]) == (5, 7)


def test_down_with_volumes_leaves_no_container_volume_or_network(story: Story) -> None:
    assert story.left == []


def test_the_engine_leaves_no_process_mount_or_folder(story: Story) -> None:
    assert story.engine_left == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.usefixtures("story")  # where an engine can be started at all
def test_the_engine_ends_with_who_started_it(number: signal.Signals) -> None:
    script = (
        "import signal, time; from tests.docker import engine\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in a shell's background
        "with engine.started() as running: print(running.process.pid, flush=True); time.sleep(600)"
    )
    with (
        tempfile.TemporaryDirectory() as folder,  # tmp_path is too long for a socket's address
        subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env=os.environ | {"TMPDIR": folder},
            stdout=subprocess.PIPE,
            text=True,
        ) as starter,
    ):
        assert starter.stdout
        dockerd = Path("/proc", starter.stdout.readline().strip())
        try:
            starter.send_signal(number)
            until(lambda: not dockerd.exists(), 30, "dockerd ends")
            starter.wait(30)
        finally:
            starter.kill()
        # What is killed can't clear up after itself: its folder is left, and nothing else.
        assert number == signal.SIGKILL or list(Path(folder).iterdir()) == []
