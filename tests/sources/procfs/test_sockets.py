"""/proc/PID/net/tcp, tcp6 and unix."""

from pathlib import Path

import pytest

from floodmark.sources.listening import Listener
from floodmark.sources.procfs import sockets

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   5: 0100007F:4650 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 488478 4 00000000cf5e0004 100 0 0 10 0
 126: 0100007F:E986 0100007F:4650 01 00000000:00000000 00:00000000 00000000     0        0 488479 2 00000000ea3958b1 20 0 0 10 -1
 416: 0100007F:4650 0100007F:E9A8 01 00000000:00000000 00:00000000 00000000     0        0 0 1 000000007c03f657 20 0 0 10 -1
 429: 0100007F:4650 0100007F:E986 01 00000000:00000000 00:00000000 00000000     0        0 488483 1 00000000a5d70dcb 20 0 0 10 -1
"""  # noqa: E501 - as the kernel writes it
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:4651 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 488484 1 00000000b718e9c5 100 0 0 10 0
   1: 0000000000000000FFFF00000100007F:4651 0000000000000000FFFF00000100007F:D740 01 00000000:00000000 00:00000000 00000000     0        0 488486 1 00000000f9577c96 20 0 0 10 -1
"""  # noqa: E501 - as above
UNIX = """\
Num       RefCount Protocol Flags    Type St Inode Path
000000009f327661: 00000003 00000000 00000000 0001 03 488491 /srv/my shop.sock
00000000f8e83f51: 00000002 00000000 00010000 0001 01 488487 /srv/my shop.sock
00000000a6c81a74: 00000003 00000000 00000000 0001 02     0 /srv/my shop.sock
000000001caf68b9: 00000002 00000000 00010000 0001 01 488492 @shop
0000000077aa68b9: 00000003 00000000 00000000 0001 03 488499
"""


def test_a_listening_tcp_socket_tells_its_backlog_and_only_accepted_connections_have_an_inode() -> None:
    found = sockets.parse_tcp(TCP)
    assert found.listeners == {488478: Listener("127.0.0.1:18000", 18000, 3, None)}
    assert found.others == {488479: 0xE986, 488483: 18000}


def test_an_ipv6_listener_takes_connections_from_ipv4_too() -> None:
    found = sockets.parse_tcp(TCP6)
    assert found.listeners == {488484: Listener("[::]:18001", 18001, 0, None)}
    assert found.others == {488486: 18001}


def test_a_unix_sockets_backlog_is_not_told_for_who_waits_may_be_of_another_namespace() -> None:
    found = sockets.parse_unix(UNIX)
    shop = "unix:/srv/my shop.sock"
    assert found.listeners == {
        488487: Listener(shop, shop, None, None),
        488492: Listener("unix:@shop", "unix:@shop", None, None),
    }
    assert found.others == {488491: shop, 488499: "unix:"}


def test_a_kernel_without_ipv6_has_no_tcp6(tmp_path: Path) -> None:
    folder = tmp_path / "100/net"
    folder.mkdir(parents=True)
    (folder / "tcp").write_text(TCP)
    (folder / "unix").write_text(UNIX)
    assert [len(part.listeners) for part in sockets.read(tmp_path, 100)] == [1, 2]


def test_another_format_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "100/net"
    folder.mkdir(parents=True)
    (folder / "tcp").write_text("header\nnot the format\n")
    with pytest.raises(ValueError, match="unpack"):
        list(sockets.read(tmp_path, 100))
