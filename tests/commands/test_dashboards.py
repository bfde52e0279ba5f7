"""`floodmark dashboards`: files for provisioning and import, and the same pushed into a running Grafana."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import socket
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from floodmark import __version__, export, grafana
from floodmark.cli import main
from floodmark.commands import dashboards
from tests.support.grafana_api import Answer, GrafanaApi, Saved
from tests.support.live import ROOT
from tests.support.tls import untrusted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHIPPED = {path.name: path.read_text() for path in sorted((ROOT / "dashboards/json").glob("*.json"))}
UIDS = [name.removesuffix(".json") for name in SHIPPED]
EDITOR, VIEWER, ADMIN = "glsa_editor", "glsa_viewer", "glsa_admin"
SAVE = ("POST", "/api/dashboards/db")


# --- export


def refused(capsys: pytest.CaptureFixture[str], folder: str | Path) -> str:
    assert main(["dashboards", "export", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_a_clone_exports_its_own_dashboards() -> None:
    assert export.shipped("dashboards", clone="dashboards/json") == ROOT / "dashboards/json"
    assert len(SHIPPED) == 8


def test_it_writes_every_file_as_it_is_committed(tmp_path: Path) -> None:
    new = tmp_path / "new" / "floodmark"
    assert main(["dashboards", "export", str(new)]) == 0
    assert {path.name: path.read_text() for path in new.iterdir()} == SHIPPED


def test_what_to_do_next_is_a_provider_that_reads_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "it's: mine"
    assert main(["dashboards", "export", str(target)]) == 0
    out = capsys.readouterr().out
    assert "Dashboards, New, Import" in out
    snippet = out[out.index("  apiVersion") : out.index("then:")]
    (provider,) = yaml.safe_load(snippet)["providers"]
    assert provider["options"]["path"] == str(target)
    ours = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/floodmark.yml").read_text())
    for key in ("folder", "type", "allowUiUpdates"):
        assert provider[key] == ours["providers"][0][key]


def test_files_of_others_stay_and_ours_of_an_older_version_go_and_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = {
        "mine.json": '{"uid": "mine", "tags": ["floodmark"]}',
        "floodmark-copy.json": '{"uid": "floodmark-host", "tags": ["floodmark"]}',
        "floodmark-untagged.json": '{"uid": "floodmark-untagged", "tags": []}',
        "floodmark-list.json": "[]",
        "floodmark-broken.json": "{",
        "floodmark-notes.txt": "",
    }
    for name, text in theirs.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "floodmark-old.json").write_text('{"uid": "floodmark-old", "tags": ["floodmark"]}')
    assert main(["dashboards", "export", str(tmp_path)]) == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == theirs | SHIPPED
    assert "Removed floodmark-old.json: floodmark has no such file any more" in capsys.readouterr().out


def test_a_file_of_that_name_which_is_not_ours_is_never_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / "floodmark-host.json"
    theirs.write_text('{"uid": "theirs", "tags": ["floodmark"]}')
    assert f"{theirs} is not floodmark's, its uid and tag tell" in refused(capsys, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [theirs.name]


def test_no_folder_and_a_variable_that_is_not_set_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert refused(capsys, file) == f"floodmark: {file} is no folder: nothing is written\n"
    assert refused(capsys, "") == "floodmark: dashboards export: DIR is empty: nothing is written\n"


@pytest.mark.skipif(not os.path.ismount("/proc"), reason="no /proc")
def test_a_folder_that_takes_no_files_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    err = refused(capsys, "/proc/floodmark")  # closed to root too
    assert err.startswith("floodmark: /proc/floodmark: ")
    assert err.endswith(": nothing is written\n")


def test_a_closed_umask_leaves_dashboards_that_grafana_may_read(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        assert main(["dashboards", "export", str(tmp_path / "floodmark")]) == 0
    finally:
        os.umask(before)
    assert (tmp_path / "floodmark").stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "floodmark").iterdir()} == {0o644}


# --- push


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take away what this machine's environment says of Grafana and proxies."""
    for name in os.environ:
        if name.lower().endswith("_proxy") or name.startswith("GRAFANA_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))  # where requests looks for .netrc


@pytest.fixture(params=[""])
def api(request: pytest.FixtureRequest) -> Iterator[GrafanaApi]:
    api = GrafanaApi(request.param)
    threading.Thread(target=api.serve_forever, args=(0.01,), daemon=True).start()
    yield api
    api.shutdown()
    api.server_close()


@pytest.fixture
def push(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Push:
    return Push(monkeypatch, capsys)


class Push:
    """Runs the command; what it says holds nothing of the token."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, url: str, *flags: str, token: str = EDITOR) -> tuple[int, str, str]:
        """Return exit status, standard output and standard error."""
        self._monkeypatch.setenv("GRAFANA_TOKEN", token)
        status = main(["dashboards", "push", "--grafana", url, *flags])
        out, err = self._capsys.readouterr()
        assert not token or token not in out + err
        return status, out, err

    def failed(self, url: str, *flags: str, token: str = EDITOR) -> str:
        """Return what went wrong: one line."""
        status, _, err = self(url, *flags, token=token)
        assert status == 1
        assert err.count("\n") == 1
        assert err.startswith("floodmark dashboards push: ")
        return err


def model(uid: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(SHIPPED[f"{uid}.json"])
    return document


def verdicts(out: str) -> dict[str, str]:
    lines = [line.split() for line in out.splitlines() if "/d/" in line]
    return {line[1]: line[0] for line in lines}


@pytest.mark.parametrize("api", ["", "/grafana"], indirect=True)
@pytest.mark.parametrize("slash", ["", "/"])
def test_all_dashboards_are_put_into_a_folder_of_their_own(api: GrafanaApi, push: Push, slash: str) -> None:
    status, out, err = push(api.url + slash)
    assert (status, err) == (0, "")
    assert api.folders == {"floodmark": ("floodmark", "")}
    assert {uid: saved.dashboard for uid, saved in api.saved.items()} == {uid: model(uid) for uid in UIDS}
    assert {saved.folder for saved in api.saved.values()} == {"floodmark"}
    assert {tuple(saved.messages) for saved in api.saved.values()} == {(f"floodmark {__version__}",)}
    assert verdicts(out) == dict.fromkeys(UIDS, "created")
    assert out.splitlines()[0] == f"Grafana 13.1.3 at {api.url}"
    assert f"{api.url}/d/floodmark-host\n" in out
    assert "In the folder floodmark: 8 created\n" in out


def test_a_second_time_nothing_is_written(api: GrafanaApi, push: Push) -> None:
    push(api.url)
    api.asked.clear()
    status, out, _ = push(api.url)
    assert status == 0
    assert api.writes() == []
    assert out.endswith("In the folder floodmark: 8 equal\n")


def test_only_what_differs_is_written_over_the_old_one(api: GrafanaApi, push: Push) -> None:
    push(api.url)
    api.saved["floodmark-host"].dashboard["panels"][0]["title"] = "Somebody's"
    del api.saved["floodmark-jvm"]
    _, out, _ = push(api.url)
    expected = {"floodmark-host": "changed", "floodmark-jvm": "created"}
    assert verdicts(out) == dict.fromkeys(UIDS, "equal") | expected
    assert "In the folder floodmark: 1 created, 1 changed, 6 equal\n" in out
    assert api.saved["floodmark-host"].dashboard == model("floodmark-host")
    assert [len(api.saved[uid].messages) for uid in ("floodmark-host", "floodmark-memory")] == [2, 1]


def test_what_grafana_counts_raises_or_leaves_out_makes_no_difference(api: GrafanaApi, push: Push) -> None:
    push(api.url)
    for saved in api.saved.values():
        saved.number += 40
        saved.dashboard["refresh"] = "1m"  # the least that its administrator allows
        del saved.dashboard["id"]
        saved.dashboard["panels"][0]["repeat"] = None
    assert push(api.url)[1].endswith("8 equal\n")


def test_a_dashboard_that_lies_elsewhere_is_moved_where_a_folder_is_asked_for_and_told(
    api: GrafanaApi, push: Push
) -> None:
    push(api.url)
    api.folders["other"] = ("Somebody's", "")
    api.saved["floodmark-jvm"].folder = "other"
    _, out, _ = push(api.url, "--folder", "floodmark")
    assert "moved    floodmark-jvm " in out
    assert "/d/floodmark-jvm (from the folder Somebody's)\n" in out
    assert api.saved["floodmark-jvm"].folder == "floodmark"


def test_without_a_folder_each_dashboard_stays_where_somebody_put_it(api: GrafanaApi, push: Push) -> None:
    push(api.url, "--folder", "Web")
    (web,) = api.folders
    del api.saved["floodmark-host"]
    api.saved["floodmark-jvm"].dashboard["title"] = "Somebody's"
    _, out, _ = push(api.url)
    assert api.saved["floodmark-jvm"].folder == web
    assert api.saved["floodmark-host"].folder == "floodmark"
    assert "/d/floodmark-jvm (stays in the folder Web)\n" in out
    assert "\nDone: 1 created, 1 changed, 6 equal\n" in out


def test_no_folder_is_made_that_nothing_goes_into(api: GrafanaApi, push: Push) -> None:
    push(api.url, "--folder", "Web")
    assert "\nDone: 8 equal\n" in push(api.url)[1]
    assert [title for title, _ in api.folders.values()] == ["Web"]


def test_a_dry_run_writes_nothing_and_tells_what_would_be(api: GrafanaApi, push: Push) -> None:
    status, out, _ = push(api.url, "--dry-run")
    assert status == 0
    assert verdicts(out) == dict.fromkeys(UIDS, "create")
    assert "\ncreate   folder floodmark\n" in out
    assert "--dry-run. 8 to create\n" in out
    push(api.url)
    api.saved["floodmark-host"].dashboard["title"] = "Somebody's"
    api.asked.clear()
    assert push(api.url, "--dry-run")[1].endswith("--dry-run. 1 to change, 7 equal\n")
    assert api.writes() == []


# --- The folder


def test_a_folder_of_that_title_is_taken_wherever_it_stands_in_the_list(
    api: GrafanaApi, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grafana, "_PAGE", 2)
    api.folders = {
        "nested": ("Web", "a"),  # of somebody's own, in another folder
        **{uid: (f"Folder {uid}", "") for uid in "abc"},
        "d1": ("Web", ""),
    }
    status, out, _ = push(api.url, "--folder", " Web ")
    assert status == 0
    assert {saved.folder for saved in api.saved.values()} == {"d1"}
    assert len(api.folders) == 5
    assert "In the folder Web: 8 created\n" in out


def test_a_folder_with_a_title_of_ones_own_is_made_once(api: GrafanaApi, push: Push) -> None:
    for _ in range(2):
        assert push(api.url, "--folder", "홍수/Web")[0] == 0
    assert [title for title, _ in api.folders.values()] == ["홍수/Web"]


def test_our_folder_stays_ours_under_another_title_and_in_another_folder(api: GrafanaApi, push: Push) -> None:
    push(api.url)
    api.folders = {"team": ("Team", ""), "floodmark": ("Gunicorn", "team")}
    _, out, _ = push(api.url)
    assert out.endswith("In the folder Gunicorn: 8 equal\n")
    assert len(api.folders) == 2


# --- The data source


def current(saved: Saved) -> object:
    return saved.dashboard["templating"]["list"][0].get("current")


@pytest.mark.parametrize("given", ["Prometheus", "PBFA97CFB"])
def test_the_data_source_they_open_on_can_be_chosen_by_name_or_uid(
    api: GrafanaApi, push: Push, given: str
) -> None:
    api.datasources.append({"uid": "other", "name": "Other", "type": "prometheus"})
    assert push(api.url, "--datasource", given, token=ADMIN)[0] == 0
    chosen = {"text": "Prometheus", "value": "PBFA97CFB"}
    assert [current(saved) for saved in api.saved.values()] == [chosen] * 8
    _, out, _ = push(api.url, token=ADMIN)  # not asked for again, it stays
    assert "8 equal\n" in out
    assert push(api.url, "--datasource", "Other", token=ADMIN)[1].endswith("8 changed\n")


@pytest.mark.parametrize(
    ("given", "token", "said"),
    [
        ("Promtheus", ADMIN, "Grafana has none of that name or uid; there are: Prometheus"),
        ("Logs", ADMIN, "is of type loki, and must be prometheus; there are: Prometheus"),
        (
            "Prometheus",
            EDITOR,
            "this token may not see data sources: that takes the permission datasources:read",
        ),
    ],
)
def test_a_data_source_that_can_not_be_is_told_before_anything_is_written(
    given: str, token: str, said: str, api: GrafanaApi, push: Push
) -> None:
    api.datasources.append({"uid": "l", "name": "Logs", "type": "loki"})
    assert said in push.failed(api.url, "--datasource", given, token=token)
    assert api.writes() == []


def test_a_grafana_without_prometheus_and_one_with_two_are_noted_if_the_token_may_know(
    api: GrafanaApi, push: Push
) -> None:
    api.datasources = [{"uid": "l", "name": "Logs", "type": "loki"}]
    status, out, _ = push(api.url, token=ADMIN)
    assert status == 0
    assert "Note: this Grafana has no Prometheus, and without one the dashboards show nothing" in out
    assert "it has no Prometheus at all" in push.failed(api.url, "--datasource", "Prometheus", token=ADMIN)
    api.datasources = [{"uid": n, "name": n, "type": "prometheus"} for n in ("One", "Two")]
    assert "Note: there is more than one Prometheus (One, Two)" in push(api.url, token=ADMIN)[1]
    assert "Note" not in push(api.url, token=EDITOR)[1]


# --- What Grafana refuses


def test_a_token_that_grafana_does_not_know_is_told_with_where_to_make_one(
    api: GrafanaApi, push: Push
) -> None:
    err = push.failed(api.url, token="glsa_0ld")  # noqa: S106
    assert "Grafana doesn't take this token (Invalid API key): it is wrong, expired" in err
    assert "Service accounts, Add service account with the role Editor" in err


def test_a_permission_that_lacks_is_named(api: GrafanaApi, push: Push) -> None:
    err = push.failed(api.url, token=VIEWER)
    assert "this token may not make the folder: that takes the permission folders:create" in err
    api.folders["floodmark"] = ("floodmark", "")
    err = push.failed(api.url, token=VIEWER)
    assert "floodmark-database: this token may not save the dashboard: that takes" in err
    assert "the permission dashboards:create, which the role Editor has" in err


def test_another_dashboard_of_the_same_title_is_left_alone(api: GrafanaApi, push: Push) -> None:
    api.folders["floodmark"] = ("floodmark", "")
    api.saved["theirs"] = Saved(
        1, {"uid": "theirs", "title": model("floodmark-host")["title"]}, "floodmark", [""]
    )
    status, _, err = push(api.url)
    assert status == 1
    assert "floodmark-host: another dashboard of that title is in the folder" in err
    assert api.saved["theirs"].dashboard.keys() == {"uid", "title"}


def test_what_a_file_provisions_is_left_to_the_file_before_anything_is_written(
    api: GrafanaApi, push: Push
) -> None:
    push(api.url)
    for saved in api.saved.values():
        saved.provisioned, saved.folder = True, ""
    assert push(api.url)[1].endswith("8 equal\n")
    api.saved["floodmark-jvm"].dashboard["title"] = "An older one"
    api.asked.clear()
    assert "floodmark-jvm: Grafana reads it from a file (provisioning)" in push.failed(api.url)
    assert "floodmark-jvm: Grafana reads it from a file (provisioning)" in push.failed(api.url, "--dry-run")
    assert api.writes() == []


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, '{"message": "Cannot save provisioned dashboard"}', "reads it from a file (provisioning)"),
        (412, '{"status": "version-mismatch"}', "somebody saved it at the same moment. Type the same again"),
        (
            412,
            '{"status": "plugin-dashboard", "message": "The dashboard belongs to plugin X."}',
            "it belongs to a plugin, which alone may change it. It said: The dashboard belongs to plugin X.",
        ),
        (
            409,
            '{"message": "No"}',
            "could not save the dashboard: it conflicts with what is there. It said: No",
        ),
        (403, '{"message": "Quota reached"}', "Grafana takes no more of these: Quota reached"),
        (413, '{"message": "Dashboard is too large"}', "answered 413. It said: Dashboard is too large"),
        (404, '{"message": "Not found"}', "could not save the dashboard: 127.0.0.1:"),
        (202, '{"message": "changes were broadcast"}', "answered 202. It said: changes were broadcast"),
        (429, "", "answered 429: too many requests. Wait, then type the same again"),
        (500, '{"message": "Failed"}', "is in trouble itself. Its log says more. It said: Failed"),
        (400, '{"message": "\\u001b[31m%s"}' % ("x" * 1000), "answered 400. It said:  [31mxxx"),
        (400, f'{{"message": "what is {EDITOR}?"}}', "It said: what is ****?"),
        (400, '["?"]', "answered 400 with other JSON in place of Grafana's JSON"),
    ],
)
def test_each_refusal_of_a_save_is_told_with_what_to_do(
    status: int, body: str, said: str, api: GrafanaApi, push: Push
) -> None:
    api.folders["floodmark"] = ("floodmark", "")
    api.instead[SAVE] = deque([Answer(status, body)])
    err = push.failed(api.url)
    assert said in err
    assert "\x1b" not in err
    assert len(err) < 500


@pytest.mark.parametrize("status", [409, 412])
def test_a_folder_that_is_there_but_not_for_this_token_is_told(
    status: int, api: GrafanaApi, push: Push
) -> None:
    body = '{"status": "version-mismatch", "message": "the folder has been changed by someone else"}'
    api.instead[("POST", "/api/folders")] = deque([Answer(status, body)])
    assert "a folder of that title or uid is there, and this token may not see it" in push.failed(api.url)


def test_when_the_third_fails_the_first_two_are_named_and_the_same_typed_again_goes_on(
    api: GrafanaApi, push: Push
) -> None:
    push(api.url)
    for uid in UIDS:
        api.saved[uid].dashboard["title"] = f"Older {uid}"
    real = api.answer
    saves = itertools.count()

    def third_fails(asked: Any, body: object) -> Answer:  # noqa: ANN401
        failing = asked.method == "POST" and next(saves) == 2
        return Answer(503, "<html>", "text/html") if failing else real(asked, body)

    api.answer = third_fails  # type: ignore[method-assign]
    status, out, err = push(api.url)
    assert status == 1
    assert list(verdicts(out)) == UIDS[:2]
    problem, done = err.splitlines()
    assert problem.startswith(f"floodmark dashboards push: {UIDS[2]}: 127.0.0.1:")
    assert done.startswith(f"Done before that: {UIDS[0]}, {UIDS[1]}. Once it is mended type the same again")
    assert push(api.url)[1].endswith("6 changed, 2 equal\n")


# --- What isn't Grafana, or can't be reached


HTML = "<html><title>Sign in</title></html>"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            Answer(200, HTML, "text/html; charset=utf-8"),
            "answered 200 with a web page in place of Grafana's JSON",
        ),
        (Answer(200, "{", "application/json"), "answered 200 with other JSON in place of Grafana's JSON"),
        (Answer(200, "", ""), "answered 200 with nothing in place of Grafana's JSON"),
        (Answer(200, '{"status": "UP"}'), "is no Grafana. Is the address right?"),
        (Answer(200, "[" * 100_000), "in place of Grafana's JSON"),
        (Answer(404, HTML, "text/html"), "with the path it is served under (https://host/grafana)"),
        (Answer(404, '{"message": "Not found"}'), "answered 404 with other JSON in place of Grafana's"),
        (Answer(401, HTML, "text/html"), "something in front of it wants a login of its own"),
        (
            Answer(302, "", "text/html", {"Location": "/login"}),
            "answered 302, a redirect to /login: a login page stands in front of it",
        ),
        (
            Answer(302, "", "", {"Location": "https://me:pw@sso.example.org/auth?next=x"}),
            "a redirect to https://sso.example.org/auth: a login page",
        ),
        (Answer(308, "", ""), "a redirect to nowhere"),
        (
            Answer(301, "", "", {"Location": "https://grafana.example.org/grafana/api/health"}),
            "sends this on to https://grafana.example.org/grafana: give that as the address",
        ),
        (Answer(502, HTML, "text/html"), "answered 502: Grafana, or the proxy in front of it, is in trouble"),
    ],
)
def test_what_is_no_grafana_is_told_and_gets_no_token(
    answer: Answer, said: str, api: GrafanaApi, push: Push
) -> None:
    api.instead[("GET", "/api/health")] = deque([answer])
    assert said in push.failed(api.url)
    assert [asked.authorization for asked in api.asked] == [None]


@pytest.mark.parametrize("api", ["/grafana"], indirect=True)
def test_a_path_left_out_of_the_address_is_told(api: GrafanaApi, push: Push) -> None:
    err = push.failed(api.url.removesuffix("/grafana"))
    assert "answered 404 with a web page in place of Grafana's JSON" in err
    assert "with the path it is served under (https://host/grafana)" in err


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/folders", "{}"),
        ("/api/folders", "[1]"),
        ("/api/datasources", "{}"),
        ("/api/dashboards/uid/floodmark-host", "[]"),
        ("/api/dashboards/uid/floodmark-host", '{"dashboard": []}'),
    ],
)
def test_json_of_another_shape_is_told(path: str, body: str, api: GrafanaApi, push: Push) -> None:
    api.instead["GET", path] = deque([Answer(200, body)])
    assert "Is that a Grafana?" in push.failed(api.url)
    assert api.writes() == []


def test_a_folder_made_without_a_uid_is_told(api: GrafanaApi, push: Push) -> None:
    api.instead["POST", "/api/folders"] = deque([Answer(200, "{}")])
    assert "made the folder, but says no uid of it" in push.failed(api.url)


def test_a_closed_port_is_told(push: Push) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    err = push.failed(f"http://127.0.0.1:{port}")
    assert "nothing listens at 127.0.0.1: connection refused" in err


def test_a_name_that_nobody_knows_is_told(push: Push) -> None:
    assert "the name of grafana.invalid can't be looked up" in push.failed("http://grafana.invalid")


def test_silence_is_told_after_the_timeout(push: Push) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        err = push.failed(f"http://127.0.0.1:{silent.getsockname()[1]}", "--timeout", "0.2")
    assert "no answer from 127.0.0.1 within 0.2 s" in err


@pytest.mark.parametrize(
    "says", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"]
)
def test_what_speaks_something_else_or_hangs_up_is_told(says: bytes, push: Push) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        thread = threading.Thread(target=answer_once, args=(other, says))
        thread.start()
        err = push.failed(f"http://127.0.0.1:{other.getsockname()[1]}")
        thread.join()
    assert "127.0.0.1 can't be reached: " in err


def answer_once(listener: socket.socket, says: bytes) -> None:
    """Take a request and say this, whatever it was."""
    client, _ = listener.accept()
    with client:
        client.recv(65536)
        client.sendall(says)


def test_an_endless_answer_is_not_read_to_the_end(push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grafana, "_MOST_BYTES", 1 << 20)
    megabyte, sent = b" " * (1 << 20), []

    def pour(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client, contextlib.suppress(ConnectionError):
            client.recv(65536)
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            for _ in range(100):
                client.sendall(megabyte)
                sent.append(len(megabyte))

    with socket.create_server(("127.0.0.1", 0)) as other:
        thread = threading.Thread(target=pour, args=(other,))
        thread.start()
        err = push.failed(f"http://127.0.0.1:{other.getsockname()[1]}")
        thread.join()
    assert "an answer of more than 1 MiB" in err
    assert len(sent) < 100


def test_a_certificate_nobody_vouches_for_is_told_with_how_to_trust_it(tmp_path: Path, push: Push) -> None:
    with untrusted(tmp_path) as port:
        err = push.failed(f"https://127.0.0.1:{port}")
    assert "the certificate of 127.0.0.1 is not trusted here: self-signed certificate" in err
    assert "REQUESTS_CA_BUNDLE=/path/to/ca.pem" in err


def test_https_to_what_speaks_none_is_told(api: GrafanaApi, push: Push) -> None:
    assert "no TLS with 127.0.0.1" in push.failed(api.url.replace("http:", "https:"))


def test_the_environments_proxy_is_used_and_named_without_its_password(
    api: GrafanaApi, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://me:s3cr3t@127.0.0.1:{api.server_port}/")
    err = push.failed("https://grafana.example.org")
    assert f"the proxy 127.0.0.1:{api.server_port} lets nothing through to grafana.example.org: 501" in err
    assert "s3cr3t" not in err


def test_a_netrc_does_not_take_the_tokens_place(api: GrafanaApi, push: Push, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password s3cr3t\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert push(api.url)[0] == 0
    assert {asked.authorization for asked in api.asked} == {None, f"Bearer {EDITOR}"}


# --- Address and token


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "no Grafana: give --grafana URL, or set GRAFANA_URL"),
        ("grafana.example.org", "no address: it must be like https://grafana.example.org"),
        ("ftp://grafana.example.org", "no address"),
        ("https:///grafana", "no address"),
        ("https://host:99999", "no address"),
        ("https://[::1", "no address"),
        ("https://host/ grafana", "no address"),
        ("https://me:s3cr3t@host", "holds a name or password, which others see in the list of processes"),
        ("me:s3cr3t@host", "holds a name or password"),
        ("https://host/?orgId=1", "leave out what begins with ? or #"),
        ("https://host/d/x#y", "like https://host"),
    ],
)
def test_what_can_not_be_grafanas_address_is_wrong_usage(given: str, said: str, push: Push) -> None:
    status, out, err = push(given)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert "s3cr3t" not in err


def test_the_address_may_come_from_the_environment_and_the_flag_wins() -> None:
    environ = {"GRAFANA_URL": "https://env.example.org/g/\n"}
    assert dashboards.address(None, environ) == "https://env.example.org/g"
    assert dashboards.address("http://flag", environ) == "http://flag"


def test_the_flag_wins_over_the_file_and_that_over_the_token(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("flag", "file")}
    for name, file in files.items():
        file.write_text(f"glsa_{name}\n")
    environ = {"GRAFANA_TOKEN_FILE": str(files["file"]), "GRAFANA_TOKEN": "glsa_env"}
    assert dashboards.token(str(files["flag"]), environ) == "glsa_flag"
    assert dashboards.token(None, environ) == "glsa_file"
    assert dashboards.token(None, environ | {"GRAFANA_TOKEN_FILE": ""}) == "glsa_env"


def test_the_token_may_come_from_standard_input(
    api: GrafanaApi, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{EDITOR}\n".encode())))
    assert push(api.url, "--token-file", "-", token="")[0] == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n", "empty: it must hold the token, like glsa_..."),
        ('"glsa_s3cr3t"', "no quotes"),
        ("Bearer glsa_s3cr3t", "no 'Bearer'"),
        ("glsa_s3cr3t\nX-Evil: 1", "one line"),
        ("glsa_s3cr3té", "alone"),
    ],
)
def test_what_can_not_be_a_token_is_wrong_usage(text: str, said: str, tmp_path: Path, push: Push) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    status, _, err = push("http://127.0.0.1:9", "--token-file", str(file), token="")
    assert status == 2
    assert err.startswith(f"floodmark: --token-file {file}: ")
    assert said in err
    assert "s3cr3t" not in err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "no token: give --token-file FILE, or set GRAFANA_TOKEN_FILE"),
        (["--token-file", "glsa_s3cr3t"], "wants a file that holds the token, not the token itself"),
        (["--token-file", "eyJs3cr3t"], "wants a file that holds the token, not the token itself"),
        (["--token-file", ""], "--token-file : Is a directory"),
        (["--token-file", "/nowhere"], "--token-file /nowhere: No such file or directory"),
        (["--timeout", "0"], "--timeout 0: must be more than 0 seconds"),
        (["--timeout", "nan"], "must be more than 0 seconds"),
        (["--folder", " "], "--folder is empty"),
    ],
    ids=" ".join,
)
def test_what_can_not_be_meant_is_one_line(flags: list[str], said: str, push: Push) -> None:
    status, out, err = push("http://127.0.0.1:9", *flags, token="")
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert "s3cr3t" not in err


def test_help_says_where_the_token_is_from_and_what_the_exit_status_means(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for flags, words in (
        (["--help"], ("export", "push")),
        (["push", "--help"], ("GRAFANA_URL", "GRAFANA_TOKEN_FILE", "Exit status", "--dry-run", "Editor")),
        (["export", "--help"], ("DIR", "never touched")),
    ):
        with pytest.raises(SystemExit) as raised:
            main(["dashboards", *flags])
        assert raised.value.code == 0
        out = capsys.readouterr().out
        assert all(word in out for word in words)
