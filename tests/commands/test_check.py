"""`floodmark check`: its words, its exit status, and what it finds of real gunicorns."""

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from floodmark.cli import main
from floodmark.commands.check import Found, Missing, Report, lines
from floodmark.gunicorn.risks import Risk
from floodmark.sources.kernel import Kernel
from tests.support.live import BIN, Gunicorn, gunicorn, memory_limited, until
from tests.support.proc_tree import GUNICORN, add

GOOD = Report((Found("shop", 561, "27.0.1", "gthread", 4, ()),), ("gunicorn_log", "kernel_log"), (), ())
LACK = Missing(
    "kernel_log", (), "kernel log can't be read: Permission denied", "certainty", "CAP_SYSLOG " * 12
)
RISK = Risk(("shop", "blog"), "no max_requests", "memory that leaks " * 6, "--max-requests 1000")


def test_a_good_report_is_short_and_exits_0() -> None:
    assert GOOD.status == 0
    assert "\n".join(lines(GOOD)) == (
        "Gunicorns\n"
        "  shop: pid 561, 4 workers, gthread, gunicorn 27.0.1\n"
        "\n"
        "Sources\n"
        "  working: gunicorn_log, kernel_log\n"
        "\n"
        "Risky settings\n"
        "  none found among those that are known"
    )


@pytest.mark.parametrize(
    "report",
    [
        dataclasses.replace(GOOD, gunicorns=()),
        dataclasses.replace(GOOD, missing=(LACK,)),
        dataclasses.replace(GOOD, risks=(RISK,)),
    ],
    ids=["no-gunicorn", "missing", "risk"],
)
def test_whatever_is_wrong_exits_1(report: Report) -> None:
    assert report.status == 1


def test_every_lack_and_risk_is_told_in_80_columns_with_what_it_costs_and_what_to_do() -> None:
    told = list(lines(dataclasses.replace(GOOD, missing=(LACK,), risks=(RISK,))))
    assert max(map(len, told)) <= 80
    text = " ".join(" ".join(told).split())
    assert f"kernel_log why {LACK.problem} costs {LACK.costs} grant {LACK.grant.strip()}" in text
    assert f"no max_requests: shop, blog costs {RISK.costs.strip()} do {RISK.advice}" in text


def test_colour_is_for_terminals() -> None:
    assert not any("\033" in line for line in lines(GOOD))
    assert any("\033" in line for line in lines(GOOD, coloured=True))


def test_what_is_unknown_of_a_gunicorn_is_named() -> None:
    found = dataclasses.replace(GOOD.gunicorns[0], unknown=("max_requests", "timeout"))
    assert "    unknown max_requests, timeout" in lines(dataclasses.replace(GOOD, gunicorns=(found,)))


def test_a_recorded_host_is_checked_too_and_its_kernel_is_not_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Kernel] = []
    # A built-in function would not become a method.
    monkeypatch.setattr(Kernel, "close", lambda kernel: closed.append(kernel))  # noqa: PLW0108 - as said
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "stat").write_text("cpu0 1 1 1 1 1 1 1 1 0 0\nbtime 1000\n")
    (proc / "meminfo").write_text("MemTotal: 1024 kB\nMemAvailable: 512 kB\nSwapTotal: 0 kB\n")
    add(proc, 100, GUNICORN)
    add(proc, 101, GUNICORN, ppid=100)
    assert main(["check", "--root", str(tmp_path), "--json"]) == 1
    assert closed, "the kernel goes on counting a listener that doesn't say it stops"
    report = json.loads(capsys.readouterr().out)
    assert [(found["app"], found["workers"]) for found in report["gunicorns"]] == [
        ("shop.wsgi:application", 1)
    ]
    (kernel,) = (missing for missing in report["missing"] if missing["source"] == "exit_status")
    assert "pid: host" in kernel["grant"]
    assert {"no max_requests", "no swap"} <= {risk["problem"] for risk in report["risks"]}


def test_a_root_without_proc_is_one_line_and_exit_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--root", str(tmp_path)]) == 2
    assert f"--root {tmp_path}: no /proc of a host in there" in capsys.readouterr().err


# --- real gunicorns; others that run on this host are found too


def check(*flags: str, prefix: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FLOODMARK_")}
    command = [*prefix, str(BIN / "floodmark"), "check", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environ)


class Checked:
    """The risky gunicorns by what is risky of them, and the report on them."""

    def __init__(self, apps: dict[str, Gunicorn]) -> None:
        self.apps = apps
        done = check("--json")
        self.status, self.error = done.returncode, done.stderr
        self.report: dict[str, Any] = json.loads(done.stdout)

    def risks(self, name: str) -> set[str]:
        app = self.apps[name].name
        return {risk["problem"] for risk in self.report["risks"] if app in risk["apps"]}


def two(found: list[str]) -> list[str]:
    return found if len(found) == 2 else []


def at_home(folder: Path) -> Callable[[list[str]], list[str]]:
    folder.mkdir(exist_ok=True)
    return lambda command: ["env", "-u", "XDG_RUNTIME_DIR", f"HOME={folder}", *command]


RECYCLED = ("--max-requests", "1000", "--max-requests-jitter", "100")
STATSD = (*RECYCLED, "--statsd-host", "127.0.0.1:9")


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checked]:
    folder = tmp_path_factory.mktemp("risky")
    with contextlib.ExitStack() as stack:

        def start(name: str, *flags: str, **more: Any) -> Gunicorn:  # noqa: ANN401 - as gunicorn()
            return stack.enter_context(gunicorn(f"check-{name}", folder, *flags, workers=1, **more))

        apps = {
            "safe": start("safe", *RECYCLED),
            "leaks": start("leaks"),
            "bunched": start("bunched", "--max-requests", "1000", "--workers", "2"),
            "statsd": start("statsd", *STATSD),
            "prefixed": start("prefixed", *STATSD, "--statsd-prefix", "x"),
            "first": start("first", *RECYCLED, control=True, enter=at_home(folder / "home")),
            "second": start("second", *RECYCLED, control=True, enter=at_home(folder / "home")),
        }
        apps["twin"] = start("twin", *RECYCLED)
        start("twins", *RECYCLED, "--name", apps["twin"].name)
        yield Checked(apps)


@pytest.mark.live
@pytest.mark.parametrize(
    ("name", "problems"),
    [
        ("safe", set()),
        ("leaks", {"no max_requests"}),
        ("bunched", {"max_requests 1000 without jitter"}),
        ("statsd", {"StatsD without prefix from a host with several gunicorns"}),
        ("prefixed", set()),
        ("first", {"one control socket for several gunicorns"}),
        ("second", {"one control socket for several gunicorns"}),
    ],
)
def test_a_real_gunicorns_risky_setting_is_found_and_no_other(
    name: str, problems: set[str], checked: Checked
) -> None:
    assert checked.risks(name) == problems
    assert (checked.status, checked.error) == (1, "")


@pytest.mark.live
def test_two_gunicorns_of_one_name_are_found_and_each_has_its_own_workers(checked: Checked) -> None:
    name = checked.apps["twin"].name
    (problem,) = checked.risks("twin")
    assert problem.startswith("one name for 2 gunicorns")
    assert [found["workers"] for found in checked.report["gunicorns"] if found["app"] == name] == [1, 1]


@pytest.mark.live
def test_workers_that_outgrow_their_memory_limit_are_found(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        cgroup = stack.enter_context(memory_limited("check", 200))
        app = stack.enter_context(gunicorn("check-fat", tmp_path, *RECYCLED, enter=cgroup.entering))
        app.get("/keep?110")
        (problem,) = Checked({"fat": app}).risks("fat")
        assert problem.startswith("2 workers as large as the largest need ")
        assert problem.endswith(" MiB, there are 200")


@pytest.mark.live
def test_an_upgrade_is_no_second_gunicorn_of_the_name(tmp_path: Path) -> None:
    with gunicorn("check-upgraded", tmp_path, *RECYCLED, workers=1) as app:
        app.process.send_signal(signal.SIGUSR2)
        masters = until(
            lambda: two(re.findall(r"\[(\d+)\] .* Listening at", app.log.read_text())), 20, "two run"
        )
        try:
            checked = Checked({"app": app})
            seen = {found["pid"] for found in checked.report["gunicorns"] if found["app"] == app.name}
            assert seen == {int(pid) for pid in masters}
            assert checked.risks("app") == set()
        finally:
            os.kill(int(masters[1]), signal.SIGTERM)


@pytest.mark.live
def test_without_rights_it_says_what_is_missing_and_what_grants_it(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can run a gunicorn that floodmark has no right to look into")
    rightless = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    with gunicorn("check-walled", tmp_path) as app:
        app.log.chmod(0o600)
        done = check(prefix=rightless)
        assert done.returncode == 1
        assert done.stderr == ""
        assert max(len(line) for line in done.stdout.splitlines() if " /" not in line) <= 80
        text = " ".join(done.stdout.split())
        for grant in (
            "CAP_SYSLOG and /dev/kmsg",
            "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH",
            "chmod, or the file's group",
        ):
            assert grant in text
        assert f"{app.name}: pid {app.process.pid}, 2 workers" in text
