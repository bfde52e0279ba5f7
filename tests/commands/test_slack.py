"""floodmark slack test, against the stand-in for Slack and against what isn't Slack at all."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from deploy.demo import slack as stand_in
from floodmark.cli import main
from floodmark.commands import slack
from tests.support.tls import untrusted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "demo"  # noqa: S105  # the last part of the stand-in's address
OURS = "https://hooks.slack.com/services/T012/B345/s3cr3tp4rt"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what this machine's environment says of webhooks and proxies."""
    for name in os.environ:
        if name.lower().endswith("_proxy") or name.startswith(("SLACK_", "FLOODMARK_")):
            monkeypatch.delenv(name)


@pytest.fixture
def page() -> Iterator[stand_in.Page]:
    page = stand_in.Page(("127.0.0.1", 0), lambda _: None)
    threading.Thread(target=page.serve_forever, args=(0.01,), daemon=True).start()
    yield page
    page.shutdown()
    page.server_close()


@pytest.fixture
def url(page: stand_in.Page) -> str:
    """Return the address of the stand-in's webhook."""
    return f"http://127.0.0.1:{page.server_port}{stand_in.WEBHOOK}"


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> At:
    """Return what runs the command on an address in SLACK_WEBHOOK_URL."""
    return At(monkeypatch, capsys)


class At:
    """Runs the command; its answer holds nothing of the address but the host."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, address: str, *flags: str) -> tuple[int, str, str]:
        """Return exit status, standard output and standard error."""
        self._monkeypatch.setenv("SLACK_WEBHOOK_URL", address)
        status = main(["slack", "test", *flags])
        out, err = self._capsys.readouterr()
        for part in re.split("[/?]", urlsplit(address.strip()).path):
            assert len(part) < 4 or part in {"services", "hooks"} or part not in out + err
        assert len(err.splitlines()) <= 5
        return status, out, err


def test_one_example_is_sent_and_slacks_ok_is_told(page: stand_in.Page, url: str, at: At) -> None:
    before = int(time.time())
    status, out, err = at(url)
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "ok: Slack took the example; look into the webhook's channel.",
        f"Webhook: http://127.0.0.1:{page.server_port}/****, from SLACK_WEBHOOK_URL",
    ]
    (message,) = page.messages
    (attachment,) = message.payload["attachments"]
    assert attachment["title"] == "[FIRING:1] critical · Example · shop@web-1"
    assert "🔴 *EXAMPLE, nothing is wrong: the kernel killed 2 workers" in attachment["text"]
    since = re.search(r"<!date\^(\d+)\^{date_short_pretty} {time}\|(.*?)>", attachment["text"])
    assert since
    assert int(since[1]) - before in range(60)
    assert since[2] == time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(int(since[1])))


def test_the_example_is_in_the_language_asked_for(
    page: stand_in.Page, url: str, at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOODMARK_LANG", "ko")
    at(url)
    monkeypatch.setenv("FLOODMARK_LANG", "en")
    at(url, "--lang", "ko")
    assert len(page.messages) == 2
    for message in page.messages:
        (attachment,) = message.payload["attachments"]
        assert attachment["title"] == "[발생:1] 심각 · Example · shop@web-1"
        assert "예시이며 실제 장애가 아닙니다" in attachment["text"]


def test_a_language_there_is_not_is_an_error_of_the_configuration(
    at: At, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOODMARK_LANG", "kr")
    status, _, err = at(url)
    assert status == 2
    assert err == "floodmark: environment: FLOODMARK_LANG must be one of en, ko, not 'kr'\n"


# --- What Slack answers


def test_each_word_of_slacks_documentation_is_known() -> None:
    words = (
        "action_prohibited channel_is_archived channel_not_found invalid_payload invalid_token"
        " no_active_hooks no_service no_service_id no_team no_text posting_to_general_channel_denied"
        " rollup_error team_disabled too_many_attachments user_not_found"
    )
    assert set(words.split()) <= slack.ANSWERS.keys()


@pytest.mark.parametrize("word", sorted(slack.ANSWERS))
def test_each_of_slacks_refusals_is_said_in_plain_words_with_what_to_do(
    word: str, page: stand_in.Page, url: str, at: At
) -> None:
    page.answers.append(stand_in.Answer(403, word))
    status, out, err = at(url)
    means, what_to_do = slack.ANSWERS[word]
    assert (status, out) == (1, "")
    assert f"answered 403 {word}: {means}. What to do: {what_to_do}\n" in err


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (stand_in.TOO_MANY, "answered 429 rate_limited: too many messages"),
        (stand_in.Answer(429, "slow", {"Retry-After": "30"}), "is right; try again in 30 s"),
        (stand_in.Answer(429, "slow", {"Retry-After": "<b>"}), "try again later"),
        (
            stand_in.Answer(302, "", {"Location": "http://login.example.org/?next=x"}),
            "redirect to login.example.org",
        ),
        (stand_in.Answer(308, "", {"Location": "/elsewhere"}), "a redirect to nowhere"),
        (stand_in.Answer(500, "<html>oh\x1b[31m</html>"), "answered 500: it is in trouble itself"),
        (stand_in.Answer(200, "Welcome"), "answered 200, but 'Welcome' in place of 'ok'"),
        (stand_in.Answer(200, ""), "answered 200, but '' in place of 'ok'"),
        (stand_in.Answer(405, "x" * 100_000), f"answered 405 '{'x' * 80}'"),
        (stand_in.Answer(400, f"no {stand_in.WEBHOOK} nor {SECRET}"), "answered 400 'no **** nor ****'"),
    ],
)
def test_other_answers_are_told_as_they_are_without_the_secret(
    answer: stand_in.Answer, said: str, page: stand_in.Page, url: str, at: At
) -> None:
    page.answers.append(answer)
    status, _, err = at(url)
    assert status == 1
    assert said in err
    assert "\x1b" not in err
    assert not page.messages  # a redirect isn't followed


def test_a_json_answer_counts_as_alertmanager_counts_it(page: stand_in.Page, url: str, at: At) -> None:
    kind = "application/json"
    page.answers += [
        stand_in.Answer(200, '{"ok": true}', kind=kind),
        stand_in.Answer(200, '{"ok": false, "error": "channel_not_found"}', kind=kind),
        stand_in.Answer(200, "[", kind=kind),
    ]
    assert at(url)[0] == 0
    assert "the webhook's channel is gone" in at(url)[2]
    assert "answered 200, but '['" in at(url)[2]


# --- What isn't Slack, or can't be reached


def test_a_closed_port_is_told(at: At) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    status, _, err = at(f"http://127.0.0.1:{port}/services/T/B/s3cr3tp4rt")
    assert status == 1
    assert "nothing listens at 127.0.0.1: connection refused" in err


def test_a_name_that_nobody_knows_is_told(at: At) -> None:
    status, _, err = at("https://hooks.invalid/services/T/B/s3cr3tp4rt")
    assert status == 1
    assert "the name of hooks.invalid can't be looked up" in err
    assert "Note: hooks.invalid is not Slack." in err


def test_silence_is_told_after_a_while(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slack, "_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        status, _, err = at(f"http://127.0.0.1:{silent.getsockname()[1]}/services/T/B/s3cr3tp4rt")
    assert status == 1
    assert "no answer from 127.0.0.1 within" in err


@pytest.mark.parametrize("says", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15\x03\x01"])
def test_what_speaks_something_else_is_told(says: bytes, at: At) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        thread = threading.Thread(target=answer_once, args=(other, says))
        thread.start()
        status, _, err = at(f"http://127.0.0.1:{other.getsockname()[1]}/services/T/B/s3cr3tp4rt")
        thread.join()
    assert status == 1
    assert "Traceback" not in err


def answer_once(listener: socket.socket, says: bytes) -> None:
    """Take a request and say this, whatever it was."""
    client, _ = listener.accept()
    with client:
        client.recv(65536)
        client.sendall(says)


def test_a_certificate_nobody_vouches_for_is_told(tmp_path: Path, at: At) -> None:
    with untrusted(tmp_path) as port:
        status, _, err = at(f"https://127.0.0.1:{port}/services/T/B/s3cr3tp4rt")
    assert status == 1
    assert "the certificate of 127.0.0.1 is not trusted here: self-signed certificate" in err
    assert "sudo update-ca-certificates" in err


def test_https_to_what_speaks_none_is_told(page: stand_in.Page, at: At) -> None:
    status, _, err = at(f"https://127.0.0.1:{page.server_port}{stand_in.WEBHOOK}")
    assert status == 1
    assert "no TLS with 127.0.0.1" in err


def test_a_proxy_is_used_and_named_without_its_password(
    page: stand_in.Page, at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:pass@127.0.0.1:{page.server_port}/")
    monkeypatch.setenv("https_proxy", f"http://me:pass@127.0.0.1:{page.server_port}/")
    page.answers.append(stand_in.Answer(200, "ok"))
    status, out, _ = at("http://chat.example.org/services/T/B/s3cr3tp4rt")
    assert status == 0
    assert f"Note: this went through the proxy 127.0.0.1:{page.server_port}, from the environment." in out
    assert "Note: http:// lets others read the secret" in out
    assert "pass@" not in out
    status, _, err = at(OURS)
    assert status == 1
    assert f"the proxy 127.0.0.1:{page.server_port} lets nothing through to hooks.slack.com: 501" in err


def test_this_machine_is_asked_without_a_proxy(
    page: stand_in.Page, url: str, at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert at(url)[0] == 0
    assert page.messages


# --- Where the address is from


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", " \n\n"])
def test_a_file_may_end_in_a_newline(
    ending: str, page: stand_in.Page, url: str, at: At, tmp_path: Path
) -> None:
    file = tmp_path / "webhook"
    file.write_text(url + ending)
    file.chmod(0o644)
    status, out, _ = at("", "--webhook-file", str(file))
    assert status == 0
    assert out.endswith(f"/****, from --webhook-file {file}\n")
    assert len(page.messages) == 1


def test_the_address_may_come_from_standard_input(
    page: stand_in.Page, url: str, at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{url}\n".encode())))
    status, out, _ = at("", "--webhook-file", "-")
    assert status == 0
    assert out.endswith("/****, from --webhook-file -\n")
    assert len(page.messages) == 1


def test_a_file_that_alertmanager_may_not_read_is_noted(url: str, at: At, tmp_path: Path) -> None:
    file = tmp_path / "web hook"
    file.write_text(url)
    file.chmod(0o600)
    _, out, _ = at("", "--webhook-file", str(file))
    assert f"In docker compose Alertmanager runs as nobody: chmod 644 '{file}'\n" in out


def test_the_flag_wins_over_the_file_and_that_over_the_address(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("flag", "file")}
    for name, file in files.items():
        file.write_text(f"{OURS}{name}")
    environ = {"SLACK_WEBHOOK_FILE": str(files["file"]), "SLACK_WEBHOOK_URL": OURS}
    assert slack.find(str(files["flag"]), environ).url == f"{OURS}flag"
    assert slack.find(None, environ).url == f"{OURS}file"
    assert slack.find(None, {"SLACK_WEBHOOK_FILE": "", "SLACK_WEBHOOK_URL": OURS}).url == OURS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty: it must hold https://hooks.slack.com/services/T.../B.../..."),
        ("\n", "empty"),
        (f'"{OURS}"', "no quotes"),
        (f"{OURS}\n{OURS}\n", "one line"),
        (f"SLACK_WEBHOOK_URL={OURS}", "no address of a webhook"),
        ("hooks.slack.com/services/T012/B345/s3cr3tp4rt", "no address of a webhook"),
        ("https:///services/T012/B345/s3cr3tp4rt", "no address of a webhook"),
        ("https://[::1/services/T012/B345/s3cr3tp4rt", "no address of a webhook"),
        ("https://hooks.slack.com:99999/services/T012/B345/s3cr3tp4rt", "no address of a webhook"),
        ("ftp://hooks.slack.com/services/T012/B345/s3cr3tp4rt", "no address of a webhook"),
        ("https://hooks.slack.com/services/T012/B345/s3cr3tp4rté", "alone"),
        (OURS.replace("https", "http"), "must begin with https://"),
        ("https://hooks.slack.com/services/T012/B345/", "cut off"),
        ("https://hooks.slack.com/services/T.../B.../...", "cut off, or not yours yet"),
        ("https://hooks.slack.com/workflows/T012/A1/2/s3cr3tp4rt", "a workflow's address"),
        ("https://hooks.slack.com/triggers/T012/2/s3cr3tp4rt", "a workflow's address"),
    ],
)
def test_what_cant_be_a_webhooks_address_is_an_error_that_says_what_is_wrong(
    text: str, said: str, tmp_path: Path, at: At
) -> None:
    file = tmp_path / "webhook"
    file.write_text(text)
    status, out, err = at("", "--webhook-file", str(file))
    assert (status, out) == (2, "")
    assert err.startswith(f"floodmark: --webhook-file {file}: ")
    assert said in err
    assert "s3cr3t" not in err


def test_a_file_that_cant_be_read_is_an_error_that_says_why(tmp_path: Path, at: At) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, said in (
        (tmp_path / "none", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (binary, "not a text"),
    ):
        status, _, err = at("", "--webhook-file", str(path))
        assert status == 2
        assert f"--webhook-file {path}: {said}" in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all")
def test_a_file_of_somebody_else_is_an_error_that_says_so(tmp_path: Path, at: At) -> None:
    file = tmp_path / "webhook"
    file.touch(0o000)
    assert "Permission denied" in at("", "--webhook-file", str(file))[2]


def test_an_address_in_place_of_a_file_is_not_shown(at: At) -> None:
    status, _, err = at("", "--webhook-file", OURS)
    assert status == 2
    assert "wants a file that holds the address" in err
    assert "hooks.slack.com" not in err


def test_with_no_webhook_at_all_it_says_where_to_get_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["slack", "test"]) == 2
    err = capsys.readouterr().err
    assert "--webhook-file FILE" in err
    assert "api.slack.com/apps" in err


def test_help_says_where_the_address_is_from_and_what_the_exit_status_means(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for flags, words in (
        (["slack", "--help"], ("test",)),
        (["slack", "test", "--help"], ("SLACK_WEBHOOK_FILE", "SLACK_WEBHOOK_URL", "Exit status", "--lang")),
    ):
        with pytest.raises(SystemExit) as raised:
            main(flags)
        assert raised.value.code == 0
        out = capsys.readouterr().out
        assert all(word in out for word in words)


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_nothing_of_the_example_is_of_the_day_it_was_made(lang: str) -> None:
    payload = slack.example(lang, 1893456000.4)
    assert json.loads(payload)["attachments"]
    assert b"1793473445" not in payload
    assert b"<!date^1893456000^{date_short_pretty} {time}|2030-01-01 00:00 UTC>" in payload
