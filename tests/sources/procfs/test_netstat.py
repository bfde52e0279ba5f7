"""/proc/PID/net/netstat."""

from pathlib import Path

import pytest

from floodmark.sources.procfs import netstat
from tests.fixtures.hosts import FIXTURES

TEXT = "TcpExt: ListenOverflows ListenDrops\nTcpExt: 4127 4158\nIpExt: InOctets\nIpExt: 9\n"


def test_names_and_values_are_brought_together() -> None:
    assert netstat.parse(TEXT) == {
        "TcpExt_ListenOverflows": 4127,
        "TcpExt_ListenDrops": 4158,
        "IpExt_InOctets": 9,
    }


def test_a_recorded_host_is_read() -> None:
    values = netstat.read(FIXTURES / "vm-cgroup1" / "proc")
    assert values["TcpExt_ListenDrops"] >= values["TcpExt_ListenOverflows"] >= 0


def test_our_own_network_is_read_where_the_hosts_is_hidden(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "netstat").write_text(TEXT)
    assert netstat.read(tmp_path)["TcpExt_ListenDrops"] == 4158


@pytest.mark.parametrize(
    "text",
    [
        "",
        "TcpExt: ListenOverflows ListenDrops\n",
        "TcpExt: ListenOverflows ListenDrops\nTcpExt: 4127\n",
        "TcpExt: ListenOverflows\nTcpExt: many\n",
        "TcpExt: ListenOverflows\nIpExt: 4127\n",
    ],
)
def test_lines_that_do_not_pair_are_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"^netstat: .*expected"):
        netstat.parse(text)
