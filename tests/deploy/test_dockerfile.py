"""The image: what it is built from, what gets in, whose it is."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def instructions(text: str) -> list[tuple[str, str]]:
    """Words of a Dockerfile, each with what follows it."""
    return [
        (word, rest.strip())
        for line in text.splitlines()
        if line and not line.startswith("#")
        for word, _, rest in [line.strip().partition(" ")]
    ]


DOCKERFILE = (ROOT / "deploy/docker/Dockerfile").read_text().replace("\\\n", "")
DEMO = instructions((ROOT / "deploy/demo/Dockerfile").read_text().replace("\\\n", ""))
INSTRUCTIONS = instructions(DOCKERFILE)
REQUIREMENTS = (ROOT / "deploy/docker/requirements.txt").read_text().replace("\\\n", "")
PINS = dict(re.findall(r"^([\w-]+)==(\S+)", REQUIREMENTS, re.MULTILINE))


def arguments(word: str) -> list[str]:
    return [rest for instruction, rest in INSTRUCTIONS if instruction == word]


def test_both_stages_start_from_one_exact_version_of_pythons_slim_image() -> None:
    assert re.fullmatch(r"PYTHON=python:3\.13\.\d+-slim-bookworm", arguments("ARG")[0])
    assert arguments("FROM") == ["${PYTHON} AS build", "${PYTHON}"]


def test_a_new_volume_for_the_state_takes_over_the_owner_that_the_image_gives_it() -> None:
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["floodmark"]
    folder = service["environment"]["FLOODMARK_STATE_DIR"]
    assert f"floodmark:{folder}" in service["volumes"]
    parent, name = folder.rsplit("/", 1)
    assert f"mkdir -p /state/{name} && chown 9717:9717 /state/{name}" in arguments("RUN")
    assert f"--from=build --chown=9717:9717 /state {parent}" in arguments("COPY")


def test_the_demo_is_an_app_on_the_same_python_with_the_agents_folder_and_no_root() -> None:
    assert dict(DEMO)["ARG"] == arguments("ARG")[0]
    copied = [rest for word, rest in DEMO if word == "COPY"]
    assert "exporter/floodmark/agent floodmark/agent" in copied
    assert dict(DEMO)["USER"] == "65534:65534"
    requirements = (ROOT / "deploy/demo/requirements.txt").read_text()
    assert re.fullmatch(r"#.*\ngunicorn==[\d.]+ \\\n    --hash=sha256:[0-9a-f]{64}\n", requirements)


def test_the_image_does_not_run_as_root_and_compose_changes_to_the_same_user() -> None:
    exporter = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["floodmark"]
    assert arguments("USER") == ["9717:9717"]
    assert {"--reuid=9717", "--regid=9717"} <= set(exporter["entrypoint"])


def test_the_classic_builder_can_build_it() -> None:
    buildkit_only = re.compile(r"--mount=|--chmod=|--link\b|<<-?['\"]?\w+")
    assert not [rest for _, rest in INSTRUCTIONS if buildkit_only.search(rest)]
    assert "# syntax=" not in DOCKERFILE


def named(requirements: list[str]) -> set[str]:
    """Return the projects that are always required, as names are compared."""
    always = [each for each in requirements if "extra ==" not in each]
    return {re.split(r"[^\w.-]", each)[0].lower().replace("_", "-") for each in always}


def test_the_image_holds_exactly_the_runtime_dependencies_each_by_version_and_hash() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    needed = named(declared)
    while missing := {inner for each in needed for inner in named(metadata.requires(each) or [])} - needed:
        needed |= missing
    assert {name.lower() for name in PINS} == needed
    for line in REQUIREMENTS.splitlines():
        assert line.startswith("#") or re.search(r"==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line


def test_the_builder_is_sent_all_that_is_copied_and_no_more() -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    copied = {
        source
        for word, rest in INSTRUCTIONS + DEMO
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    let_in = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert "*" in ignore
    assert {
        next((p for p in let_in if (source + "/").startswith(p + "/")), source) for source in copied
    } == let_in


def test_pip_and_the_build_tools_stay_out_of_the_last_stage() -> None:
    last = DOCKERFILE.split("FROM ${PYTHON}\n")[1]
    assert "RUN" not in last
    assert "COPY --from=build /opt/floodmark /opt/floodmark" in last


def test_the_image_and_compose_ask_for_health_in_the_same_way() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["floodmark"][
        "healthcheck"
    ]
    command = yaml.safe_load(arguments("HEALTHCHECK")[0].partition("CMD ")[2])
    assert ["CMD", *command] == compose["test"]
