"""The netstat collector."""

from floodmark.collectors import netstat
from tests.fixtures.hosts import FIXTURES, facts, series


def test_connections_dropped_at_listening_sockets_are_told() -> None:
    assert series(netstat.collect(facts(FIXTURES / "t3-micro"))) == {
        ("node_netstat_TcpExt_ListenOverflows",): 4127,
        ("node_netstat_TcpExt_ListenDrops",): 4158,
    }
