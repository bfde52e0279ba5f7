"""The line that deploy/README.md gives to pipelines, typed as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.grafana_api import GrafanaApi

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
(LINE,) = re.findall(
    r"^```sh\n(curl [^`]*/api/annotations[^`]*)^```$",
    (ROOT / "deploy/README.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


@pytest.fixture(params=["", "/grafana"])
def api(request: pytest.FixtureRequest) -> Iterator[GrafanaApi]:
    api = GrafanaApi(request.param)
    threading.Thread(target=api.serve_forever, args=(0.01,), daemon=True).start()
    yield api
    api.shutdown()
    api.server_close()


def typed(api: GrafanaApi, token: str) -> subprocess.CompletedProcess[str]:
    if not shutil.which("curl"):
        pytest.skip("no curl")
    given = {"GRAFANA_URL": api.url, "GRAFANA_TOKEN": token, "VERSION": "1.4.2", "no_proxy": "127.0.0.1"}
    return subprocess.run(
        ["bash", "-euc", LINE], env=os.environ | given, capture_output=True, text=True, check=False
    )


def test_it_leaves_an_annotation_with_the_tag_and_what_was_deployed(api: GrafanaApi) -> None:
    done = typed(api, "glsa_editor")
    assert done.returncode == 0, done.stderr
    assert api.annotations == [{"tags": ["floodmark-deploy"], "text": "shop 1.4.2"}]


def test_a_token_that_may_not_makes_it_fail(api: GrafanaApi) -> None:
    done = typed(api, "glsa_viewer")
    assert done.returncode == 22
    assert "403" in done.stderr
    assert api.annotations == []
