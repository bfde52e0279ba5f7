"""Finding masters, in /proc trees made of the real files' formats."""

from pathlib import Path

import pytest

from floodmark.config import App
from floodmark.gunicorn import find
from floodmark.sources.procfs.process import Identity
from tests.support.proc_tree import GUNICORN, add


def apps(proc: Path, configured: dict[str, App] | None = None) -> dict[int, str]:
    found = find.masters(proc, configured or {}, known=(), workers=())
    return {master.identity.pid: master.app for master in found}


@pytest.mark.parametrize(
    "cmdline",
    [
        GUNICORN,
        ("/usr/bin/python3.11", "-u", "-X", "dev", "/usr/bin/gunicorn", "shop.wsgi:application"),
        ("python", "-m", "gunicorn", "shop.wsgi:application"),
        ("python", "-m", "gunicorn.app.wsgiapp", "shop.wsgi:application"),
        ("gunicorn: master [shop.wsgi:application]",),
    ],
)
def test_a_master_is_known_by_its_command_line_or_title(tmp_path: Path, cmdline: tuple[str, ...]) -> None:
    add(tmp_path, 10, cmdline)
    assert apps(tmp_path) == {10: "shop.wsgi:application"}


@pytest.mark.parametrize(
    "cmdline",
    [
        ("vim", "gunicorn.conf.py"),
        ("python", "manage.py", "gunicorn"),
        ("python", "-c", "import gunicorn"),
        ("sh", "-c", "gunicorn shop.wsgi"),
        ("/venv/bin/python", "/venv/bin/gunicorn", "--check-config", "shop.wsgi"),
        (),
    ],
)
def test_what_only_mentions_gunicorn_is_none(tmp_path: Path, cmdline: tuple[str, ...]) -> None:
    add(tmp_path, 10, cmdline)
    assert apps(tmp_path) == {}


def test_workers_are_no_masters_with_title_or_without(tmp_path: Path) -> None:
    add(tmp_path, 10, GUNICORN)
    add(tmp_path, 11, GUNICORN, ppid=10)
    add(tmp_path, 20, ("gunicorn: master [blog]",))
    add(tmp_path, 21, ("gunicorn: worker [blog]",), ppid=20)
    assert apps(tmp_path) == {10: "shop.wsgi:application", 20: "blog"}


def test_the_new_master_of_an_upgrade_is_told_from_a_worker(tmp_path: Path) -> None:
    add(tmp_path, 10, GUNICORN)
    add(tmp_path, 11, GUNICORN, ppid=10, environ=("GUNICORN_PID=10",))
    add(tmp_path, 12, GUNICORN, ppid=11, environ=("GUNICORN_PID=10",))
    assert set(apps(tmp_path)) == {10, 11}
    assert not find.is_worker(tmp_path, 11, 10)
    assert find.is_worker(tmp_path, 12, 11)


def test_a_zombie_is_neither_worker_nor_another_program(tmp_path: Path) -> None:
    add(tmp_path, 10, GUNICORN)
    add(tmp_path, 11, (), ppid=10)
    with pytest.raises(ProcessLookupError):
        find.is_worker(tmp_path, 11, 10)


def test_a_worker_that_lost_its_master_is_not_taken_for_one(tmp_path: Path) -> None:
    add(tmp_path, 11, GUNICORN)
    assert not list(find.masters(tmp_path, {}, known=(), workers={Identity(11, 110)}))


def test_the_label_is_the_name_then_the_configured_one_then_the_target(tmp_path: Path) -> None:
    add(tmp_path, 10, (*GUNICORN, "--name", "shop"))
    add(tmp_path, 20, GUNICORN)
    add(tmp_path, 30, ("/venv/bin/python", "/venv/bin/gunicorn", "blog:app"))
    configured = {"configured": App(target="shop.wsgi:application")}
    assert apps(tmp_path, configured) == {10: "shop", 20: "configured", 30: "blog:app"}


def test_the_pid_in_its_own_namespace_is_kept(tmp_path: Path) -> None:
    add(tmp_path, 10, GUNICORN)
    (tmp_path / "10/status").write_text("Pid:\t10\nNSpid:\t10\t7\n")
    (master,) = find.masters(tmp_path, {}, known=(), workers=())
    assert master.namespace_pid == 7


def test_a_process_that_ends_while_it_is_looked_at_is_skipped(tmp_path: Path) -> None:
    add(tmp_path, 10, GUNICORN)
    (tmp_path / "10/stat").unlink()
    add(tmp_path, 20, GUNICORN)
    assert set(apps(tmp_path)) == {20}
