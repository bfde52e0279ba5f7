"""The image: what it is built from, what gets in, whose it is."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy/docker/Dockerfile").read_text().replace("\\\n", "")
INSTRUCTIONS = [
    (word, rest.strip())
    for line in DOCKERFILE.splitlines()
    if line and not line.startswith("#")
    for word, _, rest in [line.strip().partition(" ")]
]
REQUIREMENTS = (ROOT / "deploy/docker/requirements.txt").read_text().replace("\\\n", "")
PINS = dict(re.findall(r"^([\w-]+)==(\S+)", REQUIREMENTS, re.MULTILINE))


def arguments(word: str) -> list[str]:
    return [rest for instruction, rest in INSTRUCTIONS if instruction == word]


def test_both_stages_start_from_one_exact_version_of_pythons_slim_image() -> None:
    assert re.fullmatch(r"PYTHON=python:3\.13\.\d+-slim-bookworm", arguments("ARG")[0])
    assert arguments("FROM") == ["${PYTHON} AS build", "${PYTHON}"]


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
    copied = {source for rest in arguments("COPY") if "--from" not in rest for source in rest.split()[:-1]}
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
