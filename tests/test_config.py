"""The configuration, and what it says when it's wrong."""

from pathlib import Path

import pytest

from floodmark.config import Address, ConfigError, load


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "floodmark.yml"
    path.write_text(text)
    return path


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    config = load(
        file(tmp_path, "listen: 127.0.0.1:1\nlog_level: debug\nlog_format: json"),
        {"FLOODMARK_LISTEN": "127.0.0.1:2", "FLOODMARK_LOG_LEVEL": "error", "PATH": "/bin"},
        {"listen": "[::1]:3"},
    )
    assert config.listen == Address("::1", 3)
    assert str(config.listen) == "[::1]:3"
    assert (config.log_level, config.log_format) == ("error", "json")
    assert config.statsd_listen == Address("127.0.0.1", 8125)


def test_apps_are_read_with_their_settings(tmp_path: Path) -> None:
    text = "apps:\n  shop: {target: 'shop.wsgi:application', log: /var/log/shop.log}\n  blog:"
    config = load(file(tmp_path, text), {}, {})
    assert config.apps["shop"].log == Path("/var/log/shop.log")
    assert config.apps["blog"].target == ""


def test_an_empty_value_turns_statsd_off() -> None:
    assert load(None, {"FLOODMARK_STATSD_LISTEN": ""}, {}).statsd_listen is None


def test_systemds_state_directory_counts_where_nothing_else_is_set(tmp_path: Path) -> None:
    systemd = {"STATE_DIRECTORY": "/var/lib/floodmark:/var/lib/other"}
    assert load(None, {}, {}).state_dir is None
    assert load(None, systemd, {}).state_dir == Path("/var/lib/floodmark")
    assert load(file(tmp_path, "state_dir: /srv/floodmark"), systemd, {}).state_dir == Path("/srv/floodmark")
    assert load(None, {**systemd, "FLOODMARK_STATE_DIR": "/mine"}, {}).state_dir == Path("/mine")
    assert load(None, systemd, {"state_dir": ""}).state_dir is None


def test_collectors_can_be_left_out_by_list_or_by_commas(tmp_path: Path) -> None:
    assert load(file(tmp_path, "disable: [disk, cpu]"), {}, {}).disable == ("disk", "cpu")
    assert load(None, {}, {"disable": "disk, cpu"}).disable == ("disk", "cpu")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("lisen: 127.0.0.1:1", "unknown key 'lisen': did you mean 'listen'?"),
        ("apps: {shop: {lgo: /x}}", "apps: shop: unknown key 'lgo': did you mean 'log'?"),
        ("listen: everywhere", "listen must be an address like 127.0.0.1:9717, not 'everywhere'"),
        ("listen: 127.0.0.1:99999", "listen must be an address"),
        ("disable: [cpu, dsk]", "'dsk' is none"),
        ("disable: 3", "disable must be a list of collectors"),
        ("log_level: loud", "log_level must be one of debug, info, warning, error, not 'loud'"),
        ("root: relative", "root must be an absolute path"),
        ("state_dir: relative", "state_dir must be an absolute path"),
        ("apps: [shop]", "apps must be a mapping of app names to their settings"),
        ("apps: {shop: [1]}", "apps: shop must be a mapping"),
        ("- a list", "'key: value' lines expected, got a list"),
        ("a: [", "not YAML"),
    ],
)
def test_what_is_wrong_is_said_with_what_would_be_right(tmp_path: Path, text: str, complaint: str) -> None:
    path = file(tmp_path, text)
    with pytest.raises(ConfigError) as raised:
        load(path, {}, {})
    assert str(raised.value).startswith(f"{path}: ")
    assert complaint in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_misspelt_environment_variable_is_named_as_it_was_typed() -> None:
    with pytest.raises(ConfigError, match=r"FLOODMARK_LISTNE.*did you mean 'FLOODMARK_LISTEN'"):
        load(None, {"FLOODMARK_LISTNE": "x"}, {})


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.yml", {}, {})


def test_bytes_that_are_no_text_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "binary.yml"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigError, match="not YAML"):
        load(path, {}, {})
