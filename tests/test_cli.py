"""The command line, as it is typed."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from floodmark import __version__
from floodmark.cli import main

pytestmark = pytest.mark.live

FLOODMARK = str(Path(sys.executable).with_name("floodmark"))


def run(*arguments: str) -> tuple[int, str, str]:
    command = [FLOODMARK, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, done.stdout, done.stderr


def test_help_names_every_flag_with_its_default() -> None:
    status, out, _ = run("serve", "--help")
    assert status == 0
    for flag in (
        "--config",
        "--listen",
        "127.0.0.1:9717",
        "--statsd-listen",
        "--root",
        "--state-dir",
        "--disable",
        "--log-format",
    ):
        assert flag in out


def test_the_version_is_told() -> None:
    assert run("--version")[1] == f"floodmark {__version__}\n"


def test_a_misspelt_key_is_one_line_and_exit_status_2(tmp_path: Path) -> None:
    config = tmp_path / "floodmark.yml"
    config.write_text("lisen: 127.0.0.1:1")
    status, out, err = run("serve", "--config", str(config))
    assert (status, out) == (2, "")
    assert err == f"floodmark: {config}: unknown key 'lisen': did you mean 'listen'?\n"


def test_a_busy_port_is_one_line_that_says_what_to_type_and_exit_status_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        status, _, err = run("serve", "--listen", address, "--statsd-listen", "")
    assert status == 2
    last = err.splitlines()[-1]
    assert last.startswith(f"floodmark: can't listen on {address}: Address already in use.")
    assert "--listen 127.0.0.1:" in last


def test_a_root_without_proc_is_one_line_and_exit_status_2(tmp_path: Path) -> None:
    status, _, err = run("serve", "--root", str(tmp_path))
    assert status == 2
    assert f"--root {tmp_path}: no /proc of a host in there" in err
    assert "Traceback" not in err


def test_no_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main([])
    assert raised.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{FLOODMARK} check --json | true"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""


def test_a_full_disk_behind_the_answer_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [FLOODMARK, "check"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=30, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "floodmark: writing the answer: No space left on device\n"
