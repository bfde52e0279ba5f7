"""A gunicorn's settings, known from outside."""

import pytest

from floodmark.gunicorn import settings
from floodmark.gunicorn.settings import Settings


def read(line: str, environ: dict[str, str] | None = None, file: str | None = None) -> Settings:
    return settings.read(line.split(), environ if environ is not None else {}, lambda _: file)


@pytest.mark.parametrize(
    "line",
    [
        "shop.wsgi:application",
        "--workers 4 shop.wsgi:application",
        "-w4 --preload shop.wsgi:application",
        "shop.wsgi:application --bind 0.0.0.0:8000 --access-logfile -",
        "--reload --access-logformat %(h)s shop.wsgi:application",
    ],
)
def test_the_target_is_found_wherever_it_stands(line: str) -> None:
    assert read(line).target == "shop.wsgi:application"


def test_later_sources_win_command_line_over_environment_over_file_over_default() -> None:
    known = read(
        "app --timeout 5",
        {"GUNICORN_CMD_ARGS": "--timeout 6 --threads=7"},
        "timeout = 8\nthreads = 9\nmax_requests = 10",
    )
    assert [known.number(name) for name in ("timeout", "threads", "max_requests", "graceful_timeout")] == [
        5,
        7,
        10,
        30,
    ]


def test_abbreviated_and_joined_options_are_read_as_gunicorn_reads_them() -> None:
    known = read("-w3 -t120 --max-requests-j 50 app")
    assert [known.number(name) for name in ("workers", "timeout", "max_requests_jitter")] == [3, 120, 50]


def test_a_config_file_is_never_run_and_what_is_no_literal_is_unknown() -> None:
    known = read(
        "app",
        file="import os\nos.abort()\nworkers = os.cpu_count() * 2\nif True:\n    timeout = 60\nthreads = 2",
    )
    assert known.number("workers") is None
    assert known.number("timeout") is None
    assert known.number("threads") == 2


def test_a_setting_made_twice_in_the_file_is_unknown() -> None:
    assert read("app", file="timeout = 1\ntimeout += 2\ntimeout = 3").number("timeout") is None


def test_without_the_environment_only_the_command_line_is_known() -> None:
    known = settings.read(["app", "-t", "9"], None, lambda _: None)
    assert known.number("timeout") == 9
    assert known.number("workers") is None


def test_a_config_file_that_cannot_be_read_makes_the_rest_unknown() -> None:
    def denied(path: str) -> str:
        raise PermissionError(path)

    known = settings.read(["-t", "9", "app"], {}, denied)
    assert known.number("timeout") == 9
    assert known.number("max_requests") is None


def test_web_concurrency_is_the_default_number_of_workers() -> None:
    assert read("app", {"WEB_CONCURRENCY": "6"}).number("workers") == 6
    assert read("app -w 2", {"WEB_CONCURRENCY": "6"}).number("workers") == 2


@pytest.mark.parametrize(
    ("line", "worker_class"),
    [
        ("app", "sync"),
        ("app --threads 4", "gthread"),
        ("app -k gevent", "gevent"),
        ("app -k uvicorn.workers.UvicornWorker", "UvicornWorker"),
    ],
)
def test_the_worker_class_is_the_one_gunicorn_will_use(line: str, worker_class: str) -> None:
    assert read(line).worker_class == worker_class


@pytest.mark.parametrize("file", ["def (", "\0", "timeout = "])
def test_a_broken_config_file_is_no_error_of_ours(file: str) -> None:
    assert read("app -t 9", file=file).number("timeout") == 9


@pytest.mark.parametrize(
    ("line", "environ", "file", "binds"),
    [
        ("app", {}, None, {"127.0.0.1:8000"}),
        ("app", {"PORT": "5000"}, None, {"0.0.0.0:5000"}),
        ("app", {}, "bind = 'unix:/run/shop.sock'", {"unix:/run/shop.sock"}),
        ("-b 127.0.0.1:1 --bind unix:s app", {}, "bind = '0.0.0.0:80'", {"127.0.0.1:1", "unix:s"}),
        ("app", {}, "bind = [f'127.0.0.1:{port}' for port in (1, 2)]", set()),
    ],
)
def test_the_addresses_to_bind_are_known_where_they_are_plain(
    line: str, environ: dict[str, str], file: str | None, binds: set[str]
) -> None:
    assert read(line, environ, file).binds == binds
