"""Reading a worker's stacks: which thread matters, what the app did, and no more lines than help."""

import faulthandler
import tempfile

import pytest

from floodmark.gunicorn import stack

GUNICORN = "/srv/shop/.venv/lib/python3.11/site-packages/gunicorn"
WAITS = """\
Fatal Python error: Aborted

Thread 0x00007f2b1d7fa6c0 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 327 in wait
  File "/usr/lib/python3.11/concurrent/futures/thread.py", line 81 in _worker

Current thread 0x00007f2b3c0f1040 [MainThread] (most recent call first):
  File "/usr/lib/python3.11/ssl.py", line 1166 in read
  File "/usr/lib/python3.11/socket.py", line 706 in readinto
  File "/srv/shop/.venv/lib/python3.11/site-packages/urllib3/response.py", line 900 in read
  File "/srv/shop/.venv/lib/python3.11/site-packages/urllib3/pool.py", line 50 in urlopen
  File "/srv/shop/.venv/lib/python3.11/site-packages/requests/api.py", line 59 in get
  File "/srv/shop/shop/bank.py", line 12 in charge
  File "/srv/shop/.venv/lib/python3.11/site-packages/flask/app.py", line 880 in dispatch_request
  File "/srv/shop/shop/views.py", line 31 in buy
  File "/srv/shop/.venv/lib/python3.11/site-packages/flask/app.py", line 1498 in __call__
  File "{gunicorn}/workers/sync.py", line 184 in handle_request
  File "{gunicorn}/app/base.py", line 72 in run
  File "/srv/shop/.venv/bin/gunicorn", line 8 in <module>

Extension modules: _ssl (total: 1)
""".replace("{gunicorn}", GUNICORN)
GTHREAD = f"""\
Thread 0x00007f2b1d7fa6c0 (most recent call first):
  File "/srv/shop/views.py", line 9 in slow
  File "{GUNICORN}/workers/gthread.py", line 300 in handle_request
Current thread 0x00007f2b3c0f1040 (most recent call first):
  File "/usr/lib/python3.11/selectors.py", line 468 in select
  File "{GUNICORN}/workers/gthread.py", line 200 in run
  File "/srv/shop/manage.py", line 8 in <module>
"""


def test_the_call_that_an_app_made_is_told_above_what_each_worker_has() -> None:
    assert list(stack.told(WAITS, 70)) == [
        "/usr/lib/python3.11/ssl.py:1166 in read",
        "/usr/lib/python3.11/socket.py:706 in readinto",
        ".../.venv/lib/python3.11/site-packages/urllib3/response.py:900 in read",
        "... 2 more",
        "/srv/shop/shop/bank.py:12 in charge",
        "... 1 more",
        "/srv/shop/shop/views.py:31 in buy",
        "... 1 more",
        "and 1 more thread: floodmark why --json",
    ]


@pytest.mark.parametrize(
    ("text", "doing"),
    [
        (WAITS, "charge (shop/bank.py:12)"),
        (GTHREAD, "slow (shop/views.py:9)"),
        (WAITS.replace("/srv/shop/shop/", "/usr/lib/python3/dist-packages/shop/"), None),
        ("", None),
        (None, None),
        ("garbage\n  File", None),
    ],
)
def test_what_it_was_doing_is_the_innermost_call_of_its_own_code(text: str | None, doing: str | None) -> None:
    found = stack.doing(text)
    assert (found.short if found else None) == doing


def test_a_thread_that_serves_comes_before_the_one_that_the_signal_hit() -> None:
    assert next(stack.told(GTHREAD, 70)) == "/srv/shop/views.py:9 in slow"


def test_pythons_own_text_is_understood() -> None:
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        found = stack.doing(file.read())
    assert found
    assert found.function == "test_pythons_own_text_is_understood"
    assert found.file == __file__


def test_no_stack_is_longer_than_a_screen_or_wider_than_it_may_be() -> None:
    deep = "Current thread 0x1 (most recent call first):\n" + "".join(
        f'  File "/{"x" * 200}/{"site-packages/" * (number % 2)}a.py", line {number} in f\n'
        for number in range(500)
    )
    lines = list(stack.told(deep * 9, 67))
    assert len(lines) < 60
    assert max(map(len, lines)) <= 67
    assert max(map(len, stack.told("y" * 500, 67))) == 67
