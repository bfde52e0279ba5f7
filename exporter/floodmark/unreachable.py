"""Why a server doesn't answer, in words that say what to try."""

from __future__ import annotations

import socket
import ssl
from typing import NamedTuple


class Way(NamedTuple):
    """How a server was asked.

    Attributes:
        host: its name.
        proxy: host and port of the proxy in between, None without one.
        timeout: seconds that were waited.
        trust: what to do when its certificate isn't trusted.
    """

    host: str
    proxy: str | None
    timeout: float
    trust: str


def why(reason: object, way: Way) -> str:
    """Return what an error of the operating system or of TLS means here."""
    who = f"the proxy {way.proxy}" if way.proxy else way.host
    match reason:
        case ssl.SSLCertVerificationError():
            said = (
                f"the certificate of {way.host} is not trusted here: {reason.verify_message}."
                f" Check the clock: date. {way.trust}"
            )
        case ssl.SSLError():
            said = f"no TLS with {way.host}: {reason.reason or reason}. Something else answers in its place"
        case socket.gaierror():
            said = f"the name of {who} can't be looked up: {reason.strerror}. Try: getent hosts {way.host}"
        case TimeoutError():
            said = (
                f"no answer from {who} within {way.timeout:g} s. Is a firewall in the way, or a proxy needed?"
            )
        case ConnectionRefusedError():
            said = f"nothing listens at {who}: connection refused. Is the address right, and the server up?"
        case OSError() if "Tunnel connection failed" in str(reason):
            said = f"{who} lets nothing through to {way.host}: {str(reason).rpartition(': ')[2]}"
        case _:
            words = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
            said = f"{who} can't be reached: {words}"
    return said
